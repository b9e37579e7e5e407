"""Position ablation: every positional encoding against `learned_1d`, paired over draws and seeds (`frame.paired`)."""

from dataclasses import dataclass

import pandas as pd

from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, by_carry
from analysis.frame.paired import differences_by_test_resolution, encoding_pairs, paired_difference
from analysis.frame.rows import each_group
from analysis.questions.comparisons.verdicts import all_verdicts


@dataclass(frozen=True)
class Positions:
    """The tables of an arm, in long form: `differences` by the verdicts on pairs (with the column `family`), and as
    separate t-intervals where a family has the pair; `differences_away` at each test resolution. Empty where there is
    nothing to compare, or nothing may be claimed on other resolutions."""

    by_train_size: pd.DataFrame
    separate: pd.DataFrame
    by_test_resolution: pd.DataFrame


def numbers(arm: ReportedArm) -> Positions:
    """The differences of an arm, at the training resolution and at each test resolution of the study."""
    judged = arm.once(all_verdicts)
    separate = differences(arm.data)
    by_rule = judged.applied(separate)
    of_family = separate[by_rule["family"] != ""] if len(by_rule) else separate
    claimed = arm.tested_elsewhere and not arm.arm.interpolation_only
    away = differences_away(arm.data, arm.resolutions) if claimed else pd.DataFrame()
    return Positions(by_rule, of_family, judged.applied(away, arm.arm.resolution))


def differences(arm: ArmData) -> pd.DataFrame:
    """The table at the training resolution: a row per encoding and train size.

    Columns: label, line, reference (labels), train_size, model, position (of the label), mean, low, high (difference of
    accuracy, shares), n, done and planned (pairs of runs), planned_n (units), starved, stale (of either side), runs and
    reference_runs (ids, pair by pair). Empty where no model with the reference encoding stands beside another."""
    one_arm(arm.runs)
    rows = at_home(arm.rows)
    at, planned = (dict(each_group(table, ["label", "train_size"])) for table in (rows, arm.runs))
    result = []
    for label, reference in encoding_pairs(arm.runs):
        for size in sorted(arm.runs["train_size"].unique()):
            places = (label, size), (reference, size)
            if not planned.keys() >= set(places):
                continue  # each model may have its own sizes
            key = {"label": label, "line": label, "reference": reference, "train_size": size}
            own, other = (at.get(place, rows.iloc[:0]) for place in places)
            result.append(key | paired_difference(own, other, *(planned[place] for place in places)))
    return pd.DataFrame(result)


def differences_away(arm: ArmData, resolutions: list[int]) -> pd.DataFrame:
    """The same at each of the test `resolutions` (pixels), for the largest train size; one more column,
    test_resolution. Every model carries its positions in its default way."""
    return differences_by_test_resolution(by_carry(arm.rows), arm.runs, resolutions)
