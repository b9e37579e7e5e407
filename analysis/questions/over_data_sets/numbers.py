"""One number over several data sets: given from five on, and never instead of each by itself."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.frame.arms import ArmData
from analysis.frame.cells import at_home
from analysis.frame.frame import ARM
from analysis.frame.rows import each_group
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate, t_interval

ENOUGH = 5  # data sets


def interquartile_mean(scores: pd.DataFrame) -> Estimate | None:
    """The mean of the middle half of the data sets' scores (rliable: Agarwal et al. 2021), unit by unit, with its
    t-interval over units. None below ENOUGH data sets.

    scores: a row a unit (draw or seed), a column a data set, on one scale (`normalised`); NaN where there is no run.
    Units that every data set has count, and `n` is their number: with one there is no interval, with none the mean is
    of the data sets' means. The interval holds for these data sets: units vary in it, data sets do not. It is not the
    percentile interval of rliable, which with two to five runs a data set covers 73 to 92 % instead of 95 %. Raises
    ValueError for a data set without a run.
    """
    if scores.isna().all().any():
        raise ValueError("interquartile_mean: a data set has no run")
    if scores.shape[1] < ENOUGH:
        return None
    shared = scores.dropna()
    if shared.empty:
        return Estimate(float(_middle(scores.mean().to_numpy()[None])[0]), math.nan, math.nan, 0)
    return t_interval(_middle(shared.to_numpy()), bounds=(-math.inf, 1.0))


def _middle(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row by row the mean without the lowest and the highest quarter."""
    return np.asarray(stats.trim_mean(scores, 0.25, axis=1))


def normalised(accuracy: float, chance: float) -> float:
    """Accuracy above chance as a share of what is possible, so that data sets of any number of classes compare."""
    return (accuracy - chance) / (1 - chance)


SAME = [name for name in ARM if name not in ("dataset", "resolution")]
OWN = "each its own"  # the resolution of data sets that were trained at one each, not all at the same


def over_data_sets(arms: Sequence[ArmData]) -> pd.DataFrame:
    """A row per model and train size that arms of several data sets have in common.

    Columns: SAME; resolution (px that all were trained at, or OWN); train_size; label; data_sets (number); names (of
    the data sets); mean, low, high (interquartile mean of accuracy above chance as a share of what is possible; NaN
    below five data sets); n, units (draws or seeds that all its data sets have); runs (ids of those).

    Means of one resolution and train size can be compared: all are over the same data sets, those that each model with
    five or more has. A data set trained at several resolutions is never mixed with itself: then each has a row."""
    if not arms:
        return pd.DataFrame()
    rows = pd.concat([at_home(arm.rows) for arm in arms])
    rows = rows.dropna(subset=["accuracy"])
    rows["score"] = [normalised(*both) for both in zip(rows["accuracy"], rows["chance"], strict=True)]
    result = []
    for key, similar in each_group(rows, SAME):
        for resolution, group in _by_resolution(similar):
            for size, at_size in each_group(group, "train_size"):
                names = {**dict(zip(SAME, key, strict=True)), "resolution": resolution, "train_size": size}
                result += [{**names, **row} for row in _models(at_size)]
    return pd.DataFrame(result)


def _by_resolution(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(resolution, rows) with one training resolution a data set."""
    if rows["resolution"].nunique() > 1 and (rows.groupby("dataset")["resolution"].nunique() == 1).all():
        yield OWN, rows
    else:
        yield from ((f"{resolution} px", group) for resolution, group in each_group(rows, "resolution"))


def _models(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of the models of one resolution and train size, over the data sets that they have in common."""
    sets = {label: list(dict.fromkeys(group["dataset"])) for label, group in each_group(rows, "label")}
    wide = [group for group in sets.values() if len(group) >= ENOUGH]
    common = [name for name in wide[0] if all(name in group for group in wide)] if wide else []
    for label, group in each_group(rows, "label"):
        names = sets[label]
        found = Estimate(math.nan, math.nan, math.nan, 0)
        if len(names) >= ENOUGH and len(common) >= ENOUGH:
            names = common
            group = group[group["dataset"].isin(common)]
            crossed = bool((group["draw_runs"] > 1).any())  # by the plan: runs of one draw are not independent
            unit = "draw" if crossed or group["draw"].nunique() > 1 else "seed"
            whole = _whole_draws(group)
            scores = whole.pivot_table("score", unit, "dataset").reindex(columns=common)
            shared = whole[unit].isin(scores.dropna().index)
            if not scores.isna().all().any():
                found = interquartile_mean(scores) or found
            group = whole[shared] if shared.any() else group
        if len(names) > 1:
            noun = "draws" if (group["draw_runs"] > 1).any() else intervals.unit_noun(group)
            ends = {"mean": found.mean, "low": found.low, "high": found.high}
            units = {"n": found.n, "units": noun}
            about = {"label": label, "data_sets": len(names), "names": ", ".join(names)}
            yield {**about, **ends, **units, "runs": " ".join(group["run"])}


def _whole_draws(rows: pd.DataFrame) -> pd.DataFrame:
    """A model's runs without those of draws that lack planned runs of their data set: their mean would hold for other
    seeds (as in `intervals.by_unit`)."""
    return rows[rows.groupby(["dataset", "draw"])["run"].transform("size") >= rows["draw_runs"]]
