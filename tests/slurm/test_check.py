"""`inductive cluster check`: what a node's answer is held against."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slurm.check import judge, memory_limit
from slurm.cluster import Cluster

CLUSTER = Cluster(partitions=("gpu",), gpus_per_job=2, cpus_per_job=4, memory_gb=16.0)


def answer(**changes: Any) -> dict[str, Any]:
    """What a node that is as it should be says."""
    node = {"cuda": 2, "gpus": "0,1", "cpus": 4, "memory_gb": 16.0, "free_gb": 100.0}
    here = {"python": sys.version.split()[0], "time": time.time()}
    return {"root": True, "data": True, "data_here": True, **node, **here, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"cpus": 64, "memory_gb": None}, []),  # a whole node, without limits
        ({"memory_gb": 15.99}, []),  # control groups count in pages
        ({"cpus": 1}, ["the job's process may use 1 of the 4 CPUs of cpus_per_job"]),
        ({"cuda": 1}, ["torch sees 1 of the 2 GPUs of gpus_per_job"]),
        ({"gpus": "3"}, ["SLURM gives the job 1 of the 2 GPUs of gpus_per_job"]),
        ({"gpus": "NoDevFiles"}, ["SLURM gives the job 0 of the 2 GPUs of gpus_per_job"]),
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
