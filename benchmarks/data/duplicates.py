"""Test images that are known to be in the training part as well, and can be left out of the test.

A list lies at `DATA/duplicates/NAME.csv`: one line a test image, its index (from 0) in the first column; a first line
of column names and lines that start with # are skipped. The lists of ciFAIR (Barz and Denzler, "Do we train on test
data? Purging CIFAR of near-duplicates", Journal of Imaging 6, 2020: duplicates_cifar10.csv, duplicates_cifar100.csv
of https://github.com/cvjena/cifair) have this form. What `find` sees is less: images equal to the byte.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import folders
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Images, Places
from benchmarks.data.photographs import Photographs
from benchmarks.errors import InductiveError, RecordError
from benchmarks.files import write_atomic

PART = "test_unique"  # of an evaluation: the test part without the images listed


@dataclass(frozen=True)
class Duplicates:
    """Ascending indices into the test part, and the SHA-256 (16 digits) of them."""

    indices: NDArray[np.int64]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()[:16]


def list_path(name: str, data: Path) -> Path:
    return data / "duplicates" / f"{folders.safe(name)}.csv"


def read_list(name: str, data: Path) -> Duplicates:
    """The list of a data set. Raises InductiveError naming the file, and the line that is no index."""
    path, count = list_path(name, data), dataset(name, Places(data)).test_count
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InductiveError(
            f'{name}: no list of duplicates at {path}, which `duplicates = "leave_out"` needs. For CIFAR put ciFAIR\'s '
            f"there (https://github.com/cvjena/cifair, meta/duplicates_{name}.csv); or write one, an index of a test "
            f"image a line; or `inductive prepare --dataset {name} --find-duplicates` lists those equal to the byte"
        ) from error
    found = set()
    for number, line in enumerate(lines, start=1):
        first = line.partition(",")[0].strip()
        if not first or first.startswith("#") or (number == 1 and not first.lstrip("-").isdigit()):
            continue
        if not first.isdigit() or int(first) >= count:
            raise InductiveError(f"{path}: line {number}: {first!r} is no index of a test image (0 to {count - 1:,})")
        found.add(int(first))
    return Duplicates(np.array(sorted(found), dtype=np.int64))


def check_same_list(what: str, entries: Iterable[Mapping[str, Any]], now: Duplicates) -> None:
    """Raises RecordError when a recorded evaluation left out other images than the list names now."""
    other = {entry["left_out"] for entry in entries if entry["evaluation"]["part"] == PART} - {now.digest}
    if other:
        raise RecordError(
            f"{what}: evaluated with another list of duplicates ({other.pop()} then, {now.digest} now): put the old "
            f"list back, or remove this record's folder `evaluations` to measure it again"
        )


def find(images: Images) -> Duplicates:
    """The test images of which the training part has a copy, equal in every byte: of photographs, of their files."""
    known = set(_digests(images.train))
    copies = [place for place, one in enumerate(_digests(images.test)) if one in known]
    return Duplicates(np.array(copies, dtype=np.int64))


def _digests(part: NDArray[np.uint8] | Photographs) -> Iterator[bytes]:
    """Of each image what makes it the same as another."""
    if isinstance(part, Photographs):
        return (one.tobytes() for one in part.store.index["sha256"][part.rows])
    return (hashlib.sha256(one.tobytes()).digest() for one in part)


def write_list(name: str, data: Path, found: Duplicates) -> Path:
    """Writes a list. Raises InductiveError when there is one already: it may say more than equal bytes do."""
    path = list_path(name, data)
    if path.exists():
        raise InductiveError(f"{path}: there is a list already; move it away to have another made")
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "# test images that are, byte for byte, training images, too\n"
    write_atomic(path, (head + "".join(f"{index}\n" for index in found.indices)).encode())
    return path
