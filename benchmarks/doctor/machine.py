"""What is here: torch and its CUDA, the driver, the GPU, or what torch says of why it has none."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.doctor.findings import Answer
from benchmarks.records.environment import environment
from benchmarks.running.local import slots

SMI = ("driver_version", "compute_mode", "mig.mode.current")


def software() -> Answer:
    """Versions of torch and of what it was built with, the processor, and the commit of the code."""
    here = environment()
    cudnn = torch.backends.cudnn.version() if torch.version.cuda else None
    values = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": cudnn,
        "python": here["python"],
        "cpu": here["cpu"],
        "cores": slots("cpu"),
        "commit": here["commit"],
    }
    cuda = f"CUDA {torch.version.cuda}, cuDNN {cudnn}" if torch.version.cuda else "no CUDA"
    cpu = f"{values['cores']} cores of {values['cpu']}"
    return Answer("ok", f"torch {torch.__version__} ({cuda}), Python {values['python']}, {cpu}", values)


def gpu(device: str) -> Answer:
    """The GPU that runs go to and its driver; without one, torch's own words. Starts CUDA in this process."""
    reason = no_gpu()
    if reason:
        return Answer("failed" if device == "cuda" else "ok", f"none; torch says: {reason}")
    found = torch.cuda.get_device_properties(0)
    identity = f"GPU-{found.uuid}" if hasattr(found, "uuid") else "0"
    driver, mode, mig = nvidia_smi(identity)
    memory = found.total_memory / 2**30
    values = {
        "name": found.name,
        "count": torch.cuda.device_count(),
        "memory_gib": round(memory, 1),
        "capability": f"{found.major}.{found.minor}",
        "driver": driver,
        "compute_mode": mode,
        "mig": mig,
    }
    words = f"{found.name}, {memory:.0f} GiB, capability {found.major}.{found.minor}, driver {driver}"
    others = f", the first of {values['count']}" if torch.cuda.device_count() > 1 else ""
    exclusive = "; compute mode Exclusive_Process: one run at a time, more need MPS" if exclusive_mode(mode) else ""
    return Answer("ok", words + others + exclusive, values)


def no_gpu() -> str:
    """Why torch has no CUDA here, in its own words; '' where it has. Does not touch the GPU where there is one."""
    if torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split())
    return "no device"


def exclusive_mode(mode: str) -> bool:
    """Whether a GPU takes one process at a time, by nvidia-smi's word for its compute mode."""
    return mode == "Exclusive_Process"


def nvidia_smi(gpu: str, fields: Sequence[str] = SMI) -> list[str]:
    """What nvidia-smi says of a GPU, a text a field; '-' where it says nothing, or is not there."""
    command = ("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", f"--id={gpu}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        done = None
    told = [text.strip() for text in done.stdout.split(",")] if done is not None and done.returncode == 0 else []
    found = told if len(told) == len(fields) else ["-"] * len(fields)
    return [driver_of_kernel() if name == "driver_version" and text == "-" else text
            for name, text in zip(fields, found, strict=True)]  # fmt: skip


def driver_of_kernel(place: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The version of the loaded kernel module: the first word of its line that has a dot; '-' without one."""
    try:
        line = place.read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return "-"
    return next((word for word in line.split() if word[0].isdigit() and "." in word), "-")
