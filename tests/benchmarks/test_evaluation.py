"""What an evaluation shows a network, against numpy, PIL and torchvision; and runs that are tested in every way."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from analysis.frame.predictions import read_correct
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.plan.evaluations import UnmetRequests, evaluations_of, read_tables
from benchmarks.plan.run import Evaluation, Run, make_run
from benchmarks.records.record import opened_pass, read_record, write_evaluations
from benchmarks.records.states import run_state
from benchmarks.running.execute import Outcome
from benchmarks.training import training
from benchmarks.training.calibration import calibration_error
from benchmarks.training.evaluation import Measurer, centred, evaluate
from benchmarks.training.kernels import execution_for
from benchmarks.training.training import build_model, logits_of

Make = Callable[..., Run]
Perform = Callable[..., Outcome]
LINEAR = execution_for(make_run({}), "cpu")["linear"]
EXECUTION = {"attention": "explicit", "linear": LINEAR, "layout": "contiguous", "device": "cpu"}


def measurer(**changes: Any) -> Measurer:
    run = make_run({"size": "pico", "train_size": 300, "recipe": "digits", **changes})
    images = load_images("digits", Path("data"))
    subset = draw_subset(images.train_labels, 10, run.draw, run.train_size, run.validation)
    return Measurer(build_model(run, EXECUTION), run, images, subset, channels_last=False)


def few_images(one: Measurer) -> Measurer:
    """The same with 60 images of each part, where every image goes through the same."""
    one.parts = {name: (pixels[:60], labels[:60]) for name, (pixels, labels) in one.parts.items()}
    return one


def wanted(run: Run, **table: Any) -> list[Evaluation]:
    """The evaluations of an [[evaluations]] table."""
    found = evaluations_of(run, read_tables([table], ""), [run.resolution], run.measured_parts, UnmetRequests())
    return list(dict.fromkeys(one for one in found if isinstance(one, Evaluation)))


def test_a_canvas_is_numpys_pad() -> None:
    """The image as in training, 0 (the training images' mean) around it, nothing resized; smaller: numpy's slice."""
    one = measurer()
    pixels = torch.rand(2, 1, 8, 8)
    at_home = one.shown(pixels, Evaluation(resolution=8))
    for side in (8, 10, 13, 16):
        before = (side - 8) // 2
        expected = np.pad(at_home, ((0, 0), (0, 0), (before, side - 8 - before), (before, side - 8 - before)))
        np.testing.assert_array_equal(one.shown(pixels, Evaluation(resolution=side, images="canvas")), expected)
    small = one.shown(pixels, Evaluation(resolution=4, images="canvas"))
    np.testing.assert_array_equal(small, at_home[:, :, 2:6, 2:6])
    mean = torch.from_numpy(one.parts["train"][0][:]).float().div(255).mean()
    torch.testing.assert_close(one.normalise(mean.view(1, 1, 1, 1)), torch.zeros(1, 1, 1, 1), atol=1e-6, rtol=0)


def test_the_canvas_is_around_the_training_resolution() -> None:
    """Trained at 16 px, an image of 8 native pixels has 16 on every canvas."""
    one = measurer(resolution=16)
    shown = one.shown(torch.ones(1, 1, 8, 8), Evaluation(resolution=20, images="canvas"))
    assert (shown != 0).sum() == 16 * 16


@pytest.mark.parametrize(("side", "share"), [(8, 0.75), (8, 0.5), (32, 0.875), (32, 0.25), (28, 0.5)])
def test_a_crop_is_torchvisions_and_pils(side: int, share: float) -> None:
    """The middle, then one antialiased step to the resolution, as torchvision does both, and PIL the crop."""
    one = measurer()
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, side, side), dtype=np.uint8))
    part = round(share * side)
    cropped = centred(pixels, part)
    assert torch.equal(cropped, tv.center_crop(pixels, [part, part]))
    edge = (side - part) // 2
    by_pil = Image.fromarray(pixels[0, 0].numpy()).crop((edge, edge, edge + part, edge + part))
    assert np.array_equal(cropped[0, 0], by_pil)
    expected = one.normalise(tv.resize(tv.center_crop(pixels.float() / 255, [part, part]), [12, 12], antialias=True))
    found = one.shown(pixels.float() / 255, Evaluation(resolution=12, crop=share))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_an_odd_pixel_is_at_the_bottom_and_right() -> None:
    """Written out by hand."""
    row = torch.arange(1, 5).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert centred(row, 7)[0, 0, 1].tolist() == [0, 1, 2, 3, 4, 0, 0]
    assert centred(row, 7)[0, 0, :, 1].tolist() == [0, 1, 1, 1, 1, 0, 0]
    assert centred(row, 3)[0, 0, 0].tolist() == [1, 2, 3]
    assert centred(row, 1)[0, 0, 0].tolist() == [2]


def test_batchnorm_sees_the_training_images_as_they_are_shown() -> None:
    """Numpy's two-pass mean and variance of what the stem makes of all 240 training images, on a canvas of 12 px."""
    one = measurer(model="resnet")
    how = Evaluation(part="test", resolution=12, images="canvas", batchnorm="reestimated")
    mean, variance = one.statistics(how)[0]
    pixels = torch.from_numpy(one.parts["train"][0][:]).float() / 255
    assert len(pixels) == 240
    first = next(module for module in one.model.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.no_grad():
        values = first(one.shown(pixels, how)).double().numpy()
    expected = values.mean((0, 2, 3))
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-7)
    squares = ((values - expected[None, :, None, None]) ** 2).sum((0, 2, 3)) / (values[:, 0].size - 1)
    np.testing.assert_allclose(variance, squares, rtol=1e-5)
    kept = one.logits("test", Evaluation(resolution=12, images="canvas"))
    again = one.logits("test", how)
    assert not torch.equal(kept, again)
    assert torch.equal(kept, one.logits("test", Evaluation(resolution=12, images="canvas")))  # and nothing stays
    for same in ({"part": "validation"}, {"views": "mirrored"}, {"probe": "blur", "strength": 1}):  # estimated once
        assert one.statistics(how.model_copy(update=same)) is one.statistics(how)


@pytest.mark.parametrize("batchnorm", ["kept", "reestimated"])
def test_mirrored_views_are_the_mean_of_both_images(batchnorm: Any) -> None:
    """Reference: the network on the images and on their mirror images, averaged in double precision; the statistics of
    BatchNorm are those of the images as they are."""
    one = measurer(model="resnet")
    how = Evaluation(resolution=12, images="canvas", batchnorm=batchnorm)
    mirrored = how.model_copy(update={"views": "mirrored"})
    found = one.logits("test", mirrored)
    plain = one.logits("test", how)
    one.parts["test"] = (np.ascontiguousarray(one.parts["test"][0][:][..., ::-1]), one.parts["test"][1])
    expected = (plain.double() + one.logits("test", how).double()) / 2
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, plain)
    assert torch.equal(found, one.logits("test", mirrored))  # of mirror images the same, but for which comes first


