"""Seeds that collapsed: runs far below the others of their cell, beside which a t-interval says too little.

A t-interval takes a cell's runs for draws of one distribution. Where one seed in ten fails to train, three seeds show
it seldom, and an interval of those that trained is calm and wrong; where one shows it, the interval is wide and the
mean is of two kinds of runs. docs/statistics.md has what that costs in coverage.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEAST = 0.20  # below the median, in accuracy: at ten points, cells that vary by five would often be marked
DEVIATIONS = 6  # below the median, in median absolute deviations
ABOVE_CHANCE = 0.05  # of a median beside which a run at chance has collapsed, and twice the margin of chance
FEWEST = 3  # runs of a cell: of two nobody can say which is the odd one

RULE = (
    f"A run has collapsed that lies more than {100 * LEAST:g} points, and more than {DEVIATIONS} median absolute "
    f"deviations, below the median test accuracy of its cell, or at chance (within two binomial standard errors) where "
    f"that median is {100 * ABOVE_CHANCE:g} points, and four such errors, above it, or another run {100 * LEAST:g} "
    f"points; cells of {FEWEST} runs or more."
)


def collapsed(accuracies: NDArray[np.float64], chance: float, images: float) -> NDArray[np.bool_]:
    """Which runs of one cell have collapsed: accuracies (n,), shares on `images` test images, beside that of
    guessing -> (n,)."""
    if len(accuracies) < FEWEST:
        return np.zeros(len(accuracies), dtype=bool)
    median = float(np.median(accuracies))
    deviation = float(np.median(np.abs(accuracies - median)))
    far = accuracies < median - max(LEAST, DEVIATIONS * deviation)
    margin = 2 * float(np.sqrt(chance * (1 - chance) / images))
    at_chance = accuracies <= chance + margin
    median_above = median >= chance + max(ABOVE_CHANCE, 2 * margin)
    return far | (at_chance & (median_above | (accuracies.max() > chance + LEAST)))


def runs_of(home: pd.DataFrame, cell: list[str]) -> set[Any]:
    """The collapsed runs among evaluations at the training resolution on the test part, one a run; `cell` are the
    columns that make a cell."""
    found: set[Any] = set()
    for _, rows in home.groupby(cell, sort=False):
        odd = collapsed(rows["accuracy"].to_numpy(dtype=float), float(rows["chance"].iloc[0]), rows["count"].max())
        found |= set(rows["run"][odd])
    return found
