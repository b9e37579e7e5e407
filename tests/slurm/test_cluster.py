"""cluster.toml: every key is checked, what is proposed for a site is accepted, a site's own words are understood."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.errors import ConfigError, InductiveError
from slurm.check import write_cluster
from slurm.cluster import Cluster, commented, read_cluster
from slurm.commands import SlurmError
from slurm.executor import parameters
from slurm.site import Node, check_site, gpus_of, look, minutes_of, proposal
from slurm.submit import slot_of


def test_what_is_proposed_for_a_site_is_accepted(fake: object, tmp_path: Path) -> None:
    """Reference: the fake site's own answers. Of kinds of nodes that are equally many the smaller counts."""
    site = look()
    gpu, cpu, mixed = site.partitions
    assert gpu.nodes == (Node((("a100", 2),), 32, 128000), Node((("a100", 4),), 64, 256000))
    assert (gpu.minutes, gpu.grace) == (1440, 30)
    assert (cpu.nodes, cpu.minutes, cpu.preempted) == ((Node((), 40, 160000),), None, False)
    assert [node.count for node in mixed.nodes] == [3, 2, 1]
    assert (mixed.usual, mixed.gpu_types) == (Node((("v100", 2),), 16, 64000, 2), ("v100", "a100"))
    assert (site.largest_array, site.requeue, site.accounting, site.user_signal) == (1001, True, False, False)
    write_cluster(tmp_path / "cluster.toml", Console(quiet=True))
    cluster = read_cluster(tmp_path / "cluster.toml")
    assert (cluster.partitions, cluster.gpus_per_job, cluster.cpus_per_job) == (("gpu",), 1, 16)
    assert (cluster.largest_array, cluster.minutes) == (1000, 1440)
    check_site(cluster, site, "cluster.toml")
    with pytest.raises(InductiveError, match="is there already"):
        write_cluster(tmp_path / "cluster.toml", Console(quiet=True))


