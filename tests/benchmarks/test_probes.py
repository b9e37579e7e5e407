"""What each probe does to images, against NumPy, SciPy and PIL; and finished runs that are measured so."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2.functional import gaussian_blur

import models
from analysis.frame.predictions import read_correct
from benchmarks.plan.evaluations import EvaluationTable, Request, UnmetRequests, evaluations_of
from benchmarks.plan.probes import PROBES, drop_grid
from benchmarks.plan.run import Evaluation, Run, make_run
from benchmarks.plan.study import single
from benchmarks.records import sources
from benchmarks.records.record import Record, read_record
from benchmarks.records.states import run_state
from benchmarks.running.execute import Outcome
from benchmarks.running.rerun import compare, prepare_rerun, rerun_root
from benchmarks.trained import load_run
from benchmarks.training.pixels import Selected
from benchmarks.training.probed import probes
from benchmarks.training.probed.probing import Probed

Perform = Callable[..., Outcome]
SIDE, NUMBERS = 16, np.arange(40, 80)
MEAN, DEVIATION = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.1, 0.2, 0.3])


def images(side: int = SIDE) -> torch.Tensor:
    """Smooth coloured images in 0..1, double precision."""
    drawn = np.random.default_rng(0).random((len(NUMBERS), 3, side, side))
    smooth = scipy.ndimage.gaussian_filter(drawn, (0, 0, 1, 1))
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth))


def changed(name: str, strength: int, numbers: NDArray[np.int64] = NUMBERS) -> tuple[NDArray[Any], NDArray[Any], float]:
    """(images, the same changed, the value of the strength)."""
    x, value = images(), PROBES[name].value(strength)
    some = x[torch.from_numpy(numbers - NUMBERS[0])]
    return some.numpy(), getattr(probes, name)(some, value, probes.Scene(numbers, MEAN, DEVIATION)).numpy(), value


def which(found: NDArray[Any], candidates: list[NDArray[Any]], tolerance: float = 1e-6) -> list[int]:
    """Which candidate (of B images each) every image is."""
    near = np.array([np.abs(found - one).max((1, 2, 3)) < tolerance for one in candidates])
    assert near.any(0).all()
    return [int(one) for one in near.argmax(0)]


@pytest.mark.parametrize("strength", PROBES["shift"].strengths)
def test_shift(strength: int) -> None:
    """Reference: numpy.roll along the four diagonals, all of which are drawn."""
    before, after, value = changed("shift", strength)
    k = int(value)
    ways = [np.roll(before, (a * k, b * k), (2, 3)) for a, b in itertools.product((-1, 1), repeat=2)]
    assert set(which(after, ways)) == {0, 1, 2, 3}


@pytest.mark.parametrize("strength", PROBES["rotation"].strengths)
def test_rotation(strength: int) -> None:
    """Reference: scipy.ndimage.rotate, bilinear, the edges continued, to both sides."""
    before, after, value = changed("rotation", strength)
    ways = [
        scipy.ndimage.rotate(before, sign * value, (2, 3), reshape=False, order=1, mode="nearest") for sign in (-1, 1)
    ]
    assert set(which(after, ways)) == {0, 1}


@pytest.mark.parametrize("strength", PROBES["scale"].strengths)
def test_scale(strength: int) -> None:
    """Reference: scipy.ndimage.affine_transform about the middle, bilinear."""
    before, after, value = changed("scale", strength)
    middle = (SIDE - 1) / 2
    for image, found in zip(before, after, strict=True):
        matrix, offset = [1, 1 / value, 1 / value], [0, *[middle * (1 - 1 / value)] * 2]
        expected = scipy.ndimage.affine_transform(image, matrix, offset, order=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("strength", PROBES["blur"].strengths)
def test_blur(strength: int) -> None:
    """References: scipy.ndimage.gaussian_filter, and torchvision's gaussian_blur."""
    before, after, value = changed("blur", strength)
    sigma = value * SIDE / 32
    radius = int(np.ceil(3 * sigma))
    expected = scipy.ndimage.gaussian_filter(before, (0, 0, sigma, sigma), radius=(0, 0, radius, radius), mode="mirror")
    torchvision = gaussian_blur(torch.from_numpy(before), [2 * radius + 1] * 2, [sigma] * 2)
    np.testing.assert_allclose(after, torchvision, atol=1e-6)
    np.testing.assert_allclose(after, expected, atol=1e-6)


