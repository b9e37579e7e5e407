"""Statistics against scipy.stats, against values by hand, and by simulated coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate


def runs(values: list[float], draws: list[int], seeds: list[int], draw_runs: int = 1) -> pd.DataFrame:
    columns = {"draw": draws, "seed": seeds, "draw_runs": draw_runs, "accuracy": values}
    return pd.DataFrame({"run": [f"run-{i}" for i in range(len(values))], **columns})


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_t_interval_is_scipys(n: int) -> None:
    """Reference: scipy.stats.t.interval with the standard error of scipy.stats.sem."""
    values = np.random.default_rng(n).normal(0.8, 0.05, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = intervals.t_interval(values)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((values.mean(), low, high, n))


def test_paired_difference_is_scipys() -> None:
    """Reference: the confidence interval of scipy.stats.ttest_rel, on rows given in another order."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(0.8, 0.05, 5), generator.normal(0.7, 0.05, 5)
    units = [3, 1, 0, 4, 2]
    left = runs(a.tolist(), units, units)
    right = runs(b.tolist(), units, units).sample(frac=1, random_state=1)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = intervals.paired_difference(left, right, "accuracy")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((a - b).mean())


@pytest.mark.parametrize("n", [3, 5, 10])
def test_coverage_of_a_nominal_95_percent_interval(n: int) -> None:
    """Reference: the truth of 4,000 simulated studies; the standard error of the coverage is 0.35 points."""
    samples = np.random.default_rng(7).normal(0.7, 0.03, (4000, n))
    found = [intervals.t_interval(sample) for sample in samples]
    covered = np.mean([interval.low <= 0.7 <= interval.high for interval in found])
    assert 0.94 <= covered <= 0.96


def covered(samples: NDArray[np.float64], truth: float) -> float:
    """Share of simulated studies whose interval has the true mean."""
    found = [intervals.t_interval(sample) for sample in samples]
    return float(np.mean([one.low <= truth <= one.high for one in found]))


@pytest.mark.parametrize(("n", "skewed", "collapsing"), [(3, 0.927, 0.289), (5, 0.915, 0.410), (10, 0.919, 0.650)])
def test_coverage_where_errors_are_not_normal(n: int, skewed: float, collapsing: float) -> None:
    """The figures of docs/statistics.md, of 40,000 studies; the standard error of 4,000 is at most 0.8 points.

    Errors are lognormal (skewness 1.75); or one seed in ten falls by 50 points, the others vary by one.
    """
    generator = np.random.default_rng(n)
    assert covered(np.exp(0.5 * generator.standard_normal((4000, n))), math.exp(0.125)) == pytest.approx(
        skewed, abs=0.015
    )
    values = 0.8 + 0.01 * generator.standard_normal((4000, n)) - 0.5 * (generator.random((4000, n)) < 0.1)
    assert covered(values, 0.75) == pytest.approx(collapsing, abs=0.025)


def test_cells_near_the_ceiling_often_have_no_interval() -> None:
    """A fifth of cells of three seeds at 99.9 % on 597 images (docs/statistics.md: 20 %). Reference: the binomial."""
    right = np.random.default_rng(1).binomial(597, 0.999, (4000, 3))
    without = np.mean([not intervals.t_interval(sample / 597).has_interval for sample in right])
    exact = float((stats.binom.pmf(np.arange(598), 597, 0.999) ** 3).sum())
    assert exact == pytest.approx(0.204, abs=0.001)
    assert without == pytest.approx(exact, abs=0.02)


def test_one_value_and_equal_values_give_no_interval() -> None:
    """Reference: scipy.stats.t.interval is NaN for a scale of 0 as well."""
    for values in ([0.5], [0.5, 0.5, 0.5], [0.1 + 0.2, 0.3]):
        found = intervals.t_interval(values)
        assert not found.has_interval
        assert found.n == len(values)
        assert intervals.verdict(found) == "no interval"
    assert intervals.t_interval([]).n == 0


def test_bounds_cut_and_what_is_not_finite_is_refused() -> None:
    found = intervals.t_interval([0.9, 0.99, 0.999], bounds=(0, 1))
    assert found.high == 1
    assert found.low > 0
    with pytest.raises(ValueError, match="finite"):
        intervals.t_interval([0.5, math.nan])


