"""The ladder: isotropic networks that are the ViT but for one thing, the way in which tokens are mixed.

Shapes: B images, N = H x W patch tokens of width D; E = 2 D channels inside a mixer; k x k kernels; h heads.

Same patch embedding, position, width, depth, MLPs and pooling as `models.vit`; at the same seed the weights outside
the mixers are the ViT's, bit for bit. Where attention has four maps D -> D, the mixers without attention have two maps
D -> E -> D with a GELU behind the first (the separable form of "MetaFormer baselines", Yu et al., 2024), and between
them one operation across tokens, so that parameters match too:

| network         | local | shared over places | equivariant to shifts | global reach | depends on content |
|-----------------|-------|--------------------|-----------------------|--------------|--------------------|
| `iso_pool`      | yes   | nothing to share   | yes                   | no           | no                 |
| `iso_conv`      | yes   | yes                | yes                   | no           | no                 |
| `iso_local`     | yes   | no                 | no                    | no           | no                 |
| `iso_window`    | yes   | yes                | by whole windows      | no           | yes                |
| `iso_mlp`       | no    | no                 | no                    | yes          | no                 |
| `iso_attention` | no    | yes                | yes                   | yes          | yes                |

`iso_attention` is the ViT itself; the ViT with `attention_window = r` is local, shared, equivariant and depends on
content. Equivariance is that of the mixers: an absolute position added to the tokens breaks it (`position = "none"`
does not), and so do borders, unless `padding = "circular"` joins opposite ones: then a cyclic shift by whole patches
leaves the logits of `iso_pool` and `iso_conv` as they are. `iso_local` has that padding as their partner, not for
equivariance, which it has with none: a shift hands every neighbourhood to other kernels. "Depends on content": how
tokens are mixed is decided by what they hold.

Initial weights are those of `models.vit`; kernels of `iso_conv` and `iso_local` start with variance 1 / k^2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid, patch_grid
from models.initial import JAX_VIT, TIMM_VIT, Draw, Scheme, normal
from models.network import DropPath, Head, Network, Parts, as_map, as_tokens, drop_path_rates, resize_square
from models.positions.base import PositionFactory
from models.resnet import Padding, wrap
from models.swin import WindowAttention
from models.vit import MLP, PatchEmbedding


def bordered(feature_map: Tensor, kernel: int, padding: Padding) -> tuple[Tensor, int]:
    """A map B E H W, and how many zeros are still to be added at each border for a kernel k x k.

    Zeros: the map as it is, and k // 2. Circular: the map B E H+2r W+2r with its border of r = k // 2, and 0.
    """
    return (feature_map, kernel // 2) if padding == "zeros" else (wrap(feature_map, kernel // 2), 0)


class Separable(nn.Module):
    """down(across(gelu(up(x)))): B N D -> B N D, with `across` mixing the tokens of every channel by itself.

    The separable form of Yu et al. (2024). Args: width: D. across: maps B N E -> B N E on a grid, E = 2 D.
    """

    def __init__(self, width: int, across: nn.Module) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.across = across
        self.down = nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on the grid -> B N D; block and parts are not used."""
        return self.down(self.across(nn.functional.gelu(self.up(tokens)), grid))


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


class TokenMLP(nn.Module):
    """One MLP across the tokens of every channel: B N E -> B N E on the one grid it was made for.

    Args: places: N. hidden: units of the MLP.
    """

    def __init__(self, places: int, hidden: int) -> None:
        super().__init__()
        self.mlp = MLP(places, hidden)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B N E on the grid -> B N E."""
        return self.mlp(tokens.transpose(1, 2)).transpose(1, 2)


class PlainWindows(WindowAttention):
    """Swin's attention in (shifted) windows without its bias: the ViT's attention, cut into windows. B N D -> B N D.

    Arguments are those of `models.swin.Windows`.
    """

    def __init__(self, width: int, heads: int, window: Grid, shifted: bool) -> None:
        super().__init__(width, heads, window, shifted)
        self.register_parameter("bias_table", None)

    def bias(self, target: Grid, window: Grid) -> None:
        """None: nothing is added but what keeps windows apart."""

    def forward(self, tokens: Tensor, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on the grid -> B N D; `parts` gets `attention.block`, B windows h n n."""
        return super().forward(tokens.unflatten(1, grid), self.window, block, parts).flatten(1, 2)


