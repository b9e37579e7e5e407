"""Intervals over seeds, paired differences, chance level and sampling error.

Why t-intervals: with three, five and ten seeds of normal noise, the nominal 95 % percentile bootstrap covers the
true mean in 74, 84 and 90 % of studies, the t-interval in 95 % (tests/analysis/test_statistics.py repeats the
t side of it). So nothing here resamples a handful of seeds.

The unit of an interval is a *draw* (one subset of images) where a study has several, else a *seed*. Usually each
draw has its own seed and a unit is one run. Where a study crosses draws with seeds, the runs of one draw are
averaged first: runs that share a subset are not independent, and counting them as such makes intervals too narrow.
What is crossed is decided by the planned runs (the column draw_runs), whatever of them has finished.

All values are shares (accuracy 0.942, difference -0.013), never per cent; per cent is made where text is made.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
UNITS = ["draw", "seed"]
Verdict = Literal["above", "below", "unclear", "no interval"]

_EQUAL = 1e-12  # differences of float accuracies closer than this are rounding, not spread


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` units with its t-interval; `low` and `high` are NaN where no interval exists."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known: of one unit, or of units that are all equal, they are not."""
        return not math.isnan(self.low)

    def __neg__(self) -> "Estimate":
        """b - a from a - b."""
        return Estimate(-self.mean, -self.high, -self.low, self.n)


def t_interval(values: Iterable[float], level: float = LEVEL, bounds: tuple[float, float] | None = None) -> Estimate:
    """Mean and Student t-interval of independent `values` (n,).

    There is no interval with one value, and none when all values are equal (scipy.stats.t.interval gives NaN for a
    scale of 0 as well): no spread was seen, which is not the same as knowing that there is none. `bounds` cuts the
    interval to the values that are possible (0 and 1 for an accuracy), which costs no coverage.
    Raises ValueError for a value that is not finite.
    """
    array = np.asarray(list(values), dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"t_interval: values must be finite, not {array.tolist()}")
    n = array.size
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(array.mean())
    if n == 1 or float(np.ptp(array)) < _EQUAL:
        return Estimate(mean, math.nan, math.nan, n)
    half = float(t_quantile(level, n - 1) * array.std(ddof=1) / math.sqrt(n))
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Estimate(mean, low, high, n)


@cache  # scipy takes longer for it than everything else here together
def t_quantile(level: float, df: int) -> float:
    """What a t-distributed number with so many degrees of freedom stays below in size, with probability `level`."""
    return float(stats.t.ppf(0.5 + level / 2, df))


def exponentiated(log: Estimate) -> Estimate:
    """An estimate of a logarithm as one of the quantity: a geometric mean, and an interval that is no longer even. What
    no float holds is infinite."""
    with np.errstate(over="ignore"):
        mean, low, high = (float(np.exp(value)) for value in (log.mean, log.low, log.high))
    return Estimate(mean, low, high, log.n)


def by_unit(rows: pd.DataFrame, value: str) -> NDArray[np.float64]:
    """One number per independent unit, by draw and seed: the `value` of a row, or where draws and seeds are crossed the
    mean of each draw of which all planned runs are in (another's would hold for other seeds).

    Rows need the columns draw, seed, draw_runs (see `frame.COLUMNS`) and `value`; NaN values are left out."""
    draws, seeds, planned = (rows[name].to_numpy() for name in (*UNITS, "draw_runs"))
    return _by_unit(draws, seeds, planned, rows[value].to_numpy(dtype=float))


