"""The state of every run of a study on a cluster: records first, SLURM's word about their jobs second.

`judged` is the one judgement of what is alive, for `status`, `submit`, `retry` and `run`. Accounting is a hint.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.console import count
from benchmarks.plan.study import Study
from benchmarks.records.attempts import BEAT_SECONDS, GRACE_SECONDS, Attempt, read_attempts
from benchmarks.records.states import RunState, study_states
from slurm import ledger
from slurm.commands import SECONDS, SlurmError
from slurm.ledger import Array
from slurm.queue import OVER, Queued, accounted_states, in_queue, queue

# Seconds without a heartbeat after which SLURM's word that a job is over is taken for its runs, or its having forgotten
# the job; after the longer time a run of a running job counts as stalled.
QUIET, OLD = 3 * BEAT_SECONDS, 12 * BEAT_SECONDS
STATUS_SECONDS = 3.0  # that `status` waits for squeue, before it shows the records alone
FORGOTTEN = "forgotten by SLURM"
HELD = "held back by max_jobs"
UNCERTAIN = "its submission is uncertain: `inductive submit` finds out"
OPEN = ("missing", "interrupted", "lost")  # states that `submit` submits; `retry` names others
ELSEWHERE = ("CANCELLED", "NODE_FAIL", "PREEMPTED")  # ends that say nothing against what the job was to do
SHOWN = 10  # ids in one sentence


@dataclass(frozen=True)
class ClusterState:
    """A run's state with what SLURM adds: the job that has it, the time it has left, a remark."""

    run: RunState
    job: str = ""
    left: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Jobs:
    """What ledger and SLURM know: the arrays of a study, oldest first; jobs by SLURM's id; every array by its id."""

    arrays: Sequence[Array]
    queue: Mapping[str, Queued]
    by_id: Mapping[str, Array]

    def alive(self, array: Array, number: int) -> Queued | None:
        """A job of an array that waits or runs."""
        one = self.queue.get(array.element(number))
        return one if one is not None and one.name == array.name and not one.over else None


@dataclass(frozen=True)
class FailedStart:
    """A job that ended before any of its runs began, and why."""

    id: str
    reason: str
    runs: tuple[str, ...]


def jobs_of(root: Path, study: str, seconds: float = SECONDS) -> Jobs:
    """Asks SLURM for a study's jobs; to be done before its records are read, for a job may end meanwhile. Raises
    SlurmError."""
    folders = set(ledger.submissions(root, study))
    everything = ledger.read_arrays(root)
    by_id = {array.job: array for array in everything if array.job}
    own = [array for array in everything if array.submission in folders]
    ids = {array.job for array in own if array.state == "submitted"}
    names = {array.name for array in own if array.state == "intended"}
    names |= {ledger.rest_name(folder) for folder in folders if ledger.leaves_a_rest(folder)}
    found = queue(ids, names, seconds) if ids or names else {}
    named = {id: one for id, one in found.items() if one.name in names}
    return Jobs(own, {**_ours(found, by_id), **named}, by_id)


def with_other_jobs(jobs: Jobs, states: Iterable[RunState], seconds: float = SECONDS) -> Jobs:
    """As well for the jobs of other studies that have runs of this one. Raises SlurmError."""
    own = {array.job for array in jobs.arrays}
    numbers = {_number(attempt.slurm_job) for one in states if (attempt := unended(one)) and not attempt.is_here}
    others = (numbers & jobs.by_id.keys()) - own
    found = queue(others, seconds=seconds) if others else {}
    return replace(jobs, queue={**jobs.queue, **_ours(found, jobs.by_id)})


def _ours(found: Mapping[str, Queued], by_id: Mapping[str, Array]) -> dict[str, Queued]:
    """The jobs that have the name which the ledger gave them: another cluster counts from one, too."""
    return {id: one for id, one in found.items() if (array := by_id.get(_number(id))) and array.name == one.name}


def _number(job: str) -> str:
    """17 of 17_3."""
    return job.partition("_")[0]


