"""Ready-made networks, `timm:NAME` and `torchvision:NAME`: declared like a family when one is used.

Importing this loads no torch. A name is looked up in the library's own list, so that a wrong one is refused with the
nearest; the mechanism for other resolutions and the layout are found on a copy on the meta device.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.catalogue.declaration import Family
from models.hints import did_you_mean
from models.options import ModelError, Option, Scalar

if TYPE_CHECKING:
    from models.libraries.adapter import Adapted

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
        (WEIGHTS,),
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
    if source != "library":
        return
    library, _, inner = name.partition(":")
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
