"""What a site reports of itself, for `inductive cluster init`: partitions, their kinds of nodes, limits, accounting,
preemption; and what of a job's request no node of a partition has."""

import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.errors import ConfigError
from models.hints import did_you_mean
from slurm.cluster import Cluster
from slurm.commands import SlurmError, call, fields, user

MOST_CORES = 8  # of a job without GPUs, as `init` proposes it: small jobs start sooner, and one that dies costs less


@dataclass(frozen=True)
class Node:
    """A kind of node: its GPUs by type ("" where the site names none), CPUs, megabytes; how many nodes are of it."""

    gpus: tuple[tuple[str, int], ...]
    cpus: int
    megabytes: int
    count: int = 1

    def gpus_of(self, kind: str = "") -> int:
        """GPUs of a type, or all of them."""
        return sum(count for name, count in self.gpus if kind in ("", name))

    def fits(self, cluster: Cluster) -> bool:
        """Whether what a job asks of each of its nodes fits on one of this kind."""
        cluster = cluster.on_a_node
        enough = self.cpus >= cluster.cpus_per_job and self.megabytes >= cluster.memory_gb * 1000
        return enough and self.gpus_of(cluster.gpu_type) >= cluster.gpus_per_job

    def __str__(self) -> str:
        gpus = " + ".join(f"{count} GPUs{f' ({name})' if name else ''}" for name, count in self.gpus) or "0 GPUs"
        return f"{self.count} x {gpus}, {self.cpus} CPUs, {self.megabytes / 1000:g} GB"


@dataclass(frozen=True)
class Partition:
    """A partition: its kinds of nodes, the most common first, and its longest time (None: no limit)."""

    name: str
    nodes: tuple[Node, ...]
    minutes: int | None
    default: bool
    preempted: bool
    grace: int

    @property
    def gpu_types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for node in self.nodes for name, _ in node.gpus if name))

    @property
    def usual(self) -> Node:
        """The most common kind of node, of those with GPUs where there are any."""
        return next(iter([node for node in self.nodes if node.gpus] or self.nodes), Node((), 1, 1000))


@dataclass(frozen=True)
class Site:
    """What SLURM's commands answered; `accounts` and `qos` only where there is accounting."""

    partitions: tuple[Partition, ...]
    largest_array: int
    requeue: bool
    user_signal: bool
    accounting: bool
    accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    most_jobs: int | None = None
    accounting_error: str = ""  # why accounting did not answer


def look() -> Site:
    """Asks sinfo, scontrol and, where there is accounting, sacctmgr. Raises SlurmError where there is no SLURM."""
    config = _config(call("scontrol", "show", "config"))
    nodes = _nodes(call("sinfo", "-h", "-N", "-o", "%R|%G|%c|%m"))
    found = []
    for line in call("scontrol", "show", "partition", "-o").splitlines():
        known = fields(line)
        if "PartitionName" in known:
            found.append(_partition(known, nodes.get(known["PartitionName"], ())))
    accounting = "slurmdbd" in config.get("AccountingStorageType", "") and shutil.which("sacctmgr") is not None
    accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    accounting_error, most = "", None
    if accounting:
        try:
            accounts, qos, most = _association()
        except SlurmError as error:
            accounting_error = str(error)
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
        accounting_error,
    )


