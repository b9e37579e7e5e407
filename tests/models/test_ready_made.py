"""Ready-made networks against the libraries they come from: logits, sizes, weights from files, refusals."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models._api import BUILTIN_MODELS, register_model
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

import models
from models.catalogue import ready_made
from models.catalogue.registry import load
from models.libraries.adapter import Adapted
from models.libraries.timm_networks import resampling
from models.network import Network
from models.trained.patches import at_patch

SMALL = "torchvision:vit_small_of_this_test"
MEMORYLESS = ("torchvision:regnet_y_128gf", "torchvision:vit_l_16", "timm:vit_giant_patch14_224")
NAMES = (
    "timm:test_vit",
    "timm:test_resnet",
    "timm:test_convnext",
    "timm:swin_s3_tiny_224",
    SMALL,
    "torchvision:resnet18",
)
LAYERS = {"timm:test_vit": 6, "timm:swin_s3_tiny_224": 12, SMALL: 2}  # of attention
SHAPE = {"patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 32}


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """A small ViT of torchvision's own class, in torchvision's own list."""

    def build(*, weights: object = None, **settings: Any) -> nn.Module:
        return VisionTransformer(**{"image_size": 32, **SHAPE, **settings})

    build.__module__ = "torchvision.models.small_of_this_test"
    name = SMALL.partition(":")[2]
    register_model(name)(build)
    yield
    del BUILTIN_MODELS[name]
    ready_made.ready_made.cache_clear()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def build(name: str, side: int = 32, **more: Any) -> Adapted:
    settings = {"image_size": side, "in_channels": 3, "num_classes": 10, **more}
    network = models.create_model(name, **settings)
    assert isinstance(network, Adapted)
    return network.eval()


def close(ours: nn.Module, theirs: nn.Module, batch: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(ours(batch), theirs.eval()(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "side", "other", "settings"),
    [
        ("vit_tiny_patch16_224", 224, 160, {"dynamic_img_size": True}),
        ("resnet18", 64, 96, {}),
        ("swin_tiny_patch4_window7_224", 64, 96, {"img_size": 64}),
        ("convnext_atto", 64, 96, {}),
    ],
)
def test_logits_are_timms(
    name: str, side: int, other: int, settings: dict[str, Any], randomise: Any, tmp_path: Path
) -> None:
    """timm's own network with the same state (through a file): at the training size, and at another by timm's own
    mechanism, `dynamic_img_size`, `set_input_size` or none."""
    theirs = randomise(timm.create_model(name, num_classes=10, **settings))
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = build(f"timm:{name}", side, weights=f"file:{tmp_path / 'weights.safetensors'}")
    close(ours, theirs, images(1, 3, side, side))
    if ours.mechanism == "set_input_size":
        with resampling():
            theirs.set_input_size(img_size=(other, other))
    close(ours, theirs, images(1, 3, other, other))
    close(ours, theirs, images(1, 3, other, other))  # by the copy that is kept


def rebuilt(theirs: VisionTransformer, side: int, **shape: Any) -> VisionTransformer:
    """As torchvision would have it: a ViT made for a size, loaded with an interpolated state."""
    other = VisionTransformer(image_size=side, **shape)
    state = interpolate_embeddings(side, shape["patch_size"], theirs.state_dict())  # type: ignore[arg-type]
    other.load_state_dict(state)
    return other


def test_logits_are_torchvisions_vit(randomise: Any) -> None:
    """torchvision's vit_b_16 with the same state: at 224, and rebuilt by hand for 384 by `interpolate_embeddings`."""
    ours = build("torchvision:vit_b_16", 224)
    theirs = torchvision.models.vit_b_16(num_classes=10)
    nn.init.normal_(ours.net.heads.head.weight, std=0.02)  # type: ignore[union-attr,arg-type]
    theirs.load_state_dict(ours.net.state_dict())
    close(ours, theirs, images(1, 3, 224, 224))
    shape = {"patch_size": 16, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072, "num_classes": 10}
    close(ours, rebuilt(theirs, 384, **shape), images(1, 3, 384, 384))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_torchvisions_vit_from_a_file(suffix: str, randomise: Any, tmp_path: Path) -> None:
    """A file of another grid and classes: equal to torchvision's, interpolated by hand, up to the pooled features."""
    theirs = randomise(VisionTransformer(image_size=48, **SHAPE, num_classes=7))
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, path)
    else:
        safetensors.torch.save_file(theirs.state_dict(), path)
    same = build(SMALL, 48, weights=f"file:{path}", num_classes=7)
    close(same, theirs, images(2, 3, 48, 48))
    assert same.said == ""
    ours = build(SMALL, 32, weights=f"file:{path}")
    expected = rebuilt(theirs, 32, **SHAPE, num_classes=7)
    with torch.inference_mode():
        pooled = ours.forward_parts(images(2, 3, 32, 32))[1]["pooled"]
        expected.heads = nn.Identity()  # type: ignore[assignment]
        torch.testing.assert_close(pooled, expected.eval()(images(2, 3, 32, 32)), atol=1e-5, rtol=1e-5)
    said = str(ours.describe(32, 32).details["weights"])
    assert "head of 7 classes replaced by a fresh one of 10" in said
    assert "positions interpolated from 48 to 32 pixels" in said