def test_crossed_draws_and_seeds_count_as_draws() -> None:
    """Reference: by hand. Six runs, three draws: the interval is that of the three means over seeds."""
    crossed = runs([0.1, 0.3, 0.4, 0.6, 0.7, 0.9], [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], draw_runs=2)
    assert intervals.over_seeds(crossed, "accuracy") == intervals.t_interval([0.2, 0.5, 0.8])
    assert intervals.unit_noun(crossed) == "draws"
    assert intervals.planned_units(crossed) == 3
    assert intervals.units_words(crossed.assign(label="a")) == "3 draws, 2 seeds each"
    own = runs([0.1, 0.3, 0.4], [0, 1, 2], [0, 1, 2])
    assert intervals.units_words(own.assign(label="a")) == "3 seeds"
    both = intervals.planned_pairs(crossed, crossed[crossed["seed"] == 0].assign(draw_runs=1))
    assert (len(both), intervals.planned_units(both)) == (3, 3)
    assert "hold for these seeds" in intervals.covers(crossed)


def test_the_plan_decides_the_unit_not_what_has_finished() -> None:
    """Reference: by hand. Three draws with two seeds each are planned. Two seeds of one draw are one unit and no
    interval; a draw with one of its seeds is no unit, as its mean would hold for another seed than the others'."""
    one_draw = runs([0.1, 0.3], [0, 0], [0, 1], draw_runs=2)
    assert intervals.over_seeds(one_draw, "accuracy").n == 1
    partly = runs([0.1, 0.3, 0.4, 0.6, 0.9], [0, 0, 1, 1, 2], [0, 1, 0, 1, 1], draw_runs=2)
    assert intervals.over_seeds(partly, "accuracy") == intervals.t_interval([0.2, 0.5])
    fewer = runs([0.0, 0.1, 0.1], [0, 1, 2], [0, 0, 0])  # one seed a draw is planned, so pairs are of one run
    found, expected = intervals.paired_difference(partly, fewer, "accuracy"), intervals.t_interval([0.1, 0.3])
    assert (found.low, found.high, found.n) == pytest.approx((expected.low, expected.high, 2))
    other = partly.assign(accuracy=[0.0, 0.1, 0.0, 0.2, 0.0])
    assert intervals.paired_difference(partly, other, "accuracy") == intervals.t_interval([0.15, 0.4])


def test_what_an_interval_covers_is_said() -> None:
    values = [0.1, 0.2, 0.3]
    assert "subset of images" in intervals.covers(runs(values, [0, 0, 0], [0, 1, 2]))
    assert "vary together" in intervals.covers(runs(values, [0, 1, 2], [0, 1, 2]))
    assert "no interval" in intervals.covers(runs([0.1], [0], [0]))
    assert intervals.unit_noun(runs(values, [0, 1, 2], [0, 0, 0])) == "draws"


def test_pairs_share_draw_and_seed_and_refuse_mixtures() -> None:
    a = runs([0.5, 0.6, 0.7], [0, 1, 2], [0, 1, 2])
    b = runs([0.4, 0.9], [1, 3], [1, 3])
    found = intervals.pairs(a, b, "accuracy")
    assert found[["draw", "run_a", "run_b"]].values.tolist() == [[1, "run-1", "run-0"]]
    assert found["difference"].tolist() == pytest.approx([0.2])
    twice = pd.concat([a, a])
    with pytest.raises(ValueError, match="several rows"):
        intervals.pairs(twice, b, "accuracy")


def test_verdicts() -> None:
    assert intervals.verdict(Estimate(0.1, 0.05, 0.15, 3)) == "above"
    assert intervals.verdict(Estimate(-0.1, -0.15, -0.05, 3)) == "below"
    assert intervals.verdict(Estimate(0.1, -0.05, 0.25, 3)) == "unclear"


def test_binomial_standard_error_and_chance() -> None:
    """Reference: scipy.stats.binom; with 10,000 images 0.50 points at 50 %, 0.30 at 90 %."""
    for accuracy, points in ((0.5, 0.50), (0.9, 0.30), (0.95, 0.22)):
        found = intervals.binomial_se(accuracy, 10_000)
        assert found == pytest.approx(stats.binom(10_000, accuracy).std() / 10_000)
        assert round(100 * found, 2) == points
    assert intervals.chance(10) == 0.1
    for wrong in ((1.2, 10), (0.5, 0)):
        with pytest.raises(ValueError):
            intervals.binomial_se(*wrong)
