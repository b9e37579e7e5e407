"""Packs photographs: their files, unchanged, into a few shards, each decoded once so that training meets no broken one.

A shard is a contiguous run of the listing, cut by bytes, and the work of one process. Whatever is written depends on
the listing alone, so who packs it, when, and after how many interruptions makes no difference to any byte. Packing goes
on in a folder beside the last one, `.NAME.packing`, which takes its place once it is whole.

Why a format of our own: beside `array_record` it takes as many bytes, opens in a fifth of the time, reads an image with
less processor time and memory, and needs no library; both need an index of labels and sizes (docs/performance.md).
"""

import errno
import fcntl
import hashlib
import io
import itertools
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cores import cores
from benchmarks.data.photographs import (
    INDEX,
    MANIFEST,
    MOST_SHARDS,
    NAMES,
    ROW,
    Manifest,
    Shard,
    part_digest,
    read_index,
    read_manifest,
)
from benchmarks.errors import InductiveError
from benchmarks.files import read_json_or, write_atomic, write_atomic_by, write_json

LEAST_SHARD = 256 * 2**20  # bytes: below twice that, a data set is one file
MOST_BYTES = 2**31 - 1  # of one image
UNREADABLE = 0.001  # the share of files that may be left out
SHOWN = 10  # files that an error names
SIDECARS = "rows"  # in the folder where it is packed: of each finished shard, its rows
LISTED = "listing.json"  # there, and later beside the manifest: the fingerprint of the files, and how they are cut
GREY = ("1", "L", "LA")  # PIL's modes of 8 bits a channel
FULL = (errno.ENOSPC, errno.EDQUOT)
UNLOCKED = (errno.ENOLCK, errno.EOPNOTSUPP)  # file systems without locks: two who pack would write the same bytes
SLACK = 64 * 2**20  # bytes to be free beside the images and their index

Show = Callable[[str, int], AbstractContextManager[Callable[[], None]]]  # console.counting


