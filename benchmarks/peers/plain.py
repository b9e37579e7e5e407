"""A plain PyTorch loop: torchvision's data set and transforms, a DataLoader, AdamW, a schedule of torch's.

What an engineer would write in an afternoon, with the numbers of the run's recipe: in float32, weights and activations
as torch lays them out, the images made one by one in the process that trains.
"""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.peers.alike import MOMENTS, Trained, keep_subset
from benchmarks.plan.run import Run
from benchmarks.training.training import model_of
from models.network import Network

Loader = DataLoader[tuple[Tensor, Tensor]]


def train(run: Run, data: Path, folder: Path) -> Trained:
    """Trains the network of a run, keeps its weights in a folder, and measures it on the test images."""
    torch.manual_seed(run.seed)
    network = model_of(run)
    loader, test = loaders(run, data)
    optimizer = optimizer_of(network, run)
    schedule = schedule_of(optimizer, run)
    step, began = 0, time.process_time()
    network.train()
    while step < run.steps:
        for images, labels in loader:
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), run.recipe.clip)
            optimizer.step()
            schedule.step()
            step += 1
            if step == run.steps:
                break
    seconds = time.process_time() - began
    torch.save(network.state_dict(), folder / "weights.pt")
    return Trained(accuracy(network, test), step, seconds)


def loaders(run: Run, data: Path) -> tuple[Loader, Loader]:
    """Batches of training images, augmented, in a new order each epoch; and of test images."""
    recipe = run.recipe
    shown = [transforms.ToTensor(), transforms.Normalize(*MOMENTS[run.dataset])]
    changed: list[object] = [transforms.RandomCrop(run.resolution, recipe.crop_padding)] if recipe.crop_padding else []
    if recipe.flip and run.data.flips:
        changed.append(transforms.RandomHorizontalFlip())
    make = getattr(datasets, run.data.kind)
    train_part = make(data, train=True, transform=transforms.Compose([*changed, *shown]), download=True)
    test_part = make(data, train=False, transform=transforms.Compose(shown), download=True)
    keep_subset(train_part, run)
    return DataLoader(train_part, recipe.batch_size, shuffle=True), DataLoader(test_part, 256)


def optimizer_of(network: Network, run: Run) -> torch.optim.Optimizer:
    """AdamW, without decay of what the network spares: biases, norms and positions."""
    spared, recipe = network.no_decay(), run.recipe
    named = list(network.named_parameters())
    groups = [
        {"params": [p for name, p in named if name not in spared], "weight_decay": recipe.weight_decay},
        {"params": [p for name, p in named if name in spared], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas)


def schedule_of(optimizer: torch.optim.Optimizer, run: Run) -> LRScheduler:
    """A straight line up to the peak, then half a cosine down to 0, step by step."""
    first = round(run.recipe.warmup * run.steps)
    cosine = CosineAnnealingLR(optimizer, run.steps - first)
    if not first:
        return cosine
    return SequentialLR(optimizer, [LinearLR(optimizer, 1 / first, total_iters=first - 1), cosine], [first])


@torch.no_grad()
def accuracy(network: nn.Module, loader: Loader) -> float:
    """The share of images whose class a network names."""
    network.eval()
    right = [int((network(images).argmax(1) == labels).sum()) for images, labels in loader]
    return sum(right) / len(loader.dataset)  # type: ignore[arg-type]
