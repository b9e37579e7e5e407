"""Arms: the parts of a study within which runs may be compared.

Fixed steps and fixed epochs are different questions, and so are other data, recipes, sizes and training resolutions.
A table or figure therefore holds one arm; `one_arm` refuses anything else.
"""

from dataclasses import dataclass

import pandas as pd

from analysis import wording
from analysis.frame import ARM, Frame
from analysis.tables import each_group
from benchmarks.datasets import Dataset, dataset


class MixedArmsError(ValueError):
    """A table or figure was asked to hold runs that do not answer the same question."""


@dataclass(frozen=True)
class Arm:
    """What all runs of an arm have in common (the columns `frame.ARM`)."""

    dataset: str
    size: str
    recipe: str
    budget_kind: str
    budget: float
    resolution: int
    validation: float
    precision: str
    protocol: int

    @property
    def data(self) -> Dataset:
        return dataset(self.dataset)

    @property
    def words(self) -> str:
        """'digits, size sketch, recipe plain, 600 steps, trained at 8 px': what every claim names."""
        parts = [
            self.dataset,
            f"size {self.size}",
            f"recipe {self.recipe}",
            f"{wording.number(self.budget)} {self.budget_kind}",
            f"trained at {self.resolution} px",
            *([self.precision] if self.precision != "float32" else []),
        ]
        return ", ".join(parts + ([self.validation_words] if self.validation_words.startswith("oracle") else []))

    @property
    def validation_words(self) -> str:
        if self.validation == 0:
            return "no validation part"
        if self.validation < 1:
            return f"validation is {100 * self.validation:g} % of n"
        return f"oracle validation: {wording.number(self.validation)} labelled images outside n"


@dataclass(frozen=True)
class ArmData:
    """An arm with its runs (whatever their state) and its evaluations; rows of `Frame.runs` and `Frame.rows`."""

    arm: Arm
    runs: pd.DataFrame
    rows: pd.DataFrame


def one_arm(table: pd.DataFrame) -> Arm:
    """The arm that all rows of `table` belong to.

    Raises MixedArmsError, naming the columns and their values, when there are several, and ValueError when there is
    no row at all."""
    if table.empty:
        raise ValueError("one_arm: there are no rows")
    mixed = {name: sorted(table[name].unique().tolist(), key=str) for name in ARM if table[name].nunique() > 1}
    if mixed:
        said = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in mixed.items())
        raise MixedArmsError(f"these runs do not answer the same question and belong in separate tables ({said})")
    first = {name: table[name].tolist()[0] for name in ARM}
    return Arm(**first)


def split(frame: Frame) -> list[ArmData]:
    """The arms of a frame, in the order in which their runs appear."""
    arms = []
    for key, runs in each_group(frame.runs, ARM):
        rows = frame.rows
        for name, wanted in zip(ARM, key, strict=True):
            rows = rows[rows[name] == wanted]
        arms.append(ArmData(one_arm(runs), runs, rows))
    return arms
