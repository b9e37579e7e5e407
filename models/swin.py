"""Swin (Liu et al., 2021), at any image size: attention in shifted windows, patches merged between stages.

Shapes: B images, H x W tokens of a stage (channels last, B H W D), windows of m x n tokens, h heads of width d.

The common implementations freeze two things when built: a stage whose grid is no larger than its window never
shifts again, and tokens added to fill the last window take part in the attention. Here both are decided at
each call: windows keep the size they were trained with (or grow: `carry`), shift wherever more than one fits,
and added tokens are masked. At the training resolution it equals timm's `SwinTransformer`, weight for weight,
wherever no filling is needed.
Initial weights are the authors' and timm's: std 0.02, patches as torch makes them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import SWIN, Draw, Scheme, normal
from models.network import AttentionLayer, Choices, DropPath, Head, Network, Parts, attend, check_way, drop_path_rates
from models.positions.biases import by_pair, resize_offsets
from models.vit import MLP, PatchEmbedding, Projection

WAYS = ("keep_window", "grow_window")


def to_windows(x: Tensor, window: Grid) -> Tensor:
    """Cut maps into windows of m x n tokens in raster order: B H W D -> B windows mn D.

    The window must divide H and W.
    """
    batch, height, width, channels = x.shape
    m, n = window
    x = x.view(batch, height // m, m, width // n, n, channels).transpose(2, 3)
    return x.reshape(batch, (height // m) * (width // n), m * n, channels)


def from_windows(windows: Tensor, window: Grid, height: int, width: int) -> Tensor:
    """The inverse of `to_windows`: B windows mn D -> B H W D, H and W given as height and width."""
    m, n = window
    x = windows.view(len(windows), height // m, width // n, m, n, -1).transpose(2, 3)
    return x.reshape(len(windows), height, width, -1)


def region_mask(grid: Grid, padded: Grid, window: Grid, shift: Grid) -> Tensor:
    """0 where two tokens of a window may meet, minus infinity where they may not: windows mn mn, in double precision.

    Tokens meet when the roll left them together: neither has wrapped around while the other has not, and neither is
    filling while the other is real. Filling meets filling only, and is cut off afterwards.
    Args: grid: tokens of the map. padded: with filling. window: m, n. shift: by which the map was rolled.
    """
    axes = []
    for length, full, size, step in zip(grid, padded, window, shift, strict=True):
        index = torch.arange(full)
        region = (index >= full - size).long() + (index >= full - step).long() if step else torch.zeros(full).long()
        filling = (torch.roll(index, -step) >= length).long()
        axes.append(2 * region + filling)
    regions = (axes[0][:, None] * 6 + axes[1])[None, :, :, None]
    labels = to_windows(regions, window)[0, :, :, 0]  # windows m n
    differ = labels[:, :, None] != labels[:, None, :]
    return torch.zeros(differ.shape, dtype=torch.float64).masked_fill(differ, -math.inf)


class Windows(AttentionLayer, ABC):
    """Attention inside windows, B H W D -> B H W D; a subclass says by which queries, keys, values and bias.

    Args: width: D. heads: h, which must divide D. window: rows and columns of a window in training. shifted: whether
    windows shift by half where the grid holds more than one.
    """

    qkv_bias: ClassVar[bool] = True  # of the linear map to queries, keys and values

    def __init__(self, width: int, heads: int, window: Grid, shifted: bool) -> None:
        super().__init__()
        self.heads, self.head_width, self.window, self.shifted = heads, width // heads, window, shifted
        self.qkv = Projection(width, 3 * width, bias=self.qkv_bias)
        self.out = nn.Linear(width, width)
        self._masks: dict[tuple[object, ...], Tensor] = {}

    @abstractmethod
    def project(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled queries, keys and values of B windows n D, each B windows h n d."""

    @abstractmethod
    def bias(self, target: Grid, window: Grid) -> Tensor | None:
        """What is added to the logits of a window, h n n, or None; `target` is the window before the grid cuts it."""

    def split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values next to each other, B windows n 3D -> three of B windows h n d."""
        batch, count, size = qkv.shape[:3]
        parted = qkv.view(batch, count, size, 3, self.heads, self.head_width)
        return parted.permute(3, 0, 1, 4, 2, 5).unbind(0)

    def mask(self, geometry: tuple[Grid, Grid, Grid, Grid], device: torch.device, dtype: torch.dtype) -> Tensor:
        """The region mask of a geometry, the arguments of `region_mask`: windows n n.

        It is made once for a device and type, and kept.
        """
        key = (geometry, device, dtype)
        kept = self._masks.get(key)
        if kept is None and torch.compiler.is_compiling():
            return region_mask(*geometry).to(device=device, dtype=dtype)
        if kept is None:
            with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
                kept = region_mask(*geometry).to(device=device, dtype=dtype)
            self._masks[key] = kept
        return kept

    def forward(self, x: Tensor, target: Grid, layer: int, parts: Parts | None) -> Tensor:
        """A map B H W D -> B H W D; `parts` gets `attention.layer`, B windows h n n.

        Args: target: rows and columns of a window before it is cut to the grid.
        """
        height, width = x.shape[1:3]
        window = min(target[0], height), min(target[1], width)
        down, across = (m // 2 if self.shifted and m < n else 0 for m, n in zip(window, (height, width), strict=True))
        shift = down, across
        bottom, right = -height % window[0], -width % window[1]
        padded = height + bottom, width + right
        if bottom or right:
            x = nn.functional.pad(x, (0, 0, 0, right, 0, bottom))
        if any(shift):
            x = torch.roll(x, (-down, -across), dims=(1, 2))
        windows = to_windows(x, window)  # B windows n D
        queries, keys, values = self.project(windows)  # B windows h n d
        bias = self.bias(target, window)  # h n n
        mask = None
        if any(shift) or bottom or right:
            geometry = (height, width), padded, window, shift
            dtype = (queries if bias is None else bias).dtype
            mask = self.mask(geometry, x.device, dtype)[:, None]  # windows 1 n n
        mixed, probabilities = attend(queries, keys, values, bias, self.fused and parts is None, mask=mask)
        if parts is not None and probabilities is not None:
            parts[f"attention.{layer}"] = probabilities
        x = from_windows(self.out(mixed.transpose(2, 3).reshape(windows.shape)), window, *padded)
        if any(shift):
            x = torch.roll(x, shift, dims=(1, 2))
        return x[:, :height, :width] if bottom or right else x


class WindowAttention(Windows):
    """Scaled dot products with a learned bias per offset (Liu et al., 2021, eq. 4): B H W D -> B H W D.

    The biases are an offset image of h 2m-1 2n-1. Arguments are those of `Windows`.
    """

    def __init__(self, width: int, heads: int, window: Grid, shifted: bool) -> None:
        super().__init__(width, heads, window, shifted)
        self.bias_table = nn.Parameter(torch.empty(heads, 2 * window[0] - 1, 2 * window[1] - 1))

    def initial(self) -> Mapping[str, Draw]:
        """`bias_table`, h 2m-1 2n-1: normal with std 0.02."""
        return {"bias_table": normal(0.02)}

    def carried(self, name: str, table: Tensor) -> Tensor | None:
        """The offset image of a network whose windows another training grid clipped, at this window: h 2m-1 2n-1."""
        return resize_offsets(table, self.window) if name == "bias_table" else None

    def project(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, scaled by 1 / sqrt(d), keys and values of B windows n D, each B windows h n d."""
        queries, keys, values = self.split(self.qkv(windows))
        return queries * self.head_width**-0.5, keys, values

    def bias(self, target: Grid, window: Grid) -> Tensor | None:
        """From the trained offset image, resized when the target window differs: h n n."""
        table: Tensor = self.bias_table if target == self.window else resize_offsets(self.bias_table, target)
        return by_pair(table, window)


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): B H W D -> B H W D (Liu et al., 2021, eq. 3).

    Args: mlp_ratio: hidden units of the MLP per channel. drop_path: rate at which a branch is dropped in training. The
    others are those of `Windows`.
    """

    attention_type: ClassVar[type[Windows]] = WindowAttention
    norm_type: ClassVar[type[nn.LayerNorm]] = nn.LayerNorm

    def __init__(self, width: int, heads: int, window: Grid, shifted: bool, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = self.norm_type(width)
        self.attention = self.attention_type(width, heads, window, shifted)
        self.norm2 = self.norm_type(width)
        self.mlp = MLP(width, round(mlp_ratio * width))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor, target: Grid, layer: int, parts: Parts | None) -> Tensor:
        """A map B H W D -> B H W D; the arguments are those of `Windows.forward`."""
        x = x + self.drop(self.attention(self.norm1(x), target, layer, parts))
        return x + self.drop(self.mlp(self.norm2(x)))


def neighbours(x: Tensor) -> Tensor:
    """Concatenate 2 x 2 tokens, column by column: B H W D -> B H/2 W/2 4D (odd sides filled with 0)."""
    height, width = x.shape[1:3]
    if height % 2 or width % 2:
        x = nn.functional.pad(x, (0, 0, 0, width % 2, 0, height % 2))
    return torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)


class PatchMerging(nn.Module):
    """2 x 2 neighbours, norm, linear map 4 D -> 2 D: B H W D -> B H/2 W/2 2D, rounded up. Args: width: D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A map B H W D -> B H/2 W/2 2D, rounded up."""
        return self.reduce(self.norm(neighbours(x)))


class Swin(Network):
    """Swin transformer (Liu et al., 2021): images B C H W -> logits B K.

    Args:
        width: D of the first stage, doubled at each further one. stages: blocks per stage. heads: of the first stage,
        doubled likewise. patch_size, window: pixels and tokens. The window of a stage is at most its training grid.
        mlp_ratio: hidden units of an MLP per channel. drop_path: rate at which the last block's branches are dropped.

    `carry("keep_window")`, the default, keeps windows at their trained size on any grid; `carry("grow_window")` scales
    them with the grid and resizes their offset images (bicubic). Raises ModelError for images that the patch does not
    divide.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("bias_table",)
    schemes: ClassVar[Mapping[str, Scheme]] = {"library": SWIN, "literature": SWIN}
    block_type: ClassVar[type[SwinBlock]] = SwinBlock
    merging_type: ClassVar[type[nn.Module]] = PatchMerging

    choices: ClassVar[Choices] = {}

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        stages: tuple[int, ...],
        heads: int,
        patch_size: int,
        window: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.embed = PatchEmbedding(in_channels, width, patch_size)
        self.embed_norm = nn.LayerNorm(width)
        self.trained = self.stage_grids(image_size, image_size, len(stages))
        self.windows = [(min(window, rows), min(window, columns)) for rows, columns in self.trained]
        self.way = WAYS[0]
        rates = iter(drop_path_rates(drop_path, sum(stages)))
        self.merges, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, blocks in enumerate(stages):
            size, number, window_size = width * 2**stage, heads * 2**stage, self.windows[stage]
            self.merges.append(self.merging_type(size // 2) if stage else nn.Identity())
            self.stages.append(
                nn.ModuleList(
                    self.block_type(size, number, window_size, bool(block % 2), mlp_ratio, next(rates))
                    for block in range(blocks)
                )
            )
        self.norm = nn.LayerNorm(size)
        self.head = Head(size, num_classes)

    def stage_grids(self, height: int, width: int, stages: int) -> list[Grid]:
        """Rows and columns of tokens in every stage, halved from one to the next, rounding up.

        Raises ModelError where the patch does not divide the image.
        """
        grids = [self.embed.grid(height, width)]
        while len(grids) < stages:
            rows, columns = grids[-1]
            grids.append(((rows + 1) // 2, (columns + 1) // 2))
        return grids

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of tokens in the last stage. Raises ModelError where the patch does not divide the image."""
        return self.stage_grids(height, width, len(self.stages))[-1]

    def part_of(self, name: str) -> str:
        """The offset images count as position."""
        return "position" if name.endswith("bias_table") else super().part_of(name)

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how windows meet another grid.

        Raises ModelError for a way or a choice that the network does not have.
        """
        check_way(type(self).__name__, WAYS, self.choices, way, choices)
        self.way = way

    def target_window(self, stage: int, grid: Grid) -> Grid:
        """Rows and columns of the window of a stage on a grid, before it is cut to the grid."""
        rows, columns = self.windows[stage]
        if self.way == "keep_window":
            return rows, columns
        trained = self.trained[stage]
        return max(1, round(rows * grid[0] / trained[0])), max(1, round(columns * grid[1] / trained[1]))

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K.

        `parts` gets `embedding` and `block.i`, B N D; `stage.i`, B D H W; `attention.i`, B windows h n n; `pooled`, B
        D.
        """
        self.embed.grid(*images.shape[-2:])  # refuses what the patch does not divide
        x = self.embed_norm(self.embed(images).permute(0, 2, 3, 1))  # B H W D
        if parts is not None:
            parts["embedding"] = x.flatten(1, 2)
        layer = 0
        for stage, (merge, blocks) in enumerate(zip(self.merges, self.stages, strict=True)):
            x = merge(x)
            target = self.target_window(stage, (x.shape[1], x.shape[2]))
            for block in blocks:  # type: ignore[attr-defined]  # a ModuleList
                x = block(x, target, layer, parts)
                if parts is not None:
                    parts[f"block.{layer}"] = x.flatten(1, 2)
                layer += 1
            if parts is not None:
                parts[f"stage.{stage}"] = x.permute(0, 3, 1, 2)
        pooled = self.norm(x).mean(dim=(1, 2))  # B D
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def token_count(self, height: int, width: int) -> int:
        """Tokens of the first stage."""
        rows, columns = self.embed.grid(height, width)
        return rows * columns

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """The sides of the windows in tokens, stage by stage."""
        grids = self.stage_grids(height, width, len(self.stages))
        cut = [
            (min(a, b), min(c, d))
            for (a, c), (b, d) in zip((self.target_window(s, g) for s, g in enumerate(grids)), grids, strict=True)
        ]
        return {"windows": " ".join(f"{m}x{n}" for m, n in cut)}
