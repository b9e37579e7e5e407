"""What a report says, before it has a format: opening, answers, chapters in order, trust, what goes further, method.

The order of reading is the same in every format: `opening`, `answers`, `chapters` up to the fairness ledger, `trust`,
the chapters that go `further` (folded on the page), `behind` (the runs), `protocol` and `methods`, `glossary`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import wording
from analysis.elements import linked
from analysis.elements.drawings import Drawing
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Styles
from analysis.frame.frame import Frame
from analysis.frame.paper import highlighted
from analysis.frame.rows import each_row
from analysis.frame.states import by_state
from analysis.frame.waiting import outdated_words
from analysis.page import methods
from analysis.page.answers import answers
from analysis.page.glossary import Term, glossary
from analysis.page.opening import Opening, opening, without
from analysis.page.order import Answers
from analysis.page.questions import QUESTIONS
from analysis.page.runs_behind import ModelRuns, pairs_of, runs_behind, unfinished
from analysis.provenance.provenance import Provenance
from analysis.provenance.trust import Trust
from benchmarks.plan.study import Study


@dataclass(frozen=True)
class Content:
    """Everything a report says. `studies` are those that were asked for, `study` all of them as one. `legends`: by a
    chapter's anchor what each sign means that none of the chapters before it has."""

    study: Study
    studies: tuple[Study, ...]
    warnings: tuple[str, ...]
    opening: Opening
    answers: Answers
    chapters: tuple[Chapter, ...]
    states: Mapping[str, int]
    unfinished: Sequence[tuple[str, list[tuple[str, str]]]]
    problems: Sequence[Any]
    behind: Sequence[tuple[str, tuple[ModelRuns, ...]]]
    protocol: Sequence[str]
    methods: Sequence[str]
    recipes: linked.Table | None
    glossary: Sequence[Term]
    legends: Mapping[str, Mapping[str, str]]
    trust: Trust
    provenance: Provenance
    digest: str
    highlight: frozenset[str]

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All figures, in order."""
        of_chapters = (drawing for chapter in self.chapters for drawing in chapter.drawings)
        return (*self.opening.drawings, *of_chapters)

    @property
    def absent(self) -> list[tuple[str, list[str]]]:
        """What can tell something of why it has no result, a line each, under what it is and how many: runs, records
        that cannot be read, cells that the study leaves out. For formats in which a list of all cannot be folded."""
        lists: list[tuple[str, Sequence[tuple[str, str]]]] = [
            *self.unfinished,
            ("unreadable (counted as failed)", [(one.folder, one.problem) for one in self.problems]),
            ("left out by the study", self.study.left_out),
        ]
        return [(f"{len(those):,} {what}", _by_reason(those)) for what, those in lists if any(why for _, why in those)]

    @property
    def signs(self) -> dict[str, str]:
        """What each sign of the report means."""
        return {sign: meaning for legend in self.legends.values() for sign, meaning in legend.items()}

    @property
    def first(self) -> tuple[Chapter, ...]:
        """The chapters that come before trust."""
        return tuple(chapter for chapter in self.chapters if not chapter.further)

    @property
    def further(self) -> tuple[Chapter, ...]:
        """Those that come behind it."""
        return tuple(chapter for chapter in self.chapters if chapter.further)


def each_chapter(arms: Sequence[ReportedArm], styles: Styles) -> Iterator[Chapter]:
    """The chapters of a report one by one, question by question: those that have a section, or are there always."""
    for question in QUESTIONS:
        for chapter in question.chapters(arms, styles):
            if chapter.sections or chapter.always:
                yield chapter


def ordered(chapters: Iterable[Chapter]) -> tuple[Chapter, ...]:
    """As a page has them: those that go further last."""
    return tuple(sorted(chapters, key=lambda chapter: chapter.further))


def gather(
    study: Study,
    studies: Sequence[Study],
    frame: Frame,
    arms: Sequence[ReportedArm],
    chapters: Iterable[Chapter],
    trust: Trust,
    provenance: Provenance,
    digest: str,
) -> Content:
    """What the report of these arms says: the `chapters` of the questions, and what stands around them."""
    every = ordered(chapters)
    first_screen = opening(studies, frame, arms, every, trust)
    shown = without(every, first_screen.drawings)
    return Content(
        study=study,
        studies=tuple(studies),
        warnings=(*methods.warnings(arms), *outdated_words(frame)),
        opening=first_screen,
        answers=answers(frame, arms),
        chapters=shown,
        states={state: len(runs) for state, runs in by_state(frame.runs).items()},
        unfinished=unfinished(frame.runs),
        problems=list(each_row(frame.problems)),
        protocol=methods.protocol(frame, arms),
        behind=[(arm.words, runs_behind(arm.data, arm.links, pairs_of(arm))) for arm in arms],
        methods=methods.sentences(study, frame, arms),
        recipes=methods.recipe_table(frame),
        glossary=glossary(arms),
        legends=dict(_legends(wording.signs(frame.starved_below), shown)),
        trust=trust,
        provenance=provenance,
        digest=digest,
        highlight=highlighted(study.paper),
    )


def _by_reason(those: Sequence[tuple[str, str]]) -> list[str]:
    """'resnet-... and 2 others: OutOfMemoryError': a line for each reason, in the order in which they come first."""
    first: dict[str, list[str]] = {}
    for one, why in those:
        first.setdefault(why or "no reason is known", []).append(one)
    others = {why: f" and {wording.count(len(ones) - 1, 'others')}" * (len(ones) > 1) for why, ones in first.items()}
    return [f"{ones[0]}{others[why]}: {why}" for why, ones in first.items()]


def _legends(signs: Mapping[str, str], shown: Sequence[Chapter]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each chapter's anchor, and what those of its signs mean that none before it has."""
    explained: frozenset[str] = frozenset()
    for chapter in shown:
        yield chapter.anchor, {sign: signs[sign] for sign in signs if sign in chapter.signs - explained}
        explained |= chapter.signs
