"""The reference implementations: networks of timm, torchvision's blocks, and what authors describe, built as theirs.

Shapes: B images, C channels, H x W pixels, N tokens of width D, h heads, K classes. Each takes the dimensions that
`models.resolve_options` gives our network of the family, so that both have the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.options import Scalar, numbers

Dimensions = Mapping[str, Any]  # our network's options, with `image_size`, `in_channels` and `num_classes`


def doubled(dims: Dimensions, key: str) -> tuple[int, ...]:
    """A number for each stage: `key` for the first, twice as much for each next one."""
    return tuple(dims[key] * 2**stage for stage in range(len(numbers(dims["stages"]))))


def images_and_classes(dims: Dimensions, *, sized: bool = True) -> dict[str, Any]:
    """What every network of timm is told of its images and classes, in timm's words; `sized`: their side, too."""
    side = {"img_size": dims["image_size"]} if sized else {}
    return {**side, "in_chans": dims["in_channels"], "num_classes": dims["num_classes"]}


def plain_resnet(dims: Dimensions) -> nn.Module:
    """A CIFAR ResNet of torchvision's basic blocks, its layers as torch makes them."""
    from torchvision.models.resnet import BasicBlock

    width, inputs = int(dims["width"]), int(dims["width"])
    layers: list[nn.Module] = [nn.Conv2d(dims["in_channels"], width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
    layers.append(nn.ReLU(inplace=True))
    for stage, blocks in enumerate(numbers(dims["stages"])):
        outputs = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = None
            if stride != 1 or inputs != outputs:
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            layers.append(BasicBlock(inputs, outputs, stride, shortcut))
            inputs = outputs
    head = nn.Linear(inputs, dims["num_classes"])
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def torchvision_resnet(dims: Dimensions) -> nn.Module:
    """The same, its convolutions drawn as torchvision's `ResNet` draws them."""
    network = plain_resnet(dims)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def he_resnet(dims: Dimensions) -> nn.Module:
    """The same, drawn as He et al. (2015) have it: by the fan in, the classifier too, its biases 0."""
    network = plain_resnet(dims)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return network


def timm_vit(dims: Dimensions, **changes: Any) -> nn.Module:
    """timm's ViT: learned positions, mean of the normalised tokens."""
    from timm.models.vision_transformer import VisionTransformer

    network: nn.Module = VisionTransformer(
        **images_and_classes(dims),
        patch_size=dims["patch_size"],
        embed_dim=dims["width"],
        depth=dims["depth"],
        num_heads=dims["heads"],
        **{"class_token": False, "global_pool": "avg", "fc_norm": False, **changes},
    )
    return network


def jax_vit(dims: Dimensions, **changes: Any) -> nn.Module:
    """The same as the authors' code draws it: by timm's mode "jax", but queries, keys and values as the three maps that
    they are there."""
    network: Any = timm_vit(dims, weight_init="jax", **changes)
    for block in network.blocks:
        for part in block.attn.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(part)
    return network


def timm_swin(dims: Dimensions) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        **images_and_classes(dims),
        patch_size=dims["patch_size"],
        embed_dim=dims["width"],
        depths=numbers(dims["stages"]),
        num_heads=doubled(dims, "heads"),
        window_size=dims["window"],
        drop_path_rate=0.0,
    )


def timm_convnext(dims: Dimensions) -> nn.Module:
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(
        **images_and_classes(dims, sized=False),
        depths=numbers(dims["stages"]),
        dims=doubled(dims, "width"),
        patch_size=dims["patch_size"],
        kernel_sizes=dims["kernel"],
    )


def timm_mixer(dims: Dimensions) -> nn.Module:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(
        **images_and_classes(dims),
        patch_size=dims["patch_size"],
        embed_dim=dims["width"],
        num_blocks=dims["depth"],
        mlp_ratio=(dims["token_hidden"] / dims["width"], dims["mlp_ratio"]),
    )


def timm_convit(dims: Dimensions, **changes: Any) -> nn.Module:
    """As published: absolute positions are learned as well, and the maps to queries, keys and values have no biases."""
    from timm.models.convit import ConVit

    return ConVit(
        **images_and_classes(dims),
        patch_size=dims["patch_size"],
        embed_dim=dims["width"] // dims["heads"],
        depth=dims["depth"],
        num_heads=dims["heads"],
        local_up_to_layer=dims["local_blocks"],
        **changes,
    )


def timm_coatnet(dims: Dimensions) -> nn.Module:
    """timm's in the configuration `coatnet_0`, read by a linear map; it has a stride of 2 in stem and every stage."""
    from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitTransformerCfg

    cfg = MaxxVitCfg(
        embed_dim=doubled(dims, "width"),
        depths=numbers(dims["stages"]),
        stem_width=dims["width"],
        transformer_cfg=MaxxVitTransformerCfg(dim_head=dims["head_width"]),
    )
    return MaxxVit(cfg, **images_and_classes(dims))


class DescribedBlock(nn.Module):
    """A block of CCT (Hassani et al., 2021) as its authors wrote it: the residual stream itself is normalised between
    attention and MLP. B N D -> B N D.
    """

    def __init__(self, width: int, heads: int, hidden: int, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.queries_keys_values(self.before(x)).chunk(3, dim=2)
        )  # B h N d
        weights = (queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5).softmax(dim=3)
        weights = nn.functional.dropout(weights, self.attention_dropout, self.training)
        x = x + self.out((weights @ values).transpose(1, 2).flatten(2))
        x = self.between(x)
        return x + self.mlp(x)


class DescribedCCT(nn.Module):
    """The compact convolutional transformer as its authors describe it, with learned positions and their draws."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        width, inputs = int(dims["width"]), int(dims["in_channels"])
        layers: list[nn.Module] = []
        for number in range(dims["stem_convolutions"]):
            outputs = width if number == dims["stem_convolutions"] - 1 else int(dims["stem_width"])
            kernel, stride = dims["stem_kernel"], dims["stem_stride"]
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2, 1)]
            inputs = outputs
        self.tokeniser = nn.Sequential(*layers)
        side = self.tokeniser(torch.zeros(1, dims["in_channels"], dims["image_size"], dims["image_size"])).shape[2]
        self.positions = nn.Parameter(torch.empty(side**2, width))
        hidden = round(dims["mlp_ratio"] * width)
        self.blocks = nn.Sequential(
            *(DescribedBlock(width, dims["heads"], hidden, dims["attention_dropout"]) for _ in range(dims["depth"]))
        )
        self.norm = nn.LayerNorm(width)
        self.importance = nn.Linear(width, 1)
        self.classifier = nn.Linear(width, dims["num_classes"])
        nn.init.trunc_normal_(self.positions, std=0.2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.tokeniser(images).flatten(2).transpose(1, 2) + self.positions  # B N D
        tokens = self.norm(self.blocks(tokens))
        weights = self.importance(tokens).softmax(dim=1)  # B N 1
        return self.classifier((weights * tokens).sum(dim=1))  # B K


@dataclass(frozen=True)
class Pair:
    """A family beside its references, by name, the first of which decides; without one, only its ways to start are
    tried against each other. `options` are what ours is told beyond its
    size, `steps` how long all train, `pixels` the side of their images where the reference needs a certain one.
    """

    family: str
    references: Mapping[str, Callable[[Dimensions], nn.Module]] = field(default_factory=dict)
    steps: int = 400
    options: Mapping[str, Scalar] = field(default_factory=dict)
    pixels: int | None = None
    note: str = ""


PAIRS = {
    pair.family: pair
    for pair in (
        Pair("resnet", {"torchvision": torchvision_resnet, "He, fan in": he_resnet, "torch's layers": plain_resnet}),
        Pair("vit", {"timm": timm_vit, "timm, jax": jax_vit}, 800, {"position": "learned_1d"}),
        Pair(
            "convnext",
            {"timm": timm_convnext},
            options={"stages": "2-2-4-2", "width": 12, "patch_size": 1},
            note="four stages, as timm's has, on single pixels",
        ),
        Pair("swin", {"timm": timm_swin}),
        Pair("cct", {"authors' description": DescribedCCT}, options={"position": "learned_1d"}),
        Pair("convit", {"timm": timm_convit}, options={"class_token": True}, note="with a class token, as timm's"),
        Pair(
            "coatnet",
            {"timm": timm_coatnet},
            options={"strides": "2-2-2-2-2"},
            pixels=64,
            note="strides of 2 throughout, as timm's, on images enlarged to 64 px",
        ),
        Pair("mixer", {"timm": timm_mixer}),
        *(Pair(family) for family in ("conv_stem_vit", "resnet_vit", "conv_attention")),
        Pair("ladder", options={"mixer": "depthwise_conv"}),
    )
}
