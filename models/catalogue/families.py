"""The families by name, with their options, sizes and the images they take, declared without loading a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from models.catalogue import sizes
from models.catalogue.declaration import (
    CLASS_TOKEN,
    DEPTH,
    DROP_PATH,
    HEADS,
    MLP_RATIO,
    NORMS,
    PADDING,
    PATCH,
    REGISTERS,
    SCALE,
    STAGES,
    TOTAL_STRIDE,
    TRANSFORMER,
    WIDTH,
    Family,
    Options,
    bound_to_scale,
    check_heads,
    check_total_stride,
    check_transformer,
    odd_maps_filled,
    patched_image,
    patched_training_image,
    windowed_image,
)
from models.catalogue.hybrids import HYBRIDS
from models.catalogue.ladder import LADDER, TOKENS_ONLY
from models.catalogue.published import VIT_SIZES
from models.options import SEQUENCE, ModelError, Option, OptionError, Scalar, numbers


def check_conv_stem(options: Options) -> None:
    """Raises ModelError where the stem's channels and strides differ in length, OptionError for another stride."""
    check_transformer(options)
    channels, strides = numbers(str(options["stem_channels"])), numbers(str(options["stem_strides"]))
    if len(channels) != len(strides):
        raise ModelError(
            f"stem_channels {options['stem_channels']} and stem_strides {options['stem_strides']} differ in length"
        )
    if set(strides) - {1, 2}:
        message = f"stem_strides {options['stem_strides']} holds other strides than 1 and 2"
        raise OptionError(message, "stem_strides")


def check_tokeniser(options: Options) -> None:
    """Raises ModelError where `stem_width` differs from the width although the only convolution has the width."""
    check_transformer(options)
    if options["stem_convolutions"] == 1 and options["stem_width"] != options["width"]:
        raise ModelError(
            f"stem_width {options['stem_width']} has no effect: the only convolution has the width {options['width']}"
        )


