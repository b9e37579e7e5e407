"""What is drawn of positions. Shapes as in `numbers.py`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from analysis.elements.axes import SMALL, STYLE, decades
from analysis.elements.layout import NARROW, WIDTH, panels, place_legend, settle
from analysis.elements.palette import BLUE, GREEN, GREY, INK, OLIVE, ORANGE, PURPLE, SKY, VERMILLION, VIOLET
from analysis.inside.positions.numbers import Array, along
from models.grids import Grid

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, OLIVE, VIOLET)  # of heads, if so many are enough
SCALE, DIVERGING = "cividis", "RdBu_r"
MAPS = {**STYLE, "axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}
CUTS: dict[str, Any] = {"columns": "-", "rows": (0, (4, 1.5))}  # along an axis of the grid: the style of its line
BOUND, TRAINED = "bound", "as trained"
Line = tuple[str, NDArray[np.int64], Array]  # its name, offsets, values


def mosaic(cells: Sequence[Sequence[Array]], gap: int = 1) -> tuple[Array, list[float], list[float]]:
    """Maps in rows and columns as one image, smaller ones in the middle of their cell, NaN between them.

    Also the middle of each row and of each column in the image, as matplotlib counts pixels."""
    high = max(cell.shape[0] for row in cells for cell in row)
    wide = max(cell.shape[1] for row in cells for cell in row)
    across = max(map(len, cells))
    image = np.full((len(cells) * (high + gap) - gap, across * (wide + gap) - gap), np.nan)
    for down, row in enumerate(cells):
        for place, cell in enumerate(row):
            top = down * (high + gap) + (high - cell.shape[0]) // 2
            left = place * (wide + gap) + (wide - cell.shape[1]) // 2
            image[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    middles = [row * (high + gap) + (high - 1) / 2 for row in range(len(cells))]
    return image, middles, [column * (wide + gap) + (wide - 1) / 2 for column in range(across)]


def similarity(cosine: Array, grid: Grid, width: float = WIDTH) -> Figure:
    """The cosines N N of all pairs of positions: as a matrix, and a map H W of each position at its place. `width` in
    inches."""
    rows, columns = grid
    maps = cosine.reshape(rows, columns, rows, columns)
    image, middles, centres = mosaic([[maps[row, column] for column in range(columns)] for row in range(rows)])
    beside = width >= NARROW
    with matplotlib.rc_context(MAPS):
        side = width / 2 if beside else width
        figure = Figure(figsize=(width, side - 0.2 if beside else 2 * side + 0.9), layout="constrained")
        left, right = figure.subplots(*((1, 2) if beside else (2, 1)))
        norm = at_least(*limits(cosine))
        shown = left.imshow(cosine, cmap=SCALE, norm=norm, interpolation="nearest", extent=from_1(cosine))
        left.set(title="cosine of all pairs", xlabel="position", ylabel="position")
        for axis in (left.xaxis, left.yaxis):
            axis.set_major_locator(FixedLocator(list(range(1, len(cosine) + 1, columns * math.ceil(rows / 8)))))
        right.imshow(image, cmap=SCALE, norm=norm, interpolation="nearest")
        right.set(title="with each position, at its place", xlabel="column", ylabel="row")
        numbered(right, middles, centres)
        scale_of(figure, shown, [left, right], "cosine", beside)
        return settle(figure)


def from_1(image: Array) -> tuple[float, float, float, float]:
    """Where an image H W lies when its rows and columns are counted from 1, as matplotlib's `extent`."""
    rows, columns = image.shape
    return 0.5, columns + 0.5, rows + 0.5, 0.5


def limits(cosine: Array) -> tuple[float, float]:
    """Lowest and highest cosine of two different positions."""
    others = cosine[~np.eye(len(cosine), dtype=bool)]
    return (float(others.min()), float(others.max())) if len(others) else (0.0, 1.0)


def at_least(low: float, high: float) -> Normalize:
    """A scale from `low` to `high`, wide enough not to show rounding: 1 % of the larger, on either side."""
    least = 0.01 * max(abs(low), abs(high), 1e-6)
    return Normalize(low, high) if high - low > least else Normalize(low - least, high + least)


