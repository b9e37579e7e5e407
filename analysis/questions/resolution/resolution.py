"""What happens at another image resolution: accuracy against test resolution, and how much of it is retained.

*Retention* at test resolution r is (accuracy at r - chance) / (accuracy at the training resolution - chance), computed
for each run from its one checkpoint: 1 keeps everything, 0 is guessing. It is undefined (NaN) for a run that is not
two binomial standard errors above chance at home, because the quotient of two noises says nothing.
"""

from collections.abc import Iterator

import pandas as pd

from analysis import wording
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, by_carry, summarise
from analysis.frame.frame import default_way
from analysis.frame.naming import NONE
from analysis.frame.rows import each_row
from analysis.questions.accuracy.data_efficiency import notes, scope
from analysis.questions.accuracy.ranking import rank, told
from analysis.statistics import intervals
from analysis.wording import Answer, Scope
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study
from models import family


def with_retention(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of an arm at all resolutions (see `cells.by_carry`) with the column retention."""
    return retained(by_carry(rows))


def retained(rows: pd.DataFrame) -> pd.DataFrame:
    """Evaluations of an arm, those at the training resolution among them, with the column retention."""
    if rows.empty:
        return rows.assign(retention=pd.Series(dtype=float))
    guess = intervals.chance(one_arm(rows).classes)
    home = at_home(rows).drop_duplicates("run").set_index("run")[["accuracy", "count"]]
    margin = 2 * (guess * (1 - guess) / home["count"]) ** 0.5
    above = (home["accuracy"] - guess).where(home["accuracy"] > guess + margin)
    return rows.assign(retention=(rows["accuracy"] - guess) / rows["run"].map(above))


def curve(arm: ArmData, value: str, resolutions: list[int]) -> pd.DataFrame:
    """The table: a row per model (and way of carrying positions), train size and test resolution.

    `value` is accuracy or retention; `resolutions` are the study's, so that evaluations that are missing show."""
    rows = with_retention(arm.rows)
    seen = set(rows["test_resolution"].tolist())
    wanted = sorted(seen.union(resolutions))
    bounds = (0.0, 1.0) if value == "accuracy" else None
    return summarise(rows, arm.runs, value, wanted, bounds)


def by_evaluation(arm: ArmData, study: Study) -> pd.DataFrame:
    """Accuracy by every way of testing, for models that the study tests in several; the largest train size.

    The table of `cells.summarise`; a line is the label and the way in words. Places that are not asked for are no rows.
    The evaluation at the training resolution belongs to every way with its crop and BatchNorm."""
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
            for way, one in _ways(run, [one for one in study.evaluations[run.id] if one.part == part])
        ],
        columns=["run", "evaluation", "test_resolution", "line"],
    )
    columns = ["run", "label", "train_size", "draw", "seed", "draw_runs", "state", "starved", "collapsed"]
    asked = asked.merge(runs[columns], on="run")
    asked = asked[asked.groupby("label")["line"].transform("nunique") > 1]
    return asked.merge(arm.rows[["run", "evaluation", "accuracy", "count"]], on=["run", "evaluation"], how="left")


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
            alike = [words(other) for other in away if (other.crop, other.batchnorm) == (one.crop, one.batchnorm)]
            yield from ((way, one) for way in dict.fromkeys(alike or [words(one)]))


def answers(arm: ArmData) -> list[Answer]:
    """Sentences on the smallest and largest test resolutions, at the largest train size.

    A data set whose images have no more detail than its native pixels gets one sentence that claims nothing."""
    rows = with_retention(arm.rows)
    away = rows[rows["test_resolution"] != rows["resolution"]]
    if away.empty:
        return []
    data = arm.dataset
    if data.interpolation_only:
        native = data.native_resolution
        remark = (
            f"the images have {native}x{native} pixels and are only interpolated to other sizes, so this is a "
            "demonstration and nothing about architectures is claimed from it."
        )
        return [Answer("Other test resolutions", Scope(data.name), remark)]
    size = int(away["train_size"].max())
    away = away[away["train_size"] == size]
    said = _notes(arm, size, away)
    claims = []
    for resolution in dict.fromkeys([away["test_resolution"].min(), away["test_resolution"].max()]):
        ranking = rank(away[away["test_resolution"] == resolution], "retention", "line", bounds=None)
        if ranking is not None:
            sentence = told(ranking, "retention (share of its accuracy above chance that is kept)", said)
            lead = f"Tested at {resolution} px, with {wording.number(size)} images"
            claims.append(Answer(lead, scope(arm, size), sentence))
    return claims


def _notes(arm: ArmData, train_size: int, rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """As `data_efficiency.notes`, for each line: models that resize their input say so as well."""
    of_label = notes(arm.runs, train_size)
    return {
        line: of_label[label] + (("resizes its input",) if family(model).resizes_input else ())
        for line, label, model in each_row(rows, ["line", "label", "model"])
    }
