"""Augmentations against torchvision and their definitions, and their draws against the distributions they name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as V
from numpy.typing import NDArray
from scipy import stats
from scipy.special import betaincinv
from torch import Tensor
from torchvision.transforms.v2 import TrivialAugmentWide

from benchmarks import randomness
from benchmarks.plan.recipes import Recipe, augmentations
from benchmarks.training import augment, beta, operations
from benchmarks.training.pixels import to_device

BATCH, CLASSES = 64, 10
EVERYTHING = {
    "crop_padding": 2,
    "rrc_scale": 0.2,
    "flip": True,
    "jitter_brightness": 0.4,
    "jitter_contrast": 0.4,
    "jitter_saturation": 0.4,
    "jitter_hue": 0.1,
    "trivialaugment": True,
    "randaugment_operations": 2,
    "erasing": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
}
LEVEL = 1 / 255  # torchvision's uint8 functions cut off what ours keep as fractions of a level


def recipe(**changes: Any) -> Recipe:
    return Recipe(**changes)


def augmented(
    name: str, x: Tensor, weights: Tensor, draw: augment.Draw, recipe: Recipe, **more: Any
) -> tuple[Tensor, Tensor]:
    """Images and label weights that an augmentation makes of one batch."""
    one_batch = recipe.model_copy(update={"batch_size": len(x)})
    change = getattr(augment, name)(draw, tuple(x.shape[1:]), one_batch, **more)
    made: tuple[Tensor, Tensor] = change.make(x, weights, *to_device(change.numbers, x.device))
    return made


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
    first, labels = augmented(name, x, weights, draws(0, BATCH), recipe(**EVERYTHING))
    again, _ = augmented(name, x, weights, draws(0, BATCH), recipe(**EVERYTHING))
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
        _, out = augmented("mix", x, weights, draws(0, BATCH), recipe(mixup=0.8))
        assert len({tuple(row.tolist()) for row in out}) > BATCH / 2
    else:
        out, _ = augmented(name, x, weights, draws(0, BATCH), recipe(**EVERYTHING))
        assert len({one.numpy().tobytes() for one in out}) >= {"flip": 2}.get(name, 15)


def test_crop_offsets_are_uniform() -> None:
    """Reference: chi-square over all (2 x 2 + 1)^2 places of the window, read off the pixels of a ramp."""
    count, padding, size = 10_000, 2, 8
    stream = randomness.key(0, "crop")
    out, _ = augmented(
        "crop",
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
    out, _ = augmented("crop", x, one_hot(8), fixed(np.full(8, u), np.full(8, u)), recipe(crop_padding=4))
    assert torch.equal(out, V.crop(V.pad(x, [4]), top + 4, left + 4, 16, 16))


@pytest.mark.parametrize(("u", "top", "left"), [(0.0, -4, -4), (0.5, 0, 0), (0.9999, 4, 4)])
def test_a_reflected_frame_is_torchvisions(u: float, top: int, left: int) -> None:
    """Reference: torchvision's pad by reflection, of bytes and of fractions."""
    for x in (bytes_of(), images()):
        mirrored = recipe(crop_padding=4, crop_fill="reflect")
        out, _ = augmented("crop", x, one_hot(8), fixed(np.full(8, u), np.full(8, u)), mirrored)
        padded = V.pad(x.float(), [4], padding_mode="reflect").to(x.dtype)
        assert torch.equal(out, V.crop(padded, top + 4, left + 4, 16, 16))


def test_crop_moves_rows_by_the_first_number_and_columns_by_the_second() -> None:
    """Reference: torchvision, image by image; swapped numbers would go unnoticed on square offsets."""
    x = images(2)
    out, _ = augmented("crop", x, one_hot(2), fixed([0.0, 0.99], [0.99, 0.5]), recipe(crop_padding=1))
    padded = V.pad(x, [1])
    assert torch.equal(out[0], V.crop(padded[0], 0, 2, 16, 16))
    assert torch.equal(out[1], V.crop(padded[1], 2, 1, 16, 16))


def test_flip_mirrors_half_of_the_images() -> None:
    """Reference: torchvision's horizontal_flip, and a binomial test of how many."""
    x = images()
    out, _ = augmented("flip", x, one_hot(8), fixed(np.arange(8) / 8), recipe(flip=True))
    assert torch.equal(out[:4], V.horizontal_flip(x[:4]))
    assert torch.equal(out[4:], x[4:])
    count = 10_000
    many, _ = augmented("flip", ramp(count), one_hot(count), draws(1, count), recipe(flip=True))
    assert stats.binomtest(int((many[:, 0, 0, 0] == 8).sum()), count).pvalue > 0.01