def test_resnet18_of_torchvision(randomise: Any, tmp_path: Path) -> None:
    """torchvision's resnet18 through a file; with one input channel the kernels are summed, as for grey pictures."""
    theirs = randomise(torchvision.models.resnet18(num_classes=10))
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    ours = build("torchvision:resnet18", 64, weights=f"file:{tmp_path / 'w.pt'}")
    for side in (64, 96):
        close(ours, theirs, images(2, 3, side, side))
    grey = build("torchvision:resnet18", 64, weights=f"file:{tmp_path / 'w.pt'}", in_channels=1)
    batch = images(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(grey(batch), theirs(batch.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)
    assert "from 3 to 1 channels" in str(grey.details(64, 64)["weights"])


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("vit_b_16", "IMAGENET1K_V1"),
        ("vit_b_32", "IMAGENET1K_V1"),
        ("vit_l_16", "IMAGENET1K_V1"),
        ("vit_l_32", "IMAGENET1K_V1"),
        ("vit_h_14", "IMAGENET1K_SWAG_LINEAR_V1"),
    ],
)
def test_torchvisions_vits(name: str, weights: str) -> None:
    """Parameters and MACs as torchvision publishes them with its weights; any size that the patch cuts."""
    with torch.device("meta"):
        network = build(f"torchvision:{name}", 224, num_classes=1000)
    described = network.describe(224, 224)
    published = torchvision.models.get_model_weights(name)[weights].meta
    assert sum(described.parameters.values()) == published["num_params"]
    assert described.macs / 1e9 == pytest.approx(published["_ops"], rel=0.02)
    assert described.details["resolution"] == "rebuilt"
    patch = int(name.rpartition("_")[2])
    for side in (2 * patch, 20 * patch):
        models.check_resolution(f"torchvision:{name}", size="own", options={}, resolution=side, train_resolution=224)
        assert network.grid(side, side) == (side // patch, side // patch)
    with pytest.raises(models.ModelError, match=f"not divisible by patch {patch}: nearest"):
        models.check_resolution(f"torchvision:{name}", size="own", options={}, resolution=225, train_resolution=224)


@pytest.mark.parametrize("name", MEMORYLESS)
def test_large_networks_are_planned_without_memory(name: str) -> None:
    """Hundreds of millions of parameters, all on the meta device, counted as the library counts its own."""
    with torch.device("meta"):
        network = build(name, 224)
        theirs = timm.create_model(name[5:], num_classes=10) if name.startswith("timm") else None
    assert all(tensor.is_meta for tensor in network.parameters())
    count = sum(network.describe(224, 224).parameters.values())
    assert count > 300e6
    assert theirs is None or count == sum(parameter.numel() for parameter in theirs.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    """Parts agree with the logits in both forms of attention, maps are distributions, one an attention layer; the
    description adds up, and is the same without memory; copies and state dicts carry everything."""
    network = build(name)
    batch = images(2, 3, 32, 32)
    with torch.inference_mode():
        logits = network(batch)
        parted, parts = network.forward_parts(batch)
        network.set_attention("fused")
        fused = network(batch)
    for other in (parted, fused):
        torch.testing.assert_close(other, logits, atol=1e-5, rtol=1e-5)
    maps = [part for key, part in parts.items() if key.startswith("attention.")]
    assert len(maps) == LAYERS.get(name, 0)
    for probabilities in maps:
        torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))
    assert {"embedding", "pooled"} <= set(parts) and parts["pooled"].ndim == 2
    assert any(key.startswith(("block.", "stage.")) for key in parts)
    described, larger = network.describe(32, 32), network.describe(64, 64)
    assert sum(described.parameters.values()) == sum(p.numel() for p in network.parameters())
    assert described.parameters["head"] == (parts["pooled"].shape[1] + 1) * 10
    assert (described.parameters["position"] > 0) == bool(maps)
    assert larger.macs > described.macs > 0
    with torch.device("meta"):
        assert build(name).describe(32, 32) == described
    assert torch.equal(copy.deepcopy(network)(batch), network(batch))
    again = build(name, seed=1)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(batch), logits)
    assert type(network) in [load(entry) for entry in models.sources(name, options={})]


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    """Equal seeds give equal bits, other seeds others; torch's global generator is neither read nor moved."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = build(name)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    second, third = build(name), build(name, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), third.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_training(name: str, randomise: Any) -> None:
    """Gradients reach every parameter; one channel is taken; decay is kept from vectors, positions and tokens."""
    network = randomise(build(name, in_channels=1)).train()
    nn.functional.cross_entropy(network(images(4, 1, 32, 32)), torch.arange(4)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    spared = network.no_decay()
    for key, parameter in network.named_parameters():
        vector = parameter.ndim <= 1 or network.part_of(key) == "position" or key.endswith(("cls_token", "class_token"))
        assert (key in spared) == vector, key
    with pytest.raises(models.ModelError, match=r"are not \(B, 1, H, W\)"):
        network(images(2, 3, 32, 32))


@pytest.mark.parametrize("name", ["timm:swin_s3_tiny_224", SMALL, "timm:test_vit"])
def test_another_size_leaves_the_network_as_it_is(name: str, randomise: Any) -> None:
    """After a pass at another size, in inference mode or not, state and logits at home are the same bits; after an
    update of the weights, the other size follows them, as in a network freshly loaded with them."""
    network = randomise(build(name))
    batch, larger = images(2, 3, 32, 32), images(2, 3, 64, 64)
    state, logits = copy.deepcopy(network.state_dict()), network(batch)
    with torch.inference_mode():
        before = network(larger)
    assert torch.equal(network(larger), before) and torch.equal(network(batch), logits)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), network.state_dict().values(), strict=True))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    fresh = build(name)
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(network(larger), fresh(larger)) and not torch.equal(network(larger), before)
    network.carry(models.carry_ways(name, options={})[0])
    with pytest.raises(models.ModelError, match="cannot be carried by 'teleport'; allowed"):
        network.carry("teleport")


def test_another_size_follows_the_mode() -> None:
    """The copy for another size trains when the network does, in all its modules, whenever the mode changes."""
    network = build(SMALL)
    for training in (False, True, False):
        other = network.train(training).at(48, 48)
        assert other is not network.net and {module.training for module in other.modules()} == {training}


def test_gradients_at_another_size(randomise: Any) -> None:
    """Interpolated positions lead gradients back to the table; copies resampled by `set_input_size` refuse to train."""
    network = randomise(build(SMALL)).train()
    network(images(2, 3, 48, 48)).sum().backward()
    assert network.net.encoder.pos_embedding.grad.abs().max() > 0  # type: ignore[union-attr,operator]
    with pytest.raises(models.ModelError, match="is trained at 32: at 48 x 48 its tables are copies"):
        build("timm:swin_s3_tiny_224").train()(images(2, 3, 48, 48))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(models.ModelError) as caught:
        call()
    return str(caught.value)


def test_refusals() -> None:
    """Names, sizes, tags and image sizes, each with what is allowed or near."""
    assert "no model 'timm:resnet81'; `timm` lists" in refusal(lambda: models.family("timm:resnet81"))
    assert refusal(lambda: models.family("timm:resnet81")).endswith("did you mean `resnet18`?")
    assert refusal(lambda: models.family("torchvision:vit_b_61")).endswith("did you mean `vit_b_16`?")
    assert "no size 'nano'; allowed: own" in refusal(lambda: build("timm:resnet18", size="nano"))
    assert "has no weights 'a1_in2k' for it; allowed: a1_in1k" in refusal(
        lambda: build("timm:resnet18", weights="library:a1_in2k")
    )
    assert "did you mean `IMAGENET1K_V1`?" in refusal(
        lambda: build("torchvision:resnet18", weights="library:IMGNET1K_V1")
    )
    assert "expected something like 'file:weights.safetensors'" in refusal(
        lambda: build("timm:resnet18", weights="yes")
    )
    assert "image 30 is not divisible by patch 16: nearest 16, 32" in refusal(
        lambda: models.check_resolution("timm:test_vit", size="own", options={}, resolution=30, train_resolution=32)
    )
    assert "image 200 is not divisible by patch 32: nearest 192, 224" in refusal(  # it would leave out a border
        lambda: models.check_resolution(
            "timm:mixer_s32_224", size="own", options={}, resolution=200, train_resolution=200
        )
    )
    assert "image 64 x 64 cannot be taken: nearest 32" in refusal(
        lambda: models.check_resolution(
            "timm:mixer_s16_224", size="own", options={}, resolution=64, train_resolution=32
        )
    )
    assert "nearest 32 x 32, 48 x 48" in refusal(lambda: build(SMALL)(images(1, 3, 32, 48)))
    assert "image 96 is not divisible by 224" in refusal(lambda: build("torchvision:maxvit_t", 96))
    assert refusal(lambda: build("torchvision:inception_v3", 32)).endswith("nearest 96")
    assert models.default_size("timm:resnet18") == "own" and models.default_size("vit") == "nano"


def test_the_nearest_sizes_of_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network made to take only some sizes: the nearest multiples of the stride below and above that it takes."""
    network = build("timm:test_resnet")
    taken = {0, 32, 64, 192, 224}

    def attempt(height: int, width: int) -> tuple[int, int]:
        if height != width or height not in taken:
            raise RuntimeError("too odd\nin its second line")
        return height // 32, width // 32

    monkeypatch.setattr(network, "attempt", attempt)
    assert network.stride() == 32 and network.grid(64, 64) == (2, 2)
    for side, near in ((100, "64, 192"), (128, "64, 192"), (200, "192, 224"), (20, "32"), (288, "224")):
        assert refusal(lambda side=side: network.grid(side, side)) == (  # type: ignore[misc]
            f"image {side} x {side} cannot be taken (too odd): nearest {near}"
        )
    assert refusal(lambda: network.grid(64, 96)).endswith(f"this network was made for {network.home}")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    """Names that are missing or not known, other shapes, and files that are none, are refused by name."""
    good = timm.create_model("test_resnet", num_classes=10).state_dict()

    def of(state: object, library: str = "timm:test_resnet", name: str = "w.pth") -> str:
        torch.save(state, tmp_path / name)
        return refusal(lambda: build(library, weights=f"file:{tmp_path / name}"))

    less = {key: value for key, value in good.items() if key != "layer1.0.conv1.weight"}
    assert "missing layer1.0.conv1.weight" in of(less)
    swapped = {**less, "layer1.0.conv1.weigth": good["layer1.0.conv1.weight"]}
    assert "layer1.0.conv1.weigth; did you mean `layer1.0.conv1.weight`?" in of(swapped)
    other = {**good, "layer1.0.conv1.weight": torch.zeros(3, 3, 3, 3)}
    assert "layer1.0.conv1.weight is (3, 3, 3, 3), here (" in of(other)
    assert "missing encoder.pos_embedding" in of(
        {k: v for k, v in build(SMALL).net.state_dict().items() if k != "encoder.pos_embedding"}, SMALL
    )
    assert "holds no table of tensors" in of({"weights": 3})
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    for name, words in (
        ("gone.pth", "there is no such file"),
        ("w.safetensors", "cannot be read"),
        ("w.onnx", "allowed: .safetensors, .pth, .pt"),
    ):
        assert words in refusal(lambda name=name: build("timm:test_resnet", weights=f"file:{tmp_path / name}"))  # type: ignore[misc]


