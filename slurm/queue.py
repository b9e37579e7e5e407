"""What SLURM says of our jobs: squeue first, accounting as a hint. Silence is not absence."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slurm.commands import SECONDS, SilentError, SlurmError, call, fields, user
from slurm.ledger import Array

OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "CONFIGURING", "REQUEUE_FED"}


@dataclass(frozen=True)
class Queued:
    """A job, or an element of an array, as squeue shows it."""

    id: str  # 17, or 17_3
    name: str
    state: str
    reason: str
    left: str  # of its time limit
    nodes: str

    @property
    def over(self) -> bool:
        """Whether it has ended, though SLURM still remembers it."""
        return self.state in OVER

    @property
    def waiting(self) -> bool:
        return self.state in WAITING


def queue() -> dict[str, Queued]:
    """Our jobs by id, ended ones that SLURM remembers included. Raises SilentError when the controller is silent."""
    text = call("squeue", "-h", "-r", "-t", "all", "-u", user(), "-o", "%i|%j|%T|%r|%L|%N")
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) == 6:
            found[parts[0]] = Queued(*parts)
    return found


def in_queue(found: Sequence[Array], queue: Mapping[str, Queued]) -> dict[str, Queued]:
    """By run id: the job that has the run on its list and is waiting or running."""
    taken: dict[str, Queued] = {}
    for array in found:
        if array.state != "submitted":
            continue
        for number, job in enumerate(array.jobs):
            one = queue.get(array.element(number))
            if one is not None and one.name == array.name and not one.over:
                taken |= dict.fromkeys(job, one)
    return taken


def job_facts(job: str, seconds: float = SECONDS) -> dict[str, str]:
    """What `scontrol show job` says of one job, {} when SLURM has forgotten it. Raises SilentError, after so many
    seconds at the latest."""
    try:
        return fields(call("scontrol", "show", "job", "-o", job, seconds=seconds))
    except SilentError:
        raise
    except SlurmError:
        return {}


def accounted(name: str) -> list[str]:
    """Ids of jobs of this name by accounting; none where there is none or it does not answer."""
    if shutil.which("sacct") is None:
        return []
    try:
        text = call("sacct", "-X", "-n", "-P", f"--name={name}", "--format=jobid", "--starttime=now-30days")
    except SlurmError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
