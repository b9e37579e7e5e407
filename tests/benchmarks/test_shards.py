"""Photographs packed into shards: the files themselves in ImageFolder's order, whatever happens on the way."""

import errno
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import write_photographs
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder

from analysis.one_run import SQUARE, _as_shown
from benchmarks.cli.main import main
from benchmarks.data import folders, shards
from benchmarks.data.catalogue import dataset, forget
from benchmarks.data.class_names import class_names
from benchmarks.data.dataset import Places
from benchmarks.data.duplicates import find
from benchmarks.data.folders import MOST_DECODED, Index, in_shards, kept_as
from benchmarks.data.photographs import Photographs, Store, read_manifest
from benchmarks.data.shards import UNREADABLE, Listing, cut, write_shard
from benchmarks.data.store import is_ready, load_images, make_ready, prepare_photographs
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.running.prepare import Packing, data_set

NAME = "folder:photos"
ROOT = Path(__file__).resolve().parents[2]
ORIENTATION = 0x0112
FORMATS = ("jpg", "png", "webp", "bmp", "jpeg")
pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The data folder is the test's, and no test knows what another has declared or loaded."""
    monkeypatch.setenv("INDUCTIVE_DATA", str(tmp_path))
    yield
    forget()
    load_images.cache_clear()


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small shards, so that a few images are several."""
    monkeypatch.setattr(shards, "LEAST_SHARD", SMALL)


SMALL = 8_000


def photograph(path: Path, number: int, mode: str = "RGB", sides: tuple[int, int] = (12, 60)) -> None:
    """A noisy image of some size and shape in the format of its ending; every third JPEG is turned by its EXIF."""
    draw = random.Random(number)
    width, height = draw.randint(*sides), draw.randint(*sides)
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, exif = Image.fromarray(pixels).convert(mode), Image.Exif()
    if number % 3 == 0:
        exif[ORIENTATION] = 1 + draw.randrange(8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif) if path.suffix in (".jpg", ".jpeg") else image.save(path)


def fill(tree: Path, counts: dict[str, int], first: int = 0, mode: str = "RGB") -> None:
    """Class folders of photographs of several formats."""
    number = first
    for label, count in counts.items():
        for one in range(count):
            photograph(tree / label / f"{one:03d}.{FORMATS[number % len(FORMATS)]}", number, mode)
            number += 1


def prepare(data: Path, **how: Any) -> list[str]:
    return list(prepare_photographs(NAME, data, **how))


def store_of(data: Path) -> Path:
    return folders.store_path(NAME, data)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("part", ["test", "val"])
def test_order_labels_and_bytes_are_those_of_image_folder(part: str, tmp_path: Path, several: None) -> None:
    """Reference: torchvision's ImageFolder on the same tree, the files themselves, hashlib, zlib, and the size that
    Pillow shows."""
    fill(tmp_path / "photos" / "train", {"cat": 9, "ape": 7, "dog": 12})
    fill(tmp_path / "photos" / part, {"dog": 3, "cat": 4, "ape": 2}, first=100)
    prepare(tmp_path)
    images, spec = load_images(NAME, tmp_path), dataset(NAME)
    assert isinstance(images.train, Photographs) and isinstance(images.test, Photographs)
    pack = images.train.store
    assert len(pack.manifest.shards) > 3
    assert (spec.train_counts, spec.test_count, spec.photographs) == ((7, 9, 12), 9, True)
    for name, photographs, labels in (
        ("train", images.train, images.train_labels),
        (part, images.test, images.test_labels),
    ):
        reference = ImageFolder(str(tmp_path / "photos" / name))
        assert labels.dtype == np.int64 and labels.tolist() == reference.targets
        for row, (file, _) in zip(photographs.rows.tolist(), reference.samples, strict=True):
            data = Path(file).read_bytes()
            assert pack.read(row) == data
            assert pack.name(row) == str(Path(file).relative_to(tmp_path / "photos"))
            assert pack.index["crc32"][row] == zlib.crc32(data)
            assert pack.index["sha256"][row].tobytes() == hashlib.sha256(data).digest()[:16]
            with Image.open(file) as image:
                assert ImageOps.exif_transpose(image).size[::-1] == tuple(pack.index["size"][row])
    whole = hashlib.sha256()
    for row in images.train.rows.tolist():
        whole.update(pack.index["sha256"][row].tobytes() + int(pack.index["label"][row]).to_bytes(4, "little"))
    assert images.digests["train"] == whole.hexdigest() != images.digests["test"]
    shorter = sorted(pack.index["size"].min(axis=1).tolist())
    assert pack.manifest.sides == (shorter[0], shorter[18], shorter[-1])
    assert class_names(spec, Places()) == ("ape", "cat", "dog")
    for number, shard in enumerate(pack.manifest.shards):
        data = (store_of(tmp_path) / shard.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
        assert (pack.index["shard"] == number).any()


def test_a_made_test_part_is_the_one_of_decoded_folders(tmp_path: Path) -> None:
    """Reference: `made_split` of ImageFolder's labels, which has a golden split of its own; each part ascending."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 30, "dog": 20})
    prepare(tmp_path)
    reference = ImageFolder(str(tmp_path / "photos"))
    train, test = folders.made_split(np.array(reference.targets), 3)
    images = load_images(NAME, tmp_path)
    for photographs, expected in ((images.train, train), (images.test, test)):
        assert isinstance(photographs, Photographs)
        names = [photographs.store.name(row) for row in photographs.rows.tolist()]
        assert names == [str(Path(reference.samples[one][0]).relative_to(tmp_path / "photos")) for one in expected]


