"""The first screen of a report: what was done in one line, the headline, two figures, a number for each question.

It shows one arm, that of the headline; figures that stand here are left out of their chapters.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from analysis import wording
from analysis.elements.drawings import Drawing
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter
from analysis.frame.arms import arm_names
from analysis.frame.cells import at_home
from analysis.frame.frame import Frame
from analysis.frame.naming import resizes_input
from analysis.frame.rows import each_row
from analysis.frame.states import DONE
from analysis.page.expectations import Held, Judgement, judged
from analysis.page.headline import foremost, headline
from analysis.provenance.trust import Trust
from analysis.questions.comparisons.verdicts import all_verdicts
from analysis.questions.data_needed.numbers import numbers as data_needed
from analysis.questions.data_needed.sentences import telling
from analysis.questions.positions.numbers import numbers as positions
from analysis.questions.resolution.numbers import numbers as resolution
from analysis.statistics import intervals
from benchmarks.plan.study import Study

FIGURES = ("accuracy-by-train-size", "accuracy-by-model", "images-needed", "accuracy-by-test-resolution",
           "retention-by-test-resolution")  # fmt: skip
PAIRS = (  # the names of two figures, the first pair of which an arm has both; else the first of FIGURES
    ("accuracy-by-train-size", "images-needed"),
    ("accuracy-by-train-size", "accuracy-by-test-resolution"),
    ("accuracy-by-test-resolution", "retention-by-test-resolution"),
)
WIDTHS = (5.9, 4.4)  # inches, of the two beside each other
FEW_JUDGEMENTS = 7  # as many as the first screen shows beside the headline; more are counted and folded


@dataclass(frozen=True)
class Chip:
    """A question in a word, its number with what it is of, and the anchor of its chapter; `alarming` is marked."""

    word: str
    text: str
    anchor: str
    alarming: bool = False


@dataclass(frozen=True)
class Opening:
    """`facts`: data set, size, recipe, budget, seeds and runs, said once. `judgements`: what the studies declare to
    expect, judged; `expected`: the same in sentences, or their own words where they declare nothing that can be judged.
    `shows`: of several conditions, which one the figures and numbers are of. `drawings`: none to two."""

    facts: tuple[str, ...]
    headline: str
    judgements: tuple[Judgement, ...]
    expected: tuple[str, ...]
    shows: str
    drawings: tuple[Drawing, ...]
    chips: tuple[Chip, ...]

    @property
    def tally(self) -> str:
        """Of more judgements than the first screen has room for, how many came to what: '14 expectations: 8 held, 6
        cannot be told'; '' for few."""
        if len(self.judgements) <= FEW_JUDGEMENTS:
            return ""
        counts = Counter(one.verdict for one in self.judgements)
        words = [f"{counts[verdict]} {verdict}" for verdict in get_args(Held) if counts[verdict]]
        return f"{len(self.judgements)} expectations: {', '.join(words)}"


def opening(
    studies: Sequence[Study], frame: Frame, arms: Sequence[ReportedArm], shown: Sequence[Chapter], trust: Trust
) -> Opening:
    """The first screen of a report with these arms and chapters."""
    judgements = judged(arms)
    sentences = [f"Expected: {one.expected}; found: {one.found} – {one.verdict}." for one in judgements]
    own_words = [
        f"Expected beforehand: {study.expect.rstrip('.')}." for study in studies if study.expect and not study.expects
    ]
    shown_arm = foremost(arms)
    chips = () if shown_arm is None else tuple(_chips(shown_arm))
    return Opening(
        tuple(facts(frame, arms)),
        headline(arms),
        judgements,
        (*sentences, *own_words),
        _shows(shown_arm, arms),
        () if shown_arm is None else _drawings(shown_arm, shown),
        (*chips, Chip("trust", trust.badge, "trust", alarming=bool(trust.alarming))),
    )


def _shows(shown: ReportedArm | None, arms: Sequence[ReportedArm]) -> str:
    """'Figures and numbers of recipe digits:'; '' where there is one condition alone, or none is shown."""
    if shown is None or len(arms) == 1:
        return ""
    return f"Figures and numbers of {arm_names([one.arm for one in arms]).words_of([shown.arm])}:"


def without(shown: Sequence[Chapter], drawings: Sequence[Drawing]) -> tuple[Chapter, ...]:
    """The chapters without the figures that the opening shows."""
    names = {one.name for one in drawings}

    def left(chapter: Chapter) -> Chapter:
        sections = (
            replace(part, figures=tuple(one for one in part.figures if one.name not in names))
            for part in chapter.sections
        )
        return replace(chapter, sections=tuple(sections))

    return tuple(left(chapter) for chapter in shown)


