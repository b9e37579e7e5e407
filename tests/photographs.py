"""Photographs that tests make: small, of several sizes, shapes and kinds of file, with something to see in them."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SHAPES = ((48, 48), (64, 40), (40, 64), (90, 60), (57, 71), (33, 120))  # width and height, in turn
CLASSES = ("ape", "bear", "cat")


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours with some grain, other ones for each seed."""
    draws = np.random.default_rng(seed)
    coarse = Image.fromarray(draws.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + draws.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """An image as a file's bytes."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_photographs(folder: Path, each: int = 40, classes: Iterable[str] = CLASSES) -> Path:
    """A folder a class, with `each` photographs: JPEG, and every seventh a PNG."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            image = picture(*SHAPES[(number + label) % len(SHAPES)], seed=1000 * label + number)
            kind, ending = ("PNG", "png") if number % 7 == 6 else ("JPEG", "jpg")
            (folder / name / f"{number:03d}.{ending}").write_bytes(encoded(image, kind))
    return folder
