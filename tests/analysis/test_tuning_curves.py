"""Bands of tuning curves: equal to those of opda, and right as often as they claim to be."""

import math

import numpy as np
import pytest

from analysis.statistics.tuning_curves import largest_k, places_of_trials, probability, tuning_curve
from benchmarks.plan.search import _halton, _random

OPDA = {  # opda 0.8.0, _ld_band_weights(n, 0.95, "highest_density", default_rng(0)): of 100,000 simulated samples
    8: (
        [0.0, 0.0025, 0.0315, 0.0902, 0.1727, 0.2765, 0.4011, 0.5538],
        [0.4462, 0.5989, 0.7235, 0.8273, 0.9098, 0.9685, 0.9975, 1.0],
    ),
    16: (
        [
            0.0,
            0.0005,
            0.0091,
            0.0282,
            0.0556,
            0.0895,
            0.1288,
            0.173,
            0.2219,
            0.2754,
            0.3336,
            0.397,
            0.4661,
            0.5419,
            0.6262,
            0.7258,
        ],
        [
            0.2742,
            0.3738,
            0.4581,
            0.5339,
            0.603,
            0.6664,
            0.7246,
            0.7781,
            0.827,
            0.8712,
            0.9105,
            0.9444,
            0.9718,
            0.9909,
            0.9995,
            1.0,
        ],
    ),
}


@pytest.mark.parametrize("count", OPDA)
def test_places_are_those_of_opda(count: int) -> None:
    """Reference: recorded values of opda, whose simulation leaves an error of some 0.001."""
    for found, expected in zip(places_of_trials(count), OPDA[count], strict=True):
        np.testing.assert_allclose(found, expected, atol=1.5e-3)


def test_curves_are_those_of_opda() -> None:
    """Reference: opda 0.8.0, `EmpiricalDistribution.confidence_bands(ys, 0.95, a=0, b=1)` and its
    `quantile_tuning_curve` of lower band, estimate and upper band, recorded."""
    ys = [0.41, 0.1, 0.52, 0.47, 0.33, 0.61, 0.58, 0.29]
    curve = tuning_curve(ys, at=[0.5, 1, 2, 4, 8])
    assert curve.low.tolist() == [0.0, 0.1, 0.29, 0.41, 0.47]
    assert curve.estimate.tolist() == [0.29, 0.41, 0.52, 0.58, 0.61]
    assert curve.high.tolist() == [0.52, 0.61, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("count", "k"), [(0, 0), (1, 0), (16, 2), (24, 3), (32, 4), (48, 5), (64, 7)])
def test_how_many_trials_say_anything(count: int, k: int) -> None:
    """Reference: arXiv 2311.09480's bands as opda has them, with 95 %."""
    assert largest_k(count) == k


def test_beyond_that_the_band_has_no_upper_end() -> None:
    curve = tuning_curve(np.linspace(0.1, 0.9, 16))
    assert (curve.high[curve.k <= curve.largest] < 1).all() and (curve.high[curve.k > curve.largest] == 1).all()
    assert (curve.low <= curve.estimate).all() and (curve.estimate <= curve.high).all()


def test_probability_of_one_and_of_two_numbers() -> None:
    """Reference: areas, by hand. Two sorted numbers in [0, 1/2] and [1/2, 1]: one of each half, 1/2; both anywhere: 1;
    the smaller below 1/2: 3/4."""
    assert probability(np.array([0.25]), np.array([0.75])) == pytest.approx(0.5)
    assert probability(np.array([0.0, 0.5]), np.array([0.5, 1.0])) == pytest.approx(0.5)
    assert probability(np.zeros(2), np.ones(2)) == pytest.approx(1.0)
    assert probability(np.zeros(2), np.array([0.5, 1.0])) == pytest.approx(0.75)


K = np.geomspace(0.02, 500, 300)  # from the lowest end of a distribution to the highest


def objective(place: float) -> float:
    """Best at 0.7 of a hyper-parameter's range, worst at its low end: uniform in [0, 1], but no function that rises."""
    return 1 - (0.7 - place) / 0.7 if place < 0.7 else 1 - (place - 0.7) / 0.3


@pytest.mark.parametrize("count", [8, 16, 32])
def test_coverage_of_random_search(count: int) -> None:
    """Simulated: 2,000 searches by the draws of a study's own sampler, of an objective whose true curve is known. Bands
    of 95 % contain it, for all k together, in 94 to 97 %."""
    true, held = 0.5 ** (1 / K), 0
    for search in range(2000):
        trials = range(count * search, count * (search + 1))
        curve = tuning_curve([objective(_random("ema", one)) for one in trials], at=K)
        held += bool(((curve.low <= true) & (true <= curve.high)).all())
    assert 0.94 <= held / 2000 <= 0.97


def test_bands_of_halton_points_are_wider_than_they_need_be() -> None:
    """Simulated: points that are more even than independent ones leave the band less often than 5 %."""
    true, held = 0.5 ** (1 / K), 0
    for search in range(400):
        values = [objective(_halton("learning_rate", search, one)) for one in range(16)]
        curve = tuning_curve(values, at=K)
        held += bool(((curve.low <= true) & (true <= curve.high)).all())
    assert held / 400 > 0.98


@pytest.mark.parametrize("name", ["sum", "product"])
def test_bands_of_halton_points_of_two_hyper_parameters(name: str) -> None:
    """Simulated: a sum and a product, mapped by their distribution functions, in closed form, to uniform accuracies."""
    low, high = places_of_trials(16)
    held = 0
    for search in range(400):
        one, two = (np.array([_halton(key, search, i) for i in range(16)]) for key in ("learning_rate", "cutmix"))
        total, product = one + two, one * two
        by_sum = np.where(total < 1, total**2 / 2, 1 - (2 - total) ** 2 / 2)
        values = np.sort(by_sum if name == "sum" else product * (1 - np.log(np.maximum(product, 1e-300))))
        held += bool(((values >= low) & (values <= high)).all())
    assert held / 400 > 0.97


def test_equal_accuracies() -> None:
    """A small validation part has few values: nothing is divided by their differences."""
    curve = tuning_curve([0.5] * 16)
    assert (curve.estimate == 0.5).all() and math.isclose(curve.high[0], 0.5)
