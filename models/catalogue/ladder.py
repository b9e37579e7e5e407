"""The ladder's families, declared (torch-free): networks that change one assumption at a time (`models.isotropic`)."""

from __future__ import annotations

from models.catalogue import sizes
from models.catalogue.declaration import (
    DEPTH,
    DROP_PATH,
    HEADS,
    MLP_RATIO,
    NORMS,
    PADDING,
    PATCH,
    POSITION,
    SCALE,
    STAGES,
    TOTAL_STRIDE,
    WIDTH,
    Family,
    Options,
    bound_to_scale,
    check_heads,
    check_total_stride,
    check_transformer,
    patched_image,
    patched_training_image,
)
from models.options import ModelError, Option
from models.positions.encodings import ADDITIVE, check_encoding

TOKENS_ONLY = Option("position", str, "learned_1d", "positional encoding, of those added to tokens", allowed=ADDITIVE)
KERNEL = Option("kernel", int, 3, "tokens along the side of a kernel", allowed=(3, 5, 7))
KERNELS = Option("kernels", int, None, "kernels for a block's 2 x width channels; 0: one for each", minimum=0)
FRAME = (SCALE, WIDTH, DEPTH, PATCH, MLP_RATIO, DROP_PATH)


def check_isotropic(options: Options) -> None:
    """Raises ModelError where the encoding does not suit the width, or the kernels do not divide the channels."""
    check_encoding({"heads": 1, **options})
    channels, kernels = 2 * int(options["width"]), int(options.get("kernels", 0))
    if kernels and channels % kernels:
        raise ModelError(f"2 x width = {channels} channels are not divisible by {kernels} kernels")


def check_local(options: Options) -> None:
    """Raises ModelError as `check_isotropic` does, and where a place would have no kernel."""
    if not options["kernels"]:
        raise ModelError("kernels is 0; allowed: at least 1 (2 x width for one a channel)")
    check_isotropic(options)


def check_windows(options: Options) -> None:
    """Raises ModelError as `check_isotropic` does, and where the heads do not divide the width."""
    check_heads(options)
    check_isotropic(options)


LADDER = (
    Family(
        "iso_attention",
        "the ladder: the ViT itself",
        "models.vit:ViT",
        (*FRAME, HEADS, POSITION),
        layout="contiguous",
        dimensions=sizes.iso_attention,
        check=check_transformer,
        check_image=patched_image,
    ),
    Family(
        "iso_window",
        "the ladder: attention inside windows, shifted in every second block",
        "models.isotropic:IsoWindow",
        (*FRAME, HEADS, TOKENS_ONLY, Option("window", int, None, "tokens along the side of a window", minimum=1)),
        layout="contiguous",
        dimensions=sizes.iso_window,
        check=check_windows,
        check_image=patched_image,
    ),
    Family(
        "iso_conv",
        "the ladder: depthwise convolution in place of attention",
        "models.isotropic:IsoConv",
        (*FRAME, TOKENS_ONLY, KERNEL, KERNELS, PADDING),
        layout="contiguous",
        dimensions=sizes.iso_conv,
        check=check_isotropic,
        check_image=patched_image,
    ),
    Family(
        "iso_local",
        "the ladder: a convolution whose kernels differ from place to place",
        "models.isotropic:IsoLocal",
        (*FRAME, TOKENS_ONLY, KERNEL, KERNELS, PADDING),
        layout="contiguous",
        dimensions=sizes.iso_local,
        resizes_input=True,
        check=check_local,
        check_image=patched_training_image,
    ),
    Family(
        "iso_pool",
        "the ladder: the mean of the neighbours in place of attention",
        "models.isotropic:IsoPool",
        (*FRAME, TOKENS_ONLY, KERNEL, PADDING),
        layout="contiguous",
        dimensions=sizes.isotropic,
        check=check_isotropic,
        check_image=patched_image,
    ),
    Family(
        "iso_mlp",
        "the ladder: an MLP across tokens in place of attention",
        "models.isotropic:IsoMLP",
        (*FRAME, TOKENS_ONLY, Option("token_hidden", int, None, "hidden units of the MLP across tokens", minimum=1)),
        layout="contiguous",
        dimensions=sizes.iso_mlp,
        resizes_input=True,
        check=check_isotropic,
        check_image=patched_training_image,
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
