"""Batches: a pure function of the step; every epoch a permutation, every batch full."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import randomness
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import ImpossibleError
from benchmarks.forecast.cost import cells
from benchmarks.plan.recipes import augmentations, recipe_names
from benchmarks.plan.run import Run, make_run
from benchmarks.plan.study import single
from benchmarks.training import operations
from benchmarks.training.batches import Batches, Normaliser, block_steps, resize
from benchmarks.training.pixels import to_device

CPU = torch.device("cpu")
DIGITS = load_images("digits", Path("data"))
AUGMENTED = {"name": "strong", "batch_size": 16}


def batches(train_size: int = 100, **settings: Any) -> Batches:
    run = make_run({"train_size": train_size, "recipe": {"batch_size": 32}, **settings})
    return Batches(run, *parts(run), CPU)


def parts(run: Run) -> tuple[Any, Any]:
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    return DIGITS.train[subset.train], DIGITS.train_labels[subset.train]


@pytest.mark.parametrize("batch_size", [1, 7, 32, 79, 80, 81, 200, 500])
def test_every_epoch_is_a_permutation_and_every_batch_full(batch_size: int) -> None:
    """Over three epochs, batches of fewer, as many and more images than there are: nothing is missing or twice."""
    stream = batches(validation=0, recipe={"batch_size": batch_size})
    steps = -(-3 * 100 // batch_size)
    indices = [stream.indices(step) for step in range(steps)]
    assert all(len(one) == batch_size for one in indices)
    together = np.concatenate(indices)
    epochs = [together[start : start + 100] for start in (0, 100, 200)]
    assert all(sorted(epoch) == list(range(100)) for epoch in epochs)
    assert len({epoch.tobytes() for epoch in epochs}) == 3


def test_the_order_is_of_the_seed_alone() -> None:
    """Reference: the permutation by its definition; all models share it, and an augmentation does not move it."""
    stream = batches(seed=3)
    expected = randomness.permutation(randomness.key(3, "order", 0), len(stream.labels))
    assert np.concatenate([stream.indices(0), stream.indices(1)]).tolist() == expected[:64].tolist()
    others = [batches(seed=3, model="resnet"), batches(seed=3, recipe={"name": "strong", "batch_size": 32})]
    assert all((stream.indices(step) == other.indices(step)).all() for other in others for step in range(9))
    assert (stream.indices(0) != batches(seed=4, draw=3).indices(0)).any()


@pytest.mark.parametrize("recipe", [{"batch_size": 16}, AUGMENTED])
def test_a_batch_is_a_pure_function_of_its_step(recipe: dict[str, Any]) -> None:
    """The same twice, in any order of calls, by another object: what makes a resumed run equal to the bit."""
    first, second = batches(recipe=recipe), batches(recipe=recipe)
    forward = {step: first.batch(step) for step in range(12)}
    torch.manual_seed(0)
    for step in (7, 0, 11, 3, 3):
        images, weights = second.batch(step)
        assert torch.equal(images, forward[step][0])
        assert torch.equal(weights, forward[step][1])
    assert not torch.equal(forward[0][0], forward[5][0])


def test_a_batch_neither_reads_nor_moves_the_global_generators() -> None:
    """What breaks otherwise: drop path would change with the augmentation."""
    torch.manual_seed(1)
    np.random.seed(1)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]
    batches(recipe=AUGMENTED).batch(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index]


def test_an_image_has_other_draws_in_every_epoch() -> None:
    """What breaks otherwise: an augmentation that repeats each epoch is a fixed data set."""
    stream = batches(validation=0, recipe={"batch_size": 100, "crop_padding": 3})
    offsets = []
    for step in range(4):
        images = stream.batch(step)[0]
        offsets.append(images[np.argsort(stream.indices(step))])
    same = [(one == other).flatten(1).all(1).float().mean() for i, one in enumerate(offsets) for other in offsets[:i]]
    assert max(same) < 0.2  # 1 in 49 by chance


@pytest.mark.parametrize("block", [1, 5])
def test_alternating_flips_show_both_sides_in_two_epochs(block: int) -> None:
    """Reference: each image compared with itself and its mirror image, epoch by epoch, in batches across epochs."""
    recipe = {"flip": True, "flip_order": "alternating", "batch_size": 48}
    stream = noise_batches(3, recipe, block)
    mirrored = np.full((3, 80), -1)
    for step in range(5):  # 240 images: three epochs
        chosen, x = stream.indices(step), stream.batch(step)[0]
        upright = stream.normalise(torch.from_numpy(stream.images[chosen]).float() / 255)
        epochs = (step * 48 + np.arange(48)) // 80
        for epoch, image, seen, here in zip(epochs, chosen, x, upright, strict=True):
            assert torch.equal(seen, here) != torch.equal(seen, here.flip(2))
            mirrored[epoch, image] = torch.equal(seen, here.flip(2))
    assert (mirrored[0] + mirrored[1] == 1).all()
    assert (mirrored[2] == mirrored[0]).all()
    assert stats.binomtest(int(mirrored[0].sum()), 80).pvalue > 0.01


def test_no_number_is_drawn_twice() -> None:
    """Reference: the hashes of the stream, one after the other; repeated numbers would tie images of two steps."""
    stream = batches(seed=2, recipe={"batch_size": 16})
    numbers = np.concatenate([stream._uniforms("crop", step, 1, 2) for step in range(20)])
    expected = randomness.uniforms(randomness.key(2, "crop"), np.arange(640)).reshape(320, 2)
    assert (numbers == expected).all()


def test_one_augmentation_moves_no_draw_of_another() -> None:
    """Crop's windows are the same with and without erasing: each purpose has a stream of its own."""
    crop = {"batch_size": 16, "crop_padding": 2}
    alone, both = batches(recipe=crop).batch(0)[0], batches(recipe={**crop, "erasing": 0.5}).batch(0)[0]
    black = both.min()
    assert torch.equal(torch.where(both == black, black, alone), both)
    assert not torch.equal(alone, both)


