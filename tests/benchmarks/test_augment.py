"""Augmentations against torchvision and their definitions, and their draws against the distributions they name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as V
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from benchmarks import augment, randomness
from benchmarks.recipes import Recipe, augmentations

BATCH, CLASSES = 64, 10
EVERYTHING = {
    "crop_padding": 2,
    "flip": True,
    "randaugment_operations": 2,
    "erasing": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
}
LEVEL = 1 / 255  # torchvision's uint8 functions cut off what ours keep as fractions of a level


def recipe(**changes: Any) -> Recipe:
    return Recipe(**changes)


def draws(seed: int, batch: int) -> augment.Draw:
    """Uniform numbers by NumPy's generator, the same at every call."""
    return lambda count: np.random.default_rng(seed).random((batch, count))


def fixed(*columns: Any) -> augment.Draw:
    """The numbers of a test, a column for each that an image gets."""
    u = np.stack(np.broadcast_arrays(*(np.atleast_1d(np.asarray(column, dtype=float)) for column in columns)), axis=1)

    def draw(count: int) -> NDArray[np.float64]:
        assert count == u.shape[1]
        return u

    return draw


def bytes_of(batch: int = 8, channels: int = 3, size: int = 16) -> Tensor:
    """Images of all levels, each with another contrast."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.linspace(40, 256, batch).view(-1, 1, 1, 1)
    return (torch.rand(batch, channels, size, size, generator=generator) * spread).to(torch.uint8)


def images(batch: int = 8, channels: int = 3, size: int = 16) -> Tensor:
    return bytes_of(batch, channels, size).float() / 255


def one_hot(batch: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.arange(batch) % CLASSES, CLASSES).float()


def ramp(batch: int, size: int = 8) -> Tensor:
    """Images whose every pixel is another number, so that a place can be read off: 1 + row * size + column."""
    return (1 + torch.arange(size * size, dtype=torch.float32)).view(1, 1, size, size).repeat(batch, 1, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", augmentations(recipe(**EVERYTHING), True))
def test_each_is_pure_and_keeps_shape_type_and_range(name: str, channels: int) -> None:
    """What breaks otherwise: the resident training images would change, or grey images be refused."""
    x, weights = images(BATCH, channels), one_hot(BATCH)
    kept, kept_weights = x.clone(), weights.clone()
    function = getattr(augment, name)
    first, labels = function(x, weights, draws(0, BATCH), recipe(**EVERYTHING))
    again, _ = function(x, weights, draws(0, BATCH), recipe(**EVERYTHING))
    assert torch.equal(x, kept)
    assert torch.equal(weights, kept_weights)
    assert torch.equal(first, again)
    assert (first.shape, first.dtype) == (x.shape, x.dtype)
    assert (labels.shape, labels.dtype) == (weights.shape, weights.dtype)
    assert first.min() >= 0
    assert first.max() <= 1 + 1e-6  # bilinear weights add up to 1 within rounding
    assert not torch.equal(first, x)


@pytest.mark.parametrize("name", augmentations(recipe(**EVERYTHING), True))
def test_each_image_has_draws_of_its_own(name: str) -> None:
    """One draw for a whole batch would be a far weaker augmentation; equal images must come out different."""
    x, weights = images(1, 3, 16).repeat(BATCH, 1, 1, 1), one_hot(BATCH)
    if name == "mix":  # of equal images only the labels can tell
        _, out = augment.mix(x, weights, draws(0, BATCH), recipe(mixup=0.8))
        assert len({tuple(row.tolist()) for row in out}) > BATCH / 2
    else:
        out, _ = getattr(augment, name)(x, weights, draws(0, BATCH), recipe(**EVERYTHING))
        assert len({one.numpy().tobytes() for one in out}) >= {"flip": 2}.get(name, 15)


def test_crop_offsets_are_uniform() -> None:
    """Reference: chi-square over all (2 x 2 + 1)^2 places of the window, read off the pixels of a ramp."""
    count, padding, size = 10_000, 2, 8
    stream = randomness.key(0, "crop")
    out, _ = augment.crop(
        ramp(count, size),
        one_hot(count),
        lambda k: randomness.uniforms(stream, np.arange(count * k).reshape(count, k)),
        recipe(crop_padding=padding),
    )
    centre = out[:, 0, size // 2, size // 2].long() - 1
    top, left = centre // size - size // 2, centre % size - size // 2
    assert top.min() == left.min() == -padding
    assert top.max() == left.max() == padding
    counts = torch.bincount((top + padding) * (2 * padding + 1) + left + padding, minlength=(2 * padding + 1) ** 2)
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.parametrize(("u", "top", "left"), [(0.0, -4, -4), (0.5, 0, 0), (0.9999, 4, 4)])
def test_crop_cuts_a_window_of_the_padded_image(u: float, top: int, left: int) -> None:
    """Reference: torchvision's pad and crop at the offset meant; zeros outside."""
    x = images()
    out, _ = augment.crop(x, one_hot(8), fixed(np.full(8, u), np.full(8, u)), recipe(crop_padding=4))
    assert torch.equal(out, V.crop(V.pad(x, [4]), top + 4, left + 4, 16, 16))


