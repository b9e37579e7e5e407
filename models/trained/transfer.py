"""Weights of one network into another that may differ in its classes and in its training grid.

A head of other classes stays as it was drawn. A learned table of another grid is carried to this one by its module's
`carried`, in the module's default way; an encoding whose parameters take offsets in units of the training grid
(`models.positions.biases.Measured`) keeps the unit of the weights. Everything else has to fit, by name and shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.libraries.weights_file import misfit
from models.network import Network
from models.options import ModelError
from models.positions.biases import Measured

PREFIX = "net."  # under which the networks of other libraries lie; files have it or not


@dataclass(frozen=True)
class Fitted:
    """What was not taken as it is: names of parameters left as they were drawn, and of tables carried to the grid; and
    of units of offsets that are kept, which are another grid's."""

    fresh: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def fit(network: Network, weights: Mapping[str, Tensor], what: str, source: Network | None = None) -> Fitted:
    """Loads weights by name and returns what was not taken as it is; `what` says in errors whose weights they are.

    `source` is a network like that of the weights: without it their training grid is taken to be this network's.

    Raises ModelError, naming the parameters, for what is missing, unknown, or of a shape that cannot be carried.
    """
    own = network.state_dict()
    if all(name.startswith(PREFIX) for name in own) and not any(name.startswith(PREFIX) for name in weights):
        weights = {PREFIX + name: tensor for name, tensor in weights.items()}
    ready, fresh, carried, kept = dict(weights), [], [], []
    for name in own.keys() & weights.keys():
        here, there = own[name], weights[name]
        if there.shape == here.shape:
            continue
        if network.part_of(name) == "head" and there.shape[1:] == here.shape[1:]:
            ready[name] = here
            fresh.append(name)
        elif (table := _carried(network, name, there)) is not None and table.shape == here.shape:
            ready[name] = table
            carried.append(name)
        elif network.part_of(name) == "position":
            raise ModelError(
                f"{what}: {name} is of another training grid ({tuple(there.shape)}, here {tuple(here.shape)}), and its "
                f"encoding cannot be carried to this one"
            )
    for place, module in measured(network).items():
        name = f"{place}.measured"
        theirs = None if source is None else measured(source).get(place)
        if theirs is not None and theirs.unit != module.unit:
            ready.setdefault(name, torch.tensor(theirs.unit))
        if name in ready and ready[name].tolist() != list(module.trained):
            kept.append(name)
    try:
        network.load_state_dict(ready)
    except RuntimeError as error:
        raise misfit(what, own, ready, error) from error
    return Fitted(tuple(sorted(fresh)), tuple(sorted(carried)), tuple(sorted(kept)))


def measured(network: Network) -> dict[str, Measured]:
    """The encodings of a network whose parameters take offsets in units of the training grid, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Measured)}


def _carried(network: Network, name: str, table: Tensor) -> Tensor | None:
    """The table at the training grid of its module; None where the module cannot make one."""
    path, _, parameter = name.rpartition(".")
    carry = getattr(network.get_submodule(path), "carried", None)
    with torch.no_grad():
        return None if carry is None else carry(parameter, table)
