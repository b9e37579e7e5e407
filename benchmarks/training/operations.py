"""Operations on images, each with a strength of its own for every image: what augmentations are made of.

Images are float32, B C H W, values 0..1; a strength is B 1 1 1. Each operation is pure, and is the one of that name in
Pillow and torchvision, on fractions instead of bytes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.resizing import device_of_doubles


def affine(x: Tensor, rows: list[list[Tensor]]) -> Tensor:
    """Resamples bilinearly, zeros outside; `rows` is the 2 x 3 inverse map in units of half an image."""
    theta = torch.stack([torch.stack([value.view(-1).expand(len(x)) for value in row], 1) for row in rows], 1)
    grid = F.affine_grid(theta.to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """By an angle in radians, about the middle."""
    ratio = x.shape[2] / x.shape[3]
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return affine(x, [[cos, sin * ratio, zero], [-sin / ratio, cos, zero]])


def shear_x(x: Tensor, slope: Tensor, corner: bool = False) -> Tensor:
    """Rows of a square image are moved in proportion to their distance from the middle, or from the upper edge."""
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return affine(x, [[one, slope, slope if corner else zero], [zero, one, zero]])


def shear_y(x: Tensor, slope: Tensor, corner: bool = False) -> Tensor:
    """Columns likewise, the corner being on the left."""
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return affine(x, [[one, zero, zero], [slope, one, slope if corner else zero]])


def translate_x(x: Tensor, shift: Tensor) -> Tensor:
    """`shift` in units of half an image."""
    one, zero = torch.ones_like(shift), torch.zeros_like(shift)
    return affine(x, [[one, zero, shift], [zero, one, zero]])


def translate_y(x: Tensor, shift: Tensor) -> Tensor:
    one, zero = torch.ones_like(shift), torch.zeros_like(shift)
    return affine(x, [[one, zero, zero], [zero, one, shift]])


def blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Pillow's enhancement: above 1 away from `other`, below 1 towards it."""
    return (other + (x - other) * factor).clamp(0, 1)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    return blend(x, torch.zeros_like(x), factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    return blend(x, grey(x).mean((2, 3), keepdim=True), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Of colour images; a grey image is its own grey version."""
    return blend(x, grey(x), factor)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    return blend(x, smooth(x), factor)


def grey(x: Tensor) -> Tensor:
    """B C H W -> B 1 H W, by ITU-R 601-2 for three channels."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    red, green, blue = x.split(1, 1)
    return red * 0.299 + green * 0.587 + blue * 0.114


def smooth(x: Tensor) -> Tensor:
    """Pillow's SMOOTH kernel inside, the image itself on the border."""
    if min(x.shape[2:]) < 3:
        return x
    kernel = x.new_full((x.shape[1], 1, 3, 3), 1 / 13)
    kernel[:, :, 1, 1] = 5 / 13
    return F.pad(F.conv2d(x, kernel, groups=x.shape[1]) - x[:, :, 1:-1, 1:-1], (1, 1, 1, 1)) + x


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue by a share of the colour circle, saturation and value kept; grey pixels stay.

    A channel is v - v s max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6 with n = 5, 3, 1 for red, green, blue.
    """
    if x.shape[1] != 3:
        return x
    red, green, blue = x.unbind(1)  # B H W
    value, low = x.amax(1), x.amin(1)
    span = value - low
    safe = span.where(span > 0, torch.ones_like(span))
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = sixths + 6 * shift[:, :, 0]
    offsets = torch.arange(5, 0, -2, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    k = (offsets + turned[:, None]).remainder(6)
    share = torch.minimum(k, 4 - k).clamp(0, 1)
    return (value[:, None] - span[:, None] * share).clamp(0, 1)


def autocontrast(x: Tensor) -> Tensor:
    """Each channel stretched to 0..1."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


def equalize(x: Tensor) -> Tensor:
    """Histogram equalisation of each channel, as Pillow's ImageOps.equalize."""
    levels = (x * 255).round().long().flatten(2)  # B C HW
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.long, device=x.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    last = counts.gather(2, levels.amax(2, keepdim=True))
    step = (counts.sum(2, keepdim=True) - last) // 255
    table = ((counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)).clamp(0, 255)
    equalised = table.gather(2, levels).view(x.shape).to(x.dtype) / 255
    return torch.where((step > 0).view(*x.shape[:2], 1, 1), equalised, x)


def posterize(x: Tensor, dropped: Tensor) -> Tensor:
    """Drops a whole number of each byte's lowest bits."""
    step = 2.0**dropped
    return ((x * 255).round() / step).floor() * step / 255


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Inverts what is at the threshold or brighter."""
    return torch.where(x >= threshold, 1 - x, x)


def resized_windows(x: Tensor, window: Tensor, side: int) -> Tensor:
    """One window of each image, resized to side x side by one antialiased bilinear step.

    `window` is top, rows, left, columns of each image's, in pixels (4 B). The resizing is linear along each axis, so
    that it is two products with matrices of weights, and windows of every size go through together.
    """
    top, rows, left, columns = window.to(device_of_doubles(window.device))
    down, across = _resizing(top, rows, x.shape[2], side), _resizing(left, columns, x.shape[3], side)
    return torch.einsum("brh,bchw,bsw->bcrs", down.to(x), x, across.to(x))


def _resizing(start: Tensor, count: Tensor, length: int, side: int) -> Tensor:
    """Weights of the `length` pixels of an axis for each of `side` places, B x side x length (float64).

    A triangle around the place's middle, as wide as the step between places and one pixel at least, cut off at the
    window's ends and adding up to 1: Pillow's bilinear filter, which is torch's antialiased one.
    """
    scale = (count.double() / side).view(-1, 1, 1)  # pixels a place
    middle = (torch.arange(side, dtype=torch.float64, device=start.device).view(1, -1, 1) + 0.5) * scale
    within = torch.arange(length, dtype=torch.float64, device=start.device) - start.double().view(-1, 1, 1)
    weights = (1 - ((within + 0.5 - middle) / scale.clamp(min=1)).abs()).clamp(min=0)
    weights = weights * ((within >= 0) & (within < count.view(-1, 1, 1)))
    return weights / weights.sum(2, keepdim=True)
