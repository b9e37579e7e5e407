"""Runs whose ranks are on several nodes, which are processes here that srun's variables say so of: the bits, and what
becomes of a run where a rank or a whole node dies. On a real SLURM: cluster/test_sweeps.py."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import pytest
from ranked import COMMAND, SLOW, STEPS, Start, alive, checkpointed, folder, left, until
from warm import Started, Warm

from benchmarks.files import read_json
from benchmarks.records.record import read_record
from benchmarks.running.together import links

NODES, RANKS = 2, 4
FIRST = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"  # where all of 127.0.0.0/8 is this machine
ORDER = [*COMMAND, str(STEPS), "--gpus-per-run", str(RANKS)]  # the last of two counts


def srun(node: int, job: int = 1) -> Mapping[str, str]:
    """The variables of a step with a task on each node."""
    numbers = {"STEP_NUM_TASKS": NODES, "STEP_NUM_NODES": NODES, "NODEID": node, "LOCALID": 0, "JOB_ID": job}
    here = {f"SLURM_{name}": str(value) for name, value in numbers.items()}
    return {**here, "SLURM_STEP_ID": "0", "MASTER_ADDR": FIRST}


def started(start: Start, *arguments: str, job: int = 1) -> list[Started]:
    """The command on each node."""
    return [start(*arguments, environment=srun(node, job), together=True) for node in range(NODES)]


def pids(place: Path) -> list[int]:
    """Of the ranks, which have noted them."""
    return [int((place / f"rank-{rank}").read_text() or 0) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the same ranks leave on one node, undisturbed."""
    place = tmp_path_factory.mktemp("whole")
    done = warm.start(["inductive", *ORDER], place, os.environ).wait()
    assert done.returncode == 0, done.stdout + done.stderr
    return left(place / "runs")


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[str]:
    """The command, slow and with notes of its ranks, which are all gone in the end."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW.format(step=-1, rank=-1, what="pass"))
    yield str(script)
    if (tmp_path / f"rank-{RANKS - 1}").exists():
        until(lambda: not alive(pids(tmp_path)), "all ranks to end", 30)


def under_way(place: Path) -> list[int]:
    """The ranks, once there is a checkpoint."""
    until(lambda: checkpointed(place / "runs") and (place / f"rank-{RANKS - 1}").exists(), "a checkpoint")
    return pids(place)


def test_two_nodes_have_the_bits_of_one(tmp_path: Path, start: Start, whole: dict[str, bytes]) -> None:
    """Reference: the same ranks on one node. The door's address is gone once all have come, and so are the processes;
    a rerun on one node has the bits, for which on a CPU the nodes are no excuse."""
    nodes = started(start, "inductive", *ORDER)
    for node in nodes:
        done = node.wait()
        assert done.returncode == 0, done.stdout
    assert "4 together" in nodes[0].said()
    assert nodes[1].said() == ""
    assert left(tmp_path / "runs") == whole
    assert not list((tmp_path / "runs" / ".nodes").iterdir())
    about = read_json(folder(tmp_path / "runs") / "attempts" / "0001" / "environment.json")
    assert about["nodes"] == NODES
    again = start("inductive", "rerun", folder(tmp_path / "runs").name).wait()
    assert "equal: " in again.stdout, again.stdout + again.stderr
    assert "bits may differ: nodes" not in again.stdout


def test_a_record_of_one_rank_is_computed_by_one_on_two_nodes(tmp_path: Path, start: Start) -> None:
    """As it was recorded: the other node has nothing to do, and ends with the first."""
    alone = [*COMMAND, "3", "--gpus-per-run", "1"]
    assert start("inductive", *alone).wait().returncode == 0
    nodes = started(start, "inductive", "rerun", folder(tmp_path / "runs").name)
    for node in nodes:
        assert node.wait().returncode == 0, node.said()
    assert "equal: " in nodes[0].said()


def test_a_killed_rank_of_another_node(tmp_path: Path, start: Start, slow: str, whole: dict[str, bytes]) -> None:
    """SIGKILL: the run fails and says which rank died of what; the node lives, and ends with the command."""
    nodes = started(start, slow, *ORDER)
    ranks, began = under_way(tmp_path), time.monotonic()
    os.kill(ranks[3], signal.SIGKILL)
    done = nodes[0].wait(60)
    assert time.monotonic() - began < 60
    assert done.returncode == 3, done.stdout
    words = "rank 3 of 4: its process ended without a word (SIGKILL)"
    record = read_record(folder(tmp_path / "runs"))
    assert (record.state, words in record.reason) == ("failed", True), record.reason
    assert nodes[1].wait(60).returncode == 0
    for node in started(start, "inductive", *ORDER, job=2):
        assert node.wait().returncode == 0
    assert left(tmp_path / "runs") == whole


@pytest.mark.parametrize("dies", [0, 1])
def test_a_node_dies(dies: int, tmp_path: Path, start: Start, slow: str, whole: dict[str, bytes]) -> None:
    """All of its processes, its ranks first. The other node ends within a minute, and the run goes on from its last
    checkpoint to the bits of the run that nobody disturbed (the reference)."""
    nodes = started(start, slow, *ORDER)
    ranks, began = under_way(tmp_path), time.monotonic()
    for pid in (*ranks[2 * dies : 2 * dies + 2], nodes[dies].pid):
        with suppress(ProcessLookupError):  # one may have gone with another
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)  # so that the first process of a node has seen how its ranks ended
    for node in nodes:
        node.wait(60)
    assert time.monotonic() - began < 60
    until(lambda: not alive(ranks), "all ranks to end", 20)
    record = read_record(folder(tmp_path / "runs"))
    if dies:
        assert record.state == "interrupted"
        assert nodes[0].code == 3
        said = nodes[0].said()
        assert f"node 1 of 2 ({socket.gethostname()}) is gone: it goes on from its last checkpoint" in said
        assert "1 lost" in said
    else:
        assert record.state == "lost"
    for node in started(start, "inductive", *ORDER, job=2):
        assert node.wait().returncode == 0
    assert read_record(folder(tmp_path / "runs")).attempts[1]["start_step"] >= 3
    assert left(tmp_path / "runs") == whole


def test_a_stop_is_at_one_step_on_all_nodes(tmp_path: Path, start: Start, slow: str, whole: dict[str, bytes]) -> None:
    """A signal to the first node alone, as torchrun gives it where one of its processes ends."""
    nodes = started(start, slow, *ORDER)
    under_way(tmp_path)
    os.kill(nodes[0].pid, signal.SIGTERM)
    assert nodes[0].wait(60).returncode == 130
    assert nodes[1].wait(60).returncode == 0
    ended = read_json(folder(tmp_path / "runs") / "attempts" / "0001" / "ended.json")
    assert (ended["state"], ended["error"]) == ("interrupted", None)
    for node in started(start, "inductive", *ORDER, job=2):
        assert node.wait().returncode == 0
    assert left(tmp_path / "runs") == whole


def test_a_study_on_two_nodes(tmp_path: Path, start: Start) -> None:
    """One run after the other, by processes of their own; side by side is refused on the first node and on others."""
    (tmp_path / "study.toml").write_text(
        'dataset = "digits"\nsize = "pico"\nrecipe = "digits"\ntrain_size = 100\nbudget = { steps = 3 }\n'
        'seed = [0, 1]\n[[models]]\nname = "vit"\n'
    )
    refused = started(start, "inductive", "run", "study.toml", "--device", "cpu", "--jobs", "2")
    for node in refused:
        done = node.wait()
        assert done.returncode == 2
        assert "--jobs: srun has started this on 2 nodes, which compute one run at a time" in done.stdout
    nodes = started(start, "inductive", "run", "study.toml", "--device", "cpu", "--gpus-per-run", "2", job=2)
    for node in nodes:
        assert node.wait().returncode == 0, node.said()
    assert "2 to do on cpu of each of 2 nodes, 1 side by side" in nodes[0].said()
    assert len(list((tmp_path / "runs").glob("[!.]*/result.json"))) == 2


def test_strangers_are_not_let_in() -> None:
    """Who is silent, or has another key, keeps nobody out who has the key; what they say is never read."""
    door = links.opened(2)
    place = ("127.0.0.1", door.port)
    with door.server, door.arrivals() as arrivals, socket.create_connection(place) as silent:
        with pytest.raises(AuthenticationError):
            Client(place, authkey=b"another key")
        with links.connect(*place) as ours:
            links.come_in(ours, door.key, ("here", 1))
            found = arrivals.next(20)
            assert found is not None and found[0] == ("here", 1)
            assert links.our_address(ours) == "127.0.0.1"
            found[1].close()
        assert arrivals.next(0.2) is None
        assert silent.fileno() > 0


@pytest.mark.skipif(not Path("/proc/net/route").exists(), reason="interfaces are found on Linux alone")
def test_interfaces_are_found_by_address() -> None:
    """Reference: the loopback's address, which is the same everywhere."""
    assert links.interface("127.0.0.1") == "lo"
    assert links.interface("203.0.113.77") is None  # of nobody (RFC 5737)
