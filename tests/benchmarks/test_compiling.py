"""Compiled training: chosen and recorded, its own bits whatever the stops, refused where it cannot be had."""

import math
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.exc import Unsupported

from benchmarks.errors import InductiveError
from benchmarks.files import read_json
from benchmarks.plan.run import Run
from benchmarks.running import loop
from benchmarks.running.attempt_log import Outcome
from benchmarks.training import compiling, kernels
from benchmarks.training.compiling import compiled, drop_compiled
from benchmarks.training.kernels import KERNELS, Kernels, execution_for, form_by_rule
from benchmarks.training.training import Training, model_of

Make = Callable[..., Run]
Perform = Callable[..., Outcome]

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, g++, on a CPU")


@compiler
def test_a_compiled_run_is_stopped_without_a_trace(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the same run uninterrupted; with dropout, whose compiled draws are the compiler's own. The cache lies
    under the root, and the record says what was compiled."""
    recipe = {"batch_size": 16, "ema": 0.9}
    run = tiny(model="course_vit", size="course", options={"depth": 1}, budget={"steps": 6}, recipe=recipe)
    kept = ("weights.safetensors", "metrics.jsonl", "result.json")
    monkeypatch.delenv(compiling.VARIABLE, raising=False)
    torch.compiler.reset()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert perform(run, root=whole, compiling="network").state == "finished"
    assert perform(run, root=parts, compiling="network", stop_at=2).state == "interrupted"
    torch.compiler.reset()  # as in another process
    assert perform(run, root=parts).state == "finished"  # as recorded, whatever is asked for later
    for name in kept:
        assert (whole / run.id / name).read_bytes() == (parts / run.id / name).read_bytes()
    recorded = read_json(parts / run.id / "execution.json")
    assert (recorded["compile"], recorded["linear"]) == ("network", "torch")
    assert any((whole / compiling.CACHE).rglob("*"))


@compiler
def test_it_learns_what_is_learned_uncompiled(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Reference: the losses of the same run without it, to float32's rounding over a few steps."""
    run = tiny(model="resnet", options={"stages": "1-1-1"}, budget={"steps": 4})
    torch.compiler.reset()
    perform(run, root=tmp_path / "one", compiling="network")
    perform(run, root=tmp_path / "two", compiling="off")
    one, two = (read_json(tmp_path / name / run.id / "result.json")["train_loss"] for name in ("one", "two"))
    assert one == pytest.approx(two, rel=1e-4)


def test_nothing_falls_back_silently() -> None:
    """A network with a break in its graph is an error, not half compiled."""

    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._dynamo.graph_break()
            return x * 2

    torch.compiler.reset()
    passes = compiled(Broken(), "network")  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="graph_break"):
        passes(torch.ones(2))


def test_off_is_the_network_itself(tiny: Make) -> None:
    """No wrapper, no cost."""
    network = model_of(tiny())
    assert compiled(network, "off") is network


def test_a_halved_micro_batch_is_compiled_afresh(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of what was compiled, and of the network that it held, when the smaller one begins; nothing is
    dropped of a run that is not compiled. The compiler's first half alone (dynamo), which holds the network."""
    run, dropped = tiny(recipe={"name": "digits", "batch_size": 32}), list[object]()
    seen: list[weakref.ref[nn.Module]] = []
    real = Training.update

    def short(self: Training, read: bool = True) -> Any:
        if len(seen) < 2 or seen[-1]() is self.model:  # the first two: memory is emptied after one, halved after both
            seen.append(weakref.ref(self.model))
            real(self, read)
            raise torch.OutOfMemoryError("no room")
        return real(self, read)

    def drop() -> None:
        drop_compiled()
        dropped.append(seen[-1]())

    monkeypatch.setattr(Training, "update", short)
    monkeypatch.setattr(loop, "drop_compiled", drop)
    monkeypatch.setattr(loop.log, "disabled", True)  # pytest keeps what is logged, and that holds the network
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, mode, **how: whole(network, backend="eager", **how))
    torch.compiler.reset()
    assert perform(run, root=tmp_path / "off", until=1).state == "interrupted"
    assert dropped == []
    seen.clear()
    assert perform(run, root=tmp_path / "network", compiling="network", until=1).state == "interrupted"
    assert dropped == [None, None]
    assert read_json(tmp_path / "network" / run.id / "execution.json")["micro_batch"] == 16


def test_the_rule_is_a_number_of_steps(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole steps as graphs on GPUs, always; elsewhere none, and with one, runs of fewer steps are not compiled."""
    rules = {(device, kernels.compiled, kernels.compile_from) for (device, _), kernels in KERNELS.items()}
    assert {rule for rule in rules if rule[0] == "cuda"} == {("cuda", "graphs", 1)}
    assert {number for device, _, number in rules if device != "cuda"} == {math.inf}
    assert form_by_rule(tiny(), "cuda") == "graphs"
    assert execution_for(tiny(), "cpu")["compile"] == "off"
    monkeypatch.setitem(kernels.KERNELS, ("cpu", "float32"), Kernels("explicit", compile_from=100))
    found = [execution_for(tiny(budget={"steps": steps}), "cpu")["compile"] for steps in (99, 100)]
    assert found == ["off", "network"]
    assert execution_for(tiny(budget={"steps": 100}), "cpu", "off")["compile"] == "off"


def test_graphs_need_cuda(tiny: Make) -> None:
    """Refused, with what is allowed."""
    with pytest.raises(InductiveError, match=r"CUDA graphs need a CUDA GPU, and runs go to cpu; allowed: network"):
        execution_for(tiny(), "cpu", "graphs")
