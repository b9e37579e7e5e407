"""`inductive cluster check`: what a node's answer is held against."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slurm import check
from slurm.check import judge, memory_limit
from slurm.cluster import Cluster

CLUSTER = Cluster(partitions=("gpu",), gpus_per_job=2, runs_per_gpu=2, cpus_per_job=4, memory_gb=16.0)


USR2 = (
    "USR2 does not reach Python: at a time limit runs would lose their work since the last checkpoint, and the job "
    "would not go back into the queue; a wrapper in `launch` must exec Python, or pass signals on"
)

ALONE = "GPU 0, 1 takes one process at a time (Exclusive_Process) and no MPS runs: runs_per_gpu has to be 1"
NO_GPU = "device is auto, and torch sees no GPU on the node: every run would fail, saying so (the driver is too old)"


def answer(**changes: Any) -> dict[str, Any]:
    """What a node that is as it should be says."""
    node = {"cuda": 2, "gpus": "0,1", "cpus": 4, "memory_gb": 16.0, "free_gb": 100.0, "signals": True}
    node |= {"why_no_cuda": "", "one_process_each": [], "mps": False}
    here = {"python": sys.version.split()[0], "time": time.time()}
    return {"root": True, "data": True, "data_here": True, **node, **here, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"cpus": 64, "memory_gb": None}, []),  # a whole node, without limits
        ({"memory_gb": 15.99}, []),  # control groups count in pages
        ({"cpus": 1}, ["the job's process may use 1 of the 4 CPUs of cpus_per_job"]),
        ({"one_process_each": ["0"], "mps": True}, []),
        ({"one_process_each": ["0", "1"]}, [ALONE]),
        ({"cuda": 0, "why_no_cuda": "the driver is too old"}, [NO_GPU]),
        ({"cuda": 1}, ["torch sees 1 of the 2 GPUs of gpus_per_job"]),
        ({"gpus": "3"}, ["SLURM gives the job 1 of the 2 GPUs of gpus_per_job"]),
        ({"gpus": "NoDevFiles"}, ["SLURM gives the job 0 of the 2 GPUs of gpus_per_job"]),
        ({"signals": False}, [USR2]),
        ({"memory_gb": 4.0}, ["the job may use 4.0 of the 16 GB of memory_gb"]),
    ],
)
def test_less_than_asked_for_is_wrong(changes: dict[str, Any], expected: list[str]) -> None:
    """More is not, nor what nobody limits."""
    assert judge(answer(**changes), CLUSTER) == expected


def test_the_memory_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's M are 2**20 bytes, and so are a thousandth of memory_gb."""
    if not Path("/proc/self/cgroup").exists():
        pytest.skip("control groups are Linux's")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "300")
    assert memory_limit() == 0.3
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    free = memory_limit()
    assert free is None or free > 0.3
    assert os.environ.get("SLURM_MEM_PER_NODE") is None


def test_interrupted_it_cancels_its_job(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it waits: nothing is left in the queue, nor in the folder of submissions."""
    (tmp_path / "cluster.toml").write_text('partitions = ["gpu"]\n')

    def pressed(*_: Any) -> None:
        assert [one["state"] for one in fake.jobs.values()] == ["PENDING"]
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "_wait", pressed)
    console = Console(width=250, record=True, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        assert check.check_cluster(tmp_path / "cluster.toml", tmp_path / "runs", tmp_path / "data", console) == 130
    assert [one["state"] for one in fake.jobs.values()] == ["CANCELLED"]
    assert "interrupted: its job is cancelled" in captured.get()
    assert list((tmp_path / "runs" / ".submissions").iterdir()) == []
