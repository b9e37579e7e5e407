"""Attempts: who works on a run. A claim is the exclusive mkdir of `attempts/NNNN`; the highest number is the owner.

Nothing here needs a lock, a database or clocks that agree. On the same host, boot and pid namespace an owner is
dead as soon as its process is; elsewhere once its heartbeat is older than a grace time by the file server's clock, when
SLURM has started its job again here, or when SLURM's word that its job is over lies in its folder (`over`).
"""

import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.errors import OwnedError, RecordError
from benchmarks.files import read_json, read_json_or, write_atomic, write_json

BEAT_SECONDS = 5.0  # between heartbeats
CLAIM_SECONDS = 30.0  # for a claim to be signed with its owner.json
GRACE_SECONDS = 300.0  # without a heartbeat, seen from another host, before an owner counts as dead
HIDDEN = "hidden"  # the start of another user's process where /proc shows only one's own


@lru_cache(maxsize=1)
def here() -> dict[str, str]:
    """Where this process runs: host, boot and pid namespace ('-' where the system does not say)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = _output("sysctl", "-n", "kern.boottime")
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = "-"
    return {"host": socket.gethostname(), "boot": boot, "pid_namespace": namespace}


def process_start(pid: int) -> str | None:
    """When a process started, in the system's own terms; None when there is none or it is a zombie, HIDDEN when it
    lives and the system shows no more of it than that."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return HIDDEN if _lives(pid) else None
        return None if fields[0] in "ZX" else fields[19]
    state, _, start = _output("ps", "-o", "state=,lstart=", "-p", str(pid)).partition(" ")
    return None if not state or state.startswith("Z") else start.strip()


def _lives(pid: int) -> bool:
    """Whether another user's process is there; one's own would have been shown."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return "-"


def slurm_job() -> str | None:
    """The job that this process belongs to, as SLURM lists it: 17, or 17_3 in an array; None outside of SLURM.

    In an array SLURM_JOB_ID is another number, or the array's own.
    """
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")


def slurm_start() -> int:
    """How often SLURM has started this process's job again; 0 outside of SLURM."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


@dataclass(frozen=True)
class Attempt:
    """One attempt, as its folder tells. `owner` is None in the moment between its mkdir and its owner.json."""

    path: Path
    owner: Mapping[str, Any] | None
    ended: Mapping[str, Any] | None

    @property
    def number(self) -> int:
        return int(self.path.name)

    def alive(self) -> bool:
        """Whether somebody may still be writing."""
        if self.ended is not None:
            return False
        if self.owner is not None and self.is_here:
            return process_start(self.owner["pid"]) in (self.owner["process_start"], HIDDEN)
        if self.slurm_job and self.slurm_job == slurm_job() and self._start < slurm_start():
            return False  # SLURM has started this very job again: what its earlier start did runs nowhere
        if self.over():
            return False
        # Also where the sign of life is of the future: whose clock is ahead by more than that cannot be told from one
        # who died before the file server's clock was set back, and a live one that is taken over stops by itself.
        return abs(self.heartbeat_age()) < (CLAIM_SECONDS if self.owner is None else GRACE_SECONDS)

    @property
    def is_here(self) -> bool:
        """Whether its process runs, or ran, on this host since its last start, so that the system knows of it."""
        return self.owner is not None and all(self.owner[name] == value for name, value in here().items())

    @property
    def slurm_job(self) -> str:
        """The job that it belongs to, '' outside of SLURM."""
        return str((self.owner or {}).get("slurm_job") or "")

    @property
    def _start(self) -> int:
        """Of its job, as `slurm_start` says; before all of them in records that lack it."""
        return int((self.owner or {}).get("slurm_start", -1))

    def over(self) -> str:
        """What SLURM said of its job when that was over and this attempt had not ended: `FAILED`; '' otherwise, and
        where it has given a sign of life since: SLURM's word was of an earlier start of the job."""
        note = self.path / "over"
        try:
            word, noted = note.read_text(encoding="utf-8").strip(), note.stat().st_mtime
        except FileNotFoundError:
            return ""
        with suppress(OSError):
            if noted < (self.path / "heartbeat").stat().st_mtime <= _server_time(self.path.parent):
                return ""
        return word

    def note_over(self, word: str) -> None:
        """Leaves SLURM's word that its job is over, for all who ask later whether it is alive."""
        write_atomic(self.path / "over", f"{word}\n".encode())

    def heartbeat_age(self) -> float:
        """Seconds since the last sign of life, by the clock of the file server alone."""
        return _server_time(self.path.parent) - self._last_sign()

    def last_sign(self) -> datetime:
        """When it gave its last sign of life, by the file server's clock (UTC)."""
        return datetime.fromtimestamp(self._last_sign(), UTC)

    def _last_sign(self) -> float:
        times = []
        for sign in (self.path / "heartbeat", self.path / "owner.json", self.path):
            with suppress(OSError):
                times.append(sign.stat().st_mtime)
        return max(times, default=0.0)

    def heartbeat(self) -> dict[str, Any]:
        """The last heartbeat: step, steps, images_per_second; after training evaluating (number, of how many). Empty
        when there is none."""
        try:
            return dict(read_json(self.path / "heartbeat"))
        except RecordError:
            return {}

    def owner_text(self) -> str:
        """Who owns it: `host h, process 42, since 2026-01-01 12:00:00 UTC`."""
        if self.owner is None:
            return "an attempt that is just starting"
        over = f" (over: {self.over().lower()})" if self.over() else ""
        job = f", SLURM job {self.slurm_job}{over}" if self.slurm_job else ""
        return f"host {self.owner['host']}, process {self.owner['pid']}{job}, since {self.owner['started']}"

    def environment(self) -> dict[str, Any]:
        """What it noted about where it ran; empty where that is missing or torn."""
        try:
            value = read_json_or(f"{self.path}/environment.json")
        except RecordError:
            return {}
        return value if isinstance(value, dict) else {}

    def summary(self) -> dict[str, Any]:
        """number, start_step, state, step, error, seconds, images_per_second."""
        ended = self.ended or {"state": "running" if self.alive() else "lost", "step": None, "error": None}
        start = (self.owner or {}).get("start_step", 0)
        unknown = {"seconds": None, "images_per_second": None}
        return {"number": self.number, "start_step": start, **unknown, **ended}


