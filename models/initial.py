"""Initial weights as a pure function of (seed, name of the parameter).

Every parameter draws from a generator of its own, seeded by a hash of the seed and the parameter's name. So
adding an encoding, an option or a layer moves no other weight: two models that share a parameter's name,
shape and rule share its initial value bit for bit. The global generator is neither read nor moved.

Draws start from 53-bit uniforms of torch's CPU Mersenne twister and are turned into normals in double
precision, because `torch.randn` takes different paths by vector width; what is left to the platform is the
last bit of a double, which the rounding to single precision hides.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]  # shape, generator -> float64 on the CPU


@runtime_checkable
class Initialised(Protocol):
    """A module that states the initial value of its own parameters (and random buffers), by name."""

    def initial(self) -> Mapping[str, Draw]: ...


def uniform_numbers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Doubles in [0, 1)."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")


def constant(value: float) -> Draw:
    return lambda shape, generator: torch.full(shape, value, dtype=torch.float64, device="cpu")


def uniform(bound: float) -> Draw:
    """Uniform in [-bound, bound)."""
    return lambda shape, generator: (2 * uniform_numbers(shape, generator) - 1) * bound


def normal(std: float) -> Draw:
    """Normal by the inverse of its distribution function, with the far tails (beyond 8 std) cut."""

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        centred = 2 * uniform_numbers(shape, generator) - 1  # [-1, 1)
        edge = math.erf(8 / math.sqrt(2))
        return torch.erfinv(centred.clamp(-edge, edge)) * (std * math.sqrt(2))

    return draw


def xavier(fan_in: int, fan_out: int) -> Draw:
    """Glorot's uniform: variance 2 / (fan_in + fan_out)."""
    return uniform(math.sqrt(6 / (fan_in + fan_out)))


def layer_draws(module: nn.Module) -> Mapping[str, Draw]:
    """The rules of torch's own layers: Glorot for linear maps, He (fan out) for convolutions, 1 and 0 for norms."""
    if isinstance(module, nn.Linear):
        return {"weight": xavier(module.in_features, module.out_features), "bias": constant(0.0)}
    if isinstance(module, nn.Conv2d):
        fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
        return {"weight": normal(math.sqrt(2 / fan_out)), "bias": constant(0.0)}
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d):
        return {"weight": constant(1.0), "bias": constant(0.0)}
    return {}


def keyed_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator seeded by BLAKE2b of the seed and the parameter's name (32 bits: all that the twister reads)."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=4).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "little"))


@torch.no_grad()
def initialise(network: nn.Module, seed: int) -> None:
    """Give every parameter of ``network`` its keyed initial value, in place; tensors on the meta device are left.

    Raises TypeError for a parameter whose module states no rule, so that the seed decides every value.
    """
    for path, module in network.named_modules():
        draws = module.initial() if isinstance(module, Initialised) else layer_draws(module)
        own = {name for name, _ in module.named_parameters(recurse=False)}
        if own - set(draws):
            raise TypeError(
                f"{type(module).__name__} at `{path}` states no initial value for {sorted(own - set(draws))}"
            )
        for name, draw in draws.items():
            tensor = cast(Tensor | None, getattr(module, name))
            if tensor is None or tensor.is_meta:
                continue
            full_name = f"{path}.{name}" if path else name
            tensor.copy_(draw(tuple(tensor.shape), keyed_generator(seed, full_name)))
