"""Compiled training: torch.compile of a network's passes, as execution.json says.

A compiled network computes other bits than an uncompiled one (its kernels are fused), so the form is chosen by rule, as
attention and layout are: `kernels.KERNELS` says from how many steps on it has earned its compilation, a number that
`make bench BENCH=compile` measures. What is compiled lies on disk under the records' root and serves every later run of
the same architecture. Evaluations are not compiled: each resolution would be compiled for one pass.

The form `graphs` compiles nothing: it launches whole steps at once (`benchmarks.training.step_graph`). Both together
are not to be had: tables that a network has made on the CPU become copies to the GPU when it is compiled, which a graph
refuses.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch import Tensor

from models.network import Network

CompileForm = Literal["off", "network", "graphs"]
SHAPES = 64  # of batches that a run may have: training resolutions times micro-batches
CACHE, VARIABLE = ".compiled", "TORCHINDUCTOR_CACHE_DIR"


def use_cache(root: Path) -> None:
    """Keeps what is compiled under a root of records, unless the user's TORCHINDUCTOR_CACHE_DIR names another place."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(VARIABLE) in (None, default_cache_dir()):  # torch itself writes its default there
        os.environ[VARIABLE] = str((root / CACHE).resolve())


def compiled(network: Network, form: CompileForm) -> Callable[[Tensor], Tensor]:
    """The network's passes in a form; weights are shared with it.

    Nothing falls back to uncompiled code: a network that cannot be compiled whole, or one of more than `SHAPES` shapes,
    raises what torch says of it at the first pass.
    """
    if form != "network":
        return network
    import torch._dynamo

    torch._dynamo.config.recompile_limit = SHAPES  # beyond it fullgraph raises
    return torch.compile(network, fullgraph=True, dynamic=False, mode="default")


def drop_compiled() -> None:
    """Frees what is compiled in this process. Nothing may hold a compiled network."""
    import torch.compiler

    torch.compiler.reset()
