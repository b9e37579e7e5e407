"""`inductive submit` and `retry`: what is left of a study, in jobs of equal length, sent once and noted in the ledger.

Where `max_jobs` holds runs back, a job that starts after the others submits them (`submit_held`), and perhaps another
such job with them.
"""

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from submitit.core.utils import FailedJobError, FailedSubmissionError

from benchmarks.console import PIPE_WIDTH, count, duration, say, table
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, FAILED, ConfigError, InductiveError
from benchmarks.files import read_json, write_json
from benchmarks.forecast import cost, memory
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study, load_study, study_path
from benchmarks.records.attempts import GRACE_SECONDS, Claim
from benchmarks.records.environment import code_commit
from benchmarks.records.record import check_root
from benchmarks.records.stages import is_searching, whole
from benchmarks.records.states import RunState, accepted, counted, run_state, selected
from benchmarks.records.study_texts import keep_text
from benchmarks.running import preflight
from benchmarks.training.kernels import check_precision, form_by_rule
from slurm import freeze, ledger
from slurm.cluster import Cluster, read_cluster
from slurm.commands import SILENT, SlurmError, call
from slurm.executor import check_path, executor_for, send
from slurm.ledger import Array
from slurm.packing import JOB_START_SECONDS, Estimate, arrays, pack, short_of_time
from slurm.queue import Queued, accounted, in_queue
from slurm.site import check_site, look
from slurm.status import (
    OPEN,
    FailedStart,
    Jobs,
    began,
    earlier_notes,
    ended_in,
    failed_start_notes,
    failed_starts,
    jobs_of,
    judged,
    note_over,
    why_not_started,
    with_other_jobs,
)
from slurm.worker import Order, frozen

UNSURE = (*SILENT, "temporarily unable")  # words of an sbatch that may have reached the controller
AGAIN = "checkpoint_activations = true"  # in cluster.toml: what a CPU's memory can be spared
TIMED_OUT = 124  # exit code of timeout(1)
NO_START = (  # keys of cluster.toml that cannot make a job end before its first run
    *("least_minutes", "checkpoint_seconds", "largest_array", "max_jobs", "over", "ask_above", "tflops"),
    "sbatch_seconds",
)
HELD_WAIT = 1800.0  # seconds that the job which submits what was held back waits for another that submits right now


@dataclass(frozen=True)
class Request:
    """What a user asks of `submit` or `retry`: which runs of a study are sent, where, and from which data."""

    study: Study
    path: Path  # the study's file
    cluster: Cluster
    cluster_file: Path
    root: Path
    data: Path
    command: str
    only: str | None = None  # a glob of run ids
    states: tuple[str, ...] = OPEN
    accept_code: bool = False
    again: bool = False  # by `retry`: also where jobs like these have ended before their first run
    searching: bool = False  # the study's search is not done, so that a job after it submits what confirms it


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


def read_request(
    name: str,
    cluster_file: Path,
    root: Path,
    data: Path,
    *,
    only: str | None = None,
    states: tuple[str, ...] = OPEN,
    accept_code: bool = False,
) -> Request:
    """A request by a study's name or file and a cluster's file. Raises ConfigError for what is wrong in either."""
    places = Places(data, root)
    study, cluster = whole(load_study(name, places), places), read_cluster(cluster_file)
    if cluster.sbatch_seconds >= GRACE_SECONDS:
        message = f"must be below {GRACE_SECONDS:g}: a `submit` that is silent for longer counts as dead on other hosts"
        raise ConfigError("sbatch_seconds", message, str(cluster_file))
    return Request(
        study,
        study_path(name),
        cluster,
        cluster_file,
        root.resolve(),
        data.resolve(),
        command=shlex.join(["inductive", *sys.argv[1:]]),
        only=only,
        states=states,
        accept_code=accept_code,
        searching=is_searching(study, places),
    )


def submit_study(request: Request, console: Console, *, dry_run: bool = False, yes: bool = False) -> int:
    """`inductive submit`. A dry run sends and notes nothing; `yes` asks no question. Returns the exit code."""
    for warning in check_site(request.cluster, look(), str(request.cluster_file)):
        say(console, warning)
    runs = selected(request.study, request.only)
    check_root(request.root)
    check_path(request.root)
    if dry_run:
        return _submit(request, runs, None, console, yes=yes)
    with ledger.claimed(request.root, request.study.name) as claim:
        return _submit(request, runs, claim, console, yes=yes)


