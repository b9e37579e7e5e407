"""The contract of `models.network` as checks that any network can be put to.

The tests put every shipped model and encoding to them, `inductive check FILE` a user's own. A check returns nothing, or
raises AssertionError with what is wrong. Equalities are held in double precision, so that they are exact to 1e-10.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from models.catalogue.registry import carry_ways, check_resolution, create_model, load, resizes_input, sources
from models.initial import TORCH
from models.network import AttentionLayer, Network
from models.options import ModelError, Scalar, parse_way

CLASSES = 10


@dataclass(frozen=True)
class Subject:
    """A model under check: small, at `image_size` pixels. `silent` are endings of parameters that can learn nothing."""

    name: str
    options: Mapping[str, Scalar]
    size: str = "pico"
    image_size: int = 8
    silent: tuple[str, ...] = ()

    def build(self, *, in_channels: int = 1, seed: int = 0) -> Network:
        """The network of the subject, 10 classes. Raises ModelError as `create_model` does."""
        return create_model(
            self.name,
            image_size=self.image_size,
            in_channels=in_channels,
            num_classes=CLASSES,
            size=self.size,
            seed=seed,
            **dict(self.options),  # type: ignore[arg-type]  # options are scalars, as a model declares them
        )

    @cached_property
    def ways(self) -> tuple[str, ...]:
        """How its positions can be carried, as evaluations name it."""
        return carry_ways(self.name, options=self.options)

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """Half, three quarters, one and a half times and twice the training resolution: those that the model takes."""
        return tuple(side for side in (self.part(1, 2), self.part(3, 4), self.part(3, 2), 2 * self.image_size)
                     if self.takes(side))  # fmt: skip

    def part(self, over: int, under: int) -> int:
        """A share of the training resolution, over/under, in pixels."""
        return self.image_size * over // under

    def takes(self, side: int) -> bool:
        """Whether the model takes images of side x side pixels."""
        try:
            check_resolution(
                self.name,
                size=self.size,
                options=self.options,
                resolution=side,
                train_resolution=self.image_size,
            )
        except ModelError:
            return False
        return True

    @property
    def other(self) -> int:
        """A resolution that it was not trained at."""
        require(bool(self.sides), f"takes none of the resolutions around {self.image_size} px")
        return max(self.sides)

    def batch(self, count: int = 3, side: int = 0, channels: int = 1, seed: int = 0) -> Tensor:
        """Random images, B C H W = count x channels x side x side, in double precision."""
        return random_images(count, channels, side or self.image_size, side or self.image_size, seed=seed)


def require(holds: bool, otherwise: str) -> None:
    """Raises AssertionError, with what is wrong, unless the condition holds."""
    if not holds:
        raise AssertionError(otherwise)


def random_images(*shape: int, seed: int = 0) -> Tensor:
    """Images of the given shape, normal with std 1, in double precision."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def carry(network: Network, text: str) -> None:
    """Carry positions by a way as evaluations write it."""
    way, choices = parse_way(text)
    network.carry(way, **choices)


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 1) -> nn.Module:
    """Give every parameter random values, far from special initial ones and away from the softmax's corners."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.copy_(noise / fan_in**0.5 + (1.0 if parameter.ndim == 1 else 0.0))
    return network


def random_network(subject: Subject) -> Network:
    """The network of a subject with random values everywhere, in double precision and evaluation mode."""
    network = subject.build().double()
    randomise(network)
    return network.eval()


def same(found: Tensor, expected: Tensor, what: str) -> None:
    """Two tensors of one shape are equal to 1e-10, absolute and relative.

    Raises AssertionError, with `what`, otherwise.
    """
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10, msg=lambda text: f"{what}: {text}")


def gradients(subject: Subject) -> None:
    """After randomising all parameters, one backward pass in training mode leaves none without gradient."""
    network = random_network(subject).train()
    torch.manual_seed(0)  # unseeded, drop path would now and then drop a branch for all four images
    nn.functional.cross_entropy(network(subject.batch(4)), torch.arange(4)).backward()
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            require(bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite")
        reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        require(reached or name.endswith(subject.silent), f"no gradient reaches {name}")


def resolutions(subject: Subject) -> None:
    """At every resolution, by every way of carrying positions: finite logits, and fused, explicit and parted agree.

    An oblong image is taken too; a batch of one gives what it gives inside a batch.
    """
    network = random_network(subject)
    shapes = [(side, side) for side in (subject.image_size, *subject.sides)] + [(subject.image_size, subject.other)]
    for way in subject.ways or ("",):
        if way:
            carry(network, way)
        for height, width in shapes:
            where, images = f"at {height} x {width} {way}".strip(), random_images(3, 1, height, width)
            with torch.inference_mode():
                network.set_attention("explicit")
                logits = network(images)
                network.set_attention("fused")
                fused, alone = network(images), network(images[1:2])
                parted, _ = network.forward_parts(images)
            require(logits.shape == (3, CLASSES), f"logits {where} are of shape {tuple(logits.shape)}")
            require(bool(torch.isfinite(logits).all()), f"logits {where} are not finite")
            same(fused, logits, f"fused attention {where}")
            same(parted, logits, f"forward_parts {where}")
            same(alone[0], logits[1], f"a batch of one {where}")


def training_after_evaluation(subject: Subject) -> None:
    """Constants made in inference mode, at any grid, serve a later training pass, with gradients as without them."""
    fresh, used = subject.build(), subject.build()
    for network in (fresh, used):
        randomise(network)
    with torch.inference_mode():
        for side in (subject.image_size, subject.other):
            used.eval()(subject.batch(2, side).float())
    for network in (fresh, used):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network.train()(subject.batch(4).float()).square().sum().backward()
    for (name, a), b in zip(fresh.named_parameters(), used.parameters(), strict=True):
        require(a.grad is not None and b.grad is not None and torch.equal(a.grad, b.grad), f"{name} learns otherwise")


def parts(subject: Subject) -> None:
    """As many attention maps as attention layers, each a distribution; embedding, blocks and pooled features."""
    network = subject.build().double().eval()
    _, found = network.forward_parts(subject.batch(2, subject.other))
    layers = sum(isinstance(module, AttentionLayer) for module in network.modules())
    maps = [part for name, part in found.items() if name.startswith("attention.")]
    require(len(maps) == layers, f"{len(maps)} attention maps of {layers} attention layers")
    for attention in maps:
        same(attention.sum(-1), torch.ones_like(attention[..., 0]), "the sum of attention over keys")
    require("embedding" in found, "no `embedding`")
    require("pooled" in found and found["pooled"].ndim == 2, "no `pooled` of shape B D")
    require(any(name.startswith(("block.", "stage.")) for name in found), "neither `block.i` nor `stage.i`")


def description(subject: Subject) -> None:
    """Parts add up to all parameters; MACs grow with the image; a network on the meta device is described alike."""
    network = subject.build()
    home, side = subject.image_size, subject.other
    small, large = network.describe(home, home), network.describe(side, side)
    total = sum(parameter.numel() for parameter in network.parameters())
    require(set(small.parameters) == {"backbone", "position", "head"}, f"parts are {', '.join(small.parameters)}")
    require(sum(small.parameters.values()) == total, f"parts add up to {sum(small.parameters.values())}, not {total}")
    require(isinstance(small.macs, int) and small.macs > 0, f"MACs are {small.macs!r}")
    if network.resizes_input:
        require(large.macs == small.macs, "MACs change with the image although it is resized")
    else:
        require(large.macs > small.macs, f"MACs do not grow from {home} to {side} px")
    declared = resizes_input(subject.name, subject.options)
    require(network.resizes_input == declared, "resizes_input is declared otherwise")
    with torch.device("meta"):
        ghost = subject.build()
    require(all(parameter.is_meta for parameter in ghost.parameters()), "parameters outside the meta device")
    require(ghost.describe(home, home) == small and ghost.describe(side, side) == large, "another one on meta")
    require(network.training and not next(network.parameters()).is_meta, "describe() changed the network")


def state(subject: Subject) -> None:
    """A state dict makes a network of another seed the same; so does a copy; constants are not in the state."""
    network, other = random_network(subject), subject.build(seed=5).double().eval()
    images = subject.batch(2, subject.other)
    logits = network(images)
    other.load_state_dict(network.state_dict())
    require(torch.equal(other(images), logits), "the state dict does not hold all that matters")
    require(torch.equal(copy.deepcopy(network)(images), logits), "a deep copy computes something else")
    named = {name for name, _ in network.named_parameters()} | {name for name, _ in network.named_buffers()}
    require(set(network.state_dict()) == named, "the state dict holds more than parameters and buffers")


def seeds(subject: Subject) -> None:
    """Equal seeds give equal bits, other seeds others; torch's global generator is neither read nor moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = subject.build()
        torch.manual_seed(99)
        before = torch.get_rng_state()
        second, third = subject.build(), subject.build(seed=1)
        require(torch.equal(torch.get_rng_state(), before), "building moves torch's global generator")
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        require(torch.equal(a, b), f"{name} is not decided by the seed")
    pairs = zip(first.parameters(), third.parameters(), strict=True)
    require(any(not torch.equal(a, b) for a, b in pairs), "another seed gives the same weights")


