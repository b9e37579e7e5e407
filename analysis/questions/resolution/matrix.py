"""Training against test resolution, of arms that differ in their training resolution alone; every number is of one."""

from collections.abc import Sequence

import pandas as pd

from analysis.frame.arms import ArmData, alike_but_for
from analysis.questions.resolution import retention

RESOLUTION = ("resolution",)  # the column in which arms of a matrix may differ


def resolution_matrix(arms: Sequence[ArmData]) -> pd.DataFrame:
    """Accuracy by training and test resolution, at the largest train size that all of `arms` have: the rows of
    `cells.summarise` arm by arm, with the column train_resolution.

    `arms` must differ in resolution alone: ValueError otherwise. Empty where they share no train size."""
    if alike_but_for(arms, RESOLUTION) != [list(range(len(arms)))]:
        raise ValueError("resolution_matrix: the arms do not differ in their training resolution alone")
    shared = set.intersection(*(set(data.runs["train_size"]) for data in arms))
    tables = []
    for data in arms:
        table = retention.curve(data, "accuracy", [])
        if shared and len(table):
            at = table[table["train_size"] == max(shared)]
            tables.append(at.assign(train_resolution=data.arm.resolution))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
