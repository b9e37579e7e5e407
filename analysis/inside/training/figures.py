"""What is drawn of runs side by side: curves, and images with what networks answered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from analysis.elements.axes import SMALL, STYLE, decades
from analysis.elements.layout import LINE, NARROW, WIDTH, place_legend, settle, wrapped
from analysis.elements.palette import GREY, Look

PANELS = {"loss, nats": "loss", "accuracy": "accuracy"}
PARTS: dict[str, Any] = {"validation_": "-", "": (0, (1, 1))}  # before a panel's key of metrics.jsonl: its line
NAMES = {"validation_": "validation", "": "training, batch"}


def curves(runs: Sequence[tuple[str, Look, Sequence[Mapping[str, float]]]], width: float = WIDTH) -> Figure:
    """Loss (log scale where it spans a decade) and accuracy of runs (name, look, rows of metrics.jsonl) against the
    optimiser step: of validation solid, of training batches dotted. `width` in inches."""
    beside = width >= NARROW
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 2.9 if beside else 4.8), layout="constrained")
        grid = figure.subplots(*((1, 2) if beside else (2, 1)))
        for axes, (title, key) in zip(grid, PANELS.items(), strict=True):
            for _, look, rows in runs:
                for prefix, style in PARTS.items():
                    points = [(row["step"], row[prefix + key]) for row in rows if finite(row.get(prefix + key))]
                    if points:
                        thin = {"linewidth": 1.3} if prefix else {"linewidth": 0.8, "alpha": 0.7}
                        axes.plot(
                            *zip(*points, strict=True),
                            color=look.colour,
                            linestyle=style,
                            **thin,
                            **_marked(look, len(points)),
                        )
            axes.set(title=title, xlabel="optimiser step")
        loss, accuracy = grid
        low, high = loss.dataLim.intervaly
        if high > 10 * low > 0:
            loss.set_yscale("log")
            decades(loss, "{:g}", (1, 2, 5))
        accuracy.set_ylim(0, 1.02)
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
        handles = [Line2D([], [], color=look.colour, marker=look.marker, markersize=4) for _, look, _ in runs]
        names = [name for name, _, _ in runs]
        for prefix, style in PARTS.items():
            if any(finite(row.get(f"{prefix}loss")) for _, _, rows in runs for row in rows):
                handles.append(Line2D([], [], color=GREY, linestyle=style))
                names.append(NAMES[prefix])
        place_legend(figure, handles, names, above=True)
        return settle(figure)


def _marked(look: Look, points: int) -> dict[str, Any]:
    """Some of the points of a line, by which it is told from others of its colour."""
    return {"marker": look.marker, "markersize": 4, "markevery": max(1, points // 6)}


def finite(value: float | None) -> bool:
    """Whether a value was logged, and is a number."""
    return value is not None and math.isfinite(value)


def captioned(pictures: NDArray[np.uint8], captions: Sequence[str], width: float = WIDTH) -> Figure:
    """Images N R R 3, pixel by pixel, each below its caption. `width` in inches."""
    columns = min(len(pictures), 5 if width >= NARROW else 3)
    rows = math.ceil(len(pictures) / columns)
    with matplotlib.rc_context({**STYLE, "axes.grid": False, "axes.titlesize": SMALL}):
        size = width / columns
        figure = Figure(figsize=(width, width), layout="constrained")
        lines = [[wrapped(line, 0.9 * size, figure, SMALL) for line in caption.splitlines()] for caption in captions]
        titles = ["\n".join(caption) for caption in lines]
        figure.set_figheight(rows * (0.8 * size + LINE * (1 + max(title.count("\n") for title in titles))))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, picture, caption in zip(grid, pictures, titles, strict=False):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(caption)
        return figure
