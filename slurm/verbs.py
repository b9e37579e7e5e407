"""What `inductive cluster`, `submit`, `retry`, `cancel`, `logs` and `status` do on a cluster."""

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from benchmarks import cost, decoded, duplicates, start, verbs, views
from benchmarks.asked import keep_text
from benchmarks.datasets import Places, dataset
from benchmarks.errors import DONE, InductiveError, RecordError
from benchmarks.files import read_json
from benchmarks.progress import duration, say
from benchmarks.record import check_root, find_record, read_record
from benchmarks.run import Run
from benchmarks.states import counted, run_state, selected
from benchmarks.study import Study, load_study, study_path
from slurm import ledger
from slurm.cluster import Cluster, commented, read_cluster
from slurm.commands import call
from slurm.packing import JOB_START_SECONDS, short_of_time
from slurm.queue import in_queue, queue
from slurm.site import look, proposal
from slurm.submit import (
    TAKEN_UP,
    Matrix,
    Wish,
    check_site,
    gpu_hours,
    matrix,
    rest_name,
    settle,
    submit_matrix,
)
from slurm.worker import frozen


def cluster_init(path: Path, console: Console) -> int:
    """Writes a commented cluster.toml for this site; a file that is there stays."""
    if path.exists():
        raise InductiveError(f"{path} is there already; remove it, or name another with -o")
    values, remarks = proposal(look())
    path.write_text(commented(values, remarks), encoding="utf-8")
    read_cluster(path)  # what is proposed is also accepted
    say(console, f"{path} written from what this site says; read it, then `inductive cluster check --cluster {path}`")
    return DONE


def submit_study(
    name: str,
    cluster_file: Path,
    only: str | None,
    root: Path,
    data: Path,
    dry_run: bool,
    yes: bool,
    accept_code: bool,
    console: Console,
    states: Sequence[str] = TAKEN_UP,
) -> int:
    """`inductive submit` (and `retry`, which takes up other states): returns the exit code."""
    study, cluster = load_study(name, Places(data, root)), read_cluster(cluster_file)
    for words in check_site(cluster, look(), str(cluster_file)):
        say(console, words)
    command = shlex.join(["inductive", *sys.argv[1:]])
    wish = Wish(study, study_path(name), cluster, root.resolve(), data.resolve(), command, accept_code)
    return submit_wish(wish, selected(study, only), dry_run, yes, console, states)


def submit_left(submission: Path) -> None:
    """Submits what a submission has held back and nothing else, as it was asked for then."""
    about = read_json(submission / "submission.json")
    study, settings, root = frozen(submission)
    values = {key: value for key, value in about["cluster"].items() if key in Cluster.model_fields}
    path = submission / "study.toml"
    wish = Wish(study, path, Cluster(**values), root, settings.data, about["command"], settings.accept_code)
    runs = [run for run in study.runs if run.id in set(about["held"])]
    submit_wish(wish, runs, False, True, Console(width=250), TAKEN_UP)


def submit_wish(
    wish: Wish, runs: Sequence[Run], dry_run: bool, yes: bool, console: Console, states: Sequence[str]
) -> int:
    """Submits those of a study's runs that are open and in one of these states, as far as there is room."""
    study, cluster, root, data = wish.study, wish.cluster, wish.root, wish.data
    check_root(root)
    check_prepared(study, runs, root, data)
    jobs = queue()  # nothing is submitted while nobody knows what is queued
    arrays = settle(ledger.read_arrays(root, study.name), jobs, console)
    for path, (job, reason) in ledger.not_requeued(arrays).items():
        say(console, f"job {job} was stopped and could not go back into the queue ({reason}); its runs are open again")
        if not dry_run:
            path.unlink(missing_ok=True)
    uncertain = {run for array in arrays if array.state == "intended" for run in array.runs}
    taken = in_queue(arrays, jobs)
    known = [run_state(run, root, study.evaluations[run.id]) for run in runs]
    left = [one.run for one in known if one.state in states or (one.state == "finished" and one.waiting)]
    open_runs = [run for run in left if run.id not in taken and run.id not in uncertain]
    others = counted(one.state for one in known if one.run.id not in taken) or "no other runs"
    listed = sum(one.run.id in taken for one in known)
    say(
        console,
        f"{study.name}: {others}; {listed} on the lists of queued and running jobs",
    )
    if not open_runs:
        say(console, "nothing to submit")
        return DONE
    room = max(0, cluster.max_jobs - len({one.id for one in taken.values()}))
    planned = matrix(wish, open_runs, room)
    views.print_matrix(console, study, {run for array in planned.arrays for job in array for run in job})
    _show(planned, cluster, console)
    start_seconds = JOB_START_SECONDS + cost.measured_start(root, study)
    warning = short_of_time(cluster.minutes * 60.0 - cluster.signal_seconds, start_seconds)
    if warning:
        say(console, warning)
    if dry_run or not planned.runs:
        return DONE
    keep_text(study, root)
    hours = gpu_hours(planned, cluster)
    if hours > cluster.ask_above and not yes and not click.confirm(f"submit about {hours:,.0f} GPU-hours?"):
        say(console, "nothing submitted")
        return DONE
    return submit_matrix(wish, planned, console)