def test_a_file_never_runs_code(tmp_path: Path) -> None:
    """A pickle that would call something when it is loaded is refused."""
    torch.save({"state_dict": nn.Linear(2, 2)}, tmp_path / "w.pth")
    assert "cannot be read" in refusal(lambda: build("timm:test_resnet", weights=f"file:{tmp_path / 'w.pth'}"))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("timm:test_vit", "net.head"),
        (SMALL, "net.heads.head"),
        ("torchvision:squeezenet1_1", "net.classifier.1"),  # a convolution
    ],
)
def test_a_replaced_head_is_drawn_by_the_seed(name: str, head: str, tmp_path: Path) -> None:
    """The head alone differs between seeds, whatever torch's generator; its numbers are those of every other head of
    the suite: std 0.02, bias 0."""
    torch.save(build(name, 160, num_classes=7).net.state_dict(), tmp_path / "w.pth")
    networks: list[Network] = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)
        networks.append(build(name, 160, weights=f"file:{tmp_path / 'w.pth'}", seed=seed, num_classes=100))
    for key, first in networks[0].named_parameters():
        second, third = (dict(network.named_parameters())[key] for network in networks[1:])
        assert torch.equal(first, second)
        assert torch.equal(first, third) == (key != f"{head}.weight")
    assert networks[0].get_parameter(f"{head}.weight").std().item() == pytest.approx(0.02, rel=0.05)
    assert not networks[0].get_parameter(f"{head}.bias").any()


