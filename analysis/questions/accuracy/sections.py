"""The sections of the report that show an arm: figures and tables, with links to the runs behind their numbers.

A section knows no format: pages, LaTeX and Markdown are made of the same ones, in the order of `analysis.page.content`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import pandas as pd
from matplotlib.figure import Figure

from analysis import wording
from analysis.elements import captions, figures, linked
from analysis.elements.palette import Look
from analysis.frame.cells import at_home, usual
from analysis.frame.rows import each_group
from analysis.page.findings import Findings
from analysis.questions.fairness.fairness import speeds

SEPARATE = "separate 95 % t-intervals, pair by pair (those of a declared family, under “Comparisons”, hold together)"


@dataclass(frozen=True)
class Drawing:
    """A figure, drawn for its width; the name of its files (also before every id in its SVG); the table
    behind it in long form; what it shows, of which arm (its axes, what is compared), and what its marks mean."""

    name: str
    draw: Callable[..., Figure] = field(compare=False)  # draw(width=inches); without: as wide as on the page
    data: pd.DataFrame = field(compare=False)
    shows: str
    legend: str

    @cached_property
    def figure(self) -> Figure:
        """As wide as on the page."""
        return self.draw()

    @property
    def alt(self) -> str:
        return f"{self.shows}; the tables have the numbers."

    @property
    def caption(self) -> str:
        return f"{self.shows}. {self.legend}".rstrip()


@dataclass(frozen=True)
class Section:
    """One arm's share of a chapter: its name, a remark, figures, tables, and tables that start folded."""

    title: str
    figures: tuple[Drawing, ...]
    tables: tuple[linked.Table, ...]
    folded: tuple[tuple[str, linked.Table], ...] = ()
    remark: str = ""


def _n(size: int) -> str:
    return f"n = {wording.number(size)}"


def train_size(found: Findings, styles: Mapping[str, Look]) -> Section:
    """Accuracy against train size; the figure is left out where there is one size."""
    rows = found.data.rows
    about = "Mean test accuracy in per cent."
    table = linked.grid(found.by_train_size, found.data, found.links, "train_size", _n, about)
    drawn = []
    if at_home(rows)["train_size"].nunique() > 1:
        behind = found.by_train_size
        shows = f"Test accuracy against the number of training images (log scale), by model; {found.arm.words}"
        marks = (captions.RUNS, captions.MEANS, captions.bars(behind), captions.CHANCE, captions.beside(behind))
        drawn.append(
            Drawing(
                f"accuracy-by-train-size-{found.number}",
                partial(figures.accuracy_by_train_size, rows, styles),
                behind,
                shows,
                captions.legend(*marks),
            )
        )
    return Section(found.arm.words, tuple(drawn), (table,))


def test_resolution(found: Findings, styles: Mapping[str, Look]) -> Section:
    """Accuracy, and where it may be claimed retention, against test resolution; the largest train size first."""

    def view(table: pd.DataFrame, size: int, what: str) -> linked.Table:
        about = f"{what}, trained on {wording.number(size)} images at {found.arm.resolution} px, in per cent."
        at = table[table["train_size"] == size]
        return linked.grid(at, found.data, found.links, "test_resolution", pixels(found), about)

    *smaller, largest = sorted(found.data.runs["train_size"].unique().tolist())
    tables = [view(found.by_test_resolution, largest, "Mean test accuracy")]
    if not found.retention.empty:
        tables.append(view(found.retention, largest, "Retention of accuracy above chance"))
    folded = tuple((_n(size), view(found.by_test_resolution, size, "Mean test accuracy")) for size in smaller)
    rows = usual(found.data.rows[found.data.rows["train_size"] == largest])
    drawn = []
    if rows["test_resolution"].nunique() > 1:
        behind = found.by_test_resolution[found.by_test_resolution["train_size"] == largest]
        legend = captions.legend(
            captions.RUNS,
            captions.MEANS,
            captions.bars(behind),
            captions.CHANCE,
            "Vertical line: the training resolution.",
            captions.beside(behind, "line"),
        )
        drawn.append(
            Drawing(
                f"accuracy-by-test-resolution-{found.number}",
                partial(figures.accuracy_by_test_resolution, rows, styles),
                behind,
                f"Test accuracy against test resolution (log scale), by model, with {_n(largest)}; {found.arm.words}",
                legend,
            )
        )
    return Section(found.arm.words, tuple(drawn), tuple(tables), folded, upsampling(found))


def upsampling(found: Findings) -> str:
    """What must be said of a data set whose images are too small to be tested at other sizes; '' for any other."""
    if not found.arm.interpolation_only:
        return ""
    native = found.data.dataset.native_resolution
    return (
        f"The images have {native}x{native} pixels. Other sizes are interpolated from these and hold no more "
        "detail: this shows that the networks can be tested there, and nothing about architectures is claimed "
        "from it."
    )


def pixels(found: Findings) -> linked.Head:
    return lambda resolution: f"{resolution} px" + (" (trained)" if resolution == found.arm.resolution else "")


def positions(found: Findings, styles: Mapping[str, Look]) -> Section:
    """The position ablation: differences to the reference, by train size and by test resolution."""
    tables, drawn = [], []
    interval = linked.T_INTERVALS if found.compared.families.empty else SEPARATE
    for number, (reference, table) in enumerate(each_group(found.positions, "reference"), start=1):
        about = f"Test accuracy minus that of {reference}, at {found.arm.resolution} px, in points."
        view = linked.grid(table, found.data, found.links, "train_size", _n, about, difference=True)
        tables.append(replace(view, interval=interval))
        if table.loc[table["done"] > 0, "train_size"].nunique() > 1:
            legend = captions.legend(
                "Points and lines: mean paired differences.",
                captions.bars(table, interval),
                "Line at 0: the reference.",
                captions.beside(table, what="Encodings"),
            )
            drawn.append(
                Drawing(
                    f"position-ablation-{found.number}-{number}",
                    partial(figures.differences_by_train_size, table, styles),
                    table,
                    f"Test accuracy minus that of {reference}, in points, against the number of training images (log "
                    f"scale), by positional encoding; {found.arm.words}",
                    legend,
                )
            )
    if not found.positions_away.empty:
        size = wording.number(found.positions_away["train_size"].max())
        for reference, table in each_group(found.positions_away, "reference"):
            about = f"The same, minus {reference}, at each test resolution, trained on {size} images."
            heads = pixels(found)
            view = linked.grid(table, found.data, found.links, "test_resolution", heads, about, difference=True)
            tables.append(replace(view, interval=interval))
    return Section(found.arm.words, tuple(drawn), tuple(tables))


def ledger(found: Findings) -> Section:
    """What was equal between the models of the arm; and what an image costs them at each resolution."""
    names, found_on = linked.hardware_names(found.data), speeds(found.data.runs)
    several = "; ".join(
        f"{name}: {kind} ({wording.count(len(found_on[kind]), 'runs')})" for kind, name in names.items()
    )
    hardware = several or "".join(found_on) or wording.ABSENT
    remark = (
        f"Images/s are medians over runs as they ran, other work on the machine included; on {hardware}. Recipes are "
        "written out under method."
    )
    tables = (
        linked.ledger_table(found.ledger, found.data, found.links),
        linked.cost_table(found.cost, found.data, found.links, pixels(found)),
    )
    return Section(found.arm.words, (), tables, remark=remark)
