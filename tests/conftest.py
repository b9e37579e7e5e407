"""Fixtures shared by all rooms: tiny runs on digits, and the command line in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """As in a run: one thread, so that bits do not depend on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The user's own folders must not reach a test."""
    for name in ("INDUCTIVE_RUNS", "INDUCTIVE_DATA"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.fixture
def inductive(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls `inductive ...` as a user does, in a folder of the test, and returns what came of it."""

    def call(
        *arguments: str, timeout: float = 300, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks.cli", *arguments]
        whole = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(environment or {})}
        return subprocess.run(
            command, cwd=tmp_path, env=whole, capture_output=True, text=True, timeout=timeout, check=False
        )

    return call