def test_crop_moves_rows_by_the_first_number_and_columns_by_the_second() -> None:
    """Reference: torchvision, image by image; swapped numbers would go unnoticed on square offsets."""
    x = images(2)
    out, _ = augment.crop(x, one_hot(2), fixed([0.0, 0.99], [0.99, 0.5]), recipe(crop_padding=1))
    padded = V.pad(x, [1])
    assert torch.equal(out[0], V.crop(padded[0], 0, 2, 16, 16))
    assert torch.equal(out[1], V.crop(padded[1], 2, 1, 16, 16))


def test_flip_mirrors_half_of_the_images() -> None:
    """Reference: torchvision's horizontal_flip, and a binomial test of how many."""
    x = images()
    out, _ = augment.flip(x, one_hot(8), fixed(np.arange(8) / 8), recipe(flip=True))
    assert torch.equal(out[:4], V.horizontal_flip(x[:4]))
    assert torch.equal(out[4:], x[4:])
    count = 10_000
    many, _ = augment.flip(ramp(count), one_hot(count), draws(1, count), recipe(flip=True))
    assert stats.binomtest(int((many[:, 0, 0, 0] == 8).sum()), count).pvalue > 0.01


def test_erase_blackens_one_rectangle_in_its_share_of_images() -> None:
    """Reference: Zhong et al. (2020), table 1: area 2 to 33 % (within rounding to pixels), in a share of the images."""
    count, size = 4000, 32
    x = torch.ones(count, 1, size, size)
    out, _ = augment.erase(x, one_hot(count), draws(2, count), recipe(erasing=0.25))
    holes = out[:, 0] == 0
    erased = holes.flatten(1).any(1)
    assert stats.binomtest(int(erased.sum()), count, 0.25).pvalue > 0.01
    rows, columns = holes.any(2)[erased], holes.any(1)[erased]
    height, width = rows.sum(1), columns.sum(1)
    assert torch.equal(height * width, holes[erased].flatten(1).sum(1))  # full rectangles
    for along, length in ((rows, height), (columns, width)):
        first = along.int().argmax(1)
        last = size - along.flip(1).int().argmax(1)
        assert torch.equal(last - first, length)
    area = height * width / size**2
    assert area.min() > 0.01
    assert area.max() < 0.36
    assert area.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.01)
    assert rows.float().mean(0).argmax().item() in range(8, 24)  # anywhere, the middle most often
    assert rows[:, 0].any()
    assert rows[:, -1].any()


def test_erase_aspect_is_log_uniform() -> None:
    """Reference: Kolmogorov-Smirnov against log-uniform on 0.3 to 3.3, on large images where rounding is small."""
    count, size = 300, 256
    out, _ = augment.erase(torch.ones(count, 1, size, size), one_hot(count), draws(3, count), recipe(erasing=1.0))
    holes = out[:, 0] == 0
    aspect = holes.any(2).sum(1) / holes.any(1).sum(1)
    assert stats.kstest(aspect.numpy(), stats.loguniform(0.3, 3.3).cdf).pvalue > 0.01


