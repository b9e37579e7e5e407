"""What is here: torch and its CUDA, the driver, the GPU, or what torch says of why it has none."""

import torch

from benchmarks.doctor.findings import Answer
from benchmarks.records.environment import driver_version, environment
from benchmarks.running.gpus import ALONE, one_process_each
from benchmarks.running.local import slots
from benchmarks.training.kernels import why_no_cuda


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
    if not torch.cuda.is_available():
        return Answer("failed" if device == "cuda" else "ok", f"none; torch says: {why_no_cuda()}")
    found, driver, alone = torch.cuda.get_device_properties(0), driver_version(), bool(one_process_each())
    memory = found.total_memory / 2**30
    values = {
        "name": found.name,
        "count": torch.cuda.device_count(),
        "memory_gib": round(memory, 1),
        "capability": f"{found.major}.{found.minor}",
        "driver": driver,
        "one_process_each": alone,
    }
    words = f"{found.name}, {memory:.0f} GiB, capability {found.major}.{found.minor}, driver {driver}"
    others = f", the first of {values['count']}" if torch.cuda.device_count() > 1 else ""
    return Answer("ok", words + others + (f"; compute mode {ALONE}" if alone else ""), values)
