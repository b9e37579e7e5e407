"""The store of decoded data sets: shared, whole or rebuilt, and its digest held against every record."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.data import folders, store
from benchmarks.data.catalogue import DATASETS, dataset
from benchmarks.data.dataset import Dataset, Images
from benchmarks.data.duplicates import Duplicates, find, list_path, read_list, write_list
from benchmarks.data.readers import read_digits
from benchmarks.data.store import build, digests, is_ready, load_images, make_ready
from benchmarks.errors import InductiveError, RecordError
from benchmarks.files import read_json, write_json
from benchmarks.plan.run import Run
from benchmarks.plan.study import expand
from benchmarks.records import sources
from benchmarks.records.record import opened_pass, read_record
from benchmarks.running.execute import Outcome, execute
from benchmarks.running.task import Settings

STORED = "stored"
ROOT = Path(__file__).resolve().parents[2]


def read_stored(spec: Dataset, data: Path, download: bool) -> Images:
    """Digits as if they came from a file of the data folder, whose first byte is added to every pixel."""
    images = read_digits(spec, data, download)
    more = np.uint8((data / "stored.bin").read_bytes()[0])
    return replace(images, train=images.train + more, test=images.test + more)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the set `stored`, which goes through the store."""
    spec = replace(dataset("digits"), name=STORED, reader="benchmarks.data.readers:read_stored", files=("stored.bin",))
    monkeypatch.setitem(DATASETS, STORED, spec)
    monkeypatch.setattr("benchmarks.data.readers.read_stored", read_stored, raising=False)
    monkeypatch.setattr(store, "_reader_digest", lambda reader: "0" * 16)
    monkeypatch.setattr(sources, "run_sources", lambda run: {})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stored.bin").write_bytes(b"\0")
    load_images.cache_clear()
    return tmp_path / "data"


def stored(data: Path) -> Images:
    load_images.cache_clear()
    return load_images(STORED, data)


def test_the_store_gives_the_same_arrays(data: Path) -> None:
    """Reference: the bundled digits, read without the store; shapes, types, bytes and digests are equal."""
    images, plain = stored(data), load_images("digits", data)
    for name in ("train", "train_labels", "test", "test_labels"):
        one, other = getattr(images, name), getattr(plain, name)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_array_equal(one, other)
    assert images.digests == plain.digests == digests(plain)
    assert len({*images.digests.values()}) == 2


def test_the_arrays_are_mapped_and_the_file_is_safe(data: Path) -> None:
    """torch warns of arrays that cannot be written; what is written to ours must not reach the file."""
    images = stored(data)
    kept = (data / ".decoded" / "stored.uint8").read_bytes()
    torch.from_numpy(images.train)[:] = 7
    assert images.train.min() == 7
    assert (data / ".decoded" / "stored.uint8").read_bytes() == kept
    assert not stored(data).train.min()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells which pages a process shares")
def test_pages_are_shared_by_processes(data: Path) -> None:
    """Reference: the kernel's account. A second process that reads all of the file has next to nothing of its own."""
    stored(data)
    code = f"""if True:
        import re, sys, numpy as np
        array = np.memmap({str(data / ".decoded" / "stored.uint8")!r}, dtype=np.uint8, mode="c")
        int(array.sum())
        text = open("/proc/self/smaps").read().split("stored.uint8")[1]
        print(*re.findall(r"Private_Dirty: +([0-9]+)", text)[:1])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 0


def test_it_is_decoded_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files may go once the store has them; nothing is read or written again."""
    assert make_ready(STORED, data)
    before = {path: path.stat().st_mtime_ns for path in (data / ".decoded").iterdir()}
    monkeypatch.setattr("benchmarks.data.readers.read_stored", None)
    (data / "stored.bin").unlink()
    assert not make_ready(STORED, data)
    assert len(stored(data).train) == 1200
    assert {path: path.stat().st_mtime_ns for path in (data / ".decoded").iterdir()} == before


@pytest.mark.parametrize("damage", ["short", "flipped", "no sidecar", "torn sidecar", "empty", "other format"])
def test_a_damaged_store_is_built_again(damage: str, data: Path) -> None:
    """Reference: the bundled digits. Every way in which a crash or a disk may leave the two files."""
    stored(data)
    array, about = data / ".decoded" / "stored.uint8", data / ".decoded" / "stored.json"
    content = array.read_bytes()
    if damage == "short":
        array.write_bytes(content[:-1])
    elif damage == "flipped":
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(array, ns=(1, 1))
    elif damage == "no sidecar":
        about.unlink()
    elif damage == "torn sidecar":
        about.write_bytes(about.read_bytes()[:40])
    elif damage == "empty":
        array.write_bytes(b"")
    else:
        write_json(about, {**read_json(about), "format": 0})
    assert make_ready(STORED, data)
    assert array.read_bytes() == content
    np.testing.assert_array_equal(stored(data).test, load_images("digits", data).test)
    assert sorted(path.name for path in (data / ".decoded").iterdir()) == ["stored.json", "stored.uint8"]


