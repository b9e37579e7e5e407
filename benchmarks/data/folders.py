"""Data sets of the user's own, `folder:PATH`: an index of the tree declares them, without torch.

PATH is taken from the data folder. It holds a folder of images for each class; or `train/` and `test/` (or `val/`),
each with those. Where there is no test part, one is made: every fifth image of a fixed stratified order. Equal squares
that fit become one decoded array, all others are packed into shards (`in_shards`), and then the manifest declares them.
"""

import hashlib
import math
import os
import posixpath
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.data import photographs, shards
from benchmarks.data.dataset import FOLDER, OWN, Dataset, Places
from benchmarks.data.photographs import Manifest
from benchmarks.data.shards import Listing, gigabytes
from benchmarks.data.subsets import stratified_order
from benchmarks.errors import ConfigError, InductiveError, UnpreparedError
from benchmarks.files import read_json, write_json
from models.catalogue.sizes import SCALES
from models.hints import nearest

FORMAT = 1
STORE = ".decoded"  # under the data folder: what is derived from the data sets, and may be deleted
COPIES = ".datasets"  # under the runs folder: the indices that its records were made with
TEST_SHARE = 0.2
SHOWN = 20  # names in a sentence
LONGEST = 200  # letters of a name as that of a file: with what is before and behind it, file systems have 255
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as ImageFolder has them
MOST_DECODED = 8 * 2**30  # bytes of an array that every machine can be expected to hold; see `in_shards`
GREY, COLOUR = shards.GREY, ("RGB", "RGBA", "P", "CMYK", "YCbCr")  # PIL's modes of 8 bits a channel


@dataclass(frozen=True)
class Index:
    """What a tree holds. `fingerprint` is of every file's name, size and time, `times` are of its folders (ns).

    Of photographs `pixels` is the resolution that they are trained at where a study names none: the reference scale
    next to the median of their shorter `sides` (smallest, median, largest); `bytes` are of their files, and would be
    `decoded` as one array; `shards` are theirs, and `unreadable` files are left out of all counts.
    """

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
    photographs: bool = False
    sides: tuple[int, ...] = ()
    bytes: int = 0
    decoded: int = 0
    shards: int = 0
    unreadable: int = 0

    @property
    def extent(self) -> str:
        """How large its images are and how they are coloured: '32x32, colour', '41 to 3,024 px, grey'."""
        colour = "grey" if self.channels == 1 else "colour"
        if not self.photographs:
            return f"{self.pixels}x{self.pixels}, {colour}"
        return f"{_span(self.sides)} px, {colour}"

    def dataset(self) -> Dataset:
        """The data set it declares. Mirrored images are allowed: only the user knows (`recipe.flip = false`)."""
        path = self.name.removeprefix(FOLDER)
        what = "photographs" if self.photographs else "images"
        return Dataset(
            name=self.name,
            title=f"{what} of {path} ({self.extent}; {self.split})",
            channels=self.channels,
            native_resolution=self.pixels,
            scale=nearest_scale(self.pixels),
            train_counts=self.train_counts,
            test_count=self.test_count,
            flips=True,
            reader=f"benchmarks.data.readers:{'read_photographs' if self.photographs else 'read_folder'}",
            reference=f"a folder of {what}",
            kind="ImageFolder",
            files=(path,),
            photographs=self.photographs,
            class_names=self.classes,
        )


def nearest_scale(pixels: int) -> int:
    """The reference scale next to so many pixels, by ratio."""
    return min(SCALES, key=lambda known: abs(math.log(known / pixels)))


def in_shards(sizes: NDArray[np.integer], channels: int) -> bool:
    """Whether images of these sizes (N 2, height and width) are kept as their files, in shards: all but equal squares
    of at most MOST_DECODED bytes, which are decoded into one array.

    Of the two an image gets other pixels (resized from its bytes or from a window of the photograph), so no machine's
    memory may decide, and the limit is a constant.
    """
    height, width = sizes[0].tolist()
    equal = height == width and bool((sizes == sizes[0]).all())
    return not equal or len(sizes) * channels * height * width > MOST_DECODED


