"""The store: every data set decoded once into one file that all processes of a machine map into memory; photographs
are packed instead (shards.py).

Under `DATA/.decoded/`: NAME.uint8 holds labels and pixels as they lie in memory, NAME.json (written last) says how,
how many bytes there are, and the SHA-256 of each part. Both are whole or not there, and equal whoever builds them, so
two builders do no harm. A file of another length, or touched since with another content, is built again. The digests
go into every record: a run is continued and evaluated on the images it was begun with, or not at all.
"""

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.data import folders, listings, official, photographs, shards
from benchmarks.data.catalogue import PHOTOGRAPHS, dataset, forget
from benchmarks.data.dataset import FOLDER, Dataset, Images, Places
from benchmarks.data.shards import Listing, Show, gigabytes, silently
from benchmarks.errors import InductiveError, RecordError
from benchmarks.files import read_json, write_atomic_by, write_json
from benchmarks.slices import code_digest

FORMAT = 1
NOT_CHECKED = f"{official.UNVERIFIED}: decoded before its files were compared; `inductive prepare` does"
ARRAYS = ("train_labels", "test_labels", "train", "test")  # the eight-byte labels first, so that they are aligned

# What torchvision, PIL and numpy raise for files that are missing, torn, or not what their names say.
BROKEN = (
    *(RuntimeError, ValueError, KeyError, IndexError, EOFError, AssertionError, OSError, SyntaxError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
)


@lru_cache(maxsize=2)
def load_images(name: str, data: Path) -> Images:
    """All images of a data set; pages are shared by all processes that map them. Never touches the network.

    Raises InductiveError with the path looked at and the two ways to get it when it is not there.
    """
    spec = dataset(name, Places(data))
    if spec.bundled:
        images = _read(spec, data, download=False)
        return replace(images, digests=digests(images), official=official.checked(spec, data))
    make_ready(name, data)
    if spec.photographs:
        return _read(dataset(name, Places(data)), data, download=False)
    return _mapped(spec, data, read_json(_paths(name, data)[1]))


def make_ready(name: str, data: Path) -> bool:
    """Decodes or packs a data set whose files are there but which is not in the store (or no longer). Returns whether
    it did.

    Raises InductiveError with the path looked at and the two ways to get it when nothing is there.
    """
    spec = dataset(name, Places(data))
    if spec.bundled or is_ready(spec, data):
        return False
    missing = [data / file for file in spec.files if not (data / file).exists()]
    if missing and name.startswith(FOLDER):
        raise InductiveError(f"{name}: there is no folder {missing[0]}; --data DIR or INDUCTIVE_DATA=DIR names another")
    if missing:
        raise InductiveError(
            f"{name}: not found at {missing[0]} ({spec.source}). Either `inductive prepare --dataset {name} --data "
            f"{data}` downloads, checks and unpacks it there; or put the official files there yourself "
            f"({', '.join(spec.files)}), or name the folder that holds them: --data DIR or INDUCTIVE_DATA=DIR"
        )
    if spec.photographs:
        list(prepare_photographs(name, data))
    else:
        build(spec, data, download=False)
    return True


def is_ready(spec: Dataset, data: Path, whole: bool = False) -> bool:
    """Whether the store holds this data set: its length is compared, and its content when it was touched since.

    `whole` compares the content in any case.
    """
    if spec.photographs:
        return _is_packed(spec, data, whole)
    path, about = _paths(spec.name, data)
    try:
        known = read_json(about)
        state = path.stat()
        if known["format"] != FORMAT or known["origin"] != _origin(spec, data) or state.st_size != known["bytes"]:
            return False
        if not whole and state.st_mtime_ns == known["time"]:
            return True
        if digests(_mapped(spec, data, known)) != known["digests"]:
            return False
    except (RecordError, OSError, KeyError, TypeError, ValueError):  # none of it is there, or it is torn
        return False
    if state.st_mtime_ns != known["time"]:  # copied from elsewhere, or built twice at the same time
        write_json(about, {**known, "time": state.st_mtime_ns})
    return True


def has_files(spec: Dataset, data: Path) -> bool:
    """Whether all files of a data set are there, to be decoded."""
    return all((data / file).exists() for file in spec.files)


def _is_packed(spec: Dataset, data: Path, whole: bool) -> bool:
    """Whether photographs lie in their shards, and are those of the tree where that is there."""
    folder = folders.store_path(spec.name, data)
    if not shards.is_whole(folder) or (whole and shards.verify(folder)):
        return False
    if spec.name.startswith(FOLDER) and has_files(spec, data):
        return shards.packed_from(folder) == folders.current_index(spec.name, data).fingerprint
    return True


def prepare_photographs(
    name: str, data: Path, show: Show = silently, unreadable: float = shards.UNREADABLE, download: bool = False
) -> Iterator[str]:
    """Packs photographs, or verifies every byte of those that are packed and makes anew what is damaged; a sentence
    for each thing done. Raises InductiveError, saying what is lost, where their files are gone; and as `shards.pack`.
    """
    folder = folders.store_path(name, data)
    published = PHOTOGRAPHS.get(name)
    files = published.files if published else (name.removeprefix(FOLDER),)
    tree = None if published else folders.place(name, data)
    times = folders.folder_times(tree) if tree is not None and tree.is_dir() else {}  # of before it is listed
    if (folder / photographs.MANIFEST).exists() and not all((data / file).exists() for file in files):
        if damage := shards.verify(folder, show):
            raise shards.lost(folder, damage, data / files[0])
        yield f"{name}: ready in {folder}, every byte as packed"
    else:
        listing = listings.listing_of(published, data, download) if published else folders.listing(name, data)
        yield from _packed_as_listed(listing, folder, show, unreadable)
    index = folders.manifest_index(name, data, times)
    folders.keep_index(index, data)
    forget()
    load_images.cache_clear()
    if published:
        yield folders.kept_as(index)


def _packed_as_listed(listing: Listing, folder: Path, show: Show, unreadable: float) -> Iterator[str]:
    if shards.packed_from(folder) == listing.fingerprint and shards.has_manifest(folder):
        damage = shards.verify(folder, show)
        if not damage:
            yield f"{listing.name}: ready in {folder}, every byte as packed"
            return
        if not damage.index:
            yield from shards.repair(listing, folder, damage)
            return
        yield f"{listing.name}: {photographs.INDEX} is damaged or gone; all of it is packed again"
    yield from shards.pack(listing, folder, show, unreadable)
    manifest = photographs.read_manifest(folder)
    yield f"{listing.name}: packed into {folder}, {gigabytes(manifest.bytes)}; {manifest.official}"


def build(spec: Dataset, data: Path, download: bool) -> Images:
    """Reads a data set's files and writes them to the store. Raises InductiveError naming what is wrong with them."""
    official.unpack(spec, data)
    images = _read(spec, data, download)
    counts = tuple(np.bincount(images.train_labels, minlength=spec.classes).tolist())
    if counts != spec.train_counts or len(images.test) != spec.test_count:
        raise InductiveError(
            f"{spec.name}: the files under {data} hold other images than the suite expects: {sum(counts):,} and "
            f"{len(images.test):,} instead of {sum(spec.train_counts):,} and {spec.test_count:,}"
        )
    path, about = _paths(spec.name, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [getattr(images, name) for name in ARRAYS]

    def write(file: IO[bytes]) -> None:
        for array in arrays:
            file.write(np.ascontiguousarray(array).reshape(-1).data)

    write_atomic_by(path, write)
    known = {
        "format": FORMAT,
        "name": spec.name,
        "origin": _origin(spec, data),
        "shapes": {name: list(array.shape) for name, array in zip(ARRAYS, arrays, strict=True)},
        "bytes": sum(array.nbytes for array in arrays),
        "time": path.stat().st_mtime_ns,
        "digests": digests(images),
        "official": official.checked(spec, data),
    }
    write_json(about, known)
    return _mapped(spec, data, known)


def digests(images: Images) -> dict[str, str]:
    """SHA-256 of each part: the shape of its images, their bytes, their labels."""
    found = {}
    parts = (("train", images.array("train"), images.train_labels), ("test", images.array("test"), images.test_labels))
    for part, pixels, labels in parts:
        digest = hashlib.sha256(f"{pixels.shape}".encode())
        digest.update(np.ascontiguousarray(pixels).reshape(-1).data)
        digest.update(labels.astype("<i8").tobytes())
        found[part] = digest.hexdigest()
    return found


def check_same_images(what: str, recorded: Mapping[str, str], images: Images) -> None:
    """Raises RecordError, naming the part, unless a record was made with these images.

    `recorded` has the digests of the record, none for one made before they were kept.
    """
    other = [part for part, digest in images.digests.items() if recorded.get(part, digest) != digest]
    if other:
        parts = " and ".join(f"{part} ({recorded[part][:12]} then, {images.digests[part][:12]} now)" for part in other)
        raise RecordError(
            f"{what}: made with other images: {parts}. Name the data folder it was made with (--data), or remove this "
            f"record and train it again"
        )


def _paths(name: str, data: Path) -> tuple[Path, Path]:
    """The array file and what is known of it."""
    folder, stem = data / folders.STORE, folders.safe(name)
    return folder / f"{stem}.uint8", folder / f"{stem}.json"


def _origin(spec: Dataset, data: Path) -> str:
    """What the store was built from: the code that reads it and, for a folder of images, its files."""
    if spec.name.startswith(FOLDER):
        tree = folders.index_path(spec.name, data)
        return f"{_reader_digest(spec.reader)} {read_json(tree)['fingerprint']}"
    return _reader_digest(spec.reader)


def _reader_digest(reader: str) -> str:
    return code_digest((reader,))


def _mapped(spec: Dataset, data: Path, known: Mapping[str, Any]) -> Images:
    """The arrays of the store. Copy on write: nothing that a process does to them reaches the file."""
    path = _paths(spec.name, data)[0]
    whole = np.memmap(path, dtype=np.uint8, mode="c")
    arrays, start = {}, 0
    for name in ARRAYS:
        kind = np.dtype("<i8" if name.endswith("labels") else np.uint8)
        shape = tuple(known["shapes"][name])
        end = start + int(np.prod(shape)) * kind.itemsize
        arrays[name] = np.asarray(whole[start:end]).view(kind).reshape(shape)
        start = end
    return Images(**arrays, digests=dict(known["digests"]), official=known.get("official", NOT_CHECKED))


def _read(spec: Dataset, data: Path, download: bool) -> Images:
    module, _, function = spec.reader.partition(":")
    reader: Callable[[Dataset, Path, bool], Images] = getattr(import_module(module), function)
    try:
        return reader(spec, data, download)
    except BROKEN as error:
        what = "could not be downloaded, or its files are damaged" if download else "damaged or incomplete files"
        ask = "" if download else f"; `inductive prepare --dataset {spec.name}` says more and gets what is missing"
        raise InductiveError(f"{spec.name}: {what} under {data} ({type(error).__name__}: {error}){ask}") from error
