"""How many times the images: data-equivalence factors and crossings of an arm, as tables.

The reference A is that of each family of many against one that the study declares, or the leader (`baselines`).
`sentences` says in words what the tables hold.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import wording
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, kind, marks
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons.verdicts import Verdicts, all_verdicts, verdicts_of
from analysis.questions.data_needed import fitted
from analysis.questions.data_needed.baselines import Baseline, baselines, leader
from analysis.questions.data_needed.fitted import FittedCurve
from analysis.statistics import equivalence, intervals
from analysis.statistics.curves import Curves, curves_of, missing_sizes, paired
from analysis.statistics.equivalence import Factor
from benchmarks.plan.study import Study


@dataclass(frozen=True)
class DataNeeded:
    """The tables of an arm, in long form: `at_reference`, `by_train_size`, `by_accuracy` and `crossings`, one reference
    of `baselines` after the other, and `fits` (`fitted.table`). Empty where there is one model or one size."""

    baselines: tuple[Baseline, ...]
    at_reference: pd.DataFrame
    by_train_size: pd.DataFrame
    by_accuracy: pd.DataFrame
    crossings: pd.DataFrame
    fits: pd.DataFrame

    @property
    def any(self) -> bool:
        """Whether there is anything to show."""
        return not (self.by_train_size.empty and self.fits.empty)


def numbers(arm: ReportedArm) -> DataNeeded:
    """The tables of an arm, by the families that its study declares."""
    return needed(arm.data, arm.study, arm.once(all_verdicts), arm.once(fits_of))


def fits_of(arm: ReportedArm) -> list[FittedCurve]:
    """The fits of an arm's models, for its table and its figure at every width: to be taken by `arm.once(fits_of)`."""
    return list(fitted.each_fit(arm.rows))


def needed(
    arm: ArmData,
    study: Study | None = None,
    judged: Verdicts | None = None,
    found: Sequence[FittedCurve] | None = None,
) -> DataNeeded:
    """All of them, with the families of the study where one is given. In `at_reference` and `by_train_size` the column
    `verdict` has that on the pair at that train size (`intervals.Verdict`, of the label against the reference); without
    `judged` it is that of its paired t-interval. `found`: the fits, where they are known."""
    compared = baselines(arm, study)
    judged = judged or verdicts_of(arm)

    def stacked(make: Callable[[ArmData, str, Collection[str]], pd.DataFrame]) -> pd.DataFrame:
        tables = [table for one in compared if len(table := make(arm, one.reference, one.labels))]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def with_verdicts(table: pd.DataFrame) -> pd.DataFrame:
        found = [judged.of(row.label, row.reference, row.train_size).verdict for row in each_row(table)]
        return table.assign(verdict=found) if found else table

    at = [at_reference(arm, one) for one in compared]
    at_references = pd.concat(at, ignore_index=True) if at else pd.DataFrame()
    factors = (with_verdicts(at_references), with_verdicts(stacked(by_train_size)), stacked(by_accuracy))
    return DataNeeded(compared, *factors, stacked(crossings), fitted.table(arm, found))


def at_reference(arm: ArmData, baseline: Baseline) -> pd.DataFrame:
    """The images that each model of `baseline` (B) needs for what the reference (A) reaches with the baseline's n, over
    n: in each unit N_B(a_A(n)) / n. Fewest first.

    Columns: label, line, reference, train_size (n), accuracy and reference_accuracy (those of B and A with n images,
    each with _low and _high, over all its units there; NaN where it has none), bound, mean, low, high, n, reached (as
    in `by_train_size`, but units whose accuracy lies on B's curve), why ('', or why B is not compared), done, planned,
    incomplete, starved, stale, model, position, runs, reference_runs."""
    name, size, noun = baseline.reference, baseline.train_size, intervals.unit_noun(arm.runs)
    rows = at_home(arm.rows)
    there = rows[rows["train_size"] == size]
    pairs = {label: pair for label, _, pair in _pairs(arm, name, baseline.labels)}
    planned = dict(each_group(arm.runs, "label"))
    result = []
    for label in baseline.labels:
        why = _why_not(pairs[label][1], name, size, noun) if label in pairs else "no result"
        factor = None
        if not why:
            b, a = pairs[label]
            factor = equivalence.factor_at(b.sizes, b.values, size, a.values[:, a.sizes.index(size)]).inverse
        accuracies = _accuracy(there, label, "accuracy") | _accuracy(there, name, "reference_accuracy")
        origin = _origin(planned, label, name, *pairs.get(label, (None, None)))
        result.append({**_key(label, name, size), **accuracies, **_factor_columns(factor), "why": why, **origin})
    result.sort(key=lambda one: (math.isnan(one["mean"]), one["mean"]))
    return pd.DataFrame(result)


