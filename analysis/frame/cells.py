"""From runs to cells: a number for each model and train size, with its interval, what is missing and what is odd.

A cell is made of the runs that differ in draw and seed alone. Every table of the page is made by `summarise`, so all
of them count, mark and list runs in the same way.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame.arms import ArmData, one_arm
from analysis.frame.main_rows import at_home, usual
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group, each_row
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate

__all__ = ["at_home", "usual"]  # for those who make cells of them

NEEDED = [
    *("run", "label", "line", "train_size", "test_resolution"),
    *("draw", "seed", "draw_runs", "count", "state", "starved", "collapsed"),
]


def trained(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluations at the training resolution, for the accuracy on the training images that stands in each row."""
    return at_home(rows).dropna(subset=["train_accuracy"])


def by_carry(rows: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """The usual evaluations at all resolutions, with a column `line`: the label, and how positions were carried where a
    model was evaluated in several ways. The evaluation at the training resolution, where nothing is carried, belongs
    to every way."""
    rows = usual(rows)
    rows = rows[rows["part"] == part]
    lines = []
    for label, group in each_group(rows, "label"):
        ways = sorted(set(group["carry"]) - {NONE})
        if len(ways) <= 1:
            lines.append(group.assign(line=label))
        else:
            lines += [group[group["carry"].isin([way, NONE])].assign(line=f"{label}, carry {way}") for way in ways]
    return pd.concat(lines) if lines else rows.assign(line=rows["label"])


def summarise(
    rows: pd.DataFrame,
    runs: pd.DataFrame,
    value: str,
    places: Sequence[Any] | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    across: str = "test_resolution",
) -> pd.DataFrame:
    """One row per line (column `line` if there, else label) and train size, and per place if given: the `places` are
    values of the column `across`, test resolutions if nothing else is said.

    rows: evaluations of one arm, at most one per run and row of the result. runs: all runs of that arm.
    Columns of the result: label, line, train_size, [`across`], mean, low, high (shares; NaN if there is none),
    n (units of the interval), done and planned (runs), planned_n (units), images (size of the test part),
    starved, stale, collapsed, runs (ids of the done ones, separated by spaces). Lines in the order of `runs`, sizes
    ascending.
    Raises MixedArmsError for several arms, ValueError for several rows of a run in one cell.
    """
    one_arm(runs)
    if "line" not in rows:
        rows = rows.assign(line=rows["label"])
    by = ["label", "line", "train_size", *([] if places is None else [across])]
    lines: dict[str, list[str]] = {}
    for label, line in each_row(rows, ["label", "line"]):
        lines.setdefault(label, []).append(line)
    known = rows[list(dict.fromkeys((*NEEDED, *by, value)))].dropna(subset=[value])
    cells = dict(each_group(known, by))
    result: list[dict[str, Any]] = []
    for label, planned in each_group(runs[["label", "train_size", "draw", "seed", "draw_runs"]], "label"):
        of_plan = {
            size: {"planned": len(group), "planned_n": intervals.planned_units(group)}
            for size, group in each_group(planned, "train_size", ordered=True)
        }
        every = itertools.product(lines.get(label, [label]), of_plan, *([] if places is None else [places]))
        for line, train_size, *at in every:
            key = dict(zip(by, (label, line, train_size, *at), strict=True))
            cell = cells.get((label, line, train_size, *at), known.iloc[:0])
            result.append(key | _cell(cell, of_plan[train_size], value, bounds))
    return pd.DataFrame(result)


def accuracy_by_train_size(arm: ArmData) -> pd.DataFrame:
    """Test accuracy at the training resolution: a row per model and train size, as `summarise` describes it."""
    return summarise(at_home(arm.rows), arm.runs, "accuracy")


def _cell(
    rows: pd.DataFrame, planned: Mapping[str, int], value: str, bounds: tuple[float, float] | None
) -> dict[str, Any]:
    if rows["run"].duplicated().any():
        raise ValueError(f"summarise: several evaluations of {rows.loc[rows['run'].duplicated(), 'run'].iloc[0]}")
    estimate = intervals.over_seeds(rows, value, bounds=bounds)
    order = np.lexsort([rows[name].to_numpy() for name in reversed(intervals.UNITS)])
    return {
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "done": len(rows),
        **planned,
        "images": float(rows["count"].max()),
        **marks(rows),
        "runs": " ".join(rows["run"].to_numpy()[order]),
    }


def kind(runs: pd.DataFrame) -> dict[str, str]:
    """Model and positional encoding of the runs of one label: what `palette.looks` goes by."""
    [kind] = set(zip(runs["model"].tolist(), runs["position"].tolist(), strict=True))
    return dict(zip(("model", "position"), kind, strict=True))


def marks(runs: pd.DataFrame) -> dict[str, bool]:
    """Whether any of `runs` is starved, stale, or has collapsed."""
    return {
        "starved": bool(runs["starved"].to_numpy().any()),
        "stale": "stale" in runs["state"].tolist(),
        "collapsed": bool(runs["collapsed"].to_numpy().any()),
    }


def estimate_of(row: Any) -> Estimate:
    """The estimate in a row of `summarise` (or of a table of differences), as `tables.each_row` gives it."""
    return Estimate(row.mean, row.low, row.high, row.n)