def spectrum(norms: Array, share: Array, power: Array, width: float = WIDTH) -> Figure:
    """Norms of positions H W, shares of singular values in the variance, and of spatial frequencies, H W. `width` in
    inches."""
    beside = width >= NARROW
    with matplotlib.rc_context(MAPS):
        figure = Figure(figsize=(width, 2.9 if beside else 7.6), layout="constrained")
        first, second, third = figure.subplots(*((1, 3) if beside else (3, 1)))
        norm = at_least(float(norms.min()), float(norms.max()))
        shown = first.imshow(norms, cmap=SCALE, norm=norm, interpolation="nearest", extent=from_1(norms))
        first.set(title="norm", xlabel="column", ylabel="row")
        figure.colorbar(shown, ax=first, shrink=0.7)
        second.plot(np.arange(1, len(share) + 1), 100 * share, color=BLUE, linewidth=1, marker=".", markersize=4)
        second.set(title="share of the variance, %", xlabel="singular value", yscale="log")
        second.set_ylim(max(1e-3, 50 * share[share > 0].min(initial=1.0)), 120)
        decades(second, "{:g}", (1,))
        second.grid(True, axis="y")
        for side in ("left", "bottom"):
            second.spines[side].set_visible(True)
        rows, columns = power.shape
        edges = (-(columns // 2) - 0.5, (columns - 1) // 2 + 0.5, (rows - 1) // 2 + 0.5, -(rows // 2) - 0.5)
        seen = third.imshow(100 * power, cmap=SCALE, extent=edges, interpolation="nearest")
        third.set(title="power by frequency, %", xlabel="periods across", ylabel="periods down")
        figure.colorbar(seen, ax=third, shrink=0.7)
        for axes in (first, third):
            whole_numbers(axes)
        return settle(figure)


def offset_maps(rows: Sequence[tuple[str, Array]], label: str, diverging: bool, width: float = WIDTH) -> Figure:
    """For each row (its name; images of offsets h 2H-1 2W-1, of any H and W) the image of every head, all on one scale,
    turned so that a key lies where it lies from the query in the middle.

    What is minus infinity is left out. `diverging`: 0 is white. `label` of the scale; `width` in inches."""
    cells = [list(np.where(np.isfinite(maps), maps, np.nan)[:, ::-1, ::-1]) for _, maps in rows]
    gap = max(1, round(0.06 * max(cell.shape[0] for row in cells for cell in row)))
    image, middles, centres = mosaic(cells, gap)
    reach = float(np.nanmax(np.abs(image))) or 1.0
    norm = Normalize(-reach, reach) if diverging else Normalize(float(np.nanmin(image)), float(np.nanmax(image)))
    names = [name for name, _ in rows]
    with matplotlib.rc_context(MAPS):
        room = width - 0.5 - (0.9 if width >= NARROW else 0.0)
        size = min(room / image.shape[1], 1.5 / (image.shape[0] / len(rows)))
        height = size * image.shape[0] + (0.7 if width >= NARROW else 1.3)
        figure = Figure(figsize=(width, max(height, 1.9)), layout="constrained")
        axes = figure.subplots()
        shown = axes.imshow(image, cmap=DIVERGING if diverging else SCALE, norm=norm, interpolation="nearest")
        axes.set_anchor("W")
        axes.set_xlabel("head" if len(centres) > 1 else "every head")
        numbered(axes, middles, centres, names)
        axes.tick_params(labelbottom=len(centres) > 1)
        scale_of(figure, shown, [axes], label, width >= NARROW)
        return settle(figure)


def cuts(layers: Sequence[tuple[str, Array]], label: str, width: float = WIDTH) -> Figure:
    """A panel a layer (its name; images of offsets h 2H-1 2W-1): for each head the values along the columns (dr = 0,
    solid) and along the rows (dc = 0, dashed). `label` of the values; `width` in inches."""
    heads = max(len(maps) for _, maps in layers)
    colours = head_colours(heads)
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(layers), width, 2.3, label)
        for axes, (name, maps) in zip(grid, layers, strict=True):
            for axis, style in CUTS.items():
                at, values = along(maps, axis)
                for head, line in enumerate(values):
                    seen = np.where(np.isfinite(line), line, np.nan)
                    axes.plot(-at, seen, color=colours[head], linestyle=style, linewidth=1)
            axes.set_title(name)
            offset_axis(axes, "offset, key minus query, tokens")
        handles = [Line2D([], [], color=colour) for colour in colours]
        names = [f"head {head + 1}" for head in range(heads)] if heads > 1 else ["every head"]
        handles += [Line2D([], [], color=GREY, linestyle=style) for style in CUTS.values()]
        place_legend(figure, handles, [*names, "along a row of the grid", "along a column"])
        return settle(figure)


def head_colours(heads: int) -> list[Any]:
    """A colour a head: named ones, or steps of a scale where these are too few."""
    if heads <= len(COLOURS):
        return list(COLOURS[:heads])
    return list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, heads)))


