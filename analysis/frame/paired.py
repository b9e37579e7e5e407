"""Positional encodings against the reference encoding of their model, run by run with the same draw and seed.

The networks of a pair have the same weights outside their encoding at the start, see the same images in the same
order and differ in nothing else, so the difference is the encoding's (at this size, n, recipe and budget).
"""

from typing import Any

import pandas as pd

from analysis.frame.cells import kind, marks
from analysis.frame.naming import NONE
from analysis.frame.rows import each_row
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


def paired_difference(rows: pd.DataFrame, runs: pd.DataFrame, label: str, reference: str) -> dict[str, Any]:
    """The columns on the difference of two models: accuracy of `label` minus that of `reference`, a share, with its
    t-interval; how many pairs of runs are done and planned; marks; ids. `rows`: evaluations, at most one a run; `runs`:
    all planned runs of that place."""
    rows = rows[["label", "run", *intervals.UNITS, "draw_runs", "accuracy"]]
    own, other = rows[rows["label"] == label], rows[rows["label"] == reference]
    pairs = intervals.pairs(own, other, "accuracy")
    estimate = intervals.over_seeds(pairs, "difference")
    planned = intervals.planned_pairs(*(runs[runs["label"] == name] for name in (label, reference)))
    both = runs[runs["label"].isin([label, reference])]
    return {
        **kind(runs[runs["label"] == label]),
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "done": len(pairs),
        "planned": len(planned),
        "planned_n": intervals.planned_units(planned),
        **marks(both),
        "runs": " ".join(pairs["run_a"]),
        "reference_runs": " ".join(pairs["run_b"]),
    }


def differences_by_test_resolution(rows: pd.DataFrame, runs: pd.DataFrame, resolutions: list[int]) -> pd.DataFrame:
    """A row per pair of `encoding_pairs` and test resolution (pixels), at the largest train size.

    `rows`: evaluations with the column `line`, of which those count whose line is the label; `runs`: all runs of the
    arm. Columns: label, line, reference, train_size, test_resolution, and those of `paired_difference`."""
    rows = rows[rows["line"] == rows["label"]]
    size = runs["train_size"].max()
    at, planned = rows[rows["train_size"] == size], runs[runs["train_size"] == size]
    result = []
    for label, reference in encoding_pairs(runs):
        if not {label, reference} <= set(planned["label"]):
            continue
        for resolution in sorted(resolutions):
            key = {
                "label": label,
                "line": label,
                "reference": reference,
                "train_size": size,
                "test_resolution": resolution,
            }
            there = at[at["test_resolution"] == resolution]
            result.append(key | paired_difference(there, planned, label, reference))
    return pd.DataFrame(result)