def retry_study(request: Request, console: Console, *, yes: bool = False) -> int:
    """`inductive retry`: submits runs that ended badly, those whose job ended before its first run among them. Returns
    the exit code."""
    return submit_study(replace(request, again=True), console, yes=yes)


def _put_aside(run: Run, root: Path, console: Console) -> None:
    """Moves the record of a diverged run, which begins anew, to `.retried`."""
    aside = root / ".retried" / f"{run.id}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    aside.parent.mkdir(exist_ok=True)
    shutil.move(root / run.id, aside)
    say(console, f"{run.id}: its diverged record is now {aside}")


def submit_held(submission: str) -> str:
    """The body of the job that submits what a submission has held back, and what confirms its search, from its frozen
    code and study."""
    from submitit.helpers import clean_env

    site = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with clean_env():  # a job submitted from a job would inherit its SLURM variables
        os.environ.update(site)  # but this one says where the site's configuration lies
        code = _submit_held(Path(submission))
    if code != DONE:
        sys.exit(code)  # so that the end of its log is kept as its error
    return "done"


def _submit_held(submission: Path) -> int:
    """Submits what a submission has held back, what confirms its search, and nothing else, as it was requested then.
    Returns the exit code."""
    about = read_json(submission / "submission.json")
    study, settings, root = frozen(submission)
    values = {key: value for key, value in about["cluster"].items() if key in Cluster.model_fields}
    request = Request(
        study,
        submission / "study.toml",
        Cluster(**values),
        submission / "submission.json",
        root,
        settings.data,
        command=about["command"],
        only=about.get("only"),
        accept_code=settings.accept_code,
        searching=is_searching(study, Places(settings.data, root)),
    )
    wanted = set(about["held"])
    if ledger.confirms(submission):
        confirming = {run.id for run in study.runs} - study.trial_ids
        wanted |= {run for run in confirming if fnmatchcase(run, request.only or "*")}
    runs = [run for run in study.runs if run.id in wanted]
    with ledger.claimed(root, study.name, HELD_WAIT) as claim:
        return _submit(request, runs, claim, Console(width=PIPE_WIDTH), yes=True)


def _submit(request: Request, runs: Sequence[Run], claim: Claim | None, console: Console, *, yes: bool) -> int:
    """Submits those of some runs that are open, as far as there is room. Returns the exit code.

    `claim` is the claim on the study; without it nothing is sent or noted: a dry run. Runs that start from one that has
    diverged or failed are set aside; where there are no others they are refused."""
    study, cluster, root = request.study, request.cluster, request.root
    aside = preflight.without_start(runs, root)
    for run in runs:
        if run.id in aside:
            say(console, preflight.aside_words(run, aside[run.id]))
    runs = [run for run in runs if run.id not in aside] or runs
    preflight.check_prepared(study, runs, root, request.data)
    check_memory(study, runs, cluster, root)
    ledger.check_folder(root)
    for note in ledger.unread(root):
        say(console, f"warning: {note}; a run that is on their list, too, is done by who comes first")
    jobs, known = _look_at_queue(request, runs, claim, console)
    open_runs = _open_runs(request, jobs, known, console)
    _show_stopped(jobs, claim, console)
    if not open_runs:
        say(console, "nothing to submit" + ("; the search is not done yet" if request.searching else ""))
        return DONE
    for one in open_runs:
        check_precision(one.run, cluster.computes_on)
    if not request.again:
        check_start(request, jobs)
    taken = {one.id for one in in_queue(jobs.arrays, jobs.queue).values()}
    planned = matrix(request, open_runs, max(0, cluster.max_jobs - len(taken)))
    _show_matrix(study, {run for array in planned.arrays for job in array for run in job}, console)
    _show_plan(planned, request, console)
    start_seconds = JOB_START_SECONDS + cost.measured_start(root, study)
    warning = short_of_time(cluster.minutes * 60.0 - cluster.signal_seconds, start_seconds)
    if warning:
        say(console, warning)
    if claim is None or not planned.runs:
        return DONE
    keep_text(study, root)
    hours, unit = price(planned, cluster)
    if hours > cluster.ask_above and not yes and not click.confirm(f"submit about {hours:,.0f} {unit}?"):
        say(console, "nothing submitted")
        return DONE
    claim.check()  # a question may have waited for its answer, and others have taken this process for dead
    for one in open_runs:
        if one.state == "diverged":
            _put_aside(one.run, root, console)
    return send_matrix(request, planned, claim, console)


