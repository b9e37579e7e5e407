"""The contract of `models.network`, held by every registered model and encoding; a new one is tested by being there.

Networks are small (size pico, 8 px) and in double precision, so that equalities are exact to 1e-10.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor

import models
from models.network import AttentionLayer, Network
from models.registry import load

SCALE = 8
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "vit": [
        {"position": "relative_2d", "relative_values": True, "relative_clip": 2, "class_token": True},
        {"position": "rope_axial", "rope_coordinates": "unit"},
        {"position": "lookhere", "lookhere_fov": 90},
        {"position": "learned_1d", "layer_scale": 0.1, "drop_path": 0.2},
        {"position": "relative_1d", "attention_window": 1, "class_token": True},
    ],
    "conv_attention": [{"position": "rope_axial"}, {"position": "bias_2d", "drop_path": 0.2}],
    "resnet_vit": [{"position": "relative_2d", "class_token": True, "norm": "group"}],
    "convit": [{"class_token": True}, {"heads": 6, "local_blocks": 1, "drop_path": 0.2, "layer_scale": 0.1}],
    "attention_mlp": [{"widths": "12-8-6"}],
    "iso_conv": [{"kernels": 4, "kernel": 5, "drop_path": 0.2}],
    "iso_window": [{"window": 3}],
    "resnet": [
        {"norm": "group", "drop_path": 0.2},
        {"norm": "layer", "padding": "circular"},
        {"stem": "imagenet"},
        {"stem": "half"},
    ],
    "convnext": [{"kernel": 3, "padding": "circular", "layer_scale": 0.0, "drop_path": 0.2}],
    "swin": [{"patch_size": 1, "window": 4, "drop_path": 0.2}],
}


# Layers that learn nothing, and why.
GRADIENT_FREE = {"attention_mlp": ("query", "key")}  # a softmax over one token is 1, whatever they say
POSITIONS_OF_ALL = ("learned_1d", "none")


def positions_of(name: str) -> tuple[Any, ...]:
    """The encodings that a family can have."""
    return next((option.allowed or () for option in models.family(name).options if option.name == "position"), ())


def cases() -> list[Any]:
    found = []
    for name in models.model_names():
        options: list[dict[str, Any]] = [{}]
        if positions_of(name):
            few = name.startswith("iso_") or name in ("conv_attention", "resnet_vit")  # by the ViT's own code
            options = [{"position": position} for position in (POSITIONS_OF_ALL if few else positions_of(name))]
            if name == "vit":
                options += [{"position": position, "class_token": True} for position in models.position_names()]
        for chosen in options + VARIANTS.get(name, []):
            label = "-".join([name, *(f"{k}={v}" if k != "position" else str(v) for k, v in chosen.items() if v)])
            found.append(pytest.param(name, chosen, id=label))
    return found


every_model = pytest.mark.parametrize(("name", "options"), cases())


def build(name: str, options: dict[str, Any], *, in_channels: int = 1, seed: int = 0) -> Network:
    if options.get("stem") == "imagenet":
        options = {"total_stride": 16, **options}
    return models.create_model(
        name, image_size=8, in_channels=in_channels, num_classes=10, size="pico", scale=SCALE, seed=seed, **options
    )


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ways_of(name: str, options: dict[str, Any]) -> tuple[str, ...]:
    return models.carry_ways(name, options=options)


def carry(network: Network, text: str) -> None:
    way, choices = models.parse_way(text)
    network.carry(way, **choices)


@every_model
def test_gradients_reach_every_parameter(name: str, options: dict[str, Any], randomise: Any) -> None:
    """After randomising all parameters, one backward pass in training mode leaves no parameter without gradient."""
    network = randomise(build(name, options).double()).train()
    torch.nn.functional.cross_entropy(network(images(4, 1, 8, 8)), torch.arange(4)).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert all(name in GRADIENT_FREE and key.split(".")[-2] in GRADIENT_FREE[name] for key in silent), silent
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@every_model
def test_other_resolutions_and_ways(name: str, options: dict[str, Any], randomise: Any) -> None:
    """At every resolution and by every way: finite logits, the fused form and `forward_parts` agree with the explicit.

    An oblong image is taken too; a batch of one gives what it gives inside a batch.
    """
    network = randomise(build(name, options).double()).eval()
    for way in ways_of(name, options) or ("",):
        if way:
            carry(network, way)
        for height, width in ((4, 4), (6, 6), (8, 8), (12, 12), (16, 16), (8, 12)):
            batch = images(3, 1, height, width)
            with torch.inference_mode():
                network.set_attention("explicit")
                logits = network(batch)
                network.set_attention("fused")
                fused = network(batch)
                parted, _ = network.forward_parts(batch)
                alone = network(batch[1:2])
            assert logits.shape == (3, 10) and torch.isfinite(logits).all()
            torch.testing.assert_close(fused, logits, atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(parted, logits, atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(alone[0], logits[1], atol=1e-10, rtol=1e-10)


@every_model
def test_training_after_evaluation(name: str, options: dict[str, Any]) -> None:
    """Constants made in inference mode, at any grid, serve a later training pass, with gradients as without them."""
    fresh, used = build(name, options), build(name, options)
    batch = images(4, 1, 8, 8).float()
    with torch.inference_mode():
        for side in (8, 12):
            used.eval()(images(2, 1, side, side).float())
    for network in (fresh, used):
        torch.manual_seed(0)
        network.train()(batch).square().sum().backward()
    for (key, a), b in zip(fresh.named_parameters(), used.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None and torch.equal(a.grad, b.grad), key


@every_model
def test_parts(name: str, options: dict[str, Any]) -> None:
    """As many attention maps as attention layers, each a distribution; embedding and pooled features are there."""
    network = build(name, options).double().eval()
    _, parts = network.forward_parts(images(2, 1, 12, 12))
    layers = sum(isinstance(module, AttentionLayer) for module in network.modules())
    maps = [part for key, part in parts.items() if key.startswith("attention.")]
    assert len(maps) == layers
    for attention in maps:
        torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
    assert parts["pooled"].ndim == 2 and "embedding" in parts
    assert any(key.startswith(("block.", "stage.")) for key in parts)


@every_model
def test_description(name: str, options: dict[str, Any]) -> None:
    """The parts add up to all parameters; MACs grow with the image; a network on the meta device says the same."""
    network = build(name, options)
    small, large = network.describe(8, 8), network.describe(16, 16)
    assert sum(small.parameters.values()) == sum(p.numel() for p in network.parameters())
    assert set(small.parameters) == {"backbone", "position", "head"}
    assert isinstance(small.macs, int) and small.macs > 0
    assert large.macs == small.macs if network.resizes_input else large.macs > small.macs
    assert network.resizes_input == models.family(name).resizes_input
    with torch.device("meta"):
        ghost = build(name, options)
    assert all(parameter.is_meta for parameter in ghost.parameters())
    assert ghost.describe(8, 8) == small and ghost.describe(16, 16) == large
    assert network.training and not next(network.parameters()).is_meta


@every_model
def test_state_and_copies(name: str, options: dict[str, Any], randomise: Any) -> None:
    """A state dict makes a network of another seed the same; so does a deep copy; constants are not in the state."""
    network = randomise(build(name, options).double()).eval()
    other = build(name, options, seed=5).double().eval()
    batch = images(2, 1, 12, 12)
    logits = network(batch)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(batch), logits)
    assert torch.equal(copy.deepcopy(network)(batch), logits)
    named = {n for n, _ in network.named_parameters()} | {n for n, _ in network.named_buffers()}
    assert set(network.state_dict()) == named


@every_model
def test_seed_decides_the_weights_and_nothing_else_moves(name: str, options: dict[str, Any]) -> None:
    """Equal seeds give equal bits, other seeds others; torch's global generator stays where it was."""
    before = torch.get_rng_state()
    first = build(name, options)
    torch.manual_seed(99)
    moved = torch.get_rng_state()
    second, third = build(name, options), build(name, options, seed=1)
    assert torch.equal(torch.get_rng_state(), moved)
    torch.set_rng_state(before)
    for (key, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), third.parameters(), strict=True))


