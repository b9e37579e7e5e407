"""What `inductive cluster`, `submit`, `retry`, `cancel`, `logs` and `status` do on a cluster."""

import hashlib
import shlex
import shutil
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.cli import verbs, views
from benchmarks.data import duplicates, store
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, FAILED, ConfigError, InductiveError, RecordError
from benchmarks.files import read_json
from benchmarks.plan.evaluations import leave_out_duplicates
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study, load_study, study_path
from benchmarks.records import cost, init_from
from benchmarks.records.attempts import GRACE_SECONDS, Claim, read_attempts
from benchmarks.records.environment import code_commit
from benchmarks.records.record import check_root, find_record, read_record
from benchmarks.records.states import RunState, counted, run_state, selected
from benchmarks.records.study_texts import changes, keep_text
from benchmarks.running.progress import count, duration, say
from models.hints import did_you_mean
from slurm import ledger
from slurm.cluster import Cluster, commented, read_cluster
from slurm.commands import SlurmError, call
from slurm.ledger import Array
from slurm.packing import JOB_START_SECONDS, short_of_time
from slurm.queue import in_queue
from slurm.site import look, proposal
from slurm.status import (
    Dead,
    Jobs,
    ask,
    ask_others,
    began,
    dead_jobs,
    dead_notes,
    earlier_notes,
    ended_in,
    judged,
    listing,
    note_over,
    why_dead,
)
from slurm.submit import (
    TAKEN_UP,
    Matrix,
    Wish,
    alike,
    check_path,
    check_site,
    gpu_hours,
    matrix,
    settle,
    submit_matrix,
)
from slurm.worker import frozen

REST_WAITS = 1800.0  # seconds that the job which submits the rest waits for somebody who submits right now
CANCEL_WAITS = 30.0  # seconds that `cancel` does


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
    again: bool = False,
) -> int:
    """`inductive submit` (and `retry`, `again`, which takes up other states): returns the exit code."""
    study, cluster = load_study(name, Places(data, root)), read_cluster(cluster_file)
    if cluster.sbatch_seconds >= GRACE_SECONDS:
        message = f"must be below {GRACE_SECONDS:g}: a `submit` that is silent for longer counts as dead on other hosts"
        raise ConfigError("sbatch_seconds", message, str(cluster_file))
    for words in check_site(cluster, look(), str(cluster_file)):
        say(console, words)
    command = shlex.join(["inductive", *sys.argv[1:]])
    wish = Wish(study, study_path(name), cluster, root.resolve(), data.resolve(), command, accept_code, again)
    runs = selected(study, only)
    check_root(wish.root)
    check_path(wish.root)
    if dry_run:
        return submit_wish(wish, runs, None, yes, console, states)
    with ledger.claimed(wish.root, study.name) as claim:
        return submit_wish(wish, runs, claim, yes, console, states)


def submit_left(submission: Path) -> int:
    """Submits what a submission has held back and nothing else, as it was asked for then. Returns the exit code."""
    about = read_json(submission / "submission.json")
    study, settings, root = frozen(submission)
    values = {key: value for key, value in about["cluster"].items() if key in Cluster.model_fields}
    path = submission / "study.toml"
    wish = Wish(study, path, Cluster(**values), root, settings.data, about["command"], settings.accept_code)
    runs = [run for run in study.runs if run.id in set(about["held"])]
    with ledger.claimed(root, study.name, REST_WAITS) as claim:
        return submit_wish(wish, runs, claim, True, Console(width=250), TAKEN_UP)


