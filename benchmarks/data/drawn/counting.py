"""How many discs are there, one to five? Of any size and brightness, so that neither says it alone; never touching."""

from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Scenes

CELLS = 3  # a side; each disc has a cell of its own
CELL = UNITS // CELLS
GAP = UNITS // 50  # to the border of its cell, at least


def read(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "counting", draw)


def draw(canvas: Canvas, scenes: Scenes) -> None:
    """One disc in class 0, five in class 4."""
    canvas.samples[:] = scenes.between("background", 0, 60)[:, None, None, None].astype(np.uint8)
    cells = scenes.orders("cells", CELLS**2)
    for number in range(int(scenes.labels.max()) + 1):
        radius = scenes.between(f"radius {number}", UNITS * 6 // 100, UNITS * 11 // 100)
        x, y = (_within(scenes, f"{axis} {number}", radius) for axis in ("x", "y"))
        x, y = x + cells[:, number] % CELLS * CELL, y + cells[:, number] // CELLS * CELL
        there = (number <= scenes.labels)[:, None, None]
        canvas.paint(canvas.disc(x, y, radius) & there, scenes.between(f"value {number}", 120, 255))


def _within(scenes: Scenes, purpose: str, radius: drawing.Numbers) -> drawing.Numbers:
    """The middle of a disc inside its cell."""
    margin = radius + GAP
    return margin + scenes.between(purpose, 0, UNITS) * (CELL - 2 * margin) // UNITS
