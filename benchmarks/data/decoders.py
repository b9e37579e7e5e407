"""From the bytes of an image file to pixels: Pillow, the reference, torchcodec, which is faster, or Pillow at a reduced
scale, which is faster still where photographs are large, and shows slightly other pixels.

Whichever decodes, an image is shown as a viewer shows it: turned by EXIF's orientation, a palette resolved,
transparency dropped, CMYK as RGB, 16 bits of a grey rounded to 8 (v / 257). Colour is RGB, a grey data set one channel
by ITU-R 601-2. Which decoder it was, and which versions, is part of a run's execution.json: pixels depend on it.
"""

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from benchmarks.data.photographs import Views
from benchmarks.errors import ConfigError, InductiveError
from models.hints import did_you_mean

ORIENTATION = 0x0112  # EXIF's tag; 1: as it lies
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by orientation, what shows an image upright
ON_ITS_SIDE = (5, 6, 7, 8)  # orientations with rows for columns
FROM_THE_RIGHT, FROM_BELOW = (2, 3, 6, 7), (3, 4, 7, 8)  # those whose left, or top, is an end of what is stored
JPEG = b"\xff\xd8\xff"
REDUCTIONS = (8, 4, 2)  # at which libjpeg decodes a block of 8 x 8 to 1 x 1, 2 x 2, 4 x 4
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes of 16 bits
UNKNOWN = ("I", "F")  # whole numbers and fractions without a scale: nobody knows what is white
# What Pillow raises for files that are damaged or of other content than they say; how torchcodec's formats begin.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, struct.error, Image.DecompressionBombError)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
OF_TORCHCODEC = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|....ftypavi[fs]", re.DOTALL)
REDUCED = "JPEG by 8, 4 or 2 in decoding, the most that leaves a window no smaller than it is shown"
RULES = {"orientation": "EXIF applied", "colour": "as RGB or grey (ITU-R 601-2), without transparency"}

Pixels = NDArray[np.uint8]


class UnreadableError(InductiveError):
    """An image file that cannot be decoded, and why."""


def opened(data: bytes, channels: int) -> Image.Image:
    """An image file by Pillow, whole, with one channel or three. Raises UnreadableError saying what is wrong."""
    with _identified(data) as image:
        return _upright(image, channels)


@contextmanager
def _identified(data: bytes) -> Iterator[Image.Image]:
    """What Pillow takes an image file for, before it is decoded; what is wrong then or later is an UnreadableError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield Image.open(io.BytesIO(data))
    except BROKEN as error:
        raise UnreadableError(_why(error)) from error
    except Image.DecompressionBombWarning as error:
        raise UnreadableError(f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels") from error


def _upright(image: Image.Image, channels: int) -> Image.Image:
    """Decodes an image."""
    turn = turn_of(image)
    image.load()
    if turn is not None:
        image = image.transpose(turn)
    return _coloured(image, "L" if channels == 1 else "RGB")


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What shows an image upright, by EXIF's orientation alone: Pillow's `exif_transpose` also writes all other tags
    anew, and fails for a picture with one that is malformed."""
    orientation = image.getexif().get(ORIENTATION, 1)
    return TURNS.get(orientation) if isinstance(orientation, int) else None


