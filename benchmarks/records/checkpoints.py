"""Checkpoints: the two newest are kept, damage is found before it is loaded, and loading runs no code."""

import hashlib
import io
import logging
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.errors import OwnedError, RecordError
from benchmarks.files import write_atomic

log = logging.getLogger("inductive")

KEEP = 2


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def save_checkpoint(
    folder: Path, step: int, state: Mapping[str, Any], check: Callable[[], None] = lambda: None
) -> bool:
    """Writes a checkpoint and removes all but the two newest. Returns False, with a warning, when the disk is full.

    The checkpoints before stay intact then, and training can go on. `check` raises OwnedError once another attempt has
    the run; then there is no new checkpoint. What a device has still to report of its work is raised as it is.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getvalue()
    path = folder / f"checkpoint-{step:08d}-{_digest(data)}.pt"
    try:
        write_atomic(path, data, check)
        try:
            check()
        except OwnedError:  # this process stalled just before it renamed the file
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        log.warning("checkpoint at step %d could not be written (%s); the one before stays", step, error)
        return False
    for old in checkpoint_paths(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return True


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest undamaged checkpoint, or None. Each damaged one is warned of, and set aside as `*.damaged`, so that
    it is not kept in place of a good one. Raises RecordError naming one that cannot be read: it may be whole."""
    for path in checkpoint_paths(folder):
        data = _read(path)
        damage = _damage(path, data)
        if damage is None:
            try:
                return dict(torch.load(io.BytesIO(data), weights_only=True, map_location="cpu"))
            except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
                damage = str(error)
        log.warning("%s is damaged (%s); using the one before", path.name, damage)
        path.replace(path.with_suffix(".damaged"))
    return None


def drop_checkpoints(folder: Path) -> None:
    """Removes all checkpoints of a finished run, and what killed attempts were writing."""
    for path in [*checkpoint_paths(folder), *folder.glob("checkpoint-*.damaged"), *folder.glob(".*.tmp")]:
        path.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error}); nothing is lost: the run resumes once it can") from error


def _damage(path: Path, data: bytes) -> str | None:
    """What is wrong with the content of a file, or None.

    The digest in its name covers every byte: torch loads a flipped one silently, and the archive's own CRC does not
    cover its directory. The CRC is tested as well, for what was torn before it was digested.
    """
    if path.stem.rpartition("-")[2] != _digest(data):
        return "its bytes are not those that were written"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            torn = archive.testzip()
    except zipfile.BadZipFile as error:
        return str(error) or type(error).__name__
    return f"wrong checksum of {torn}" if torn else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