def test_erase_blackens_one_rectangle_in_its_share_of_images() -> None:
    """Reference: Zhong et al. (2020), table 1: area 2 to 33 % (within rounding to pixels), in a share of the images."""
    count, size = 4000, 32
    x = torch.ones(count, 1, size, size)
    out, _ = augmented("erase", x, one_hot(count), draws(2, count), recipe(erasing=0.25))
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
    out, _ = augmented("erase", torch.ones(count, 1, size, size), one_hot(count), draws(3, count), recipe(erasing=1.0))
    holes = out[:, 0] == 0
    aspect = holes.any(2).sum(1) / holes.any(1).sum(1)
    assert stats.kstest(aspect.numpy(), stats.loguniform(0.3, 3.3).cdf).pvalue > 0.01


def test_mixup_blends_images_and_labels_alike() -> None:
    """Reference: the definition, w x + (1 - w) x', from the weights of one-hot labels that are all different."""
    count = 8
    x, weights = images(count), torch.eye(count)
    u = draws(4, count)(5)
    out, mixed = augmented("mix", x, weights, lambda _: u, recipe(mixup=0.8))
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
    out, _ = augmented("mix", x, one_hot(count), lambda _: u, recipe(mixup=alpha))
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
    out, mixed = augmented("mix", x, torch.eye(count), lambda _: u, recipe(cutmix=1.0))
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
        _, mixed = augmented("mix", images(BATCH), one_hot(BATCH), draws(7, BATCH), recipe(**changes))
        torch.testing.assert_close(mixed.sum(1), torch.ones(BATCH), rtol=0, atol=1e-6)
        assert mixed.min() >= 0


def test_mixup_and_cutmix_take_turns() -> None:
    """Reference: binomial test of one half, where both are on; blended pixels tell the two apart."""
    count = 2000
    u = draws(8, count)(5)
    x = torch.rand(count, 1, 4, 4)
    out, _ = augmented("mix", x, one_hot(count), lambda _: u, recipe(mixup=1.0, cutmix=1.0))
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
        out, _ = augmented(
            "randaugment",
            torch.zeros(count, 1, 1, 1),
            one_hot(count),
            draws(9, count),
            recipe(randaugment_operations=1),
        )
    counts = np.bincount(out.flatten().long().numpy(), minlength=14)
    assert len(counts) == 14
    assert stats.chisquare(counts).pvalue > 0.01


def test_randaugment_strengths_are_normal_with_even_signs() -> None:
    """Reference: Kolmogorov-Smirnov against a normal of sd 0.05 around magnitude / 10, folded at its bounds."""
    count = 5000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "OPERATIONS", (lambda x, s: s.expand_as(x),))
        out, _ = augmented(
            "randaugment",
            torch.zeros(count, 1, 1, 1),
            one_hot(count),
            draws(10, count),
            recipe(randaugment_operations=1, randaugment_magnitude=5),
        )
        top, _ = augmented(
            "randaugment",
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
    out, _ = augmented(
        "randaugment",
        x,
        one_hot(2),
        fixed([first, first], [0.5, 0.5], [0.1, 0.1], [second, second], [0.5, 0.5], [0.1, 0.9]),
        recipe(randaugment_operations=2, randaugment_magnitude=4),
    )
    once = OPERATIONS["solarize"](x, strength(0.4, 2))
    expected = OPERATIONS["brightness"](once, torch.tensor([0.4, -0.4]).view(2, 1, 1, 1))
    torch.testing.assert_close(out, expected)


TABLES = {"RandAugment": augment.OPERATIONS, "TrivialAugment": augment.WIDE, "jitter": augment.JITTERS}


@pytest.mark.parametrize("table", TABLES)
def test_operations_on_slices_are_those_on_picked_images(table: str) -> None:
    """Reference: the images of each operation picked out by index and put back, time after time, to the bit. Three
    times over; the first operation is chosen for none, the last in the third time for all."""
    operations, rng = TABLES[table], np.random.default_rng(15)
    chosen = rng.uniform(1, len(operations), (3, BATCH))
    chosen[2] = len(operations) - 1
    strength = rng.uniform(-0.5, 0.5, (3, BATCH))
    x = images(BATCH)
    change = augment._one_of(operations, chosen, strength)
    out, _ = change.make(x, one_hot(BATCH), *to_device(change.numbers, x.device))
    expected = x.clone()
    for numbers, own in zip(chosen.astype(int), torch.from_numpy(strength).float().view(3, -1, 1, 1, 1), strict=True):
        for number, operation in enumerate(operations):
            at = torch.from_numpy(np.flatnonzero(numbers == number))
            if len(at):
                expected[at] = operation(expected[at], own[at])
    assert torch.equal(out, expected)


def test_partners_are_of_the_own_batch_in_the_order_of_their_numbers() -> None:
    """Reference: NumPy's stable sort, batch by batch; equal numbers stay in order."""
    u = draws(16, 60)(1)[:, 0]
    for numbers in (u, np.round(u, 1)):
        expected = [20 * batch + np.argsort(numbers[20 * batch :][:20], kind="stable") for batch in range(3)]
        assert augment._partners(numbers, 20).tolist() == np.concatenate(expected).tolist()


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.37, 0.8, 1.0, 4.0, 100.0])
def test_quantiles_are_scipys_rounded(alpha: float) -> None:
    """Reference: scipy's betaincinv in double precision, then rounded: to the bit, at both ends too."""
    ends = [0.0, 2.0**-53, 2.0**-10, 0.5, 1 - 2.0**-10, 1 - 2.0**-53]
    u = np.concatenate([draws(17, 20_000)(1)[:, 0], ends])
    assert (beta.quantiles(alpha, u) == betaincinv(alpha, alpha, u).astype(np.float32)).all()


