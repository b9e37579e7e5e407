"""What each probe of benchmarks/plan/probes.py does to images, one function a probe, by its name.

Each takes images as they are in the data set (floating point, 0..1, B C H W with H = W), the value of its strength, and
`Scene`; it returns images of the same shape. What is drawn for an image depends on SEED, the probe and the image's
number in the data set alone: the same for all models, runs and strengths, however many images are changed together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from benchmarks import randomness
from benchmarks.plan.probes import drop_grid

SEED = 0


@dataclass(frozen=True)
class Scene:
    """`numbers` (B,) are the images' numbers in the data set; `mean` and `deviation` (C,) those of the run's training
    images, counted from 0 to 1."""

    numbers: NDArray[np.int64]
    mean: Tensor
    deviation: Tensor


def shift(x: Tensor, pixels: float, scene: Scene) -> Tensor:
    """Along one of the four diagonals, drawn; what leaves at an edge comes in at the other, so nothing is lost."""
    down, right = _signs("shift down", scene), _signs("shift right", scene)
    step = int(pixels)
    moved = [image.roll((step * int(v), step * int(h)), (1, 2)) for image, v, h in zip(x, down, right, strict=True)]
    return torch.stack(moved)


def rotation(x: Tensor, degrees: float, scene: Scene) -> Tensor:
    """About the middle, to a drawn side; into the corners come the edges, continued."""
    side = x.shape[-1]
    margin = side // 4 + 2  # (sqrt(2) - 1) / 2 of the side at most

    def turned(images: Tensor, sign: int) -> Tensor:
        wider = F.pad(images, [margin] * 4, mode="replicate")
        return tv.center_crop(tv.rotate(wider, sign * degrees, InterpolationMode.BILINEAR), [side, side])

    return _by_sign(x, _signs("rotation", scene), turned)


def scale(x: Tensor, factor: float, scene: Scene) -> Tensor:
    """About the middle, so that the margin leaves the image."""
    return tv.affine(x, 0, [0, 0], factor, [0, 0], InterpolationMode.BILINEAR)


def blur(x: Tensor, amount: float, scene: Scene) -> Tensor:
    """By a Gaussian whose deviation is `amount` thirty-seconds of the side, cut off at three of them; beyond the edges
    lies the image mirrored. As torchvision's `gaussian_blur`, but along one axis after the other: of large images its
    convolution in two dimensions takes more memory than there is."""
    side = x.shape[-1]
    sigma = amount * side / 32
    radius = min(int(np.ceil(3 * sigma)), side - 1)
    weights = torch.exp(-torch.arange(-radius, radius + 1, dtype=x.dtype).square() / (2 * sigma**2))
    mirrored = F.pad(torch.eye(side, dtype=x.dtype)[None], (radius, radius), mode="reflect")
    along = F.conv1d(mirrored.transpose(0, 1), (weights / weights.sum()).view(1, 1, -1))[:, 0]  # from, to
    return along.T @ x @ along


def noise(x: Tensor, deviation: float, scene: Scene) -> Tensor:
    """Added to each pixel and channel, and cut off at black and white."""
    return (x + deviation * _normal("noise", x, scene)).clamp(0, 1)


def brightness(x: Tensor, change: float, scene: Scene) -> Tensor:
    """All values times 1 - change or 1 + change, which is drawn; cut off at white."""
    return _by_sign(
        x, _signs("brightness", scene), lambda images, sign: tv.adjust_brightness(images, 1 + sign * change)
    )


def contrast(x: Tensor, share: float, scene: Scene) -> Tensor:
    """Towards the mean brightness of the image itself."""
    return tv.adjust_contrast(x, share)


def occlusion(x: Tensor, share: float, scene: Scene) -> Tensor:
    """A square of the training images' mean at a drawn place, wholly inside the image."""
    side = max(1, round(share * x.shape[-1]))
    top, left = (
        (_uniforms(f"occlusion {axis}", scene) * (x.shape[-1] - side + 1)).astype(int) for axis in ("top", "left")
    )
    covered = x.clone()
    for image, y, z in zip(covered, top, left, strict=True):
        image[:, y : y + side, z : z + side] = _like(scene.mean, x)[0]
    return covered


def patch_shuffle(x: Tensor, grid: float, scene: Scene) -> Tensor:
    """grid x grid patches in an order drawn for each image."""
    patches = _cut(x, int(grid))  # B P C h w
    count = patches.shape[1]
    orders = [randomness.permutation(_stream("patch_shuffle", number), count) for number in scene.numbers]
    shuffled = [image[torch.from_numpy(order)] for image, order in zip(patches, orders, strict=True)]
    return _joined(torch.stack(shuffled), int(grid))