def test_shards_are_runs_of_about_equal_bytes() -> None:
    """What makes the cut a pure function of the listing, for many draws of sizes: all files once, in order, at most 64
    shards, none smaller than it should be by more than a file."""
    draw = np.random.default_rng(0)
    for count, most in ((1, 10), (500, 2**22), (20_000, 2**24), (300, 2**30), (70, 2**31 - 1)):
        sizes = draw.integers(0, most, count)
        runs = cut(sizes)
        assert [place for run in runs for place in range(run.start, run.stop)] == list(range(count))
        assert len(runs) <= 64
        least = min(shards.LEAST_SHARD, int(sizes.sum()))
        assert all(int(sizes[run].sum()) >= least - int(sizes.max()) for run in runs)
    assert cut(np.zeros(3, dtype=np.int64)) == [slice(0, 3)]
    assert len(cut(np.full(1_281_167, 110_000))) == 64
    assert [run.stop - run.start for run in cut(np.array([2**30, 0, 2**28, 0]))] == [1, 3]


@pytest.mark.parametrize(
    ("sizes", "channels", "packed"),
    [
        ([(64, 64)] * 10, 3, False),
        ([(64, 64)] * 9 + [(65, 64)], 3, True),
        ([(64, 64)] * 9 + [(65, 65)], 1, True),
        ([(64, 48)] * 10, 3, True),
        ([(2**15, 2**15)] * 8, 1, False),  # 8 GiB to the byte
        ([(2**15, 2**15)] * 9, 1, True),
        ([(2**15, 2**15)] * 8, 3, True),
    ],
)
def test_which_of_two_ways_a_set_is_kept_is_a_rule(sizes: list[tuple[int, int]], channels: int, packed: bool) -> None:
    """Equal squares of at most 8 GiB decoded are an array; nothing of the machine decides."""
    assert MOST_DECODED == 8 * 2**30
    assert in_shards(np.array(sizes), channels) is packed


