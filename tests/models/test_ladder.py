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
from models.catalogue.ladder import MIXERS, REPLACED
from models.catalogue.registry import declared_options
from models.initial import initialise
from models.locally_connected import LocallyConnected
from models.mixers import Conv, GatedConv, Local, Pool, Scan, StateSpace
from models.network import as_map, as_tokens
from models.positions.absolute import NoPosition
from models.resnet import Padding

#                      equivariant, global, depends on content
STATED = {
    "identity": (True, False, False),
    "pool": (True, False, False),
    "depthwise_conv": (True, False, False),
    "gated_conv": (True, False, False),
    "local_attention": (True, False, True),
    "window_attention": (False, False, True),
    "attention": (True, True, True),
    "locally_connected": (False, False, False),
    "token_mlp": (False, True, False),
    "ssd": (False, True, True),
}
every_mixer = pytest.mark.parametrize("mixer", STATED)
PADDINGS: tuple[Padding, ...] = ("zeros", "circular")
SIDE = 12  # tokens along a side, of 2 pixels each


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(name: str, **options: Any) -> Any:
    options = {"image_size": 2 * SIDE, "size": "pico", "scale": 8, **options}
    if models.resizes_input(name, options):  # its scale must be as large as the image; the shape stays that of scale 8
        scale = next(scale for scale in models.SCALES if scale >= options["image_size"])
        patch = {"patch_size": 2} if name == "ladder" else {}
        options = {**patch, **options, "scale": scale, "size": "pico" if patch else "tiny"}
    return models.create_model(name, in_channels=1, num_classes=10, **options).double().eval()


def rung(mixer: str, randomise: Any, **options: Any) -> Any:
    return randomise(make("ladder", mixer=mixer, **{"position": "none", **options}))


def last_tokens(network: Any, x: Tensor) -> Tensor:
    """Tokens after the last block on their grid: H W D of one image."""
    tokens = network.forward_parts(x)[1][f"block.{len(network.blocks) - 1}"]
    return tokens[0].unflatten(0, (x.shape[2] // 2, x.shape[3] // 2))


def nowhere(width: int, heads: int = 1) -> NoPosition:
    """An encoding that does nothing, as a mixer is given one."""
    return NoPosition(grid=(1, 1), width=width, depth=1, heads=heads, prefix=0)


def test_what_is_stated_is_all_there_is() -> None:
    assert set(STATED) == set(MIXERS)


@every_mixer
def test_equivariance(mixer: str, randomise: Any) -> None:
    """The image shifted by a patch gives the tokens shifted by one, or not, as stated; compared inside the border."""
    network = rung(mixer, randomise, depth=2)
    x = images(1, 1, 2 * SIDE, 2 * SIDE)
    plain, shifted = last_tokens(network, x), last_tokens(network, x.roll((2, 2), (2, 3)))
    inner = slice(4, SIDE - 3)
    difference = (shifted.roll((-1, -1), (0, 1)) - plain)[inner, inner].abs().max().item()
    assert (difference < 1e-10) == STATED[mixer][0]


@pytest.mark.parametrize("mixer", ["depthwise_conv", "gated_conv", "pool", "locally_connected"])
def test_shifts_on_a_torus(mixer: str, randomise: Any) -> None:
    """With circular padding a cyclic shift by whole patches leaves the logits of what is equivariant, exactly.

    Not by less than a patch, not with zeros, not with an absolute position, and never without sharing.
    """
    shared = mixer != "locally_connected"
    x, grid = images(2, 1, 2 * SIDE, 2 * SIDE), {"depth": 2, "kernel": 5, "mlp_hidden": 96}
    for padding, position, shift, invariant in (
        ("circular", "none", (2, 2), shared),
        ("circular", "none", (-6, 10), shared),
        ("circular", "none", (1, 0), False),
        ("zeros", "none", (2, 2), False),
        ("circular", "learned_1d", (2, 2), False),
    ):
        network = rung(mixer, randomise, position=position, padding=padding, **grid)
        difference = (network(x) - network(x.roll(shift, (2, 3)))).abs().max()
        assert (difference < 1e-10) == invariant, (padding, position, shift)


def test_identity_sees_a_bag_of_patches(randomise: Any) -> None:
    """Patches in any order give the same logits, exactly; with a position they do not."""
    x = images(2, 1, 8, 8)
    patches = x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).transpose(3, 4)  # B 1 4 4 2 2
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    moved = patches.flatten(2, 3)[:, :, order].unflatten(2, (4, 4)).transpose(3, 4).reshape(x.shape)
    for position, blind in (("none", True), ("learned_1d", False)):
        network = rung("identity", randomise, position=position, image_size=8)
        assert ((network(x) - network(moved)).abs().max() < 1e-10) == blind


def test_windows_are_equivariant_to_whole_windows(randomise: Any) -> None:
    """Unshifted windows of 4 patches: an image rolled by 8 pixels gives tokens rolled by 4, borders included."""
    network = rung("window_attention", randomise, depth=1, window=4)
    x = images(1, 1, 2 * SIDE, 2 * SIDE)
    plain, shifted = last_tokens(network, x), last_tokens(network, x.roll((8, 8), (2, 3)))
    torch.testing.assert_close(shifted.roll((-4, -4), (0, 1)), plain)


@every_mixer
def test_reach(mixer: str, randomise: Any) -> None:
    """Gradient of one token after one block: all of the image, or the neighbourhood or window that is stated."""
    network = rung(mixer, randomise, depth=1)
    x = images(1, 1, 2 * SIDE, 2 * SIDE).requires_grad_()
    last_tokens(network, x)[5, 6].sum().backward()
    assert x.grad is not None
    rows, columns = x.grad[0, 0].unflatten(0, (SIDE, 2)).unflatten(2, (SIDE, 2)).abs().sum((1, 3)).nonzero().T
    reached = [int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())]
    if STATED[mixer][1]:
        assert reached == [0, SIDE - 1, 0, SIDE - 1]
    elif mixer == "identity":
        assert reached == [5, 5, 6, 6]
    elif mixer == "window_attention":  # windows of 2 x 2
        assert reached == [4, 5, 6, 7]
    else:
        assert reached == [4, 6, 5, 7]
    field = network.details(2 * SIDE, 2 * SIDE).get("receptive_field")
    assert field in (None, 2 if mixer == "identity" else 6)


