"""How much data one architecture is worth in another's: factors of data at equal accuracy, and where curves cross.

*Data-equivalence factor* of B against A: the images B has over the images A needs for B's accuracy; above 1, B needs
more. A's curve is read between its sizes, linearly in log n, at the smallest n that reaches the accuracy. Each unit
(draw) gives a log factor, and the interval is the t-interval over these.

A curve that starts above or ends below the accuracy gives a *bound*. With any in a cell there is no t-interval over
log factors. At a size of B the interval is the set of factors f for which the paired t-interval of (A at n/f) -
(B at n) contains 0; by accuracy it is made of the sets of n at which the t-interval of each curve, at 97.5 %,
contains the accuracy (Bonferroni). Both are open where the sizes do not decide, and "at least" or "at most" is said of
their end.

*Crossing* N*: the set of n at which the paired t-interval of A - B contains 0, each curve being linear in log n
between its sizes. It may be empty, or reach an end of the sizes, and is then unbounded there. The level holds at each
n, not for all n together.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics import intervals
from analysis.statistics.intervals import LEVEL, Estimate, Verdict, exponentiated

Array = NDArray[np.float64]
Bound = Literal["", "at least", "at most", "unknown"]


def reach(sizes: Sequence[float], accuracies: Array, levels: Array) -> tuple[Array, NDArray[np.int_]]:
    """(log n, side) at which curves `accuracies` (..., k) over `sizes` (k,) first have `levels` (...).

    side is 0; or -1 where the curve starts above the level (log n is that of the smallest size, and too large), 1
    where it never has it (that of the largest, and too small)."""
    places = np.log(np.asarray(sizes, dtype=float))
    levels = np.broadcast_to(np.asarray(levels, dtype=float), accuracies.shape[:-1])
    there = accuracies >= levels[..., None]
    first = np.where(there.any(axis=-1), there.argmax(axis=-1), len(places))
    inner = np.clip(first, 1, len(places) - 1) if len(places) > 1 else np.zeros_like(first)
    before = np.maximum(inner - 1, 0)
    low = np.take_along_axis(accuracies, before[..., None], -1)[..., 0]
    high = np.take_along_axis(accuracies, inner[..., None], -1)[..., 0]
    rise = np.where(high > low, high - low, 1.0)
    inside = places[before] + (levels - low) / rise * (places[inner] - places[before])
    at_start, never = first == 0, first == len(places)
    above = at_start & (accuracies[..., 0] > levels)
    log_n = np.where(at_start, places[0], np.where(never, places[-1], inside))
    return log_n, np.where(above, -1, np.where(never, 1, 0))


@dataclass(frozen=True)
class Factor:
    """A log factor over units: its estimate, how it is meant (""; or a bound), and how many units have a value."""

    log: Estimate
    bound: Bound
    reached: int

    @property
    def inverse(self) -> "Factor":
        """That of A against B."""
        turned: dict[Bound, Bound] = {"at least": "at most", "at most": "at least"}
        log = Estimate(-self.log.mean, -self.log.high, -self.log.low, self.log.n)
        return Factor(log, turned.get(self.bound, self.bound), self.reached)

    @property
    def factor(self) -> Estimate:
        """As a factor, and not its logarithm."""
        return exponentiated(self.log)


def factor_at(sizes_a: Sequence[float], a: Array, size: float, b: Array) -> Factor:
    """The factor of B against A at B's train `size`: a (units, k) over `sizes_a`, b (units,), paired."""
    needed, side = reach(sizes_a, a, b)
    logs = math.log(size) - needed
    if not side.any():
        return Factor(intervals.t_interval(logs), "", len(logs))
    bound = _bound(more=bool((side == -1).any()), less=bool((side == 1).any()))
    reached = int((side == 0).sum())
    first, last = _needed(sizes_a, a - b[:, None])
    low, high = math.log(size) - last, math.log(size) - first
    if len(b) == 1:
        return Factor(Estimate(float(logs[0]), low, high, 1), bound, reached)
    return _bounded(Estimate(math.nan, low, high, len(logs)), bound, reached)


def _bounded(log: Estimate, bound: Bound, reached: int) -> Factor:
    """A bound is the end of its interval (the mean of factors and bounds is none), and unknown where that is open."""
    end = {"at least": log.low, "at most": log.high}.get(bound, math.nan)
    if not math.isfinite(end):
        return Factor(log, "unknown", reached)
    return Factor(Estimate(end, log.low, log.high, log.n), bound, reached)


def _needed(sizes: Sequence[float], differences: Array, level: float = LEVEL) -> tuple[float, float]:
    """Between which log n the expected difference (units, k) comes to 0 from below, by the paired t-interval at
    `level`; infinite where the sizes do not decide it."""
    found = regions(sizes, differences, level)
    if not found:
        return -math.inf, math.inf
    first, last = found[0], found[-1]
    return (
        first.high if first.verdict == "below" else -math.inf,
        last.low if last.verdict == "above" else math.inf,
    )


