"""metrics.jsonl: a line for each logged step, with no times in it, so that equal runs leave equal files."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.errors import RecordError

log = logging.getLogger("inductive")


def logged(step: int, steps: int) -> bool:
    """Whether the step with this number (1-based) is logged: the first ten, about a hundred more, the last."""
    return step <= 10 or step % max(1, steps // 100) == 0 or step == steps


class Metrics:
    """The metrics of a run being trained; rows are held until `write`, so a full disk loses none while it lasts."""

    def __init__(self, path: Path, steps: int, validation_interval: int = 0):
        self.path, self.steps, self.interval = path, steps, validation_interval
        self.waiting: list[str] = []

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

    def cut(self, step: int) -> None:
        """Removes what lies after a step: the rows, and a torn last line, of an attempt that was continued earlier."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                    break
                end += len(line)
            file.truncate(end)
            os.fsync(file.fileno())

    def write(self) -> None:
        """Appends the waiting rows durably. Raises OSError when the disk is full, with nothing half-written."""
        if not self.waiting:
            return
        data = "".join(self.waiting).encode()
        with self.path.open("ab") as file:
            before = file.tell()
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        self.waiting.clear()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file; a torn last line is left out. Raises RecordError for damage elsewhere."""
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        raise RecordError(f"{path}: damaged ({error})") from error
