"""Position ablation: every positional encoding against `learned_1d`, paired over draws and seeds.

The networks of a pair have the same weights outside their encoding at the start, see the same images in the same
order and differ in nothing else, so the difference is the encoding's (at this size, n, recipe and budget).
"""

from typing import Any

import pandas as pd

from analysis import wording
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, by_carry, estimate_of, kind, marks
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group, each_row
from analysis.questions.accuracy.data_efficiency import notes, scope
from analysis.questions.comparisons.verdicts import Verdicts, judged_by, of_families
from analysis.questions.resolution.carrying import as_chosen, choices
from analysis.statistics import intervals
from analysis.wording import Answer

REFERENCE = "learned_1d"


def _references(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """(label, label of its reference) for all models that differ from a model with the reference encoding in the
    encoding alone."""
    kinds = runs[["label", "model", "options", "position"]].drop_duplicates()
    reference = kinds[kinds["position"] == REFERENCE]
    others = kinds[(kinds["position"] != REFERENCE) & (kinds["position"] != NONE)]
    both = others.merge(reference, on=["model", "options"], suffixes=("", "_reference"))
    return [(row.label, row.label_reference) for row in each_row(both)]


def _compare(rows: pd.DataFrame, runs: pd.DataFrame, label: str, reference: str) -> dict[str, Any]:
    rows = rows[["label", "run", *intervals.UNITS, "draw_runs", "accuracy"]]
    mine, other = rows[rows["label"] == label], rows[rows["label"] == reference]
    pairs = intervals.pairs(mine, other, "accuracy")
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


def differences(arm: ArmData) -> pd.DataFrame:
    """The table at the training resolution: a row per encoding and train size.

    Columns: label, line, reference (labels), train_size, model, position (of the label), mean, low, high (difference of
    accuracy, shares), n, done and planned (pairs of runs), planned_n (units), starved, stale (of either side), runs and
    reference_runs (ids, pair by pair). Empty where no model with the reference encoding stands beside another."""
    one_arm(arm.runs)
    rows = at_home(arm.rows)
    result = []
    for label, reference in _references(arm.runs):
        for size in sorted(arm.runs["train_size"].unique()):
            at, planned = rows[rows["train_size"] == size], arm.runs[arm.runs["train_size"] == size]
            key = {"label": label, "line": label, "reference": reference, "train_size": size}
            result.append(key | _compare(at, planned, label, reference))
    return pd.DataFrame(result)


def differences_away(arm: ArmData, resolutions: list[int], chosen: bool = False) -> pd.DataFrame:
    """The same at each test resolution, for the largest train size; one more column, test_resolution.

    Every model carries its positions in its default way; with `chosen` in the way chosen on validation, where it was
    tested in several (`carrying`), and then the table is empty unless some model was."""
    if chosen and choices(arm.rows).empty:
        return pd.DataFrame()
    rows = as_chosen(arm.rows) if chosen else by_carry(arm.rows)
    rows = rows[rows["line"] == rows["label"]]
    size = arm.runs["train_size"].max()
    at, planned = rows[rows["train_size"] == size], arm.runs[arm.runs["train_size"] == size]
    result = []
    for label, reference in _references(arm.runs):
        for resolution in sorted(resolutions):
            key = {
                "label": label,
                "line": label,
                "reference": reference,
                "train_size": size,
                "test_resolution": resolution,
            }
            there = at[at["test_resolution"] == resolution]
            result.append(key | _compare(there, planned, label, reference))
    return pd.DataFrame(result)


def answers(arm: ArmData, families: pd.DataFrame | None = None) -> list[Answer]:
    """A sentence for the smallest and one for the largest train size, by the differences of declared `families`
    (`comparisons.differences`) where these have a pair."""
    families = pd.DataFrame() if families is None else families
    table = differences(arm)
    if table.empty:
        return []
    table = table[table["done"] > 0]
    said = []
    sizes = sorted(table["train_size"].unique())
    for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
        of_label, known = notes(arm.runs, size), of_families(families, size)
        at = table[table["train_size"] == size].sort_values("mean", ascending=False, kind="stable")
        for reference, against in each_group(at, "reference"):
            name = wording.noted(reference, *of_label[reference])
            sentence = f"against {name}: {_verdicts(against, of_label, known)}."
            lead = f"Positions, with {wording.number(size)} images"
            said.append(Answer(lead, scope(arm, size), sentence))
    return said


def _verdicts(table: pd.DataFrame, of_label: dict[str, tuple[str, ...]], known: Verdicts) -> str:
    """The encodings by verdict; and by which intervals, where some of these are a family's."""
    parted: dict[str, list[str]] = {"above": [], "unclear": [], "below": [], "no interval": []}
    family_of = {}
    for row in each_row(table):
        difference = estimate_of(row)
        if (row.label, row.reference) in known:
            family_of[row.label], difference = known[row.label, row.reference]
        name = wording.noted(row.label, *of_label[row.label], wording.points(difference))
        parted[intervals.verdict(difference)].append(name)
    openings = {
        "above": "higher:",
        "unclear": "cannot be told apart from it:",
        "below": "lower:",
        "no interval": "no interval, so no verdict:",
    }
    said = [f"{openings[key]} {wording.names(names)}" for key, names in parted.items() if names]
    if family_of:
        said.append(f"by {judged_by(table['label'], family_of)}")
    return "; ".join(said)