@pytest.mark.parametrize(
    ("model", "table"),
    [
        ({"model": "vit", "options": {"position": "rope_axial"}}, {"carry": "rescale_base:base=700"}),
        ({"model": "vit", "options": {"position": "alibi_2d"}}, {"carry": "rescale:factor=0.1"}),
        ({"model": "vit"}, {"images": "patch"}),
        ({"model": "mixer"}, {"images": "patch"}),
        ({"model": "conv_stem_vit"}, {"batchnorm": "reestimated", "carry": "all"}),
    ],
)
def test_no_evaluation_touches_the_next(model: dict[str, Any], table: dict[str, Any]) -> None:
    """References: a fresh network, and the same evaluations the other way round. A way with a number of its own also
    acts on the training grid, so that the next evaluation must set it back."""
    run = make_run({"size": "pico", "train_size": 300, "recipe": "digits", **model})
    evaluations = [Evaluation(resolution=8), *wanted(run, resolution=[8, 12, 16], **table)]
    forward, backward, fresh = (few_images(measurer(**model)) for _ in range(3))
    logits = {one.id: forward.logits(one.part, one) for one in evaluations}
    for one in reversed(evaluations):
        assert torch.equal(backward.logits(one.part, one), logits[one.id]), one.words
    plain = logits_of(fresh.model, fresh.parts["test"][0], fresh.normalise, False)
    assert torch.equal(logits[evaluations[0].id], plain)


def everything(run: Run) -> list[Evaluation]:
    """The default evaluation, and all kinds of others."""
    tables: list[dict[str, Any]] = [
        {"resolution": [8, 12, 16], "images": ["resize", "canvas"], "batchnorm": ["kept", "reestimated"]},
        {"resolution": [8, 12], "images": "patch"},
        {"resolution": [12, 16], "carry": "all"},
        {"crop": [0.75, 1]},
        {"resolution": 12, "batchnorm": "kept"},
    ]
    return list(dict.fromkeys(itertools.chain(*(wanted(run, **table) for table in tables))))


