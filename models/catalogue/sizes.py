"""The sizes: every dimension that a tier and a reference scale decide, for every family, in one place (torch-free).

A tier fixes the parameters of the backbone, without head and position: pico 0.09 M (for 8 px demonstrations),
nano 0.25 M, micro 0.8 M, tiny 5 M, small 22 M, base 86 M; each family stays within 10 % of the tier's ViT at
the same reference scale, and a test holds that. The scale is the data set's usual resolution (8, 32, 64 or
224): it decides patch, stem and window, which therefore do not move with the training resolution.

Whatever stands here is only a default: each entry is an option of its family, recorded with every run. Sizes of
the literature keep their own names, heads and patch, at every scale (`models.catalogue.published`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from models.catalogue.published import VIT_SIZES
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
RESNET_PUBLISHED: dict[str, Dimensions] = {  # He et al. (2016), table 1; the stem is the scale's, as for the tiers
    "resnet18": {"width": 64, "stages": "2-2-2-2"},
    "resnet34": {"width": 64, "stages": "3-4-6-3"},
    "resnet50": {"width": 64, "stages": "3-4-6-3", "block": "bottleneck"},
}
RESNET_STEM = {8: "cifar", 32: "cifar", 64: "half", 224: "imagenet"}
RESNET_STRIDE = {8: (4, 4), 32: (4, 8), 64: (8, 16), 224: (16, 32)}  # with three stages, with four

SWIN: dict[str, Dimensions] = {  # blocks in pairs, plain and shifted: windows communicate in every stage
    "pico": {"width": 24, "stages": "4-2", "heads": 2},
    "nano": {"width": 20, "stages": "2-4-2", "heads": 2},
    "micro": {"width": 32, "stages": "2-6-2", "heads": 2},
    "tiny": {"width": 96, "stages": "2-2-2", "heads": 3},
    "small": {"width": 84, "stages": "2-2-6-2", "heads": 3},  # Swin-T, narrower
    "base": {"width": 128, "stages": "2-2-18-2", "heads": 4},  # Swin-B
}
SWIN_PATCH = {8: 2, 32: 2, 64: 4, 224: 4}
SWIN_WINDOW = {8: 2, 32: 4, 64: 4, 224: 7}

CONVNEXT: dict[str, Dimensions] = {
    "pico": {"width": 12, "stages": "2-2-3"},
    "nano": {"width": 16, "stages": "2-2-6"},
    "micro": {"width": 24, "stages": "2-2-9"},
    "tiny": {"width": 48, "stages": "2-2-8-2"},
    "small": {"width": 84, "stages": "3-3-9-3"},  # ConvNeXt-T, narrower
    "base": {"width": 128, "stages": "3-3-27-3"},  # ConvNeXt-B
}
CONVNEXT_PATCH = {8: (1, 1), 32: (2, 1), 64: (4, 2), 224: (4, 4)}  # with three stages, with four

CCT_STEM_WIDTH = {"pico": 16, "nano": 16, "micro": 24, "tiny": 48, "small": 64, "base": 64}
CCT_STEM = {  # convolutions, kernel, stride; pooling halves after each
    8: (1, 3, 1),
    32: (2, 3, 1),
    64: (3, 3, 1),
    224: (2, 7, 2),
}

MIXER: dict[str, Dimensions] = {
    "pico": {"width": 48, "depth": 4},
    "nano": {"width": 64, "depth": 7},
    "micro": {"width": 96, "depth": 10},
    "tiny": {"width": 256, "depth": 10},
    "small": {"width": 512, "depth": 10},
    "base": {"width": 1024, "depth": 10},
}

MLP: dict[int, dict[str, Dimensions]] = {  # by scale: the first layer grows with the image
    8: {
        "pico": {"width": 160, "depth": 3},
        "nano": {"width": 304, "depth": 3},
        "micro": {"width": 576, "depth": 3},
        "tiny": {"width": 1600, "depth": 3},
        "small": {"width": 3200, "depth": 3},
        "base": {"width": 6464, "depth": 3},
    },
    32: {
        "nano": {"width": 80, "depth": 3},
        "micro": {"width": 232, "depth": 3},
        "tiny": {"width": 1024, "depth": 3},
        "small": {"width": 2176, "depth": 4},
        "base": {"width": 4864, "depth": 4},
    },
    64: {
        "tiny": {"width": 400, "depth": 3},
        "small": {"width": 1408, "depth": 3},
        "base": {"width": 4096, "depth": 3},
    },
}

# By scale as well: every place has its own kernels. Three channels at nano are what is left without sharing.
LOCALLY_CONNECTED: dict[int, dict[str, Dimensions]] = {
    8: {
        "pico": {"width": 10, "stages": "1-2"},
        "nano": {"width": 22, "stages": "1-1"},
        "micro": {"width": 39, "stages": "1-1"},
        "tiny": {"width": 102, "stages": "1-1"},
        "small": {"width": 203, "stages": "1-1"},
        "base": {"width": 407, "stages": "1-1"},
    },
    32: {
        "nano": {"width": 3, "stages": "1-1-1-1"},
        "micro": {"width": 8, "stages": "1-1-1"},
        "tiny": {"width": 21, "stages": "1-1-1"},
        "small": {"width": 42, "stages": "1-1-1"},
        "base": {"width": 85, "stages": "1-1-1"},
    },
    64: {
        "tiny": {"width": 9, "stages": "2-1-1"},
        "small": {"width": 21, "stages": "1-1-1"},
        "base": {"width": 42, "stages": "1-1-1"},
    },
}

CONV_ATTENTION: dict[str, Dimensions] = {  # a 3x3 projection weighs as much as nine of the ViT's
    "pico": {"width": 32, "depth": 2, "heads": 4, "mlp_ratio": 6.0},
    "nano": {"width": 48, "depth": 3, "heads": 4},
    "micro": {"width": 64, "depth": 5, "heads": 4},
    "tiny": {"width": 192, "depth": 4, "heads": 4},
    "small": {"width": 384, "depth": 4, "heads": 8},
    "base": {"width": 768, "depth": 4, "heads": 12},
}

RESNET_VIT_STEM = {  # depth of the transformer and width of the ResNet, by stages of the ResNet
    "pico": {2: (2, 20), 3: (2, 10)},
    "nano": {2: (4, 24), 3: (4, 12), 4: (4, 6), 5: (4, 4)},
    "micro": {2: (6, 32), 3: (6, 16), 4: (6, 8), 5: (6, 5)},
    "tiny": {2: (11, 64), 3: (11, 32), 4: (11, 16), 5: (11, 8)},
    "small": {2: (11, 128), 3: (11, 64), 4: (11, 32), 5: (11, 16)},
    "base": {2: (11, 256), 3: (11, 128), 4: (11, 64), 5: (11, 32)},
}
RESNET_VIT_STAGES = {8: 2, 32: 3, 64: 4, 224: 5}

COATNET: dict[str, Dimensions] = {  # two stages of convolutions, two of attention
    "pico": {"width": 8, "stages": "1-1-3-1", "head_width": 16},
    "nano": {"width": 8, "stages": "2-2-4-4", "head_width": 16},
    "micro": {"width": 16, "stages": "2-2-4-3", "head_width": 16},
    "tiny": {"width": 48, "stages": "2-2-4-2", "head_width": 32},
    "small": {"width": 96, "stages": "2-2-4-2", "head_width": 32},  # CoAtNet-0, shallower
    "base": {"width": 144, "stages": "2-6-12-2", "head_width": 32},
}
COATNET_STRIDES = {8: "1-1-1-1-2", 32: "1-1-2-2-2", 64: "2-1-2-2-2", 224: "2-2-2-2-2"}  # of the stem and each stage

ATTENTION_MLP_COURSE: dict[str, Dimensions] = {"course": {"widths": "128-64"}}  # 784-128-64-10 on 28 px digits
ATTENTION_MLP: dict[int, dict[str, Dimensions]] = {
    8: {
        "pico": {"widths": "122-61"},
        "nano": {"widths": "222-111"},
        "micro": {"widths": "408-204"},
        "tiny": {"widths": "1098-549"},
        "small": {"widths": "2216-1108"},
        "base": {"widths": "4452-2226"},
    },
    32: {
        "nano": {"widths": "74-37"},
        "micro": {"widths": "200-100"},
        "tiny": {"widths": "818-409"},
        "small": {"widths": "1906-953"},
        "base": {"widths": "4128-2064"},
    },
    64: {
        "tiny": {"widths": "386-193"},
        "small": {"widths": "1222-611"},
        "base": {"widths": "3260-1630"},
    },
}

SIMPLE_CNN: dict[str, Dimensions] = {
    "pico": {"width": 30, "stages": "1-1-1"},
    "nano": {"width": 30, "stages": "2-2-2"},
    "micro": {"width": 54, "stages": "2-2-2"},
    "tiny": {"width": 68, "stages": "2-2-2-2"},
    "small": {"width": 136, "stages": "2-2-2-2"},
    "base": {"width": 272, "stages": "2-2-2-2"},
}

TOKEN_HIDDEN = {"pico": 8, "nano": 16, "micro": 32, "tiny": 64, "small": 128, "base": 256}

# Where the smallest tiers differ at scale 224: there the ViT's patch embedding weighs more.
AT_224: dict[str, dict[str, Dimensions]] = {
    "coatnet": {"nano": {"width": 12, "stages": "2-2-2-2"}},
    "convnext": {"nano": {"stages": "2-2-7"}},
    "mixer": {"nano": {"depth": 5}, "micro": {"depth": 8}},
    "simple_cnn": {"nano": {"width": 32}},
    "swin": {"nano": {"stages": "2-6-2"}, "micro": {"stages": "2-8-2"}},
}


def at_224(family: str, size: str, scale: int) -> Dimensions:
    """The dimensions in which a size differs at scale 224; empty at other scales."""
    return AT_224[family].get(size, {}) if scale == 224 else {}


def check_tier(size: str, scale: int) -> None:
    """Raises ModelError for `pico` at the scales of large images, where a stem alone weighs more than the tier."""
    if size == "pico" and scale > 32:
        raise ModelError(f"no size 'pico' at scale {scale}, where its stem alone weighs too much; use nano")


def vit(size: str, scale: int) -> Dimensions:
    """Width, depth and heads of a tier and the patch of the scale; all of a published size."""
    if size in VIT_SIZES:
        return VIT_SIZES[size].dimensions()
    return {**VIT[size], "patch_size": VIT_PATCH[scale]}


def conv_stem_vit(size: str, scale: int) -> Dimensions:
    """The ViT's width, depth and heads; strides of the stem by scale, its channels by tier."""
    strides = STEM_STRIDES[scale]
    first, last = STEM_CHANNELS[size]
    channels = [first] + [last] * strides.count("-")
    return {**VIT[size], "stem_channels": "-".join(map(str, channels)), "stem_strides": strides}


