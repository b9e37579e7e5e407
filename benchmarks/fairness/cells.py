"""What is trained: a cell is one network with one seed, for so many steps at one learning rate, in a plain loop.

The loop is not the suite's: the same for ours and for theirs, a few lines that anybody can check. AdamW at a constant
rate, no augmentation, weight decay 0.01 on everything, batches of an order that the seed decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import models
from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.subsets import draw_subset
from benchmarks.fairness.references import PAIRS, Pair
from models.linear import set_linear
from models.network import Network

RATE = 1e-3
OTHER_RATES = (3e-3, 3e-4)
LONG = 2000  # steps
OURS = "ours"  # followed by how its weights start: "ours library"
_TWO = (f"{OURS} library", f"{OURS} literature")
WAYS = {  # the families that have two ways to start, tried against each other; of a ResNet torch's own as well
    "resnet": (*_TWO, f"{OURS} torch"),
    **dict.fromkeys(("vit", "mixer", "conv_stem_vit", "resnet_vit", "conv_attention", "ladder"), _TWO),
}
MAIN = ("resnet", "vit")  # whose ways are tried at other rates and budgets, too


@dataclass(frozen=True)
class Setting:
    """What all cells share."""

    data: Dataset
    size: str
    pixels: int
    train_size: int
    test_images: int
    batch: int
    quick: bool  # two steps a training: tries the script, measures nothing


@dataclass(frozen=True)
class PairedRun:
    """One training. `network` is a reference of the family by its name, or "ours" and how its weights start."""

    family: str
    network: str
    steps: int
    rate: float
    seed: int

    @property
    def key(self) -> str:
        return f"{self.family}|{self.network}|{self.steps}|{self.rate:g}|{self.seed}"


def plan(seeds: int) -> list[PairedRun]:
    """Every cell, the most telling first: a stop leaves whole tables behind."""
    first = [(family, name, PAIRS[family].steps, RATE) for family, names in WAYS.items() for name in names]
    main = [cell for cell in first if cell[0] in MAIN]
    beside = [(one.family, name, one.steps, RATE) for one in PAIRS.values() for name in beside_each_other(one)]
    rates = [(family, name, steps, rate) for rate in OTHER_RATES for family, name, steps, _ in main]
    long = [(family, name, LONG, rate) for rate in (RATE, *OTHER_RATES) for family, name, _, _ in main]
    more = [(one.family, name, one.steps, RATE) for one in PAIRS.values() for name in one.references]
    wanted = dict.fromkeys([*first, *beside, *rates, *long, *more])
    return [PairedRun(*one, seed) for one in wanted for seed in range(seeds)]


def beside_each_other(pair: Pair) -> tuple[str, ...]:
    """Ours, by the way in which its library starts it, and the reference that decides, if there is one."""
    return (f"{OURS} library", *list(pair.references)[:1])


def build(cell: PairedRun, setting: Setting) -> nn.Module:
    pair, classes, channels = PAIRS[cell.family], setting.data.classes, setting.data.channels
    side = pair.pixels or setting.pixels
    options: dict[str, Any] = {"scale": setting.data.scale, **pair.options}
    if cell.network.startswith(f"{OURS} "):
        network: Network = models.create_model(
            cell.family,
            image_size=side,
            in_channels=channels,
            num_classes=classes,
            size=setting.size,
            seed=cell.seed,
            initial=cell.network.removeprefix(f"{OURS} "),
            **options,
        )
        network.set_attention("fused")
        return network
    dims: dict[str, Any] = dict(models.resolve_options(cell.family, size=setting.size, options=options))
    torch.manual_seed(cell.seed)
    return pair.references[cell.network]({**dims, "image_size": side, "in_channels": channels, "num_classes": classes})


def prepared(pixels: NDArray[np.uint8], side: int, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 N C H W -> normalised float N C side side."""
    images = (torch.from_numpy(np.array(pixels)).float() / 255 - mean) / std
    if images.shape[-1] == side:
        return images
    return nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def train(cell: PairedRun, setting: Setting, images: Images) -> dict[str, float]:
    """Accuracies on test and training images after the last step, and its loss."""
    chosen = draw_subset(images.train_labels, setting.data.classes, cell.seed, setting.train_size, 0).train
    whole, test_images = images.array("train"), images.array("test")
    raw = torch.from_numpy(np.array(whole[chosen])).float() / 255
    mean, std = raw.mean((0, 2, 3), keepdim=True), raw.std((0, 2, 3), keepdim=True)
    side = PAIRS[cell.family].pixels or setting.pixels
    x, y = prepared(whole[chosen], side, mean, std), torch.from_numpy(images.train_labels[chosen])
    test = evenly(len(test_images), setting.test_images)
    network = build(cell, setting).to(memory_format=torch.channels_last)
    set_linear(network, "onednn")
    optimizer = torch.optim.AdamW(network.parameters(), lr=cell.rate, fused=True)
    network.train()
    torch.manual_seed(cell.seed)  # of dropout, where there is any
    order = batches(len(x), setting.batch, cell.seed)
    loss = torch.tensor(float("nan"))
    for _ in range(2 if setting.quick else cell.steps):
        batch = next(order)
        loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    return {
        "test_accuracy": accuracy(
            network, prepared(test_images[test], side, mean, std), torch.from_numpy(images.test_labels[test])
        ),
        "train_accuracy": accuracy(network, x[: setting.test_images], y[: setting.test_images]),
        "train_loss": loss.item(),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def evenly(count: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` of `count` indices, evenly spaced: of images sorted by class, as many of each."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))


def batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Indices of whole batches, in a new order each epoch, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count // size * size].split(size)


@torch.no_grad()
def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    right = sum(int((network(a).argmax(1) == b).sum()) for a, b in zip(x.split(250), y.split(250), strict=True))
    return right / len(y)
