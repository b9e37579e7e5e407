"""Copies of shards on a disk of the node: made once for all jobs there, verified, and removed once nobody has used them
for some days.

Under the scratch folder, in `inductive/`: ROOT (the first digits of the manifest's root digest) is a copy, whole or not
there; ROOT.making is one that is being made, or removed; ROOT.lock is locked by whoever does that (exclusively) or uses
the copy (shared), and its time is that of the last use.
"""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.data.photographs import INDEX, MANIFEST, NAMES, Store
from benchmarks.errors import InductiveError
from benchmarks.files import sync_folder

log = logging.getLogger("inductive")

FOLDER = "inductive"  # in the scratch folder
DAYS = 7.0  # after the last use
DIGITS = 16  # of the root digest
MAKING = ".making"
BLOCK = 16 * 2**20  # bytes copied at once
WAIT = 0.5  # seconds, while another job of the node copies


@contextmanager
def staged(store: Store, scratch: Path, alive: Callable[[], object] = lambda: None) -> Iterator[Store]:
    """A store's copy under `scratch`, made where it is not there yet; kept by everyone while this is open. `alive` is
    called again and again while it is made, here or by another job.

    Raises InductiveError for a disk that is full, saying what it needs, and for a shard that is not what the manifest
    says; then nothing is left of the copy."""
    place = scratch / FOLDER
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InductiveError(f"scratch: {place} cannot be made ({error.strerror})") from error
    remove_old(place)
    copy = place / store.manifest.root[:DIGITS]
    with copy.with_suffix(".lock").open("a") as lock:
        while True:
            _lock(lock, fcntl.LOCK_SH, alive)
            if (copy / MANIFEST).exists():
                break
            _lock(lock, fcntl.LOCK_EX, alive)
            if not (copy / MANIFEST).exists():  # nobody else has made it meanwhile
                _make(store, copy, alive)
        os.utime(lock.fileno())
        try:
            yield Store(copy)
        finally:
            os.utime(lock.fileno())


def _lock(file: IO[str], kind: int, alive: Callable[[], object]) -> None:
    """Waits for a lock of a kind."""
    while True:
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            alive()
            time.sleep(WAIT)


def remove_old(place: Path, days: float = DAYS) -> None:
    """Removes the copies that nobody uses and nobody has used for so many days."""
    for path in sorted(place.glob("*.lock")):
        if time.time() - path.stat().st_mtime < days * 86_400:
            continue
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # in use
                continue
            copy, making = path.with_suffix(""), path.with_suffix(MAKING)
            if making.exists():  # of a job that was killed
                shutil.rmtree(making)
            if copy.exists():
                copy.rename(making)  # at once, so that nobody takes what is left of it for a copy
                shutil.rmtree(making)
                log.info("%s: removed, unused for %g days", copy, days)


def _make(store: Store, copy: Path, alive: Callable[[], object]) -> None:
    """Copies a store, each file compared with its digest while it is copied."""
    making = copy.with_suffix(MAKING)
    if making.exists():  # of a job that was killed
        shutil.rmtree(making)
    needed, free = store.manifest.bytes + store.index.nbytes, shutil.disk_usage(copy.parent).free
    if needed > free:
        raise _full(store, copy, needed, free)
    log.info("copying %s to %s, %.1f GB", store.manifest.name, copy, needed / 1e9)
    digests = {shard.file: shard.sha256 for shard in store.manifest.shards} | {INDEX: store.manifest.index_sha256}
    try:
        making.mkdir()
        for name, sha256 in digests.items():
            found = _copied(store.folder / name, making / name, alive)
            if found != sha256:
                raise InductiveError(
                    f"{store.folder / name}: its SHA-256 is {found[:12]}, the manifest's {sha256[:12]}: the shard is "
                    f"damaged; `inductive prepare --dataset {store.manifest.name}` makes it anew"
                )
        for name in (NAMES, MANIFEST):
            _copied(store.folder / name, making / name, alive)
        sync_folder(making)
        making.rename(copy)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(store, copy, needed, shutil.disk_usage(copy.parent).free) from error
        raise InductiveError(
            f"{store.manifest.name} cannot be copied to {copy} ({error}): `inductive prepare --dataset "
            f"{store.manifest.name}` looks at every shard"
        ) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _copied(source: Path, target: Path, alive: Callable[[], object]) -> str:
    """Copies a file; SHA-256 of what was read."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("xb") as write:
        while block := read.read(BLOCK):
            digest.update(block)
            write.write(block)
            alive()
        write.flush()
        os.fsync(write.fileno())
    return digest.hexdigest()


def _full(store: Store, copy: Path, needed: int, free: int) -> InductiveError:
    return InductiveError(
        f"scratch: {copy.parent} has {free / 1e9:.1f} GB free, and {store.manifest.name} takes {needed / 1e9:.1f} GB: "
        f"free some, or name another folder, or none (cluster.toml without scratch: shards are read where they lie)"
    )