def resnet(size: str, scale: int) -> Dimensions:
    """Width and stages of a tier or published size; stem and total stride by scale."""
    dimensions = (RESNET | RESNET_PUBLISHED)[size]
    four = str(dimensions["stages"]).count("-") == 3
    return {**dimensions, "stem": RESNET_STEM[scale], "total_stride": RESNET_STRIDE[scale][four]}


def swin(size: str, scale: int) -> Dimensions:
    """Width, stages and heads of a tier; patch and window by scale."""
    return {**SWIN[size], "patch_size": SWIN_PATCH[scale], "window": SWIN_WINDOW[scale], **at_224("swin", size, scale)}


def convnext(size: str, scale: int) -> Dimensions:
    """Width and stages of a tier; the patch by scale and number of stages."""
    dimensions = CONVNEXT[size]
    four = str(dimensions["stages"]).count("-") == 3
    return {**dimensions, "patch_size": CONVNEXT_PATCH[scale][four], **at_224("convnext", size, scale)}


def cct(size: str, scale: int) -> Dimensions:
    """The ViT's width, depth and heads; the tokeniser's convolutions by scale, their channels by tier."""
    convolutions, kernel, stride = CCT_STEM[scale]
    stem: Dimensions = {"stem_convolutions": convolutions, "stem_kernel": kernel, "stem_stride": stride}
    only = convolutions == 1  # the one there is has the transformer's width
    return {**VIT[size], **stem, "stem_width": VIT[size]["width"] if only else CCT_STEM_WIDTH[size]}


