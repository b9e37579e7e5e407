"""The mixers of the ladder (`models.ladder`): ten ways for a token to learn of the others, each with its assumptions.

Shapes: B images, N = H x W patch tokens of width D; E = 2 D channels inside a mixer; k x k kernels; h heads of width d.

| mixer               | mixes | local | shared over places | equivariant to shifts | reaches all | depends on content |
|---------------------|-------|-------|--------------------|-----------------------|-------------|--------------------|
| `identity`          | no    | -     | -                  | yes                   | no          | -                  |
| `pool`              | yes   | yes   | nothing to share   | yes                   | no          | no                 |
| `depthwise_conv`    | yes   | yes   | yes                | yes                   | no          | no                 |
| `gated_conv`        | yes   | yes   | yes                | yes                   | no          | its own token's    |
| `local_attention`   | yes   | yes   | yes                | yes                   | no          | yes                |
| `window_attention`  | yes   | yes   | yes                | by whole windows      | no          | yes                |
| `attention`         | yes   | no    | yes                | yes                   | yes         | yes                |
| `locally_connected` | yes   | yes   | no                 | no                    | no          | no                 |
| `token_mlp`         | yes   | no    | no                 | no                    | yes         | no                 |
| `ssd`               | yes   | fades | yes                | no: it has an order   | yes         | yes                |

"Depends on content": how tokens are weighed is decided by what they hold. Equivariance is that of the mixers: an
absolute position added to the tokens breaks it (`position = "none"` does not), and so do borders, unless `padding =
"circular"` joins opposite ones: then a cyclic shift by whole patches leaves the logits of `identity`, `pool`,
`depthwise_conv` and `gated_conv` as they are. `locally_connected` has that padding as their partner, not for
equivariance, which it has with none: a shift hands every neighbourhood to other kernels.

Where attention has four maps D -> D, the mixers without attention have two maps D -> E -> D with a GELU behind the
first (the separable form of "MetaFormer baselines", Yu et al., 2024), and between them one operation across tokens, so
that parameters match too; `gated_conv` has the maps of its own paper. Linear maps start by the network's scheme,
kernels with variance 1 / k^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, Scheme, constant, fans, normal, uniform_numbers
from models.ladder import Mixer
from models.network import Parts, as_map, as_tokens
from models.positions.base import Position, at_least_single, offsets, without_autocast
from models.resnet import Padding, wrap
from models.swin import WindowAttention
from models.vit import MLP, Attention, BehindAttention, Projection

Scan = Literal["raster", "reversed", "both"]


def bordered(feature_map: Tensor, kernel: int, padding: Padding) -> tuple[Tensor, int]:
    """A map B E H W, and how many zeros are still to be added at each border for a kernel k x k.

    Zeros: the map as it is, and k // 2. Circular: the map B E H+2r W+2r with its border of r = k // 2, and 0.
    """
    return (feature_map, kernel // 2) if padding == "zeros" else (wrap(feature_map, kernel // 2), 0)


class Pool(nn.Module):
    """The mean of the k x k neighbours (zeros: of those that exist): B N E -> B N E, without a parameter.

    Args: kernel: k. padding: zeros or circular.
    """

    def __init__(self, kernel: int, padding: Padding = "zeros") -> None:
        super().__init__()
        self.side, self.padding = kernel, padding

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B N E on the grid -> B N E."""
        x, zeros = bordered(as_map(tokens, grid), self.side, self.padding)
        x = x.contiguous()  # from a map that is channels last CUDA makes a wrong gradient (pytorch issue 188344)
        return as_tokens(nn.functional.avg_pool2d(x, self.side, 1, zeros, count_include_pad=False))


