"""What has started this command on how many nodes, by the variables of torchrun or srun, and which process this is.

The suite starts the ranks of a run by itself, so that each run of a study has fresh ones. Where torchrun or srun has
started several processes, the first of all does so; the first on every other node starts the ranks there when it is
asked to, and the others end at once. Every run then has as many ranks as there are processes, or, where there is one
process a node, as many as `--gpus-per-run` says.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.errors import ConfigError

NUMBERS = {  # of processes, of this one on its node, of its node, of nodes
    "torchrun": ("WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_NUM_NODES"),
}
UNIQUE = {
    "torchrun": ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"),
    "srun": ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
}


@dataclass(frozen=True)
class Start:
    """What this process is to a command that was started on `nodes` nodes: `node` counts from 0, which leads. `ranks`
    compute each run together, equally many on each node."""

    ranks: int
    nodes: int = 1
    node: int = 0
    idle: bool = False  # it has nothing to do
    by: str = ""  # torchrun, srun
    name: str = ""  # of this start, which all its processes know and no other has
    address: str = ""  # of the first node; '': its host name

    @property
    def leads(self) -> bool:
        """Whether this is the process that does what the command says."""
        return not (self.node or self.idle)


def started(asked: int = 1, environment: Mapping[str, str] = os.environ) -> Start:
    """What this process is, with `asked` for `--gpus-per-run`, 1 where nothing is asked.

    Raises ConfigError where the variables say something else, or ranks cannot be shared equally by the nodes.
    """
    by = next((by for by, names in NUMBERS.items() if all(environment.get(name, "").isdigit() for name in names)), "")
    processes, local, node, nodes = (int(environment[name]) for name in NUMBERS[by]) if by else (1, 0, 0, 1)
    if processes == 1:
        return Start(asked)
    ranks = processes if asked == 1 else asked
    if ranks != processes and processes != nodes:
        raise ConfigError(
            "--gpus-per-run", f"{asked}, and {by} has started {processes} processes; allowed: {processes}"
        )
    if ranks % nodes or processes % nodes:
        raise ConfigError(
            "--gpus-per-run",
            f"{ranks}, and {by} has started {processes} processes on {nodes} nodes, which compute a run with equally "
            f"many GPUs each; allowed: multiples of {nodes}",
        )
    name = "-".join([by, *(environment.get(key, "0") for key in UNIQUE[by])])
    safe = "".join(sign if sign.isalnum() or sign in "-." else "_" for sign in name)
    return Start(ranks, nodes, node, local > 0, by, safe, environment.get("MASTER_ADDR", ""))
