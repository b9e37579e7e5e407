"""The smallest difference that a family of comparisons can detect, before or after its runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, special

from analysis import wording
from analysis.frame.arms import Arm, ArmData, split
from analysis.frame.cells import at_home
from analysis.frame.families import run_of_each_label
from analysis.frame.frame import load
from analysis.frame.rows import each_group
from analysis.statistics import intervals
from analysis.statistics.block_model import EQUAL, blocks, fit
from analysis.statistics.multivariate_t import critical_value
from benchmarks.plan.comparisons import ComparisonFamily, pairs_of
from benchmarks.plan.study import Study

POWER = 0.8
ASSUMED = 0.01  # residual standard deviation of accuracy where nothing is known: one point
MORE = (3, 5, 10)  # numbers of seeds that a plan shows beside its own


@dataclass(frozen=True)
class Detectable:
    """A family at one train size: `models` in `seeds` blocks, `spread` (a share) and where it is `known` from, and the
    smallest differences (shares; inf with one seed) by number of seeds."""

    arm: Arm
    family: str
    train_size: int
    models: int
    seeds: int
    noun: str
    spread: float
    known: str
    differences: dict[int, float]


def smallest_difference(
    models: int, seeds: int, against_one: bool, spread: float, level: float = 0.95, power: float = POWER
) -> float:
    """The true difference of two models that a family detects with probability `power`: its simultaneous interval
    excludes 0 on the right side. In the unit of `spread`, the residual standard deviation; inf with one seed.

    For a complete design of `models` (the reference among them) in `seeds` blocks: the difference of two means has
    (k - 1)(b - 1) degrees of freedom and follows a noncentral t.
    """
    df = (models - 1) * (seeds - 1)
    if df < 1:
        return math.inf
    one = np.eye(models)
    pairs = [(i, j) for i in range(models) for j in range(1 if against_one else i) if i != j]
    critical = critical_value(np.array([one[i] - one[j] for i, j in pairs]), df, level)
    shift = optimize.brentq(lambda nc: 1 - special.nctdtr(df, nc, critical) - power, 0.0, 50 * critical)
    return float(shift * spread * math.sqrt(2 / seeds))


def detectable(study: Study, root: Path) -> list[Detectable]:
    """For each family of each arm, at each train size; all pairs of the study's models where none is declared."""
    found = []
    for arm in split(load(root, study)):
        for family in study.comparisons or (ComparisonFamily(name="all pairs"),):
            labels, reference = family.of(run_of_each_label(arm.runs, study))
            if pairs_of(labels, reference):
                found += _of_family(arm, family, labels, reference)
    return found


def _of_family(
    arm: ArmData, family: ComparisonFamily, labels: Sequence[str], reference: str | None
) -> list[Detectable]:
    members = [*labels, *([reference] if reference else [])]
    planned = arm.runs[arm.runs["label"].isin(members)]
    rows = at_home(arm.rows)
    rows = rows[rows["label"].isin(members)]
    result = []
    for size, runs in each_group(planned, "train_size", ordered=True):
        units, noun = intervals.planned_units(runs), intervals.unit_noun(runs)
        there = runs["label"].nunique()
        if there < 2:
            continue
        spread, known = _spread(blocks(rows[rows["train_size"] == size], runs, "accuracy"), family)
        by_seeds = {
            seeds: smallest_difference(there, seeds, reference is not None, spread) for seeds in sorted({units, *MORE})
        }
        result.append(Detectable(arm.arm, family.name, size, there, units, noun, spread, known, by_seeds))
    return result


def _spread(values: pd.DataFrame, family: ComparisonFamily) -> tuple[float, str]:
    """The residual standard deviation to plan with, and where it is from."""
    found = fit(values)
    if found.df > 0 and found.spread > EQUAL:
        return found.spread, f"of {wording.count(int(values.notna().sum().sum()), 'finished runs')}"
    return (family.spread, "stated by the study") if family.spread else (ASSUMED, "assumed")


def plan_values(study: Study, root: Path) -> list[dict[str, object]]:
    """`inductive plan --json`: an object a family and train size; differences by number of seeds, null for none."""
    return [
        {
            "family": one.family,
            "arm": one.arm.words,
            "train_size": int(one.train_size),
            "models": one.models,
            "seeds": one.seeds,
            "residual": one.spread,
            "residual_from": one.known,
            "detectable": {str(n): None if math.isinf(d) else d for n, d in one.differences.items()},
        }
        for one in detectable(study, root)
    ]


def plan_table(study: Study, root: Path) -> tuple[list[str], list[list[str]], str]:
    """(heads, rows, what they mean) of the smallest detectable differences, in points; no rows without a pair."""
    found = detectable(study, root)
    several = len({one.arm.words for one in found}) > 1
    seeds = sorted({n for one in found for n in one.differences})
    heads = [*(["arm"] if several else []), "family", "train size", "models", "planned", "residual, points"]
    rows = [
        [
            *([one.arm.words] if several else []),
            one.family,
            wording.number(one.train_size),
            str(one.models),
            wording.count(one.seeds, one.noun),
            f"{100 * one.spread:.2g} {one.known}",
            *(_points(one, n) for n in seeds),
        ]
        for one in found
    ]
    phrases = (
        f"Smallest difference of test accuracy, in points, that is told from 0 with {POWER:.0%} probability by "
        "simultaneous 95 % intervals of the family, by number of seeds, the planned one in brackets. Residual: the "
        "standard deviation of a run about its model and its seed."
    )
    if any(one.known == "assumed" for one in found):
        phrases += (
            f" Where no runs are finished {100 * ASSUMED:g} point is assumed, and the differences are in proportion."
        )
    if not study.comparisons:
        phrases += " The study declares no [[comparisons]]: counted as all pairs."
    return [*heads, *(wording.count(n, "seeds") for n in seeds)], rows, phrases


def _points(one: Detectable, seeds: int) -> str:
    difference = one.differences.get(seeds)
    if difference is None:
        return ""
    text = "none" if math.isinf(difference) else f"{100 * difference:.1f}"
    return f"[{text}]" if seeds == one.seeds else text
