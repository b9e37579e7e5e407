"""The figure of error consistency."""

import math

import matplotlib
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE
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
        seaborn.heatmap(
            kappa.astype(float), vmax=1, cmap="cividis", annot=True, fmt=".2f", annot_kws={"fontsize": 8}, cbar=False,
            ax=axes,
        )  # fmt: skip
        low = float(kappa.to_numpy(dtype=float, na_value=math.inf).min())
        for number in axes.texts:  # seaborn's white is hard to read on the middle of the scale
            number.set_color("#ffffff" if float(number.get_text()) < low + 0.55 * (1 - low) else "#000000")
        axes.set(xlabel="", ylabel="")
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="y", rotation=0)
        return settle(figure)
