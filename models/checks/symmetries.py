"""What a network cannot tell apart: changes of an image's layout that leave its logits as they are.

The image is cut into patches, whose contents stay as they are; only their places change. So a symmetry found here
belongs to how the network treats position, not to its filters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from models.checks.contract import random_images
from models.network import Network

EQUAL = 1e-8  # largest difference of logits that counts as none, in double precision


def layouts(side: int) -> Mapping[str, Tensor]:
    """For a square of side x side patches: which patch comes to each place, by the name of the change."""
    places = torch.arange(side**2).view(side, side)
    shuffled = torch.randperm(side**2, generator=torch.Generator().manual_seed(4)).view(side, side)
    return {
        "left-right": places.flip(1),
        "up-down": places.flip(0),
        "transposition": places.T,
        "rotation": places.rot90(),
        "cyclic shift": places.roll(1, 1),
        "permutation": shuffled,
    }


def relaid(images: Tensor, places: Tensor, patch: int) -> Tensor:
    """Images B C H W with their patches at other places, `places` rows x columns."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    patches = images.view(batch, channels, rows, patch, columns, patch).permute(2, 4, 0, 1, 3, 5).flatten(0, 1)
    moved = patches[places.flatten()].view(rows, columns, batch, channels, patch, patch)
    return moved.permute(2, 3, 0, 4, 1, 5).reshape(images.shape)


@torch.no_grad()
def differences(network: Network, image_size: int, patch: int, seed: int = 0) -> Iterator[tuple[str, float]]:
    """Largest difference of the logits B K for each change of layout, by its name.

    Args: network: in double precision and evaluation mode. image_size, patch: pixels.
    """
    images = random_images(2, network.in_channels, image_size, image_size, seed=seed)
    logits = network(images)
    for name, places in layouts(image_size // patch).items():
        yield name, float((network(relaid(images, places, patch)) - logits).abs().max())


def symmetries(network: Network, image_size: int, patch: int) -> tuple[str, ...]:
    """The names of the changes of layout that a network does not notice."""
    return tuple(name for name, difference in differences(network, image_size, patch) if difference < EQUAL)