@pytest.mark.usefixtures("one_batch")
@pytest.mark.parametrize("model", ["vit", "resnet", "mixer"])
def test_every_kind_is_added_without_training(
    model: str, tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the run that was asked for everything at once, interrupted before the last evaluation and resumed."""
    run = tiny(model=model)
    evaluations = everything(run)
    assert perform(run, root=tmp_path / "once", evaluations=evaluations, stop_at=12 + len(evaluations) - 1).state == (
        "interrupted"
    )
    assert perform(run, root=tmp_path / "once", evaluations=evaluations).state == "finished"
    perform(run, root=tmp_path / "later")

    def no_training(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(training.Training, "update", no_training)
    missing = run_state(run, tmp_path / "later", evaluations).waiting
    assert len(missing) == len(evaluations) - 2
    assert perform(run, root=tmp_path / "later", evaluations=evaluations).did == f"{len(missing)} evaluations"
    entries = [
        {one["id"]: one for one in read_record(tmp_path / root / run.id).evaluations} for root in ("once", "later")
    ]
    assert entries[0] == entries[1]
    assert [Evaluation(**one["evaluation"]) for one in entries[0].values()] == evaluations
    [path] = (tmp_path / "once" / run.id / "evaluations").glob("*.npz")
    with opened_pass(path) as arrays:
        for one in json.loads(arrays["index"].tobytes()):
            labels = arrays[f"labels.{one['evaluation']['part']}"]
            assert np.mean(arrays[f"{one['id']}.logits"].argmax(1) == labels) == pytest.approx(
                one["accuracy"], abs=0.01
            )


@pytest.mark.parametrize(
    ("kept", "classes"), [("logits", 10), ("top5", 10), ("logits", 300), ("logits", 40_000), ("top5", 70_000)]
)
def test_what_is_kept_of_predictions_is_what_was_counted(kept: str, classes: int, tmp_path: Path) -> None:
    """Two logits that are equal in 16 bits, the second larger in 32, and a tie in 32. Reference: the recorded accuracy,
    and the indices of the maxima written here; the best of the 16-bit logits would be another."""
    logits = torch.zeros(4, classes)
    for row, (first, second) in enumerate(((1.0, 1.0001), (1.0001, 1.0), (1.0, 1.0), (0.0, 1.0))):
        logits[row, 2], logits[row, classes - 1] = first, second
    best = np.array([classes - 1, 2, 2, classes - 1])
    labels = best.copy()
    labels[2] = 0
    one = Evaluation(resolution=8)
    fake = SimpleNamespace(
        score=lambda part, how: (logits, (logits.argmax(1) == torch.from_numpy(labels)).double().mean().item(), 1.0),
        parts={"test": (None, labels)}, classes=classes, left_out=None,
    )  # fmt: skip
    entries, arrays = evaluate(fake, [one], "0" * 8, kept)
    predicted = arrays[f"{one.id}.predicted"]
    assert predicted.dtype == (np.uint8 if classes <= 256 else np.uint16 if classes <= 65_536 else np.uint32)
    assert arrays["labels.test"].dtype == (np.int16 if classes <= 32_768 else np.int32)
    np.testing.assert_array_equal(arrays["labels.test"], labels)
    np.testing.assert_array_equal(predicted, best)
    if kept == "logits":
        assert arrays[f"{one.id}.logits"].argmax(1)[0] == 2
    write_evaluations(tmp_path, 1, entries, arrays)
    right = read_correct(tmp_path, one.id, "test")
    assert right is not None and right.mean() == entries[0]["accuracy"] == 0.75
    del arrays[f"{one.id}.predicted"]  # a record of before it was kept
    write_evaluations(tmp_path, 1, entries, arrays)
    assert read_correct(tmp_path, one.id, "test") is not None
    assert not any("predicted" in name for name in evaluate(fake, [one], "", "none")[1])


def test_calibration_error_is_guos() -> None:
    """Reference: equation 3 of Guo et al. (2017), bin by bin in numpy; and a network 80 % sure and 60 % right."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(500, 10, generator=generator) * 3, torch.randint(0, 10, (500,), generator=generator)
    probabilities = torch.softmax(logits.double(), 1).numpy()
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels.numpy()
    expected = 0.0
    for low in np.linspace(0, 1, 16)[:-1]:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(logits, labels) == pytest.approx(expected)
    sure = torch.tensor([[0.8, 0.2]]).log().repeat(10, 1)
    assert calibration_error(sure, torch.tensor([0] * 6 + [1] * 4)) == pytest.approx(0.2, abs=1e-6)
    assert np.isnan(calibration_error(torch.full((2, 3), float("nan")), torch.tensor([0, 1])))
