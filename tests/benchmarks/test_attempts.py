"""Claims: exactly one owner, taken over only from the dead, without locks and without clocks that agree."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.errors import OwnedError
from benchmarks.files import read_json, write_json
from benchmarks.records import attempts
from benchmarks.records.attempts import GRACE_SECONDS, Attempt, claim, here, process_start, read_attempts


def _try(folder: Path, gate: "multiprocessing.synchronize.Barrier", results: "multiprocessing.Queue[str]") -> None:
    gate.wait()
    try:
        claim(folder)
        results.put("mine")
        time.sleep(1)  # alive while the others look
    except OwnedError:
        results.put("owned")


def test_of_eight_processes_one_gets_the_run(tmp_path: Path) -> None:
    """Reference: exactly one winner, whatever the order of the processes."""
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(8), context.Queue()
    processes = [context.Process(target=_try, args=(tmp_path, gate, results)) for _ in range(8)]
    for process in processes:
        process.start()
    outcomes = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert outcomes == ["mine"] + ["owned"] * 7


def test_the_owner_is_named(tmp_path: Path) -> None:
    """The second must be told host, process and since when."""
    claim(tmp_path)
    with pytest.raises(OwnedError) as error:
        claim(tmp_path)
    assert socket.gethostname() in str(error.value)
    assert f"process {os.getpid()}" in str(error.value)
    assert "since 20" in str(error.value)


def _claimed_by_another_process(folder: Path) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from benchmarks.records.attempts import claim\n"
        "claim(Path(sys.argv[1])); print('claimed', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "claimed"
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_a_killed_owner_on_this_host_is_dead_at_once(tmp_path: Path) -> None:
    """SIGKILL leaves no word; its process is gone, so no grace time is needed. The zombie before wait() counts too."""
    process = _claimed_by_another_process(tmp_path)
    with pytest.raises(OwnedError):
        claim(tmp_path)
    process.kill()
    while process_start(process.pid) is not None:
        time.sleep(0.01)
    assert claim(tmp_path).number == 2  # the zombie has not been waited for yet
    _end(process)


def test_another_process_with_the_same_pid_is_not_the_owner(tmp_path: Path) -> None:
    """Pids are used again: the start time of the process tells them apart."""
    mine = claim(tmp_path)
    owner = read_json(mine.path / "owner.json")
    write_json(mine.path / "owner.json", {**owner, "process_start": "another time"})
    assert claim(tmp_path).number == 2


def _elsewhere(folder: Path, age: float) -> Attempt:
    """A claim from another host whose last heartbeat is `age` seconds old."""
    mine = claim(folder)
    write_json(mine.path / "owner.json", {**read_json(mine.path / "owner.json"), "host": "elsewhere"})
    (mine.path / "heartbeat").write_text("{}")
    for path in (mine.path / "heartbeat", mine.path / "owner.json", mine.path):
        os.utime(path, (time.time() - age, time.time() - age))
    return read_attempts(folder)[-1]


def test_an_owner_elsewhere_lives_for_the_grace_time(tmp_path: Path) -> None:
    """Reference: the grace time on either side."""
    assert _elsewhere(tmp_path / "young", GRACE_SECONDS - 30).alive()
    old = _elsewhere(tmp_path / "old", GRACE_SECONDS + 30)
    assert not old.alive()
    assert claim(tmp_path / "old").number == 2


def test_a_job_that_is_started_again_elsewhere_has_left_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a node's failure SLURM starts the same job on another: nobody waits for the dead owner's grace time."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    before = _elsewhere(tmp_path, 10)
    assert before.owner is not None
    assert before.owner["slurm_job"] == "17_3"
    assert before.alive()  # on another node of the same start of the job: two steps side by side
    with pytest.raises(OwnedError, match="owned by host elsewhere"):
        claim(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not before.alive()
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert before.alive()


def test_clocks_ten_minutes_apart_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages come from the file server alone: our own clock may say anything."""
    young, old = _elsewhere(tmp_path / "a", 10), _elsewhere(tmp_path / "b", GRACE_SECONDS + 30)
    now = time.time()
    for skew in (-600, 600):
        monkeypatch.setattr(attempts.time, "time", lambda skew=skew: now + skew)
        assert young.alive()
        assert not old.alive()


