"""The figure of error consistency."""

import math

import matplotlib
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from analysis.elements.axes import CELLS, STYLE, colour_numbers
from analysis.elements.layout import WIDTH, settle

CELL = 0.52  # inches, of a model's row


def consistency_map(table: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Error consistency (Cohen's kappa), models by models, as a heat map. `table`: `agreement.consistency`; places
    without a pair stay empty."""
    labels = list(dict.fromkeys(table["label"]))
    kappa = table.pivot(index="label", columns="other", values="kappa").reindex(index=labels, columns=labels)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(min(width, 2.4 + 1.1 * CELL * len(labels)), 1.6 + CELL * len(labels)),
                        layout="constrained")  # fmt: skip
        axes = figure.add_subplot()
        low = float(kappa.to_numpy(dtype=float, na_value=math.inf).min())
        seaborn.heatmap(kappa.astype(float), vmax=1, fmt=".2f", ax=axes, **CELLS)
        colour_numbers(axes, low, 1.0)
        axes.set(xlabel="", ylabel="")
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="y", rotation=0)
        return settle(figure)
