"""The body of a job: its runs, several side by side, until they are done or the job is told to stop.

submitit unpickles the name of `work` and a JSON text, nothing else. From exec on USR1, USR2 and TERM are blocked (the
job's command says so) until handlers stand that only note them. A signal means: every run finishes its step and
saves. Then the job goes back into the queue if it was preempted or its time is over, and only if SLURM does not end it
anyway; a cancelled one never does.
"""

import json
import logging
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import models
from benchmarks import local
from benchmarks.attempts import claim, slurm_job
from benchmarks.datasets import Places
from benchmarks.errors import FAILED, OwnedError
from benchmarks.execute import Settings
from benchmarks.files import read_json
from benchmarks.local import Ending, Task
from benchmarks.progress import Lines, say
from benchmarks.record import Record
from benchmarks.states import run_state
from benchmarks.study import Study, read_study
from slurm.commands import SlurmError, call
from slurm.freeze import load_plugins
from slurm.ledger import Array, note_error, read_array
from slurm.queue import job_facts

log = logging.getLogger("inductive")

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
BLOCKED = " ".join(f"--block-signal={number.name.removeprefix('SIG')}" for number in SIGNALS)
HOPELESS = 3  # attempts in a row that began at the same step
GIVEN_UP = "no progress"
BAD = ("failed", "lost")  # endings of a run that are errors of its job


@dataclass(frozen=True)
class Order:
    """What a job is told: an array of a submission, and which of its jobs it is."""

    array: str
    element: int

    def text(self) -> str:
        return json.dumps({"array": self.array, "element": self.element})


class Errors:
    """What has gone wrong in this job, kept in the submission's folder as it comes: its runs may have no record yet,
    and the disk no room for one."""

    def __init__(self, array: Array, element: int):
        self.array, self.element = array, element
        self.lines: list[str] = []
        self._keep()

    def add(self, line: str) -> None:
        self.lines.append(line)
        self._keep()

    def _keep(self) -> None:
        try:
            note_error(self.array, self.element, "\n".join(self.lines))
        except OSError as error:
            log.warning("the last error could not be kept: %s", error)


class Log(Lines):
    """The job's log, which keeps the failures of runs."""

    def __init__(self, console: Console, total: int, errors: Errors):
        super().__init__(console, total, 1)
        self.errors = errors

    def ended(self, ending: Ending) -> None:
        super().ended(ending)
        if ending.state in BAD:
            self.errors.add(f"{ending.task.run.id}: {ending.line}")


def work(text: str) -> str:
    """Works through a job's list of runs. Returns in a word how it went; its log says more.

    Exits with a failing code when a run has failed, and raises what stops the job itself; both are kept as its last
    error.
    """
    with noted() as seen:
        order = Order(**json.loads(text))
        array = read_array(Path(order.array))
        errors = Errors(array, order.element)
        try:
            outcome = _work(array, order.element, seen, errors)
        except Exception as error:
            errors.add("".join(traceback.format_exception(error)))
            raise
        if errors.lines and outcome != "requeued":
            sys.exit(FAILED)
        return outcome


def _work(array: Array, element: int, seen: list[int], errors: Errors) -> str:
    job = slurm_job() or "-"
    drop_leftovers(array.submission / "submitit", job)
    if array.is_cancelled(element):
        return "cancelled"
    console = Console(width=250)
    tasks, failed = tasks_of(array, element, job)
    for run, reason in failed.items():
        errors.add(f"{run}: {reason}")
    say(console, f"job {job}: {len(tasks)} of {len(array.jobs[element])} runs to do")
    if not tasks:
        return "done"
    about = read_json(array.submission / "submission.json")
    try:
        local.run_tasks(tasks, about["cluster"]["slots"], Log(console, len(tasks), errors), seen)
    except KeyboardInterrupt:
        names = ", ".join(signal.Signals(number).name for number in seen)
        again = not array.is_cancelled(element) and requeue(job, seen, about["cluster"]["requeue"])
        say(console, f"stopped by {names}: all is saved; {'back into the queue' if again else 'not requeued'}")
        return "requeued" if again else "stopped"
    return "done"