def test_the_rule_is_told_in_one_line() -> None:
    """Word for word: what `plan` and `prepare` print."""
    index = Index("photos", ("a", "b"), 3, 224, (5000, 5000), 2400, "", "", {}, photographs=True, sides=(41, 480, 3024),
                  bytes=1_900_000_000, decoded=14_200_000_000, shards=8)  # fmt: skip
    assert kept_as(index) == (
        "photos: 12,400 images of 41 to 3,024 px (shorter side; median 480): in shards, original bytes, 1.9 GB in 8 "
        "files (decoded they would take 14.2 GB)"
    )
    squares = Index("small", ("a", "b"), 3, 32, (500, 500), 200, "", "", {})
    assert kept_as(squares) == "small: 1,200 images of 32x32 px: decoded, one array of 3.7 MB"


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("1", 1)])
def test_a_set_is_grey_when_all_its_images_are(mode: str, channels: int, tmp_path: Path) -> None:
    for number in range(10):
        photograph(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", number, mode)
    forecast = dataset(NAME)
    prepare(tmp_path)
    assert dataset(NAME).channels == read_manifest(store_of(tmp_path)).channels == forecast.channels == channels
    photograph(tmp_path / "photos" / "a" / "coloured.png", 99)
    prepare(tmp_path)
    assert read_manifest(store_of(tmp_path)).channels == 3


def test_planning_looks_at_headers_and_then_at_the_manifest(tmp_path: Path) -> None:
    """What planning says before anything is packed is what it says afterwards, without torch and without the tree."""
    fill(tmp_path / "photos", {"ape": 10, "cat": 12})
    before, index = dataset(NAME), folders.index_of(NAME, Places(tmp_path))
    prepare(tmp_path)
    assert dataset(NAME) == before
    assert folders.index_of(NAME, Places(tmp_path)) == index
    assert re.fullmatch(
        r"photographs of photos \(\d\d to \d\d px, colour; 20% of it taken as test part\)", before.title
    )
    assert (before.native_resolution, before.scale) == (32, 32)  # next to a median of some 36 px
    folders.keep_copy(NAME, tmp_path, tmp_path / "runs")
    shutil.rmtree(tmp_path / "photos")
    (tmp_path / ".decoded" / "folder%3Aphotos.index.json").unlink()
    forget()
    load_images.cache_clear()
    assert dataset(NAME) == before
    assert len(load_images(NAME, tmp_path).train) == sum(before.train_counts)
    assert "every byte as packed" in prepare(tmp_path)[0]
    shutil.rmtree(tmp_path / ".photographs")
    forget()
    assert dataset(NAME, Places(tmp_path / "nowhere", tmp_path / "runs")) == before
    load_images.cache_clear()
    with pytest.raises(InductiveError, match="there is no folder"):
        load_images(NAME, tmp_path)


def test_a_changed_tree_is_packed_again(tmp_path: Path) -> None:
    """An image more, and one replaced in place: the store is not ready, keeps serving, and is replaced as a whole."""
    fill(tmp_path / "photos", {"ape": 10, "cat": 12})
    prepare(tmp_path)
    before = load_images(NAME, tmp_path)
    photograph(tmp_path / "photos" / "ape" / "more.jpg", 77)
    forget()
    assert not is_ready(dataset(NAME), tmp_path)
    assert make_ready(NAME, tmp_path)
    load_images.cache_clear()
    more = load_images(NAME, tmp_path)
    assert len(more.train) + len(more.test) == 23 and more.digests != before.digests
    shutil.copy(tmp_path / "photos" / "ape" / "000.jpg", tmp_path / "photos" / "cat" / "001.png")
    assert "packed into" in "".join(data_set(NAME, tmp_path))
    assert load_images(NAME, tmp_path).digests != more.digests
    assert not list(store_of(tmp_path).parent.glob(".*.before"))


def test_files_that_cannot_be_decoded_are_counted_named_and_left_out(tmp_path: Path) -> None:
    """Up to the stated share; beyond it all is refused, with names and number, and nothing is looked at twice."""
    fill(tmp_path / "photos", {"ape": 20, "cat": 20})
    broken = {"ape/003.bmp": b"", "cat/004.jpeg": b"no image", "cat/000.jpg": None}
    for name, data in broken.items():
        path = tmp_path / "photos" / name
        path.write_bytes(path.read_bytes()[:-200] if data is None else data)
    assert UNREADABLE == 0.001
    with pytest.raises(InductiveError, match=r"3 of the 40 files under .*photos cannot be decoded.*0 may be left out"
                       r".*ape/003.bmp \(.*cat/000.jpg \(.*truncated.*`--unreadable 0.075` or") as refusal:  # fmt: skip
        prepare(tmp_path)
    assert "cat/004.jpeg" in str(refusal.value)
    assert not store_of(tmp_path).exists()
    seen: list[tuple[str, int]] = []
    lines = prepare(tmp_path, unreadable=0.1, show=recording(seen))
    assert [what for what, _ in seen] == []  # all shards were finished before
    assert any("left out, since they cannot be decoded" in line and "cat/004.jpeg" in line for line in lines)
    manifest = read_manifest(store_of(tmp_path))
    assert set(manifest.unreadable) == set(broken)
    images = load_images(NAME, tmp_path)
    assert len(images.train) + len(images.test) == 37 == sum(dataset(NAME).train_counts) + dataset(NAME).test_count
    pack = Store(store_of(tmp_path))
    assert not set(broken) & {pack.name(row) for row in range(37)}
    assert "3 files cannot be read as images" in "".join(folders.described(folders.index_of(NAME, Places(tmp_path))))
    assert "every byte as packed" in prepare(tmp_path)[0]


def test_a_class_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "photos" / "train", {"ape": 8, "cat": 8})
    fill(tmp_path / "photos" / "test", {"ape": 8, "cat": 1}, first=50)
    (only,) = (tmp_path / "photos" / "test" / "cat").iterdir()
    only.write_bytes(b"")
    with pytest.raises(InductiveError, match=r"class cat has too few images that can be decoded.*test/cat/000"):
        prepare(tmp_path, unreadable=0.5)


