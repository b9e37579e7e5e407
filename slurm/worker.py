"""The body of a job: its runs, several side by side, until they are done or the job has to stop.

submitit unpickles the name of `work` and a JSON text, nothing else. From exec on USR1, USR2 and TERM are blocked (the
job's command says so) until handlers stand that only note them. A signal means: every run finishes its step and
saves. Then the job goes back into the queue if it was preempted or its time is over, and only if SLURM does not end it
anyway; a cancelled one never does.
"""

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import models
from benchmarks.console import PIPE_WIDTH, count, say
from benchmarks.data.dataset import Places
from benchmarks.errors import FAILED, OwnedError
from benchmarks.files import read_json
from benchmarks.plan.study import Study, read_study
from benchmarks.records.attempts import Attempt, claim, slurm_job
from benchmarks.records.record import Record
from benchmarks.records.stages import whole
from benchmarks.records.states import accepted, run_state
from benchmarks.running import gpus, local
from benchmarks.running.progress import Lines
from benchmarks.running.task import Ending, Settings, Task
from benchmarks.running.together import launched, nodes
from benchmarks.running.together.links import Door
from slurm.commands import SilentError, SlurmError, call
from slurm.freeze import load_plugins
from slurm.ledger import Array, note_error, read_array
from slurm.queue import job_facts

log = logging.getLogger("inductive")

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
BLOCKED = " ".join(f"--block-signal={number.name.removeprefix('SIG')}" for number in SIGNALS)
GIVE_UP_AFTER = 3  # attempts in a row that began at the same step
GIVEN_UP, TOO_LITTLE = "no progress", "too little time per job"
FAIR_SHARE = 10  # starts that the work of GIVE_UP_AFTER attempts takes, unless it takes a checkpoint interval
ANSWER_SECONDS = 15.0  # for scontrol to answer a job that is about to end
EARLY_SECONDS = 60.0  # by which SLURM may send its signal too early
MARGIN_SECONDS = 5.0  # before the job's end: nothing is tried again after that
LONGEST_PAUSE = 15.0
BAD = ("failed", "lost", "stale")  # endings of a run that are errors of its job


@dataclass(frozen=True)
class Order:
    """What a job is to do: an array of a submission, and which of its jobs it is."""

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

    def __init__(self, console: Console, tasks: list[Task], slots: int, errors: Errors):
        super().__init__(console, tasks, slots, quiet=60.0)  # short jobs load torch once less
        self.errors = errors
        self.lost: list[str] = []

    def ended(self, ending: Ending) -> None:
        super().ended(ending)
        if ending.state == "lost":
            self.lost.append(ending.task.run.id)
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
        start = launched.started()
        if not start.leads:
            _, settings, root = frozen(array.submission)
            nodes.follow(start, root, settings.scratch)
            return "followed"
        errors = Errors(array, order.element)
        try:
            with nodes.leading(start, Path(read_json(array.submission / "submission.json")["root"])) as door:
                outcome = _work(array, order.element, seen, errors, door)
        except Exception as error:
            errors.add("".join(traceback.format_exception(error)))
            raise
        if errors.lines and outcome != "requeued":
            sys.exit(FAILED)
        return outcome


def _work(array: Array, element: int, seen: list[int], errors: Errors, door: Door | None = None) -> str:
    job = slurm_job() or "-"
    drop_leftovers(array.submission / "submitit", job)
    mark = array.requeue_mark(element)
    mark.unlink(missing_ok=True)
    if array.is_cancelled(element):
        return "cancelled"
    console = Console(width=PIPE_WIDTH)
    tasks, failed = tasks_of(array, element, job)
    for run, reason in failed.items():
        errors.add(f"{run}: {reason}")
    say(console, f"job {job}: {len(tasks)} of {count(len(array.jobs[element]), 'runs')} to do")
    if not tasks:
        return "done"
    cluster = read_json(array.submission / "submission.json")["cluster"]
    if cluster["computes_on"] == "cuda" and (note := gpus.check_sharing(cluster["runs_per_gpu"], "runs_per_gpu")):
        say(console, note)
    ends = 0.0

    def seconds_to_save() -> float:
        nonlocal ends
        began = time.monotonic()
        left, by_limit = time_left(job, cluster["signal_seconds"])
        array.count_time_limit(element, by_limit)
        ends = began + left
        return (ends - time.monotonic()) / 2

    reporter = Log(console, tasks, cluster["slots"], errors)
    try:
        local.run_tasks(tasks, cluster["slots"], reporter, seen, seconds_to_save, door)
    except KeyboardInterrupt:
        names = ", ".join(signal.Signals(number).name for number in seen)
        too_short = False
        if not ends:  # nothing had begun yet: else such a job would go back for ever, without an attempt that counts
            seconds_to_save()
            too_short = array.time_limits(element) >= GIVE_UP_AFTER
        if too_short:
            errors.add(
                f"{TOO_LITTLE}: {GIVE_UP_AFTER} times in a row it was over before a run had begun; raise `minutes`"
            )
        again = not (too_short or array.is_cancelled(element)) and requeue(job, seen, cluster["requeue"], mark, ends)
        saved = f"all is saved but {', '.join(reporter.lost)}" if reporter.lost else "all is saved"
        say(console, f"stopped by {names}: {saved}; {'back into the queue' if again else 'not requeued'}")
        return "requeued" if again else "stopped"
    if reporter.lost and not array.is_cancelled(element):  # with a node, which SLURM may not know of yet
        again = requeue(job, seen, cluster["requeue"], mark, lost_node=True)
        say(
            console,
            f"lost with a node: {', '.join(reporter.lost)}; {'back into the queue' if again else 'not requeued'}",
        )
        return "requeued" if again else "stopped"
    return "done"