def test_without_proc_the_claim_works_by_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no /proc; reference: `ps` on this machine, and a process that is killed."""
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: False if str(self) == "/proc/self/stat" else real(self))
    assert process_start(os.getpid())
    assert process_start(os.getpid()) == process_start(os.getpid())
    assert process_start(2**22 + 1) is None
    claim(tmp_path)
    with pytest.raises(OwnedError):
        claim(tmp_path)
    process = _claimed_by_another_process(tmp_path / "other")
    _end(process)
    assert claim(tmp_path / "other").number == 2


def test_who_was_overtaken_stops_before_it_writes(tmp_path: Path) -> None:
    """An owner thought dead that comes back must see the newer attempt."""
    mine = claim(tmp_path)
    mine.check()
    (tmp_path / "attempts" / "0002").mkdir()
    with pytest.raises(OwnedError, match="attempt 2 took over"):
        mine.check()


def test_an_attempt_that_ended_is_free(tmp_path: Path) -> None:
    """Reference: the next number."""
    claim(tmp_path).end(state="interrupted", step=3, seconds={}, images_per_second=None, error=None)
    assert claim(tmp_path).number == 2
    assert read_attempts(tmp_path)[0].ended["state"] == "interrupted"  # type: ignore[index]


def test_where_we_are_is_told_apart() -> None:
    """Host, boot and pid namespace: two containers on a host have the same pids."""
    assert set(here()) == {"host", "boot", "pid_namespace"}
    assert all(here().values())


def test_a_sign_of_life_from_the_future(tmp_path: Path) -> None:
    """A clock that was ahead and is right again must not make the dead live for ever: the same bound on both sides."""
    assert _elsewhere(tmp_path / "near", -(GRACE_SECONDS - 30)).alive()
    far = _elsewhere(tmp_path / "far", -86400.0)
    assert not far.alive()
    assert claim(tmp_path / "far").number == 2


def test_slurms_word_ends_the_time_of_grace(tmp_path: Path) -> None:
    """Once somebody has left it in the attempt's folder, whoever asks sees it, and who it is."""
    fresh = _elsewhere(tmp_path, 10)
    assert fresh.alive()
    fresh.note_over("NODE_FAIL")
    assert not fresh.alive()
    assert claim(tmp_path).number == 2


def test_slurms_word_of_an_earlier_start(tmp_path: Path) -> None:
    """It came late, and the job runs again: a sign of life after it counts more, unless it is of the future."""
    fresh = _elsewhere(tmp_path, 10)
    fresh.note_over("PENDING")
    noted = (fresh.path / "over").stat().st_mtime
    for beat, alive in ((noted, False), (noted + 0.001, True), (noted + 100, False)):
        (fresh.path / "heartbeat").touch()
        os.utime(fresh.path / "heartbeat", (beat, beat))
        time.sleep(0.05)
        assert (fresh.alive(), fresh.over()) == (alive, "" if alive else "PENDING")


def test_another_users_process_that_proc_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many login nodes show only one's own (hidepid): it is not dead for that."""
    first = claim(tmp_path)

    def forbidden(pid: int, signal: int) -> None:
        raise PermissionError

    def hidden(self: Path, *arguments: str, **more: str) -> str:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(attempts.os, "kill", forbidden)
        patch.setattr(attempts.Path, "read_text", hidden)
        assert process_start(12345) == attempts.HIDDEN
        patch.setattr(attempts, "process_start", lambda pid: attempts.HIDDEN)
        patch.undo()
        patch.setattr(attempts, "process_start", lambda pid: attempts.HIDDEN)
        assert read_attempts(tmp_path)[-1].alive()
    assert first.number == 1
