"""Learning curves by formula: error against train size, and what the sizes of a study can say of it.

    power   e(n) = a n^-b                                  from 3 sizes on
    floor   e(n) = c + a n^-b                              from 5
    m4      (e - c) / (e0 - e)^alpha = a n^-b              from 8

e is the test error (a share), n the labels used, e0 the error of guessing. "power" and "floor" are M1 and M2 of
Alabdulmohsin et al. 2022 ("Revisiting neural scaling laws in language and vision"), "m4" their M4. The loss is the
weighted squared error of log e. The form is the one that, fitted without the largest size, comes closest to it; of
those that come as close (`_chosen`) the one with the fewest parameters, as each form has those before it as its edge.

Whole curves are the unit: each draw's curve is fitted on its own, and an interval is the t-interval over these fits,
so it matters not that the points of a curve share their images. A floor is not identified where it comes out as 0 for
a unit, where its interval contains 0, or where log e is not bent in log n (c cannot be negative, so its own interval
would too often exclude 0); for a single curve, where the F test of its scatter does not exclude 0. Then `Fit.said`
says so and no number is given for it, nor for the exponent and scale that go with it. So it is with alpha of "m4",
which is bounded by 0 as well, where it comes out as 0 for a unit or its interval contains 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate, exponentiated

Array = NDArray[np.float64]

SIZES_NEEDED = {"power": 3, "floor": 5, "m4": 8}
WORDS = {"power": "a n^-b", "floor": "c + a n^-b", "m4": "(e - c) / (e0 - e)^alpha = a n^-b"}
REACH = 2.0  # nothing is said beyond so many times the largest size
_STEEPEST = 4.0  # exponents above it are no learning curve
_AS_CLOSE, _CLOSE = 1e-3, 1e-6
_EDGE = 1e-4  # a floor below this share of the smallest error is none


@dataclass(frozen=True)
class Fit:
    """A form with the parameters of each unit.

    form: a key of SIZES_NEEDED. sizes: labels, (k,). units: the parameters of each unit. parameters: their t-intervals,
    without those that are not identified. slope: the exponent b of "power", whatever the form. held_out: for each form,
    log of predicted over measured error at the largest size, which it did not see. said: what is not identified.
    chance: error of guessing."""

    form: str
    sizes: tuple[int, ...]
    units: tuple[Mapping[str, float], ...]
    parameters: Mapping[str, Estimate]
    slope: Estimate
    held_out: Mapping[str, float]
    said: str
    chance: float

    def errors(self, train_size: float) -> list[float]:
        """The error of each unit at `train_size`. Raises ValueError further from the sizes than a factor of two."""
        low, high = self.sizes[0] / REACH, self.sizes[-1] * REACH
        if not low <= train_size <= high:
            raise ValueError(
                f"errors: {train_size:g} images are more than {REACH:g} times away from the measured sizes, "
                f"{self.sizes[0]:,} to {self.sizes[-1]:,}: {low:g} to {high:g} are allowed"
            )
        at = np.array([float(train_size)])
        return [float(_PREDICT[self.form](unit, at, self.chance)[0]) for unit in self.units]

    def error(self, train_size: float) -> Estimate:
        """Their geometric mean, with the t-interval over units; mean and ends are cut at 1, the largest error.

        That is the spread of units given the form. Beyond the largest of fewer than five sizes there is no interval:
        nothing says there whether the curve has a floor, and by simulation a third of such intervals cover."""
        found = mean_error(self.errors(train_size))
        if train_size > self.sizes[-1] and len(self.sizes) < SIZES_NEEDED["floor"]:
            return replace(found, low=math.nan, high=math.nan)
        return found


def mean_error(errors: Sequence[float]) -> Estimate:
    """The geometric mean of errors (n,), with the t-interval over their logs, cut at 1 like any error."""
    found = exponentiated(intervals.t_interval(np.log(errors)))
    mean, low, high = np.minimum([found.mean, found.low, found.high], 1.0).tolist()
    return Estimate(mean, low, high, found.n)


def fit(sizes: Array, errors: Array, weights: Array | None = None, chance: float = 1.0) -> Fit | None:
    """Fits curves `errors` (units, k), shares above 0, at train `sizes` (k,), ascending; None below three sizes.

    weights: (k,), of the squared errors of log e; only their ratios count. Raises ValueError for errors outside (0, 1]
    and for sizes that do not ascend."""
    sizes, errors = np.asarray(sizes, dtype=float), np.atleast_2d(np.asarray(errors, dtype=float))
    if not ((errors > 0) & (errors <= 1)).all():
        raise ValueError("fit: errors are shares above 0, at most 1")
    if (np.diff(sizes) <= 0).any():
        raise ValueError(f"fit: train sizes must ascend, not {sizes.tolist()}")
    if len(sizes) < SIZES_NEEDED["power"]:
        return None
    weights = np.ones(len(sizes)) if weights is None else np.asarray(weights, dtype=float)
    held_out = _held_out(sizes, np.exp(np.log(errors).mean(axis=0)), weights, chance)
    form = _chosen(held_out)
    units = tuple(_FIT[form](sizes, one, weights, chance) for one in errors)
    slope = intervals.t_interval([_power(sizes, one, weights, chance)["b"] for one in errors])
    parameters, said = _parameters(units), ""
    if len(sizes) < SIZES_NEEDED["floor"]:
        said = f"a floor c cannot be fitted to fewer than {SIZES_NEEDED['floor']} sizes"
    else:
        tried = "floor" if form == "power" else form
        floored = units if tried == form else [_FIT[tried](sizes, one, weights, chance) for one in errors]
        doubt = _doubt(tried, floored, sizes, errors, weights, chance)
        if doubt:
            said = f"the floor c is not identifiable from these {len(sizes)} sizes: {doubt}"
            parameters = parameters if form == "power" else {}
        doubted = _doubt_of_alpha(units, sizes, errors, weights, chance) if form == "m4" else ""
        if doubted:
            said = "; ".join(part for part in (said, f"alpha is not identifiable: {doubted}") if part)
            parameters = {name: one for name, one in parameters.items() if name == "c"}
    return Fit(form, tuple(int(size) for size in sizes), units, parameters, slope, held_out, said, chance)


def parameters(form: str, sizes: Array, errors: Array, weights: Array, chance: float = 1.0) -> dict[str, float]:
    """One curve `errors` (k,) fitted by a `form` of SIZES_NEEDED, whether or not the sizes identify it."""
    return _FIT[form](sizes, errors, weights, chance)


def _chosen(held_out: Mapping[str, float]) -> str:
    """The form with the fewest parameters of those that come closest to the largest size, differences of a thousandth
    of the distance, or of `_CLOSE` in log e, counting as none: the solvers' rounding makes such."""
    closest = min(map(abs, held_out.values()))
    allowed = closest * (1 + _AS_CLOSE) + _CLOSE
    return next(form for form in SIZES_NEEDED if form in held_out and abs(held_out[form]) <= allowed)


