"""The submission ledger: what was sent to SLURM, what is uncertain, and what came of it. One folder a submission.

    ROOT/.submissions/STUDY-TIME-HEX/        0700: submitit's pickles lie in it
        submission.json                      study, command, cluster, commit, runs held back; written once
        study.toml  plugins/NN/  code/       what the jobs run: frozen, whatever happens to the checkout
        changes.diff                         what of it was not committed
        arrays/NN.json                       an array: its unique name, the runs of its jobs, state, SLURM's job id
        arrays/NN.cancelled NN.I.cancelled   empty files: all its jobs, or job I, end at once, whoever starts them
        arrays/NN.I.error                    why job I ended badly: the last lines of its traceback or of its log
        arrays/NN.I.not-requeued             why job I, stopped, could not go back into the queue
        arrays/NN.I.time-limits              how often in a row job I was stopped by its time limit
        arrays/NN.reserve                    room for a line on each job, for when the disk is full
        submitit/                            job scripts, pickles, logs

An array is `intended` before sbatch is called, and `submitted` or `refused` after it. An intended one that nobody is
working on any more is uncertain: sbatch may have been killed before or after the controller took it. `settle` asks
for it by its name.
"""

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.attempts import here, process_start
from benchmarks.errors import RecordError
from benchmarks.files import read_json, write_atomic, write_json

FOLDER = ".submissions"
EXITED = r"(srun|slurmstepd): .*(Exited with exit code|Terminated|CANCELLED)"  # a line that gives no reason
ERROR_BYTES, RESERVED = 4000, 500  # kept of a job's last error: on disk, and where the disk is full


@dataclass(frozen=True)
class Array:
    """Jobs sent by one call of sbatch. `jobs` are lists of run ids; element i of the array runs jobs[i]."""

    path: Path
    name: str
    jobs: tuple[tuple[str, ...], ...]
    state: str  # intended, submitted, refused
    job: str = ""  # SLURM's id
    time: str = ""
    said: str = ""
    writer: Mapping[str, Any] | None = None  # who is calling sbatch

    @property
    def submission(self) -> Path:
        return self.path.parent.parent

    @property
    def runs(self) -> set[str]:
        return {run for job in self.jobs for run in job}

    @property
    def cancelled(self) -> bool:
        return self.marker.exists()

    @property
    def marker(self) -> Path:
        return self.path.with_suffix(".cancelled")

    def element_marker(self, number: int) -> Path:
        """The file that ends one job of the array."""
        return self.path.with_suffix(f".{number}.cancelled")

    def is_cancelled(self, number: int) -> bool:
        return self.cancelled or self.element_marker(number).exists()

    @property
    def reserve(self) -> Path:
        return self.path.with_suffix(".reserve")

    def error_file(self, number: int) -> Path:
        """Where the last error of one job of the array is kept."""
        return self.path.with_suffix(f".{number}.error")

    def requeue_mark(self, number: int) -> Path:
        """The file that tells the next `submit` why a job could not go back into the queue."""
        return self.path.with_suffix(f".{number}.not-requeued")

    def time_limits(self, number: int) -> int:
        """How often in a row a job was stopped by its time limit."""
        path = self.path.with_suffix(f".{number}.time-limits")
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            return 0

    def count_time_limit(self, number: int, by_limit: bool) -> None:
        """Counts a stop by the time limit; any other (a preemption) starts the count anew."""
        path = self.path.with_suffix(f".{number}.time-limits")
        with suppress(OSError):
            path.write_text(f"{self.time_limits(number) + 1 if by_limit else 0}\n")

    @property
    def in_hand(self) -> bool:
        """Whether a living process on this host is calling sbatch for it."""
        if self.state != "intended" or self.writer is None:
            return False
        same = all(self.writer.get(key) == value for key, value in here().items())
        return same and process_start(int(self.writer["pid"])) == self.writer["start"]

    def element(self, number: int) -> str:
        """SLURM's name of a job: an array of one is no array."""
        return self.job if len(self.jobs) == 1 else f"{self.job}_{number}"