def test_mixup_blends_images_and_labels_alike() -> None:
    """Reference: the definition, w x + (1 - w) x', from the weights of one-hot labels that are all different."""
    count = 8
    x, weights = images(count), torch.eye(count)
    u = draws(4, count)(5)
    out, mixed = augment.mix(x, weights, lambda _: u, recipe(mixup=0.8))
    partner = np.argsort(u[:, 0])
    own = torch.from_numpy(stats.beta(0.8, 0.8).ppf(u[:, 2])).float()
    for i in range(count):
        w = own[i]
        torch.testing.assert_close(out[i], w * x[i] + (1 - w) * x[partner[i]], rtol=0, atol=1e-6)
        torch.testing.assert_close(mixed[i], w * weights[i] + (1 - w) * weights[partner[i]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_mixup_shares_are_beta(alpha: float) -> None:
    """Reference: Kolmogorov-Smirnov against Beta(alpha, alpha) of scipy, the share read off the blended pixel."""
    count = 5000
    x = torch.zeros(count, 1, 1, 1)
    x[: count // 2] = 1.0
    u = draws(5, count)(5)
    out, _ = augment.mix(x, one_hot(count), lambda _: u, recipe(mixup=alpha))
    partner = np.argsort(u[:, 0])
    told = (np.arange(count) < count // 2) & (
        partner >= count // 2
    )  # white with a black partner: the pixel is the share
    assert stats.kstest(out[torch.from_numpy(told), 0, 0, 0].numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_gives_the_label_exactly_the_share_of_pixels() -> None:
    """Reference: the pixels counted, after rounding the rectangle; 0 tolerance in pixels."""
    count, size = 500, 12
    x = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).repeat(1, 1, size, size)
    u = draws(6, count)(5)
    out, mixed = augment.mix(x, torch.eye(count), lambda _: u, recipe(cutmix=1.0))
    partner = np.argsort(u[:, 0])
    pixels = (out == x).flatten(1).sum(1)
    assert ((out == x) | (out == x[partner])).all()
    for i in np.flatnonzero(partner != np.arange(count)):
        assert mixed[i, i].item() * size**2 == pytest.approx(pixels[i].item(), abs=1e-4)
    shares = pixels.numpy()[partner != np.arange(count)] / size**2
    assert stats.kstest(shares, "uniform").statistic < 0.1  # Beta(1, 1), blurred by rounding to pixels


def test_weights_of_mixed_labels_add_up_to_one() -> None:
    """What breaks otherwise: the loss would be scaled image by image."""
    for changes in ({"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}):
        _, mixed = augment.mix(images(BATCH), one_hot(BATCH), draws(7, BATCH), recipe(**changes))
        torch.testing.assert_close(mixed.sum(1), torch.ones(BATCH), rtol=0, atol=1e-6)
        assert mixed.min() >= 0


def test_mixup_and_cutmix_take_turns() -> None:
    """Reference: binomial test of one half, where both are on; blended pixels tell the two apart."""
    count = 2000
    u = draws(8, count)(5)
    x = torch.rand(count, 1, 4, 4)
    out, _ = augment.mix(x, one_hot(count), lambda _: u, recipe(mixup=1.0, cutmix=1.0))
    other = x[np.argsort(u[:, 0])]
    cut = ((out == x) | (out == other)).flatten(1).all(1)
    assert stats.binomtest(int(cut.sum()), count).pvalue > 0.01


NAMES = (
    *("identity", "autocontrast", "equalize", "rotate", "solarize", "colour", "posterize", "contrast", "brightness"),
    *("sharpness", "shear_x", "shear_y", "translate_x", "translate_y"),
)
OPERATIONS = dict(zip(NAMES, augment.OPERATIONS, strict=True))


def strength(s: float, batch: int = 8) -> Tensor:
    return torch.full((batch, 1, 1, 1), s)


def check(name: str, s: float, reference: Callable[[Tensor], Tensor], tolerance: float, channels: int = 3) -> None:
    """One of RandAugment's operations on fractions, against a reference on bytes."""
    expected = reference(bytes_of(channels=channels)).float() / 255
    out = OPERATIONS[name](images(channels=channels), strength(s))
    torch.testing.assert_close(out, expected, rtol=0, atol=tolerance + 1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_autocontrast_and_equalize(channels: int) -> None:
    """Reference: torchvision on bytes: equalize to the bit (it works on levels), autocontrast within a level."""
    large = bytes_of(channels=channels, size=48)  # several pixels a level, so that the rounding rule shows
    equalised = OPERATIONS["equalize"](large.float() / 255, strength(0.0))
    torch.testing.assert_close(equalised, V.equalize(large).float() / 255, rtol=0, atol=1e-6)
    check("autocontrast", 0.0, V.autocontrast, LEVEL, channels)
    flat = torch.full((2, channels, 4, 4), 0.3)
    for name in ("equalize", "autocontrast"):
        assert torch.equal(OPERATIONS[name](flat, strength(0, 2)), flat)


@pytest.mark.parametrize("s", [0.0, 0.2, 0.25, -0.6, 0.9, 1.0])
def test_posterize_and_solarize(s: float) -> None:
    """Reference: torchvision on bytes, to the bit: levels are inverted or cut, nothing is rounded."""
    check("posterize", s, lambda x: V.posterize(x, 8 - int(4 * abs(s))), 0)
    check("solarize", s, lambda x: V.solarize(x, 255 * (1 - abs(s))), 0)


@pytest.mark.parametrize("s", [-1.0, -0.5, 0.0, 0.4, 1.0])
def test_enhancements(s: float) -> None:
    """Reference: torchvision on bytes. It cuts off fractions of a level: once for brightness; once more of the grey
    image (colour, contrast) and of the smoothed one (sharpness), which the factor of up to 1.9 then spreads."""
    factor = 1 + 0.9 * s
    check("brightness", s, lambda x: V.adjust_brightness(x, factor), LEVEL)
    check("colour", s, lambda x: V.adjust_saturation(x, factor), 2 * LEVEL)
    check("contrast", s, lambda x: V.adjust_contrast(x, factor), 2 * LEVEL)
    check("sharpness", s, lambda x: V.adjust_sharpness(x, factor), 2 * LEVEL)
    check("contrast", s, lambda x: V.adjust_contrast(x, factor), 2 * LEVEL, channels=1)
    check("sharpness", s, lambda x: V.adjust_sharpness(x, factor), 2 * LEVEL, channels=1)


def test_colour_leaves_grey_images_alone() -> None:
    """Reference: the definition: a grey image is its own grey version."""
    x = images(channels=1)
    torch.testing.assert_close(OPERATIONS["colour"](x, strength(0.7)), x)


BILINEAR = V.InterpolationMode.BILINEAR


@pytest.mark.parametrize("s", [-1.0, -0.3, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [15, 16])
def test_rotate_and_shear_and_translate(s: float, size: int) -> None:
    """Reference: torchvision's affine on floats, bilinear, zeros outside; the sign of an angle is a matter of taste,
    and the draw gives both alike. 1e-4: the two compute their grids in another order."""
    x = images(size=size)
    angle, shear = 30.0 * s, float(np.degrees(np.arctan(0.3 * s)))
    pairs = {
        "rotate": V.rotate(x, angle, BILINEAR),
        "shear_x": V.affine(x, 0.0, [0, 0], 1.0, [-shear, 0.0], BILINEAR),
        "shear_y": V.affine(x, 0.0, [0, 0], 1.0, [0.0, -shear], BILINEAR),
    }
    for name, expected in pairs.items():
        out = OPERATIONS[name](x, strength(s))
        mirrored = OPERATIONS[name](x, strength(-s))
        error = min((out - expected).abs().max().item(), (mirrored - expected).abs().max().item())
        assert error < 1e-4, name
    for name, axis in (("translate_x", 3), ("translate_y", 2)):
        whole = torch.zeros_like(x)
        pixels = round(0.45 * size * 4 / 9)  # at s = 4 / 9 of the largest: 20 % of the side
        ours = OPERATIONS[name](x, strength(pixels / (0.45 * size)))
        whole.narrow(axis, 0, size - pixels).copy_(x.narrow(axis, pixels, size - pixels))
        torch.testing.assert_close(ours, whole, rtol=0, atol=1e-4)


def test_randaugment_chooses_its_operations_evenly() -> None:
    """Reference: chi-square over the fourteen, each replaced by one that leaves its number."""
    count = 7000
    marks = tuple((lambda x, s, number=number: torch.full_like(x, float(number))) for number in range(14))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "OPERATIONS", marks)
        out, _ = augment.randaugment(
            torch.zeros(count, 1, 1, 1), one_hot(count), draws(9, count), recipe(randaugment_operations=1)
        )
    counts = np.bincount(out.flatten().long().numpy(), minlength=14)
    assert len(counts) == 14
    assert stats.chisquare(counts).pvalue > 0.01


def test_randaugment_strengths_are_normal_with_even_signs() -> None:
    """Reference: Kolmogorov-Smirnov against a normal of sd 0.05 around magnitude / 10, folded at its bounds."""
    count = 5000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "OPERATIONS", (lambda x, s: s.expand_as(x),))
        out, _ = augment.randaugment(
            torch.zeros(count, 1, 1, 1),
            one_hot(count),
            draws(10, count),
            recipe(randaugment_operations=1, randaugment_magnitude=5),
        )
        top, _ = augment.randaugment(
            torch.zeros(count, 1, 1, 1),
            one_hot(count),
            draws(10, count),
            recipe(randaugment_operations=1, randaugment_magnitude=10),
        )
    found = out.flatten().numpy()
    assert stats.kstest(np.abs(found), stats.norm(0.5, 0.05).cdf).pvalue > 0.01
    assert stats.binomtest(int((found > 0).sum()), count).pvalue > 0.01
    assert top.abs().max() == 1


def test_randaugment_applies_its_operations_one_after_the_other() -> None:
    """Reference: two operations in turn by hand: first solarize, then brightness, the numbers of each its own."""
    x = images(2)
    names = list(OPERATIONS)
    first, second = ((names.index(name) + 0.5) / 14 for name in ("solarize", "brightness"))
    out, _ = augment.randaugment(
        x,
        one_hot(2),
        fixed([first, first], [0.5, 0.5], [0.1, 0.1], [second, second], [0.5, 0.5], [0.1, 0.9]),
        recipe(randaugment_operations=2, randaugment_magnitude=4),
    )
    once = OPERATIONS["solarize"](x, strength(0.4, 2))
    expected = OPERATIONS["brightness"](once, torch.tensor([0.4, -0.4]).view(2, 1, 1, 1))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(("name", "count"), [("crop", 2), ("flip", 1), ("randaugment", 6), ("erase", 5), ("mix", 5)])
def test_each_draws_a_fixed_number_and_uses_every_one(name: str, count: int) -> None:
    """Reference: each number changed in turn; one that is drawn but unused, or used twice, shows here."""
    asked: list[int] = []

    def asking(k: int) -> NDArray[np.float64]:
        asked.append(k)
        return draws(11, BATCH)(k)

    function, x, weights = getattr(augment, name), images(BATCH), one_hot(BATCH)
    usual, labels = function(x, weights, asking, recipe(**EVERYTHING))
    assert asked == [count]
    for column in range(count):
        u = draws(11, BATCH)(count)
        u[:, column] = draws(12, BATCH)(1)[:, 0]
        out, other = function(x, weights, lambda _, u=u: u, recipe(**EVERYTHING))
        assert not (torch.equal(out, usual) and torch.equal(other, labels)), column


def test_only_mixing_touches_the_labels() -> None:
    """What breaks otherwise: a label that does not belong to its image."""
    weights = one_hot(BATCH)
    for name in ("crop", "flip", "randaugment", "erase"):
        _, out = getattr(augment, name)(images(BATCH), weights, draws(13, BATCH), recipe(**EVERYTHING))
        assert torch.equal(out, weights)
