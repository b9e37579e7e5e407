"""What the page shows, ready for the template: tables of linked cells, and the runs behind every number.

Everything here is text and structure; numbers come from the tables of `data_efficiency`, `resolution`, `ablation`
and `fairness`. An anchor is made of numbers (`a1-m3-n300`: arm, model, train size), never of names.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import wording
from analysis.frame.arms import ArmData
from analysis.frame.cells import by_carry, estimate_of
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group, each_row
from analysis.page.findings import Anchors, by_state
from analysis.questions.fairness.fairness import by_hardware, speeds
from analysis.statistics import intervals
from analysis.wording import ABSENT, RESIZES, STALE, STARVED, UNEQUAL
from models import family

Head = Callable[[int], str]  # from a train size or resolution to the head of its column
PARTIAL = re.compile(r"\d+/\d+ ")  # a note: of the planned units only so many
T_INTERVALS = "95 % t-intervals"
SENTENCE = 24  # letters of a cell, above which it holds words
RECORDED = ("finished", "stale", "diverged")  # states with a result to compare a rerun with


@dataclass(frozen=True)
class Cell:
    """A table cell: the number, its interval, a note below ("2/3 seeds"), signs, the anchor of its runs, and a line
    that needs no attention."""

    text: str
    interval: str = ""
    note: str = ""
    signs: str = ""
    href: str = ""
    aside: str = ""


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
    def basis(self) -> str:
        """What the intervals are, where there are any, and over what: 'Brackets: 95 % t-intervals, n = 3 seeds.'"""
        brackets = any({"[", "]"} & set(cell.interval) for row in self.rows for cell in row.cells)
        said = ", ".join(part for part in (f"Brackets: {self.interval}" if brackets else "", self.n) if part)
        return f"{said}." if said else ""


def model_name(label: str, arm: ArmData, links: Anchors, line: str | None = None) -> Cell:
    """The name of a row, marked when the model resizes its input, leading to the model's runs."""
    model = arm.runs.loc[arm.runs["label"] == label, "model"].iloc[0]
    return Cell(line or label, signs=RESIZES if family(model).resizes_input else "", href=links.model(label))


def grid(
    table: pd.DataFrame,
    arm: ArmData,
    links: Anchors,
    columns: str,
    head: Head,
    about: str,
    difference: bool = False,
) -> Table:
    """A long table (of `cells.summarise`, or of differences) as rows of models and the column `columns` across; what
    the table has no row for stays empty."""
    noun = intervals.unit_noun(arm.runs)
    across = sorted(table[columns].unique().tolist())
    rows = []
    for (label, line), mine in each_group(table, ["label", "line"]):
        by_place = {getattr(row, columns): row for row in each_row(mine)}
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


def lacks(n: int, planned: int, noun: str) -> str:
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
    note = lacks(row.n, row.planned_n, noun)
    if estimate.n == 0:
        return Cell(ABSENT, note=note, signs=signs, href=href)
    text = wording.difference(estimate) if difference else wording.mean(estimate)
    return Cell(text, wording.interval(estimate) or "no interval", note, signs, href)


LEDGER = {  # head of the column: column of `fairness.ledger` that marks it as unequal
    "backbone": "parameters_backbone",
    "position": "parameters_position",
    "head": "parameters_head",
    "MACs / image": "macs",
    "FLOPs / image": "macs",
    "images/s": "images_per_second",
    "updates": "updates",
    "images seen": "images_seen",
    "BatchNorm by less": "batch_norm_short",
    "initial weights": "initial",
    "augmentation": "augmentation",
    "recipe, where not equal": "recipe",
    "tuning trials": "trials",
    "finished runs": "planned",
}


def hardware_names(arm: ArmData) -> dict[str, str]:
    """Short names, H1, H2, ..., for the kinds of hardware that an arm was timed on; none where that is one."""
    kinds = speeds(arm.runs)
    return {kind: f"H{number}" for number, kind in enumerate(kinds, start=1)} if len(kinds) > 1 else {}


def ledger_table(table: pd.DataFrame, arm: ArmData, links: Anchors) -> Table:
    """The fairness ledger as the page shows it; every row leads to all runs of its model."""
    nothing = {"recipe"} if set(table["recipe"]) == {NONE} else set()  # columns that would be empty
    nothing |= set() if table["batch_norm_short"].any() else {"batch_norm_short"}
    columns = [head for head, column in LEDGER.items() if column not in nothing]
    hardware = hardware_names(arm)
    rows = []
    for row in each_row(table):
        texts = (
            wording.compact(row.parameters_backbone),
            wording.compact(row.parameters_position),
            wording.compact(row.parameters_head),
            wording.compact(row.macs),
            wording.compact(2 * row.macs),
            wording.compact(row.images_per_second),
            wording.span(row.updates_low, row.updates_high),
            wording.span(row.images_low, row.images_high),
            wording.count(row.batch_norm_short, "runs") if row.batch_norm_short else wording.ABSENT,
            row.initial,
            row.augmentation,
            row.recipe,
            row.trials,
            f"{row.finished}/{row.planned}",
        )
        odd = row.unequal.split()
        others = [state for state in ("stale", "diverged", "failed", "missing", "active") if getattr(row, state)]
        noted = {
            "images_per_second": by_hardware(arm.runs[arm.runs["label"] == row.label], hardware) if hardware else "",
            "planned": ", ".join(f"{getattr(row, state)} {state}" for state in others),
        }
        cells = tuple(
            Cell(text, note=noted.get(column, ""), signs=UNEQUAL if column in odd else "", href=links.model(row.label))
            for text, column in zip(texts, LEDGER.values(), strict=True)
            if column not in nothing
        )
        rows.append(Row(model_name(row.label, arm, links), cells))
    about = "Parameters by part; MACs, FLOPs and images/s in training, at the training resolution."
    return Table(about, "model", tuple(columns), tuple(rows), "ledger")