def patch_drop(x: Tensor, share: float, scene: Scene) -> Tensor:
    """So many of the patches of `drop_grid`, drawn for each image, are black: 0 before normalisation. What is gone at
    one strength is gone at every greater one."""
    grid = drop_grid(x.shape[-1])
    patches = _cut(x, grid).clone()
    gone = round(share * grid**2)
    for image, number in zip(patches, scene.numbers, strict=True):
        image[torch.from_numpy(randomness.permutation(_stream("patch_drop", number), grid**2)[:gone])] = 0
    return _joined(patches, grid)


def object_size(x: Tensor, share: float, scene: Scene) -> Tensor:
    """The image shrunk, in the middle of as many pixels as before, to which its edges are continued: the object is
    smaller, of fewer pixels, and the network sees as many tokens. `fewer_pixels` is what to hold it against."""
    small = _shrunk(x, share)
    before = (x.shape[-1] - small.shape[-1]) // 2
    after = x.shape[-1] - small.shape[-1] - before
    return F.pad(small, (before, after, before, after), mode="replicate")


def fewer_pixels(x: Tensor, share: float, scene: Scene) -> Tensor:
    """The image shrunk as by `object_size`, and enlarged to its old size: the object is as large as before, of as few
    pixels as there."""
    return _resized(_shrunk(x, share), x.shape[-1])


def noise_image(x: Tensor, value: float, scene: Scene) -> Tensor:
    """Nothing of the image: Gaussian noise with mean and deviation of the training images, channel by channel, and then
    cut off at black and white. So its own mean lies nearer to grey than theirs, and its own deviation is smaller."""
    drawn = _normal("noise_image", x, scene)
    return (_like(scene.mean, x) + _like(scene.deviation, x) * drawn).clamp(0, 1)


def permuted_labels(x: Tensor, value: float, scene: Scene) -> Tensor:
    """The image as it is; `benchmarks.training.probed.probing` gives it another's label."""
    return x


def _stream(purpose: str, number: int) -> int:
    """The random stream of one image."""
    return randomness.key(SEED, f"probe {purpose}", number)


def _uniforms(purpose: str, scene: Scene) -> NDArray[np.float64]:
    """A number in [0, 1) for each image (B,)."""
    return randomness.uniforms(randomness.key(SEED, f"probe {purpose}"), scene.numbers)


def _signs(purpose: str, scene: Scene) -> NDArray[np.int64]:
    """-1 or 1 for each image (B,)."""
    return np.where(_uniforms(purpose, scene) < 0.5, -1, 1)


def _normal(purpose: str, x: Tensor, scene: Scene) -> Tensor:
    """Standard normal numbers of the shape of `x` (Box and Muller, 1958)."""
    count = int(np.prod(x.shape[1:]))
    drawn = [randomness.uniforms(_stream(purpose, number), np.arange(2 * count)) for number in scene.numbers]
    first, second = np.stack(drawn).reshape(len(x), 2, count).transpose(1, 0, 2)
    normal = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)
    return torch.from_numpy(normal).view(x.shape).to(x.dtype)


def _by_sign(x: Tensor, signs: NDArray[np.int64], change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Images changed by `change(images, sign)`, those of each sign together."""
    changed = x.clone()
    for sign in (-1, 1):
        chosen = torch.from_numpy(signs == sign)
        if chosen.any():
            changed[chosen] = change(x[chosen], sign)
    return changed


def _like(values: Tensor, x: Tensor) -> Tensor:
    """A number for each channel (C,), to be combined with images: 1 C 1 1."""
    return values.to(x.dtype).view(1, -1, 1, 1)


def _cut(x: Tensor, grid: int) -> Tensor:
    """Images as their grid x grid patches, row by row: B P C h w."""
    batch, channels, side, _ = x.shape
    size = side // grid
    return x.view(batch, channels, grid, size, grid, size).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def _joined(patches: Tensor, grid: int) -> Tensor:
    """The images (B C H W) of such patches."""
    batch, _, channels, size, _ = patches.shape
    return (
        patches.view(batch, grid, grid, channels, size, size)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(batch, channels, grid * size, grid * size)
    )


def _shrunk(x: Tensor, share: float) -> Tensor:
    return _resized(x, max(1, round(share * x.shape[-1])))


def _resized(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