def submit_wish(
    wish: Wish, runs: Sequence[Run], claim: Claim | None, yes: bool, console: Console, states: Sequence[str]
) -> int:
    """Submits those of a study's runs that are open and in one of these states, as far as there is room.

    `claim` is the claim on the study; without it nothing is sent or noted: a dry run."""
    study, cluster, root, data = wish.study, wish.cluster, wish.root, wish.data
    check_prepared(study, runs, root, data)
    ledger.check_folder(root)
    for note in ledger.unread(root):
        say(console, f"warning: {note}; a run that is on their list, too, is done by who comes first")
    jobs = ask(root, study.name)  # nothing is submitted while nobody knows what is queued
    known = [run_state(run, root, study.evaluations[run.id]) for run in runs]
    jobs = ask_others(jobs, known)
    arrays: Sequence[Array] = jobs.arrays
    if claim is not None:
        note_over(known, jobs)  # while SLURM's word is fresh
        arrays = settle(arrays, jobs.queue, console)
    jobs = replace(jobs, arrays=arrays)
    known = [judged(one, jobs) for one in known]
    uncertain = {run for array in arrays if array.state == "intended" for run in array.runs}
    taken = in_queue(arrays, jobs.queue)
    listed = {one.run.id for one in known if (job := taken.get(one.run.id)) and not ended_in(one, job)}
    dead = dead_jobs(jobs, known, root)
    ended = {run for one in dead for run in one.runs} if "failed" in states else set()
    left = [one.run for one in known if one.state in states or one.run.id in ended or _waits(one)]
    open_runs = [run for run in left if run.id not in listed and run.id not in uncertain]
    others = counted(one.state for one in known if one.run.id not in listed) or "no other runs"
    say(console, f"{study.name}: {others}; {len(listed)} on the lists of queued and running jobs")
    for note in (*dead_notes(dead), *earlier_notes(study, jobs)):
        say(console, note)
    own = [array for array in arrays if ledger.is_own(array.submission)]
    for path, (stopped, reason) in ledger.not_requeued(own).items():
        if (one := jobs.queue.get(stopped)) and not one.over:
            continue  # it still asks the controller, again and again
        say(
            console,
            f"job {stopped} was stopped and could not go back into the queue ({reason}); its runs are open again",
        )
        if claim is not None:
            path.unlink(missing_ok=True)
    if not open_runs:
        say(console, "nothing to submit")
        return DONE
    if not wish.again:
        check_start(wish, jobs)
    room = max(0, cluster.max_jobs - len({one.id for one in taken.values()}))
    planned = matrix(wish, open_runs, room)
    views.print_matrix(console, study, {run for array in planned.arrays for job in array for run in job})
    _show(planned, cluster, console)
    start_seconds = JOB_START_SECONDS + cost.measured_start(root, study)
    warning = short_of_time(cluster.minutes * 60.0 - cluster.signal_seconds, start_seconds)
    if warning:
        say(console, warning)
    if claim is None or not planned.runs:
        return DONE
    keep_text(study, root)
    hours = gpu_hours(planned, cluster)
    if hours > cluster.ask_above and not yes and not click.confirm(f"submit about {hours:,.0f} GPU-hours?"):
        say(console, "nothing submitted")
        return DONE
    return submit_matrix(wish, planned, claim, console)


def _waits(one: RunState) -> bool:
    """Whether a finished run lacks evaluations."""
    return one.state == "finished" and bool(one.waiting)


def check_start(wish: Wish, jobs: Jobs) -> None:
    """Raises InductiveError where jobs like those that would be submitted have ended before their first run.

    Like them are those of the same settings and code, back to the last that began a run, or to the last `retry`. One is
    an accident, a second is not."""
    folders = list(dict.fromkeys(array.submission for array in jobs.arrays))
    dead: list[Dead] = []
    commit = code_commit()
    for folder in reversed(folders):
        about = read_json(folder / "submission.json")
        if about["commit"] != commit or not alike(about, wish) or not ledger.is_own(folder):
            break
        sent = [(array, n) for array in jobs.arrays if array.submission == folder for n in range(len(array.jobs))]
        if any(began(array, n, wish.root) for array, n in sent):
            break
        errors = {array.path: ledger.errors(array) for array, _ in sent}
        found = [
            Dead(array.element(n), reason, array.jobs[n])
            for array, n in sent
            if (reason := why_dead(array, n, errors[array.path], jobs, wish.root))
        ]
        dead = [*found, *dead]
        if about.get("again"):
            break
    if len(dead) > 1:
        raise InductiveError(
            f"{'; '.join(dead_notes(dead))}. Nothing more is submitted until the cause is removed: see `python`, "
            f"`setup` and `options` in the file of --cluster, which `inductive cluster check` proves; then `inductive "
            f"retry {wish.study.name}` submits again"
        )


def _show(planned: Matrix, cluster: Cluster, console: Console) -> None:
    longest = max(
        (sum(planned.seconds[run] for run in job) / cluster.slots for array in planned.arrays for job in array),
        default=0.0,
    )
    say(
        console,
        f"{count(planned.runs, 'runs')} in {count(planned.jobs, 'jobs')} ({count(len(planned.arrays), 'arrays')}) of "
        f"{cluster.slots} side by side on "
        f"{', '.join(cluster.partitions)}; longest job about {duration(longest)} of {cluster.minutes} min; "
        f"about {gpu_hours(planned, cluster):,.1f} GPU-hours",
    )
    assumed = planned.runs + len(planned.held) - planned.measured
    if assumed:
        say(
            console,
            f"assumed {cluster.slot_tflops:g} TFLOP/s a slot ({cluster.computes_on}) for {count(assumed, 'runs')} "
            "whose speed nobody has measured here",
        )
    if planned.held:
        follows = cluster.over == "dependent" and planned.runs
        later = "a job after these submits them" if follows else "submit again later"
        held = count(len(planned.held), "runs")
        is_ = "is" if len(planned.held) == 1 else "are"
        say(console, f"{held} {is_} held back by max_jobs = {cluster.max_jobs}; {later}")


