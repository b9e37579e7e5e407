"""How an arm's models are compared beside curves: families, likelihood, error consistency, shares of variance."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.frame.arms import ArmData
from analysis.frame.cells import at_home, summarise
from analysis.frame.predictions import correctness
from analysis.questions.comparisons import agreement, comparisons, image_bootstrap, variance
from benchmarks.plan.study import Study

MEASURES = {  # beside accuracy: column of the frame, and what is possible
    "nll": (0.0, float("inf")),
    "calibration": (0.0, 1.0),
}


@dataclass(frozen=True)
class Compared:
    """The tables of an arm, in long form; empty where there is nothing to show.

    `families`: `comparisons.differences`. `measures`: rows of `cells.summarise` with a column measure (accuracy, or
    of MEASURES). `consistency`: `agreement.consistency`. `variance`: `variance.shares`. `resampled`:
    `image_bootstrap.resampled`, when it was asked for.
    """

    families: pd.DataFrame
    measures: pd.DataFrame
    consistency: pd.DataFrame
    variance: pd.DataFrame
    resampled: pd.DataFrame


def compare(arm: ArmData, study: Study, root: Path, accuracy: pd.DataFrame, resamples: int = 0) -> Compared:
    """The comparisons of an arm whose records lie under `root`, with so many resamples of the test set.

    `accuracy` is its table by train size (`data_efficiency.curve`), which is one of the measures."""
    home = at_home(arm.rows)
    families = comparisons.differences(arm, study)
    correct = correctness(root, home[home["train_size"] == arm.runs["train_size"].max()])
    known = {name: bounds for name, bounds in MEASURES.items() if home[name].notna().any()}
    measures = [summarise(home, arm.runs, name, bounds=bounds).assign(measure=name) for name, bounds in known.items()]
    return Compared(
        families,
        pd.concat([accuracy.assign(measure="accuracy"), *measures], ignore_index=True),
        agreement.consistency(arm, correct),
        variance.shares(arm),
        image_bootstrap.resampled(families, correct, arm.runs, resamples) if resamples else pd.DataFrame(),
    )