@pytest.mark.parametrize("mixer", ["depthwise_conv", "gated_conv"])
def test_receptive_field_is_the_gradients(mixer: str, randomise: Any) -> None:
    """The stated field of blocks of 5 x 5 is the extent of the gradient."""
    network = rung(mixer, randomise, depth=2, kernel=5)
    x = images(1, 1, 2 * SIDE, 2 * SIDE).requires_grad_()
    last_tokens(network, x)[6, 6].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()
    assert int(touched.max() - touched.min()) + 1 == network.details(24, 24)["receptive_field"] == 18


@pytest.mark.parametrize(("mixer", "field"), [("identity", 6), ("depthwise_conv", 22)])
def test_a_convolution_as_encoding_widens_the_receptive_field(mixer: str, field: int, randomise: Any) -> None:
    """`conditional` adds one of 3 x 3 after the first block. Reference: the extent of the gradient."""
    options = {} if mixer == "identity" else {"kernel": 5}
    network = rung(mixer, randomise, depth=2, position="conditional", **options)
    x = images(1, 1, 2 * SIDE, 2 * SIDE).requires_grad_()
    last_tokens(network, x)[6, 6].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()
    assert int(touched.max() - touched.min()) + 1 == network.details(24, 24)["receptive_field"] == field


@every_mixer
def test_dependence_on_content(mixer: str, randomise: Any) -> None:
    """How a mixer weighs a token does not depend on what another token holds, or it does, as stated.

    The first block's mixer is a sum over tokens of functions of one token each exactly when mixed second differences
    vanish: f(a, b) - f(a, 0) - f(0, b) + f(0, 0) = 0 for two tokens a and b. The MLP across tokens is the exception:
    its hidden units see several tokens, so its weights are fixed but its map is not linear in them. A gate is a token's
    own, so of gated convolution the tokens beside it are what is asked.
    """
    network = rung(mixer, randomise, depth=1)
    block: Any = network.blocks[0]
    grid = (SIDE, SIDE)
    read = 5 * SIDE + 6

    def mixed(first: float, second: float) -> Tensor:
        tokens = images(1, SIDE * SIDE, 48)
        tokens[0, read - 1 if mixer == "gated_conv" else read] *= first
        tokens[0, read + 1] *= second
        if mixer == "token_mlp":  # its first linear map across tokens
            hidden = nn.functional.gelu(block.mixer.up(tokens))
            return block.mixer.across.mlp.up(hidden.transpose(1, 2))
        result = block.mixer(tokens, network.position, grid, 0, None)
        return result[:, read] if mixer == "gated_conv" else result

    second_difference = mixed(1, 1) - mixed(1, 0) - mixed(0, 1) + mixed(0, 0)
    assert (second_difference.abs().max().item() > 1e-6) == STATED[mixer][2]


