"""Figures: each takes the evaluations of one arm (rows of `Frame.rows`) and returns a matplotlib Figure.

Every run is a small point, left of its model's mean; lines go through the means; bars are t-intervals over seeds;
chance is dotted. Nothing uses pyplot, so there is no global state, and `svg` gives the same bytes each time.
"""

import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis import statistics, wording
from analysis.arms import one_arm
from analysis.cells import at_home, estimate_of
from analysis.palette import GREY, INK, Look, looks
from analysis.resolution import with_retention
from analysis.statistics import Estimate
from analysis.tables import each_group, each_row

STYLE: dict[Any, Any] = {  # Any: matplotlib's stubs list every key
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text has the same widths everywhere
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,  # names are shown as they are, dollar signs included
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
}
DODGE = 0.012  # how far neighbouring models stand apart, as share of the axis: their bars would hide each other
BESIDE = -0.45  # where the points of runs stand, in distances between neighbours


def accuracy_by_train_size(rows: pd.DataFrame, styles: Mapping[str, Look] | None = None) -> Figure:
    """Test accuracy at the training resolution against train size, on a logarithmic axis."""
    arm = one_arm(rows)
    home = at_home(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        means = _lines(axes, home, "label", "train_size", "accuracy", styles or looks(rows))
        _chance(axes, statistics.chance(arm.data.classes))
        _log_ticks(axes, home["train_size"], "training images n, validation included (log scale)")
        if arm.validation >= 1 or arm.validation == 0:
            axes.set_xlabel("training images n (log scale)")
        _percent_axis(axes, "test accuracy")
        _legend(figure, means, styles or looks(rows))
    return figure


def accuracy_by_test_resolution(
    rows: pd.DataFrame, styles: Mapping[str, Look] | None = None, value: str = "accuracy"
) -> Figure:
    """Test accuracy (or `value` "retention") against test resolution at the largest train size, log scale; a
    vertical line marks the training resolution."""
    arm = one_arm(rows)
    largest = rows[rows["train_size"] == rows["train_size"].max()]
    shown = with_retention(largest)
    styles = dict(styles or looks(rows))
    for line, label in each_row(shown, ["line", "label"]):
        styles.setdefault(line, styles[label])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        means = _lines(axes, shown, "line", "test_resolution", value, styles)
        if value == "accuracy":
            _chance(axes, statistics.chance(arm.data.classes))
        axes.axvline(arm.resolution, color=GREY, linewidth=0.8, zorder=0)
        axes.annotate(
            " trained here",
            (arm.resolution, 0.01),
            xycoords=("data", "axes fraction"),
            color=INK,
            fontsize=8,
        )
        _log_ticks(axes, shown["test_resolution"], "test resolution, pixels (log scale)")
        _percent_axis(axes, "test accuracy" if value == "accuracy" else "retention of accuracy above chance", value)
        _legend(figure, means, styles)
    return figure


def differences_by_train_size(table: pd.DataFrame, styles: Mapping[str, Look]) -> Figure:
    """Position ablation: difference of accuracy to the reference against train size, with t-intervals.

    `table` is `ablation.differences` of one arm, with one reference."""
    [reference] = table["reference"].unique()
    known = table.dropna(subset=["mean"])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        means = {}
        places = _dodged(known["train_size"].unique().tolist(), list(dict.fromkeys(known["label"])))
        for label, group in each_group(known, "label"):
            xs = [places(size, label) for size in group["train_size"]]
            estimates = [estimate_of(row) for row in each_row(group)]
            _bars(axes, xs, estimates, styles[label])
            means[label] = estimates[-1].mean
        axes.axhline(0, color=INK, linewidth=0.8, zorder=0)
        _log_ticks(axes, known["train_size"], "training images n (log scale)")
        axes.set_ylabel(f"points above {reference}")
        _legend(figure, means, styles)
    return figure


def _lines(
    axes: Axes, rows: pd.DataFrame, name: str, x: str, value: str, styles: Mapping[str, Look]
) -> dict[str, float]:
    """Points, mean line and bars for each group `name`; returns each group's mean at its largest x."""
    known = rows.dropna(subset=[value])
    order = list(dict.fromkeys(known[name]))
    places = _dodged(known[x].unique().tolist(), order)
    means = {}
    bounds = (0.0, 1.0) if value == "accuracy" else None
    for label in order:
        look = styles[label]
        mine = known[known[name] == label]
        at = sorted(mine[x].unique())
        xs = [places(place, label) for place in at]
        cells = [mine[mine[x] == place] for place in at]
        estimates = [statistics.over_seeds(cell, value, bounds=bounds) for cell in cells]
        points = [
            (places(place, label, BESIDE), 100 * y)
            for place, cell in zip(at, cells, strict=True)
            for y in sorted(cell[value])
        ]
        axes.plot(*zip(*points, strict=True), ".", color=look.colour, markersize=3, alpha=0.75, zorder=2)
        _bars(axes, xs, estimates, look)
        means[label] = estimates[-1].mean
    return means


def _bars(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], look: Look) -> None:
    """A line through the means, with a vertical bar where there is an interval; shares become per cent."""
    axes.add_line(_line(look, x, [100 * estimate.mean for estimate in estimates]))
    axes.autoscale_view()
    for at, estimate in zip(x, estimates, strict=True):
        if estimate.has_interval:
            ends = [100 * estimate.low, 100 * estimate.high]
            axes.plot([at, at], ends, color=look.colour, linewidth=1, alpha=0.8, zorder=2)