def check_prepared(study: Study, runs: Sequence[Run], root: Path, data: Path) -> None:
    """Raises InductiveError, naming `inductive prepare`, unless all that the runs need lies on disk."""
    for name in dict.fromkeys(run.dataset for run in runs):
        spec = dataset(name, Places(data, root))
        if not spec.bundled and not store.is_ready(spec, data):
            raise InductiveError(f"{name} is not prepared under {data}: `inductive prepare {study.name} --data {data}`")
        if any(leave_out_duplicates(study.evaluations[run.id]) for run in runs if run.dataset == name):
            duplicates.read_list(name, data)
    for run in runs:
        verbs.check_weights(run)
        if run.init_from:
            init_from.weights_path(run, root)


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
    """`inductive retry`: submits runs that ended badly, those whose job ended before its first run among them; the
    record of a diverged one is put aside first."""
    study = load_study(name, Places(data, root))
    if "diverged" in states:
        for run in selected(study, only):
            if run_state(run, root, study.evaluations[run.id]).state == "diverged":
                aside = root / ".retried" / f"{run.id}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
                aside.parent.mkdir(exist_ok=True)
                shutil.move(root / run.id, aside)
                say(console, f"{run.id}: its diverged record is now {aside}")
        states = [*states, "missing"]
    return submit_study(name, cluster_file, only, root, data, False, yes, False, console, states, again=True)


def cancel_study(name: str, only: str | None, root: Path, console: Console) -> int:
    """`inductive cancel`: marks, then cancels, every queued or running job of a study that has a matching run.

    By the ledger alone: whatever the study's text says now. Returns the exit code."""
    name = submitted_name(name, root)
    with ledger.claimed(root, name, CANCEL_WAITS) as claim:
        jobs = ask(root, name)
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
            try:
                call("scancel", *([array.job] if array.cancelled else map(array.element, alive)))
            except SlurmError as error:
                say(console, f"job {array.job}: {count(len(alive), 'jobs')} could not be cancelled: {error}")
                failed += len(alive)
            else:
                cancelled += len(alive)
        rests = {ledger.rest_name(folder) for folder in ledger.submissions(root, name) if ledger.is_own(folder)}
        for one in jobs.queue.values():
            if one.name in rests and not one.over and only is None:
                call("scancel", one.id)
                cancelled += 1
    say(
        console,
        f"{count(cancelled, 'jobs')} cancelled; their runs are saved and `inductive submit` takes them up again",
    )
    if others:
        say(console, f"{count(others, 'jobs')} of other accounts are left alone: only they can cancel them")
    return FAILED if failed else DONE


def _to_cancel(array: Array, number: int, jobs: Jobs) -> bool:
    """Whether a job waits or runs, and is not ending by an earlier `cancel`."""
    one = jobs.alive(array, number) if array.state == "submitted" else None
    return one is not None and not (one.state == "COMPLETING" and array.is_cancelled(number))


def submitted_name(study: str, root: Path) -> str:
    """The name under which a study, given by name or path, was submitted. Raises ConfigError, with the nearest."""
    name = Path(study).stem if study.endswith(".toml") else study
    names = ledger.study_names(root)
    if name not in names:
        for note in ledger.unread(root):
            raise InductiveError(note)
        there = f"there are {', '.join(names)}" if names else "nothing has been submitted"
        raise ConfigError("", f"no jobs of '{name}' under {root}; {there}{did_you_mean(name, names)}")
    return name


def _check_glob(only: str | None, arrays: Sequence[Array], name: str) -> None:
    ids = [run for array in arrays for run in array.runs]
    if only is not None and not any(fnmatchcase(run, only) for run in ids):
        raise ConfigError(
            "--only", f"'{only}' matches no run of the jobs that {name} was submitted in{did_you_mean(only, ids)}"
        )


