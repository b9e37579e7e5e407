"""Figures: each takes the evaluations of one arm (rows of `Frame.rows`) and returns a matplotlib Figure.

Every run is a small point, left of its model's mean; lines go through the means; bars are t-intervals over seeds;
chance is dotted. `styles` are the looks of the models, by default those that `palette.looks` gives them; `width` is in
inches, and what is written fits into it. Nothing uses pyplot, so there is no global state, and `svg` gives the same
bytes each time.
"""

import io
import re
from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE, bars, chance_line, dodged, legend, lines, log_ticks, percent_axis
from analysis.elements.layout import WIDTH, canvas, is_narrow, settle
from analysis.elements.palette import GREY, INK, Look, looks
from analysis.frame.arms import one_arm
from analysis.frame.cells import at_home, estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.resolution.resolution import with_retention
from analysis.statistics import intervals


def accuracy_by_train_size(
    rows: pd.DataFrame, styles: Mapping[str, Look] | None = None, width: float = WIDTH
) -> Figure:
    """Test accuracy at the training resolution against train size, on a logarithmic axis."""
    arm = one_arm(rows)
    home = at_home(rows)
    with matplotlib.rc_context(STYLE):
        figure = canvas(width, 4.6)
        axes = figure.add_subplot()
        names = lines(axes, home, "label", "train_size", "accuracy", styles or looks(rows))
        chance_line(axes, intervals.chance(arm.classes), is_narrow(figure))
        log_ticks(axes, home["train_size"], "training images n, validation included (log scale)")
        if arm.validation >= 1 or arm.validation == 0:
            axes.set_xlabel("training images n (log scale)")
        percent_axis(axes)
        axes.set_ylabel("test accuracy")
        legend(figure, names, styles or looks(rows))
        return settle(figure)


def accuracy_by_test_resolution(
    rows: pd.DataFrame, styles: Mapping[str, Look] | None = None, value: str = "accuracy", width: float = WIDTH
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
        figure = canvas(width, 4.6)
        axes = figure.add_subplot()
        names = lines(axes, shown, "line", "test_resolution", value, styles)
        if value == "accuracy":
            chance_line(axes, intervals.chance(arm.classes), is_narrow(figure))
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
        legend(figure, names, styles)
        return settle(figure)


def differences_by_train_size(
    table: pd.DataFrame, styles: Mapping[str, Look] | None = None, width: float = WIDTH
) -> Figure:
    """Position ablation: difference of accuracy to the reference against train size, with t-intervals.

    `table` is `ablation.differences` of one arm, with one reference."""
    [reference] = table["reference"].unique()
    known = table.dropna(subset=["mean"])
    styles = styles or looks(table)
    with matplotlib.rc_context(STYLE):
        figure = canvas(width, 3.6)
        axes = figure.add_subplot()
        names = list(dict.fromkeys(known["label"]))
        places = dodged(known["train_size"].unique().tolist(), names)
        for label, group in each_group(known, "label"):
            xs = [places(size, label) for size in group["train_size"]]
            bars(axes, xs, [estimate_of(row) for row in each_row(group)], styles[label])
        axes.axhline(0, color=INK, linewidth=0.8, zorder=0)
        log_ticks(axes, known["train_size"], "training images n (log scale)")
        axes.set_ylabel(f"points above {reference}")
        legend(figure, names, styles)
        return settle(figure)


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


def printed(figure: Figure, kind: str) -> bytes:
    """The figure as "pdf" or "png" for print: the same bytes for the same figure, no date, no version."""
    buffer = io.BytesIO()
    nothing = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}[kind]
    with matplotlib.rc_context({**STYLE, "pdf.fonttype": 42}):  # 42: text stays text, as journals ask
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=nothing)
    return buffer.getvalue()
