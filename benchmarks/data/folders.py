"""Data sets of the user's own, `folder:PATH`: an index of the tree declares them, without torch.

PATH is taken from the data folder. It holds a folder of images for each class; or `train/` and `test/` (or `val/`),
each with those. Where there is no test part, one is made: every fifth image of a fixed stratified order.
"""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.data.dataset import FOLDER, Dataset, Places
from benchmarks.data.subsets import stratified_order
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.files import read_json, write_json
from models.catalogue.sizes import SCALES

FORMAT = 1
STORE = ".decoded"  # under the data folder: what is derived from the data sets, and may be deleted
COPIES = ".datasets"  # under the runs folder: the indices that its records were made with
TEST_SHARE = 0.2
SHOWN = 20  # names in a sentence
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as ImageFolder has them
GREY, COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "CMYK", "YCbCr")  # PIL's modes of 8 bits a channel


@dataclass(frozen=True)
class Index:
    """What a tree holds. `fingerprint` is of every file's name, size and time, `times` are of its folders (ns)."""

    name: str
    classes: tuple[str, ...]
    channels: int
    pixels: int
    train_counts: tuple[int, ...]
    test_count: int
    split: str
    fingerprint: str
    times: dict[str, int]
    format: int = FORMAT

    def dataset(self) -> Dataset:
        """The data set it declares. Mirrored images are allowed: only the user knows (`recipe.flip = false`)."""
        colour = "grey" if self.channels == 1 else "colour"
        path = self.name.removeprefix(FOLDER)
        return Dataset(
            name=self.name,
            title=f"images of {path} ({self.pixels}x{self.pixels}, {colour}; {self.split})",
            channels=self.channels,
            native_resolution=self.pixels,
            scale=min(SCALES, key=lambda known: abs(math.log(known / self.pixels))),
            train_counts=self.train_counts,
            test_count=self.test_count,
            flips=True,
            reader="benchmarks.data.readers:read_folder",
            reference=f"a folder of images, {self.split}",
            kind="ImageFolder",
            files=(path,),
        )


@lru_cache(maxsize=64)
def declared(name: str, places: Places) -> Dataset:
    """The data set `folder:PATH`. Raises ConfigError saying where it was looked for."""
    return index_of(name, places).dataset()


def index_of(name: str, places: Places) -> Index:
    """The index of `folder:PATH`: of its tree, or a kept one where that is gone. Raises ConfigError as `declared`."""
    data, runs = places.data, places.runs
    if data is not None and place(name, data).is_dir():
        return current_index(name, data)
    copies = [index_path(name, data)] if data is not None else []
    copies += [runs / COPIES / f"{safe(name)}.json"] if runs is not None else []
    for path in copies:  # decoded and then removed, or a report on a machine without the data
        if path.exists():
            return _read(path, name)
    if data is None:
        raise ConfigError("dataset", f"'{name}': there is no index of it at {copies[0] if copies else 'any place'}")
    raise ConfigError(
        "dataset",
        f"'{name}': there is no folder {place(name, data)}. PATH is taken from the data folder, which --data DIR or "
        f"INDUCTIVE_DATA=DIR names; it holds a folder of images a class, or train/ and test/ (or val/) with those",
    )


def place(name: str, data: Path) -> Path:
    """The tree of `folder:PATH`."""
    path = name.removeprefix(FOLDER)
    if not path.strip("./"):
        raise ConfigError("dataset", f"'{name}' names no folder: write {FOLDER}PATH, PATH being under the data folder")
    return data / path


def safe(name: str) -> str:
    """A data set's name as a file name, one to one."""
    return quote(name, safe=" ")


def index_path(name: str, data: Path) -> Path:
    return data / STORE / f"{safe(name)}.index.json"


def current_index(name: str, data: Path, anew: bool = False) -> Index:
    """The index of a tree: the one kept while no folder of the tree has changed since, or one made now and kept."""
    path = index_path(name, data)
    if path.exists() and not anew:
        index = _read(path, name)
        if index.times == _times(place(name, data)):
            return index
    index = make_index(name, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(index))
    return index


def keep_copy(name: str, data: Path, runs: Path) -> None:
    """Keeps the index under the runs folder, so that a report needs records alone."""
    path = runs / COPIES / f"{safe(name)}.json"
    if not path.exists() and index_path(name, data).exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, read_json(index_path(name, data)))


def _read(path: Path, name: str) -> Index:
    values: dict[str, Any] = read_json(path)
    try:
        if values["format"] != FORMAT or values["name"] != name:
            raise ValueError(f"format {values['format']}, of {values['name']}")
        return Index(**values | {key: tuple(values[key]) for key in ("classes", "train_counts")})
    except (KeyError, TypeError, ValueError) as error:
        raise InductiveError(f"{path}: is no index of {name} that this version reads ({error}); remove it") from error


def parts(folder: Path) -> tuple[Path, ...]:
    """(train, test) where the tree has its own split, else the one folder whose subfolders are the classes."""
    own = [folder / part for part in ("test", "val") if (folder / part).is_dir()]
    if not (folder / "train").is_dir():
        return (folder,)
    return (folder / "train", own[0]) if own else (folder / "train",)


