"""Somebody who types commands in a folder, with a study of eight runs and a cluster or without."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from testbed import Testbed

from benchmarks.records.record import read_record

ROOT = Path(__file__).resolve().parents[2]
STEPS = 250
LOOK = 15.0  # seconds between two looks at the states

STUDY = """
question = "What do four models make of 100 digits?"
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 100
budget = { steps = STEPS }
seed = [0, 1]
test_resolutions = [8]
[[models]]
name = "resnet"
[[models]]
name = "vit"
position = ["none", "learned_1d", "rope_axial"]
[[evaluations]]
probe = "shift"
strength = [1, 2]
"""
CLUSTER = """
partitions = ["low"]
device = "cpu"
gpus_per_job = 1
runs_per_gpu = 2
cpus_per_job = 2
memory_gb = 3.0
minutes = 10
signal_seconds = 20
checkpoint_seconds = 1.0
largest_array = 60
tflops = 0.001
"""


@dataclass
class User:
    """Somebody who types commands in a folder, with a cluster or without."""

    folder: Path
    bed: Testbed | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def inductive(self, *arguments: str, code: int | None = 0, seconds: float = 600) -> str:
        """Calls the command; returns all that it said. `code` is the exit code it must have."""
        command, whole = self.call(*arguments)
        warm = self.bed.warm if self.bed and "PYTHONPATH" not in self.environment else None
        if warm:
            done = warm.start(["inductive", *arguments], self.folder, whole).wait(seconds)
        else:
            done = subprocess.run(command, cwd=self.folder, env=whole, capture_output=True, text=True, timeout=seconds)
        assert code is None or done.returncode == code, (
            f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr

    def call(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """The command's words and its environment."""
        command = [sys.executable, "-m", "benchmarks.cli.main", *arguments]
        whole = {**(self.bed.environment if self.bed else os.environ), "PYTHONPATH": str(ROOT), **self.environment}
        return command, whole

    def states(self) -> dict[str, str]:
        """The state of every run, by the command."""
        return {one["id"]: one["state"] for one in json.loads(self.inductive("status", "study.toml", "--json"))["runs"]}

    def until(self, what: str, ready: Callable[[], Any], seconds: float = 600, every: float = 1.0) -> Any:
        """Waits for something, and fails with what the cluster says when it does not come."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = ready()
            if found:
                return found
            time.sleep(every)
        logs = [f"--- {path}\n{path.read_text()[-3000:]}" for path in self.folder.rglob("*_log.out")]
        queue = self.bed.call("squeue", "-t", "all") if self.bed else ""
        pytest.fail(
            f"waited {seconds:.0f} s for {what}\n{queue}\n{self.inductive('status', 'study.toml')}\n" + "\n".join(logs)
        )

    def results(self) -> list[Path]:
        """The results that there are: unlike the states, they cost no command."""
        return list(self.runs().glob("[!.]*/result.json"))

    def finish(self, seconds: float = 900) -> None:
        """Submits what is left until every run is finished, as a user would: who looks each quarter of a minute.

        Between the looks the records are counted, since each look is a command that takes a core for a second."""
        runs, asked = 0, -math.inf

        def done() -> bool:
            nonlocal runs, asked
            if len(self.results()) < runs and time.monotonic() - asked < LOOK:
                return False
            every, asked = self.states(), time.monotonic()
            runs, states = len(every), set(every.values())
            if states & {"interrupted", "lost", "missing"}:
                self.inductive("submit", "study.toml", "--yes")
            return states == {"finished"}

        self.until("all runs to be finished", done, seconds)

    def training(self, count: int = 1) -> None:
        """Waits until some runs are being trained and have a checkpoint. It looks at the files, often: a fast
        machine is done with a run before a command has answered."""

        def going() -> bool:
            began = {path.parent for path in self.runs().glob("[!.]*/checkpoint-*.pt")}
            attempts = [max(run.glob("attempts/[0-9]*")) for run in began if not (run / "result.json").exists()]
            return sum(not (attempt / "ended.json").exists() for attempt in attempts) >= count

        self.until(f"{count} runs in training, with a checkpoint", going, every=0.1)

    def runs(self) -> Path:
        return self.folder / "runs"

    def kept(self) -> dict[str, Mapping[str, bytes]]:
        """What must be equal to the bit: weights and metrics of every run, and what its evaluations measured."""
        names = ("weights.safetensors", "metrics.jsonl")
        folders = [path.parent for path in self.results()]
        return {
            folder.name: {**{name: (folder / name).read_bytes() for name in names}, "measured": _measured(folder)}
            for folder in folders
        }


def _measured(folder: Path) -> bytes:
    """Every evaluation of a record with its numbers, those with a probe among them."""
    names = ("id", "count", "accuracy", "nll", "calibration", "consistency")
    found = [[entry.get(name) for name in names] for entry in read_record(folder).evaluations]
    return json.dumps(sorted(found, key=str)).encode()


def user(folder: Path, bed: Testbed | None, steps: int, **cluster_keys: Any) -> User:
    """Somebody with the study, and a cluster.toml with some keys changed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(STUDY.replace("STEPS", str(steps)))
    lines = [line for line in CLUSTER.strip().splitlines() if line.partition(" =")[0] not in cluster_keys]
    lines += [f"{key} = {json.dumps(value)}" for key, value in cluster_keys.items()]
    (folder / "cluster.toml").write_text("\n".join(lines) + "\n")
    return User(folder, bed)
