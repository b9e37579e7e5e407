"""How many kernels a network's pass launches on a GPU, counted without one: on the meta device."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from models.network import Network, without_memory

NO_KERNEL = ("aten::empty", "aten::empty_like", "aten::new_empty", "aten::_unsafe_view")  # besides what is a view


def forward_operations(network: Network, side: int) -> int:
    """Operations of a training pass forward over images of `side` x `side` pixels that launch a kernel.

    Attention counts as the one kernel that it is on a GPU. Raises ModelError for images that the network cannot take.
    """
    ghost = without_memory(network).train()
    ghost.set_attention("fused")
    with torch.no_grad(), _OneKernel(), _Counted() as counted:
        ghost(torch.empty(2, network.in_channels, side, side, device="meta"))
    return counted.kernels


class _Counted(TorchDispatchMode):
    """Counts the operations within it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.kernels += not (operation.is_view or operation.name().partition(".")[0] in NO_KERNEL)
        return operation(*args, **(kwargs or {}))


class _OneKernel(TorchFunctionMode):
    """Keeps attention whole within it, which the meta device would take apart: any one kernel of that shape will do."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            return args[0].clone()
        return function(*args, **(kwargs or {}))