def test_a_copied_store_is_verified_once(data: Path) -> None:
    """A copy has another time: its content is compared, and its time noted."""
    stored(data)
    array, about = data / ".decoded" / "stored.uint8", data / ".decoded" / "stored.json"
    os.utime(array, ns=(5, 5))
    assert not make_ready(STORED, data)
    assert read_json(about)["time"] == 5


def test_a_byte_flipped_behind_the_clock_is_found_by_a_whole_check(data: Path) -> None:
    """Length and time alone do not show it; `inductive prepare` compares every byte."""
    stored(data)
    array = data / ".decoded" / "stored.uint8"
    content, time = array.read_bytes(), array.stat().st_mtime_ns
    array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(array, ns=(time, time))
    assert is_ready(dataset(STORED), data)
    assert not is_ready(dataset(STORED), data, whole=True)


def test_two_builders_do_no_harm(data: Path) -> None:
    """Ten at once, over and over: the store is whole at every moment that it can be looked at."""
    reference = load_images("digits", data)

    def work(_: int) -> bool:
        build(dataset(STORED), data, download=False)
        return bool((store._mapped(dataset(STORED), data, read_json(data / ".decoded" / "stored.json")).train
                     == reference.train).all())  # fmt: skip

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(work, range(40)))
    assert is_ready(dataset(STORED), data, whole=True)
    assert sorted(path.name for path in (data / ".decoded").iterdir()) == ["stored.json", "stored.uint8"]


def change_data(data: Path) -> None:
    """Other images under the same name, as another version of the files would be."""
    (data / "stored.bin").write_bytes(b"\1")
    (data / ".decoded" / "stored.json").unlink()
    load_images.cache_clear()


@pytest.fixture
def perform(data: Path, tmp_path: Path) -> Callable[..., Outcome]:
    def call(run: Run, stop_at: int | None = None, **table: Any) -> Outcome:
        polls = iter(range(1, 1000))
        study = expand({**STUDY, **table}, "study")
        wanted = study.evaluations[run.id]
        return execute(run, tmp_path / "runs", wanted, Settings(data), lambda: next(polls) == stop_at)

    return call


STUDY: dict[str, Any] = {
    "dataset": STORED, "size": "pico", "train_size": 100, "recipe": "digits", "budget": {"steps": 4},
    "models": [{"name": "vit"}],
}  # fmt: skip


@pytest.fixture
def run(data: Path) -> Run:
    return expand(STUDY, "study").runs[0]


