"""Figures on resolutions: accuracy against test resolution; training against test resolution and what the ways of
testing change, a panel a model."""

from collections.abc import Callable, Mapping

import matplotlib
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from analysis.elements.axes import (
    CELLS,
    STYLE,
    bars,
    chance_line,
    colour_numbers,
    dodged,
    handle,
    lines,
    log_ticks,
    name_ends,
    percent_axis,
)
from analysis.elements.layout import WIDTH, canvas, panels, place_legend, settle
from analysis.elements.palette import GREY, INK, SPARE, Look, looks
from analysis.frame.arms import one_arm
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.resolution.retention import with_retention


def accuracy_by_test_resolution(
    rows: pd.DataFrame, styles: Mapping[str, Look] | None = None, value: str = "accuracy", width: float = WIDTH
) -> Figure:
    """Test accuracy (or `value` "retention") against test resolution at the largest train size, log scale; a
    vertical line marks the training resolution. `rows`: evaluations of one arm (MixedArmsError otherwise)."""
    arm = one_arm(rows)
    largest = rows[rows["train_size"] == rows["train_size"].max()]
    shown = with_retention(largest)
    styles = dict(styles or looks(rows))
    for line, label in each_row(shown, ["line", "label"]):
        styles.setdefault(line, styles[label])
    with matplotlib.rc_context(STYLE):
        figure = canvas(width, 4.6)
        axes = figure.add_subplot()
        ends = lines(axes, shown, "line", "test_resolution", value, styles)
        if value == "accuracy":
            chance_line(axes, arm.chance)
        axes.axvline(arm.resolution, color=GREY, linewidth=0.8, zorder=0)
        axes.annotate(
            "trained here",
            (arm.resolution, 1),
            xytext=(0, 6),  # above the axes and their highest tick: inside it would cover points
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=8,
        )
        log_ticks(axes, shown["test_resolution"], "test resolution, pixels (log scale)")
        percent_axis(axes, value)
        axes.set_ylabel("test accuracy" if value == "accuracy" else "retention of accuracy above chance")
        name_ends(figure, axes, ends, styles)
        return settle(figure)


def heat_map(matrix: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Mean test accuracy as a matrix of training (rows) and test resolution (columns), in per cent, on one scale.

    `matrix`: `matrix.resolution_matrix`; a cell that was not measured stays empty."""
    labels = list(dict.fromkeys(matrix["label"]))
    train = sorted(matrix["train_resolution"].unique().tolist())
    test = sorted(matrix["test_resolution"].unique().tolist())
    low, high = 100 * matrix["mean"].min(), 100 * matrix["mean"].max()
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = panels(len(labels), width, 0.36 * len(train) + 1.1, "training resolution, pixels")
        for axes, label in zip(grid, labels, strict=True):
            group = matrix[matrix["label"] == label]
            ylabel = axes.get_ylabel()
            means = group.pivot(index="train_resolution", columns="test_resolution", values="mean")
            seaborn.heatmap(
                100 * means.reindex(index=train[::-1], columns=test).astype(float),
                vmin=low, vmax=high, fmt=".0f", xticklabels=test, yticklabels=train[::-1], ax=axes, **CELLS,
            )  # fmt: skip
            axes.set(xlabel="", ylabel=ylabel, ylim=(len(train), 0))  # seaborn turns shared axes over panel by panel
            colour_numbers(axes, low, high)
            axes.set_title(label)
            axes.tick_params(length=0, rotation=0)
        figure.supxlabel("test resolution, pixels", fontsize=9, color=INK)
        return settle(figure)


def matrix_curves(matrix: pd.DataFrame, width: float = WIDTH) -> Figure:
    """The same as curves over test resolution, a line for each training resolution, with t-intervals."""
    return _curves(matrix, "train_resolution", lambda side: f"trained at {side} px", width)


def ways_of_testing(table: pd.DataFrame, alone: str = "", width: float = WIDTH) -> Figure:
    """Test accuracy against test resolution by way of testing, with t-intervals; a way is what a line has after its
    label, or `alone` where it has nothing. `table`: `ways_of_testing.by_evaluation`, or of `Carrying`."""
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
            group = known[known["label"] == label]
            places = dodged(group["test_resolution"].unique().tolist(), list(dict.fromkeys(group[by])))
            for kind, line in each_group(group.sort_values("test_resolution", kind="stable"), by):
                xs = line["test_resolution"].tolist()
                estimates, beside = [estimate_of(row) for row in each_row(line)], [places(side, kind) for side in xs]
                bars(axes, xs, estimates, styles[kind], beside)
            axes.set_title(label)
            log_ticks(axes, known["test_resolution"], "")
            percent_axis(axes)
        figure.supxlabel("test resolution, pixels (log scale)", fontsize=9, color=INK)
        handles = [handle(styles[kind], [], []) for kind in kinds]
        place_legend(figure, handles, [name(kind) for kind in kinds], above=True)
        return settle(figure)
