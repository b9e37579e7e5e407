"""Learning curves as numbers: a row for each draw and seed, a column for each train size.

Whole curves are the unit of every statistic on them, because the points of a curve share images (subsets are nested)
and often a seed. Where runs are missing, either the draws and seeds that lack a size are left out whole, or the sizes
that some of them lack: whichever keeps more points, so that a largest size with one run does not cost all others.
Where draws and seeds are crossed, so that a draw is the unit, a draw that lacks one of its planned seeds is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.statistics import intervals


@dataclass(frozen=True)
class Curves:
    """One model's `accuracy` and `run` (ids), each with a row a (draw, seed) and a column a train size, ascending;
    `draw_runs` (see `frame.COLUMNS`) by (draw, seed)."""

    accuracy: pd.DataFrame
    run: pd.DataFrame
    draw_runs: pd.Series

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Train sizes (images), ascending: the columns of `values`."""
        return tuple(int(size) for size in self.accuracy.columns)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """Accuracies (units, sizes); a unit is as in `statistics.by_unit`: the mean of a draw where draws and seeds are
        crossed, else a draw and seed."""
        crossed = bool((self.draw_runs > 1).any())
        return (self.accuracy.groupby(level="draw").mean() if crossed else self.accuracy).to_numpy(dtype=float)

    @cached_property
    def runs(self) -> str:
        """Ids, by draw, seed and size, separated by spaces."""
        return " ".join(str(one) for row in self.run.to_numpy() for one in row)

    def __len__(self) -> int:
        """How many units there are (see `values`)."""
        return len(self.values)

    def at(self, units: pd.Index, sizes: pd.Index) -> "Curves":
        """The part of the curves at these (draw, seed) `units` and train `sizes`. Raises KeyError for one not there."""
        return Curves(self.accuracy.loc[units, sizes], self.run.loc[units, sizes], self.draw_runs.loc[units])

    def whole(self, least: int) -> "Curves":
        """The largest part without a gap, of at least `least` sizes (all, where there are fewer), and of it the draws
        that lack no seed."""
        least = min(least, len(self.sizes))
        part = _gapless(self.accuracy, lambda sizes: len(sizes) if len(sizes) >= least else 0)
        return self.at(_of_whole_draws(self.draw_runs.loc[part.index]), part.columns)


def curves_of(rows: pd.DataFrame) -> Curves:
    """The curves of one model: `rows` has one row a run (columns run, draw, seed, draw_runs, train_size, accuracy).

    Raises ValueError for several rows of a draw, seed and size."""
    known = rows.dropna(subset=["accuracy"])
    twice = known.duplicated([*intervals.UNITS, "train_size"])
    if twice.any():
        raise ValueError(f"curves_of: several rows for the draw, seed and size of {known.loc[twice, 'run'].iloc[0]}")
    accuracy, run = (
        known.pivot(index=intervals.UNITS, columns="train_size", values=name).sort_index().sort_index(axis="columns")
        for name in ("accuracy", "run")
    )
    return Curves(accuracy, run, known.groupby(intervals.UNITS)["draw_runs"].min())


def paired(a: Curves, b: Curves) -> tuple[Curves, Curves]:
    """Both over the same draws and seeds, in the same order: the largest part without a gap of what both have, by the
    points of the shorter curve, with two sizes of each at least; of it the draws that lack no seed of either."""
    both = pd.concat({"a": a.accuracy, "b": b.accuracy}, axis="columns", join="inner").sort_index()

    def points(columns: pd.Index) -> int:
        of_a, of_b = (columns.get_level_values(0).to_list().count(name) for name in "ab")
        return min(of_a, of_b) if of_a >= min(2, len(a.sizes)) and of_b >= min(2, len(b.sizes)) else 0

    part = _gapless(both, points)
    planned = pd.concat([one.draw_runs.loc[part.index] for one in (a, b)], axis="columns").min(axis="columns")  # pairs
    index = _of_whole_draws(planned)
    side, size = (part.columns.get_level_values(level) for level in (0, 1))
    left, right = (
        replace(one.at(index, size[side == name]), draw_runs=planned.loc[index]) for one, name in ((a, "a"), (b, "b"))
    )
    return left, right


def _of_whole_draws(draw_runs: pd.Series) -> pd.Index:
    """The draws and seeds of those draws of which as many seeds are in the index as are planned."""
    return draw_runs.index[draw_runs.groupby(level="draw").transform("size") >= draw_runs]


def missing_sizes(runs: pd.DataFrame, curves: Curves) -> str:
    """The train sizes that `runs`, all those of a model, were planned with and `curves` are without, by spaces."""
    return " ".join(str(size) for size in sorted(set(runs["train_size"]) - set(curves.sizes)))


def _gapless(table: pd.DataFrame, points: Callable[[pd.Index], int]) -> pd.DataFrame:
    """The part of `table` without NaN that has the most `points` (those of a row, by its columns, times rows) of those
    that keep its fullest columns: all of them, all but the emptiest, and so on. On a tie more columns."""
    there = table.notna().to_numpy()
    fullest = (-there.sum(axis=0)).argsort(kind="stable")
    parts = [sorted(fullest[:count].tolist()) for count in range(len(fullest), 0, -1)]

    def size(part: list[int]) -> int:
        return int(there[:, part].all(axis=1).sum()) * points(table.columns[part])

    best = max(parts, key=size)  # the first of several
    return table.iloc[np.flatnonzero(there[:, best].all(axis=1))].iloc[:, best]
