"""Training the last layers alone, as FixRes does: the norm before the pooling, and the classifier.

Touvron et al., "Fixing the train-test resolution discrepancy" (2019, section 4), adapt a network to images of another
resolution by training its classifier and the BatchNorm that precedes the global pooling. All other parameters keep
their values: they have no gradient, so neither the optimiser nor weight decay sees them, and their average is
themselves. Every other BatchNorm normalises by the running statistics that it began with, which do not move; the last
one normalises by its batch and follows it. Dropout and drop path stay on.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.network import Network, without_memory
from models.options import ModelError

SHORTCUTS = ("shortcut", "downsample")  # parts that are computed beside a block: their norms are not its last


def freeze(network: Network, trained: str, shape: Sequence[int]) -> list[_BatchNorm]:
    """Takes gradients from all parameters but those that are `trained` ("all", "last_norm_and_head"). Returns the
    BatchNorms that are to be as in evaluation. `shape` is that of an image (C, H, W).

    Raises ModelError as `trained_parameters` does.
    """
    if trained == "all":
        return []
    names, last = trained_parameters(network, trained, shape), last_norm(network, shape)
    for name, parameter in network.named_parameters():
        if name not in names:
            parameter.requires_grad_(False)
    return [one for name, one in network.named_modules() if isinstance(one, _BatchNorm) and name != last]


def trained_parameters(network: Network, trained: str, shape: Sequence[int]) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name.

    Raises ModelError for a network whose classifier is not known, so that nothing would.
    """
    learning = {name: one for name, one in network.named_parameters() if one.requires_grad}
    if trained == "all":
        return learning
    last = last_norm(network, shape)
    found = {name: one for name, one in learning.items() if network.part_of(name) == "head"}
    if not found:
        raise ModelError(f"{type(network).__name__} has no parameters of a head: recipe.trained can only be 'all'")
    return found | {name: one for name, one in learning.items() if last and name.startswith(f"{last}.")}


@torch.no_grad()
def last_norm(network: Network, shape: Sequence[int]) -> str | None:
    """The name of the norm that a pass comes to last, shortcuts aside; None where there is none. It is looked for on a
    copy that has shapes and no values."""
    ghost, passed = without_memory(network).eval(), list[str]()
    for name, module in ghost.named_modules():
        own = any(True for _ in module.parameters(recurse=False))
        if own and "norm" in type(module).__name__.lower() and not set(SHORTCUTS) & set(name.split(".")):
            module.register_forward_hook(partial(_note, passed, name))
    ghost(torch.empty(1, *shape, device="meta", dtype=next(ghost.parameters()).dtype))
    return passed[-1] if passed else None


def _note(passed: list[str], name: str, *_: object) -> None:
    passed.append(name)
