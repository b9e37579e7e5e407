"""What a user sees while runs are trained: a bar with the time left on a terminal, a line a run elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from benchmarks.console import duration, say
from benchmarks.running.task import Ending, Task


def reporter_for(console: Console, total: int, jobs: int) -> Display:
    """A bar on a terminal, plain lines elsewhere."""
    return Bars(console, total, jobs) if console.is_terminal else Lines(console, total, jobs)


class Display(Protocol):
    """Shows what happens while tasks are run, for as long as it is entered."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *error: object) -> None: ...
    def started(self, task: Task) -> None: ...
    def step(self, task: Task, step: int, steps: int, rate: float | None) -> None: ...
    def scored(self, task: Task, loss: float, validation: float | None) -> None: ...
    def ended(self, ending: Ending) -> None: ...
    def message(self, text: str) -> None: ...


class _Clock:
    """The time left, from how long runs have taken so far and how far the running ones are."""

    def __init__(self, total: int, jobs: int):
        self.total, self.jobs = total, jobs
        self.done = 0
        self.shares: dict[str, float] = {}
        self.began = time.monotonic()

    def left(self) -> str:
        share = self.done + sum(self.shares.values())
        if share < 0.05 or self.total == 0:
            return ""
        return f"about {duration((time.monotonic() - self.began) * (self.total - share) / share)} left"


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
    """A line when a run ends, and one a minute in between, for logs."""

    def __init__(self, console: Console, total: int, jobs: int):
        self.console, self.clock, self.scores = console, _Clock(total, jobs), _Scores()
        self.last_line = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def started(self, task: Task) -> None:
        self.clock.shares[task.run.id] = 0.0

    def step(self, task: Task, step: int, steps: int, rate: float | None) -> None:
        self.clock.shares[task.run.id] = step / steps
        if time.monotonic() - self.last_line > (60 if self.clock.total > 1 else 5):
            speed = f"{rate:,.0f} images/s" if rate else ""
            parts = (f"step {step:,} of {steps:,}", speed, self.scores.words(task), self.clock.left())
            self.message(f"{task.run.id}: {', '.join(filter(None, parts))}")

    def scored(self, task: Task, loss: float, validation: float | None) -> None:
        self.scores.note(task, loss, validation)

    def ended(self, ending: Ending) -> None:
        self.clock.shares.pop(ending.task.run.id, None)
        self.clock.done += 1
        place = f"[{self.clock.done}/{self.clock.total}]"
        left = f", {self.clock.left()}" if self.clock.done < self.clock.total and self.clock.left() else ""
        did = "; ".join(filter(None, (ending.line, self.scores.words(ending.task))))
        self.message(f"{place} {ending.task.run.id}: {ending.state} after {duration(ending.seconds)} ({did}){left}")

    def message(self, text: str) -> None:
        self.last_line = time.monotonic()
        say(self.console, text)


class Bars:
    """One bar for the study and one for each running run."""

    def __init__(self, console: Console, total: int, jobs: int):
        self.console, self.clock, self.scores = console, _Clock(total, jobs), _Scores()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
        )
        self.whole = self.progress.add_task("runs", total=total, note="")
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def started(self, task: Task) -> None:
        self.clock.shares[task.run.id] = 0.0
        self.bars[task.run.id] = self.progress.add_task(task.run.id, total=task.run.steps, note="starting")

    def step(self, task: Task, step: int, steps: int, rate: float | None) -> None:
        self.clock.shares[task.run.id] = step / steps
        speed = "evaluating" if step == steps else f"{rate:,.0f} images/s" if rate else ""
        note = ", ".join(filter(None, (speed, self.scores.words(task))))
        self.progress.update(self.bars[task.run.id], completed=step, note=note)
        self.progress.update(self.whole, note=self.clock.left())

    def scored(self, task: Task, loss: float, validation: float | None) -> None:
        self.scores.note(task, loss, validation)

    def ended(self, ending: Ending) -> None:
        self.clock.shares.pop(ending.task.run.id, None)
        self.clock.done += 1
        self.progress.remove_task(self.bars.pop(ending.task.run.id))
        self.progress.update(self.whole, completed=self.clock.done, note=self.clock.left())
        if ending.state != "finished":
            self.message(f"{ending.task.run.id}: {ending.state} ({ending.line})")

    def message(self, text: str) -> None:
        say(self.progress.console, text)
