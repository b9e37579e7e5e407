"""The figures of probes, a panel a probe: what each model keeps, as points with intervals; and against strength."""

from collections.abc import Collection, Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from analysis.elements.axes import SMALL, STYLE, bars, legend, percent_axis
from analysis.elements.layout import WIDTH, is_narrow, panels, settle
from analysis.elements.palette import INK, Look
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.assumptions.numbers import probes_in_order
from analysis.questions.assumptions.sentences import spoken

ROW = 0.16  # inches, of a model in a panel
TICK = 50  # per cent
BESIDE = 0.08  # strengths that the bars of neighbouring models stand apart, at most


def kept_by_probe(
    table: pd.DataFrame,
    level: Collection[tuple[str, str]],
    styles: Mapping[str, Look],
    width: float = WIDTH,
) -> Figure:
    """Accuracy kept under each probe, a panel a probe and a row a model; hollow where it is not separable from the
    highest (`level`: probe and label). `table`: rows of `Assumptions.by_probe` of one train size and measure."""
    probes, labels = probes_in_order(table), list(dict.fromkeys(table["label"]))
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, grid = panels(len(probes), width, 2.0, "")
        rows = grid[0].get_gridspec().nrows  # type: ignore[union-attr]  # of subplots there is one
        figure.set_figheight(0.7 + rows * (0.45 + ROW * len(labels)))
        for axes, probe in zip(grid, probes, strict=True):
            for row in each_row(table[table["probe"] == probe]):
                look, place = styles[row.label], labels.index(row.label)
                axes.plot([100 * row.low, 100 * row.high], [place, place], color=look.colour, linewidth=1.2)
                face = "white" if (probe, row.label) in level else look.colour
                axes.plot([100 * row.mean], [place], "o", color=look.colour, markerfacecolor=face, markersize=4.5)
            axes.set_title(spoken(probe))
            axes.tick_params(axis="y", length=0)
        grid[0].set_ylim(len(labels) - 0.4, -0.6)  # the panels share their axes
        grid[0].set_yticks(range(len(labels)), labels, fontsize=SMALL)
        grid[0].set_xlim(0, 100 * end_of_axis(table))
        grid[0].xaxis.set_major_locator(FixedLocator(_ticks(table)))
        grid[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} %"))
        figure.supxlabel("accuracy kept", fontsize=9, color=INK)
        return settle(figure)


def kept_by_strength(table: pd.DataFrame, styles: Mapping[str, Look], width: float = WIDTH) -> Figure:
    """Accuracy kept against strength, a panel a probe. `table`: rows of `Assumptions.by_strength` of one train size and
    measure."""
    known = table.dropna(subset=["mean"])
    probes, labels = probes_in_order(known), list(dict.fromkeys(known["label"]))
    gap = min(BESIDE, 0.6 / max(1, len(labels)))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(probes), width, 2.0, "accuracy kept", alike=False)
        for axes, probe in zip(grid, probes, strict=True):
            of_probe = known[known["probe"] == probe]
            for label, line in each_group(of_probe, "label"):
                steps = line["strength"].tolist()
                aside = gap * (labels.index(label) - (len(labels) - 1) / 2)
                estimates = [estimate_of(row) for row in each_row(line)]
                bars(axes, steps, estimates, styles[label], [step + aside for step in steps])
            axes.set_title(spoken(probe))
            strengths = sorted(of_probe["strength"].unique().tolist())
            axes.xaxis.set_major_locator(FixedLocator(strengths))
            axes.set_xlim(strengths[0] - 0.6, strengths[-1] + 0.6)  # of one strength the bars stay at their points
        percent_axis(grid[0], "kept")
        grid[0].set_ylim(0, 100 * end_of_axis(known))
        grid[0].yaxis.set_major_locator(FixedLocator(_ticks(known)))
        figure.supxlabel("strength", fontsize=9, color=INK)
        legend(figure, labels, styles, above=is_narrow(figure))
        return settle(figure)


def end_of_axis(table: pd.DataFrame) -> float:
    """Where the axis of what is kept ends, a share: beyond all means of the table, but not beyond all intervals, which
    may be very wide over two units."""
    return float(max(1.1, 1.1 * table["mean"].max()))


def _ticks(table: pd.DataFrame) -> list[int]:
    return list(range(0, round(100 * end_of_axis(table)) + 1, TICK))