def _line(look: Look, x: Sequence[float], y: Sequence[float]) -> Line2D:
    return Line2D(
        x,
        y,
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        linewidth=1.3 * look.weight,
        markersize=5 * look.weight**0.5,
        markeredgewidth=0,
        zorder=3,
    )


def _dodged(places: Sequence[float], names: Sequence[str]) -> Callable[..., float]:
    """Where a model stands at a place of a logarithmic axis: all side by side, in a fixed order. A third argument
    moves it further, in distances between neighbours."""
    logs = sorted(math.log(place) for place in places)
    nearest = min((b - a for a, b in itertools.pairwise(logs)), default=1.0)
    gap = min(DODGE * (logs[-1] - logs[0] or 1.0), 0.5 * nearest / len(names))
    offset = {name: i - (len(names) - 1) / 2 for i, name in enumerate(names)}
    return lambda place, name, beside=0.0: place * math.exp(gap * (offset[name] + beside))


def _chance(axes: Axes, level: float) -> None:
    axes.axhline(100 * level, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate(
        f"chance {wording.percent(level)}",
        (1, 100 * level),
        xytext=(4, 0),  # outside: inside it would cover points
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left",
        va="center",
        color=INK,
        fontsize=8,
    )


def _log_ticks(axes: Axes, values: pd.Series, label: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(values.tolist()))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: wording.number(round(x))))
    axes.set_xlabel(label)


def _percent_axis(axes: Axes, label: str, value: str = "accuracy") -> None:
    if value == "accuracy":
        axes.set_ylim(0, 100)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))
    axes.set_ylabel(label)


def _legend(figure: Figure, means: Mapping[str, float], styles: Mapping[str, Look]) -> None:
    """Beside the axes, in the order of the lines' right ends."""
    order = sorted(means, key=lambda name: -means[name])
    handles = [_line(styles[name], [], []) for name in order]
    figure.legend(handles, order, loc="outside right upper", handlelength=2.6, labelspacing=0.7)


def svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element for an HTML page: the same bytes for the same figure, no address, no date.

    `name` (letters, digits, hyphens) goes before every id, so that several figures can stand in one page. What is
    drawn in INK takes the colour of the page's text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)  # HTML knows both
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    return text.replace(INK, "currentColor")


def printed(figure: Figure, kind: str, millimetres: float | None = None) -> bytes:
    """The figure as "pdf" or "png" for print: the same bytes for the same figure, no date, no version.

    With `millimetres` as wide as that, its type at the same size, and the legend below where beside is no room."""
    if millimetres is not None:
        _resize(figure, millimetres / 25.4)
    buffer = io.BytesIO()
    nothing = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}[kind]
    with matplotlib.rc_context({**STYLE, "pdf.fonttype": 42}):  # 42: text stays text, as journals ask
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=nothing)
    return buffer.getvalue()


NARROW = 5.5  # inches, below which a legend beside the axes leaves them too little


def _resize(figure: Figure, width: float) -> None:
    old = figure.get_size_inches()
    height = width * old[1] / old[0]
    for legend in list(figure.legends):
        if width < NARROW:
            handles = [handle for handle in legend.legend_handles if handle is not None]
            names = [text.get_text() for text in legend.get_texts()]
            legend.remove()
            columns = max(1, round(width / 1.8))
            rows = -(-len(names) // columns)
            height += 0.2 * rows + 0.5
            with matplotlib.rc_context(STYLE):
                figure.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=2.6)
    figure.set_size_inches(width, height)
