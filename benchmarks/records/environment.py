"""Where a run is computed: versions, processor, GPU, the commit of the code, and those of the environment's variables
that say where on a cluster it was."""

import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import benchmarks


def environment() -> dict[str, Any]:
    """What an attempt notes about where it ran. No environment variables but those named: others may be secret."""
    allowed = (
        "CUDA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "SLURM_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "SLURMD_NODENAME",
    )
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "commit": code_commit(),
        "gpu": None,  # see `gpu`: an attempt notes it when it knows that it goes to one
        "variables": {name: os.environ[name] for name in allowed if name in os.environ},
    }


def gpu() -> dict[str, Any]:
    """What an attempt on CUDA notes of its GPU, for environment.json: name, memory in bytes, driver; and its UUID,
    which tells the card and is not given away. Starts CUDA where that is not done."""
    import torch

    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    about = {"name": found.name, "memory": found.total_memory, "driver": driver_version()}
    return {"gpu": about, "gpu_uuid": str(found.uuid)}


DRIVER = Path("/proc/driver/nvidia/version")


def driver_version() -> str:
    """The version of NVIDIA's driver, 580.82.07, as its kernel module says; '-' where there is no such file (WSL)."""
    try:
        text = DRIVER.read_text(encoding="utf-8")
    except OSError:
        return "-"
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found else "-"


COMMIT = "COMMIT"


def code_commit() -> str:
    """The checkout's commit, with '-dirty' when files differ from it; '-' where there is no git.

    A copy of the code that was made for a cluster says by a file which it was.
    """
    with suppress(FileNotFoundError):
        return (Path(benchmarks.__file__).parent / COMMIT).read_text(encoding="utf-8").strip()
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40")
    try:
        done = subprocess.run(
            command, cwd=Path(benchmarks.__file__).parent, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "-"
    return done.stdout.strip() or "-"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