class IsotropicBlock(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)): B N D -> B N D.

    Args: width: D. mixer: takes tokens, grid, block and parts. mlp_ratio: hidden units of the MLP per channel.
    drop_path: rate at which a branch is dropped in training.
    """

    def __init__(self, width: int, mixer: nn.Module, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, round(mlp_ratio * width))
        self.drop = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on the grid -> B N D."""
        tokens = tokens + self.drop(self.mixer(self.norm1(tokens), grid, block, parts))
        return tokens + self.drop(self.mlp(self.norm2(tokens)))


class Isotropic(Network):
    """A ViT whose mixers are those of a subclass: images B C H W -> logits B K.

    Args: mixers: one for each block. The others are those of `models.vit.ViT`. Raises ModelError for images that the
    patches do not divide, but where images are resized first.
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TIMM_VIT, "literature": JAX_VIT}

    def __init__(
        self,
        mixers: Sequence[nn.Module],
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        patch_size: int,
        position: PositionFactory,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        depth = len(mixers)
        self.in_channels, self.image_size = in_channels, image_size
        self.embed = PatchEmbedding(in_channels, width, patch_size)
        grid = self.embed.grid(image_size, image_size)
        self.position = position(grid=grid, width=width, depth=depth, heads=1, prefix=0)
        self.blocks = nn.ModuleList(
            IsotropicBlock(width, mixer, mlp_ratio, rate)
            for mixer, rate in zip(mixers, drop_path_rates(drop_path, depth), strict=True)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = Head(width, num_classes)

    def checked(self, images: Tensor) -> Tensor:
        """Images B C H W, resized to the training resolution where the network has one grid only.

        Raises ModelError as others do.
        """
        images = super().checked(images)
        return resize_square(images, self.image_size) if self.resizes_input else images

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the patch tokens. Raises ModelError where the patch does not divide the image."""
        return self.embed.grid(*((self.image_size,) * 2 if self.resizes_input else (height, width)))

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` gets `embedding` and `block.i`, B N D, and `pooled`, B D."""
        grid = self.grid(*images.shape[-2:])
        tokens = as_tokens(self.embed(images)).to(self.norm.weight.dtype)  # B N D
        tokens = self.position.add(tokens, grid)
        if parts is not None:
            parts["embedding"] = tokens
        for index, block in enumerate(self.blocks):
            tokens = self.position.after_block(block(tokens, grid, index, parts), grid, index)
            if parts is not None:
                parts[f"block.{index}"] = tokens
        pooled = self.norm(tokens).mean(dim=1)  # B D
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how the encoding meets another grid.

        Raises ModelError for a way that it does not have, or where there is one grid.
        """
        if self.resizes_input:
            return super().carry(way, **choices)
        self.position.carry(way, **choices)


class IsoPool(Isotropic):
    """`iso_pool`: the mean over k x k tokens. Local and equivariant; nothing spatial is learned (PoolFormer's idea).

    Args: kernel: k. padding: zeros or circular. The others are those of `models.vit.ViT`.
    """

    def __init__(self, *, width: int, depth: int, kernel: int, padding: Padding = "zeros", **rest: Any) -> None:
        super().__init__([Separable(width, Pool(kernel, padding)) for _ in range(depth)], width=width, **rest)
        self.kernel = kernel

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Receptive field of a token after the last block, in pixels."""
        return {"receptive_field": receptive_field(self, self.kernel)}


class IsoConv(Isotropic):
    """`iso_conv`: a k x k convolution. Local, shared, equivariant; what is mixed does not depend on the content.

    Args: kernel: k. kernels: how many for a block's E channels; 0: one for each (depthwise). padding: zeros or
    circular. The others are those of `models.vit.ViT`.
    """

    def __init__(
        self, *, width: int, depth: int, kernel: int, kernels: int = 0, padding: Padding = "zeros", **rest: Any
    ) -> None:
        mixers = [Separable(width, Conv(2 * width, kernel, kernels or 2 * width, padding)) for _ in range(depth)]
        super().__init__(mixers, width=width, **rest)
        self.kernel = kernel

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Receptive field of a token after the last block, in pixels."""
        return {"receptive_field": receptive_field(self, self.kernel)}


class IsoLocal(Isotropic):
    """`iso_local`: a locally connected layer of k x k kernels, one for every place.

    Local like `iso_conv` with as many kernels, but neither shared nor equivariant, and bound to one grid, so images are
    resized. By default a place has a kernel for each of a few groups of channels, as many as the ViT has heads: one for
    each channel would multiply the network's parameters.
    Args: kernel: k. kernels: groups of channels. padding: zeros or circular. The others are those of `models.vit.ViT`.
    """

    resizes_input: ClassVar[bool] = True

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        depth: int,
        patch_size: int,
        kernel: int,
        kernels: int,
        padding: Padding = "zeros",
        **rest: Any,
    ) -> None:
        rows, columns = patch_grid(image_size, image_size, patch_size)
        mixers = [Separable(width, Local(kernel, kernels, rows * columns, padding)) for _ in range(depth)]
        super().__init__(mixers, image_size=image_size, width=width, patch_size=patch_size, **rest)
        self.kernel = kernel

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Receptive field of a token after the last block, in pixels."""
        return {"receptive_field": receptive_field(self, self.kernel)}


class IsoWindow(Isotropic):
    """`iso_window`: the ViT's attention inside windows, shifted by half in every second block.

    Local, shared, dependent on content, equivariant to shifts by whole windows; Swin without merging and without its
    position bias. Args: window: tokens along the side of a window. The others are those of `models.vit.ViT`.
    """

    def __init__(
        self, *, image_size: int, width: int, depth: int, patch_size: int, heads: int, window: int, **rest: Any
    ) -> None:
        rows, columns = patch_grid(image_size, image_size, patch_size)
        size = min(window, rows), min(window, columns)
        mixers = [PlainWindows(width, heads, size, bool(block % 2)) for block in range(depth)]
        super().__init__(mixers, image_size=image_size, width=width, patch_size=patch_size, **rest)
        self.window = size

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """The sides of a window, in tokens, on the grid of the image."""
        rows, columns = self.grid(height, width)
        return {"windows": f"{min(self.window[0], rows)}x{min(self.window[1], columns)}"}


class IsoMLP(Isotropic):
    """`iso_mlp`: an MLP across tokens (the MLP-Mixer's idea, in this ladder's frame).

    Global, neither local, shared nor equivariant, the same for every content; bound to one grid, so images are resized.
    Args: token_hidden: hidden units of the MLP across tokens. The others are those of `models.vit.ViT`.
    """

    resizes_input: ClassVar[bool] = True

    def __init__(
        self, *, image_size: int, width: int, depth: int, patch_size: int, token_hidden: int, **rest: Any
    ) -> None:
        rows, columns = patch_grid(image_size, image_size, patch_size)
        mixers = [Separable(width, TokenMLP(rows * columns, token_hidden)) for _ in range(depth)]
        super().__init__(mixers, image_size=image_size, width=width, patch_size=patch_size, **rest)

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Every token sees the whole image."""
        return {"window": "global"}


def receptive_field(network: Isotropic, kernel: int) -> int:
    """Side in pixels of the square that moves one token after the last block, far from the border."""
    return network.embed.patch * (1 + len(network.blocks) * (kernel - 1))
