"""What of a training step its convolutions and matrix products take: the same calls made alone, back to back.

A step of a run is recorded call by call, in the run's own execution. Then those calls alone, on tensors of the same
values, shapes, strides and types, take turns with whole steps (images, norms, optimiser and all) in one process.

What counts as a kernel is an operation of torch as a step calls it, forward or backward, whole, whatever it is made of:

- aten: convolution, mm, addmm, bmm, baddbmm, linear, mkldnn_linear; the backward passes of convolution, linear and
  mkldnn_linear, each of which gives the gradients of inputs, weights and biases at once.
- aten: all of _scaled_dot_product*, which is fused attention, forward and backward. Explicit attention is two bmm, and
  four of them backward.
- mkldnn: all of it, which is what oneDNN fuses with a product or convolution.

Casts, the way into oneDNN's layout and out of it (to_mkldnn, _to_dense), and sums that are gradients of biases by
themselves do not count. On a GPU it counts that kernels are launched one by one, as in a step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from benchmarks.plan.run import Run
from benchmarks.speed.cases import training_of
from benchmarks.speed.clock import Clock, Plan, Summary, Tell, Turn, Variant, summarise, take_turns
from benchmarks.speed.tables import milliseconds, ratio_words
from benchmarks.training.kernels import apply_execution, execution_for

KERNELS = {
    *("convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm", "linear", "linear_backward"),
    *("mkldnn_linear", "mkldnn_linear_backward"),
}


@dataclass(frozen=True)
class Call:
    """An operation of torch, with copies of what it was given."""

    operation: torch._ops.OpOverload[..., Any]
    inputs: tuple[Any, ...]
    options: Mapping[str, Any]


def is_kernel(operation: torch._ops.OpOverload[..., Any]) -> bool:
    """Whether an operation is one of those that count."""
    space, name = operation._schema.name.split("::")
    return space == "mkldnn" or (space == "aten" and (name in KERNELS or name.startswith("_scaled_dot_product")))


class _Recorder(TorchDispatchMode):
    """Notes the kernels that are called within it. What they are given may be overwritten later, so it is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, operation: Any, types: Any, inputs: Any = (), options: Any = None) -> Any:
        options = options or {}
        if is_kernel(operation):
            self.calls.append(Call(operation, *tree_map_only(Tensor, copy_of, (inputs, options))))
        return operation(*inputs, **options)


def copy_of(tensor: Tensor) -> Tensor:
    """A tensor with memory of its own and the same values, shape, type and strides, whether they leave gaps or repeat
    elements; one in oneDNN's layout, which has no strides, is copied as it is."""
    tensor = tensor.detach()
    if tensor.is_mkldnn:
        return tensor.clone()
    reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((reach,), (1,)).clone().as_strided(tensor.shape, tensor.stride())


def recorded(step: Callable[[], object]) -> list[Call]:
    """The kernels of a step in the order of their calls, which it makes meanwhile. It must not be compiled."""
    with _Recorder() as recorder:
        step()
    return recorder.calls


def replay(calls: Sequence[Call]) -> Callable[[], None]:
    """A function that makes the calls again, one after the other, and drops what they return."""

    @torch.no_grad()
    def make_all() -> None:
        for call in calls:
            call.operation(*call.inputs, **call.options)

    return make_all


def step_and_kernels(run: Run, data: Path, device: str) -> tuple[Callable[[], object], Callable[[], None]]:
    """A call that makes the next step of a run, with its images, and one that makes the kernels of its second step: in
    the first, gradients behind a classifier of zeros are zero. This process is set up as the run's is."""
    execution = execution_for(run, device)
    apply_execution(execution)
    uncompiled = partial(training_of(run, data, execution_for(run, device, "off")).update, read=False)
    uncompiled()
    kernels = replay(recorded(uncompiled))
    return partial(training_of(run, data, execution).update, read=False), kernels


def take_both(
    name: str, step: Callable[[], object], kernels: Callable[[], object], plan: Plan, clock: Clock, tell: Tell
) -> dict[str, list[Turn]]:
    """Turns of whole steps and of their kernels alone, as `NAME step` and `NAME kernels`."""
    whole, alone = f"{name} step", f"{name} kernels"
    return take_turns([Variant(whole, step, whole), Variant(alone, kernels, whole)], plan, clock, tell)


def share_cells(turns: Mapping[str, Sequence[Turn]], name: str, goal: float) -> tuple[list[str], Summary]:
    """Milliseconds of the kernels alone and their share of a step beside its goal, and the summary behind them."""
    summary = summarise(turns, f"{name} kernels", f"{name} step")
    return [milliseconds(summary), f"{ratio_words(summary)[0]}; goal {goal:.2f}"], summary
