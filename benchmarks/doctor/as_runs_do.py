"""Computing as a run does: its execution applied, and determinism given up where a run would give it up."""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from benchmarks.plan.run import Run
from benchmarks.training.kernels import CompileChoice, apply_execution, execution_for

T = TypeVar("T")


def as_runs_do(run: Run, device: str, call: Callable[[dict[str, Any]], T], form: CompileChoice = "off") -> T:
    """What `call` returns for the run's execution on a device, this process being set up for it.

    Where an operation has no deterministic kernel, and torch says so by an error, it is called again without
    determinism, and warns with torch's words.
    """
    execution = execution_for(run, device, form)
    apply_execution(execution)
    try:
        return call(execution)
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        warnings.warn(str(error).partition(",")[0], stacklevel=2)
    without = execution | {"deterministic": False}
    apply_execution(without)
    return call(without)
