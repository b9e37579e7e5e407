"""How much data does each architecture need: test accuracy against train size, at the training resolution."""

from collections.abc import Mapping

import pandas as pd

from analysis import wording
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, summarise
from analysis.frame.rows import each_group
from analysis.questions.accuracy.ranking import rank, told
from analysis.questions.comparisons.verdicts import of_families
from analysis.statistics import intervals
from analysis.wording import Answer, Scope

WITHOUT_RESULT = ("diverged", "failed")  # states of runs that ended, but not with an accuracy


def curve(arm: ArmData) -> pd.DataFrame:
    """The table: a row per model and train size, as `cells.summarise` describes it."""
    return summarise(at_home(arm.rows), arm.runs, "accuracy")


def notes(runs: pd.DataFrame, train_size: int) -> dict[str, tuple[str, ...]]:
    """What a sentence must say of each label at `train_size`: that its cell is starved, or lacks units of its interval,
    and how many runs ended without a result. Such runs are not missing at random: what is in favours a model that
    diverges."""
    at, said = runs[runs["train_size"] == train_size], {}
    noun = intervals.unit_noun(at)
    for label, cell in each_group(at, "label"):
        units, planned = len(intervals.by_unit(cell, "train_accuracy")), intervals.planned_units(cell)
        states = cell["state"].tolist()
        ended = [f"{states.count(how)} of {len(cell)} runs {how}" for how in WITHOUT_RESULT if how in states]
        starved = ("starved",) if cell["starved"].any() else ()
        lacking = (f"{units} of {wording.count(planned, noun)}", *ended) if units < planned else ()
        said[label] = (*starved, *lacking)
    return said


def scope(arm: ArmData, train_size: int) -> Scope:
    """What a claim at a train size holds for: arm and number of units."""
    cell = arm.runs[arm.runs["train_size"] == train_size]
    return Scope(one_arm(arm.runs).words, intervals.units_words(cell))


def answers(arm: ArmData, families: pd.DataFrame | None = None) -> list[Answer]:
    """Sentences on the smallest and the largest train size (`data_needed` has those on what lies between), by the
    differences of declared `families` (`comparisons.differences`) where these have a pair."""
    families = pd.DataFrame() if families is None else families
    rows = at_home(arm.rows)
    sizes = sorted(rows["train_size"].unique())
    said = []
    for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
        ranking = rank(rows[rows["train_size"] == size], "accuracy", declared=of_families(families, size))
        if ranking is not None:
            of_label = notes(arm.runs, size)
            sentence = told(ranking, "mean test accuracy", of_label) + _without(arm.runs, size, of_label)
            said.append(Answer(f"With {wording.number(size)} images", scope(arm, size), sentence))
    return said


def _without(runs: pd.DataFrame, train_size: int, of_label: Mapping[str, tuple[str, ...]]) -> str:
    """The models of which no run came to a result because some diverged or failed: no ranking has them."""
    cells = each_group(runs[runs["train_size"] == train_size], "label")
    names = [
        wording.noted(label, *of_label[label])
        for label, cell in cells
        if cell["train_accuracy"].isna().all() and cell["state"].isin(WITHOUT_RESULT).any()
    ]
    return f" Without any result: {wording.names(names)}." if names else ""
