"""Are two shapes the same? Near each other or far apart: one data set a distance.

Every shape is as frequent in both classes, so neither of the two tells anything alone. The area of each is random, and
as likely for a disc as for a triangle or a cross, so the light of an image tells nothing either; what edges tell at few
pixels is little.
"""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Scenes
from benchmarks.data.drawn.shapes import shape

SIDES = UNITS * 150 // 1000, UNITS * 212 // 1000  # of a square of a shape's area: the smallest, the largest
ROOM = UNITS * 15 // 100  # about the middle of a shape, of any kind and size
KINDS = "disc", "triangle", "cross"


def read_near(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "same_near", partial(draw, distance=UNITS * 35 // 100))


def read_far(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "same_far", partial(draw, distance=UNITS * 65 // 100))


def draw(canvas: Canvas, scenes: Scenes, distance: int) -> None:
    """Two light shapes on a dark ground, beside or above each other, of the same kind in class 1."""
    canvas.samples[:] = scenes.between("background", 0, 60)[:, None, None, None].astype(np.uint8)
    apart = distance + scenes.between("distance", -UNITS * 3 // 100, UNITS * 3 // 100)
    along = ROOM + scenes.between("along", 0, UNITS) * (UNITS - 2 * ROOM - apart) // UNITS  # of the first one
    across = [scenes.between(f"across {number}", ROOM, UNITS - ROOM) for number in range(2)]
    across[1] = across[0] + (across[1] - across[0]) // 8  # nearly in line
    first = scenes.between("kind", 0, len(KINDS) - 1)
    second = np.where(scenes.labels == 1, first, (first + scenes.between("other kind", 1, len(KINDS) - 1)) % len(KINDS))
    lying = scenes.between("direction", 0, 1) == 1
    for number, (kind, far) in enumerate(((first, along), (second, along + apart))):
        x, y = np.where(lying, far, across[number]), np.where(lying, across[number], far)
        side, value = scenes.between(f"side {number}", *SIDES), scenes.between(f"value {number}", 150, 255)
        for place, name in enumerate(KINDS):
            canvas.paint(shape(canvas, name, x, y, side) & (kind == place)[:, None, None], value)