def test_a_run_records_its_data_and_keeps_to_it(run: Run, perform: Callable[..., Outcome], data: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Neither continued nor evaluated on other images; the message names the parts. The old images serve again."""
    assert perform(run, stop_at=2).state == "interrupted"
    folder = tmp_path / "runs" / run.id
    assert read_json(folder / "execution.json")["data"] == {
        **stored(data).digests,
        "official": "unverified: its files have no known sums",
    }
    change_data(data)
    with pytest.raises(RecordError, match=r"made with other images: train \(\w{12} then, \w{12} now\) and test \("):
        perform(run)
    change_data(data)
    (data / "stored.bin").write_bytes(b"\0")
    assert perform(run).state == "finished"
    change_data(data)
    with pytest.raises(RecordError, match="made with other images"):
        perform(run, test_resolutions=[8, 12])
    with pytest.raises(RecordError, match="made with other images"):
        perform(run)


def test_a_record_from_before_digests_is_continued(run: Run, perform: Callable[..., Outcome], tmp_path: Path) -> None:
    """execution.json had no `data` then: such records stay readable and usable."""
    perform(run, stop_at=2)
    path = tmp_path / "runs" / run.id / "execution.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != "data"})
    assert perform(run).state == "finished"
    assert perform(run, test_resolutions=[8, 12]).did == "2 evaluations"


def test_listed_duplicates_are_left_out(run: Run, perform: Callable[..., Outcome], data: Path, tmp_path: Path) -> None:
    """Reference: the recorded logits of the whole test part, without the listed images."""
    list_path(STORED, data).parent.mkdir()
    list_path(STORED, data).write_text("TestID,TrainID,Distance,Judgment\n596,3,0.1,1\n0,1,0.2,0\n# a note\n17\n17,9\n")
    assert perform(run, duplicates="leave_out").did == "trained 4 steps, 3 evaluations"
    folder = tmp_path / "runs" / run.id
    entries = {entry["evaluation"]["part"]: entry for entry in read_record(folder).evaluations}
    assert [entries[part]["count"] for part in ("test", "validation", "test_unique")] == [597, 20, 594]
    with opened_pass(folder / "evaluations" / "0001.npz") as arrays:
        logits = np.delete(arrays[f"{entries['test']['id']}.logits"], [0, 17, 596], axis=0)
        np.testing.assert_array_equal(logits, arrays[f"{entries['test_unique']['id']}.logits"])
    assert entries["test_unique"]["left_out"] == read_list(STORED, data).digest
    assert "left_out" not in entries["test"]
    list_path(STORED, data).write_text("5\n")
    with pytest.raises(RecordError, match="evaluated with another list of duplicates"):
        perform(run, duplicates="leave_out")
    assert perform(run) == Outcome("finished", "nothing")  # a study that keeps them looks at no list


def test_a_missing_or_wrong_list_is_said(run: Run, perform: Callable[..., Outcome], data: Path) -> None:
    """Lists are the user's to get: the message names the file, its form, and where ciFAIR's is."""
    with pytest.raises(InductiveError, match=r"no list of duplicates at .*stored\.csv.*cvjena/cifair") as refusal:
        perform(run, duplicates="leave_out")
    assert str(list_path(STORED, data)) in str(refusal.value)
    list_path(STORED, data).parent.mkdir()
    for line, wrong in (("597", "597"), ("3\nten", "ten"), ("3\n-1,2", "-1")):
        list_path(STORED, data).write_text(line)
        with pytest.raises(InductiveError, match=rf"line \d: '{wrong}' is no index of a test image \(0 to 596\)"):
            read_list(STORED, data)


def test_copies_are_found_and_listed(data: Path) -> None:
    """Reference: two training images put into the test part by hand."""
    images = load_images("digits", data)
    test = images.test.copy()
    test[[4, 90]] = images.train[[0, 1100]]
    found = find(replace(images, test=test))
    assert found.indices.tolist() == [4, 90]
    write_list(STORED, data, found)
    assert read_list(STORED, data).digest == found.digest
    with pytest.raises(InductiveError, match="there is a list already"):
        write_list(STORED, data, Duplicates(np.array([1])))


def test_digests_know_shape_pixels_and_labels() -> None:
    """What breaks otherwise: images cut otherwise, or with other labels, would pass for the same."""
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 256, (6, 1, 4, 4), dtype=np.uint8), np.arange(6)
    one = Images(x, y, x, y)
    others = [
        replace(one, train=x.reshape(6, 1, 2, 8)),
        replace(one, train=x[::-1]),
        replace(one, train_labels=y[::-1]),
    ]
    assert len({digests(image)["train"] for image in (one, *others)}) == 4
    assert len({digests(image)["test"] for image in (one, *others)}) == 1


@pytest.mark.parametrize("arguments", [(), ("--find-duplicates",), ("nonsense",), ("--dataset", "cifar1O")])
def test_prepare_refuses_what_it_cannot_prepare(
    arguments: tuple[str, ...], inductive: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Exit code 2 and one line that says what is missing."""
    done = inductive("prepare", *arguments)
    assert done.returncode == 2
    assert "configuration error" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_is_prepared_run_and_reported(
    tmp_path: Path, inductive: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The whole way of a user's own images on the command line; the report then needs the records alone. What trains
    or compares again takes the data folder from --data, also where the records have lost their copy of the index."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for label in ("ape", "cat"):
        (tmp_path / "mine" / "pets" / label).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / "pets" / label / f"{number}.png")
    (tmp_path / "mine.toml").write_text(
        'dataset = "folder:pets"\nsize = "pico"\nrecipe = "digits"\ntrain_size = 20\nbudget = { steps = 3 }\n'
        "seed = [0, 1]\n"
        '[[models]]\nname = "mlp"\n'
    )
    done = inductive("prepare", "mine.toml", "--data", "mine")
    assert done.returncode == 0, done.stderr
    assert "48 training and 12 test images, 8x8, grey, 2 classes" in done.stdout
    missing = inductive("plan", "mine.toml")
    assert missing.returncode == 2
    assert "there is no folder data/pets" in missing.stderr
    done = inductive("run", "mine.toml", "--data", "mine")
    assert done.returncode == 0, done.stdout
    done = inductive("report", "mine.toml", "-o", "page")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page" / "index.html").exists()
    shutil.rmtree(tmp_path / "runs" / folders.COPIES)
    one, other = sorted(path.name for path in (tmp_path / "runs").glob("mlp-*"))
    again = inductive("rerun", one, "--data", "mine", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["verdict"] == "equal"
    both = inductive("show", one, "--against", other, "--data", "mine")
    assert both.returncode == 0, both.stderr
    assert "on 12 test images" in both.stdout
