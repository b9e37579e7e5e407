"""A real SLURM cluster on this machine, for tests: a controller, two nodes with two stand-in GPUs each, accounting on
request. Two partitions: `low`, whose jobs are requeued when `high` needs their place, with a time of grace. A mixed one
is as many sites are: the GPUs have types, `low` has a third node without any, and tasks are bound to their CPUs.

It needs root and the packages `slurm-wlm` and `munge` (with accounting also `slurmdbd` and `mariadb-server`) of Debian
or Ubuntu. Every address is 127.0.0.1. By hand: `python tests/cluster/testbed.py up DIR [--accounting] [--user-signal]
[--mixed]`, then `down DIR`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from warm import Warm

NODES = ("node1", "node2")
WITHOUT_GPUS = "node3"  # of a mixed cluster
TYPES = {"node1": "small", "node2": "large"}  # of a mixed cluster's GPUs
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "sinfo")
FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr")
GRACE, LARGEST_ARRAY = 20, 64


def missing(accounting: bool = False) -> list[str]:
    """What this machine lacks for a cluster."""
    programs = [*NEEDED, *(FOR_ACCOUNTING if accounting else ())]
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return ([] if os.getuid() == 0 else ["root"]) + [name for name in programs if shutil.which(name, path=path) is None]


class Testbed:
    """A cluster in a folder, whose name should be short: a socket's path has room for a hundred letters."""

    __test__ = False  # no test of pytest's

    def __init__(self, folder: Path, port: int = 18200):
        self.folder, self.port = folder, port
        self.warm: Warm | None = None  # what commands are forked from; otherwise each starts Python
        self.nodes: tuple[str, ...] = NODES
        self.database: subprocess.Popen[bytes] | None = None  # when started by this process
        self.conf = folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

    def call(self, *command: str, seconds: float = 60) -> str:
        """A command of the cluster's; raises CalledProcessError with what it said."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def up(self, accounting: bool = False, user_signal: bool = False, mixed: bool = False) -> None:
        """Starts everything and waits until all nodes are idle."""
        self.nodes = (*NODES, WITHOUT_GPUS) if mixed else NODES
        for name in ("state", "dev", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True)
        for number in range(4):
            os.mknod(self.folder / "dev" / f"gpu{number}", 0o20666, os.makedev(1, 3))  # the null device
        self._munge()
        if accounting:
            self._accounting()
        self._write(accounting, user_signal, mixed)
        self._spawn("slurmctld")
        self._wait("the controller", lambda: self.call("scontrol", "ping"))
        for node in self.nodes:
            self._spawn("slurmd", "-N", node)
        self._wait("the nodes", lambda: self._idle(self.nodes))

    def down(self) -> None:
        """Ends every job and daemon and removes the folder."""
        with suppress(subprocess.SubprocessError):
            self.call("scancel", "--user=root", "--quiet")
            time.sleep(1)
        for node in (*NODES, WITHOUT_GPUS):
            self.kill_node(node)
        for name in ("slurmctld.pid", "slurmdbd.pid", "database/mariadb.pid"):
            with suppress(OSError, ValueError):
                pid = int((self.folder / name).read_text())
                os.kill(pid, signal.SIGTERM)
                if self.database is not None and self.database.pid == pid:
                    self.database.wait(60)
                self._wait(f"the end of {name}", lambda pid=pid: not Path(f"/proc/{pid}").exists())
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        """As it was once it was up: no jobs, the partition open, all nodes idle. Raises TimeoutError where it is not
        to be had."""
        self.call("scancel", "--user=root", "--quiet")
        self.call("scontrol", "update", "partition=low", "state=up")
        self._wait("the queue to be empty", lambda: not self.call("squeue", "-h").strip())
        self._wait("the nodes", lambda: self._idle(self.nodes))

    def kill_node(self, node: str) -> None:
        """What a power failure is: the node's daemons first, so that nobody reports, then all that runs there."""
        with suppress(OSError, ValueError):
            os.kill(int((self.folder / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)
        log = str(self.folder / f"slurmd-{node}.log")
        for pid in _processes():
            with suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name == "slurmstepd" and any(str(fd.readlink()) == log for fd in Path(f"/proc/{pid}/fd").iterdir()):
                    os.kill(pid, signal.SIGKILL)
        for pid in _processes():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if f"SLURMD_NODENAME={node}".encode() in words and f"SLURM_CONF={self.conf}".encode() in words:
                    os.kill(pid, signal.SIGKILL)

    def start_node(self, node: str) -> None:
        """Brings a killed node back."""
        with suppress(subprocess.CalledProcessError):
            self.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        self._spawn("slurmd", "-N", node)
        self._wait(node, lambda: self.call("sinfo", "-h", "-N", "-n", node, "-o", "%t").split()[0] in ("idle", "mix"))

    def _spawn(self, *command: str) -> None:
        subprocess.run(command, env=self.environment, check=True, timeout=60, stdin=subprocess.DEVNULL)

    def _idle(self, nodes: tuple[str, ...]) -> bool:
        return self.call("sinfo", "-h", "-N", "-p", "low", "-t", "idle", "-o", "%N").split() == list(nodes)

    def _wait(self, what: str, ready: Callable[[], object], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(subprocess.CalledProcessError):
                if ready():
                    return
            time.sleep(0.2)
        raise TimeoutError(f"waited {seconds:.0f} s for {what}; the logs are in {self.folder}")

    def _munge(self) -> None:
        with Path("/run/inductive-test-munge").open("w") as one, _locked(one):  # clusters side by side share its daemon
            if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
                return
            shutil.rmtree("/run/munge", ignore_errors=True)
            Path("/run/munge").mkdir(mode=0o755)
            shutil.chown("/run/munge", "munge", "munge")
            subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged"], check=True, timeout=30)
            self._wait("munge", lambda: self.call("munge", "-n"))

    def _accounting(self) -> None:
        base = self.folder / "database"
        base.mkdir()
        shutil.chown(base, "mysql")
        self.folder.chmod(0o755)
        options = ["--no-defaults", "--user=mysql", f"--datadir={base}/data"]
        subprocess.run(["mariadb-install-db", *options], check=True, capture_output=True, timeout=120)
        more = [f"--socket={base}/s", f"--pid-file={base}/mariadb.pid", f"--port={self.port + 3}"]
        more += ["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
        with (self.folder / "mariadb.log").open("wb") as log:
            self.database = subprocess.Popen(
                ["mariadbd", *options, *more], stdout=log, stderr=log, start_new_session=True
            )
        sql = ["mariadb", "--no-defaults", "-S", f"{base}/s", "-e"]
        self._wait("the database", lambda: self.call(*sql, "select 1"))
        self.call(
            *sql,
            "create database slurm; create user 'slurm'@'127.0.0.1' identified by 'test'; "
            "grant all on slurm.* to 'slurm'@'127.0.0.1'",
        )
        conf = self.folder / "slurmdbd.conf"
        settings = {
            **{"AuthType": "auth/munge", "DbdHost": "localhost", "DbdAddr": "127.0.0.1", "DbdPort": self.port + 2},
            **{"SlurmUser": "root", "StorageType": "accounting_storage/mysql", "StorageHost": "127.0.0.1"},
            **{"StoragePort": self.port + 3, "StorageUser": "slurm", "StoragePass": "test", "StorageLoc": "slurm"},
            **{"LogFile": self.folder / "slurmdbd.log", "PidFile": self.folder / "slurmdbd.pid"},
        }
        conf.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        conf.chmod(0o600)
        self.conf.write_text(
            "ClusterName=test\nSlurmctldHost=localhost\nAuthType=auth/munge\n"
            "AccountingStorageType=accounting_storage/slurmdbd\n"
            f"AccountingStorageHost=127.0.0.1\nAccountingStoragePort={self.port + 2}\n"
        )
        self._spawn("slurmdbd")
        self._wait("accounting", lambda: self.call("sacctmgr", "-n", "list", "cluster") is not None)
        for command in (
            ("add", "cluster", "test"),
            ("add", "account", "lab", "cluster=test"),
            ("add", "user", "root", "account=lab"),
        ):
            with suppress(subprocess.CalledProcessError):  # what is there already
                self.call("sacctmgr", "-i", *command)

    def _write(self, accounting: bool, user_signal: bool, mixed: bool) -> None:
        host, folder = socket.gethostname(), self.folder
        settings: dict[str, object] = {
            **{"ClusterName": "test", "SlurmctldHost": f"{host}(127.0.0.1)", "SlurmUser": "root", "SlurmdUser": "root"},
            **{"AuthType": "auth/munge", "AuthInfo": "cred_expire=5", "StateSaveLocation": folder / "state"},
            **{"SlurmdSpoolDir": f"{folder}/spool/%n", "SlurmctldPidFile": folder / "slurmctld.pid"},
            **{"SlurmdPidFile": f"{folder}/slurmd-%n.pid", "SlurmctldLogFile": folder / "slurmctld.log"},
            **{"SlurmdLogFile": f"{folder}/slurmd-%n.log", "SlurmctldPort": self.port + 1},
            **{"ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none", "MpiDefault": "none"},
            **{"ReturnToService": 2, "SlurmdTimeout": 10, "KillWait": 5, "MaxArraySize": LARGEST_ARRAY},
            **{"SchedulerType": "sched/backfill", "SchedulerParameters": "bf_interval=1,sched_interval=1"},
            **{"SelectType": "select/cons_tres", "SelectTypeParameters": "CR_Core", "GresTypes": "gpu"},
            **{"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE"},
            **{"JobAcctGatherType": "jobacct_gather/linux", "JobAcctGatherFrequency": 1},
        }
        if user_signal:
            settings["SlurmctldParameters"] = "preempt_send_user_signal"
        if mixed:
            settings |= {"TaskPlugin": "task/affinity", "TaskPluginParam": "cores"}  # a task has the cores it asks for
        if accounting:
            settings["AccountingStorageType"] = "accounting_storage/slurmdbd"
            settings |= {"AccountingStorageHost": "127.0.0.1", "AccountingStoragePort": self.port + 2}
            settings["AccountingStorageTRES"] = "gres/gpu"
        else:
            settings["AccountingStorageType"] = "accounting_storage/none"
        lines = [f"{key}={value}" for key, value in settings.items()]
        place = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN"
        types = {node: f":{TYPES[node]}" if mixed else "" for node in NODES}
        for number, node in enumerate(NODES):
            gpus = f"Gres=gpu{types[node]}:2"
            lines.append(f"NodeName={node} {place} Port={self.port + 11 + number} RealMemory=8000 {gpus}")
        if mixed:
            lines.append(f"NodeName={WITHOUT_GPUS} {place} Port={self.port + 13} RealMemory=16000")
        both = ",".join(NODES)
        every = f"{both},{WITHOUT_GPUS}" if mixed else both
        lines.append(f"PartitionName=low Nodes={every} Default=YES MaxTime=60 PriorityTier=1 GraceTime={GRACE}")
        lines.append(f"PartitionName=high Nodes={both} MaxTime=60 PriorityTier=10 PreemptMode=OFF")
        self.conf.write_text("\n".join(lines) + "\n")
        devices = [
            f"NodeName={node} Name=gpu {f'Type={TYPES[node]} ' if mixed else ''}"
            f"File={folder}/dev/gpu[{2 * number}-{2 * number + 1}]"
            for number, node in enumerate(NODES)
        ]
        (folder / "gres.conf").write_text("\n".join(devices) + "\n")


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _processes() -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*"):
        yield int(path.name)


@contextmanager
def cluster(
    folder: Path, accounting: bool = False, user_signal: bool = False, mixed: bool = False, port: int = 18200
) -> Iterator[Testbed]:
    """A cluster for as long as the context lasts."""
    bed = Testbed(folder, port)
    folder.mkdir(parents=True)
    try:
        bed.up(accounting, user_signal, mixed)
        yield bed
    finally:
        bed.down()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["up", "down", "kill-node", "start-node"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("node", nargs="?")
    parser.add_argument("--accounting", action="store_true")
    parser.add_argument("--user-signal", action="store_true")
    parser.add_argument("--mixed", action="store_true")
    given = parser.parse_args()
    bed = Testbed(given.folder.resolve())
    if given.verb == "up":
        bed.folder.mkdir(parents=True)
        bed.up(given.accounting, given.user_signal, given.mixed)
        print(f"export SLURM_CONF={bed.conf}")
    elif given.verb == "down":
        bed.down()
    elif given.verb == "kill-node":
        bed.kill_node(given.node)
    else:
        bed.start_node(given.node)


if __name__ == "__main__":
    main()