def unended(one: RunState) -> Attempt | None:
    """The last attempt of a run that is running or lost: it has not said how it ended."""
    if one.state not in ("running", "lost") or one.record is None or not one.record.attempt_list:
        return None
    return one.record.attempt_list[-1]


def judged(one: RunState, jobs: Jobs) -> RunState:
    """A run's state with SLURM's word about the job that its last attempt is in.

    A job that is over, or waits again, ends the grace time of an attempt on another host; one that runs means that a
    run without a sign of life has stalled, not died. On the host itself the system knows better than SLURM.
    """
    attempt = unended(one)
    if attempt is None or attempt.is_here or not attempt.slurm_job:
        return one
    word = last_word(one, jobs)
    if word:
        return replace(one, state="lost", reason=_job_words(attempt.slurm_job, word))
    runs = attempt.slurm_job in jobs.queue and over_word(attempt.slurm_job, jobs) is None
    return replace(one, state="running", reason=attempt.owner_text()) if runs and not attempt.over() else one


def last_word(one: RunState, jobs: Jobs) -> str:
    """SLURM's word for the job of a run's last attempt, when it means that the attempt on another host is dead."""
    attempt = unended(one)
    if attempt is None or attempt.is_here or not attempt.slurm_job:
        return ""
    word = over_word(attempt.slurm_job, jobs) or ""
    quiet = OLD if word == FORGOTTEN else QUIET
    return word if attempt.over() or abs(attempt.heartbeat_age()) > quiet else ""


def over_word(job: str, jobs: Jobs) -> str | None:
    """SLURM's word for a job that does not run (any more); None where it runs, or where nothing can be told."""
    array = jobs.by_id.get(_number(job))
    if array is None:
        return None
    one = jobs.queue.get(job)
    if one is None:
        return FORGOTTEN if ledger.is_own(array.submission) else None  # a site may hide the jobs of others
    return one.state if one.over or one.waiting else None


def _job_words(job: str, word: str) -> str:
    if word == FORGOTTEN:
        return f"its job {job} is {FORGOTTEN}"
    return f"its job {job} {'is over' if word in OVER else 'waits again'} ({word.lower()})"


def note_over(states: Iterable[RunState], jobs: Jobs) -> None:
    """Leaves SLURM's word in the attempts that it calls dead, so that nobody waits for them any more."""
    for one in states:
        attempt, word = unended(one), last_word(one, jobs)
        if word and attempt is not None and not attempt.over():
            with suppress(PermissionError):  # another user's: they wait for the time of grace
                attempt.note_over(word)


def settle_lost(study: Study, root: Path) -> None:
    """Before runs are trained here: what SLURM says of the jobs that had them before. Silence changes nothing."""
    try:
        jobs = jobs_of(root, study.name, STATUS_SECONDS)
        states = study_states(study, root)
        jobs = with_other_jobs(jobs, states, STATUS_SECONDS)
    except SlurmError:
        return
    note_over(states, jobs)


