"""A cluster of fake commands, and a study to submit to it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

HERE = Path(__file__).resolve().parent

STUDY = """
question = "Does a convolution beat a ViT without positions?"
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 60
budget = { steps = 3 }
seed = SEEDS
test_resolutions = [8]
[[models]]
name = "vit"
position = "none"
"""
CLUSTER = """
partitions = ["gpu"]
device = "cpu"
runs_per_gpu = 2
cpus_per_job = 4
minutes = 60
"""


class Fake:
    """The fake commands' state, and what a test says to it."""

    def __init__(self, file: Path):
        self.file = file
        self.set(jobs={})

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def set(self, **values: Any) -> None:
        known = self.state if self.file.exists() else {}
        self.file.write_text(json.dumps({**known, **values}))

    @property
    def jobs(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = self.state["jobs"]
        return found

    def now(self, state: str, **more: str) -> None:
        """Every job is in a state from now on."""
        self.set(jobs={key: {**one, "state": state, **more} for key, one in self.jobs.items()})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """SLURM's commands on the path, none of them real; no accounting."""
    if sys.platform != "linux":
        pytest.skip("a cluster's login node is Linux: env --block-signal, timeout")
    bin = tmp_path / "bin"
    bin.mkdir()
    state = tmp_path / "slurm.json"
    for command in ("sbatch", "squeue", "scancel", "scontrol", "sinfo"):
        (bin / command).write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "fake.py"} {state} {command} "$@"\n')
    (bin / "srun").write_text("#!/bin/sh\nexit 1\n")
    for path in bin.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    return Fake(state)


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Submits the study, `more` lines above its own, as the command does; returns the exit code and what was said."""
    from slurm.submit import read_request, submit_study

    def call(
        seeds: int = 6,
        dry_run: bool = False,
        only: str | None = None,
        more: str = "",
        accept_code: bool = False,
        **cluster: Any,
    ) -> tuple[int, str]:
        (tmp_path / "study.toml").write_text(more + STUDY.replace("SEEDS", str(list(range(seeds)))))
        lines = [line for line in CLUSTER.strip().splitlines() if line.partition(" =")[0] not in cluster]
        lines += [f"{key} = {json.dumps(value)}" for key, value in cluster.items()]
        (tmp_path / "cluster.toml").write_text("\n".join(lines) + "\n")
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            console = Console(width=250, record=True, file=nowhere)
            files = (str(tmp_path / "study.toml"), tmp_path / "cluster.toml")
            request = read_request(*files, tmp_path / "runs", tmp_path / "data", only=only, accept_code=accept_code)
            code = submit_study(request, console, dry_run=dry_run, yes=True)
        return code, console.export_text()

    return call
