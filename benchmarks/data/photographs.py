"""Photographs of any size: the files themselves, unchanged, in a few shards under one index.

Under `DATA/.photographs/NAME/` lie `manifest.json` (written last: classes, counts, shards and their digests),
`index.npy` (where each image lies in the shards, and what is known of it), `names.txt` (the file that each
image was, a line each) and the shards, `000.images` and so on: files one after the other. No image is decoded before it
is asked for, and its bytes are compared with their checksum each time they are read.

Shapes: N images of the whole, the training part first; M of those that are looked at.
"""

import hashlib
import itertools
import json
import os
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import InductiveError
from benchmarks.files import read_json

FORMAT = 1
STORE = ".photographs"  # under the data folder
MANIFEST, INDEX, NAMES = "manifest.json", "index.npy", "names.txt"
MOST_SHARDS = 64
ROW = np.dtype(  # of the index, for each image
    [
        ("shard", "<i2"),
        ("offset", "<i8"),  # in the shard, in bytes
        ("bytes", "<i4"),
        ("crc32", "<u4"),  # of these bytes
        ("label", "<i4"),
        ("size", "<i4", 2),  # height and width in pixels, as the image is shown (EXIF's orientation applied)
        ("sha256", "u1", 16),  # the first half, of the bytes: what makes two images the same
    ]
)


@dataclass(frozen=True)
class Shard:
    """One file of images: its name in the folder, its length, and the SHA-256 of its bytes."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a data set of photographs is. `unreadable` names the files that were left out, each with the reason;
    `sides` are the smallest, the median and the largest shorter side in pixels; `source` is the fingerprint of the
    files it was made from, and `digests` are of each part's images and labels, however they lie in shards.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    train_counts: tuple[int, ...]
    test_count: int
    sides: tuple[int, int, int]
    split: str
    source: str
    official: str
    unreadable: Mapping[str, str]
    shards: tuple[Shard, ...]
    index_sha256: str
    digests: Mapping[str, str]
    format: int = FORMAT

    @property
    def root(self) -> str:
        """SHA-256 over all of it, and so over every byte of shards and index."""
        return hashlib.sha256(json.dumps(self.values(), sort_keys=True).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """Of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def values(self) -> dict[str, Any]:
        """As manifest.json has it."""
        shards = [vars(shard) for shard in self.shards]
        return {**vars(self), "unreadable": dict(self.unreadable), "digests": dict(self.digests), "shards": shards}


def read_manifest(folder: Path) -> Manifest:
    """Raises InductiveError for a manifest that is missing, torn, or not of this format; nothing else is read."""
    path = folder / MANIFEST
    values: dict[str, Any] = read_json(path)
    try:
        root = values.pop("root")
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}")
        tuples = {key: tuple(values[key]) for key in ("classes", "train_counts", "sides")}
        manifest = Manifest(**values | tuples | {"shards": tuple(Shard(**shard) for shard in values["shards"])})
        if manifest.root != root:
            raise ValueError("its root digest is of other values")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InductiveError(f"{path}: is no manifest that this version reads ({error}); `inductive prepare` makes it "
                             "anew") from error  # fmt: skip
    return manifest


def part_digest(sha256: NDArray[np.uint8], labels: NDArray[np.integer]) -> str:
    """SHA-256 of a part: of each image in its order the digest (M 16) and the label (M)."""
    rows = np.concatenate([sha256, labels.astype("<i4").reshape(-1, 1).view(np.uint8)], axis=1)
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


