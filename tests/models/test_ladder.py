"""The ladder: each mixer against a reference of its own, and the properties that its docstring states.

Properties are shown on whole networks without position: equivariance by shifting the image one patch and comparing
tokens away from the border, reach by gradients, dependence on content by whether an untouched place of the mixing
changes when another place's content does.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.isotropic import Conv, IsoConv, IsoLocal, IsoWindow, Local, PlainWindows, Pool
from models.locally_connected import LocallyConnected
from models.network import as_map, as_tokens
from models.resnet import Padding
from models.vit import ViT

ISOTROPIC = ("iso_attention", "iso_window", "iso_conv", "iso_local", "iso_pool", "iso_mlp")
#                          equivariant, global, depends on content
STATED = {
    ("iso_attention", 0): (True, True, True),
    ("vit", 1): (True, False, True),
    ("iso_window", 0): (False, False, True),
    ("iso_conv", 0): (True, False, False),
    ("iso_local", 0): (False, False, False),
    ("iso_pool", 0): (True, False, False),
    ("iso_mlp", 0): (False, True, False),
}
every_rung = pytest.mark.parametrize(("name", "window"), STATED)
PADDINGS: tuple[Padding, ...] = ("zeros", "circular")
SIDE = 12  # tokens along a side, of 2 pixels each


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(name: str, **options: Any) -> Any:
    options = {"image_size": 2 * SIDE, "size": "pico", "scale": 8, **options}
    if models.family(name).resizes_input:  # its scale must be as large as the image; the shape stays that of scale 8
        scale = next(scale for scale in models.SCALES if scale >= options["image_size"])
        patch = {"patch_size": 2} if name.startswith("iso_") else {}
        options = {**patch, **options, "scale": scale, "size": "pico" if patch else "tiny"}
    return models.create_model(name, in_channels=1, num_classes=10, **options).double().eval()


def rung(name: str, reach: int, randomise: Any, **options: Any) -> Any:
    extra = {"attention_window": reach} if reach else {}
    return randomise(make(name, position="none", **extra, **options))


def last_tokens(network: Any, x: Tensor) -> Tensor:
    """Tokens after the last block on their grid: H W D of one image."""
    tokens = network.forward_parts(x)[1][f"block.{len(network.blocks) - 1}"]
    return tokens[0].unflatten(0, (x.shape[2] // 2, x.shape[3] // 2))


@every_rung
def test_equivariance(name: str, window: int, randomise: Any) -> None:
    """The image shifted by a patch gives the tokens shifted by one, or not, as stated; compared inside the border."""
    network = rung(name, window, randomise, depth=2)
    x = images(1, 1, 2 * SIDE, 2 * SIDE)
    plain, shifted = last_tokens(network, x), last_tokens(network, x.roll((2, 2), (2, 3)))
    inner = slice(4, SIDE - 3)
    difference = (shifted.roll((-1, -1), (0, 1)) - plain)[inner, inner].abs().max().item()
    assert (difference < 1e-10) == STATED[name, window][0]


@pytest.mark.parametrize("name", ["iso_conv", "iso_pool", "iso_local"])
def test_shifts_on_a_torus(name: str, randomise: Any) -> None:
    """With circular padding a cyclic shift by whole patches leaves the logits of what is equivariant, exactly.

    Not by less than a patch, not with zeros, not with an absolute position, and never without sharing.
    """
    shared = name != "iso_local"
    x, grid = images(2, 1, 2 * SIDE, 2 * SIDE), {"depth": 2, "kernel": 5}
    for padding, position, shift, invariant in (
        ("circular", "none", (2, 2), shared),
        ("circular", "none", (-6, 10), shared),
        ("circular", "none", (1, 0), False),
        ("zeros", "none", (2, 2), False),
        ("circular", "learned_1d", (2, 2), False),
    ):
        network = randomise(make(name, position=position, padding=padding, **grid))
        difference = (network(x) - network(x.roll(shift, (2, 3)))).abs().max()
        assert (difference < 1e-10) == invariant, (padding, position, shift)


def test_windows_are_equivariant_to_whole_windows(randomise: Any) -> None:
    """Unshifted windows of 4 patches: an image rolled by 8 pixels gives tokens rolled by 4, borders included."""
    network = rung("iso_window", 0, randomise, depth=1, window=4)
    x = images(1, 1, 2 * SIDE, 2 * SIDE)
    plain, shifted = last_tokens(network, x), last_tokens(network, x.roll((8, 8), (2, 3)))
    torch.testing.assert_close(shifted.roll((-4, -4), (0, 1)), plain)


@every_rung
def test_reach(name: str, window: int, randomise: Any) -> None:
    """Gradient of one token after one block: all of the image, or the neighbourhood or window that is stated."""
    network = rung(name, window, randomise, depth=1)
    x = images(1, 1, 2 * SIDE, 2 * SIDE).requires_grad_()
    last_tokens(network, x)[5, 6].sum().backward()
    assert x.grad is not None
    rows, columns = x.grad[0, 0].unflatten(0, (SIDE, 2)).unflatten(2, (SIDE, 2)).abs().sum((1, 3)).nonzero().T
    reached = [int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())]
    if STATED[name, window][1]:
        assert reached == [0, SIDE - 1, 0, SIDE - 1]
    elif name == "iso_window":  # windows of 2 x 2
        assert reached == [4, 5, 6, 7]
    else:
        assert reached == [4, 6, 5, 7]
    field = network.details(2 * SIDE, 2 * SIDE).get("receptive_field")
    assert field in (None, 6)


def test_receptive_field_is_the_gradients(randomise: Any) -> None:
    """The stated field of four blocks of 5 x 5 is the extent of the gradient."""
    network = rung("iso_conv", 0, randomise, depth=2, kernel=5)
    x = images(1, 1, 2 * SIDE, 2 * SIDE).requires_grad_()
    last_tokens(network, x)[6, 6].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()
    assert int(touched.max() - touched.min()) + 1 == network.details(24, 24)["receptive_field"] == 18


@every_rung
def test_dependence_on_content(name: str, window: int, randomise: Any) -> None:
    """How a mixer weighs a token does not depend on what another token holds, or it does, as stated.

    The first block's mixer is a sum over tokens of functions of one token each exactly when mixed second differences
    vanish: f(a, b) - f(a, 0) - f(0, b) + f(0, 0) = 0 for two tokens a and b. The MLP across tokens is the exception:
    its hidden units see several tokens, so its weights are fixed but its map is not linear in them.
    """
    network = rung(name, window, randomise, depth=1)
    block: Any = network.blocks[0]
    grid = (SIDE, SIDE)

    def mixed(first: float, second: float) -> Tensor:
        tokens = images(1, SIDE * SIDE, 48)
        tokens[0, 5 * SIDE + 6] *= first
        tokens[0, 5 * SIDE + 7] *= second
        if isinstance(network, ViT):
            mask = network.window_mask(grid) if window else None
            return block.attention(tokens, network.position, grid, 0, None, mask)
        if name == "iso_mlp":  # its first linear map across tokens
            hidden = nn.functional.gelu(block.mixer.up(tokens))
            return block.mixer.across.mlp.up(hidden.transpose(1, 2))
        return block.mixer(tokens, grid, 0, None)

    second_difference = mixed(1, 1) - mixed(1, 0) - mixed(0, 1) + mixed(0, 0)
    assert (second_difference.abs().max().item() > 1e-6) == STATED[name, window][2]


def test_everything_outside_the_mixers_is_the_vits() -> None:
    """At the same seed, embedding, position, norms, MLPs and head have the ViT's names and values, bit for bit."""
    reference = make("vit").state_dict()
    for name in ISOTROPIC:
        others = make(name).state_dict()
        shared = {key: value for key, value in others.items() if ".mixer." not in key}
        assert {key for key in reference if ".attention." not in key} <= set(shared)
        assert all(torch.equal(value, reference[key]) for key, value in shared.items())


