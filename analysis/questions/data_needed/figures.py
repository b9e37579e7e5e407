"""Figures on learning curves beyond the curves themselves: fits, factors of data, and budgets side by side."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter
from matplotlib.transforms import offset_copy

from analysis import wording
from analysis.elements.axes import STYLE, bars, decades, dodged, legend, lines, log_ticks, percent_axis, upright
from analysis.elements.forest import Entry, forest
from analysis.elements.layout import WIDTH, canvas, is_narrow, panels, settle
from analysis.elements.palette import INK, Look, looks
from analysis.frame.arms import one_arm
from analysis.frame.cells import at_home, estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.data_needed.fitted import FittedCurve, each_fit, errors_of
from analysis.statistics import fits

BOUNDS = {"at least": "^", "at most": "v"}
FOREST = 3.6  # inches high
BUDGET = ["budget_kind", "budget"]  # columns in which arms side by side may differ


def fitted_curves(
    rows: pd.DataFrame,
    styles: Mapping[str, Look] | None = None,
    found: Sequence[FittedCurve] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Test error against train size, both logarithmic: geometric means with t-intervals over log errors, and the fitted
    form; dotted beyond the largest size, up to twice that. `rows`: the evaluations of one arm; `found`: their fits (of
    `fitted.each_fit`), where they are known."""
    one_arm(rows)
    styles = styles or looks(rows)
    home = at_home(rows)
    with matplotlib.rc_context(STYLE):
        figure = canvas(width, 4.6)
        axes = figure.add_subplot()
        labels = list(dict.fromkeys(home["label"]))
        fitted = []
        places = dodged(home["train_size"].unique().tolist(), labels)
        for label, curves, fit, _ in each_fit(rows) if found is None else found:
            look = styles[label]
            errors = [fits.mean_error(column) for column in errors_of(curves, int(home["count"].max())).T.tolist()]
            upright(
                axes,
                [
                    (places(size, label), 100 * error.low, 100 * error.high)
                    for size, error in zip(curves.sizes, errors, strict=True)
                    if error.has_interval
                ],
                color=look.colour,
            )
            means = [100 * error.mean for error in errors]
            axes.plot(curves.sizes, means, look.marker, color=look.colour, markersize=5)
            for low, high, style in ((fit.sizes[0], fit.sizes[-1], "-"), (fit.sizes[-1], 2 * fit.sizes[-1], ":")):
                sizes = np.geomspace(low, high, 60 if style == "-" else 20)
                line = [100 * fit.error(size).mean for size in np.clip(sizes, low, high)]
                axes.plot(sizes, line, style, color=look.colour, linewidth=1.2)
            fitted.append(label)
        axes.set_yscale("log")
        log_ticks(axes, home["train_size"], "training images n (log scale); dotted: up to twice the largest n")
        decades(axes, "{:g} %")
        axes.set_ylabel("test error (log scale)")
        names = [label for label in labels if label in fitted]
        legend(figure, names, {label: Look(one.colour, one.marker, "-") for label, one in styles.items()})
        return settle(figure)


def factors(
    table: pd.DataFrame, styles: Mapping[str, Look] | None = None, x: str = "train_size", width: float = WIDTH
) -> Figure:
    """Data-equivalence factors against `x` (train_size or accuracy), on a logarithmic axis: t-intervals as bars,
    bounds hollow, each with a small triangle that points to where the factor lies. `table`: `numbers.by_train_size`
    or `.by_accuracy`."""
    [reference] = table["reference"].unique()
    known = table.dropna(subset=["mean"])
    styles = styles or looks(table)
    with matplotlib.rc_context(STYLE):
        figure = canvas(width, 4.2)
        axes = figure.add_subplot()
        order = list(dict.fromkeys(known["label"]))
        places = dodged(known[x].unique().tolist(), order)
        for label, group in each_group(known, "label"):
            look = styles[label]
            sure = group[group["bound"] == ""]
            xs, beside = sure[x].tolist(), [places(place, label) for place in sure[x]]
            bars(axes, xs, [estimate_of(row) for row in each_row(sure)], look, beside, scale=1)
            for row in each_row(group[group["bound"] != ""]):
                at, beyond = places(getattr(row, x), label), 1 if row.bound == "at least" else -1
                axes.plot([at], [row.mean], look.marker, color=look.colour, markersize=6, fillstyle="none", zorder=2)
                above = offset_copy(axes.transData, figure, y=6 * beyond, units="points")
                axes.plot([at], [row.mean], BOUNDS[row.bound], color=look.colour, markersize=3, transform=above)
        axes.axhline(1, color=INK, linewidth=0.8, zorder=0)
        axes.set_yscale("log")
        decades(axes, "{:g}×")
        axes.set_ylabel(f"images needed over those of {reference}")
        log_ticks(axes, known[x], "training images n of the model (log scale)")
        if x == "accuracy":
            axes.set_xscale("linear")
            axes.xaxis.set_major_locator(FixedLocator(sorted(set(known[x].tolist()))))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
            axes.set_xlabel("test accuracy that both reach")
        legend(figure, order, styles)
        return settle(figure)


def images_needed(
    table: pd.DataFrame,
    separable: Collection[str],
    styles: Mapping[str, Look] | None = None,
    width: float = WIDTH,
) -> Figure:
    """The images that models need for what a reference reaches, over those that it has, as a forest plot; hollow where
    the accuracies there are not `separable` (labels). `table`: `numbers.at_reference` of one reference."""
    [reference], [size] = table["reference"].unique(), table["train_size"].unique()
    styles = styles or looks(table)
    entries = []
    for row in each_row(table):
        bound, words = {"at least": (">", "> "), "at most": ("<", "< ")}.get(row.bound, ("", ""))
        words += f"{wording.times(row.mean)}× {wording.factor_interval(estimate_of(row))}".rstrip()
        look, hollow = styles[row.label], row.label not in separable
        entries.append(Entry(row.label, look, row.mean, row.low, row.high, words, bound, hollow))
    xlabel = f"images needed to match {reference} with {wording.number(size)}, over these"
    return forest(entries, xlabel, width, FOREST, log=True)


def side_by_side(
    rows: pd.DataFrame, styles: Mapping[str, Look] | None = None, value: str = "accuracy", width: float = WIDTH
) -> Figure:
    """Test accuracy (or `value` "train_accuracy") against train size, a panel for each budget, on the same axes.

    `rows`: the evaluations of arms that differ in budget alone (MixedArmsError otherwise); arms are never drawn into
    one panel."""
    one_arm(rows.assign(**{name: rows[name].iloc[0] for name in BUDGET}))
    homes = {one_arm(group): at_home(group) for _, group in each_group(rows, BUDGET)}
    styles = styles or looks(rows)
    ylabel = "test accuracy" if value == "accuracy" else "accuracy on the training images"
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(homes), width, 3.5, ylabel)
        for axes, (arm, home) in zip(grid, homes.items(), strict=True):
            lines(axes, home, "label", "train_size", value, styles)
            axes.set_title(f"{wording.number(arm.budget)} {arm.budget_kind}")
            log_ticks(axes, at_home(rows)["train_size"], "")
            percent_axis(axes)
            if value == "accuracy":
                axes.axhline(100 * arm.chance, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        figure.supxlabel("training images n (log scale)", fontsize=9, color=INK)
        names = dict.fromkeys(at_home(rows)["label"])
        legend(figure, names, styles, above=is_narrow(figure))  # below is what the panels' axes have in common
        return settle(figure)