def kept_as(index: Index) -> str:
    """What that comes to for a data set: 'photos: 12,400 images of 41 to 3,024 px (...): in shards, ...'."""
    count = sum(index.train_counts) + index.test_count
    if not index.photographs:
        size = count * index.channels * index.pixels**2
        return (
            f"{index.name}: {count:,} images of {index.pixels}x{index.pixels} px: decoded, one array of "
            f"{gigabytes(size)}"
        )
    files = "1 file" if index.shards == 1 else f"{index.shards} files"
    return (
        f"{index.name}: {count:,} images of {_span(index.sides)} px (shorter side; median {index.sides[1]:,}): in "
        f"shards, original bytes, {gigabytes(index.bytes)} in {files} (decoded they would take "
        f"{gigabytes(index.decoded)})"
    )


def _span(sides: Sequence[int]) -> str:
    return f"{sides[0]:,} to {sides[-1]:,}" if sides[0] != sides[-1] else f"{sides[0]:,}"


@lru_cache(maxsize=64)
def declared(name: str, places: Places) -> Dataset:
    """The data set `folder:PATH`. Raises ConfigError saying where it was looked for."""
    return index_of(name, places).dataset()


def index_of(name: str, places: Places) -> Index:
    """The index of `folder:PATH`: of its tree, or a kept one where that is gone. Raises ConfigError as `declared`."""
    data, runs = places.data, places.runs
    if data is not None and name.startswith(FOLDER) and place(name, data).is_dir():
        return current_index(name, data)
    copies = [index_path(name, data)] if data is not None else []
    copies += [runs / COPIES / f"{safe(name)}.json"] if runs is not None else []
    for path in copies:  # decoded and then removed, or a report on a machine without the data
        if path.exists():
            return _read(path, name)
    if data is not None and (store_path(name, data) / photographs.MANIFEST).exists():  # a store that was copied here
        return manifest_index(name, data)
    if data is None:
        begun = (
            f"no run on it has been begun under {runs}, where {copies[0]} would list its images"
            if copies
            else "no place is known where its images are listed"
        )
        raise ConfigError("dataset", f"'{name}': {begun}; --data DIR names the data folder that it lies in")
    if not name.startswith(FOLDER):
        raise UnpreparedError(name, f"'{name}' is not prepared under {data}: `inductive prepare --dataset {name} "
                              f"--data {data}` packs its photographs once, and says what files it needs")  # fmt: skip
    raise ConfigError(
        "dataset",
        f"'{name}': there is no folder {place(name, data)}. PATH is taken from the data folder, which --data DIR or "
        f"INDUCTIVE_DATA=DIR names; it holds a folder of images a class, or train/ and test/ (or val/) with those"
        f"{_near(name, data)}",
    )


def _near(name: str, data: Path) -> str:
    """A hint at the folder under the data folder that may be meant."""
    there = [one.name for one in data.iterdir() if one.is_dir() and one.name[0] != "."] if data.is_dir() else []
    near = nearest(name.removeprefix(FOLDER), there)
    return f"; did you mean `{FOLDER}{near}`?" if near else ""


def place(name: str, data: Path) -> Path:
    """The tree of `folder:PATH`."""
    path = name.removeprefix(FOLDER)
    if not path.strip("./"):
        raise ConfigError("dataset", f"'{name}' names no folder: write {FOLDER}PATH, PATH being under the data folder")
    if (usual := posixpath.normpath(path)) != path:  # other names are other ids of the same runs
        raise ConfigError(
            "dataset", f"'{name}' is not how that folder is usually written; did you mean `{FOLDER}{usual}`?"
        )
    if len(safe(name)) > LONGEST:
        raise ConfigError(
            "dataset",
            f"'{name}' is too long for names of files, as which it has {len(safe(name))} letters (at most {LONGEST}; a "
            f"letter that is not Latin counts for several): link the folder to a shorter name in {data}",
        )
    return data / path


def safe(name: str) -> str:
    """A data set's name as a file name, one to one."""
    return quote(name, safe=" ")


def index_path(name: str, data: Path) -> Path:
    return data / STORE / f"{safe(name)}.index.json"


def store_path(name: str, data: Path) -> Path:
    """Where photographs are packed."""
    return data / photographs.STORE / safe(name)


def current_index(name: str, data: Path, anew: bool = False) -> Index:
    """The index of a tree: the one kept while no folder of the tree has changed since, or one made now and kept."""
    path = index_path(name, data)
    if path.exists() and not anew:
        index = _read(path, name)
        if index.times == folder_times(place(name, data)):
            return index
    index = make_index(name, data)
    keep_index(index, data)
    return index


