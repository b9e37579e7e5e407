"""What is drawn of the features of layers: likeness, lines over depth, spectra, receptive fields."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from analysis.elements.axes import SMALL, STYLE, handle
from analysis.elements.layout import NARROW, PHONE, WIDTH, canvas, is_narrow, panels, place_legend, settle
from analysis.elements.palette import GREY, INK, Look

Array = NDArray[np.float64]
SCALE = "cividis"  # of heat maps, as in a report
DECADES = 2  # of a receptive field, below its largest value


class Likeness(NamedTuple):
    """CKA of the `rows` layers with the `columns` layers; the names of both networks."""

    matrix: Array
    rows: Sequence[str]
    columns: Sequence[str]
    of_rows: str
    of_columns: str


class Depth(NamedTuple):
    """A value by layer, of a network; those of layers without one are NaN."""

    name: str
    look: Look
    layers: Sequence[str]
    values: Array


def likeness(found: Sequence[Likeness], width: float = WIDTH) -> Figure:
    """Heat maps of CKA, 0 to 1, side by side or, on a phone, one below the other; grey where it is not defined."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        across = 1 if width < NARROW else len(found)
        down = math.ceil(len(found) / across)
        side = min(width / across, 3.6)
        figure = Figure(figsize=(width, down * (0.7 * side + 1.1)), layout="constrained")
        grid: list[Axes] = figure.subplots(down, across, squeeze=False).ravel().tolist()
        colours = matplotlib.colormaps[SCALE].with_extremes(bad=GREY)
        for axes, one in zip(grid, found, strict=True):
            picture = axes.imshow(one.matrix, cmap=colours, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            axes.set_box_aspect(1)
            _name_ticks(axes.yaxis, one.rows)
            _name_ticks(axes.xaxis, one.columns)
            axes.tick_params(axis="x", labelrotation=90)
            axes.set(ylabel=one.of_rows, xlabel=one.of_columns)
        bar = figure.colorbar(picture, ax=grid, shrink=0.7, aspect=30, pad=0.02)
        bar.set_label("linear CKA")
        bar.outline.set_visible(False)
        return settle(figure)


def _name_ticks(axis: Any, names: Sequence[str]) -> None:
    """A tick with its name at each of the layers."""
    axis.set_major_locator(FixedLocator(range(len(names))))
    axis.set_major_formatter(FixedFormatter(list(names)))
    axis.set_tick_params(labelsize=SMALL, length=0)


def by_depth(
    groups: Mapping[str, Sequence[Depth]], ylabel: str, limits: tuple[float | None, float | None], width: float = WIDTH
) -> Figure:
    """A panel for each group, by title: a line for each network over its layers. Where the networks have the same
    layers these are named, else they stand at their share of the depth: the first at 0, the last at 1."""
    lines = [line for group in groups.values() for line in group]
    names = list(lines[0].layers)
    same = all(list(line.layers) == names for line in lines)
    with matplotlib.rc_context(STYLE):
        if len(groups) == 1:
            figure = canvas(width, 3.6)
            grid = [figure.add_subplot()]
            grid[0].set_ylabel(ylabel)
        else:
            figure, grid = panels(len(groups), width, 3.4, ylabel)
        for axes, (title, group) in zip(grid, groups.items(), strict=True):
            axes.set_title(title)
            for line in group:
                at = np.arange(len(line.layers)) / (1 if same else max(1, len(line.layers) - 1))
                known = ~np.isnan(line.values)
                axes.add_line(handle(line.look, at[known].tolist(), line.values[known].tolist()))
            axes.autoscale_view()
            axes.set_ylim(*limits)
            if same:
                _name_ticks(axes.xaxis, names)
                axes.tick_params(axis="x", labelrotation=90)
            else:
                axes.set_xlabel("share of the depth")
        legends = {line.name: handle(line.look, [], []) for line in lines}
        place_legend(figure, list(legends.values()), list(legends), above=is_narrow(figure))
        return settle(figure)


def spectra(found: Mapping[str, Mapping[str, Array]], width: float = WIDTH) -> Figure:
    """A panel for each network of the same layers, by name: log amplitude, less that at frequency 0, against frequency,
    a line for each layer, from dark (first) to light (last)."""
    layers = list(next(iter(found.values())))
    shades = matplotlib.colormaps[SCALE](np.linspace(0, 0.92, max(2, len(layers))))
    colour = dict(zip(layers, shades[: len(layers)], strict=True))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(found), width, 3.2, "Δ log amplitude")
        for axes, (title, lines) in zip(grid, found.items(), strict=True):
            axes.set_title(title)
            for name, values in lines.items():
                axes.plot(np.linspace(0, 1, len(values)), values, color=colour[name], linewidth=1.3)
        figure.supxlabel("frequency of both axes (1: the highest of the layer's map)", fontsize=9, color=INK)
        handles = [Line2D([], [], color=colour[name]) for name in layers]
        place_legend(figure, handles, layers, above=is_narrow(figure))
        return settle(figure)


def receptive_fields(fields: Mapping[str, Array], sizes: Mapping[str, float], width: float = WIDTH) -> Figure:
    """A map for each layer: how much its middle feature depends on each pixel, from 1 % (dark) of the most (light), on
    a logarithmic scale; with the size in pixels."""
    across = min(len(fields), 3 if width <= PHONE else 6)
    down = math.ceil(len(fields) / across)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(width, 0.1 + down * (min(width / across, 1.9) + 0.3)), layout="constrained")
        grid: list[Axes] = figure.subplots(down, across, squeeze=False).ravel().tolist()
        for axes in grid:
            axes.set_axis_off()
        for axes, (name, field) in zip(grid, fields.items(), strict=False):
            shares = np.log10(np.maximum(field / (field.max() or 1), 10.0**-DECADES))
            axes.imshow(shares, cmap=SCALE, vmin=-DECADES, vmax=0, interpolation="nearest")
            axes.set_title(f"{name}: {sizes[name]:.0f} px")
        return settle(figure)
