"""cluster.toml: every key is checked, what is proposed for a site is accepted, a site's own words are understood."""

import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.errors import ConfigError, InductiveError
from slurm import verbs
from slurm.cluster import Cluster, commented, read_cluster
from slurm.commands import SlurmError
from slurm.site import gpus_of, look, minutes_of, proposal
from slurm.submit import check_site


def test_what_is_proposed_for_a_site_is_accepted(fake: object, tmp_path: Path) -> None:
    """Reference: the fake site's own answers. The least node counts, as a job may land on it."""
    site = look()
    gpu, cpu = site.partitions
    assert (gpu.gpus, gpu.cpus, gpu.megabytes, gpu.minutes, gpu.grace) == (2, 32, 128000, 1440, 30)
    assert (cpu.gpus, cpu.minutes, cpu.preempted) == (0, None, False)
    assert (site.largest_array, site.requeue, site.accounting, site.user_signal) == (1001, True, False, False)
    verbs.cluster_init(tmp_path / "cluster.toml", Console(quiet=True))
    cluster = read_cluster(tmp_path / "cluster.toml")
    assert (cluster.partitions, cluster.gpus_per_job, cluster.cpus_per_job) == (("gpu",), 1, 16)
    assert (cluster.largest_array, cluster.minutes) == (1000, 1440)
    check_site(cluster, site, "cluster.toml")
    with pytest.raises(InductiveError, match="is there already"):
        verbs.cluster_init(tmp_path / "cluster.toml", Console(quiet=True))


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
        ("partitions = ['a']\nminutes = 1\nsignal_seconds = 60", "60 s are no part of 1 minutes"),
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
        ({"minutes": 1441}, "1441 is more than partition gpu has: 1440 minutes"),
        ({"gpus_per_job": 3}, "3 is more than partition gpu has: 2 GPUs a node"),
        ({"cpus_per_job": 33}, "33 is more"),
        ({"memory_gb": 200.0}, "200000 is more"),
        ({"largest_array": 1001}, "1001 is not below the site's MaxArraySize 1001"),
    ],
)
def test_what_a_site_will_not_do(changes: dict[str, object], said: str, fake: object) -> None:
    """sbatch --test-only accepts most of it."""
    with pytest.raises(ConfigError, match=said):
        check_site(Cluster(**{"partitions": ("gpu",), **changes}), look(), "cluster.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:a100:2(S:0),gpu:v100:1", 3), ("(null)", 0), ("shard:8,gpu:1", 1)],
)
def test_gpus(text: str, expected: int) -> None:
    """As sinfo's %G prints them on different sites."""
    assert gpus_of(text) == expected


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


def test_a_proposal_without_gpus(fake: object) -> None:
    """Runs go to CPUs, and no GPU is asked for."""
    site = look()
    from dataclasses import replace

    values, remarks = proposal(replace(site, partitions=site.partitions[1:]))
    assert (values["partitions"], values["gpus_per_job"], values["device"]) == (["cpu"], 0, "cpu")
    assert remarks["minutes"] == "no limit"