def channels(subject: Subject) -> None:
    """One channel or three; images of another kind are refused by name. Raises AssertionError otherwise."""
    network = subject.build(in_channels=3).eval()
    require(network(subject.batch(2, channels=3).float()).shape == (2, CLASSES), "three channels give other shapes")
    try:
        network(subject.batch(2).float())
    except ModelError as error:
        expected = f"(2, 1, {subject.image_size}, {subject.image_size}) are not (B, 3, H, W)"
        require(expected in str(error), f"the refusal of one channel for three says {error}")
    else:
        raise AssertionError("one channel is taken where three are expected")


def half_precision(subject: Subject) -> None:
    """Under bfloat16 autocast the logits stay within 5 % of the largest of single precision's.

    Where an encoding acts, the residual stream stays in single precision, the same for every encoding.
    """
    network = subject.build()
    randomise(network)
    network.eval()
    images = subject.batch(8).float()
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(images).float()
            _, found = network.forward_parts(images)
    if "position" in subject.options:
        require(found["block.1"].dtype == torch.float32, "the residual stream is rounded")
    share = float((rounded - exact).abs().max() / exact.abs().max())
    require(share <= 0.05, f"logits in bfloat16 are {share:.1%} away")


def cast(subject: Subject) -> None:
    """Cast whole to bfloat16 it runs, and its logits stay within 5 % of the largest of single precision's."""
    network = subject.build()
    randomise(network)
    network.eval()
    images = subject.batch(8).float()
    with torch.no_grad():
        exact = network(images)
        rounded = network.to(torch.bfloat16)(images.bfloat16()).float()
    share = float((rounded - exact).abs().max() / exact.abs().max())
    require(share <= 0.05, f"logits of a network in bfloat16 are {share:.1%} away")


