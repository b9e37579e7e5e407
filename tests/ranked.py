"""Runs that several ranks compute, started, watched and looked at by tests."""

import time
from collections.abc import Callable
from pathlib import Path

from warm import Started

from benchmarks.files import read_json

Start = Callable[..., Started]
RANKS, STEPS = 3, 20
COMMAND = (
    *("train", "--model", "conv_stem_vit", "--size", "pico", "--train-size", "100", "--recipe", "digits"),
    *("--set", "recipe.drop_path=0.3", "--set", "recipe.batch_size=24", "--gpus-per-run", str(RANKS)),
    *("--device", "cpu", "--checkpoint-every", "0.001", "--steps"),
)
SLOW = """
import os, sys, time
from benchmarks.cli.main import main
from benchmarks.training.training import Training
update = Training.update
def slow(self, read=True):
    time.sleep(0.03)
    world = self.share.world
    with open("rank-%d" % world.rank, "w") as file:
        file.write(str(os.getpid()))
    if self.step == {step} and world.rank == {rank}:
        {what}
    return update(self, read)
Training.update = slow
if __name__ == "__main__":  # the processes of runs load this file, too
    main(sys.argv[1:])
"""


def processes(runs: Path) -> list[int]:
    """Ranks of the run: the owner of its attempt, and the children of that."""
    owners = [read_json(path)["pid"] for path in sorted(runs.glob("*/attempts/*/owner.json"))[-1:]]
    return owners + [child for owner in owners for child in children(owner)]


def children(pid: int) -> list[int]:
    """Those that live, in the order in which they were started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state not in "ZX":
            found.append(int(path.parent.name))
    return sorted(found)


def alive(pids: list[int]) -> list[int]:
    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return [pid for pid in pids if lives(pid)]


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def left(runs: Path) -> dict[str, bytes]:
    names = ("weights.safetensors", "metrics.jsonl", "execution.json")
    return {name: next(runs.glob(f"*/{name}")).read_bytes() for name in names}


def folder(runs: Path) -> Path:
    return next(runs.glob("*/config.json")).parent


def checkpointed(runs: Path) -> bool:
    return any(int(path.name.split("-")[1]) >= 3 for path in runs.glob("*/checkpoint-*.pt"))
