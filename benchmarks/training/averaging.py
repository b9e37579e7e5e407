"""The exponential moving average of a network's weights, by which a run with `ema` is judged.

After update t (from 1) the average keeps min(ema, (1 + t) / (10 + t)) of itself, TensorFlow's rule, so that a short
training is not judged by its initial weights. BatchNorm's running statistics are averaged like the weights they belong
to; counters are copied.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Average:
    """The averaged state of a network, name for name as in its state dict.

    Values of one type lie one after the other in one tensor, of which `values` are views: a step is a handful of
    operations, however many layers there are.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        state = model.state_dict()
        self.values: dict[str, Tensor] = {}
        self._names: dict[torch.dtype, list[str]] = {}
        for name, value in state.items():
            self._names.setdefault(value.dtype, []).append(name)
        self._flat = {dtype: _joined(state, names) for dtype, names in self._names.items()}
        for dtype, names in self._names.items():
            parts = self._flat[dtype].split([state[name].numel() for name in names])
            self.values |= {name: part.view(state[name].shape) for name, part in zip(names, parts, strict=True)}

    @torch.no_grad()
    def follow(self, model: nn.Module, updates: int, skipped: Tensor) -> None:
        """Moves towards the network after so many updates; not where `skipped`, on the device, is above 0."""
        kept = min(self.decay, (1 + updates) / (10 + updates))
        state = model.state_dict()
        for dtype, mine in self._flat.items():
            theirs = _joined(state, self._names[dtype])
            moved = mine.lerp(theirs, 1 - kept) if dtype.is_floating_point else theirs
            mine.copy_(torch.where(skipped == 0, moved, mine))  # a product with 0 would keep what is not finite

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Continues from `values` of before. Raises KeyError when they are of another network."""
        for name, mine in self.values.items():
            mine.copy_(values[name])


def _joined(state: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """A copy of these values, one after the other."""
    return torch.cat([state[name].detach().reshape(-1) for name in names])
