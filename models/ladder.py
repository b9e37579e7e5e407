"""The ladder: one transformer block in which the mixer of tokens is an option, to change one assumption at a time.

Shapes: B images, C channels, H x W pixels, N = rows x columns patch tokens of width D, K classes.

Patch embedding, position, norms, width, depth, pooling and head are those of `models.vit`; `models.mixers` has the
mixers, and what each assumes. At the same seed all weights outside mixers and MLPs are the ViT's, bit for bit,
whatever the mixer. Mixers differ a little in parameters, so the hidden units of the MLP make up for it
(`models.catalogue.sizes`): mixers that come to the same number of hidden units have the same MLPs, bit for bit, too.

Positions are those that are added to tokens. With `mixer = "attention"` this is the ViT, which takes all encodings.
Initial weights are those of `models.vit`; what only mixers have is stated there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

from torch import Tensor, nn

from models.grids import Grid
from models.initial import JAX_VIT, TIMM_VIT, Scheme
from models.network import DropPath, Head, Network, Parts, as_tokens, drop_path_rates, resize_square
from models.positions.base import Position, PositionFactory
from models.vit import MLP, PatchEmbedding


class Mixer(nn.Module, ABC):
    """What tells a token of the others: B N D -> B N D."""

    one_grid: ClassVar[bool] = False  # True: it works on the grid that it was made for alone

    @abstractmethod
    def forward(self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Normalised tokens B N D on the grid -> what is added to them, B N D.

        Args: position: the network's encoding, which has acted on the tokens and keeps constants of a grid. block: the
        block's number. parts: gets `attention.block` from those that attend, when it is a dictionary.
        """

    @abstractmethod
    def details(self, grid: Grid, patch: int, depth: int) -> dict[str, int | str]:
        """How far a token sees on a grid: the receptive field after `depth` blocks in pixels, or the window in tokens.

        Args: patch: pixels along the side of a patch.
        """


class MixerFactory(Protocol):
    """Makes the mixer of a block: a mixer's class, or a partial of it with the mixer's own options.

    Args: width: D. grid: rows and columns of the tokens of training images. block: the block's number.
    """

    def __call__(self, *, width: int, grid: Grid, block: int) -> Mixer: ...


class LadderBlock(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)): B N D -> B N D.

    Args: width: D. mixer: of tokens. mlp_hidden: hidden units of the MLP. drop_path: rate at which a branch is dropped
    in training.
    """

    def __init__(self, width: int, mixer: Mixer, mlp_hidden: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, mlp_hidden)
        self.drop = DropPath(drop_path)

    def forward(self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on the grid -> B N D; the arguments are those of `Mixer.forward`."""
        tokens = tokens + self.drop(self.mixer(self.norm1(tokens), position, grid, block, parts))
        return tokens + self.drop(self.mlp(self.norm2(tokens)))


class Ladder(Network):
    """A ViT in which any mixer stands where attention does: images B C H W -> logits B K.

    Args:
        image_size: training resolution in pixels; it sets the grid for which positions and mixers are made.
        in_channels: C. num_classes: K. width: D. depth: blocks. patch_size: pixels along the side of a patch.
        mixer: a mixer's class, or a partial of it with the mixer's own options. position: likewise, an encoding's.
        mlp_hidden: hidden units of an MLP. drop_path: rate of the last block.

    Images of another size are resized to the training resolution where the mixer knows one grid only. Raises ModelError
    for images that the patches do not divide.
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TIMM_VIT, "literature": JAX_VIT}

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        depth: int,
        patch_size: int,
        mixer: MixerFactory,
        position: PositionFactory,
        mlp_hidden: int,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.image_size = in_channels, image_size
        self.embed = PatchEmbedding(in_channels, width, patch_size)
        grid = self.embed.grid(image_size, image_size)
        self.position = position(grid=grid, width=width, depth=depth, heads=1, prefix=0)
        mixers = [mixer(width=width, grid=grid, block=block) for block in range(depth)]
        self.resizes_input = mixers[0].one_grid
        self.blocks = nn.ModuleList(
            LadderBlock(width, one, mlp_hidden, rate)
            for one, rate in zip(mixers, drop_path_rates(drop_path, depth), strict=True)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = Head(width, num_classes)

    def checked(self, images: Tensor) -> Tensor:
        """Images B C H W, resized to the training resolution where the mixer knows one grid only.

        Raises ModelError as others do.
        """
        images = super().checked(images)
        return resize_square(images, self.image_size) if self.resizes_input else images

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the patch tokens. Raises ModelError where the patch does not divide the image."""
        return self.embed.grid(*((self.image_size,) * 2 if self.resizes_input else (height, width)))

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K.

        `parts` gets `embedding` and `block.i`, B N D; `pooled`, B D; and `attention.i` where the mixer attends.
        """
        grid = self.grid(*images.shape[-2:])
        tokens = as_tokens(self.embed(images)).to(self.norm.weight.dtype)  # B N D
        tokens = self.position.add(tokens, grid)
        if parts is not None:
            parts["embedding"] = tokens
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, self.position, grid, index, parts)
            tokens = self.position.after_block(tokens, grid, index)
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

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """How far a token sees, as the mixer says it; an encoding that is a convolution widens it."""
        mixer: Mixer = self.blocks[0].mixer  # type: ignore[assignment]  # a ModuleList
        found = dict(mixer.details(self.grid(height, width), self.embed.patch, len(self.blocks)))
        if "receptive_field" in found:
            found["receptive_field"] = int(found["receptive_field"]) + self.position.widens * self.embed.patch
        return found
