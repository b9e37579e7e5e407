"""Differences of models that share draws and seeds, all of a family at once.

The model of a family at one train size is value = model + block + residual, a block being what models share: a draw
with its seed (the same subset, the same order of images). Its residual variance is pooled over all models, so that
three seeds of k models give 2 (k - 1) degrees of freedom instead of the 2 of each pair by itself, and the intervals
of the family hold simultaneously (`multivariate_t`). Holm's correction of separate t-tests would need, with three
seeds and eight comparisons, a mean difference of 7.3 times the standard deviation of the differences.

What it assumes: residuals that vary alike for all models (`vary_alike`), and nothing about blocks. Runs
that are missing, failed or diverged make it incomplete: then it is solved by least squares (the intra-block analysis
of incomplete blocks), which is unbiased when what is missing has nothing to do with the values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from analysis.statistics.intervals import LEVEL, UNITS, Estimate
from analysis.statistics.multivariate_t import critical_value

EQUAL = 1e-12  # a residual standard deviation below this is rounding, not spread


@dataclass(frozen=True)
class Fit:
    """A fitted block model of the models `names` (k).

    `effects` (k,) are defined up to a constant within each of the connected `groups` (k,); `inverse` (k, k) times
    `spread` squared is their covariance; `present` (blocks, k) says which values there are. `spread` is the residual
    standard deviation on `df` degrees of freedom, NaN with none; `spreads` (k,) the same of each model by itself.
    """

    names: tuple[str, ...]
    effects: NDArray[np.float64]
    inverse: NDArray[np.float64]
    groups: NDArray[np.int32]
    present: NDArray[np.bool_]
    spread: float
    df: int
    spreads: NDArray[np.float64]

    def shared(self, a: str, b: str) -> int:
        """In how many blocks both are."""
        i, j = self.names.index(a), self.names.index(b)
        return int((self.present[:, i] & self.present[:, j]).sum())


def fit(values: pd.DataFrame) -> Fit:
    """The least-squares fit to `values`, a row a block and a column a model, NaN where there is none."""
    y = values.to_numpy(dtype=float)
    present = ~np.isnan(y)
    blocks = present.sum(axis=1) > 1  # a block with one model says nothing about differences
    y, there = y[blocks], present[blocks].astype(float)
    filled = np.where(there > 0, y, 0.0)
    size = there.sum(axis=1, keepdims=True)
    centred = np.where(there > 0, y - filled.sum(axis=1, keepdims=True) / size, 0.0) if len(y) else filled
    information = np.diag(there.sum(axis=0)) - there.T @ (there / size)
    inverse = np.linalg.pinv(information, hermitian=True)
    effects = inverse @ centred.sum(axis=0)
    expected = effects - (there @ effects)[:, None] / size
    residuals = np.where(there > 0, centred - expected, 0.0)
    _, groups = connected_components(csr_array(np.abs(information) > 1e-9), directed=False)
    used = there.sum(axis=0) > 0
    rank = int(used.sum()) - len(set(groups[used].tolist()))
    df = int(there.sum()) - len(y) - rank
    spread = math.sqrt(float((residuals**2).sum()) / df) if df > 0 else math.nan
    share = (there.sum(axis=0) - 1) * rank / max(int(used.sum()), 1)  # of the degrees of freedom, in a complete design
    squares = (residuals**2).sum(axis=0)
    spreads = np.sqrt(np.divide(squares, share, out=np.full(len(share), np.nan), where=share > 0))
    return Fit(tuple(values.columns), effects, inverse, groups, present, spread, df, spreads)


def simultaneous(found: Fit, pairs: Sequence[tuple[str, str]], level: float = LEVEL) -> tuple[list[Estimate], float]:
    """(differences a - b of each pair with intervals that hold together, their critical value).

    `n` is the number of blocks with both. A pair that shares none has no estimate, and there are no intervals (and
    the critical value is NaN) without a degree of freedom or any spread."""
    index = {name: i for i, name in enumerate(found.names)}
    known = [(a, b) for a, b in pairs if found.shared(a, b)]
    contrasts = np.zeros((len(known), len(index)))
    for row, (a, b) in enumerate(known):
        contrasts[row, index[a]], contrasts[row, index[b]] = 1, -1
    critical = math.nan
    if known and found.df > 0 and found.spread > EQUAL:
        values, vectors = np.linalg.eigh(found.inverse)
        root = vectors * np.sqrt(np.clip(values, 0, None))
        critical = critical_value(contrasts @ root, found.df, level)
    means = contrasts @ found.effects
    halves = critical * found.spread * np.sqrt(np.einsum("ij,jk,ik->i", contrasts, found.inverse, contrasts))
    estimates = {
        pair: Estimate(float(mean), float(mean - half), float(mean + half), found.shared(*pair))
        for pair, mean, half in zip(known, means, halves, strict=True)
    }
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    return [estimates.get(pair, nothing) for pair in pairs], critical


def vary_alike(found: Fit) -> bool:
    """Whether the models' residuals vary as alike as those of equal models mostly do: the largest of their
    variances has a share of the sum below its 95 % quantile (Cochran 1941; by simulation, as residuals are correlated).
    """
    known = found.spreads[np.isfinite(found.spreads)]
    complete = int((found.present.sum(axis=1) > 1).sum())
    if len(known) < 3 or complete < 2:  # residuals of two models mirror each other
        return True
    return bool((known**2).max() <= _usual_share(len(known), complete) * (known**2).sum() + EQUAL**2)


@lru_cache(maxsize=256)
def _usual_share(models: int, blocks: int, simulations: int = 4000) -> float:
    values = np.random.default_rng(0).standard_normal((simulations, blocks, models))
    values -= values.mean(axis=1, keepdims=True)
    values -= values.mean(axis=2, keepdims=True)
    squares = (values**2).sum(axis=1)
    return float(np.quantile(squares.max(axis=1) / squares.sum(axis=1), LEVEL))


def crossed(runs: pd.DataFrame) -> bool:
    """Whether draws and seeds are crossed: several draws, and more combinations than draws."""
    draws = runs["draw"].nunique()
    return draws > 1 and len(runs[UNITS].drop_duplicates()) > draws


def blocks(rows: pd.DataFrame, runs: pd.DataFrame, value: str) -> pd.DataFrame:
    """`value` by block and model (columns: labels in the order of `runs`, NaN where missing).

    rows: one evaluation a run; runs: all planned runs of these models at one train size. A block is a draw with its
    seed. Where draws and seeds are crossed it is a draw, with the mean over its seeds: runs of one subset are not
    independent. There a mean counts only when all its planned runs are in, as it would hold for other seeds otherwise.
    """
    wide = rows.pivot(index=UNITS, columns="label", values=value)
    labels = list(dict.fromkeys(runs["label"]))
    if not crossed(runs):
        return wide.reindex(columns=labels)
    planned = runs.groupby(["draw", "label"]).size().unstack("label").reindex(columns=labels)
    by_draw = wide.groupby(level="draw")
    whole = by_draw.count().reindex(columns=labels) == planned.reindex(by_draw.mean().index)
    return by_draw.mean().reindex(columns=labels).where(whole)
