"""The ladder, declared (torch-free): the mixers of `models.mixers`, their one network, the ResNet without sharing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.catalogue import sizes
from models.catalogue.declaration import (
    DEPTH,
    DROP_PATH,
    HEADS,
    NORMS,
    PADDING,
    PATCH,
    SCALE,
    STAGES,
    TOTAL_STRIDE,
    WIDTH,
    Family,
    Options,
    bound_to_scale,
    check_heads,
    check_total_stride,
    consistent,
    patched_image,
    patched_training_image,
)
from models.options import ModelError, Option, Scalar
from models.positions.encodings import ADDITIVE, check_encoding

TOKENS_ONLY = Option("position", str, "learned_1d", "positional encoding, of those added to tokens", allowed=ADDITIVE)
KERNEL = Option("kernel", int, 3, "tokens along the side of a kernel", allowed=(3, 5, 7))


@dataclass(frozen=True)
class Mixer:
    """Declaration of a mixer. `entry` is the class, "module:Name"; `one_grid` must agree with the class's own."""

    name: str
    summary: str
    entry: str
    options: tuple[Option, ...] = ()
    one_grid: bool = False  # it works on the training grid alone, so every image is resized to it
    check: Callable[[Options], None] = consistent  # of a model's options
    prefix: str = ""  # of the names of its options, none


def check_kernels(options: Options) -> None:
    """Raises ModelError where the kernels do not divide the channels."""
    channels, kernels = 2 * int(options["width"]), int(options["kernels"])
    if kernels and channels % kernels:
        raise ModelError(f"2 x width = {channels} channels are not divisible by {kernels} kernels")


def check_scan(options: Options) -> None:
    """Raises ModelError where the heads do not divide the width, or cannot be halved for a scan in both directions."""
    check_heads(options)
    if options["scan"] == "both" and int(options["heads"]) % 2:
        raise ModelError(f"scan both needs an even number of heads, not {options['heads']}; allowed: raster, reversed")


_MIXERS = (
    Mixer("identity", "nothing is mixed: a bag of patches", "models.mixers:Identity"),
    Mixer("pool", "the mean of the neighbours", "models.mixers:PoolMixer", (KERNEL, PADDING)),
    Mixer(
        "depthwise_conv",
        "a convolution of every channel by itself",
        "models.mixers:DepthwiseConv",
        (
            KERNEL,
            Option("kernels", int, 0, "kernels for a block's 2 x width channels; 0: one for each", minimum=0),
            PADDING,
        ),
        check=check_kernels,
    ),
    Mixer("gated_conv", "MambaOut's convolution under a gate", "models.mixers:GatedConv", (KERNEL, PADDING)),
    Mixer(
        "local_attention",
        "attention among neighbours",
        "models.mixers:LocalAttention",
        (
            HEADS,
            Option("attention_window", int, 1, "rows and columns within which a token attends to others", minimum=1),
        ),
        check=check_heads,
    ),
    Mixer(
        "window_attention",
        "attention inside windows, shifted in every second block",
        "models.mixers:PlainWindows",
        (HEADS, Option("window", int, None, "tokens along the side of a window", minimum=1)),
        check=check_heads,
    ),
    Mixer("attention", "the ViT's attention", "models.mixers:SelfAttention", (HEADS,), check=check_heads),
    Mixer(
        "locally_connected",
        "a convolution whose kernels differ from place to place",
        "models.mixers:LocallyConnected",
        (KERNEL, Option("kernels", int, 4, "kernels for a place's 2 x width channels", minimum=1), PADDING),
        one_grid=True,
        check=check_kernels,
    ),
    Mixer(
        "token_mlp",
        "an MLP across tokens",
        "models.mixers:TokenMLP",
        (Option("token_hidden", int, None, "hidden units of the MLP across tokens", minimum=1),),
        one_grid=True,
    ),
    Mixer(
        "ssd",
        "a state-space model in its masked-matrix form (Mamba-2)",
        "models.mixers:StateSpace",
        (
            HEADS,
            Option(
                "scan",
                str,
                "both",
                "the order of tokens; both: half of the heads each way",
                allowed=("raster", "reversed", "both"),
            ),
        ),
        check=check_scan,
    ),
)
MIXERS = {mixer.name: mixer for mixer in _MIXERS}
REPLACED = {  # families of before, and the mixers that they are now
    "iso_attention": "attention",
    "iso_window": "window_attention",
    "iso_conv": "depthwise_conv",
    "iso_local": "locally_connected",
    "iso_pool": "pool",
    "iso_mlp": "token_mlp",
}


def check_ladder(options: Options) -> None:
    """Raises ModelError where the encoding or the mixer does not suit the width."""
    check_encoding({"heads": 1, **options})
    MIXERS[str(options["mixer"])].check(options)


def ladder_image(options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Raises ModelError where the patch does not divide the image, or a mixer of one grid outgrows the scale."""
    one_grid = MIXERS[str(options["mixer"])].one_grid
    check = patched_training_image if one_grid else patched_image
    check(options, resolution, train_resolution)


LADDER = (
    Family(
        "ladder",
        "one transformer block whose mixer of tokens is an option, to change one assumption at a time",
        "models.ladder:Ladder",
        (
            *(SCALE, WIDTH, DEPTH, PATCH),
            Option("mixer", str, "attention", "what mixes tokens", allowed=tuple(MIXERS)),
            TOKENS_ONLY,
            Option(
                "mlp_hidden",
                int,
                None,
                "hidden units of the MLPs; by default a block weighs what the ViT's does",
                minimum=1,
            ),
            DROP_PATH,
        ),
        layout="contiguous",
        dimensions=sizes.ladder,
        check=check_ladder,
        check_image=ladder_image,
        following={"mlp_hidden": sizes.ladder_mlp_hidden},
    ),
    Family(
        "locally_connected",
        "the ladder: the small ResNet with kernels that differ from place to place",
        "models.locally_connected:LocallyConnected",
        (
            SCALE,
            WIDTH,
            STAGES,
            Option("stem", str, None, "cifar: 3x3; half: 3x3 of stride 2", allowed=("cifar", "half")),
            TOTAL_STRIDE,
            Option("norm", str, "batch", "normalisation, shared by all places", allowed=NORMS),
            PADDING,
            DROP_PATH,
        ),
        layout="contiguous",
        dimensions=sizes.locally_connected,
        resizes_input=True,
        check_image=bound_to_scale,
        check=check_total_stride,
    ),
)