class Store:
    """A folder of shards, opened to be read: an index that all processes of a machine share, and a file a shard."""

    def __init__(self, folder: Path):
        """Raises InductiveError for a manifest or an index that cannot be read."""
        self.folder, self.manifest = folder, read_manifest(folder)
        self.index = read_index(folder)  # N of ROW
        self._files: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.index)

    def close(self) -> None:
        """Closes the shards; the next image that is read opens its own again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def read(self, image: int) -> bytes:
        """The file of an image, by its number in the index. Raises InductiveError, naming image and shard, where these
        are not the bytes that were put there."""
        row = self.index[image]
        count, offset = int(row["bytes"]), int(row["offset"])
        try:
            data = os.pread(self._file(int(row["shard"])), count, offset)
        except OSError as error:
            raise InductiveError(self.damaged(image, f"cannot be read: {error.strerror}")) from error
        if len(data) != count:
            raise InductiveError(self.damaged(image, f"ends after {offset + len(data):,} bytes"))
        if zlib.crc32(data) != row["crc32"]:
            raise InductiveError(self.damaged(image, "holds other bytes than were put there (CRC-32)"))
        return data

    def damaged(self, image: int, why: str) -> str:
        """What to say of an image that cannot be had."""
        shard = self.folder / self.manifest.shards[int(self.index["shard"][image])].file
        return (
            f"{shard}: {why}, at image {image:,} ({self.name(image)}). Nothing that was trained is lost: `inductive "
            f"prepare --dataset {self.manifest.name}` looks at every shard and makes anew what is damaged; then the "
            f"run goes on from its last checkpoint"
        )

    def name(self, image: int) -> str:
        """The file that an image was, under the folder of the data set."""
        with suppress(OSError), (self.folder / NAMES).open(encoding="utf-8", errors="surrogateescape") as lines:
            return next(itertools.islice(lines, image, None), "its name is lost").rstrip("\n")
        return f"{NAMES} is gone"

    def _file(self, number: int) -> int:
        if number not in self._files:
            self._files[number] = os.open(self.folder / self.manifest.shards[number].file, os.O_RDONLY)
        return self._files[number]


def read_index(folder: Path) -> NDArray[Any]:
    """The index (N of ROW), as it lies in its file. Raises InductiveError for a file that is none."""
    path = folder / INDEX
    try:
        index: NDArray[Any] = np.load(path, mmap_mode="r")
        if index.dtype != ROW:
            raise ValueError(f"its rows are of {index.dtype}")
    except (OSError, ValueError, EOFError) as error:
        raise InductiveError(f"{path}: is no index ({error}); `inductive prepare` makes it anew") from error
    return index


@dataclass(frozen=True)
class Views:
    """What is to be made of M images: of each a window, resized, and of that a square.

    `images` (M,) are numbers in the index; `windows` (M, 8) left, top, width and height of the window in pixels of the
    image as it is shown, width and height that it is resized to, left and top of the square there. `side` is the
    square's, in pixels; `filter` how pixels are interpolated (antialiased either way).
    """

    images: NDArray[np.int64]
    windows: NDArray[np.int32]
    side: int
    filter: str = "bilinear"

    def __len__(self) -> int:
        return len(self.images)

    def part(self, which: slice) -> "Views":
        return Views(self.images[which], self.windows[which], self.side, self.filter)


def squares(sizes: NDArray[np.integer], side: int, shorter: int, squashed: bool = False) -> NDArray[np.int32]:
    """Windows (M 8) of images of these sizes (M 2, height and width): the whole image, its shorter side resized to
    `shorter` pixels, or both where they are `squashed`, and of that the middle, side x side. As torchvision's Resize
    and CenterCrop have them.
    """
    height, width = sizes.astype(np.int64).T
    upright = width <= height
    longer = (
        np.full_like(height, shorter) if squashed else shorter * np.maximum(height, width) // np.minimum(height, width)
    )
    rows, columns = np.where(upright, longer, shorter), np.where(upright, shorter, longer)
    left, top = (np.rint((extent - side) / 2).astype(np.int64) for extent in (columns, rows))  # Python's round
    zero = np.zeros_like(height)
    return np.stack((zero, zero, width, height, columns, rows, left, top), axis=1).astype(np.int32)


Pixels = NDArray[np.uint8]
Request = Callable[[int], Views]  # what is wanted, by number


class Stream(ABC):
    """The pixels of numbered requests. `waited` are the seconds that whoever takes them has waited in all."""

    waited = 0.0

    def take(self, number: int) -> Pixels:
        """Pixels (M R R C) of a request, to be used before the next is taken: they are overwritten then."""
        began = time.perf_counter()
        pixels = self._take(number)
        self.waited += time.perf_counter() - began
        return pixels

    @abstractmethod
    def _take(self, number: int) -> Pixels:
        """See `take`."""

    @abstractmethod
    def close(self) -> None:
        """Gives its memory back."""


class Decodes(Protocol):
    """What makes pixels of photographs: `benchmarks.data.decoding.Decoding`."""

    def stream(self, request: Request, end: int, most: tuple[int, int]) -> Stream: ...


@dataclass(frozen=True, eq=False)
class Photographs:
    """Some images of a store, by their numbers in its index (M,), in the order in which they are wanted, and what makes
    pixels of them."""

    store: Store
    rows: NDArray[np.int64] = field(repr=False)
    decoding: Decodes = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, which: NDArray[np.integer] | Sequence[int]) -> "Photographs":
        return replace(self, rows=self.rows[np.asarray(which)])

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """Height and width of each, in pixels (M 2)."""
        return np.asarray(self.store.index["size"][self.rows])
