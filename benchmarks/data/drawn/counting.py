"""How many discs are there, one to five? Of any size and brightness, never touching.

Neither the area of all discs nor the size of one says it alone. Were sizes the same for every number, the sum of areas
would; were the sum the same, each size would. It grows by the root of the number, so that both say little.
"""

from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Numbers, Scenes
from benchmarks.data.drawn.shapes import radius_of, shape

CELLS = 3  # a side; each disc has a cell of its own
CELL = UNITS // CELLS
GAP = UNITS // 50  # to the border of its cell, at least
SIDES = UNITS * 12 // 100, UNITS * 25 // 100  # of a square as large as a single disc: the smallest, the largest
SHARES = 100, 200  # what discs have of the area of all, beside each other: the smallest, the largest


def read(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "counting", draw)


def draw(canvas: Canvas, scenes: Scenes) -> None:
    """One disc in class 0, five in class 4."""
    canvas.samples[:] = scenes.between("background", 0, 60)[:, None, None, None].astype(np.uint8)
    cells, sides = scenes.orders("cells", CELLS**2), _sides(scenes)
    for number in range(sides.shape[1]):
        side, there = sides[:, number], (number <= scenes.labels)[:, None, None]
        x, y = (_within(scenes, f"{axis} {number}", radius_of("disc", side)) for axis in ("x", "y"))
        x, y = x + cells[:, number] % CELLS * CELL, y + cells[:, number] // CELLS * CELL
        canvas.paint(shape(canvas, "disc", x, y, side) & there, scenes.between(f"value {number}", 120, 255))


def _sides(scenes: Scenes) -> Numbers:
    """Of squares as large as the discs (N, discs): 0 of those that are not there. Roots are exact to the last bit on
    every platform."""
    places = np.arange(scenes.labels.max() + 1)
    shares = np.stack([scenes.between(f"share {place}", *SHARES) for place in places], axis=1)
    shares *= places <= scenes.labels[:, None]
    growth = np.sqrt((scenes.labels + 1) * 1_000_000).astype(np.int64)  # in thousandths
    areas = scenes.between("side", *SIDES) ** 2 * growth // 1000
    sides: Numbers = np.sqrt(areas[:, None] * shares // shares.sum(1, keepdims=True)).astype(np.int64)
    return sides


def _within(scenes: Scenes, purpose: str, radius: Numbers) -> Numbers:
    """The middle of a disc inside its cell."""
    margin = radius + GAP
    return margin + scenes.between(purpose, 0, UNITS) * (CELL - 2 * margin) // UNITS