def check_memory(study: Study, runs: Sequence[Run], cluster: Cluster, root: Path) -> None:
    """Raises InductiveError for runs on CPUs that need more than a job's memory side by side, where that is asked."""
    if cluster.computes_on == "cpu" and cluster.memory_bytes:
        again = cluster.checkpoint_activations
        wanted = (memory.wanted(run, study.evaluations[run.id], root, again) for run in runs)
        where = f"a job of memory_gb = {cluster.memory_gb:g}"
        together = cluster.slots * cluster.gpus_per_run  # processes, each with the whole network
        memory.largest(wanted, cluster.memory_bytes, where, together, more_memory(cluster), AGAIN)


def more_memory(cluster: Cluster) -> tuple[str, ...]:
    """What gives a run on a CPU more memory in a job, in words: the keys of cluster.toml."""
    fewer = (f"a smaller runs_per_gpu ({cluster.runs_per_gpu})",) if cluster.runs_per_gpu > 1 else ()
    return (f"a larger memory_gb ({cluster.memory_gb:g})", *fewer)


def _look_at_queue(
    request: Request, runs: Sequence[Run], claim: Claim | None, console: Console
) -> tuple[Jobs, list[RunState]]:
    """What ledger and SLURM know of the study's jobs, and the states of runs by that. With a claim, what SLURM calls
    over is noted in the records, and what came of cut-off submissions in the ledger.

    Raises SilentError: nothing is submitted while nobody knows what is queued."""
    jobs = jobs_of(request.root, request.study.name)
    known = [run_state(run, request.root, request.study.evaluations[run.id]) for run in runs]
    jobs = with_other_jobs(jobs, known)
    if claim is not None:
        note_over(known, jobs)  # while SLURM's word is fresh
        jobs = replace(jobs, arrays=settle(jobs.arrays, jobs.queue, console))
    return jobs, [judged(one, jobs) for one in known]


def _open_runs(request: Request, jobs: Jobs, known: Sequence[RunState], console: Console) -> list[RunState]:
    """The runs to submit: in the states requested, and on no list of a job that waits, runs or is uncertain."""
    uncertain = {run for array in jobs.arrays if array.state == "intended" for run in array.runs}
    taken = in_queue(jobs.arrays, jobs.queue)
    listed = {one.run.id for one in known if (job := taken.get(one.run.id)) and not ended_in(one, job)}
    failed = failed_starts(jobs, known, request.root)
    never_began = {run for one in failed for run in one.runs} if "failed" in request.states else set()
    others = counted(one.state for one in known if one.run.id not in listed) or "no other runs"
    say(console, f"{request.study.name}: {others}; {len(listed)} on the lists of queued and running jobs")
    for note in (*failed_start_notes(failed), *earlier_notes(request.study, jobs)):
        say(console, note)
    if request.accept_code:
        known = [accepted(one, request.root, request.study.evaluations[one.run.id]) for one in known]
    return [
        one
        for one in known
        if (one.state in request.states or one.run.id in never_began or (one.state == "finished" and one.waiting))
        and one.run.id not in listed
        and one.run.id not in uncertain
    ]


def _show_stopped(jobs: Jobs, claim: Claim | None, console: Console) -> None:
    """Reports the jobs that were stopped and could not go back into the queue; with a claim, for the last time."""
    own = [array for array in jobs.arrays if ledger.is_own(array.submission)]
    for path, (stopped, reason) in ledger.not_requeued(own).items():
        if (one := jobs.queue.get(stopped)) and not one.over:
            continue  # it still asks the controller, from time to time
        say(
            console,
            f"job {stopped} was stopped and could not go back into the queue ({reason}); its runs are open again",
        )
        if claim is not None:
            path.unlink(missing_ok=True)


