"""A task: one call of `execute` for a process of its own, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.plan.run import Evaluation, Run

if TYPE_CHECKING:
    from benchmarks.running.execute import Settings  # loads torch


@dataclass(frozen=True)
class Task:
    """One call of `execute`, for a child process."""

    run: Run
    evaluations: list[Evaluation]
    root: Path
    settings: Settings
    until: int | None = None
    gpus: tuple[str, ...] = ()  # that its slot is one of, as CUDA_VISIBLE_DEVICES names them; (): torch's first


@dataclass(frozen=True)
class Ending:
    """How a task ended: state finished, interrupted, diverged, failed, lost, owned or stale, with a line on it."""

    task: Task
    state: str
    line: str
    seconds: float
