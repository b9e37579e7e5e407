"""The families by name: what each can be told and which images it takes, declared without loading a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.encodings import ENCODINGS, check_encoding
from models.grids import patch_grid
from models.options import SEQUENCE, ModelError, Option, Scalar, numbers
from models.sizes import SCALES, TIERS

Options = dict[str, Scalar]


def any_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Every image size will do."""


def patched_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """The patch must divide the image."""
    patch_grid(resolution, resolution, int(options["patch_size"]))


def patched_training_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """The patch must divide the training image, to which every other is resized."""
    patch_grid(train_resolution, train_resolution, int(options["patch_size"]))


def consistent(options: Options) -> None:
    """Nothing to check between the options."""


@dataclass(frozen=True)
class Family:
    """Declaration of a family of networks.

    `entry` is the class, "module:Name". `layout` is the memory layout its convolutions run best in, a rule
    and not a measurement. `resizes_input` marks a network with a fixed grid, which resizes every image to the
    training resolution.
    """

    name: str
    summary: str
    entry: str
    options: tuple[Option, ...]
    layout: str  # channels_last | contiguous
    sizes: tuple[str, ...] = TIERS
    resizes_input: bool = False
    check: Callable[[Options], None] = consistent  # of resolved options
    check_image: Callable[[Mapping[str, Scalar], int, int], None] = any_image  # options, resolution, training one
    ways: tuple[str, ...] = ()  # of carrying the family's own positions to another grid; the first is the default


SCALE = Option("scale", int, 32, "reference resolution of the data set: decides patch, stem and window", allowed=SCALES)
WIDTH = Option("width", int, None, "channels of a token, or of the first stage", minimum=1)
DEPTH = Option("depth", int, None, "number of blocks", minimum=1)
HEADS = Option("heads", int, None, "attention heads (of the first stage)", minimum=1)
PATCH = Option("patch_size", int, None, "pixels along the side of a patch", minimum=1)
STAGES = Option(
    "stages", str, None, "blocks per stage; each stage doubles the width", pattern=SEQUENCE, example="2-2-2"
)
MLP_RATIO = Option("mlp_ratio", float, 4.0, "hidden units of an MLP per channel", minimum=0.25)
DROP_PATH = Option(
    "drop_path", float, 0.0, "rate at which the last block's branches are dropped", minimum=0.0, maximum=0.9
)
POSITION = Option("position", str, "learned_1d", "positional encoding", allowed=tuple(ENCODINGS))
CLASS_TOKEN = Option("class_token", bool, False, "read the logits from a class token instead of the mean")
LAYER_SCALE = Option("layer_scale", float, 0.0, "start of learned factors on the branches; 0: none", minimum=0.0)
PADDING = Option("padding", str, "zeros", "what lies beyond the border", allowed=("zeros", "circular"))
TRANSFORMER = (SCALE, WIDTH, DEPTH, HEADS, MLP_RATIO, DROP_PATH, POSITION, CLASS_TOKEN, LAYER_SCALE)


def check_heads(options: Options) -> None:
    """The heads must divide the width."""
    width, heads = int(options["width"]), int(options["heads"])
    if width % heads:
        raise ModelError(f"width {width} is not divisible by {heads} heads")


def check_transformer(options: Options) -> None:
    check_heads(options)
    check_encoding(options)


def check_conv_stem(options: Options) -> None:
    check_transformer(options)
    channels, strides = numbers(str(options["stem_channels"])), numbers(str(options["stem_strides"]))
    if len(channels) != len(strides):
        raise ModelError(
            f"stem_channels {options['stem_channels']} and stem_strides {options['stem_strides']} differ in length"
        )
    if set(strides) - {1, 2}:
        raise ModelError(f"stem_strides {options['stem_strides']} holds other strides than 1 and 2")


def check_resnet(options: Options) -> None:
    """The stages must be able to make the total stride."""
    least = {"cifar": 1, "half": 2, "imagenet": 4}[str(options["stem"])]
    most = least * 2 ** (len(numbers(str(options["stages"]))) - 1)
    stride = int(options["total_stride"])
    if not least <= stride <= most:
        raise ModelError(
            f"total_stride {stride} cannot be made by stem {options['stem']} and stages {options['stages']}; "
            f"allowed: {least} to {most}"
        )


VIT = Family(
    "vit",
    "vision transformer; position is one argument",
    "models.vit:ViT",
    (*TRANSFORMER, PATCH),
    layout="contiguous",
    check=check_transformer,
    check_image=patched_image,
)
CONV_STEM_VIT = Family(
    "conv_stem_vit",
    "the same transformer on a stem of convolutions (early convolutions)",
    "models.conv_stem_vit:ConvStemViT",
    (
        *TRANSFORMER,
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
        Option("total_stride", int, None, "pixels per step of the last map", allowed=(1, 2, 4, 8, 16, 32)),
        Option("norm", str, "batch", "normalisation", allowed=("batch", "group", "layer")),
        PADDING,
        DROP_PATH,
    ),
    layout="channels_last",
    check=check_resnet,
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
    check=check_heads,
    check_image=patched_image,
    ways=("keep_window", "grow_window"),
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
    ),
    layout="channels_last",
    check=check_transformer,
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
        PADDING,
        MLP_RATIO,
        Option("layer_scale", float, 1e-6, "start of learned factors on the branches; 0: none", minimum=0.0),
        DROP_PATH,
    ),
    layout="channels_last",
    check_image=patched_image,
)
SIMPLE_CNN = Family(
    "simple_cnn",
    "convolutions and pooling as courses teach them: no norm, no shortcut",
    "models.baselines:SimpleCNN",
    (SCALE, WIDTH, STAGES),
    layout="channels_last",
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
    resizes_input=True,
    check_image=patched_training_image,
)
MLP = Family(
    "mlp",
    "all pixels in one vector, linear layers with ReLU: no assumption about images",
    "models.baselines:PlainMLP",
    (SCALE, WIDTH, DEPTH),
    layout="contiguous",
    resizes_input=True,
)
_DECLARED = (VIT, CONV_STEM_VIT, CCT, RESNET, CONVNEXT, SIMPLE_CNN, SWIN, MIXER, MLP)
FAMILIES = {family.name: family for family in _DECLARED}