def keep_index(index: Index, data: Path) -> None:
    """Writes an index; of what is only said of photographs, that which is not the default."""
    path = index_path(index.name, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    defaults = {one.name: one.default for one in fields(Index) if one.name != "format"}
    write_json(path, {key: value for key, value in asdict(index).items() if value != defaults.get(key)})


def keep_copy(name: str, data: Path, runs: Path) -> None:
    """Keeps the index under the runs folder, so that a report needs records alone: that of the images as they are."""
    path, source = runs / COPIES / f"{safe(name)}.json", index_path(name, data)
    if not source.exists():
        return
    values = read_json(source)
    if not path.exists() or read_json(path) != values:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, values)


def _read(path: Path, name: str) -> Index:
    values: dict[str, Any] = read_json(path)
    try:
        if values["format"] != FORMAT or values["name"] != name:
            raise ValueError(f"format {values['format']}, of {values['name']}")
        lists = ("classes", "train_counts", "sides")
        return Index(**values | {key: tuple(values[key]) for key in lists if key in values})
    except (KeyError, TypeError, ValueError) as error:
        raise InductiveError(f"{path}: is no index of {name} that this version reads ({error}); remove it") from error


def parts(folder: Path) -> tuple[Path, ...]:
    """(train, test) where the tree has its own split, else the one folder whose subfolders are the classes."""
    own = [folder / part for part in ("test", "val") if (folder / part).is_dir()]
    if not (folder / "train").is_dir():
        return (folder,)
    return (folder / "train", own[0]) if own else (folder / "train",)


