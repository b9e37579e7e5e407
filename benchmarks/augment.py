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

from benchmarks.recipes import Recipe

Uniforms = NDArray[np.float64]
Draw = Callable[[int], Uniforms]


def _column(values: NDArray[np.generic], x: Tensor) -> Tensor:
    """One number an image, shaped to broadcast over B C H W."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(x.device).view(-1, 1, 1, 1)


def crop(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """A random window of the zero-padded image (He et al., 2016)."""
    batch, _, height, width = x.shape
    padded = F.pad(x, (recipe.crop_padding,) * 4)
    top, left = (draw(2) * (2 * recipe.crop_padding + 1)).astype(np.int64).T
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # B C T L H W, a view
    return windows[torch.arange(batch), :, torch.from_numpy(top), torch.from_numpy(left)], weights


def flip(x: Tensor, weights: Tensor, draw: Draw, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Mirrors half of the images left to right."""
    return torch.where(_column(draw(1) < 0.5, x), x.flip(3), x), weights


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
    partner = torch.from_numpy(np.argsort(u[:, 0], kind="stable")).to(x.device)
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


def _affine(x: Tensor, rows: list[list[Tensor]]) -> Tensor:
    """Resamples bilinearly, zeros outside; `rows` is the 2 x 3 inverse map in units of half an image."""
    theta = torch.stack([torch.stack([value.view(-1).expand(len(x)) for value in row], 1) for row in rows], 1)
    grid = F.affine_grid(theta.to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _blend(x: Tensor, other: Tensor, s: Tensor) -> Tensor:
    """PIL's enhancement with factor 1 + 0.9 s: away from `other` or towards it."""
    return (other + (x - other) * (1 + 0.9 * s)).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _smooth(x: Tensor) -> Tensor:
    """PIL's SMOOTH kernel inside, the image itself on the border."""
    kernel = x.new_tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]).div(13).expand(x.shape[1], 1, 3, 3)
    if min(x.shape[2:]) < 3:
        return x
    return F.pad(F.conv2d(x, kernel, groups=x.shape[1]) - x[:, :, 1:-1, 1:-1], (1, 1, 1, 1)) + x


def _autocontrast(x: Tensor, s: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


def _equalize(x: Tensor, s: Tensor) -> Tensor:
    """Histogram equalisation of each channel, as PIL's ImageOps.equalize."""
    levels = (x * 255).round().long().flatten(2)  # B C HW
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.long, device=x.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    last = counts.gather(2, levels.amax(2, keepdim=True))
    step = (counts.sum(2, keepdim=True) - last) // 255
    table = ((counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)).clamp(0, 255)
    equalised = table.gather(2, levels).view(x.shape).to(x.dtype) / 255
    return torch.where((step > 0).view(*x.shape[:2], 1, 1), equalised, x)


def _rotate(x: Tensor, s: Tensor) -> Tensor:
    angle, ratio = s * math.radians(30), x.shape[2] / x.shape[3]
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(s)
    return _affine(x, [[cos, sin * ratio, zero], [-sin / ratio, cos, zero]])


def _shear_x(x: Tensor, s: Tensor) -> Tensor:
    one, zero = torch.ones_like(s), torch.zeros_like(s)
    return _affine(x, [[one, 0.3 * s, zero], [zero, one, zero]])


def _shear_y(x: Tensor, s: Tensor) -> Tensor:
    one, zero = torch.ones_like(s), torch.zeros_like(s)
    return _affine(x, [[one, zero, zero], [0.3 * s, one, zero]])


def _translate_x(x: Tensor, s: Tensor) -> Tensor:
    one, zero = torch.ones_like(s), torch.zeros_like(s)
    return _affine(x, [[one, zero, 0.9 * s], [zero, one, zero]])  # 45 % of the width


def _translate_y(x: Tensor, s: Tensor) -> Tensor:
    one, zero = torch.ones_like(s), torch.zeros_like(s)
    return _affine(x, [[one, zero, zero], [zero, one, 0.9 * s]])


def _posterize(x: Tensor, s: Tensor) -> Tensor:
    """Keeps 8 - 4 m bits."""
    step = 2.0 ** (4 * s.abs()).floor()
    return ((x * 255).round() / step).floor() * step / 255


def _solarize(x: Tensor, s: Tensor) -> Tensor:
    """Inverts what is brighter than 1 - m."""
    return torch.where(x >= 1 - s.abs(), 1 - x, x)


OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda x, s: x,
    _autocontrast,
    _equalize,
    _rotate,
    _solarize,
    lambda x, s: _blend(x, _grey(x), s),  # colour
    _posterize,
    lambda x, s: _blend(x, _grey(x).mean((2, 3), keepdim=True), s),  # contrast
    lambda x, s: _blend(x, torch.zeros_like(x), s),  # brightness
    lambda x, s: _blend(x, _smooth(x), s),  # sharpness
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
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
        chosen = (choice * len(OPERATIONS)).astype(np.int64)
        for number, operation in enumerate(OPERATIONS):
            at = torch.from_numpy(np.flatnonzero(chosen == number)).to(x.device)
            if len(at):
                x[at] = operation(x[at], signed[at])
    return x, weights