def new_submission(root: Path, study: str) -> Path:
    """A new folder for a submission, readable by its owner alone."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    parent = root / FOLDER
    parent.mkdir(mode=0o700, exist_ok=True)
    folder = parent / f"{study}-{stamp}-{secrets.token_hex(3)}"
    for path in (folder, folder / "arrays", folder / "submitit"):
        path.mkdir(mode=0o700)
    return folder


def intend(submission: Path, number: int, jobs: list[list[str]]) -> Array:
    """Notes an array that is about to be submitted."""
    path = submission / "arrays" / f"{number:02d}.json"
    name = f"inductive-{submission.name}-{number:02d}"
    writer = {**here(), "pid": os.getpid(), "start": process_start(os.getpid())}
    array = Array(path, name, tuple(map(tuple, jobs)), "intended", time=now(), writer=writer)
    write_atomic(array.reserve, b" " * RESERVED * len(jobs))
    _write(array)
    return array


def settled(array: Array, state: str, job: str = "", said: str = "") -> Array:
    """Notes what came of an array."""
    known = replace(array, state=state, job=job or array.job, said=said, writer=None)
    _write(known)
    return known


def read_arrays(root: Path, study: str | None = None) -> list[Array]:
    """All arrays under a root, oldest first; of one study only where it is named."""
    return [array for folder in submissions(root, study) for array in _arrays(folder)]


def submissions(root: Path, study: str | None = None) -> list[Path]:
    """Folders of submissions that are whole, oldest first."""
    found = []
    for folder in sorted((root / FOLDER).glob("*-*-*")):
        try:
            about = read_json(folder / "submission.json")
        except RecordError:
            continue  # killed before anything was sent
        if study is None or about.get("study") == study:
            found.append((about.get("time", ""), folder))
    return [folder for _, folder in sorted(found)]


def note_error(array: Array, number: int, text: str) -> None:
    """Keeps the end of a job's last error ('' for none) for `status` and `logs`.

    Where the disk is full it goes into the place that was reserved for it. Raises OSError when that cannot be written.
    """
    data = text.strip().encode(errors="replace")
    try:
        if data:
            write_atomic(array.error_file(number), data[-ERROR_BYTES:])
        else:
            array.error_file(number).unlink(missing_ok=True)
    except OSError:
        _note_in_reserve(array, number, data)
    else:
        if not data and array.reserve.exists():
            _note_in_reserve(array, number, data)


def _note_in_reserve(array: Array, number: int, data: bytes) -> None:
    with array.reserve.open("r+b") as file:
        file.seek(number * RESERVED)
        file.write(data[-RESERVED:].ljust(RESERVED))
        file.flush()
        os.fsync(file.fileno())


def errors(array: Array) -> dict[int, str]:
    """The last error of each job of an array that has one, by its number."""
    found: dict[int, str] = {}
    if array.reserve.exists():
        data = array.reserve.read_bytes()
        for number in range(len(array.jobs)):
            found[number] = data[number * RESERVED :][:RESERVED].decode(errors="replace").strip()
    for path in array.path.parent.glob(f"{array.path.stem}.*.error"):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        number = int(path.name.split(".")[1])
        found[number] = text or found.get(number, "")
    return {number: text for number, text in found.items() if text}


def not_requeued(arrays: Iterable[Array]) -> dict[Path, tuple[str, str]]:
    """By the file that says so: the jobs that could not go back into the queue, and why."""
    found = {}
    for array in arrays:
        for path in sorted(array.path.parent.glob(f"{array.path.stem}.*.not-requeued")):
            reason = path.read_text(encoding="utf-8", errors="replace").strip()
            found[path] = array.element(int(path.name.split(".")[1])), reason
    return found


def last_errors(arrays: Iterable[Array]) -> dict[str, tuple[str, str]]:
    """By run id: the job that had the run on its list last, where that ended badly, and what its error says of the run
    (some lines)."""
    found: dict[str, tuple[str, str]] = {}
    for array in arrays:  # oldest first
        if array.state != "submitted":
            continue
        texts = errors(array)
        for number, job in enumerate(array.jobs):
            for run in job:
                text = _of_run(run, texts.get(number, ""), job)
                if text:
                    found[run] = array.element(number), text
                else:
                    found.pop(run, None)
    return found


def _of_run(run: str, text: str, job: tuple[str, ...]) -> str:
    """The lines of a job's error that are of a run, else those that are of no other run of the job."""
    lines = text.splitlines()
    own = [line.removeprefix(f"{run}: ") for line in lines if line.startswith(f"{run}: ")]
    return "\n".join(own or [line for line in lines if line.partition(": ")[0] not in job])


def error_line(text: str) -> str:
    """The last line of an error that says more than that something ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ([line for line in lines if not re.match(EXITED, line)] or lines or [""])[-1]


def held_back(submission: Path) -> frozenset[str]:
    """Runs that had no room in the queue when this submission was made."""
    return frozenset(read_json(submission / "submission.json").get("held", ()))


def _arrays(folder: Path) -> Iterator[Array]:
    yield from (
        read_array(path) for path in sorted((folder / "arrays").glob("*.json"), key=lambda path: int(path.stem))
    )


def read_array(path: Path) -> Array:
    """An array's file. Raises RecordError when it cannot be read."""
    known = read_json(path)
    known["jobs"] = tuple(map(tuple, known["jobs"]))
    return Array(path=path, **known)


def _write(array: Array) -> None:
    known = asdict(array)
    del known["path"]
    write_json(array.path, known)


def now() -> str:
    """This moment, as the ledger notes it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
