"""What a site says of itself, for `inductive cluster init`: partitions, GPUs, limits, accounting, preemption."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slurm.commands import SlurmError, call, fields, user


@dataclass(frozen=True)
class Partition:
    """A partition: its nodes' GPUs, CPUs and megabytes (the least of them), its longest time (None: no limit)."""

    name: str
    gpus: int
    cpus: int
    megabytes: int
    minutes: int | None
    default: bool
    preempted: bool
    grace: int


@dataclass(frozen=True)
class Site:
    """What commands said; `accounts` and `qos` only where there is accounting."""

    partitions: tuple[Partition, ...]
    largest_array: int
    requeue: bool
    user_signal: bool
    accounting: bool
    accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    most_jobs: int | None = None
    said: tuple[str, ...] = field(default=())


def look() -> Site:
    """Asks sinfo, scontrol and, where there is accounting, sacctmgr. Raises SlurmError where there is no SLURM."""
    config = _config(call("scontrol", "show", "config"))
    nodes = _nodes(call("sinfo", "-h", "-N", "-o", "%R|%G|%c|%m"))
    found = []
    for line in call("scontrol", "show", "partition", "-o").splitlines():
        known = fields(line)
        if "PartitionName" in known:
            found.append(_partition(known, nodes.get(known["PartitionName"], [])))
    accounting = "slurmdbd" in config.get("AccountingStorageType", "") and shutil.which("sacctmgr") is not None
    accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    most = None
    if accounting:
        try:
            accounts, qos, most = _association()
        except SlurmError as error:
            said = (f"accounting: {error}",)
    parameters = f"{config.get('SlurmctldParameters', '')},{config.get('PreemptParameters', '')}"
    return Site(
        tuple(found),
        int(config.get("MaxArraySize", "1001")),
        config.get("JobRequeue", "1") == "1",
        "send_user_signal" in parameters,
        accounting,
        accounts,
        qos,
        most,
        said,
    )


def _config(text: str) -> dict[str, str]:
    """`Key   = value` lines of `scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _nodes(text: str) -> dict[str, list[tuple[int, int, int]]]:
    """GPUs, CPUs and megabytes of each node, by partition. `%R` is the name without the `*` of the default."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for line in filter(None, text.splitlines()):
        name, gres, cpus, megabytes = line.split("|")
        found.setdefault(name, []).append(
            (gpus_of(gres), int(re.sub(r"\D", "", cpus)), int(re.sub(r"\D", "", megabytes)))
        )
    return found


def gpus_of(gres: str) -> int:
    """GPUs of a node: `gpu:2`, `gpu:a100:4(S:0-1),shard:8`, `(null)`."""
    counts = re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d+)", gres)
    return sum(int(count) for count in counts)


def _partition(known: Mapping[str, str], nodes: list[tuple[int, int, int]]) -> Partition:
    gpus, cpus, megabytes = (min(values) for values in zip(*nodes, strict=True)) if nodes else (0, 1, 1000)
    return Partition(
        known["PartitionName"],
        gpus,
        cpus,
        megabytes,
        minutes_of(known.get("MaxTime", "UNLIMITED")),
        known.get("Default") == "YES",
        known.get("PreemptMode", "OFF") != "OFF",
        int(known.get("GraceTime", "0") or 0),
    )


def minutes_of(text: str) -> int | None:
    """Minutes of a time limit: `minutes[:seconds]`, `hours:minutes:seconds`, `days-hours[:minutes[:seconds]]`; None for
    UNLIMITED."""
    if text in ("UNLIMITED", "INFINITE", "NONE"):
        return None
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        hours, minutes = (*parts, 0)[:2]
        return int(days) * 1440 + hours * 60 + minutes
    return parts[0] * 60 + parts[1] if len(parts) == 3 else parts[0]


def _association() -> tuple[tuple[str, ...], tuple[str, ...], int | None]:
    """Accounts and QOS that we may use, and the least of our limits on jobs submitted."""
    text = call("sacctmgr", "-n", "-P", "show", "assoc", f"user={user()}", "format=account,qos,maxsubmitjobs")
    rows = [line.split("|") for line in text.splitlines() if line]
    accounts = tuple(dict.fromkeys(row[0] for row in rows if row[0]))
    qos = tuple(dict.fromkeys(name for row in rows for name in row[1].split(",") if name))
    limits = [int(row[2]) for row in rows if row[2].isdigit()]
    return accounts, qos, min(limits, default=None)


def proposal(site: Site) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of a cluster.toml for a site, and what the site said that led to each."""
    with_gpus = [one for one in site.partitions if one.gpus]
    ordered = sorted(with_gpus or site.partitions, key=lambda one: (not one.default, one.name))
    first = ordered[0]
    gpus = 1 if first.gpus else 0
    share = first.gpus or 1
    minutes = min(first.minutes or 1440, 1440)
    values: dict[str, Any] = {
        "partitions": [first.name],
        "gpus_per_job": gpus,
        "cpus_per_job": max(1, first.cpus // share),
        "memory_gb": max(1.0, round(first.megabytes / share / 1000 * 0.9, 1)),
        "minutes": minutes,
        "signal_seconds": min(120, minutes * 15),
        "largest_array": max(1, site.largest_array - 1),
        "requeue": site.requeue,
        "device": "auto" if gpus else "cpu",
        **({} if gpus else {"tflops": 0.05}),
        "account": site.accounts[0] if len(site.accounts) == 1 else "",
    }
    if site.most_jobs is not None:
        values["max_jobs"] = max(1, site.most_jobs - 1)
    limit = "no limit" if first.minutes is None else f"at most {first.minutes}"
    words = "TERM, after the user's signal" if site.user_signal else "TERM alone"
    told = [
        f"{one.name}: {one.gpus} GPUs, {one.cpus} CPUs, {one.megabytes} MB a node"
        + (f", preempted with {one.grace} s of grace by {words}" if one.preempted and one.grace else "")
        for one in site.partitions
    ]
    remarks = {
        "partitions": "; ".join(told),
        "minutes": limit,
        "largest_array": f"MaxArraySize {site.largest_array}",
        "requeue": f"JobRequeue {int(site.requeue)}",
        "account": f"yours: {', '.join(site.accounts) or 'none known'}" if site.accounting else "no accounting here",
        "qos": f"yours: {', '.join(site.qos) or 'none known'}" if site.accounting else "no accounting here",
    }
    return values, remarks
