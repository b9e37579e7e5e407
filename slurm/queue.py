"""What SLURM says of our jobs: squeue first, accounting as a hint. Silence is not absence."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from slurm.commands import SECONDS, SilentError, SlurmError, call, fields
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


FORMAT = "%i|%T|%r|%L|%N|%j"  # the name is the last: it alone may hold the sign between them
HINT_SECONDS = 3.0  # that accounting is waited for
IDS_A_CALL = 500  # ids, or names, that one call of squeue is given
UNKNOWN = "Invalid job id"  # squeue's word for a single id that it has forgotten; of several it leaves such out


def queue(ids: Iterable[str], names: Iterable[str] = (), seconds: float = SECONDS) -> dict[str, Queued]:
    """Jobs by id, ended ones that SLURM remembers included: those of these ids (of an array: all its elements) and of
    these names, whoever's they are. Raises SilentError when the controller is silent."""
    found: dict[str, Queued] = {}
    for option, several in (("--jobs", sorted(set(ids))), ("--name", sorted(set(names)))):
        for start in range(0, len(several), IDS_A_CALL):
            given = ",".join(several[start : start + IDS_A_CALL])
            try:
                text = call("squeue", "-h", "-r", "-t", "all", f"{option}={given}", "-o", FORMAT, seconds=seconds)
            except SilentError:
                raise
            except SlurmError as error:
                if UNKNOWN not in str(error):
                    raise
                continue
            for line in text.splitlines():
                parts = line.split("|", FORMAT.count("|"))
                if len(parts) == 6:
                    id, state, reason, left, nodes, name = parts
                    found[id] = Queued(id, name, state, reason, left, nodes)
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


@lru_cache(maxsize=1000)
def accounted_states(job: str) -> dict[str, str]:
    """How the elements of an array ended, by accounting; those that it knows no end of are missing."""
    if shutil.which("sacct") is None:
        return {}
    try:
        text = call("sacct", "-X", "-n", "-P", "-j", job, "--format=jobid,state", seconds=HINT_SECONDS)
    except SlurmError:
        return {}
    rows = (line.split("|") for line in text.splitlines() if "|" in line)
    return {row[0]: word for row in rows if (word := row[1].partition(" ")[0]) in OVER}
