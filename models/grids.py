"""Arithmetic of images and token grids (torch-free): which image sizes a patch can cut, and what is near otherwise."""

from __future__ import annotations

from models.options import ModelError

Grid = tuple[int, int]  # rows, columns


def nearest_multiples(length: int, step: int) -> str:
    """The multiples of `step` around `length` in words: `28, 32` for 30 and 4."""
    below = length // step * step
    return ", ".join(str(multiple) for multiple in (below, below + step) if multiple > 0)


def patch_grid(height: int, width: int, patch: int) -> Grid:
    """Rows and columns of the patches of `patch` x `patch` pixels in an image of height x width pixels.

    Raises ModelError, with the nearest sides that work, where the patch does not divide the image.
    """
    for length in (height, width):
        if length % patch or length <= 0:
            raise ModelError(
                f"image {length} is not divisible by patch {patch}: nearest {nearest_multiples(length, patch)}"
            )
    return height // patch, width // patch


def check_patch(patch: int, resolution: int, train_resolution: int) -> int:
    """The side in pixels of the patches that cut images of `resolution` into as many tokens as training images have.

    `patch` is the side in training, at `train_resolution`. Raises ModelError, with the nearest resolutions that work,
    where the side would not be a whole number.
    """
    if patch * resolution % train_resolution:
        near = nearest_multiples(resolution, train_resolution // patch)
        asked = f"{patch} x {resolution} / {train_resolution}"
        raise ModelError(f"image {resolution} needs patches of {asked} pixels, which is not whole: nearest {near}")
    return patch * resolution // train_resolution


def halvings(length: int, times: int) -> int:
    """Length after `times` 3x3 convolutions (or poolings) of stride 2 and padding 1: each halves it, rounding up."""
    for _ in range(times):
        length = (length + 1) // 2
    return length