def cost_table(table: pd.DataFrame, arm: ArmData, links: Anchors, head: Head) -> Table:
    """`fairness.by_resolution` as the page shows it: MACs, below them FLOPs and images a second."""
    across = sorted(table["test_resolution"].unique().tolist())
    rows = []
    for label, mine in each_group(table, "label"):
        cells = []
        for row in each_row(mine.sort_values("test_resolution")):
            speed = "" if pd.isna(row.evaluated) else f"{wording.compact(row.evaluated)} images/s"
            flops = "" if pd.isna(row.flops) else f"{wording.compact(row.flops)} FLOPs"
            cells.append(Cell(wording.compact(row.macs), flops, href=links.model(label), aside=speed))
        rows.append(Row(model_name(label, arm, links), tuple(cells)))
    about = "One image in evaluation, by resolution: MACs; FLOPs, which are twice that; and images/s as measured."
    return Table(about, "model", tuple(map(head, across)), tuple(rows))


@dataclass(frozen=True)
class Entry:
    """The runs behind a number: a small table, a row a run or a pair of runs.

    `rows` has (ids of the runs, whether there is a result to train again, texts of the columns in `head`)."""

    anchor: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], bool, tuple[str, ...]], ...]


@dataclass(frozen=True)
class ModelRuns:
    anchor: str
    name: str
    entries: tuple[Entry, ...]


def runs_behind(arm: ArmData, links: Anchors, pairs: pd.DataFrame) -> tuple[ModelRuns, ...]:
    """Every run of an arm, by model and train size, with its accuracy at every test resolution; then the pairs
    behind differences (`pairs`: `Findings.pairs`)."""
    rows = by_carry(arm.rows)
    accuracy = {
        (row.run, row.test_resolution): row.accuracy for row in each_row(rows.sort_values("carry"))
    }  # where positions were carried in several ways: the last by name; evaluations.csv has them all
    resolutions = sorted(rows["test_resolution"].unique().tolist())
    heads = [f"{r} px" for r in resolutions]
    result = []
    for label in links.labels:
        entries = []
        mine = arm.runs[arm.runs["label"] == label]
        for size, cell in each_group(mine, "train_size", ordered=True):
            lines = []
            for run in each_row(cell.sort_values(["draw", "seed"])):
                shown = [_share(accuracy.get((run.run, r))) for r in resolutions]
                texts = (str(run.draw), str(run.seed), run.state, _share(run.train_accuracy), *shown)
                lines.append(((run.run,), run.state in RECORDED, texts))
            title = f"{label}, {wording.number(size)} images"
            head = ("draw", "seed", "state", "train", *heads)
            entries.append(Entry(links.cell(label, size), title, head, tuple(lines)))
        if not pairs.empty:
            for pair in each_row(pairs[pairs["label"] == label]):
                entries.append(_pair_entry(pair, links, arm, accuracy, resolutions))
        result.append(ModelRuns(links.model(label), label, tuple(entries)))
    return tuple(result)


def _pair_entry(
    pair: Any, links: Anchors, arm: ArmData, accuracy: dict[tuple[str, int], float], resolutions: list[int]
) -> Entry:
    of_run = arm.runs.set_index("run")
    lines = []
    for run, reference in zip(pair.runs.split(), pair.reference_runs.split(), strict=True):
        shown = []
        for resolution in resolutions:
            a, b = accuracy.get((run, resolution)), accuracy.get((reference, resolution))
            shown.append(ABSENT if a is None or b is None else f"{100 * (a - b):+.1f}".replace("-", "−"))
        texts = (str(of_run.at[run, "draw"]), str(of_run.at[run, "seed"]), *shown)
        lines.append(((run, reference), True, texts))
    title = f"{pair.label} minus {pair.reference}, {wording.number(pair.train_size)} images, in points"
    head = ("draw", "seed", *(f"{r} px" for r in resolutions))
    return Entry(links.pair(pair.label, pair.reference, pair.train_size), title, head, tuple(lines))


def _share(value: float | None) -> str:
    return ABSENT if value is None or pd.isna(value) else f"{100 * value:.1f}"


def unfinished(runs: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    """(state, [(run id, what is known)]) for all runs that are not finished, in the order of the study."""
    return [
        (state, [(row.run, _known(row)) for row in each_row(those)])
        for state, those in by_state(runs).items()
        if state != "finished"
    ]


def _known(row: Any) -> str:
    """Why a run has no result; who works on a running one is no matter of the report."""
    if row.state == "diverged" and not pd.isna(row.diverged_at):
        return f"loss not finite at step {wording.number(row.diverged_at)}"
    return "" if row.state in ("running", "lost") or pd.isna(row.reason) else str(row.reason)
