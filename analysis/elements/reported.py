"""An arm as a report has it: its number, its records, and what has been computed of them so far.

Every question is asked of a `ReportedArm`. What several sections of a page need is computed once: `arm.once(make)` is
`make(arm)`, remembered. So questions are pure functions of an arm, in any order, and none has to hand its tables on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from analysis.frame.arms import Arm, ArmData, split
from analysis.frame.cells import accuracy_by_train_size
from analysis.frame.frame import Frame
from analysis.frame.states import RECORDED
from benchmarks.plan.run import default_evaluation
from benchmarks.plan.study import Study

T = TypeVar("T")


@dataclass(frozen=True)
class Anchors:
    """The anchors of an arm's runs, made from its number and the order of its labels."""

    arm: int
    labels: tuple[str, ...]

    def model(self, label: str) -> str:
        """All runs of a model. Raises ValueError for a label that the arm does not have, as do the others."""
        return f"a{self.arm}-m{self.labels.index(label) + 1}"

    def cell(self, label: str, train_size: int) -> str:
        """The runs of a model at a train size."""
        return f"{self.model(label)}-n{train_size}"

    def pair(self, label: str, reference: str, train_size: int) -> str:
        """The runs of two models at a train size, pair by pair."""
        return f"{self.cell(label, train_size)}-m{self.labels.index(reference) + 1}"


@dataclass(frozen=True, eq=False)
class ReportedArm:
    """`number` is that of the arm on the page, from 1; `data` its runs and evaluations; `study` the studies of the
    report as one; `root` the folder of the records; `resamples` how often the test set is resampled (0: not at all)."""

    number: int
    data: ArmData
    study: Study
    root: Path
    resamples: int = 0
    _made: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, make: Callable[["ReportedArm"], T]) -> T:
        """make(self), computed when it is first asked for. `make` is a function of a module, no lambda or partial."""
        if make not in self._made:
            self._made[make] = make(self)
        found: T = self._made[make]
        return found

    @property
    def arm(self) -> Arm:
        """What all runs of the arm have in common."""
        return self.data.arm

    @property
    def words(self) -> str:
        """What the arm is, as every claim names it."""
        return self.arm.words

    @property
    def rows(self) -> pd.DataFrame:
        """The evaluations of the arm, probes apart: rows of `Frame.rows`."""
        return self.data.rows

    @property
    def probed(self) -> pd.DataFrame:
        """The evaluations of the arm with a probe, which `rows` are without: rows of `Frame.rows`."""
        return self.data.probed

    @property
    def runs(self) -> pd.DataFrame:
        """The runs of the arm, whatever their state: rows of `Frame.runs`."""
        return self.data.runs

    @cached_property
    def links(self) -> Anchors:
        """Where the cells of its tables lead."""
        return Anchors(self.number, tuple(dict.fromkeys(self.runs["label"])))

    @cached_property
    def by_train_size(self) -> pd.DataFrame:
        """Test accuracy at the training resolution, as `cells.accuracy_by_train_size` describes it."""
        return accuracy_by_train_size(self.data)

    @cached_property
    def resolutions(self) -> list[int]:
        """The test resolutions (pixels) at which the study asks for the default evaluation of a run of this arm."""
        ids = set(self.runs["run"])
        wanted = [(run, one) for run in self.study.runs if run.id in ids for one in self.study.evaluations[run.id]]
        return sorted({one.resolution for run, one in wanted if one == default_evaluation(run, "test", one.resolution)})

    @property
    def begun(self) -> bool:
        """Whether any of its runs has come to a result."""
        return bool(self.runs["state"].isin(RECORDED).any())

    @property
    def tested_elsewhere(self) -> bool:
        """Whether the study asks for another test resolution than that of training."""
        return any(resolution != self.arm.resolution for resolution in self.resolutions)


def reported_arms(study: Study, frame: Frame, root: Path, resamples: int = 0) -> list[ReportedArm]:
    """The arms of a study in its order; `root` has the records of `frame`, and so the predictions."""
    return [ReportedArm(number, arm, study, root, resamples) for number, arm in enumerate(split(frame), start=1)]


def begun(arms: Sequence[ReportedArm]) -> list[ReportedArm]:
    """Those that have a result; all of them where none has."""
    return [arm for arm in arms if arm.begun] or list(arms)
