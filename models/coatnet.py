"""CoAtNet (Dai et al., 2021): stages of inverted bottlenecks, then stages of attention with a bias per offset.

Shapes: B images, C channels, H x W pixels or places, N = rows x columns tokens of width D, h heads of width d.

Below, locality, weight sharing and equivariance; above, global reach, dependence on content, and the offsets' bias as
the only position: that of `bias_2d` (`models.positions.biases`), carried to other grids as there. A stage that halves
the map pools it on both ways, before the attention and on the shortcut. Any image size will do: a stride of 2 rounds
up, and the last place of an odd side is pooled alone. At the training resolution it equals timm's `MaxxVit` in the
configuration `coatnet_0` (read by a linear map, without a hidden layer), weight for weight.
Initial weights are timm's, as the authors published no code: convolutions by He's rule and the fan out, attention by
Glorot's, the classifier as torch makes it; the offsets' biases start at 0, timm's with std 0.02.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from models.grids import Grid, halvings
from models.initial import TIMM_COATNET, Draw, Scheme, fans
from models.network import AttentionLayer, DropPath, Head, Network, Parts, as_map, as_tokens, attend, drop_path_rates
from models.positions.biases import Bias2d
from models.resnet import ChannelNorm, Norm, norm_layer
from models.vit import MLP, Projection


def pool(x: Tensor, stride: int) -> Tensor:
    """Means of 2 x 2 places where the stride is 2: B C H W -> B C H/2 W/2, rounded up."""
    return x if stride == 1 else nn.functional.avg_pool2d(x, 2, ceil_mode=True)


class PointConv(nn.Conv2d):
    """A 1x1 convolution between maps of attention, a linear map that starts as one: B C H W -> B C' H W."""

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How its kernel, C' C 1 1, and its bias start: by the scheme's rule for linear maps."""
        return scheme.linear(*fans(self))


class Shortcut(nn.Module):
    """Pooling, then a 1x1 convolution where the channels change: B C H W -> B C' H/s W/s.

    Args: inputs: C. outputs: C'. stride: s, 1 or 2. conv: class of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, conv: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.stride = stride
        self.expand = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C' H/s W/s."""
        return self.expand(pool(x, self.stride))


