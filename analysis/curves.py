"""Learning curves as numbers: a row for each draw and seed, a column for each train size.

Whole curves are the unit of every statistic on them, because the points of a curve share images (subsets are nested)
and often a seed. A draw and seed that lacks one of the model's sizes is therefore left out whole, and where draws and
seeds are crossed, so that a draw is the unit, a draw that lacks one of its planned seeds.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import statistics


@dataclass(frozen=True)
class Curves:
    """One model's `accuracy` and `run` (ids), each with a row a (draw, seed) and a column a train size, ascending;
    `draw_runs` (see `frame.COLUMNS`) by (draw, seed)."""

    accuracy: pd.DataFrame
    run: pd.DataFrame
    draw_runs: pd.Series

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.accuracy.columns)

    @property
    def values(self) -> NDArray[np.float64]:
        """Accuracies (units, sizes); a unit is as in `statistics.by_unit`: the mean of a draw where draws and seeds are
        crossed, else a draw and seed."""
        crossed = bool((self.draw_runs > 1).any())
        return (self.accuracy.groupby(level="draw").mean() if crossed else self.accuracy).to_numpy(dtype=float)

    @property
    def runs(self) -> str:
        """Ids, by draw, seed and size, separated by spaces."""
        return " ".join(str(one) for row in self.run.to_numpy() for one in row)

    def __len__(self) -> int:
        return len(self.accuracy)

    def at(self, index: pd.Index) -> "Curves":
        return Curves(self.accuracy.loc[index], self.run.loc[index], self.draw_runs.loc[index])

    @property
    def whole(self) -> "Curves":
        """Without the draws and seeds that lack a size, and without the draws that lack a seed then."""
        return self.at(_of_whole_draws(self.draw_runs.loc[self.accuracy.dropna().index]))


def curves_of(rows: pd.DataFrame) -> Curves:
    """The curves of one model: `rows` has one row a run (columns run, draw, seed, draw_runs, train_size, accuracy).

    Raises ValueError for several rows of a draw, seed and size."""
    known = rows.dropna(subset=["accuracy"])
    twice = known.duplicated([*statistics.UNITS, "train_size"])
    if twice.any():
        raise ValueError(f"curves_of: several rows for the draw, seed and size of {known.loc[twice, 'run'].iloc[0]}")
    accuracy, run = (
        known.pivot(index=statistics.UNITS, columns="train_size", values=name).sort_index().sort_index(axis="columns")
        for name in ("accuracy", "run")
    )
    return Curves(accuracy, run, known.groupby(statistics.UNITS)["draw_runs"].min())


def paired(a: Curves, b: Curves) -> tuple[Curves, Curves]:
    """Both over the draws and seeds that both have whole, in the same order."""
    both = a.accuracy.dropna().index.intersection(b.accuracy.dropna().index).sort_values()
    planned = pd.concat([a.draw_runs.loc[both], b.draw_runs.loc[both]], axis="columns").min(axis="columns")  # pairs
    index = _of_whole_draws(planned)
    left, right = (replace(one.at(index), draw_runs=planned.loc[index]) for one in (a, b))
    return left, right


def _of_whole_draws(draw_runs: pd.Series) -> pd.Index:
    """The draws and seeds of those draws of which as many seeds are in the index as are planned."""
    return draw_runs.index[draw_runs.groupby(level="draw").transform("size") >= draw_runs]