def silently(what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
    """Where nobody watches: a `Show` that shows nothing."""
    return nullcontext(lambda: None)


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of a data set, in the order of its rows: those of the training part first.

    `files` (N) are relative to `folder`, `labels` (N,) count `classes`; `train` of them are the training part's.
    `sizes` in bytes and `times` of change in ns are as they were when it was made, and `fingerprint` is of both and of
    the names. `official` says whether these are the official files, and by what.
    """

    name: str
    folder: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    train: int
    split: str
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]
    fingerprint: str
    official: str = ""

    @property
    def source(self) -> str:
        """SHA-256 of names and sizes in their order: the same on every machine."""
        lines = (f"{size} {file}\n" for file, size in zip(self.files, self.sizes.tolist(), strict=True))
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def cut(sizes: NDArray[np.int64]) -> list[slice]:
    """Which files go into each shard: contiguous runs of about equal bytes, none below LEAST_SHARD but by one file."""
    total = int(sizes.sum())
    count = max(1, min(MOST_SHARDS, total // LEAST_SHARD))
    starts = np.cumsum(sizes) - sizes
    number = np.minimum(starts * count // max(total, 1), count - 1)
    edges = [*np.flatnonzero(np.diff(number, prepend=-1)).tolist(), len(sizes)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def is_whole(folder: Path) -> bool:
    """Whether a store is there with all its files, each of its length; their content is not looked at."""
    try:
        manifest = read_manifest(folder)
        images = sum(manifest.train_counts) + manifest.test_count
        return len(read_index(folder)) == images and all(
            (folder / shard.file).stat().st_size == shard.bytes for shard in manifest.shards
        )
    except (InductiveError, OSError):
        return False


def has_manifest(folder: Path) -> bool:
    """Whether there is a manifest that can be read."""
    try:
        read_manifest(folder)
    except InductiveError:
        return False
    return True


def packed_from(folder: Path) -> str:
    """The fingerprint of the files that a store was made of; '' where that is not known."""
    values = read_json_or(folder / LISTED, {})
    return str(values.get("fingerprint", "")) if isinstance(values, dict) else ""


def pack(listing: Listing, folder: Path, show: Show = silently, unreadable: float = UNREADABLE) -> Iterator[str]:
    """Packs a data set into `folder`, in place of what is there, and says what is worth saying of how it went.

    Begun before with the same files, it goes on. Raises InductiveError naming what is in the way: files that changed or
    vanished meanwhile, more than the share `unreadable` that cannot be decoded, a full disk; a store that was there
    before then stays as it is, and whatever shards are finished wait for the next time.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker's, while it imports the main script
        raise InductiveError(
            f"{listing.name}: processes that pack photographs run the main script again, which has to guard "
            f"what it does by `if __name__ == '__main__':`; `inductive prepare --dataset {listing.name}` packs before"
        )
    _check_files(listing)
    making = folder.with_name(f".{folder.name}.packing")
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun = {"fingerprint": listing.fingerprint, "shards": [[one.start, one.stop] for one in cut(listing.sizes)]}
    with _alone(making), _room(listing.name, folder.parent):
        _put_back(folder)
        if packed_from(folder) == listing.fingerprint and has_manifest(folder) and not verify(folder):
            yield f"{listing.name}: packed by another process meanwhile"
            return
        if read_json_or(making / LISTED) != begun:
            if making.exists():
                yield f"{listing.name}: begun before with other files than there are now; packed from the start"
            shutil.rmtree(making, ignore_errors=True)
        (making / SIDECARS).mkdir(parents=True, exist_ok=True)
        for left in (*making.glob(".*.tmp"), *(making / SIDECARS).glob(".*.tmp")):
            left.unlink()
        write_json(making / LISTED, begun)
        if not (making / MANIFEST).exists():
            jobs = _jobs(listing, making)
            todo = [job for job in jobs if not job.finished()]
            _check_space(listing, making, sum(int(job.sizes.sum()) for job in todo))
            if len(todo) < len(jobs):
                follow = "; the others follow" if todo else ""
                yield f"{listing.name}: {len(jobs) - len(todo)} of {len(jobs)} shards are finished already{follow}"
            _work(listing, jobs, todo, show, unreadable)
            _finish(listing, making, [job.rows() for job in jobs])
        shutil.rmtree(making / SIDECARS)
        _take_place(making, folder)
    manifest = read_manifest(folder)
    if manifest.unreadable:
        yield f"{listing.name}: left out, since they cannot be decoded: {_first(manifest.unreadable)}"


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of a finished shard: the rows of its images, which of the listing's files they are (`kept`), and
    whether all are grey; why others were left out."""

    rows: NDArray[Any]
    kept: NDArray[np.int64]
    grey: bool
    unreadable: Mapping[str, str]
    sha256: str


@dataclass(frozen=True, eq=False)
class _Job:
    """All that a process needs to write one shard: its number, its place, and its part of the listing."""

    number: int
    making: Path
    source: Path
    name: str
    first: int
    files: Sequence[str]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]

    @property
    def shard(self) -> Path:
        return self.making / f"{self.number:03d}.images"

    @property
    def sidecar(self) -> Path:
        return self.making / SIDECARS / f"{self.number:03d}.npz"

    def finished(self) -> bool:
        """Whether its sidecar, which is written last, is there, and the shard with all its bytes."""
        if not (self.sidecar.exists() and self.shard.exists()):
            return False
        return self.shard.stat().st_size == int(self.rows().rows["bytes"].sum())

    def rows(self) -> Rows:
        with np.load(self.sidecar) as kept:
            about = json.loads(str(kept["about"]))
            return Rows(kept["rows"], kept["kept"], about["grey"], about["unreadable"], about["sha256"])


def _jobs(listing: Listing, making: Path) -> list[_Job]:
    return [
        _Job(
            number=number,
            making=making,
            source=listing.folder,
            name=listing.name,
            first=run.start,
            files=listing.files[run],
            labels=listing.labels[run],
            sizes=listing.sizes[run],
            times=listing.times[run],
        )
        for number, run in enumerate(cut(listing.sizes))
    ]


class _Stop(Exception):
    """Another process has met what ends the packing."""


_count: Any = None  # of a working process: how many files all of them have looked at
_stop: Any = None


def _begin(count: Any, stop: Any) -> None:
    """A process that writes shards: it ends with its parent, whatever ends that, and leaves signals to it."""
    global _count, _stop
    _count, _stop = count, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # of files that can be decoded all the same
    parent = multiprocessing.parent_process()

    def watch() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(listing: Listing, jobs: list[_Job], todo: list[_Job], show: Show, share: float) -> None:
    """Writes the shards that are missing, each in a process. Raises InductiveError, as `pack`, with the first error."""
    allowed = int(share * len(listing.files))
    left_out: dict[str, str] = {}
    for job in jobs:
        if job not in todo:
            left_out |= job.rows().unreadable
    _check_share(listing, left_out, allowed)
    if not todo:
        return
    context = multiprocessing.get_context("forkserver")  # which imports this file once, and serves every packing
    context.set_forkserver_preload([__name__])
    count, stop = context.Value("q", 0), context.Value("b", 0)
    total = sum(len(job.files) for job in todo)
    workers = min(len(todo), cores())
    with (
        show(f"{listing.name}: packing", total) as one_more,
        ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(count, stop)) as pool,
    ):
        waiting: set[Future[dict[str, str]]] = {pool.submit(write_shard, job) for job in todo}
        shown = 0
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for _ in range(count.value - shown):
                    one_more()
                shown = count.value
                for future in done:
                    left_out |= future.result()
                _check_share(listing, left_out, allowed)
        except BrokenProcessPool as error:
            raise InductiveError(
                f"{listing.name}: a process that packs was killed (too little memory?); what is finished stays, and "
                f"`inductive prepare --dataset {listing.name}` goes on"
            ) from error
        finally:
            if waiting:
                stop.value = 1
                pool.shutdown(wait=True, cancel_futures=True)


def write_shard(job: _Job) -> dict[str, str]:
    """Writes one shard and, last, its sidecar. Returns the files that were left out, each with the reason."""
    about: dict[str, Any] = {}

    def write(file: IO[bytes]) -> None:
        rows, kept, unreadable = [], [], {}
        grey, offset, digest = True, 0, hashlib.sha256()
        for place, name in enumerate(job.files):
            if _stop is not None and _stop.value:
                raise _Stop
            data = _read(job.source / name, int(job.sizes[place]), int(job.times[place]))
            try:
                size, is_grey = _looked_at(data)
            except InductiveError as error:
                unreadable[name] = str(error)
            else:
                file.write(data)
                digest.update(data)
                mark = np.frombuffer(hashlib.sha256(data).digest()[:16], dtype=np.uint8)
                rows.append((job.number, offset, len(data), zlib.crc32(data), job.labels[place], size, mark))
                kept.append(job.first + place)
                offset += len(data)
                grey = grey and is_grey
            if _count is not None:
                with _count.get_lock():
                    _count.value += 1
        about.update(rows=np.array(rows, dtype=ROW), kept=np.array(kept, dtype=np.int64))
        about.update(grey=grey, unreadable=unreadable, sha256=digest.hexdigest())

    with _room(job.name, job.making, int(job.sizes.sum())):
        write_atomic_by(job.shard, write)
        words = json.dumps({key: about[key] for key in ("grey", "unreadable", "sha256")})
        write_atomic_by(
            job.sidecar, lambda file: np.savez(file, rows=about["rows"], kept=about["kept"], about=np.array(words))
        )
    unreadable: dict[str, str] = about["unreadable"]
    return unreadable


def _read(path: Path, size: int, changed: int) -> bytes:
    """The bytes of a file, as it was listed. Raises InductiveError for one that has changed, or is gone."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            data = file.read(size + 1)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise InductiveError(f"{path}: cannot be read while it is packed ({error.strerror}); nothing of it is "
                             "kept") from error  # fmt: skip
    known = (size, changed)
    if len(data) != size or any((one.st_size, one.st_mtime_ns) != known for one in (before, after)):
        raise InductiveError(f"{path}: was changed while it was packed: `inductive prepare` again, once it is still")
    return data


