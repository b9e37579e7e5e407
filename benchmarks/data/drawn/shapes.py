"""Shapes that are as large as each other: of a side, each has the area of the square of this side.

So where sides are drawn alike for all shapes, areas tell nothing of which shape it is.
"""

from benchmarks.data.drawn.drawing import Canvas, Mask, Numbers

RADII = {"disc": 5642, "triangle": 7071, "cross": 6708}  # of the area of a square with a side of 10,000


def shape(canvas: Canvas, kind: str, x: Numbers, y: Numbers, side: Numbers) -> Mask:
    """The samples (N, S, S) covered by one of RADII about (x, y), all (N,) in units."""
    covered: Mask = getattr(canvas, kind)(x, y, radius_of(kind, side))
    return covered


def radius_of(kind: str, side: Numbers) -> Numbers:
    """Half of what a shape is wide (N,)."""
    return side * RADII[kind] // 10000
