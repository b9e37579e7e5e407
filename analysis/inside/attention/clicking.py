"""The part of the page that answers clicks: a patch of an image is pressed, its row in every head and layer is shown.

The script is `attentionRows` in `formats/templates/look.js`; everything that it shows stands in the page.
"""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.formats.html import environment
from analysis.inside.attention.figures import COLOURS
from analysis.inside.attention.reading import Layer, Seen, extra_names, read
from analysis.inside.subject import Subject
from models.grids import Grid

IMAGES = 4  # to choose from, at most
BYTES = 12_000_000  # of maps in the page; with larger ones there are fewer images, at least one
MOST = 16_000_000  # bytes of a layer's map, beyond which the layer is left out of this part


def clickable(subject: Subject, first: Seen, place: Grid, grid: Grid) -> str:
    """HTML with an image to press and the maps of all heads and layers; `place` (row and column from 0, on `grid`) is
    shown at first."""
    kept = [number for number, layer in enumerate(first.layers) if _size(layer) <= MOST]
    if not kept:
        return ""
    size = sum(_size(first.layers[number]) for number in kept) * 4 // 3
    count = max(1, min(IMAGES, len(subject.images), BYTES // size))
    layers = [first.layers[number] for number in kept]
    data = {
        "layers": [
            {
                "name": f"layer {number + 1}",
                "grid": layer.grid,
                "heads": layer.heads,
                "extra": layer.extra,
                "before": ", ".join(extra_names(layer.extra, first.named)),
            }
            for number, layer in zip(kept, layers, strict=True)
        ],
        "start": [(place[0] + 0.5) / grid[0], (place[1] + 0.5) / grid[1]],
        "colours": _text(_scale()),
        "images": [
            {"name": _name(subject, image), "picture": _png(subject.pictures[image]), **_maps(subject, image, kept)}
            for image in range(count)
        ],
    }
    return (
        environment()
        .get_template("attention.html.j2")
        .render(
            data=data,
            left_out=len(first.layers) - len(kept),
            json=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),  # cannot end its element
        )
    )


def _size(layer: Layer) -> int:
    """Bytes of a layer's map of one image."""
    return layer.heads * (layer.grid[0] * layer.grid[1]) ** 2


def _maps(subject: Subject, image: int, kept: Sequence[int]) -> dict[str, Any]:
    """Per layer the rows of all patches, as bytes of each row's largest value (h RC RC), and these values (h RC)."""
    seen = read(subject.name, subject.network, subject.images[image : image + 1])
    rows, largest = [], []
    for number in kept:
        layer = seen.layers[number]
        whole = layer.probabilities[0, :, layer.extra :, layer.extra :].numpy()
        most = whole.max(axis=2)
        rows.append(_text(np.round(255 * whole / np.maximum(most, 1e-30)[..., None]).astype(np.uint8)))
        largest.append(_text(most.astype("<f4")))
    return {"rows": rows, "largest": largest}


def _name(subject: Subject, image: int) -> str:
    label = subject.label(image)
    return f"{subject.numbers[image]}{f', {label}' if label else ''}"


def _scale() -> NDArray[np.uint8]:
    """The colours of maps: 256 of red, green and blue."""
    colours = matplotlib.colormaps[COLOURS](np.arange(256))
    return np.round(255 * colours[:, :3]).astype(np.uint8)


def _png(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
