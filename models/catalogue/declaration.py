"""What a family of networks declares, and the options and checks that several families share (torch-free)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.catalogue.sizes import SCALES, TIERS, check_tier
from models.grids import patch_grid
from models.hints import did_you_mean
from models.options import SEQUENCE, ModelError, Option, Scalar, numbers
from models.positions.encodings import ENCODINGS, check_encoding

Options = dict[str, Scalar]


def any_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Every image size will do."""


def patched_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Raises ModelError where the patch does not divide the image."""
    patch_grid(resolution, resolution, int(options["patch_size"]))


def windowed_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Raises ModelError where the patch does not divide the image, or a window is larger than the training grid."""
    patched_image(options, resolution, train_resolution)
    side = train_resolution // int(options["patch_size"])
    if int(options["window"]) > side:
        raise ModelError(f"window {options['window']} is larger than the grid of {side} x {side}: nearest {side}")


def nothing_filled(options: Mapping[str, Scalar], resolution: int) -> bool:
    """No map is filled at any image size."""
    return False


def odd_maps_filled(options: Mapping[str, Scalar], resolution: int) -> bool:
    """Whether the map of a stage has an odd side, which is filled with zeros before it is halved."""
    halvings = len(numbers(str(options["stages"]))) - 1
    return resolution // int(options["patch_size"]) % 2**halvings != 0


def bound_to_scale(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Raises ModelError for training images larger than the scale: the weights grow with them and outgrow the tier."""
    scale = int(options["scale"])
    if train_resolution > scale:
        larger = [one for one in SCALES if one >= train_resolution]
        near = f"nearest scale {larger[0]}" if larger else f"largest scale {SCALES[-1]}"
        raise ModelError(f"weights grow with the training image: {train_resolution} px outgrow scale {scale}; {near}")


def patched_training_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Raises ModelError where the patch does not divide the training image, or the scale does not allow it.

    Every other image is resized to the training one.
    """
    bound_to_scale(options, resolution, train_resolution)
    patch_grid(train_resolution, train_resolution, int(options["patch_size"]))


def consistent(options: Options) -> None:
    """The options do not constrain each other."""


def no_dimensions(size: str, scale: int) -> Mapping[str, Scalar]:
    """A size decides nothing: every option has a default of its own."""
    return {}


@dataclass(frozen=True)
class Family:
    """Declaration of a family of networks.

    `entry` is the class, "module:Name". `layout` is the memory layout its convolutions run best in, a rule and not a
    measurement. `resizes_input` marks a network with a fixed grid, which resizes every image to the training
    resolution; `fills_maps` says of a side of an image, in pixels, whether maps are filled with zeros there. What a
    size decides is given either by `dimensions`, a function of the size and the reference scale
    (`models.catalogue.sizes`), or by `tiers`, a table of sizes that are the same at every scale.
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
    fills_maps: Callable[[Mapping[str, Scalar], int], bool] = nothing_filled  # resolved options, resolution
    dimensions: Callable[[str, int], Mapping[str, Scalar]] = no_dimensions  # size, scale -> options that they decide
    tiers: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)  # sizes of its own: options by size
    ways: tuple[str, ...] = ()  # of carrying the family's own positions to another grid; the first is the default
    following: Mapping[str, Callable[[Mapping[str, Scalar]], Scalar]] = field(default_factory=dict)
    # options whose default follows from the values of all others, and the rule

    def __post_init__(self) -> None:
        if self.tiers:
            object.__setattr__(self, "sizes", tuple(self.tiers))  # frozen: as dataclasses do it

    def options_of_size(self, size: str, scale: int) -> Mapping[str, Scalar]:
        """The options that a size decides at a reference scale (pixels along the side of an image).

        Raises ModelError, with what is allowed, for a size that the family does not have, or not at this scale.
        """
        self.check_size(size)
        if self.tiers:
            return self.tiers[size]
        check_tier(size, scale)
        return self.dimensions(size, scale)

    def check_size(self, size: str) -> None:
        """Raises ModelError, with the nearest, for a size that the family has at no scale."""
        if size not in self.sizes:
            raise ModelError(f"no size {size!r}; allowed: {', '.join(self.sizes)}{did_you_mean(size, self.sizes)}")


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
REGISTERS = Option("registers", int, 0, "learned tokens beside the patches that the head does not read", minimum=0)
LAYER_SCALE = Option("layer_scale", float, 0.0, "start of learned factors on the branches; 0: none", minimum=0.0)
TOTAL_STRIDE = Option("total_stride", int, None, "pixels per step of the last map", allowed=(1, 2, 4, 8, 16, 32))
PADDING = Option("padding", str, "zeros", "what lies beyond the border", allowed=("zeros", "circular"))
NORMS = ("batch", "group", "layer")
TRANSFORMER = (SCALE, WIDTH, DEPTH, HEADS, MLP_RATIO, DROP_PATH, POSITION, CLASS_TOKEN, LAYER_SCALE)


def check_heads(options: Options) -> None:
    """Raises ModelError where the heads do not divide the width."""
    width, heads = int(options["width"]), int(options["heads"])
    if width % heads:
        raise ModelError(f"width {width} is not divisible by {heads} heads")


def check_transformer(options: Options) -> None:
    """Raises ModelError where the heads do not divide the width, or the encoding does not suit them."""
    check_heads(options)
    check_encoding(options)


def check_total_stride(options: Options) -> None:
    """Raises ModelError where stem and stages cannot make the total stride."""
    least = {"cifar": 1, "half": 2, "imagenet": 4}[str(options["stem"])]
    most = least * 2 ** (len(numbers(str(options["stages"]))) - 1)
    stride = int(options["total_stride"])
    if not least <= stride <= most:
        raise ModelError(
            f"total_stride {stride} cannot be made by stem {options['stem']} and stages {options['stages']}; "
            f"allowed: {least} to {most}"
        )
