"""The positional encodings by name: a summary, the ways of carrying it and its options for each (torch-free)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.options import ModelError, Option, Scalar


def unchecked(options: Mapping[str, Scalar]) -> None:
    """Every width and number of heads will do."""


@dataclass(frozen=True)
class Encoding:
    """Declaration of an encoding. `entry` is the class, "module:Name".

    `ways` are its ways of being carried to another grid as an evaluation names them (`models.options.parse_way`), the
    default first; they must agree with the class's own `ways` and `choices`.
    """

    name: str
    summary: str
    entry: str
    ways: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    prefix: str = ""  # of the names of its options: `rope_base` reaches the class as `base`
    additive: bool = False  # it acts on the tokens alone, so it suits networks without attention too
    check: Callable[[Mapping[str, Scalar]], None] = unchecked  # of a model's options: width, heads, its own


def width_by_2(options: Mapping[str, Scalar]) -> None:
    """Raises ModelError for an odd width."""
    if int(options["width"]) % 2:
        raise ModelError(f"position {options['position']} needs an even width, not {options['width']}")


def width_by_4(options: Mapping[str, Scalar]) -> None:
    """Raises ModelError for a width that 4 does not divide."""
    if int(options["width"]) % 4:
        raise ModelError(f"position {options['position']} needs a width divisible by 4, not {options['width']}")


def head_width_by_4(options: Mapping[str, Scalar]) -> None:
    """Raises ModelError for a width per head that 4 does not divide."""
    width, heads = int(options["width"]), int(options["heads"])
    if (width // heads) % 4:
        division = f"{width} / {heads} = {width // heads}"
        raise ModelError(f"position {options['position']} needs a head width divisible by 4, not {division}")


def lookhere_heads(options: Mapping[str, Scalar]) -> None:
    """Raises ModelError as `check_lookhere` does."""
    check_lookhere(int(options["heads"]), int(options["lookhere_fov"]))


def check_lookhere(heads: int, fov: int) -> None:
    """Raises ModelError for a number of heads that cannot share out a field of view of `fov` degrees."""
    if heads % 4:
        raise ModelError(f"position lookhere needs heads divisible by 4, not {heads}")
    if fov == 45 and (heads < 12 or heads % 8 != 4):
        raise ModelError(f"position lookhere with a field of view of 45 needs 12, 20, ... heads, not {heads}")


def rope_base(default: float) -> Option:
    """The option `rope_base` with the default of an encoding."""
    return Option("rope_base", float, default, "base of the rotation rates, base^(-4t/d)", minimum=1.0)


_DECLARED = (
    Encoding("none", "no position: a bag of patches", "models.positions.absolute:NoPosition", additive=True),
    Encoding(
        "learned_1d",
        "a learned vector per patch, in raster order (ViT)",
        "models.positions.absolute:Learned1d",
        (
            "interpolate:interpolation=bicubic_antialias",
            "interpolate:interpolation=bicubic",
            "interpolate:interpolation=bilinear",
        ),
        additive=True,
    ),
    Encoding(
        "learned_2d",
        "a learned half-vector per column and per row, concatenated (ViT, appendix D.4)",
        "models.positions.absolute:Learned2d",
        ("interpolate",),
        additive=True,
        check=width_by_2,
    ),
    Encoding(
        "sincos_1d",
        "fixed sinusoids of the raster index (Vaswani et al.)",
        "models.positions.absolute:Sincos1d",
        ("recompute", "interpolate"),
        additive=True,
        check=width_by_2,
    ),
    Encoding(
        "sincos_2d",
        "fixed sinusoids of row and column, concatenated (MoCo v3, timm)",
        "models.positions.absolute:Sincos2d",
        ("recompute", "interpolate"),
        additive=True,
        check=width_by_4,
    ),
    Encoding(
        "sincos_2d_sum",
        "fixed sinusoids of row and column, added: (r, c) and (c, r) are the same",
        "models.positions.absolute:Sincos2dSum",
        ("recompute", "interpolate"),
        additive=True,
        check=width_by_2,
    ),
    Encoding(
        "fourier",
        "random Fourier features of the place in the image, then a learned linear map",
        "models.positions.absolute:Fourier",
        ("recompute",),
        (Option("fourier_std", float, 10.0, "standard deviation of the random frequencies", minimum=0.0),),
        "fourier_",
        additive=True,
        check=width_by_2,
    ),
    Encoding(
        "relative_1d",
        "query times a learned embedding of the raster offset (ViT, appendix D.4)",
        "models.positions.relative:Relative1d",
        ("training_raster", "interpolate"),
    ),
    Encoding(
        "relative_2d",
        "query times learned embeddings of the row and column offsets, clipped (Shaw et al.)",
        "models.positions.relative:Relative2d",
        ("clip",),
        (
            Option("relative_clip", int, 0, "largest offset told apart; 0: the training grid's", minimum=0),
            Option("relative_values", bool, False, "also add embeddings of the offsets to the values"),
        ),
        "relative_",
    ),
    Encoding(
        "bias_2d",
        "a learned number per head and offset (Swin, BEiT)",
        "models.positions.biases:Bias2d",
        ("interpolate", "clip"),
    ),
    Encoding(
        "cpb",
        "a small network from the log-spaced offset to a number per head (Swin V2)",
        "models.positions.biases:ContinuousBias",
        ("recompute", "normalise"),
        (Option("cpb_hidden", int, 512, "hidden units of the network", minimum=1),),
        "cpb_",
    ),
    Encoding(
        "fire",
        "a small network from the log-spaced offset, as a share of the grid, to a number per head (FIRE)",
        "models.positions.biases:Fire",
        ("recompute",),
        (Option("fire_hidden", int, 32, "hidden units of the network", minimum=1),),
        "fire_",
    ),
    Encoding(
        "pape",
        "a sum of parabolas over the offset, whose steepness and slope a token decides (PaPE)",
        "models.positions.parabolic:Parabolic",
        ("recompute", "normalise"),
        (Option("pape_parabolas", int, 50, "parabolas of a head", minimum=1),),
        "pape_",
    ),
    Encoding(
        "alibi_2d",
        "minus the distance times a fixed slope per head (ALiBi in two dimensions)",
        "models.positions.biases:Alibi2d",
        ("recompute", "rescale"),
    ),
    Encoding(
        "rope_axial",
        "queries and keys turned by row and column at fixed rates (RoPE-ViT)",
        "models.positions.rotary:RopeAxial",
        ("recompute", "normalise", "rescale_base"),
        (
            rope_base(100.0),
            Option(
                "rope_coordinates",
                str,
                "grid",
                "`grid`: rows and columns; `unit`: centres of the tokens in [-1, 1] (DINOv3)",
                allowed=("grid", "unit"),
            ),
        ),
        "rope_",
        check=head_width_by_4,
    ),
    Encoding(
        "rope_mixed",
        "queries and keys turned at learned rates of row and column together (RoPE-ViT)",
        "models.positions.rotary:RopeMixed",
        ("recompute", "normalise", "rescale_base"),
        (rope_base(10.0),),
        "rope_",
        check=head_width_by_4,
    ),
    Encoding(
        "conditional",
        "a depthwise convolution over the tokens after the first block (CPVT)",
        "models.positions.absolute:Conditional",
        additive=True,
    ),
    Encoding(
        "lookhere",
        "heads that look one way, and less far the steeper their slope (LookHere)",
        "models.positions.biases:LookHere",
        ("recompute",),
        (
            Option(
                "lookhere_fov",
                int,
                180,
                "field of view of the directed heads in degrees (45 needs 12 heads)",
                allowed=(180, 90, 45),
            ),
        ),
        "lookhere_",
        check=lookhere_heads,
    ),
)
ENCODINGS = {encoding.name: encoding for encoding in _DECLARED}
CARRYING = {  # what each way of carrying positions to another grid does, those of families included
    "recompute": "positions computed anew from the numbers of the patches, or, where an encoding is of shares of the "
    "image, from these",
    "interpolate": "a table resized to the grid, as an image is (of raster offsets, as a line is); of sinusoids in two "
    "dimensions, places scaled by the size of the training grid over this one's",
    "normalise": "places scaled to the range they had in training: by the place in the image, not the patch's number",
    "rescale_base": "rotation rates lowered, so that the slow ones turn as far over the larger grid as in training",
    "rescale": "slopes scaled with the grid, so that distances count in shares of the image",
    "clip": "offsets beyond those of training are taken for the outermost of these",
    "training_raster": "an offset is looked up as the training grid's raster would have it",
    "keep_window": "windows of as many patches as in training",
    "grow_window": "windows that grow with the grid, their biases interpolated, or of Swin V2 computed for new offsets",
    "dynamic": "as the library does it: the table is resized to the grid of each image",
    "set_input_size": "as the library does it: the network is set to the image's size",
    "rebuilt": "as the library does it: a network of that size with the same weights, its table resized",
}
SHIPPED = tuple(ENCODINGS)
ADDITIVE = tuple(encoding.name for encoding in _DECLARED if encoding.additive)


def encoding_ways(position: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """How an encoding with these options can be carried to another grid, the default first."""
    if options.get("rope_coordinates") == "unit":
        return ("recompute",)  # fractions of the image: nothing else to choose
    return ENCODINGS[position].ways


def check_encoding(options: Mapping[str, Scalar]) -> None:
    """Raises ModelError for a width or a number of heads that the encoding cannot work with."""
    ENCODINGS[str(options["position"])].check(options)
