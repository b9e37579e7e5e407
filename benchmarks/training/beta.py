"""Quantiles of Beta(alpha, alpha): shares of mixup, in a fraction of the time that solving for each takes."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NODES = 2048  # of the table, evenly over the logarithm of u from SMALLEST to a half
SMALLEST = 2.0**-10
ALPHAS = (0.2, 100.0)  # between them the table's relative error is below a tenth of TOLERANCE
TOLERANCE = 1e-10


def quantiles(alpha: float, u: NDArray[np.float64]) -> NDArray[np.float32]:
    """The x below which Beta(alpha, alpha) has a share of u, in 0..1: float32, what scipy's `betaincinv` rounds to.

    They are read off a table. Where its error could decide how one is rounded, the number is solved for.
    """
    from scipy.special import betaincinv

    if not ALPHAS[0] <= alpha <= ALPHAS[1]:
        return betaincinv(alpha, alpha, u).astype(np.float32)
    lower = np.minimum(u, 1 - u)  # the distribution is symmetric, and 1 - u exact
    read = _read(_table(alpha), np.maximum(lower, SMALLEST))
    read = np.where(u < 0.5, read, 1 - read)
    found = (read * (1 - TOLERANCE)).astype(np.float32)
    open_ = (found != (read * (1 + TOLERANCE)).astype(np.float32)) | (lower < SMALLEST)
    found[open_] = betaincinv(alpha, alpha, u[open_])
    return found


@lru_cache(maxsize=8)
def _table(alpha: float) -> tuple[NDArray[np.float64], float, float]:
    """Cubics between nodes for the logarithm of the quantile (4 x NODES, Hermite's, with the density's own slopes),
    the logarithm of u at the first node, and the step between nodes."""
    from scipy.special import betaincinv, betaln

    place, step = np.linspace(np.log(SMALLEST), np.log(0.5), NODES + 1, retstep=True)
    quantile = betaincinv(alpha, alpha, np.exp(place))
    density = np.exp((alpha - 1) * (np.log(quantile) + np.log1p(-quantile)) - betaln(alpha, alpha))
    value, slope = np.log(quantile), np.exp(place) / density / quantile * step
    rise, before, after = np.diff(value), slope[:-1], slope[1:]
    cubics = np.stack((value[:-1], before, 3 * rise - 2 * before - after, before + after - 2 * rise))
    return cubics, float(place[0]), float(step)


def _read(table: tuple[NDArray[np.float64], float, float], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quantile at u, between SMALLEST and a half."""
    cubics, first, step = table
    place = (np.log(u) - first) / step
    number = np.clip(place.astype(np.int64), 0, NODES - 1)
    constant, linear, square, cube = cubics[:, number]
    along = place - number
    return np.exp(((cube * along + square) * along + linear) * along + constant)
