"""A question of a report: what its room in `analysis/questions` gives, all of it functions of reported arms.

    QUESTION = Question(
        asks="How accurate is each model with so many images?",
        numbers=curve,                                      # arm -> its numbers, computed once
        chapters=chapters,                                  # arms, looks -> figures and tables
        claims=claims,                                      # arm -> sentences for the answers
        csvs=(Csv("accuracy-by-train-size", lambda table: table),),
    )

`questions/training_loss` is the smallest room with numbers, a section, a figure and a CSV: copy it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import pandas as pd

from analysis.elements.claims import Claim
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Styles

N = TypeVar("N")


def _no_chapters(arms: Sequence[ReportedArm], styles: Styles) -> Iterable[Chapter]:
    return ()


def _no_claims(arm: ReportedArm) -> Iterable[Claim]:
    return ()


def _no_claims_of_all(arms: Sequence[ReportedArm]) -> Iterable[Claim]:
    return ()


@dataclass(frozen=True)
class Csv(Generic[N]):
    """A file tables/NAME.csv: a table in long form of each arm's numbers, below each other, the arm in the first
    columns. Left out where it has no row, unless it is there `always`."""

    name: str
    table: Callable[[N], pd.DataFrame]
    always: bool = False


@dataclass(frozen=True)
class CsvOfAll:
    """A file tables/NAME.csv of all arms together, left out where it has no row."""

    name: str
    table: Callable[[Sequence[ReportedArm]], pd.DataFrame]


@dataclass(frozen=True)
class Question(Generic[N]):
    """`asks`: the question in words. `numbers`: what it computes of an arm. `chapters`: what it shows of all arms, in
    order; those without a section are left out. `claims`: its answers on an arm; `limits`: what limits claims on an arm
    (never folded); `claims_of_all`: answers on all arms together. `csvs`, `csvs_of_all`: its tables as files.
    `pairs`: of its numbers, the rows with the pairs of runs behind differences (label, reference, train_size, runs,
    reference_runs), which cells lead to by `Anchors.pair`."""

    asks: str
    numbers: Callable[[ReportedArm], N]
    chapters: Callable[[Sequence[ReportedArm], Styles], Iterable[Chapter]] = _no_chapters
    claims: Callable[[ReportedArm], Iterable[Claim]] = _no_claims
    limits: Callable[[ReportedArm], Iterable[Claim]] = _no_claims
    claims_of_all: Callable[[Sequence[ReportedArm]], Iterable[Claim]] = _no_claims_of_all
    csvs: tuple[Csv[N], ...] = ()
    csvs_of_all: tuple[CsvOfAll, ...] = ()
    pairs: Callable[[N], pd.DataFrame] | None = None
