"""BatchNorm over a stated number of images, whatever the number of ranks and micro-batches.

The recipe says how many images of a batch, one after the other, are normalised together (`batch_norm_group`; 0: all of
them). Where they are rows of several ranks, mean and variance are those of all, and so are gradients (synchronised
BatchNorm); where they are fewer than go through a network at once, each group is normalised by itself ("ghost" batches:
Hoffer et al., "Train longer, generalize better", 2017). Running statistics of groups follow the mean over the groups
of the batch, once a step.

Shapes: B images, C channels, R ranks.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks.errors import ConfigError
from benchmarks.training.ranks.rows import most_rows
from benchmarks.training.ranks.world import World

KEY = "recipe.batch_norm_group"


@dataclass
class _Followed:
    """What the running statistics of one BatchNorm are to follow: sums over the groups of a step."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float
    mean: Tensor
    var: Tensor
    groups: int


class Groups(TorchFunctionMode):
    """Within it BatchNorm in training normalises `group` images together, 0: those of the whole batch, of all ranks."""

    def __init__(self, group: int, batch: int, world: World | None):
        super().__init__()
        self.group, self.world, self.follows = group, world, True
        self.followed: dict[int, _Followed] = {}
        self.together: dist.ProcessGroup | None = None  # the ranks of our group; None: all
        rows = batch if world is None else most_rows(world.ranks, batch)
        self.across = world is not None and (not group or group > rows)
        if self.across and group:
            assert world is not None
            self.together = world.neighbours(group // rows)

    def again(self) -> "Groups":
        """The same for a pass that is made again: running statistics stay."""
        same = copy.copy(self)
        same.follows = False
        return same

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            return self._normalised(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _normalised(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """As F.batch_norm: B C ... -> B C ..."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        channels = x.new_zeros(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
        mean, var = channels, channels.clone()  # of a group; summed over ours
        if self.across:
            out, mean, var = _Across.apply(x, weight, bias, eps, self.world, self.together)
            groups = 1
        else:
            parts = x.split(self.group)
            normalised, groups = [], len(parts)
            for part in parts:
                own_mean, own_var = torch.zeros_like(channels), torch.zeros_like(channels)
                normalised.append(F.batch_norm(part, own_mean, own_var, weight, bias, True, 1.0, eps))
                mean, var = mean + own_mean, var + own_var
            out = torch.cat(normalised)
        if self.follows and running_mean is not None and running_var is not None:
            self._follow(running_mean, running_var, momentum, mean, var, groups)
        return out

    @torch.no_grad()
    def _follow(
        self, running_mean: Tensor, running_var: Tensor, momentum: float, mean: Tensor, var: Tensor, groups: int
    ) -> None:
        """Running statistics move now, or with the step where other groups have others."""
        if not self.group:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(var.to(running_var.dtype), momentum)
        elif known := self.followed.get(id(running_mean)):
            known.mean, known.var, known.groups = known.mean + mean, known.var + var, known.groups + groups
        else:
            followed = _Followed(running_mean, running_var, momentum, mean, var, groups)
            self.followed[id(running_mean)] = followed

    def sums(self) -> list[Tensor]:
        """What has to be added up over the ranks at the end of a step: of each BatchNorm mean, variance, groups."""
        of_each = self.followed.values()
        return [part for one in of_each for part in (one.mean, one.var, one.mean.new_full((1,), float(one.groups)))]

    @torch.no_grad()
    def move(self, sums: Sequence[Tensor]) -> None:
        """Moves the running statistics by those sums over all ranks, and begins anew."""
        for number, one in enumerate(self.followed.values()):
            mean, var, groups = sums[3 * number : 3 * number + 3]
            one.running_mean.lerp_((mean / groups).to(one.running_mean.dtype), one.momentum)
            one.running_var.lerp_((var / groups).to(one.running_var.dtype), one.momentum)
        self.followed.clear()


class _Across(torch.autograd.Function):
    """Batch normalisation by mean and variance of images of several ranks (Ioffe and Szegedy, 2015).

    Each rank has mean and sum of squared deviations of its own images, in float32 at least; those of all follow exactly
    (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        world: World,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images B C ..., their mean and unbiased variance (C)."""
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        axes, channels = [0, *range(2, x.ndim)], x.shape[1]
        own = exact.mean(axes)
        squares = (exact - _wide(own, x)).square().sum(axes)
        count = own.new_tensor([float(x.numel() // channels)])
        table = world.gather(torch.cat((own, squares, count)), group)  # R x 2C+1
        means, squares, counts = table[:, :channels], table[:, channels:-1].sum(0), table[:, -1:]
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        squares = squares + (counts * (means - mean).square()).sum(0)
        inverse = (squares / total + eps).rsqrt()
        out = (exact - _wide(mean, x)) * _wide(inverse if weight is None else inverse * weight, x)
        if bias is not None:
            out = out + _wide(bias, x)
        var = squares / (total - 1).clamp(min=1)
        ctx.save_for_backward(x, weight, mean, inverse, total)
        ctx.world, ctx.group = world, group
        ctx.mark_non_differentiable(mean, var)
        return out.to(x.dtype), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, total = ctx.saved_tensors
        axes, channels = [0, *range(2, x.ndim)], x.shape[1]
        gradient = gradients[0].to(mean.dtype)
        normalised = (x.to(mean.dtype) - _wide(mean, x)) * _wide(inverse, x)
        sums = torch.cat((gradient.sum(axes), (gradient * normalised).sum(axes)))
        of_bias, of_weight = sums.clone().split(channels)  # of our images: the step adds up those of all
        ctx.world.add_up(sums, ctx.group)
        mean_gradient, mean_product = (sums / total).split(channels)
        of_x = gradient - _wide(mean_gradient, x) - normalised * _wide(mean_product, x)
        of_x = of_x * _wide(inverse if weight is None else inverse * weight, x)
        wanted = ctx.needs_input_grad
        return (
            of_x.to(x.dtype),
            of_weight.to(weight.dtype) if wanted[1] else None,
            of_bias if wanted[2] else None,
            *(None, None, None),
        )


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """A number a channel, shaped to broadcast over B C ..."""
    return values.view(-1, *(1,) * (x.ndim - 2))


def check_groups(group: int, batch: int, ranks: int, micro_batch: int) -> None:
    """Raises ConfigError where as many images as the recipe says cannot be normalised together by so many ranks that
    put `micro_batch` images through a network at once; it names what is possible."""
    rows, even = most_rows(ranks, batch), batch % ranks == 0
    whole = micro_batch >= rows
    if not group:
        if ranks == 1 or whole:
            return
        raise ConfigError(
            KEY,
            f"0: BatchNorm normalises the {batch} images of a batch together, and a rank has room for {micro_batch} of "
            f"its {rows} at once; what helps: more ranks (--gpus-per-run), or a group of "
            f"{_sizes(batch, ranks, micro_batch)}",
        )
    alone = even and rows % group == 0 and (whole or micro_batch % group == 0)
    several = even and group % rows == 0 and batch % group == 0 and whole
    if not alone and not several:
        raise ConfigError(
            KEY,
            f"{group}: {_count(ranks, 'rank')} with {rows} of {batch} images each"
            f"{'' if whole else f', {micro_batch} at once,'} cannot normalise so many together; allowed: "
            f"{_sizes(batch, ranks, micro_batch)}",
        )


def _sizes(batch: int, ranks: int, micro_batch: int) -> str:
    """The groups that are possible, in words."""
    if batch % ranks:
        return f"of none: {batch} images are not as many on each of {ranks} ranks"
    rows = batch // ranks
    fits = [n for n in range(1, rows + 1) if rows % n == 0 and (micro_batch >= rows or micro_batch % n == 0)]
    several = [rows * n for n in range(2, ranks + 1) if ranks % n == 0] if micro_batch >= rows else []
    return ", ".join(map(str, fits + several))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