def mixer(size: str, scale: int) -> Dimensions:
    """Width and depth of a tier, half as many hidden units across tokens, and the ViT's patch."""
    own = {**MIXER[size], "token_hidden": int(MIXER[size]["width"]) // 2, "patch_size": VIT_PATCH[scale]}
    return {**own, **at_224("mixer", size, scale)}


def by_scale(table: dict[int, dict[str, Dimensions]], size: str, scale: int, reason: str) -> Dimensions:
    """The entry of a family whose weights grow with the image.

    Raises ModelError, with the sizes at every scale, where the family lacks this size at this scale for the `reason`.
    """
    sizes = table.get(scale, {})
    if size not in sizes:
        allowed = "; ".join(f"at scale {known}: {', '.join(sizes)}" for known, sizes in table.items())
        raise ModelError(f"no size {size!r} at scale {scale}, where {reason}; {allowed}")
    return sizes[size]


def mlp(size: str, scale: int) -> Dimensions:
    """Width and depth by tier and scale. Raises ModelError where the first layer alone outgrows the tier."""
    return by_scale(MLP, size, scale, "its first layer alone is larger")


def attention_mlp(size: str, scale: int) -> Dimensions:
    """Widths by tier and scale, or those of courses.

    Raises ModelError where the first layer alone outgrows the tier.
    """
    if size in ATTENTION_MLP_COURSE:
        return ATTENTION_MLP_COURSE[size]
    return by_scale(ATTENTION_MLP, size, scale, "its first layer alone is larger")


def convit(size: str, scale: int) -> Dimensions:
    """The ViT's dimensions; 10 of 12 blocks are local, as published, and as many of fewer."""
    return {**vit(size, scale), "local_blocks": round(int(VIT[size]["depth"]) * 10 / 12)}


def conv_attention(size: str, scale: int) -> Dimensions:
    """Width, depth and heads of a tier, and the ViT's patch."""
    return {**CONV_ATTENTION[size], "patch_size": VIT_PATCH[scale]}


def resnet_vit(size: str, scale: int) -> Dimensions:
    """The ViT's width and heads; depth and stem by tier and by the stages that the scale needs."""
    stages = RESNET_VIT_STAGES[scale]
    depth, width = RESNET_VIT_STEM[size][stages]
    return {**VIT[size], "depth": depth, "stem_width": width, "stem_stages": stages}


def coatnet(size: str, scale: int) -> Dimensions:
    """Width, stages and head width of a tier; strides by scale."""
    return {**COATNET[size], "strides": COATNET_STRIDES[scale], **at_224("coatnet", size, scale)}


def locally_connected(size: str, scale: int) -> Dimensions:
    """Width and stages by tier and scale, a stem of stride 2.

    Raises ModelError where few channels outgrow the tier already.
    """
    found = by_scale(LOCALLY_CONNECTED, size, scale, "a few channels at every place are more")
    return {**found, "stem": "half", "total_stride": 4 if scale == 8 else 8}


def simple_cnn(size: str, scale: int) -> Dimensions:
    """Width and stages of a tier."""
    return {**SIMPLE_CNN[size], **at_224("simple_cnn", size, scale)}


def ladder(size: str, scale: int) -> Dimensions:
    """The ViT's width, depth and patch; what single mixers need: heads, Swin's window, hidden units across tokens."""
    return {**vit(size, scale), "window": SWIN_WINDOW[scale], "token_hidden": TOKEN_HIDDEN[size]}


# What a mixer weighs in a block of width D: the two maps D -> 2 D -> D, the maps of attention, and what only it has.
def _separable(options: Mapping[str, Scalar]) -> int:
    return 4 * int(options["width"]) ** 2 + 3 * int(options["width"])


def _attending(options: Mapping[str, Scalar]) -> int:
    return 4 * int(options["width"]) ** 2 + 4 * int(options["width"])


def _depthwise_conv(options: Mapping[str, Scalar]) -> int:
    kernels = int(options["kernels"]) or 2 * int(options["width"])
    return _separable(options) + kernels * int(options["kernel"]) ** 2


def _gated_conv(options: Mapping[str, Scalar]) -> int:
    width = int(options["width"])
    gates = round(4 * width / 3)  # `models.mixers.gated_width`
    return 3 * width * gates + 2 * gates + width + width * (int(options["kernel"]) ** 2 + 1)


def _places(options: Mapping[str, Scalar]) -> int:
    return (int(options["scale"]) // int(options["patch_size"])) ** 2


def _locally_connected(options: Mapping[str, Scalar]) -> int:
    return _separable(options) + int(options["kernels"]) * _places(options) * int(options["kernel"]) ** 2


def _token_mlp(options: Mapping[str, Scalar]) -> int:
    places, hidden = _places(options), int(options["token_hidden"])
    return _separable(options) + 2 * places * hidden + hidden + places


def _ssd(options: Mapping[str, Scalar]) -> int:
    width, heads = int(options["width"]), int(options["heads"])
    return _attending(options) + (width + 1) * heads + 2 * heads + width  # steps, rates and skips, norm


MIXER_PARAMETERS: dict[str, Callable[[Mapping[str, Scalar]], int]] = {
    "identity": _separable,
    "pool": _separable,
    "depthwise_conv": _depthwise_conv,
    "gated_conv": _gated_conv,
    "local_attention": _attending,
    "window_attention": _attending,
    "attention": _attending,
    "locally_connected": _locally_connected,
    "token_mlp": _token_mlp,
    "ssd": _ssd,
}


def ladder_mlp_hidden(options: Mapping[str, Scalar]) -> int:
    """Hidden units with which a block weighs what the ViT's does, attention and an MLP of 4 D: within half a unit.

    `options` are all others of the ladder's; places are counted at the reference scale. Raises ModelError where the
    mixer alone weighs more.
    """
    width, mixer = int(options["width"]), str(options["mixer"])
    left = _attending(options) + 8 * width**2 + 5 * width - MIXER_PARAMETERS[mixer](options)
    hidden = round((left - width) / (2 * width + 1))  # an MLP of H units has H (2 D + 1) + D parameters
    if hidden < 1:
        raise ModelError(f"mixer {mixer} alone outgrows the ViT's block of width {width}: mlp_hidden must be given")
    return hidden