class Conv(nn.Module):
    """A k x k kernel for each of `kernels` equal groups of channels: B N E -> B N E.

    Args: channels: E. kernel: k. padding: zeros or circular.
    """

    def __init__(self, channels: int, kernel: int, kernels: int, padding: Padding = "zeros") -> None:
        super().__init__()
        self.side, self.repeats, self.padding = kernel, channels // kernels, padding
        self.kernel = nn.Parameter(torch.empty(kernels, 1, kernel, kernel))

    def initial(self) -> Mapping[str, Draw]:
        """`kernel`, groups 1 k k: normal with std 1/k."""
        return {"kernel": normal(1 / self.side)}

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B N E on the grid -> B N E."""
        weight = self.kernel.repeat_interleave(self.repeats, dim=0)  # E 1 k k
        x, zeros = bordered(as_map(tokens, grid), self.side, self.padding)
        return as_tokens(nn.functional.conv2d(x, weight, padding=zeros, groups=len(weight)))


class Local(nn.Module):
    """As `Conv`, with kernels of its own at every token: B N E -> B N E on the one grid it was made for.

    Args: kernel: k. kernels: groups of channels. places: N. padding: zeros or circular.
    """

    def __init__(self, kernel: int, kernels: int, places: int, padding: Padding = "zeros") -> None:
        super().__init__()
        self.side, self.kernels, self.padding = kernel, kernels, padding
        self.kernel = nn.Parameter(torch.empty(kernels, places, kernel**2))

    def initial(self) -> Mapping[str, Draw]:
        """`kernel`, groups N k*k: normal with std 1/k."""
        return {"kernel": normal(1 / self.side)}

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B N E on the grid -> B N E."""
        x, zeros = bordered(as_map(tokens, grid), self.side, self.padding)
        around = nn.functional.unfold(x, self.side, padding=zeros)  # B E*k*k N
        around = around.view(len(tokens), self.kernels, -1, self.side**2, tokens.shape[1])  # B g E/g k*k N
        return torch.einsum("bgckn,gnk->bngc", around, self.kernel).flatten(2)


class AcrossTokens(nn.Module):
    """One MLP across the tokens of every channel: B N E -> B N E on the one grid it was made for.

    Args: places: N. hidden: units of the MLP.
    """

    def __init__(self, places: int, hidden: int) -> None:
        super().__init__()
        self.mlp = MLP(places, hidden)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B N E on the grid -> B N E."""
        return self.mlp(tokens.transpose(1, 2)).transpose(1, 2)


class Separable(Mixer):
    """down(across(gelu(up(x)))): B N D -> B N D, with `across` mixing the tokens of every channel by itself.

    The separable form of Yu et al. (2024). Args: width: D. across: maps B N E -> B N E on a grid, E = 2 D. kernel: side
    of the square of tokens that it mixes.
    """

    def __init__(self, width: int, across: nn.Module | None, kernel: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.across = across
        self.down = nn.Linear(2 * width, width)
        self.kernel = kernel

    def forward(self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on the grid -> B N D; position, block and parts are not used."""
        hidden = nn.functional.gelu(self.up(tokens))
        return self.down(hidden if self.across is None else self.across(hidden, grid))

    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """Receptive field of a token after the last block, far from the border, in pixels."""
        return receptive_field(self.kernel, patch, depth)


def receptive_field(kernel: int, patch: int, depth: int) -> dict[str, int | str]:
    """Side in pixels of the square that `depth` blocks of k x k kernels see, far from the border."""
    return {"receptive_field": patch * (1 + depth * (kernel - 1))}


class Identity(Separable):
    """`identity`: nothing is mixed, and the image is a bag of patches whose mean the head reads.

    The maps inside the mixer stay (IdentityFormer, Yu et al., 2024, has none), so that nothing but the mixing is gone.
    Arguments are those of `models.ladder.MixerFactory`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int) -> None:
        super().__init__(width, None, 1)


class PoolMixer(Separable):
    """`pool`: the mean over k x k tokens (PoolFormer, Yu et al., 2022): local, and nothing spatial is learned.

    Args: kernel: k. padding: zeros or circular. The others are those of `models.ladder.MixerFactory`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int, kernel: int, padding: Padding) -> None:
        super().__init__(width, Pool(kernel, padding), kernel)