def test_names_that_a_line_cannot_hold(tmp_path: Path) -> None:
    """A line break is refused, by name; bytes that are no UTF-8 come back as they are."""
    fill(tmp_path / "photos", {"ape": 10, "cat": 10})
    odd = os.fsencode(str(tmp_path / "photos" / "ape")) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(odd)).write_bytes((tmp_path / "photos" / "ape" / "000.jpg").read_bytes())
    prepare(tmp_path)
    pack = Store(store_of(tmp_path))
    assert os.fsdecode(b"ape/\xff\xfe.jpg") in [pack.name(row) for row in range(21)]
    (tmp_path / "photos" / "ape" / "a\nb.jpg").write_bytes((tmp_path / "photos" / "ape" / "000.jpg").read_bytes())
    with pytest.raises(InductiveError, match=r"'ape/a\\nb.jpg' has a line break in its name; rename it"):
        prepare(tmp_path)


def recording(seen: list[tuple[str, int]]) -> shards.Show:
    """A `Show` that keeps what was to be done, and how often."""

    @contextmanager
    def show(what: str, total: int) -> Iterator[Callable[[], None]]:
        if "packing" in what:
            seen.append((what, total))
        yield lambda: None

    return show


def test_what_shows_the_progress_is_called_for_every_file(tmp_path: Path, several: None) -> None:
    """Those that cannot be decoded count, too; then once a shard while every byte is verified."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    (tmp_path / "photos" / "ape" / "000.jpg").write_bytes(b"")
    calls: dict[str, list[int]] = {}

    @contextmanager
    def show(what: str, total: int) -> Iterator[Callable[[], None]]:
        calls[what] = [total, 0]

        def count() -> None:
            calls[what][1] += 1

        yield count

    prepare(tmp_path, show=show, unreadable=0.1)
    assert calls == {f"{NAME}: packing": [31, 31]}
    prepare(tmp_path, show=show, unreadable=0.1)
    number = len(read_manifest(store_of(tmp_path)).shards)
    assert calls[f"{NAME}: verifying shards"] == [number, number]


def only_job(data: Path, listing: Listing | None = None) -> shards._Job:
    """The one shard of the tree, to be written by this process."""
    making = store_of(data).with_name("making")
    (making / shards.SIDECARS).mkdir(parents=True)
    (job,) = shards._jobs(listing or folders.listing(NAME, data), making)
    return job


@pytest.mark.parametrize("how", ["longer", "touched", "gone"])
def test_a_file_that_changes_while_it_is_packed_is_refused_by_name(how: str, tmp_path: Path) -> None:
    fill(tmp_path / "photos", {"ape": 10, "cat": 10})
    job = only_job(tmp_path)
    path = tmp_path / "photos" / "cat" / "004.jpeg"
    if how == "gone":
        path.unlink()
    elif how == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.write_bytes(path.read_bytes() + b"\0")
    why = "cannot be read while it is packed" if how == "gone" else "was changed while it was packed"
    with pytest.raises(InductiveError, match=rf"cat/004.jpeg: {why}"):
        write_shard(job)
    assert not job.shard.exists() and not job.finished()


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "photos", {"ape": 10, "cat": 10})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(InductiveError, match=r"the disk of .*\(mounted at /.*\) has 1.0 MB free, and packing needs 6"):
        prepare(tmp_path)
    assert not list(tmp_path.rglob("*.images"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_named_and_nothing_half_written_counts(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "photos", {"ape": 10, "cat": 10})
    job = only_job(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            InductiveError,
            match=r"folder:photos: the disk of .* is full .* a shard takes 0.* on once there is room",
        ):
            write_shard(job)
    assert [path.name for path in job.making.iterdir()] == [shards.SIDECARS] and not job.finished()
    write_shard(job)
    assert job.finished()


# What a process does that is killed at a named point: without processes of its own, so that the point is exact.
KILLED = """
import os, signal, sys
from pathlib import Path
from benchmarks.data import shards, store

