"""The state of every run of a study, from its records alone."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks.collector import collector_paused
from benchmarks.console import count
from benchmarks.errors import ConfigError, RecordError
from benchmarks.plan.evaluations import in_words
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study
from benchmarks.records import init_from
from benchmarks.records.record import STATES, Record, missing_evaluations, read_record
from benchmarks.records.validity import leftovers, valid_record
from models.hints import did_you_mean

__all__ = ["STATES", "RunState", "counted", "run_state", "selected", "study_states"]

BY_TODAYS_CODE = "{} by today's measuring code"  # of what earlier code has measured


@dataclass(frozen=True)
class RunState:
    """A run of a study with its state; `waiting` are the evaluations it still lacks. `reason`, of a finished run: what
    attempts that had lost it have left in its record.

    `record` is None where there is none, and where nothing is left to be done: ten thousand fill a memory.
    """

    run: Run
    state: str
    reason: str
    waiting: tuple[Evaluation, ...]
    record: Record | None

    @property
    def missing(self) -> tuple[Evaluation, ...] | None:
        """The evaluations that are all a trained run still lacks; None for one that is not trained."""
        return self.waiting if self.state == "finished" else None

    @property
    def there(self) -> frozenset[str]:
        """The ids of evaluations that its record has; those that are waiting all the same are of other code."""
        return frozenset(entry["id"] for entry in self.record.evaluations) if self.record is not None else frozenset()


def run_state(run: Run, root: Path, evaluations: list[Evaluation], *, whole: bool = False) -> RunState:
    """The state of one run. A record that cannot be read or is not valid is `failed`, with the reason; `whole`: see
    `valid_record`."""
    folder = f"{root}/{run.id}"  # as in Record.path
    try:
        files = os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        files = []
    if "config.json" not in files:
        return RunState(run, "missing", "", tuple(evaluations), None)
    try:
        now = init_from.run_sources(run, root)
        record = valid_record(folder, run, now_sources=now, accepted="accepted.json" in files, whole=whole)
    except RecordError as error:
        return RunState(run, "failed", str(error), tuple(evaluations), None)
    waiting = missing_evaluations(record, evaluations)
    if record.state in ("diverged", "stale"):
        waiting = []
    done = record.result is not None and not waiting
    reason = leftovers(record, files, whole=whole) if record.state == "finished" else record.reason
    return RunState(run, record.state, reason, tuple(waiting), None if done else record)


def accepted(one: RunState, root: Path, evaluations: Sequence[Evaluation]) -> RunState:
    """A run as `--accept-code` takes it: a stale one is finished, and lacks what it lacks."""
    if one.state != "stale":
        return one
    record = read_record(root / one.run.id)
    waiting = tuple(missing_evaluations(record, list(evaluations)))
    return RunState(one.run, "finished", one.reason, waiting, record if waiting else None)


def study_states(study: Study, root: Path) -> list[RunState]:
    """The state of every run, in the study's order."""
    with collector_paused():
        return [run_state(run, root, study.evaluations[run.id]) for run in study.runs]


def selected(study: Study, only: str | None) -> tuple[Run, ...]:
    """The runs whose ids match a glob. Raises ConfigError, with the nearest id, when none is left."""
    if only is None:
        return study.runs
    runs = tuple(run for run in study.runs if fnmatchcase(run.id, only))
    if not runs:
        ids = [run.id for run in study.runs]
        hint = did_you_mean(only, ids) or f"; an id looks like {ids[0]}"
        raise ConfigError("--only", f"'{only}' matches none of the {count(len(ids), 'runs')} of {study.name}{hint}")
    return runs


def counted(states: Iterable[str]) -> str:
    """'3 finished, 1 failed': the states there are, in their usual order."""
    counts = Counter(states)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def evaluations_missing(states: Iterable[RunState]) -> list[dict[str, Any]]:
    """What finished runs still lack, as plain values: {"what": '24 px', "runs": [ids]}, in the order of the study; then
    what earlier code has measured and `run` measures again: '8 px by today's measuring code'."""
    parted: dict[bool, list[tuple[Run, list[Evaluation]]]] = {False: [], True: []}
    for one in states:
        if one.state == "finished" and one.waiting:
            there = one.there
            for again, ones in parted.items():
                ones.append((one.run, [wanted for wanted in one.waiting if (wanted.id in there) == again]))
    found = [*in_words(parted[False]), *((BY_TODAYS_CODE.format(what), runs) for what, runs in in_words(parted[True]))]
    return [{"what": what, "runs": list(runs)} for what, runs in found]


def missing_words(missing: Iterable[Mapping[str, Any]]) -> str:
    """The same in words: '24 px missing for 12 runs; 8 px, canvas missing for 1 run'."""
    return "; ".join(f"{one['what']} missing for {count(len(one['runs']), 'runs')}" for one in missing)