def test_few_quantiles_are_solved_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks otherwise: the same numbers, as slow as ever. 1 in 512 lies outside the table."""
    solved: list[int] = []

    def noted(a: float, b: float, u: Any) -> Any:
        solved.append(np.size(u))
        return betaincinv(a, b, u)

    u = draws(18, 20_000)(1)[:, 0]
    beta.quantiles(0.8, u)  # the table is there
    monkeypatch.setattr("scipy.special.betaincinv", noted)
    beta.quantiles(0.8, u)
    assert sum(solved) < 200


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("crop", 2),
        ("resized_crop", 22),
        ("flip", 1),
        ("jitter", 8),
        ("trivialaugment", 3),
        ("randaugment", 6),
        ("erase", 5),
        ("mix", 5),
    ],
)
def test_each_draws_a_fixed_number_and_uses_every_one(name: str, count: int) -> None:
    """Reference: each number changed in turn; one that is drawn but unused, or used twice, shows here."""
    asked: list[int] = []

    def asking(k: int) -> NDArray[np.float64]:
        asked.append(k)
        return draws(11, BATCH)(k)

    x, weights = images(BATCH), one_hot(BATCH)
    usual, labels = augmented(name, x, weights, asking, recipe(**EVERYTHING))
    assert asked == [count]
    used = {0, 10, 20, 21} if name == "resized_crop" else range(count)  # further windows: where the first does not fit
    for column in used:
        u = draws(11, BATCH)(count)
        u[:, column] = draws(12, BATCH)(1)[:, 0]
        out, other = augmented(name, x, weights, lambda _, u=u: u, recipe(**EVERYTHING))
        assert not (torch.equal(out, usual) and torch.equal(other, labels)), column


def test_only_mixing_touches_the_labels() -> None:
    """What breaks otherwise: a label that does not belong to its image."""
    weights = one_hot(BATCH)
    for name in augmentations(recipe(**EVERYTHING), True)[:-1]:
        _, out = augmented(name, images(BATCH), weights, draws(13, BATCH), recipe(**EVERYTHING))
        assert torch.equal(out, weights)


def windows(count: int, size: int, u: NDArray[np.float64], **changes: Any) -> list[tuple[int, int, int, int]]:
    """top, left, rows, columns by torchvision's rule, written out for one image at a time."""
    found = []
    for own in u:
        for area, aspect in zip(own[:10], own[10:20], strict=True):
            share = changes["rrc_scale"] + area * (1 - changes["rrc_scale"])
            ratio = np.exp(np.log(3 / 4) + aspect * (np.log(4 / 3) - np.log(3 / 4)))
            columns = round(float(np.sqrt(size * size * share * ratio)))
            rows = round(float(np.sqrt(size * size * share / ratio)))
            if 0 < columns <= size and 0 < rows <= size:
                break
        else:
            rows, columns = size, size
        found.append((int(own[20] * (size - rows + 1)), int(own[21] * (size - columns + 1)), rows, columns))
    return found[:count]


