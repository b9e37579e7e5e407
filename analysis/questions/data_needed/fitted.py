"""The fitted learning curve of every model of an arm (`fits` has the forms)."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, marks
from analysis.frame.rows import each_group
from analysis.statistics import fits, intervals
from analysis.statistics.curves import Curves, curves_of, missing_sizes
from analysis.statistics.intervals import Estimate

_EQUAL = 1e-12  # sums of squares below this are rounding, not spread
FREE = 10  # degrees of freedom below which the spread of log error is no weight


FittedCurve = tuple[str, Curves, fits.Fit, list[int]]  # as `each_fit` gives them


def table(arm: ArmData, found: Sequence[FittedCurve] | None = None) -> pd.DataFrame:
    """The fitted curve of each model (`fits`); `found`: those of `each_fit`, where they are known.

    Columns: label, line, sizes (number of train sizes above chance), left_out (sizes at chance, separated by spaces),
    form, held_out_power, held_out_floor, held_out_m4 (predicted over measured error, minus 1, at the largest size,
    fitted without it), slope (b of "power"), b, c, a, alpha and doubled (error at twice the largest size), each with
    _low and _high and NaN where it is not identified or not there, said, n, done, planned, incomplete (sizes left out
    because runs are missing), starved, stale, runs. Empty below three sizes."""
    result = []
    for label, curves, one, left_out in each_fit(arm.rows) if found is None else found:
        estimates = {"slope": one.slope, **one.parameters, "doubled": one.error(fits.REACH * one.sizes[-1])}
        absent = Estimate(math.nan, math.nan, math.nan, 0)
        numbers: dict[str, float] = {}
        for name in ("slope", "b", "c", "a", "alpha", "doubled"):
            estimate = estimates.get(name, absent)
            numbers |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        held_out = {f"held_out_{form}": math.expm1(one.held_out.get(form, math.nan)) for form in fits.SIZES_NEEDED}
        runs = arm.runs[arm.runs["label"] == label]
        result.append(
            {
                "label": label,
                "line": label,
                "sizes": len(one.sizes),
                "left_out": " ".join(map(str, left_out)),
                "form": one.form,
                **held_out,
                **numbers,
                "said": one.said,
                "n": len(one.units),
                "done": len(curves),
                "planned": intervals.planned_units(runs),
                "incomplete": missing_sizes(runs, curves),
                **marks(runs),
                "runs": curves.runs,
            }
        )
    return pd.DataFrame(result)


def each_fit(rows: pd.DataFrame) -> Iterator[FittedCurve]:
    """(label, curves, fit, train sizes left out because the model is not above chance there) of each model of an arm.

    Weights are one over the variance of log error between the units of a model, pooled over the models of the arm; of
    its binomial error where those are few (`_weights`)."""
    rows = at_home(rows)
    if rows.empty:
        return
    guess, count = one_arm(rows).chance, int(rows["count"].max())
    limit = guess + 2 * intervals.binomial_se(guess, count)
    kept: dict[str, tuple[Curves, list[int], list[int]]] = {}
    for label, group in each_group(rows, "label"):
        curves = curves_of(group).whole(fits.SIZES_NEEDED["power"])
        if len(curves):
            above = curves.values.mean(axis=0) > limit
            used = [size for size, good in zip(curves.sizes, above, strict=True) if good]
            kept[label] = (curves, used, [size for size in curves.sizes if size not in used])
    errors = {
        label: errors_of(curves, count)[:, [curves.sizes.index(size) for size in used]]
        for label, (curves, used, _) in kept.items()
    }
    weights = _weights([(kept[label][1], one) for label, one in errors.items()], count)
    for label, (curves, used, left_out) in kept.items():
        sizes, of_sizes = np.array(used, dtype=float), np.array([weights[size] for size in used])
        one = fits.fit(sizes, errors[label], of_sizes, 1 - guess)
        if one is not None:
            yield label, curves, one, left_out


def errors_of(curves: Curves, count: int) -> NDArray[np.float64]:
    """Errors (units, sizes) on `count` test images; none of them counts as half an image, to have a logarithm."""
    return np.maximum(1 - curves.values, 0.5 / count)


def _weights(models: list[tuple[list[int], np.ndarray]], count: int) -> dict[int, float]:
    """For each size, one over the variance of log error within models; where any size has fewer than `FREE` degrees of
    freedom for it, one over that of the binomial error of `count` test images at the mean error.

    A weight estimated from the few curves that it fits is large where these happen to be close, and so makes the fits
    of all units alike: their t-interval then covers 89 to 91 % with one model of two or three seeds."""
    squares: dict[int, float] = {}
    free: dict[int, int] = {}
    means: dict[int, list[float]] = {}
    for sizes, errors in models:
        for size, column in zip(sizes, errors.T, strict=True):
            logs = np.log(column)
            squares[size] = squares.get(size, 0) + float(((logs - logs.mean()) ** 2).sum())
            free[size] = free.get(size, 0) + len(logs) - 1
            means.setdefault(size, []).append(float(column.mean()))
    if all(free[size] >= FREE and squares[size] > _EQUAL for size in squares):
        return {size: free[size] / squares[size] for size in squares}
    errors_at = {size: float(np.mean(one)) for size, one in means.items()}
    return {size: error * count / (1 - error) for size, error in errors_at.items()}
