"""Which of two colours is on the left? In training the upper half says it as well; in the test it says the opposite.

A network that goes by the order of the colours has all of the test right, one that goes by place none of it. After
Kayhan and van Gemert, "On translation invariance in CNNs", CVPR 2020 (their red-green data set).
"""

from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Scenes


def read(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "where", draw)


def draw(canvas: Canvas, scenes: Scenes) -> None:
    """A red and a green square side by side: red is on the left in class 0, which is above in training."""
    half = scenes.between("side", UNITS // 14, UNITS // 10)  # of a square's side
    x = half * 2 + scenes.between("x", 0, UNITS) * (UNITS - half * 4) // UNITS  # where they touch
    y = half + scenes.between("y", 0, UNITS) * (UNITS // 2 - half * 2) // UNITS
    below = scenes.labels == (1 if scenes.part == "train" else 0)
    y = np.where(below, y + UNITS // 2, y)
    canvas.samples[:] = scenes.between("background", 0, 60)[:, None, None, None].astype(np.uint8)
    side = np.where(scenes.labels == 0, -half, half)  # of the red square
    for purpose, place in (("red", x + side), ("green", x - side)):
        bright, dim = scenes.between(purpose, 180, 255), scenes.between(f"{purpose}, the other", 0, 60)
        red, green = (bright, dim) if purpose == "red" else (dim, bright)
        canvas.paint(canvas.box(place, y, half, half), red, green, np.zeros_like(red))