def _accuracy(rows: pd.DataFrame, label: str, column: str) -> dict[str, float]:
    found = intervals.over_seeds(rows[rows["label"] == label], "accuracy", bounds=(0.0, 1.0))
    return {column: found.mean, f"{column}_low": found.low, f"{column}_high": found.high}


STEPS = (0.05, 0.02, 0.01)  # distances between the accuracies at which a factor is given: the first that gives a few
FEW = 5


def by_train_size(arm: ArmData, reference: str | None = None, labels: Collection[str] | None = None) -> pd.DataFrame:
    """The factor of each model (B: those of `labels`, else all) against the reference (A, else the leader) at each of
    B's train sizes.

    Columns: label, line, reference, train_size, bound ('', 'at least', 'at most', 'unknown'), mean, low, high (factors;
    low and high may be 0 and infinite), n (units), reached (units whose accuracy lies on A's curve), done and planned
    (units that both have whole), incomplete (sizes left out of A's or B's curve because runs are missing),
    starved, stale, model, position (of B), runs, reference_runs (ids)."""
    result = []
    planned = dict(each_group(arm.runs, "label"))
    for label, name, (b, a) in _pairs(arm, reference, labels):
        origin = _origin(planned, label, name, b, a)
        for size in sorted(planned[label]["train_size"].unique()):
            known = len(b) and size in b.sizes
            of_size = b.values[:, b.sizes.index(size)] if known else None
            factor = None if of_size is None else equivalence.factor_at(a.sizes, a.values, size, of_size)
            result.append({**_key(label, name, size), **_factor_columns(factor), **origin})
    return pd.DataFrame(result)


def by_accuracy(arm: ArmData, reference: str | None = None, labels: Collection[str] | None = None) -> pd.DataFrame:
    """The same as a function of accuracy, at round values that some pair reaches; accuracy instead of train_size."""
    planned = dict(each_group(arm.runs, "label"))
    pairs = [one for one in _pairs(arm, reference, labels) if len(one[2][0])]
    origins = [_origin(planned, label, name, b, a) for label, name, (b, a) in pairs]
    result = []
    for level in _levels([both for *_, both in pairs]):
        for (label, name, (b, a)), origin in zip(pairs, origins, strict=True):
            factor = equivalence.factor_for(a.sizes, a.values, b.sizes, b.values, level)
            key = {"label": label, "line": label, "reference": name, "accuracy": level}
            result.append({**key, **_factor_columns(factor), **origin})
    table = pd.DataFrame(result)
    return table if table.empty else table[table.groupby("accuracy")["reached"].transform("max") > 0]


def crossings(arm: ArmData, reference: str | None = None, labels: Collection[str] | None = None) -> pd.DataFrame:
    """Where the curves of each model and the reference cross, interpolated between train sizes; no verdict.

    Columns: label, line, reference, pieces (N* as '[low, high]', in images; 0 and inf where it is unbounded; '' where
    it is empty; '-' without an interval), changes (True: A is above somewhere and below elsewhere), n, done, planned,
    incomplete, starved, stale, model, position, runs, reference_runs."""
    result = []
    planned = dict(each_group(arm.runs, "label"))
    for label, name, (b, a) in _pairs(arm, reference, labels):
        shared = [size for size in a.sizes if size in b.sizes]
        found = None
        if len(a) and shared:
            a_at, b_at = (one.values[:, [one.sizes.index(size) for size in shared]] for one in (a, b))
            found = equivalence.crossing(shared, a_at - b_at)
        pieces = " ".join(f"[{low:.0f}, {high:.0f}]" for low, high in found.pieces) if found else NONE
        result.append(
            {
                "label": label,
                "line": label,
                "reference": name,
                "pieces": pieces,
                "changes": bool(found and found.changes),
                "n": len(a.values),
                **_origin(planned, label, name, b, a),
            }
        )
    return pd.DataFrame(result)


