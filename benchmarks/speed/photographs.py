"""Table `photographs`: how many photographs a second are decoded and cropped at random to 224 pixels, beside
torchvision's ImageFolder and torch's DataLoader with as many workers.

The photographs are made: of ImageNet's usual sizes, as JPEG, with grain, so that a file is as large as one of those.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.cores import cores
from benchmarks.data import decoders
from benchmarks.data.decoding import Decoding, show
from benchmarks.data.photographs import Photographs, Store, Views
from benchmarks.data.store import load_images
from benchmarks.plan.recipes import Recipe
from benchmarks.running.prepare import data_set
from benchmarks.speed.clock import Clock, Plan, Tell, Variant, summarise, take_turns
from benchmarks.speed.tables import Table, ratio_words
from benchmarks.training import augment

NAME, SIDE, SMALL, CLASSES = "folder:photographs", 224, 96, 4
SHAPES = ((500, 375), (375, 500), (500, 333), (500, 500), (400, 300), (640, 480))  # width and height
LOADER = "ImageFolder + DataLoader"


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times a few batches of each in turns, on all cores."""
    images, workers = max(40, 8 * batch), cores()
    tell(f"making {images} photographs")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        data = Path(folder)
        write(data / NAME.partition(":")[2], images)
        list(data_set(NAME, data))
        loaded = load_images(NAME, data)
        assert isinstance(loaded.train, Photographs)
        store, ways = loaded.train.store, list[tuple[str, Callable[[], int], str]]()
        ways.append((LOADER, opened.enter_context(loader(data / NAME.partition(":")[2], batch, workers)), LOADER))
        for kind, name in (("pillow", "Pillow"), ("torchcodec", "torchcodec")):
            whole = opened.enter_context(streamed(store, kind, batch, workers, as_numbers))
            ring = opened.enter_context(streamed(store, kind, batch, workers, lambda pixels: pixels))
            alone = opened.enter_context(without_a_ring(store, kind, batch, workers))
            loop = f"{name} in a loop"
            ways += [(f"shards, {name}", whole, LOADER), (loop, alone, loop), (f"the ring, {name}", ring, loop)]
        for side in (SIDE, SMALL):
            beside = f"Pillow, {side} px"
            for kind, name in (("pillow", beside), ("pillow-reduced", f"Pillow at reduced scale, {side} px")):
                ring = opened.enter_context(streamed(store, kind, batch, workers, lambda pixels: pixels, side))
                ways.append((name, ring, beside))
        turns = take_turns(
            [Variant(name, call, reference) for name, call, reference in ways], replace(plan, warmup=1), clock, tell
        )
        rows = []
        for name, _, reference in ways:
            summary = summarise(turns, name, reference)
            rate = "-" if summary.seconds is None else f"{images // batch * batch / summary.seconds:.0f}"
            rows.append([name, rate, reference, *ratio_words(summary)])
    return Table(
        name="photographs",
        about=f"Photographs of {', '.join(f'{wide}x{high}' for wide, high in SHAPES)} pixels, decoded and cropped at "
        f"random to {SIDE} pixels, in batches of {batch}, by {workers} processes; what is beside {LOADER} is made "
        f"float32 as there. The ratio is of time; the goal beside {LOADER} is {1 / 1.25:.2f}. In a loop: the same work "
        f"in as many processes that give nobody what they decode; the goal of the ring, which gives bytes, is "
        f"{1 / 0.95:.2f} beside it. At reduced scale (`--decoder pillow-reduced`) also to {SMALL} pixels, where more "
        f"windows have twice the pixels that are shown.",
        header=["way", "images a second", "beside", "time", "clean rounds"],
        rows=rows,
        turns=turns,
    )


def write(folder: Path, images: int) -> None:
    """Photographs in folders of classes."""
    for number in range(images):
        place = folder / f"class {number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        picture(number).save(place / f"{number:05d}.jpg", quality=90)


def picture(number: int) -> Image.Image:
    """Smooth shapes with grain; the same for a number."""
    draws, size = np.random.default_rng(number), SHAPES[number % len(SHAPES)]
    coarse = Image.fromarray(draws.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    return Image.fromarray((smooth + draws.integers(-10, 11, smooth.shape)).clip(0, 255).astype(np.uint8))


def request(store: Store, batch: int, number: int, pixels: int = SIDE) -> Views:
    """Random-resized crops of a batch of images in a drawn order."""
    draws = np.random.default_rng(number)
    which = draws.permutation(len(store))[:batch]
    height, width = store.index["size"][which].T
    found = augment.windows(draws.random((batch, augment.WINDOW_DRAWS)), height, width, Recipe(rrc_scale=0.08))
    top, left, rows, columns = (values.astype(np.int32) for values in found)
    side, zero = np.full_like(top, pixels), np.zeros_like(top)
    return Views(which, np.stack((left, top, columns, rows, side, side, zero, zero), 1), pixels)


def as_numbers(pixels: Any) -> Tensor:
    """What a network is given before it is normalised (B C H W)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255)


@contextmanager
def loader(folder: Path, batch: int, workers: int) -> Iterator[Callable[[], int]]:
    """torchvision's folder of images by torch's loader, whose workers stay from epoch to epoch."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, RandomResizedCrop, ToTensor

    images = ImageFolder(str(folder), Compose([RandomResizedCrop(SIDE), ToTensor()]))
    made = DataLoader(images, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True)

    def epoch() -> int:
        return sum(len(x) for x, _ in made)

    epoch()  # its workers are forked now: later they would hold open the pipes at whose end those of rings end
    yield epoch


@contextmanager
def streamed(
    store: Store, decoder: str, batch: int, workers: int, use: Callable[[Any], Any], pixels: int = SIDE
) -> Iterator[Callable[[], int]]:
    """As a run has its batches, of which each is used so; nothing is decoded ahead of what is timed, nor beyond it."""
    number, epoch = count(), len(store) // batch
    with Decoding(store, decoder, workers) as decoding:

        def batches() -> int:
            first = next(number) * epoch
            stream = decoding.stream(lambda one: request(store, batch, first + one, pixels), epoch, (batch, pixels))
            taken = sum(len(use(stream.take(one))) for one in range(epoch))
            stream.close()
            return taken

        yield batches


@contextmanager
def without_a_ring(store: Store, decoder: str, batch: int, workers: int) -> Iterator[Callable[[], int]]:
    """The same work in as many processes, each by itself with a share of each batch; nobody is given pixels."""
    number, epoch = count(), len(store) // batch
    with ProcessPoolExecutor(workers, get_context("forkserver")) as pool:

        def shares() -> int:
            first = [next(number) for _ in range(epoch)]
            work = [pool.submit(decode, store.folder, decoder, batch, one, part, workers)
                    for part in range(workers) for one in first]  # fmt: skip
            return sum(one.result() for one in work)

        yield shares


@lru_cache(maxsize=1)
def opened_store(folder: Path) -> Store:
    torch.set_num_threads(1)
    return Store(folder)


def decode(folder: Path, decoder: str, batch: int, number: int, part: int, parts: int) -> int:
    """One process' share of a batch. Returns its images."""
    store = opened_store(folder)
    views = request(store, batch, number).part(slice(part * batch // parts, (part + 1) * batch // parts))
    show(store, decoders.DECODERS[decoder], views, np.empty((len(views), SIDE, SIDE, 3), dtype=np.uint8))
    return len(views)
