"""Data sets that are folders of images: indexed without torch, read by ImageFolder, refused where they do not fit."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from benchmarks.data import folders
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Places
from benchmarks.data.store import load_images
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.plan.run import make_run
from benchmarks.records.sources import run_sources
from benchmarks.running.prepare import data_set

NAME = "folder:pets"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The data folder is the test's, for this process, and nothing is remembered of another test."""
    monkeypatch.setenv("INDUCTIVE_DATA", str(tmp_path))
    yield
    folders.declared.cache_clear()
    load_images.cache_clear()


def fill(tree: Path, counts: dict[str, int], side: int = 12, mode: str = "RGB", seed: int = 0) -> None:
    """Class folders with random PNGs."""
    generator = np.random.default_rng(seed)
    for label, count in counts.items():
        (tree / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(tree / label / f"{number:02d}.png")


@pytest.mark.parametrize("part", ["test", "val"])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("RGBA", 3), ("P", 3)])
def test_a_tree_with_its_own_parts_is_what_image_folder_reads(
    part: str, mode: str, channels: int, tmp_path: Path
) -> None:
    """Reference: torchvision's ImageFolder, image by image, converted by PIL."""
    fill(tmp_path / "pets" / "train", {"cat": 4, "ape": 3, "dog": 5}, mode=mode)
    fill(tmp_path / "pets" / part, {"cat": 1, "ape": 2, "dog": 1}, mode=mode, seed=1)
    spec = dataset(NAME)
    assert (spec.channels, spec.native_resolution, spec.train_counts, spec.test_count) == (channels, 12, (3, 4, 5), 4)
    images = load_images(NAME, tmp_path)
    for name, pixels, labels in (
        ("train", images.train, images.train_labels),
        (part, images.test, images.test_labels),
    ):
        reference = ImageFolder(str(tmp_path / "pets" / name), loader=lambda path: Image.open(path))
        expected = [np.asarray(image.convert("L" if channels == 1 else "RGB")) for image, _ in reference]
        np.testing.assert_array_equal(pixels, np.array(expected).reshape(-1, 12, 12, channels).transpose(0, 3, 1, 2))
        assert labels.tolist() == reference.targets


@pytest.mark.parametrize("tree", [".", "train"])
def test_a_test_part_is_made_where_there_is_none(tree: str, tmp_path: Path) -> None:
    """Reference: all images of the tree, counted; the made part is stratified, disjoint and always the same."""
    fill(tmp_path / "pets" / tree, {"ape": 15, "cat": 30, "dog": 20})
    spec, images = dataset(NAME), load_images(NAME, tmp_path)
    assert (sum(spec.train_counts), spec.test_count) == (52, 13)
    assert np.bincount(images.test_labels).tolist() == [3, 6, 4]
    both = [one.tobytes() for one in (*images.train, *images.test)]
    assert len(set(both)) == len(both) == 65
    assert spec.test_count == len(images.test)
    labels = np.repeat([0, 1, 2], [15, 30, 20])
    assert folders.made_split(labels, 3)[1].tolist() == GOLDEN_SPLIT


GOLDEN_SPLIT = [
    0,
    2,
    12,
    17,
    28,
    33,
    35,
    37,
    42,
    51,
    54,
    57,
    61,
]  # the split of the first release: another makes no number comparable