def test_noise() -> None:
    """Standard normal by its moments (SciPy's have the same) and the same at every strength, but for its deviation."""
    grey = torch.full((200, 3, SIDE, SIDE), 0.5, dtype=torch.float64)
    scene = probes.Scene(np.arange(200), MEAN, DEVIATION)
    weak, strong = ((probes.noise(grey, value, scene) - 0.5) / value for value in (0.01, 0.02))
    torch.testing.assert_close(weak, strong, atol=1e-9, rtol=1e-9)
    drawn = weak.flatten()
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((drawn**power).mean().item() - moment) < 0.06
    assert abs(float(np.corrcoef(weak[0].flatten(), weak[1].flatten())[0, 1])) < 0.15
    before, after, _ = changed("noise", 5)
    assert after.min() == 0 and after.max() == 1 and not np.array_equal(before, after)


@pytest.mark.parametrize("strength", PROBES["brightness"].strengths)
def test_brightness_and_contrast(strength: int) -> None:
    """Reference: the formulas, in NumPy; brightness of a colour as ITU-R BT.601 has it."""
    before, after, value = changed("brightness", strength)
    assert set(which(after, [np.clip(before * (1 + sign * value), 0, 1) for sign in (-1, 1)])) == {0, 1}
    before, after, value = changed("contrast", strength)
    grey = (before * np.array([0.2989, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1).mean((1, 2)).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(after, grey + value * (before - grey), atol=1e-6)


@pytest.mark.parametrize("strength", PROBES["occlusion"].strengths)
def test_occlusion(strength: int) -> None:
    """Reference: NumPy; what differs is one square of the training images' mean, at several places."""
    before, after, value = changed("occlusion", strength)
    side, places = round(value * SIDE), set()
    for image, found in zip(before, after, strict=True):
        rows, columns = np.nonzero((image != found).any(0))
        top, left = rows.min(), columns.min()
        expected = image.copy()
        expected[:, top : top + side, left : left + side] = MEAN.numpy().reshape(3, 1, 1)
        np.testing.assert_allclose(found, expected, atol=1e-7)
        places.add((top, left))
    assert len(places) > 3


def patches(image: NDArray[Any], grid: int) -> list[NDArray[Any]]:
    size = image.shape[-1] // grid
    return [
        image[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
        for row, column in itertools.product(range(grid), repeat=2)
    ]


@pytest.mark.parametrize("strength", PROBES["patch_shuffle"].strengths)
def test_patch_shuffle(strength: int) -> None:
    """Reference: the patches cut by slices, of which each image has the same ones in an order of its own."""
    before, after, value = changed("patch_shuffle", strength)
    orders = set()
    for image, found in zip(before, after, strict=True):
        there, here = patches(image, int(value)), patches(found, int(value))
        order = tuple(next(i for i, one in enumerate(there) if np.array_equal(one, patch)) for patch in here)
        assert sorted(order) == list(range(int(value) ** 2))
        orders.add(order)
    assert len(orders) > 6


def test_patch_drop() -> None:
    """Reference: the patches cut by slices; the share that is black is that of the strength, and grows."""
    assert [drop_grid(side) for side in (8, 16, 28, 32, 64, 224)] == [8, 8, 14, 8, 8, 14]
    before: list[set[int]] = [set() for _ in NUMBERS]
    for strength in PROBES["patch_drop"].strengths:
        plain, after, value = changed("patch_drop", strength)
        for number, (image, found) in enumerate(zip(plain, after, strict=True)):
            black = {place for place, patch in enumerate(patches(found, 8)) if not patch.any()}
            assert len(black) == round(value * 64) and before[number] < black
            assert all(np.array_equal(a, b) for place, (a, b) in enumerate(zip(patches(image, 8), patches(found, 8),
                       strict=True)) if place not in black)  # fmt: skip
            before[number] = black


@pytest.mark.parametrize("strength", PROBES["object_size"].strengths)
def test_object_size_and_fewer_pixels(strength: int) -> None:
    """Reference: PIL's resize, which is antialiased too, and numpy.pad."""

    def resized(image: NDArray[Any], side: int) -> NDArray[Any]:
        whole = [Image.fromarray(channel.astype(np.float32)) for channel in image]
        return np.stack([np.asarray(one.resize((side, side), Image.Resampling.BILINEAR)) for one in whole])

    before, smaller, value = changed("object_size", strength)
    _, coarser, _ = changed("fewer_pixels", strength)
    side = round(value * SIDE)
    first = (SIDE - side) // 2
    around = ((0, 0), (first, SIDE - side - first), (first, SIDE - side - first))
    for image, one, other in zip(before, smaller, coarser, strict=True):
        small = resized(image, side)
        np.testing.assert_allclose(one, np.pad(small, around, mode="edge"), atol=1e-5)
        np.testing.assert_allclose(other, resized(small, SIDE), atol=1e-5)


def test_an_image_of_noise() -> None:
    """Mean and deviation of each channel are those that were given, where black and white are far enough."""
    scene = probes.Scene(np.arange(100), MEAN, torch.tensor([0.05, 0.1, 0.08]))
    found = probes.noise_image(torch.zeros(100, 3, SIDE, SIDE, dtype=torch.float64), 1, scene)
    torch.testing.assert_close(found.mean((0, 2, 3)), MEAN.double(), atol=0.003, rtol=0)
    torch.testing.assert_close(found.std((0, 2, 3)), torch.tensor([0.05, 0.1, 0.08]).double(), atol=0.003, rtol=0)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_a_function_of_the_images_number(name: str) -> None:
    """However many images are changed together, in whatever order, and whatever else has been drawn."""
    pixels = (images() * 255).round().to(torch.uint8).numpy()
    scene = {"mean": MEAN, "deviation": DEVIATION}
    value, shown = PROBES[name].values[-1], []

    def change(x: torch.Tensor, numbers: NDArray[np.int64]) -> torch.Tensor:
        shown.append(numbers)
        return getattr(probes, name)(x, value, probes.Scene(numbers, **scene))

    whole = Probed(pixels, change)[:]
    torch.manual_seed(5)
    np.random.default_rng(5)
    backwards = Probed(Selected(pixels, np.arange(len(pixels))[::-1].copy()), change)
    assert np.array_equal(whole, backwards[:][::-1])
    assert np.array_equal(whole, np.concatenate([Probed(pixels, change)[i : i + 1] for i in range(len(pixels))]))
    assert whole.dtype == np.uint8 and whole.shape == pixels.shape
    assert list(shown[1]) == list(range(len(pixels)))[::-1]
    assert np.array_equal(whole, pixels) == (name == "permuted_labels")
    assert Probed(pixels, change) != Selected(pixels, np.arange(len(pixels)))


@pytest.mark.parametrize("position", ["none", "learned_1d"])
def test_without_positions_shuffled_patches_are_the_same(position: str) -> None:
    """With mean pooling, and patches of the probe that are whole patches of the network's: the same logits to 1e-10."""
    vit = models.create_model("vit", image_size=16, in_channels=3, num_classes=10, size="pico", scale=8,
                              position=position)  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    vit = vit.double().eval()
    x = images()
    scene = probes.Scene(NUMBERS, MEAN, DEVIATION)
    with torch.no_grad():
        plain = vit(x)
        for grid in (2, 4, 8):
            apart = float((vit(probes.patch_shuffle(x, grid, scene)) - plain).abs().max())
            assert apart < 1e-10 if position == "none" else apart > 1e-4


def battery(run: Run, *requests: Request) -> list[Evaluation]:
    table = EvaluationTable("", requests)
    found = evaluations_of(run, (table,), [run.resolution], run.measured_parts, UnmetRequests())
    return [one for one in found if isinstance(one, Evaluation)]


MEASURED = [("shift", 1), ("noise", 5), ("patch_drop", 3), ("blur", 5)]
CONTROLS = [("noise_image", 1), ("permuted_labels", 1)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Record]:
    """A CNN that knows digits, measured by some probes."""
    from benchmarks.running.execute import execute
    from benchmarks.running.task import Settings

    root = tmp_path_factory.mktemp("probed")
    settings = {"model": "resnet", "size": "pico", "train_size": 500, "recipe": "digits", "budget": {"steps": 60}}
    run = make_run(settings)
    some = [Request(probe=name, strength=strength) for name, strength in (*MEASURED, *CONTROLS)]
    wanted = [*single(run).evaluations[run.id], *battery(run, *some)]
    execute(run, root, wanted, Settings(Path("data"), predictions="logits"), lambda: False)
    return run, read_record(root / run.id)


def probed_entry(record: Record, name: str, strength: int = 1) -> dict[str, Any]:
    [found] = [
        one for one in record.evaluations
        if (one["evaluation"]["probe"], one["evaluation"]["strength"]) == (name, strength)
    ]  # fmt: skip
    return found


def test_controls_are_at_chance(trained: tuple[Run, Record]) -> None:
    """Ten classes of equal size: within four binomial standard errors of a tenth, where the network is right on most
    images as they are. Consistency is given for no control."""
    _, record = trained
    assert record.main is not None and record.main["accuracy"] > 0.8
    for name, _ in CONTROLS:
        entry = probed_entry(record, name)
        assert abs(entry["accuracy"] - 0.1) < 4 * (0.09 / entry["count"]) ** 0.5
        assert entry["consistency"] is None


@pytest.mark.parametrize(("name", "strength"), MEASURED)
def test_accuracy_and_consistency(trained: tuple[Run, Record], name: str, strength: int) -> None:
    """Reference: the run as `load_run` has it, on its test images changed by the probe and stored in 8 bits."""
    run, record = trained
    one = load_run(run.id, record.path.parent, "data")
    pixels, labels = one.pixels("test"), one.images("test")[1]
    mean = torch.tensor([float(one.pixels("train").double().mean()) / 255])
    deviation = torch.tensor([float(one.pixels("train").double().std(correction=0)) / 255])
    scene = probes.Scene(np.arange(len(pixels)), mean, deviation)
    x = getattr(probes, name)(pixels.double() / 255, PROBES[name].value(strength), scene)
    found = one.predict(one.shown((x * 255).round().to(torch.uint8))).argmax(1)
    entry = probed_entry(record, name, strength)
    assert entry["accuracy"] == (found == labels).double().mean().item()
    assert entry["consistency"] == (found == one.predict("test").argmax(1)).double().mean().item() < 1


def test_other_labels_stay_out_of_a_pass(trained: tuple[Run, Record]) -> None:
    """The labels that a pass keeps are the true ones, whichever evaluation came last."""
    _, record = trained
    for entry in (record.main, probed_entry(record, "blur", 5)):
        assert entry is not None
        right = read_correct(record.path, entry["id"], "test")
        assert right is not None and right.mean() == entry["accuracy"]
    assert probed_entry(record, "permuted_labels")["predictions"] == "none"


@pytest.mark.usefixtures("one_batch")
def test_probes_are_added_resumed_and_made_once(tiny: Any, perform: Perform, tmp_path: Path) -> None:
    """References: the evaluations in one go, number for number; and the pass without probes, byte for byte."""
    run = tiny()
    assert perform(run).state == "finished"
    weights = (tmp_path / run.id / "weights.safetensors").stat().st_mtime_ns
    first = (tmp_path / run.id / "evaluations" / "0001.npz").read_bytes()
    wanted = battery(run, Request(probe="occlusion"), Request(probe="rotation", strength=2))
    assert len(run_state(run, tmp_path, wanted).waiting) == 6
    assert perform(run, evaluations=wanted, stop_at=4) == Outcome("interrupted", "stopped after 3 of 6 evaluations")
    assert perform(run, evaluations=wanted) == Outcome("finished", "3 evaluations")
    assert perform(run, evaluations=wanted) == Outcome("finished", "nothing")
    assert run_state(run, tmp_path, wanted).state == "finished"
    assert (tmp_path / run.id / "evaluations" / "0001.npz").read_bytes() == first
    assert (tmp_path / run.id / "weights.safetensors").stat().st_mtime_ns == weights
    again = tmp_path / "again"
    perform(run, root=again)
    perform(run, root=again, evaluations=wanted)
    assert read_record(tmp_path / run.id).evaluations == read_record(again / run.id).evaluations
    assert {entry["predictions"] for entry in read_record(again / run.id).evaluations[2:]} == {"none"}


def test_a_probe_depends_on_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other strengths, or another function: those evaluations are missing, and no others."""
    before = {name: sources.evaluation_code(name) for name in ("-", *PROBES)}
    assert len(set(before.values())) == len(before)
    stronger = type(PROBES["blur"])(PROBES["blur"].does, (9.0,))
    monkeypatch.setitem(PROBES, "blur", stronger)
    after = {name: sources.evaluation_code(name) for name in before}
    assert [name for name in before if before[name] != after[name]] == ["blur"]
    unknown = {"code": before["-"], "evaluation": {"probe": "of a later version"}}
    assert not sources.is_current(unknown)


def test_probed_photographs_of_before_they_were_changed_as_shown_are_measured_again() -> None:
    """Their entries name a decoder. Those of ordinary images have the bits that they had, and those without a probe."""
    blurred = {"code": sources.evaluation_code("blur"), "evaluation": {"probe": "blur"}}
    decoded = {"decoder": {"name": "pillow"}}
    assert sources.is_current(blurred)
    assert not sources.is_current(blurred | decoded)
    assert sources.is_current(blurred | decoded | {"code": sources.evaluation_code("blur", photographs=True)})
    assert sources.is_current({"code": sources.evaluation_code(), "evaluation": {}, **decoded})


def test_a_rerun_leaves_out_what_other_code_measured(
    tiny: Any, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same strength, but with another meaning since: the images were others, so there is nothing to compare."""
    run = tiny()
    perform(run, evaluations=battery(run, Request(probe="occlusion"), Request(probe="rotation", strength=2)))
    monkeypatch.setitem(PROBES, "occlusion", type(PROBES["occlusion"])(PROBES["occlusion"].does, (0.9, 0.8)))
    record = read_record(tmp_path / run.id)
    evaluations = prepare_rerun(record, run)
    assert {one.probe for one in evaluations} == {"rotation"}
    perform(run, root=rerun_root(tmp_path), evaluations=evaluations)
    found = compare(record, None)
    assert found.verdict == "equal"
    assert found.compared[-1] == "not 5 probed evaluations of measuring code that has changed"