name, data, least, point = sys.argv[1:]
shards.LEAST_SHARD = int(least)

def kill_at(where, inner, named):
    seen = 0
    def call(*arguments, **more):
        nonlocal seen
        seen += 1
        if f"{where} {named(seen, *arguments)}" == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments, **more)
    return call

shards._work = lambda listing, jobs, todo, show, share: [shards.write_shard(job) for job in todo]
shards._read = kill_at("file", shards._read, lambda seen, *rest: seen)
shards.write_atomic_by = kill_at("write", shards.write_atomic_by, lambda seen, path, *rest: path.name)
shards.write_json = kill_at("write", shards.write_json, lambda seen, path, *rest: path.name)
Path.rename = kill_at("rename", Path.rename, lambda seen, *rest: seen)
shards.shutil.rmtree = kill_at("remove", shards.shutil.rmtree, lambda seen, path, **more: Path(path).name)
list(store.prepare_photographs(name, Path(data)))
"""


def killed(data: Path, point: str) -> None:
    """Packs in a process that is killed at this point."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, NAME, str(data), str(SMALL), point],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -9, ended.stderr


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a tree of 31 photographs, packed in one go into several shards."""
    data = tmp_path_factory.mktemp("uninterrupted")
    fill(data / "photos", {"ape": 15, "cat": 16})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "LEAST_SHARD", SMALL)
        prepare(data)
    return data


@pytest.mark.parametrize(
    ("point", "finished"),
    [
        ("file 1", 0),
        ("file 2", 0),
        ("write 000.npz", 0),
        ("write 001.images", 1),
        ("file 30", None),
        ("write index.npy", None),
        ("write manifest.json", None),
        ("remove rows", None),
        ("rename 1", None),
    ],
)
def test_after_a_kill_at_any_point_prepare_goes_on_to_the_same_bytes(
    point: str, finished: int | None, uninterrupted: Path, tmp_path: Path, several: None
) -> None:
    """Reference: the same tree packed without a kill. What is finished is not looked at again."""
    shutil.copytree(uninterrupted / "photos", tmp_path / "photos")
    seen: list[tuple[str, int]] = []
    total, runs = 31, cut(folders.listing(NAME, tmp_path).sizes)
    assert len(runs) > 3
    killed(tmp_path, point)
    assert not store_of(tmp_path).exists()
    lines = prepare(tmp_path, show=recording(seen))
    assert contents(store_of(tmp_path)) == contents(store_of(uninterrupted))
    assert sum(left for _, left in seen) < total or finished == 0
    if finished is not None:
        assert seen == [(f"{NAME}: packing", sum(run.stop - run.start for run in runs[finished:]))]
    if finished:
        assert any(f"{finished} of {len(runs)} shards are finished" in line for line in lines)
    left = {path.name for path in store_of(tmp_path).parent.iterdir()}
    assert left == {"folder%3Aphotos", ".folder%3Aphotos.packing.lock"}


@pytest.mark.parametrize("point", ["rename 1", "rename 2"])
def test_a_kill_while_a_store_is_replaced_loses_neither(point: str, tmp_path: Path, several: None) -> None:
    """Between the two renames the old one is beside; the next `prepare` has the new one in its place."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    prepare(tmp_path)
    photograph(tmp_path / "photos" / "ape" / "more.jpg", 77)
    killed(tmp_path, point)
    seen: list[tuple[str, int]] = []
    prepare(tmp_path, show=recording(seen))
    assert seen == []
    assert len(Store(store_of(tmp_path))) == 32
    assert len(list(store_of(tmp_path).parent.iterdir())) == 2


