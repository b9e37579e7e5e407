"""What is measured of positions, on arrays alone.

Shapes: a grid of H rows and W columns, N = H W positions in raster order, D channels, h heads of width d. Offsets are
query minus key, dr rows and dc columns; in an image of offsets, 2H-1 x 2W-1, offset 0 lies in the middle.
"""

import numpy as np
from numpy.typing import NDArray

from models.grids import Grid

Array = NDArray[np.float64]


def cosine_similarity(table: Array) -> Array:
    """Cosine of every pair of rows: N D -> N N; 0 for a row of zeros."""
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    unit = np.divide(table, norms, out=np.zeros_like(table), where=norms > 0)
    return unit @ unit.T


def singular_values(table: Array) -> Array:
    """Singular values of the table less its mean row, the largest first: N D -> min(N, D)."""
    values: Array = np.linalg.svd(table - table.mean(axis=0), compute_uv=False)
    return values


def shares(values: Array) -> Array:
    """Share of each singular value in the variance, the squares' sum; 0 where there is none."""
    squares = values**2
    return squares / (squares.sum() or 1.0)


def fourier_power(table: Array, grid: Grid) -> Array:
    """Share of each spatial frequency in the table's variance: N D -> H W, frequency 0 (without power) in the middle.

    The squared amplitudes of each channel's discrete Fourier transform over the grid, summed over channels."""
    image = (table - table.mean(axis=0)).reshape(*grid, -1)
    power = (np.abs(np.fft.fft2(image, axes=(0, 1))) ** 2).sum(axis=-1)
    power[0, 0] = 0.0
    return np.fft.fftshift(power) / (power.sum() or 1.0)


def by_offset(pairs: Array, grid: Grid) -> Array:
    """Mean over all pairs of one offset: h N N (queries by keys) -> h 2H-1 2W-1."""
    rows, columns = grid
    row, column = np.divmod(np.arange(rows * columns), columns)
    down, across = row[:, None] - row + rows - 1, column[:, None] - column + columns - 1
    places = (down * (2 * columns - 1) + across).ravel()
    size = (2 * rows - 1) * (2 * columns - 1)
    sums = np.stack([np.bincount(places, head.ravel(), size) for head in pairs])
    means: Array = (sums / np.bincount(places, minlength=size)).reshape(-1, 2 * rows - 1, 2 * columns - 1)
    return means


def along(offsets: Array, axis: str) -> tuple[NDArray[np.int64], Array]:
    """An image of offsets cut through its middle: h 2H-1 2W-1 -> offsets, and values h of each.

    `axis`: columns (dr = 0) or rows (dc = 0)."""
    middle = offsets.shape[1] // 2, offsets.shape[2] // 2
    values = offsets[:, middle[0], :] if axis == "columns" else offsets[:, :, middle[1]]
    reach = values.shape[1] // 2
    return np.arange(-reach, reach + 1), values


def unit_products(turned: Array) -> Array:
    """Mean of R_p q . R_k q over all unit vectors q, for the maps R of every pair of positions: h N N.

    `turned`: what becomes of the basis at every position, d h N d. The mean of q' A q over the unit sphere is the trace
    of A over d, so it is exact: for rotations the mean cosine of their angles. At offset 0 it is 1."""
    width, heads, count = turned.shape[:3]
    flat = turned.transpose(1, 2, 0, 3).reshape(heads, count, -1)
    products: Array = flat @ flat.transpose(0, 2, 1) / width
    return products


def decay_bound(phases: NDArray[np.complex128]) -> Array:
    """How large a product of a rotated query and key can be, against offset 0: phases h N d/2 -> h N N.

    (1 / (d/2)) sum_j |S_j| with S_j the sum of the first j phases exp(i angle) of the offset, as in section 3.4.3 of Su
    et al. (2021, RoFormer), divided by its value at offset 0."""
    pairs = phases.shape[-1]
    found = []
    for head in phases:  # one at a time: N N d/2 numbers
        sums = np.zeros((len(head), len(head)), dtype=np.complex128)
        total = np.zeros((len(head), len(head)))
        for angle in head.T:
            sums += angle[:, None] * angle.conj()
            total += np.abs(sums)
        found.append(total / (pairs * (pairs + 1) / 2))
    return np.stack(found)


def same_place(patch: int, grid: Grid, other: Grid) -> int:
    """The position of another grid that holds the middle of position `patch`; both count from 0 in raster order."""
    row, column = divmod(patch, grid[1])
    down, across = (row + 0.5) * other[0] / grid[0], (column + 0.5) * other[1] / grid[1]
    return int(down) * other[1] + int(across)
