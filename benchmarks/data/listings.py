"""Which files the published data sets of photographs consist of: by torchvision's classes, without decoding any.

Every function takes (name, data folder, whether it may download) and returns a `Listing`. Classes are as torchvision
numbers them, images in its order.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import folders, official
from benchmarks.data.dataset import Published
from benchmarks.data.shards import Listing
from benchmarks.errors import InductiveError

IMAGENET100 = Path(__file__).parent / "imagenet100.txt"
IMAGENET100_SHA256 = "79f3f1552ccc478ce24bd934b4573625db584ddc1f4643ae23c994a94cb11397"
DOWNLOADED = "verified: downloaded and unpacked by torchvision, which compared the MD5 sum"

IMAGENET_ARCHIVES = {  # what torchvision makes of each, where it does not lie there already
    "train": "ILSVRC2012_img_train.tar",
    "val": "ILSVRC2012_img_val.tar",
    "meta.bin": "ILSVRC2012_devkit_t12.tar.gz",
}


def listing_of(published: Published, data: Path, download: bool) -> Listing:
    """The files of a published data set. Raises InductiveError where they are not there, or other ones than it has."""
    module, _, function = published.listing.partition(":")
    lister: Callable[[str, Path, bool], Listing] = getattr(import_module(module), function)
    missing = [data / file for file in published.files if not (data / file).exists()]
    if missing and not download:
        raise InductiveError(f"{published.name}: not found at {missing[0]} ({published.source})")
    try:
        found = lister(published.name, data, download)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise InductiveError(
            f"{published.name}: could not be downloaded, or its files under {data} are damaged or incomplete "
            f"({type(error).__name__}: {error}); it is read from {', '.join(published.files)} ({published.source})"
        ) from error
    counts = (found.train, len(found.files) - found.train)
    if counts != (published.images, published.test):
        raise InductiveError(
            f"{published.name}: the files under {found.folder} are {counts[0]:,} and {counts[1]:,} images instead of "
            f"{published.images:,} and {published.test:,}. A part of a data set is a folder of your own: folder:PATH"
        )
    return found


def imagenet(name: str, data: Path, download: bool) -> Listing:
    """ImageNet as torchvision unpacks it: train/WNID and val/WNID. Where only the official archives are there, its
    class unpacks them, and compares their MD5 sums; nobody may download them without an account."""
    from torchvision.datasets import ImageNet

    place = data / "imagenet"
    words = f"{official.UNVERIFIED}: its files have no known sums"
    if not all((place / part).is_dir() for part in ("train", "val")):
        if missing := [file for made, file in IMAGENET_ARCHIVES.items() if not (place / made).exists()
                       and not (place / file).exists()]:  # fmt: skip
            raise InductiveError(
                f"{name}: {place} has neither train/ and val/, with a folder of images for each WordNet id, nor the "
                f"official archives, which are downloaded by hand from image-net.org: {', '.join(missing)}"
            )
        for part in ("train", "val"):
            ImageNet(str(place), split=part)
        words = "verified: unpacked by torchvision, which compared the MD5 sums of the archives"
    return _of_folders(name, place, None, words)


def imagenet100(name: str, data: Path, download: bool) -> Listing:
    """The hundred classes of ImageNet that CMC took (Tian, Krishnan and Isola, arXiv:1906.05849)."""
    classes = imagenet100_classes()
    if not all((data / "imagenet" / part).is_dir() for part in ("train", "val")):
        imagenet(name, data, download)
    return _of_folders(name, data / "imagenet", classes, f"{official.UNVERIFIED}: its files have no known sums")


def imagenet100_classes() -> tuple[str, ...]:
    """Their WordNet ids, sorted. Raises InductiveError for a list that is not the one of its SHA-256."""
    text = IMAGENET100.read_bytes()
    if hashlib.sha256(text).hexdigest() != IMAGENET100_SHA256:
        raise InductiveError(f"{IMAGENET100}: is not the list whose SHA-256 is {IMAGENET100_SHA256}")
    return tuple(sorted(text.decode().split()))


def imagenette(name: str, data: Path, download: bool) -> Listing:
    """Ten classes of ImageNet that are easily told apart; its `val` is the test part."""
    from torchvision.datasets import Imagenette

    parts = [Imagenette(str(data), split=split, download=download and not (data / "imagenette2").exists())
             for split in ("train", "val")]  # fmt: skip
    samples = [[(Path(path), label) for path, label in part._samples] for part in parts]
    classes = tuple(names[0] for names in parts[0].classes)
    files = [path for part in samples for path, _ in part]
    words = official.by_tar({data / "imagenette2.tgz": parts[0]._md5}, data, files)
    return _listed(name, data / "imagenette2", classes, samples, len(samples[0]), "val", words)


def caltech101(name: str, data: Path, download: bool) -> Listing:
    """Caltech 101 without its class of clutter. It has no split: a test part is made, as of a folder."""
    from torchvision.datasets import Caltech101

    place = data / "caltech101" / "101_ObjectCategories"
    there = place.is_dir()
    whole = Caltech101(str(data), download=download and not there)
    samples = [
        (place / whole.categories[label] / f"image_{number:04d}.jpg", label)
        for number, label in zip(whole.index, whole.y, strict=True)
    ]
    words = f"{official.UNVERIFIED}: its files have no known sums" if there else DOWNLOADED
    return _listed(name, place, tuple(whole.categories), [samples], None, "", words)


def pets(name: str, data: Path, download: bool) -> Listing:
    """Oxford-IIIT Pet by its 37 breeds: trained on `trainval`, tested on `test`."""
    from torchvision.datasets import OxfordIIITPet

    place = data / "oxford-iiit-pet"
    download = download and not (place / "annotations").is_dir()
    parts = [OxfordIIITPet(str(data), split=split, download=download) for split in ("trainval", "test")]
    samples = [list(zip(part._images, part._labels, strict=True)) for part in parts]
    files = [path for part in samples for path, _ in part]
    files += [place / "annotations" / f"{split}.txt" for split in ("trainval", "test")]
    sums = {place / Path(url).name: md5 for url, md5 in OxfordIIITPet._RESOURCES}
    words = official.by_tar(sums, place, files)
    return _listed(name, place, tuple(parts[0].classes), samples, len(samples[0]), "test", words)


def flowers102(name: str, data: Path, download: bool) -> Listing:
    """Oxford 102 Flower: trained on `train` and `val` (1,020 images each), tested on `test`. torchvision compares the
    MD5 sums of labels and split."""
    from torchvision.datasets import Flowers102

    place = data / "flowers-102"
    download = download and not (place / "jpg").is_dir()
    parts = [Flowers102(str(data), split=split, download=download) for split in ("train", "val", "test")]
    samples = [list(zip(part._image_files, part._labels, strict=True)) for part in parts]
    archive, md5 = Flowers102._file_dict["image"]
    words = official.by_tar({place / archive: md5}, place, [path for part in samples for path, _ in part])
    train = len(samples[0]) + len(samples[1])
    return _listed(name, place, tuple(Flowers102.classes), samples, train, "test", words)


def food101(name: str, data: Path, download: bool) -> Listing:
    """Food-101, its training part with the noise that it was published with."""
    from torchvision.datasets import Food101

    place = data / "food-101"
    download = download and not (place / "images").is_dir()
    parts = [Food101(str(data), split=split, download=download) for split in ("train", "test")]
    samples = [list(zip(part._image_files, part._labels, strict=True)) for part in parts]
    files = [path for part in samples for path, _ in part]
    files += [place / "meta" / f"{split}.json" for split in ("train", "test")]
    words = official.by_tar({data / Path(Food101._URL).name: Food101._MD5}, data, files)
    return _listed(name, place, tuple(parts[0].classes), samples, len(samples[0]), "test", words)


def _listed(
    name: str,
    folder: Path,
    classes: tuple[str, ...],
    parts: Sequence[Sequence[tuple[Any, int]]],
    train: int | None,
    test_part: str,
    words: str,
) -> Listing:
    samples = [sample for part in parts for sample in part]
    labels = np.array([label for _, label in samples], dtype=np.int64)
    return folders.listed(name, folder, classes, [path for path, _ in samples], labels, train, test_part, words)


def _of_folders(name: str, place: Path, classes: Sequence[str] | None, words: str) -> Listing:
    """train/ and val/ in ImageFolder's order; of some classes alone where these are given."""
    found = [folders.samples(place / part, classes) for part in ("train", "val")]
    names = tuple(dict.fromkeys(label for label, _ in found[0]))
    if odd := {label for label, _ in found[1]} ^ set(names):
        raise InductiveError(f"{name}: {min(odd)} is in one of train/ and val/ under {place}, not in both")
    numbers = {label: number for number, label in enumerate(names)}
    parts = [[(path, numbers[label]) for label, path in part] for part in found]
    return _listed(name, place, names, parts, len(parts[0]), "val", words)
