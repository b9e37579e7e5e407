"""The blocks of a network: its largest parts that are repeated, each with parts of its own."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The largest parts of a network that stand in a list or sequence and have parts themselves, in its order; of
    some networks none."""
    return list(_blocks(network))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    listed = isinstance(module, nn.ModuleList | nn.Sequential)
    for child in module.children():
        holds = isinstance(child, nn.ModuleList | nn.Sequential)
        if listed and not holds and any(True for _ in child.children()):
            yield child
        else:
            yield from _blocks(child)
