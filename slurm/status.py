"""The state of every run of a study on a cluster: records first, squeue second. Accounting is no more than a hint."""

from collections.abc import Mapping, Sequence
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
    try:
        jobs = queue()
    except SlurmError as error:
        return [_unknown(one, found) for one in states], str(error)
    taken = in_queue(found, jobs)
    held = ledger.held_back(found[-1].submission)
    return [_state(one, taken.get(one.run.id), found, jobs, held) for one in states], ""


def with_slurm(study: Study, root: Path) -> tuple[list[RunState], dict[str, dict[str, str]], str]:
    """States as the command shows them: of each run, and by its id the job, the time left and a remark."""
    states, silent = cluster_states(study, root)
    extras = {
        one.run.run.id: {"job": one.job, "left": one.left, "remark": one.remark}
        for one in states
        if one.job or one.remark
    }
    return [one.run for one in states], extras, silent


def _state(
    one: RunState, queued: Queued | None, found: Sequence[Array], jobs: Mapping[str, Queued], held: frozenset[str]
) -> ClusterState:
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
    remark = "its submission is uncertain: `inductive submit` finds out" if _uncertain(one, found) else ""
    if one.state == "missing" and one.run.id in held:
        remark = remark or "held back by max_jobs"
    return ClusterState(one, remark=remark)


def _unknown(one: RunState, found: Sequence[Array]) -> ClusterState:
    """With nobody to ask, what is on a submitted list may be queued."""
    listed = any(array.state == "submitted" and one.run.id in array.runs for array in found)
    return ClusterState(one, remark="perhaps queued" if listed and one.state in ("missing", "interrupted") else "")


def _uncertain(one: RunState, found: Sequence[Array]) -> bool:
    return any(array.state == "intended" and not array.in_hand and one.run.id in array.runs for array in found)


def _job_of(one: RunState) -> str:
    owner = one.record.attempt_list[-1].owner if one.record and one.record.attempt_list else None
    return str((owner or {}).get("slurm_job") or "")


def _silent(one: RunState) -> bool:
    return one.record is not None and one.record.attempt_list[-1].heartbeat_age() > OLD
