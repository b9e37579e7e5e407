"""The families of comparisons that a study declares: differences of test accuracy with intervals that hold together.

One family at one train size is one block model (`block_model`). Its intervals hold simultaneously: with probability
95 % all of them contain their true differences. Each train size is a family of its own, and so is each arm.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, marks
from analysis.frame.families import declared_families
from analysis.frame.rows import each_group, each_row
from analysis.statistics import intervals
from analysis.statistics.block_model import Fit, blocks, crossed, fit, simultaneous, vary_alike
from benchmarks.plan.comparisons import ComparisonFamily, pairs_of
from benchmarks.plan.study import Study


def differences(arm: ArmData, study: Study) -> pd.DataFrame:
    """A row per family, pair and train size; empty where no family is declared or the arm has none of it.

    Columns: family; label, reference; line ('a − b' for all pairs, else the label); against_one; train_size; mean, low,
    high (difference of accuracy, shares; simultaneous 95 % interval); n and planned_n (blocks with both, and as
    planned), done and planned (pairs of runs), models and blocks (of the family, with a value), critical (of |t|),
    residual (standard deviation, share), df, residual_low and residual_high (of the models one by one), alike (False:
    more unlike than those of equal models mostly are), collapsed_models (of the family, separated by commas: their
    seeds widen the intervals of all its pairs), starved, stale (of either side), collapsed (of any model of the
    family), runs and reference_runs (ids, pair by pair)."""
    one_arm(arm.runs)
    rows = at_home(arm.rows)
    result: list[dict[str, Any]] = []
    for family, by_label in declared_families(arm.runs, study):
        labels, reference = family.of(by_label)
        pairs = pairs_of(labels, reference)
        if not pairs:
            continue
        members = [*([reference] if reference else []), *labels]
        planned = arm.runs[arm.runs["label"].isin(members)]
        for size, runs in each_group(planned, "train_size", ordered=True):
            at = rows[(rows["train_size"] == size) & rows["label"].isin(members)].dropna(subset=["accuracy"])
            result += _of_family(family, pairs, int(size), at, runs)
    return pd.DataFrame(result)


def _of_family(
    family: ComparisonFamily, pairs: Sequence[tuple[str, str]], size: int, rows: pd.DataFrame, runs: pd.DataFrame
) -> list[dict[str, Any]]:
    there = set(runs["label"])
    pairs = [pair for pair in pairs if there.issuperset(pair)]
    found = fit(blocks(rows, runs, "accuracy"))
    estimates, critical = simultaneous(found, pairs)
    collapsed = rows.loc[rows["collapsed"], "label"].unique()
    common = {
        "models": int(found.present.any(axis=0).sum()),
        "blocks": int((found.present.sum(axis=1) > 1).sum()),
        "critical": critical,
        "residual": found.spread,
        "df": found.df,
        **_range(found),
        "alike": vary_alike(found),
        "collapsed_models": ", ".join(collapsed),
    }
    done, planned = _by_unit(rows), _by_unit(runs)
    marked = {label: marks(runs[runs["label"] == label]) for label in there}
    result = []
    for (label, reference), estimate in zip(pairs, estimates, strict=True):
        group, other = done.get(label, {}), done.get(reference, {})
        both = sorted(group.keys() & other.keys())
        wanted = planned[label].keys() & planned[reference].keys()
        result.append(
            {
                "family": family.name,
                "label": label,
                "reference": reference,
                "line": label if family.against else f"{label} − {reference}",
                "against_one": family.against is not None,
                "train_size": size,
                "mean": estimate.mean,
                "low": estimate.low,
                "high": estimate.high,
                "n": estimate.n,
                "done": len(both),
                "planned": len(wanted),
                "planned_n": len({draw for draw, _ in wanted}) if crossed(runs) else len(wanted),
                **common,
                **{name: here or marked[reference][name] for name, here in marked[label].items()},
                "collapsed": len(collapsed) > 0,
                "runs": " ".join(group[unit] for unit in both),
                "reference_runs": " ".join(other[unit] for unit in both),
            }
        )
    return result


def _by_unit(rows: pd.DataFrame) -> dict[str, dict[tuple[int, int], str]]:
    """The ids of each label's runs by (draw, seed)."""
    found: dict[str, dict[tuple[int, int], str]] = {}
    for row in each_row(rows[["label", *intervals.UNITS, "run"]]):
        found.setdefault(row.label, {})[row.draw, row.seed] = row.run
    return found


def _range(found: Fit) -> dict[str, float]:
    known = found.spreads[np.isfinite(found.spreads)]
    ends = (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)
    return {"residual_low": ends[0], "residual_high": ends[1]}
