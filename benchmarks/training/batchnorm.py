"""BatchNorm's statistics for images of another kind: estimated again from a run's own training images.

Normalising by the statistics of training blames an architecture for what its BatchNorm does at another resolution
("Fixing the train-test resolution discrepancy", Touvron et al., 2019). One pass over all training images, in order and
in batches of equal size (to one image): in the pass every BatchNorm normalises by its batch, and what it sees adds up
to mean and variance over all images and places. So the first BatchNorm of a network gets exactly these, a later one
those behind batches that are normalised by themselves.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.training.memory import release
from benchmarks.training.pixels import Pixels
from models.resizing import device_of_doubles

BATCH = 256  # images a batch at most; part of what is measured, so no setting
LEAST = 4  # images a batch where memory is short
ELEMENTS = 2**22  # of a feature map on a GPU that are in double precision at once: 32 MB

Statistics = list[tuple[Tensor, Tensor]]  # running mean and variance of each BatchNorm, in the network's order


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def _at_once(x: Tensor) -> int:
    """Images of a feature map (B, C, ...) that are summed at once: on a CPU all, which decides the last bits there."""
    return len(x) if x.device.type == "cpu" else max(1, ELEMENTS // x[0].numel())


class _Moments:
    """Sums over images and places of each channel, in double precision, taken by a forward hook."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, torch.tensor(0.0), torch.tensor(0.0)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for part in inputs[0].detach().split(_at_once(inputs[0])):
            x = part.to(device_of_doubles(part.device)).double().transpose(0, 1).flatten(1)  # C, B x places
            self.count += x.shape[1]
            self.sum = self.sum.to(x.device) + x.sum(1)
            self.squares = self.squares.to(x.device) + x.square().sum(1)

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance, as BatchNorm keeps them."""
        mean = self.sum / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0)
        return mean, variance * self.count / max(self.count - 1, 1)


@torch.no_grad()
def estimate(
    model: nn.Module,
    pixels: Pixels,
    transform: Callable[[Tensor], Tensor],
    channels_last: bool,
    between: Callable[[], object] = lambda: None,
) -> Statistics:
    """Statistics of every BatchNorm over uint8 images (N, C, H, W) put through `transform`; the model stays as it is,
    also where `between`, which is called between batches, raises to give up.

    Where the device has no room, its cache is emptied, and then the batch halved, which the log says, as layers behind
    others depend on it. Raises torch.OutOfMemoryError when four images are too many, and ValueError where BatchNorm
    cannot be in a batch: one image, and one place in it.
    """
    batch, emptied = BATCH, False
    while True:
        try:
            return _estimated(model, pixels, transform, channels_last, batch, between)
        except torch.OutOfMemoryError:
            if emptied and batch == LEAST:
                raise
        release()  # here, where the error no longer holds the tensors of its traceback
        if emptied:
            batch = max(LEAST, batch // 2)
            words = "no memory to estimate BatchNorm over %d images at once: from the first again with %d"
            logging.getLogger("inductive").warning(words, 2 * batch, batch)
        emptied = True


def _estimated(
    model: nn.Module,
    pixels: Pixels,
    transform: Callable[[Tensor], Tensor],
    channels_last: bool,
    batch: int,
    between: Callable[[], object],
) -> Statistics:
    """`estimate` with so many images a batch at most."""
    norms = batch_norms(model)
    kept = [{name: value.clone() for name, value in norm.named_buffers(recurse=False)} for norm in norms]
    moments = [_Moments() for _ in norms]
    hooks = [norm.register_forward_pre_hook(moment) for norm, moment in zip(norms, moments, strict=True)]
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    for norm in norms:
        norm.train()
    try:
        for number, part in enumerate(np.array_split(np.arange(len(pixels)), math.ceil(len(pixels) / batch))):
            if number:
                between()
            x = transform(torch.from_numpy(pixels[part]).to(device).float() / 255)
            model(x.contiguous(memory_format=torch.channels_last) if channels_last else x)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, buffers in zip(norms, kept, strict=True):
            for name, value in buffers.items():
                norm.get_buffer(name).copy_(value)
        model.train(training)
    return [moment.statistics for moment in moments]


@contextmanager
def with_statistics(model: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Within the context every BatchNorm of the model normalises by these; afterwards by its own again."""
    norms = batch_norms(model)
    kept = _set(norms, statistics)
    try:
        yield
    finally:
        _set(norms, kept)


@torch.no_grad()
def _set(norms: list[_BatchNorm], statistics: Statistics) -> Statistics:
    """Writes statistics into the layers, and returns those that were there."""
    before = []
    for norm, (mean, variance) in zip(norms, statistics, strict=True):
        here_mean, here_variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        before.append((here_mean.clone(), here_variance.clone()))
        here_mean.copy_(mean)
        here_variance.copy_(variance)
    return before
