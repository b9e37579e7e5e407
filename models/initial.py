"""Initial weights as a pure function of (seed, name of the parameter).

Every parameter draws from a generator of its own, seeded by a hash of the seed and the parameter's name. So
adding an encoding, an option or a layer moves no other weight: two models that share a parameter's name,
shape and rule share its initial value bit for bit. The global generator is neither read nor moved.

Draws start from 53-bit uniforms of torch's CPU Mersenne twister and are turned into normals in double
precision, because `torch.randn` takes different paths by vector width; what is left to the platform is the
last bit of a double, which disappears when the value is rounded to single precision.

How layers start is a matter of convention, and each family has its own. A `Scheme` holds one convention for all the
kinds of layers that conventions differ in, and every network names two schemes (`Network.schemes`): that of the
`library` that the family is usually taken from, and that of its `literature`, the paper or its authors' code.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]  # shape, generator -> float64 on the CPU
Rule = Callable[[int, int], Mapping[str, Draw]]  # fan in, fan out of a linear map -> its `weight` and its `bias`


@runtime_checkable
class Initialised(Protocol):
    """A module that states the initial value of its own parameters (and random buffers), by name."""

    def initial(self) -> Mapping[str, Draw]:
        """The initial value of each parameter of this module itself, by the parameter's name."""
        ...


@runtime_checkable
class InitialisedBy(Protocol):
    """A module whose parameters start as the network's scheme has it."""

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """The initial value, under a scheme, of each parameter of this module itself, by the parameter's name."""
        ...


def uniform_numbers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Doubles in [0, 1), in the given shape, from 53 bits of the generator each."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")


def constant(value: float) -> Draw:
    """The same number everywhere."""
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


def truncated_normal(std: float) -> Draw:
    """A normal cut at two of its own standard deviations; `std` is the standard deviation after the cut."""
    whole = std / 0.87962566103423978  # the std of a standard normal cut at 2

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        centred = 2 * uniform_numbers(shape, generator) - 1  # [-1, 1)
        return torch.erfinv(centred * math.erf(2 / math.sqrt(2))) * (whole * math.sqrt(2))

    return draw


def xavier(fan_in: int, fan_out: int) -> Draw:
    """Glorot's uniform rule (Glorot and Bengio, 2010, eq. 16): variance 2 / (fan_in + fan_out)."""
    return uniform(math.sqrt(6 / (fan_in + fan_out)))


