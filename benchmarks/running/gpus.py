"""The GPUs that this process was given, and what it takes for several runs to share one."""

import csv
import errno
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

from benchmarks.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"
MPS = ("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")  # the variable that says where a daemon listens, and the default
ALONE = "Exclusive_Process"  # the compute mode in which a GPU takes one process, or the daemon of MPS


def given() -> tuple[str, ...]:
    """Each GPU, as CUDA_VISIBLE_DEVICES names it for a child that is to have it alone.

    Parts of a GPU (MIG) are counted as they are listed: torch sees one of them in a process, however many there are.
    """
    import torch

    names = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    if names and names[0].startswith("MIG-"):
        return tuple(name for name in names if name.startswith("MIG-"))
    count = torch.cuda.device_count()
    return tuple(names or map(str, range(count)))[:count]


def mps_runs() -> bool:
    """Whether a daemon of NVIDIA's MPS listens where this user's processes look for one. None is started here."""
    variable, usual = MPS
    return _listened_to(Path(os.environ.get(variable) or usual) / "control")


def _listened_to(place: Path) -> bool:
    """Whether a process reads from a pipe or socket, which stays behind when the process ends."""
    try:
        kind = place.stat().st_mode
        if stat.S_ISFIFO(kind):
            os.close(os.open(place, os.O_WRONLY | os.O_NONBLOCK))
        elif stat.S_ISSOCK(kind):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(place))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:  # any other is for CUDA to say
        return error.errno != errno.ENXIO  # of a pipe that nobody reads
    return True


def one_process_each() -> tuple[str, ...]:
    """The given GPUs that take one process at a time, as nvidia-smi lists them; none where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ("nvidia-smi", "--query-gpu=index,uuid,compute_mode", "--format=csv,noheader")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ()  # torch says what is wrong when it starts there
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if len(row) == 3]
    names = given()
    ours = [row for row in rows if any(name == row[0] or row[1].startswith(name) for name in names)] or rows
    return tuple(index for index, _, mode in ours if mode == ALONE)


def check_sharing(runs: int, key: str) -> str:
    """What to know where so many runs share a GPU, '' for nothing.

    Raises ConfigError, naming the option or key that asks for them, where a GPU takes one process at a time.
    """
    if runs == 1 or mps_runs():
        return ""
    if alone := one_process_each():
        raise ConfigError(
            key,
            f"{runs} runs on a GPU, and GPU {', '.join(alone)} takes one process at a time (compute mode {ALONE}); "
            "allowed: 1, or more while a daemon of MPS runs (nvidia-cuda-mps-control -d)",
        )
    return (
        f"{runs} runs share a GPU by turns: no MPS is seen ({MPS[0]}, else {MPS[1]}); while its daemon runs "
        "(nvidia-cuda-mps-control -d) they compute at the same time"
    )