def test_every_key_is_written_and_read_back(tmp_path: Path) -> None:
    """Reference: the values given, in TOML's own reading."""
    values = {
        "partitions": ["a", 'b"c'],
        "setup": ["module load cuda", "export A='1'"],
        "options": {"constraint": "a100"},
    }
    text = commented(values, {"minutes": "at most 60"})
    found = tomllib.loads(text)
    assert set(found) == set(Cluster.model_fields)
    assert {key: found[key] for key in values} == values
    assert "(at most 60)" in text
    (tmp_path / "c.toml").write_text(text)
    assert read_cluster(tmp_path / "c.toml").options == {"constraint": "a100"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "partitions: Field required"),
        ("partitions = []", "at least one"),
        ("partitions = ['a']\nminuts = 3", "minuts: unknown; allowed: partitions, .*did you mean `minutes`"),
        ("partitions = ['a']\nminutes = 0", "minutes: Input should be greater than or equal to 1"),
        ("partitions = ['a']\nminutes = '60'", "minutes: Input should be a valid integer"),
        (
            "partitions = ['a']\nminutes = 1\nsignal_seconds = 31",
            "minutes: 1 is less than twice signal_seconds = 31,.* from 1.03333, or signal_seconds up to 30",
        ),
        ("partitions = ['a']\nsrun_args = ['-n', '2']", "'-n': write each as one word, --option or --option=value"),
        ("partitions = ['a']\nsrun_args = ['--output=x']", "'--output=x' is set by other keys, or by the suite"),
        ("partitions = ['a']\nlaunch = ['apptainer', '']", "'' is no word of a command line"),
        (
            "partitions = ['a']\noptions = { mem-per-cpu = '4G' }",
            "options: mem-per-cpu contradicts memory_gb = 16; with memory_gb = 0 it is allowed",
        ),
        ("partitions = ['a']\ngpus_per_job = 0\ngpu_type = 'a100'", "gpu_type: 'a100' while gpus_per_job = 0"),
        (
            "partitions = ['a']\ngpus_per_job = 6\ngpus_per_run = 4",
            "gpus_per_run: 4 does not divide gpus_per_job = 6; allowed: 1, 2, 3, 6",
        ),
        (
            "partitions = ['a']\ngpus_per_job = 0\nruns_per_gpu = 4\ngpus_per_run = 3",
            "gpus_per_run: 3 does not divide runs_per_gpu = 4; allowed: 1, 2, 4",
        ),
        (
            "partitions = ['a']\nnodes = 2\ngpus_per_job = 3\ngpus_per_run = 3",
            "gpus_per_job: 3 cannot be shared equally by nodes = 2",
        ),
        (
            "partitions = ['a']\nnodes = 2\ngpus_per_job = 8\ngpus_per_run = 4",
            "gpus_per_run: 4 with nodes = 2, .* one run at a time by all of its 8; allowed: 8, a multiple of nodes",
        ),
        (
            "partitions = ['a']\nnodes = 2\ngpus_per_job = 8\ngpus_per_run = 8\nruns_per_gpu = 2",
            "runs_per_gpu: 2 with nodes = 2; allowed: 1",
        ),
        ("partitions = ['a']\npython = 'uv run python'", "absolute path of an interpreter"),
        ("partitions = ['a']\npython = '/usr/bin/python; rm -rf /'", "absolute path of an interpreter"),
        ("partitions = ['a']\noptions = { time = '1:00' }", "time are set by other keys"),
        ("partitions = ['a']\ndevice = 'gpu'", "device: Input should be 'auto', 'cuda' or 'cpu'"),
        ("partitions = [", "Invalid value"),
    ],
)
def test_bad_files(text: str, said: str, tmp_path: Path) -> None:
    """The file, the key, what is allowed, the nearest."""
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_cluster(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Says who writes one."""
    with pytest.raises(ConfigError, match="`inductive cluster init` writes one"):
        read_cluster(tmp_path / "cluster.toml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partitions": ("gpus",)}, "there is no 'gpus'; there are gpu, cpu.*did you mean `gpu`"),
        ({"minutes": 1441}, "1441 is more than partition gpu has: 1440 minutes .`check_limits = false` leaves it to"),
        ({"gpus_per_job": 5}, "gpus_per_job: 5 is more than the 4 of the largest node; partition gpu has 1 x 2 GPUs"),
        ({"cpus_per_job": 65}, "cpus_per_job: 65 is more than the 64"),
        ({"memory_gb": 257.0}, "memory_gb: 257 is more than the 256"),
        ({"partitions": ("cpu",)}, r"1 is more than the 0 of the largest node; .* 1 x 0 GPUs, 40 CPUs, 160 GB"),
        ({"gpu_type": "a10"}, "gpu_type: there is no GPU 'a10' in partition gpu; it has a100; did you mean `a100`"),
        (
            {"partitions": ("mixed",), "memory_gb": 400.0},  # the nodes with that memory have no GPU
            r"partitions: no node has 1 GPUs, 2 CPUs and 400 GB together; partition mixed has 3 x 0 GPUs, 40 CPUs",
        ),
        (
            {"partitions": ("mixed",), "gpu_type": "v100", "memory_gb": 200.0},  # only the a100 has as much
            r"partitions: no node has 1 GPUs \(v100\), 2 CPUs and 200 GB together",
        ),
        ({"partitions": ("mixed",), "gpu_type": "v100", "gpus_per_job": 3}, "3 is more than the 2 of the largest node"),
        (
            {"nodes": 2, "gpus_per_job": 10, "gpus_per_run": 10},
            r"gpus_per_job: 5 \(on each of 2 nodes\) is more than the 4 of the largest node",
        ),
        (
            {"nodes": 2, "gpus_per_job": 8, "gpus_per_run": 8},  # one node has four
            "nodes: 2 is more than the 1 that have the share of a job's node; partition gpu has 1 x 2 GPUs",
        ),
        ({"largest_array": 1001}, "1001 is not below the site's MaxArraySize 1001"),
    ],
)
def test_what_a_site_will_not_do(changes: dict[str, object], said: str, fake: object) -> None:
    """sbatch --test-only accepts most of it."""
    with pytest.raises(ConfigError, match=said):
        check_site(Cluster(**{"partitions": ("gpu",), **changes}), look(), "cluster.toml")


@pytest.mark.parametrize(
    "keys",
    [
        {"partitions": ("gpu",), "gpus_per_job": 3},  # the larger of two nodes has as many
        {"partitions": ("gpu",), "nodes": 2, "gpus_per_job": 4, "gpus_per_run": 4, "memory_gb": 160.0},
        {"partitions": ("mixed",), "gpus_per_job": 4, "cpus_per_job": 64, "memory_gb": 256.0},
        {"partitions": ("mixed",), "gpu_type": "v100"},
        {"partitions": ("mixed",), "gpus_per_job": 0, "memory_gb": 500.0},
        {"partitions": ("cpu",), "gpus_per_job": 1, "minutes": 10**6, "check_limits": False},
    ],
)
def test_what_some_node_has_is_no_limit(keys: dict[str, object], fake: object) -> None:
    """Nor what a user says is right all the same."""
    assert check_site(Cluster(**keys), look(), "cluster.toml") == []


def test_a_partition_that_no_job_can_run_in(fake: object) -> None:
    """It is named while another takes the jobs, as SLURM's own default has it (EnforcePartLimits=NO)."""
    [said] = check_site(Cluster(partitions=("cpu", "gpu")), look(), "cluster.toml")
    assert re.search("warning: gpus_per_job: 1 is more than the 0 .* partition cpu has 1 x 0 GPUs, 40 CPUs", said)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu:2", {"": 2}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:2(S:0),gpu:v100:1", {"a100": 2, "v100": 1}),
        ("(null)", {}),
        ("shard:8,gpu:1", {"": 1}),
        ("gpu:a100_1g.5gb:7", {"a100_1g.5gb": 7}),
    ],
)
def test_gpus(text: str, expected: dict[str, int]) -> None:
    """As sinfo's %G prints them on different sites."""
    assert dict(gpus_of(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("UNLIMITED", None), ("60", 60), ("01:00:00", 60), ("1-00:00:00", 1440), ("2-12", 3600), ("05:30", 5)],
)
def test_minutes(text: str, expected: int | None) -> None:
    """SLURM's forms of a time limit (sbatch(1), --time)."""
    assert minutes_of(text) == expected


