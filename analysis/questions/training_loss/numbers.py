"""Loss while training: its curves, as metrics.jsonl logs them, and what it comes to in the end. All in nats.

Logged are the loss of the step's batch as the recipe has it (augmented, labels smoothed), and with `validate_every`
that on the validation part (docs/records.md). Both are of the same run but not of the same loss.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.elements.reported import ReportedArm
from analysis.frame.cells import at_home, kind, summarise
from analysis.frame.rows import each_group, each_row
from analysis.frame.states import DONE
from benchmarks.errors import RecordError
from benchmarks.records.metrics import read_metrics

LOGGED = {"batch": "loss", "validation": "validation_loss"}  # name of a measure: its key in metrics.jsonl
MEASURES = ("batch", "train", "validation")  # train: of the final weights on all their training images (result.json)

Curve = list[tuple[int, float]]  # of a run: (step, loss), where it is finite


@dataclass(frozen=True)
class TrainingLoss:
    """The tables of an arm, in long form; empty where no finished run has logged a loss.

    `final`: the rows of `cells.summarise` with a column measure (of MEASURES). `curves`: `mean_curves`. `damaged`: ids
    of runs whose metrics cannot be read."""

    final: pd.DataFrame
    curves: pd.DataFrame
    damaged: tuple[str, ...]


def numbers(arm: ReportedArm) -> TrainingLoss:
    """The losses of an arm's finished runs; each metrics.jsonl is read once, and of it these losses are kept."""
    ids = arm.runs.loc[arm.runs["state"].isin(DONE), "run"].tolist()
    logged: dict[str, dict[str, Curve]] = {}
    damaged = []
    for run in ids:
        try:
            curves = read_losses(arm.root / run / "metrics.jsonl")
        except RecordError:
            damaged.append(run)
            continue
        if curves["batch"]:
            logged[run] = curves
    if not logged:
        return TrainingLoss(pd.DataFrame(), pd.DataFrame(), tuple(damaged))
    return TrainingLoss(final_losses(arm, logged), mean_curves(arm.runs, logged), tuple(damaged))


def read_losses(path: Path) -> dict[str, Curve]:
    """The finite losses of a metrics file by measure of LOGGED. Raises RecordError for a damaged file."""
    found: dict[str, Curve] = {name: [] for name in LOGGED}
    for row in read_metrics(path):
        for name, key in LOGGED.items():
            value = row.get(key)
            if value is not None and math.isfinite(value):
                found[name].append((int(row["step"]), float(value)))
    return found


def final_losses(arm: ReportedArm, logged: dict[str, dict[str, Curve]]) -> pd.DataFrame:
    """The last logged losses, and that of the final weights on their training images, by model and train size, with
    t-intervals over units (from 0 on): `TrainingLoss.final`."""
    rows = at_home(arm.rows)
    tables = []
    for name in MEASURES:
        if name == "train":
            values = rows["train_loss"]
        else:
            last = {run: curves[name][-1][1] for run, curves in logged.items() if curves[name]}
            values = rows["run"].map(last).astype(float)
        table = summarise(rows.assign(loss=values), arm.runs, "loss", bounds=(0.0, math.inf))
        if table["done"].sum():
            tables.append(table.assign(measure=name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def mean_curves(runs: pd.DataFrame, logged: dict[str, dict[str, Curve]]) -> pd.DataFrame:
    """A row per measure, model, train size and logged step.

    Columns: measure (of LOGGED), label, model, position, train_size, step, epoch (passes over the training images),
    mean, low and high (the lowest and the highest run, no interval), n (runs). Only steps that all runs of a cell with
    this measure have logged."""
    result = []
    for label, of_model in each_group(runs[runs["run"].isin(list(logged))], "label"):
        about = {"label": label, **kind(of_model)}
        for size, cell in each_group(of_model, "train_size", ordered=True):
            passes = _passes_of_a_step(cell)
            for name in LOGGED:
                curves = [dict(logged[run][name]) for run in cell["run"] if logged[run][name]]
                for step, values in _by_step(curves):
                    result.append(
                        {
                            "measure": name,
                            **about,
                            "train_size": size,
                            "step": step,
                            "epoch": step * passes,
                            "mean": float(values.mean()),
                            "low": float(values.min()),
                            "high": float(values.max()),
                            "n": len(values),
                        }
                    )
    return pd.DataFrame(result)


def _by_step(curves: list[dict[int, float]]) -> Iterator[tuple[int, np.ndarray]]:
    """(step, losses of the runs) of the steps that all curves have."""
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    for step in steps:
        yield step, np.array([curve[step] for curve in curves])


def _passes_of_a_step(cell: pd.DataFrame) -> float:
    """Passes over the training images that a step of these runs makes; they have the same batch and images."""
    first = next(each_row(cell))
    return float(first.images_seen / first.updates / first.train_images)
