"""The ways of testing that a study asks for beside the usual one, which keep apart what another resolution changes."""

from collections.abc import Iterator

import pandas as pd

from analysis.frame.arms import ArmData
from analysis.frame.cells import summarise
from analysis.frame.frame import default_way
from analysis.frame.naming import NONE
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study


def by_evaluation(arm: ArmData, study: Study) -> pd.DataFrame:
    """Accuracy by every way of testing, for models that the study tests in several; the largest train size.

    The table of `cells.summarise`; a line is the label and the way in words. Places that are not asked for are no rows.
    The evaluation at the training resolution belongs to every way with its crop (or resized side), BatchNorm
    and views."""
    rows = ways_of_testing(arm, study)
    if rows.empty:
        return pd.DataFrame()
    runs = arm.runs[arm.runs["train_size"] == arm.runs["train_size"].max()]
    wanted = set(zip(rows["line"], rows["test_resolution"], strict=True))
    resolutions = sorted(set(rows["test_resolution"].tolist()))
    table = summarise(rows, runs[runs["label"].isin(rows["label"])], "accuracy", resolutions)
    there = [place in wanted for place in zip(table["line"], table["test_resolution"], strict=True)]
    return table[there].reset_index(drop=True)


def ways_of_testing(arm: ArmData, study: Study, part: str = "test") -> pd.DataFrame:
    """The evaluations behind `by_evaluation`, a row for each that the study asks for: columns run, evaluation,
    test_resolution, line, label, train_size, draw, seed, draw_runs, state, starved; accuracy and count (NaN until
    measured)."""
    runs = arm.runs[arm.runs["train_size"] == arm.runs["train_size"].max()]
    of_run = runs.set_index("run")
    asked = pd.DataFrame(
        [
            {"run": run.id, "evaluation": one.id, "test_resolution": one.resolution, "line": f"{label}, {way}"}
            for run in study.runs
            if run.id in of_run.index
            for label in [of_run.at[run.id, "label"]]
            for way, one in _ways(run, _wanted(study.evaluations[run.id], part))
        ],
        columns=["run", "evaluation", "test_resolution", "line"],
    )
    columns = ["run", "label", "train_size", "draw", "seed", "draw_runs", "state", "starved", "collapsed"]
    asked = asked.merge(runs[columns], on="run")
    asked = asked[asked.groupby("label")["line"].transform("nunique") > 1]
    return asked.merge(arm.rows[["run", "evaluation", "accuracy", "count"]], on=["run", "evaluation"], how="left")


def _wanted(evaluations: list[Evaluation], part: str) -> list[Evaluation]:
    """Those on a part, probes apart."""
    return [one for one in evaluations if one.part == part and one.probe == NO_PROBE]


def _shared(one: Evaluation) -> tuple[object, ...]:
    """What an evaluation at the training resolution has in common with others of its way of testing."""
    return one.crop, one.resize_side, one.interpolation, one.aspect, one.batchnorm, one.views


def _ways(run: Run, wanted: list[Evaluation]) -> Iterator[tuple[str, Evaluation]]:
    """Each evaluation with its way of testing in words, in which the default way of carrying goes without saying."""
    default = default_way(run.model, run.options)

    def words(one: Evaluation) -> str:
        return (one.model_copy(update={"carry": NONE}) if one.carry == default else one).words

    away = [one for one in wanted if one.resolution != run.resolution]
    for one in wanted:
        if one.resolution != run.resolution:
            yield words(one), one
        else:
            alike = [words(other) for other in away if _shared(other) == _shared(one)]
            yield from ((way, one) for way in dict.fromkeys(alike or [words(one)]))
