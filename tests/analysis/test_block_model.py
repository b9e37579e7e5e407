"""Simultaneous intervals: against Tukey's and Dunnett's distributions, dummy-coded least squares, and by coverage."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import power
from analysis.statistics.block_model import blocks, fit, simultaneous, vary_alike
from analysis.statistics.multivariate_t import critical_value

KINDS = ("all pairs", "against one")


def pairs_of(models: int, kind: str) -> list[tuple[int, int]]:
    if kind == "against one":
        return [(i, 0) for i in range(1, models)]
    return list(itertools.combinations(range(models), 2))


def contrasts(models: int, kind: str) -> np.ndarray:
    return np.array([np.eye(models)[i] - np.eye(models)[j] for i, j in pairs_of(models, kind)])


@pytest.mark.parametrize(("models", "seeds"), [(2, 3), (3, 2), (3, 3), (4, 5), (6, 3), (9, 3), (9, 10), (16, 5)])
def test_all_pairs_are_tukeys(models: int, seeds: int) -> None:
    """Reference: scipy.stats.studentized_range, whose quantile over the square root of 2 is that of the largest |t|."""
    df = (models - 1) * (seeds - 1)
    expected = stats.studentized_range.ppf(0.95, models, df) / math.sqrt(2)
    assert critical_value(contrasts(models, "all pairs"), df) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(
    ("df", "published"),
    [
        (5, [2.57, 3.03, 3.29, 3.48, 3.62]),
        (10, [2.23, 2.57, 2.76, 2.89, 2.99]),
        (20, [2.09, 2.38, 2.54, 2.65, 2.73]),
    ],
)
def test_many_to_one_is_dunnetts(df: int, published: list[float]) -> None:
    """Reference: Dunnett (1964), table of two-sided 5 % points for 1 to 5 treatments and a control."""
    found = [critical_value(contrasts(count + 1, "against one"), df) for count in range(1, 6)]
    assert found == pytest.approx(published, abs=0.006)


def test_unequal_correlations_are_scipys_dunnett() -> None:
    """Reference: scipy.stats.dunnett on samples of unlike size (its own integration is good to some 0.001)."""
    generator = np.random.default_rng(3)
    control, *others = (generator.normal(size=n) for n in (6, 3, 5, 9))
    found = stats.dunnett(*others, control=control, rng=np.random.default_rng(0)).confidence_interval(0.95)
    samples = [control, *others]
    df = sum(map(len, samples)) - len(samples)
    variance = sum(((sample - sample.mean()) ** 2).sum() for sample in samples) / df
    scale = np.diag([1 / math.sqrt(len(sample)) for sample in samples])
    critical = critical_value(contrasts(4, "against one") @ scale, df)
    for i, sample in enumerate(others):
        half = critical * math.sqrt(variance * (1 / len(sample) + 1 / len(control)))
        assert (found.high[i] - found.low[i]) / 2 == pytest.approx(half, rel=0.003)


def test_one_comparison_is_students() -> None:
    """Reference: scipy.stats.ttest_rel: two models in one family are the paired t-test."""
    a, b = np.random.default_rng(0).normal(size=(2, 4))
    [found], _ = simultaneous(fit(pd.DataFrame({"a": a, "b": b})), [("a", "b")])
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high, found.n) == pytest.approx((expected.low, expected.high, 4))


def test_a_complete_design_is_the_textbooks() -> None:
    """Reference: the two-way analysis of variance by its sums of squares, and Tukey's quantile."""
    y = np.random.default_rng(1).normal(size=(5, 4))
    found = fit(pd.DataFrame(y, columns=list("abcd")))
    residual = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    s = math.sqrt((residual**2).sum() / 12)
    assert (found.df, found.spread) == (12, pytest.approx(s))
    [first], critical = simultaneous(found, [("a", "b")])
    assert critical == pytest.approx(stats.t.ppf(0.975, 12))
    estimates, critical = simultaneous(found, list(itertools.combinations("abcd", 2)))
    half = stats.studentized_range.ppf(0.95, 4, 12) * s / math.sqrt(5)
    assert estimates[0].mean == pytest.approx(y[:, 0].mean() - y[:, 1].mean()) == pytest.approx(first.mean)
    assert estimates[0].high - estimates[0].mean == pytest.approx(half, rel=3e-4)


