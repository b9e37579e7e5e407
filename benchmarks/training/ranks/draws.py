"""What networks draw (drop path, dropout), by place: an image gets the numbers of its place in the step's batch.

A network draws a mask for the images it is given, from a generator that is seeded anew in each step. A rank, and each
of its micro-batches, is given some rows of the batch alone. So every mask is drawn for the whole batch, from the same
seed, and the rows taken out of it: then an image is treated as in one process that has the whole batch, whatever the
number of ranks and the micro-batch. The networks need not know; it holds for those of libraries and of plugins, too.

Which dimension of a mask is the images is seen on a copy of the network that has shapes and no values: it is the one
that is longer when there are more images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.errors import InductiveError
from benchmarks.training.ranks.rows import Rows
from models.network import Network, without_memory

ATEN = torch.ops.aten
FILLED = (ATEN.bernoulli_.float, ATEN.uniform_.default, ATEN.normal_.default, ATEN.exponential_.default)
SIZED = (ATEN.rand.default, ATEN.randn.default)  # new tensors of a size
ALIKE = (ATEN.rand_like.default, ATEN.randn_like.default, ATEN.native_dropout.default)  # of the size of another
TRIED = (2, 3)  # images that the copy is given

Axes = tuple[int | None, ...]  # of each draw of a pass: the dimension that is the images; None: it is one for all


def axes_of_draws(network: Network, shape: Sequence[int]) -> Axes:
    """Which dimension is the images in each of the tensors that a network draws in training, in their order; `shape` is
    that of an image (C, H, W). Raises InductiveError where that cannot be told, or is not the same for every draw."""
    copied = without_memory(network).train()
    seen = []
    for images in TRIED:
        with torch.no_grad(), _Seen() as sizes:
            copied(torch.empty(images, *shape, device="meta", dtype=next(copied.parameters()).dtype))
        seen.append(sizes.found)
    if len(seen[0]) != len(seen[1]):
        raise InductiveError("the network draws more often for more images: --gpus-per-run 1 does without")
    return tuple(_axis(*sizes) for sizes in zip(*seen, strict=True))


def _axis(few: Sequence[int], more: Sequence[int]) -> int | None:
    """The dimension that is longer for more images."""
    longer = [axis for axis, (one, other) in enumerate(zip(few, more, strict=True)) if one != other]
    if len(longer) > 1 or any(few[axis] * TRIED[1] != more[axis] * TRIED[0] for axis in longer):
        raise InductiveError(
            f"the network draws a tensor of {tuple(few)} for {TRIED[0]} images and of {tuple(more)} for {TRIED[1]}: "
            "no dimension of it is the images; --gpus-per-run 1 does without"
        )
    return longer[0] if longer else None


class _Seen(TorchDispatchMode):
    """Within it the sizes of what is drawn are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Sequence[int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and _draws(func, args, kwargs or {}):
            self.found.append(args[0] if func in SIZED else args[0].shape)
        return func(*args, **(kwargs or {}))


class ByPlace(TorchDispatchMode):
    """Within it a network that is given some `rows` of a batch draws for them as for the whole batch.

    `axes`: see `axes_of_draws`. Where a dimension is images times something (windows), images come first. Raises
    InductiveError for a kernel that draws where nobody sees it.
    """

    def __init__(self, rows: Rows, axes: Axes):
        super().__init__()
        self.rows, self.axes, self.drawn = rows, axes, 0

    def from_here(self) -> "ByPlace":
        """The same, for what is drawn from now on."""
        return ByPlace(self.rows, self.axes[self.drawn :])

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or not _draws(func, args, kwargs):
            return func(*args, **kwargs)
        if func in FILLED:
            mine: Tensor = args[0]
            return mine.copy_(self._rows(mine.shape, lambda size: func(_empty(mine, size), *args[1:], **kwargs)))
        if func in SIZED:
            return self._rows(args[0], lambda size: func(size, *args[1:], **kwargs))
        if func is ATEN.native_dropout.default:  # CUDA's: what is left of a tensor, and the mask
            x, rate = args[0], args[1]
            mask = self._rows(x.shape, lambda size: func(_empty(x, size).fill_(1), *args[1:])[1])
            return x * mask / (1 - rate), mask
        if func in ALIKE:
            return self._rows(args[0].shape, lambda size: func(_empty(args[0], size), *args[1:], **kwargs))
        raise InductiveError(
            f"{func} draws by itself, so images would be treated otherwise than on one GPU: --gpus-per-run 1 does "
            "without, and so does a network without dropout there"
        )

    def _rows(self, size: Sequence[int], draw: Callable[[Sequence[int]], Tensor]) -> Tensor:
        """Our rows of what is drawn for the whole batch, where `size` is that of our rows."""
        axis = self.axes[self.drawn]
        self.drawn += 1
        if axis is None:
            return draw(size)
        each = size[axis] // len(self.rows)
        whole = draw([each * self.rows.of if place == axis else side for place, side in enumerate(size)])
        return whole.narrow(axis, each * self.rows.start, each * len(self.rows))


def _draws(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a kernel that can draw does so: attention without dropout does not."""
    names = [argument.name for argument in func._schema.arguments]
    return "dropout_p" not in names or bool({**dict(zip(names, args, strict=False)), **kwargs}.get("dropout_p"))


def _empty(like: Tensor, size: Sequence[int]) -> Tensor:
    """A new tensor of another size, its dimensions in the same order in memory, in which generators fill it."""
    strides = like.stride()
    order = sorted(range(like.ndim), key=lambda axis: (-strides[axis], axis))
    return like.new_empty([size[axis] for axis in order]).permute([order.index(axis) for axis in range(like.ndim)])
