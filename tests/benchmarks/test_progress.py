"""What a user sees while runs are trained and evaluated, in a log and on a terminal: how far they are, the time left,
loss and accuracy as they are logged. Reference: the words of docs."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.plan.run import Evaluation, Run, make_run
from benchmarks.records.metrics import read_metrics
from benchmarks.running.progress import Bars, Lines, reporter_for
from benchmarks.running.task import Ending, Settings, Task
from benchmarks.running.time_left import TimeLeft

Make = Callable[..., Run]


def test_what_is_told_is_what_is_logged(tiny: Make, perform: Callable[..., Any], tmp_path: Path) -> None:
    """Reference: metrics.jsonl, row by row."""
    run = tiny(budget={"steps": 130}, validate_every=50)
    told: list[tuple[float, float | None]] = []
    perform(run, scored=lambda loss, validation: told.append((loss, validation)))
    rows = read_metrics(tmp_path / run.id / "metrics.jsonl")
    assert told == [(row["loss"], row.get("validation_accuracy")) for row in rows]
    assert sum(validation is not None for _, validation in told) == 3


def shown(display: Callable[..., Any], task: Task, terminal: bool) -> str:
    """What a display has printed of a run that logs a loss and was validated once."""
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=terminal, color_system=None)
    with display(console, [task, task], 1) as reporter:
        reporter.started(task)
        reporter.scored(task, 2.3026, 0.104)
        reporter.scored(task, 0.51234, None)
        if terminal:
            reporter.step(task, 30, 100, 1234.0)
            reporter.progress.refresh()
        reporter.ended(Ending(task, "finished", "trained 100 steps, 2 evaluations", 12.0))
    return text.getvalue()


def test_lines_and_bars_show_the_last_loss_and_the_last_validation(tiny: Make) -> None:
    """By hand."""
    task = Task(tiny(), [], Path("runs"), Settings(Path("data")))
    ended = "finished after 12 s (trained 100 steps, 2 evaluations; loss 0.512, validation 10.4 %)"
    assert f"[1/2] {task.run.id}: {ended}" in shown(Lines, task, terminal=False)
    assert "1,234 images/s, loss 0.512, validation 10.4 %" in shown(Bars, task, terminal=True)


def test_a_run_that_only_evaluates_shows_no_loss(tiny: Make) -> None:
    task = Task(tiny(), [], Path("runs"), Settings(Path("data")))
    text = io.StringIO()
    with Lines(Console(file=text, width=200), [task], 1) as reporter:
        reporter.started(task)
        reporter.ended(Ending(task, "finished", "2 evaluations", 1.0))
    assert "finished after 1 s (2 evaluations)" in text.getvalue()


def some_task() -> Task:
    run = make_run({"size": "pico", "train_size": 100, "recipe": "digits", "budget": {"steps": 100}})
    evaluations = [Evaluation(resolution=size) for size in range(8, 20)]
    return Task(run, evaluations, Path("runs"), Settings(Path("data")))


def test_a_short_job_works_out_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: for a minute nothing is said of it, nor asked of what would load torch; then it is."""
    one, other = (
        some_task(),
        Task(make_run({"seed": 1, "budget": {"steps": 100}}), [], Path("runs"), Settings(Path("d"))),
    )
    text, asked, now = io.StringIO(), list[float](), [0.0]
    monkeypatch.setattr("benchmarks.running.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(TimeLeft, "seconds", lambda self: asked.append(now[0]) or 200.0)
    with Lines(Console(file=text, width=200), [one, other, other], 1, quiet=60.0) as display:
        for ended in (59.0, 61.0):
            now[0] = ended
            display.started(one)
            display.ended(Ending(one, "finished", "trained 100 steps", 12.0))
    assert asked == [61.0]
    first, second = text.getvalue().splitlines()
    assert "left" not in first and second.endswith("(trained 100 steps), about 3 min 20 s left")


def test_an_interrupted_run_promises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stopped starts no other run: the time of those that wait would be read as its own."""
    task, text = some_task(), io.StringIO()
    monkeypatch.setattr(TimeLeft, "seconds", lambda self: 200.0)
    for state in ("finished", "interrupted"):
        with Lines(Console(file=text, width=200), [task, task], 1) as display:
            display.started(task)
            display.ended(Ending(task, state, "stopped at step 10 of 100", 12.0))
    finished, interrupted = text.getvalue().splitlines()
    assert finished.endswith(", about 3 min 20 s left") and interrupted.endswith("(stopped at step 10 of 100)")


def test_lines_of_a_log() -> None:
    """One a minute: here each, for the last is taken to be old. Without a pace nothing is said of the time left."""
    task, console = some_task(), Console(file=io.StringIO(), width=200)
    display = reporter_for(console, [task], 1)
    assert isinstance(display, Lines)
    told = []
    with display:
        display.started(task)
        for act in (
            lambda: display.step(task, 1, 100, 3000.0),
            lambda: display.step(task, 50, 100, 3000.0),
            lambda: display.evaluating(task, 3, 12),
            lambda: display.ended(Ending(task, "finished", "12 evaluations", 65.0)),
        ):
            display.last_line = display.time_left.worked_out = -math.inf
            act()
            told.append(console.file.getvalue().splitlines()[-1].removeprefix(f"{task.run.id}: "))  # type: ignore[attr-defined]
    assert told[0] == "step 1 of 100, 3,000 images/s"
    assert told[1].startswith("step 50 of 100, 3,000 images/s, about ") and told[1].endswith(" left")
    assert told[2].startswith("evaluating 3 of 12, about ")
    assert told[3] == f"[1/1] {task.run.id}: finished after 1 min 05 s (12 evaluations)"


def test_bars_of_a_terminal() -> None:
    """A bar for all runs, with the time left, and one for the run, with what it does."""
    task = some_task()
    display = reporter_for(Console(file=io.StringIO(), force_terminal=True, width=200), [task], 1)
    assert isinstance(display, Bars)
    with display:
        display.started(task)
        for step in (1, 50):
            display.step(task, step, 100, 3000.0)
            display.left.worked_out = -math.inf
        display.evaluating(task, 3, 12)
        whole, bar = display.progress.tasks
        assert (bar.completed, bar.fields["note"]) == (100, "evaluating 3 of 12")
        assert whole.fields["note"].startswith("about ")
        display.ended(Ending(task, "finished", "12 evaluations", 65.0))
        assert [one.completed for one in display.progress.tasks] == [1]
