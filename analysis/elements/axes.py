"""What the figures share: their style, points, lines and bars, axes, names at the ends of lines, legends.

A mean stands at its own place on the axis. Only what shows its spread, its bar and the points of its runs, is shifted
sideways, so that none hides another's: a mean that is shifted itself seems to belong to another size or resolution.

Shares come in, per cent are drawn. Nothing uses pyplot, so there is no global state.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis import wording
from analysis.elements import layout
from analysis.elements.palette import GREY, INK, Look
from analysis.frame.rows import each_group
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate

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
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
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
SMALL = 8  # points, of names and notes beside the axes
DODGE = 0.012  # how far the bars of neighbouring models stand apart, as share of the axis


CELLS: dict[str, Any] = {"cmap": "cividis", "annot": True, "annot_kws": {"fontsize": 8}, "cbar": False}
WHITE_BELOW = 0.465  # share of that scale below which white is read better than black: both at least 4.5 : 1 (WCAG 2)


Ends = dict[str, tuple[float, float]]  # of lines: name, (x, y) of the last mean as drawn


def lines(axes: Axes, rows: pd.DataFrame, name: str, x: str, value: str, styles: Mapping[str, Look]) -> Ends:
    """Points, mean line and bars for each group `name`; returns where each ends, in the order of the rows."""
    known = rows.dropna(subset=[value])
    of = dict(each_group(known[[name, x, value, *intervals.UNITS, "draw_runs"]], name))
    order = list(of)
    shifted = dodged(known[x].unique().tolist(), order)
    bounds = (0.0, 1.0) if value == "accuracy" else None
    ends = {}
    for label in order:
        look = styles[label]
        cells_of = dict(each_group(of[label], x, ordered=True))
        at, cells = list(cells_of), list(cells_of.values())
        estimates = [intervals.over_seeds(cell, value, bounds=bounds) for cell in cells]
        points = [
            (shifted(place, label), 100 * y) for place, cell in zip(at, cells, strict=True) for y in sorted(cell[value])
        ]
        axes.plot(*zip(*points, strict=True), ".", color=look.colour, markersize=3, alpha=0.75, zorder=2)
        bars(axes, at, estimates, look, [shifted(place, label) for place in at])
        ends[label] = (at[-1], 100 * estimates[-1].mean)
    return ends


def bars(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    look: Look,
    shifted: Sequence[float],
    scale: float = 100,
) -> None:
    """A line through the means at `x`, and a vertical bar at `shifted` where there is an interval; shares become per
    cent."""
    axes.add_line(handle(look, x, [scale * estimate.mean for estimate in estimates]))
    axes.autoscale_view()
    upright(
        axes,
        [
            (at, scale * estimate.low, scale * estimate.high)
            for at, estimate in zip(shifted, estimates, strict=True)
            if estimate.has_interval
        ],
        color=look.colour,
        alpha=0.8,
        zorder=2,
    )


def upright(axes: Axes, spans: Iterable[tuple[float, float, float]], **how: Any) -> None:
    """Vertical lines (x, low, high) as one artist, as each takes its time when a figure is laid out and drawn."""
    points = [point for x, low, high in spans for point in ((x, low), (x, high), (math.nan, math.nan))]
    if points:
        axes.plot(*zip(*points, strict=True), linewidth=1, **how)


def handle(look: Look, x: Sequence[float], y: Sequence[float]) -> Line2D:
    """A line through points as a model looks, for axes or a legend: `x` in their unit, `y` as drawn (per cent, say)."""
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


def dodged(places: Sequence[float], names: Sequence[str]) -> Callable[..., float]:
    """Where the bar of a model stands at a place of a logarithmic axis: all side by side, in a fixed order."""
    logs = sorted(math.log(place) for place in places)
    width = logs[-1] - logs[0] if logs else 0.0
    nearest = min((b - a for a, b in itertools.pairwise(logs)), default=1.0)
    gap = min(DODGE * (width or 1.0), 0.5 * nearest / max(1, len(names)))
    offset = {name: i - (len(names) - 1) / 2 for i, name in enumerate(names)}
    return lambda place, name: place * math.exp(gap * offset[name])


def chance_line(axes: Axes, level: float) -> None:
    """A dotted line at chance, with the word on it, at the end from which the points are further."""
    points = np.concatenate([np.empty((0, 2)), *(line.get_xydata() for line in axes.lines)])
    axes.axhline(100 * level, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    left = _lowest_is_right(points[~np.isnan(points).any(axis=1)])  # NaN parts the bars of a line
    axes.annotate(
        f"chance {wording.percent(level)}",
        (0 if left else 1, 100 * level),
        xytext=(2 if left else 0, 1),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left" if left else "right",
        va="bottom",
        color=INK,
        fontsize=SMALL,
    )


def _lowest_is_right(points: np.ndarray) -> bool:
    """Whether the lowest of (x, y) `points` lies in the right half of their logarithmic axis."""
    if not len(points):
        return False
    xs, ys = points.T
    return bool(xs[ys.argmin()] > math.sqrt(xs.min() * xs.max()))


def log_ticks(axes: Axes, values: pd.Series, label: str) -> None:
    """A logarithmic horizontal axis with a tick at each of `values`, named by `label`."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(values.tolist()))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: wording.number(round(x))))
    axes.set_xlabel(label)