@pytest.mark.parametrize("padding", PADDINGS)
def test_conv_is_torchs_depthwise_convolution(padding: Padding, randomise: Any) -> None:
    """nn.Conv2d with groups; a kernel per group of channels is a depthwise one with repeated kernels."""
    x = images(2, 15, 12)  # 3 x 5 tokens of 12 channels
    for kernels in (12, 3):
        ours = randomise(Conv(12, 3, kernels, padding).double())
        theirs = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False, padding_mode=padding).double()
        with torch.no_grad():
            for channel in range(12):
                theirs.weight[channel] = ours.kernel[channel // (12 // kernels)]
        torch.testing.assert_close(ours(x, (3, 5)), as_tokens(theirs(as_map(x, (3, 5)))))


def test_pool_by_hand() -> None:
    """The mean over the neighbours that exist, token by token."""
    x = images(1, 12, 2)
    pooled = Pool(3)(x, (3, 4)).unflatten(1, (3, 4))[0]
    grid = x[0].unflatten(0, (3, 4))
    for r, c in itertools.product(range(3), range(4)):
        around = grid[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].flatten(0, 1)
        torch.testing.assert_close(pooled[r, c], around.mean(0))
    wrapped = Pool(3, "circular")(x, (3, 4)).unflatten(1, (3, 4))[0]
    for r, c in itertools.product(range(3), range(4)):
        around = torch.stack([grid[(r + i) % 3, (c + j) % 4] for i, j in itertools.product((-1, 0, 1), repeat=2)])
        torch.testing.assert_close(wrapped[r, c], around.mean(0))


@pytest.mark.parametrize("padding", PADDINGS)
def test_local_by_hand_and_shared(padding: Padding, randomise: Any) -> None:
    """Token by token with the kernels of its place; and with the same kernels at all places, the convolution."""
    x = images(1, 12, 6)
    local = randomise(Local(3, 2, 12, padding).double()).requires_grad_(False)
    mixed, grid = local(x, (3, 4))[0].unflatten(0, (3, 4)), x[0].unflatten(0, (3, 4))
    for r, c, channel in itertools.product(range(3), range(4), range(6)):
        expected = 0.0
        for i, j in itertools.product(range(3), range(3)):
            row, column = r + i - 1, c + j - 1
            if padding == "circular" or (0 <= row < 3 and 0 <= column < 4):
                value = grid[row % 3, column % 4, channel]
                expected += float(local.kernel[channel // 3, 4 * r + c, 3 * i + j] * value)
        assert float(mixed[r, c, channel]) == pytest.approx(expected)
    conv = randomise(Conv(6, 3, 2, padding).double())
    with torch.no_grad():
        local.kernel.copy_(conv.kernel.flatten(1)[:, None].expand_as(local.kernel))
    torch.testing.assert_close(local(x, (3, 4)), conv(x, (3, 4)))


@pytest.mark.parametrize("padding", PADDINGS)
def test_local_with_equal_kernels_is_the_convolutional_network(padding: Padding, randomise: Any) -> None:
    """The whole `iso_local`, its kernels made equal at all places, gives the logits of `iso_conv` with as many."""
    conv, local = randomise(make("iso_conv", kernels=4, padding=padding)), make("iso_local", padding=padding)
    assert isinstance(conv, IsoConv) and isinstance(local, IsoLocal)
    state = conv.state_dict()
    for key, value in local.state_dict().items():
        if key.endswith("across.kernel"):
            state[key] = state[key].flatten(1)[:, None].expand_as(value)
    local.load_state_dict(state)
    x = images(2, 1, 2 * SIDE, 2 * SIDE)
    torch.testing.assert_close(local(x), conv(x))


def test_one_window_is_the_vits_attention(randomise: Any) -> None:
    """A window of the whole grid is the ViT's attention; shifted windows are the ViT's under a mask made by loops."""
    windows, vit = make("iso_window", window=4, image_size=16), make("iso_attention", image_size=16)
    assert isinstance(windows, IsoWindow)
    randomise(vit)
    windows.load_state_dict({k.replace(".attention.", ".mixer."): v for k, v in vit.state_dict().items()})
    x = images(2, 1, 16, 16)
    label = torch.empty(2, 64)
    for token in range(64):
        r, c = divmod(token, 8)
        label[0, token] = r // 4 * 10 + c // 4
        label[1, token] = (r + 2) // 4 * 10 + (c + 2) // 4
    masks = torch.zeros(2, 64, 64).masked_fill(label[:, :, None] != label[:, None, :], -torch.inf).double()
    tokens = vit.position.add(vit.embed(x).flatten(2).transpose(1, 2), (8, 8))
    for index, block in enumerate(vit.blocks):
        tokens = block(tokens, vit.position, (8, 8), index, None, masks[index % 2])
    torch.testing.assert_close(windows(x), vit.head(vit.norm(tokens).mean(1)))
    whole = make("iso_window", window=8, image_size=16)
    whole.load_state_dict(windows.state_dict())
    torch.testing.assert_close(whole(x), vit(x))
    assert all(isinstance(block.mixer, PlainWindows) for block in whole.blocks)


@pytest.mark.parametrize(("class_token", "registers"), [(False, 0), (True, 0), (True, 3)])
@pytest.mark.parametrize("position", ["none", "bias_2d", "lookhere", "relative_1d"])
def test_attention_window_by_pairs(position: str, class_token: bool, registers: int, randomise: Any) -> None:
    """Probabilities of a windowed network: the unwindowed ones of the first layer, zeroed far away and renormalised."""
    options = {"position": position, "class_token": class_token, "registers": registers, "depth": 1}
    near, full = (make("vit", attention_window=r, **options) for r in (2, 0))
    near.load_state_dict(randomise(full).state_dict())
    for grid in ((SIDE, SIDE), (5, 7)):
        x, first = images(1, 1, 2 * grid[0], 2 * grid[1]), int(class_token) + registers
        expected = full.forward_parts(x)[1]["attention.0"][0].clone()
        places = list(itertools.product(range(grid[0]), range(grid[1])))
        for (i, (r, c)), (j, (s, d)) in itertools.product(enumerate(places), enumerate(places)):
            if abs(r - s) > 2 or abs(c - d) > 2:
                expected[:, first + i, first + j] = 0
        expected /= expected.sum(-1, keepdim=True)
        torch.testing.assert_close(near.forward_parts(x)[1]["attention.0"][0], expected)
    assert near.details(24, 24) == {"window": "5x5"} and full.details(24, 24) == {"window": "global"}
    wide = make("vit", attention_window=SIDE, **options)
    wide.load_state_dict(full.state_dict())
    x = images(2, 1, 2 * SIDE, 2 * SIDE)
    torch.testing.assert_close(wide(x), full(x))


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("image_size", [12, 13])
def test_locally_connected_with_equal_kernels_is_the_resnet(
    image_size: int, padding: Padding, norm: str, randomise: Any
) -> None:
    """`resnet` of the same width, stages and strides, its kernels copied to every place; training and evaluation."""
    shape: dict[str, Any] = {"width": 4, "stages": "1-2", "stem": "half", "total_stride": 4, "image_size": image_size}
    shape |= {"padding": padding, "norm": norm}
    ours, theirs = make("locally_connected", **shape), randomise(make("resnet", **shape))
    assert isinstance(ours, LocallyConnected)
    state = theirs.state_dict()
    for (key, value), (other, weight) in zip(ours.state_dict().items(), list(state.items()), strict=True):
        if key.endswith("kernels"):
            weight = weight.flatten(1).T.expand_as(value)
        assert key.rsplit(".", 1)[0] == other.rsplit(".", 1)[0]
        state[key] = weight
    ours.load_state_dict({key: state[key] for key in ours.state_dict()})
    x = images(3, 1, image_size, image_size)
    for training in (True, False):
        torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))
    assert ours.details(12, 12) == theirs.details(12, 12)
    assert ours.grid(50, 50) == theirs.grid(image_size, image_size)


def test_locally_connected_is_local_and_not_equivariant(randomise: Any) -> None:
    """The gradient's extent is the stated field; a shift by the total stride is not the same map shifted."""
    network = randomise(make("locally_connected", width=3, stages="1-1", stem="cifar", total_stride=2, image_size=40))
    x = images(1, 1, 40, 40).requires_grad_()
    last = network.forward_parts(x)[1]["stage.1"]
    last[0, :, 10, 10].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()
    assert int(touched.max() - touched.min()) + 1 == network.details(40, 40)["receptive_field"]
    shifted = network.forward_parts(x.roll(2, 3))[1]["stage.1"]
    assert (shifted.roll(-1, 3) - last)[..., 8:12, 8:12].abs().max() > 1e-3
    torus = randomise(
        make("locally_connected", width=3, stages="1-1", stem="cifar", total_stride=2, padding="circular")
    )
    with torch.no_grad():
        x = images(1, 1, 2 * SIDE, 2 * SIDE)
        assert (torus(x) - torus(x.roll((2, 2), (2, 3)))).abs().max() > 1e-3  # where the ResNet's logits stay


def test_refusals() -> None:
    """Kernels that do not divide the channels, none at all where places have their own, encodings of attention."""
    for name, options, message in (
        ("iso_conv", {"kernels": 5}, "128 channels are not divisible by 5 kernels"),
        ("iso_local", {"kernels": 0}, "at least 1"),
        ("iso_pool", {"position": "rope_axial"}, "option `position` is 'rope_axial'; allowed: none, learned_1d"),
        ("locally_connected", {"total_stride": 32}, "total_stride 32 cannot be made"),
        ("iso_window", {"heads": 3}, "width 64 is not divisible by 3 heads"),
    ):
        with pytest.raises(models.ModelError, match=message):
            models.resolve_options(name, size="nano", options=options)
    assert models.carry_ways("iso_local", options={}) == () and len(models.carry_ways("iso_conv", options={})) == 3