def _show(planned: Matrix, cluster: Cluster, console: Console) -> None:
    longest = max(
        (sum(planned.seconds[run] for run in job) / cluster.slots for array in planned.arrays for job in array),
        default=0.0,
    )
    say(
        console,
        f"{planned.runs} runs in {planned.jobs} jobs ({len(planned.arrays)} arrays) of {cluster.slots} side by side on "
        f"{', '.join(cluster.partitions)}; longest job about {duration(longest)} of {cluster.minutes} min; "
        f"about {gpu_hours(planned, cluster):,.1f} GPU-hours",
    )
    assumed = planned.runs + len(planned.held) - planned.measured
    if assumed:
        say(
            console,
            f"assumed {cluster.slot_tflops:g} TFLOP/s a slot ({cluster.computes_on}) for {assumed} runs whose speed "
            f"nobody has measured here",
        )
    if planned.held:
        later = "a job after these submits them" if cluster.over == "dependent" else "submit again later"
        say(console, f"{len(planned.held)} runs are held back by max_jobs = {cluster.max_jobs}; {later}")


def check_prepared(study: Study, runs: Sequence[Run], root: Path, data: Path) -> None:
    """Raises InductiveError, naming `inductive prepare`, unless all that the runs need lies on disk."""
    for name in dict.fromkeys(run.dataset for run in runs):
        spec = dataset(name, Places(data, root))
        if not spec.bundled and not decoded.is_ready(spec, data):
            raise InductiveError(f"{name} is not prepared under {data}: `inductive prepare {study.name} --data {data}`")
        if any(duplicates.wanted(study.evaluations[run.id]) for run in runs if run.dataset == name):
            duplicates.read_list(name, data)
    for run in runs:
        verbs.check_weights(run)
        if run.init_from:
            start.weights_path(run, root)


def retry_study(
    name: str,
    cluster_file: Path,
    states: Sequence[str],
    only: str | None,
    root: Path,
    data: Path,
    yes: bool,
    console: Console,
) -> int:
    """`inductive retry`: submits runs that ended badly; the record of a diverged one is put aside first."""
    study = load_study(name, Places(data, root))
    if "diverged" in states:
        for run in selected(study, only):
            if run_state(run, root, study.evaluations[run.id]).state == "diverged":
                aside = root / ".retried" / f"{run.id}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
                aside.parent.mkdir(exist_ok=True)
                shutil.move(root / run.id, aside)
                say(console, f"{run.id}: its diverged record is now {aside}")
        states = [*states, "missing"]
    return submit_study(name, cluster_file, only, root, data, False, yes, False, console, states)


def cancel_study(name: str, only: str | None, root: Path, data: Path, console: Console) -> int:
    """`inductive cancel`: marks, then cancels, every queued or running job of a study that has a matching run."""
    study = load_study(name, Places(data, root))
    wanted = {run.id for run in selected(study, only)}
    jobs, count = queue(), 0
    for array in settle(ledger.read_arrays(root, study.name), jobs, console):
        if array.state != "submitted" or array.cancelled:
            continue
        elements = [number for number, job in enumerate(array.jobs) if wanted & set(job)]
        alive = [n for n in elements if (one := jobs.get(array.element(n))) and one.name == array.name and not one.over]
        if not alive:
            continue
        if len(elements) == len(array.jobs):
            array.marker.touch()
        for number in alive:
            array.element_marker(number).touch()  # before scancel: a job that is starting reads it
            call("scancel", array.element(number))
            count += 1
    rests = {rest_name(folder) for folder in ledger.submissions(root, study.name)}
    for one in jobs.values():
        if one.name in rests and not one.over and only is None:
            call("scancel", one.id)
            count += 1
    say(console, f"{count} jobs cancelled; their runs are saved and `inductive submit` takes them up again")
    return DONE


def show_logs(run_id: str, root: Path, follow: bool, console: Console) -> int:
    """`inductive logs`: what a run's last attempt has logged, how far it is, the last error of its job, and where that
    job's own log lies."""
    errors = ledger.last_errors(ledger.read_arrays(root))
    try:
        folder = find_record(root, run_id)
    except RecordError:
        listed = [run for run in errors if run_id == run or run.startswith(run_id) or run.endswith(run_id)]
        if len(listed) != 1:
            raise
        say(console, f"{listed[0]} has not begun")
        _show_error(errors[listed[0]], root, console)
        return DONE
    place, shown = 0, ""
    while True:
        record = read_record(folder)
        if not record.attempt_list and record.id in errors:
            say(console, f"{record.id} has not begun")
            _show_error(errors[record.id], root, console)
            return DONE
        if not record.attempt_list:
            raise InductiveError(f"{record.id} has not begun")
        attempt = record.attempt_list[-1]
        path = attempt.path / "log.txt"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        if text[place:]:
            say(console, text[place:].rstrip("\n"))
            place = len(text)
        beat = attempt.heartbeat()
        how = f"{record.id}: {record.state}" + (f", step {beat['step']:,} of {beat['steps']:,}" if beat else "")
        if how != shown:
            say(console, how)
            shown = how
        if not follow or record.state != "running":
            break
        time.sleep(1.0)
    job = (attempt.owner or {}).get("slurm_job")
    if record.id in errors and record.state not in ("finished", "running"):
        _show_error(errors[record.id], root, console)
        if errors[record.id][0] == job:
            return DONE
    if job:
        _show_job_log(job, root, console)
    return DONE


def _show_error(error: tuple[str, str], root: Path, console: Console) -> None:
    job, text = error
    say(console, f"the last error of its job {job}:\n{text}")
    _show_job_log(job, root, console)


def _show_job_log(job: str, root: Path, console: Console) -> None:
    for log in sorted((root / ledger.FOLDER).glob(f"*/submitit/{job}_0_log.out")):
        say(console, f"the log of its job {job}: {log}")
