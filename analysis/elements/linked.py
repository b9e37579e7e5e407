"""Tables as a report shows them: cells of text, each leading to the runs behind it.

Everything here is text and structure; numbers come from the tables of questions (rows of `cells.summarise`, or of
differences). An anchor is made of numbers (`a1-m3-n300`: arm, model, train size), never of names.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import wording
from analysis.elements.reported import Anchors
from analysis.frame.arms import ArmData
from analysis.frame.cells import estimate_of
from analysis.frame.naming import resizes_input
from analysis.frame.rows import each_group, each_row
from analysis.statistics import intervals
from analysis.wording import ABSENT, RESIZES, STALE, STARVED

ColumnHead = Callable[[int], str]  # from a train size or resolution to the head of its column
PARTIAL = re.compile(r"\d+/\d+ ")  # a note: of the planned units only so many
T_INTERVALS = "95 % t-intervals"
SENTENCE = 24  # letters of a cell, above which it holds words


@dataclass(frozen=True)
class Cell:
    """A table cell: the number, its interval, a note below ("2/3 seeds"), signs, the anchor of its runs, a line that
    needs no attention, and whether the number is the best of its column."""

    text: str
    interval: str = ""
    note: str = ""
    signs: str = ""
    href: str = ""
    aside: str = ""
    best: bool = False

    @property
    def line(self) -> str:
        """The cell on one line, with no other note than that it lacks units: '2/3 seeds'."""
        note = self.note if PARTIAL.match(self.note) else ""
        return " ".join(part for part in (self.text, self.signs, self.interval, note) if part)


@dataclass(frozen=True)
class Row:
    """`basis`: it says what the rows above rest on, and stays below them when they are sorted."""

    name: Cell
    cells: tuple[Cell, ...]
    basis: bool = False


@dataclass(frozen=True)
class Table:
    """`corner` heads the first column, `head` the others; `about` says in a sentence what the numbers are; `interval`
    what kind of interval those in brackets are and `n` what they are over; `kind` is "", "ledger" or "words", and
    decides the width of cells; `anchor` is what answers lead to, where they lead to this table and not its chapter."""

    about: str
    corner: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    kind: str = ""
    n: str = ""
    interval: str = T_INTERVALS
    anchor: str = ""

    @property
    def in_words(self) -> tuple[bool, ...]:
        """Of each column of `head`, whether it holds sentences, which are read from the left, and not numbers."""
        return tuple(
            any(len(row.cells[place].text) > SENTENCE for row in self.rows if place < len(row.cells))
            for place in range(len(self.head))
        )

    @property
    def signs(self) -> frozenset[str]:
        """Those in its cells, and "2/3" where a cell lacks units of its interval."""
        cells = [cell for row in self.rows for cell in (row.name, *row.cells)]
        partial = any(PARTIAL.match(cell.note) for cell in cells)
        return frozenset("".join(cell.signs for cell in cells)) | ({wording.PARTIAL} if partial else frozenset())

    @property
    def empty(self) -> bool:
        """Whether it has no number yet."""
        return all(cell.text in ("", wording.ABSENT) for row in self.rows for cell in row.cells)

    @property
    def basis(self) -> str:
        """What the intervals are, where there are any, and over what: 'Brackets: 95 % t-intervals, n = 3 seeds.'"""
        brackets = any({"[", "]"} & set(cell.interval) for row in self.rows for cell in row.cells)
        phrases = ", ".join(part for part in (f"Brackets: {self.interval}" if brackets else "", self.n) if part)
        return f"{phrases}." if phrases else ""


def model_name(label: str, arm: ArmData, links: Anchors, line: str | None = None) -> Cell:
    """The name of a row, marked when the model resizes its input, leading to the model's runs."""
    model = arm.runs.loc[arm.runs["label"] == label, "model"].iloc[0]
    return Cell(line or label, signs=RESIZES if resizes_input(model) else "", href=links.model(label))


def grid(
    table: pd.DataFrame,
    arm: ArmData,
    links: Anchors,
    columns: str,
    head: ColumnHead,
    about: str,
    difference: bool = False,
) -> Table:
    """A long table (of `cells.summarise`, or of differences) as rows of models and the column `columns` across; what
    the table has no row for stays empty."""
    noun = intervals.unit_noun(arm.runs)
    across = sorted(table[columns].unique().tolist())
    rows = []
    for (label, line), group in each_group(table, ["label", "line"]):
        by_place = {getattr(row, columns): row for row in each_row(group)}
        cells = tuple(
            _cell(by_place[place], noun, _behind(links, by_place[place], difference), difference)
            if place in by_place
            else Cell("")
            for place in across
        )
        rows.append(Row(model_name(label, arm, links, line), cells))
    return Table(about, "model", tuple(map(head, across)), tuple(rows), n=units(table, noun))


def units(table: pd.DataFrame, noun: str, columns: Sequence[str] = ("n",)) -> str:
    """'n = 3 seeds', 'n = 1 to 2 draws of 3 planned': what a table's intervals are over, as these columns count it."""
    seen = sorted({int(n) for column in columns for n in table[column] if n > 0})
    if not seen:
        return ""
    several = f"{seen[0]} to " if len(seen) > 1 else ""
    planned = int(table["planned_n"].max()) if "planned_n" in table else 0
    of = f" of {planned:,} planned" if planned > seen[-1] else ""
    return f"n = {several}{wording.count(seen[-1], noun)}{of}"


def missing_units(n: int, planned: int, noun: str) -> str:
    """'2/3 seeds': that a mean and its interval rest on fewer units than planned; '' if on all."""
    return "" if n == planned else f"{n}/{planned} {noun}"


def _behind(links: Anchors, row: Any, difference: bool) -> str:
    """The anchor of the runs behind a row: a cell's, or for a difference those of both sides in pairs."""
    return links.pair(row.label, row.reference, row.train_size) if difference else links.cell(row.label, row.train_size)


def signs_of(row: Any) -> str:
    """The signs of a row of numbers, by its columns of `cells.marks`."""
    return (
        (STARVED if row.starved else "") + (STALE if row.stale else "") + (wording.COLLAPSED if row.collapsed else "")
    )


def _cell(row: Any, noun: str, href: str, difference: bool) -> Cell:
    estimate = estimate_of(row)
    signs = signs_of(row)
    note = missing_units(row.n, row.planned_n, noun)
    if estimate.n == 0:
        return Cell(ABSENT, note=note, signs=signs, href=href)
    text = wording.difference(estimate) if difference else wording.mean(estimate)
    return Cell(text, wording.interval(estimate) or "no interval", note, signs, href)
