"""The figure of accuracy against train size.

Every run is a small point, left of its model's mean; lines go through the means; bars are t-intervals over seeds;
chance is dotted.
"""

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE, chance_line, legend, lines, log_ticks, percent_axis
from analysis.elements.layout import WIDTH, canvas, is_narrow, settle
from analysis.elements.palette import Look, looks
from analysis.frame.arms import one_arm
from analysis.frame.cells import at_home
from analysis.statistics import intervals


def accuracy_by_train_size(
    rows: pd.DataFrame, styles: Mapping[str, Look] | None = None, width: float = WIDTH
) -> Figure:
    """Test accuracy at the training resolution against train size, on a logarithmic axis.

    `rows`: evaluations of one arm (MixedArmsError otherwise); `width` in inches."""
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
