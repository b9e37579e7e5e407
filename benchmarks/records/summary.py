"""Records for people: every run in a line, and one run in a few, each a (name, text): what came out, how its loss went,
how long it took."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.console import count, duration, sparkline
from benchmarks.errors import RecordError
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study
from benchmarks.records.init_from import run_sources
from benchmarks.records.metrics import read_metrics
from benchmarks.records.record import Record
from benchmarks.records.validity import valid_record

LOSSES = {"loss": "training loss", "validation_loss": "validation loss"}  # a key of metrics.jsonl: its name to a reader
Lines = list[tuple[str, str]]


def accuracies(record: Record) -> Lines:
    """The accuracy on the test images and on its own training images, of those that there are."""
    lines: Lines = []
    main, result = record.main, record.result
    if main is not None:
        place = f"{main['count']:,} images at {main['evaluation']['resolution']} px"
        lines.append(("test accuracy", f"{main['accuracy']:.2%} of {place}"))
    if result is not None and result["train_accuracy"] is not None:
        images = f"{result['train_images']:,} training images, not augmented"
        text = f"{result['train_accuracy']:.2%} of {images}; loss {result['train_loss']:.4g}"
        lines.append(("training accuracy", text))
    return lines


def losses(record: Record, steps: int) -> Lines:
    """The course of each loss that was logged; of metrics that cannot be read, what is wrong with them."""
    try:
        metrics = read_metrics(record.path / "metrics.jsonl")
    except RecordError as error:
        return [("metrics", str(error))]
    return [(name, line) for key, name in LOSSES.items() if (line := course(metrics, key, steps))]


def course(metrics: Sequence[Mapping[str, float]], key: str, steps: int) -> str:
    """How a logged loss went: '█▆▃▁  2.3 to 0.01 at step 600 of 600 (log scale)'; '' where it was not logged."""
    logged = [(int(row["step"]), row[key]) for row in metrics if 0 < (row.get(key) or 0) < math.inf]
    if not logged:
        return ""
    drawn = sparkline([math.log(value) for _, value in logged])
    return f"{drawn}  {logged[0][1]:.3g} to {logged[-1][1]:.3g} at step {logged[-1][0]:,} of {steps:,} (log scale)"


def circumstances(record: Record) -> Lines:
    """How long it took, all attempts together, and on what it was computed."""
    lines: Lines = []
    seconds = [attempt["seconds"] for attempt in record.attempts if attempt["seconds"]]
    if seconds:
        total, training = (sum(one.get(name) or 0.0 for one in seconds) for name in ("total", "training"))
        text = f"{duration(total)}, of which {duration(training)} training"
        lines.append(("time", f"{text}, in {count(len(seconds), 'attempts')}" if len(seconds) > 1 else text))
    if record.execution is not None and record.attempt_list:
        about = record.attempt_list[-1].environment()
        name = (about.get("gpu") or {}).get("name") if record.execution["device"] == "cuda" else about.get("cpu")
        ranks = record.execution.get("ranks", 1)  # absent in early records
        together = f"{ranks} together" if ranks > 1 else ""
        parts = (record.execution["device"], name, together)
        lines.append(("computed on", ", ".join(str(part) for part in parts if part)))
        if decoder := record.execution.get("decoder"):
            lines.append(("photographs", f"by {decoder['name']} {decoder['version']}{_waited(seconds)}"))
    return lines


def _waited(seconds: Sequence[Mapping[str, float]]) -> str:
    """', for which training waited 12 % of its time', of those attempts that recorded it."""
    known = [one for one in seconds if one.get("waiting") is not None and one.get("training")]
    if not known:
        return ""
    share = sum(one["waiting"] for one in known) / sum(one["training"] for one in known)
    return f", for which training waited {100 * share:.0f} % of its time"


@dataclass(frozen=True)
class ListedRun:
    """A run in a line. `accuracy` is that on the test images at the training resolution, 0 to 1; None where it is not
    measured, as are the numbers of a record whose configuration cannot be read."""

    id: str
    state: str
    reason: str
    train_size: int | None = None
    draw: int | None = None
    seed: int | None = None
    accuracy: float | None = None


def listed_runs(root: Path, study: Study | None = None) -> Iterator[ListedRun]:
    """The runs of a study in its order, whether or not they have a record; without one, the records under `root` by
    name, whatever they were made by: only a study's runs are compared with today's sources, and can be stale."""
    if study is not None:
        yield from (_listed(root, run.id, run) for run in study.runs)
        return
    yield from (_listed(root, name) for name in _folders(root) if _is_record(root, name))


def other_folders(root: Path) -> list[str]:
    """The names of the folders under `root` that are the record of no run, hidden ones apart."""
    return [name for name in _folders(root) if not _is_record(root, name)]


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _is_record(root: Path, name: str) -> bool:
    return os.path.exists(f"{root}/{name}/config.json")  # noqa: PTH110  (as in Record.path)


def _listed(root: Path, name: str, run: Run | None = None) -> ListedRun:
    folder = f"{root}/{name}"  # as in Record.path
    if run is not None and not _is_record(root, name):
        return ListedRun(name, "missing", "", **_numbers(run.settings()))
    try:
        record = valid_record(folder, run, now_sources=None if run is None else run_sources(run, root))
    except RecordError as error:
        return ListedRun(name, "failed", str(error), **(_numbers(run.settings()) if run is not None else {}))
    main = record.main
    accuracy = None if main is None else main["accuracy"]
    return ListedRun(name, record.state, record.reason, **_numbers(record.config["run"]), accuracy=accuracy)


def _numbers(settings: Mapping[str, Any]) -> dict[str, int]:
    return {key: settings[key] for key in ("train_size", "draw", "seed")}