def test_everything_outside_the_mixers_is_the_same() -> None:
    """At the same seed, embedding, position, norms and head have the ViT's names and values, bit for bit.

    So have MLPs of as many hidden units, and so do maps of the mixers that are of one shape.
    """
    reference = {key: value for key, value in make("vit").state_dict().items() if ".attention." not in key}
    attention, pool = (make("ladder", mixer=mixer).state_dict() for mixer in ("attention", "pool"))
    for mixer in MIXERS:
        others = make("ladder", mixer=mixer).state_dict()
        assert {key for key in others if ".mixer." not in key} == set(reference)
        for key, value in reference.items():
            if ".mlp." in key and others[key].shape != value.shape:
                continue
            assert torch.equal(others[key], value), (mixer, key)
        for key, value in {**attention, **pool}.items():
            if ".mixer." in key and key in others and others[key].shape == value.shape:
                assert torch.equal(others[key], value), (mixer, key)
    for mixer in ("identity", "pool", "attention", "local_attention", "window_attention"):
        options = {"mixer": mixer, "scale": 32}
        assert models.resolve_options("ladder", size="nano", options=options)["mlp_hidden"] == 4 * 64


@pytest.mark.parametrize("scale", models.SCALES)
def test_parameters_are_matched(scale: int) -> None:
    """Within 0.2 % of the tier's ViT, all mixers and tiers, counted on the meta device; and with other options too."""
    for size in models.TIERS[1 if scale > 32 else 0 :]:
        more = [{"mixer": "gated_conv", "kernel": 7}, {"mixer": "token_mlp", "token_hidden": 5}]
        more += [{"mixer": "depthwise_conv", "kernel": 5, "width": 48}]
        for options in [{"mixer": mixer} for mixer in MIXERS] + (more if size == "nano" else []):
            shape: dict[str, Any] = {"image_size": scale, "size": size, "scale": scale, "in_channels": 3, "depth": 1}
            with torch.device("meta"):
                ours = models.create_model("ladder", num_classes=10, **shape, **options)
                width = {"width": options["width"]} if "width" in options else {}
                vit = models.create_model("vit", num_classes=10, **shape, **width)
            found, wanted = (network.parameters_by_part()["backbone"] for network in (ours, vit))
            assert found == pytest.approx(wanted, rel=0.002), (size, options)


def test_hidden_units_follow_unless_they_are_given() -> None:
    """What follows says nothing of its own; a mixer that outgrows the block is refused unless they are given."""
    options = {"mixer": "depthwise_conv", "kernel": 7}
    resolved = models.resolve_options("ladder", size="nano", options=options)
    assert models.following_options("ladder", resolved) == {"mlp_hidden"}
    given = models.resolve_options("ladder", size="nano", options={**options, "mlp_hidden": 100})
    assert given == {**resolved, "mlp_hidden": 100} and models.following_options("ladder", given) == set()
    large = {"mixer": "locally_connected", "kernel": 7, "kernels": 64}
    with pytest.raises(models.ModelError, match="outgrows the ViT's block of width 64: mlp_hidden must be given"):
        models.resolve_options("ladder", size="nano", options=large)
    assert models.resolve_options("ladder", size="nano", options={**large, "mlp_hidden": 9})["mlp_hidden"] == 9


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
    """The whole network without sharing, its kernels made equal at all places, gives the logits of the convolution."""
    same: dict[str, Any] = {"kernels": 4, "padding": padding, "mlp_hidden": 40, "position": "learned_1d"}
    conv, local = rung("depthwise_conv", randomise, **same), rung("locally_connected", randomise, **same)
    state = conv.state_dict()
    for key, value in local.state_dict().items():
        if key.endswith("across.kernel"):
            state[key] = state[key].flatten(1)[:, None].expand_as(value)
    local.load_state_dict(state)
    x = images(2, 1, 2 * SIDE, 2 * SIDE)
    torch.testing.assert_close(local(x), conv(x))