def cluster_states(study: Study, root: Path) -> tuple[list[ClusterState], list[str]]:
    """All runs in the study's order, and what else is to be known, in sentences."""
    notes = list(ledger.unread(root))
    try:
        jobs = jobs_of(root, study.name, STATUS_SECONDS)
        states = study_states(study, root)
        jobs = with_other_jobs(jobs, states, STATUS_SECONDS)
    except SlurmError as error:
        states = study_states(study, root)
        arrays = ledger.read_arrays(root, study.name)
        listed = _on_lists(array for array in arrays if array.state == "submitted")
        notes.append(f"SLURM could not be asked, so this is from the records alone: {error}")
        errors = ledger.last_errors(arrays)
        return [_with_error(_unknown(one, listed), errors) for one in states], notes
    found = jobs.arrays
    taken = in_queue(found, jobs.queue)
    remarks = dict.fromkeys(ledger.held_back(found[-1].submission), HELD) if found else {}
    claimant = ledger.claimant(root, study.name)
    if claimant:
        notes.append(f"{study.name}: {claimant}")
    else:
        uncertain = (one for one in found if one.state == "intended" and not one.in_hand)
        remarks |= dict.fromkeys(_on_lists(uncertain), UNCERTAIN)
    states = [judged(one, jobs) for one in states]
    failed = failed_starts(jobs, states, root)
    for one in failed:
        remarks |= dict.fromkeys(one.runs, f"job {one.id} ended before its first run: {one.reason}")
    left = {one.run.id for one in states if one.state in OPEN} - taken.keys()
    notes += [*failed_start_notes(failed), *rest_notes(found, left), *earlier_notes(study, jobs)]
    known = [_state(one, taken.get(one.run.id), remarks.get(one.run.id, ""), jobs) for one in states]
    explained = {run for one in failed for run in one.runs}
    errors = {run: error for run, error in ledger.last_errors(found).items() if run not in explained}
    return [_with_error(one, errors) for one in known], notes


def with_slurm(study: Study, root: Path) -> tuple[list[RunState], dict[str, dict[str, str]], list[str]]:
    """States as the command shows them: of each run, by its id the job, the time left and a remark, and notes."""
    states, notes = cluster_states(study, root)
    extras = {
        one.run.run.id: {"job": one.job, "left": one.left, "remark": one.remark}
        for one in states
        if one.job or one.remark
    }
    return [one.run for one in states], extras, notes


def _on_lists(arrays: Iterable[Array]) -> set[str]:
    """The runs on the lists of these arrays."""
    return {run for array in arrays for job in array.jobs for run in job}


def _state(one: RunState, queued: Queued | None, remark: str, jobs: Jobs) -> ClusterState:
    attempt = one.record.attempt_list[-1] if one.record is not None and one.record.attempt_list else None
    job = attempt.slurm_job if attempt is not None else ""
    if one.state == "running":
        word = over_word(job, jobs)
        if word is not None:
            return ClusterState(one, job, remark=_job_words(job, word))
        there = jobs.queue.get(job)
        return ClusterState(one, job, there.left if there else "", _stalled(attempt) if attempt else "")
    if queued is not None and one.state in (*OPEN, "failed") and not ended_in(one, queued):
        if queued.waiting:
            why = queued.reason
        else:
            why = f"on the list of job {queued.id}, which is {queued.state.lower()}"
        return ClusterState(replace(one, state="queued", reason=why), queued.id, queued.left)
    if one.state == "missing" and " ended before its first run" in remark:
        return ClusterState(replace(one, reason=remark))
    return ClusterState(one, job if queued else "", remark="" if remark == HELD and one.state != "missing" else remark)


def ended_in(one: RunState, queued: Queued) -> bool:
    """Whether a run ended badly in this very job, which now works on others and does not take it up again."""
    last = one.record.attempt_list[-1] if one.record is not None and one.record.attempt_list else None
    return one.state in ("failed", "lost") and not queued.waiting and last is not None and last.slurm_job == queued.id


def _stalled(attempt: Attempt) -> str:
    """'stalled since ...' of a run whose heart has not beaten for long; before its first beat it may be starting."""
    limit = OLD if (attempt.path / "heartbeat").exists() else GRACE_SECONDS
    return f"stalled since {attempt.last_sign():%Y-%m-%d %H:%M:%S} UTC" if attempt.heartbeat_age() > limit else ""


def _with_error(one: ClusterState, errors: Mapping[str, tuple[str, str]]) -> ClusterState:
    """With the last error of its job, where the run's own record has no reason to give."""
    error = errors.get(one.run.run.id)
    if error is None or one.run.state not in ("missing", "lost", "interrupted"):
        return one
    line = f"job {error[0]}: {ledger.error_line(error[1])}"
    return replace(one, remark="; ".join(filter(None, (one.remark, line))))


