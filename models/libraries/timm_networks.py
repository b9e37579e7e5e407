"""timm's networks under the contract: `timm:NAME` for every name of `timm.list_models()`."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg
from torch import Tensor, nn

from models.grids import patch_grid
from models.libraries.adapter import Adapted, Mechanism, attention_modules
from models.libraries.weights_file import GET, misfit, read_weights
from models.network import AttentionForm
from models.options import ModelError

# Classes whose explicit form hands softmax(q k') to a dropout `attn_drop`, where it is read.
READABLE = {"Attention", "AttentionCl", "AttentionRope", "ClassAttn", "EvaAttention", "RelPosAttention"}
READABLE |= {"WindowAttention"}


class Timm(Adapted):
    """A network of timm.

    Other image sizes: any size (convolutional), `dynamic` (timm resamples the positions in every pass: ViT, EVA),
    `set_input_size` (called on a copy that shares the weights: Swin, BEiT, MaxViT), or fixed.
    Weights of other input channels are adapted as timm does: summed for one, repeated and scaled for others.
    """

    origin: ClassVar[str] = "timm"

    @classmethod
    @functools.cache
    def names(cls) -> list[str]:
        """The names of `timm.list_models()`."""
        return list(timm.list_models())

    @classmethod
    def tags(cls, name: str) -> list[str]:
        """The tags of the weights that timm can download for a network."""
        configurations = get_arch_pretrained_cfgs(name).items()
        return [tag.partition(".")[2] for tag, configuration in configurations if configuration.has_weights]

    def build(self, image_size: int | None, weights: str) -> int:
        """Make the network for images of `image_size` pixels, or of timm's default.

        Raises ModelError where it cannot be made.
        """
        configuration = get_pretrained_cfg(self.name)
        with torch.device("meta"):
            probe = timm.create_model(self.name)
        fixed = bool(configuration and configuration.fixed_input_size)
        home = image_size or (configuration.input_size[-1] if configuration else 224)
        self.mechanism = mechanism_of(probe, fixed)
        if patch_of(probe) is not None:
            patch_grid(home, home, patch_of(probe) or 1)
        settings: dict[str, Any] = {"in_chans": self.in_channels}
        if fixed:
            settings["img_size"] = home
        if self.mechanism == "dynamic":
            settings["dynamic_img_size"] = True
        source, _, rest = weights.partition(":")
        try:
            if source == "none":
                self.net = timm.create_model(self.name, num_classes=self.num_classes, **settings)
            elif source == "library":
                self.net = self.fetched(rest, settings)
            else:
                self.net = self.from_file(Path(rest), settings)
        except (AssertionError, ValueError, TypeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"image {home} x {home}: the network cannot be made for it ({error})") from error
        return home

    def fetched(self, tag: str, settings: dict[str, Any]) -> nn.Module:
        """The network with timm's own download. Raises ModelError, naming the source, when it cannot be had."""
        name = f"{self.name}.{tag}" if tag else self.name
        configuration = get_pretrained_cfg(name)
        if configuration is None:
            raise ModelError(f"timm:{self.name}: timm has no weights for it; give them as a file")
        classes = configuration.num_classes
        try:
            with resampling():
                net = timm.create_model(name, pretrained=True, num_classes=classes, **settings)
        except (OSError, RuntimeError) as error:
            hub = configuration.hf_hub_id
            place = f"https://huggingface.co/{hub}" if hub else configuration.url
            said = " ".join(str(error).split())
            raise ModelError(f"timm:{self.name}: the weights could not be had from {place} ({said}); {GET}") from error
        if self.in_channels != configuration.input_size[0]:
            self.note(f"input weights adapted to {self.in_channels} channels")
        self.fit_head(net, classes)
        return net

    def from_file(self, path: Path, settings: dict[str, Any]) -> nn.Module:
        """The network with the weights of a file, put in by timm's own loading (renaming, resampling, channels)."""
        given = read_weights(path)
        configuration = get_pretrained_cfg(self.name)
        heads = configuration.classifier if configuration else None
        head = heads[0] if isinstance(heads, tuple | list) else heads
        known = given.get(f"{head}.weight")
        classes = len(known) if known is not None else (configuration.num_classes if configuration else 1000)
        overlay = {"state_dict": dict(given), "num_classes": classes}
        with torch.device("meta"):
            own = timm.create_model(self.name, num_classes=classes, **settings).state_dict()
        try:
            with resampling():
                net = timm.create_model(
                    self.name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **settings
                )
        except (RuntimeError, KeyError) as error:
            raise misfit(f"timm:{self.name}, weights {path}", own, given, error) from error
        if own.keys() - given.keys() and not given.keys() - own.keys():  # nothing renamed, and timm let it pass
            raise misfit(f"timm:{self.name}, weights {path}", own, given, RuntimeError())
        for name, tensor in own.items():
            if name in given and given[name].shape != tensor.shape:
                what = "adapted to the channels" if given[name].shape[2:] == tensor.shape[2:] else "resampled"
                self.note(f"{name} {what}: {_shape(given[name])} to {_shape(tensor)}")
        self.fit_head(net, classes)
        return net

    def fit_head(self, net: nn.Module, classes: int) -> None:
        """Replace a classifier of `classes` classes by a fresh one, unless they are the right ones or it is kept."""
        if self.keeps_head:
            self.num_classes = classes
        if classes == self.num_classes:
            return
        net.reset_classifier(self.num_classes)  # type: ignore[operator]
        self.fresh_head = True
        self.note(f"head of {classes} classes replaced by a fresh one of {self.num_classes}")

    def resize(self, other: nn.Module, height: int, width: int) -> None:
        """Turn a copy into one for another size, by timm's `set_input_size`."""
        with resampling():
            other.set_input_size(img_size=(height, width))  # type: ignore[operator]

    def classifiers(self) -> list[nn.Module]:
        """The last layers: one, or two of a distilled network."""
        found = self.net.get_classifier()  # type: ignore[operator]
        return [head for head in (found if isinstance(found, tuple) else (found,)) if isinstance(head, nn.Module)]

    def stages(self, net: nn.Module) -> list[nn.Module]:
        """The modules of timm's `feature_info`, where a network has it."""
        names = [stage["module"] for stage in getattr(net, "feature_info", None) or []]
        modules = dict(net.named_modules())
        found = [modules[name] for name in names if name in modules]
        return [stage for stage in found if any(True for _ in stage.parameters())]  # an activation marks the stem's end

    def attention(self, net: nn.Module) -> list[nn.Module]:
        """The layers of attention where all can be read, else none."""
        layers = attention_modules(net)
        readable = all(
            type(layer).__name__ in READABLE and isinstance(getattr(layer, "attn_drop", None), nn.Dropout)
            for layer in layers
        )
        return layers if readable else []

    def probabilities(self, layer: nn.Module, keep: list[Tensor]) -> Any:
        """Hook the dropout that a layer hands its probabilities to, B h N N or windows h n n."""
        return layer.attn_drop.register_forward_pre_hook(lambda _, given: keep.append(given[0]))  # type: ignore[union-attr]

    def set_form(self, net: nn.Module, form: AttentionForm) -> list[tuple[nn.Module, str, bool]]:
        """Set `fused_attn` of every layer that has it."""
        layers = [module for module in net.modules() if isinstance(getattr(module, "fused_attn", None), bool)]
        before = [(layer, "fused_attn", bool(layer.fused_attn)) for layer in layers]
        for layer in layers:
            layer.fused_attn = form == "fused"  # type: ignore[assignment]
        return before

    def channels_first(self, features: Tensor) -> Tensor:
        """Maps B H W C of networks with channels last as B C H W; others, and tokens B N D, as they are."""
        channels = {stage["num_chs"] for stage in getattr(self.net, "feature_info", None) or []}
        if features.ndim == 3 or features.shape[3] not in channels:
            return features
        last = getattr(self.net, "output_fmt", None) == "NHWC" or features.shape[1] not in channels
        return features.permute(0, 3, 1, 2) if last else features

    def patch(self) -> int | None:
        """Pixels along the side of a patch, for networks that cut the image by timm's PatchEmbed."""
        return patch_of(self.net)

    def patch_convolution(self) -> str:
        """timm's name of the convolution that cuts the image."""
        return f"{embedding_name(self.net)}.proj"

    def set_patch(self, image_size: int, patch: int) -> None:
        """Tell the embedding the sides of images and patches in pixels."""
        embed: Any = self.net.get_submodule(embedding_name(self.net) or "")
        embed.patch_size = (patch, patch)
        embed.img_size = None if embed.img_size is None else (image_size, image_size)  # its grid stays as it is

    def stride(self) -> int:
        """Pixels per step of the last map, as timm's `feature_info` says; 32 where it says nothing."""
        stages = getattr(self.net, "feature_info", None) or [{}]
        return int(stages[-1].get("reduction", 32))


@contextmanager
def resampling() -> Iterator[None]:
    """Within the context torch does not warn of how timm's interpolator sorts and indexes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.searchsorted", UserWarning)
        warnings.filterwarnings("ignore", "Using a non-tuple sequence", UserWarning)
        yield


def mechanism_of(net: nn.Module, fixed: bool) -> Mechanism:
    """How a network of timm takes other image sizes. Swin's dynamic form would keep the window, unlike all others."""
    taken = {name for kind in type(net).__mro__[:-1] for name in inspect.signature(kind).parameters}
    if "dynamic_img_size" in taken and "window_size" not in taken:
        return "dynamic"
    if fixed:
        return "set_input_size" if hasattr(net, "set_input_size") else "fixed"
    return "any size"


def patch_of(net: nn.Module) -> int | None:
    """Pixels along the side of a patch, for networks that cut the image by timm's PatchEmbed."""
    name = embedding_name(net)
    return None if name is None else int(getattr(net, name).patch_size[0])


def embedding_name(net: nn.Module) -> str | None:
    """Where a network has timm's PatchEmbed: `stem` in MLP-Mixer and its kin; None where it has none."""
    return next((name for name in ("patch_embed", "stem") if isinstance(getattr(net, name, None), PatchEmbed)), None)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
