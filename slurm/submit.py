"""From a study to the queue: what is left to do, in jobs of equal length, submitted once and noted in the ledger."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from submitit.core.utils import FailedJobError, FailedSubmissionError

from benchmarks.errors import DONE, FAILED, ConfigError
from benchmarks.files import write_json
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study
from benchmarks.records import cost
from benchmarks.records.attempts import Claim
from benchmarks.running.progress import count, say
from models.hints import did_you_mean
from slurm import freeze, ledger
from slurm.cluster import Cluster
from slurm.commands import SILENT, SlurmError, call
from slurm.executor import executor_for, send
from slurm.ledger import Array
from slurm.packing import Estimate, arrays, pack
from slurm.queue import Queued, accounted
from slurm.site import Site, unfit
from slurm.worker import Order

UNSURE = (*SILENT, "temporarily unable")  # words of an sbatch that may have reached the controller
TIMED_OUT = 124  # exit code of timeout(1)
NO_START = (  # keys of cluster.toml that cannot make a job end before its first run
    *("least_minutes", "checkpoint_seconds", "largest_array", "max_jobs", "over", "ask_above", "tflops"),
    "sbatch_seconds",
)
TAKEN_UP = ("missing", "interrupted", "lost")  # what `submit` submits; `retry` names others


@dataclass(frozen=True)
class Wish:
    """What `submit` was asked for."""

    study: Study
    path: Path  # the study's file
    cluster: Cluster
    root: Path
    data: Path
    command: str
    accept_code: bool = False
    again: bool = False  # also where jobs like these have ended before their first run


@dataclass(frozen=True)
class Matrix:
    """What will be submitted: arrays of jobs of runs, what waits for room in the queue, what all of it takes."""

    arrays: tuple[tuple[tuple[str, ...], ...], ...]
    held: tuple[str, ...]
    seconds: Mapping[str, float]  # of each run, on its slot
    measured: int  # runs whose speed has been measured

    @property
    def jobs(self) -> int:
        return sum(len(array) for array in self.arrays)

    @property
    def runs(self) -> int:
        return sum(len(job) for array in self.arrays for job in array)


def check_site(cluster: Cluster, site: Site, place: str) -> list[str]:
    """Raises ConfigError for what this site will not do; `sbatch --test-only` lets most of it pass. Returns a warning
    for each partition that no job can run in while another takes it."""
    known = {one.name: one for one in site.partitions}
    for name in cluster.partitions:
        if name not in known:
            raise ConfigError(
                "partitions", f"there is no {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}", place
            )
    reasons = [unfit(cluster, known[name]) for name in cluster.partitions] if cluster.check_limits else []
    refused = [reason for reason in reasons if reason is not None]
    if refused and len(refused) == len(reasons):
        key, words = refused[0]
        raise ConfigError(key, f"{words} (`check_limits = false` leaves it to SLURM)", place)
    if cluster.largest_array >= site.largest_array:
        raise ConfigError(
            "largest_array", f"{cluster.largest_array} is not below the site's MaxArraySize {site.largest_array}", place
        )
    for key, value, allowed in (("account", cluster.account, site.accounts), ("qos", cluster.qos, site.qos)):
        if value and allowed and value not in allowed:
            raise ConfigError(
                key, f"{value!r} is not yours; yours are {', '.join(allowed)}{did_you_mean(value, allowed)}", place
            )
    return [f"warning: {key}: {words}" for key, words in refused]


def check_path(root: Path) -> None:
    """Raises ConfigError for a path that sbatch would read otherwise: it expands %, and splits at quotes."""
    bad = sorted({sign for sign in str(root) if sign in "%\\'\"" or not sign.isprintable()})
    if bad:
        raise ConfigError(
            "--runs", f"{str(root)!r} has {' and '.join(map(repr, bad))} in it, which sbatch would replace"
        )


def settle(found: Sequence[Array], queue: Mapping[str, Queued], console: Console) -> list[Array]:
    """Finds out what came of arrays whose sbatch nobody is waiting for any more. Returns all arrays as they are now."""
    return [
        _settled(array, queue, console)
        if array.state == "intended" and not array.in_hand and ledger.is_own(array.submission)
        else array
        for array in found
    ]


def _settled(array: Array, queue: Mapping[str, Queued], console: Console) -> Array:
    ids = [one.id for one in queue.values() if one.name == array.name] or accounted(array.name)
    if not ids:
        say(console, f"{array.name}: its submission was cut off and never reached SLURM; it is submitted anew")
        return ledger.settled(array, "refused", said="never reached SLURM")
    job = ids[0].partition("_")[0]
    known = ledger.settled(array, "submitted", job)
    pickles = [array.submission / "submitit" / f"{known.element(n)}_submitted.pkl" for n in range(len(array.jobs))]
    if all(path.exists() for path in pickles):
        return known
    try:
        call("scancel", job)
    except SlurmError as error:
        say(console, f"{array.name}: job {job} could not be cancelled ({error})")
    known.marker.touch()
    say(console, f"{array.name}: its submission was cut off; job {job} lacks its orders and was cancelled")
    return ledger.settled(known, "refused", said="cut off between sbatch and its orders; cancelled")


def matrix(wish: Wish, runs: Sequence[Run], room: int) -> Matrix:
    """Jobs for runs, as many as there is room for in the queue."""
    cluster = wish.cluster
    seconds, measured = estimates(wish.study, runs, wish.root, cluster.slot_tflops)
    work = [Estimate(run.id, seconds[run.id]) for run in runs]
    jobs = pack(work, cluster.slots, cluster.minutes * 60.0, cluster.least_minutes * 60.0, room)
    sent, held = jobs[:room], [run for job in jobs[room:] for run in job]
    frozen = tuple(tuple(map(tuple, array)) for array in arrays(sent, cluster.largest_array))
    return Matrix(frozen, tuple(held), seconds, measured)


def estimates(study: Study, runs: Sequence[Run], root: Path, tflops: float) -> tuple[dict[str, float], int]:
    """Seconds of each run on its slot, and how many of them come from a measured speed."""
    rates = cost.measured_rates(root, study)
    found, measured = {}, 0
    for run in runs:
        rate = rates.get(cost.speed_key(run))
        measured += rate is not None
        wanted = study.evaluations[run.id]
        found[run.id] = cost.run_seconds(run, wanted, cost.facts(run).macs, rate, tflops * 1e12)
    return found, measured


def gpu_hours(planned: Matrix, cluster: Cluster) -> float:
    """GPU-hours of what is submitted (slot-hours over runs a GPU; hours of jobs where they have no GPU)."""
    seconds = sum(planned.seconds[run] for array in planned.arrays for job in array for run in job)
    return seconds / cluster.runs_per_gpu / 3600


def submit_matrix(wish: Wish, planned: Matrix, claim: Claim, console: Console) -> int:
    """Freezes the code and sends every array, while the claim on the study holds (OwnedError otherwise).

    Returns an exit code; what was sent is in the ledger in any case."""
    claim.check()  # a question may have waited for its answer, and others have taken this process for dead
    submission = ledger.new_submission(wish.root, wish.study.name)
    commit = freeze.freeze(submission, wish.path)
    about = {
        "study": wish.study.name,
        "time": ledger.now(),
        "command": wish.command,
        "root": str(wish.root),
        "data": str(wish.data),
        "accept_code": wish.accept_code,
        "again": wish.again,
        "cluster": {
            **wish.cluster.model_dump(mode="json"),
            "slots": wish.cluster.slots,
            "computes_on": wish.cluster.computes_on,
        },
        "commit": commit,
        "held": list(planned.held),
    }
    write_json(submission / "submission.json", about)
    for number, jobs in enumerate(planned.arrays):
        claim.check()
        claim.beat(number, len(planned.arrays), None)
        array = ledger.intend(submission, number, [list(job) for job in jobs])
        executor = executor_for(submission, wish.cluster, array.name)
        orders = [Order(str(array.path), element).text() for element in range(len(jobs))]
        try:
            job = send(executor, orders)
        except (FailedJobError, FailedSubmissionError) as error:
            said = " ".join(str(error).split())
            if getattr(error.__cause__, "returncode", 0) == TIMED_OUT or any(sign in said for sign in UNSURE):
                say(
                    console,
                    f"{array.name}: sbatch gave no answer ({said}); the next `submit` finds out what became of it",
                )
            else:
                ledger.settled(array, "refused", said=said)
                say(console, f"{array.name}: refused: {said}")
            sent = sum(len(one) for one in planned.arrays[:number])
            say(
                console,
                f"{sent} of {count(planned.jobs, 'jobs')} were submitted; the same command submits the rest, nothing "
                "twice",
            )
            return FAILED
        ledger.settled(array, "submitted", job)
        say(console, f"job {job}: {count(len(jobs), 'jobs')}, {count(sum(map(len, jobs)), 'runs')}")
    if planned.held and wish.cluster.over == "dependent":
        after = f"afterany:{job}"
        executor = executor_for(submission, wish.cluster.only_submits, ledger.rest_name(submission), after)
        try:
            rest = executor.submit(submit_rest, str(submission))
        except (FailedJobError, FailedSubmissionError) as error:
            said = " ".join(str(error).split())
            say(console, f"the job that submits what is left could not be sent ({said}): submit again later")
            return FAILED
        say(console, f"job {rest.job_id} submits what is left once job {job} is over")
    return DONE


def alike(about: Mapping[str, Any], wish: Wish) -> bool:
    """Whether a submission's jobs were started by the same settings as those of a wish would be."""
    now, before = wish.cluster.model_dump(mode="json"), about["cluster"]
    return all(before[key] == now[key] for key in now if key in before and key not in NO_START)


def submit_rest(submission: str) -> str:
    """The body of the job that submits what was held back, from the frozen code and study."""
    from submitit.helpers import clean_env

    from slurm.verbs import submit_left

    site = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with clean_env():  # a job submitted from a job would inherit its SLURM variables
        os.environ.update(site)  # but this one says where the site's configuration lies
        code = submit_left(Path(submission))
    if code != DONE:
        sys.exit(code)  # so that the end of its log is kept as its error
    return "done"