def _looked_at(data: bytes) -> tuple[tuple[int, int], bool]:
    """(height, width) of an image as it is shown, and whether it is grey. Raises UnreadableError; decodes all of it."""
    from PIL import Image

    from benchmarks.data.decoders import DEEP, opened

    image = opened(data, 3)
    with Image.open(io.BytesIO(data)) as header:
        return (image.height, image.width), header.mode in (*GREY, *DEEP)


def _finish(listing: Listing, making: Path, found: list[Rows]) -> None:
    """Writes index, names and, last, the manifest."""
    rows = np.concatenate([one.rows for one in found])
    kept = np.concatenate([one.kept for one in found])
    unreadable = {name: why for one in found for name, why in one.unreadable.items()}
    train = int((kept < listing.train).sum())
    counts = [np.bincount(part, minlength=len(listing.classes)) for part in np.split(rows["label"], [train])]
    for label, of_train, of_test in zip(listing.classes, *counts, strict=True):
        if not (of_train and of_test):
            raise InductiveError(
                f"{listing.name}: class {label} has too few images that can be decoded to be in the training and the "
                f"test part; left out: {_first(unreadable) or 'none'}"
            )
    write_atomic_by(making / INDEX, lambda file: np.save(file, rows))
    _write_names(making, [listing.files[number] for number in kept])
    shards = [
        Shard(f"{number:03d}.images", int(one.rows["bytes"].sum()), one.sha256) for number, one in enumerate(found)
    ]
    shorter = np.sort(rows["size"].min(axis=1))
    labels, marks = rows["label"], rows["sha256"]
    manifest = Manifest(
        name=listing.name,
        classes=listing.classes,
        channels=1 if all(one.grey for one in found) else 3,
        train_counts=tuple(counts[0].tolist()),
        test_count=len(rows) - train,
        sides=(int(shorter[0]), int(shorter[(len(shorter) - 1) // 2]), int(shorter[-1])),
        split=listing.split,
        source=listing.source,
        official=listing.official,
        unreadable=unreadable,
        shards=tuple(shards),
        index_sha256=_sha256(making / INDEX),
        digests={
            "train": part_digest(marks[:train], labels[:train]),
            "test": part_digest(marks[train:], labels[train:]),
        },
    )
    write_json(making / MANIFEST, manifest.values() | {"root": manifest.root})


def _write_names(folder: Path, names: Sequence[str]) -> None:
    text = "".join(f"{name}\n" for name in names)
    write_atomic(folder / NAMES, text.encode(errors="surrogateescape"))


@dataclass(frozen=True)
class Damage:
    """What of a store is not as it was written: numbers of shards, and whether the index is."""

    shards: tuple[int, ...]
    index: bool
    names: bool

    def __bool__(self) -> bool:
        return bool(self.shards) or self.index or self.names


def verify(folder: Path, show: Show = silently) -> Damage:
    """Reads every byte of a store, several shards at once. Raises InductiveError for a manifest that cannot be read."""
    manifest = read_manifest(folder)
    try:
        index = _sha256(folder / INDEX) != manifest.index_sha256
        count = 0 if index else len(read_index(folder))
        names = not index and (folder / NAMES).read_bytes().count(b"\n") != count
    except OSError:
        index, names = not (folder / INDEX).exists(), not (folder / NAMES).exists()

    def good(shard: Shard) -> bool:
        try:
            return _sha256(folder / shard.file) == shard.sha256
        except OSError:
            return False

    bad = []
    with (
        show(f"{manifest.name}: verifying shards", len(manifest.shards)) as one_more,
        ThreadPoolExecutor(cores()) as threads,
    ):
        for number, is_good in enumerate(threads.map(good, manifest.shards)):
            bad += [] if is_good else [number]
            one_more()
    return Damage(tuple(bad), index, names)


def repair(listing: Listing, folder: Path, damage: Damage) -> Iterator[str]:
    """Makes anew those shards that are damaged or gone, of the files they were made of: the same to the byte.

    For a store with a good index. Raises InductiveError naming the first file that is gone or has other bytes.
    """
    manifest, index = read_manifest(folder), read_index(folder)
    names = [file for file in listing.files if file not in manifest.unreadable]
    if len(names) != len(index):
        raise InductiveError(f"{folder}: has {len(index):,} images, and there are {len(names):,} files")
    if damage.names:
        _write_names(folder, names)
        yield f"{manifest.name}: {NAMES} written again"
    for number in damage.shards:
        shard = manifest.shards[number]
        write = partial(_write_again, index=index, number=number, names=names, source=listing.folder)
        with _room(manifest.name, folder, shard.bytes):
            write_atomic_by(folder / shard.file, write)
        if _sha256(folder / shard.file) != shard.sha256:
            raise InductiveError(f"{folder / shard.file}: its files were changed while it was made again")
        yield f"{manifest.name}: {shard.file} was damaged or gone, and is made again of the same files"


def _write_again(file: IO[bytes], index: NDArray[Any], number: int, names: Sequence[str], source: Path) -> None:
    for place in np.flatnonzero(index["shard"] == number).tolist():
        path = source / names[place]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InductiveError(f"{path}: cannot be read ({error.strerror}), so its shard stays damaged") from error
        if hashlib.sha256(data).digest()[:16] != index["sha256"][place].tobytes():
            raise InductiveError(f"{path}: has other bytes than those that were packed, so its shard stays damaged")
        file.write(data)


def lost(folder: Path, damage: Damage, source: Path) -> InductiveError:
    """What to say of a damaged store whose files are gone."""
    manifest = read_manifest(folder)
    if damage.index:
        what = f"{INDEX} is damaged or gone, and nothing else says where the images lie"
    elif not damage.shards:
        what = f"{NAMES} is damaged or gone"
    else:
        images = int(np.isin(read_index(folder)["shard"], damage.shards).sum())
        shards = ", ".join(manifest.shards[number].file for number in damage.shards)
        what = f"{shards} of {len(manifest.shards)} shards damaged or gone, with {images:,} images"
    return InductiveError(
        f"{manifest.name}: {folder}: {what}; and the files that they were made of are not at {source}. Put those files "
        f"or a copy of the damaged ones there, then `inductive prepare --dataset {manifest.name}` again"
    )


def _check_files(listing: Listing) -> None:
    """Raises InductiveError for names and sizes that the format cannot have."""
    for file, size in zip(listing.files, listing.sizes.tolist(), strict=True):
        if "\n" in file or "\r" in file:
            raise InductiveError(f"{listing.name}: {file!r} has a line break in its name; rename it")
        if size > MOST_BYTES:
            raise InductiveError(f"{listing.name}: {file} has {size:,} bytes; an image may have {MOST_BYTES:,}")


def _check_share(listing: Listing, unreadable: Mapping[str, str], allowed: int) -> None:
    if len(unreadable) > allowed:
        raise InductiveError(
            f"{listing.name}: {len(unreadable):,} of the {len(listing.files):,} files under {listing.folder} cannot be "
            f"decoded, of those looked at so far, and {allowed:,} may be left out: {_first(unreadable)}. Repair or "
            f"remove them, or allow a larger share: `--unreadable {_share(len(unreadable), len(listing.files))}` or "
            "more"
        )


def _share(count: int, of: int) -> str:
    """The smallest of three decimals that is enough: '0.017'."""
    return f"{math.ceil(1000 * count / of) / 1000:g}"


def _first(unreadable: Mapping[str, str]) -> str:
    """'a.jpg (truncated), b.jpg (...) and 3 more'."""
    more = len(unreadable) - SHOWN
    named = ", ".join(f"{name} ({why})" for name, why in list(unreadable.items())[:SHOWN])
    return named + (f" and {more:,} more" if more > 0 else "")


def _check_space(listing: Listing, folder: Path, images: int) -> None:
    """Raises InductiveError before anything is written to a disk that has no room for it."""
    needed = images + len(listing.files) * ROW.itemsize + sum(len(file) + 1 for file in listing.files) + SLACK
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InductiveError(
            f"{listing.name}: the disk of {_disk(folder)} has {gigabytes(free)} free, and packing needs "
            f"{gigabytes(needed)}; nothing is written. Make room, or name another data folder (--data DIR) with a link "
            f"to the images"
        )


@contextmanager
def _room(name: str, folder: Path, needed: int = 0) -> Iterator[None]:
    """Says of a disk that is full which it is, and how many bytes were `needed`; nothing half-written stays."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = gigabytes(shutil.disk_usage(folder).free)
        what = f"{free} free, and a shard takes {gigabytes(needed)}" if needed else f"{free} free"
        raise InductiveError(
            f"{name}: the disk of {_disk(folder)} is full ({error.strerror}; {what}). What is finished stays, and "
            f"`inductive prepare --dataset {name}` goes on once there is room"
        ) from error


def _disk(folder: Path) -> str:
    """'FOLDER (mounted at MOUNT)'."""
    place = folder.resolve()
    while not place.is_mount():
        place = place.parent
    return f"{folder} (mounted at {place})"


def gigabytes(count: int) -> str:
    """'1.9 GB', '12 MB'."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


@contextmanager
def _alone(making: Path) -> Iterator[None]:
    """One process at a time packs a data set; another waits. The lock goes with its process, however that ends."""
    with making.with_name(f"{making.name}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in UNLOCKED:
                raise
        yield


def _take_place(making: Path, folder: Path) -> None:
    """The finished store in place of the one before, which goes only then."""
    before = folder.with_name(f".{folder.name}.before")
    if folder.exists():
        folder.rename(before)
    making.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def _put_back(folder: Path) -> None:
    """After a kill between the two renames, the store of before is in its place again."""
    before = folder.with_name(f".{folder.name}.before")
    if before.exists() and not folder.exists():
        before.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
