"""The critical value that makes several intervals hold at once: a quantile of the largest of correlated |t|.

Estimates with a common variance estimate follow a multivariate t. For many comparisons with one reference the
quantile is Dunnett's (1955), for all pairs of a complete design it is Tukey's studentized range over the square root
of 2; where runs are missing, correlations are unequal and there is no table. All are one integral here:

A standard normal vector in d dimensions is a direction u, uniform on the sphere, times a length whose square over d s^2
is F with d and df degrees of freedom. Along a direction the largest |t| is the length times h(u) = max |a_i . u|, so

    P(max |t_i| <= c) = mean over u of F_{d, df}((c / h(u))^2 / d)

which is exact along the length; the mean over directions is taken on 2^16 points of Sobol's sequence, unscrambled, so
that the value is the same each time (spherical-radial integration: Genz and Bretz 2009, section 4.1.2), and on each
machine: coordinates come from a Cholesky factor, since eigenvectors of equal eigenvalues are any library's choice, by
processor. It is within 0.001 of the exact values (tests/analysis/test_block_model.py).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from scipy.stats import qmc

POINTS = 16  # two to this power
_ROUNDING = 1e-9  # of a variance that earlier rows explain all of


def critical_value(contrasts: NDArray[np.float64], df: int, level: float = 0.95) -> float:
    """The c with P(all |t_i| <= c) = `level`.

    contrasts (m, p): t_i is a_i . z over the common scale, for standard normal z; only the directions of the rows
    matter. One contrast gives Student's two-sided quantile. Raises ValueError for df < 1 or no contrast.
    """
    if df < 1 or not len(contrasts):
        raise ValueError(f"critical_value: needs a contrast and a degree of freedom, not {len(contrasts)} and {df}")
    unit = contrasts / np.linalg.norm(contrasts, axis=1, keepdims=True)
    correlation = np.round(unit @ unit.T, 10) + 0.0  # + 0.0: no minus zero, so that equal ones are found again
    return _quantile(correlation.tobytes(), len(unit), df, level)


def factor(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows (m, rank) whose products are a correlation matrix (m, m): Cholesky's factor, without the columns of rows
    that depend on earlier ones."""
    columns: list[NDArray[np.float64]] = []
    for row in range(len(correlation)):
        rest = correlation[:, row] - sum(column * column[row] for column in columns)
        if rest[row] > _ROUNDING:
            columns.append(rest / np.sqrt(rest[row]))
    return np.column_stack(columns)


@lru_cache(maxsize=4096)
def _quantile(correlation: bytes, count: int, df: int, level: float) -> float:
    rows = factor(np.frombuffer(correlation).reshape(count, count))
    d = rows.shape[1]
    points = qmc.Sobol(d, scramble=False).random_base2(POINTS) + 0.5 ** (POINTS + 1)  # the middles: none is 0
    directions = special.ndtri(points)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    reach = np.abs(directions @ rows.T).max(axis=1)

    def excess(c: float) -> float:
        return float(special.fdtr(d, df, (c / reach) ** 2 / d).mean()) - level

    high = 2.0
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-10))
