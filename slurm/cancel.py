"""`inductive cancel`: every queued or running job of a study, marked and then cancelled."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from benchmarks.console import count, say
from benchmarks.errors import DONE, FAILED, ConfigError
from models.hints import did_you_mean
from slurm import ledger
from slurm.commands import SlurmError, call
from slurm.ledger import Array
from slurm.status import Jobs, jobs_of
from slurm.submit import settle

WAIT = 30.0  # seconds for somebody else who submits or cancels to end


def cancel_study(name: str, only: str | None, root: Path, console: Console) -> int:
    """Marks, then cancels, every queued or running job of a study that has a matching run.

    By the ledger alone: whatever the study's text says now. Returns the exit code. Raises ConfigError for a study that
    was never submitted or a glob that matches no run, OwnedError while somebody else submits."""
    name = ledger.submitted_name(name, root)
    with ledger.claimed(root, name, WAIT) as claim:
        jobs = jobs_of(root, name)
        arrays = settle(jobs.arrays, jobs.queue, console)
        _check_glob(only, arrays, name)
        cancelled, others, failed = 0, 0, 0
        for array in arrays:
            elements = [n for n, job in enumerate(array.jobs) if only is None or any(fnmatchcase(r, only) for r in job)]
            alive = [number for number in elements if _to_cancel(array, number, jobs)]
            if not alive:
                continue
            if not ledger.is_own(array.submission):
                others += len(alive)
                continue
            claim.check()
            claim.beat(cancelled, 0, None)
            if len(elements) == len(array.jobs):
                array.marker.touch()
            for number in alive:
                array.element_marker(number).touch()  # before scancel: a job that is starting reads it
            if _scancel(array.job, [array.job] if array.cancelled else map(array.element, alive), len(alive), console):
                cancelled += len(alive)
            else:
                failed += len(alive)
        rests = {ledger.rest_name(folder) for folder in ledger.submissions(root, name) if ledger.is_own(folder)}
        for one in jobs.queue.values():
            if one.name in rests and not one.over and only is None:
                if _scancel(one.id, [one.id], 1, console):
                    cancelled += 1
                else:
                    failed += 1
    say(
        console,
        f"{count(cancelled, 'jobs')} cancelled; their runs are saved and `inductive submit` takes them up again",
    )
    if others:
        say(console, f"{count(others, 'jobs')} of other accounts are left alone: only they can cancel them")
    return FAILED if failed else DONE


def _scancel(job: str, ids: Iterable[str], amount: int, console: Console) -> bool:
    """Cancels jobs by one call. Returns whether SLURM took it; prints what it says where it did not."""
    try:
        call("scancel", *ids)
    except SlurmError as error:
        say(console, f"job {job}: {count(amount, 'jobs')} could not be cancelled: {error}")
        return False
    return True


def _to_cancel(array: Array, number: int, jobs: Jobs) -> bool:
    """Whether a job waits or runs, and is not ending by an earlier `cancel`."""
    one = jobs.alive(array, number) if array.state == "submitted" else None
    return one is not None and not (one.state == "COMPLETING" and array.is_cancelled(number))


def _check_glob(only: str | None, arrays: Sequence[Array], name: str) -> None:
    ids = [run for array in arrays for run in array.runs]
    if only is not None and not any(fnmatchcase(run, only) for run in ids):
        raise ConfigError(
            "--only", f"'{only}' matches no run of the jobs that {name} was submitted in{did_you_mean(only, ids)}"
        )
