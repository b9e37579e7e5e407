"""The best of k trials of a random search, as a function of k, with bands that hold for every k together.

A tuning curve is the median of the best accuracy among k trials. Of n independent trials with continuous accuracies the
i-th smallest stands at a place of their distribution that follows Beta(i, n + 1 - i), whatever the distribution is. A
band is made of the highest-density intervals of these places, each of a coverage at which all of them hold together
with the probability asked for. That coverage is computed and not simulated, so that a report is the same each time.

Sources: Lourie, Cho and He, "Show your work with confidence: confidence bands for tuning curves", NAACL 2024
(arXiv 2311.09480), whose package `opda` finds the coverage by simulation; Learned-Miller and DeStefano, "A
probabilistic upper bound on differential entropy", IEEE Transactions on Information Theory, 2008; Noé, "The calculation
of distributions of two-sided Kolmogorov-Smirnov type statistics", Annals of Mathematical Statistics, 1972.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

LEVEL = 0.95
HALVINGS = 60  # of an interval, to find an end of it


@dataclass(frozen=True)
class TuningCurve:
    """Accuracies (shares) by number of trials `k`: the estimate, and a band; beyond `largest` k its upper end is 1,
    whatever the trials came to."""

    k: NDArray[np.float64]
    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    largest: int


def tuning_curve(accuracies: ArrayLike, level: float = LEVEL, at: ArrayLike | None = None) -> TuningCurve:
    """The curve of a search's trials (n,), n >= 1, `at` numbers of trials above 0; by default from 1 to n. The band
    holds for all real k together; equal accuracies make it hold more often, never less."""
    values = np.sort(np.asarray(accuracies, dtype=np.float64))
    count = len(values)
    k = np.asarray(np.arange(1, count + 1) if at is None else at, dtype=np.float64)
    places = 0.5 ** (1 / k)
    low, high = places_of_trials(count, level)
    above, below = np.append(values, 1.0), np.insert(values, 0, 0.0)
    estimate = np.minimum(np.ceil(count * places - 1e-9).astype(int), count) - 1
    return TuningCurve(
        k,
        values[estimate],
        below[np.searchsorted(np.append(high, 1.0), places)],
        above[np.searchsorted(low, places)],
        largest_k(count, level),
    )


def largest_k(count: int, level: float = LEVEL) -> int:
    """The largest number of trials about which the band of `count` trials says anything; 0 for none."""
    top = float(places_of_trials(count, level)[0][-1]) if count else 0.0
    return math.floor(math.log(0.5) / math.log(top)) if 0 < top < 1 else 0


@lru_cache(maxsize=64)
def places_of_trials(count: int, level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low, high), each (count,): between which places of their distribution the sorted accuracies of `count` trials
    stand, all of them together with probability `level`."""

    def lacking(tail: float) -> float:
        return probability(*_densest(count, 1 - tail)) - level

    tail = optimize.brentq(lacking, (1 - level) / (2 * count), 1 - level, xtol=1e-12) if count > 1 else 1 - level
    return _densest(count, 1 - tail)


def _densest(count: int, mass: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shortest intervals (count,) of probability `mass` of Beta(i, count + 1 - i), i from 1 to `count`."""
    i = np.arange(1, count + 1)
    left, right = np.zeros(count), np.full(count, 1 - mass)  # what may lie below the interval, as a probability
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        rises = _log_density(i, count, middle) < _log_density(i, count, middle + mass)
        left, right = np.where(rises, middle, left), np.where(rises, right, middle)
    below = np.where(i == count, 1 - mass, np.where(i == 1, 0.0, (left + right) / 2))
    low, high = (special.betaincinv(i, count + 1 - i, np.minimum(1.0, end)) for end in (below, below + mass))
    return low.astype(np.float64), high.astype(np.float64)


def _log_density(i: NDArray[np.int64], count: int, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of Beta(i, count + 1 - i) at a quantile, but for a constant."""
    x = special.betaincinv(i, count + 1 - i, np.minimum(1.0, probability))
    return (special.xlogy(i - 1, x) + special.xlog1py(count - i, -x)).astype(np.float64)


def probability(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """That of n sorted uniform numbers each lies between its `low` and `high` (n,), both ascending; exact.

    At each end of an interval it is known how many numbers lie below at least and at most; between the ends their
    counts add up like those of a Poisson process, of which n points are given.
    """
    count = len(low)
    n = np.arange(count + 1)
    ends = np.unique(np.concatenate([low, high, [1.0]]))
    state = np.zeros(count + 1)  # by how many lie below: probability that all was well so far
    state[0] = 1.0
    before = 0.0
    for end in ends[ends > 0]:
        rate = count * (end - before)
        state = np.convolve(state, np.exp(special.xlogy(n, rate) - rate - special.gammaln(n + 1)))[: count + 1]
        state[: np.searchsorted(high, end, side="right")] = 0.0
        state[np.searchsorted(low, end, side="left") + 1 :] = 0.0
        before = end
    return float(state[count] / np.exp(special.xlogy(count, count) - count - special.gammaln(count + 1)))
