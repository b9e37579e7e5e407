"""What the adapters of ready-made networks share: the contract held by hooks on another library's modules.

The library's network lies whole under `net`; its forward pass is run as it is, and the parts are what hooks see of it.
So logits are the library's own, and what a network does not show (a map of attention, a stage) is reported as missing.
"""

from __future__ import annotations

import copy
import logging
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from models.grids import Grid, patch_grid
from models.initial import constant, keyed_generator, normal
from models.libraries.published import places_in_head, published
from models.linear import LinearForm
from models.network import AttentionForm, Description, Network, Parts, check_way, without_memory
from models.options import ModelError

log = logging.getLogger("inductive")

Mechanism = Literal["any size", "dynamic", "set_input_size", "rebuilt", "fixed"]
CARRYING = ("dynamic", "set_input_size", "rebuilt")  # mechanisms that carry positions; each is the name of its way
POSITIONAL = re.compile(r"pos_emb|pos_proj|pos_block|patch_pos|meta_mlp|position|rel_pos|cpb_mlp|attention_biases|rope")
TOKENS = re.compile(r"(cls|class|dist|reg|mask)_(token|embed)$")  # learned tokens: vectors in the shape of matrices
ATTENTION = re.compile(r"Attention|Attn|XCA|MHSA|GPSA|SHMA")  # classes that compute attention, by their name
CANDIDATES = 4  # multiples of the stride tried on either side, to name sizes that a network can take


