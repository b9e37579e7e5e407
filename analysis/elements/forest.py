"""A forest plot: a row a model, its estimate with its interval, the same in words beside it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.elements import layout
from analysis.elements.axes import SMALL, STYLE
from analysis.elements.palette import INK, Look

ROW = 0.3  # inches a row
FURTHEST = 4.0  # times the largest mean, or the reciprocal of it: the end of the axis beyond which intervals go on
TICKS = (1, 2, 5)
LABELS = 0.6  # share of the width that names and words may take, side by side


class Entry(NamedTuple):
    """A row: the name, mean and ends of its interval (NaN without one, 0 or infinite where open), the same in words;
    `bound` is ">" or "<" where the estimate is one; `hollow` marks it as not separable from the reference."""

    name: str
    look: Look
    mean: float
    low: float
    high: float
    words: str
    bound: str = ""
    hollow: bool = False


def forest(entries: Sequence[Entry], xlabel: str, width: float, height: float, log: bool = False) -> Figure:
    """The entries from top to bottom. On a logarithmic axis of factors a line stands at 1, intervals that leave it end
    in an arrow. `width` and `height` in inches; rows that need more height have it. An axis that is not logarithmic
    holds shares, drawn in per cent. Where names and words would leave the axes no room, words stand below names."""
    scale = 1 if log else 100
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        wide = sum(
            max(layout.text_width(text, figure, SMALL) for text in texts)
            for texts in ([entry.name for entry in entries], [entry.words for entry in entries])
        )
        beside = wide < LABELS * width
        names = [entry.name if beside else _stacked(entry, width, figure) for entry in entries]
        lines = max(name.count("\n") + 1 for name in names)
        figure.set_figheight(max(height, ROW + 0.16 * lines * len(entries) + (0.5 if beside else 0.1 * len(entries))))
        axes = figure.add_subplot()
        low, high = _ends(entries) if log else (0.0, 1.0)
        if log:
            axes.set_xscale("log")
            axes.axvline(1, color=INK, linewidth=0.8, zorder=0)
        axes.set_xlim(scale * low, scale * high)
        for row, entry in enumerate(entries):
            _draw(axes, row, entry, (low, high), scale)
            if beside:
                axes.annotate(entry.words, (1, row), xytext=(8, 0), xycoords=("axes fraction", "data"),
                              textcoords="offset points", va="center", fontsize=SMALL, color=INK)  # fmt: skip
        axes.set_ylim(len(entries) - 0.4, -0.6)
        axes.set_yticks(range(len(entries)), names, fontsize=SMALL)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(xlabel)
        if log:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            places = [step * 10.0**power for power in powers for step in TICKS if low <= step * 10.0**power <= high]
            axes.xaxis.set_major_locator(FixedLocator(places))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
        else:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} %"))
        return layout.settle(figure)


def _stacked(entry: Entry, width: float, figure: Figure) -> str:
    """The name and below it the words, in at most half of the width."""
    return "\n".join(layout.wrapped(text, 0.5 * width, figure, SMALL) for text in (entry.name, entry.words))


def _draw(axes: Axes, row: int, entry: Entry, ends: tuple[float, float], scale: float) -> None:
    """A row: line and marker, with arrows where the interval goes on beyond the `ends` of the axis."""
    colour, (low, high) = entry.look.colour, ends
    if not math.isnan(entry.low):
        start, end = max(entry.low, low), min(entry.high, high)
        axes.plot([scale * start, scale * end], [row, row], color=colour, linewidth=1.4, zorder=2)
        for place, marker, goes_on in ((start, "<", entry.low < low), (end, ">", entry.high > high)):
            if goes_on:
                axes.plot([scale * place], [row], marker, color=colour, markersize=4, clip_on=False, zorder=2)
    if not math.isnan(entry.mean):
        marker = entry.bound or "o"
        inside = min(max(entry.mean, low), high)
        face = "white" if entry.hollow else colour
        axes.plot([scale * inside], [row], marker, markeredgecolor=colour, markerfacecolor=face, markersize=6,
                  clip_on=False, zorder=3)  # fmt: skip


def _ends(entries: Sequence[Entry]) -> tuple[float, float]:
    """The ends of a logarithmic axis: 1 and all means lie within, and ends of intervals as far as FURTHEST."""
    means = [1.0, *(entry.mean for entry in entries if not math.isnan(entry.mean))]
    low, high = min(means), max(means)
    known = [end for entry in entries for end in (entry.low, entry.high) if 0 < end < math.inf]
    low = max(low / FURTHEST, min([low / 1.25, *known]) / 1.1)
    high = min(high * FURTHEST, max([high * 1.25, *known]) * 1.1)
    return low, high