def piece_words(low: float, high: float) -> str:
    """A piece of N* by what is known of it: 'up to 255', 'from 2,900 on', 'from 772 to 5,670', 'at any size'."""
    if low == 0:
        return "at any size" if high == math.inf else f"up to {_end(high)}"
    return f"from {_end(low)} {'on' if high == math.inf else f'to {_end(high)}'}"


def _end(images: float) -> str:
    """Three digits of it: where curves are separable is not known to an image."""
    return wording.number(round(images, -max(0, math.floor(math.log10(images)) - 2)))


def _pairs(
    arm: ArmData, reference: str | None, labels: Collection[str] | None = None
) -> Iterator[tuple[str, str, tuple[Curves, Curves]]]:
    """(label of B, label of A, paired curves of B and A) for each B. Raises KeyError for an unknown reference."""
    one_arm(arm.runs)
    if reference is None:
        first = leader(arm)
        if first is None:
            return
        reference = first.label
    curves = {label: curves_of(group) for label, group in each_group(at_home(arm.rows), "label")}
    if reference not in curves:
        raise KeyError(f"no run of {reference!r} in this arm; there are {wording.names(curves)}")
    for label in dict.fromkeys(arm.runs["label"]):
        if label != reference and label in curves and (labels is None or label in labels):
            yield label, reference, paired(curves[label], curves[reference])


def _levels(pairs: list[tuple[Curves, Curves]]) -> list[float]:
    """Round accuracies between the smallest and the largest mean that both of some pair have."""
    means = [tuple(curves.values.mean(axis=0) for curves in pair) for pair in pairs]
    ends = [(max(a.min(), b.min()), min(a.max(), b.max())) for a, b in means]
    shared = [(low, high) for low, high in ends if low < high]
    levels: list[float] = []
    for step in STEPS:
        reached = (range(math.ceil(low / step), math.floor(high / step) + 1) for low, high in shared)
        levels = sorted({round(step * k, 2) for ks in reached for k in ks})
        if len(levels) >= FEW:
            break
    return levels


def _key(label: str, reference: str, size: int) -> dict[str, Any]:
    return {"label": label, "line": label, "reference": reference, "train_size": size}


def _factor_columns(factor: Factor | None) -> dict[str, Any]:
    if factor is None:
        return {"bound": "unknown", "mean": math.nan, "low": math.nan, "high": math.nan, "n": 0, "reached": 0}
    found = factor.factor
    numbers = {"mean": found.mean, "low": found.low, "high": found.high}
    return {"bound": factor.bound, **numbers, "n": found.n, "reached": factor.reached}


def _origin(
    planned: Mapping[str, pd.DataFrame], label: str, reference: str, b: Curves | None, a: Curves | None
) -> dict[str, Any]:
    """What numbers of these curves rest on; nothing where there are none. `planned`: all runs by label."""
    of = [planned[label], planned[reference]]
    units = min(map(intervals.planned_units, of))
    own, others = map(marks, of)
    about = {**{name: here or others[name] for name, here in own.items()}, **kind(of[0])}
    if a is None or b is None:
        return {"done": 0, "planned": units, "incomplete": "", **about, "runs": "", "reference_runs": ""}
    left_out = {int(size) for runs, one in zip(of, (b, a), strict=True) for size in missing_sizes(runs, one).split()}
    done = {"done": len(b), "planned": units, "incomplete": " ".join(map(str, sorted(left_out)))}
    return {**done, **about, "runs": b.runs, "reference_runs": a.runs}


def incomplete_words(done: int, planned: int, incomplete: str, noun: str) -> tuple[str, ...]:
    """What a number says that does not rest on all planned runs: '2 of 3 seeds', 'without n = 1,000'."""
    units = () if done == planned else (f"{done} of {wording.count(planned, noun)}",)
    sizes = wording.names(wording.number(int(size)) for size in incomplete.split())
    return (*units, f"without n = {sizes}") if sizes else units


def _why_not(a: Curves, name: str, size: int, noun: str) -> str:
    """Why a model is not compared that has the curves `a` of `name` in common with it; '' if it is."""
    if len(a.values) < 2:
        return f"{wording.count(len(a), noun)} that both have{' whole' if noun == 'draws' else ''}"
    return "" if size in a.sizes else f"beside which {name}'s curve is without n = {wording.number(size)}"