def made_split(labels: NDArray[np.int64], classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, test) indices into ImageFolder's order (class by class, file names sorted), each ascending.

    The test part is the first 20 % of one stratified order that depends on nothing but the class counts.
    """
    count = int(len(labels) * TEST_SHARE)
    order = stratified_order(labels, randomness.key(0, "folder test part"), classes, len(labels))
    return np.sort(order[count:]), np.sort(order[:count])


def make_index(name: str, data: Path) -> Index:
    """Looks at every image's header. Raises InductiveError naming the first file that is not like the others."""
    folder = place(name, data)
    places = parts(folder)
    found = [_samples(one) for one in places]
    classes = tuple(dict.fromkeys(label for label, _ in found[0]))
    for one, other in zip(places[1:], found[1:], strict=True):
        theirs = {label for label, _ in other}
        if odd := sorted(theirs ^ set(classes)):
            raise InductiveError(
                f"{name}: {places[0]} and {one} must have the same classes; {odd[0]} is in one of them"
            )
    files = [path for samples in found for _, path in samples]
    pixels, channels = _format(name, files)
    labels = [np.array([classes.index(label) for label, _ in samples], dtype=np.int64) for samples in found]
    if len(labels) == 2:
        split = f"its own {places[1].name} part"
    else:
        split = f"{TEST_SHARE:.0%} of it taken as test part"
        train, test = made_split(labels[0], len(classes))
        labels = [labels[0][train], labels[0][test]]
    counts = [np.bincount(one, minlength=len(classes)) for one in labels]
    if missing := [label for label, *own in zip(classes, *counts, strict=True) if not all(own)]:
        raise InductiveError(f"{name}: class {missing[0]} has too few images to be in the training and the test part")
    if len(classes) < 2:
        raise InductiveError(f"{name}: {places[0]} has one class, {classes[0]}; there must be two at least")
    return Index(
        name=name,
        classes=classes,
        channels=channels,
        pixels=pixels,
        train_counts=tuple(counts[0].tolist()),
        test_count=len(labels[1]),
        split=split,
        fingerprint=fingerprint(folder, files),
        times=_times(folder),
    )


def fingerprint(folder: Path, files: list[Path]) -> str:
    """SHA-256 of the names, sizes and times of change of a tree's files."""
    lines = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def image_files(name: str, data: Path) -> list[Path]:
    """Every image of a tree, part by part and class by class. Raises InductiveError for a class without images."""
    return [path for part in parts(place(name, data)) for _, path in _samples(part)]


def described(index: Index) -> Iterator[str]:
    """What a user should read before training: the classes that were found, and where these may not be the ones meant.

    A folder of domains, each with a folder a class, is as good a tree as a folder of classes: only its owner knows.
    """
    classes = index.classes
    yield f"{index.name}: {len(classes)} classes: {_listed(classes)}"
    top = "train/" if all(f"train/{label}" in index.times for label in classes) else ""
    inside = {
        label: {path[len(start) :] for path in index.times if path.startswith(start) and "/" not in path[len(start) :]}
        for label, start in ((label, f"{top}{label}/") for label in classes)
    }
    if any(len(names) > 1 for names in inside.values()):
        below = sorted({name for names in inside.values() for name in names})
        yield (
            f"warning: {index.name}: images in folders inside a class folder ({_listed(below)}) belong to that class. "
            f"Where those are the classes, name a folder that holds them: {index.name}/{top}{classes[0]}"
        )


def other_files(name: str, data: Path) -> str:
    """A sentence on the files in class folders whose endings are not read, '' where there are none."""
    endings = Counter(
        Path(file).suffix.lower() or "without ending"
        for part in parts(place(name, data))
        for at, _, files in os.walk(part, followlinks=True)
        for file in files
        if Path(at) != part and not file.startswith(".") and not file.lower().endswith(EXTENSIONS)
    )
    if not endings:
        return ""
    found = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(SHOWN))
    return f"{name}: files left out: {found} (images that are read end in {', '.join(EXTENSIONS)})"


def _listed(names: Sequence[str]) -> str:
    """'ape, cat, dog'; of many the first and how many more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _samples(folder: Path) -> list[tuple[str, Path]]:
    """(class, image) in the order of torchvision's ImageFolder, which reads them later."""
    samples = []
    for label in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        inside = [
            (label, Path(at) / file)
            for at, _, names in sorted(os.walk(folder / label, followlinks=True))
            for file in sorted(names)
            if file.lower().endswith(EXTENSIONS)
        ]
        if not inside:
            raise InductiveError(f"{folder / label} holds no images ({', '.join(EXTENSIONS)}); remove or fill it")
        samples += inside
    if not samples:
        raise InductiveError(f"{folder} holds no folders of images, one for each class")
    return samples


def _format(name: str, files: list[Path]) -> tuple[int, int]:
    """(pixels of a side, channels) that all images share; a set with one coloured image is a coloured one."""
    from PIL import Image, UnidentifiedImageError

    side, modes = 0, set()
    for path in files:
        try:
            with Image.open(path) as image:
                (width, height), mode = image.size, image.mode
        except (UnidentifiedImageError, OSError) as error:
            raise InductiveError(f"{name}: {path} is no image that can be read ({error})") from error
        side = side or width
        if (width, height) != (side, side):
            others = "" if path == files[0] else f", {files[0]} {side}x{side}"
            raise InductiveError(
                f"{name}: {path} has {width}x{height} pixels{others}. All images must be squares of one size: the size "
                f"decides what a resolution means. `inductive prepare --dataset {name} --square PIXELS` writes such "
                f"squares into a folder beside it"
            )
        if mode not in (*GREY, *COLOUR):
            raise InductiveError(f"{name}: {path} has PIL's mode {mode}; images must have 8 bits a channel")
        modes.add(mode)
    return side, 1 if modes <= set(GREY) else 3


def _times(folder: Path) -> dict[str, int]:
    """When each folder of the tree was last changed: adding or removing an image changes its folder's."""

    def walk() -> Iterator[tuple[str, int]]:
        for part in parts(folder):
            for at, _, _ in os.walk(part, followlinks=True):
                yield os.path.relpath(at, folder), Path(at).stat().st_mtime_ns

    return dict(walk())