@pytest.mark.parametrize("kernel", [3, 7])
def test_gated_conv_is_mambaouts(kernel: int, randomise: Any) -> None:
    """timm's block of MambaOut with our weights, less its norm and its shortcut; circular as torch pads."""
    from timm.models.mambaout import GatedConvBlock

    ours = randomise(GatedConv(width=12, grid=(5, 6), block=0, kernel=kernel, padding="zeros").double())
    theirs = GatedConvBlock(12, expansion_ratio=16 / 12, kernel_size=kernel, norm_layer=nn.Identity).double()
    names = {"up": "fc1", "conv": "conv", "down": "fc2"}
    state = {key.partition("."): value for key, value in ours.state_dict().items()}
    theirs.load_state_dict({f"{names[layer]}.{kind}": value for (layer, _, kind), value in state.items()})
    for padding in PADDINGS:
        ours.padding = theirs.conv.padding_mode = padding
        theirs.conv._reversed_padding_repeated_twice = [kernel // 2] * 4
        for rows, columns in ((5, 6), (8, 7)):
            x = images(2, rows * columns, 12)
            mapped = x.unflatten(1, (rows, columns))
            expected = (theirs(mapped) - mapped).flatten(1, 2)
            torch.testing.assert_close(ours(x, nowhere(12), (rows, columns), 0, None), expected)


def scanned(mixer: StateSpace, x: Tensor) -> Tensor:
    """The state-space model by its recurrence: token by token, head by head, B N D -> B N D before the norm."""
    batch, count, width = x.shape
    c, b, u = mixer.qkv(x).split(width, dim=-1)
    step = torch.log(1 + torch.exp(mixer.steps(x)))
    found = torch.zeros_like(x)
    for image, head in itertools.product(range(batch), range(mixer.heads)):
        own = slice(head * mixer.head_width, (head + 1) * mixer.head_width)
        backwards = mixer.scan == "reversed" or (mixer.scan == "both" and head >= mixer.heads // 2)
        state = torch.zeros(mixer.head_width, mixer.head_width, dtype=x.dtype)
        for token in reversed(range(count)) if backwards else range(count):
            dt = step[image, token, head]
            state = torch.exp(-torch.exp(mixer.log_rate[head]) * dt) * state
            state = state + dt * torch.outer(u[image, token, own], b[image, token, own])
            found[image, token, own] = state @ c[image, token, own] + mixer.skip[head] * u[image, token, own]
    return found


@pytest.mark.parametrize("scan", ["raster", "reversed", "both"])
def test_ssd_is_its_recurrence(scan: Scan, randomise: Any) -> None:
    """To 1e-10, whole with norm and last map, on two grids; the norm by hand. Gradients by finite differences."""
    mixer = randomise(StateSpace(width=8, grid=(3, 4), block=0, heads=4, scan=scan).double()).requires_grad_(False)
    for grid in ((3, 4), (5, 3)):
        x = images(2, grid[0] * grid[1], 8)
        mixed = scanned(mixer, x)
        normed = mixed / (mixed.square().mean(-1, keepdim=True) + 1e-5).sqrt() * mixer.norm.weight
        expected = normed @ mixer.out.weight.T + mixer.out.bias
        found = mixer(x, nowhere(8, 4), grid, 0, None)
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    few = images(1, 4, 8).requires_grad_()
    position = nowhere(8, 4)
    assert torch.autograd.gradcheck(lambda x: mixer(x, position, (2, 2), 0, None), few, fast_mode=True)


def test_ssd_starts_as_mamba_2() -> None:
    """Steps between 0.001 and 0.1, rates between 1 and 16, skips of 1 (Dao and Gu's code, ssd's initial values)."""
    mixer = StateSpace(width=256, grid=(1, 1), block=0, heads=256, scan="raster")
    initialise(mixer, 0)
    steps, rates = nn.functional.softplus(mixer.steps.bias), mixer.log_rate.exp()
    assert 0.001 <= steps.min() < 0.0012 and 0.08 < steps.max() <= 0.1
    assert 1 <= rates.min() < 1.5 and 15.5 < rates.max() <= 16
    assert (mixer.skip == 1).all()


def test_ssd_holds_for_long_scans() -> None:
    """Where the past has long faded nothing overflows, forwards and backwards, in single precision."""
    mixer = StateSpace(width=8, grid=(1, 1), block=0, heads=2, scan="both")
    steps = torch.full((1, 1024, 2), 3.0, requires_grad=True)
    with torch.no_grad():
        mixer.log_rate.fill_(3.0)
    left = mixer.decay(steps, mixer.order((32, 32)).float())
    left.sum().backward()
    assert left.isfinite().all() and steps.grad is not None and steps.grad.isfinite().all()
    assert (left.diagonal(dim1=-2, dim2=-1) == 1).all() and left[0, 0, 0, 1] == left[0, 1, 1, 0] == 0


def test_attention_is_the_vits(randomise: Any) -> None:
    """`vit` with the same weights, whole and within a window of any radius; its maps of attention too."""
    x = images(2, 1, 2 * SIDE, 2 * SIDE)
    for window in (0, 1, 3):
        own = {"mixer": "local_attention", "attention_window": window} if window else {"mixer": "attention"}
        ours = randomise(make("ladder", position="learned_2d", **own))
        vit = make("vit", position="learned_2d", attention_window=window)
        vit.load_state_dict({key.replace(".mixer.", ".attention."): v for key, v in ours.state_dict().items()})
        (found, parts), (expected, theirs) = ours.forward_parts(x), vit.forward_parts(x)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(parts["attention.1"], theirs["attention.1"])
        assert ours.details(24, 24) == vit.details(24, 24)


def test_one_window_is_the_vits_attention(randomise: Any) -> None:
    """A window of the whole grid is the ViT's attention; shifted windows are the ViT's under a mask made by loops."""
    windows = make("ladder", mixer="window_attention", window=4, image_size=16)
    vit = randomise(make("vit", image_size=16))
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
    whole = make("ladder", mixer="window_attention", window=8, image_size=16)
    whole.load_state_dict(windows.state_dict())
    torch.testing.assert_close(whole(x), vit(x))


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
    """Kernels that do not divide the channels, none where places have their own, encodings of attention, odd heads."""
    for name, options, message in (
        ("ladder", {"mixer": "depthwise_conv", "kernels": 5}, "128 channels are not divisible by 5 kernels"),
        ("ladder", {"mixer": "locally_connected", "kernels": 0}, "at least 1"),
        ("ladder", {"position": "rope_axial"}, "option `position` is 'rope_axial'; allowed: none, learned_1d"),
        ("ladder", {"mixer": "window_attention", "heads": 3}, "width 64 is not divisible by 3 heads"),
        ("ladder", {"mixer": "ssd", "heads": 1}, "scan both needs an even number of heads, not 1"),
        ("ladder", {"mixer": "atention"}, "did you mean `attention`"),
        ("ladder", {"mixer": "pool", "scan": "both"}, "option `scan` belongs to mixer ssd, and mixer is pool"),
        ("locally_connected", {"total_stride": 32}, "total_stride 32 cannot be made"),
    ):
        with pytest.raises(models.ModelError, match=message):
            models.resolve_options(name, size="nano", options=options)
    for mixer in ("token_mlp", "locally_connected"):
        outgrown = {"size": "nano", "options": {"mixer": mixer}, "resolution": 64, "train_resolution": 64}
        with pytest.raises(models.ModelError, match="64 px outgrow scale 32; nearest scale 64"):
            models.check_resolution("ladder", **outgrown)


def test_families_of_before_name_what_they_are_now() -> None:
    """The refusal of a study written for them says what to write; every name leads to a mixer that there is."""
    assert set(REPLACED.values()) <= set(MIXERS)
    with pytest.raises(models.ModelError, match=r"no model 'iso_conv' any more: it is now `ladder` .*depthwise_conv"):
        models.family("iso_conv")


@every_mixer
def test_a_mixer_brings_its_own_code_and_options(mixer: str) -> None:
    """What a run depends on is its mixer and no other; options are those of the mixer's declaration."""
    one = MIXERS[mixer]
    found = {source for source in models.sources("ladder", options={"mixer": mixer}) if "positions" not in source}
    assert found == {"models.ladder:Ladder", one.entry, "models.initial:initialise"}
    declared = {option.name for option in models.family("ladder").options}
    own = {option.name for option in one.options}
    assert set(declared_options("ladder", {"mixer": mixer})) == declared | own <= models.possible_options("ladder")
    assert models.resizes_input("ladder", {"mixer": mixer}) == one.one_grid
    ways = models.carry_ways("ladder", options={"mixer": mixer})
    assert ways == (() if one.one_grid else models.carry_ways("vit", options={}))


def test_an_option_that_was_given_follows_from_nothing() -> None:
    """Where no number of hidden units is right, the one that was given says something."""
    options = {"mixer": "token_mlp", "token_hidden": 5000, "mlp_hidden": 8}
    resolved = models.resolve_options("ladder", size="nano", options=options)
    assert models.following_options("ladder", resolved) == frozenset()
