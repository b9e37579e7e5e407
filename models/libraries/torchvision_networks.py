"""torchvision's classifiers under the contract: `torchvision:NAME`, as `torchvision.models.list_models()` has them."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlparse

import torch
import torchvision
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from models.grids import nearest_multiples, patch_grid
from models.libraries.adapter import Adapted
from models.libraries.weights_file import GET, misfit, offline, read_weights
from models.network import AttentionForm, AttentionLayer
from models.options import ModelError

AUXILIARY = ("aux1", "aux2", "AuxLogits")  # further classifiers of GoogLeNet and Inception, for training as published
CONTAINERS = ("features", "trunk_output", "blocks", "layers")  # where a network keeps its stages, if not at the top
PARTITIONED = 224  # pixels that MaxViT's four halvings, its stem and its partitions of seven divide
TABLE = "encoder.pos_embedding"


class ReadableAttention(AttentionLayer, nn.MultiheadAttention):
    """torch's attention, which hands out its probabilities (B h N N) with the mixed values in the explicit form."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **choices: Any) -> Any:  # type: ignore[override]
        """As torch's, on B N D; in the explicit form the probabilities, B h N N, come with the mixed values."""
        choices |= {"need_weights": not self.fused, "average_attn_weights": False}
        return super().forward(query, key, value, **choices)