def _server_time(folder: Path) -> float:
    """The file server's clock: the time it gives a file touched now; our own where the folder is read-only."""
    probe = folder / f".clock-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()


def read_attempts(folder: Path) -> tuple[Attempt, ...]:
    """The attempts of a run, oldest first."""
    found = []
    for path in sorted((folder / "attempts").glob("[0-9][0-9][0-9][0-9]")):
        found.append(Attempt(path, _read_part(path / "owner.json", "pid"), _read_part(path / "ended.json", "state")))
    return tuple(found)


def _read_part(path: Path, key: str) -> dict[str, Any] | None:
    """The content of a file of an attempt; None when it is missing or torn, as if its writer had died before it."""
    try:
        value = read_json(path)
    except RecordError:
        return None
    return value if isinstance(value, dict) and key in value else None


@dataclass
class Claim:
    """A claim this process holds: the highest attempt of a run."""

    path: Path
    started: float = field(default_factory=time.monotonic)
    _beaten: float = 0.0

    @property
    def number(self) -> int:
        return int(self.path.name)

    def started_at(self, step: int) -> None:
        """Notes the step at which this attempt took over."""
        write_json(self.path / "owner.json", {**read_json(self.path / "owner.json"), "start_step": step})

    def check(self) -> None:
        """Raises OwnedError when a higher attempt has taken over; called before whatever it would overwrite."""
        newest = max((int(path.name) for path in self.path.parent.glob("[0-9]*")), default=0)
        if newest != self.number:
            raise OwnedError(f"{self.path.parent.parent.name}: attempt {newest} took over from attempt {self.number}")

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file of the run, atomically. Raises OwnedError, with the old file in place, for an attempt that has
        lost the run; seen as late as can be, since a stalled process may wake up hours later."""
        write_atomic(path, data, self.check)

    def write_json(self, path: Path, value: Any) -> None:
        """As `write`, of one JSON document."""
        write_json(path, value, self.check)

    def beat(
        self, step: int, steps: int, images_per_second: float | None, evaluating: tuple[int, int] | None = None
    ) -> None:
        """A sign of life, at most every few seconds; `evaluating`: which evaluation is made, from 1, of how many."""
        now = time.monotonic()
        if now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            values: dict[str, Any] = {"step": step, "steps": steps, "images_per_second": images_per_second}
            if evaluating is not None:
                values["evaluating"] = evaluating
            temporary = self.path / ".heartbeat.tmp"  # renamed without fsync: it may be lost, not torn
            with suppress(OSError):  # a full disk must not stop the training; the run's own files report it
                temporary.write_text(json.dumps(values))
                temporary.replace(self.path / "heartbeat")

    def end(self, **values: Any) -> None:
        """Says how the attempt ended, as its last word."""
        write_json(self.path / "ended.json", values)
        (self.path / "heartbeat").unlink(missing_ok=True)


def claim(folder: Path, start_step: int = 0, **more: str) -> Claim:
    """Takes a run for this process. Raises OwnedError, saying by whom it is owned, while a live attempt has it.

    `more` is noted of the owner, too."""
    (folder / "attempts").mkdir(parents=True, exist_ok=True)
    attempts = read_attempts(folder)
    if attempts and attempts[-1].alive():
        raise OwnedError(f"{folder.name}: owned by {attempts[-1].owner_text()}")
    path = folder / "attempts" / f"{attempts[-1].number + 1 if attempts else 1:04d}"
    try:
        path.mkdir()
    except FileExistsError as error:
        raise OwnedError(f"{folder.name}: owned by {read_attempts(folder)[-1].owner_text()}") from error
    owner = {
        **here(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "platform": platform.system(),
        "slurm_job": slurm_job(),
        "slurm_start": slurm_start(),
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "start_step": start_step,
        **more,
    }
    try:
        write_json(path / "owner.json", owner)
    except OSError:
        path.rmdir()  # a full disk: an unsigned claim would keep others out
        raise
    return Claim(path)
