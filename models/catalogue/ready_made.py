"""Ready-made networks, `timm:NAME` and `torchvision:NAME`: declared like a family when one is used.

Importing this loads no torch. A name is looked up in the library's own list, so that a wrong one is refused with the
nearest; the mechanism for other resolutions and the layout are found on a copy on the meta device.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.catalogue.declaration import Family
from models.hints import did_you_mean
from models.libraries.published import Published, places_in_head, published
from models.options import ModelError, Option, Scalar

if TYPE_CHECKING:
    from models.libraries.adapter import Adapted
    from models.network import Network

LIBRARIES = {
    "timm": "models.libraries.timm_networks:Timm",
    "torchvision": "models.libraries.torchvision_networks:Torchvision",
}
SUMMARIES = {
    "timm:NAME": "any network of timm, as `timm.list_models()` names it, with or without weights",
    "torchvision:NAME": "any classifier of torchvision, as `torchvision.models.list_models()` names it, likewise",
}
WEIGHTS = Option(
    "weights",
    str,
    "none",
    "none; library, library:TAG: the library's own download; file:PATH: a .safetensors, .pth or .pt file",
    pattern=r"none|library(:.+)?|file:.+",
    example="file:weights.safetensors",
)
TAG = Option(
    "tag",
    str,
    "",
    "whose configuration `transforms` and `head` mean for weights of a file; none: the library's default",
)
TRANSFORMS = Option(
    "transforms",
    str,
    "data",
    "data: images normalised by the training images; weights: normalised, interpolated and cropped as the weights' own "
    "configuration says",
    allowed=("data", "weights"),
)
HEAD = Option(
    "head",
    str,
    "fitted",
    "fitted: a fresh head where the weights have other classes; kept: that of the weights, of whose logits those "
    "of the data set's classes are taken",
    allowed=("fitted", "kept"),
)


def is_ready_made(name: str) -> bool:
    """Whether a model's name has the prefix of a library."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


def library_of(name: str) -> str:
    """The library, and distribution, that a ready-made name belongs to: `timm:resnet18` -> `timm`."""
    return name.partition(":")[0]


def adapter(library: str) -> type[Adapted]:
    """The class that gives a library's networks the contract; imports the library."""
    module, symbol = LIBRARIES[library].split(":")
    found: type[Adapted] = getattr(importlib.import_module(module), symbol)
    return found


@functools.lru_cache(maxsize=256)
def ready_made(name: str) -> Family:
    """The declaration of a ready-made network; ModelError with the nearest name for one the library does not have."""
    library, _, inner = name.partition(":")
    kind = adapter(library)
    if inner not in kind.names():
        known = f"`{library}` lists {len(kind.names())} networks"
        raise ModelError(f"no model {name!r}; {known}{did_you_mean(inner, kind.names())}")
    probe = ghost(name, None)
    return Family(
        name,
        SUMMARIES[f"{library}:NAME"],
        LIBRARIES[library],
        (WEIGHTS, TAG, TRANSFORMS, HEAD),
        layout=probe.layout,
        tiers={"own": {}},
        check=functools.partial(check_tag, name),
        check_image=functools.partial(check_image, name),
        ways=probe.ways,
    )


@functools.lru_cache(maxsize=64)
def ghost(name: str, image_size: int | None) -> Adapted:
    """A ready-made network without memory and weights; `image_size` None: the library's own."""
    import torch

    library, _, inner = name.partition(":")
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return adapter(library)(name=inner, image_size=image_size, in_channels=3, num_classes=10, weights="none").eval()


def check_tag(name: str, options: Mapping[str, Scalar]) -> None:
    """Raises ModelError where the library has no weights for this network, or none of the tag in `library:TAG`."""
    source, _, tag = str(options["weights"]).partition(":")
    library, _, inner = name.partition(":")
    own = str(options["tag"])
    if own and source == "library":
        raise ModelError(f"model {name}: `tag` is for weights of a file; those of the library: library:{own}")
    if own and own not in adapter(library).tags(inner):
        known = adapter(library).tags(inner)
        near = did_you_mean(own, known)
        raise ModelError(f"model {name}: {library} has no weights {own!r} for it; allowed: {', '.join(known)}{near}")
    if source != "library":
        return
    tags = adapter(library).tags(inner)
    if not tags:
        raise ModelError(f"model {name}: {library} has no weights for it; allowed: none, file:PATH")
    if tag and tag not in tags:
        near = did_you_mean(tag, tags)
        raise ModelError(f"model {name}: {library} has no weights {tag!r} for it; allowed: {', '.join(tags)}{near}")


def check_image(name: str, options: Mapping[str, Scalar], resolution: int, train_resolution: int) -> None:
    """Raises ModelError for an image that the network, made for the training resolution, cannot take.

    It is tried on the meta device.
    """
    try:
        ghost(name, train_resolution).grid(resolution, resolution)
    except ModelError as error:
        raise ModelError(str(error).removeprefix(f"model {name}: ")) from error


def ready_made_arguments(name: str) -> dict[str, Any]:
    """What the adapter gets in addition to the resolved options."""
    return {"name": name.partition(":")[2]}


def configuration(name: str, options: Mapping[str, Any]) -> Published:
    """The configuration of a ready-made network's weights. Raises ModelError where the library has none."""
    library, _, inner = name.partition(":")
    source, _, rest = str(options.get("weights", "none")).partition(":")
    return published(library, inner, rest if source == "library" else str(options.get("tag", "")))


def shown_as_published(name: str, options: Mapping[str, Any]) -> Published | None:
    """How a model is shown images where its weights' configuration says that; None for all others."""
    return configuration(name, options) if options.get("transforms") == "weights" else None


def check_head(name: str, options: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Raises ModelError where a head of the library's is to be kept that does not have these classes. What head a file
    has is seen once it is read."""
    if options.get("head") == "kept" and str(options["weights"]).startswith("library"):
        places_in_head(classes, configuration(name, options).classes)


def keep_classes(network: Network, names: Sequence[str]) -> None:
    """Give of a ready-made network's logits those of these classes. Raises ModelError for classes it does not have."""
    from models.libraries.adapter import Adapted

    assert isinstance(network, Adapted)
    network.keep_classes(names)
