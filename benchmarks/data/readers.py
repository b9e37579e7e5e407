"""How the files of each data set are read: torchvision's class wherever it has one, both parts as uint8 arrays.

Every reader takes (what is declared, the data folder, whether it may download) and returns `Images`. Only `inductive
prepare` lets them download; torchvision then checks the archives against its MD5 sums. Nothing is resized.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.data import folders
from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.decoders import BROKEN
from benchmarks.data.decoding import Decoding
from benchmarks.data.official import TINY_IMAGENET, TINY_IMAGENET_MD5
from benchmarks.data.photographs import Photographs, Store
from benchmarks.data.subsets import stratified_order
from benchmarks.errors import InductiveError

DIGITS_TEST = 597

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def _images(train: tuple[Any, Any], test: tuple[Any, Any]) -> Images:
    """Both parts from (N C H W, N) each, of any array type and layout in memory."""
    (x, y), (test_x, test_y) = (
        (np.ascontiguousarray(pixels, dtype=np.uint8), np.asarray(labels, dtype=np.int64))
        for pixels, labels in (train, test)
    )
    return Images(x, y, test_x, test_y)


def read_digits(spec: Dataset, data: Path, download: bool) -> Images:
    """scikit-learn's bundled digits (1,797 images of 8x8, values 0..16), with a test part fixed for all draws."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    order = stratified_order(labels, randomness.key(0, "digits test part"), 10, len(labels))
    test, train = np.sort(order[:DIGITS_TEST]), np.sort(order[DIGITS_TEST:])
    return Images(pixels[train], labels[train], pixels[test], labels[test])


def read_shuffled_digits(spec: Dataset, data: Path, download: bool) -> Images:
    """The digits, the labels of the training part dealt out anew, each as often as before. The test's are right."""
    images = read_digits(spec, data, download)
    order = randomness.permutation(randomness.key(0, "digits labels"), len(images.train_labels))
    return Images(images.train, images.train_labels[order], images.test, images.test_labels)


def read_mnist(spec: Dataset, data: Path, download: bool) -> Images:
    """MNIST and the sets in its format (idx files), by torchvision's class of the name declared."""
    from torchvision import datasets

    kind = getattr(datasets, spec.kind)
    parts = [kind(str(data), train=train, download=download) for train in (True, False)]
    return _images(*((part.data.numpy()[:, None], part.targets.numpy()) for part in parts))


def read_emnist_letters(spec: Dataset, data: Path, download: bool) -> Images:
    """EMNIST's letters. Its files hold every image transposed and labels 1..26: here they are upright and 0..25."""
    from torchvision.datasets import EMNIST

    parts = [EMNIST(str(data), split="letters", train=train, download=download) for train in (True, False)]
    return _images(*((part.data.numpy().swapaxes(1, 2)[:, None], part.targets.numpy() - 1) for part in parts))


def read_cifar(spec: Dataset, data: Path, download: bool) -> Images:
    """CIFAR-10 and CIFAR-100 (fine labels) by torchvision's classes, which check the files' MD5 sums."""
    from torchvision import datasets

    kind = getattr(datasets, spec.kind)
    parts = [kind(str(data), train=train, download=download) for train in (True, False)]
    return _images(*((part.data.transpose(0, 3, 1, 2), part.targets) for part in parts))


def read_svhn(spec: Dataset, data: Path, download: bool) -> Images:
    """SVHN's cropped digits, without its `extra` part; torchvision checks the MD5 sums and makes label 10 a 0."""
    from torchvision.datasets import SVHN

    parts = [SVHN(str(data / "SVHN"), split=split, download=download) for split in ("train", "test")]
    return _images(*((part.data, part.labels) for part in parts))


def read_stl10(spec: Dataset, data: Path, download: bool) -> Images:
    """STL-10's labelled images; torchvision checks the MD5 sums (of the unlabelled part, too)."""
    from torchvision.datasets import STL10

    parts = [STL10(str(data), split=split, download=download) for split in ("train", "test")]
    return _images(*((part.data, part.labels) for part in parts))


def read_tiny_imagenet(spec: Dataset, data: Path, download: bool) -> Images:
    """Tiny ImageNet as its archive unpacks. The labels of its test part were never published: `val` is tested on.

    torchvision 0.29 has no class for it, so ImageFolder reads train/WNID/images/*, and val_annotations.txt says what
    the images of val are; val/WNID/*, into which many sort them, is read as well.
    """
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.utils import download_and_extract_archive

    place = data / "tiny-imagenet-200"
    if download and not place.is_dir():
        download_and_extract_archive(TINY_IMAGENET, str(data), md5=TINY_IMAGENET_MD5)
    train = ImageFolder(str(place / "train"))
    annotations = place / "val" / "val_annotations.txt"
    if annotations.is_file():
        rows = [line.split("\t")[:2] for line in annotations.read_text(encoding="utf-8").splitlines() if line]
        test = [(str(place / "val" / "images" / name), train.class_to_idx[wnid]) for name, wnid in rows]
    else:
        test = ImageFolder(str(place / "val")).samples
    return _images(_decoded(train.samples, spec), _decoded(test, spec))


def read_folder(spec: Dataset, data: Path, download: bool) -> Images:
    """A tree of class folders by torchvision's ImageFolder, with its own test part or one made from it."""
    from torchvision.datasets import ImageFolder

    parts = [_decoded(ImageFolder(str(place)).samples, spec) for place in folders.parts(folders.place(spec.name, data))]
    if len(parts) == 2:
        return _images(*parts)
    pixels, labels = parts[0]
    train, test = folders.made_split(labels, spec.classes)
    return _images((pixels[train], labels[train]), (pixels[test], labels[test]))


def read_photographs(spec: Dataset, data: Path, download: bool) -> Images:
    """Photographs that are packed: none is decoded before it is asked for."""
    store = Store(folders.store_path(spec.name, data))
    labels, train = store.index["label"].astype(np.int64), sum(spec.train_counts)
    whole = Photographs(store, np.arange(len(store)), Decoding(store))
    rows, others = np.split(whole.rows, [train])
    return Images(
        *(whole.select(rows), labels[rows]),
        *(whole.select(others), labels[others]),
        digests=store.manifest.digests,
        official=store.manifest.official,
    )


def _decoded(samples: Sequence[tuple[str, int]], spec: Dataset) -> Part:
    """Image files as one array: grey or RGB as declared (a palette is resolved, transparency dropped)."""
    from PIL import Image

    side = spec.native_resolution
    pixels = np.empty((len(samples), spec.channels, side, side), dtype=np.uint8)
    for number, (path, _) in enumerate(samples):
        try:
            with Image.open(path) as image:
                if image.size != (side, side):
                    raise ValueError(f"has {image.size[0]}x{image.size[1]} pixels, the others {side}x{side}")
                one = np.asarray(image.convert("L" if spec.channels == 1 else "RGB"))
        except BROKEN as error:
            raise InductiveError(f"{spec.name}: {path}: {error}; mend or remove it") from error
        pixels[number] = one.reshape(side, side, spec.channels).transpose(2, 0, 1)
    return pixels, np.array([label for _, label in samples], dtype=np.int64)