def unread(folder: Path) -> list[str]:
    """Names of the folders beside `train` that are no part: of a tree with its own split."""
    read = {part.name for part in parts(folder)}
    there = (entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return sorted(set(there) - read)


def made_split(labels: NDArray[np.int64], classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, test) indices into ImageFolder's order (class by class, file names sorted), each ascending.

    The test part is the first 20 % of one stratified order that depends on nothing but the class counts.
    """
    count = int(len(labels) * TEST_SHARE)
    order = stratified_order(labels, randomness.key(0, "folder test part"), classes, len(labels))
    return np.sort(order[count:]), np.sort(order[:count])


def listing(name: str, data: Path) -> Listing:
    """Every image of a tree, labelled, in the order of its rows. Raises InductiveError where the tree does not fit."""
    folder = place(name, data)
    places = parts(folder)
    if places[0] != folder and len(places) == 1 and (beside := unread(folder)):
        raise InductiveError(
            f"{name}: beside {places[0]} there is {_listed(beside)}, and a test part is called test or val: rename it, "
            f"or move away what is not to be read; then {TEST_SHARE:.0%} of train is taken as test part"
        )
    found = [samples(one) for one in places]
    classes = tuple(dict.fromkeys(label for label, _ in found[0]))
    for one, other in zip(places[1:], found[1:], strict=True):
        theirs = {label for label, _ in other}
        if odd := sorted(theirs ^ set(classes)):
            raise InductiveError(
                f"{name}: {places[0]} and {one} must have the same classes; {odd[0]} is in one of them"
            )
    if len(classes) < 2:
        inside = [one for one in (places[0] / classes[0]).iterdir() if one.is_dir()]
        hint = f"; did you mean `{name}/{classes[0]}`?" if len(inside) > 1 and places[0] == folder else ""
        raise InductiveError(f"{name}: {places[0]} has one class, {classes[0]}; there must be two at least{hint}")
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[label] for samples in found for label, _ in samples], dtype=np.int64)
    files = [path for samples in found for _, path in samples]
    train = len(found[0]) if len(found) == 2 else None
    return listed(name, folder, classes, files, labels, train, places[-1].name, OWN)


def listed(
    name: str,
    folder: Path,
    classes: tuple[str, ...],
    files: Sequence[Path],
    labels: NDArray[np.int64],
    train: int | None,
    test_part: str = "test",
    official: str = "",
) -> Listing:
    """A listing of files with their labels (N,), `train` of them, the first, being the training part; None: a test part
    is made. Raises InductiveError for a class that is in one part only, and for a file that is gone."""
    split = f"its own {test_part} part"
    order = np.arange(len(files))
    names, sizes, times = _stats(folder, files)
    if train is None:
        split = f"{TEST_SHARE:.0%} of it taken as test part"
        of_train, of_test = made_split(labels, len(classes))
        order, train = np.concatenate([of_train, of_test]), len(of_train)
    rows = labels[order]
    check_counts(name, classes, rows, train)
    return Listing(
        name=name,
        folder=folder,
        classes=classes,
        files=tuple(names[number] for number in order),
        labels=rows,
        train=train,
        split=split,
        sizes=sizes[order],
        times=times[order],
        fingerprint=_digest(names, sizes, times),
        official=official,
    )


def check_counts(
    name: str, classes: Sequence[str], rows: NDArray[np.int64], train: int
) -> tuple[NDArray[np.int64], ...]:
    """How many images of each class are among the first `train` labels and among the others. Raises InductiveError
    naming a class that is not in both."""
    counts = tuple(np.bincount(one, minlength=len(classes)) for one in (rows[:train], rows[train:]))
    if missing := [label for label, *own in zip(classes, *counts, strict=True) if not all(own)]:
        raise InductiveError(f"{name}: class {missing[0]} has too few images to be in the training and the test part")
    return counts


def make_index(name: str, data: Path) -> Index:
    """Of a tree that is packed as it is, what its manifest says; else looks at every image's header.

    Raises InductiveError naming the first file that cannot be in a decoded array of the others.
    """
    from benchmarks.data.decoders import DEEP

    times = folder_times(place(name, data))
    tree = listing(name, data)
    store = store_path(name, data)
    if shards.packed_from(store) == tree.fingerprint and (store / photographs.MANIFEST).exists():
        return manifest_index(name, data, times)
    heads = _headers(tree)
    there = np.array([head.why == "" for head in heads], dtype=bool)
    if not there.any():
        raise InductiveError(f"{name}: {tree.folder / tree.files[0]} is no image that can be read ({heads[0].why})")
    sizes = np.array([head.size for head in heads], dtype=np.int64)[there]
    modes = {head.mode for head in heads if not head.why}
    channels = 1 if modes <= {*GREY, *DEEP} else 3
    if not in_shards(sizes, channels):
        _check_decodable(tree, heads)
        counts = check_counts(name, tree.classes, tree.labels, tree.train)
        return Index(
            name=name,
            classes=tree.classes,
            channels=channels,
            pixels=int(sizes[0, 0]),
            train_counts=tuple(counts[0].tolist()),
            test_count=len(tree.files) - tree.train,
            split=tree.split,
            fingerprint=tree.fingerprint,
            times=times,
        )
    counts = check_counts(name, tree.classes, tree.labels[there], int(there[: tree.train].sum()))
    shorter = np.sort(sizes.min(axis=1))
    sides = (int(shorter[0]), int(shorter[(len(shorter) - 1) // 2]), int(shorter[-1]))
    return Index(
        name=name,
        classes=tree.classes,
        channels=channels,
        pixels=nearest_scale(sides[1]),
        train_counts=tuple(counts[0].tolist()),
        test_count=int(counts[1].sum()),
        split=tree.split,
        fingerprint=tree.fingerprint,
        times=times,
        photographs=True,
        sides=sides,
        bytes=int(tree.sizes[there].sum()),
        decoded=int(sizes.prod(axis=1).sum()) * channels,
        shards=len(shards.cut(tree.sizes)),
        unreadable=int((~there).sum()),
    )


def manifest_index(name: str, data: Path, times: dict[str, int] | None = None) -> Index:
    """The index of photographs that are packed. `times` are of the folders of the tree that they were packed of."""
    store = store_path(name, data)
    manifest: Manifest = photographs.read_manifest(store)
    sizes = photographs.read_index(store)["size"].astype(np.int64)
    return Index(
        name=name,
        classes=manifest.classes,
        channels=manifest.channels,
        pixels=nearest_scale(manifest.sides[1]),
        train_counts=manifest.train_counts,
        test_count=manifest.test_count,
        split=manifest.split,
        fingerprint=shards.packed_from(store),
        times=times or {},
        photographs=True,
        sides=manifest.sides,
        bytes=manifest.bytes,
        decoded=int(sizes.prod(axis=1).sum()) * manifest.channels,
        shards=len(manifest.shards),
        unreadable=len(manifest.unreadable),
    )


def fingerprint(folder: Path, files: Sequence[Path]) -> str:
    """SHA-256 of the names, sizes and times of change of a tree's files."""
    return _digest(*_stats(folder, files))


def _stats(folder: Path, files: Sequence[Path]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Of each file its path from the folder, its size in bytes (N,), and when it was changed in ns (N,)."""
    names = [path.relative_to(folder).as_posix() for path in files]
    found = [path.stat() for path in files]
    sizes, times = [one.st_size for one in found], [one.st_mtime_ns for one in found]
    return names, np.array(sizes, dtype=np.int64), np.array(times, dtype=np.int64)


def _digest(names: Sequence[str], sizes: NDArray[np.int64], times: NDArray[np.int64]) -> str:
    known = zip(names, sizes.tolist(), times.tolist(), strict=True)
    lines = "\n".join(f"{name} {size} {time}" for name, size, time in known)
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def image_files(name: str, data: Path) -> list[Path]:
    """Every image of a tree, part by part and class by class. Raises InductiveError for a class without images."""
    return [path for part in parts(place(name, data)) for _, path in samples(part)]


def described(index: Index) -> Iterator[str]:
    """What a user should read before training: the classes that were found, and where these may not be the ones meant.

    A folder of domains, each with a folder a class, is as good a tree as a folder of classes: only its owner knows.
    """
    classes = index.classes
    yield kept_as(index)
    if Path(index.name.removeprefix(FOLDER)).is_absolute():
        yield (
            f"warning: {index.name}: this path becomes part of the ids of its runs, so another machine has other runs, "
            "and `inductive pack` refuses them. Better move the folder below the data folder, or link it there"
        )
    if index.unreadable:
        files = "file" if index.unreadable == 1 else "files"
        yield f"warning: {index.name}: {index.unreadable:,} {files} cannot be read as images and are not counted"
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
    """A sentence on the files in class folders whose endings are not read, and on folders beside the parts; '' where
    there are none."""
    folder = place(name, data)
    beside = unread(folder) if parts(folder)[0] != folder else []
    aside = f"not read, as it is no part: {_listed(beside)}" if beside else ""
    endings = Counter(
        Path(file).suffix.lower() or "without ending"
        for part in parts(folder)
        for at, _, files in os.walk(part, followlinks=True)
        for file in files
        if Path(at) != part and not file.startswith(".") and not file.lower().endswith(EXTENSIONS)
    )
    found = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(SHOWN))
    left = f"files left out: {found} (images that are read end in {', '.join(EXTENSIONS)})" if endings else ""
    said = "; ".join(filter(None, (aside, left)))
    return f"{name}: {said}" if said else ""


def _listed(names: Sequence[str]) -> str:
    """'ape, cat, dog'; of many the first and how many more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def samples(folder: Path, classes: Sequence[str] | None = None) -> list[tuple[str, Path]]:
    """(class, image) in the order of torchvision's ImageFolder, which reads them later; of `classes` alone, if given.

    Raises InductiveError for a class without images."""
    found = []
    there = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if classes is None else classes
    for label in there:
        inside = [
            (label, Path(at) / file)
            for at, _, names in sorted(os.walk(folder / label, followlinks=True))
            for file in sorted(names)
            if file.lower().endswith(EXTENSIONS)
        ]
        if not inside:
            raise InductiveError(f"{folder / label} holds no images ({', '.join(EXTENSIONS)}); remove or fill it")
        found += inside
    if not found:
        raise InductiveError(f"{folder} holds no folders of images, one for each class")
    return found


@dataclass(frozen=True)
class _Header:
    """What the header of an image file says, or why it cannot be read."""

    size: tuple[int, int] = (0, 0)  # height and width, as they lie in the file
    mode: str = ""
    why: str = ""


def _headers(tree: Listing) -> list[_Header]:
    from PIL import Image, UnidentifiedImageError

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for file in tree.files:
            try:
                with Image.open(tree.folder / file) as image:
                    found.append(_Header((image.height, image.width), image.mode))
            except (
                *(UnidentifiedImageError, OSError, SyntaxError, ValueError),
                *(Image.DecompressionBombWarning, Image.DecompressionBombError),
            ) as error:
                found.append(_Header(why=str(error)))
    return found


def _check_decodable(tree: Listing, heads: Sequence[_Header]) -> None:
    """Raises InductiveError, naming the file, where equal squares are not all images of 8 bits a channel."""
    for file, head in zip(tree.files, heads, strict=True):
        path = tree.folder / file
        if head.why:
            raise InductiveError(f"{tree.name}: {path} is no image that can be read ({head.why})")
        if head.mode not in (*GREY, *COLOUR):
            raise InductiveError(f"{tree.name}: {path} has PIL's mode {head.mode}; images must have 8 bits a channel")


def folder_times(folder: Path) -> dict[str, int]:
    """When each folder of the tree was last changed: adding or removing an image changes its folder's."""

    def walk() -> Iterator[tuple[str, int]]:
        for part in parts(folder):
            for at, _, _ in os.walk(part, followlinks=True):
                yield os.path.relpath(at, folder), Path(at).stat().st_mtime_ns

    return dict(walk())
