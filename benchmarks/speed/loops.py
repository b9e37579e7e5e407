"""The loops that ours is compared with, each in a process of its own: one that a user would write, and timm's.

`plain`: PIL images in a Dataset, torchvision's transforms one image at a time, a DataLoader with persistent workers
(two on a CPU, up to eight beside a GPU), float32, torch's AdamW as it comes, `loss.item()` at every step, all cores.
`timm`: its loader (as many workers; collation of uint8 and normalisation as its training script has them by default),
its optimiser factory, autocast to bfloat16 where asked for, `item()` every fiftieth step. Both crop and flip as the
recipe `plain` does, and train the networks of `cases.network_of`.
"""

import signal
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import timm.optim
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.loader import create_loader
from timm.data.transforms import ToNumpy
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.running.local import IGNORED, slots, warm_context
from benchmarks.speed.cases import CASES, RESOLUTION, Case, network_of, random_images
from benchmarks.speed.steps import CLASSES

KINDS = ("plain", "timm")
WORKERS, MOST_WORKERS = 2, 8  # where the CPU computes, and at most where a GPU does
LOGGED = 50  # steps between two looks at the loss in timm's script
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's, as everyone has them


class PilImages(Dataset[tuple[Any, int]]):
    """Images in memory as PIL has them, made again and again until there are `length`."""

    def __init__(self, transform: Any = None):
        self.images = [Image.fromarray(pixels) for pixels in random_images(2048, seed=0)]
        self.transform, self.length = transform, len(self.images)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.images[index % len(self.images)]
        return self.transform(image), index % CLASSES


class Loop:
    """One of the loops, in this process, over the networks it has trained before."""

    def __init__(self, kind: str, batch: int, device: str = "cpu"):
        torch.set_num_threads(slots("cpu"))
        self.kind, self.batch, self.device = kind, batch, device
        self.dataset = PilImages()
        make = plain_loader if kind == "plain" else timm_loader
        self.loader = make(self.dataset, batch, device)
        self.known: dict[str, tuple[nn.Module, torch.optim.Optimizer]] = {}

    def train(self, case: Case, precision: str, steps: int) -> None:
        """One epoch of `steps` batches."""
        if case.name not in self.known:
            network, make = network_of(case).train(), plain_optimizer if self.kind == "plain" else timm_optimizer
            self.known[case.name] = network.to(self.device), make(network.to(self.device))
        network, optimizer = self.known[case.name]
        self.dataset.length = steps * self.batch
        for step, (images, labels) in enumerate(self.loader):
            images, labels = images.to(self.device), labels.to(self.device)  # timm's are there already
            with torch.autocast(self.device, torch.bfloat16, enabled=precision == "bfloat16"):
                loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if self.kind == "plain" or step % LOGGED == 0:
                loss.item()
        if self.device == "cuda":
            torch.cuda.synchronize()


def workers(device: str) -> int:
    """Processes that load images: a user gives a GPU more of them."""
    return WORKERS if device == "cpu" else max(WORKERS, min(MOST_WORKERS, slots("cpu")))


def plain_loader(dataset: PilImages, batch: int, device: str) -> Iterable[tuple[Tensor, Tensor]]:
    dataset.transform = transforms.Compose(
        [
            transforms.RandomCrop(RESOLUTION, 4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    return DataLoader(dataset, batch, shuffle=True, num_workers=workers(device), persistent_workers=True)


def plain_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)


def timm_loader(dataset: PilImages, batch: int, device: str) -> Iterable[tuple[Tensor, Tensor]]:
    """timm's, with crop and flip in place of its ImageNet transforms, which also resize and jitter."""
    loader = create_loader(
        dataset,  # type: ignore[arg-type]  # anything with a `transform`
        input_size=(3, RESOLUTION, RESOLUTION),
        batch_size=batch,
        is_training=True,
        mean=MEAN,
        std=DEVIATION,
        num_workers=workers(device),
        device=torch.device(device),
    )
    dataset.transform = transforms.Compose(
        [transforms.RandomCrop(RESOLUTION, 4), transforms.RandomHorizontalFlip(), ToNumpy()]
    )
    return loader


def timm_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    make: Any = timm.optim  # its factory is not exported explicitly
    optimizer: torch.optim.Optimizer = make.create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.05)
    return optimizer


class Elsewhere:
    """A `Loop` in a process of its own, started when entered: it shares no threads and no settings with ours. It is
    forked from the server of our runs, which has set nothing that the loop does not set itself."""

    def __init__(self, kind: str, batch: int, device: str = "cpu"):
        self.kind = kind
        context = warm_context()
        self.pipe, self.theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.theirs, kind, batch, device))

    def __enter__(self) -> "Elsewhere":
        self.process.start()
        self.theirs.close()
        return self

    def train(self, case: Case, precision: str, steps: int) -> None:
        """As `Loop.train`; returns when it is done. Raises RuntimeError with what went wrong there."""
        self.pipe.send((CASES.index(case), precision, steps))
        try:
            failure = self.pipe.recv()
        except EOFError:
            failure = "its process died"
        if failure:
            raise RuntimeError(f"the loop `{self.kind}` failed on {case.name}: {failure}")

    def __exit__(self, *error: object) -> None:
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():  # in the middle of a turn that nobody waits for
            self.process.terminate()
            self.process.join()


def _serve(pipe: Connection, kind: str, batch: int, device: str) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)  # the server blocks them
    loop = Loop(kind, batch, device)
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            number, precision, steps = pipe.recv()
            try:
                loop.train(CASES[number], precision, steps)
            except Exception as error:  # noqa: BLE001  (told to the process that asked)
                pipe.send(f"{type(error).__name__}: {error}")
            else:
                pipe.send("")
