"""`torchrun` on one node: what it has started as ranks, seen by their environment.

The suite starts the ranks of a run by itself, so that each run of a study has fresh ones. Under torchrun its first
process does that, with as many ranks a run as torchrun has started processes, and the others end at once.
"""

import os
from collections.abc import Mapping

from benchmarks.errors import ConfigError

OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def ranks(asked: int, environment: Mapping[str, str] = os.environ) -> int:
    """GPUs a run: as `--gpus-per-run` has `asked`, or as torchrun says; 0 in a process that has nothing to do.

    Raises ConfigError where both say something else, and for several nodes.
    """
    if any(name not in environment for name in OF_TORCHRUN):
        return asked
    rank, world, here = (int(environment[name]) for name in OF_TORCHRUN)
    if world != here:
        raise ConfigError(
            "torchrun",
            f"{world} processes, {here} of them on this node: a run is computed by the GPUs of one node; allowed: "
            "--nnodes 1, and other runs of the study on other nodes by `inductive submit`",
        )
    if asked not in (1, world):
        raise ConfigError("--gpus-per-run", f"{asked}, and torchrun has started {world} processes; allowed: {world}")
    return 0 if rank else world
