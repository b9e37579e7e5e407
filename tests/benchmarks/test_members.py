"""The processes of a run that several ranks compute: stopped, killed, failing; nothing is lost and nobody stays."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from ranked import COMMAND, RANKS, SLOW, STEPS, Start, alive, checkpointed, folder, left, processes, until
from warm import Warm

from benchmarks.files import read_json
from benchmarks.records.record import read_record


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the run leaves that nothing has disturbed."""
    place = tmp_path_factory.mktemp("whole")
    done = warm.start(["inductive", *COMMAND, str(STEPS)], place, os.environ).wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_json(next((place / "runs").glob("*/execution.json")))["ranks"] == RANKS
    return left(place / "runs")


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_rank_costs_no_bit(victim: int, tmp_path: Path, start: Start, whole: dict[str, bytes]) -> None:
    """SIGKILL to a rank, rank 0 included: none of the others stays, the run says who died, and the same command ends
    with the bits of the run that nobody disturbed (the reference)."""
    runs = tmp_path / "runs"
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW.format(step=-1, rank=-1, what="pass"))
    process = start(str(slow), *COMMAND, str(STEPS), together=True)
    until(lambda: len(processes(runs)) == RANKS and checkpointed(runs), "a checkpoint")
    ranks = processes(runs)
    os.kill(ranks[victim], signal.SIGKILL)
    done = process.wait(60)
    assert done.returncode == 3, done.stdout
    until(lambda: not alive(ranks), "all ranks to end", 20)
    record = read_record(folder(runs))
    if victim:
        words = f"rank {victim} of {RANKS}: its process ended without a word (SIGKILL)"
        assert (record.state, words in record.reason) == ("failed", True), record.reason
        assert words in done.stdout
        assert words in (folder(runs) / "attempts" / "0001" / "log.txt").read_text()
    else:
        assert record.state == "lost"
    again = start("inductive", *COMMAND, str(STEPS)).wait()
    assert again.returncode == 0, again.stdout + again.stderr
    assert read_record(folder(runs)).attempts[1]["start_step"] >= 3
    assert left(runs) == whole


def test_a_stop_is_at_one_step_for_all(tmp_path: Path, start: Start, whole: dict[str, bytes]) -> None:
    """SIGTERM to the whole process group, as a preemption may be: all ranks stop at one step, which is saved, and the
    same command goes on to the bits of the run that nobody disturbed (the reference)."""
    runs = tmp_path / "runs"
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW.format(step=-1, rank=-1, what="pass"))
    process = start(str(slow), *COMMAND, str(STEPS), together=True)
    until(lambda: len(processes(runs)) == RANKS and checkpointed(runs), "a checkpoint")
    ranks = processes(runs)
    os.killpg(process.pid, signal.SIGTERM)
    done = process.wait(60)
    assert done.returncode == 130, done.stdout
    until(lambda: not alive(ranks), "all ranks to end", 20)
    ended = read_json(folder(runs) / "attempts" / "0001" / "ended.json")
    assert (ended["state"], ended["error"]) == ("interrupted", None)
    assert ended["step"] < STEPS
    assert (folder(runs) / "attempts" / "0001" / "log.txt").read_text() == ""
    assert start("inductive", *COMMAND, str(STEPS)).wait().returncode == 0
    assert read_record(folder(runs)).attempts[1]["start_step"] == ended["step"]
    assert left(runs) == whole


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_raises_fails_the_run_with_its_own_traceback(rank: int, tmp_path: Path, start: Start) -> None:
    """Within a minute; the traceback is in the attempt's log and its error, and no rank stays."""
    runs, script = tmp_path / "runs", tmp_path / "raising.py"
    script.write_text(SLOW.format(step=5, rank=rank, what="raise ValueError('one rank has had enough')"))
    process = start(str(script), *COMMAND, str(STEPS), together=True)
    until(lambda: len(processes(runs)) == RANKS, "all ranks")
    ranks, began = processes(runs), time.monotonic()
    done = process.wait(60)
    assert time.monotonic() - began < 60
    assert done.returncode == 3, done.stdout
    until(lambda: not alive(ranks), "all ranks to end", 20)
    ended = read_json(folder(runs) / "attempts" / "0001" / "ended.json")
    assert ended["state"] == "failed"
    for text in (ended["error"], (folder(runs) / "attempts" / "0001" / "log.txt").read_text()):
        assert re.search(r"raising.py\", line \d+, in slow", text), text
        assert "ValueError: one rank has had enough" in text
    assert read_record(folder(runs)).reason == "ValueError: one rank has had enough"
    assert "ValueError: one rank has had enough" in done.stdout