@pytest.mark.parametrize("side", [5, 16, 24, 33])
@pytest.mark.parametrize("smallest", [0.08, 0.8])
def test_resized_crop_is_torchvisions(side: int, smallest: float) -> None:
    """Reference: torchvision's resized_crop (bilinear, antialiased), image by image, at the window of the rule."""
    count, size = 32, 16
    x, u = images(count, 3, size), draws(14, count)(22)
    out, _ = augmented("resized_crop", x, one_hot(count), lambda _: u, recipe(rrc_scale=smallest), side=side)
    for i, (top, left, rows, columns) in enumerate(windows(count, size, u, rrc_scale=smallest)):
        expected = V.resized_crop(x[i], top, left, rows, columns, [side, side], BILINEAR, antialias=True)
        torch.testing.assert_close(out[i], expected, rtol=0, atol=2e-6)


def test_a_window_that_never_fits_is_the_whole_image() -> None:
    """Reference: ten areas of 1 at an aspect of 4 / 3, none of which fits; torchvision takes the whole image then."""
    x, u = images(2), np.full((2, 22), 0.9999)
    out, _ = augmented("resized_crop", x, one_hot(2), lambda _: u, recipe(rrc_scale=0.5), side=16)
    torch.testing.assert_close(out, x)


def test_resized_crop_areas_and_places_are_uniform() -> None:
    """Reference: Kolmogorov-Smirnov of area and aspect, chi-square of the place, read off the edges of two ramps.

    Windows of 0.2 to 0.5 of the area always fit, so the first draw is used; rounding to pixels blurs little at 512.
    """
    count, size = 2000, 512
    u = draws(15, count)(22)
    u[:, :10] *= 3 / 8  # shares of 0.2 to 0.5
    found = np.array(windows(count, size, u, rrc_scale=0.2))
    ramps = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij"))[None].repeat(4, 1, 1, 1)
    for at in (0, 500):  # that the windows above are those of the function: means of a ramp are the windows' middles
        out, _ = augmented(
            "resized_crop", ramps, one_hot(4), lambda _, at=at: u[at : at + 4], recipe(rrc_scale=0.2), side=16
        )
        small = np.array(windows(4, 64, u[at : at + 4], rrc_scale=0.2))
        middles = np.stack([small[:, 0] + (small[:, 2] - 1) / 2, small[:, 1] + (small[:, 3] - 1) / 2], 1)
        torch.testing.assert_close(out.mean((2, 3)), torch.from_numpy(middles).float(), rtol=0, atol=1e-3)
    top, left, rows, columns = found.T
    assert stats.kstest(rows * columns / size**2, stats.uniform(0.2, 0.3).cdf).pvalue > 0.01
    assert stats.kstest(columns / rows, stats.loguniform(3 / 4, 4 / 3).cdf).pvalue > 0.01
    for place, length in ((top, rows), (left, columns)):
        assert stats.kstest((place + 0.5) / (size - length + 1), "uniform").pvalue > 0.01


@pytest.mark.parametrize("shift", [-0.5, -0.21, 0.0, 0.05, 0.3, 0.5])
def test_hue_is_torchvisions(shift: float) -> None:
    """Reference: torchvision's adjust_hue on floats, with grey, black, white and pure pixels among them."""
    x = images(4)
    x[0, :, 0, :4] = torch.tensor([[0.0, 1.0, 0.4, 1.0], [0.0, 1.0, 0.4, 0.0], [0.0, 1.0, 0.4, 0.0]])
    torch.testing.assert_close(operations.hue(x, strength(shift, 4)), V.adjust_hue(x, shift), rtol=0, atol=2e-6)
    grey = images(4, 1)
    assert torch.equal(operations.hue(grey, strength(shift, 4)), grey)


def test_jitter_is_torchvisions_in_its_drawn_order() -> None:
    """Reference: torchvision's four functions on floats, one image at a time, in the order of four sorted numbers."""
    count, widths = 32, {"jitter_brightness": 0.4, "jitter_contrast": 1.0, "jitter_saturation": 0.3, "jitter_hue": 0.2}
    x, u = images(count), draws(16, count)(8)
    out, _ = augmented("jitter", x, one_hot(count), lambda _: u, recipe(**widths))
    functions = (V.adjust_brightness, V.adjust_contrast, V.adjust_saturation, V.adjust_hue)
    lows, highs = (0.6, 0.0, 0.7, -0.2), (1.4, 2.0, 1.3, 0.2)
    orders = set()
    for i in range(count):
        expected, order = x[i], tuple(np.argsort(u[i, 4:]))
        orders.add(order)
        for number in order:
            expected = functions[number](expected, float(lows[number] + u[i, number] * (highs[number] - lows[number])))
        torch.testing.assert_close(
            out[i], expected, rtol=0, atol=1e-4
        )  # hue spreads rounding where a pixel is nearly grey
    assert len(orders) > 10


