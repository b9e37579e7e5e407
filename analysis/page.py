"""What the page shows, ready for the template: tables of linked cells, and the runs behind every number.

Everything here is text and structure; numbers come from the tables of `data_efficiency`, `resolution`, `ablation`
and `fairness`. An anchor is made of numbers (`a1-m3-n300`: arm, model, train size), never of names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import statistics, wording
from analysis.arms import ArmData
from analysis.cells import by_carry, estimate_of
from analysis.frame import NONE
from analysis.wording import ABSENT, RESIZES, STALE, STARVED, UNEQUAL
from models import family


@dataclass(frozen=True)
class Cell:
    """A table cell: the number, its interval, a note below ("2/3 seeds"), signs, and the anchor of its runs."""

    text: str
    interval: str = ""
    note: str = ""
    signs: str = ""
    href: str = ""


@dataclass(frozen=True)
class Row:
    name: Cell
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """`corner` heads the first column, `head` the others; `about` says in a sentence what the numbers are."""

    about: str
    corner: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    words: bool = False  # the cells hold words rather than numbers


@dataclass(frozen=True)
class Anchors:
    """The anchors of an arm's runs, made from its number and the order of its labels."""

    arm: int
    labels: tuple[str, ...]

    def model(self, label: str) -> str:
        return f"a{self.arm}-m{self.labels.index(label) + 1}"

    def cell(self, label: str, train_size: int) -> str:
        return f"{self.model(label)}-n{train_size}"

    def pair(self, label: str, train_size: int) -> str:
        return f"{self.cell(label, train_size)}-pair"


def anchors(number: int, arm: ArmData) -> Anchors:
    return Anchors(number, tuple(dict.fromkeys(arm.runs["label"])))


def model_name(label: str, arm: ArmData, links: Anchors, line: str | None = None) -> Cell:
    """The name of a row, marked when the model resizes its input, leading to the model's runs."""
    model = arm.runs.loc[arm.runs["label"] == label, "model"].iloc[0]
    return Cell(line or label, signs=RESIZES if family(model).resizes_input else "", href=links.model(label))


def grid(
    table: pd.DataFrame,
    arm: ArmData,
    links: Anchors,
    columns: str,
    head: Callable[[int], str],
    about: str,
    difference: bool = False,
) -> Table:
    """A long table (of `cells.summarise`, or of differences) as rows of models and the column `columns` across."""
    noun = statistics.unit_noun(arm.runs)
    across = sorted(table[columns].unique().tolist())
    rows = []
    for (label, line), mine in table.groupby(["label", "line"], sort=False):
        by_place = {getattr(row, columns): row for row in mine.itertuples()}
        anchor = links.pair if difference else links.cell
        cells = tuple(
            _cell(by_place[place], noun, anchor(label, by_place[place].train_size), difference)
            for place in across
        )
        rows.append(Row(model_name(str(label), arm, links, str(line)), cells))
    return Table(about, "model", tuple(map(head, across)), tuple(rows))


def _cell(row: Any, noun: str, href: str, difference: bool) -> Cell:
    estimate = estimate_of(row)
    signs = (STARVED if row.starved else "") + (STALE if row.stale else "")
    note = "" if row.done == row.planned else f"{row.done}/{row.planned} {noun}"
    if estimate.n == 0:
        return Cell(ABSENT, note=note or f"0/{row.planned} {noun}", signs=signs, href=href)
    text = wording.points(estimate).split(" ")[0] if difference else f"{100 * estimate.mean:.1f}"
    return Cell(text, wording.interval(estimate) or "no interval", note, signs, href)