def test_a_download_that_fails(tmp_path: Path) -> None:
    """Without a network: one error with the address and the way out, from both libraries' real downloads."""
    program = """
import models
for name in ("timm:resnet18", "torchvision:resnet18"):
    try:
        models.create_model(name, image_size=64, in_channels=3, num_classes=10, weights="library")
    except models.ModelError as error:
        print(error)
"""
    nowhere = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)}
    proxies = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}  # a port where nobody answers
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **nowhere, **proxies},
    )
    first, second = (line for line in done.stdout.splitlines() if "could not be had" in line)
    assert first.startswith("timm:resnet18: the weights could not be had from https://huggingface.co/timm/resnet18")
    assert second.startswith("torchvision:resnet18: the weights could not be had from https://download.pytorch.org/")
    assert all(line.endswith('give them as a file: weights = "file:PATH"') for line in (first, second))


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:swin_s3_tiny_224", SMALL])
def test_patches_grow_with_the_image(name: str, randomise: Any) -> None:
    """The defining property of FlexiViT (equation 2): images whose every patch is resized by itself (by torch's own
    resizing) give, with patches of half as many pixels again, the logits of the originals; afterwards all is as before.
    """
    home = 224 if "swin" in name else 32
    network: Any = models.create_model(name, image_size=home, in_channels=3, num_classes=5, size="own").double()
    randomise(network)
    network.eval()
    patch, side = network.patch(), home * 3 // 2
    x = images(2, 3, home, home).double()
    cut = x.view(2, 3, home // patch, patch, home // patch, patch).transpose(3, 4).reshape(-1, 1, patch, patch)
    grown = nn.functional.interpolate(cut, scale_factor=1.5, mode="bilinear", antialias=True)
    n, larger = home // patch, patch * 3 // 2
    resized = grown.view(2, 3, n, n, larger, larger).transpose(3, 4).reshape(2, 3, side, side)
    before = dict(network.named_parameters())
    with torch.no_grad():
        expected, grid = network(x), network.grid(home, home)
        with at_patch(network, side, home):
            assert network.patch() == larger
            assert network.grid(side, side) == grid
            torch.testing.assert_close(network(resized), expected, atol=1e-8, rtol=1e-8)
        assert torch.equal(network(x), expected)
    assert (network.patch(), network.home) == (patch, home)
    assert all(network.get_parameter(key) is value for key, value in before.items())


def test_abilities_know_ready_made_patches() -> None:
    """Reference: the names; a convolutional network has none."""
    found = {
        name: models.abilities(name, size="own", options={}, train_resolution=side).patch
        for name, side in (("timm:test_vit", 160), ("torchvision:vit_b_16", 224), ("timm:resnet18", 64))
    }
    assert found == {"timm:test_vit": 16, "torchvision:vit_b_16": 16, "timm:resnet18": None}


def test_a_network_that_is_new_can_be_compiled_whole() -> None:
    """Before its first pass, as `--compile network` does. Reference: the network itself."""
    network, batch = build("timm:resnet18", 64), torch.randn(2, 3, 64, 64)
    torch.compiler.reset()
    fast = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(fast(batch), network(batch))
