"""The exponential moving average of a network's weights, by which a run with `ema` is judged.

After update t (from 1) the average keeps min(ema, (1 + t) / (10 + t)) of itself, TensorFlow's rule, so that a short
training is not judged by its initial weights. BatchNorm's running statistics are averaged like the weights they belong
to; counters are copied.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """The averaged state of a network, name for name as in its state dict."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def follow(self, model: nn.Module, updates: int, skipped: Tensor) -> None:
        """Moves towards the network after so many updates; not where `skipped`, on the device, is above 0."""
        kept = min(self.decay, (1 + updates) / (10 + updates))
        state, stays = model.state_dict(), skipped > 0
        # Towards itself where it stays: a product with 0 would keep what is not finite.
        theirs = {name: torch.where(stays, mine, state[name]) for name, mine in self.values.items()}
        pairs = [(mine, theirs[name]) for name, mine in self.values.items() if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in pairs], [value for _, value in pairs], 1 - kept)
        for name, mine in self.values.items():
            if not mine.is_floating_point():
                mine.copy_(theirs[name])

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Continues from `values` of before. Raises KeyError when they are of another network."""
        for name, mine in self.values.items():
            mine.copy_(values[name])