def factor_for(sizes_a: Sequence[float], a: Array, sizes_b: Sequence[float], b: Array, accuracy: float) -> Factor:
    """The factor of B against A as a function of accuracy: images B needs for it over those A needs.

    a (units, k), b (units, m), paired. Where a unit does not reach it there is a bound; and no interval where the
    accuracy is near the end of a curve that all units happen to reach (`_well_inside`)."""
    of_a, side_a = reach(sizes_a, a, np.full(len(a), accuracy))
    of_b, side_b = reach(sizes_b, b, np.full(len(b), accuracy))
    logs = of_b - of_a
    more = bool((side_a == -1).any() or (side_b == 1).any())
    less = bool((side_a == 1).any() or (side_b == -1).any())
    reached = int(((side_a == 0) & (side_b == 0)).sum())
    if not (more or less):
        found = intervals.t_interval(logs)
        return Factor(
            found if _well_inside(accuracy, a, b) else replace(found, low=math.nan, high=math.nan), "", reached
        )
    bound = _bound(more, less)
    if len(a) == 1:
        mean = math.nan if bound == "unknown" else float(logs[0])
        return Factor(Estimate(mean, math.nan, math.nan, 1), bound, reached)
    (a_first, a_last), (b_first, b_last) = (
        _needed(sizes, curves - accuracy, 1 - (1 - LEVEL) / 2) for sizes, curves in ((sizes_a, a), (sizes_b, b))
    )
    return _bounded(Estimate(math.nan, b_first - a_last, b_last - a_first, len(logs)), bound, reached)


def _well_inside(level: float, a: Array, b: Array) -> bool:
    """Whether `level` is further from both ends of both mean curves than t s: s is the spread of units at that end,
    pooled over the two curves, t the 97.5 % point for its degrees of freedom.

    Nearer, chance decides whether all units reach it, and the intervals of the studies in which they do cover less."""
    n = len(a)
    if n < 2:
        return True
    t = float(stats.t.ppf(0.5 + LEVEL / 2, 2 * (n - 1)))
    below, above = (t * math.sqrt((a[:, end].var(ddof=1) + b[:, end].var(ddof=1)) / 2) for end in (0, -1))
    return all(level - one[:, 0].mean() > below and one[:, -1].mean() - level > above for one in (a, b))


def _bound(more: bool, less: bool) -> Bound:
    return "unknown" if more and less else "at least" if more else "at most"


@dataclass(frozen=True)
class Region:
    """A stretch of log n, ends included, in which A is above B, below it, or not separable from it."""

    verdict: Verdict
    low: float
    high: float


def regions(sizes: Sequence[float], differences: Array, level: float = LEVEL) -> list[Region]:
    """The stretches of log n by the paired t-interval of `differences` (units, k): A - B at `sizes`, ascending.

    Between sizes each unit's difference is linear in log n, so mean and variance are quadratic and the ends are
    roots, not points of a grid. Empty with fewer than two units, or without any spread: there is no interval."""
    places = np.log(np.asarray(sizes, dtype=float))
    n = len(differences)
    if n < 2 or float(np.ptp(differences, axis=0).max()) < 1e-12:
        return []
    found: list[Region] = []
    if len(places) == 1:
        estimate = intervals.t_interval(differences[:, 0], level)
        return [Region(intervals.verdict(estimate), float(places[0]), float(places[0]))]
    scale = float(stats.t.ppf(0.5 + level / 2, n - 1)) ** 2 / n
    for left, right, start, end in zip(differences.T, differences.T[1:], places, places[1:], strict=False):
        slope = right - left
        covariance = np.cov(np.stack([left, slope]))
        quadratic = (
            slope.mean() ** 2 - scale * covariance[1, 1],
            2 * (left.mean() * slope.mean() - scale * covariance[0, 1]),
            left.mean() ** 2 - scale * covariance[0, 0],
        )
        roots = [float(root.real) for root in np.roots(quadratic) if abs(root.imag) < 1e-12]
        ends = [0.0, *sorted(root for root in roots if 0 < root < 1), 1.0]
        for low, high in itertools.pairwise(ends):
            middle = (low + high) / 2
            unclear = np.polyval(quadratic, middle) <= 0
            verdict: Verdict = "unclear" if unclear else "above" if left.mean() + middle * slope.mean() > 0 else "below"
            here = Region(verdict, float(start + low * (end - start)), float(start + high * (end - start)))
            if found and found[-1].verdict == verdict:
                found[-1] = Region(verdict, found[-1].low, here.high)
            else:
                found.append(here)
    return found


@dataclass(frozen=True)
class Crossing:
    """Where A and B are not separable: pieces of N* as (low, high) in images, and whether the order changes."""

    pieces: tuple[tuple[float, float], ...]
    changes: bool
    regions: tuple[Region, ...]


def crossing(sizes: Sequence[float], differences: Array) -> Crossing | None:
    """N* of A and B (see the top); None where there is no interval. An end at an end of `sizes` is infinite or 0."""
    found = regions(sizes, differences)
    if not found:
        return None
    pieces = tuple(
        (
            0.0 if region is found[0] else math.exp(region.low),
            math.inf if region is found[-1] else math.exp(region.high),
        )
        for region in found
        if region.verdict == "unclear"
    )
    verdicts = {region.verdict for region in found}
    return Crossing(pieces, {"above", "below"} <= verdicts, tuple(found))
