"""The page of one run: its images are those of the data set, its answers those of the record; it needs no network."""

import base64
import io
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from analysis.frame.predictions import read_predictions
from analysis.one_run import run_page, training_curves
from benchmarks.cli.show import show
from benchmarks.data.dataset import Places
from benchmarks.data.store import load_images
from benchmarks.errors import RecordError
from benchmarks.plan.run import Run
from benchmarks.records.evaluation_files import pass_paths, read_entries, write_evaluations
from benchmarks.records.metrics import read_metrics
from benchmarks.records.record import opened_pass, read_record

Trained = tuple[Run, Path]
PICTURE = re.compile(
    r'<li><img src="data:image/png;base64,([^"]+)" alt="test image (\d+)"><b>(\w+)</b>, taken for <b>(\w+)</b><br>'
    r"([\d.]+) % confident"
)


def page_of(run: Run, root: Path) -> str:
    return run_page(read_record(root / run.id), run, "finished", Places(Path("data"), root))


def test_the_worst_images_are_shown_as_they_are(finished: Trained) -> None:
    """Reference: numpy on the logits of the record, and the pixels of the data set."""
    run, root = finished
    record = read_record(root / run.id)
    assert record.main is not None
    kept = read_predictions(record.path, record.main["id"], "test", logits=True)
    assert kept is not None and kept.logits is not None
    odds = np.exp(kept.logits.astype(float))
    confidence = np.where(kept.predicted == kept.labels, -1, odds.max(axis=1) / odds.sum(axis=1))
    found = PICTURE.findall(page_of(run, root))
    assert len(found) == 12
    assert [int(image) for _, image, *_ in found] == np.argsort(-confidence, kind="stable")[:12].tolist()
    pixels = load_images("digits", Path("data")).test
    for picture, image, true, predicted, percent in found:
        place = int(image)
        assert (int(true), int(predicted)) == (kept.labels[place], kept.predicted[place])
        assert float(percent) == pytest.approx(100 * confidence[place], abs=0.06)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)))), pixels[place, 0])


def test_it_is_whole_and_the_same_each_time(finished: Trained) -> None:
    """No address but in its text, no script; its accuracy is the record's."""
    run, root = finished
    page = page_of(run, root)
    assert page == page_of(run, root)
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page and "url(http" not in page
    main = read_record(root / run.id).main
    assert main is not None
    assert f"{main['accuracy']:.2%} of {main['count']:,} images at 8 px" in unescape(page)


def test_the_curves_are_the_metrics(finished: Trained) -> None:
    """Reference: metrics.jsonl."""
    run, root = finished
    metrics = read_metrics(root / run.id / "metrics.jsonl")
    loss, accuracy = training_curves(metrics).axes
    drawn = {str(line.get_label()): line.get_ydata() for line in loss.lines}
    assert list(drawn["training, batch"]) == [row["loss"] for row in metrics]
    assert list(drawn["validation"]) == [row["validation_loss"] for row in metrics if "validation_loss" in row]
    assert [line.get_xdata().tolist() for line in accuracy.lines][1] == [6, 12]  # type: ignore[union-attr]


def test_without_logits_the_network_predicts_again(finished: Trained, tmp_path: Path) -> None:
    """The page is the same but for rounding; without weights it says what is missing."""
    run, root = finished
    whole = [found[1:4] for found in PICTURE.findall(page_of(run, root))]
    copy = shutil.copytree(root, tmp_path / "runs")
    [path] = pass_paths(copy / run.id)
    with opened_pass(path) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "index" and not name.endswith(".logits")}
    entries = [{**entry, "predictions": "none"} for entry in read_entries(path)]
    write_evaluations(copy / run.id, 1, entries, kept)
    again = [found[1:4] for found in PICTURE.findall(page_of(run, copy))]
    assert len(set(whole) & set(again)) >= 11
    (copy / run.id / "weights.safetensors").unlink()
    with pytest.raises(RecordError, match="there are no weights"):
        page_of(run, copy)


def test_show_writes_it(finished: Trained, tmp_path: Path) -> None:
    run, root = finished
    place = tmp_path / "seen" / "run.html"
    shown = CliRunner().invoke(show, [run.id[:-2], "--html", str(place), "--runs", str(root)])
    assert shown.output.splitlines()[-1] == f"page: {place}"
    assert place.read_text(encoding="utf-8") == page_of(run, root)
    both = CliRunner().invoke(show, [run.id, "--html", str(place), "--against", run.id, "--runs", str(root)])
    assert both.exit_code == 2 and "--html shows one run" in both.output
    copy = shutil.copytree(root, tmp_path / "runs")
    (copy / run.id / "result.json").unlink()
    refused = CliRunner().invoke(show, [run.id, "--html", str(place), "--runs", str(copy)])
    assert isinstance(refused.exception, RecordError)
    assert "is interrupted; a page is of a run that is finished" in str(refused.exception)


def test_a_finished_run_that_was_not_evaluated_is_called_so(finished: Trained, tmp_path: Path) -> None:
    """It is finished, so not that is what it lacks; its evaluations at another resolution do not help."""
    run, root = finished
    copy = shutil.copytree(root, tmp_path / "runs")
    [path] = pass_paths(copy / run.id)
    main = read_record(copy / run.id).main
    assert main is not None
    write_evaluations(copy / run.id, 1, [one for one in read_entries(path) if one["id"] != main["id"]], {})
    said = rf"is finished, but was not evaluated on test images at its .*; with {run.resolution} among the test_resolut"
    with pytest.raises(RecordError, match=said):
        page_of(run, copy)
    for each in pass_paths(copy / run.id):
        each.unlink()
    with pytest.raises(RecordError, match=said):
        page_of(run, copy)
