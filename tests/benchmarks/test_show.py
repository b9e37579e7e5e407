"""What a person sees of runs: the result first, the course of the loss, and a list with accuracies."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.console import sparkline
from benchmarks.plan.run import Run
from benchmarks.records.metrics import read_metrics
from benchmarks.records.record import read_record
from benchmarks.records.summary import circumstances, course

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]
Trained = tuple[Run, Path]


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 8, ""),
        ([3.0], 8, "▁"),
        ([2.0, 2.0], 8, "▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([0, 0, 7, 7], 2, "▁█"),
        ([0, 2, 6, 8, 0], 2, "▁█"),  # of five the first two, then three: means 1 and 4.67
    ],
)
def test_a_sparkline_shows_means_of_stretches(values: list[float], width: int, expected: str) -> None:
    """By hand."""
    assert sparkline(values, width) == expected


def test_the_course_of_a_loss() -> None:
    """By hand: a loss that falls by the same factor falls evenly; what is no number is left out."""
    rows = [{"step": step, "loss": 10.0 ** (-step)} for step in range(8)]
    assert course(rows, "loss", 9) == "█▇▆▅▄▃▂▁  1 to 1e-07 at step 7 of 9 (log scale)"
    assert course([*rows, {"step": 8, "loss": float("nan")}], "loss", 9) == course(rows, "loss", 9)
    assert course(rows, "validation_loss", 9) == ""


def test_show_begins_with_the_result(finished: Trained, inductive: Inductive) -> None:
    """Reference: the record's own numbers; the configuration comes after them."""
    run, root = finished
    record = read_record(root / run.id)
    assert record.main is not None and record.result is not None
    losses = [row["loss"] for row in read_metrics(root / run.id / "metrics.jsonl")]
    lines = inductive("show", run.id, "--runs", str(root)).stdout.splitlines()
    assert lines[0] == f"{run.id}: finished"
    assert lines[1].split("  ")[-1].strip() == f"{record.main['accuracy']:.2%} of 597 images at 8 px"
    assert lines[2].startswith("training accuracy") and f"{record.result['train_accuracy']:.2%} of 80" in lines[2]
    assert lines[3].startswith("training loss") and f"{losses[0]:.3g} to {losses[-1]:.3g} at step 12 of 12" in lines[3]
    assert lines[4].startswith("validation loss") and "█" in lines[4]
    assert [line.split()[0] for line in lines[5:8]] == ["time", "computed", "record"]
    titles = [line.strip() for line in lines]
    assert titles.index("evaluations") < titles.index("configuration")
    of = {line.split()[0]: line.split()[1:] for line in lines[titles.index("configuration") :] if line.strip()}
    assert of["train_size"][-1] == "set" and of["initial"] == ["library"]  # by nobody: it is the default


def test_show_names_the_decoder_and_how_long_training_waited(finished: Trained, tmp_path: Path) -> None:
    """By hand: 1 of 4 and 2 of 4 seconds; an attempt that did not record it counts for nothing."""
    run, root = finished
    shutil.copytree(root / run.id, tmp_path / run.id)
    assert "photographs" not in dict(circumstances(read_record(tmp_path / run.id)))
    path = tmp_path / run.id / "execution.json"
    decoder = {"decoder": {"name": "pillow", "version": "12.0.0"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | decoder))
    attempts = tmp_path / run.id / "attempts"
    ended = json.loads((attempts / "0001" / "ended.json").read_text())
    for number, seconds in enumerate(({"waiting": 1.0}, {"waiting": 2.0}, {}), start=1):
        if number > 1:
            shutil.copytree(attempts / "0001", attempts / f"000{number}")
        spent = {"total": 9.0, "training": 4.0, **seconds}
        (attempts / f"000{number}" / "ended.json").write_text(json.dumps(ended | {"seconds": spent}))
    said = dict(circumstances(read_record(tmp_path / run.id)))
    assert said["photographs"] == "by pillow 12.0.0, for which training waited 38 % of its time"


def test_damaged_metrics_are_named(finished: Trained, inductive: Inductive, tmp_path: Path) -> None:
    run, root = finished
    copy = shutil.copytree(root, tmp_path / "runs")
    (copy / run.id / "metrics.jsonl").write_text('{"step"\n{"step": 12, "loss": 1.0}\n')
    done = inductive("show", run.id)
    assert done.returncode == 0, done.stderr
    assert "metrics.jsonl: damaged" in done.stdout


STUDY = """
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 100
validate_every = 6
seed = [0, 1]
budget = { steps = 12 }
test_resolutions = [8, 12]
[[models]]
name = "vit"
position = "learned_1d"
"""


def test_list_runs_has_every_run_of_a_study(finished: Trained, inductive: Inductive, tmp_path: Path) -> None:
    """Also those without a record; without a study, what lies there, readable or not. Reference: the record."""
    run, root = finished
    copy = shutil.copytree(root, tmp_path / "runs")
    (tmp_path / "two.toml").write_text(STUDY)
    rows = json.loads(inductive("list", "runs", "two.toml", "--json").stdout)
    main = read_record(copy / run.id).main
    assert main is not None
    assert [(row["id"], row["state"], row["accuracy"]) for row in rows][:1] == [(run.id, "finished", main["accuracy"])]
    assert [(row["state"], row["train_size"], row["seed"], row["accuracy"]) for row in rows][1:] == [
        ("missing", 100, 1, None)
    ]
    (copy / "torn").mkdir()
    (copy / "torn" / "config.json").write_text("{")
    listed = inductive("list", "runs")
    assert listed.returncode == 0, listed.stderr
    first, second, last = listed.stdout.splitlines()
    assert first.split() == ["torn", "failed", "n", "-", "seed", "-", "-"]
    assert second.split() == [run.id, "finished", "n", "100", "seed", "0", f"{main['accuracy']:.2%}"]
    assert last == "1 finished, 1 failed"


def test_a_folder_that_is_no_record_is_none_for_list_and_show(
    finished: Trained, inductive: Inductive, tmp_path: Path
) -> None:
    """A folder without config.json is no failed run: both say what it is, and the list does not count it."""
    run, root = finished
    copy = shutil.copytree(root, tmp_path / "runs")
    (copy / "notes" / "attempts").mkdir(parents=True)
    said = "runs/notes: there is no config.json in this folder, so it is the record of no run"
    listed = inductive("list", "runs")
    assert [row.split()[0] for row in listed.stdout.splitlines()] == [run.id, "1", "left"]
    assert listed.stdout.splitlines()[1:] == ["1 finished", f"left out: {said}"]
    assert [row["id"] for row in json.loads(inductive("list", "runs", "--json").stdout)] == [run.id]
    shown = inductive("show", "notes")
    assert (shown.returncode, shown.stderr.strip()) == (2, f"error: {said}")


def test_list_runs_names_what_is_not_there(inductive: Inductive, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(STUDY)
    assert {row["state"] for row in json.loads(inductive("list", "runs", "two.toml", "--json").stdout)} == {"missing"}
    nowhere = inductive("list", "runs")
    assert nowhere.returncode == 2 and "runs: there is no such folder of records" in nowhere.stderr
    wrong = inductive("list", "models", "two.toml")
    assert wrong.returncode == 2 and "a study belongs to `list runs`" in wrong.stderr
