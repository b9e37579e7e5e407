"""The contract of every network: tensors in, logits out, and the same methods for all.

Shapes: B images, C channels, H x W pixels; N tokens of width D; h heads of width d; K classes.

A network writes its forward pass once, in `run(images, parts)`. `model(x)` calls it with `parts=None`;
`model.forward_parts(x)` calls it with a dictionary that the pass fills with its intermediates:

    embedding      tokens after embedding and position (B N D), or the feature map after the stem (B C H W)
    block.i        tokens after block i                stage.i     feature map after stage i
    attention.i    probabilities of attention layer i (B h N N; windows: B windows h n n, of timm's (B windows) h n n)
    pooled         what the head reads (B D)
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.grids import Grid
from models.hints import did_you_mean
from models.initial import TORCH, Draw, Scheme, fans, initialise
from models.linear import LinearForm, set_linear
from models.options import ModelError

Parts = dict[str, Tensor]
AttentionForm = Literal["fused", "explicit"]
AnyNetwork = TypeVar("AnyNetwork", bound="Network")


@dataclass(frozen=True)
class Description:
    """What a network is at one image size; `details` holds what only some families have (window, receptive field)."""

    parameters: Mapping[str, int]  # backbone, position, head
    macs: int  # multiply-accumulates for one image, attention products included; FLOPs are twice this
    grid: Grid  # rows and columns of the last token grid or feature map
    tokens: int  # what the first attention layer, or the last feature map, holds
    details: Mapping[str, int | str] = field(default_factory=dict)


class Head(nn.Linear):
    """The classifier: a linear map from D features to K classes, B D -> B K."""

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How its weight, K x D, and its bias start: by the scheme's rule for the classifier."""
        return scheme.head(*fans(self))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): drop a residual branch, B ..., for a whole image with probability `rate`.

    Branches that stay are divided by 1 - rate, so that the expected branch is the same; in evaluation nothing is
    dropped.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """A branch B ... of any number of dimensions -> the same shape, one decision for each of the B images."""
        if not self.training or self.rate == 0.0:
            return branch
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        keep = torch.empty(shape, dtype=branch.dtype, device=branch.device).bernoulli_(1 - self.rate)
        return branch * (keep / (1 - self.rate))


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates that rise linearly from 0 at the first block to `rate` at the last, as in timm.

    Huang et al. (2016) start at rate / depth instead of 0.
    """
    return [rate * block / max(depth - 1, 1) for block in range(depth)]


class Network(nn.Module, ABC):
    """Base of every network, B C H W -> B K; see the module's docstring for `run` and `parts`."""

    resizes_input: bool = False  # True: any image is resized to the training resolution first
    undecayed: ClassVar[tuple[str, ...]] = ()  # endings of further names that weight decay leaves alone
    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TORCH, "literature": TORCH}  # how layers start
    in_channels: int

    @abstractmethod
    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K, filling `parts` when it is a dictionary."""

    @abstractmethod
    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last token grid or feature map of an image of height x width pixels.

        Raises ModelError for an image that the network cannot take.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Images B C H W, floating point -> logits B K. Raises ModelError for others: see `checked`, `grid`."""
        return self.run(self.checked(images), None)

    def forward_parts(self, images: Tensor) -> tuple[Tensor, Parts]:
        """Logits B K and the named intermediates, whose shapes the module's docstring lists.

        Attention is computed in the explicit form, whatever is set. Raises ModelError as `forward` does.
        """
        parts: Parts = {}
        return self.run(self.checked(images), parts), parts

    def checked(self, images: Tensor) -> Tensor:
        """The images B C H W.

        Raises ModelError when they have another shape, other channels or a type that is no float.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ModelError(f"images of shape {tuple(images.shape)} are not (B, {self.in_channels}, H, W)")
        if not images.is_floating_point() or 0 in images.shape:
            raise ModelError(f"images of {images.dtype} and shape {tuple(images.shape)} are not floats, or none at all")
        return images

    def initialise(self, seed: int, initial: str = "library") -> None:
        """Give every parameter its keyed initial value; a ready-made network has its library's already.

        Args: initial: see `scheme`. Raises ModelError as `scheme` does.
        """
        initialise(self, seed, self.scheme(initial))

    def fit_input(self, batches: Iterable[Tensor]) -> None:
        """Sets what a network takes from its training images before the first step: here nothing.

        Args: batches: all of them as the network is given them, without augmentation, B C H W at a time; made as they
        are asked for.
        """

    @classmethod
    def scheme(cls, initial: str) -> Scheme:
        """How layers start: as in the family's `literature`, as in its `library`, or as layers of `torch` do.

        Raises ModelError where `schemes` lacks it.
        """
        if initial != "torch" and initial not in cls.schemes:
            raise ModelError(f"{cls.__name__}.schemes has no {initial!r}; it has {', '.join(cls.schemes) or 'nothing'}")
        return TORCH if initial == "torch" else cls.schemes[initial]

    def set_attention(self, form: AttentionForm) -> None:
        """Choose how every attention layer is computed: one fused kernel, or matmul, softmax, matmul.

        Raises ModelError for a form other than `fused` and `explicit`.
        """
        if form not in ("fused", "explicit"):
            raise ModelError(f"attention is {form!r}; allowed: fused, explicit")
        for module in self.modules():
            if isinstance(module, AttentionLayer):
                module.fused = form == "fused"

    def set_linear(self, form: LinearForm) -> None:
        """Choose what computes linear maps (`models.linear`).

        Raises ModelError for a form other than `torch` and `onednn`.
        """
        if form not in ("torch", "onednn"):
            raise ModelError(f"linear is {form!r}; allowed: torch, onednn")
        set_linear(self, form)

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how the positions of the training grid are carried to another grid.

        Raises ModelError for a way or a choice that the network does not have: here for all, as it has no positions.
        """
        check_way(type(self).__name__, (), {}, way, choices)

    @contextmanager
    def made_for(self, image_size: int, patch: int) -> Iterator[None]:
        """Within the context the network works as if made for images of `image_size` and patches of `patch` pixels."""
        before = getattr(self, "image_size", None)
        try:
            if self.resizes_input:
                self.image_size: Any = image_size
            yield
        finally:
            if self.resizes_input:
                self.image_size = before

    def no_decay(self) -> set[str]:
        """Names of the parameters that weight decay leaves alone: biases, norms, vectors, everything positional."""
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter.ndim <= 1 or name.startswith("position.") or name.endswith(self.undecayed)
        }

    def parameters_by_part(self) -> dict[str, int]:
        """Numbers of parameters of the `backbone`, of the positional encoding (`position`) and of the `head`."""
        counts = {"backbone": 0, "position": 0, "head": 0}
        for name, parameter in self.named_parameters():
            counts[self.part_of(name)] += parameter.numel()
        return counts

    def part_of(self, name: str) -> str:
        """The part a parameter is counted in: by the first word of its name."""
        first = name.split(".", 1)[0]
        return first if first in ("position", "head") else "backbone"

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """What only some families have (window, receptive field, total stride), at height x width pixels."""
        return {}

    def token_count(self, height: int, width: int) -> int:
        """Tokens of an image of height x width pixels in the first attention layer, or the last feature map."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def describe(self, height: int, width: int) -> Description:
        """Parameters, multiply-accumulates and geometry for an image of height x width pixels.

        Raises ModelError for an image that the network cannot take.
        """
        return Description(
            parameters=self.parameters_by_part(),
            macs=count_macs(self, height, width),
            grid=self.grid(height, width),
            tokens=self.token_count(height, width),
            details=self.details(height, width),
        )


class FixedSize(Network):
    """A network that knows one image size: any other image is resized to it first, by one antialiased bilinear step.

    Args: image_size: side of a training image in pixels.
    """

    resizes_input: bool = True

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size

    def checked(self, images: Tensor) -> Tensor:
        """Images B C H W of any size -> B C S S, S the training resolution.

        Raises ModelError as `Network.checked` does.
        """
        return resize_square(super().checked(images), self.image_size)


def resize_square(images: Tensor, side: int) -> Tensor:
    """B C H W -> B C side side by one antialiased bilinear step; images of that size are not changed."""
    if images.shape[2:] == (side, side):
        return images
    return nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


class AttentionLayer(nn.Module):
    """Marks a module that computes attention and can do so fused or explicitly."""

    fused: bool = False


def as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens B N E in raster order -> a map B E H W on the `grid` of H rows and W columns, with N = H W."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def as_tokens(feature_map: Tensor) -> Tensor:
    """A map B E H W -> tokens B N E in raster order, one token after the other in memory.

    Without the copy the tokens would lie in memory channel by channel, as would all that is added to them, and every
    layer norm would have to copy them.
    """
    return feature_map.flatten(2).transpose(1, 2).contiguous()


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    fused: bool,
    dropout: float = 0.0,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """softmax(q k' + bias + mask) v for queries that are scaled already (Vaswani et al., 2017, eq. 1).

    Args: queries, keys, values: (..., h, N, d). bias: broadcasts to (..., h, N, N). mask: likewise, of 0 and minus
    infinity alone, which every type holds. fused: one kernel, without probabilities. dropout: share of the
    probabilities set to zero, the others scaled up.
    Returns the mixed values (..., h, N, d), and the probabilities (..., h, N, N) or None from the fused kernel.

    The fused kernel would round the bias to the type of the queries: with eight bits, a bias of 8 to 16 has steps of
    1/16. So a bias of a finer type, as float32 beside queries in bfloat16, is added in that type by the explicit form,
    whatever is set: an encoding is then the same on every device.
    """
    rounded = bias is not None and torch.promote_types(bias.dtype, queries.dtype) != queries.dtype
    if mask is not None:
        bias = mask if bias is None else bias + mask
    if fused and not rounded:
        return fused_attention(queries, keys, values, bias, dropout), None
    logits = queries @ keys.transpose(-2, -1)  # ... h N N
    if bias is not None:
        logits = logits + bias
    probabilities = logits.softmax(dim=-1)
    if dropout:
        probabilities = nn.functional.dropout(probabilities, dropout)
    return probabilities.to(values.dtype) @ values, probabilities


def fused_attention(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """`attend` by torch's kernels, which take B h N d and nothing longer: (..., h, N, d) -> (..., h, N, d).

    Windows, B windows h N d, become heads, B windows*h N d: so the bias of every window serves all images without a
    copy for each. In five dimensions torch falls back to the explicit form on CUDA.
    """
    heads = queries.shape[1:-2]  # h, or windows h
    if bias is not None:
        bias = bias.to(queries.dtype)
        if len(heads) > 1:
            bias = bias.expand(*heads, -1, -1).flatten(0, -3)  # windows*h N N
    queries, keys, values = (x.flatten(1, -3) for x in (queries, keys, values))
    mixed = nn.functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=bias, dropout_p=dropout, scale=1.0
    )
    return mixed.unflatten(1, heads)


def without_memory(network: AnyNetwork) -> AnyNetwork:
    """A copy of a network whose parameters and buffers are on the meta device: they have shapes and no values."""
    memo: dict[int, object] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(network, memo)


def count_macs(network: Network, height: int, width: int) -> int:
    """Multiply-accumulates of one image of height x width pixels in evaluation mode, attention products included.

    torch's counter counts a copy without memory that runs on the meta device. Raises ModelError as `Network.grid` does.
    """
    ghost = without_memory(network).eval().requires_grad_(False)  # torch's counter trips over gradients that are off
    ghost.set_attention("explicit")  # the fused kernel is invisible to the counter on some devices
    dtype = next(network.parameters()).dtype
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ghost(torch.empty(1, network.in_channels, height, width, dtype=dtype, device="meta"))
    return counter.get_total_flops() // 2


Choices = Mapping[str, Mapping[str, tuple[str, ...]]]
"""The choices of each way, by name: the allowed words, the first being the default, or () for a number above 0."""


def check_way(owner: str, ways: tuple[str, ...], known: Choices, way: str, choices: Mapping[str, float | str]) -> None:
    """Raises ModelError, with what is allowed and the nearest, for a way of carrying positions that does not exist.

    Args: owner: whose positions they are, for the message. ways: those it has. known: the choices of each of them.
    """
    if not ways:
        raise ModelError(f"{owner} has nothing to carry to another grid (asked: {way!r})")
    if way not in ways:
        raise ModelError(f"{owner} cannot be carried by {way!r}; allowed: {', '.join(ways)}{did_you_mean(way, ways)}")
    names = known.get(way, {})
    for name, value in choices.items():
        if name not in names:
            allowed, hint = ", ".join(names) or "none", did_you_mean(name, names)
            raise ModelError(f"{owner} carried by {way!r} takes no `{name}`; allowed: {allowed}{hint}")
        words = names[name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        if not (value in words if words else number):
            allowed, hint = ", ".join(words) or "a finite number above 0", did_you_mean(str(value), words)
            raise ModelError(f"{owner} carried by {way!r}: `{name}` is {value!r}; allowed: {allowed}{hint}")