def percent_axis(axes: Axes, value: str = "accuracy") -> None:
    """A vertical axis in per cent; of accuracies from 0 to 100."""
    if value == "accuracy":
        axes.set_ylim(0, 100)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))


def colour_numbers(axes: Axes, low: float, high: float) -> None:
    """Makes the numbers in the cells of a heat map (CELLS, of values from `low` to `high`) white on dark cells and
    black on others: seaborn's white is hard to read on the middle of the scale."""
    for number in axes.texts:
        number.set_color("#ffffff" if float(number.get_text()) < low + WHITE_BELOW * (high - low) else "#000000")


FINER = ((1, 2, 5), (1, 1.2, 1.4, 1.6, 1.8, *range(2, 10)))  # for an axis so short that it would have one tick or none


def decades(axes: Axes, form: str, steps: Sequence[float] = (1, 2, 5)) -> None:
    """Ticks at these multiples of every power of ten of a logarithmic vertical axis, as `form` writes them; at finer
    ones where fewer than two of these are on the axis."""
    low, high = axes.get_ylim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for some in (steps, *FINER):
        if len(ticks) < 2:
            ticks = [step * 10.0**power for power in powers for step in some if low <= step * 10.0**power <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: form.format(round(y, 6))))


END = 0.36  # share of a figure's width that names at the ends of lines may take


def name_ends(figure: Figure, axes: Axes, ends: Ends, styles: Mapping[str, Look]) -> None:
    """The names of lines right of the axes, each beside the end of its line, apart enough to be read; to be called when
    the axes have their limits. Names that would leave the axes too little are a legend instead."""
    names = list(ends)
    room = END * float(figure.get_figwidth())
    if max((layout.text_width(name, figure, SMALL) for name in names), default=0.0) > room - 0.3:
        legend(figure, names, styles)
        return
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # what stands beside them changes them no more
    heights = layout.spread(figure, axes, [y for _, y in ends.values()], SMALL)
    across = axes.get_yaxis_transform()
    for name, height in zip(names, heights, strict=True):
        look, (x, y) = styles[name], ends[name]
        start = float(axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[0])
        axes.plot([start, 1.02], [y, height], color=look.colour, linewidth=0.5, alpha=0.6, transform=across,
                  clip_on=False, zorder=1)  # fmt: skip
        mark = handle(look, [1.035], [height])
        mark.set(transform=across, clip_on=False, markersize=4)
        axes.add_artist(mark)
        axes.annotate(name, (1.035, height), xytext=(5, 0), xycoords=across, textcoords="offset points", va="center",
                      color=INK, fontsize=SMALL)  # fmt: skip


def legend(figure: Figure, names: Iterable[str], styles: Mapping[str, Look], above: bool = False) -> None:
    """In the order of `names`, which is that of the tables: the same in every figure, the study's or its [paper]'s.
    Where `layout.place_legend` puts it."""
    order = list(names)
    layout.place_legend(figure, [handle(styles[name], [], []) for name in order], order, above)