def check_start(request: Request, jobs: Jobs) -> None:
    """Raises InductiveError where jobs like those that would be submitted have ended before their first run.

    Like them are those of the same settings and code, back to the last that began a run, or to the last `retry`. One is
    an accident, a second is not."""
    folders = list(dict.fromkeys(array.submission for array in jobs.arrays))
    failed: list[FailedStart] = []
    commit = code_commit()
    for folder in reversed(folders):
        about = read_json(folder / "submission.json")
        if about["commit"] != commit or not alike(about, request) or not ledger.is_own(folder):
            break
        sent = [(array, n) for array in jobs.arrays if array.submission == folder for n in range(len(array.jobs))]
        if any(began(array, n, request.root) for array, n in sent):
            break
        errors = {array.path: ledger.errors(array) for array, _ in sent}
        found = [
            FailedStart(array.element(n), reason, array.jobs[n])
            for array, n in sent
            if (reason := why_not_started(array, n, errors[array.path], jobs, request.root))
        ]
        failed = [*found, *failed]
        if about.get("again"):
            break
    if len(failed) > 1:
        raise InductiveError(
            f"{'; '.join(failed_start_notes(failed))}. Nothing more is submitted until the cause is removed: see "
            f"`python`, `setup` and `options` in the file of --cluster, which `inductive cluster check` proves; then "
            f"`inductive retry {request.study.argument}` submits again"
        )


def alike(about: Mapping[str, Any], request: Request) -> bool:
    """Whether a submission's jobs were started by the same settings as those of a request would be."""
    now, before = request.cluster.model_dump(mode="json"), about["cluster"]
    return all(before[key] == now[key] for key in now if key in before and key not in NO_START)


def matrix(request: Request, runs: Sequence[RunState], room: int) -> Matrix:
    """Jobs for what is left of runs, as many as there is room for in the queue."""
    cluster = request.cluster
    seconds, measured = estimates(request.study, runs, request.root, slot_of(cluster))
    work = [Estimate(one.run.id, seconds[one.run.id]) for one in runs]
    jobs = pack(work, cluster.slots, cluster.minutes * 60.0, cluster.least_minutes * 60.0, room)
    sent, held = jobs[:room], [run for job in jobs[room:] for run in job]
    frozen = tuple(tuple(map(tuple, array)) for array in arrays(sent, cluster.largest_array))
    return Matrix(frozen, tuple(held), seconds, measured)