def torch_own(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """What torch's layers draw when they are made: weights and biases uniform within 1 / sqrt(fan in)."""
    return {"weight": uniform(fan_in**-0.5), "bias": uniform(fan_in**-0.5)}


def torch_weights(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """Weights as torch's layers draw them, uniform within 1 / sqrt(fan in), and biases 0."""
    return {"weight": uniform(fan_in**-0.5), "bias": constant(0.0)}


def he_in(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """He's rule by the fan in (He et al., 2015, section 2.2): normal with variance 2 / fan in, biases 0."""
    return {"weight": normal(math.sqrt(2 / fan_in)), "bias": constant(0.0)}


def he_out(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """He's rule by the fan out (He et al., 2015, section 2.2): normal with variance 2 / fan out, biases 0."""
    return {"weight": normal(math.sqrt(2 / fan_out)), "bias": constant(0.0)}


def glorot(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """Weights by Glorot's uniform rule (`xavier`), biases 0."""
    return {"weight": xavier(fan_in, fan_out), "bias": constant(0.0)}


def glorot_off_zero(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """Weights by Glorot's uniform rule (`xavier`), biases normal with std 1e-6."""
    return {"weight": xavier(fan_in, fan_out), "bias": normal(1e-6)}


def lecun(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """LeCun's rule, the default of Flax's layers: a truncated normal with variance 1 / fan in, biases 0."""
    return {"weight": truncated_normal(fan_in**-0.5), "bias": constant(0.0)}


def small(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """Weights normal with std 0.02 whatever the fan, biases 0.

    (timm cuts this normal at +-2, a hundred standard deviations.)
    """
    return {"weight": normal(0.02), "bias": constant(0.0)}


def zeros(fan_in: int, fan_out: int) -> Mapping[str, Draw]:
    """Weights and biases 0."""
    return {"weight": constant(0.0), "bias": constant(0.0)}


ZERO = constant(0.0)


@dataclass(frozen=True)
class Scheme:
    """How a network's layers start, and by which source.

    `linear`: linear maps. `hidden`: those of MLPs in blocks. `conv`: convolutions. `patches`: the convolution that cuts
    the image into patches. `head`: the classifier. `joint`: queries, keys and values are drawn as one map, the one they
    are computed by, not as three. `behind`: the map behind attention, where it does not start like other linear maps.
    """

    source: str
    linear: Rule
    hidden: Rule
    conv: Rule
    patches: Rule
    head: Rule
    class_token: Draw = ZERO
    joint: bool = False
    behind: Rule | None = None


TORCH = Scheme(
    "torch's own layers",
    torch_own,
    torch_own,
    conv=torch_own,
    patches=torch_own,
    head=torch_own,
    class_token=normal(0.02),
)
TORCH7_RESNET = replace(TORCH, source="facebook/fb.resnet.torch", conv=he_out, head=torch_weights)
TORCHVISION_RESNET = replace(TORCH, source="torchvision, resnet.py", conv=he_out)
TIMM_VIT = Scheme(
    "timm, vision_transformer.py",
    small,
    small,
    conv=torch_own,
    patches=torch_own,
    head=small,
    class_token=normal(1e-6),
)
JAX_VIT = Scheme(
    "google-research/vision_transformer, models_vit.py",
    glorot,
    glorot_off_zero,
    conv=lecun,
    patches=lecun,
    head=zeros,
)
PYCLS_VIT = replace(
    JAX_VIT,
    source="facebookresearch/pycls, vit.py",
    conv=torch_own,
    patches=he_out,
    joint=True,
    behind=torch_weights,
)
TIMM_HYBRID = replace(TIMM_VIT, source="timm, vision_transformer_hybrid.py and resnetv2.py", conv=he_out)
SWIN = replace(TIMM_VIT, source="microsoft/Swin-Transformer and timm")
CONVIT = replace(TIMM_VIT, source="facebookresearch/convit and timm", class_token=normal(0.02))
CONVNEXT = replace(TIMM_VIT, source="facebookresearch/ConvNeXt and timm", conv=small, patches=small)
CCT = replace(TIMM_VIT, source="SHI-Labs/Compact-Transformers", conv=he_in)
TIMM_MIXER = replace(JAX_VIT, source="timm, mlp_mixer.py")
JAX_MIXER = replace(JAX_VIT, source="google-research/vision_transformer, models_mixer.py", linear=lecun, hidden=lecun)
TIMM_COATNET = Scheme(
    "timm, maxxvit.py", glorot, glorot_off_zero, conv=he_out, patches=he_out, head=torch_own, joint=True
)


def fans(layer: nn.Linear | nn.Conv2d) -> tuple[int, int]:
    """Fan in and fan out of a layer.

    The first counts the inputs that make one output, the second the outputs that one input takes part in; both within
    one group of a grouped convolution.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    area = math.prod(layer.kernel_size)
    return layer.in_channels // layer.groups * area, layer.out_channels * area // layer.groups


def layer_draws(module: nn.Module, scheme: Scheme) -> Mapping[str, Draw]:
    """The rules of torch's own layers: linear maps and convolutions by the scheme, norms at 1 and 0."""
    if isinstance(module, nn.Linear):
        return scheme.linear(*fans(module))
    if isinstance(module, nn.Conv2d):
        return scheme.conv(*fans(module))
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d):
        return {"weight": constant(1.0), "bias": constant(0.0)}
    return {}


def module_draws(module: nn.Module, scheme: Scheme) -> Mapping[str, Draw]:
    """What a module's own parameters start from: what it states itself, else by the scheme."""
    stated = module.initial() if isinstance(module, Initialised) else {}
    by_scheme = module.initial_by(scheme) if isinstance(module, InitialisedBy) else {}
    return {**stated, **by_scheme} if stated or by_scheme else layer_draws(module, scheme)


def keyed_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator seeded by BLAKE2b of the seed and the parameter's name (32 bits: all that the twister reads)."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=4).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "little"))


@torch.no_grad()
def initialise(network: nn.Module, seed: int, scheme: Scheme = TORCH) -> None:
    """Give every parameter of ``network`` its keyed initial value, in place; tensors on the meta device are left.

    Raises TypeError for a parameter whose module states no rule, so that the seed decides every value.
    """
    for path, module in network.named_modules():
        draws = module_draws(module, scheme)
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
