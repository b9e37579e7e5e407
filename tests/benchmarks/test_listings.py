"""Published photographs: trees in each set's layout, read by torchvision's own classes, which are the reference."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets
from torchvision.datasets import ImageFolder, imagenet

from benchmarks.data import folders, listings
from benchmarks.data.catalogue import PHOTOGRAPHS, dataset, forget
from benchmarks.data.class_names import class_names
from benchmarks.data.dataset import Places
from benchmarks.data.listings import imagenet100_classes
from benchmarks.data.photographs import Store, read_manifest
from benchmarks.data.store import load_images, prepare_photographs
from benchmarks.errors import InductiveError
from benchmarks.running.prepare import data_set

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The data folder is the test's, and no test knows what another has declared or loaded."""
    monkeypatch.setenv("INDUCTIVE_DATA", str(tmp_path))
    yield
    forget()
    load_images.cache_clear()


def photograph(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (10 + number % 7, 12 + number % 5, 3)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)).save(path, "JPEG")


def small(name: str, counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The published counts are those of the test's tree."""
    monkeypatch.setitem(PHOTOGRAPHS, name, replace(PHOTOGRAPHS[name], images=counts[0], test=counts[1]))


def folders_of_classes(place: Path, classes: list[str], train: int, test: int, part: str) -> None:
    for number, label in enumerate(classes):
        for one in range(train):
            photograph(place / "train" / label / f"{label}_{one}.JPEG", 10 * number + one)
        for one in range(test):
            photograph(place / part / label / f"ILSVRC2012_val_{one}.JPEG", 500 + 10 * number + one)


def packed(name: str, data: Path) -> list[tuple[str, int, bytes]]:
    """Of each image in the order of the rows: its name, its label, its bytes."""
    list(data_set(name, data))
    pack = Store(folders.store_path(name, data))
    return [(pack.name(row), int(pack.index["label"][row]), pack.read(row)) for row in range(len(pack))]


def expected(samples: list[tuple[Any, int]], folder: Path) -> list[tuple[str, int, bytes]]:
    return [(str(Path(path).relative_to(folder)), label, Path(path).read_bytes()) for path, label in samples]


def test_imagenet_is_what_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: torchvision's ImageNet on the same tree (its meta.bin names the classes)."""
    place, wnids = tmp_path / "imagenet", ["n02000000", "n01000000", "n03000000"]
    folders_of_classes(place, wnids, 4, 2, "val")
    torch.save(({wnid: (wnid,) for wnid in wnids}, []), place / "meta.bin")
    small("imagenet", (12, 6), monkeypatch)
    parts = [datasets.ImageNet(str(place), split=split) for split in ("train", "val")]
    assert packed("imagenet", tmp_path) == expected([*parts[0].samples, *parts[1].samples], place)
    spec = dataset("imagenet")
    assert (spec.photographs, spec.flips, spec.train_counts, spec.test_count) == (True, True, (4, 4, 4), 6)
    assert spec.title.startswith("ImageNet (10 to 15 px, colour; its own val part)")
    assert class_names(spec, Places()) == tuple(sorted(wnids)) == tuple(parts[0].wnids)
    assert load_images("imagenet", tmp_path).official == "unverified: its files have no known sums"


def test_imagenet_is_unpacked_from_its_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torchvision's own parsers, from archives as ImageNet's are: a tar of tars, a flat one, and the devkit."""
    place, wnids = tmp_path / "imagenet", ["n01000000", "n02000000"]
    folders_of_classes(tmp_path / "tree", wnids, 3, 0, "val")
    inner = tmp_path / "inner"
    inner.mkdir()
    for wnid in wnids:
        with tarfile.open(inner / f"{wnid}.tar", "w") as packed_class:
            for path in sorted((tmp_path / "tree" / "train" / wnid).iterdir()):
                packed_class.add(path, path.name)
    place.mkdir()
    with tarfile.open(place / "ILSVRC2012_img_train.tar", "w") as packed_train:
        for path in sorted(inner.iterdir()):
            packed_train.add(path, path.name)
    with tarfile.open(place / "ILSVRC2012_img_val.tar", "w") as packed_val:
        for number in range(4):
            photograph(inner / f"ILSVRC2012_val_{number:08d}.JPEG", 700 + number)
            packed_val.add(inner / f"ILSVRC2012_val_{number:08d}.JPEG", f"ILSVRC2012_val_{number:08d}.JPEG")
    kit = tmp_path / "ILSVRC2012_devkit_t12"
    (kit / "data").mkdir(parents=True)
    rows = [(number + 1, wnid, f"name {wnid}", "gloss", 0) for number, wnid in enumerate(wnids)]
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    savemat(kit / "data" / "meta.mat", {"synsets": np.array(rows, dtype=kinds)})
    (kit / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n1\n2\n")
    with tarfile.open(place / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as packed_kit:
        packed_kit.add(kit, kit.name)
    sums = {
        part: (file, hashlib.md5((place / file).read_bytes(), usedforsecurity=False).hexdigest())
        for part, (file, _) in imagenet.ARCHIVE_META.items()
    }
    monkeypatch.setattr(imagenet, "ARCHIVE_META", sums)
    small("imagenet", (6, 4), monkeypatch)
    rows_packed = packed("imagenet", tmp_path)
    assert [label for _, label, _ in rows_packed] == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert [Path(name).name[-7:-5] for name, _, _ in rows_packed[6:]] == ["01", "02", "00", "03"]
    assert load_images("imagenet", tmp_path).official.startswith("verified: unpacked by torchvision")


@pytest.mark.parametrize("name", ["imagenet", "imagenet100"])
def test_imagenet_that_is_not_there(name: str, tmp_path: Path) -> None:
    """All that has to be fetched by hand is named at once. Reference: torchvision's names of the archives."""
    files = [file for file, _ in imagenet.ARCHIVE_META.values()]
    with pytest.raises(
        InductiveError, match=rf"^{name}: .*imagenet has neither train/ and val/.*image-net\.org"
    ) as all_:
        packed(name, tmp_path)
    assert all(file in str(all_.value) for file in files)
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / files[0]).touch()
    with pytest.raises(InductiveError) as some:
        packed(name, tmp_path)
    assert [file in str(some.value) for file in files] == [False, True, True]


