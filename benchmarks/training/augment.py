"""Augmentations on whole batches, drawn for each image by itself.

Each augmentation takes images `x` (float32, B C H W, values 0..1), label weights (float32, B x classes), a source of
uniform numbers and the recipe, and returns images and weights; it is pure. `draw(k)` gives k numbers in [0, 1) for each
image (float64 NumPy, B x k), the same at every call. `recipes.augmentations` names those that a recipe switches on.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.plan.recipes import Recipe
from benchmarks.training import operations
from benchmarks.training.pixels import to_device

Uniforms = NDArray[np.float64]
Draw = Callable[[int], Uniforms]
Operation = Callable[[Tensor, Tensor], Tensor]  # images and a signed strength for each (B 1 1 1) -> images


def _column(values: NDArray[np.generic], x: Tensor) -> Tensor:
    """One number an image, shaped to broadcast over B C H W."""
    return to_device(values, x.device).view(-1, 1, 1, 1)


def crop(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """A random window of the zero-padded image (He et al., 2016)."""
    batch, _, height, width = x.shape
    padded = F.pad(x, (recipe.crop_padding,) * 4)
    top, left = (draw(2) * (2 * recipe.crop_padding + 1)).astype(np.int64).T
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # B C T L H W, a view
    places = [to_device(one, x.device) for one in (np.arange(batch), top, left)]
    return windows[places[0], :, places[1], places[2]], weights


TRIES = 10  # windows that are drawn before the whole image is taken, as in torchvision


def resized_crop(
    x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe, side: int | None = None
) -> tuple[Tensor, Tensor]:
    """A random window, resized to side x side (the image's own size by default): scale augmentation.

    Its share of the area is uniform between `rrc_scale` and 1, its aspect log-uniform between 1 / `rrc_ratio` and
    `rrc_ratio` (Szegedy et al., 2015; torchvision's RandomResizedCrop): of ten drawn windows the first that fits.
    """
    u, (height, width) = draw(2 * TRIES + 2), x.shape[2:]
    area = (recipe.rrc_scale + u[:, :TRIES] * (1 - recipe.rrc_scale)) * height * width  # B x tries
    aspect = np.exp((2 * u[:, TRIES : 2 * TRIES] - 1) * np.log(recipe.rrc_ratio))
    rows, columns = np.round(np.sqrt(area / aspect)), np.round(np.sqrt(area * aspect))
    fits = (rows >= 1) & (rows <= height) & (columns >= 1) & (columns <= width)
    first, any_fits = fits.argmax(1)[:, None], fits.any(1)
    rows = np.where(any_fits, np.take_along_axis(rows, first, 1)[:, 0], height)
    columns = np.where(any_fits, np.take_along_axis(columns, first, 1)[:, 0], width)
    top, left = np.floor(u[:, -2] * (height - rows + 1)), np.floor(u[:, -1] * (width - columns + 1))
    window = to_device(np.stack((top, rows, left, columns)), x.device)
    return operations.resized_windows(x, window, side or height), weights


def flip(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Mirrors half of the images left to right."""
    at = to_device(np.flatnonzero(draw(1)[:, 0] < 0.5), x.device)
    x = x.clone(memory_format=torch.contiguous_format)
    x[at] = x[at].flip(3)
    return x, weights


def erase(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Sets one rectangle to zero in a share of the images: area 2 to 33 %, aspect 0.3 to 3.3 (Zhong et al., 2020)."""
    u, (height, width) = draw(5), x.shape[2:]
    area = (0.02 + u[:, 1] * 0.31) * height * width
    aspect = np.exp(np.log(0.3) + u[:, 2] * (np.log(3.3) - np.log(0.3)))
    rows = np.clip(np.round(np.sqrt(area * aspect)), 1, height)
    columns = np.clip(np.round(np.sqrt(area / aspect)), 1, width)
    inside = _rectangle(x, u[:, 3] * (height - rows + 1), rows, u[:, 4] * (width - columns + 1), columns)
    return x.masked_fill(inside & _column(u[:, 0] < recipe.erasing, x), 0.0), weights


def mix(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al., 2018) or CutMix (Yun et al., 2019), one of the two for each image where both are on.

    The partner of an image is drawn from the batch.
    """
    from scipy.special import betaincinv

    u, mixup, cutmix = draw(5), recipe.mixup, recipe.cutmix
    batch, _, height, width = x.shape
    partner = to_device(np.argsort(u[:, 0], kind="stable"), x.device)
    cut = np.full(batch, cutmix > 0) if not (mixup and cutmix) else u[:, 1] < 0.5
    alpha = np.where(cut, cutmix or 1.0, mixup or 1.0)
    kept = betaincinv(alpha, alpha, u[:, 2])  # Beta(alpha, alpha) by its quantile function
    rows, columns = (np.round(np.sqrt(1 - kept) * length) for length in (height, width))
    inside = _rectangle(x, u[:, 3] * (height - rows + 1), rows, u[:, 4] * (width - columns + 1), columns)
    exact = 1 - rows * columns / (height * width)  # the share of pixels that CutMix really keeps
    own = _column(np.where(cut, exact, kept).astype(np.float32), x)
    blended = own * x + (1 - own) * x[partner]
    images = torch.where(_column(cut, x), torch.where(inside, x[partner], x), blended)
    return images, own.view(-1, 1) * weights + (1 - own.view(-1, 1)) * weights[partner]


def _rectangle(x: Tensor, top: Uniforms, rows: Uniforms, left: Uniforms, columns: Uniforms) -> Tensor:
    """A mask, true inside one rectangle an image (B 1 H W)."""
    row = torch.arange(x.shape[2], device=x.device).view(1, 1, -1, 1)
    column = torch.arange(x.shape[3], device=x.device).view(1, 1, 1, -1)
    top, left = np.floor(top), np.floor(left)
    vertical = (row >= _column(top, x)) & (row < _column(top + rows, x))
    return vertical & (column >= _column(left, x)) & (column < _column(left + columns, x))


# RandAugment (Cubuk et al., 2020). Its fourteen operations, at magnitude m in 0..1 with a random sign where the
# operation has one (`s` = -m or m, B 1 1 1), all "increasing" as in DeiT's recipe.
OPERATIONS: tuple[Operation, ...] = (
    lambda x, s: x,
    lambda x, s: operations.autocontrast(x),
    lambda x, s: operations.equalize(x),
    lambda x, s: operations.rotate(x, s * math.radians(30)),
    lambda x, s: operations.solarize(x, 1 - s.abs()),
    lambda x, s: operations.saturation(x, 1 + 0.9 * s),
    lambda x, s: operations.posterize(x, (4 * s.abs()).floor()),  # keeps 8 - 4 m bits
    lambda x, s: operations.contrast(x, 1 + 0.9 * s),
    lambda x, s: operations.brightness(x, 1 + 0.9 * s),
    lambda x, s: operations.sharpness(x, 1 + 0.9 * s),
    lambda x, s: operations.shear_x(x, 0.3 * s),
    lambda x, s: operations.shear_y(x, 0.3 * s),
    lambda x, s: operations.translate_x(x, 0.9 * s),  # 45 % of the width
    lambda x, s: operations.translate_y(x, 0.9 * s),
)


def randaugment(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """For each image by itself, and several times over, one of fourteen operations, its magnitude normal (sd 0.05).

    Three numbers are drawn for each time: which operation, how far from the recipe's magnitude, and the sign.
    """
    from scipy.special import ndtri

    x, times = x.clone(memory_format=torch.contiguous_format), recipe.randaugment_operations
    for choice, spread, sign in np.split(draw(3 * times).T, times):
        strength = np.clip(recipe.randaugment_magnitude / 10 + 0.05 * ndtri(np.clip(spread, 1e-12, None)), 0, 1)
        signed = _column(np.where(sign < 0.5, strength, -strength).astype(np.float32), x)
        _apply(OPERATIONS, (choice * len(OPERATIONS)).astype(np.int64), x, signed)
    return x, weights


# TrivialAugment (Mueller and Hutter, 2021), "wide": the same operations over wider ranges, as in torchvision, with two
# differences: geometry is bilinear here, as in RandAugment, and there is one sign for all that has one.
WIDE: tuple[Operation, ...] = (
    lambda x, s: x,
    lambda x, s: operations.autocontrast(x),
    lambda x, s: operations.equalize(x),
    lambda x, s: operations.rotate(x, s * math.radians(135)),
    lambda x, s: operations.solarize(x, 1 - s.abs()),
    lambda x, s: operations.saturation(x, 1 + 0.99 * s),
    lambda x, s: operations.posterize(x, (6 * s.abs()).round()),  # keeps 8 to 2 bits
    lambda x, s: operations.contrast(x, 1 + 0.99 * s),
    lambda x, s: operations.brightness(x, 1 + 0.99 * s),
    lambda x, s: operations.sharpness(x, 1 + 0.99 * s),
    lambda x, s: operations.shear_x(x, 0.99 * s, corner=True),
    lambda x, s: operations.shear_y(x, 0.99 * s, corner=True),
    lambda x, s: operations.translate_x(x, 2 * (32 * s).trunc() / x.shape[3]),  # up to 32 pixels
    lambda x, s: operations.translate_y(x, 2 * (32 * s).trunc() / x.shape[2]),
)


def trivialaugment(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """For each image by itself one of fourteen operations, at one of 31 strengths from none to the largest.

    Three numbers are drawn: which operation, which strength, and the sign.
    """
    choice, strength, sign = draw(3).T
    strength = np.floor(31 * strength) / 30
    signed = _column(np.where(sign < 0.5, strength, -strength).astype(np.float32), x)
    x = x.clone(memory_format=torch.contiguous_format)
    _apply(WIDE, (choice * len(WIDE)).astype(np.int64), x, signed)
    return x, weights


JITTERS: tuple[Operation, ...] = (
    operations.brightness,
    operations.contrast,
    operations.saturation,
    operations.hue,
)


def jitter(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Brightness, contrast, saturation and hue, each by a factor (a share of the colour circle for hue) uniform around
    what changes nothing, in an order drawn for each image: torchvision's ColorJitter. What is 0 is left out; so are
    saturation and hue of grey images, where they do nothing.
    """
    u = draw(8)
    widths = (recipe.jitter_brightness, recipe.jitter_contrast, recipe.jitter_saturation, recipe.jitter_hue)
    strengths = []
    for width, uniform, middle in zip(widths, u[:, :4].T, (1.0, 1.0, 1.0, 0.0), strict=True):
        low = max(0.0, middle - width) if middle else -width
        strengths.append(_column((low + uniform * (middle + width - low)).astype(np.float32), x))
    on = [width > 0 and (number < 2 or x.shape[1] == 3) for number, width in enumerate(widths)]
    x = x.clone(memory_format=torch.contiguous_format)
    for turn in np.argsort(u[:, 4:], axis=1, kind="stable").T:
        for number, operation in enumerate(JITTERS):
            at = to_device(np.flatnonzero(turn == number), x.device)
            if on[number] and len(at):
                x[at] = operation(x[at], strengths[number][at])
    return x, weights


def _apply(table: tuple[Operation, ...], chosen: NDArray[np.int64], x: Tensor, strength: Tensor) -> None:
    """Puts each image, in place, through the operation of a table that is chosen for it."""
    for number, operation in enumerate(table):
        at = to_device(np.flatnonzero(chosen == number), x.device)
        if len(at):
            x[at] = operation(x[at], strength[at])
