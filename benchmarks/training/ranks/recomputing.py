"""Activations that are computed again in the backward pass instead of kept: less memory for a third more arithmetic.

Each block of a network, a part of it that has parts of its own and stands in a list or sequence, keeps what it was
given alone (Chen et al., "Training deep nets with sublinear memory cost", 2016; `torch.utils.checkpoint`). What is
computed again is the same to the bit: it draws the same numbers, and leaves BatchNorm's running statistics as they are.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.errors import InductiveError
from benchmarks.training.ranks.draws import ByPlace
from benchmarks.training.ranks.normalisation import Groups
from models.blocks import blocks_of
from models.network import Network


def recomputable(network: Network) -> list[nn.Module]:
    """The blocks of a network. Raises InductiveError for a network without any."""
    found = blocks_of(network)
    if not found:
        raise InductiveError(
            f"--checkpoint-activations: {type(network).__name__} has no blocks in a ModuleList or Sequential; without "
            "the option it trains"
        )
    return found


@contextmanager
def recomputed(blocks: list[nn.Module], draws: ByPlace | None, groups: Groups | None) -> Iterator[None]:
    """Within it blocks keep what they are given, and nothing else. `draws` and `groups` are what a pass is made in."""

    def contexts(block: nn.Module) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        """For the pass, and for when it is made again."""
        made_again: list[AbstractContextManager[object]] = []
        if draws is not None:
            made_again.append(draws.from_here())
        if groups is not None:
            made_again.append(groups.again())
        return nullcontext(), _again(block, made_again)

    for block in blocks:
        context = partial(contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=context)
    try:
        yield
    finally:
        for block in blocks:
            del block.__dict__["forward"]


@contextmanager
def _again(block: nn.Module, entered: list[AbstractContextManager[object]]) -> Iterator[None]:
    """Within it the pass of a block is made again, as far as it is needed: what ends it is an error of torch's."""
    kept = [(buffer, buffer.clone()) for buffer in block.buffers()]
    try:
        with ExitStack() as stack:
            for one in entered:
                stack.enter_context(one)
            yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)
