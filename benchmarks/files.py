"""Files that are either whole or not there: a temporary name in the same folder, fsync, rename, fsync of the folder."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from pydantic_core import from_json

from benchmarks.errors import RecordError

MISSING = object()


def write_atomic(path: Path, data: bytes, check: Callable[[], None] = lambda: None) -> None:
    """Writes `data` to `path` so that readers see the old file or the new one, and a power cut leaves one of them.

    `check` is called when all that is left is to rename: what it raises leaves the old file."""
    write_atomic_by(path, lambda file: file.write(data), check)


def write_atomic_by(path: Path, write: Callable[[IO[bytes]], object], check: Callable[[], None] = lambda: None) -> None:
    """As `write_atomic`, with a function that writes into the open file. On any error the old file stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # hosts that share a disk share pids
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        check()
        try:
            temporary.replace(path)
        except FileNotFoundError:
            check()  # whoever finishes a run removes the temporary files of those who have lost it
            raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, check: Callable[[], None] = lambda: None) -> None:
    """Writes one JSON document, atomically; `check`: see `write_atomic`."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), check)


def read_json(path: Path) -> Any:
    """One JSON document. Raises RecordError naming the file when it is missing, torn or no JSON."""
    value = read_json_or(path, MISSING)
    if value is MISSING:
        raise RecordError(f"{path}: there is no such file")
    return value


def parsed_json(data: bytes) -> Any:
    """What a JSON document says. Raises ValueError, as json does, for what is none.

    By pydantic's parser, which takes a third of the time; what it refuses is json's to judge (half of a surrogate pair
    in the name of a file).
    """
    try:
        return from_json(data)
    except ValueError:
        return json.loads(data)


def read_bytes_or_none(path: str) -> bytes | None:
    """A whole file, None where it is not there. Raises RecordError naming a file that cannot be read.

    For files by the ten thousand: without a buffer, which costs as much as the small file itself."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (a Path costs as much as the file)
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error


def read_json_or(path: str | Path, missing: Any = None) -> Any:
    """As `read_json`, with the value to return for a file that is not there."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (by the ten thousand: a Path costs as much as the file)
            data = file.read()
        return parsed_json(data)
    except FileNotFoundError:
        return missing
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error