def two_pixels(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Raises ModelError for an image that no 2x2 kernel fits into."""
    if resolution < 2:
        raise ModelError(f"image {resolution} is smaller than the first kernel: nearest 2")


VIT = Family(
    "vit",
    "vision transformer; position is one argument",
    "models.vit:ViT",
    (
        *TRANSFORMER,
        REGISTERS,
        PATCH,
        Option(
            "attention_window", int, 0, "rows and columns within which a token attends to others; 0: all", minimum=0
        ),
    ),
    layout="contiguous",
    dimensions=sizes.vit,
    sizes=(*sizes.TIERS, *VIT_SIZES),
    check=check_transformer,
    check_image=patched_image,
)
CONV_STEM_VIT = Family(
    "conv_stem_vit",
    "the same transformer on a stem of convolutions (early convolutions)",
    "models.conv_stem_vit:ConvStemViT",
    (
        *TRANSFORMER,
        REGISTERS,
        Option(
            "stem_channels",
            str,
            None,
            "channels of the stem's convolutions",
            pattern=SEQUENCE,
            example="24-40",
        ),
        Option("stem_strides", str, None, "strides of the stem's convolutions", pattern=SEQUENCE, example="2-2"),
    ),
    layout="channels_last",
    dimensions=sizes.conv_stem_vit,
    check=check_conv_stem,
)
RESNET = Family(
    "resnet",
    "residual network with a stem that suits small images",
    "models.resnet:ResNet",
    (
        SCALE,
        WIDTH,
        STAGES,
        Option(
            "stem",
            str,
            None,
            "cifar: 3x3; half: 3x3 of stride 2; imagenet: 7x7 of stride 2 and pooling",
            allowed=("cifar", "half", "imagenet"),
        ),
        TOTAL_STRIDE,
        Option("block", str, "basic", "two 3x3 convolutions; or 1x1, 3x3, 1x1", allowed=("basic", "bottleneck")),
        Option("norm", str, "batch", "normalisation", allowed=NORMS),
        PADDING,
        DROP_PATH,
    ),
    layout="channels_last",
    dimensions=sizes.resnet,
    sizes=(*sizes.TIERS, *sizes.RESNET_PUBLISHED),
    check=check_total_stride,
)
SWIN = Family(
    "swin",
    "transformer of shifted windows with merging patches",
    "models.swin:Swin",
    (
        SCALE,
        WIDTH,
        STAGES,
        HEADS,
        PATCH,
        Option("window", int, None, "tokens along the side of a window", minimum=1),
        MLP_RATIO,
        DROP_PATH,
    ),
    layout="contiguous",
    dimensions=sizes.swin,
    check=check_heads,
    check_image=windowed_image,
    fills_maps=odd_maps_filled,
    ways=("keep_window", "grow_window"),
)
SWIN_V2 = dataclasses.replace(
    SWIN,
    name="swin_v2",
    summary="Swin with cosine attention, norms after the branches and a continuous bias",
    entry="models.swin_v2:SwinV2",
    ways=("keep_window", "grow_window", "grow_window:bias=normalise"),
)
CCT = Family(
    "cct",
    "compact convolutional transformer: a convolutional tokeniser, and pooling by attention",
    "models.cct:CCT",
    (
        *(option for option in TRANSFORMER if option is not CLASS_TOKEN),
        Option("stem_convolutions", int, None, "convolutions of the tokeniser, each followed by pooling", minimum=1),
        Option("stem_width", int, None, "channels of the tokeniser before its last convolution", minimum=1),
        Option("stem_kernel", int, None, "side of the tokeniser's kernels", allowed=(3, 5, 7)),
        Option("stem_stride", int, None, "stride of the tokeniser's convolutions", allowed=(1, 2)),
        Option(
            *("attention_dropout", float, 0.1, "share of attention's probabilities set to zero in training"),
            minimum=0.0,
            maximum=0.9,
        ),
    ),
    layout="channels_last",
    dimensions=sizes.cct,
    check=check_tokeniser,
)
CONVNEXT = Family(
    "convnext",
    "depthwise convolutions and inverted bottlenecks",
    "models.convnext:ConvNeXt",
    (
        SCALE,
        WIDTH,
        STAGES,
        PATCH,
        Option("kernel", int, 7, "side of the depthwise kernels", allowed=(3, 5, 7)),
        Option("norm", str, "layer", "normalisation", allowed=NORMS),
        PADDING,
        MLP_RATIO,
        Option("layer_scale", float, 1e-6, "start of learned factors on the branches; 0: none", minimum=0.0),
        DROP_PATH,
    ),
    layout="channels_last",
    dimensions=sizes.convnext,
    check_image=patched_image,
    fills_maps=odd_maps_filled,
)
SIMPLE_CNN = Family(
    "simple_cnn",
    "convolutions and pooling as courses teach them: no norm, no shortcut",
    "models.baselines:SimpleCNN",
    (SCALE, WIDTH, STAGES, PADDING),
    layout="channels_last",
    dimensions=sizes.simple_cnn,
)
AIRBENCH = Family(
    "airbench",
    "the CNN of cifar10-airbench94: 94 % on CIFAR-10 within seconds; with the recipe `speed`",
    "models.airbench:Airbench",
    (
        Option("widths", str, None, "channels of each group of convolutions", pattern=SEQUENCE, example="64-256-256"),
        Option("whitening", bool, True, "the first convolution whitens the training images, and does not learn"),
        Option("identity", bool, True, "convolutions begin as the identity"),
        Option(
            "bias_rate", float, 64.0, "how many times faster than weights biases of norms learn under sgd", minimum=1.0
        ),
    ),
    layout="channels_last",
    check_image=two_pixels,
    tiers={"airbench94": {"widths": "64-256-256"}},
)
MIXER = Family(
    "mixer",
    "MLP-Mixer: a fixed map across tokens in place of attention",
    "models.baselines:Mixer",
    (
        SCALE,
        WIDTH,
        DEPTH,
        PATCH,
        Option("token_hidden", int, None, "hidden units of the MLP across tokens", minimum=1),
        MLP_RATIO,
        DROP_PATH,
    ),
    layout="contiguous",
    dimensions=sizes.mixer,
    resizes_input=True,
    check_image=patched_training_image,
)
MLP = Family(
    "mlp",
    "all pixels in one vector, linear layers with ReLU: no assumption about images",
    "models.baselines:PlainMLP",
    (SCALE, WIDTH, DEPTH),
    layout="contiguous",
    dimensions=sizes.mlp,
    resizes_input=True,
    check_image=bound_to_scale,
)
COURSE_VIT = Family(
    "course_vit",
    "the small transformer of teaching material: torch's encoder layers, post-norm, ReLU, dropout, class token",
    "models.course_vit:CourseViT",
    (
        WIDTH,
        DEPTH,
        HEADS,
        PATCH,
        MLP_RATIO,
        dataclasses.replace(TOKENS_ONLY, default="sincos_2d_sum"),
        Option("dropout", float, 0.1, "share of numbers set to zero in training", minimum=0.0, maximum=0.9),
    ),
    layout="contiguous",
    check=check_transformer,
    check_image=patched_image,
    tiers={"course": {"width": 64, "depth": 2, "heads": 2, "patch_size": 8, "mlp_ratio": 2.0}},  # for 32 px
)
_CONVNETS = (RESNET, CONVNEXT, SIMPLE_CNN, AIRBENCH)
_DECLARED = (VIT, CONV_STEM_VIT, CCT, *_CONVNETS, SWIN, SWIN_V2, MIXER, MLP, COURSE_VIT, *LADDER, *HYBRIDS)
FAMILIES = {family.name: family for family in _DECLARED}
