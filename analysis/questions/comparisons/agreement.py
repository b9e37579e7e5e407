"""Do networks err on the same images? Error consistency of models, and McNemar's test of two networks."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home
from analysis.frame.predictions import Correct
from analysis.frame.rows import each_group
from analysis.statistics import intervals


def error_consistency(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cohen's kappa of correctness of every two networks (n, n), from `correct` (n, images).

    kappa = (c_obs - c_exp) / (1 - c_exp): c_obs is the share of images that both get right or both get wrong, c_exp
    that of independent networks of these accuracies (Geirhos et al. 2020, equations 1 and 2). NaN where both
    are right (or wrong) on all images."""
    right = correct.astype(float)
    wrong = 1 - right
    observed = (right @ right.T + wrong @ wrong.T) / right.shape[1]
    p = right.mean(axis=1)
    expected = np.outer(p, p) + np.outer(1 - p, 1 - p)
    beyond = 1 - expected
    return np.divide(observed - expected, beyond, out=np.full(beyond.shape, np.nan), where=beyond > 1e-12)


def consistency(arm: ArmData, correct: Correct) -> pd.DataFrame:
    """Mean error consistency of the arm's models with each other and each with itself, at the largest train size.

    Only networks of different draws and seeds are paired, also of two models, so that a model with itself (another
    seed of it) is a reference; two models may agree more than that. Columns: label, other, train_size, kappa (NaN
    without a pair), pairs (of networks), runs, other_runs (ids whose predictions are kept). Empty where none are kept.
    """
    one_arm(arm.runs)
    size = arm.runs["train_size"].max()
    rows = at_home(arm.rows)
    rows = rows[(rows["train_size"] == size) & rows["run"].isin(list(correct))]
    if rows.empty:
        return pd.DataFrame()
    rows = rows.reset_index(drop=True)
    kappa = error_consistency(np.array([correct[run] for run in rows["run"]]))
    apart = np.ones(kappa.shape, dtype=bool)
    for unit in intervals.UNITS:
        values = rows[unit].to_numpy()
        if len(set(values.tolist())) > 1:
            apart &= values[:, None] != values[None, :]
    np.fill_diagonal(apart, False)
    index = {label: group.index.to_numpy() for label, group in each_group(rows, "label")}
    labels = [label for label in dict.fromkeys(arm.runs["label"]) if label in index]
    result = []
    for label, other in itertools.product(labels, labels):
        place = np.ix_(index[label], index[other])
        values = kappa[place][apart[place] & np.isfinite(kappa[place])]
        result.append(
            {
                "label": label,
                "other": other,
                "train_size": size,
                "kappa": float(values.mean()) if len(values) else math.nan,
                "pairs": len(values) // (2 if label == other else 1),
                "runs": " ".join(rows.loc[index[label], "run"]),
                "other_runs": " ".join(rows.loc[index[other], "run"]),
            }
        )
    return pd.DataFrame(result)


@dataclass(frozen=True)
class McNemar:
    """Two networks on the same images: how many both, only the first, only the second, and neither get right, and the
    p-value that the two kinds of disagreement are equally likely."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> McNemar:
    """The exact test of McNemar (1947) on which images two networks get right, (images,) each: binomial on those on
    which they disagree, two-sided. Of these two networks alone; another seed of each is another pair.

    Raises ValueError for different numbers of images."""
    if a.shape != b.shape:
        raise ValueError(f"mcnemar: {a.size} and {b.size} images are not the same images")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), p)