def test_incomplete_blocks_are_least_squares() -> None:
    """Reference: numpy's least squares on dummy variables, with the covariance of its differences."""
    y = np.random.default_rng(2).normal(size=(6, 4))
    holes = [(0, 0), (0, 1), (2, 3), (3, 3), (5, 0), (5, 1), (5, 2)]
    for hole in holes:
        y[hole] = np.nan
    found = fit(pd.DataFrame(y, columns=list("abcd")))
    rows = [(i, j) for i in range(6) for j in range(4) if not np.isnan(y[i, j])]
    design = np.array([[*(np.eye(4)[j]), *(np.eye(6)[i])] for i, j in rows])
    values = np.array([y[place] for place in rows])
    solution, _, rank, _ = np.linalg.lstsq(design, values)
    df = len(values) - rank
    variance = ((values - design @ solution) ** 2).sum() / df
    covariance = np.linalg.pinv(design.T @ design)
    assert (found.df, found.spread) == (df, pytest.approx(math.sqrt(variance)))
    [estimate], _ = simultaneous(found, [("a", "d")])
    contrast = np.array([1, 0, 0, -1, *np.zeros(6)])
    half = stats.t.ppf(0.975, df) * math.sqrt(variance * contrast @ covariance @ contrast)
    assert estimate.mean == pytest.approx(contrast @ solution)
    assert (estimate.low, estimate.high) == pytest.approx((estimate.mean - half, estimate.mean + half))
    assert estimate.n == 2  # blocks with both


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_of_a_nominal_95_percent_family(seeds: int, kind: str) -> None:
    """Reference: the truth of 1,500 simulated studies of five models, one run in ten missing; all intervals of a
    family must hold it together. The standard error of the coverage is 0.6 points."""
    generator = np.random.default_rng(seeds)
    truth = np.array([0.0, 0.01, 0.02, -0.05, 0.3])
    names = list("abcde")
    pairs = [(names[i], names[j]) for i, j in pairs_of(5, kind)]
    covered = []
    for number in range(1500):
        y = truth + generator.normal(0, 0.05, (seeds, 1)) + generator.normal(0, 0.02, (seeds, 5))
        if number % 2:
            y[generator.integers(seeds), generator.integers(5)] = np.nan
        estimates, _ = simultaneous(fit(pd.DataFrame(y, columns=names)), pairs)
        true = [truth[i] - truth[j] for i, j in pairs_of(5, kind)]
        covered.append(all(e.low <= t <= e.high for e, t in zip(estimates, true, strict=True)))
    assert 0.93 <= np.mean(covered) <= 0.97


def test_what_cannot_be_estimated_is_not() -> None:
    """Two models that never meet, one that is nowhere, a single seed, and values without spread."""
    apart = pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": [1.5, 2.0, np.nan], "c": [np.nan, np.nan, 3.0], "d": np.nan})
    estimates, _ = simultaneous(fit(apart), [("a", "b"), ("a", "c"), ("a", "d")])
    assert [e.n for e in estimates] == [2, 0, 0]
    assert [math.isnan(e.mean) for e in estimates] == [False, True, True]
    for values in ([[0.1, 0.2, 0.4]], [[0.1, 0.2, 0.4], [0.2, 0.3, 0.5]]):
        [only], critical = simultaneous(fit(pd.DataFrame(values, columns=list("abc"))), [("a", "c")])
        assert only.mean == pytest.approx(-0.3)
        assert not only.has_interval and math.isnan(critical)
    nothing = pd.DataFrame({"a": [], "b": []}, dtype=float)
    assert simultaneous(fit(nothing), [("a", "b")])[0][0].n == 0


def test_unlike_residuals_are_seen() -> None:
    """Reference: simulated families: 5 % of those of equal models, most of those with one noisy model of ten seeds."""
    generator = np.random.default_rng(0)

    def alike(scale: float) -> float:
        samples = generator.normal(size=(400, 10, 4)) * [scale, 1, 1, 1]
        return float(np.mean([vary_alike(fit(pd.DataFrame(y, columns=list("abcd")))) for y in samples]))

    assert 0.92 <= alike(1) <= 0.98
    assert alike(4) < 0.15


def test_blocks_are_draws_where_they_are_crossed_with_seeds() -> None:
    """Reference: by hand; the mean of a draw that lacks a planned run would hold for other seeds, and is left out."""
    runs = pd.DataFrame(
        [(label, draw, seed) for label in "ab" for draw in (0, 1) for seed in (0, 1)],
        columns=["label", "draw", "seed"],
    )
    rows = runs.assign(accuracy=[0.1, 0.3, 0.4, 0.6, 0.5, 0.7, 0.8, 1.0])
    wide = blocks(rows, runs, "accuracy")
    assert wide.to_numpy().tolist() == pytest.approx(np.array([[0.2, 0.6], [0.5, 0.9]]))
    wide = blocks(rows.drop(index=7), runs, "accuracy")
    assert np.isnan(wide.loc[1, "b"]) and wide.loc[0, "b"] == pytest.approx(0.6)
    together = runs[runs["draw"] == runs["seed"]]
    assert len(blocks(rows.loc[together.index], together, "accuracy")) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_difference_is_detected_in_four_of_five(kind: str) -> None:
    """Reference: 2,000 simulated studies of four models and three seeds with that difference; standard error 0.9 %."""
    models, seeds = 4, 3
    difference = power.smallest_difference(models, seeds, kind == "against one", 0.02)
    generator = np.random.default_rng(5)
    found = 0
    for _ in range(2000):
        y = generator.normal([0, difference, 0, 0], 0.02, (seeds, models))
        names = list("abcd")
        pairs = [(names[i], names[j]) for i, j in pairs_of(models, kind)]
        estimates, _ = simultaneous(fit(pd.DataFrame(y, columns=names)), pairs)
        first = estimates[0]  # b - a, or a - b
        found += first.low > 0 if kind == "against one" else first.high < 0
    assert found / 2000 == pytest.approx(0.8, abs=0.03)
    assert math.isinf(power.smallest_difference(4, 1, True, 0.02))
