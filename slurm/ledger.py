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
    ROOT/.submissions/.claims/STUDY/         who submits or cancels now: claimed as a run is (records/attempts)

An array is `intended` before sbatch is called, and `submitted` or `refused` after it. An intended one that nobody is
working on any more is uncertain: sbatch may have been killed before or after the controller took it. `settle` asks
for it by its name.
"""

import getpass
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.console import count
from benchmarks.errors import ConfigError, InductiveError, OwnedError, RecordError
from benchmarks.files import read_json, write_atomic, write_json
from benchmarks.records.attempts import Attempt, Claim, claim, here, process_start, read_attempts
from models.hints import did_you_mean

FOLDER = ".submissions"
CLAIMS = ".claims"
EXITED = r"(srun|slurmstepd): .*(Exited with exit code|Terminated|CANCELLED)"  # a line that gives no reason
ERROR_BYTES, RESERVED = 4000, 500  # kept of a job's last error: on disk, and where the disk is full
LOG_BYTES = 100_000  # of a job's log that are read for the reason of its death
LINE = 300  # letters of it that are shown
PASSED = ("runs to do", "completed successfully", " CANCELLED AT ", " DUE TO PREEMPTION ", " DUE TO NODE FAILURE")


@dataclass(frozen=True)
class Array:
    """Jobs sent by one call of sbatch. `jobs` are lists of run ids; element i of the array runs jobs[i]."""

    path: Path
    name: str
    jobs: tuple[tuple[str, ...], ...]
    state: str  # intended, submitted, refused
    job: str = ""  # SLURM's id
    time: str = ""
    said: str = ""  # why it was refused, under the name that it has on disk
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


@contextmanager
def claimed(root: Path, study: str, patience: float = 0.0) -> Iterator[Claim]:
    """The sole right to send jobs of a study, or to take them back, for as long as the context lasts.

    Whoever has it looks at queue and ledger, decides and sends without another doing the same. It waits `patience`
    seconds for somebody else to end; then OwnedError says who that is. Call `check` of what it yields before each step
    that cannot be undone: whoever stood still for long may have been taken for dead.
    """
    folder = _made(root) / CLAIMS / study
    for path in (folder.parent, folder, folder / "attempts"):
        path.mkdir(exist_ok=True)
        if is_own(path):
            _open_to(path, (root / FOLDER).stat().st_mode & 0o7777, root.stat().st_gid)
    end = time.monotonic() + patience
    while True:
        try:
            held = claim(folder, user=getpass.getuser())
            held.check()  # whoever was slow may have made a folder that was cleared away
            break
        except OwnedError as error:
            if time.monotonic() >= end:
                raise OwnedError(
                    f"{study}: {_owner_text(read_attempts(folder)[-1])}; wait for it, or end it"
                ) from error
        time.sleep(1.0)
    try:
        yield held
    finally:
        with suppress(FileNotFoundError):  # another has taken over, and cleared this away
            held.end(state="done")
        for older in read_attempts(folder)[:-1]:
            shutil.rmtree(older.path, ignore_errors=True)  # another user's stays


def claimant(root: Path, study: str) -> str:
    """Who is submitting or cancelling jobs of a study right now; '' when nobody is."""
    attempts = read_attempts(root / FOLDER / CLAIMS / study)
    return _owner_text(attempts[-1]) if attempts and attempts[-1].alive() else ""


def _owner_text(attempt: Attempt) -> str:
    user = (attempt.owner or {}).get("user", "somebody")
    return f"{user} is submitting or cancelling its jobs right now: {attempt.owner_text()}"


def _made(root: Path) -> Path:
    """The folder of all submissions, safe to put one's own into. Raises InductiveError where it is not.

    Where a group may write the runs folder, all of it may submit: nobody can remove or exchange what is another's (the
    sticky bit), and each reads what the others have sent, but not their pickles.
    """
    folder = root / FOLDER
    about = root.stat()
    mode = 0o1000 | (about.st_mode & 0o777) if about.st_mode & 0o022 else 0o700
    try:
        folder.mkdir(mode=0o700)
        _open_to(folder, mode, about.st_gid)
    except FileExistsError:
        if is_own(folder) and mode != 0o700 and stat.S_IMODE(folder.lstat().st_mode) == 0o700:
            _open_to(folder, mode, about.st_gid)  # the runs folder was opened to a group since
    check_folder(root)
    return folder


def _open_to(path: Path, mode: int, group: int) -> None:
    """Gives a folder of one's own its mode, and its group where that may look into it."""
    if mode != 0o700 and path.stat().st_gid != group:
        os.chown(path, -1, group)
    path.chmod(mode)