class DepthwiseConv(Separable):
    """`depthwise_conv`: a k x k convolution (ConvFormer, Yu et al., 2024): local, shared, equivariant.

    Args: kernel: k. kernels: how many for a block's E channels; 0: one for each. padding: zeros or circular. The others
    are those of `models.ladder.MixerFactory`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int, kernel: int, kernels: int, padding: Padding) -> None:
        super().__init__(width, Conv(2 * width, kernel, kernels or 2 * width, padding), kernel)


class LocallyConnected(Separable):
    """`locally_connected`: k x k kernels, others at every place: local, neither shared nor equivariant.

    Bound to one grid. A place has a kernel for each of a few groups of channels: one for each channel would multiply
    the network's parameters. Args: kernel: k. kernels: groups. padding: zeros or circular. The others are those of
    `models.ladder.MixerFactory`.
    """

    one_grid: ClassVar[bool] = True

    def __init__(self, *, width: int, grid: Grid, block: int, kernel: int, kernels: int, padding: Padding) -> None:
        super().__init__(width, Local(kernel, kernels, grid[0] * grid[1], padding), kernel)


class TokenMLP(Separable):
    """`token_mlp`: an MLP across tokens (MLP-Mixer, Tolstikhin et al., 2021): global, and nothing is shared or local.

    Bound to one grid. Args: token_hidden: hidden units of that MLP. The others are those of
    `models.ladder.MixerFactory`.
    """

    one_grid: ClassVar[bool] = True

    def __init__(self, *, width: int, grid: Grid, block: int, token_hidden: int) -> None:
        super().__init__(width, AcrossTokens(grid[0] * grid[1], token_hidden), 1)

    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """Every token sees the whole image."""
        return {"window": "global"}


class DepthwiseConv2d(nn.Conv2d):
    """A k x k convolution of every channel by itself, with biases: B D H W -> B D H W.

    Args: channels: D. kernel: k.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, groups=channels)

    def initial(self) -> Mapping[str, Draw]:
        """`weight`, D 1 k k: normal with std 1/k, and `bias` 0."""
        return {"weight": normal(1 / self.kernel_size[0]), "bias": constant(0.0)}


def gated_width(width: int) -> int:
    """Channels of the gate: 4/3 D, so that maps of 3 x 4/3 D^2 weigh what attention's four maps do."""
    return round(4 * width / 3)


class GatedConv(Mixer):
    """`gated_conv`: MambaOut's gated CNN, a convolution under a gate of the token's own (Yu and Wang, 2025, figure 1).

    One map makes a gate and values of G = 4/3 D channels each (8/3 in the paper, whose block has no MLP beside it); a
    k x k convolution runs over the last D channels of the values, the others go by; gelu(gate) x values goes back to D.
    It is Mamba's block without its state space, and so the control of `ssd`: local, shared, equivariant, and the only
    content that decides is the token's own. The paper's kernel is 7.
    Args: kernel: k. padding: zeros or circular. The others are those of `models.ladder.MixerFactory`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int, kernel: int, padding: Padding) -> None:
        super().__init__()
        gates = gated_width(width)
        self.side, self.padding = kernel, padding
        self.split = gates, gates - width, width
        self.up = nn.Linear(width, 2 * gates)
        self.conv = DepthwiseConv2d(width, kernel)
        self.down = nn.Linear(gates, width)

    def forward(self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on the grid -> B N D; position, block and parts are not used."""
        gate, aside, mixed = self.up(tokens).split(self.split, dim=-1)  # B N G, B N G-D, B N D
        x, zeros = bordered(as_map(mixed, grid), self.side, self.padding)
        mixed = as_tokens(nn.functional.conv2d(x, self.conv.weight, self.conv.bias, padding=zeros, groups=x.shape[1]))
        return self.down(nn.functional.gelu(gate) * torch.cat([aside, mixed], dim=-1))

    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """Receptive field of a token after the last block, far from the border, in pixels."""
        return receptive_field(self.side, patch, depth)