def facts(frame: Frame, arms: Sequence[ReportedArm]) -> Iterator[str]:
    """What holds for all: 'digits', 'size pico', ..., '3 seeds', '81 of 81 runs'."""
    names = arm_names([one.arm for one in arms])
    if len(arms) == 1:
        yield from _parts(arms[0].words)
    elif arms:
        yield from _parts(names.common) if names.common else ()
        yield f"{wording.count(len(arms), 'conditions')}, by {wording.names(names.differing)}"
    units = list(dict.fromkeys(intervals.units_words(arm.runs) for arm in arms))
    yield from units if len(units) == 1 else ()
    done, stale = int(frame.runs["state"].isin(DONE).sum()), int((frame.runs["state"] == "stale").sum())
    of = f"{done:,} of {wording.count(len(frame.runs), 'runs')}"
    yield f"{of} with a result, {stale:,} of them stale" if stale else f"{of} finished"


def _parts(words: str) -> list[str]:
    """'digits, recipe plain (a=1, b=2)' -> 'digits' and 'recipe plain (a=1, b=2)'."""
    return re.split(r", (?![^()]*\))", words)


def _drawings(arm: ReportedArm, shown: Sequence[Chapter]) -> tuple[Drawing, ...]:
    """Two figures of an arm that belong together, beside each other; else the first that there is."""
    there = {one.name: one for chapter in shown for one in chapter.drawings}
    for names in PAIRS:
        both = [there[name] for one in names if (name := f"{one}-{arm.number}") in there]
        if len(both) == len(names):
            return tuple(replace(one, width=width) for one, width in zip(both, WIDTHS, strict=True))
    return tuple(there[name] for one in FIGURES if (name := f"{one}-{arm.number}") in there)[:1]


def _chips(arm: ReportedArm) -> Iterator[Chip]:
    """The largest effect of each kind that an arm has: of data, of positions, of resolution."""
    yield from _data_chip(arm)
    yield from _position_chip(arm)
    yield from _resolution_chip(arm)


def _data_chip(arm: ReportedArm) -> Iterator[Chip]:
    of = arm.once(data_needed)
    table = (
        of.at_reference[of.at_reference["reference"] == of.baselines[0].reference] if of.baselines else of.at_reference
    )
    rows = each_row(table[table["verdict"].isin(("above", "below"))]) if not table.empty else ()
    told = [row for row in rows if telling(row)]
    if told:
        most = max(told, key=lambda row: row.mean)
        sign = {"at least": "> ", "at most": "< "}.get(most.bound, "")
        factor = f"{sign}{wording.times(most.mean)}"
        alike = [row.label for row in told if (row.bound, wording.times(row.mean)) == (most.bound, factor.split()[-1])]
        yield Chip("data", f"{factor}× the images: {wording.names(alike)}", "data-needed")


def _position_chip(arm: ReportedArm) -> Iterator[Chip]:
    """The encoding furthest from the reference with the fewest images, of those that are separable from it."""
    table = arm.once(positions).by_train_size
    table = table.dropna(subset=["mean"]) if not table.empty else table
    if table.empty:
        return
    size = table["train_size"].min()
    known = arm.once(all_verdicts)
    judged = {
        row.label: known.of(row.label, row.reference, size) for row in each_row(table[table["train_size"] == size])
    }
    apart = {label: one.difference for label, one in judged.items() if one.verdict in ("above", "below")}
    if apart:
        label = max(apart, key=lambda name: abs(apart[name].mean))
        reference = table.loc[table["label"] == label, "reference"].iloc[0]
        text = f"{wording.difference(apart[label])} points: {label} against {reference}"
    elif any(one.verdict == "unclear" for one in judged.values()):
        text = "none separable"
    else:
        return
    yield Chip("position", f"{text}, n = {wording.number(size)}", "positions")


def _resolution_chip(arm: ReportedArm) -> Iterator[Chip]:
    """The highest retention at the test resolution furthest from that of training, of models that work there and do
    not resize their input; that there is none where no run is far enough above chance."""
    table = arm.once(resolution).retention
    if arm.arm.interpolation_only or table.empty:
        return
    measured = not at_home(arm.rows).empty
    table = table[table["train_size"] == table["train_size"].max()].dropna(subset=["mean"])
    if table.empty and measured:
        text = f"no retention: no model is above chance at {arm.arm.resolution} px"
        yield Chip("resolution", text, "test-resolution")
    models = dict(each_row(arm.runs, ["label", "model"]))
    table = table[[not resizes_input(models[label]) for label in table["label"]]]
    if not table.empty:
        side = max(table["test_resolution"].unique().tolist(), key=lambda one: abs(one - arm.arm.resolution))
        best = max(each_row(table[table["test_resolution"] == side]), key=lambda row: row.mean)
        yield Chip("resolution", f"{wording.percent(best.mean)} kept at {side} px: {best.line}", "test-resolution")
