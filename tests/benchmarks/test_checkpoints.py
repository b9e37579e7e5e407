"""Checkpoints: damage is found, the one before is used, and no code is run on loading."""

import errno
import hashlib
import logging
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks.errors import RecordError
from benchmarks.records.checkpoints import KEEP, checkpoint_paths, drop_checkpoints, load_checkpoint, save_checkpoint


def _state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.arange(1000, dtype=torch.float32) + step}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for step in (10, 20, 30):
        assert save_checkpoint(tmp_path, step, _state(step))
    return tmp_path


def test_the_two_newest_are_kept(two: Path) -> None:
    """Reference: the steps in the names."""
    assert [path.name[:19] for path in checkpoint_paths(two)] == ["checkpoint-00000030", "checkpoint-00000020"]
    assert len(checkpoint_paths(two)) == KEEP
    loaded = load_checkpoint(two)
    assert loaded is not None
    assert loaded["step"] == 30
    assert torch.equal(loaded["weights"], _state(30)["weights"])  # type: ignore[arg-type]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _flip(path: Path) -> None:
    """One bit of one byte inside a tensor, which torch.load alone does not notice (checked here)."""
    data = bytearray(path.read_bytes())
    place = data.find(torch.arange(1000, dtype=torch.float32).add(30).numpy().tobytes()) + 1234
    data[place] ^= 1
    path.write_bytes(bytes(data))
    assert not torch.equal(torch.load(path, weights_only=True)["weights"], _state(30)["weights"])  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [_truncate, _empty, _zero, _flip])
def test_a_damaged_newest_one_is_passed_over_with_a_warning(
    two: Path, damage: "object", caplog: pytest.LogCaptureFixture
) -> None:
    """Reference: the state saved before the damaged one."""
    damage(checkpoint_paths(two)[0])  # type: ignore[operator]
    with caplog.at_level(logging.WARNING, "inductive"):
        loaded = load_checkpoint(two)
    assert loaded is not None
    assert loaded["step"] == 20
    assert "checkpoint-00000030-" in caplog.text
    assert "is damaged" in caplog.text
    assert len(list(two.glob("*.damaged"))) == 1


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    """In headers and the directory of the archive too, where its CRC does not reach; the one before is used."""
    assert save_checkpoint(tmp_path, 1, _state(1))
    assert save_checkpoint(tmp_path, 2, _state(2))
    path = checkpoint_paths(tmp_path)[0]
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        loaded = load_checkpoint(tmp_path)
        assert loaded is not None
        assert loaded["step"] == 1, place


def test_both_damaged_means_anew(two: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No crash, so no loop of crashes: None, two warnings, and both are out of the way."""
    for path in checkpoint_paths(two):
        _truncate(path)
    with caplog.at_level(logging.WARNING, "inductive"):
        assert load_checkpoint(two) is None
    assert caplog.text.count("is damaged") == 2
    assert checkpoint_paths(two) == []


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    """weights_only: a malicious archive is damage, and its code is not executed. Reference: the file it would make."""

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    with zipfile.ZipFile(tmp_path / "made", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malicious(), protocol=2))
        archive.writestr("archive/version", "3\n")
    digest = hashlib.sha256((tmp_path / "made").read_bytes()).hexdigest()[:16]
    (tmp_path / "made").rename(tmp_path / f"checkpoint-00000001-{digest}.pt")
    try:
        assert load_checkpoint(tmp_path) is None
    except pickle.UnpicklingError:
        pytest.fail("an unreadable pickle must count as damage")
    assert not (tmp_path / "executed").exists()


def test_a_full_disk_is_a_warning_and_keeps_the_old_ones(
    two: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The system says so where the bytes should reach the disk; reference: the files that were there."""
    before = {path: path.read_bytes() for path in two.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with caplog.at_level(logging.WARNING, "inductive"):
        assert not save_checkpoint(two, 40, _state(40))
    assert {path: path.read_bytes() for path in two.iterdir()} == before
    assert "could not be written" in caplog.text


def test_an_error_of_the_device_is_no_full_disk(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA reports what went wrong in a step where its result is next copied: here, as a RuntimeError. It must end the
    attempt: steps after it would compute nothing."""

    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        save_checkpoint(two, 40, _state(40))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_a_file_that_cannot_be_read_now_is_kept(number: int, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk or its server says nothing of the content: the file is named, and stays for the next
    attempt. Reference: the files and the state as they were saved."""
    before = {path: path.read_bytes() for path in two.iterdir()}
    newest = checkpoint_paths(two)[0]

    def failing(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", failing)
        with pytest.raises(RecordError, match=f"{newest.name}: cannot be read .*{os.strerror(number)}"):
            load_checkpoint(two)
    assert {path: path.read_bytes() for path in two.iterdir()} == before
    loaded = load_checkpoint(two)
    assert loaded is not None and loaded["step"] == 30


def test_dropped_when_finished(two: Path) -> None:
    """Nothing is left of a finished run's checkpoints."""
    drop_checkpoints(two)
    assert list(two.iterdir()) == []