def test_images_and_labels_belong_together() -> None:
    """Reference: scikit-learn's pixels, normalised by hand, at the indices of the step."""
    stream = batches()
    images, labels = parts(stream.run)
    x, weights = stream.batch(5)
    chosen = stream.indices(5)
    expected = (images[chosen] / 255 - (images / 255).mean()) / (images / 255).std()
    torch.testing.assert_close(x, torch.from_numpy(expected).float())
    assert weights.argmax(1).tolist() == labels[chosen].tolist()
    assert (weights.sum(1) == 1).all()
    assert (x.dtype, weights.dtype) == (torch.float32, torch.float32)


def test_label_smoothing() -> None:
    """Reference: Szegedy et al. (2016): 1 - e + e / K for the class, e / K for every other."""
    weights = batches(recipe={"label_smoothing": 0.1}).batch(0)[1]
    torch.testing.assert_close(weights.max(1).values, torch.full((128,), 0.91))
    torch.testing.assert_close(weights.min(1).values, torch.full((128,), 0.01))


def test_digits_are_never_mirrored() -> None:
    """The data set's word stands above the recipe's: a mirrored 2 is no digit."""
    with_flip = batches(recipe={"flip": True, "batch_size": 32}).batch(0)[0]
    assert torch.equal(with_flip, batches().batch(0)[0])


def test_statistics_are_of_the_training_images_of_the_subset() -> None:
    """Reference: NumPy's mean and deviation of just these images; others would leak test or validation images in."""
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    images[:, 1] //= 4
    normalise = Normaliser(images, CPU)
    out = normalise(torch.from_numpy(images).float() / 255)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(3))
    small, large = batches(100), batches(1000)
    assert small.normalise.mean != large.normalise.mean
    assert small.normalise.mean.item() == pytest.approx((parts(small.run)[0] / 255).mean())


def test_a_constant_channel_is_no_division_by_zero() -> None:
    """What breaks otherwise: infinite pixels, and a run that diverges at its first step."""
    out = Normaliser(np.zeros((4, 1, 8, 8), dtype=np.uint8), CPU)(torch.zeros(4, 1, 8, 8))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("resolution", [3, 4, 6, 7, 12, 16, 31])
