"""What torchrun and srun say of a process, and what it is to the command then."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.errors import ConfigError
from benchmarks.running.together.launched import Start, started


def torchrun(rank: int, ranks: int, nodes: int = 1) -> dict[str, str]:
    """The variables of one of torchrun's processes, as its documentation has them."""
    each = ranks // nodes
    numbers = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank % each, "LOCAL_WORLD_SIZE": each,
               "GROUP_RANK": rank // each, "GROUP_WORLD_SIZE": nodes, "TORCHELASTIC_RESTART_COUNT": 0,
               "MASTER_PORT": 29500}  # fmt: skip
    names = {"MASTER_ADDR": "node1.site", "TORCHELASTIC_RUN_ID": "none"}
    return {name: str(value) for name, value in {**numbers, **names}.items()}


def srun(task: int, tasks: int, nodes: int = 1) -> dict[str, str]:
    """Those of a task of srun's, by its manual; `SLURM_NNODES` and the like are there in a batch script, too."""
    each = tasks // nodes
    numbers = {"PROCID": task, "LOCALID": task % each, "NODEID": task // each, "STEP_NUM_TASKS": tasks,
               "STEP_NUM_NODES": nodes, "STEP_ID": 0, "JOB_ID": 17}  # fmt: skip
    return {f"SLURM_{name}": str(value) for name, value in numbers.items()}


TORCHRUN = Start(8, 2, 0, False, "torchrun", "torchrun-none-node1.site-29500-0", "node1.site")
SRUN = Start(8, 2, 0, False, "srun", "srun-17-0-0")


@pytest.mark.parametrize(
    ("environment", "asked", "expected"),
    [
        ({}, 1, Start(1)),
        ({}, 3, Start(3)),
        ({"RANK": "0"}, 2, Start(2)),  # not by torchrun
        ({"SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, 2, Start(2)),  # a script
        (srun(0, 1), 4, Start(4)),
        (torchrun(0, 8, 2), 1, TORCHRUN),
        (torchrun(0, 8, 2), 8, TORCHRUN),
        (torchrun(3, 8, 2), 1, replace(TORCHRUN, idle=True)),
        (torchrun(4, 8, 2), 1, replace(TORCHRUN, node=1)),
        (torchrun(5, 8, 2), 1, replace(TORCHRUN, node=1, idle=True)),
        (srun(0, 8, 2), 1, SRUN),
        (srun(4, 8, 2), 1, replace(SRUN, node=1)),
        (srun(1, 2, 2), 8, replace(SRUN, node=1)),  # a task a node, which starts four ranks
        (srun(1, 2, 2) | {"SLURM_RESTART_COUNT": "3"}, 8, replace(SRUN, node=1, name="srun-17-0-3")),
        ({**srun(1, 2, 2), **torchrun(4, 8, 2)}, 1, replace(TORCHRUN, node=1)),  # srun starts torchrun
        (torchrun(0, 4), 2, "2, and torchrun has started 4 processes; allowed: 4"),
        (srun(0, 2, 2), 3, "3, and srun has started 2 processes on 2 nodes, .* allowed: multiples of 2"),
        (srun(0, 4, 2) | {"SLURM_STEP_NUM_TASKS": "5"}, 1, "5, and srun has started 5 processes on 2 nodes"),
    ],
)
def test_what_a_process_is(environment: dict[str, str], asked: int, expected: Any) -> None:
    """References: the documentation of torchrun, the manual of srun."""
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            started(asked, environment)
    else:
        assert started(asked, environment) == expected


@pytest.mark.parametrize("variables", [torchrun, srun])
def test_one_process_leads_and_one_more_a_node_is_busy(variables: Any) -> None:
    """Of eight processes on two nodes."""
    all_of_them = [started(1, variables(number, 8, 2)) for number in range(8)]
    assert [one.leads for one in all_of_them] == [True] + [False] * 7
    assert [one.node for one in all_of_them if not one.idle] == [0, 1]
    assert len({one.name for one in all_of_them}) == 1
