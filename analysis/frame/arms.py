"""Arms: the parts of a study within which runs may be compared.

Fixed steps and fixed epochs are different questions, and so are other data, recipes, sizes and training resolutions.
A table or figure therefore holds one arm; `one_arm` refuses anything else.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis import wording
from analysis.frame.frame import ARM, Frame
from analysis.frame.main_rows import probed, unprobed
from analysis.frame.rows import each_group
from benchmarks.data.catalogue import DATASETS
from benchmarks.data.dataset import Dataset
from benchmarks.plan.run import Run


class MixedArmsError(ValueError):
    """A table or figure was asked to hold runs that do not answer the same question."""


# A recipe as `name_recipes` has it: 'plain (learning_rate=0.002), tuned'.
WITH_NUMBERS = re.compile(r"(?P<name>[^()]*) \((?P<numbers>[^()]*)\)(?P<how>[^()]*)")
BETWEEN = r", (?=\w+=)"  # numbers, of which one may be a list


def default(field: str) -> object:
    """What a run has in this field unless it is told otherwise."""
    return Run.model_fields[field].get_default()


@dataclass(frozen=True)
class Arm:
    """What all runs of an arm have in common: the columns `frame.ARM`, which make it, and the classes of its data with
    the accuracy of guessing (`frame.COLUMNS`)."""

    dataset: str
    size: str
    recipe: str
    budget_kind: str
    budget: float
    resolution: int
    validation: float
    precision: str
    protocol: int
    classes: int = field(default=0, compare=False)
    chance: float = field(default=math.nan, compare=False)

    @property
    def interpolation_only(self) -> bool:
        """Whether another test resolution shows no new detail; nobody says that of a folder of images."""
        return self.dataset in DATASETS and DATASETS[self.dataset].interpolation_only

    @property
    def parts(self) -> dict[str, str]:
        """Each thing that makes the arm, by its name, in words."""
        return {
            "data set": self.dataset,
            "size": f"size {self.size}",
            "recipe": f"recipe {self.recipe}",
            "budget": f"{wording.number(self.budget)} {self.budget_kind}",
            "training resolution": f"trained at {self.resolution} px",
            "precision": self.precision,
            "validation": self.validation_words,
            "protocol": f"protocol {self.protocol}",
        }

    @property
    def unspoken_parts(self) -> set[str]:
        """The parts that go without saying, as they are what a run has by default; no two arms have the same words."""
        return {name for name in ("precision", "validation", "protocol") if getattr(self, name) == default(name)}

    @property
    def words(self) -> str:
        """'digits, size sketch, recipe plain, 600 steps, trained at 8 px': what every claim names."""
        return ", ".join(text for name, text in self.parts.items() if name not in self.unspoken_parts)

    @property
    def validation_words(self) -> str:
        """Where the validation part comes from, in words."""
        if self.validation == 0:
            return "no validation part"
        if self.validation < 1:
            return f"validation is {100 * self.validation:g} % of n"
        return f"oracle validation: {wording.number(self.validation)} labelled images outside n"


@dataclass(frozen=True)
class ArmData:
    """An arm with its runs (whatever their state) and its evaluations; rows of `Frame.runs` and `Frame.rows`. `probed`
    has the evaluations of probes, `rows` all others."""

    arm: Arm
    dataset: Dataset
    runs: pd.DataFrame
    rows: pd.DataFrame
    probed: pd.DataFrame = field(default_factory=pd.DataFrame)


def one_arm(table: pd.DataFrame) -> Arm:
    """The arm that all rows of `table` belong to.

    Raises MixedArmsError, naming the columns and their values, when there are several, and ValueError when there is
    no row at all."""
    if table.empty:
        raise ValueError("one_arm: there are no rows")
    mixed = {name: sorted(table[name].unique().tolist(), key=str) for name in ARM if table[name].nunique() > 1}
    if mixed:
        phrases = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in mixed.items())
        raise MixedArmsError(f"these runs do not answer the same question and belong in separate tables ({phrases})")
    first = {name: table[name].tolist()[0] for name in (*ARM, "classes", "chance")}
    return Arm(**first)


@dataclass(frozen=True)
class ArmNames:
    """Arms beside each other: what all have in `common`, in words; the names of the parts in which they are
    `differing`; and of each arm its `own` words, which tell it from the others."""

    arms: tuple[Arm, ...]
    common: str
    differing: tuple[str, ...]
    own: tuple[str, ...]

    def words_of(self, some: Sequence[Arm]) -> str:
        """Some of the arms, in their order: 'recipe none; recipe plain', 'every condition'; all of one alone."""
        if len(self.arms) == 1:
            return self.arms[0].words
        if len(some) == len(self.arms):
            return "every condition"
        return "; ".join(own for arm, own in zip(self.arms, self.own, strict=True) if arm in some)


def arm_names(arms: Sequence[Arm]) -> ArmNames:
    """What unlike arms have in common, and what tells each from the others; nothing of no arm."""
    if not arms:
        return ArmNames((), "", (), ())
    parts = [arm.parts for arm in arms]
    recipes, shared = _without_shared([arm.recipe for arm in arms])
    if shared:
        parts = [{**one, "recipe": f"recipe {recipe}"} for one, recipe in zip(parts, recipes, strict=True)]
    differing = tuple(name for name in parts[0] if len({words[name] for words in parts}) > 1)
    common = [text for name, text in parts[0].items() if name not in (*differing, *arms[0].unspoken_parts)]
    if shared:
        common.append(f"all recipes ({shared})")
    own = tuple(", ".join(words[name] for name in differing) for words in parts)
    return ArmNames(tuple(arms), ", ".join(common), differing, own)


def _without_shared(recipes: Sequence[str]) -> tuple[list[str], str]:
    """Unlike recipes without the numbers that all of them have, and these: of 'plain (a=1, b=2)' and 'none (a=1, b=3)'
    'plain (b=2)', 'none (b=3)' and 'a=1'."""
    found = [WITH_NUMBERS.fullmatch(recipe) for recipe in recipes]
    if len(set(recipes)) == 1 or not all(found):
        return list(recipes), ""
    numbers = [re.split(BETWEEN, one["numbers"]) for one in found if one]
    shared = [number for number in numbers[0] if all(number in others for others in numbers)]
    own = [", ".join(number for number in one if number not in shared) for one in numbers]
    names = [
        f"{one['name']}{f' ({rest})' if rest else ''}{one['how']}" for one, rest in zip(found, own, strict=True) if one
    ]
    return names, ", ".join(shared)


def split(frame: Frame) -> list[ArmData]:
    """The arms of a frame, in the order in which their runs appear."""
    arms = []
    for key, runs in each_group(frame.runs, ARM):
        rows = frame.rows
        for name, wanted in zip(ARM, key, strict=True):
            rows = rows[rows[name] == wanted]
        arm = one_arm(runs)
        arms.append(ArmData(arm, frame.datasets[arm.dataset], runs, unprobed(rows), probed(rows)))
    return arms


def alike_but_for(arms: Sequence[ArmData], columns: Sequence[str]) -> list[list[int]]:
    """The places in `arms` of those that are equal but for `columns` (of `frame.ARM`), where there are several; in
    their order. The only way for arms to stand beside each other; they are never mixed in a number."""
    same = [name for name in ARM if name not in columns]
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, data in enumerate(arms):
        groups.setdefault(tuple(getattr(data.arm, name) for name in same), []).append(place)
    return [places for places in groups.values() if len(places) > 1]
