"""The state of every run of a study on a cluster: records first, squeue second. Accounting is no more than a hint."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.attempts import BEAT_SECONDS
from benchmarks.states import RunState, study_states
from benchmarks.study import Study
from slurm import ledger
from slurm.commands import SlurmError
from slurm.ledger import Array
from slurm.queue import Queued, in_queue, queue

OLD = 12 * BEAT_SECONDS  # a heartbeat of this age, of a job that SLURM says is over, is that of a dead process
HELD = "held back by max_jobs"
UNCERTAIN = "its submission is uncertain: `inductive submit` finds out"


@dataclass(frozen=True)
class ClusterState:
    """A run's state with what SLURM adds: the job that has it, the time it has left, a remark."""

    run: RunState
    job: str = ""
    left: str = ""
    remark: str = ""


def cluster_states(study: Study, root: Path) -> tuple[list[ClusterState], str]:
    """All runs in the study's order, and why SLURM could not be asked ('' when it answered)."""
    found = ledger.read_arrays(root, study.name)
    states = study_states(study, root)
    if not found:
        return [ClusterState(one) for one in states], ""
    errors = ledger.last_errors(found)
    try:
        jobs = queue()
    except SlurmError as error:
        listed = _on_lists(array for array in found if array.state == "submitted")
        return [_with_error(_unknown(one, listed), errors) for one in states], str(error)
    taken = in_queue(found, jobs)
    remarks = dict.fromkeys(ledger.held_back(found[-1].submission), HELD)
    remarks |= dict.fromkeys(_on_lists(one for one in found if one.state == "intended" and not one.in_hand), UNCERTAIN)
    known = [_state(one, taken.get(one.run.id), remarks.get(one.run.id, ""), jobs) for one in states]
    return [_with_error(one, errors) for one in known], ""


def with_slurm(study: Study, root: Path) -> tuple[list[RunState], dict[str, dict[str, str]], str]:
    """States as the command shows them: of each run, and by its id the job, the time left and a remark."""
    states, silent = cluster_states(study, root)
    extras = {
        one.run.run.id: {"job": one.job, "left": one.left, "remark": one.remark}
        for one in states
        if one.job or one.remark
    }
    return [one.run for one in states], extras, silent


def _on_lists(arrays: Iterable[Array]) -> set[str]:
    """The runs on the lists of these arrays."""
    return {run for array in arrays for job in array.jobs for run in job}


def _state(one: RunState, queued: Queued | None, remark: str, jobs: Mapping[str, Queued]) -> ClusterState:
    if one.state == "running":
        job = _job_of(one)
        here = jobs.get(job)
        if job and (here is None or here.over) and _silent(one):
            return ClusterState(replace(one, state="lost", reason=f"job {job} is over and its heartbeat is old"), job)
        return ClusterState(one, job, here.left if here else "")
    if queued is not None and one.state in ("missing", "interrupted", "lost", "failed"):
        if queued.waiting:
            why = queued.reason
        else:
            why = f"on the list of job {queued.id}, which is {queued.state.lower()}"
        return ClusterState(replace(one, state="queued", reason=why), queued.id, queued.left)
    return ClusterState(one, remark="" if remark == HELD and one.state != "missing" else remark)


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


def _job_of(one: RunState) -> str:
    owner = one.record.attempt_list[-1].owner if one.record and one.record.attempt_list else None
    return str((owner or {}).get("slurm_job") or "")


def _silent(one: RunState) -> bool:
    return one.record is not None and one.record.attempt_list[-1].heartbeat_age() > OLD