class Torchvision(Adapted):
    """A classifier of torchvision.

    Other image sizes: any size; `rebuilt` for the ViTs: a copy for the size shares all weights, and its table of
    positions is made in every pass from this one by `interpolate_embeddings`; or fixed (MaxViT).
    Input channels other than three: without weights, the first convolution is replaced by one drawn normal with
    variance 1 / fan-in; with weights, it is adapted as timm does: summed for one, repeated and scaled for others.
    """

    origin: ClassVar[str] = "torchvision"

    @classmethod
    def names(cls) -> list[str]:
        """The names of torchvision's classifiers."""
        return list(torchvision.models.list_models(module=torchvision.models))

    @classmethod
    def tags(cls, name: str) -> list[str]:
        """The names of the weights that torchvision can download for a network."""
        return [weights.name for weights in torchvision.models.get_model_weights(name)]

    def build(self, image_size: int | None, weights: str) -> int:
        """Make the network for images of `image_size` pixels, or 224. Raises ModelError where it cannot be made."""
        with torch.device("meta"):
            probe = make(self.name)
        home = image_size or 224
        sized: dict[str, Any] = {}
        if isinstance(probe, MaxVit):
            self.mechanism, sized = "fixed", {"input_size": (home, home)}
            if home % PARTITIONED:
                near = nearest_multiples(home, PARTITIONED)
                raise ModelError(f"image {home} is not divisible by {PARTITIONED}, seven strides of 32: nearest {near}")
        if isinstance(probe, VisionTransformer):
            self.mechanism = "rebuilt"
            patch_grid(home, home, probe.patch_size)
        source, _, rest = weights.partition(":")
        try:
            if source == "none":
                own = {"image_size": home} if self.mechanism == "rebuilt" else {}
                self.net = make(self.name, num_classes=self.num_classes, **sized, **own)
            elif source == "library":
                self.net = self.fetched(rest or "DEFAULT", sized)
            else:
                self.net = self.from_file(Path(rest), probe, sized)
        except ModelError:
            raise
        except (AssertionError, ValueError) as error:
            said = str(error).partition("\n")[0]
            raise ModelError(f"image {home} x {home}: the network cannot be made for it ({said})") from error
        self.adapt_input(self.net, source != "none")
        if source != "none":
            self.adapt_head(self.net)
        if self.mechanism == "rebuilt" and self.net.image_size != home:
            self.note(f"positions interpolated from {self.net.image_size} to {home} pixels")
            with torch.no_grad():
                self.net.encoder.pos_embedding = nn.Parameter(positions_for(self.net, home))  # type: ignore[union-attr]
            self.resize(self.net, home, home)
        if getattr(self.net, "aux_logits", False):
            self.net.aux_logits = False  # type: ignore[assignment]
            for name in AUXILIARY:
                if hasattr(self.net, name):
                    setattr(self.net, name, None)
        for module in self.net.modules():
            if type(module) is nn.MultiheadAttention:
                module.__class__ = ReadableAttention  # the same parameters under the same names
        return home

    def fetched(self, tag: str, sized: dict[str, Any]) -> nn.Module:
        """The network with torchvision's own download. Raises ModelError, naming the address, when it cannot be had."""
        weights = torchvision.models.get_model_weights(self.name)[tag]
        kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
        try:
            if offline() and not kept.exists():
                raise OSError(f"downloads are off here, and {kept} does not exist")
            return torchvision.models.get_model(self.name, weights=weights, progress=False, **sized)
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"torchvision:{self.name}: the weights could not be had from {weights.url} ({error}); {GET}"
            ) from error

    def from_file(self, path: Path, probe: nn.Module, sized: dict[str, Any]) -> nn.Module:
        """The network as the file has it: its classes, its channels, its grid."""
        given = read_weights(path)
        settings = dict(sized)
        head = given.get(f"{classifier(probe)[0]}.weight")
        if head is not None:
            settings["num_classes"] = len(head)
        if isinstance(probe, VisionTransformer) and TABLE in given:
            settings["image_size"] = math.isqrt(given[TABLE].shape[1] - 1) * probe.patch_size
        net = make(self.name, **settings)
        name, convolution = first_convolution(net)
        channels = given[f"{name}.weight"].shape[1] if f"{name}.weight" in given else convolution.in_channels
        replace_input(net, int(channels))
        own = net.state_dict()
        try:
            net.load_state_dict(given)
        except RuntimeError as error:
            raise misfit(f"torchvision:{self.name}, weights {path}", own, given, error) from error
        return net

    def adapt_input(self, net: nn.Module, keep: bool) -> None:
        """Give the first convolution this network's channels, its weights adapted or drawn anew."""
        _, convolution = first_convolution(net)
        if convolution.in_channels == self.in_channels:
            return
        weight, channels = convolution.weight.detach(), convolution.in_channels
        replaced = replace_input(net, self.in_channels)
        if keep:
            self.note(f"input weights adapted from {channels} to {self.in_channels} channels")
            with torch.no_grad():
                replaced.weight.copy_(adapt_input_conv(self.in_channels, weight, base_chans=channels))

    def adapt_head(self, net: nn.Module) -> None:
        """Replace a classifier of another number of classes, unless it is kept."""
        name, head = classifier(net)
        classes = int(head.weight.shape[0])
        if self.keeps_head:
            self.num_classes = classes
        if classes == self.num_classes:
            return
        bias = head.bias is not None
        fresh: nn.Module = nn.Linear(int(head.weight.shape[1]), self.num_classes, bias=bias)
        if isinstance(head, nn.Conv2d):
            fresh = nn.Conv2d(head.in_channels, self.num_classes, kernel_size=head.kernel_size, bias=bias)  # type: ignore[arg-type]
        net.set_submodule(name, fresh)
        self.fresh_head = True
        self.note(f"head of {classes} classes replaced by a fresh one of {self.num_classes}")

    def resize(self, other: nn.Module, height: int, width: int) -> None:
        """Turn a copy of a ViT into one for square images of another side, in pixels."""
        other.image_size = height  # type: ignore[assignment]
        other.seq_length = (height // other.patch_size) ** 2 + 1  # type: ignore[assignment,operator]

    def refresh(self, other: nn.Module, height: int, width: int) -> None:
        """Make the table of positions of a copy from that of `net`, before each pass."""
        encoder: Any = other.encoder
        encoder._parameters.pop("pos_embedding", None)  # a derived table, through which gradients reach this one
        encoder.pos_embedding = positions_for(self.net, height)

    def classifiers(self) -> list[nn.Module]:
        """The last linear layer."""
        return [classifier(self.net)[1]]

    def stages(self, net: nn.Module) -> list[nn.Module]:
        """The layers of a ViT's encoder; else the modules with parameters in the container that holds the stages."""
        if isinstance(net, VisionTransformer):
            return list(net.encoder.layers.children())
        place = next((getattr(net, name) for name in CONTAINERS if hasattr(net, name)), net)
        return [
            module
            for module in place.children()
            if any(True for _ in module.children()) and any(True for _ in module.parameters())
        ]

    def attention(self, net: nn.Module) -> list[nn.Module]:
        """The layers of `ReadableAttention`; of Swin and MaxViT none can be read."""
        return [module for module in net.modules() if isinstance(module, ReadableAttention)]

    def probabilities(self, layer: nn.Module, keep: list[Tensor]) -> Any:
        """Hook a layer's output, which holds its probabilities, B h N N, in the explicit form."""
        return layer.register_forward_hook(lambda _, __, out: keep.append(out[1]))

    def set_form(self, net: nn.Module, form: AttentionForm) -> list[tuple[nn.Module, str, bool]]:
        """Set `fused` of every layer that can be read."""
        before = [(layer, "fused", bool(layer.fused)) for layer in self.attention(net)]
        for layer, _, _ in before:
            layer.fused = form == "fused"  # type: ignore[assignment]
        return before

    def channels_first(self, features: Tensor) -> Tensor:
        """Maps B H W C of Swin as B C H W; others, and tokens B N D, as they are."""
        last = isinstance(self.net, SwinTransformer) and features.ndim == 4
        return features.permute(0, 3, 1, 2) if last else features

    def patch(self) -> int | None:
        """Pixels along the side of a ViT's patch; else None."""
        return int(self.net.patch_size) if isinstance(self.net, VisionTransformer) else None

    def patch_convolution(self) -> str:
        """torchvision's name of the convolution that cuts the image."""
        return "conv_proj"

    def set_patch(self, image_size: int, patch: int) -> None:
        """Tell a ViT the sides of images and patches in pixels."""
        self.net.image_size, self.net.patch_size = image_size, patch  # type: ignore[assignment]


def make(name: str, **settings: Any) -> nn.Module:
    """A network of torchvision without weights."""
    if name in ("googlenet", "inception_v3"):
        settings["init_weights"] = True  # else it warns that this default will change
    with NumbersHaveValues() if name.startswith("regnet") else nullcontext():
        return torchvision.models.get_model(name, weights=None, **settings)


class NumbersHaveValues(TorchFunctionMode):
    """Ranges and lists on the CPU: RegNet computes its widths with tensors, also for a network without memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        more = {"device": "cpu"} if func in (torch.arange, torch.tensor) else {}
        return func(*args, **{**(kwargs or {}), **more})


def classifier(net: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The last linear layer (a convolution in SqueezeNet) and its name: torchvision defines its head last."""
    return [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]


def first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """The first convolution of a network, and its name."""
    return next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))


def replace_input(net: nn.Module, channels: int) -> nn.Conv2d:
    """Put a convolution of other input channels in the first one's place; the same one when it has them already."""
    name, old = first_convolution(net)
    if old.in_channels == channels:
        return old
    new = nn.Conv2d(
        channels,
        old.out_channels,
        kernel_size=old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.normal_(std=(channels * math.prod(old.kernel_size)) ** -0.5)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    net.set_submodule(name, new)
    return new


def positions_for(net: Any, side: int) -> Tensor:
    """The table of positions of a torchvision ViT for square images of another size: 1 1+N D."""
    return interpolate_embeddings(side, net.patch_size, {TABLE: net.encoder.pos_embedding})[TABLE]