class SelfAttention(Attention, Mixer):
    """`attention`: the ViT's, B N D -> B N D: global, shared, equivariant, dependent on content (Vaswani et al., 2017).

    Args: heads: h, which must divide D. The others are those of `models.ladder.MixerFactory`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int, heads: int) -> None:
        super().__init__(width, heads)

    def forward(
        self,
        tokens: Tensor,
        position: Position,
        grid: Grid,
        block: int,
        parts: Parts | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Tokens B N D on the grid -> B N D; `parts` gets `attention.block`, B h N N. `mask` is added to the logits."""
        return super().forward(tokens, position, grid, block, parts, mask)

    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """Every token sees the whole image."""
        return {"window": "global"}


class LocalAttention(SelfAttention):
    """`local_attention`: a token attends to those within r rows and r columns, on any grid, as the ViT's
    `attention_window = r`: local like a (2r+1) x (2r+1) convolution, and it depends on content. B N D -> B N D.

    Args: attention_window: r. The others are those of `SelfAttention`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int, heads: int, attention_window: int) -> None:
        super().__init__(width=width, grid=grid, block=block, heads=heads)
        self.reach = attention_window

    def mask(self, grid: Grid) -> Tensor:
        """0 where two tokens may meet, minus infinity where they are further apart than the window: N N."""
        dr, dc = offsets(grid)
        far = torch.maximum(dr.abs(), dc.abs()) > self.reach
        return torch.zeros(far.shape, dtype=torch.float64).masked_fill(far, -math.inf)

    def forward(
        self,
        tokens: Tensor,
        position: Position,
        grid: Grid,
        block: int,
        parts: Parts | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Tokens B N D on the grid -> B N D; `parts` gets `attention.block`, B h N N. Args: mask: the window's own."""
        mask = position.constant(self.mask, grid, tokens.device, at_least_single(tokens.dtype))
        return super().forward(tokens, position, grid, block, parts, mask)

    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """The sides of the window in tokens."""
        return {"window": "x".join([str(2 * self.reach + 1)] * 2)}


class PlainWindows(WindowAttention, Mixer):
    """`window_attention`: the ViT's attention cut into windows, shifted by half in every second block.

    B N D -> B N D. Swin (Liu et al., 2021) without merging and without its bias: local, shared, dependent on content,
    equivariant to shifts by whole windows. Args: heads: h, which must divide D. window: tokens along the side of a
    window, at most the training grid's. The others are those of `models.ladder.MixerFactory`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int, heads: int, window: int) -> None:
        super().__init__(width, heads, (min(window, grid[0]), min(window, grid[1])), bool(block % 2))
        self.register_parameter("bias_table", None)

    def bias(self, target: Grid, window: Grid) -> None:
        """None: nothing is added but what keeps windows apart."""

    def forward(  # type: ignore[override]  # tokens in rows, not a map
        self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None
    ) -> Tensor:
        """Tokens B N D on the grid -> B N D; `parts` gets `attention.block`, B windows h n n."""
        return super().forward(tokens.unflatten(1, grid), self.window, block, parts).flatten(1, 2)

    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """The sides of a window, in tokens."""
        return {"windows": f"{min(self.window[0], grid[0])}x{min(self.window[1], grid[1])}"}


class RMSNorm(nn.RMSNorm):
    """Tokens divided by their root mean square, times a factor a channel: B N D -> B N D (Zhang and Sennrich, 2019)."""

    def initial(self) -> Mapping[str, Draw]:
        """The D factors start at 1."""
        return {"weight": constant(1.0)}


def log_rates(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Logarithms of decay rates that are uniform between 1 and 16, as in Mamba-2, in the given shape."""
    return torch.log(1 + 15 * uniform_numbers(shape, generator))