def test_a_rank_without_memory_begins_the_run_again_with_half(tmp_path: Path, start: Start) -> None:
    """Room for five of eight images on one rank: new processes begin with four, and it is recorded. Reference for the
    numbers: the run that had room, whose drop path images keep."""
    command = [one.replace("conv_stem_vit", "vit") for one in COMMAND]
    assert start("inductive", *command, "6", "--runs", "room").wait().returncode == 0
    script = tmp_path / "short.py"
    what = "import torch; self.micro_batch > 5 and (_ for _ in ()).throw(torch.OutOfMemoryError('no room'))"
    script.write_text(SLOW.format(step=2, rank=1, what=what))
    done = start(str(script), *command, "6", together=True).wait()
    assert done.returncode == 0, done.stdout
    record = read_record(folder(tmp_path / "runs"))
    assert [one["state"] for one in record.attempts] == ["interrupted", "finished"]
    assert (record.execution["micro_batch"], record.execution["ranks"]) == (4, RANKS)  # type: ignore[index]
    assert "from step 0 again with 4" in (record.path / "attempts" / "0001" / "log.txt").read_text()
    ours, theirs = (
        [json.loads(line)["loss"] for line in (folder(tmp_path / name) / "metrics.jsonl").read_text().splitlines()]
        for name in ("runs", "room")
    )
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert record.result is not None
    assert (record.result["micro_batch"], record.result["batch_norm"]) == (4, False)


def test_a_run_keeps_its_ranks(tmp_path: Path, start: Start, whole: dict[str, bytes]) -> None:
    """Begun by three and resumed by a command that says one: three again, as the record says; a rerun has the bits."""
    runs = tmp_path / "runs"
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW.format(step=-1, rank=-1, what="pass"))
    process = start(str(slow), *COMMAND, str(STEPS), together=True)
    until(lambda: checkpointed(runs), "a checkpoint")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60).returncode == 130
    command = [one for one in COMMAND if one not in ("--gpus-per-run", str(RANKS))]
    assert start("inductive", *command, str(STEPS)).wait().returncode == 0
    assert left(runs) == whole
    again = start("inductive", "rerun", folder(runs).name).wait()
    assert again.stdout.startswith("equal: ") or "\nequal: " in again.stdout, again.stdout + again.stderr
    alone = start("inductive", "rerun", folder(runs).name, "--gpus-per-run", "1").wait()
    assert "within tolerance: " in alone.stdout, alone.stdout + alone.stderr
    assert f"bits may differ: ranks: {RANKS} then, 1 now" in alone.stdout


ABSENT = """
import sys
from benchmarks.cli.main import main
from benchmarks.running.together import members
follow = members.follow
def absent(order):
    if order.rank == 1:
        raise OSError("no way to the others")
    follow(order)
members.follow = absent
if __name__ == "__main__":
    main(sys.argv[1:])
"""


def test_a_rank_that_never_comes_leaves_nobody_waiting(tmp_path: Path, start: Start) -> None:
    """The others wait for it where nothing can be raised: within a minute the attempt says why it failed, and no rank
    stays."""
    runs, script = tmp_path / "runs", tmp_path / "absent.py"
    script.write_text(ABSENT)
    process = start(str(script), *COMMAND, str(STEPS), together=True)
    until(lambda: len(processes(runs)) >= 2, "the first ranks")
    ranks, began = processes(runs), time.monotonic()
    assert process.wait(60).returncode == 3
    assert time.monotonic() - began < 60
    until(lambda: not alive(ranks), "all ranks to end", 20)
    ended = read_json(folder(runs) / "attempts" / "0001" / "ended.json")
    assert (ended["state"], ended["error"].splitlines()[-1]) == ("failed", "OSError: no way to the others")