def _by_unit(
    draws: NDArray[Any], seeds: NDArray[Any], planned: NDArray[Any], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    draws, seeds, planned, values = (column[known] for column in (draws, seeds, planned, values))
    if not (planned > 1).any():
        return values[np.lexsort((seeds, draws))]
    # a groupby costs ten times as much, cell by cell
    _, first, places, done = np.unique(draws, return_index=True, return_inverse=True, return_counts=True)
    return (np.bincount(places, weights=values) / done)[done == planned[first]]


def over_seeds(
    rows: pd.DataFrame, value: str, level: float = LEVEL, bounds: tuple[float, float] | None = None
) -> Estimate:
    """The t-interval of `value` over the units of `rows` (one row a run; see `by_unit`)."""
    return t_interval(by_unit(rows, value), level, bounds)


def pairs(a: pd.DataFrame, b: pd.DataFrame, value: str) -> pd.DataFrame:
    """The runs of `a` beside the runs of `b` with the same draw and seed, `difference` being a - b.

    Columns: draw, seed, draw_runs, run_a, run_b, a, b, difference; one row a shared (draw, seed), in order. Where one
    side has fewer runs planned of a draw, those are the pairs that are planned (the seeds of the other hold them).
    Raises ValueError when a side has two rows for one (draw, seed): then it mixes what must not be mixed.
    """
    names = [*UNITS, "draw_runs", "run_a", "run_b", "a", "b", "difference"]
    kinds = {"draw": "int64", "seed": "int64", "draw_runs": "int64", "run_a": "str", "run_b": "str"}
    rows = _side_by_side(a, b, value)
    return pd.DataFrame(rows, columns=names).astype(kinds | dict.fromkeys(("a", "b", "difference"), "float64"))


def _side_by_side(a: pd.DataFrame, b: pd.DataFrame, value: str) -> list[tuple[Any, ...]]:
    """The rows of `pairs`: a merge costs many times as much, pair of cells by pair of cells."""
    mine, theirs = (_by_draw_and_seed(side, ("draw_runs", "run", value)) for side in (a, b))
    for side, units in ((a, mine), (b, theirs)):
        if len(units) < len(side):
            twice = side.loc[side.duplicated(UNITS), UNITS].values.tolist()[0]
            raise ValueError(f"pairs: several rows for draw and seed {twice}")
    both = []
    for unit in sorted(mine.keys() & theirs.keys()):
        (planned, run, score), (their_planned, their_run, their_score) = mine[unit], theirs[unit]
        if not math.isnan(score - their_score):
            scores = (score, their_score, score - their_score)
            both.append((*unit, min(planned, their_planned), run, their_run, *scores))
    return both


def _by_draw_and_seed(rows: pd.DataFrame, names: Iterable[str]) -> dict[tuple[int, int], list[Any]]:
    """What `rows` have in the columns `names`, by draw and seed."""
    columns = (rows[name].tolist() for name in (*UNITS, *names))
    return {(draw, seed): others for draw, seed, *others in zip(*columns, strict=True)}


def paired_difference(a: pd.DataFrame, b: pd.DataFrame, value: str, level: float = LEVEL) -> Estimate:
    """Mean of a - b over the draws and seeds that both have, with its t-interval.

    Pairing removes what both share (the subset, and the order of its images) from the spread."""
    rows = _side_by_side(a, b, value)
    draws, seeds, planned, differences = (np.array([row[place] for row in rows]) for place in (0, 1, 2, -1))
    return t_interval(_by_unit(draws, seeds, planned, differences.astype(float)), level)


def verdict(difference: Estimate) -> Verdict:
    """What an interval of a difference allows to say: "unclear" when it contains 0."""
    if not difference.has_interval:
        return "no interval"
    if difference.low > 0:
        return "above"
    if difference.high < 0:
        return "below"
    return "unclear"


def chance(classes: int) -> float:
    """Accuracy of guessing with equal class probabilities."""
    if classes < 2:
        raise ValueError(f"chance: a classification has at least 2 classes, not {classes}")
    return 1 / classes


def binomial_se(accuracy: float, count: int) -> float:
    """Standard error of an accuracy measured on `count` images: how much another test set of that size would move
    it. It is no part of the intervals over seeds, which all use the same test set."""
    if count < 1:
        raise ValueError(f"binomial_se: needs at least one image, not {count}")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"binomial_se: accuracy is a share between 0 and 1, not {accuracy}")
    return math.sqrt(accuracy * (1 - accuracy) / count)


def unit_noun(runs: pd.DataFrame) -> str:
    """What is counted when a cell says "2/3 seeds": "seeds", or "draws" where they are crossed with seeds or only they
    vary. `runs` has the columns draw and seed."""
    combinations = _by_draw_and_seed(runs, ()).keys()
    draws, seeds = (len({unit[place] for unit in combinations}) for place in (0, 1))
    crossed = draws > 1 and len(combinations) > draws
    return "draws" if crossed or (draws > 1 and seeds == 1) else "seeds"


def planned_units(runs: pd.DataFrame) -> int:
    """How many units (see `by_unit`) there are once all of `runs`, the planned ones of one model or several, are in."""
    combinations = _by_draw_and_seed(runs, ()).keys()
    crossed = (runs["draw_runs"].to_numpy() > 1).any()
    return len({draw for draw, _ in combinations}) if crossed else len(combinations)


def planned_pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The draws and seeds that the planned runs of two models share, with draw_runs of the pairs (see `pairs`)."""
    mine, theirs = (_by_draw_and_seed(side, ["draw_runs"]) for side in (a, b))
    both = [(*unit, *min(planned, theirs[unit])) for unit, planned in mine.items() if unit in theirs]
    return pd.DataFrame(both, columns=[*UNITS, "draw_runs"])


def units_words(runs: pd.DataFrame) -> str:
    """How many units a model is planned with, at most: '3 seeds', '3 draws, 3 seeds each'."""
    units = max(planned_units(group) for _, group in runs.groupby("label"))
    noun, each = unit_noun(runs), int(runs["draw_runs"].max())
    phrases = f"{units:,} {noun if units > 1 else noun[:-1]}"
    return f"{phrases}, {each} seeds each" if each > 1 else phrases


def covers(runs: pd.DataFrame) -> str:
    """In words, what varies between the units of the intervals of `runs`, and what they are conditional on."""
    draws, seeds = runs["draw"].nunique(), runs["seed"].nunique()
    combinations = len(runs[UNITS].drop_duplicates())
    if draws <= 1 and seeds <= 1:
        return "one seed on one draw: no interval can be given"
    if draws <= 1:
        return f"{seeds} seeds on one draw: the intervals hold for this subset of images"
    if seeds <= 1:
        return f"{draws} draws with one seed: the intervals hold for this seed"
    if combinations > draws:
        return (
            f"{draws} draws crossed with {seeds} seeds: the runs of a draw are averaged and the draw is the unit, so "
            "the intervals hold for these seeds"
        )
    return f"{draws} draws, each with its own seed: subset, initialisation, order and augmentation vary together"
