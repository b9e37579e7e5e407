"""Augmentations of whole batches, drawn for each image by itself.

An augmentation is one function in two parts. On the host it draws numbers and decides what becomes of each image; on
the images' device the `Change` that it returns is made, without a look back at the host. So the batches of several
steps can go through together: `draw(k)` gives k numbers in [0, 1) for each image of all of them (float64, N x k), the
same at every call, `shape` is that of an image (C, H, W). Everything is pure. `recipes.augmentations` names those that
a recipe switches on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.plan.recipes import Recipe
from benchmarks.training import beta, operations

Uniforms = NDArray[np.float64]
Draw = Callable[[int], Uniforms]
Shape = tuple[int, int, int]
Extent = int | NDArray[np.integer]  # height or width in pixels: of all images, or of each (N,)
Operation = Callable[[Tensor, Tensor], Tensor]  # images and a signed strength for each (N 1 1 1) -> images


@dataclass(frozen=True)
class Change:
    """What is done to images: `make(x, weights, *numbers)` returns images and label weights.

    `x` is float32 with values 0..1 (crop and flip also take bytes), N C H W; `weights` float32, N x classes; `numbers`
    are those decided on the host, as tensors on the device of `x`.
    """

    make: Callable[..., tuple[Tensor, Tensor]]
    numbers: Sequence[NDArray[Any]]


def _per_image(values: Tensor) -> Tensor:
    """One number an image, shaped to broadcast over N C H W."""
    return values.view(-1, 1, 1, 1)


def crop(draw: Draw, shape: Shape, recipe: Recipe) -> Change:
    """A random window of the image in a frame of zeros (He et al., 2016), or in one that mirrors it."""
    padding, (_, height, width) = recipe.crop_padding, shape
    top, left = (draw(2) * (2 * padding + 1)).astype(np.int64).T
    reflected = recipe.crop_fill == "reflect"
    places = [np.pad(np.arange(side), padding, "reflect") for side in (height, width)] if reflected else []

    def make(x: Tensor, weights: Tensor, top: Tensor, left: Tensor, *places: Tensor) -> tuple[Tensor, Tensor]:
        for axis, place in enumerate(places, start=2):  # by places: torch reflects no bytes
            x = x.index_select(axis, place)
        framed = x if reflected else F.pad(x, (padding,) * 4)
        windows = framed.unfold(2, height, 1).unfold(3, width, 1)  # N C T L H W, a view
        return windows[torch.arange(len(x), device=x.device), :, top, left], weights

    return Change(make, (top, left, *places))


TRIES = 10  # windows that are drawn before the whole image is taken, as in torchvision
WINDOW_DRAWS = 2 * TRIES + 2  # numbers an image


def resized_crop(draw: Draw, shape: Shape, recipe: Recipe, side: int | None = None) -> Change:
    """A random window, resized to side x side (the image's own size by default): scale augmentation.

    Its share of the area is uniform between `rrc_scale` and 1, its aspect log-uniform between 1 / `rrc_ratio` and
    `rrc_ratio` (Szegedy et al., 2015; torchvision's RandomResizedCrop): of ten drawn windows the first that fits.
    """
    (_, height, width) = shape
    top, left, rows, columns = windows(draw(WINDOW_DRAWS), height, width, recipe)

    def make(x: Tensor, weights: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        return operations.resized_windows(x, window, side or height), weights

    return Change(make, (np.stack((top, rows, left, columns)),))


def windows(u: Uniforms, height: Extent, width: Extent, recipe: Recipe) -> tuple[Uniforms, ...]:
    """Top, left, rows and columns (N) of a random-resized crop, in pixels of images of this size, or each of its own.

    `u` are N x WINDOW_DRAWS numbers in [0, 1). Where none of the ten fits, it is the largest window in the middle whose
    aspect is allowed: of a square the whole image.
    """
    high, wide = np.reshape(height, (-1, 1)), np.reshape(width, (-1, 1))  # N x 1, or 1 x 1
    area = (recipe.rrc_scale + u[:, :TRIES] * (1 - recipe.rrc_scale)) * high * wide  # N x tries
    aspect = np.exp((2 * u[:, TRIES : 2 * TRIES] - 1) * np.log(recipe.rrc_ratio))
    rows, columns = np.round(np.sqrt(area / aspect)), np.round(np.sqrt(area * aspect))
    fits = (rows >= 1) & (rows <= high) & (columns >= 1) & (columns <= wide)
    first, any_fits = fits.argmax(1)[:, None], fits.any(1)
    whole_rows = np.minimum(height, np.round(np.multiply(width, recipe.rrc_ratio)))
    whole_columns = np.minimum(width, np.round(np.multiply(height, recipe.rrc_ratio)))
    rows = np.where(any_fits, np.take_along_axis(rows, first, 1)[:, 0], whole_rows)
    columns = np.where(any_fits, np.take_along_axis(columns, first, 1)[:, 0], whole_columns)
    top = np.where(any_fits, np.floor(u[:, -2] * (height - rows + 1)), (height - rows) // 2)
    left = np.where(any_fits, np.floor(u[:, -1] * (width - columns + 1)), (width - columns) // 2)
    return top, left, rows, columns


def flip(draw: Draw, shape: Shape, recipe: Recipe) -> Change:
    """Mirrors half of the images left to right."""

    def make(x: Tensor, weights: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
        columns = torch.arange(x.shape[3], device=x.device)
        columns = torch.where(mirrored.view(-1, 1), columns.flip(0), columns)  # N W: where each pixel comes from
        return x.gather(3, columns[:, None, None].expand_as(x)), weights

    return Change(make, (draw(1)[:, 0] < 0.5,))


def erase(draw: Draw, shape: Shape, recipe: Recipe) -> Change:
    """Sets one rectangle to zero in a share of the images: area 2 to 33 %, aspect 0.3 to 3.3 (Zhong et al., 2020)."""
    u, (_, height, width) = draw(5), shape
    at, rows, columns = np.flatnonzero(u[:, 0] < recipe.erasing), np.zeros(len(u)), np.zeros(len(u))
    area = (0.02 + u[at, 1] * 0.31) * height * width
    aspect = np.exp(np.log(0.3) + u[at, 2] * (np.log(3.3) - np.log(0.3)))
    rows[at] = np.clip(np.round(np.sqrt(area * aspect)), 1, height)
    columns[at] = np.clip(np.round(np.sqrt(area / aspect)), 1, width)
    edges = _edges(u[:, 3] * (height - rows + 1), rows, u[:, 4] * (width - columns + 1), columns)

    def make(x: Tensor, weights: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        return x.masked_fill(_inside(x, edges), 0.0), weights

    return Change(make, (edges,))


def mix(draw: Draw, shape: Shape, recipe: Recipe) -> Change:
    """Mixup (Zhang et al., 2018) or CutMix (Yun et al., 2019), one of the two for each image where both are on.

    The partner of an image is drawn from the batch of its step.
    """
    from scipy.special import betaincinv

    u, (_, height, width), mixup, cutmix = draw(5), shape, recipe.mixup, recipe.cutmix
    cut = np.full(len(u), cutmix > 0) if not (mixup and cutmix) else u[:, 1] < 0.5
    blended, pasted = np.flatnonzero(~cut), np.flatnonzero(cut)
    own, rows, columns = np.empty(len(u)), np.zeros(len(u)), np.zeros(len(u))
    own[blended] = beta.quantiles(mixup, u[blended, 2])
    lost = np.sqrt(1 - betaincinv(cutmix, cutmix, u[pasted, 2]))  # of each side; Beta by its quantile function
    rows[pasted], columns[pasted] = np.round(lost * height), np.round(lost * width)
    own[pasted] = 1 - rows[pasted] * columns[pasted] / (height * width)  # the share of pixels that is really kept
    edges = _edges(u[:, 3] * (height - rows + 1), rows, u[:, 4] * (width - columns + 1), columns)

    def make(
        x: Tensor, weights: Tensor, partner: Tensor, cut: Tensor, own: Tensor, edges: Tensor
    ) -> tuple[Tensor, Tensor]:
        share = _per_image(own)
        if cutmix:  # of a pixel, there: all or nothing
            share = torch.where(_per_image(cut), (~_inside(x, edges)).float(), share)
        images = share * x + (1 - share) * x[partner]
        return images, own.view(-1, 1) * weights + (1 - own.view(-1, 1)) * weights[partner]

    return Change(make, (_partners(u[:, 0], recipe.batch_size), cut, own.astype(np.float32), edges))


def _partners(u: Uniforms, batch: int) -> NDArray[np.int64]:
    """For each image another, or itself, of its own batch: those of a batch in the order of their numbers (N,)."""
    u = u.reshape(-1, batch)
    order = np.argsort(u, 1)
    if not np.diff(np.take_along_axis(u, order, 1)).all():  # equal numbers stay in order
        order = np.argsort(u, 1, kind="stable")
    return (order + batch * np.arange(len(u))[:, None]).reshape(-1)


def _edges(top: Uniforms, rows: Uniforms, left: Uniforms, columns: Uniforms) -> NDArray[np.int64]:
    """Top, bottom, left and right of one rectangle an image, in whole pixels (4 N)."""
    top, left = np.floor(top), np.floor(left)
    return np.stack((top, top + rows, left, left + columns)).astype(np.int64)


def _inside(x: Tensor, edges: Tensor) -> Tensor:
    """A mask, true inside one rectangle an image (N 1 H W)."""
    top, bottom, left, right = edges.view(4, -1, 1, 1, 1)
    row = torch.arange(x.shape[2], device=x.device).view(-1, 1)
    column = torch.arange(x.shape[3], device=x.device)
    return (row >= top) & (row < bottom) & ((column >= left) & (column < right))


# RandAugment (Cubuk et al., 2020). Its fourteen operations, at magnitude m in 0..1 with a random sign where the
# operation has one (`s` = -m or m, N 1 1 1), all the stronger the larger m. timm's, which DeiT has, is another: fifteen
# operations (Invert and SolarizeAdd, no identity), each skipped half of the time.
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


def randaugment(draw: Draw, shape: Shape, recipe: Recipe) -> Change:
    """For each image by itself, and several times over, one of fourteen operations, its magnitude normal (sd 0.05).

    Three numbers are drawn for each time: which operation, how far from the recipe's magnitude, and the sign.
    """
    from scipy.special import ndtri

    times = recipe.randaugment_operations
    choice, spread, sign = draw(3 * times).reshape(-1, times, 3).transpose(2, 1, 0)  # each times x N
    strength = np.clip(recipe.randaugment_magnitude / 10 + 0.05 * ndtri(np.clip(spread, 1e-12, None)), 0, 1)
    return _one_of(OPERATIONS, choice * len(OPERATIONS), np.where(sign < 0.5, strength, -strength))


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


def trivialaugment(draw: Draw, shape: Shape, recipe: Recipe) -> Change:
    """For each image by itself one of fourteen operations, at one of 31 strengths from none to the largest.

    Three numbers are drawn: which operation, which strength, and the sign.
    """
    choice, strength, sign = draw(3).T[:, None]  # each 1 x N
    strength = np.floor(31 * strength) / 30
    return _one_of(WIDE, choice * len(WIDE), np.where(sign < 0.5, strength, -strength))


JITTERS: tuple[Operation, ...] = (
    operations.brightness,
    operations.contrast,
    operations.saturation,
    operations.hue,
)


def jitter(draw: Draw, shape: Shape, recipe: Recipe) -> Change:
    """Brightness, contrast, saturation and hue, each by a factor (a share of the colour circle for hue) uniform around
    what changes nothing, in an order drawn for each image: torchvision's ColorJitter. What is 0 is left out; so are
    saturation and hue of grey images, where they do nothing.
    """
    u = draw(8)
    widths = (recipe.jitter_brightness, recipe.jitter_contrast, recipe.jitter_saturation, recipe.jitter_hue)
    on = [width > 0 and (number < 2 or shape[0] == 3) for number, width in enumerate(widths)]
    strengths = []
    for width, uniform, middle in zip(widths, u[:, :4].T, (1.0, 1.0, 1.0, 0.0), strict=True):
        low = max(0.0, middle - width) if middle else -width
        strengths.append(low + uniform * (middle + width - low))
    turns = np.argsort(u[:, 4:], axis=1, kind="stable").T  # 4 x N: which of the four comes first, second, ...
    table = tuple(operation if used else _unchanged for operation, used in zip(JITTERS, on, strict=True))
    return _one_of(table, turns, np.take_along_axis(np.stack(strengths), turns, 0))


def _unchanged(x: Tensor, strength: Tensor) -> Tensor:
    return x


def _one_of(table: tuple[Operation, ...], chosen: NDArray[Any], strength: Uniforms) -> Change:
    """Each image through the operation of a table that is chosen for it, as often as there are rows in `chosen` (its
    number, rounded down) and `strength`, both times x N.

    Every time the images are put in order by operation, so that each operation works on a slice. To pick its images
    out and to put them back, as `x[at] = ...` does, is far slower on a GPU, which sorts for it to be deterministic.
    """
    places, moves, counts, strengths = np.arange(chosen.shape[1]), [], [], []  # where each image lies now
    for kinds, own in zip(chosen.astype(np.uint8), strength, strict=True):
        order = np.argsort(kinds, kind="stable")
        moves.append(places[order])
        places[order] = np.arange(len(order))
        counts.append(np.bincount(kinds, minlength=len(table)).tolist())
        strengths.append(own[order])

    def make(x: Tensor, weights: Tensor, moves: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
        for move, own, count in zip(moves, strengths, counts, strict=False):
            parts = zip(table, x.index_select(0, move).split(count), _per_image(own).split(count), strict=True)
            x = torch.cat([operation(part, strength) for operation, part, strength in parts if len(part)])
        return x.index_select(0, moves[-1]), weights

    return Change(make, (np.stack([*moves, places]), np.stack(strengths).astype(np.float32)))
