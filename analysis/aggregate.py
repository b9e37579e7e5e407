"""One number over several data sets: given from five on, and never instead of each by itself."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis import statistics, wording
from analysis.arms import ArmData
from analysis.cells import at_home
from analysis.frame import ARM
from analysis.statistics import LEVEL, Estimate
from analysis.tables import each_group, each_row
from analysis.wording import Answer

ENOUGH = 5  # data sets
RESAMPLES = 2000


def interquartile_mean(scores: Mapping[str, Sequence[float]], seed: int = 0) -> Estimate | None:
    """The mean of the middle half of all scores (data sets x runs), with a 95 % percentile interval by resampling
    runs within each data set (rliable: Agarwal et al. 2021). None below ENOUGH data sets.

    scores: by data set, a score a run, brought to one scale (`normalised`). The interval holds for these data sets:
    runs vary in it, data sets do not; `n` is their number. NaN ends when a data set has one run. Raises ValueError
    for a data set without a run.
    """
    if any(not len(runs) for runs in scores.values()):
        raise ValueError("interquartile_mean: a data set has no run")
    if len(scores) < ENOUGH:
        return None
    everything = np.concatenate([np.asarray(runs, dtype=float) for runs in scores.values()])
    mean = float(stats.trim_mean(everything, 0.25))
    if min(len(runs) for runs in scores.values()) < 2:
        return Estimate(mean, math.nan, math.nan, len(scores))
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([generator.choice(np.asarray(r), (RESAMPLES, len(r))) for r in scores.values()], axis=1)
    means = stats.trim_mean(drawn, 0.25, axis=1)
    low, high = np.quantile(means, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(mean, float(low), float(high), len(scores))


def normalised(accuracy: float, chance: float) -> float:
    """Accuracy above chance as a share of what is possible, so that data sets of any number of classes compare."""
    return (accuracy - chance) / (1 - chance)


SAME = [name for name in ARM if name not in ("dataset", "resolution")]
OWN = "each its own"  # the resolution of data sets that were trained at one each, not all at the same


def over_data_sets(arms: Sequence[ArmData]) -> pd.DataFrame:
    """A row per model and train size that arms of several data sets have in common.

    Columns: SAME; resolution (px that all were trained at, or OWN); train_size; label; data_sets (number); names (of
    the data sets); mean, low, high (interquartile mean of accuracy above chance as a share of what is possible; NaN
    below five data sets); runs (ids). Means of one resolution and train size can be compared: all are over the same
    data sets, those that each model with five or more has. A data set trained at several resolutions is never mixed
    with itself: then there is a row for each."""
    if not arms:
        return pd.DataFrame()
    rows = pd.concat([at_home(arm.rows).assign(chance=statistics.chance(arm.arm.data.classes)) for arm in arms])
    rows = rows.dropna(subset=["accuracy"])
    rows["score"] = [normalised(*both) for both in zip(rows["accuracy"], rows["chance"], strict=True)]
    result = []
    for key, similar in each_group(rows, SAME):
        for resolution, mine in _by_resolution(similar):
            for size, at_size in each_group(mine, "train_size"):
                names = {**dict(zip(SAME, key, strict=True)), "resolution": resolution, "train_size": size}
                result += [{**names, **row} for row in _models(at_size)]
    return pd.DataFrame(result)


def _by_resolution(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(resolution, rows) with one training resolution a data set."""
    if rows["resolution"].nunique() > 1 and (rows.groupby("dataset")["resolution"].nunique() == 1).all():
        yield OWN, rows
    else:
        yield from ((f"{resolution} px", mine) for resolution, mine in each_group(rows, "resolution"))


def _models(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of the models of one resolution and train size, over the data sets that they have in common."""
    sets = {label: list(dict.fromkeys(mine["dataset"])) for label, mine in each_group(rows, "label")}
    wide = [mine for mine in sets.values() if len(mine) >= ENOUGH]
    common = [name for name in wide[0] if all(name in mine for mine in wide)] if wide else []
    for label, mine in each_group(rows, "label"):
        names = sets[label]
        found = Estimate(math.nan, math.nan, math.nan, 0)
        if len(names) >= ENOUGH and len(common) >= ENOUGH:
            names = common
            mine = mine[mine["dataset"].isin(common)]
            found = (
                interquartile_mean({name: list(runs["score"]) for name, runs in each_group(mine, "dataset")}) or found
            )
        if len(names) > 1:
            ends = {"mean": found.mean, "low": found.low, "high": found.high}
            about = {"label": label, "data_sets": len(names), "names": ", ".join(names)}
            yield {**about, **ends, "runs": " ".join(mine["run"])}


def answers(arms: Sequence[ArmData]) -> list[Answer]:
    """What is said over data sets at each resolution and train size: nothing of one, that each stands by itself below
    five in common."""
    table = over_data_sets(arms)
    if table.empty:
        return []
    said = []
    for key, mine in each_group(table.dropna(subset=["mean"]), [*SAME, "resolution", "train_size"]):
        names = dict(zip([*SAME, "resolution", "train_size"], key, strict=True))
        mine = mine.sort_values("mean", ascending=False, kind="stable")
        means = [
            wording.noted(row.label, wording.value(Estimate(row.mean, row.low, row.high, row.data_sets)))
            for row in each_row(mine)
        ]
        budget = f"{wording.number(names['budget'])} {names['budget_kind']}"
        at = "each at a resolution of its own" if names["resolution"] == OWN else f"trained at {names['resolution']}"
        conditions = f"{mine['names'].iloc[0]}; size {names['size']}, recipe {names['recipe']}, {budget}, {at}"
        body = (
            "interquartile mean of accuracy above chance, as a share of what is possible; runs vary in the brackets, "
            f"data sets do not: {wording.names(means)}."
        )
        lead = f"Over {mine['data_sets'].iloc[0]} data sets, with {wording.number(names['train_size'])} images"
        said.append(Answer(lead, conditions, body))
    if not said:
        lead = f"{table['data_sets'].max()} data sets"
        needed = f"{ENOUGH}" if table["data_sets"].max() < ENOUGH else f"{ENOUGH} that its models have in common"
        said.append(Answer(lead, "", f"each is shown by itself; one number over them needs {needed}."))
    return said
