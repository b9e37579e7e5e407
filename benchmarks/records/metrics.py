"""metrics.jsonl: a line for each logged step, with no times in it, so that equal runs leave equal files."""

import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.errors import OwnedError, RecordError
from benchmarks.files import write_atomic

log = logging.getLogger("inductive")

NUMBERS = frozenset({int, float, bool, type(None)})  # the types of a row's values in JSON; null: not finite


def logged(step: int, steps: int) -> bool:
    """Whether the step with this number (1-based) is logged: the first ten, about a hundred more, the last."""
    return step <= 10 or step % max(1, steps // 100) == 0 or step == steps


class Metrics:
    """The metrics of a run being trained; rows are held until `write`, so a full disk loses none while it lasts.

    An attempt knows what the file must hold and puts that in place of anything else it finds: of rows after its own
    checkpoint, and of those that an attempt which has lost the run was still adding. `check` raises OwnedError once
    this attempt is itself such a one; it then takes back what it has just added.
    """

    def __init__(self, path: Path, steps: int, validation_interval: int = 0, check: Callable[[], None] = lambda: None):
        self.path, self.steps, self.interval, self.check = path, steps, validation_interval, check
        self.waiting: list[str] = []
        self.written = b""  # what the file must hold

    def validates(self, step: int) -> bool:
        """Whether the network is measured on the validation part after this step: after each interval and the last."""
        return self.interval > 0 and (step % self.interval == 0 or step == self.steps)

    def wants(self, step: int) -> bool:
        """Whether there is a row for this step."""
        return logged(step, self.steps) or self.validates(step)

    def add(self, step: int, row: Mapping[str, float | None]) -> None:
        """Notes the metrics of a step, if it is one that gets a row."""
        if self.wants(step):
            self.waiting.append(json.dumps({"step": step, **row}) + "\n")

    def start(self, step: int) -> None:
        """Takes over the rows up to a step; what lies after them, a torn last line also, goes with the next `write`."""
        self.written = b""
        for line in self._found().splitlines(keepends=True):
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
            self.written += line

    def write(self) -> None:
        """Adds the waiting rows durably. Raises OSError when the disk is full, with nothing half-written."""
        if not self.waiting:
            return
        data = "".join(self.waiting).encode()
        if self._size() == len(self.written):
            self._append(data)
        else:
            write_atomic(self.path, self.written + data, self.check)
        self.written += data
        self.waiting.clear()

    def finish(self) -> None:
        """As `write`, for the last time: the file then holds this attempt's rows and nothing else."""
        self.write()
        if self._found() != self.written:
            write_atomic(self.path, self.written, self.check)

    def _append(self, data: bytes) -> None:
        with self.path.open("a+b", buffering=0) as file:
            done = 0
            try:
                while done < len(data):
                    done += file.write(data[done:])
                os.fsync(file.fileno())
                self.check()
            except (OSError, OwnedError):
                _take_back(file, data[:done])
                raise

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _found(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""


def _take_back(file: io.FileIO, data: bytes) -> None:
    """Cuts off what has just been appended, unless somebody has added more: then the run's owner puts it in order. By
    the open file: where the owner has put another in its place, that one stays as it is."""
    end = file.tell()
    if file.seek(0, os.SEEK_END) == end:
        file.truncate(end - len(data))
        os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file; a torn last line is left out. Raises RecordError for damage elsewhere."""
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        rows: list[dict[str, float]] = json.loads(f"[{','.join(whole)}]")  # all at once, which is faster
        for row in rows:
            if not isinstance(row, dict) or not NUMBERS.issuperset(map(type, row.values())):
                raise ValueError(f"no row of numbers: {str(row)[:60]}")
        return rows
    except ValueError as error:
        raise RecordError(f"{path}: damaged ({error}): its rows are lost, a result stands without them") from error