@contextmanager
def noted() -> Iterator[list[int]]:
    """The signals that have arrived; handlers that do nothing but note them, from here to the end of the process."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        seen.append(number)

    for number in SIGNALS:
        signal.signal(number, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    yield seen


def drop_leftovers(folder: Path, job: str) -> None:
    """Removes what submitit left behind when this job was killed while saving: it would refuse to save again."""
    for path in folder.glob(f"{job}_*.save_tmp"):
        path.unlink(missing_ok=True)


def tasks_of(array: Array, element: int, job: str) -> tuple[list[Task], dict[str, str]]:
    """The job's runs that are not done, as tasks for this node's slots, and by id why others have failed in this job:
    before it was started again, or just now, marked as failed because there is no hope for them."""
    study, settings, root = frozen(array.submission)
    wanted = set(array.jobs[element])
    gpus = local.slots("cuda") if settings.device == "cuda" else 0
    tasks, failed = [], {}
    for run in study.runs:
        if run.id not in wanted:
            continue
        state = run_state(run, root, study.evaluations[run.id])
        if state.state in ("diverged", "stale") or (state.state == "finished" and not state.waiting):
            continue
        if state.record is not None and state.state == "failed" and failed_in(state.record, job):
            failed[run.id] = state.reason
            continue
        if state.record is not None and hopeless(state.record):
            failed[run.id] = give_up(state.record)
            continue
        tasks.append(Task(run, study.evaluations[run.id], root, settings, gpus=gpus))
    return tasks, failed


def frozen(submission: Path) -> tuple[Study, Settings, Path]:
    """A submission's study, the settings of its runs on this node, and where records lie.

    A promised GPU that is not there fails each run, which then says so.
    """
    about = read_json(submission / "submission.json")
    load_plugins(submission)
    root, data = Path(about["root"]), Path(about["data"])
    study = read_study(submission / "study.toml", about["study"], Places(data, root))
    settings = Settings(
        data,
        about["cluster"]["computes_on"],
        about["cluster"]["checkpoint_seconds"],
        about["accept_code"],
        predictions=study.predictions,
        command=about["command"],
        plugins=models.loaded_plugins(),
    )
    return study, settings, root


def failed_in(record: Record, job: str) -> bool:
    """Whether the last attempt failed in this very job, which has been started again since."""
    owner = record.attempt_list[-1].owner if record.attempt_list else None
    return owner is not None and owner.get("slurm_job") == job


def hopeless(record: Record) -> bool:
    """Whether the last attempts all began at the same step, and none of them got as far as a checkpoint or, once the
    run is trained, to the end of an evaluation."""
    recent: list[Any] = []
    for attempt in record.attempt_list:
        error = str((attempt.ended or {}).get("error") or "")
        recent = [] if error.startswith(GIVEN_UP) else [*recent, attempt]
    if len(recent) < HOPELESS:
        return False
    if any((record.path / "evaluations" / f"{one.number:04d}.npz").exists() for one in recent[-HOPELESS:]):
        return False
    starts = {(attempt.owner or {}).get("start_step", 0) for attempt in recent[-HOPELESS:]}
    return len(starts) == 1 and newest_step(record.path) <= starts.pop()


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint; 0 without one."""
    steps = [int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*.pt")]
    return max(steps, default=0)


def give_up(record: Record) -> str:
    """Marks a run as failed, by an attempt that does nothing else, and returns the reason. `inductive retry` starts the
    count anew."""
    step = newest_step(record.path)
    reason = f"{GIVEN_UP} in {HOPELESS} attempts: each began at step {step}; last: {record.reason}"
    try:
        attempt = claim(record.path, step)
    except OwnedError as error:
        return str(error)
    attempt.end(state="failed", step=step, seconds=None, images_per_second=None, error=reason)
    return reason


def requeue(job: str, seen: list[int], allowed: bool) -> bool:
    """Puts this job back into the queue where that is due, and says whether it did.

    Due is it after USR1 or USR2, and after the TERM of a preemption (which alone has a PreemptTime), as long as the job
    counts as running: SLURM requeues itself what it has already ended.
    """
    if not allowed:
        return False
    try:
        facts = job_facts(job)
        preempted = facts.get("PreemptTime", "None") not in ("None", "Unknown", "")
        asked = bool({signal.SIGUSR1, signal.SIGUSR2} & set(seen)) or (signal.SIGTERM in seen and preempted)
        if not asked or facts.get("JobState") != "RUNNING":
            return False
        call("scontrol", "requeue", job)
    except SlurmError as error:
        log.warning("not requeued: %s", error)
        return False
    return True
