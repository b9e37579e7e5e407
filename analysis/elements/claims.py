"""Claims: answers in words with the anchor of what shows their numbers, what they hold for, what must be said beside.

Every sentence of a question says of a model that is starved, or lacks runs, that it is; `reservations` has the words.
"""

from typing import NamedTuple

import pandas as pd

from analysis import wording
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.rows import each_group
from analysis.frame.states import WITHOUT_RESULT
from analysis.statistics import intervals
from analysis.wording import Answer, Scope


class Claim(NamedTuple):
    """An answer, and the anchor of the chapter or table that it comes from."""

    answer: Answer
    anchor: str


def scope(arm: ArmData, train_size: int) -> Scope:
    """What a claim at a train size holds for: arm and number of units. Raises MixedArmsError for several arms."""
    cell = arm.runs[arm.runs["train_size"] == train_size]
    return Scope(one_arm(arm.runs).words, intervals.units_words(cell))


def reservations(runs: pd.DataFrame, train_size: int) -> dict[str, tuple[str, ...]]:
    """What a sentence must say of each label at `train_size`: that its cell is starved, or lacks units of its interval,
    and how many runs ended without a result. Such runs are not missing at random: what is in favours a model that
    diverges."""
    at, notes = runs[runs["train_size"] == train_size], {}
    noun = intervals.unit_noun(at)
    for label, cell in each_group(at, "label"):
        units, planned = len(intervals.by_unit(cell, "train_accuracy")), intervals.planned_units(cell)
        states = cell["state"].tolist()
        whole = wording.count(len(cell), "runs")
        ended = [f"{states.count(how)} of {whole} {how}" for how in WITHOUT_RESULT if how in states]
        starved = ("starved",) if cell["starved"].any() else ()
        missing = (f"{units} of {wording.count(planned, noun)}", *ended) if units < planned else ()
        notes[label] = (*starved, *missing)
    return notes
