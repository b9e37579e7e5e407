"""Disc or cross, anywhere in the image? And the same with all pixels in one and the same other order.

Nothing is lost by the order but which pixels are neighbours: a network that assumes nothing of neighbours learns one as
well as the other.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import randomness
from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.drawn import drawing
from benchmarks.data.drawn.drawing import UNITS, Canvas, Scenes
from benchmarks.data.drawn.shapes import RADII, radius_of, shape

SIDES = UNITS * 200 // 1000, UNITS * 280 // 1000  # of a square of the shape's area: the smallest, the largest
KINDS = "disc", "cross"


def read(spec: Dataset, data: Path, download: bool) -> Images:
    return drawing.images(spec, "locality", draw)


def read_permuted(spec: Dataset, data: Path, download: bool) -> Images:
    """The images of `read`, their pixels in one order for both parts, drawn for the number of pixels."""
    plain = drawing.images(spec, "locality", draw)
    count = spec.native_resolution**2
    order = randomness.permutation(randomness.key(0, "drawn locality pixels"), count)
    parts = plain.array("train"), plain.array("test")
    train, test = (part.reshape(-1, count)[:, order].reshape(part.shape) for part in parts)
    return replace(plain, train=train, test=test)


def draw(canvas: Canvas, scenes: Scenes) -> None:
    """A light shape on a dark ground, of any size, brightness and place at which it is whole."""
    canvas.samples[:] = scenes.between("background", 0, 60)[:, None, None, None].astype(np.uint8)
    side, value = scenes.between("side", *SIDES), scenes.between("value", 120, 255)
    room = radius_of(max(KINDS, key=RADII.__getitem__), side)
    x, y = (room + scenes.between(axis, 0, UNITS) * (UNITS - 2 * room) // UNITS for axis in ("x", "y"))
    for label, kind in enumerate(KINDS):
        canvas.paint(shape(canvas, kind, x, y, side) & (scenes.labels == label)[:, None, None], value)