def ledger_table(table: pd.DataFrame, arm: ArmData, links: Anchors) -> Table:
    """The fairness ledger as the page shows it."""
    rows = []
    for row in table.itertuples():
        unequal = row.unequal.split()

        def cell(text: str, column: str, label: str = row.label, odd: Sequence[str] = tuple(unequal)) -> Cell:
            return Cell(text, signs=UNEQUAL if column in odd else "", href=links.model(label))

        states = [
            f"{getattr(row, state)} {state}"
            for state in ("stale", "diverged", "failed", "missing", "active")
            if getattr(row, state)
        ]
        runs = f"{row.finished}/{row.planned} finished"
        rows.append(
            Row(
                model_name(row.label, arm, links),
                (
                    cell(wording.compact(row.parameters_backbone), "parameters_backbone"),
                    cell(wording.compact(row.parameters_position), "parameters_position"),
                    cell(wording.compact(row.parameters_head), "parameters_head"),
                    cell(wording.compact(row.macs), "macs"),
                    cell(wording.compact(row.images_per_second), "images_per_second"),
                    cell(_range(row.updates_low, row.updates_high), "updates"),
                    cell(_range(row.images_low, row.images_high), "images_seen"),
                    cell(row.augmentation, "augmentation"),
                    cell(str(row.trials), "trials"),
                    cell(", ".join([runs, *states]), "planned"),
                ),
            )
        )
    head = (
        "parameters: backbone",
        "position",
        "head",
        "MACs / image",
        "images/s",
        "updates",
        "images seen",
        "augmentation",
        "tuning trials",
        "runs",
    )
    return Table("", "model", head, tuple(rows))


def _range(low: float, high: float) -> str:
    if pd.isna(low):
        return ABSENT
    return wording.number(low) if low == high else f"{wording.number(low)} – {wording.number(high)}"


@dataclass(frozen=True)
class Entry:
    """The runs behind a number: a small table, each row ending with the command that trains one run again."""

    anchor: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]  # texts, then ids of runs


@dataclass(frozen=True)
class ModelRuns:
    anchor: str
    name: str
    entries: tuple[Entry, ...]


def runs_behind(arm: ArmData, links: Anchors, pairs: pd.DataFrame) -> tuple[ModelRuns, ...]:
    """Every run of an arm, by model and train size, with its accuracy at every test resolution; then the pairs of
    the position ablation (`pairs`: the table of `ablation.differences`)."""
    rows = by_carry(arm.rows)
    accuracy = {
        (row.run, row.test_resolution): row.accuracy for row in rows.sort_values("carry").itertuples()
    }  # where positions were carried in several ways: the last by name; evaluations.csv has them all
    resolutions = sorted(rows["test_resolution"].unique().tolist())
    heads = [f"test {r} px" for r in resolutions]
    result = []
    for label in links.labels:
        entries = []
        mine = arm.runs[arm.runs["label"] == label]
        for size, cell in mine.groupby("train_size"):
            lines = []
            for run in cell.sort_values(["draw", "seed"]).itertuples():
                shown = [_share(accuracy.get((run.run, r))) for r in resolutions]
                texts = (str(run.draw), str(run.seed), run.state, _share(run.train_accuracy), *shown)
                lines.append((texts, (run.run,)))
            title = f"{label}, {wording.number(size)} images"
            head = ("draw", "seed", "state", "train", *heads, "command")
            entries.append(Entry(links.cell(label, size), title, head, tuple(lines)))
        if not pairs.empty:
            for pair in pairs[pairs["label"] == label].itertuples():
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
        lines.append(((str(of_run.at[run, "draw"]), str(of_run.at[run, "seed"]), *shown), (run, reference)))
    title = f"{pair.label} minus {pair.reference}, {wording.number(pair.train_size)} images"
    head = ("draw", "seed", *(f"points at {r} px" for r in resolutions), "commands (model, reference)")
    return Entry(links.pair(pair.label, pair.train_size), title, head, tuple(lines))


def _share(value: float | None) -> str:
    return ABSENT if value is None or pd.isna(value) else f"{100 * value:.1f}"


def state_lines(runs: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    """(state, [(run id, what is known)]) for all runs that are not finished, in the order of the study."""
    order = ("failed", "diverged", "stale", "lost", "interrupted", "running", "queued", "missing")
    found = []
    for state in order:
        those = runs[runs["state"] == state]
        if len(those):
            found.append((state, [(row.run, _known(row)) for row in those.itertuples()]))
    return found


def _known(row: Any) -> str:
    if row.state == "diverged" and not pd.isna(row.diverged_at):
        return f"loss not finite at step {wording.number(row.diverged_at)}"
    return "" if row.state == "running" or row.reason == NONE else str(row.reason)
