"""timm's training script, by timm's package: its data sets, loaders, optimiser, schedule, meters and checkpoints.

The script, `train.py`, is not part of the package; the steps here are its steps, in its order, on a CPU: a summary, a
measurement on the test images and a checkpoint after each epoch. What differs from its defaults is what the comparison
needs: no label smoothing (0.1 there), whole test images (`crop_pct` 1, where it would enlarge them and show 87.5 %),
the schedule moved by updates (by epochs there), a warm-up that comes before the cosine (inside it there), and crop with
padding in place of random-resized crop, mirroring and colour jitter.
"""

import time
from pathlib import Path
from typing import Any

import torch
from timm.data import create_dataset, create_loader  # type: ignore[attr-defined]
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.scheduler import create_scheduler_v2  # type: ignore[attr-defined]
from timm.utils import (  # type: ignore[attr-defined]
    AverageMeter,
    CheckpointSaver,
    accuracy,
    dispatch_clip_grad,
    random_seed,
    update_summary,
)
from torch import nn
from torchvision import transforms

from benchmarks.peers.alike import MOMENTS, Trained, keep_subset, timm_network
from benchmarks.plan.run import Run

LOGGED = 50  # updates between two looks at the loss: `--log-interval`


def train(run: Run, data: Path, folder: Path) -> Trained:
    """Trains the network of a run as timm has it, keeps checkpoints and a summary in a folder."""
    recipe = run.recipe
    random_seed(run.seed, 0)
    network = timm_network(run)
    optimizer = create_optimizer_v2(
        network, opt="adamw", lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=recipe.betas
    )
    loader, test = loaders(run, data)
    scheduler, epochs = schedule_of(optimizer, run, len(loader))
    loss_of = nn.CrossEntropyLoss()
    saver = CheckpointSaver(network, optimizer, checkpoint_dir=str(folder), recovery_dir=str(folder))
    updates, seconds, top1 = 0, 0.0, 0.0
    for epoch in range(epochs):
        began, losses = time.process_time(), AverageMeter()
        network.train()
        for number, (images, labels) in enumerate(loader):
            loss = loss_of(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            dispatch_clip_grad(network.parameters(), value=recipe.clip, mode="norm")
            optimizer.step()
            updates += 1
            if number % LOGGED == 0 or number == len(loader) - 1:
                losses.update(loss.item(), images.size(0))
            scheduler.step_update(num_updates=updates, metric=losses.avg)
            if updates == run.steps:
                break
        seconds += time.process_time() - began
        measured = validate(network, test, loss_of)
        scheduler.step(epoch + 1, measured["top1"])
        update_summary(epoch, {"loss": losses.avg}, measured, str(folder / "summary.csv"))
        saver.save_checkpoint(epoch, metric=measured["top1"])
        top1 = measured["top1"]
    return Trained(top1 / 100, updates, seconds)


def loaders(run: Run, data: Path) -> tuple[Any, Any]:
    """timm's loaders of training and test images, which collate bytes and normalise batches."""
    recipe, side = run.recipe, run.resolution
    parts = [create_dataset(f"torch/{run.dataset}", root=str(data), split=split, download=True)
             for split in ("train", "validation")]  # fmt: skip
    keep_subset(parts[0], run)
    mean, deviation = MOMENTS[run.dataset]
    shared: dict[str, Any] = {
        "input_size": (run.data.channels, side, side),
        "batch_size": recipe.batch_size,
        "mean": mean,
        "std": deviation,
        "num_workers": 0,
        "device": torch.device("cpu"),
    }
    augmented: dict[str, Any] = {"hflip": 0.5 if recipe.flip and run.data.flips else 0.0, "color_jitter": None}
    loader = create_loader(parts[0], is_training=True, **augmented, **shared)
    made = [transforms.RandomCrop(side, recipe.crop_padding)] if recipe.crop_padding else []
    parts[0].transform.transforms[:1] = made  # in place of random-resized crop, as DeiT has it for small images
    return loader, create_loader(parts[1], is_training=False, crop_pct=1.0, **shared)


def schedule_of(optimizer: torch.optim.Optimizer, run: Run, updates: int) -> tuple[Any, int]:
    """timm's cosine schedule of a run whose epochs have so many updates, and how many epochs it takes."""
    warmup = run.recipe.warmup * run.steps / updates
    epochs: dict[str, Any] = {"num_epochs": run.steps / updates - warmup, "warmup_epochs": warmup}  # parts of them, too
    scheduler, _ = create_scheduler_v2(
        optimizer, sched="cosine", warmup_prefix=True, step_on_epochs=False, updates_per_epoch=updates, **epochs
    )
    return scheduler, -(-run.steps // updates)


@torch.no_grad()
def validate(network: nn.Module, loader: Any, loss_of: nn.Module) -> dict[str, float]:
    """Loss and accuracy (%, of the first and the first five classes) on test images, by timm's meters."""
    meters = {name: AverageMeter() for name in ("loss", "top1", "top5")}
    network.eval()
    for images, labels in loader:
        logits = network(images)
        found = (loss_of(logits, labels), *accuracy(logits, labels, topk=(1, 5)))
        for meter, value in zip(meters.values(), found, strict=True):
            meter.update(value.item(), images.size(0))
    return {name: meter.avg for name, meter in meters.items()}
