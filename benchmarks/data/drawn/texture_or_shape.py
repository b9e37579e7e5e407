"""Disc or cross, stripes or checks? In training both say the class; in the test they contradict each other.

Labels of the test are those of the shape, so the accuracy is the shape bias: the share of images decided by shape, of
those decided by shape or texture. After Geirhos et al., "ImageNet-trained CNNs are biased towards texture", ICLR 2019.
"""

from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Scenes
from benchmarks.data.drawn.shapes import radius_of, shape

SIDES = UNITS * 45 // 100, UNITS * 67 // 100  # of a square of a shape's area: the smallest, the largest
PERIOD = UNITS // 5  # of a texture: one light and one dark part


def read(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "texture_or_shape", draw)


def draw(canvas: Canvas, scenes: Scenes) -> None:
    """A light disc in class 0, a cross in class 1, on a dark ground, which shows the shape better than its texture; in
    training the disc has stripes and the cross has checks. Neither area nor place tells one from the other."""
    side = scenes.between("side", *SIDES)
    room = radius_of("cross", side)  # as wide as it is, a disc less
    x, y = (room + scenes.between(axis, 0, UNITS) * (UNITS - 2 * room) // UNITS for axis in ("x", "y"))
    canvas.samples[:] = scenes.between("background", 20, 80)[:, None, None, None].astype(np.uint8)
    cross, checks = scenes.labels == 1, scenes.labels == (1 if scenes.part == "train" else 0)
    outline = np.where(cross[:, None, None], shape(canvas, "cross", x, y, side), shape(canvas, "disc", x, y, side))
    right, down = (scenes.between(f"phase {axis}", 0, PERIOD - 1)[:, None, None] for axis in ("x", "y"))
    columns, rows = (canvas.x + right) // (PERIOD // 2) % 2, (canvas.y + down) // (PERIOD // 2) % 2
    light = np.where(checks[:, None, None], columns ^ rows, columns + 0 * rows) == 1
    value, contrast = scenes.between("value", 150, 200), scenes.between("contrast", 20, 50)
    canvas.paint(outline & light, value + contrast)
    canvas.paint(outline & ~light, value - contrast)
