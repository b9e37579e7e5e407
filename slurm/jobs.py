"""`inductive cluster jobs`: what was submitted, a row a submission; and the removal of what is over."""

import hashlib
import shutil
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.console import count, print_json, say, table
from benchmarks.errors import ConfigError
from benchmarks.files import read_json
from benchmarks.plan.study import study_path
from benchmarks.records.attempts import read_attempts
from benchmarks.records.study_texts import changes
from slurm import ledger
from slurm.status import Jobs, jobs_of, listing, why_not_started


def show_jobs(
    study: str | None, root: Path, console: Console, *, prune: bool = False, yes: bool = False, as_json: bool = False
) -> None:
    """A row a submission, by the ledger and SLURM's word. With `prune` what is over is removed; `yes` does not ask."""
    names = [ledger.submitted_name(study, root)] if study else ledger.study_names(root)
    rows, over = [], []
    for name in names:
        jobs = jobs_of(root, name)
        for folder in ledger.submissions(root, name):
            rows.append(_submission(folder, jobs, root, current_text(study or name)))
            if ledger.is_own(folder) and not ledger.claimant(root, name) and is_over(folder, jobs, root):
                over.append(folder)
    if as_json:
        print_json({"submissions": rows, "notes": list(ledger.unread(root))})
    else:
        columns = ("submission", "time", "text", "jobs", "runs", "reasons")
        table(console, "", dict.fromkeys(columns, "left"), [[_cell(row[key]) for key in columns] for row in rows])
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


def _remove(over: Sequence[Path], names: Sequence[str], root: Path) -> None:
    """Removes submissions. Raises OwnedError while somebody submits jobs of their study: what is sent meanwhile may
    not have been in the ledger when they were judged."""
    for name in names:
        folders = [folder for folder in ledger.submissions(root, name) if folder in over]
        if not folders:
            continue
        with ledger.claimed(root, name):
            jobs = jobs_of(root, name)
            for folder in folders:
                if is_over(folder, jobs, root):
                    shutil.rmtree(folder)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{amount} {state}" for state, amount in value.items())
    return "; ".join(value) if isinstance(value, list) else str(value)


def _submission(folder: Path, jobs: Jobs, root: Path, now: str | None) -> dict[str, Any]:
    """One submission: which text of the study, its jobs by state, its runs, why jobs ended badly, where logs lie."""
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
            reason = (
                ledger.error_of(array, number, errors) or array.said or why_not_started(array, number, {}, jobs, root)
            )
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