def test_resize_is_one_antialiased_step(resolution: int) -> None:
    """Reference: torch's antialiased bilinear interpolation, and PIL's (its filter is the same) within rounding."""
    from PIL import Image

    x = torch.from_numpy(DIGITS.train[:5]).float() / 255
    out = resize(x, resolution)
    expected = F.interpolate(x, (resolution, resolution), mode="bilinear", antialias=True, align_corners=False)
    assert torch.equal(out, expected)
    pil = [
        Image.fromarray(one[0].numpy(), mode=None).resize((resolution, resolution), Image.Resampling.BILINEAR)
        for one in x
    ]
    torch.testing.assert_close(out[:, 0], torch.from_numpy(np.stack([np.asarray(one) for one in pil])))


def test_resize_at_native_size_is_the_identity() -> None:
    """What breaks otherwise: training at native size would pay for, and depend on, an interpolation of nothing."""
    x = torch.rand(2, 3, 8, 8)
    assert resize(x, 8) is x


def test_batches_come_at_the_training_resolution() -> None:
    """Augmented at native size, resized once, then normalised."""
    native, larger = batches(recipe=AUGMENTED), batches(recipe=AUGMENTED, resolution=12)
    assert larger.batch(0)[0].shape == (16, 1, 12, 12)
    torch.testing.assert_close(larger.batch(0)[0], resize(native.batch(0)[0], 12), rtol=0, atol=1e-5)


GOLDEN = {  # the first release's; sums of pixels of four batches, each pixel weighted by the sine of its place
    ("none", 32): [-95.1706, 156.8868, -7.0552, -62.0686],
    ("none", 40): [51.2647, -11.6654, -1.682, -117.7372],
    ("plain", 32): [80.9414, 95.1925, 77.6935, 169.6209],
    ("plain", 40): [-299.4823, -12.793, 37.0648, -29.8757],
    ("strong", 32): [-119.0393, -124.4643, 77.6052, 134.5837],
    ("strong", 40): [-84.9482, 78.8024, 32.3383, 69.9045],
}


