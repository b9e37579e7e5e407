"""Hybrids of convolution and attention, and case 8's network, declared (torch-free)."""

from __future__ import annotations

from models.catalogue import sizes
from models.catalogue.declaration import (
    CLASS_TOKEN,
    DEPTH,
    DROP_PATH,
    HEADS,
    LAYER_SCALE,
    MLP_RATIO,
    NORMS,
    PATCH,
    REGISTERS,
    SCALE,
    STAGES,
    TRANSFORMER,
    WIDTH,
    Family,
    Options,
    bound_to_scale,
    check_heads,
    check_transformer,
    patched_image,
)
from models.options import SEQUENCE, ModelError, Option, OptionError, numbers


def check_convit(options: Options) -> None:
    """Raises ModelError where the heads do not divide the width, or more blocks are local than there is room for."""
    check_heads(options)
    local, depth = int(options["local_blocks"]), int(options["depth"])
    if local > depth - int(bool(options["class_token"])):
        room = "depth - 1, where the class token joins" if options["class_token"] else "depth"
        raise ModelError(f"local_blocks {local} is more than {room}: depth is {depth}")


def check_coatnet(options: Options) -> None:
    """Raises ModelError for strides, stages and heads that do not fit together, OptionError for another stride.

    There is a stride for the stem and each stage, at least one stage that attends, and heads divide its width.
    """
    stages, strides = numbers(str(options["stages"])), numbers(str(options["strides"]))
    if set(strides) - {1, 2}:
        raise OptionError(f"strides {options['strides']} holds other strides than 1 and 2", "strides")
    if len(strides) != 1 + len(stages):
        raise ModelError(
            f"strides {options['strides']} are not one for the stem and each stage of {options['stages']}: "
            f"{1 + len(stages)} numbers"
        )
    convolutions = int(options["conv_stages"])
    if convolutions >= len(stages):
        raise ModelError(f"conv_stages {convolutions} leaves no stage of {options['stages']} that attends")
    channels, head_width = int(options["width"]) * 2**convolutions, int(options["head_width"])
    if channels % head_width:
        raise ModelError(f"the {channels} channels of the first stage that attends are no multiple of {head_width}")


HYBRIDS = (
    Family(
        "convit",
        "transformer whose heads start as a convolution, with gates to leave it",
        "models.convit:ConViT",
        (
            *(SCALE, WIDTH, DEPTH, HEADS, PATCH, MLP_RATIO, DROP_PATH, CLASS_TOKEN, LAYER_SCALE),
            Option("local_blocks", int, None, "blocks, from the first, with gated positional attention", minimum=0),
            Option("locality", float, 1.0, "how sharply a head starts to look at its offset", minimum=0.0),
        ),
        layout="contiguous",
        dimensions=sizes.convit,
        check=check_convit,
        check_image=patched_image,
        ways=("recompute",),
    ),
    Family(
        "conv_attention",
        "attention with queries, keys and values by 3x3 convolutions",
        "models.conv_attention:ConvAttentionViT",
        (*(option for option in TRANSFORMER if option is not CLASS_TOKEN), PATCH),
        layout="contiguous",
        dimensions=sizes.conv_attention,
        check=check_transformer,
        check_image=patched_image,
    ),
    Family(
        "resnet_vit",
        "the same transformer on the feature map of a small ResNet",
        "models.resnet_vit:ResNetViT",
        (
            *TRANSFORMER,
            REGISTERS,
            Option("stem_width", int, None, "channels of the ResNet's first stage", minimum=1),
            Option("stem_stages", int, None, "stages of the ResNet; each but the first halves the image", minimum=1),
            Option("norm", str, "batch", "normalisation of the ResNet", allowed=("batch", "group", "layer")),
        ),
        layout="channels_last",
        dimensions=sizes.resnet_vit,
        check=check_transformer,
    ),
    Family(
        "coatnet",
        "stages of inverted bottlenecks, then stages of attention with a bias per offset",
        "models.coatnet:CoAtNet",
        (
            *(SCALE, WIDTH, STAGES),
            Option("strides", str, None, "stride of the stem and of each stage", pattern=SEQUENCE, example="1-1-2-2-2"),
            Option("conv_stages", int, 2, "stages, from the first, that convolve; the others attend", minimum=0),
            Option("head_width", int, None, "channels of an attention head", minimum=1),
            MLP_RATIO,
            Option("norm", str, "batch", "normalisation of what convolves", allowed=NORMS),
            DROP_PATH,
        ),
        layout="channels_last",
        dimensions=sizes.coatnet,
        check=check_coatnet,
        ways=("interpolate", "clip"),
    ),
    Family(
        "attention_mlp",
        "linear layers and attention over the whole image as one token, which is a linear map",
        "models.attention_mlp:AttentionMLP",
        (SCALE, Option("widths", str, None, "units of the layers", pattern=SEQUENCE, example="128-64")),
        layout="contiguous",
        dimensions=sizes.attention_mlp,
        sizes=(*sizes.TIERS, *sizes.ATTENTION_MLP_COURSE),
        resizes_input=True,
        check_image=bound_to_scale,
    ),
)
