"""Networks on a CUDA device that need not exist: every operation is told shape, type and device, and computes nothing.

torch's fake tensors refuse operations between devices, as CUDA does. Two things of torch ask for a driver all the same:
autocast, which is told that there is one, and autograd's engine, which `backward` stands in for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from models.network import AnyNetwork


@contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Within it tensors on `cuda` hold no numbers, and `backward` of a tensor needs no driver."""
    with (
        patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
        patch("torch.cuda.is_bf16_supported", lambda *arguments, **options: True),
        patch.object(Tensor, "backward", backward),
        patch.object(Tensor, "pin_memory", lambda tensor: tensor),
        FakeTensorMode(allow_non_fake_inputs=True) as mode,
    ):
        yield mode


def on_fake_cuda(network: AnyNetwork) -> AnyNetwork:
    """A copy of a network whose parameters and buffers are on the fake device; to be called within `fake_cuda`."""
    memo: dict[int, object] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
        memo[id(tensor)] = nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(network, memo)


@torch.no_grad()
def backward(loss: Tensor) -> None:
    """What `loss.backward()` does, for a loss of shape (): adds to the `grad` of every parameter behind it.

    Raises RuntimeError where a gradient lies on another device than what it is the gradient of.
    """
    assert loss.grad_fn is not None
    gradients: dict[torch.autograd.graph.Node, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    for node in _in_order(loss.grad_fn):
        mine = gradients.pop(node, None)
        if mine is None:
            continue
        if hasattr(node, "variable"):  # a parameter
            parameter = node.variable
            parameter.grad = mine[0] if parameter.grad is None else parameter.grad + mine[0]
            continue
        call: Any = getattr(node, "apply", node)  # of an autograd.Function; torch's own are called
        found = call(*(mine.get(number) for number in range(len(node._input_metadata))))
        found = found if isinstance(found, tuple) else (found,)
        for (other, number), gradient in zip(node.next_functions, found, strict=False):
            if other is None or gradient is None:
                continue
            expected = other._input_metadata[number]
            if gradient.device != expected.device:
                raise RuntimeError(f"{node.name()}: a gradient on {gradient.device} for {expected.device}")
            gradient = gradient.sum_to_size(expected.shape).to(expected.dtype)
            there = gradients.setdefault(other, {})
            there[number] = there[number] + gradient if number in there else gradient


def _in_order(first: torch.autograd.graph.Node) -> list[torch.autograd.graph.Node]:
    """All nodes behind the first, each before those that its gradients go to."""
    finished: list[torch.autograd.graph.Node] = []
    seen, waiting = set(), [(first, False)]
    while waiting:
        node, left = waiting.pop()
        if left:
            finished.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting.extend((other, False) for other, _ in node.next_functions if other is not None)
    return finished[::-1]
