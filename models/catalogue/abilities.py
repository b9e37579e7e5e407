"""What a model can do when its images change: ways of carrying positions, other patches, BatchNorm (torch-free).

Ways are declared. Whether a network has patches and BatchNorm is seen on a copy without memory, which is built when it
is first needed: so it works for ready-made networks and plugins, too, and torch is loaded for nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from models.catalogue.registry import carry_ways, chosen_position, create_model, load
from models.options import ModelError, Scalar, parse_way
from models.positions.encodings import ENCODINGS


@dataclass(frozen=True)
class Abilities:
    """What a model has, as far as images of other sizes are concerned.

    `patch`: pixels along the side of the patches that images are cut into, or None. `batch_norm`: whether any layer is
    one.
    """

    patch: int | None
    batch_norm: bool


def abilities(name: str, *, size: str, options: Mapping[str, Scalar], train_resolution: int) -> Abilities:
    """What a model has, seen on a copy without memory. Raises ModelError as `create_model` does."""
    return _abilities(name, size, tuple(sorted(options.items())), train_resolution)


@lru_cache(maxsize=4096)
def _abilities(name: str, size: str, options: tuple[tuple[str, Scalar], ...], image_size: int) -> Abilities:
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from models.trained.patches import patch_embedding

    chosen: dict[str, Any] = dict(options)
    with torch.device("meta"):
        network = create_model(name, image_size=image_size, in_channels=3, num_classes=10, size=size, **chosen)
    found = patch_embedding(network)
    return Abilities(
        None if found is None else found[1].weight.shape[2],
        any(isinstance(module, _BatchNorm) for module in network.modules()),
    )


def own_way(name: str, *, options: Mapping[str, Scalar], text: str) -> str | None:
    """A way of carrying positions, given as evaluations name it, in the form in which the model declares it.

    None when the model has no such way. A name alone means the first way of that name; numbers
    (`rescale_base:base=700`) may be any that the encoding takes.
    """
    declared = carry_ways(name, options=options)
    if text in declared:
        return text
    try:
        way, choices = parse_way(text)
    except ModelError:
        return None
    if not choices:
        return next((one for one in declared if parse_way(one)[0] == way), None)
    position = chosen_position(name, options)
    if position is None or way not in declared:
        return None
    known = load(ENCODINGS[position].entry).choices.get(way, {})
    if not all(
        known.get(key) == () and isinstance(value, float) and 0 < value < math.inf for key, value in choices.items()
    ):
        return None
    return f"{way}:{','.join(f'{key}={_plain(value)}' for key, value in sorted(choices.items()))}"


def _plain(value: float | str) -> str:
    """A number in one form: 700 for 700.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
