"""Positional encodings against the reference encoding of their model, run by run with the same draw and seed.

The networks of a pair have the same weights outside their encoding at the start, see the same images in the same
order and differ in nothing else, so the difference is the encoding's (at this size, n, recipe and budget).
"""

from typing import Any

import pandas as pd

from analysis.frame.cells import kind, marks
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group, each_row
from analysis.statistics import intervals

REFERENCE = "learned_1d"


def encoding_pairs(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """(label, label of its reference) for all models of `runs` that differ from a model with the reference encoding in
    the encoding alone."""
    kinds = runs[["label", "model", "options", "position"]].drop_duplicates()
    reference = kinds[kinds["position"] == REFERENCE]
    others = kinds[(kinds["position"] != REFERENCE) & (kinds["position"] != NONE)]
    both = others.merge(reference, on=["model", "options"], suffixes=("", "_reference"))
    return [(row.label, row.label_reference) for row in each_row(both)]


def paired_difference(
    own: pd.DataFrame, other: pd.DataFrame, runs: pd.DataFrame, other_runs: pd.DataFrame, value: str = "accuracy"
) -> dict[str, Any]:
    """The columns on the difference of two models at a place: `value` of the first minus that of the other, a share,
    with its t-interval; how many pairs of runs are done and planned; marks; ids. `own` and `other`: their evaluations
    there, at most one a run; `runs` and `other_runs`: all their planned runs."""
    pairs = intervals.pairs(own, other, value)
    estimate = intervals.over_seeds(pairs, "difference")
    planned = intervals.planned_pairs(runs, other_runs)
    marked = marks(other_runs)
    return {
        **kind(runs),
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "done": len(pairs),
        "planned": len(planned),
        "planned_n": intervals.planned_units(planned),
        **{name: here or marked[name] for name, here in marks(runs).items()},
        "runs": " ".join(pairs["run_a"]),
        "reference_runs": " ".join(pairs["run_b"]),
    }


def differences_by_test_resolution(rows: pd.DataFrame, runs: pd.DataFrame, resolutions: list[int]) -> pd.DataFrame:
    """A row per pair of `encoding_pairs` and test resolution (pixels), at the largest train size.

    `rows`: evaluations with the column `line`, of which those count whose line is the label; `runs`: all runs of the
    arm. Columns: label, line, reference, train_size, test_resolution, and those of `paired_difference`."""
    size = runs["train_size"].max()
    rows = rows[(rows["line"] == rows["label"]) & (rows["train_size"] == size)]
    at = dict(each_group(rows, ["label", "test_resolution"]))
    planned = dict(each_group(runs[runs["train_size"] == size], "label"))
    result = []
    for label, reference in encoding_pairs(runs):
        if not {label, reference} <= planned.keys():
            continue
        for resolution in sorted(resolutions):
            key = {
                "label": label,
                "line": label,
                "reference": reference,
                "train_size": size,
                "test_resolution": resolution,
            }
            own, other = (at.get((name, resolution), rows.iloc[:0]) for name in (label, reference))
            result.append(key | paired_difference(own, other, planned[label], planned[reference]))
    return pd.DataFrame(result)
