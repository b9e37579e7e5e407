"""Figures of attention: mosaics of pictures and maps, and measures against depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.elements.axes import STYLE, upright
from analysis.elements.layout import WIDTH, is_narrow, place_legend, settle
from analysis.elements.palette import BLUE, GREY, INK, ORANGE, VERMILLION

TITLE = 7.5  # points, above a tile
LINE = 0.145  # inches, of a line of a title
BESIDE, BETWEEN, ABOVE, EDGE = 0.1, 0.06, 0.05, 0.03  # inches: between tiles, below one, above a block, at the sides
COLOURS = "cividis"  # of maps: dark is 0, light the largest value of a map


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture, uint8 (H, W, 3), or a map, float (R, C), with a title of a line or two. `marks`: patches to frame, as
    row and column from 0, with the `grid` that they are of; `words`: what stands in them. `within`: bool (R, C), what a
    line is drawn around on a map."""

    pixels: NDArray[Any]
    title: str
    grid: tuple[int, int] = (1, 1)
    marks: tuple[tuple[int, int], ...] = ()
    words: tuple[str, ...] = ()
    within: NDArray[np.bool_] | None = None


def mosaic(blocks: Sequence[Sequence[Tile]], side: float = 0.95, width: float = WIDTH) -> Figure:
    """Blocks below each other: the first tile of each (an image) at the left, the others right of it in as many rows as
    they need. `side`: inches that a tile should have, less on a narrow figure; `width` in inches."""
    most = max(len(block) for block in blocks)
    narrow = min(side, 0.2 * width)
    columns = max(3, min(most, int((width - 2 * EDGE + BESIDE) / (narrow + BESIDE))))
    tile = min((width - 2 * EDGE + BESIDE) / columns - BESIDE, 1.6 * side)
    lines = max(one.title.count("\n") + 1 for block in blocks for one in block)
    step = tile + lines * LINE + BETWEEN
    rows = [-(-(len(block) - 1) // (columns - 1)) for block in blocks]
    height = sum(rows) * step + len(blocks) * ABOVE
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        top = height
        for block, amount in zip(blocks, rows, strict=True):
            top -= ABOVE
            for place, one in enumerate(block):
                row, column = (0, 0) if not place else ((place - 1) // (columns - 1), 1 + (place - 1) % (columns - 1))
                left, bottom = EDGE + column * (tile + BESIDE), top - row * step - lines * LINE - tile
                box = left / width, bottom / height, tile / width, tile / height
                _draw_tile(figure.add_axes(box), one, lines)
            top -= amount * step
        return figure


def _draw_tile(axes: Axes, tile: Tile, lines: int) -> None:
    """Pixels without smoothing, framed patches, a title that has room for so many lines."""
    if tile.pixels.ndim == 2:
        axes.imshow(tile.pixels, COLOURS, vmin=0, vmax=float(tile.pixels.max()) or 1.0, interpolation="nearest")
    else:
        axes.imshow(tile.pixels, interpolation="nearest")
    axes.set_axis_off()
    axes.annotate(tile.title, (0, 1), (0, 72 * lines * LINE), "axes fraction", "offset points", fontsize=TITLE,
                  va="top", linespacing=1.1)  # fmt: skip
    if tile.within is not None:
        axes.add_collection(LineCollection(outline(tile.within), colors=VERMILLION, linewidths=1.0))
    height, width = (side / count for side, count in zip(tile.pixels.shape[:2], tile.grid, strict=True))
    words = tile.words or ("",) * len(tile.marks)
    for (row, column), word in zip(tile.marks, words, strict=True):
        corner = column * width - 0.5, row * height - 0.5
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="#ffffff", linewidth=1.8, clip_on=False))
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=VERMILLION, linewidth=1.1, clip_on=False))
        if word:
            middle = corner[0] + width / 2, corner[1] + height / 2
            box = {"boxstyle": "round,pad=0.12", "facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.8}
            axes.text(*middle, word, fontsize=6.5, ha="center", va="center", color="#000000", bbox=box)


def outline(within: NDArray[np.bool_]) -> list[list[tuple[float, float]]]:
    """The lines, from (x, y) to (x, y), between cells of a mask (R, C) that are within and those that are not."""
    padded = np.pad(within, 1)
    down = np.argwhere(padded[1:-1, :-1] != padded[1:-1, 1:])  # left of column `across`
    across = np.argwhere(padded[:-1, 1:-1] != padded[1:, 1:-1])  # above row `down`
    lines = [[(x - 0.5, y - 0.5), (x - 0.5, y + 0.5)] for y, x in down.tolist()]
    return lines + [[(x - 0.5, y - 0.5), (x + 0.5, y - 0.5)] for y, x in across.tolist()]


def faded(picture: NDArray[np.uint8], keep: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) whose patches that are not kept, by a mask of the grid (R, C), are nearly white."""
    rows = np.arange(picture.shape[0]) * keep.shape[0] // picture.shape[0]
    columns = np.arange(picture.shape[1]) * keep.shape[1] // picture.shape[1]
    shown = keep[rows][:, columns, None]
    return np.where(shown, picture, (0.15 * picture + 0.85 * 245).astype(np.uint8))


@dataclass(frozen=True, eq=False)
class ByHead:
    """A measure of every layer (outer) and head, of the network, and untrained where there is one; what uniform
    attention has in every layer."""

    label: str
    values: tuple[NDArray[np.float64], ...]
    untrained: tuple[NDArray[np.float64], ...]
    uniform: tuple[float, ...]


def by_head(measures: Sequence[ByHead], width: float = WIDTH) -> Figure:
    """Panels side by side, below each other on a narrow figure: a point for each head, by layer."""
    with matplotlib.rc_context(STYLE):
        panels = _panels(len(measures), width)
        figure = panels[0].figure
        assert isinstance(figure, Figure)
        for axes, one in zip(panels, measures, strict=True):
            handles = _heads(axes, one)
            axes.set(xlabel="layer of attention", ylabel=one.label)
            axes.set_ylim(0, 1.05 * axes.dataLim.ymax)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        place_legend(figure, handles, [str(handle.get_label()) for handle in handles], above=True)
        return settle(figure)


def _heads(axes: Axes, one: ByHead) -> list[Any]:
    """Heads as points, their mean as a line, untrained likewise in grey; uniform attention as short lines."""
    handles: list[Any] = []
    for values, colour, marker, name, gap in (
        (one.untrained, GREY, "x", "the same network untrained", 0.12),
        (one.values, BLUE, "o", "a head; line: mean", -0.12 if one.untrained else 0.0),
    ):
        if not values:
            continue
        x = [layer + gap for layer, heads in enumerate(values, 1) for _ in heads]
        y = [value for heads in values for value in heads]
        points = axes.plot(x, y, marker, color=colour, markersize=3.5, markeredgewidth=0.9, label=name, zorder=3)
        handles.insert(0, points[0])
        at = [layer + gap for layer in range(1, len(values) + 1)]
        axes.plot(at, [heads.mean() for heads in values], color=colour, linewidth=1, zorder=2)
    for layer, value in enumerate(one.uniform, 1):
        line = axes.plot([layer - 0.5, layer + 0.5], [value] * 2, color=INK, linewidth=1.2, label="uniform attention")
    return [*handles, line[0]]


@dataclass(frozen=True, eq=False)
class Norms:
    """Norms of tokens after each of L blocks (0: the embedding): 5 %, 50 %, 95 % and 100 % of the patches, (L, 4); mean
    of each extra token by name, (L,), NaN where it is not there; share of outliers among the patches, (L,)."""

    patches: NDArray[np.float64]
    extra: tuple[tuple[str, NDArray[np.float64]], ...]
    outliers: NDArray[np.float64]


def norms(given: Norms, width: float = WIDTH) -> Figure:
    """Norms by block, and the share of outliers."""
    with matplotlib.rc_context(STYLE):
        left, right = _panels(2, width)
        figure = left.figure
        assert isinstance(figure, Figure)
        blocks = np.arange(len(given.patches))
        low, middle, high, most = given.patches.T
        upright(left, zip(blocks.tolist(), low.tolist(), high.tolist(), strict=True), color=BLUE)
        handles = [*left.plot(blocks, middle, "o-", color=BLUE, markersize=4, linewidth=1.2,
                              label="patches: median, bar from 5 to 95 %")]  # fmt: skip
        handles += left.plot(blocks, most, "_", color=BLUE, markersize=7, label="the largest of a patch")
        for (name, means), colour in zip(given.extra, (VERMILLION, *(ORANGE,) * len(given.extra)), strict=False):
            handles += left.plot(blocks, means, "^--", color=colour, markersize=4, linewidth=1, label=name)
        left.set(ylabel="norm of a token")
        left.set_ylim(0, None)
        right.plot(blocks, 100 * given.outliers, "o-", color=BLUE, markersize=4, linewidth=1.2)
        right.set(ylabel="outliers, % of the patches")
        right.set_ylim(0, max(1.0, 110 * float(given.outliers.max())))
        for axes in (left, right):
            axes.set_xlabel("after block (0: embedding)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        place_legend(figure, handles, [str(handle.get_label()) for handle in handles], above=True)
        return settle(figure)


def _panels(amount: int, width: float) -> list[Axes]:
    """Axes side by side, or below each other where the figure is narrow."""
    figure = Figure(figsize=(width, 2.9), layout="constrained")
    if is_narrow(figure):
        figure.set_figheight(2.3 * amount)
        return list(figure.subplots(amount, 1, squeeze=False)[:, 0])
    return list(figure.subplots(1, amount, squeeze=False)[0])
