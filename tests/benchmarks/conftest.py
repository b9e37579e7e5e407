"""Tiny runs, executed in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.execute import Settings, execute
from benchmarks.job import Outcome
from benchmarks.run import Run, make_run
from benchmarks.study import single


@pytest.fixture
def tiny() -> Callable[..., Run]:
    """A run of a few steps on digits; anything of it can be changed."""

    def make(**changes: Any) -> Run:
        usual = {"size": "pico", "train_size": 100, "recipe": "digits", "budget": {"steps": 12}}
        return make_run({**usual, **changes})

    return make


@pytest.fixture
def perform(tmp_path: Path) -> Callable[..., Outcome]:
    """Executes a run under tmp_path; `stop_at` lists the poll at which it is asked to stop."""

    def call(run: Run, *, root: Path = tmp_path, stop_at: int | None = None, **changes: Any) -> Outcome:
        polls = 0

        def stop() -> bool:
            nonlocal polls
            polls += 1
            return polls == stop_at

        evaluations = changes.pop("evaluations", single(run).evaluations[run.id])
        more = {name: changes.pop(name) for name in ("until", "progress") if name in changes}
        return execute(run, root, evaluations, Settings(Path("data"), **changes), stop, **more)

    return call
