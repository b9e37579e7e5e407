"""Passes: `evaluations/NNNN.npz` of a record, all evaluations of one pass. The format is described in docs/records.md.

The member `index` says what was measured and comes first in the archive, uncompressed, so that those who want no
arrays (status, the report) find it without opening the archive.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import OwnedError, RecordError
from benchmarks.files import parsed_json, write_atomic
from benchmarks.records.sources import is_current

# What numpy, zipfile and json raise for an archive with flipped or missing bytes. A flipped flag makes a member look
# encrypted, or its compression unknown: zipfile says so by RuntimeError and by NotImplementedError, which is one.
DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

INDEX = b"index.npy"
LOCAL = struct.Struct("<4s5H3I2H")  # a member's header (PKWARE's APPNOTE 6.3, 4.3.7), before its name and extra field
LARGE = struct.Struct("<2H2Q")  # the extra field of numpy's members: sizes in 64 bits (4.5.3)
END = struct.Struct("<4s4H2IH")  # the end of an archive (4.3.16)
HEAD = 2**14  # bytes read at first: all of a pass that kept no predictions, the index of most others
NUMPY = struct.Struct("<6s2BH")  # the beginning of an array: magic, version 1.0, length of its header


def packed(entries: list[dict[str, Any]], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The archive of one pass: index entries, and arrays by name."""
    index = np.frombuffer(json.dumps(entries).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, index=index, **arrays)  # type: ignore[arg-type]  # its stub takes **arrays for allow_pickle
    return buffer.getvalue()


def write_evaluations(
    folder: Path,
    number: int,
    entries: list[dict[str, Any]],
    arrays: Mapping[str, NDArray[Any]],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Writes one pass of evaluations as `evaluations/NNNN.npz`, NNNN being the attempt that measured them. `check`
    raises OwnedError once another attempt has the run; then there is no such pass."""
    path = folder / "evaluations" / f"{number:04d}.npz"
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, packed(entries, arrays), check)
    try:
        check()
    except OwnedError:  # this process stalled just before it renamed the file
        path.unlink(missing_ok=True)
        raise


def pass_paths(folder: Path) -> list[Path]:
    """The passes of a record, oldest first."""
    return sorted((folder / "evaluations").glob("[0-9]*.npz"))


def without_logits(path: Path) -> bytes:
    """One pass with the predicted class of each image in place of its logits, about a twentieth of the bytes, or of its
    five first classes; what has no predicted class of its own (older records) stays as it is. Raises RecordError when
    the file is torn."""
    with opened_pass(path) as opened:
        try:
            entries = list(parsed_json(opened["index"].tobytes()))
            arrays = {name: opened[name] for name in opened.files if name != "index"}
        except DAMAGE as error:
            raise RecordError(f"{path}: cannot be read ({error}); {damage_remedy(path)}") from error
    for entry in entries:
        kept = entry.get("predictions")
        if kept in ("logits", "top5") and f"{entry['id']}.predicted" in arrays:
            del arrays[f"{entry['id']}.{kept}"]
            entry["predictions"] = "classes"
    return packed(entries, arrays)


@dataclass
class Pass:
    """Evaluations of one pass: index entries and arrays in the order of measuring, and the files that held them."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def unfinished_pass(folder: Path, since: int) -> Pass:
    """What attempts after number `since` have measured, by today's code, of a pass that none of them has ended. A torn
    file, or one of another run, holds nothing: what it held is measured anew. One of other code is none of it.
    """
    found = Pass()
    for path in pass_paths(folder):
        if int(path.stem) <= since:
            continue
        try:
            with opened_pass(path) as opened:
                entries = list(parsed_json(opened["index"].tobytes()))
                arrays = {name: opened[name] for name in opened.files if name != "index"}
        except (RecordError, *DAMAGE):
            found.files.append(path)
            continue
        if any(entry.get("run", folder.name) != folder.name for entry in entries):
            found.files.append(path)
            continue
        if not all(map(is_current, entries)):
            continue
        again = {entry["id"] for entry in entries}
        found.entries = [entry for entry in found.entries if entry["id"] not in again] + entries
        found.arrays |= arrays
        found.files.append(path)
    return found


def read_entries(path: str | Path) -> list[dict[str, Any]]:
    """The index entries of one pass. Raises RecordError when the file is torn."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (as in files.read_bytes_or_none)
            index = _first_member(file)
        if index is not None:
            return list(parsed_json(index))
    except DAMAGE as error:
        raise RecordError(f"{path}: cannot be read ({error}); {damage_remedy(path)}") from error
    with opened_pass(Path(path)) as arrays:  # an archive that something else has written anew
        try:
            return list(parsed_json(arrays["index"].tobytes()))
        except DAMAGE as error:
            raise RecordError(f"{path}: cannot be read ({error}); {damage_remedy(path)}") from error


def damage_remedy(path: str | Path) -> str:
    """What to do about a damaged pass: measured again where the run's weights lie beside it."""
    if (Path(path).parent.parent / "weights.safetensors").exists():
        return "remove this file: `inductive run` then makes its evaluations again"
    return "the run's weights were not kept: to train it again, remove its folder: `inductive run` then starts it anew"


def _first_member(file: io.FileIO) -> bytes | None:
    """The bytes of the index where it is the archive's first member and its checksum holds; None for any other archive.

    The archive's end is looked at as well: a file that is cut off has none. By hand: zipfile takes three times as long
    (numpy eight times), which `status` of ten thousand runs would feel; what is not as numpy writes it goes to numpy.
    """
    head = file.read(HEAD)
    start = LOCAL.size + len(INDEX) + LARGE.size
    if len(head) < start:
        return None
    signature, _, flags, method, _, _, checksum, small, _, name_length, extra_length = LOCAL.unpack_from(head)
    kind, _, size, _ = LARGE.unpack_from(head, LOCAL.size + len(INDEX))
    plain = signature == b"PK\3\4" and not flags & 0b1001 and method == zipfile.ZIP_STORED
    named = name_length == len(INDEX) and head[LOCAL.size :].startswith(INDEX)
    if not (plain and named and extra_length == LARGE.size and kind == 1 and small == 0xFFFFFFFF):
        return None
    length = os.fstat(file.fileno()).st_size
    if size > length or length < END.size:
        return None
    member = head[start : start + size]
    if len(member) < size:
        member += file.read(size - len(member))
    if len(head) < length:
        file.seek(length - END.size)
    end = END.unpack(file.read() if len(head) < length else head[-END.size :])
    if end[0] != b"PK\5\6" or end[5] + end[6] + END.size != length:
        return None
    magic, major, _, header = NUMPY.unpack_from(member)
    if zlib.crc32(member) != checksum or (magic, major) != (b"\x93NUMPY", 1):
        return None
    return member[NUMPY.size + header :]


@contextmanager
def opened_pass(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of one pass. Raises RecordError when the file is torn."""
    with path.open("rb") as file:
        try:
            arrays = np.load(file, allow_pickle=False)
        except DAMAGE as error:
            raise RecordError(f"{path}: cannot be read ({error}); {damage_remedy(path)}") from error
        with arrays:
            yield arrays