def weight_decay(subject: Subject) -> None:
    """Weight decay is kept from vectors and from all that is positional, and reaches every other matrix and kernel."""
    network = subject.build()
    spared, parameters = network.no_decay(), dict(network.named_parameters())
    require(spared <= set(parameters), f"no_decay names no parameters: {sorted(spared - set(parameters))}")
    for name, parameter in parameters.items():
        if parameter.ndim <= 1 or name.startswith("position."):
            require(name in spared, f"{name} decays")
        elif name.endswith("weight"):
            require(name not in spared, f"{name} does not decay")


def ways(subject: Subject) -> None:
    """The default way is the first that is declared; an unknown one, or an unknown choice, is refused."""
    network, images = random_network(subject), subject.batch(2, subject.other)
    logits = network(images)
    expected = f"allowed: {parse_way(subject.ways[0])[0]}" if subject.ways else "nothing to carry"
    refused(network, "teleport", {}, expected)
    if subject.ways:
        carry(network, subject.ways[0])
        require(torch.equal(network(images), logits), f"{subject.ways[0]} is not the default")
        refused(network, parse_way(subject.ways[0])[0], {"wavelength": 3.0}, "")


def refused(network: Network, way: str, choices: Mapping[str, float], expected: str) -> None:
    """The network refuses a way, with a message that holds what is expected. Raises AssertionError otherwise."""
    try:
        network.carry(way, **choices)
    except ModelError as error:
        require(expected in str(error), f"the refusal of {way!r} says {error}")
    else:
        raise AssertionError(f"the way {way!r} {dict(choices) or ''} is taken")


def source_code(subject: Subject) -> None:
    """Every entry point can be imported, and the network's class and encoding are among them."""
    objects = [load(entry) for entry in sources(subject.name, options=subject.options)]
    network = subject.build()
    require(type(network) in objects, f"sources do not name {type(network).__name__}")
    if "position" in subject.options:
        require(type(network.position) in objects, "sources do not name the encoding")


def first_loss(subject: Subject) -> None:
    """Untrained, the loss is near that of equal probabilities; by torch's own rule logits have a std of up to 1, which
    adds about half of its square."""
    network = subject.build().train()
    with torch.random.fork_rng(devices=[]):
        logits = network(subject.batch(64).float())
    loss = nn.functional.cross_entropy(logits, torch.arange(64) % CLASSES).item()
    most = 0.75 if network.scheme("library") is TORCH else 0.3
    require(abs(loss - math.log(CLASSES)) < most, f"the first loss is {loss:.2f}, not about {math.log(CLASSES):.2f}")


def compiled(subject: Subject) -> None:
    """`torch.compile` of the whole network (ahead-of-time autograd, eager kernels) gives the same logits. So it does at
    a second resolution, where networks are only tested: without gradients."""
    network = random_network(subject)
    expected = {side: network(subject.batch(2, side)) for side in (subject.image_size, subject.other)}
    torch.compiler.reset()  # past a limit of compilations in one process, all that follows would run uncompiled
    fast = torch.compile(network, backend="aot_eager", fullgraph=True, dynamic=False)
    for side, logits in expected.items():
        with torch.set_grad_enabled(side == subject.image_size):
            torch.testing.assert_close(fast(subject.batch(2, side)), logits)


CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        gradients,
        resolutions,
        training_after_evaluation,
        parts,
        description,
        state,
        seeds,
        channels,
        half_precision,
        cast,
        weight_decay,
        ways,
        source_code,
        first_loss,
    )
}


def weights_outside_position(network: Network) -> str:
    """A digest of every parameter outside the encoding, with its name."""
    digest = hashlib.sha256()
    for name, parameter in network.named_parameters():
        if network.part_of(name) != "position":
            digest.update(name.encode() + parameter.detach().numpy().tobytes())
    return digest.hexdigest()
