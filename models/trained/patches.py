"""Another patch size for a trained network: its patch kernel is resized, and everything behind it stays as it is.

"FlexiViT" (Beyer et al., 2023, section 3.4, "PI-resize"): let B be the linear map that resizes a patch of p x p pixels
to q x q. The kernel w' = pinv(B^T) w gives a patch resized by B the token that w gives the patch itself: exactly where
q >= p, as nearly as the lost pixels allow (over patches of white noise, in the mean square) where q < p.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.grids import check_patch
from models.libraries.adapter import Adapted
from models.network import Network
from models.options import ModelError
from models.resizing import interpolation_matrix
from models.vit import PatchEmbedding


def resize_matrix(old: int, new: int) -> Tensor:
    """The map that resizes a line of `old` pixels to `new`, of shape new x old, in double precision.

    Bilinear and antialiased, as images are resized; its Kronecker square resizes a patch.
    """
    return interpolation_matrix(old, new, "bilinear", True, False, torch.device("cpu"))


@torch.no_grad()
def resized_embedding(embedding: nn.Conv2d, size: int) -> nn.Conv2d:
    """A copy of an embedding with its kernel, D C p p, resized to patches of `size` x `size` pixels.

    By the pseudo-inverse of the module's docstring.
    """
    weight = embedding.weight  # D C p p
    inverse = torch.linalg.pinv(resize_matrix(weight.shape[2], size).T)  # size p: pinv(B^T) = inverse (x) inverse
    kernel = torch.einsum("qi,dcij,rj->dcqr", inverse, weight.double().cpu(), inverse)
    other = copy.deepcopy(embedding)
    other.weight = nn.Parameter(kernel.to(weight))
    other.kernel_size = other.stride = (size, size)
    if isinstance(other, PatchEmbedding):
        other.patch = size
    return other.requires_grad_(False)


def patch_embedding(network: Network) -> tuple[str, nn.Conv2d] | None:
    """The name and module of the one convolution that cuts a network's images into patches; None where there is none.

    Its kernel is its stride. For a ready-made network the adapter names it.
    """
    if isinstance(network, Adapted):
        return network.patch_embedding()
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, PatchEmbedding)]
    return found[0] if len(found) == 1 else None


@contextmanager
def at_patch(network: Network, resolution: int, train_resolution: int) -> Iterator[None]:
    """Within the context patches grow with images of `resolution`, so that these have as many tokens as in training.

    Raises ModelError for a network without patches, and where their side would not be a whole number of pixels.
    """
    found = patch_embedding(network)
    if found is None:
        name = network.full_name if isinstance(network, Adapted) else type(network).__name__
        raise ModelError(f"{name} does not cut its images into patches by one convolution")
    name, embedding = found
    size = check_patch(embedding.weight.shape[2], resolution, train_resolution)
    other = resized_embedding(embedding, size)
    with network.made_for(resolution, size):
        try:
            network.set_submodule(name, other)
            yield
        finally:
            network.set_submodule(name, embedding)
