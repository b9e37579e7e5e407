"""Figures: each takes the evaluations of one arm (rows of `Frame.rows`) and returns a matplotlib Figure.

Every run is a small point, left of its model's mean; lines go through the means; bars are t-intervals over seeds;
chance is dotted. Nothing uses pyplot, so there is no global state, and `svg` gives the same bytes each time.
"""

import io
import re
from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis import statistics
from analysis.arms import one_arm
from analysis.axes import STYLE, bars, chance_line, dodged, legend, lines, log_ticks, percent_axis
from analysis.cells import at_home, estimate_of
from analysis.palette import GREY, INK, Look, looks
from analysis.resolution import with_retention
from analysis.tables import each_group, each_row


def accuracy_by_train_size(rows: pd.DataFrame, styles: Mapping[str, Look] | None = None) -> Figure:
    """Test accuracy at the training resolution against train size, on a logarithmic axis."""
    arm = one_arm(rows)
    home = at_home(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        means = lines(axes, home, "label", "train_size", "accuracy", styles or looks(rows))
        chance_line(axes, statistics.chance(arm.data.classes))
        log_ticks(axes, home["train_size"], "training images n, validation included (log scale)")
        if arm.validation >= 1 or arm.validation == 0:
            axes.set_xlabel("training images n (log scale)")
        percent_axis(axes, "test accuracy")
        legend(figure, means, styles or looks(rows))
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
        means = lines(axes, shown, "line", "test_resolution", value, styles)
        if value == "accuracy":
            chance_line(axes, statistics.chance(arm.data.classes))
        axes.axvline(arm.resolution, color=GREY, linewidth=0.8, zorder=0)
        axes.annotate(
            " trained here",
            (arm.resolution, 0.01),
            xycoords=("data", "axes fraction"),
            color=INK,
            fontsize=8,
        )
        log_ticks(axes, shown["test_resolution"], "test resolution, pixels (log scale)")
        percent_axis(axes, "test accuracy" if value == "accuracy" else "retention of accuracy above chance", value)
        legend(figure, means, styles)
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
        places = dodged(known["train_size"].unique().tolist(), list(dict.fromkeys(known["label"])))
        for label, group in each_group(known, "label"):
            xs = [places(size, label) for size in group["train_size"]]
            estimates = [estimate_of(row) for row in each_row(group)]
            bars(axes, xs, estimates, styles[label])
            means[label] = estimates[-1].mean
        axes.axhline(0, color=INK, linewidth=0.8, zorder=0)
        log_ticks(axes, known["train_size"], "training images n (log scale)")
        axes.set_ylabel(f"points above {reference}")
        legend(figure, means, styles)
    return figure


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
    for old_legend in list(figure.legends):
        if width < NARROW:
            handles = [handle for handle in old_legend.legend_handles if handle is not None]
            names = [text.get_text() for text in old_legend.get_texts()]
            old_legend.remove()
            columns = max(1, round(width / 1.8))
            rows = -(-len(names) // columns)
            height += 0.2 * rows + 0.5
            with matplotlib.rc_context(STYLE):
                figure.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=2.6)
    figure.set_size_inches(width, height)
