"""Whole runs through the real pool: several side by side, trained again to the same bits, and stopped and resumed.

Each run is made three times: beside others; again, as `inductive rerun` does; and again with a stop after a few steps,
resumed by another process. The comparison is that of `rerun`: metrics, weights and evaluations.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.console import count
from benchmarks.doctor.findings import Answer, Check, Finding
from benchmarks.doctor.isolation import answered, one_line
from benchmarks.errors import RecordError
from benchmarks.plan.run import Run
from benchmarks.plan.study import single
from benchmarks.records.record import read_record
from benchmarks.running import rerun
from benchmarks.running.local import run_tasks, work
from benchmarks.running.task import Ending, Settings, Task
from benchmarks.speed.cases import Quiet

STEPS, STOP = 6, 3  # of a run, and after how many it is stopped

Tell = Callable[[str], None]


class Counted(Quiet):
    """Tells how many of the tasks have ended."""

    def __init__(self, what: str, total: int, tell: Tell):
        self.what, self.total, self.tell = what, total, tell
        self.done = 0

    def ended(self, ending: Ending) -> None:
        self.done += 1
        self.tell(f"{self.what}: {self.done} of {count(self.total, 'runs')}")


def made(named: Sequence[tuple[str, Run]], root: Path, settings: Settings, jobs: int, tell: Tell) -> Iterator[Finding]:
    """Findings of runs by name, `jobs` side by side; the records lie under `root`."""
    began = time.monotonic()
    tasks = [Task(run, single(run).evaluations[run.id], root, settings) for _, run in named]
    endings = run_tasks(tasks, jobs, Counted("side by side", len(tasks), tell))
    seconds = time.monotonic() - began
    bad = {ending.task.run.id: ending for ending in endings if ending.state != "finished"}
    amount = f"{count(len(named), 'runs')}, {jobs if jobs > 1 else 'one'} at a time"
    if bad:
        first = next(iter(bad.values()))
        answer = Answer("failed", f"{amount}: {len(bad)} not finished; {first.task.run.id}: {_ended(first)}")
    else:
        answer = Answer("ok", f"{amount}: all finished", {"runs": len(named), "side_by_side": jobs})
    yield Finding("runs", "side by side", answer, seconds)
    whole = [(name, run) for name, run in named if run.id not in bad]
    yield from _again("rerun", whole, root, settings, jobs, tell, stop=None)
    yield from _again("resumed", whole, root, settings, jobs, tell, stop=STOP)


def _again(
    what: str, named: Sequence[tuple[str, Run]], root: Path, settings: Settings, jobs: int, tell: Tell,
    stop: int | None,
) -> Iterator[Finding]:  # fmt: skip
    """Makes finished runs again, with a stop after so many steps, and compares each with its record."""
    place = rerun.rerun_root(root)
    tasks = {}
    for _, run in named:
        evaluations = rerun.prepare_rerun(read_record(root / run.id), run)
        tasks[run.id] = Task(run, evaluations, place, settings)
    began = time.monotonic()
    if stop is not None:
        checks = [Check("runs", f"{what}: {name}", partial(stopped, tasks[run.id], stop)) for name, run in named]
        for number, finding in enumerate(answered(checks), 1):
            tell(f"stopped: {number} of {count(len(checks), 'runs')}")
            if finding.wrong:
                yield finding
    display = Counted(what, len(tasks), tell)
    endings = {ending.task.run.id: ending for ending in run_tasks(list(tasks.values()), jobs, display)}
    seconds = (time.monotonic() - began) / max(1, len(named))
    for name, run in named:
        yield Finding("runs", f"{what}: {name}", _compared(root / run.id, endings[run.id]), seconds)


def stopped(task: Task, steps: int) -> Answer:
    """Executes a task that is told to stop after some steps; it then has saved a checkpoint."""
    polls = 0

    def stop() -> bool:
        nonlocal polls
        polls += 1
        return polls >= steps

    state, line = work(task, stop, lambda *progress: None)
    return Answer("ok" if state == "interrupted" else "failed", f"{state}: {one_line(line)}")


def _compared(record: Path, ending: Ending) -> Answer:
    """Whether a run that was made again is its record to the bit."""
    if ending.state != "finished":
        return Answer("failed", _ended(ending))
    try:
        verdict = rerun.compare(read_record(record), None)
    except RecordError as error:
        return Answer("failed", one_line(str(error)))
    if verdict.verdict == "equal":
        return Answer("ok", "equal to the bit", {"difference": 0.0})
    words = one_line("; ".join([verdict.verdict, *verdict.differences[:1], *verdict.conditions[:1]]))
    return Answer("differs" if verdict.verdict == "different" else "ok", words, {"difference": 1.0})


def _ended(ending: Ending) -> str:
    return f"{ending.state}: {one_line(ending.line)}"