def test_no_slurm_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line that says what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="there is no `scontrol` here: is this a login node"):
        look()


def test_slurms_commands_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In plain words. Reference: what Debian's slurm-client 22.05 prints without a configuration."""
    lines = ("resolve_ctls_from_dns_srv: res_nsearch error: Unknown host", "fetch_config: DNS SRV lookup failed")
    said = "".join(f"echo 'scontrol: error: {line}' >&2; " for line in lines)
    script = f"#!/bin/sh\n{said}echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1\n"
    (tmp_path / "scontrol").write_text(script)
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(SlurmError, match=r"there is no SLURM cluster: .* login node of the cluster") as caught:
        look()
    assert "res_nsearch" not in str(caught.value)


def test_a_proposal_without_gpus(fake: object) -> None:
    """Runs go to CPUs, and no GPU is asked for: as many side by side as a job has cores, with their share of memory."""
    site = look()
    values, remarks = proposal(replace(site, partitions=site.partitions[1:2]))
    assert (values["partitions"], values["gpus_per_job"], values["device"]) == (["cpu"], 0, "cpu")
    assert (values["cpus_per_job"], values["runs_per_gpu"], values["memory_gb"]) == (8, 8, 28.8)
    assert remarks["minutes"] == "no limit"
    assert Cluster(**{**values, "partitions": ("cpu",)}).slots == 8