def _unknown(one: RunState, listed: set[str]) -> ClusterState:
    """With nobody to ask, what is on a submitted list may be queued."""
    maybe = one.state in ("missing", "interrupted") and one.run.id in listed
    return ClusterState(one, remark="perhaps queued" if maybe else "")


def failed_starts(jobs: Jobs, states: Sequence[RunState], root: Path) -> list[FailedStart]:
    """The last job that each open run was on the list of, where that ended before any of its runs began."""
    left = {one.run.id for one in states if one.state in OPEN}
    found: list[FailedStart] = []
    for array in reversed(jobs.arrays):
        errors = ledger.errors(array) if left & array.runs else {}
        failed = [
            FailedStart(array.element(number), reason, tuple(run for run in listed if run in left))
            for number, listed in enumerate(array.jobs)
            if left & set(listed) and (reason := why_not_started(array, number, errors, jobs, root))
        ]
        found = [*failed, *found]
        left -= array.runs
    return found


def why_not_started(array: Array, number: int, errors: Mapping[int, str], jobs: Jobs, root: Path) -> str:
    """Why a job ended before any of its runs began; '' where it did not, or where that is nobody's fault.

    `errors` are the array's, as `ledger.errors` reads them."""
    if array.state != "submitted" or array.is_cancelled(number) or jobs.alive(array, number):
        return ""
    if not ledger.is_own(array.submission) or began(array, number, root):
        return ""
    one = jobs.queue.get(array.element(number))
    state = one.state if one is not None and one.name == array.name else ""
    state = state or accounted_states(array.job).get(array.element(number), "")
    error = ledger.error_of(array, number, errors)
    if error or state in ELSEWHERE:
        return error
    in_log = ledger.log_reason(array, number)
    if state == "COMPLETED" or in_log or not state:
        return in_log
    return state.lower() + (f" ({one.reason})" if one is not None and one.reason not in ("None", "") else "")


def began(array: Array, number: int, root: Path) -> bool:
    """Whether a job has begun any of its runs: an attempt of it is in a record."""
    job = array.element(number)
    return any(attempt.slurm_job == job for run in array.jobs[number] for attempt in read_attempts(root / run))


def failed_start_notes(failed: Sequence[FailedStart]) -> Iterator[str]:
    """One sentence a reason."""
    for reason in dict.fromkeys(one.reason for one in failed):
        ids = [one.id for one in failed if one.reason == reason]
        their = "its first run" if len(ids) == 1 else "their first run"
        yield f"{'job' if len(ids) == 1 else 'jobs'} {listing(ids)} ended before {their}: {reason}"


def rest_notes(arrays: Sequence[Array], left: AbstractSet[str]) -> Iterator[str]:
    """Why the job that was to submit what was held back, or confirms a search, did not, where some of it is left."""
    for folder in dict.fromkeys(array.submission for array in arrays):
        if not (reason := ledger.rest_error(folder)):
            continue
        if left & ledger.held_back(folder):
            yield f"the job that submits what was held back ended badly: {reason}; submit again"
        elif left and ledger.confirms(folder):
            yield f"the job that submits what confirms the search ended badly: {reason}; submit again"


def earlier_notes(study: Study, jobs: Jobs) -> Iterator[str]:
    """What is in the queue of earlier texts of a study, whose runs are no longer in it."""
    found = [f"{one.id} ({one.state.lower()})" for one in earlier(study, jobs)]
    if found:
        what = count(len(found), "jobs")
        command = f"`inductive cancel {study.argument}` cancels all"
        yield f"{what} of earlier texts of this study: {listing(found)}; {command}"


def earlier(study: Study, jobs: Jobs) -> list[Queued]:
    """Jobs that wait or run and have no run of the study as it is now."""
    now = {run.id for run in study.every_run}
    return [
        one
        for array in jobs.arrays
        for number, listed in enumerate(array.jobs)
        if not now & set(listed) and array.state == "submitted" and (one := jobs.alive(array, number))
    ]


def listing(ids: Sequence[str]) -> str:
    """'17_0, 17_1', the first of many."""
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more
