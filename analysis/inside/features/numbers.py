"""What the features of a network's layers are like: arrays in, arrays out.

Shapes: B images of a batch, C channels (or width of tokens), H x W places of a map, P values of an image's features in
a layer, R pixels along an image's side, L layers.

A layer is what `forward_parts` names, but for probabilities of attention: embedding, block.i, stage.i, pooled.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.grids import Grid
from models.network import Network

Array = NDArray[np.float64]
BATCH = 64  # images at a time
LEAST = 4  # images of a batch that the unbiased estimator of HSIC needs
EXTRA = 8  # class and register tokens, at most
FLOOR = 1e-6  # below every amplitude, so that a channel of zeros has a logarithm
EDGE = 1 - 0.9545  # of the largest gradient: less is outside the effective receptive field
RIDGE = 1e-3  # penalty of the probe, for features of variance 1


def layers(network: Network, images: Tensor) -> dict[str, Tensor]:
    """The features of images B C R R by layer, in the order of the pass: maps B C H W, tokens B N C, vectors B C."""
    _, parts = network.forward_parts(images)
    return {name: part for name, part in parts.items() if not name.startswith("attention.")}


def as_map(features: Tensor, grid: Grid) -> Tensor | None:
    """Features of a layer as a map B C H W, without class and register tokens, which stand before the others.

    None for features without places, B C. `grid`: rows and columns of the network's last layer; tokens that are no
    such grid with a few in front are those of a finer one: so many times finer, or a square."""
    if features.ndim != 3:
        return features if features.ndim == 4 else None
    count, (rows, columns) = features.shape[1], grid
    finer, side = math.isqrt(count // (rows * columns)), math.isqrt(count)
    if finer**2 * rows * columns == count:
        rows, columns = finer * rows, finer * columns
    elif not 0 <= count - rows * columns <= EXTRA and side**2 == count:
        rows, columns = side, side
    return features[:, count - rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))


def maps(network: Network, images: Tensor) -> dict[str, Tensor]:
    """The layers that have more than one place, as maps B C H W."""
    grid = network.grid(*images.shape[-2:])
    found = {name: as_map(features, grid) for name, features in layers(network, images).items()}
    return {name: features for name, features in found.items() if features is not None and features[0, 0].numel() > 1}


def batches(images: Tensor) -> tuple[Tensor, ...]:
    """Images B C R R, BATCH at a time; too few for HSIC are joined to those before."""
    rest = len(images) % BATCH
    ends = tuple(range(BATCH, len(images) - (rest if rest < LEAST else 0), BATCH))
    return images.tensor_split(ends)


# Likeness of layers


def centred_gram(features: Tensor) -> Tensor:
    """Inner products of the features of B images, B P or B ..., centred so that the mean of the products of two of them
    is an unbiased estimate: float64, B B, with a diagonal of zeros (Szekely and Rizzo, 2014, "U-centred")."""
    x = features.flatten(1).double()
    x = x - x.mean(dim=0)  # changes nothing but rounding
    gram = (x @ x.T).fill_diagonal_(0)
    count, sums = len(gram), gram.sum(dim=1)
    centred = gram - (sums[:, None] + sums) / (count - 2) + sums.sum() / ((count - 1) * (count - 2))
    return centred.fill_diagonal_(0)


def cka(pairs: Iterable[Sequence[Tensor]]) -> Array:
    """Linear centred kernel alignment of every two of L layers (Kornblith et al., 2019): L L, 1 for layers alike but
    for rotation and scale, about 0 for unrelated ones; NaN where a layer is the same for all images.

    `pairs`: batch by batch, the features of the same 4 images or more in each of the L layers, B P or B .... By the
    unbiased estimator of HSIC (Song et al., 2012), summed over batches before it is divided (Nguyen et al., 2021)."""
    total: Tensor | float = 0.0
    for features in pairs:
        grams = torch.stack([centred_gram(one).flatten() for one in features])
        total = total + grams @ grams.T / (len(features[0]) * (len(features[0]) - 3))
    products = torch.as_tensor(total).numpy()
    alone = np.sqrt(np.diag(products))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = products / np.outer(alone, alone)
    return found


def features_of(networks: Sequence[Network], images: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Batch by batch, the features of all layers of all networks, one after the other; each network has its own view
    of the same images, B C R R."""
    for parts in zip(*map(batches, images), strict=True):
        with torch.no_grad():
            yield [
                features
                for network, part in zip(networks, parts, strict=True)
                for features in layers(network, part).values()
            ]


# Frequencies


