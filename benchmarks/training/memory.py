"""A GPU's memory: how much of it a run may take, what is tried when it is short, what is said when it is too little.

Runs that share a GPU have equal shares of it, whoever else is there at the moment: a neighbour must not decide how many
images go through a network at once, which decides bits.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.errors import InductiveError

CONTEXT_BYTES = 600 * 2**20  # assumed of a process on a GPU beside its tensors: CUDA's context and libraries
HELPS = "fewer runs side by side (--jobs, runs_per_gpu), a smaller network or resolution, or a GPU with more memory"


def share(runs: int, total: int) -> float:
    """The part of a GPU's memory of `total` bytes that the tensors of one of `runs` runs side by side may take.

    Raises InductiveError where nothing is left beside their processes.
    """
    if runs == 1:
        return 1.0
    part = 1 / runs - CONTEXT_BYTES / total
    if part <= 0:
        raise InductiveError(
            f"{runs} runs on a GPU of {total / 2**30:.1f} GiB, where a process takes about "
            f"{CONTEXT_BYTES / 2**30:.1f} GiB before its first tensor; allowed: at most {(total - 1) // CONTEXT_BYTES}"
        )
    return part


def take_share(runs: int) -> None:
    """Keeps this process to its share of the current GPU, one of `runs` runs side by side. Raises as `share` does."""
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(share(runs, total))


def release() -> None:
    """Gives back to the GPU what nothing uses any more, also what only circles of references hold, as tracebacks do."""
    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def explained(run: str) -> Iterator[None]:
    """Turns what torch raises of a GPU that is full, or that another process has to itself, into InductiveError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        words = " ".join(str(error).partition(" Of the allocated memory")[0].split())
        raise InductiveError(f"{run}: too little memory on the GPU; what helps: {HELPS} ({words})") from error
    except RuntimeError as error:
        if "busy or unavailable" not in str(error):
            raise
        raise InductiveError(
            f"{run}: the GPU is another process's alone (compute mode Exclusive_Process): nothing is lost, the same "
            "command resumes once it is free; runs share such a GPU under a running MPS alone"
        ) from error
