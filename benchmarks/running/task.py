"""A task: one call of `execute` for a process of its own, its settings, and how it ended. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.plan.run import Evaluation, Run

if TYPE_CHECKING:
    import models
    from benchmarks.training.kernels import CompileChoice


@dataclass(frozen=True)
class Settings:
    """What of an execution cannot change the result."""

    data: Path
    device: str = "cpu"
    checkpoint_seconds: float = 300.0
    accept_code: bool = False
    compiling: CompileChoice = "rule"
    predictions: str = "auto"
    command: str = ""
    plugins: tuple[models.Plugin, ...] = ()  # loaded, with their sources, before a run that needs them
    runs_per_gpu: int = 1  # side by side; each may take as much of its memory. Without GPUs: in this job
    decoder: str = "pillow"  # of photographs, where the run's execution.json does not name one yet
    scratch: Path | None = None  # a disk of the node, to which shards of photographs are copied once for all runs there
    workers: int | None = 0  # processes of a run that decode photographs; 0: its own does; None: as cores allow
    checkpoint_activations: bool = False  # of a new run: computed again in the backward pass instead of kept
    gpus_per_run: int = 1  # that compute a new run together, each in a process; without GPUs: processes


@dataclass(frozen=True)
class Task:
    """One call of `execute`, for a child process."""

    run: Run
    evaluations: list[Evaluation]
    root: Path
    settings: Settings
    until: int | None = None
    missing: tuple[Evaluation, ...] | None = None  # of a run that is trained: all that is left of it; None: not trained
    gpus: tuple[str, ...] = ()  # that its slot is one of, as CUDA_VISIBLE_DEVICES names them; (): torch's first


@dataclass(frozen=True)
class Ending:
    """How a task ended: state finished, interrupted, diverged, failed, lost, owned or stale, with a line on it."""

    task: Task
    state: str
    line: str
    seconds: float
