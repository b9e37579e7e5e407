"""Loss while training: its curves, as metrics.jsonl logs them, and what it comes to in the end. All in nats.

Logged are the loss of the step's batch as the recipe has it (augmented, labels smoothed), and with `validate_every`
that on the validation part (docs/records.md). Both are of the same run but not of the same loss.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.elements.reported import ReportedArm
from analysis.frame.cells import at_home, kind, summarise
from analysis.frame.rows import each_group
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
    """The losses of an arm's finished runs. Each metrics.jsonl is read once, and the curves of one cell are held at a
    time, so that ten thousand runs take seconds and little memory."""
    done = arm.runs[arm.runs["state"].isin(DONE)]
    last: dict[str, dict[str, float]] = {}
    pieces: list[pd.DataFrame] = []
    damaged: list[str] = []
    for _, of_model in each_group(done, "label"):
        for _, cell in each_group(of_model, "train_size", ordered=True):
            logged, unreadable = _read_cell(arm.root, cell["run"])
            last |= {run: {name: curve[-1][1] for name, curve in of.items() if curve} for run, of in logged.items()}
            pieces += mean_curves(cell, logged)
            damaged += unreadable
    if not pieces:
        return TrainingLoss(pd.DataFrame(), pd.DataFrame(), tuple(damaged))
    return TrainingLoss(final_losses(arm, last), pd.concat(pieces, ignore_index=True), tuple(damaged))


def _read_cell(root: Path, runs: Iterable[str]) -> tuple[dict[str, dict[str, Curve]], list[str]]:
    """The losses of those runs that have logged a training loss, by id; and the runs whose metrics cannot be read."""
    logged, damaged = {}, []
    for run in runs:
        try:
            curves = read_losses(root / run / "metrics.jsonl")
        except RecordError:
            damaged.append(run)
            continue
        if curves["batch"]:
            logged[run] = curves
    return logged, damaged


def read_losses(path: Path) -> dict[str, Curve]:
    """The finite losses of a metrics file by measure of LOGGED. Raises RecordError for a damaged file."""
    found: dict[str, Curve] = {name: [] for name in LOGGED}
    for row in read_metrics(path):
        for name, key in LOGGED.items():
            value = row.get(key)
            if value is not None and math.isfinite(value):
                found[name].append((int(row["step"]), float(value)))
    return found


def final_losses(arm: ReportedArm, last: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """The `last` logged losses (by run and measure), and that of the final weights on their training images, by model
    and train size, with t-intervals over units (from 0 on): `TrainingLoss.final`."""
    rows = at_home(arm.rows)
    tables = []
    for name in MEASURES:
        logged = {run: of[name] for run, of in last.items() if name in of}
        values = rows["train_loss"] if name == "train" else rows["run"].map(logged).astype(float)
        table = summarise(rows.assign(loss=values), arm.runs, "loss", bounds=(0.0, math.inf))
        if table["done"].sum():
            tables.append(table.assign(measure=name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def mean_curves(cell: pd.DataFrame, logged: Mapping[str, Mapping[str, Curve]]) -> list[pd.DataFrame]:
    """A table for each measure that runs of a cell have logged, a row a step; `cell`: rows of `Frame.runs`.

    Columns: measure (of LOGGED), label, model, position, train_size, step, epoch (passes over the training images),
    mean, low and high (the lowest and the highest run, no interval), n (runs). Only steps that all of these runs have
    logged."""
    first = cell.iloc[0]
    about = {"label": first.label, **kind(cell), "train_size": first.train_size}
    passes = (
        first.images_seen / max(1, first.updates) / first.train_images
    )  # of a step; all runs of a cell have the same
    tables = []
    for name in LOGGED:
        steps, losses = _shared_steps([dict(of[name]) for of in logged.values() if of[name]])
        if len(steps):
            ends = {"mean": losses.mean(axis=0), "low": losses.min(axis=0), "high": losses.max(axis=0)}
            where = {"measure": name, **about, "step": steps, "epoch": steps * passes}
            tables.append(pd.DataFrame({**where, **ends, "n": len(losses)}))
    return tables


def _shared_steps(curves: list[dict[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The steps (steps,) that all curves have, ascending, and their losses (runs, steps)."""
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    losses = [[curve[step] for step in steps] for curve in curves]
    return np.array(steps, dtype=np.int64), np.array(losses, dtype=np.float64)
