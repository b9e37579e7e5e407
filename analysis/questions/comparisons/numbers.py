"""How an arm's models are compared beside curves: families, likelihood, error consistency, shares of variance."""

from dataclasses import dataclass

import pandas as pd

from analysis.elements.reported import ReportedArm
from analysis.frame.cells import at_home, summarise
from analysis.frame.predictions import correctness
from analysis.questions.comparisons import agreement, image_bootstrap, variance, verdicts

MEASURES = {  # beside accuracy: column of the frame, and what is possible
    "nll": (0.0, float("inf")),
    "calibration": (0.0, 1.0),
}


@dataclass(frozen=True)
class Comparisons:
    """The tables of an arm, in long form; empty where there is nothing to show.

    `families`: `families.differences`. `measures`: rows of `cells.summarise` with a column measure (accuracy, or
    of MEASURES). `consistency`: `agreement.consistency`. `variance`: `variance.shares`. `resampled`:
    `image_bootstrap.resampled`, when it was asked for.
    """

    families: pd.DataFrame
    measures: pd.DataFrame
    consistency: pd.DataFrame
    variance: pd.DataFrame
    resampled: pd.DataFrame


def numbers(arm: ReportedArm) -> Comparisons:
    """The comparisons of an arm, by its records' predictions and with so many resamples of the test set as it says."""
    runs, home = arm.runs, at_home(arm.rows)
    families = arm.once(verdicts.differences)
    correct = correctness(arm.root, home[home["train_size"] == runs["train_size"].max()])
    known = {name: bounds for name, bounds in MEASURES.items() if home[name].notna().any()}
    measures = [summarise(home, runs, name, bounds=bounds).assign(measure=name) for name, bounds in known.items()]
    return Comparisons(
        families,
        pd.concat([arm.by_train_size.assign(measure="accuracy"), *measures], ignore_index=True),
        agreement.consistency(arm.data, correct),
        variance.shares(arm.data),
        image_bootstrap.resampled(families, correct, runs, arm.resamples) if arm.resamples else pd.DataFrame(),
    )
