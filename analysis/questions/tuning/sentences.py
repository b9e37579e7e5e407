"""Whether a difference holds at equal tuning, in words."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim
from analysis.elements.reported import ReportedArm
from analysis.frame.rows import each_group, each_row
from analysis.questions.tuning.numbers import numbers
from analysis.statistics.intervals import Estimate
from analysis.wording import Answer, Scope
from benchmarks.data.dataset import Places
from benchmarks.records.stages import outcome

PLACE = "tuning"  # the anchor of the chapter


@dataclass(frozen=True)
class Lead:
    """How far the best of `k` (of `trials`) of `label` is above that of `other`, on the validation part; `changes` is
    the first k at which the estimates stand in the other order, None where they never do."""

    label: str
    other: str
    k: int
    trials: int
    difference: Estimate
    changes: int | None

    @property
    def told(self) -> bool:
        """Whether the bands exclude that the two are equal."""
        return self.difference.low > 0


def claims(arm: ReportedArm) -> Iterator[Claim]:
    """A sentence a train size, and what speaks against what was chosen."""
    of = arm.once(numbers)
    if of.curves.empty:
        return
    trials = int(of.chosen["trials"].max())
    for size, curves in each_group(of.together, "train_size", ordered=True):
        found = leads(curves)
        scope = Scope(arm.words)
        if found:
            body = f"{_lead_words(found)}."
            yield Claim(Answer(f"Tuned alike, {wording.number(size)} images", scope, body), PLACE)
        elif curves["label"].nunique() > 1:
            body = f"bands of {wording.count(trials, 'trials')} say nothing about the best of any number of them."
            yield Claim(Answer(f"Tuned alike, {wording.number(size)} images", scope, body), PLACE)


def leads(curves: pd.DataFrame) -> list[Lead]:
    """The model that leads at the largest k about which all bands say anything against each other model, in the order
    of the table; none without such k, or with one model. `curves`: of one train size, with bands that hold together."""
    says = curves.groupby("k")["says"].all()
    known = says.index[says].tolist()
    if not known or curves["label"].nunique() < 2:
        return []
    k = int(max(known))
    at = {row.label: row for row in each_row(curves[curves["k"] == k])}
    first = max(at, key=lambda label: at[label].estimate)
    estimates = {label: dict(zip(of["k"], of["estimate"], strict=True)) for label, of in each_group(curves, "label")}
    found = []
    for other in at:
        if other == first:
            continue
        one, two = at[first], at[other]
        difference = Estimate(one.estimate - two.estimate, one.low - two.high, one.high - two.low, k)
        found.append(
            Lead(first, other, k, int(curves["k"].max()), difference, change(estimates[first], estimates[other]))
        )
    return found


def change(one: dict[int, float], two: dict[int, float]) -> int | None:
    """The first number of trials at which two curves stand in another order than before."""
    signs = [(k, math.copysign(1, one[k] - two[k])) for k in sorted(one.keys() & two.keys()) if one[k] != two[k]]
    return next((k for (_, before), (k, sign) in itertools.pairwise(signs) if sign != before), None)


def _lead_words(found: Sequence[Lead]) -> str:
    """Whom the leader leads by how much, of whom that cannot be told, and where the order of the estimates changes."""
    first = found[0]
    told = [f"{one.other} by {wording.points(one.difference, signed=False)}" for one in found if one.told]
    untold = [f"{one.other} ({wording.points(one.difference)})" for one in found if not one.told]
    phrases = [f"{first.label} leads {wording.names(told)}"] if told else []
    phrases += [f"it cannot be told whether {first.label} leads {wording.names(untold)}"] if untold else []
    changes = [f"at k = {one.changes} for {one.other}" for one in found if one.changes is not None]
    order = f"their order changes {wording.names(changes)}" if changes else f"{first.label} is first at every k"
    each = f"with k = {first.k} of {first.trials} drawn trials each, by the best one's validation accuracy"
    return f"{each}, {'; '.join(phrases)}; by the estimates {order}"


def claims_of_all(arms: Sequence[ReportedArm]) -> Iterator[Claim]:
    """What was searched and is in no table: cells whose search is not done, or of which every trial diverged."""
    lacking = []
    for part in arms[0].study.parts or (arms[0].study,) if arms else ():
        if part.tuning is None:
            continue
        confirmed = {one.key for one in part.tuned.values()}
        for cell in part.tuning.cells:
            if cell.key in confirmed:
                continue
            run = cell.trials[0].runs[0]
            left = outcome(cell, part.tuning.plan.rule, Places(data=None, runs=arms[0].root)).left
            why = f"{wording.count(left, 'runs')} of its search left" if left else "every trial diverged"
            lacking.append(f"{' '.join(run.model_words)} with {wording.count(run.train_size, 'images')} ({why})")
    if lacking:
        yield Claim(Answer("Not confirmed, and in no table", Scope(), f"{wording.names(lacking)}."), PLACE)


def limits(arm: ReportedArm) -> Iterator[Claim]:
    """What speaks against settings that were chosen, or against the bands."""
    of = arm.once(numbers)
    if of.chosen.empty:
        return
    rows = [row for row in each_row(of.chosen) if row.searched_size == row.train_size]  # each search once
    edges = [
        f"{row.label} at n = {wording.number(row.train_size)} ({row.boundary.replace(' ', ', ')})"
        for row in rows
        if row.boundary
    ]
    if edges:
        body = f"{wording.names(edges)}: a better setting may lie beyond."
        yield Claim(Answer("Chosen at the edge of a range", Scope(arm.words), body), PLACE)
    stale = [
        f"{row.label} at n = {wording.number(row.train_size)} ({wording.count(row.stale, 'runs')})"
        for row in rows
        if row.stale
    ]
    if stale:
        body = f"{wording.names(stale)}: the sources of these trials have changed since."
        yield Claim(Answer("Chosen by stale runs", Scope(arm.words), body), PLACE)
    late = [f"{row.label} at n = {wording.number(row.train_size)}" for row in rows if row.overfits == "yes"]
    if late:
        body = f"{wording.names(late)}: the validation loss has risen by the end."
        yield Claim(Answer("Chosen settings overfit late", Scope(arm.words), body), PLACE)
