"""Figures on resolutions: training against test resolution, and what the ways of testing change; a panel a model."""

from collections.abc import Callable, Mapping

import matplotlib
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE, bars, dodged, handle, log_ticks, percent_axis
from analysis.elements.layout import WIDTH, panels, place_legend, settle
from analysis.elements.palette import INK, SPARE, Look
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row

DARK = 0.55  # share of the colour scale below which a number in a cell is white


def heat_map(matrix: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Mean test accuracy as a matrix of training (rows) and test resolution (columns), in per cent, on one scale.

    `matrix`: `across_arms.resolution_matrix`; a cell that was not measured stays empty."""
    labels = list(dict.fromkeys(matrix["label"]))
    train = sorted(matrix["train_resolution"].unique().tolist())
    test = sorted(matrix["test_resolution"].unique().tolist())
    low, high = 100 * matrix["mean"].min(), 100 * matrix["mean"].max()
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = panels(len(labels), width, 0.36 * len(train) + 1.1, "training resolution, pixels")
        for axes, label in zip(grid, labels, strict=True):
            mine = matrix[matrix["label"] == label]
            ylabel = axes.get_ylabel()
            means = mine.pivot(index="train_resolution", columns="test_resolution", values="mean")
            seaborn.heatmap(
                100 * means.reindex(index=train[::-1], columns=test).astype(float),
                vmin=low, vmax=high, cmap="cividis", annot=True, fmt=".0f", annot_kws={"fontsize": 8}, cbar=False,
                xticklabels=test, yticklabels=train[::-1], ax=axes,
            )  # fmt: skip
            axes.set(xlabel="", ylabel=ylabel, ylim=(len(train), 0))  # seaborn turns shared axes over panel by panel
            for number in axes.texts:  # seaborn's white is hard to read on the middle of the scale
                number.set_color("#ffffff" if float(number.get_text()) < low + DARK * (high - low) else "#000000")
            axes.set_title(label)
            axes.tick_params(length=0, rotation=0)
        figure.supxlabel("test resolution, pixels", fontsize=9, color=INK)
        return settle(figure)


def matrix_curves(matrix: pd.DataFrame, width: float = WIDTH) -> Figure:
    """The same as curves over test resolution, a line for each training resolution, with t-intervals."""
    return _curves(matrix, "train_resolution", lambda side: f"trained at {side} px", width)


def ways_of_testing(table: pd.DataFrame, alone: str = "", width: float = WIDTH) -> Figure:
    """Test accuracy against test resolution by way of testing, with t-intervals; a way is what a line has after its
    label, or `alone` where it has nothing. `table`: `resolution.by_evaluation`, or of `carrying`."""
    ways = [
        line.removeprefix(label).removeprefix(", ") or alone
        for line, label in zip(table["line"], table["label"], strict=True)
    ]
    return _curves(table.assign(way=ways), "way", str, width)


def _curves(table: pd.DataFrame, by: str, name: Callable[[object], str], width: float) -> Figure:
    known = table.dropna(subset=["mean"])
    labels, kinds = list(dict.fromkeys(known["label"])), list(dict.fromkeys(known[by]))
    styles: Mapping[object, Look] = {kind: SPARE[place % len(SPARE)] for place, kind in enumerate(kinds)}
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(labels), width, 2.3, "test accuracy")
        for axes, label in zip(grid, labels, strict=True):
            mine = known[known["label"] == label]
            places = dodged(mine["test_resolution"].unique().tolist(), list(dict.fromkeys(mine[by])))
            for kind, line in each_group(mine.sort_values("test_resolution", kind="stable"), by):
                xs = [places(side, kind) for side in line["test_resolution"]]
                bars(axes, xs, [estimate_of(row) for row in each_row(line)], styles[kind])
            axes.set_title(label)
            log_ticks(axes, known["test_resolution"], "")
            percent_axis(axes)
        figure.supxlabel("test resolution, pixels (log scale)", fontsize=9, color=INK)
        handles = [handle(styles[kind], [], []) for kind in kinds]
        place_legend(figure, handles, [name(kind) for kind in kinds], above=True)
        return settle(figure)