@every_model
def test_channels(name: str, options: dict[str, Any]) -> None:
    """One channel or three; images of another kind are refused by name."""
    network = build(name, options, in_channels=3).eval()
    assert network(images(2, 3, 8, 8).float()).shape == (2, 10)
    with pytest.raises(models.ModelError, match=r"\(2, 1, 8, 8\) are not \(B, 3, H, W\)"):
        network(images(2, 1, 8, 8).float())


@every_model
def test_half_precision(name: str, options: dict[str, Any], randomise: Any) -> None:
    """Under bfloat16 autocast the logits stay within 5 % of the largest of single precision's.

    Where an encoding acts, the residual stream stays in single precision, the same for every encoding.
    """
    network = randomise(build(name, options)).eval()
    batch = images(8, 1, 8, 8).float()
    with torch.no_grad():
        exact = network(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(batch).float()
            _, parts = network.forward_parts(batch)
    assert "position" not in options or parts["block.1"].dtype == torch.float32
    assert (rounded - exact).abs().max() <= 0.05 * exact.abs().max()


@every_model
def test_no_decay(name: str, options: dict[str, Any]) -> None:
    """Weight decay is kept from vectors and from all that is positional, and reaches every other matrix and kernel."""
    network = build(name, options)
    spared, parameters = network.no_decay(), dict(network.named_parameters())
    assert spared <= set(parameters)
    assert {n for n, p in parameters.items() if p.ndim <= 1 or n.startswith("position.")} <= spared
    assert not any(n.endswith("weight") and p.ndim > 1 for n, p in parameters.items() if n in spared)


@every_model
def test_ways(name: str, options: dict[str, Any]) -> None:
    """The default way is the first that is declared; an unknown one is refused with the allowed ones."""
    network, batch = build(name, options).double().eval(), images(2, 1, 12, 12)
    logits, ways = network(batch), ways_of(name, options)
    with pytest.raises(
        models.ModelError, match="allowed: " + ways[0].partition(":")[0] if ways else "nothing to carry"
    ):
        network.carry("teleport")
    if ways:
        carry(network, ways[0])
        assert torch.equal(network(batch), logits)
        with pytest.raises(models.ModelError):
            network.carry(ways[0].partition(":")[0], wavelength=3.0)


@every_model
def test_sources_name_the_code(name: str, options: dict[str, Any]) -> None:
    """Every entry point can be imported, and the network's class and encoding are among them."""
    entries = models.sources(name, options=options)
    network = build(name, options)
    objects = [load(entry) for entry in entries]
    assert type(network) in objects
    position = getattr(network, "position", None)
    assert not positions_of(name) or type(position) in objects


@every_model
def test_initial_loss_is_that_of_a_guess(name: str, options: dict[str, Any]) -> None:
    """Untrained networks start near the loss of equal probabilities, log(10)."""
    network = build(name, options).train()
    loss = torch.nn.functional.cross_entropy(network(images(64, 1, 8, 8).float()), torch.arange(64) % 10)
    assert abs(loss.item() - 2.3026) < 0.3


@pytest.mark.parametrize("name", [name for name in models.model_names() if positions_of(name)])
def test_encodings_share_all_other_weights(name: str) -> None:
    """At the same seed, every parameter outside the encoding is the same bit for bit, whatever the encoding."""
    digests = set()
    for position in positions_of(name):
        network, digest = build(name, {"position": position}), hashlib.sha256()
        for key, parameter in network.named_parameters():
            if network.part_of(key) != "position":
                digest.update(key.encode() + parameter.detach().numpy().tobytes())
        digests.add(digest.hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit", {"position": "rope_axial", "depth": 1}),
        ("vit", {"position": "relative_2d", "depth": 1}),
        ("resnet", {"stages": "1-1-1"}),
        ("swin", {"stages": "2-1"}),
        ("vit", {"position": "none", "depth": 1, "attention_window": 1}),
        ("iso_window", {"depth": 2}),
        ("convit", {"depth": 2}),
        ("conv_attention", {"depth": 1}),
        ("iso_local", {"depth": 1}),
    ],
)
def test_compiled(name: str, options: dict[str, Any]) -> None:
    """`torch.compile` (ahead-of-time autograd, eager kernels) gives the same logits, also at a second resolution."""
    network = build(name, options).double().eval()
    expected = [network(images(2, 1, side, side)) for side in (8, 12)]
    compiled = torch.compile(network, backend="aot_eager", dynamic=False)
    for side, logits in zip((8, 12), expected, strict=True):
        torch.testing.assert_close(compiled(images(2, 1, side, side)), logits)
