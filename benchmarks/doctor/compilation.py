"""Compiled training, and whole steps as CUDA graphs: the same bits a second time, and nearly those of plain steps."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.doctor.as_runs_do import as_runs_do
from benchmarks.doctor.findings import Answer, Check
from benchmarks.plan.run import Run
from benchmarks.running.rerun import RELATIVE_LOSS
from benchmarks.speed.cases import training_of
from benchmarks.training.compiling import CompileForm, use_cache
from benchmarks.training.step_graph import PLAIN_STEPS

STEPS = PLAIN_STEPS + 3  # the last three by replay, where there are graphs
COMPILERS = ("cc", "gcc", "g++", "clang", "clang++")


def forms(device: str) -> tuple[CompileForm, ...]:
    """The forms that a device has."""
    return ("network", "graphs") if device == "cuda" else ("network",)


def no_compiler() -> str:
    """Why nothing can be compiled here; '' where it can."""
    named = [os.environ[name] for name in ("CC", "CXX") if name in os.environ]
    if any(shutil.which(name) for name in (*named, *COMPILERS)):
        return ""
    return f"no C compiler here ({', '.join(COMPILERS)}, or CC): --compile has no use on this machine"


def checks(named: Sequence[tuple[str, Run]], data: Path, root: Path, device: str) -> Iterator[Check]:
    """A check for each run by name and form."""
    for name, run in named:
        for form in forms(device):
            yield Check("compile", f"{form}: {name}", partial(compiled_twice, run, data, root, device, form))


def compiled_twice(run: Run, data: Path, root: Path, device: str, form: CompileForm) -> Answer:
    """Trains a few steps plainly, in the form, and in it again by what the first left on the disk."""
    use_cache(root)
    train = partial(_trained, run, data)
    uncompiled, _ = as_runs_do(run, device, train)
    losses, weights = as_runs_do(run, device, train, form)
    torch.compiler.reset()
    again, weights_again = as_runs_do(run, device, train, form)
    unequal = [name for name in weights if not torch.equal(weights[name], weights_again[name])]
    loss = max(abs(here - there) / abs(there) for here, there in zip(losses, uncompiled, strict=True))
    values = {"difference": loss, "loss": loss}
    if losses != again or unequal:
        what = unequal[0] if unequal else "the loss"
        return Answer("differs", f"not the same bits a second time: {what}, after {STEPS} steps", values)
    words = "equal a second time" + (f"; loss {loss:.0e} from plain steps" if loss else ", and to plain steps")
    fine = loss <= RELATIVE_LOSS
    return Answer("ok" if fine else "differs", words + ("" if fine else f"; allowed is {RELATIVE_LOSS:.0e}"), values)


def _trained(run: Run, data: Path, execution: Mapping[str, Any]) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of the first steps, and the state of the network after them."""
    training = training_of(run, data, execution)
    rows = [training.update() for _ in range(STEPS)]
    losses = [float("nan") if row is None else row["loss"] for row in rows]
    return losses, {name: value.detach().clone() for name, value in training.model.state_dict().items()}
