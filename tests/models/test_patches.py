"""Patches of another size: FlexiViT's defining property, on every model that has patches, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.checks.contract import Subject, random_images, random_network, randomise
from models.trained.patches import at_patch, patch_embedding, resized_embedding
from models.vit import PatchEmbedding


def small(name: str) -> Subject:
    """A family at its smallest, for images of 8 pixels."""
    family = models.family(name)
    options = {"scale": 8} if "scale" in {option.name for option in family.options} else {}
    return Subject(name, options, size="pico" if "pico" in family.sizes else family.sizes[0])


PATCHED = [name for name in models.model_names() if "patch_size" in {o.name for o in models.family(name).options}]


def resize_map(old: int, new: int) -> Tensor:
    """B of a patch of one channel, new*new x old*old, from torch's own resizing of every unit image."""
    units = torch.eye(old * old, dtype=torch.float64).view(-1, 1, old, old)
    resized = nn.functional.interpolate(units, size=(new, new), mode="bilinear", antialias=True)
    return resized.flatten(1).T


def by_patches(images: Tensor, old: int, new: int) -> Tensor:
    """Images whose every patch is resized by itself: B C n*old n*old -> B C n*new n*new."""
    batch, channels, side, _ = images.shape
    n = side // old
    cut = images.view(batch, channels, n, old, n, old).permute(0, 1, 2, 4, 3, 5).reshape(-1, old * old)
    resized = (cut @ resize_map(old, new).T).view(batch, channels, n, n, new, new)
    return resized.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, n * new, n * new)


def embedding(channels: int, patch: int) -> PatchEmbedding:
    made = PatchEmbedding(channels, 12, patch).double()
    randomise(made)
    return made


@pytest.mark.parametrize(("old", "new"), [(2, 3), (2, 4), (4, 6), (4, 7), (4, 16), (1, 3), (16, 24), (4, 4)])
def test_the_tokens_of_enlarged_patches_are_those_of_the_patches(old: int, new: int) -> None:
    """The defining property (FlexiViT, equation 2): <B x, w'> = <x, w> for every patch x, in float64 to 1e-10."""
    embed = embedding(3, old)
    images = random_images(2, 3, 3 * old, 3 * old)
    expected = embed(images)
    tokens = resized_embedding(embed, new)(by_patches(images, old, new))
    torch.testing.assert_close(tokens, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("old", "new"), [(4, 2), (4, 3), (8, 4), (4, 6)])
def test_the_kernel_is_the_pseudo_inverse_of_the_whole_map(old: int, new: int) -> None:
    """numpy's pseudo-inverse of B^T, written out for all pixels of a patch: also where no kernel can be exact."""
    import numpy as np

    embed = embedding(2, old)
    inverse = np.linalg.pinv(resize_map(old, new).numpy().T)
    expected = embed.weight.detach().numpy().reshape(-1, old * old) @ inverse.T
    found = resized_embedding(embed, new).weight.detach().numpy().reshape(-1, new * new)
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("name", PATCHED)
def test_every_model_with_patches(name: str) -> None:
    """Twice the training resolution with twice the patch, upsampled patch by patch: the logits of the original."""
    subject = small(name)
    network, images = random_network(subject), subject.batch(2)
    patch = int(str(models.resolve_options(name, size=subject.size, options=subject.options)["patch_size"]))
    assert models.abilities(name, size=subject.size, options=subject.options, train_resolution=8).patch == patch
    with torch.no_grad():
        expected, grid, macs = network(images), network.grid(8, 8), network.describe(8, 8).macs
        with at_patch(network, 16, 8):
            assert network.grid(16, 16) == grid
            assert network.describe(16, 16).macs > macs  # the embedding's alone: as many tokens, of more pixels
            found = network(by_patches(images, patch, 2 * patch))
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["vit", "mixer", "convnext"])
def test_afterwards_the_network_is_as_it_was(name: str) -> None:
    """The same parameters, names and logits, also when what was measured failed."""
    network = random_network(Subject(name, {"scale": 8, "patch_size": 2}))
    images = random_images(2, 1, 8, 8)
    before, logits = dict(network.named_parameters()), network(images)
    with pytest.raises(KeyError), at_patch(network, 12, 8):
        raise KeyError
    after = dict(network.named_parameters())
    assert list(after) == list(before)
    assert all(after[key] is before[key] for key in before)
    assert torch.equal(network(images), logits)


def test_refusals_name_the_nearest() -> None:
    """A patch must be whole, and there must be one. Reference: 2 x 10 / 8 = 2.5, 2 x 8 / 8 = 2, 2 x 12 / 8 = 3."""
    network = random_network(Subject("vit", {"scale": 8, "patch_size": 2}))
    said = r"image 10 needs patches of 2 x 10 / 8 pixels, which is not whole: nearest 8, 12"
    with pytest.raises(models.ModelError, match=said), at_patch(network, 10, 8):
        pass
    resnet = random_network(Subject("resnet", {"scale": 8}))
    with pytest.raises(models.ModelError, match="ResNet does not cut its images"), at_patch(resnet, 16, 8):
        pass
    assert patch_embedding(resnet) is None
    assert models.check_patch(4, 48, 32) == 6


@pytest.mark.parametrize("name", models.model_names())
def test_abilities_are_the_networks_own(name: str) -> None:
    """Reference: the modules of a network with memory."""
    subject = small(name)
    network = subject.build()
    found = models.abilities(name, size=subject.size, options=subject.options, train_resolution=8)
    assert (found.patch is not None) == (name in PATCHED)
    assert found.batch_norm == any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("position", "text", "expected"),
    [
        ("learned_1d", "interpolate", "interpolate:interpolation=bicubic_antialias"),
        ("learned_1d", "interpolate:interpolation=bilinear", "interpolate:interpolation=bilinear"),
        ("learned_1d", "interpolate:interpolation=bilinea", None),
        ("learned_1d", "recompute", None),
        ("learned_2d", "interpolate", "interpolate"),
        ("learned_2d", "interpolate:interpolation=bilinear", None),
        ("rope_axial", "rescale_base", "rescale_base"),
        ("rope_axial", "rescale_base:base=700.0", "rescale_base:base=700"),
        ("rope_axial", "rescale_base:base=7e+2", "rescale_base:base=700"),
        ("rope_axial", "rescale_base:base=0", None),
        ("rope_axial", "rescale_base:base=1.2.3", None),
        ("rope_axial", "rescale_base:bass=700", None),
        ("rope_axial", "rescale_base:700", None),
        ("alibi_2d", "rescale:factor=0.25", "rescale:factor=0.25"),
        ("none", "interpolate", None),
    ],
)
def test_a_way_in_the_models_own_words(position: str, text: str, expected: str | None) -> None:
    """Reference: the declarations; and what is found, the network itself takes."""
    options: dict[str, Any] = {"position": position, "scale": 8}
    assert models.own_way("vit", options=options, text=text) == expected
    if expected is not None:
        way, choices = models.parse_way(expected)
        Subject("vit", options).build().carry(way, **choices)
