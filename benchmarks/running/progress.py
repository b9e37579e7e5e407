"""What a user sees while runs are trained: a bar with the time left on a terminal, a line a run elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from benchmarks.console import duration, say
from benchmarks.running.task import Ending, Task
from benchmarks.running.time_left import TimeLeft


def reporter_for(console: Console, tasks: Sequence[Task], jobs: int) -> Display:
    """A bar on a terminal, plain lines elsewhere; `jobs` of the tasks go side by side."""
    return Bars(console, tasks, jobs) if console.is_terminal else Lines(console, tasks, jobs)


class Display(Protocol):
    """Shows what happens while tasks are run, for as long as it is entered."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *error: object) -> None: ...
    def started(self, task: Task) -> None: ...
    def step(self, task: Task, step: int, steps: int, rate: float | None) -> None: ...
    def scored(self, task: Task, loss: float, validation: float | None) -> None: ...
    def evaluating(self, task: Task, number: int, of: int) -> None: ...
    def ended(self, ending: Ending) -> None: ...
    def message(self, text: str) -> None: ...


class _Left:
    """The time left in words, worked out once a second at most."""

    def __init__(self, tasks: Sequence[Task], jobs: int):
        self.time = TimeLeft(tasks, jobs)
        self.words, self.worked_out = "", -math.inf

    def __call__(self) -> str:
        """'about 3 min 20 s left', '' while nothing is known."""
        if time.monotonic() - self.worked_out >= 1.0:
            seconds = self.time.seconds()
            self.words = "" if seconds is None else f"about {duration(seconds)} left"
            self.worked_out = time.monotonic()
        return self.words


class _Scores:
    """The training loss and the validation accuracy that each run has last logged."""

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}
        self.validations: dict[str, float] = {}

    def note(self, task: Task, loss: float, validation: float | None) -> None:
        self.losses[task.run.id] = loss
        if validation is not None:
            self.validations[task.run.id] = validation

    def words(self, task: Task) -> str:
        """'loss 0.231, validation 85.4 %'; '' before a step was logged."""
        loss, validation = self.losses.get(task.run.id), self.validations.get(task.run.id)
        parts = [] if loss is None else [f"loss {loss:.3g}"]
        parts += [] if validation is None else [f"validation {100 * validation:.1f} %"]
        return ", ".join(parts)


class Lines:
    """A line when a run ends, and one a minute in between, for logs.

    `quiet`: seconds at the beginning without a word of the time left, for which this process has to load torch.
    """

    def __init__(self, console: Console, tasks: Sequence[Task], jobs: int, quiet: float = 0.0):
        self.console, self.total, self.done = console, len(tasks), 0
        self.time_left, self.scores = _Left(tasks, jobs), _Scores()
        self.last_line = time.monotonic()
        self.quiet_until = self.last_line + quiet

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def started(self, task: Task) -> None:
        self.time_left.time.started(task)

    def step(self, task: Task, step: int, steps: int, rate: float | None) -> None:
        self.time_left.time.step(task, step, rate)
        speed = f"{rate:,.0f} images/s" if rate else ""
        self._between(task, f"step {step:,} of {steps:,}", speed, self.scores.words(task))

    def scored(self, task: Task, loss: float, validation: float | None) -> None:
        self.scores.note(task, loss, validation)

    def evaluating(self, task: Task, number: int, of: int) -> None:
        self.time_left.time.evaluating(task, number, of)
        self._between(task, f"evaluating {number} of {of}")

    def _between(self, task: Task, *words: str) -> None:
        """A line on a task that runs, where the last line was long ago."""
        if time.monotonic() - self.last_line > (60 if self.total > 1 else 5):
            self.message(f"{task.run.id}: {', '.join(filter(None, (*words, self.left())))}")

    def ended(self, ending: Ending) -> None:
        self.time_left.time.ended(ending.task)
        self.done += 1
        goes_on = self.done < self.total and ending.state != "interrupted"  # who stops one run stops them all
        left = f", {self.left()}" if goes_on and self.left() else ""
        did = "; ".join(filter(None, (ending.line, self.scores.words(ending.task))))
        self.message(
            f"[{self.done}/{self.total}] {ending.task.run.id}: {ending.state} after {duration(ending.seconds)} "
            f"({did}){left}"
        )

    def left(self) -> str:
        """'about 3 min 20 s left', or ''."""
        return self.time_left() if time.monotonic() >= self.quiet_until else ""

    def message(self, text: str) -> None:
        self.last_line = time.monotonic()
        say(self.console, text)


class Bars:
    """One bar for the study and one for each running run."""

    def __init__(self, console: Console, tasks: Sequence[Task], jobs: int):
        self.console, self.done = console, 0
        self.left, self.scores = _Left(tasks, jobs), _Scores()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
        )
        self.whole = self.progress.add_task("runs", total=len(tasks), note="")
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def started(self, task: Task) -> None:
        self.left.time.started(task)
        self.bars[task.run.id] = self.progress.add_task(task.run.id, total=task.run.steps, note="starting")

    def step(self, task: Task, step: int, steps: int, rate: float | None) -> None:
        self.left.time.step(task, step, rate)
        speed = "evaluating" if step == steps else f"{rate:,.0f} images/s" if rate else ""
        self._show(task, step, ", ".join(filter(None, (speed, self.scores.words(task)))))

    def evaluating(self, task: Task, number: int, of: int) -> None:
        self.left.time.evaluating(task, number, of)
        note = ", ".join(filter(None, (f"evaluating {number} of {of}", self.scores.words(task))))
        self._show(task, task.run.steps, note)

    def _show(self, task: Task, step: int, note: str) -> None:
        self.progress.update(self.bars[task.run.id], completed=step, note=note)
        self.progress.update(self.whole, note=self.left())

    def scored(self, task: Task, loss: float, validation: float | None) -> None:
        self.scores.note(task, loss, validation)

    def ended(self, ending: Ending) -> None:
        self.left.time.ended(ending.task)
        self.done += 1
        self.progress.remove_task(self.bars.pop(ending.task.run.id))
        self.progress.update(self.whole, completed=self.done, note=self.left())
        if ending.state != "finished":
            self.message(f"{ending.task.run.id}: {ending.state} ({ending.line})")

    def message(self, text: str) -> None:
        say(self.progress.console, text)
