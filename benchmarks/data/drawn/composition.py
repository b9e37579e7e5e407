"""Are the parts of a face in their places? A face and a misplaced one have the same parts: two eyes, nose, mouth.

So a network that sees which parts there are, and not where, is at chance. A bag of patches is such a network only where
a patch shows little beside a part: at few pixels it has the edge of the head, or the next part, in the same patch.
"""

from itertools import permutations
from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Scenes

EYE, NOSE, MOUTH = 0, 1, 2
FACE = (EYE, EYE, NOSE, MOUTH)  # what belongs in each place
PLACES = ((-18, -16), (18, -16), (0, 6), (0, 26))  # right and down from the middle, in hundredths of the head
HALVES = {EYE: (7, 7), NOSE: (4, 9), MOUTH: (16, 4)}  # of width and height, likewise
MISPLACED = np.array([order for order in sorted(set(permutations(FACE))) if order != FACE])  # 11 ways


def read(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "composition", draw)


def draw(canvas: Canvas, scenes: Scenes) -> None:
    """A light head on a dark ground, its parts dark; a face in class 1."""
    head = scenes.between("size", UNITS * 84 // 100, UNITS * 96 // 100)
    x = UNITS // 2 + scenes.between("x", -UNITS // 40, UNITS // 40)
    y = UNITS // 2 + scenes.between("y", -UNITS // 40, UNITS // 40)
    canvas.samples[:] = scenes.between("background", 10, 70)[:, None, None, None].astype(np.uint8)
    canvas.paint(canvas.ellipse(x, y, head * 41 // 100, head * 49 // 100), scenes.between("skin", 150, 240))
    order = MISPLACED[scenes.between("misplaced", 0, len(MISPLACED) - 1)]
    order = np.where(scenes.labels[:, None] == 1, np.array(FACE), order)
    dark = scenes.between("parts", 0, 60)
    for place, (right, down) in enumerate(PLACES):
        at_x = x + head * right // 100 + scenes.between(f"x of place {place}", -UNITS // 100, UNITS // 100)
        at_y = y + head * down // 100 + scenes.between(f"y of place {place}", -UNITS // 100, UNITS // 100)
        for part, (width, height) in HALVES.items():
            there = (order[:, place] == part)[:, None, None]
            shape = canvas.ellipse if part == EYE else canvas.box
            canvas.paint(shape(at_x, at_y, head * width // 100, head * height // 100) & there, dark)
