"""Shards copied to a disk of the node: once, verified, shared, and removed when nobody needs them any more."""

import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import staging
from benchmarks.data.dataset import Places
from benchmarks.data.photographs import MANIFEST, Photographs, Store
from benchmarks.data.staging import remove_old, staged
from benchmarks.data.store import load_images
from benchmarks.errors import InductiveError
from benchmarks.plan.run import make_run
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from slurm.commands import SlurmError
from slurm.worker import scratch

NAME = "folder:photos"
DAY = 86_400


@pytest.fixture
def data(photographs: Path) -> Path:
    return photographs


@pytest.fixture
def store(data: Path) -> Store:
    images = load_images(NAME, data)
    assert isinstance(images.train, Photographs)
    return images.train.store


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json" or path.name == MANIFEST
    }


def copies(place: Path) -> list[str]:
    return sorted(path.name for path in (place / staging.FOLDER).iterdir() if path.is_dir())


def test_a_copy_is_the_store(store: Store, tmp_path: Path) -> None:
    with staged(store, tmp_path) as copy:
        assert copy.folder.is_relative_to(tmp_path)
        assert contents(copy.folder) == contents(store.folder)
        assert [copy.read(image) for image in range(len(copy))] == [store.read(image) for image in range(len(store))]
        made = copy.folder.stat().st_mtime_ns
    with staged(store, tmp_path) as again:
        assert again.folder.stat().st_mtime_ns == made  # not copied again


def _use(folder: Path, place: Path, counted: Any) -> None:
    def copied(*arguments: Any) -> str:
        with counted.get_lock():
            counted.value += 1
        return whole(*arguments)

    whole, staging._copied = staging._copied, copied
    with staged(Store(folder), place) as copy:
        assert copy.read(0)


def test_jobs_of_a_node_share_one_copy(store: Store, tmp_path: Path) -> None:
    """Four processes that come at the same time: each file is copied once."""
    context = multiprocessing.get_context("fork")
    counted = context.Value("i", 0)
    jobs = [context.Process(target=_use, args=(store.folder, tmp_path, counted)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 4
    assert counted.value == len(store.manifest.shards) + 3  # index, names, manifest
    assert len(copies(tmp_path)) == 1


def test_a_run_reads_the_copy(store: Store, data: Path, tmp_path: Path) -> None:
    """With the shards of the data folder gone: they are not touched any more."""
    other = shutil.copytree(data, tmp_path / "data")
    run = make_run(
        {"dataset": NAME, "size": "pico", "train_size": 60, "resolution": 8, "options": {"scale": 8},
         "budget": {"steps": 2}}, Places(other),
    )  # fmt: skip
    with staged(store, tmp_path / "scratch"):
        pass
    images = load_images(NAME, other)
    assert isinstance(images.train, Photographs)
    assert images.train.store.manifest.digests == store.manifest.digests
    for shard in images.train.store.folder.glob("*.images"):
        os.truncate(shard, 0)
    with pytest.raises(InductiveError, match="ends after"):
        execute(run, tmp_path / "runs", [], Settings(other), lambda: False)
    settings = Settings(other, scratch=tmp_path / "scratch", workers=1)
    assert execute(run, tmp_path / "runs", [], settings, lambda: False).state == "finished"


def test_a_damaged_shard_is_not_copied(store: Store, tmp_path: Path) -> None:
    """Named, and nothing is left that another job would take for a copy."""
    folder = tmp_path / "store"
    folder.mkdir()
    for file in store.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    shard = folder / store.manifest.shards[0].file
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    with (
        pytest.raises(InductiveError, match=r"000\.images: its SHA-256 is \w+, the manifest's"),
        staged(Store(folder), tmp_path / "scratch"),
    ):
        pass
    assert copies(tmp_path / "scratch") == []
    shard.unlink()
    with (
        pytest.raises(InductiveError, match=r"No such file.*000\.images.*inductive prepare"),
        staged(Store(folder), tmp_path / "scratch"),
    ):
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("when", ["before", "while it is copied"])
def test_a_full_disk_is_named(when: str, store: Store, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small_disk / "of others").write_bytes(bytes(200_000))
    assert store.manifest.bytes > 56_000
    if when != "before":  # another job takes the room meanwhile
        monkeypatch.setattr(
            staging.shutil, "disk_usage", lambda path: os.statvfs(path) and type("", (), {"free": 10**9})
        )
    with (
        pytest.raises(InductiveError, match=r"scratch: .* GB free, and folder:photos takes"),
        staged(store, small_disk),
    ):
        pass
    assert copies(small_disk) == []


def test_copies_that_nobody_uses_are_removed(store: Store, tmp_path: Path) -> None:
    """A week after the last use; what is in use stays, however old."""
    place = tmp_path / staging.FOLDER
    old = time.time() - 8 * DAY
    with staged(store, tmp_path) as copy:
        lock = copy.folder.with_suffix(".lock")
        os.utime(lock, (old, old))
        remove_old(place)
        assert copies(tmp_path) == [copy.folder.name]
    remove_old(place)
    assert copies(tmp_path) == [copy.folder.name]  # just used
    os.utime(lock, (old, old))
    remove_old(place)
    assert copies(tmp_path) == []


def test_a_removal_that_is_killed_leaves_no_copy(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it has come to, here to the first shard: the next job copies anew, or removes the rest. Reference: the
    store."""
    place = tmp_path / staging.FOLDER
    old = time.time() - 8 * DAY

    def killed(folder: Path, **_: object) -> None:
        next(folder.glob("*.images")).unlink()
        raise KeyboardInterrupt

    for then in ("copied anew", "removed"):
        with staged(store, tmp_path) as copy:
            assert contents(copy.folder) == contents(store.folder)
            lock = copy.folder.with_suffix(".lock")
        os.utime(lock, (old, old))
        with monkeypatch.context() as patched:
            patched.setattr(staging.shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                remove_old(place)
        assert not copy.folder.exists()
        if then == "removed":
            remove_old(place)
            assert copies(tmp_path) == []


def test_what_a_killed_job_left_is_made_anew(store: Store, tmp_path: Path) -> None:
    making = tmp_path / staging.FOLDER / f"{store.manifest.root[: staging.DIGITS]}.making"
    making.mkdir(parents=True)
    (making / "000.images").write_bytes(b"half")
    with staged(store, tmp_path) as copy:
        assert contents(copy.folder) == contents(store.folder)
    assert not making.exists()


def test_variables_of_the_job_name_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/local/17")
    assert scratch("$TMPDIR/photos") == Path("/local/17/photos")
    assert scratch("") is None
    with pytest.raises(SlurmError, match=r"cluster.toml: scratch: .*this job has no variable"):
        scratch("/scratch/$NOBODY_SETS_THIS")