def _coloured(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in DEEP:
        deep = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.mode in UNKNOWN:
        raise ValueError(f"PIL's mode {image.mode}: numbers without a scale")
    return image if image.mode == mode else image.convert(mode)


def _why(error: Exception) -> str:
    """What a decoder said, on one line and without the address of an object in memory."""
    text = " ".join(str(error).split())
    return "no image that can be identified" if "cannot identify" in text else text or type(error).__name__


def shown_by_pillow(data: bytes, channels: int, window: NDArray[np.int32], views: Views, out: Pixels) -> None:
    """One view of an image file, into `out` (side, side, channels)."""
    left, top, width, height, columns, rows, x, y = window.tolist()
    image, side = opened(data, channels), views.side
    if (width, height) != image.size:
        image = image.crop((left, top, left + width, top + height))
    if (columns, rows) != image.size:
        image = image.resize((columns, rows), FILTERS[views.filter])
    if (columns, rows) != (side, side):
        image = image.crop((x, y, x + side, y + side))
    out[:] = np.asarray(image).reshape(out.shape)


def shown_by_pillow_reduced(data: bytes, channels: int, window: NDArray[np.int32], views: Views, out: Pixels) -> None:
    """The same, a JPEG being decoded at the smallest scale that leaves its window no smaller than it is resized to.

    The window stays where it was to a fraction of a pixel, and at its edge the filter sees what lies beside it. Where
    nothing can be reduced, all is as by Pillow.
    """
    left, top, width, height, columns, rows, x, y = window.tolist()
    by = next((by for by in REDUCTIONS if width >= by * columns and height >= by * rows), 1)
    if by == 1 or not data.startswith(JPEG):
        shown_by_pillow(data, channels, window, views, out)
        return
    with _identified(data) as image:
        wide, high = image.size
        image.draft(None, (wide // by, high // by))  # by exactly this: twice that would be below these sizes
        orientation = image.getexif().get(ORIENTATION, 1)
        # The last block is filled up: turned, what fills it lies before the image.
        wide, high = (high, wide) if orientation in ON_ITS_SIDE else (wide, high)
        left += -wide % by if orientation in FROM_THE_RIGHT else 0
        top += -high % by if orientation in FROM_BELOW else 0
        image = _upright(image, channels)
    box = (left / by, top / by, (left + width) / by, (top + height) / by)
    image, side = image.resize((columns, rows), FILTERS[views.filter], box), views.side
    if (columns, rows) != (side, side):
        image = image.crop((x, y, x + side, y + side))
    out[:] = np.asarray(image).reshape(out.shape)


def shown_by_torchcodec(data: bytes, channels: int, window: NDArray[np.int32], views: Views, out: Pixels) -> None:
    """The same by torchcodec and torch's antialiased interpolation of bytes; formats that torchcodec does not have are
    decoded by Pillow (`facts` says so)."""
    import torch
    import torch.nn.functional as F
    from torchcodec.decoders import decode_image

    left, top, width, height, columns, rows, x, y = window.tolist()
    if not OF_TORCHCODEC.match(data):
        by_pillow = opened(data, channels)
        image = torch.from_numpy(np.array(by_pillow).reshape(by_pillow.height, by_pillow.width, channels))
        image = image.permute(2, 0, 1)
    else:
        try:
            image = decode_image(data, mode="GRAY" if channels == 1 else "RGB")
        except (RuntimeError, ValueError) as error:
            raise UnreadableError(_why(error)) from error
    image = image[None, :, top : top + height, left : left + width]
    if image.shape[2:] != (rows, columns):
        image = F.interpolate(image, size=(rows, columns), mode=views.filter, antialias=True)
    square = image[0, :, y : y + views.side, x : x + views.side]
    torch.from_numpy(out).copy_(square.permute(1, 2, 0))


Shown = Callable[[bytes, int, NDArray[np.int32], Views, Pixels], None]
DECODERS: Mapping[str, Shown] = {
    "pillow": shown_by_pillow,
    "torchcodec": shown_by_torchcodec,
    "pillow-reduced": shown_by_pillow_reduced,
}


def check_decoder(name: str, key: str = "decoder") -> None:
    """Raises ConfigError for a decoder that is unknown, with the nearest, and for torchcodec where it is not there."""
    if name not in DECODERS:
        known = ", ".join(DECODERS)
        raise ConfigError(key, f"unknown decoder '{name}'; there are {known}{did_you_mean(name, DECODERS)}")
    if name == "torchcodec" and find_spec(name) is None:
        raise ConfigError(
            key, "torchcodec is not installed, an extra: pip install -e '.[torchcodec]'; pillow always is"
        )


def facts(name: str) -> dict[str, str]:
    """What of a decoder decides pixels: its name, versions and rules."""
    if name == "torchcodec":
        others = f"pillow {features.version('pil')} (BMP, TIFF, PPM)"
        return {"name": name, "version": version("torchcodec"), "resize": f"torch {version('torch')}", "others": others,
                **RULES}  # fmt: skip
    libjpeg = features.version("libjpeg_turbo") or f"not turbo, {features.version('jpg')}"
    pillow = features.version("pil") or "unknown"
    reduced = {"reduced": REDUCED} if name == "pillow-reduced" else {}
    return {"name": name, "version": pillow, "libjpeg": libjpeg, "resize": f"pillow {pillow}", **reduced, **RULES}


def differences(execution: Mapping[str, Any]) -> list[str]:
    """What of a recorded decoder cannot be had here, so that pixels may differ; nothing where images lie decoded."""
    then = execution.get("decoder")
    if then is None:
        return []
    return [f"decoder's {key}: {then.get(key)} then, {now} now" for key, now in facts(then["name"]).items()
            if then.get(key) != now]  # fmt: skip