def check_folder(root: Path) -> None:
    """Raises InductiveError where the folder of all submissions is another's who should not have it, or where anybody
    could exchange what lies in it: jobs run what they find there. One that is not there yet is fine."""
    folder = root / FOLDER
    try:
        about = folder.lstat()
    except FileNotFoundError:
        return
    shared = root.stat().st_mode & 0o022
    if not stat.S_ISDIR(about.st_mode):
        raise InductiveError(f"{folder} is no folder: remove it, and `submit` makes one")
    if about.st_uid not in (os.getuid(), 0, root.stat().st_uid) and not shared:
        raise InductiveError(
            f"{folder} belongs to {owner_of(folder)}, and jobs would run what lies in it: use a --runs of your own, or "
            f"let the group write {root}"
        )
    if about.st_mode & 0o022 and not about.st_mode & 0o1000:
        raise InductiveError(
            f"{folder} has the mode {about.st_mode & 0o7777:o}: others could exchange what jobs run. "
            f"`chmod +t {folder}` forbids it"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise InductiveError(
            f"{folder} belongs to {owner_of(folder)} and has the mode {about.st_mode & 0o7777:o}, so jobs that others "
            f"have sent cannot be seen: their next `submit` opens it, where the group may write {root}"
        )
    for path in (*folder.glob("[!.]*-*-*"), *folder.glob("[!.]*-*-*/submitit")):
        known = path.lstat()
        if known.st_uid == os.getuid() and known.st_mode & 0o022:
            raise InductiveError(f"{path} can be written by others, and jobs run what lies in it: `chmod go-w {path}`")
        if known.st_uid not in (os.getuid(), 0) and not shared:
            raise InductiveError(f"{path} belongs to {owner_of(path)}, in a runs folder that nobody shares: remove it")


def owner_of(path: Path) -> str:
    """The account that a file belongs to; its number where it has no name here."""
    try:
        return path.owner()
    except KeyError:
        return f"user {path.lstat().st_uid}"


def new_submission(root: Path, study: str) -> Path:
    """A new folder for a submission: its owner's alone, but for the ledger, which a group that shares it may read."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = _made(root) / f"{study}-{stamp}-{secrets.token_hex(3)}"
    readable = 0o750 if folder.parent.stat().st_mode & 0o070 else 0o700
    for path, mode in ((folder, readable), (folder / "arrays", readable), (folder / "submitit", 0o700)):
        path.mkdir(mode=0o700)
        _open_to(path, mode, folder.parent.stat().st_gid)
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
    """Folders of submissions that are whole and readable, oldest first."""
    return [folder for _, name, folder in _sorted(root) if study in (None, name)]


def study_names(root: Path) -> list[str]:
    """The studies that have been submitted."""
    return sorted({name for _, name, _ in _sorted(root)})


def submitted_name(study: str, root: Path) -> str:
    """The name under which a study, given by name or path, was submitted. Raises ConfigError, with the nearest."""
    name = Path(study).stem if study.endswith(".toml") else study
    names = study_names(root)
    if name not in names:
        for note in unread(root):
            raise InductiveError(note)
        there = f"there are {', '.join(names)}" if names else "nothing has been submitted"
        raise ConfigError("", f"no jobs of '{name}' under {root}; {there}{did_you_mean(name, names)}")
    return name


def _sorted(root: Path) -> list[tuple[str, str, Path]]:
    """(time, study, folder) of each submission."""
    found = []
    for folder in (root / FOLDER).glob("[!.]*-*-*"):
        try:
            about = read_json(folder / "submission.json")
        except RecordError:
            continue  # killed before anything was sent, or another's, which `unread` counts
        found.append((about.get("time", ""), about.get("study", ""), folder))
    return sorted(found)


def unread(root: Path) -> Iterator[str]:
    """What of the ledger this account cannot read, in sentences: whose jobs nothing is known of."""
    folder = root / FOLDER
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        yield f"the submissions of {owner_of(folder)} cannot be read ({folder}); their jobs are not seen"
        return
    closed = [path for path in folder.glob("[!.]*-*-*") if not is_own(path) and not _is_readable(path)]
    for user in sorted({owner_of(path) for path in closed}):
        several = count(sum(owner_of(path) == user for path in closed), "submissions")
        yield f"{several} of {user} cannot be read; their jobs are not seen"


def _is_readable(submission: Path) -> bool:
    """Whether another's submission can be read; one that was never sent needs not be."""
    if not os.access(submission, os.R_OK | os.X_OK):
        return False
    about = submission / "submission.json"
    return not about.exists() or (os.access(about, os.R_OK) and os.access(submission / "arrays", os.R_OK | os.X_OK))


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


def rest_name(submission: Path) -> str:
    """The unique name of the job that submits what a submission has held back."""
    return f"inductive-{submission.name}-rest"


def rest_error(submission: Path) -> str:
    """Why that job ended badly, in a line; '' where it did not."""
    try:
        text = (submission / "arrays" / "rest.0.error").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "".join(_shown(error_line(text)))


def confirms(submission: Path) -> bool:
    """Whether what a submission searches is confirmed by runs that are not known yet, which a job after it submits."""
    return bool(read_json(submission / "submission.json").get("confirms"))  # absent in early submissions


def leaves_a_rest(submission: Path) -> bool:
    """Whether a job submits what a submission has held back, or what confirms its search."""
    about = read_json(submission / "submission.json")
    dependent = bool(about.get("held")) and about.get("cluster", {}).get("over") == "dependent"
    return dependent or confirms(submission)


def is_own(submission: Path) -> bool:
    """Whether this account has made a submission."""
    return submission.lstat().st_uid == os.getuid()


def error_of(array: Array, number: int, errors: Mapping[int, str]) -> str:
    """Why a job of an array died, in a line, as far as it could tell; '' where it told nothing."""
    line = "".join(_shown(error_line(errors.get(number, ""))))
    return next((line.removeprefix(f"{run}: ") for run in array.jobs[number] if line.startswith(f"{run}: ")), line)


def log_path(array: Array, number: int) -> Path:
    """The log of a job: what srun and Python have printed."""
    return array.submission / "submitit" / f"{array.element(number)}_0_log.out"


def log_reason(array: Array, number: int) -> str:
    """Why a job began none of its runs, from its log: the first failure, or its last words; '' where it tells none."""
    try:
        with log_path(array, number).open("rb") as file:
            text = file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = _shown(text)
    failed = re.search(r": failed after [^(]*\((.*)\)", "\n".join(lines))
    if failed:
        return failed[1]
    if any(word in line for line in lines for word in PASSED):
        return ""
    return error_line("\n".join(lines))


def _shown(text: str) -> list[str]:
    """Lines with something in them, short, without the signs that a terminal would obey."""
    lines = ("".join(sign if sign.isprintable() else " " for sign in line).strip() for line in text.splitlines())
    return [line[:LINE] for line in lines if line]


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