def log_amplitudes(features: Tensor) -> Array:
    """Mean logarithm of the Fourier amplitude of maps B C H H along the diagonal, over images and channels, less that
    at frequency 0: at frequencies 0, 1, ... H // 2 of both axes (Park and Kim, 2022, figure 2a)."""
    amplitude = (torch.fft.fft2(features.double()).abs() + FLOOR).log().mean(dim=(0, 1))
    diagonal = amplitude.diagonal()[: min(amplitude.shape) // 2 + 1]
    found: Array = (diagonal - diagonal[0]).numpy()
    return found


def spectra(network: Network, images: Tensor) -> dict[str, Array]:
    """`log_amplitudes` of every layer with places, over images B C R R."""
    total: dict[str, Array] = {}
    with torch.no_grad():
        for part in batches(images):
            for name, features in maps(network, part).items():
                total[name] = total.get(name, 0.0) + len(part) * log_amplitudes(features)
    return {name: one / len(images) for name, one in total.items()}


# Receptive fields


def receptive_fields(network: Network, images: Tensor, seed: int = 0) -> dict[str, Array]:
    """How much the middle feature of each layer depends on each pixel: R R, the root mean square over images B C R R
    of the Jacobian's norm over channels of feature and pixel (Luo et al., 2016, section 3).

    All channels of the feature at once: summed with random signs, whose squares have the Jacobian's as their mean
    (Hutchinson, 1989). With equal signs those of a normalised feature would cancel."""
    total: dict[str, Array] = {}
    generator = torch.Generator().manual_seed(seed)
    for part in images.split(BATCH // 4):
        pixels = part.clone().requires_grad_()
        found = maps(network, pixels)
        for name, features in found.items():
            rows, columns = features.shape[2:]
            middle = features[:, :, rows // 2, columns // 2]
            signs = torch.randint(0, 2, middle.shape, generator=generator) * 2.0 - 1
            [gradient] = torch.autograd.grad((middle * signs).sum(), pixels, retain_graph=True)
            total[name] = total.get(name, 0.0) + gradient.double().square().sum(dim=(0, 1)).numpy()
    return {name: np.sqrt(one / len(images)) for name, one in total.items()}


def field_size(field: Array) -> float:
    """Side in pixels of the square as large as an effective receptive field R R: the pixels on which the feature
    depends more than 4.55 % as much as on that on which it depends most (Luo et al., 2016, section 3)."""
    return math.sqrt(np.count_nonzero(field > EDGE * field.max()))


def core_size(field: Array) -> float:
    """Side in pixels of the square as large as the fewest pixels that hold half of a receptive field R R."""
    highest_first = np.sort(field, axis=None)[::-1].cumsum()
    return math.sqrt(1 + np.count_nonzero(highest_first < highest_first[-1] / 2))


# Places


@dataclass
class Moments:
    """Sums of products over samples, of which a regression is made: of (1, features, targets), in float64."""

    products: Any = 0.0
    features: int = 0

    def add(self, features: Tensor, targets: Tensor) -> None:
        """More samples: features M C, targets M T."""
        self.features = features.shape[1]
        joined = torch.cat([torch.ones(len(features), 1), features, targets], dim=1).double()
        self.products = self.products + joined.T @ joined

    def r2(self, held_out: "Moments", ridge: float = RIDGE) -> Array:
        """Share of the variance of each of the T targets of the held-out samples that ridge regression on these ones
        explains: T. Features have variance 1 and the penalty is `ridge` a sample, the intercept's is none."""
        count, inner = self.products[0, 0], slice(1, 1 + self.features)
        means = self.products[0, 1:] / count
        covariance = self.products[1:, 1:] / count - torch.outer(means, means)
        scale = covariance.diagonal()[: self.features].clamp_min(1e-12).sqrt()
        within = covariance[: self.features, : self.features] / torch.outer(scale, scale)
        across = covariance[: self.features, self.features :] / scale[:, None]
        slopes = torch.linalg.solve(within + ridge * torch.eye(self.features).double(), across) / scale[:, None]
        intercept = means[self.features :] - means[: self.features] @ slopes
        weights = torch.cat([intercept[None], slopes])  # 1+C T

        other = held_out.products
        explained, targets = other[: inner.stop, : inner.stop], slice(inner.stop, None)
        errors = (
            other[targets, targets].diagonal()
            - 2 * (weights * other[: inner.stop, targets]).sum(dim=0)
            + (weights * (explained @ weights)).sum(dim=0)
        )
        spread = other[targets, targets].diagonal() - other[0, targets] ** 2 / other[0, 0]
        found: Array = (1 - errors / spread).numpy()
        return found


def places(rows: int, columns: int) -> Tensor:
    """x and y of the places of a map in reading order, from -1 (left, top) to 1: H*W 2."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def decoded_places(found: Iterable[tuple[Mapping[str, Tensor], bool]]) -> dict[str, Array]:
    """How well a linear map reads x and y of a place from the features there, by layer: R^2 of both on held-out
    images (after Islam et al., 2020).

    `found`: batch by batch, maps B C H W by layer, and whether the batch is held out."""
    sums: dict[str, tuple[Moments, Moments]] = {}
    for layer, held_out in found:
        for name, features in layer.items():
            count, _, rows, columns = features.shape
            samples = features.permute(0, 2, 3, 1).flatten(0, 2).float()
            sums.setdefault(name, (Moments(), Moments()))[held_out].add(samples, places(rows, columns).repeat(count, 1))
    return {name: seen.r2(held_out) for name, (seen, held_out) in sums.items()}


def halves(network: Network, images: Tensor) -> Iterator[tuple[dict[str, Tensor], bool]]:
    """Maps of the first half of images B C R R, then of the second, which is held out, a batch at a time."""
    half = len(images) // 2
    with torch.no_grad():
        for part, held_out in ((images[:half], False), (images[half:], True)):
            for some in part.split(BATCH):
                yield maps(network, some), held_out
