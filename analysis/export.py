"""`inductive export STUDY --to csv|tensorboard|wandb`: records as other programs like them, after the fact.

Trackers are extras that only this file imports, when they are asked for: nothing that trains knows of them.
"""

import csv
import importlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from analysis.frame.frame import Frame, load
from analysis.frame.rows import each_group, each_row
from benchmarks.console import count
from benchmarks.errors import InductiveError, RecordError
from benchmarks.files import read_json, write_atomic
from benchmarks.plan.run import Evaluation
from benchmarks.plan.study import Study
from benchmarks.records.metrics import read_metrics

METRICS = ("step", "loss", "learning_rate", "accuracy", "validation_loss", "validation_accuracy")
Scalars = list[tuple[int, dict[str, float]]]


def export(study: Study, root: Path, to: str, out: Path) -> str:
    """Writes the records of a study into `out` (for wandb, which sends them: what it keeps on this machine).

    Returns what was written, in words. Raises InductiveError when the tracker is not installed, naming the extra, or
    when `out` holds an export already.
    """
    return TARGETS[to](study, load(root, study), root, out)


def _csv(study: Study, frame: Frame, root: Path, out: Path) -> str:
    """`evaluations.csv`, `runs.csv` (columns: frame.COLUMNS) and `metrics.csv`, a row a logged step."""
    out.mkdir(parents=True, exist_ok=True)
    lost: dict[str, str] = {}
    metrics = {run: _metrics(root, run, lost) for run in _recorded(frame)}
    tables = {"evaluations": frame.rows, "runs": frame.runs}
    if len(frame.problems) or lost:
        unread = pd.DataFrame(lost.items(), columns=["folder", "problem"])
        tables["problems"] = pd.concat([frame.problems, unread], ignore_index=True)
    for name, table in tables.items():
        write_atomic(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["run", *METRICS], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for run, rows in metrics.items():
        writer.writerows({"run": run, **row} for row in rows)
    write_atomic(out / "metrics.csv", buffer.getvalue().encode())
    said = f"{count(len(frame.rows), 'evaluations')} of {count(len(frame.runs), 'runs')} and their metrics: {out}"
    return said + _lost_words(lost)


def _tensorboard(study: Study, frame: Frame, root: Path, out: Path) -> str:
    """A folder of events for each run: `tensorboard --logdir OUT`."""
    _needs("tensorboard")
    writer_of = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    runs = list(_recorded(frame))
    there = next((run for run in runs if (out / run).exists()), None)
    if there is not None:
        raise InductiveError(f"{out / there} is there already; remove {out}, or name another folder with -o")
    lost: dict[str, str] = {}
    for run, steps in _scalars(frame, root, lost):
        writer = writer_of(log_dir=str(out / run))
        for step, scalars in steps:
            for name, value in scalars.items():
                writer.add_scalar(name, value, step)
        writer.close()
    return f"{count(len(runs), 'runs')}: tensorboard --logdir {out}{_lost_words(lost)}"


def _wandb(study: Study, frame: Frame, root: Path, out: Path) -> str:
    """A run of the project STUDY for each run, under its own id, so that a second export goes on with the same."""
    wandb = _needs("wandb")
    out.mkdir(parents=True, exist_ok=True)
    runs = frame.runs.set_index("run")
    exported = list(_recorded(frame))
    lost: dict[str, str] = {}
    for run, steps in _scalars(frame, root, lost):
        try:
            config = read_json(root / run / "config.json")["run"]
        except RecordError as error:
            lost[run] = str(error)
            continue
        about = {
            "name": run,
            "group": str(runs.at[run, "label"]),
            "config": config,
            "tags": [str(runs.at[run, "state"])],
        }
        tracked = wandb.init(project=study.name, id=run, resume="allow", dir=str(out), **about)
        for step, scalars in steps:
            tracked.log(scalars, step=step)
        tracked.finish()
    return f"{count(len(exported), 'runs')}: project {study.name}{_lost_words(lost)}"


TARGETS: Mapping[str, Callable[[Study, Frame, Path, Path], str]] = {
    "csv": _csv,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


def _needs(name: str) -> ModuleType:
    """A tracker's module. Raises InductiveError naming the extra that installs it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InductiveError(f"--to {name} needs {name}, an extra: pip install -e '.[{name}]'") from error


def _recorded(frame: Frame) -> Iterator[str]:
    """The runs that have a record."""
    return (row.run for row in each_row(frame.runs[["run", "state"]]) if row.state != "missing")


def _metrics(root: Path, run: str, lost: dict[str, str]) -> list[dict[str, float]]:
    """The logged rows of a run; none where they cannot be read, with the reason in `lost`."""
    try:
        return read_metrics(root / run / "metrics.jsonl")
    except RecordError as error:
        lost[run] = str(error)
        return []


def _lost_words(lost: Mapping[str, str]) -> str:
    return "".join(f"\n{run}: not all of it: {reason}" for run, reason in lost.items())


def _scalars(frame: Frame, root: Path, lost: dict[str, str]) -> Iterator[tuple[str, Scalars]]:
    """What trackers draw of each run that has a record: training by step, then all evaluations at its last step."""
    of_run = dict(each_group(frame.rows, "run"))
    none = frame.rows.iloc[:0]
    for run in _recorded(frame):
        rows = _metrics(root, run, lost)
        steps = [(int(row["step"]), {f"training/{key}": row[key] for key in METRICS[1:] if key in row}) for row in rows]
        evaluations = {
            f"{one.part}/{one.test_resolution} px, {_way(one)}/{key}": getattr(one, key)
            for one in each_row(of_run.get(run, none))
            for key in ("accuracy", "nll")
        }
        steps.append((steps[-1][0] if steps else 0, evaluations))
        yield run, [(step, _finite(values)) for step, values in steps]


def _way(one: Any) -> str:
    how = {
        key: getattr(one, key)
        for key in ("part", "images", "carry", "crop", "interpolation", "aspect", "batchnorm", "views", "probe")
    }
    how |= {key: int(getattr(one, key)) for key in ("resize_side", "strength")}
    return Evaluation(resolution=int(one.test_resolution), **how).words


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
