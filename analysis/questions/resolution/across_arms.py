"""Views across arms: the only places where arms stand beside each other, and they are never mixed in a number.

Two are declared. *Budgets*: arms that differ in their budget alone, fixed steps beside fixed epochs, because a model
that is starved of steps at small n looks hungry for data. *Training resolutions*: arms that differ in resolution
alone, which make the matrix of training and test resolutions. Every number in them is of one arm.
"""

from collections.abc import Sequence

import pandas as pd

from analysis.frame.arms import ArmData
from analysis.frame.frame import ARM
from analysis.questions.resolution import resolution

BUDGET = ("budget_kind", "budget")
RESOLUTION = ("resolution",)


def beside(arms: Sequence[ArmData], columns: tuple[str, ...]) -> list[list[int]]:
    """The places in `arms` of those that are equal but for `columns`, where there are several; in their order."""
    same = [name for name in ARM if name not in columns]
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, data in enumerate(arms):
        groups.setdefault(tuple(getattr(data.arm, name) for name in same), []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def budgets(arms: Sequence[ArmData]) -> list[list[int]]:
    """Groups of arms that differ in budget alone and have more than one kind of it."""
    return [places for places in beside(arms, BUDGET) if len({arms[place].arm.budget_kind for place in places}) > 1]


def resolution_matrix(arms: Sequence[ArmData]) -> pd.DataFrame:
    """Accuracy by training and test resolution, at the largest train size that all of `arms` have: the rows of
    `cells.summarise` arm by arm, with the column train_resolution.

    `arms` must differ in resolution alone: ValueError otherwise. Empty where they share no train size."""
    if beside(arms, RESOLUTION) != [list(range(len(arms)))]:
        raise ValueError("resolution_matrix: the arms do not differ in their training resolution alone")
    shared = set.intersection(*(set(data.runs["train_size"]) for data in arms))
    tables = []
    for data in arms:
        table = resolution.curve(data, "accuracy", [])
        if shared and len(table):
            at = table[table["train_size"] == max(shared)]
            tables.append(at.assign(train_resolution=data.arm.resolution))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