def show_jobs(study: str | None, root: Path, prune: bool, yes: bool, as_json: bool, console: Console) -> int:
    """`inductive cluster jobs`: a row a submission, by the ledger and SLURM's word; with `prune` what is over goes."""
    names = [submitted_name(study, root)] if study else ledger.study_names(root)
    rows, over = [], []
    for name in names:
        jobs = ask(root, name)
        for folder in ledger.submissions(root, name):
            rows.append(_submission(folder, jobs, root, current_text(study or name)))
            if ledger.is_own(folder) and not ledger.claimant(root, name) and is_over(folder, jobs, root):
                over.append(folder)
    if as_json:
        views.print_json({"submissions": rows, "notes": list(ledger.unread(root))})
    else:
        columns = ("submission", "time", "text", "jobs", "runs", "reasons")
        views.table(console, "", dict.fromkeys(columns, "left"), [[_cell(row[key]) for key in columns] for row in rows])
        say(console, f"{count(len(rows), 'submissions')}; logs: {root / ledger.FOLDER}/SUBMISSION/submitit/")
        for note in ledger.unread(root):
            say(console, note)
    if prune:
        summary = f"{count(len(over), 'submissions')} of which all jobs are over; {len(rows) - len(over)} kept"
        if over and (yes or click.confirm(f"remove {summary}?")):
            _remove(over, names, root)
            say(console, f"removed: {summary}")
        else:
            say(console, f"nothing removed: {summary}")
    return DONE


def _remove(over: Sequence[Path], names: Sequence[str], root: Path) -> None:
    """Removes submissions. Raises OwnedError while somebody submits jobs of their study: what is sent meanwhile may
    not have been in the ledger when they were judged."""
    for name in names:
        folders = [folder for folder in ledger.submissions(root, name) if folder in over]
        if not folders:
            continue
        with ledger.claimed(root, name):
            jobs = ask(root, name)
            for folder in folders:
                if is_over(folder, jobs, root):
                    shutil.rmtree(folder)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{amount} {state}" for state, amount in value.items())
    return "; ".join(value) if isinstance(value, list) else str(value)


def _submission(folder: Path, jobs: Jobs, root: Path, now: str | None) -> dict[str, Any]:
    """One submission: which text of the study, its jobs by state, its runs, why jobs died, where logs lie."""
    about = read_json(folder / "submission.json")
    text = (folder / "study.toml").read_text(encoding="utf-8")
    arrays = [array for array in jobs.arrays if array.submission == folder]
    states: Counter[str] = Counter()
    reasons: dict[str, None] = {}
    for array in arrays:
        errors = ledger.errors(array)
        for number in range(len(array.jobs)):
            one = jobs.queue.get(array.element(number)) if array.state == "submitted" else None
            ended = "cancelled" if array.is_cancelled(number) else "over"
            state = one.state.lower() if one else ended if array.state == "submitted" else array.state
            states[state.replace("intended", "uncertain")] += 1
            reason = ledger.error_of(array, number, errors) or array.said or why_dead(array, number, {}, jobs, root)
            if reason:
                reasons[reason] = None
    if rest := ledger.rest_error(folder):
        reasons[f"the job that submits what was held back: {rest}"] = None
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return {
        "submission": folder.name,
        "study": about["study"],
        "time": about["time"].partition(".")[0],
        "user": ledger.owner_of(folder),
        "text": digest + ("" if now is None else f", {_text_words(text, now)}"),
        "ids": [array.job for array in arrays if array.job],
        "jobs": dict(states),
        "runs": len({run for array in arrays for run in array.runs}),
        "reasons": list(reasons),
        "logs": str(folder / "submitit"),
    }


def current_text(study: str) -> str | None:
    """The text of a study as it is now; None where only its name is known."""
    try:
        return study_path(study).read_text(encoding="utf-8")
    except ConfigError:
        return None


def _text_words(text: str, now: str) -> str:
    """'current', or 'earlier: budget.steps, seed': what has changed since."""
    if text == now:
        return "current"
    try:
        keys = [line.partition(":")[0] for line in changes(text, now)]
    except tomllib.TOMLDecodeError:
        return "earlier"
    return f"earlier: {listing(keys)}" if keys else "current but for comments"


def is_over(submission: Path, jobs: Jobs, root: Path) -> bool:
    """Whether nothing of a submission waits, runs or is uncertain, for SLURM or by its runs' own signs of life."""
    if any(one.name == ledger.rest_name(submission) and not one.over for one in jobs.queue.values()):
        return False
    for array in (one for one in jobs.arrays if one.submission == submission):
        if array.state == "intended" or any(jobs.alive(array, number) for number in range(len(array.jobs))):
            return False
        attempts = (attempt for run in array.runs for attempt in read_attempts(root / run)[-1:])
        if any(attempt.slurm_job.partition("_")[0] == array.job and attempt.alive() for attempt in attempts):
            return False
    return True


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
