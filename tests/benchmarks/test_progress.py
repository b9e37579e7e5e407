"""Loss and accuracy while runs are trained: what is shown is what is logged, and no more of it is read."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.plan.run import Run
from benchmarks.records.metrics import read_metrics
from benchmarks.running.progress import Bars, Lines
from benchmarks.running.task import Ending, Settings, Task

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
    with display(console, 2, 1) as reporter:
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
    with Lines(Console(file=text, width=200), 1, 1) as reporter:
        reporter.started(task)
        reporter.ended(Ending(task, "finished", "2 evaluations", 1.0))
    assert "finished after 1 s (2 evaluations)" in text.getvalue()