def test_begun_with_other_files_it_begins_anew_and_says_so(tmp_path: Path, several: None) -> None:
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    killed(tmp_path, "write 002.images")
    photograph(tmp_path / "photos" / "ape" / "more.jpg", 77)
    lines = prepare(tmp_path)
    assert "begun before with other files than there are now; packed from the start" in lines[0]
    assert len(Store(store_of(tmp_path))) == 32


ABANDONED = """
import multiprocessing, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from benchmarks.data import shards, store

@contextmanager
def show(what, total):
    def count():
        print(*(one.pid for one in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    yield count

shards.LEAST_SHARD = int(sys.argv[3])
list(store.prepare_photographs(sys.argv[1], Path(sys.argv[2]), show))
"""


def test_processes_that_pack_end_with_the_one_that_began(tmp_path: Path, several: None) -> None:
    """Killed in the midst of the work of others: they end, too, and the next one goes on."""
    for number in range(60):
        photograph(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", number, sides=(300, 500))
    ended = subprocess.run(
        [sys.executable, "-c", ABANDONED, NAME, str(tmp_path), str(SMALL)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -9, ended.stderr
    children = [int(pid) for pid in ended.stdout.split()]
    assert children
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    prepare(tmp_path)
    assert len(Store(store_of(tmp_path))) == 60


def alive(pid: int) -> bool:
    """Whether a process is there and does something; one that nobody has waited for does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


def test_those_processes_load_no_torch() -> None:
    """What breaks otherwise: half a gigabyte and two seconds for each of a machine's cores."""
    code = "import sys, benchmarks.data.shards, benchmarks.data.decoders; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "False"


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["flipped", "gone", "short", "index", "names", "manifest"])
def test_what_is_damaged_is_made_again_to_the_byte(damage: str, tmp_path: Path, several: None) -> None:
    """Reference: the store as it was. Only what is damaged is written."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    (tmp_path / "photos" / "cat" / "000.webp").write_bytes(b"no image")
    prepare(tmp_path, unreadable=0.1)
    folder = store_of(tmp_path)
    before = contents(folder)
    whole = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    shard = folder / "001.images"
    if damage == "flipped":
        flipped(shard)
    elif damage == "short":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "gone":
        shard.unlink()
    elif damage == "names":
        (folder / "names.txt").unlink()
    else:
        flipped(folder / ("index.npy" if damage == "index" else "manifest.json"))
    spec = dataset(NAME)
    assert not is_ready(spec, tmp_path, whole=True) if damage != "manifest" else not is_ready(spec, tmp_path)
    lines = prepare(tmp_path, unreadable=0.1)
    assert contents(folder) == before
    if damage in ("flipped", "gone", "short"):
        assert lines[0] == f"{NAME}: 001.images was damaged or gone, and is made again of the same files"
        assert [path.name for path, time in whole.items() if path.stat().st_mtime_ns != time] == ["001.images"]
    assert "every byte as packed" in prepare(tmp_path, unreadable=0.1)[0]


def test_damage_is_met_by_whoever_reads_it_with_the_command_that_helps(tmp_path: Path, several: None) -> None:
    """An image of the damaged shard names shard, image and command; all others are read."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    prepare(tmp_path)
    flipped(store_of(tmp_path) / "001.images")
    pack, problems = Store(store_of(tmp_path)), []
    for row in range(len(pack)):
        try:
            pack.read(row)
        except InductiveError as error:
            problems.append(str(error))
    assert len(problems) == 1
    assert re.search(r"001.images: holds other bytes .*inductive prepare --dataset folder:photos", problems[0])


def test_what_is_lost_is_said_where_the_files_are_gone(tmp_path: Path, several: None) -> None:
    """Nothing is removed: with a copy of the shard all is well again."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    prepare(tmp_path)
    shard = store_of(tmp_path) / "001.images"
    copy, images = shard.read_bytes(), int((Store(store_of(tmp_path)).index["shard"] == 1).sum())
    shutil.rmtree(tmp_path / "photos")
    shard.unlink()
    forget()
    with pytest.raises(InductiveError, match=rf"001.images of \d+ shards damaged or gone, with {images} images; and "
                       r"the files that they were made of are not at .*photos"):  # fmt: skip
        prepare(tmp_path)
    shard.write_bytes(copy)
    assert "every byte as packed" in prepare(tmp_path)[0]
    flipped(store_of(tmp_path) / "index.npy")
    with pytest.raises(InductiveError, match=r"index.npy is damaged or gone, and nothing else says where"):
        prepare(tmp_path)


def test_a_shard_is_not_made_again_of_other_bytes(tmp_path: Path, several: None) -> None:
    """A file with another content, but the size and time it had: the shard stays damaged, and the file is named."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    prepare(tmp_path)
    pack = Store(store_of(tmp_path))
    path = tmp_path / "photos" / pack.name(int(np.flatnonzero(pack.index["shard"] == 1)[0]))
    state = path.stat()
    flipped(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    flipped(store_of(tmp_path) / "001.images")
    with pytest.raises(InductiveError, match=rf"{path.name}: has other bytes than those that were packed"):
        prepare(tmp_path)


def test_a_store_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    """The root digest covers every byte, and neither times nor the place of the tree."""
    fill(tmp_path / "photos", {"ape": 15, "cat": 16})
    prepare(tmp_path)
    shutil.copytree(tmp_path / "photos", tmp_path / "there" / "photos", copy_function=shutil.copyfile)
    prepare(tmp_path / "there")
    assert read_manifest(store_of(tmp_path)).root == read_manifest(store_of(tmp_path / "there")).root


def test_test_images_that_are_training_images_too_are_found(tmp_path: Path) -> None:
    """By their files' bytes, which need no decoding."""
    fill(tmp_path / "photos" / "train", {"ape": 6, "cat": 6})
    fill(tmp_path / "photos" / "test", {"ape": 4, "cat": 4}, first=50)
    (tmp_path / "photos" / "test" / "cat" / "zzz.jpg").write_bytes(
        (tmp_path / "photos" / "train" / "ape" / "000.jpg").read_bytes()
    )
    prepare(tmp_path)
    assert find(load_images(NAME, tmp_path)).indices.tolist() == [8]


def test_who_needs_an_array_is_told_and_a_page_shows_the_middle(tmp_path: Path) -> None:
    """The refusal names the set; a photograph on a page is upright, square and no larger than the page needs."""
    fill(tmp_path / "photos", {"ape": 10, "cat": 10})
    photograph(tmp_path / "photos" / "ape" / "large.png", 5, sides=(300, 400))
    prepare(tmp_path)
    images = load_images(NAME, tmp_path)
    with pytest.raises(
        InductiveError, match="folder:photos: photographs of any size lie in shards, and what was asked for needs"
    ):
        images.array("train")
    both = [part for part in (images.train, images.test) if isinstance(part, Photographs)]
    shapes = {_as_shown(part, number).shape for part in both for number in range(len(part))}
    sides = {min(SQUARE, int(side)) for part in both for side in part.sizes.min(axis=1)}
    assert shapes == {(3, side, side) for side in sides} and SQUARE in sides


def test_planning_and_the_list_say_how_a_set_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`prepare`, `plan` and `list datasets` as a user calls them."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "data" / "photos", {"ape": 20, "cat": 20})
    study = 'question = "?"\ndataset = "folder:photos"\ntrain_size = 30\nsize = "pico"\nrecipe = "plain"\n'
    (tmp_path / "p.toml").write_text(study + 'budget = { steps = 2 }\n[[models]]\nname = "vit"\n')
    monkeypatch.setenv("INDUCTIVE_DATA", "data")
    words = r"folder:photos: 40 images of \d\d to \d\d px \(shorter side; median \d\d\): in shards, original bytes"
    for arguments in (["prepare", "--dataset", NAME], ["plan", "p.toml"], ["list", "datasets"]):
        monkeypatch.setattr(sys, "argv", ["inductive", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        said = capsys.readouterr().out
        assert re.search(words if arguments[0] != "list" else r"imagenet .*1,281,167.* shards ", said)


def test_prepare_of_a_study_takes_the_share(tmp_path: Path) -> None:
    """`Packing` reaches the packing."""
    fill(tmp_path / "photos", {"ape": 20, "cat": 20})
    (tmp_path / "photos" / "ape" / "000.jpg").write_bytes(b"")
    with pytest.raises(InductiveError, match="0 may be left out"):
        list(data_set(NAME, tmp_path))
    assert "left out" in "".join(data_set(NAME, tmp_path, Packing(0.05)))


def test_a_published_set_that_is_not_prepared_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'imagenet' is not prepared under .*`inductive prepare --dataset imagenet "):
        dataset("imagenet")
    with pytest.raises(ConfigError, match="did you mean `imagenette`"):
        dataset("imagenete")


def test_who_waited_for_another_finds_it_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits for the lock another packs the same files: they are not packed once more."""
    fill(tmp_path / "photos", {"ape": 20, "cat": 20})
    alone, seen = shards._alone, list[tuple[str, int]]()

    @contextmanager
    def behind_another(making: Path) -> Iterator[None]:
        monkeypatch.setattr(shards, "_alone", alone)
        prepare(tmp_path)
        with alone(making):
            yield

    monkeypatch.setattr(shards, "_alone", behind_another)
    lines = prepare(tmp_path, show=recording(seen))
    assert lines[0] == f"{NAME}: packed by another process meanwhile" and not seen
    assert "every byte as packed" in prepare(tmp_path)[0]


def test_two_at_once_do_no_harm(tmp_path: Path) -> None:
    """Two processes that find nothing packed: both end well, and the store is whole."""
    fill(tmp_path / "photos", {"ape": 20, "cat": 20})
    code = "import sys; from pathlib import Path; from benchmarks.data.store import make_ready; "
    code += "print(make_ready(sys.argv[1], Path(sys.argv[2])))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, NAME, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [(one.communicate()[1], one.returncode) for one in both] == [("", 0)] * 2
    assert is_ready(dataset(NAME), tmp_path, whole=True)


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    """What packs runs the main script again, as `multiprocessing` does, and would wait for its own lock for ever."""
    write_photographs(tmp_path / "data" / "photos", each=10)
    script = "from pathlib import Path\nfrom benchmarks.data.store import make_ready\n"
    (tmp_path / "own.py").write_text(script + 'make_ready("folder:photos", Path("data"))\n')
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "own.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "has to guard what it does by `if __name__" in done.stderr
