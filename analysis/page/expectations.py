"""What the study expected of pairs of models, held against its records by the verdict on each pair."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from analysis import wording
from analysis.elements.reported import ReportedArm, begun
from analysis.frame.arms import arm_names
from analysis.frame.cells import usual
from analysis.frame.families import run_of_each_label
from analysis.questions.comparisons.verdicts import all_verdicts
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate
from benchmarks.plan.expectations import Expectation

Held = Literal["held", "not held", "cannot be told"]
HELD: dict[intervals.Verdict, Held] = {"above": "held", "below": "not held"}


class Judgement(NamedTuple):
    """What was expected and what was found, in words, and whether it held."""

    expected: str
    found: str
    verdict: Held


def judged(arms: Sequence[ReportedArm]) -> tuple[Judgement, ...]:
    """A judgement for each expectation of the study in each arm that has its data, two models and train size, and that
    has begun where others have. By the verdict on the pair; at another test resolution, at which no family judges, by
    the paired t-interval."""
    return tuple(_of_all(arms))


def _of_all(arms: Sequence[ReportedArm]) -> Iterator[Judgement]:
    apart, there = arm_names([arm.arm for arm in arms]), begun(arms)
    for one in arms[0].study.expects if arms else ():
        parts = arms[0].study.parts or (arms[0].study,)
        ids = {run.id for part in parts if one in part.expects for run in part.runs}  # of the studies that expect it
        for arm, own in zip(arms, apart.own, strict=True):
            if one.dataset not in (None, arm.arm.dataset) or arm not in there:
                continue
            runs = arm.runs[(arm.runs["train_size"] == one.train_size) & arm.runs["run"].isin(ids)]
            pair = one.of(run_of_each_label(runs, arm.study))
            if pair is not None:
                at = f" at {one.test_resolution} px" if one.test_resolution is not None else ""
                named = f" ({own})" if len(arms) > 1 else ""
                expected = f"{pair[0]} above {pair[1]} with {wording.number(one.train_size)} images{at}{named}"
                yield _judged(expected, *pair, _difference(arm, one, *pair))


def _difference(arm: ReportedArm, one: Expectation, higher: str, lower: str) -> Estimate:
    """Test accuracy of the higher minus that of the lower."""
    if one.test_resolution is None or one.test_resolution == arm.arm.resolution:
        return arm.once(all_verdicts).of(higher, lower, one.train_size).difference
    rows = usual(arm.rows)
    at = rows[(rows["train_size"] == one.train_size) & (rows["test_resolution"] == one.test_resolution)]
    at = at[at["part"] == "test"].dropna(subset=["accuracy"])
    a, b = (at[at["label"] == label] for label in (higher, lower))
    return intervals.paired_difference(a, b, "accuracy")


def _judged(expected: str, higher: str, lower: str, difference: Estimate) -> Judgement:
    verdict = intervals.verdict(difference)
    if not difference.n:
        return Judgement(expected, "no result of both yet", "cannot be told")
    above, below = (lower, higher) if difference.mean < 0 else (higher, lower)
    found = f"{above} {wording.points(difference, signed=False)} above {below}"
    found = {"unclear": f"{found}, not separable", "no interval": f"{found}, no interval"}.get(verdict, found)
    return Judgement(expected, found, HELD.get(verdict, "cannot be told"))