def test_imagenet100_has_the_classes_of_its_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred different ids; of a tree with more classes those alone are read, in ImageFolder's order."""
    classes = imagenet100_classes()
    assert len(set(classes)) == 100 and all(len(wnid) == 9 and wnid[0] == "n" for wnid in classes)
    assert (classes[0], classes[-1]) == ("n01558993", "n13040303")
    few = ["n01558993", "n13040303"]
    monkeypatch.setattr(listings, "imagenet100_classes", lambda: tuple(few))
    folders_of_classes(tmp_path / "imagenet", [*few, "n01440764"], 3, 1, "val")
    small("imagenet100", (6, 2), monkeypatch)
    found = packed("imagenet100", tmp_path)
    reference = [ImageFolder(str(tmp_path / "imagenet" / part)) for part in ("train", "val")]
    kept = [(path, label - 1) for part in reference for path, label in part.samples if label]
    assert found == expected(kept, tmp_path / "imagenet")


def test_a_list_of_other_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("n01558993\n")
    monkeypatch.setattr(listings, "IMAGENET100", tmp_path / "list.txt")
    with pytest.raises(InductiveError, match=r"list.txt: is not the list whose SHA-256 is 79f3f155"):
        imagenet100_classes()


def test_imagenette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: torchvision's Imagenette; verified by its archive while that lies beside."""
    wnids = list(datasets.Imagenette._WNID_TO_CLASS)
    folders_of_classes(tmp_path / "imagenette2", wnids, 2, 1, "val")
    small("imagenette", (20, 10), monkeypatch)
    with tarfile.open(tmp_path / "imagenette2.tgz", "w:gz") as archive:
        archive.add(tmp_path / "imagenette2", "imagenette2")
    parts = [datasets.Imagenette(str(tmp_path), split=split) for split in ("train", "val")]
    found = packed("imagenette", tmp_path)
    assert found == expected([*parts[0]._samples, *parts[1]._samples], tmp_path / "imagenette2")
    assert class_names(dataset("imagenette"), Places())[:2] == ("tench", "English springer")
    assert load_images("imagenette", tmp_path).official.startswith("unverified: imagenette2.tgz has another MD5 sum")
    md5 = hashlib.md5((tmp_path / "imagenette2.tgz").read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(datasets.Imagenette, "_ARCHIVES", {"full": ("https://x/imagenette2.tgz", md5)})
    listing = listings.listing_of(PHOTOGRAPHS["imagenette"], tmp_path, download=False)
    assert listing.official == "verified: by the official archive beside its files"
    path = tmp_path / "imagenette2" / found[3][0]
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InductiveError, match=rf"{path.name}: damaged: not what the official archive"):
        listings.listing_of(PHOTOGRAPHS["imagenette"], tmp_path, download=False)