def _config(text: str) -> dict[str, str]:
    """`Key   = value` lines of `scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _nodes(text: str) -> dict[str, tuple[Node, ...]]:
    """Kinds of nodes by partition, the most common first, of equally many the smaller. `%R` is the partition's name
    without the `*` of the default."""
    counts: dict[str, Counter[Node]] = {}
    for line in filter(None, text.splitlines()):
        name, gres, cpus, megabytes = line.split("|")
        node = Node(gpus_of(gres), int(re.sub(r"\D", "", cpus)), int(re.sub(r"\D", "", megabytes)))
        counts.setdefault(name, Counter())[node] += 1
    return {
        name: tuple(
            replace(node, count=count)
            for node, count in sorted(kinds.items(), key=lambda one: (-one[1], one[0].gpus_of(), one[0].cpus))
        )
        for name, kinds in counts.items()
    }


def gpus_of(gres: str) -> tuple[tuple[str, int], ...]:
    """GPUs of a node by type: `gpu:2`, `gpu:a100:4(S:0-1),shard:8`, `(null)`."""
    found = re.findall(r"(?:^|,)gpu(?::([^:,(]+))?:(\d+)", gres)
    return tuple((name, int(count)) for name, count in found if int(count))


def _partition(known: Mapping[str, str], nodes: tuple[Node, ...]) -> Partition:
    return Partition(
        known["PartitionName"],
        nodes,
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
    """Values of a cluster.toml for a site, and what the site says that led to each."""
    with_gpus = [one for one in site.partitions if one.usual.gpus]
    first = min(with_gpus or site.partitions, key=lambda one: (not one.default, one.name))
    node = first.usual
    gpus = node.gpus_of()
    cores = max(1, node.cpus // gpus) if gpus else min(node.cpus, MOST_CORES)
    share = 1 / gpus if gpus else cores / node.cpus
    minutes = min(first.minutes or 1440, 1440)
    values: dict[str, Any] = {
        "partitions": [first.name],
        "gpus_per_job": 1 if gpus else 0,
        "runs_per_gpu": 1 if gpus else cores,
        "cpus_per_job": cores,
        "memory_gb": max(1.0, round(node.megabytes * share / 1000 * 0.9, 1)),
        "minutes": minutes,
        "signal_seconds": min(120, minutes * 15),
        "largest_array": max(1, site.largest_array - 1),
        "requeue": site.requeue,
        "device": "auto" if gpus else "cpu",
        "account": site.accounts[0] if len(site.accounts) == 1 else "",
    }
    if site.most_jobs is not None:
        values["max_jobs"] = max(1, site.most_jobs - 1)
    limit = "no limit" if first.minutes is None else f"at most {first.minutes}"
    words = "TERM, after the user's signal" if site.user_signal else "TERM alone"
    partitions = [
        f"{one.name}: {' and '.join(map(str, one.nodes)) or 'no nodes'}"
        + (f", preempted with {one.grace} s of grace by {words}" if one.preempted and one.grace else "")
        for one in site.partitions
    ]
    unknown = f"not known: {site.accounting_error}" if site.accounting_error else "none known"
    remarks = {
        "partitions": "; ".join(partitions),
        "gpu_type": "; ".join(f"{one.name}: {', '.join(one.gpu_types) or 'no types'}" for one in with_gpus)
        or "no GPUs",
        "minutes": limit,
        "largest_array": f"MaxArraySize {site.largest_array}",
        "requeue": f"JobRequeue {int(site.requeue)}",
        "account": f"yours: {', '.join(site.accounts) or unknown}" if site.accounting else "no accounting here",
        "qos": f"yours: {', '.join(site.qos) or unknown}" if site.accounting else "no accounting here",
    }
    return values, remarks


def unfit(cluster: Cluster, partition: Partition) -> tuple[str, str] | None:
    """The key of cluster.toml, and why no job of it can run in a partition: its time, or no node has the whole request,
    or the share that is asked of each of several. None where enough have."""
    name, nodes, wanted = partition.name, partition.nodes, cluster.nodes
    cluster = cluster.on_a_node
    if partition.minutes is not None and cluster.minutes > partition.minutes:
        return "minutes", f"{cluster.minutes} is more than partition {name} has: {partition.minutes} minutes"
    if (fitting := sum(node.count for node in nodes if node.fits(cluster))) >= wanted:
        return None
    there = f"partition {name} has {' and '.join(map(str, nodes)) or 'no nodes'}"
    if fitting:
        return "nodes", f"{wanted} is more than the {fitting} that have the share of a job's node; {there}"
    share = f" (on each of {wanted} nodes)" if wanted > 1 else ""
    types = partition.gpu_types
    if cluster.gpu_type and cluster.gpu_type not in types:
        known = f"it has {', '.join(types) or 'none with a type'}{did_you_mean(cluster.gpu_type, types)}"
        return "gpu_type", f"there is no GPU {cluster.gpu_type!r} in partition {name}; {known}"
    largest = (
        ("gpus_per_job", cluster.gpus_per_job, max((node.gpus_of(cluster.gpu_type) for node in nodes), default=0)),
        ("cpus_per_job", cluster.cpus_per_job, max((node.cpus for node in nodes), default=0)),
        ("memory_gb", cluster.memory_gb, max((node.megabytes / 1000 for node in nodes), default=0)),
    )
    for key, value, most in largest:
        if value > most:
            return key, f"{value:g}{share} is more than the {most:g} of the largest node; {there}"
    gpus = f"{cluster.gpus_per_job} GPUs{f' ({cluster.gpu_type})' if cluster.gpu_type else ''}"
    request = f"{gpus}, {cluster.cpus_per_job} CPUs and {cluster.memory_gb:g} GB"
    return "partitions", f"no node has {request} together{share}; {there}"


def check_site(cluster: Cluster, site: Site, place: str) -> list[str]:
    """Raises ConfigError for what this site will not do; `sbatch --test-only` lets most of it pass. Returns a warning
    for each partition that no job can run in while another takes it."""
    known = {one.name: one for one in site.partitions}
    for name in cluster.partitions:
        if name not in known:
            raise ConfigError(
                "partitions", f"there is no {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}", place
            )
    reasons = [unfit(cluster, known[name]) for name in cluster.partitions] if cluster.check_limits else []
    refused = [reason for reason in reasons if reason is not None]
    if refused and len(refused) == len(reasons):
        key, words = refused[0]
        raise ConfigError(key, f"{words} (`check_limits = false` leaves it to SLURM)", place)
    if cluster.largest_array >= site.largest_array:
        raise ConfigError(
            "largest_array", f"{cluster.largest_array} is not below the site's MaxArraySize {site.largest_array}", place
        )
    for key, value, allowed in (("account", cluster.account, site.accounts), ("qos", cluster.qos, site.qos)):
        if value and allowed and value not in allowed:
            raise ConfigError(
                key, f"{value!r} is not yours; yours are {', '.join(allowed)}{did_you_mean(value, allowed)}", place
            )
    return [f"warning: {key}: {words}" for key, words in refused]