def slot_of(cluster: Cluster) -> cost.Slot:
    """What each run of a cluster's jobs computes on, for the forecast of what it takes."""
    device = cluster.computes_on
    shared = cluster.runs_per_gpu if device == "cuda" else 1
    form = partial(form_by_rule, device=device, ranks=cluster.gpus_per_run)
    workers = max(1, cluster.cpus_per_job // cluster.slots - cluster.gpus_per_run)  # a core of each process is its own
    return cost.Slot(device, cluster.gpu_type, shared, cluster.tflops, form, workers, cluster.gpus_per_run)


def estimates(study: Study, runs: Sequence[RunState], root: Path, slot: cost.Slot) -> tuple[dict[str, float], int]:
    """Seconds of what is left of each run on its slot: of a trained one the evaluations that it lacks; and how many of
    them come from a measured speed."""
    speeds = cost.measured(root, study, slot)
    found = {
        one.run.id: cost.run_seconds(one.run, study.evaluations[one.run.id], slot, speeds)
        if one.missing is None
        else cost.evaluation_seconds(one.run, one.missing, slot, speeds)
        for one in runs
    }
    return found, sum(cost.speed_key(one.run) in speeds.rates for one in runs)


def price(planned: Matrix, cluster: Cluster) -> tuple[float, str]:
    """What is submitted takes, and the unit: GPU-hours (hours of slots times GPUs a run over runs a GPU), or core-hours
    where runs compute on CPUs (hours of slots times processes a run, each of one thread)."""
    hours = (
        cluster.gpus_per_run
        * sum(planned.seconds[run] for array in planned.arrays for job in array for run in job)
        / 3600
    )
    return (hours / cluster.runs_per_gpu, "GPU-hours") if cluster.computes_on == "cuda" else (hours, "core-hours")


def _show_matrix(study: Study, chosen: Collection[str], console: Console) -> None:
    """How many of the runs are submitted: a row a model, size, data set, resolution and recipe, a column a train
    size."""
    there: dict[str, Counter[int]] = {}
    submitted: dict[str, Counter[int]] = {}
    names = cost.cell_names(study, with_train_size=False)
    for run in study.runs:
        name = names[run.id]
        there.setdefault(name, Counter())[run.train_size] += 1
        submitted.setdefault(name, Counter())[run.train_size] += run.id in chosen
    sizes = sorted({run.train_size for run in study.runs})
    rows = [
        [name, *(f"{submitted[name][size]} of {counts[size]}" if counts[size] else "" for size in sizes)]
        for name, counts in there.items()
    ]
    columns = {"runs submitted": "left"} | {f"n={size:,}": "right" for size in sizes}
    table(console, "", columns, rows)


def _show_plan(planned: Matrix, request: Request, console: Console) -> None:
    """How many jobs there are, how long they take, what was assumed, and what is held back."""
    cluster = request.cluster
    hours, unit = price(planned, cluster)
    longest = max(
        (sum(planned.seconds[run] for run in job) / cluster.slots for array in planned.arrays for job in array),
        default=0.0,
    )
    say(
        console,
        f"{count(planned.runs, 'runs')} in {count(planned.jobs, 'jobs')} ({count(len(planned.arrays), 'arrays')}) of "
        f"{cluster.slots} side by side on "
        f"{', '.join(cluster.partitions)}; longest job about {duration(longest)} of {cluster.minutes} min; "
        f"about {hours:,.1f} {unit}",
    )
    assumed = planned.runs + len(planned.held) - planned.measured
    if assumed:
        say(
            console,
            f"{slot_of(cluster).assumption} for {count(assumed, 'runs')} whose speed nobody has measured here",
        )
    if planned.held:
        follows = (cluster.over == "dependent" or request.searching) and planned.runs
        later = "a job after these submits them" if follows else "submit again later"
        held = count(len(planned.held), "runs")
        is_ = "is" if len(planned.held) == 1 else "are"
        say(console, f"{held} {is_} held back by max_jobs = {cluster.max_jobs}; {later}")


def send_matrix(request: Request, planned: Matrix, claim: Claim, console: Console) -> int:
    """Freezes the code and sends every array, while the claim on the study holds (OwnedError otherwise).

    Returns an exit code; what was sent is in the ledger in any case."""
    claim.check()
    submission = ledger.new_submission(request.root, request.study.name)
    commit = freeze.freeze(submission, request.path)
    about = {
        "study": request.study.name,
        "time": ledger.now(),
        "command": request.command,
        "root": str(request.root),
        "data": str(request.data),
        "accept_code": request.accept_code,
        "again": request.again,
        "cluster": {
            **request.cluster.model_dump(mode="json"),
            "slots": request.cluster.slots,
            "computes_on": request.cluster.computes_on,
        },
        "commit": commit,
        "held": list(planned.held),
        "only": request.only,
        "confirms": request.searching,
    }
    write_json(submission / "submission.json", about)
    sent_jobs = []
    for number, jobs in enumerate(planned.arrays):
        claim.check()
        claim.beat(number, len(planned.arrays), None)
        array = ledger.intend(submission, number, [list(job) for job in jobs])
        executor = executor_for(submission, request.cluster, array.name)
        orders = [Order(str(array.path), element).text() for element in range(len(jobs))]
        try:
            job = send(executor, orders)
        except (FailedJobError, FailedSubmissionError) as error:
            _note_refusal(array, error, console)
            sent = sum(len(one) for one in planned.arrays[:number])
            say(
                console,
                f"{sent} of {count(planned.jobs, 'jobs')} were submitted; the same command submits the rest, nothing "
                "twice",
            )
            return FAILED
        ledger.settled(array, "submitted", job)
        sent_jobs.append(job)
        say(console, f"job {job}: {count(len(jobs), 'jobs')}, {count(sum(map(len, jobs)), 'runs')}")
    if request.searching or (planned.held and request.cluster.over == "dependent"):
        after = "afterany:" + ":".join(sent_jobs if request.searching else sent_jobs[-1:])
        executor = executor_for(submission, request.cluster.only_submits, ledger.rest_name(submission), after)
        try:
            rest = executor.submit(submit_held, str(submission))
        except (FailedJobError, FailedSubmissionError) as error:
            refusal = " ".join(str(error).split())
            say(console, f"the job that submits what is left could not be sent ({refusal}): submit again later")
            return FAILED
        left = "what is left and confirms the search" if request.searching else "what is left"
        say(console, f"job {rest.job_id} submits {left} once job {' and '.join(after.split(':')[1:])} is over")
    return DONE


def _note_refusal(array: Array, error: Exception, console: Console) -> None:
    """Says what sbatch has answered, and notes it where it is sure that the array was not taken."""
    refusal = " ".join(str(error).split())
    if getattr(error.__cause__, "returncode", 0) == TIMED_OUT or any(sign in refusal for sign in UNSURE):
        say(console, f"{array.name}: sbatch gave no answer ({refusal}); the next `submit` finds out what became of it")
    else:
        ledger.settled(array, "refused", said=refusal)
        say(console, f"{array.name}: refused: {refusal}")


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
