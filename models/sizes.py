"""The sizes: every dimension that a tier and a reference scale decide, for every family, in one place (torch-free).

A tier fixes the parameters of the backbone, without head and position: pico 0.09 M (for 8 px demonstrations),
nano 0.25 M, micro 0.8 M, tiny 5 M, small 22 M, base 86 M; each family stays within 10 % of the tier's ViT at
the same reference scale, and a test holds that. The scale is the data set's usual resolution (8, 32, 64 or
224): it decides patch, stem and window, which therefore do not move with the training resolution.

Whatever stands here is only a default: each entry is an option of its family, recorded with every run.
"""

from __future__ import annotations

from models.hints import did_you_mean
from models.options import ModelError, Scalar

TIERS = ("pico", "nano", "micro", "tiny", "small", "base")
SCALES = (8, 32, 64, 224)
Dimensions = dict[str, Scalar]

VIT: dict[str, Dimensions] = {
    "pico": {"width": 48, "depth": 3, "heads": 4},
    "nano": {"width": 64, "depth": 5, "heads": 4},
    "micro": {"width": 96, "depth": 7, "heads": 4},
    "tiny": {"width": 192, "depth": 12, "heads": 4},
    "small": {"width": 384, "depth": 12, "heads": 8},
    "base": {"width": 768, "depth": 12, "heads": 12},
}
VIT_PATCH = {8: 2, 32: 4, 64: 8, 224: 16}

# Convolutions of the stem; the last channels repeat where a scale needs more of them.
STEM_CHANNELS = {
    "pico": (16, 24),
    "nano": (24, 40),
    "micro": (24, 48),
    "tiny": (48, 96),
    "small": (96, 192),
    "base": (192, 384),
}
STEM_STRIDES = {8: "2-1", 32: "2-2", 64: "2-2-2", 224: "2-2-2-2"}

RESNET: dict[str, Dimensions] = {
    "pico": {"width": 16, "stages": "2-1-1"},
    "nano": {"width": 16, "stages": "3-3-3"},  # ResNet-20
    "micro": {"width": 16, "stages": "9-9-9"},  # ResNet-56
    "tiny": {"width": 44, "stages": "2-2-2-2"},  # ResNet-18, narrow
    "small": {"width": 64, "stages": "3-4-6-3"},  # ResNet-34
    "base": {"width": 128, "stages": "3-4-6-3"},
}
RESNET_STEM = {8: "cifar", 32: "cifar", 64: "half", 224: "imagenet"}
RESNET_STRIDE = {8: (4, 4), 32: (4, 8), 64: (8, 16), 224: (16, 32)}  # with three stages, with four

SWIN: dict[str, Dimensions] = {
    "pico": {"width": 32, "stages": "2-1", "heads": 2},
    "nano": {"width": 24, "stages": "2-4-1", "heads": 2},
    "micro": {"width": 32, "stages": "2-6-2", "heads": 2},
    "tiny": {"width": 96, "stages": "2-2-2", "heads": 3},
    "small": {"width": 84, "stages": "2-2-6-2", "heads": 3},  # Swin-T, narrower
    "base": {"width": 128, "stages": "2-2-18-2", "heads": 4},  # Swin-B
}
SWIN_224 = {"nano": "2-5-1", "micro": "2-8-2"}  # where the ViT's patch embedding weighs more
SWIN_PATCH = {8: 1, 32: 2, 64: 4, 224: 4}
SWIN_WINDOW = {8: 4, 32: 4, 64: 4, 224: 7}


def vit(size: str, scale: int) -> Dimensions:
    return {**VIT[size], "patch": VIT_PATCH[scale]}


def conv_stem_vit(size: str, scale: int) -> Dimensions:
    strides = STEM_STRIDES[scale]
    first, last = STEM_CHANNELS[size]
    channels = [first] + [last] * strides.count("-")
    return {**VIT[size], "stem_channels": "-".join(map(str, channels)), "stem_strides": strides}


def resnet(size: str, scale: int) -> Dimensions:
    dimensions = RESNET[size]
    four = str(dimensions["stages"]).count("-") == 3
    return {**dimensions, "stem": RESNET_STEM[scale], "total_stride": RESNET_STRIDE[scale][four]}


def swin(size: str, scale: int) -> Dimensions:
    stages = SWIN_224.get(size, SWIN[size]["stages"]) if scale == 224 else SWIN[size]["stages"]
    return {**SWIN[size], "stages": stages, "patch": SWIN_PATCH[scale], "window": SWIN_WINDOW[scale]}


FAMILIES = {"vit": vit, "conv_stem_vit": conv_stem_vit, "resnet": resnet, "swin": swin}


def dimensions(family: str, size: str, scale: int) -> Dimensions:
    """The options of a family that this tier and scale decide, or a ModelError for a tier it does not have."""
    if size not in TIERS:
        raise ModelError(f"{family}: no size {size!r}; allowed: {', '.join(TIERS)}{did_you_mean(size, TIERS)}")
    if size == "pico" and scale > 32:
        raise ModelError(
            f"{family}: no size 'pico' at scale 224, where a patch embedding alone is half of it; use nano"
        )
    return FAMILIES[family](size, scale)
