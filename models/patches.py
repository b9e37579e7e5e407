"""Another patch size for a trained network: its patch kernel is resized, and everything behind it stays as it is.

"FlexiViT" (Beyer et al., 2023, section 3.4, "PI-resize"): let B be the linear map that resizes a patch of p x p pixels
to q x q. The kernel w' = pinv(B^T) w gives a patch resized by B the token that w gives the patch itself: exactly where
q >= p, as nearly as the lost pixels allow (over patches of white noise, in the mean square) where q < p.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.grids import check_patch
from models.network import Network
from models.options import ModelError
from models.vit import PatchEmbedding


def resize_matrix(old: int, new: int) -> Tensor:
    """The map b that resizes a line of `old` pixels to `new`, new x old, in double precision: bilinear, antialiased,
    as images are resized; B = b (x) b resizes a patch."""
    lines = torch.eye(old, dtype=torch.float64, device="cpu")[None, None]  # in each row one pixel: 1 1 old old
    return nn.functional.interpolate(lines, size=(old, new), mode="bilinear", antialias=True)[0, 0].T


@torch.no_grad()
def resized_embedding(embedding: PatchEmbedding, size: int) -> PatchEmbedding:
    """A copy of an embedding for patches of `size` x `size` pixels, its kernel resized by the pseudo-inverse."""
    weight = embedding.weight  # D C p p
    inverse = torch.linalg.pinv(resize_matrix(embedding.patch, size).T)  # size p: pinv(B^T) = inverse (x) inverse
    kernel = torch.einsum("qi,dcij,rj->dcqr", inverse, weight.double().cpu(), inverse)
    copy = PatchEmbedding(embedding.in_channels, embedding.out_channels, size).to(weight)
    copy.weight.copy_(kernel)
    if embedding.bias is not None and copy.bias is not None:
        copy.bias.copy_(embedding.bias)
    return copy.train(embedding.training).requires_grad_(False)


def patch_embedding(network: Network) -> tuple[str, PatchEmbedding] | None:
    """The name and module of the one embedding that cuts a network's images into patches; None where there is none."""
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, PatchEmbedding)]
    return found[0] if len(found) == 1 else None


@contextmanager
def at_patch(network: Network, resolution: int, train_resolution: int) -> Iterator[None]:
    """Within the context, patches grow with images of `resolution`, which have as many tokens as those of training.

    A network that resizes its images resizes them to that resolution. Raises ModelError for a network without patches,
    and where they would not be whole.
    """
    found = patch_embedding(network)
    if found is None:
        raise ModelError(f"{type(network).__name__} does not cut its images into patches by models.vit.PatchEmbedding")
    name, embedding = found
    other = resized_embedding(embedding, check_patch(embedding.patch, resolution, train_resolution))
    try:
        network.set_submodule(name, other)
        if network.resizes_input:
            network.image_size = resolution  # type: ignore[assignment]  # a number, no module
        yield
    finally:
        network.set_submodule(name, embedding)
        if network.resizes_input:
            network.image_size = train_resolution  # type: ignore[assignment]
