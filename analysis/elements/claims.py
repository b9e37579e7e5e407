"""Claims: answers in words with the anchor of what shows their numbers, what they hold for, what must be said beside.

A sentence that names a model says beside it that it lacks runs; `reservations` has the words. That cells are
under-trained or have collapsed is said once, by the limits of `questions/accuracy`.
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
    """What a sentence must say of each label at `train_size`: that its cell lacks units of its interval, and how many
    runs ended without a result. Such runs are not missing at random: what is in favours a model that diverges."""
    at, notes = runs[runs["train_size"] == train_size], dict[str, tuple[str, ...]]()
    noun = intervals.unit_noun(at)
    for label, cell in each_group(at, "label"):
        units, planned = len(intervals.by_unit(cell, "train_accuracy")), intervals.planned_units(cell)
        states = cell["state"].tolist()
        whole = wording.count(len(cell), "runs")
        ended = [f"{states.count(how)} of {whole} {how}" for how in WITHOUT_RESULT if how in states]
        notes[label] = (f"{units} of {wording.count(planned, noun)}", *ended) if units < planned else ()
    return notes
