"""Learning curves as numbers: a row for each draw and seed, a column for each train size.

Whole curves are the unit of every statistic on them, because the points of a curve share images (subsets are nested)
and often a seed. A draw and seed that lacks one of the model's sizes is therefore left out whole.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import statistics


@dataclass(frozen=True)
class Curves:
    """One model's `accuracy` and `run` (ids), each with a row a (draw, seed) and a column a train size, ascending."""

    accuracy: pd.DataFrame
    run: pd.DataFrame

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.accuracy.columns)

    @property
    def values(self) -> NDArray[np.float64]:
        """Accuracies (units, sizes); a unit is as in `statistics.by_unit`: the mean of a draw where there are several
        draws, else a seed."""
        draws = self.accuracy.index.get_level_values("draw")
        return self.accuracy.groupby(level="draw" if draws.nunique() > 1 else "seed").mean().to_numpy(dtype=float)

    @property
    def runs(self) -> str:
        """Ids, by draw, seed and size, separated by spaces."""
        return " ".join(str(one) for row in self.run.to_numpy() for one in row)

    def __len__(self) -> int:
        return len(self.accuracy)

    def at(self, index: pd.Index) -> "Curves":
        return Curves(self.accuracy.loc[index], self.run.loc[index])

    @property
    def whole(self) -> "Curves":
        """Without the draws and seeds that lack a size."""
        return self.at(self.accuracy.dropna().index)


def curves_of(rows: pd.DataFrame) -> Curves:
    """The curves of one model: `rows` has one row a run (columns run, draw, seed, train_size, accuracy).

    Raises ValueError for several rows of a draw, seed and size."""
    known = rows.dropna(subset=["accuracy"])
    twice = known.duplicated([*statistics.UNITS, "train_size"])
    if twice.any():
        raise ValueError(f"curves_of: several rows for the draw, seed and size of {known.loc[twice, 'run'].iloc[0]}")
    accuracy, run = (
        known.pivot(index=statistics.UNITS, columns="train_size", values=name).sort_index().sort_index(axis="columns")
        for name in ("accuracy", "run")
    )
    return Curves(accuracy, run)


def paired(a: Curves, b: Curves) -> tuple[Curves, Curves]:
    """Both over the draws and seeds that both have whole, in the same order."""
    both = a.whole.accuracy.index.intersection(b.whole.accuracy.index).sort_values()
    return a.at(both), b.at(both)