def test_a_run_of_a_folder_has_a_portable_id(tmp_path: Path) -> None:
    """The id holds the path as it was written, under the data folder, and nothing of where that lies."""
    fill(tmp_path / "pets", {"ape": 15, "cat": 15})
    settings = {"dataset": NAME, "train_size": 20, "resolution": 12}
    first = make_run(settings).id
    assert first.startswith("vit-learned_1d-folder_pets-n20-r12-")
    other = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "pets", other / "pets")
    there = make_run(settings, Places(other))
    assert there.id == first
    assert "benchmarks.data.readers:read_folder" in run_sources(there)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Planning meets it first: the message has the path looked at, and what lies there in which form."""
    with pytest.raises(ConfigError, match=r"dataset: 'folder:pets': there is no folder .*pets.*--data DIR") as refusal:
        make_run({"dataset": NAME})
    assert str(tmp_path / "pets") in str(refusal.value)
    assert "did you mean" not in str(refusal.value)
    with pytest.raises(ConfigError, match="names no folder"):
        dataset("folder:")


def test_the_folder_that_was_meant_is_named(tmp_path: Path) -> None:
    """A path with the data folder itself in it, a slip of the finger, and a folder around the one with the classes."""
    fill(tmp_path / "pets" / "images", {"ape": 2, "cat": 2})
    for slip in ("data/pets", "pest"):
        with pytest.raises(ConfigError, match=r"there is no folder .*; did you mean `folder:pets`\?$"):
            dataset(f"folder:{slip}")
    with pytest.raises(InductiveError, match=r"has one class, images; .*; did you mean `folder:pets/images`\?$"):
        dataset(NAME)


def test_a_path_from_the_root_is_warned_of(tmp_path: Path) -> None:
    """It is in the ids of runs, and `pack` refuses it after all of them are trained, so it is said before."""
    fill(tmp_path / "pets", {"ape": 10, "cat": 10})
    whole = f"folder:{tmp_path / 'pets'}"
    warned = [line for line in folders.described(folders.index_of(whole, Places(tmp_path))) if "warning" in line]
    assert len(warned) == 1 and "link it there" in warned[0] and whole in warned[0]
    (tmp_path / "linked").symlink_to(tmp_path / "pets")
    for name in (NAME, "folder:linked"):
        assert "warning" not in "".join(folders.described(folders.index_of(name, Places(tmp_path))))


def test_a_report_needs_no_images(tmp_path: Path) -> None:
    """Records keep the index: on a machine without the data, a study of a folder still expands."""
    fill(tmp_path / "pets", {"ape": 10, "cat": 10})
    spec = dataset(NAME)
    folders.keep_copy(NAME, tmp_path, tmp_path / "runs")
    folders.declared.cache_clear()
    assert dataset(NAME, Places(tmp_path / "nowhere", tmp_path / "runs")) == spec
    with pytest.raises(InductiveError, match="there is no folder"):
        load_images(NAME, tmp_path / "nowhere")
    fill(tmp_path / "pets", {"ape": 30, "cat": 30})  # the folder has grown, and a run on it has begun
    folders.declared.cache_clear()
    grown = dataset(NAME)
    folders.keep_copy(NAME, tmp_path, tmp_path / "runs")
    folders.declared.cache_clear()
    assert dataset(NAME, Places(tmp_path / "nowhere", tmp_path / "runs")) == grown != spec


def test_a_changed_tree_is_indexed_and_decoded_again(tmp_path: Path) -> None:
    """An image more: the index follows by itself. One replaced in place: `prepare` finds it by its time and size."""
    fill(tmp_path / "pets", {"ape": 10, "cat": 10})
    before = load_images(NAME, tmp_path).digests
    fill(tmp_path / "pets", {"ape": 1}, seed=5)  # 00.png, in place
    os.utime(tmp_path / "pets" / "ape" / "00.png", ns=(1, 1))
    assert "indexed" in next(iter(data_set(NAME, tmp_path)))
    list(data_set(NAME, tmp_path))
    after = load_images(NAME, tmp_path).digests
    assert after != before
    assert "unchanged" in next(iter(data_set(NAME, tmp_path)))
    fill(tmp_path / "pets", {"cat": 15}, seed=6)
    folders.declared.cache_clear()
    load_images.cache_clear()
    assert sum(dataset(NAME).train_counts) + dataset(NAME).test_count == 25
    assert len(load_images(NAME, tmp_path).train) == 20


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda tree: (tree / "ape" / "00.png").write_bytes(b"no image"), r"ape.00\.png is no image"),
        (lambda tree: (tree / "eel").mkdir(), r"eel holds no images"),
        (lambda tree: fill(tree, {"eel": 1}), r"class eel has too few images"),
        (lambda tree: shutil.rmtree(tree / "cat"), r"has one class, ape"),
        (lambda tree: Image.new("I;16", (12, 12)).save(tree / "ape" / "00.png"), r"PIL's mode I;16; .*8 bits"),
        (lambda tree: [shutil.rmtree(tree / one) for one in ("ape", "cat")], r"holds no folders of images"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(break_it, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Each names the file or folder."""
    fill(tmp_path / "pets", {"ape": 10, "cat": 10})
    break_it(tmp_path / "pets")
    with pytest.raises(InductiveError, match=message):
        dataset(NAME)


def test_parts_with_other_classes_are_refused(tmp_path: Path) -> None:
    """ImageFolder numbers the classes of each part for itself: labels would silently mean other classes."""
    fill(tmp_path / "pets" / "train", {"ape": 5, "cat": 5})
    fill(tmp_path / "pets" / "test", {"cat": 5, "dog": 5})
    with pytest.raises(InductiveError, match="must have the same classes; ape is in one of them"):
        dataset(NAME)


def test_names_are_kept_apart_as_files() -> None:
    """What breaks otherwise: `folder:a/b` and `folder:a_b` would overwrite each other in the store."""
    assert len({folders.safe(name) for name in ("folder:a/b", "folder:a_b", "folder:a:b", "folder:a%2Fb")}) == 4