def test_what_the_job_that_only_submits_asks_for() -> None:
    """No GPU, whatever runs need, and nothing that the site should choose."""
    runs = Cluster(
        partitions=("gpu",),
        gpu_type="a100",
        gpus_per_job=4,
        cpus_per_job=32,
        memory_gb=200.0,
        minutes=1440,
        signal_seconds=1200,
        options={"gres": "gpu:a100:4", "exclusive": True, "reservation": "lab"},
    )
    least = runs.only_submits
    assert (least.gpus_per_job, least.gpu_type, least.cpus_per_job, least.memory_gb) == (0, "", 1, 4.0)
    assert (least.minutes, least.signal_seconds, least.options) == (30, 900, {"reservation": "lab"})
    assert least.partitions == ("gpu",)
    assert Cluster(**least.model_dump()) == least  # it is a cluster.toml that is allowed
    unsaid = Cluster(partitions=("gpu",), dependent_partition="cpu", cpus_per_job=0, memory_gb=0.0).only_submits
    assert (unsaid.partitions, unsaid.cpus_per_job, unsaid.memory_gb) == (("cpu",), 0, 0)


def test_what_a_job_on_two_nodes_asks_for(tmp_path: Path) -> None:
    """Its keys are of the whole job, SLURM's options of a node; what only submits, and what looks around, has one."""
    runs = Cluster(partitions=("gpu",), nodes=2, gpus_per_job=16, gpus_per_run=16, cpus_per_job=32, memory_gb=400.0)
    asked = parameters(tmp_path, runs, "inductive-x")
    names = ("nodes", "ntasks_per_node", "gpus_per_node", "cpus_per_task", "mem")
    assert [asked[name] for name in names] == [2, 1, "8", 16, "200000M"]
    assert runs.slots == 1
    for other in (runs.only_submits, runs.on_a_node):
        assert parameters(tmp_path, other, "inductive-x")["nodes"] == 1
        assert Cluster(**other.model_dump()) == other  # it is a cluster.toml that is allowed
    assert (runs.on_a_node.gpus_per_job, runs.on_a_node.cpus_per_job, runs.on_a_node.memory_gb) == (8, 16, 200.0)


def test_a_proposal_for_a_mixed_partition(fake: object) -> None:
    """By its most common nodes with GPUs, though it has more without."""
    site = look()
    values, remarks = proposal(replace(site, partitions=site.partitions[2:]))
    assert (values["gpus_per_job"], values["cpus_per_job"], values["memory_gb"]) == (1, 8, 28.8)
    assert remarks["gpu_type"] == "mixed: v100, a100"
    assert "3 x 0 GPUs, 40 CPUs, 500 GB and 2 x 2 GPUs (v100), 16 CPUs, 64 GB and 1 x 4 GPUs" in remarks["partitions"]
    check_site(Cluster(**{**values, "partitions": ("mixed",)}), site, "cluster.toml")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"device": "cpu", "runs_per_gpu": 4}, ("cpu", "", 1, 0.0)),
        ({"gpus_per_job": 0, "runs_per_gpu": 4}, ("cpu", "", 1, 0.0)),
        ({"gpu_type": "a100", "runs_per_gpu": 4}, ("cuda", "a100", 4, 0.0)),
        ({"device": "cpu", "tflops": 0.5}, ("cpu", "", 1, 0.5)),
    ],
)
def test_what_a_run_is_forecast_on(keys: dict[str, object], expected: tuple[str, str, int, float]) -> None:
    """Goes by what runs compute on: a core, or its share of a GPU of the type that is asked for."""
    slot = slot_of(Cluster(**{"partitions": ("a",), **keys}))
    assert (slot.device, slot.gpu, slot.runs_per_gpu, slot.tflops) == expected
