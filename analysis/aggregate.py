"""One number over several data sets: given from five on, and never instead of each by itself."""

import math
from collections.abc import Mapping, Sequence

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


SAME = [name for name in ARM if name not in ("dataset", "resolution")]  # native resolutions differ


def over_data_sets(arms: Sequence[ArmData]) -> pd.DataFrame:
    """A row per model and train size that arms of several data sets have in common.

    Columns: SAME; train_size; label; data_sets (those in which the model has runs); mean, low, high (interquartile
    mean of accuracy above chance as a share of what is possible; NaN below five data sets); runs (ids)."""
    if not arms:
        return pd.DataFrame()
    rows = pd.concat([at_home(arm.rows).assign(chance=statistics.chance(arm.arm.data.classes)) for arm in arms])
    rows = rows.dropna(subset=["accuracy"])
    result = []
    for key, mine in each_group(rows, [*SAME, "train_size", "label"]):
        scores = {
            name: [normalised(row.accuracy, row.chance) for row in each_row(runs)]
            for name, runs in each_group(mine, "dataset")
        }
        if len(scores) > 1:
            found = interquartile_mean(scores) or Estimate(math.nan, math.nan, math.nan, len(scores))
            names = dict(zip([*SAME, "train_size", "label"], key, strict=True))
            ends = {"mean": found.mean, "low": found.low, "high": found.high}
            result.append({**names, "data_sets": len(scores), **ends, "runs": " ".join(mine["run"])})
    return pd.DataFrame(result)


def answers(arms: Sequence[ArmData]) -> list[Answer]:
    """What is said over data sets at each train size: nothing of one, that each stands by itself below five."""
    table = over_data_sets(arms)
    if table.empty:
        return []
    said = []
    for key, mine in each_group(table[table["data_sets"] >= ENOUGH], [*SAME, "train_size"]):
        names = dict(zip([*SAME, "train_size"], key, strict=True))
        most = mine["data_sets"].max()
        mine = mine[mine["data_sets"] == most].sort_values("mean", ascending=False, kind="stable")
        means = [
            wording.noted(row.label, wording.value(Estimate(row.mean, row.low, row.high, row.data_sets)))
            for row in each_row(mine)
        ]
        conditions = (
            f"size {names['size']}, recipe {names['recipe']}, {wording.number(names['budget'])} {names['budget_kind']}"
        )
        body = (
            "interquartile mean of accuracy above chance, as a share of what is possible; runs vary in the brackets, "
            f"data sets do not: {wording.names(means)}."
        )
        lead = f"Over {most} data sets, with {wording.number(names['train_size'])} images"
        said.append(Answer(lead, conditions, body))
    if not said:
        most = table["data_sets"].max()
        said.append(Answer(f"{most} data sets", "", f"each is shown by itself; one number over them needs {ENOUGH}."))
    return said