def _held_out(sizes: Array, errors: Array, weights: Array, chance: float) -> dict[str, float]:
    found = {}
    for form, needed in SIZES_NEEDED.items():
        if len(sizes) >= needed:
            fitted = _FIT[form](sizes[:-1], errors[:-1], weights[:-1], chance)
            found[form] = float(np.log(_PREDICT[form](fitted, sizes[-1:], chance)[0] / errors[-1]))
    return found


def _parameters(units: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """The t-interval of each parameter over units; of log a for a, which is a scale."""
    found = {"a": exponentiated(intervals.t_interval(np.log([unit["a"] for unit in units])))}
    return found | {name: intervals.t_interval([unit[name] for unit in units]) for name in units[0] if name != "a"}


def _doubt(
    form: str, units: Sequence[Mapping[str, float]], sizes: Array, errors: Array, weights: Array, chance: float
) -> str:
    """Why the floor of `form`, fitted as `units`, is not identified; '' where it is."""
    at_zero = sum(unit["c"] <= _EDGE * one.min() for unit, one in zip(units, errors, strict=True))
    if at_zero:
        return f"it comes out as 0 for {at_zero} of {len(units)} curves" if len(units) > 1 else "it comes out as 0"
    if len(units) == 1:
        line = _power(sizes, errors[0], weights, chance)
        sure = _by_residuals(form, units[0], "power", line, sizes, errors[0], weights, chance)
        return "" if sure else "a curve without one fits as well, by the F test of its scatter"
    if not intervals.t_interval([_curvature(sizes, one, weights) for one in errors]).low > 0:
        return "log error does not bend upwards in log n, by the t-interval of its curvature"
    floor = intervals.t_interval([unit["c"] for unit in units])
    return "" if floor.low > 0 else "its interval contains 0"


def _doubt_of_alpha(
    units: Sequence[Mapping[str, float]], sizes: Array, errors: Array, weights: Array, chance: float
) -> str:
    """Why alpha of "m4" is not identified; '' where it is. Without it the form is "floor"."""
    at_zero = sum(unit["alpha"] <= _EDGE for unit in units)
    if at_zero:
        return f"it comes out as 0 for {at_zero} of {len(units)} curves" if len(units) > 1 else "it comes out as 0"
    if len(units) == 1:
        floor = _floor(sizes, errors[0], weights, chance)
        sure = _by_residuals("m4", units[0], "floor", floor, sizes, errors[0], weights, chance)
        return "" if sure else "a curve without it fits as well, by the F test of its scatter"
    found = intervals.t_interval([unit["alpha"] for unit in units])
    return "" if found.low > 0 else "its interval contains 0"


def _curvature(sizes: Array, errors: Array, weights: Array) -> float:
    """The quadratic coefficient of log e in log n. A floor bends the line upwards; unlike c it is free to be negative,
    so noise alone does not make it positive in every unit."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 2, w=np.sqrt(weights))[0])


def _by_residuals(
    form: str,
    unit: Mapping[str, float],
    simpler: str,
    edge: Mapping[str, float],
    sizes: Array,
    errors: Array,
    weights: Array,
    chance: float,
) -> bool:
    """For a single curve: whether the F test of its scatter excludes the `simpler` form, fitted as `edge`."""
    free = len(sizes) - len(unit)
    best = _loss(form, unit, sizes, errors, weights, chance)
    without = _loss(simpler, edge, sizes, errors, weights, chance)
    if free < 1 or best <= 0:
        return best <= 0 < free and without > 0
    extra = len(unit) - len(edge)
    return bool((without - best) / extra / (best / free) > stats.f.ppf(intervals.LEVEL, extra, free))


def _loss(form: str, unit: Mapping[str, float], sizes: Array, errors: Array, weights: Array, chance: float) -> float:
    return float((weights * np.log(_PREDICT[form](unit, sizes, chance) / errors) ** 2).sum())


def _power(sizes: Array, errors: Array, weights: Array, chance: float) -> dict[str, float]:
    """A straight line through log e against log n, by weighted least squares."""
    x, y = np.log(sizes), np.log(errors)
    centre = np.average(x, weights=weights)
    slope = float((weights * (x - centre) * y).sum() / (weights * (x - centre) ** 2).sum())
    return {"a": float(np.exp(np.average(y, weights=weights) - slope * centre)), "b": -slope}


def _floor(sizes: Array, errors: Array, weights: Array, chance: float) -> dict[str, float]:
    """Least squares over (log a, b, c), started from the best of some floors; n in units of its geometric mean, which
    keeps log a and b apart."""
    centre = float(np.exp(np.log(sizes).mean()))
    x, y, root = np.log(sizes / centre), np.log(errors), np.sqrt(weights / weights.mean())
    ceiling = float(errors.min())

    def residuals(at: Array) -> Array:
        return root * (np.log(at[2] + np.exp(at[0] - at[1] * x)) - y)

    def jacobian(at: Array) -> Array:
        falling = np.exp(at[0] - at[1] * x)
        total = at[2] + falling
        return root[:, None] * np.stack([falling / total, -x * falling / total, 1 / total], axis=1)

    starts = []
    for share in (0.01, 0.2, 0.4, 0.6, 0.8, 0.95):
        line = _power(sizes / centre, errors - share * ceiling, weights, chance)
        starts.append(
            np.array([math.log(line["a"]), float(np.clip(line["b"], 0.01, _STEEPEST - 0.01)), share * ceiling])
        )
    start = min(starts, key=lambda at: float((residuals(at) ** 2).sum()))
    bounds = ([-np.inf, 0.0, 0.0], [np.inf, _STEEPEST, ceiling])
    found = optimize.least_squares(residuals, start, jacobian, bounds, x_scale=(1, 1, ceiling), xtol=1e-10, ftol=1e-10)
    log_a, b, c = map(float, found.x)
    line = _power(sizes, errors, weights, chance)
    if c <= _EDGE * ceiling or _loss("power", line, sizes, errors, weights / weights.mean(), chance) <= 2 * found.cost:
        return {**line, "c": 0.0}
    return {"a": math.exp(log_a + b * math.log(centre)), "b": b, "c": c}


def _m4(sizes: Array, errors: Array, weights: Array, chance: float) -> dict[str, float]:
    """As `_floor`, from its solution (alpha = 0) and from a curve that leaves chance (alpha = 1)."""
    root = np.sqrt(weights / weights.mean())
    ceiling = float(min(errors.min(), chance))
    floor = _floor(sizes, errors, weights, chance)
    centre = float(np.exp(np.log(sizes).mean()))

    def unit(at: Array) -> dict[str, float]:
        return {"a": math.exp(at[0] + at[1] * math.log(centre)), "b": at[1], "c": at[2], "alpha": at[3]}

    def residuals(at: Array) -> Array:
        return root * np.log(_predict_m4(unit(at), sizes, chance) / errors)

    level = math.log(floor["a"]) - floor["b"] * math.log(centre)
    inside = min(max(floor["c"], 0.01 * ceiling), 0.99 * ceiling)
    b = min(max(floor["b"], 0.01), _STEEPEST - 0.01)
    starts = [np.array([level, b, inside, 0.01]), np.array([level, b, inside, 1.0])]
    bounds = ([-np.inf, 0.0, 0.0, 0.0], [np.inf, _STEEPEST, ceiling, 4.0])
    tries = [optimize.least_squares(residuals, at, bounds=bounds, x_scale=(1, 1, ceiling, 1)) for at in starts]
    best = min(tries, key=lambda one: float(one.cost))
    return {name: float(value) for name, value in unit(best.x).items()}


def _predict_power(unit: Mapping[str, float], sizes: Array, chance: float) -> Array:
    return np.asarray(unit["a"] * sizes ** -unit["b"])


def _predict_floor(unit: Mapping[str, float], sizes: Array, chance: float) -> Array:
    return np.asarray(unit["c"] + unit["a"] * sizes ** -unit["b"])


def _predict_m4(unit: Mapping[str, float], sizes: Array, chance: float) -> Array:
    """The error in (c, e0) that solves the form, by bisection: its left side grows with e."""
    target = math.log(unit["a"]) - unit["b"] * np.log(sizes)
    low, high = np.zeros_like(sizes), np.ones_like(sizes)  # share of the way from c to e0
    width = chance - unit["c"]
    for _ in range(50):
        middle = (low + high) / 2
        above = np.log(width * middle) - unit["alpha"] * np.log(width * (1 - middle)) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray(unit["c"] + width * (low + high) / 2)


_FIT: dict[str, Callable[[Array, Array, Array, float], dict[str, float]]] = {
    "power": _power,
    "floor": _floor,
    "m4": _m4,
}
_PREDICT: dict[str, Callable[[Mapping[str, float], Array, float], Array]] = {
    "power": _predict_power,
    "floor": _predict_floor,
    "m4": _predict_m4,
}
