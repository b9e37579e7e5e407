"""What an arm says of resolutions beyond accuracy and retention by each model's default way."""

from dataclasses import dataclass

import pandas as pd

from analysis.frame.arms import ArmData
from analysis.frame.cells import by_carry, summarise
from analysis.questions.positions import ablation
from analysis.questions.resolution import resolution
from analysis.questions.resolution.carrying import default_and_chosen, several_ways
from analysis.questions.resolution.resolution_summary import summary
from benchmarks.plan.study import Study


@dataclass(frozen=True)
class Resolutions:
    """Tables in long form, empty where there is nothing to say or nothing may be claimed.

    summary: `resolution_summary` of the models' default ways; by_evaluation: of every way of testing. carrying,
    carrying_retention, carrying_summary: default way and chosen way, for models tested in several (`carrying`).
    positions_chosen: the position ablation away from home, by the chosen ways."""

    summary: pd.DataFrame
    by_evaluation: pd.DataFrame
    carrying: pd.DataFrame
    carrying_retention: pd.DataFrame
    carrying_summary: pd.DataFrame
    positions_chosen: pd.DataFrame


def resolutions_of(arm: ArmData, study: Study, resolutions: list[int]) -> Resolutions:
    """The tables of an arm; `resolutions` are the study's test resolutions."""
    nothing = pd.DataFrame()
    if arm.arm.interpolation_only:
        return Resolutions(nothing, nothing, nothing, nothing, nothing, nothing)
    runs = arm.runs
    usual = summary(by_carry(arm.rows), by_carry(arm.rows, "validation"), runs, resolutions)
    tested = resolution.ways_of_testing(arm, study)
    by_way = nothing
    if not tested.empty:
        on_validation = resolution.ways_of_testing(arm, study, "validation").dropna(subset=["accuracy"])
        by_way = summary(tested, on_validation, runs)  # with what is not measured yet: it decides the ends of an area
    if not several_ways(arm.rows):
        return Resolutions(usual, by_way, nothing, nothing, nothing, nothing)
    both = default_and_chosen(arm.rows)
    mine = runs[runs["label"].isin(both["label"])]
    seen = sorted(set(both["test_resolution"]).union(resolutions))
    return Resolutions(
        usual,
        by_way,
        summarise(both, mine, "accuracy", seen),
        summarise(resolution.retained(both), mine, "retention", seen, bounds=None),
        summary(both, default_and_chosen(arm.rows, "validation"), runs, resolutions),
        ablation.differences_away(arm, resolutions, chosen=True),
    )