@pytest.mark.parametrize(("name", "resolution"), GOLDEN)
def test_golden_batches(name: str, resolution: int) -> None:
    """Reference: the first release's; when they move, records of the recipe cannot be made again."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8), np.arange(60) % 10
    recipe = {"name": name, "batch_size": 16}
    run = make_run({"dataset": "cifar10", "train_size": 100, "recipe": recipe, "resolution": resolution})
    stream, sums = Batches(run, images, labels, CPU), []
    for step in (0, 1, 7, 33):
        x = stream.batch(step)[0].double()
        sums.append((x * torch.arange(x.numel()).view(x.shape).double().sin()).sum().item())
    assert sums == pytest.approx(GOLDEN[name, resolution], abs=0.01)


def test_a_resized_crop_brings_native_pixels_to_the_resolution_in_one_step() -> None:
    """Reference: torchvision's resized_crop of the native image, at the window of the run's own numbers."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resized_crop

    stream = batches(recipe={"batch_size": 16, "rrc_scale": 0.3}, resolution=12)
    x, _ = stream.batch(2)
    assert x.shape == (16, 1, 12, 12)
    images, u = parts(stream.run)[0][stream.indices(2)], stream._uniforms("resized_crop", 2, 1, 22)
    for i in range(16):
        area, aspect = 64 * (0.3 + 0.7 * u[i, :10]), (4 / 3) ** (2 * u[i, 10:20] - 1)
        rows, columns = np.round(np.sqrt(area / aspect)), np.round(np.sqrt(area * aspect))
        first = np.flatnonzero((rows <= 8) & (columns <= 8))[0]
        window = int(rows[first]), int(columns[first])
        top, left = int(u[i, 20] * (9 - window[0])), int(u[i, 21] * (9 - window[1]))
        native = torch.from_numpy(images[i]).float() / 255
        cut = resized_crop(native, top, left, *window, [12, 12], InterpolationMode.BILINEAR, antialias=True)
        torch.testing.assert_close(x[i], stream.normalise(cut[None])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("recipe", [{}, {"rrc_scale": 0.5}])
def test_several_training_resolutions_are_drawn_by_step(recipe: dict[str, Any]) -> None:
    """Reference: chi-square of even draws; a step's resolution is its own, whatever the model; the pixels are those of
    a run at that resolution alone."""
    sizes = [8, 12, 16]
    stream = batches(recipe={"batch_size": 8, "train_resolutions": sizes, **recipe})
    drawn = [stream.resolution(step) for step in range(3000)]
    assert stats.chisquare([drawn.count(size) for size in sizes]).pvalue > 0.01
    assert drawn[:50] == [batches(model="resnet", recipe={"train_resolutions": sizes}).resolution(s) for s in range(50)]
    assert drawn[:50] != [batches(seed=1, recipe={"train_resolutions": sizes}).resolution(s) for s in range(50)]
    for step in range(6):
        alone = batches(recipe={"batch_size": 8, **recipe}, resolution=drawn[step])
        assert stream.batch(step)[0].shape[-1] == drawn[step]
        assert torch.equal(stream.batch(step)[0], alone.batch(step)[0])


def test_training_resolutions_a_model_cannot_take_are_refused() -> None:
    """A patch of 2 does not divide 9 pixels: refused with the key, before anything runs."""
    with pytest.raises(ImpossibleError, match=r"recipe\.train_resolutions: .*9"):
        batches(recipe={"train_resolutions": [8, 9]})


def test_the_plan_counts_the_area_of_the_training_resolutions(tmp_path: Path) -> None:
    """Reference: arithmetic over 8, 12 and 16 pixels; who resizes its input always trains at 8."""
    seconds = {}
    for model in ("vit", "mlp"):
        for sizes in ([], [8, 12, 16]):
            settings = {"size": "base", "recipe": {"train_resolutions": sizes}, "budget": {"steps": 1000}}
            run = make_run({"model": model, **settings})
            seconds[model, bool(sizes)] = cells(single(run), tmp_path)[0].seconds
    area = (64 + 144 + 256) / 3 / 64
    assert seconds["vit", True] / seconds["vit", False] == pytest.approx(area, rel=0.01)
    assert seconds["mlp", True] == seconds["mlp", False]


class Waiting(TorchDispatchMode):
    """Notes what would make the host wait for a device: a copy that is not queued, a number or a mask that is read.
    `copies` counts all that go there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = [one for one in args if isinstance(one, torch.Tensor)]
        crosses = isinstance(out, torch.Tensor) and any(one.device != out.device for one in given)
        self.copies += "copy" in str(func) and crosses
        if "copy" in str(func) and crosses and not kwargs.get("non_blocking"):
            self.found.append(str(func))
        return out


EVERYTHING = {
    **{"name": "strong", "batch_size": 16, "crop_padding": 2, "rrc_scale": 0.5, "trivialaugment": True},
    **{"jitter_brightness": 0.4, "jitter_contrast": 0.4, "jitter_saturation": 0.4, "jitter_hue": 0.1},
}


def test_a_batch_never_waits_for_its_device() -> None:
    """The device is torch's meta device, which has no values: reading one of them (`item`, `nonzero`, a mask as an
    index) is an error there, and a copy to it must be queued. With every augmentation, mixup, cutmix and erasing."""
    run = make_run({"dataset": "cifar10", "train_size": 100, "recipe": EVERYTHING, "budget": {"steps": 9}})
    assert set(augmentations(run.recipe, True)) == {
        *("crop", "resized_crop", "flip", "jitter", "trivialaugment", "randaugment", "erase", "mix")
    }
    pixels = np.random.default_rng(0).integers(0, 256, (80, 3, 32, 32), dtype=np.uint8)
    stream = Batches(run, pixels, np.arange(80) % 10, torch.device("meta"))
    with Waiting() as waiting:
        images, weights = stream.batch(1)
    assert stream.block_steps > 9
    assert waiting.copies == 1  # for all steps of the block
    assert (images.device.type, images.shape, weights.shape) == ("meta", (16, 3, 32, 32), (16, 10))
    assert waiting.found == []
    with Waiting() as waiting:
        torch.zeros(3).to("meta")
    assert waiting.found  # it can fail


def test_bytes_are_moved_as_fractions_are() -> None:
    """Crop and flip act on bytes before they become fractions: reference, the same on fractions."""
    stream = batches(recipe={"batch_size": 16, "crop_padding": 2, "flip": True})
    stream.augmentations = ("crop", "flip")
    images, weights = stream.batch(3)
    indices, changes = stream.drawn(3)
    x = torch.from_numpy(stream.images[indices]).float() / 255
    for change in changes:
        x, _ = change.make(x, weights, *to_device(change.numbers, CPU))
    assert torch.equal(images, stream.normalise(x))


def noise_batches(channels: int, recipe: dict[str, Any], block: int, **settings: Any) -> Batches:
    """Of 80 images of noise, with as many steps a block."""
    size = {1: 28, 3: 32}[channels]
    pixels = np.random.default_rng(0).integers(0, 256, (80, channels, size, size), dtype=np.uint8)
    dataset = {1: "mnist", 3: "cifar10"}[channels]
    run = make_run({"dataset": dataset, "train_size": 100, "recipe": recipe, "budget": {"steps": 20}, **settings})
    stream = Batches(run, pixels, np.arange(80) % 10, CPU)
    stream.block_steps = block
    return stream


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "recipe", [*recipe_names(), EVERYTHING], ids=lambda one: one if isinstance(one, str) else "all"
)
def test_a_block_of_steps_is_step_by_step(recipe: Any, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: each step by itself, to the bit; mixing has its partners in the step's own batch. Steps are asked for
    as a run asks that resumes in the middle of a block, and one of before again.

    The convolution that smooths for sharpness rounds a grey image by itself otherwise than among others, which is why
    CPUs have blocks of one step: grey images are darkened instead."""
    if channels == 1:
        monkeypatch.setattr(operations, "smooth", lambda x: x / 2)
    settings = {"name": recipe} if isinstance(recipe, str) else recipe
    one, five = (noise_batches(channels, {**settings, "batch_size": 48}, block) for block in (1, 5))
    for step in (3, 4, 5, 1):
        for alone, among in zip(one.batch(step), five.batch(step), strict=True):
            assert torch.equal(alone, among)


