"""The sections of the page that show an arm: figure and tables, with links to the runs behind their numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis import figures, page, wording
from analysis.findings import Findings
from analysis.palette import Look
from analysis.tables import each_group

LEGEND = (
    "Small points: runs. Large points and lines: means. Bars: 95 % t-intervals. Models stand side by side at each "
    "place, so that their bars do not hide each other."
)


@dataclass(frozen=True)
class Section:
    """One arm's share of a section: its name, a remark, figures, tables, and tables that start folded."""

    title: str
    figures: tuple[Markup, ...]
    alt: str
    tables: tuple[page.Table, ...]
    folded: tuple[tuple[str, page.Table], ...] = ()
    remark: str = ""
    legend: str = LEGEND


def _draw(figure: Figure, name: str) -> Markup:
    return Markup(figures.svg(figure, name))  # text in it was escaped by matplotlib


def _n(size: int) -> str:
    return f"n = {wording.number(size)}"


def train_size(found: Findings, styles: Mapping[str, Look]) -> Section:
    """Accuracy against train size; the figure is left out where there is one size."""
    rows = found.data.rows
    about = "Mean test accuracy in per cent, t-interval below."
    table = page.grid(found.by_train_size, found.data, found.links, "train_size", _n, about)
    drawn = []
    if rows["train_size"].nunique() > 1:
        drawn.append(_draw(figures.accuracy_by_train_size(rows, styles), f"n{found.number}"))
    alt = f"Test accuracy against train size, {found.arm.words}; the table below has the numbers."
    return Section(found.arm.words, tuple(drawn), alt, (table,))


def test_resolution(found: Findings, styles: Mapping[str, Look]) -> Section:
    """Accuracy, and where it may be claimed retention, against test resolution; the largest train size first."""

    def view(table: pd.DataFrame, size: int, what: str) -> page.Table:
        about = f"{what}, trained on {wording.number(size)} images at {found.arm.resolution} px, in per cent."
        at = table[table["train_size"] == size]
        return page.grid(at, found.data, found.links, "test_resolution", _pixels(found), about)

    *smaller, largest = sorted(found.data.runs["train_size"].unique().tolist())
    tables = [view(found.by_test_resolution, largest, "Mean test accuracy")]
    if not found.retention.empty:
        tables.append(view(found.retention, largest, "Retention of accuracy above chance"))
    folded = tuple((_n(size), view(found.by_test_resolution, size, "Mean test accuracy")) for size in smaller)
    rows = found.data.rows[found.data.rows["train_size"] == largest]
    drawn = []
    if rows["test_resolution"].nunique() > 1:
        drawn.append(_draw(figures.accuracy_by_test_resolution(rows, styles), f"r{found.number}"))
    alt = f"Test accuracy against test resolution, {found.arm.words}; the table below has the numbers."
    remark = ""
    if found.arm.data.interpolation_only:
        native = found.arm.data.native_resolution
        remark = (
            f"The images have {native}x{native} pixels. Other sizes are interpolated from these and hold no more "
            "detail: this shows that the networks can be tested there, and nothing about architectures is claimed "
            "from it."
        )
    return Section(found.arm.words, tuple(drawn), alt, tuple(tables), folded, remark)


def _pixels(found: Findings) -> page.Head:
    return lambda resolution: f"{resolution} px" + (" (trained)" if resolution == found.arm.resolution else "")


def positions(found: Findings, styles: Mapping[str, Look]) -> Section:
    """The position ablation: differences to the reference, by train size and by test resolution."""
    tables, drawn = [], []
    for number, (reference, table) in enumerate(each_group(found.positions, "reference"), start=1):
        about = f"Test accuracy minus that of {reference}, at {found.arm.resolution} px, in points."
        tables.append(page.grid(table, found.data, found.links, "train_size", _n, about, difference=True))
        if table.loc[table["done"] > 0, "train_size"].nunique() > 1:
            drawn.append(_draw(figures.differences_by_train_size(table, styles), f"p{found.number}-{number}"))
    if not found.positions_away.empty:
        size = wording.number(found.positions_away["train_size"].max())
        for reference, table in each_group(found.positions_away, "reference"):
            about = f"The same, minus {reference}, at each test resolution, trained on {size} images."
            heads = _pixels(found)
            tables.append(page.grid(table, found.data, found.links, "test_resolution", heads, about, difference=True))
    alt = f"Difference of test accuracy to learned_1d positions, {found.arm.words}; the table below has the numbers."
    legend = LEGEND.removeprefix("Small points: runs. ").replace("means", "mean paired differences")
    return Section(found.arm.words, tuple(drawn), alt, tuple(tables), legend=legend)


def ledger(found: Findings) -> tuple[str, page.Table, str]:
    """Name of the arm, its ledger, and the hardware that its speeds were measured on."""
    hardware = sorted(set(found.ledger["hardware"]) - {""})
    table = page.ledger_table(found.ledger, found.data, found.links)
    return found.arm.words, table, "; ".join(hardware) or wording.ABSENT