class Adapted(Network):
    """A ready-made network under the contract: images B C H W -> logits B K.

    Subclasses build `net` for `home`, set its `mechanism` for other sizes, and find modules in it. Raises ModelError
    for weights that cannot be had or do not fit, and for image sizes the network cannot take.
    Args: name: in the library. image_size: training resolution in pixels, None for the library's own. weights, tag,
    transforms, head: see the options in `models.catalogue.ready_made`; transforms are for those who show it images.
    """

    origin: ClassVar[str]  # timm or torchvision
    net: nn.Module
    said: str = ""  # what was done to the weights so that they fit

    def __init__(
        self,
        *,
        name: str,
        image_size: int | None,
        in_channels: int,
        num_classes: int,
        weights: str = "none",
        tag: str = "",
        transforms: str = "data",
        head: str = "fitted",
    ) -> None:
        super().__init__()
        self.name, self.in_channels, self.num_classes, self.weights = name, in_channels, num_classes, weights
        self.grids: dict[Grid, Grid] = {}
        self.others: dict[Grid, tuple[object, nn.Module]] = {}
        self.fresh_head = False
        self.keeps_head = head == "kept"
        if self.keeps_head:
            self.num_classes = published(self.origin, name, tag).classes
        self.kept: Tensor | None
        self.register_buffer("kept", None, persistent=False)
        self.mechanism: Mechanism = "any size"
        source = "none" if torch.get_default_device().type == "meta" else weights
        self.home = self.build(image_size, source)
        self.set_form(self.net, "explicit")  # as every network of the suite starts
        heads = self.classifiers()
        self.heads = [path for path, module in self.net.named_modules() if module in heads]
        if self.said:
            log.warning("%s, weights %s: %s", self.full_name, weights, self.said)

    @property
    def full_name(self) -> str:
        """The name in studies and on the command line: timm:NAME or torchvision:NAME."""
        return f"{self.origin}:{self.name}"

    def note(self, what: str) -> None:
        """Add to what is reported of the weights."""
        self.said += ("; " if self.said else "") + what

    @classmethod
    @abstractmethod
    def names(cls) -> list[str]:
        """The networks that the library lists."""

    @classmethod
    @abstractmethod
    def tags(cls, name: str) -> list[str]:
        """The weights that the library can download for a network."""

    @abstractmethod
    def build(self, image_size: int | None, weights: str) -> int:
        """Make `self.net` and set `self.mechanism`; returns the side in pixels of the images it was made for.

        Raises ModelError for sizes that the network cannot be made for, and for weights that cannot be had or do not
        fit.
        """

    @abstractmethod
    def classifiers(self) -> list[nn.Module]:
        """The last layers, whose input is pooled."""

    @abstractmethod
    def stages(self, net: nn.Module) -> list[nn.Module]:
        """The blocks or stages, in order; none where the library does not name them."""

    @abstractmethod
    def attention(self, net: nn.Module) -> list[nn.Module]:
        """The layers whose probabilities can be read."""

    @abstractmethod
    def probabilities(self, layer: nn.Module, keep: list[Tensor]) -> Any:
        """Hook a layer of `attention` so that each pass appends its probabilities to `keep`; returns the handle.

        They are of shape B h N N, or B windows h n n.
        """

    @abstractmethod
    def set_form(self, net: nn.Module, form: AttentionForm) -> list[tuple[nn.Module, str, bool]]:
        """Choose the form of attention; returns (module, attribute, value before) of what was changed."""

    def resize(self, other: nn.Module, height: int, width: int) -> None:
        """Turn a copy of `net` that shares its weights into one for another size."""

    def refresh(self, other: nn.Module, height: int, width: int) -> None:
        """Called before each pass of such a copy."""

    @property
    def layout(self) -> str:
        """channels_last where most weights are those of convolutions: a rule, not a measurement."""
        modules = list(self.net.modules())
        convolutions = sum(module.weight.numel() for module in modules if isinstance(module, nn.Conv2d))
        linear = sum(module.weight.numel() for module in modules if isinstance(module, nn.Linear))
        return "channels_last" if convolutions > linear else "contiguous"

    @property
    def ways(self) -> tuple[str, ...]:
        """How the library carries positions: by one way, named after the mechanism, or by none."""
        return (self.mechanism,) if self.mechanism in CARRYING else ()

    def carry(self, way: str, **choices: float | str) -> None:
        """There is one way, the library's, in force from the start. Raises ModelError for any other."""
        check_way(self.full_name, self.ways, {}, way, choices)

    def initialise(self, seed: int, initial: str = "library") -> None:
        """Weights are the file's, the library's, or its own initialisation; only a replaced head is drawn here."""
        if not self.fresh_head:
            return
        rules = {"weight": normal(0.02), "bias": constant(0.0)}
        with torch.no_grad():
            layers = [layer for path in self.heads for layer in self.net.get_submodule(path).modules()]
            for number, layer in enumerate(one for one in layers if isinstance(one, nn.Linear | nn.Conv2d)):
                for name, tensor in layer.named_parameters():
                    if not tensor.is_meta:
                        tensor.copy_(rules[name](tuple(tensor.shape), keyed_generator(seed, f"head.{number}.{name}")))

    def keep_classes(self, names: Sequence[str]) -> None:
        """Give the logits of these classes only, in their order, of those of a head that is kept.

        Raises ModelError for classes that the head does not have.
        """
        places = places_in_head(names, self.num_classes)
        if places is not None:
            self.kept = torch.tensor(places, device=next(self.parameters()).device)
            self.note(f"of {self.num_classes} classes {len(places)} are asked for")
            self.num_classes = len(places)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K, the library's own; `parts` gets what `hooked` sees.

        Raises ModelError as `grid` does.
        """
        height, width = images.shape[-2:]
        if not torch.compiler.is_compiling():  # its trial is none of the network's operations
            self.grid(height, width)
        return self.logits(images, parts)

    def logits(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K, without asking first whether the network takes them."""
        net = self.at(*images.shape[-2:])
        if parts is None:
            return self.asked_for(net(images))
        with self.hooked(net, images, parts):
            return self.asked_for(net(images))

    def asked_for(self, logits: Any) -> Any:
        """Of logits B K those of the classes that are asked for."""
        return logits if self.kept is None else logits[:, self.kept]

    def at(self, height: int, width: int) -> nn.Module:
        """The module that takes images of this size: `net`, or a copy for the size that shares its weights.

        Copies are kept; one is made anew when the weights have changed, since its tables were resampled from them.
        Raises ModelError for training at a size at which the tables are copies.
        """
        if self.mechanism not in ("set_input_size", "rebuilt") or (height, width) == (self.home, self.home):
            return self.net
        if self.mechanism == "set_input_size" and self.training and torch.is_grad_enabled():
            raise ModelError(f"{self.full_name} is trained at {self.home}: at {height} x {width} its tables are copies")
        shared = self.net.state_dict(keep_vars=True)
        stamp = [(id(tensor), tensor._version) for tensor in shared.values()]
        known, other = self.others.get((height, width), (None, self.net))
        if known != stamp:
            with torch.inference_mode(False), torch.no_grad():
                other = copy.deepcopy(self.net, {id(tensor): tensor for tensor in shared.values()})
                self.resize(other, height, width)
            self.others[height, width] = (stamp, other)
        self.refresh(other, height, width)
        return other.train(self.training)

    @contextmanager
    def hooked(self, net: nn.Module, images: Tensor, parts: Parts) -> Iterator[None]:
        """While the network runs once on images B C H W, gather what its modules take and give.

        `parts` gets `embedding`, `block.i` of tokens (B N D) or `stage.i` of maps (B C H W), `attention.i`, and
        `pooled`, B D. Attention is explicit meanwhile.
        """
        before = self.set_form(net, "explicit")
        first: list[Tensor] = []
        outputs: list[Tensor] = []
        maps: list[Tensor] = []
        pooled: list[Tensor] = []
        stages = self.stages(net)
        handles = [stage.register_forward_hook(lambda _, __, out: outputs.append(_tensor(out))) for stage in stages]
        if stages:
            handles.append(stages[0].register_forward_pre_hook(lambda _, given: first.append(_tensor(given))))
        head = net.get_submodule(self.heads[0])
        handles.append(head.register_forward_pre_hook(lambda _, given: pooled.append(_tensor(given))))
        handles += [self.probabilities(layer, maps) for layer in self.attention(net)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module, attribute, value in before:
                setattr(module, attribute, value)
        outputs = [output for output in outputs if output.ndim in (3, 4)]
        if first and first[0].shape[1:] == images.shape[1:]:  # the first stage is the stem
            first = outputs[:1]
            outputs = outputs[1:]
        if first:
            parts["embedding"] = self.channels_first(first[0])
        for number, output in enumerate(outputs):
            parts[f"{'block' if output.ndim == 3 else 'stage'}.{number}"] = self.channels_first(output)
        for number, probabilities in enumerate(maps):
            parts[f"attention.{number}"] = probabilities
        if pooled and pooled[0].flatten(1).shape[1] == pooled[0].shape[1]:
            parts["pooled"] = pooled[0].flatten(1)

    def channels_first(self, features: Tensor) -> Tensor:
        """Maps as B C H W; tokens B N D are left as they are."""
        return features

    def set_attention(self, form: AttentionForm) -> None:
        """Choose the form of attention, of copies too. Raises ModelError for an unknown one."""
        super().set_attention(form)  # refuses an unknown form
        self.set_form(self.net, form)
        self.others.clear()

    def set_linear(self, form: LinearForm) -> None:
        """Choose what computes linear maps, of copies too. Raises ModelError for an unknown form."""
        super().set_linear(form)
        self.others.clear()

    def patch(self) -> int | None:
        """Pixels along the side of a patch, where the image is cut into patches; else None."""
        return None

    def patch_convolution(self) -> str:
        """The name in `net` of the convolution that cuts them, where there is a `patch`."""
        return ""

    def set_patch(self, image_size: int, patch: int) -> None:
        """Tell `net`, whose convolution has been exchanged, the sides of images and patches in pixels."""

    def patch_embedding(self) -> tuple[str, nn.Conv2d] | None:
        """Name and module of the convolution whose kernel and stride are the patch; None where there is none."""
        patch = self.patch()
        found = None if patch is None else self.net.get_submodule(self.patch_convolution())
        if not isinstance(found, nn.Conv2d) or not found.kernel_size == found.stride == (patch, patch):
            return None
        return f"net.{self.patch_convolution()}", found

    @contextmanager
    def made_for(self, image_size: int, patch: int) -> Iterator[None]:
        """Within the context the network works as if made for images of `image_size` and patches of `patch` pixels."""
        before, grids = (self.home, self.patch() or patch), self.grids
        try:
            self.home, self.grids = image_size, {}
            self.set_patch(image_size, patch)
            yield
        finally:
            self.home, self.grids = before[0], grids
            self.set_patch(*before)

    def stride(self) -> int:
        """Pixels per step of the last map; 32 where the library does not tell."""
        return 32

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last map or of the patches, found by one pass without memory, and kept.

        Raises ModelError, with the nearest sizes that work, for an image that the network cannot take.
        """
        if (height, width) not in self.grids:
            self.refuse(height, width)
            self.grids[height, width] = self.trial(height, width)
        return self.grids[height, width]

    def describe(self, height: int, width: int) -> Description:
        """As `models.network.Network.describe`. Raises ModelError as `grid` does."""
        self.grid(height, width)  # its trial is no part of what is counted
        return super().describe(height, width)

    def refuse(self, height: int, width: int) -> None:
        """Raises ModelError for a size that is known to be impossible without trying."""
        patch = self.patch()
        if patch is not None:
            patch_grid(height, width, patch)
        if self.mechanism == "fixed" and (height, width) != (self.home, self.home):
            raise ModelError(f"image {height} x {width} cannot be taken: nearest {self.home}, which is all it takes")
        if self.mechanism == "rebuilt" and height != width:
            raise ModelError(f"image {height} x {width} is not square: nearest {height} x {height}, {width} x {width}")

    def trial(self, height: int, width: int) -> Grid:
        """The grid, from one pass on the meta device.

        Raises ModelError, with the nearest sizes that work, where it fails.
        """
        try:
            return self.attempt(height, width)
        except ModelError:
            raise
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            near = ", ".join(str(side) for side in self.nearest(height)) if height == width else ""
            said = f"nearest {near}" if near else f"this network was made for {self.home}"
            raise ModelError(f"image {height} x {width} cannot be taken ({reason}): {said}") from error

    def nearest(self, side: int) -> list[int]:
        """The nearest sides, one below and one above, that a pass on the meta device takes."""
        step, found = self.stride(), []
        below = [side // step * step - k * step for k in range(CANDIDATES)]
        above = [side // step * step + k * step for k in range(1, CANDIDATES + 1)]
        for sides in (below, above):
            for one in sides:
                try:
                    if one > 0 and one != side:
                        self.attempt(one, one)
                        found.append(one)
                        break
                except (RuntimeError, AssertionError, ValueError, TypeError, IndexError, ZeroDivisionError):
                    continue
        return found

    def attempt(self, height: int, width: int) -> Grid:
        """The grid, from one pass on the meta device, which raises what the library raises.

        Raises ModelError for outputs that are no logits B K.
        """
        parts: Parts = {}
        with torch.device("meta"), torch.inference_mode(False), torch.no_grad():
            ghost = without_memory(self).eval()
            images = torch.empty(1, self.in_channels, height, width, dtype=next(self.parameters()).dtype)
            logits = ghost.logits(images, parts)
        if not isinstance(logits, Tensor) or logits.shape != (1, self.num_classes):
            raise ModelError(f"{self.full_name} gives no logits of shape (B, {self.num_classes})")
        maps = [part.shape for key, part in parts.items() if key.startswith("stage.")]
        if maps:
            return int(maps[-1][-2]), int(maps[-1][-1])
        step = self.patch() or self.stride()
        return max(1, height // step), max(1, width // step)

    def part_of(self, name: str) -> str:
        """The part of a parameter: `head` for classifiers, `position` by its name, else `backbone`."""
        inner = name.removeprefix("net.")
        if any(inner.startswith(f"{path}.") for path in self.heads):
            return "head"
        return "position" if POSITIONAL.search(inner) else "backbone"

    def no_decay(self) -> set[str]:
        """Biases, norms, vectors in whatever shape (a layer's weight is none), everything positional, learned tokens,
        and what the library names."""
        named = getattr(self.net, "no_weight_decay", lambda: ())()
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter.ndim <= 1
            or (sum(side > 1 for side in parameter.shape) <= 1 and not name.endswith(".weight"))
            or self.part_of(name) == "position"
            or TOKENS.search(name)
            or name.removeprefix("net.") in named
        }

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """The mechanism for other sizes, the weights with what was done to them, and whether attention can be read."""
        found: dict[str, int | str] = {"resolution": self.mechanism, "weights": self.weights}
        if self.said:
            found["weights"] = f"{self.weights} ({self.said})"
        kinds = sorted({type(module).__name__ for module in attention_modules(self.net)})
        readable = self.attention(self.net)
        found["attention"] = f"{len(readable)} maps" if readable else "none"
        if kinds and not readable:
            found["attention"] = f"not read ({', '.join(kinds)})"
        if not self.stages(self.net):
            found["parts"] = "the library names no stages"
        return found

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.others.clear()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> Mapping[str, object]:
        """Copies for other sizes are made again where they are needed."""
        return {**self.__dict__, "others": {}}


def attention_modules(net: nn.Module) -> list[nn.Module]:
    """The innermost modules that compute attention, by the names of their classes."""
    named = [module for module in net.modules() if ATTENTION.search(type(module).__name__)]
    return [module for module in named if not any(inner in named for inner in list(module.modules())[1:])]


def _tensor(given: Any) -> Tensor:
    """A module's input or output: the first tensor of it."""
    found: Any = given
    while isinstance(found, tuple | list):
        found = found[0]
    return found