def test_caltech101(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: torchvision's Caltech101 (labels and paths); the test part is the one made of any folder."""
    place = tmp_path / "caltech101" / "101_ObjectCategories"
    counts = {"Faces": 6, "accordion": 9, "BACKGROUND_Google": 3, "yin_yang": 5}
    for number, (label, count) in enumerate(counts.items()):
        for one in range(count):
            photograph(place / label / f"image_{one + 1:04d}.jpg", 10 * number + one)
    small("caltech101", (16, 4), monkeypatch)
    whole = datasets.Caltech101(str(tmp_path))
    samples = [
        (place / whole.categories[label] / f"image_{number:04d}.jpg", label)
        for number, label in zip(whole.index, whole.y, strict=True)
    ]
    train, test = folders.made_split(np.array(whole.y), 3)
    assert packed("caltech101", tmp_path) == expected([samples[one] for one in (*train, *test)], place)
    assert class_names(dataset("caltech101"), Places()) == ("Faces", "accordion", "yin_yang")


def test_pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: torchvision's OxfordIIITPet."""
    place = tmp_path / "oxford-iiit-pet"
    for part, first in (("trainval", 0), ("test", 50)):
        lines = []
        for number, breed in enumerate(("Abyssinian", "american_bulldog", "yorkshire_terrier")):
            for one in range(3):
                photograph(place / "images" / f"{breed}_{first + one}.jpg", first + 10 * number + one)
                lines.append(f"{breed}_{first + one} {number + 1} 1 1\n")
        (place / "annotations").mkdir(exist_ok=True)
        (place / "annotations" / f"{part}.txt").write_text("".join(lines))
    small("pets", (9, 9), monkeypatch)
    parts = [datasets.OxfordIIITPet(str(tmp_path), split=split) for split in ("trainval", "test")]
    samples = [sample for part in parts for sample in zip(part._images, part._labels, strict=True)]
    assert packed("pets", tmp_path) == expected(samples, place)
    assert class_names(dataset("pets"), Places()) == ("Abyssinian", "American Bulldog", "Yorkshire Terrier")
    assert "images.tar.gz does not lie beside them" in load_images("pets", tmp_path).official


def test_flowers102(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: torchvision's Flowers102: train and val together, then test. Every class is in both parts."""
    place = tmp_path / "flowers-102"
    labels = np.tile(np.arange(1, 103), 3)
    for number in range(1, len(labels) + 1):
        photograph(place / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(place / "imagelabels.mat", {"labels": labels})
    ids = {"trnid": np.arange(1, 52), "valid": np.arange(52, 103), "tstid": np.arange(306, 102, -1)}
    savemat(place / "setid.mat", ids)
    sums = dict(datasets.Flowers102._file_dict)
    for key in ("label", "setid"):
        file = sums[key][0]
        sums[key] = (file, hashlib.md5((place / file).read_bytes(), usedforsecurity=False).hexdigest())
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", sums)
    small("flowers102", (102, 204), monkeypatch)
    parts = [datasets.Flowers102(str(tmp_path), split=split) for split in ("train", "val", "test")]
    samples = [sample for part in parts for sample in zip(part._image_files, part._labels, strict=True)]
    assert packed("flowers102", tmp_path) == expected(samples, place)
    assert class_names(dataset("flowers102"), Places())[0] == "pink primrose"


def test_food101(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: torchvision's Food101."""
    place = tmp_path / "food-101"
    (place / "meta").mkdir(parents=True)
    for part, first in (("train", 0), ("test", 50)):
        named = {label: [f"{label}/{first + one}" for one in range(3)] for label in ("waffles", "apple_pie")}
        (place / "meta" / f"{part}.json").write_text(json.dumps(named))
        for number, name in enumerate(name for names in named.values() for name in names):
            photograph(place / "images" / f"{name}.jpg", first + number)
    small("food101", (6, 6), monkeypatch)
    parts = [datasets.Food101(str(tmp_path), split=split) for split in ("train", "test")]
    samples = [sample for part in parts for sample in zip(part._image_files, part._labels, strict=True)]
    assert packed("food101", tmp_path) == expected(samples, place)


def test_a_part_of_a_published_set_is_not_that_set(tmp_path: Path) -> None:
    """The counts of each part are the published ones, or it is refused with what to do."""
    folders_of_classes(tmp_path / "imagenet", ["n01000000", "n02000000"], 3, 1, "val")
    with pytest.raises(InductiveError, match=r"6 and 2 images instead of 1,281,167 and 50,000.*folder:PATH"):
        list(prepare_photographs("imagenet", tmp_path))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_what_is_missing_is_said_with_its_place(name: str, tmp_path: Path) -> None:
    """Where it was looked for and where it comes from; no function but `prepare` downloads."""
    with pytest.raises(InductiveError) as refusal:
        list(prepare_photographs(name, tmp_path))
    known = PHOTOGRAPHS[name]
    assert str(tmp_path / known.files[0]) in str(refusal.value) and f"torchvision.datasets.{known.kind}" in known.source


def test_a_published_set_is_declared_by_what_was_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree may go, and a report has the copy beside its records."""
    wnids = ["n01000000", "n02000000"]
    folders_of_classes(tmp_path / "imagenet", wnids, 4, 2, "val")
    small("imagenet", (8, 4), monkeypatch)
    list(data_set("imagenet", tmp_path))
    spec = dataset("imagenet")
    folders.keep_copy("imagenet", tmp_path, tmp_path / "runs")
    for path in sorted((tmp_path / "imagenet").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    forget()
    assert dataset("imagenet") == spec == dataset("imagenet", Places(None, tmp_path / "runs"))
    assert "every byte as packed" in "".join(data_set("imagenet", tmp_path))
    assert len(load_images("imagenet", tmp_path).test) == 4
    assert read_manifest(folders.store_path("imagenet", tmp_path)).name == "imagenet"


def test_published_counts_are_the_papers() -> None:
    """Reference: the papers and pages named in each declaration."""
    assert {name: (one.images, one.test, one.classes) for name, one in PHOTOGRAPHS.items()} == {
        "imagenet": (1_281_167, 50_000, 1000),
        "imagenet100": (126_689, 5000, 100),
        "imagenette": (9469, 3925, 10),
        "caltech101": (6942, 1735, 101),
        "pets": (3680, 3669, 37),
        "flowers102": (2040, 6149, 102),
        "food101": (75_750, 25_250, 101),
    }
