"""Fits of learning curves: known parameters come back, published curves give the published exponents."""

import math

import numpy as np
import pytest
from scipy import optimize

from analysis.questions.data_needed import fitted
from analysis.statistics import fits
from analysis.statistics.fits import fit

IMAGENET = 1_281_167
SHARES = np.array([0.05, 0.1, 0.3, 0.5, 1.0]) * IMAGENET
DEIT = 1 - np.array([34.71, 48.03, 66.10, 74.57, 79.91]) / 100  # d'Ascoli et al. 2021, figure 1: DeiT-S, ConViT-S
CONVIT = 1 - np.array([47.87, 59.61, 73.72, 78.20, 81.42]) / 100
SIZES = np.array([100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600])


def test_published_slopes() -> None:
    """Reference: the published curves of ConViT-S and DeiT-S on parts of ImageNet; log-log slopes 0.35 and 0.40, and
    numpy's polyfit."""
    for errors, slope in ((CONVIT, 0.35), (DEIT, 0.40)):
        found = fits.parameters("power", SHARES, errors, np.ones(5))
        assert round(found["b"], 2) == slope
        assert found["b"] == pytest.approx(-np.polyfit(np.log(SHARES), np.log(errors), 1)[0])


def test_published_curves_with_a_floor() -> None:
    """Reference: the same curves. ConViT's exponent is 0.53 by squared errors of log e, 0.47 by those of e, which is
    weighting by e^2, with a floor of 0.069; and scipy's curve_fit from another start finds the same."""
    by_log = fits.parameters("floor", SHARES, CONVIT, np.ones(5))
    by_error = fits.parameters("floor", SHARES, CONVIT, CONVIT**2)
    assert (round(by_log["b"], 2), round(by_error["b"], 2), round(by_error["c"], 3)) == (0.53, 0.47, 0.069)

    def logs(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return np.asarray(np.log(c + a * x**-b))

    other, _ = optimize.curve_fit(logs, SHARES / IMAGENET, np.log(CONVIT), p0=(0.2, 0.3, 0.01), bounds=(0, 1))
    assert by_log["b"] == pytest.approx(other[1], rel=1e-3)
    assert by_log["c"] == pytest.approx(other[2], rel=1e-3)


@pytest.mark.parametrize("errors", [DEIT, CONVIT])
def test_a_floor_that_five_points_do_not_determine_is_not_printed(errors: np.ndarray) -> None:
    """Reference: DeiT's floor comes out as 0; ConViT's is no better than a straight line by the F test (2 degrees of
    freedom), as its last local slope of 0.23 is one point."""
    found = fit(SHARES, errors)
    assert found is not None
    assert "not identifiable from these 5 sizes" in found.said
    assert "c" not in found.parameters
    assert not found.slope.has_interval


@pytest.mark.parametrize(("form", "truth"), [
    ("power", {"a": 4.0, "b": 0.4}),
    ("floor", {"a": 6.0, "b": 0.6, "c": 0.03}),
    ("m4", {"a": 9.0, "b": 0.6, "c": 0.03, "alpha": 0.7}),
])  # fmt: skip
def test_known_parameters_come_back(form: str, truth: dict[str, float]) -> None:
    """Reference: the parameters that the curve was made of, without noise."""
    errors = fits._PREDICT[form](truth, SIZES.astype(float), 0.9)
    found = fits.parameters(form, SIZES.astype(float), errors, np.ones(len(SIZES)), 0.9)
    assert found == pytest.approx(truth, rel=2e-3)
    chosen = fit(SIZES, errors, chance=0.9)
    assert chosen is not None
    assert abs(chosen.held_out[form]) < 1e-4


def test_of_forms_that_predict_equally_well_the_simplest_is_taken() -> None:
    """Reference: by hand. Held-out errors that a solver's rounding tells apart; a curve made with a floor, of which m4
    with alpha = 0 is the same; one made with alpha, which only m4 predicts."""
    assert fits._chosen({"power": -0.37, "floor": 0.0339328311, "m4": 0.0339328105}) == "floor"
    assert fits._chosen({"power": -0.37, "floor": 0.0339, "m4": 0.0338}) == "m4"
    assert fits._chosen({"power": 1e-16, "floor": -1e-9, "m4": 0.0}) == "power"
    floor = fit(SIZES, 0.03 + 6 * SIZES**-0.6, chance=0.9)
    assert floor is not None
    assert floor.form == "floor"


def test_alpha_is_given_where_the_sizes_identify_it() -> None:
    """Reference: made with alpha = 0.7 and hardly any noise. Of 30 made with a floor and no alpha, at most two give
    one; the others for which m4 is taken say that it is not identified, without a and b, which go with it. A single
    curve goes by the F test."""
    sizes, generator = SIZES.astype(float), np.random.default_rng(5)
    bent = fits._PREDICT["m4"]({"a": 9.0, "b": 0.6, "c": 0.03, "alpha": 0.7}, sizes, 0.9)

    def made(curve: np.ndarray, scatter: float, units: int) -> fits.Fit:
        found = fit(sizes, curve * np.exp(scatter * generator.normal(size=(units, len(sizes)))), chance=0.9)
        assert found is not None
        return found

    clear = made(bent, 0.002, 4)
    assert (clear.form, clear.said) == ("m4", "")
    alpha = clear.parameters["alpha"]
    assert 0 < alpha.low < 0.7 < alpha.high
    assert made(bent, 0.0005, 1).said == ""
    taken = [one for one in (made(0.03 + 4 * sizes**-0.5, 0.02, 3) for _ in range(30)) if one.form == "m4"]
    without = [one for one in taken if "alpha is not identifiable: " in one.said]
    assert len(taken) - len(without) <= 2 < len(without)
    assert all(set(one.parameters) <= {"c"} for one in without)


def test_m4_solves_its_form() -> None:
    """Reference: the equation of Alabdulmohsin et al. 2022; with alpha = 0 it is the curve with a floor."""
    unit = {"a": 9.0, "b": 0.6, "c": 0.03, "alpha": 0.7}
    sizes = SIZES.astype(float)
    errors = fits._PREDICT["m4"](unit, sizes, 0.9)
    assert (errors - 0.03) / (0.9 - errors) ** 0.7 == pytest.approx(9 * sizes**-0.6)
    level = fits._PREDICT["m4"]({**unit, "a": 3.0, "alpha": 0.0}, sizes, 0.9)
    assert level == pytest.approx(0.03 + 3 * sizes**-0.6)


def test_more_parameters_need_more_sizes() -> None:
    errors = 0.02 + 5 * SIZES**-0.5
    known = {k: set(found.held_out) for k in range(3, 10) if (found := fit(SIZES[:k], errors[:k])) is not None}
    assert known == {k: {"power", *(["floor"] if k >= 5 else []), *(["m4"] if k >= 8 else [])} for k in range(3, 10)}
    assert fit(SIZES[:2], errors[:2]) is None
    few = fit(SIZES[:4], errors[:4])
    assert few is not None
    assert few.said == "a floor c cannot be fitted to fewer than 5 sizes"


def test_no_extrapolation_beyond_twice_the_largest_size() -> None:
    """Reference: the closed form at twice the largest size; beyond it there is an error that says what is allowed."""
    found = fit(SIZES[:4], 4 * SIZES[:4] ** -0.4)
    assert found is not None
    assert found.error(1600).mean == pytest.approx(4 * 1600**-0.4)
    for beyond in (1601, 49):
        with pytest.raises(ValueError, match="50 to 1600 are allowed"):
            found.error(beyond)


def test_beyond_few_sizes_an_error_has_no_interval() -> None:
    """Reference: by simulation, intervals of curves with a floor cover 30 % with four sizes, as none can be fitted."""
    noise = np.array([[1.0], [0.9], [1.05]])
    for sizes, known in ((SIZES[:4], False), (SIZES[:5], True)):
        found = fit(sizes, 4 * sizes**-0.4 * noise)
        assert found is not None
        assert found.error(2 * sizes[-1]).has_interval == known
        assert found.error(sizes[-1]).has_interval and not np.isnan(found.error(2 * sizes[-1]).mean)


def test_what_makes_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        fit(SIZES[:3], np.array([0.5, 0.2, 0.0]))
    with pytest.raises(ValueError, match="ascend"):
        fit(SIZES[2::-1], np.array([0.5, 0.2, 0.1]))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_of_the_exponent(seeds: int) -> None:
    """Reference: the truth of 1,000 simulated studies, noise that the sizes of a curve share and noise of their own, of
    unequal width; the standard error of the coverage is 0.7 points."""
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(1000):
        noise = 0.05 * generator.normal(size=(seeds, 1)) + np.array([0.02, 0.05, 0.1]) * generator.normal(
            size=(seeds, 3)
        )
        found = fit(SIZES[:3], np.minimum(4 * SIZES[:3] ** -0.4 * np.exp(noise), 1), np.array([25.0, 4.0, 1.0]))
        assert found is not None
        covered += found.slope.low <= 0.4 <= found.slope.high
    assert 930 <= covered <= 970


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("models", [1, 2, 4])
def test_coverage_of_the_exponent_with_the_weights_of_a_study(models: int, seeds: int) -> None:
    """Reference: the truth of 1,000 simulated studies, whose weights come from the very curves that are fitted; the
    standard error is 0.7 points. Weights of so few curves' own spread make it 89 to 92 % for one model, or for two."""
    generator, sizes = np.random.default_rng(7), SIZES[:3]
    covered = 0
    for _ in range(1000):
        shared = 0.05 * generator.normal(size=(seeds, 1))
        noise = shared + 0.05 * generator.normal(size=(models, seeds, 3))
        errors = np.minimum(4 * sizes**-0.4 * np.exp(noise), 1)
        weights = fitted._weights([(sizes.tolist(), one) for one in errors], count=10_000)
        found = fit(sizes, errors[0], np.array([weights[int(size)] for size in sizes]))
        assert found is not None
        covered += found.slope.low <= 0.4 <= found.slope.high
    assert 930 <= covered <= 970


def test_weights_are_of_the_spread_where_it_has_ten_degrees_of_freedom() -> None:
    """Reference: numpy's var over seeds, averaged over models; with one seed less, the binomial variance by hand."""
    errors = np.exp(0.1 * np.random.default_rng(2).normal(size=(2, 6, 3)) - [0.5, 1.0, 1.5])
    enough = fitted._weights([([1, 2, 3], one) for one in errors], count=400)
    assert list(enough.values()) == pytest.approx(1 / np.log(errors).var(axis=1, ddof=1).mean(axis=0))
    few = fitted._weights([([1, 2, 3], one[:5]) for one in errors], count=400)
    mean = errors[:, :5].mean(axis=(0, 1))
    assert list(few.values()) == pytest.approx(mean * 400 / (1 - mean))


def test_no_error_is_predicted_above_one() -> None:
    """Reference: by hand; half the smallest size by 9 n^-0.5 would be an error of 1.27."""
    noise = np.array([[1.0], [0.9], [1.05]])
    found = fit(SIZES[:3], 9 * SIZES[:3] ** -0.5 * noise)
    assert found is not None
    assert min(found.errors(50)) > 1
    assert (found.error(50).mean, found.error(50).low, found.error(50).high) == (1, 1, 1)
    near = found.error(80)
    assert near.low < near.mean < near.high == 1


def test_a_floor_that_the_sizes_determine_is_printed_with_its_interval() -> None:
    """Reference: made with c = 0.05 and b = 0.7, noise of 1 % in five seeds; and with no floor, where none is said."""
    generator = np.random.default_rng(3)
    noise = np.exp(0.01 * generator.normal(size=(5, 9)))
    found = fit(SIZES, (0.05 + 8 * SIZES**-0.7) * noise)
    assert found is not None
    assert found.form in ("floor", "m4")
    assert found.parameters["c"].low < 0.05 < found.parameters["c"].high
    assert found.parameters["b"].low < 0.7 < found.parameters["b"].high
    without = fit(SIZES, 8 * SIZES**-0.5 * noise)
    assert without is not None
    assert "not identifiable" in without.said
    assert "c" not in without.parameters


def test_a_factor_that_no_float_holds_is_infinite() -> None:
    """Reference: what the paired fits of two draws close to the ceiling come to, by hand: log a within 12.7 standard
    errors, of which the upper end is beyond the largest float."""
    found = fit(np.array([400.0, 450, 500]), np.array([[9, 3, 0.5], [2, 3, 9]]) / 597, chance=0.9)
    assert found is not None and math.inf in {estimate.high for estimate in found.parameters.values()}