def numbered(axes: Axes, middles: Sequence[float], centres: Sequence[float], names: Sequence[str] = ()) -> None:
    """Numbers from 1 at the rows and columns of a mosaic, or `names` at its rows."""
    axes.tick_params(length=0)
    for axis, places, words in ((axes.yaxis, middles, names), (axes.xaxis, centres, ())):
        axis.set_major_locator(FixedLocator(list(places)))
        axis.set_major_formatter(FixedFormatter(list(words) or [str(place + 1) for place in range(len(places))]))
        axis.set_minor_locator(NullLocator())


def whole_numbers(axes: Axes) -> None:
    """Few ticks, at whole numbers, on both axes."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))


def offset_axis(axes: Axes, label: str) -> None:
    """Whole numbers below a panel, and what they are below the last of its column."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if axes.xaxis.get_tick_params()["labelbottom"]:
        axes.set_xlabel(label)


def scale_of(figure: Figure, shown: Any, at: Sequence[Axes], label: str, beside: bool) -> None:
    """The scale of colours, beside the axes or below them."""
    place: dict[str, Any] = {} if beside else {"location": "bottom", "aspect": 30, "pad": 0.08}
    bar = figure.colorbar(shown, ax=list(at), shrink=0.75, **place)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    if not beside:
        bar.ax.xaxis.set_major_locator(MaxNLocator(4))


def position_maps(rows: Sequence[tuple[str, Array, Array, int]], width: float = WIDTH) -> Figure:
    """A row a way: its name, cosines H W with one position, norms H W, that position. `width` in inches."""
    with matplotlib.rc_context(MAPS):
        height = len(rows) * min(2.0, width / 2) + 0.5
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(len(rows), 2, squeeze=False)
        norms = at_least(min(float(row[2].min()) for row in rows), max(float(row[2].max()) for row in rows))
        cosines = [np.delete(row[1].ravel(), row[3]) for row in rows]
        alike = at_least(min(float(one.min()) for one in cosines), max(float(one.max()) for one in cosines))
        for (left, right), (name, cosine, norm, position) in zip(grid, rows, strict=True):
            first = left.imshow(cosine, cmap=SCALE, norm=alike, interpolation="nearest", extent=from_1(cosine))
            row, column = divmod(position, cosine.shape[1])
            left.plot(column + 1, row + 1, "o", markersize=4, markerfacecolor="none", color=VERMILLION)
            left.set_title(f"{name}: cosine")
            second = right.imshow(norm, cmap=SCALE, norm=norms, interpolation="nearest", extent=from_1(norm))
            right.set_title(f"norm, mean {norm.mean():.3g}")
            for axes in (left, right):
                whole_numbers(axes)
        for column, shown in enumerate((first, second)):
            bar = figure.colorbar(shown, ax=grid[:, column].tolist(), location="bottom", shrink=0.7, aspect=25)
            bar.ax.tick_params(labelsize=SMALL)
            bar.ax.xaxis.set_major_locator(MaxNLocator(4))
        return settle(figure)


def decays(
    layers: Sequence[tuple[str, Sequence[tuple[str, NDArray[np.int64], Array]]]], width: float = WIDTH
) -> Figure:
    """A panel for each name: lines of (name, offsets, values), dotted where the name is BOUND, broad and pale where it
    starts with TRAINED, since others may lie on it. `width` in inches."""
    names = list(dict.fromkeys(name for _, lines in layers for name, _, _ in lines))
    colours = dict(zip([name for name in names if name != BOUND], head_colours(len(names)), strict=False))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(layers), width, 2.5, "product, offset 0 = 1")
        for axes, (title, lines) in zip(grid, layers, strict=True):
            for name, at, values in lines:
                axes.plot(at, values, **line_of(name, colours))
            axes.set_title(title)
            offset_axis(axes, "offset, tokens")
        handles = [Line2D([], [], **line_of(name, colours)) for name in names]
        place_legend(figure, handles, names)
        return settle(figure)


def line_of(name: str, colours: Mapping[str, Any]) -> dict[str, Any]:
    """How a line of `decays` is drawn."""
    if name == BOUND:
        return {"color": INK, "linestyle": (0, (1, 1.5)), "linewidth": 1}
    broad = name.startswith(TRAINED)
    return {"color": GREY if broad else colours[name], "linewidth": 4 if broad else 1, "alpha": 0.5 if broad else 1}