@contextmanager
def noted() -> Iterator[list[int]]:
    """The signals that have arrived, by handlers that do nothing but note them. After it they are ignored, for Python
    takes its handlers away as it ends, and a job whose runs are done would die of a late USR2 (exit code 140)."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        seen.append(number)

    for number in SIGNALS:
        signal.signal(number, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield seen
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def drop_leftovers(folder: Path, job: str) -> None:
    """Removes what submitit left behind when this job was killed while saving: it would refuse to save again."""
    for path in folder.glob(f"{job}_*.save_tmp"):
        path.unlink(missing_ok=True)


def tasks_of(array: Array, element: int, job: str) -> tuple[list[Task], dict[str, str]]:
    """The job's runs that are not done, as tasks for this node's slots, and by id why others have failed in this job:
    before it was started again, or just now, marked as failed because there is no hope for them."""
    study, settings, root = frozen(array.submission)
    listed = set(array.jobs[element])
    given = gpus.given() if settings.device == "cuda" else ()
    tasks, failed = [], {}
    for run in study.runs:
        if run.id not in listed:
            continue
        state = run_state(run, root, study.evaluations[run.id])
        if settings.accept_code:
            state = accepted(state, root, study.evaluations[run.id])
        if state.state in ("diverged", "stale") or (state.state == "finished" and not state.waiting):
            continue
        if state.record is not None and state.state == "failed" and failed_in(state.record, job):
            failed[run.id] = state.reason
            continue
        reason = "" if state.record is None else no_progress(state.record)
        if state.record is not None and not reason and array.time_limits(element) >= GIVE_UP_AFTER:
            reason = too_little_time(state.record, job, settings.checkpoint_seconds)
        if state.record is not None and reason:
            failed[run.id] = give_up(state.record, reason)
            continue
        tasks.append(Task(run, study.evaluations[run.id], root, settings, missing=state.missing, gpus=given))
    return tasks, failed


def frozen(submission: Path) -> tuple[Study, Settings, Path]:
    """A submission's study, the settings of its runs on this node, and where records lie.

    A promised GPU that is not there fails each run, which then says so.
    """
    about = read_json(submission / "submission.json")
    load_plugins(submission)
    root, data = Path(about["root"]), Path(about["data"])
    places = Places(data, root)
    study = whole(read_study(submission / "study.toml", about["study"], places), places)
    settings = Settings(
        data,
        about["cluster"]["computes_on"],
        about["cluster"]["checkpoint_seconds"],
        about["accept_code"],
        predictions=study.predictions,
        command=about["command"],
        plugins=models.loaded_plugins(),
        runs_per_gpu=about["cluster"]["runs_per_gpu"],
        gpus_per_run=about["cluster"].get("gpus_per_run", 1),  # absent in early submissions
        checkpoint_activations=about["cluster"].get("checkpoint_activations", False),  # likewise
        decoder=about["cluster"].get("decoder", "pillow"),  # absent in early submissions
        scratch=scratch(about["cluster"].get("scratch", "")),
        workers=None,
    )
    shared = about["cluster"].get("nodes", 1)  # absent in early submissions
    return study, local.with_workers(settings, about["cluster"]["slots"], shared), root


def scratch(named: str) -> Path | None:
    """The node's scratch folder, variables of the job replaced; None where none is named. Raises SlurmError for a
    variable that the job does not have."""
    expanded = os.path.expandvars(named)
    if "$" in expanded:
        raise SlurmError(f"cluster.toml: scratch: {named!r}: this job has no variable of that name ({expanded!r})")
    return Path(expanded) if expanded else None


def failed_in(record: Record, job: str) -> bool:
    """Whether the last attempt failed in this very job, which has been started again since."""
    owner = record.attempt_list[-1].owner if record.attempt_list else None
    return owner is not None and owner.get("slurm_job") == job


def recent_attempts(record: Record) -> list[Attempt]:
    """The last attempts, GIVE_UP_AFTER at most, since the run was given up."""
    recent: list[Attempt] = []
    for attempt in record.attempt_list:
        error = str((attempt.ended or {}).get("error") or "")
        recent = [] if error.startswith((GIVEN_UP, TOO_LITTLE)) else [*recent, attempt]
    return recent[-GIVE_UP_AFTER:]


def no_progress(record: Record) -> str:
    """The reason to give a run up ('' for none): the last attempts all began at the same step, and none of them got as
    far as a checkpoint or, once the run is trained, to the end of an evaluation."""
    recent = recent_attempts(record)
    if len(recent) < GIVE_UP_AFTER:
        return ""
    if any((record.path / "evaluations" / f"{one.number:04d}.npz").exists() for one in recent):
        return ""
    starts, newest = {(attempt.owner or {}).get("start_step", 0) for attempt in recent}, newest_step(record.path)
    if len(starts) > 1 or newest > max(starts):
        return ""
    return f"{GIVEN_UP} in {GIVE_UP_AFTER} attempts: each began at step {newest}; last: {record.reason}"


def too_little_time(record: Record, job: str, checkpoint_seconds: float) -> str:
    """The reason to give a run up ('' for none): the last attempts, all of them of this job and stopped, were little
    more than start. Their work together reaches neither the time between two checkpoints nor ten starts."""
    recent = recent_attempts(record)
    of_this_job = [(one.owner or {}).get("slurm_job") == job for one in recent]
    seconds = [one.ended["seconds"] for one in recent if one.ended and one.ended["state"] == "interrupted"]
    if len(recent) < GIVE_UP_AFTER or not all(of_this_job) or len(seconds) < GIVE_UP_AFTER or not all(seconds):
        return ""
    total = sum(one["total"] for one in seconds)
    work = sum(one["training"] + one["evaluation"] for one in seconds)
    start = total - work
    if work >= min(checkpoint_seconds, FAIR_SHARE * start / GIVE_UP_AFTER):
        return ""
    words = f"{start:.0f} s of {total:.0f} s were start, besides the jobs' own"
    return f"{TOO_LITTLE}: {words}; raise `minutes` and `inductive retry`"


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint; 0 without one."""
    steps = [int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*.pt")]
    return max(steps, default=0)


def give_up(record: Record, reason: str) -> str:
    """Marks a run as failed, by an attempt that does nothing else, and returns the reason. `inductive retry` starts the
    count anew."""
    step = newest_step(record.path)
    try:
        attempt = claim(record.path, step)
    except OwnedError as error:
        return str(error)
    attempt.end(state="failed", step=step, seconds=None, images_per_second=None, error=reason)
    return reason


def time_left(job: str, signal_seconds: float) -> tuple[float, bool]:
    """Seconds until SLURM ends this job, by its controller, and whether it is its time limit that ends it.

    Where the controller is silent or makes no sense the seconds are those of cluster.toml. A preempted job's end is
    that of its time of grace.
    """
    try:
        facts = job_facts(job, seconds=ANSWER_SECONDS)
        left = time.mktime(time.strptime(facts.get("EndTime", ""), "%Y-%m-%dT%H:%M:%S")) - time.time()
    except (SlurmError, ValueError):
        return signal_seconds, False
    credible = 0 < left <= signal_seconds + EARLY_SECONDS
    return left if credible else signal_seconds, credible and not preempted(facts)


def preempted(facts: Mapping[str, str]) -> bool:
    """Whether a job ends because others need its place."""
    return facts.get("PreemptTime", "None") not in ("None", "Unknown", "")


def requeue(job: str, seen: list[int], allowed: bool, mark: Path, ends: float = 0.0, lost_node: bool = False) -> bool:
    """Puts this job back into the queue where that is due, and returns whether it did.

    It is due after USR1 or USR2, after the TERM of a preemption (which alone has a PreemptTime), and where the job has
    lost one of its nodes, as long as it counts as running: SLURM requeues itself what it has already ended. While the
    controller does not answer it is asked repeatedly, less and less often, until the job's end (`ends`, of
    time.monotonic) is near. `mark` is there, with the reason, for as long as it has not worked: the job may be killed
    at any moment.
    """
    if not allowed:
        return False
    tried, pause = False, 1.0
    while True:
        try:
            facts = job_facts(job, seconds=ANSWER_SECONDS)
            due = lost_node or bool({signal.SIGUSR1, signal.SIGUSR2} & set(seen))
            due = due or (signal.SIGTERM in seen and preempted(facts))
            if due and not facts:
                raise SlurmError(f"`scontrol show job {job}` tells nothing of it; is there a scontrol on the node?")
            done = tried and facts.get("JobState") in ("PENDING", "REQUEUED", "COMPLETING")  # without an answer
            if due and facts.get("JobState") == "RUNNING":
                tried = True
                call("scontrol", "requeue", job, seconds=ANSWER_SECONDS)
                done = True
            mark.unlink(missing_ok=True)
            return done
        except SlurmError as error:
            log.warning("not requeued: %s", error)
            with suppress(OSError):
                mark.write_text(f"{error}\n", encoding="utf-8")
            left = ends - MARGIN_SECONDS - time.monotonic()
            if not isinstance(error, SilentError) or left <= 0:
                return False
        time.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)
