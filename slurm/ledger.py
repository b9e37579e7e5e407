"""The submission ledger: what was sent to SLURM, what is uncertain, and what came of it. One folder a submission.

    ROOT/.submissions/STUDY-TIME-HEX/        0700: submitit's pickles lie in it
        submission.json                      study, command, cluster, commit, runs held back; written once
        study.toml  plugins/NN/  code/       what the jobs run: frozen, whatever happens to the checkout
        changes.diff                         what of it was not committed
        arrays/NN.json                       an array: its unique name, the runs of its jobs, state, SLURM's job id
        arrays/NN.cancelled NN.I.cancelled   empty files: all its jobs, or job I, end at once, whoever starts them
        submitit/                            job scripts, pickles, logs

An array is `intended` before sbatch is called, and `submitted` or `refused` after it. An intended one that nobody is
working on any more is uncertain: sbatch may have been killed before or after the controller took it. `settle` asks
for it by its name.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.attempts import here, process_start
from benchmarks.errors import RecordError
from benchmarks.files import read_json, write_json

FOLDER = ".submissions"


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
