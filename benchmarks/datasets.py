"""The data sets: what is known of each without loading it, and its images as uint8 arrays.

Planning, ids and refusals use `dataset(name)` alone; `load_images` is the only function that touches files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.subsets import stratified_order
from models.hints import did_you_mean

DEFAULT_DATA = Path("data")


@dataclass(frozen=True)
class Images:
    """Both parts, at native resolution: images uint8 (N, C, H, W), labels int64 (N,)."""

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before it is loaded.

    `native_resolution` is in pixels (square); `scale` is the reference scale that decides patch, stem and window;
    `train_counts` are the images of each class in the training part. `flips` says whether a mirrored image keeps
    its meaning. `interpolation_only` marks sets so small that another test resolution shows no new detail.
    """

    name: str
    title: str
    channels: int
    native_resolution: int
    scale: int
    train_counts: tuple[int, ...]
    test_count: int
    flips: bool
    interpolation_only: bool
    source: str
    read: Callable[[Path], Images]
    folder: str = ""  # under the data folder; '' for a bundled set
    fetch: str = ""  # Python that downloads it into DIR

    @property
    def classes(self) -> int:
        return len(self.train_counts)


DIGITS_TEST = 597


def _read_digits(data: Path) -> Images:
    """scikit-learn's bundled digits (1,797 images of 8x8, values 0..16), with a test part fixed for all draws."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    order = stratified_order(labels, randomness.key(0, "digits test part"), 10, len(labels))
    test, train = np.sort(order[:DIGITS_TEST]), np.sort(order[DIGITS_TEST:])
    return Images(pixels[train], labels[train], pixels[test], labels[test])


def _read_cifar10(data: Path) -> Images:
    """CIFAR-10 by torchvision's class, which checks the files' MD5 sums; nothing is downloaded here."""
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(str(data), train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise InductiveError(f"cifar10: the files under {data} are damaged or incomplete ({error})") from error
    train, test = ((part.data.transpose(0, 3, 1, 2), np.array(part.targets, dtype=np.int64)) for part in parts)
    return Images(np.ascontiguousarray(train[0]), train[1], np.ascontiguousarray(test[0]), test[1])


DATASETS = {
    spec.name: spec
    for spec in (
        Dataset(
            name="digits",
            title="handwritten digits (scikit-learn, 8x8, grey)",
            channels=1,
            native_resolution=8,
            scale=8,
            train_counts=(119, 122, 118, 122, 121, 121, 121, 120, 116, 120),
            test_count=DIGITS_TEST,
            flips=False,
            interpolation_only=True,
            source="bundled with scikit-learn (UCI ML hand-written digits, test part)",
            read=_read_digits,
        ),
        Dataset(
            name="cifar10",
            title="CIFAR-10 (32x32, colour)",
            channels=3,
            native_resolution=32,
            scale=32,
            train_counts=(5000,) * 10,
            test_count=10_000,
            flips=True,
            interpolation_only=False,
            source="torchvision.datasets.CIFAR10, 170 MB to download",
            read=_read_cifar10,
            folder="cifar-10-batches-py",
            fetch="from torchvision.datasets import CIFAR10; CIFAR10('DIR', download=True)",
        ),
    )
}


def dataset(name: str) -> Dataset:
    """The data set of this name. Raises ConfigError with the nearest match."""
    if name not in DATASETS:
        raise ConfigError(
            "dataset",
            f"unknown data set '{name}'; there are {', '.join(DATASETS)}{did_you_mean(name, DATASETS)}",
        )
    return DATASETS[name]


def check_there(name: str, data: Path) -> None:
    """Raises InductiveError, with the path looked at and the two ways to get it, when a data set is not there."""
    spec = dataset(name)
    if spec.folder and not (data / spec.folder).is_dir():
        raise InductiveError(
            f"{name}: not found at {data / spec.folder} ({spec.source}). Either download it there: "
            f'python -c "{spec.fetch.replace("DIR", str(data))}"; or name the folder that holds {spec.folder}: '
            f"--data DIR or INDUCTIVE_DATA=DIR"
        )


@lru_cache(maxsize=2)
def load_images(name: str, data: Path) -> Images:
    """All images of a data set, from the folder `data`. Raises InductiveError naming the path looked at."""
    check_there(name, data)
    images = dataset(name).read(data)
    counts = tuple(np.bincount(images.train_labels, minlength=dataset(name).classes).tolist())
    if counts != dataset(name).train_counts or len(images.test) != dataset(name).test_count:
        raise InductiveError(f"{name}: the files under {data} hold other images than the suite expects: {counts}")
    return images
