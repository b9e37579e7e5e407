"""What a library says of its published weights: how they are shown images, and which classes their heads have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from models.hints import did_you_mean
from models.options import ModelError


@dataclass(frozen=True)
class Published:
    """The configuration of published weights.

    Images are interpolated (`bilinear` or `bicubic`, antialiased) until their shorter side has resolution / `crop`
    pixels, rounded down, the middle of that is shown, and each channel's `mean` subtracted and divided by its
    `deviation` (pixels counted as 0..1). `aspect` squashed: both sides get as many pixels. `resolution` is that of the
    weights in pixels, `test_resolution` a larger one that the library tests at, too (else the same). `classes` is how
    many the head has; 0 without one.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    interpolation: str
    crop: float
    aspect: str
    resolution: int
    test_resolution: int
    classes: int


@lru_cache(maxsize=256)
def published(library: str, name: str, tag: str) -> Published:
    """The configuration of the weights of a tag, or of the library's usual ones ('').

    Raises ModelError for a network without any, and for a way of showing images that is not built.
    """
    return _of_timm(name, tag) if library == "timm" else _of_torchvision(name, tag)


def _of_timm(name: str, tag: str) -> Published:
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    if known is None:
        raise ModelError(f"timm:{name}: timm has no configuration of weights for it")
    aspects = {"center": "kept", "squash": "squashed"}
    if known.crop_mode not in aspects:
        raise ModelError(f"timm:{name}: its images have borders (crop_mode {known.crop_mode!r}), which is not built")
    side = known.input_size[-1]
    return Published(
        tuple(known.mean),
        tuple(known.std),
        known.interpolation,
        float(known.crop_pct),
        aspects[known.crop_mode],
        side,
        (known.test_input_size or known.input_size)[-1],
        known.num_classes,
    )


def _of_torchvision(name: str, tag: str) -> Published:
    import torchvision

    weights: Any = torchvision.models.get_model_weights(name)
    chosen = weights[tag] if tag else weights.DEFAULT
    shown = chosen.transforms()
    side, shorter = shown.crop_size[0], shown.resize_size[0]
    classes = len(chosen.meta["categories"])
    mean, deviation = tuple(shown.mean), tuple(shown.std)
    share = share_of(side, shorter)
    return Published(mean, deviation, shown.interpolation.value, share, "kept", side, side, classes)


def share_of(side: int, shorter: int) -> float:
    """The share whose quotient, rounded down, is `shorter`: side / shorter, or the next smaller number."""
    share = side / shorter
    return share if int(side / share) == shorter else math.nextafter(share, 0)


def places_in_head(names: Sequence[str], count: int) -> list[int] | None:
    """Where the classes of a data set stand in a head of `count` classes; None where they are all of it in its order.

    Classes of ImageNet are known by their WordNet ids. Raises ModelError, with what is possible, for others.
    """
    known = _wordnet_ids(count)
    there = {name: place for place, name in enumerate(known)}
    missing = [name for name in names if name not in there]
    if known and not missing:
        places = [there[name] for name in names]
        return None if places == list(range(count)) else places
    if not known and len(names) == count:
        return None
    if missing and len(missing) < len(names):
        reason = f"{missing[0]} is none of them{did_you_mean(missing[0], known)}"
    else:
        reason = f"these are {', '.join(names[:3])} ..." if names else "the names of these classes are not known"
    what = f"the {count:,} classes of ImageNet, by WordNet ids such as {known[0]}" if known else f"{count:,} classes"
    raise ModelError(
        f"the head of the weights has {what}, and the data set {len(names) or 'others'}: {reason}. Possible are "
        "ImageNet, parts of it (imagenette, imagenet100, a folder whose classes are WordNet ids), weights of the data "
        "set's own classes, or a head of its own (head = 'fitted'), which must be trained: before that it guesses"
    )


@lru_cache(maxsize=8)
def _wordnet_ids(count: int) -> tuple[str, ...]:
    """The classes of a head of ImageNet (1,000 classes, or one of its larger sets), in its order; () for others."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    return tuple(ImageNetInfo(subset).label_names()) if subset else ()