def test_jitter_leaves_out_what_is_off_and_what_grey_images_do_not_have() -> None:
    """Reference: torchvision's brightness alone; grey images are as they were under saturation and hue."""
    x, u = images(8), draws(17, 8)(8)
    out, _ = augmented("jitter", x, one_hot(8), lambda _: u, recipe(jitter_brightness=0.5))
    for i in range(8):
        torch.testing.assert_close(out[i], V.adjust_brightness(x[i], 0.5 + float(u[i, 0])), rtol=0, atol=1e-6)
    grey = images(8, 1)
    out, _ = augmented("jitter", grey, one_hot(8), lambda _: u, recipe(jitter_saturation=0.5, jitter_hue=0.5))
    assert torch.equal(out, grey)


TORCHVISION = {  # our names to torchvision's; the order is ours
    "identity": "Identity", "autocontrast": "AutoContrast", "equalize": "Equalize", "rotate": "Rotate",
    "solarize": "Solarize", "colour": "Color", "posterize": "Posterize", "contrast": "Contrast",
    "brightness": "Brightness", "sharpness": "Sharpness", "shear_x": "ShearX", "shear_y": "ShearY",
    "translate_x": "TranslateX", "translate_y": "TranslateY",
}  # fmt: skip
MIRRORED = ("rotate", "translate_x", "translate_y")  # the sign of a direction is a convention


@pytest.mark.parametrize("name", NAMES)
def test_trivialaugment_is_torchvisions(name: str) -> None:
    """Reference: TrivialAugmentWide's own table of 31 strengths and its function for each, bilinear, image by image.

    On bytes where torchvision needs bytes (its rounding: within a level, two where it rounds twice).
    """
    theirs = TrivialAugmentWide(interpolation=BILINEAR)
    magnitudes, signed = theirs._AUGMENTATION_SPACE[TORCHVISION[name]]
    listed = magnitudes(31, 32, 32)
    exact = bytes_of(2, size=32)
    bins = (0, 1, 7, 15, 21, 30)
    number = (NAMES.index(name) + 0.5) / 14
    for at in bins:
        for sign in (0.25, 0.75):
            u = fixed(np.full(2, number), np.full(2, (at + 0.5) / 31), np.full(2, sign))
            out, _ = augmented("trivialaugment", exact.float() / 255, one_hot(2), u, recipe(trivialaugment=True))
            magnitude = 0.0 if listed is None else float(listed[at])
            if name.startswith("translate"):
                magnitude = round(magnitude, 5)  # 16 pixels, not 15.999999
            magnitude = -magnitude if signed and (sign > 0.5) != (name in MIRRORED) else magnitude
            geometric = name in (*MIRRORED, "shear_x", "shear_y")
            looked_up = name in ("identity", "equalize", "posterize")
            source = exact.float() / 255 if geometric else exact
            level = magnitude * 255 if name == "solarize" else magnitude
            result = theirs._apply_image_or_video_transform(
                source, TORCHVISION[name], magnitude, interpolation=BILINEAR, fill={Tensor: None}
            ) if name != "solarize" else V.solarize(exact, level)  # fmt: skip
            expected = result if geometric else result.float() / 255
            tolerance = 2e-4 if geometric else 1e-6 if looked_up or name == "solarize" else 2 * LEVEL
            torch.testing.assert_close(out, expected, rtol=0, atol=tolerance)


def test_trivialaugment_draws_are_even() -> None:
    """Reference: chi-square over fourteen operations, over 31 strengths and of the sign, marked by the operations."""
    count = 20_000
    marks = tuple((lambda x, s, number=number: torch.cat([s * 0 + number, s], 1)) for number in range(14))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "WIDE", marks)
        out, _ = augmented(
            "trivialaugment", torch.zeros(count, 2, 1, 1), one_hot(count), draws(18, count), recipe(trivialaugment=True)
        )
    operation, signed = out[:, 0].flatten().long().numpy(), out[:, 1].flatten().numpy()
    strengths = np.round(np.abs(signed) * 30).astype(int)
    assert np.allclose(np.abs(signed) * 30, strengths, atol=1e-5)
    assert stats.chisquare(np.bincount(operation, minlength=14)).pvalue > 0.01
    assert stats.chisquare(np.bincount(strengths, minlength=31)).pvalue > 0.01
    assert stats.binomtest(int((signed > 0).sum()), int((signed != 0).sum())).pvalue > 0.01
