"""How an arm's models are compared beside curves: families, likelihood, error consistency, shares of variance."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import agreement, comparisons, image_bootstrap, variance
from analysis.arms import ArmData
from analysis.cells import at_home, summarise
from analysis.predictions import correctness
from benchmarks.study import Study

MEASURES: dict[str, tuple[float, float] | None] = {  # column of the frame: what is possible
    "accuracy": (0.0, 1.0),
    "nll": (0.0, float("inf")),
    "calibration": (0.0, 1.0),
}


@dataclass(frozen=True)
class Compared:
    """The tables of an arm, in long form; empty where there is nothing to show.

    `families`: `comparisons.differences`. `measures`: rows of `cells.summarise` with a column measure (MEASURES).
    `consistency`: `agreement.consistency`. `variance`: `variance.shares`. `resampled`: `image_bootstrap.resampled`,
    when it was asked for.
    """

    families: pd.DataFrame
    measures: pd.DataFrame
    consistency: pd.DataFrame
    variance: pd.DataFrame
    resampled: pd.DataFrame


def compare(arm: ArmData, study: Study, root: Path, resamples: int = 0) -> Compared:
    """The comparisons of an arm whose records lie under `root`, with so many resamples of the test set."""
    home = at_home(arm.rows)
    families = comparisons.differences(arm, study)
    correct = correctness(root, home[home["train_size"] == arm.runs["train_size"].max()])
    measures = [
        summarise(home, arm.runs, name, bounds=bounds).assign(measure=name) for name, bounds in MEASURES.items()
    ]
    return Compared(
        families,
        pd.concat(measures, ignore_index=True),
        agreement.consistency(arm, correct),
        variance.shares(arm),
        image_bootstrap.resampled(families, correct, resamples) if resamples else pd.DataFrame(),
    )