def test_how_many_steps_a_block_has() -> None:
    """Reference: 64 MiB of float32 images by hand; one on a CPU, and one where each step may have its resolution."""

    def steps(device: str, batch: int, resolution: int = 32, **recipe: Any) -> int:
        values = {"batch_size": batch, **recipe}
        run = make_run({"model": "resnet", "dataset": "cifar10", "resolution": resolution, "recipe": values})
        return block_steps(run, torch.device(device))

    assert (steps("cuda", 128), steps("cuda", 16)) == (32, 32)
    assert steps("cuda", 1024) == 64 * 2**20 // (1024 * 3 * 32 * 32 * 4) == 5
    assert (steps("cuda", 1024, 16), steps("cuda", 1024, 64), steps("cuda", 1024, 224)) == (5, 1, 1)
    assert steps("cpu", 128) == steps("cuda", 128, train_resolutions=[24, 32]) == 1


def test_resolutions_by_step_on_a_device_with_blocks() -> None:
    """Reference: the resolution that is drawn for each step; a block of several would have that of its first."""
    recipe = {"name": "strong", "batch_size": 8, "rrc_scale": 0.5, "train_resolutions": [24, 32]}
    run = noise_batches(3, recipe, 1).run
    stream = Batches(run, np.zeros((80, 3, 32, 32), dtype=np.uint8), np.arange(80) % 10, torch.device("meta"))
    sides = [stream.batch(step)[0].shape[-1] for step in range(8)]
    assert sides == [stream.resolution(step) for step in range(8)]
    assert set(sides) == {24, 32}
