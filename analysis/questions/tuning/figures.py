"""The figure of tuning curves: the best of k trials against k, a panel a train size."""

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE, dodged, handle, legend, log_ticks, percent_axis, upright
from analysis.elements.layout import WIDTH, is_narrow, panels, settle
from analysis.elements.palette import GREY, Look, looks
from analysis.elements.sections import n_images
from analysis.frame.rows import each_group


def tuning_curves(curves: pd.DataFrame, styles: Mapping[str, Look] | None = None, width: float = WIDTH) -> Figure:
    """Median best validation accuracy (per cent) of k trials against k, with bands; grey from where no band has an
    upper end that depends on the trials. `curves`: `numbers.Tuning.curves` of one arm; `width` in inches."""
    styles = styles or looks(curves)
    sizes = sorted(curves["train_size"].unique().tolist())
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(sizes), width, 3.2, "best validation accuracy")
        for axes, size in zip(grid, sizes, strict=True):
            of_size = curves[curves["train_size"] == size]
            beside = dodged(of_size["k"].tolist(), list(dict.fromkeys(of_size["label"])))
            for label, line in each_group(of_size, "label"):
                look, told = styles[label], line[line["says"]]
                axes.fill_between(
                    told["k"], 100 * told["low"], 100 * told["high"], color=look.colour, alpha=0.15, linewidth=0
                )
                spans = zip(told["k"], 100 * told["low"], 100 * told["high"], strict=True)
                upright(axes, [(beside(k, label), low, high) for k, low, high in spans], color=look.colour, alpha=0.8)
                mean = handle(look, line["k"].tolist(), (100 * line["estimate"]).tolist())
                mean.set_markevery([at for at, k in enumerate(line["k"]) if k & (k - 1) == 0])
                axes.add_line(mean)
            last = int(of_size["k"].max())
            told_to = int(of_size.loc[of_size["says"], "k"].max()) if of_size["says"].any() else 0
            if told_to < last:
                begin = (told_to * (told_to + 1)) ** 0.5 if told_to else 0.9
                axes.axvspan(begin, last * 1.03, color=GREY, alpha=0.15, linewidth=0, zorder=0)
            axes.autoscale_view()
            axes.set_title(n_images(size))
            ticks = pd.Series([2**power for power in range(last.bit_length())])
            log_ticks(axes, ticks, "")
            axes.set_xlim(0.95, last * 1.03)
        percent_axis(grid[0], "")
        figure.supxlabel("drawn trials k (log scale)", fontsize=9)
        legend(figure, dict.fromkeys(curves["label"]), styles, above=is_narrow(figure))
        return settle(figure)
