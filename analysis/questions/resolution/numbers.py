"""What happens to an arm's models at other test resolutions: all its tables."""

from dataclasses import dataclass

import pandas as pd

from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.carrying import as_chosen, choices, default_and_chosen, several_ways
from analysis.frame.cells import by_carry, summarise
from analysis.frame.paired import differences_by_test_resolution
from analysis.questions.comparisons.verdicts import all_verdicts
from analysis.questions.resolution import retention, ways_of_testing
from analysis.questions.resolution.summary import summary


@dataclass(frozen=True)
class Carrying:
    """Default way of carrying positions and the way chosen on validation (`frame.carrying`), in long form, for models
    tested in several: accuracy, retention and `summary`; `positions`: encodings against their reference, each by its
    chosen way. All empty where no model was tested in several."""

    accuracy: pd.DataFrame
    retention: pd.DataFrame
    summary: pd.DataFrame
    positions: pd.DataFrame


@dataclass(frozen=True)
class Resolutions:
    """Tables in long form, empty where there is nothing to say or nothing may be claimed.

    accuracy, retention: by test resolution, of the models' default ways (`retention.curve`); summary: their areas and
    best resolutions (`summary`). by_way: accuracy by way of testing (`ways_of_testing`), with its summary_by_way."""

    accuracy: pd.DataFrame
    retention: pd.DataFrame
    summary: pd.DataFrame
    by_way: pd.DataFrame
    summary_by_way: pd.DataFrame
    carrying: Carrying


def numbers(arm: ReportedArm) -> Resolutions:
    """The tables of an arm at the test resolutions that its study asks for."""
    nothing, data, resolutions = pd.DataFrame(), arm.data, arm.resolutions
    accuracy = retention.curve(data, "accuracy", resolutions)
    by_way = ways_of_testing.by_evaluation(data, arm.study)
    if arm.arm.interpolation_only:
        return Resolutions(accuracy, nothing, nothing, by_way, nothing, Carrying(nothing, nothing, nothing, nothing))
    return Resolutions(
        accuracy,
        retention.curve(data, "retention", resolutions) if arm.tested_elsewhere else nothing,
        summary(by_carry(arm.rows), by_carry(arm.rows, "validation"), arm.runs, resolutions),
        by_way,
        _summary_by_way(arm),
        _carrying(arm, resolutions),
    )


def _summary_by_way(arm: ReportedArm) -> pd.DataFrame:
    """With what is not measured yet: it decides the ends of an area."""
    tested = ways_of_testing.ways_of_testing(arm.data, arm.study)
    if tested.empty:
        return pd.DataFrame()
    on_validation = ways_of_testing.ways_of_testing(arm.data, arm.study, "validation").dropna(subset=["accuracy"])
    return summary(tested, on_validation, arm.runs)


def _carrying(reported: ReportedArm, resolutions: list[int]) -> Carrying:
    arm = reported.data
    if not several_ways(arm.rows):
        nothing = pd.DataFrame()
        return Carrying(nothing, nothing, nothing, nothing)
    both = default_and_chosen(arm.rows)
    runs = arm.runs[arm.runs["label"].isin(both["label"])]
    seen = sorted(set(both["test_resolution"]).union(resolutions))
    return Carrying(
        summarise(both, runs, "accuracy", seen),
        summarise(retention.retained(both), runs, "retention", seen, bounds=None),
        summary(both, default_and_chosen(arm.rows, "validation"), arm.runs, resolutions),
        reported.once(all_verdicts).applied(positions_by_chosen_way(arm, resolutions), arm.arm.resolution),
    )


def positions_by_chosen_way(arm: ArmData, resolutions: list[int]) -> pd.DataFrame:
    """Positional encodings against their reference (`paired.differences_by_test_resolution`), every model by the way of
    carrying positions chosen on validation, where it was tested in several; empty unless some model was."""
    if choices(arm.rows).empty:
        return pd.DataFrame()
    return differences_by_test_resolution(as_chosen(arm.rows), arm.runs, resolutions)