def step_biases(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Biases whose softplus, the step, is log-uniform between 0.001 and 0.1, as in Mamba-2, in the given shape."""
    step = torch.exp(math.log(1e-3) + math.log(100) * uniform_numbers(shape, generator))
    return step + torch.log(-torch.expm1(-step))  # the inverse of softplus


class Steps(nn.Linear):
    """The map from a token to the step that it makes in every head, before its softplus: B N D -> B N h."""

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """`weight`, h D, by the scheme's rule for linear maps; `bias` by `step_biases`."""
        return {**scheme.linear(*fans(self)), "bias": step_biases}


class StateSpace(Mixer):
    """`ssd`: a state-space model in its dual form, Y = (L o C B') X (Mamba-2: Dao and Gu, 2024, section 5), per head.

    Attention's maps with another weighing: no softmax, but a decay along an order of the tokens. Head by head, along
    its scan, s_t = exp(-a_t) s_{t-1} + dt_t b_t x_t', y_t = s_t' c_t + skip x_t, with a_t = rate dt_t and the step
    dt_t = softplus(w u_t + bias) of the token u_t: how fast the past fades depends on content. All at once this is one
    masked matrix, with L[t, s] = exp(-(a_{s+1} + ... + a_t)) where s is not after t, and 0 elsewhere; so its cost grows
    as attention's does. The convolution and the gate of Mamba-2's block are left out: they are what `gated_conv` has.
    Each L is from differences of sums along the whole scan: with 1,024 tokens in float32 the output is off by 2e-7 as
    initialised, and by 2e-4 once steps are some thirty times as large.

    `scan` is the order: row by row, the same backwards, or half of the heads each way (`both`), as an image has no
    direction: with one alone the first token learns nothing of the others.
    Args: heads: h, which must divide D and be even for `both`. scan: raster, reversed or both. The others are those of
    `models.ladder.MixerFactory`.
    """

    def __init__(self, *, width: int, grid: Grid, block: int, heads: int, scan: Scan) -> None:
        super().__init__()
        self.heads, self.head_width, self.scan = heads, width // heads, scan
        self.qkv = Projection(width, 3 * width)  # c, b and x
        self.steps = Steps(width, heads)
        self.log_rate = nn.Parameter(torch.empty(heads))
        self.skip = nn.Parameter(torch.empty(heads))
        self.norm = RMSNorm(width, eps=1e-5)
        self.out = BehindAttention(width, width)

    def initial(self) -> Mapping[str, Draw]:
        """`log_rate` by `log_rates`, `skip` 1, as in Mamba-2; both have h numbers."""
        return {"log_rate": log_rates, "skip": constant(1.0)}

    def order(self, grid: Grid) -> Tensor:
        """0 where token s does not come after t in a head's scan, minus infinity elsewhere: h t s, h N N."""
        count = grid[0] * grid[1]
        raster = torch.full((count, count), -math.inf, dtype=torch.float64).triu(1)
        forwards = {"raster": self.heads, "reversed": 0, "both": self.heads // 2}[self.scan]
        return torch.stack([raster if head < forwards else raster.T for head in range(self.heads)])

    def decay(self, steps: Tensor, order: Tensor) -> Tensor:
        """L: how much of token s is left at token t of a head. Steps B N h -> B h N N, by `order`, h N N."""
        faded = steps * self.log_rate.to(steps.dtype).exp()  # B N h
        total = torch.einsum("hts,bsh->bht", order.exp(), faded)  # along the scan up to t; CUDA sorts for a cumsum
        return (total[..., None, :] - total[..., None] + order).exp()

    def forward(self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on the grid -> B N D; block and parts are not used."""
        exact = at_least_single(tokens.dtype)
        order = position.constant(self.order, grid, tokens.device, exact)
        heads = self.qkv(tokens).unflatten(-1, (3, self.heads, self.head_width)).permute(2, 0, 3, 1, 4)
        reads, writes, values = heads.unbind(0)  # c, b, x: B h N d
        steps = nn.functional.softplus(self.steps(tokens).to(exact))  # B N h
        with without_autocast(tokens.device):
            left = self.decay(steps, order)  # B h N N
        stepped = values * steps.transpose(1, 2)[..., None].to(values.dtype)
        weights = (reads @ writes.transpose(-2, -1) * left).to(values.dtype)  # L o C B'
        mixed = weights @ stepped + self.skip[:, None, None].to(values.dtype) * values  # B h N d
        return self.out(self.norm(mixed.transpose(1, 2).flatten(2).to(self.norm.weight.dtype)))

    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """The whole image, in the order of the scan."""
        return {"window": "global", "scan": self.scan}
