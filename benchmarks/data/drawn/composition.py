"""Are the parts of a face in their places? A face and a misplaced one have the same parts: two eyes, nose, mouth.

So a network that sees which parts there are, and not where, is at chance. The image is 4 x 4 cells and each part lies
within one, so a face and a misplaced one have the very same patches, in another order, where patches are cells or
divide them: to a ViT without positions they are the same image.
"""

from itertools import permutations
from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Scenes

EYE, NOSE, MOUTH = 0, 1, 2
FACE = (EYE, EYE, NOSE, MOUTH)  # what belongs in each place
CELL = UNITS // 4
PLACES = ((0, 0), (2, 0), (1, 1), (1, 2))  # right and down, in cells
HALVES = {EYE: (50, 50), NOSE: (26, 70), MOUTH: (90, 26)}  # of width and height, in thousandths of the image
SWAY = UNITS * 30 // 1000  # of all parts alike: each stays in its cell
MISPLACED = np.array([order for order in sorted(set(permutations(FACE))) if order != FACE])  # 11 ways


def read(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "composition", draw)


def draw(canvas: Canvas, scenes: Scenes) -> None:
    """Dark parts on light skin, which fills the image; a face in class 1."""
    x, y = (CELL // 2 + scenes.between(axis, -SWAY, SWAY) for axis in ("x", "y"))
    canvas.samples[:] = scenes.between("skin", 150, 240)[:, None, None, None].astype(np.uint8)
    order = MISPLACED[scenes.between("misplaced", 0, len(MISPLACED) - 1)]
    order = np.where(scenes.labels[:, None] == 1, np.array(FACE), order)
    dark = scenes.between("parts", 0, 60)
    for place, (right, down) in enumerate(PLACES):
        for part, (width, height) in HALVES.items():
            there = (order[:, place] == part)[:, None, None]
            figure = canvas.ellipse if part == EYE else canvas.box
            size = (np.full(len(x), UNITS * half // 1000) for half in (width, height))
            canvas.paint(figure(x + right * CELL, y + down * CELL, *size) & there, dark)