class SqueezeExcite(nn.Module):
    """x * sigmoid(up(silu(down(mean of x)))), one factor per channel: B C H W -> B C H W.

    Squeeze and excitation (Hu et al., 2018, eqs. 2 to 4), here with SiLU. Args: reduced: channels between the two maps.
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, reduced, 1)
        self.up = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C H W."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * self.up(nn.functional.silu(self.down(mean))).sigmoid()


class MBConv(nn.Module):
    """shortcut(x) + the inverted bottleneck of norm(x): B C H W -> B C' H/s W/s (Sandler et al., 2018, pre-norm).

    1x1 to `ratio` times the outputs, 3x3 depthwise with the stride, squeeze and excitation to a quarter of the outputs,
    1x1 back; norm and GELU after the first two.
    Args: inputs: C. outputs: C'. stride: s, 1 or 2. drop_path: rate at which the bottleneck is dropped in training.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, ratio: float, norm: Norm, drop_path: float) -> None:
        super().__init__()
        hidden = round(ratio * outputs)
        self.shortcut = Shortcut(inputs, outputs, stride)
        self.norm = norm(inputs)
        self.expand, self.norm1 = nn.Conv2d(inputs, hidden, 1, bias=False), norm(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.norm2 = norm(hidden)
        self.excite = SqueezeExcite(hidden, max(1, outputs // 4))
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C' H/s W/s."""
        y = nn.functional.gelu(self.norm1(self.expand(self.norm(x))))
        y = nn.functional.gelu(self.norm2(self.depthwise(y)))
        return self.shortcut(x) + self.drop(self.project(self.excite(y)))


class RelativeAttention(AttentionLayer):
    """softmax(q k' / sqrt(d) + bias of the offset) v over the whole map: B N D -> B N D'.

    Dai et al. (2021), section 2.1, the form with the bias before the softmax. Args: inputs: D. outputs: D'. head_width:
    d. trained: rows and columns of the map in training.
    """

    def __init__(self, inputs: int, outputs: int, head_width: int, trained: Grid) -> None:
        super().__init__()
        self.heads, self.head_width = outputs // head_width, head_width
        self.qkv = Projection(inputs, 3 * outputs)
        self.out = nn.Linear(outputs, outputs)
        self.position = Bias2d(grid=trained, width=outputs, depth=1, heads=self.heads, prefix=0)

    def forward(self, tokens: Tensor, grid: Grid, layer: int, parts: Parts | None) -> Tensor:
        """Tokens B N D on a grid of N places -> B N D'; `parts` gets `attention.layer`, B h N N."""
        batch, count = tokens.shape[:2]
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        queries, keys, values = qkv.unbind(0)  # B h N d
        queries = queries * self.head_width**-0.5
        bias = self.position.bias(queries, grid, 0)  # h N N
        mixed, probabilities = attend(queries, keys, values, bias, self.fused and parts is None)
        if parts is not None and probabilities is not None:
            parts[f"attention.{layer}"] = probabilities
        return self.out(mixed.transpose(1, 2).flatten(2))


class AttentionBlock(nn.Module):
    """shortcut(x) + attention(pool(norm(x))), then x + mlp(norm(x)): B C H W -> B C' H/s W/s.

    Args: inputs: C. outputs: C'. stride: s, 1 or 2. ratio: hidden units of the MLP per channel. head_width: d. trained:
    rows and columns of the map in training, after the stride. drop_path: rate at which a branch is dropped in training.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, ratio: float, head_width: int, trained: Grid, drop_path: float
    ) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut = Shortcut(inputs, outputs, stride, PointConv)
        self.norm1 = ChannelNorm(inputs, eps=1e-6)
        self.attention = RelativeAttention(inputs, outputs, head_width, trained)
        self.norm2 = nn.LayerNorm(outputs, eps=1e-6)
        self.mlp = MLP(outputs, round(ratio * outputs))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor, layer: int, parts: Parts | None) -> Tensor:
        """A map B C H W -> B C' H/s W/s; `parts` gets `attention.layer`, B h N N, and `block.layer`, B N C'."""
        y = pool(self.norm1(x), self.stride)
        grid = y.shape[2], y.shape[3]
        tokens = as_tokens(self.shortcut(x))  # B N D
        tokens = tokens + self.drop(self.attention(as_tokens(y), grid, layer, parts))
        tokens = tokens + self.drop(self.mlp(self.norm2(tokens)))
        if parts is not None:
            parts[f"block.{layer}"] = tokens
        return as_map(tokens, grid)


class CoAtNet(Network):
    """CoAtNet (Dai et al., 2021): images B C H W of any size -> logits B K.

    Args:
        width: channels of the stem and the first stage, doubled at each further one. stages: blocks per stage.
        strides: of the stem and of each stage. conv_stages: how many stages, from the first, are of MBConv; the others
        attend, with heads of `head_width` channels. mlp_ratio: hidden units per channel, of both kinds of block.
        norm: of stem and MBConv, batch, group or layer (blocks of attention have layer norm). drop_path: rate at which
        the last block's branches are dropped in training.

    `carry("interpolate")`, the default, resizes the offsets' image (bicubic); `carry("clip")` clips the offsets to it.
    """

    undecayed = ("position.table",)
    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TIMM_COATNET, "literature": TIMM_COATNET}

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        stages: tuple[int, ...],
        strides: tuple[int, ...],
        head_width: int,
        conv_stages: int = 2,
        mlp_ratio: float = 4.0,
        norm: str = "batch",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.strides, self.conv_stages = in_channels, strides, conv_stages
        make_norm = norm_layer(norm)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, strides[0], 1, bias=False),
            make_norm(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
        )
        self.stages, inputs = nn.ModuleList(), width
        rates = iter(drop_path_rates(drop_path, sum(stages)))
        trained = self.stage_grids(image_size, image_size)
        for stage, blocks in enumerate(stages):
            outputs = width * 2**stage
            self.stages.append(nn.ModuleList())
            for block in range(blocks):
                stride, rate = (1 if block else strides[1 + stage]), next(rates)
                self.stages[-1].append(  # type: ignore[operator]  # a ModuleList
                    MBConv(inputs, outputs, stride, mlp_ratio, make_norm, rate)
                    if stage < conv_stages
                    else AttentionBlock(inputs, outputs, stride, mlp_ratio, head_width, trained[stage], rate)
                )
                inputs = outputs
        self.norm = ChannelNorm(inputs, eps=1e-6)
        self.head = Head(inputs, num_classes)

    def stage_grids(self, height: int, width: int) -> list[Grid]:
        """Rows and columns of the map after every stage, for an image of height x width pixels."""
        times = [self.strides[: stage + 2].count(2) for stage in range(len(self.strides) - 1)]
        return [(halvings(height, n), halvings(width, n)) for n in times]

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last map."""
        return self.stage_grids(height, width)[-1]

    def part_of(self, name: str) -> str:
        """The biases of offsets count as position."""
        return "position" if ".position." in name else super().part_of(name)

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how the biases of offsets meet another grid.

        Raises ModelError for a way other than `interpolate` and `clip`.
        """
        for module in self.modules():
            if isinstance(module, Bias2d):
                module.carry(way, **choices)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K.

        `parts` gets `embedding` and `stage.i`, B C H W; `block.i`, B N D, and `attention.i`, B h N N, of the attention
        blocks; `pooled`, B C.
        """
        x = self.stem(images)  # B C H W
        if parts is not None:
            parts["embedding"] = x
        layer = 0
        for stage, blocks in enumerate(self.stages):
            for block in blocks:  # type: ignore[attr-defined]  # a ModuleList
                if isinstance(block, AttentionBlock):
                    x = block(x, layer, parts)
                    layer += 1
                else:
                    x = block(x)
            if parts is not None:
                parts[f"stage.{stage}"] = x
        pooled = self.norm(x).mean(dim=(2, 3))  # B C
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def token_count(self, height: int, width: int) -> int:
        """Places of the first map that attends."""
        rows, columns = self.stage_grids(height, width)[self.conv_stages]
        return rows * columns

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """The grids that attend, each as rows x columns, and the total stride in pixels."""
        grids = self.stage_grids(height, width)[self.conv_stages :]
        attention = " ".join(f"{rows}x{columns}" for rows, columns in grids)
        return {"window": "global", "attention_grids": attention, "total_stride": 2 ** self.strides.count(2)}
