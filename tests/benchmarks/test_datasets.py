"""Data sets: what is declared, and what is read from files in each official format."""

import gzip
import hashlib
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.data import folders, official
from benchmarks.data.catalogue import DATASETS, dataset
from benchmarks.data.dataset import Images, Places
from benchmarks.data.store import load_images, make_ready
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.running import prepare
from models.catalogue.sizes import SCALES

NOWHERE = Path("nowhere")
ROOT = Path(__file__).resolve().parents[2]
Pixels = NDArray[np.uint8]
Labels = list[int]
Write = Callable[[Path, Pixels, Labels, Pixels, Labels], None]  # folder, training and test part (N H W C)


def test_digits_are_what_is_declared() -> None:
    """Planning trusts the declaration without loading; a difference would give a run other sizes than its plan."""
    images, spec = load_images("digits", NOWHERE), dataset("digits")
    assert images.train.shape == (sum(spec.train_counts), spec.channels, 8, 8)
    assert images.test.shape == (spec.test_count, spec.channels, 8, 8)
    assert tuple(np.bincount(images.train_labels)) == spec.train_counts
    assert images.train.dtype == images.test.dtype == np.uint8
    assert images.train_labels.dtype == images.test_labels.dtype == np.int64
    assert spec.classes == 10
    assert spec.native_resolution == images.train.shape[-1]


def test_digits_are_scikit_learns() -> None:
    """Reference: scikit-learn's images (0..16), scaled to 0..255 and rounded; both parts together are all of them."""
    images = load_images("digits", NOWHERE)
    pixels, labels = load_digits(return_X_y=True)
    expected = np.rint(pixels * 15.9375).astype(np.uint8)
    both = np.concatenate([images.train, images.test]).reshape(-1, 64)
    both_labels = np.concatenate([images.train_labels, images.test_labels])
    assert sorted(map(bytes, np.column_stack([both, both_labels.astype(np.uint8)]))) == sorted(
        map(bytes, np.column_stack([expected, labels.astype(np.uint8)]))
    )
    assert images.train.max() == 255


def test_the_test_part_of_digits_is_fixed_and_stratified() -> None:
    """Reference: digests of the first release; another test part makes no number comparable to an older one."""
    images = load_images("digits", NOWHERE)
    assert hashlib.sha256(images.train.tobytes() + images.test.tobytes()).hexdigest()[:16] == "e732249b865c067c"
    assert hashlib.sha256(images.test_labels.astype("<i8").tobytes()).hexdigest()[:16] == "d9922027b577eaeb"
    counts = np.bincount(images.test_labels)
    shares = np.bincount(np.concatenate([images.train_labels, images.test_labels])) / 1797
    assert np.abs(counts - 597 * shares).max() < 1


def test_no_test_image_is_trained_on() -> None:
    """Reference: byte comparison of all pairs of images (the bundled set holds no image twice)."""
    images = load_images("digits", NOWHERE)
    assert not set(map(bytes, images.train.reshape(-1, 64))) & set(map(bytes, images.test.reshape(-1, 64)))


def test_an_unknown_data_set_names_the_nearest() -> None:
    """What breaks otherwise: a KeyError for a slip of the finger."""
    with pytest.raises(ConfigError, match=r"^dataset: unknown data set 'cifar1O'.*did you mean `cifar10`\?$"):
        dataset("cifar1O")


def test_a_folder_of_ones_own_is_named_with_its_form(tmp_path: Path) -> None:
    """Its bare name, which a newcomer writes, leads to it and not to a data set that is spelt alike."""
    (tmp_path / "petz").mkdir()
    with pytest.raises(ConfigError, match=r"unknown data set 'petz'; .*did you mean `folder:petz`\?$"):
        dataset("petz", Places(tmp_path))
    with pytest.raises(ConfigError, match=r"unknown data set 'petz'; .*did you mean `pets`\?$"):
        dataset("petz", Places(tmp_path / "elsewhere"))


def own_images(folder: Path, count: int = 10) -> None:
    """Noise of two classes."""
    for label in ("ape", "cat"):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


@pytest.mark.parametrize("name", ["pets/", "./pets", "pets//", "others/../pets"])
def test_a_folder_has_one_name(name: str, tmp_path: Path) -> None:
    """Runs on it have one id, and its images are kept once. A trailing slash is what a shell completes."""
    own_images(tmp_path / "pets")
    with pytest.raises(ConfigError, match=r"is not how that folder is usually written; did you mean `folder:pets`\?$"):
        dataset(f"folder:{name}", Places(tmp_path))
    assert dataset("folder:pets", Places(tmp_path)).classes == 2


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    """A letter that is not Latin counts nine times as a file's name. What breaks otherwise: "File name too long"."""
    name = "\u732b" * 30
    own_images(tmp_path / name)
    with pytest.raises(ConfigError, match=r"too long for names of files, as which it has 279 letters \(at most 200"):
        dataset(f"folder:{name}", Places(tmp_path))


@pytest.mark.parametrize("beside", ["valid", "validation", "Test"])
def test_a_part_by_another_name_is_not_passed_over(beside: str, tmp_path: Path) -> None:
    """Otherwise a fifth of train would be the test part, and the images meant for it never read. Beside a part called
    `test` it is said by `prepare`, and none of a tree that is split by classes alone."""
    own_images(tmp_path / "pets" / "train")
    own_images(tmp_path / "pets" / beside)
    with pytest.raises(InductiveError, match=rf"there is {beside}, and a test part is called test or val: rename it"):
        dataset("folder:pets", Places(tmp_path))
    own_images(tmp_path / "pets" / "test")
    assert dataset("folder:pets", Places(tmp_path)).test_count == 20
    assert folders.other_files("folder:pets", tmp_path) == f"folder:pets: not read, as it is no part: {beside}"
    own_images(tmp_path / "flat")
    assert folders.other_files("folder:flat", tmp_path) == ""


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Of equal squares, which are decoded into an array. Reference: the file that was cut here."""
    own_images(tmp_path / "pets")
    file = tmp_path / "pets" / "cat" / "3.png"
    file.write_bytes(file.read_bytes()[:70])
    with pytest.raises(InductiveError, match=rf"^folder:pets: {file}: .*; mend or remove it$"):
        make_ready("folder:pets", tmp_path)


# name: images of the training part, of the test part, classes, pixels, channels, mirrored
PUBLISHED = {
    "digits": (1200, 597, 10, 8, 1, False),
    "digits_shuffled_labels": (1200, 597, 10, 8, 1, False),
    "mnist": (60_000, 10_000, 10, 28, 1, False),
    "fashion_mnist": (60_000, 10_000, 10, 28, 1, False),
    "kmnist": (60_000, 10_000, 10, 28, 1, False),
    "emnist_letters": (124_800, 20_800, 26, 28, 1, False),
    "cifar10": (50_000, 10_000, 10, 32, 3, True),
    "cifar100": (50_000, 10_000, 100, 32, 3, True),
    "svhn": (73_257, 26_032, 10, 32, 3, False),
    "stl10": (5000, 8000, 10, 96, 3, True),
    "tiny_imagenet": (100_000, 10_000, 200, 64, 3, True),
}


def test_declarations_are_the_published_facts() -> None:
    """Reference: the papers named in each declaration (for digits scikit-learn's documentation)."""
    assert {
        name: (sum(d.train_counts), d.test_count, d.classes, d.native_resolution, d.channels, d.flips)
        for name, d in DATASETS.items()
    } == PUBLISHED
    assert [name for name, d in DATASETS.items() if d.interpolation_only] == [
        name for name in PUBLISHED if "digits" in name
    ]
    assert all(d.scale in SCALES for d in DATASETS.values())


@pytest.mark.parametrize("name", [name for name, d in DATASETS.items() if d.files])
def test_what_is_missing_gets_one_message(name: str, tmp_path: Path) -> None:
    """Path, torchvision class, size and both ways: a user without network is told what to do."""
    spec = dataset(name)
    with pytest.raises(InductiveError) as refusal:
        load_images(name, tmp_path)
    text = str(refusal.value)
    said = [str(tmp_path / spec.files[0]), f"{spec.megabytes:,} MB", f"inductive prepare --dataset {name}", *spec.files]
    said += [
        f"torchvision.datasets.{spec.kind}" if spec.kind else "no class of torchvision",
        "--data",
        "INDUCTIVE_DATA",
    ]
    assert [part for part in said if part not in text] == []
    assert "\n" not in text


def _idx(path: Path, values: Pixels) -> None:
    """The idx format: two zero bytes, the type (8: uint8), the number of dimensions, each as big-endian int32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.tobytes())


def _write_mnist(kind: str, folder: Path, x: Pixels, y: Labels, test_x: Pixels, test_y: Labels) -> None:
    for part, pixels, labels in (("train", x, y), ("t10k", test_x, test_y)):
        _idx(folder / kind / "raw" / f"{part}-images-idx3-ubyte", pixels[..., 0])
        _idx(folder / kind / "raw" / f"{part}-labels-idx1-ubyte", np.array(labels, dtype=np.uint8))


def _write_emnist(folder: Path, x: Pixels, y: Labels, test_x: Pixels, test_y: Labels) -> None:
    for part, pixels, labels in (("train", x, y), ("test", test_x, test_y)):
        raw = folder / "EMNIST" / "raw"
        _idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", np.array([one[..., 0].T for one in pixels]))
        _idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", np.array(labels, dtype=np.uint8) + 1)


def _write_cifar(kind: str, folder: Path, x: Pixels, y: Labels, test_x: Pixels, test_y: Labels) -> None:
    """Python pickles; a row is all of red, then green, then blue, each row by row."""
    from torchvision import datasets

    cifar = getattr(datasets, kind)
    (folder / cifar.base_folder).mkdir()
    labels_key = "labels" if kind == "CIFAR10" else "fine_labels"

    def write(names: list[str], pixels: Pixels, labels: Labels) -> None:
        for name, part in zip(names, np.array_split(np.arange(len(pixels)), len(names)), strict=True):
            rows = np.stack([np.concatenate([pixels[i, :, :, c].ravel() for c in range(3)]) for i in part])
            values = {"data": rows, labels_key: [labels[i] for i in part]}
            (folder / cifar.base_folder / name).write_bytes(pickle.dumps(values))

    write([name for name, _ in cifar.train_list], x, y)
    write([name for name, _ in cifar.test_list], test_x, test_y)
    meta = pickle.dumps({cifar.meta["key"]: list("abcdefghij")})
    (folder / cifar.base_folder / cifar.meta["filename"]).write_bytes(meta)


def _write_svhn(folder: Path, x: Pixels, y: Labels, test_x: Pixels, test_y: Labels) -> None:
    """MATLAB files: X is H W C N, y is N x 1 with 10 for the digit 0."""
    (folder / "SVHN").mkdir()
    for part, pixels, labels in (("train", x, y), ("test", test_x, test_y)):
        values = {"X": pixels.transpose(1, 2, 3, 0), "y": np.array([[label or 10] for label in labels], dtype=np.uint8)}
        scipy.io.savemat(folder / "SVHN" / f"{part}_32x32.mat", values)


def _write_stl10(folder: Path, x: Pixels, y: Labels, test_x: Pixels, test_y: Labels) -> None:
    """Binaries: images one after another, channel by channel, each column by column; labels from 1."""
    (folder / "stl10_binary").mkdir()
    for part, pixels, labels in (("train", x, y), ("test", test_x, test_y)):
        flat = b"".join(one[:, :, c].T.tobytes() for one in pixels for c in range(3))
        (folder / "stl10_binary" / f"{part}_X.bin").write_bytes(flat)
        (folder / "stl10_binary" / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels))


def _write_tiny(folder: Path, x: Pixels, y: Labels, test_x: Pixels, test_y: Labels) -> None:
    """The archive's layout (as PNG, which loses nothing): val has its labels in a file."""
    place = folder / "tiny-imagenet-200"
    for number, (pixels, label) in enumerate(zip(x, y, strict=True)):
        inside = place / "train" / f"n{label:08d}" / "images"
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(inside / f"{number:03d}.png")
    (place / "val" / "images").mkdir(parents=True)
    rows = []
    for number, (pixels, label) in enumerate(zip(test_x, test_y, strict=True)):
        Image.fromarray(pixels).save(place / "val" / "images" / f"val_{number}.png")
        rows.append(f"val_{number}.png\tn{label:08d}\t0\t0\t63\t63\n")
    (place / "val" / "val_annotations.txt").write_text("".join(rows))


WRITERS: dict[str, Write] = {
    "mnist": lambda *given: _write_mnist("MNIST", *given),
    "fashion_mnist": lambda *given: _write_mnist("FashionMNIST", *given),
    "kmnist": lambda *given: _write_mnist("KMNIST", *given),
    "emnist_letters": _write_emnist,
    "cifar10": lambda *given: _write_cifar("CIFAR10", *given),
    "cifar100": lambda *given: _write_cifar("CIFAR100", *given),
    "svhn": _write_svhn,
    "stl10": _write_stl10,
    "tiny_imagenet": _write_tiny,
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Images]:
    """Writes a few images in a data set's official format under `tmp_path` and returns them as they must be read.

    torchvision knows the MD5 sums of the real files alone, and made ones cannot have them: its comparison is replaced
    by one for presence. That damaged files are refused is tested with the comparison in place.
    """

    def make(name: str) -> Images:
        for module in ("cifar", "svhn", "stl10"):
            there = lambda path, md5=None: Path(path).is_file() or "unlabeled" in path  # noqa: E731
            monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", there)
        spec = DATASETS[name]
        generator = np.random.default_rng(0)
        labels, test_labels = [0, 1, 2, 3, 9, 0, 1, 2, 3, 9], [3, 0, 9]
        shape = (spec.native_resolution, spec.native_resolution, spec.channels)
        x, test_x = (generator.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (len(labels), 3))
        if name == "tiny_imagenet":  # classes are counted in the order of their names
            labels, test_labels = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [3, 0, 2]
        counts = tuple(np.bincount(labels, minlength=5 if name == "tiny_imagenet" else spec.classes).tolist())
        monkeypatch.setitem(DATASETS, name, replace(spec, train_counts=counts, test_count=3))
        WRITERS[name](tmp_path, x, labels, test_x, test_labels)
        if name in official.UNPACKED:
            raw = tmp_path / spec.kind / "raw"
            sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in raw.iterdir()}
            monkeypatch.setitem(official.UNPACKED, name, sums)
        load_images.cache_clear()
        order = (0, 3, 1, 2)
        return Images(x.transpose(order), np.array(labels), test_x.transpose(order), np.array(test_labels))

    return make


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read(name: str, made: Callable[[str], Images], tmp_path: Path) -> None:
    """Reference: the made images. A mix-up of channels, axes or labels would be seen by nobody in training."""
    expected, images = made(name), load_images(name, tmp_path)
    for part in ("train", "train_labels", "test", "test_labels"):
        found, wanted = getattr(images, part), getattr(expected, part)
        assert found.dtype == (np.int64 if part.endswith("labels") else np.uint8)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, wanted, err_msg=part)


def test_tiny_imagenet_sorted_into_folders_is_the_same(made: Callable[[str], Images], tmp_path: Path) -> None:
    """Reference: the official layout; many sort val/ into class folders, in which case only the order may differ."""
    expected = made("tiny_imagenet")
    val = tmp_path / "tiny-imagenet-200" / "val"
    for number, label in enumerate(expected.test_labels):
        inside = val / f"n{label:08d}"
        inside.mkdir()
        (val / "images" / f"val_{number}.png").rename(inside / f"val_{number}.png")
    (val / "images").rmdir()
    (val / "val_annotations.txt").unlink()
    for label in (1, 4):  # every class must have an image; these are not looked at
        (val / f"n{label:08d}").mkdir()
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(val / f"n{label:08d}" / "more.png")
    DATASETS["tiny_imagenet"] = replace(DATASETS["tiny_imagenet"], test_count=5)
    images = load_images("tiny_imagenet", tmp_path)
    assert images.test_labels.tolist() == [0, 1, 2, 3, 4]
    for label, place in ((3, 0), (0, 1), (2, 2)):
        np.testing.assert_array_equal(images.test[label], expected.test[place])


def test_other_images_than_declared_are_refused(
    made: Callable[[str], Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks otherwise: a folder with a part of the data would be trained on under the full set's name."""
    made("cifar10")
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], train_counts=(5000,) * 10))
    with pytest.raises(InductiveError, match=r"other images than the suite expects: 10 and 3 instead of 50,000 and 3"):
        load_images("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "stl10"])
def test_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    """torchvision's own check of the MD5 sums must come out as an error that names the folder."""
    for file in dataset(name).files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"torn")
    with pytest.raises(
        InductiveError, match=f"{name}: damaged or incomplete files under .*inductive prepare"
    ) as refusal:
        load_images(name, tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_a_torn_idx_file_is_named(made: Callable[[str], Images], tmp_path: Path) -> None:
    """MNIST's unpacked files have no MD5 sums; half of one must not come out as fewer images."""
    made("mnist")
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InductiveError, match="mnist: damaged or incomplete files"):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_changed_byte_of_an_unpacked_file_is_found(name: str, made: Callable[[str], Images], tmp_path: Path) -> None:
    """Without the archive beside it; a store that was made of the right files stays what it is."""
    made(name)
    path = next(tmp_path.rglob("t10k-images-idx3-ubyte"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InductiveError, match=r"t10k-images-idx3-ubyte: damaged: its MD5 sum is .*official file's"):
        load_images(name, tmp_path)
    path.write_bytes(whole)
    assert load_images(name, tmp_path).official == "verified: MD5 sums of its unpacked files"


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_prepare_looks_at_files_that_were_decoded_before(
    name: str, made: Callable[[str], Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte changed after they were decoded: the store is what it was, its source is not, and is named. Reference: the
    byte changed here; torchvision's comparison is made to know the sums of these files."""
    made(name)
    files = {tmp_path / file: hashlib.md5((tmp_path / file).read_bytes()).hexdigest() for file in DATASETS[name].files}
    if name in official.BY_TORCHVISION:
        module = "svhn" if name == "svhn" else "cifar"
        same = lambda path, md5=None: hashlib.md5(Path(path).read_bytes()).hexdigest() == files[Path(path)]  # noqa: E731
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", same)
    load_images(name, tmp_path)
    assert next(iter(prepare.data_set(name, tmp_path))).startswith(f"{name}: ready at")
    path = list(files)[1]
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(InductiveError, match=rf"{path.name}: damaged: .*`inductive prepare --dataset {name}` gets it"):
        list(prepare.data_set(name, tmp_path))
    path.unlink()
    assert next(iter(prepare.data_set(name, tmp_path))).startswith(f"{name}: ready at")


def test_an_archive_compressed_anew_is_as_good(made: Callable[[str], Images], tmp_path: Path) -> None:
    """Other bytes and another MD5 sum, the same content; torchvision alone would download it again."""
    expected = made("fashion_mnist")
    for path in list((tmp_path / "FashionMNIST" / "raw").iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1, mtime=5))
        path.unlink()
    (line,) = prepare.data_set("fashion_mnist", tmp_path)
    assert line.endswith("; verified: MD5 sums of its unpacked files")
    np.testing.assert_array_equal(load_images("fashion_mnist", tmp_path).train, expected.train)


def test_what_has_no_known_sums_is_verified_by_its_archive_alone(
    made: Callable[[str], Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KMNIST: without archives unverified, with the official ones verified, with others not, and never other files."""
    made("kmnist")
    raw = tmp_path / "KMNIST" / "raw"
    (line,) = prepare.data_set("kmnist", tmp_path)
    assert line.endswith(
        "; unverified: its files have no known sums, and train-images-idx3-ubyte.gz does not lie beside them"
    )
    files = sorted(raw.iterdir())
    for path in files:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    (line,) = prepare.data_set("kmnist", tmp_path)
    assert "another MD5 sum than the official archive" in line
    sums = [
        (f"{path.name}.gz", hashlib.md5(path.with_name(f"{path.name}.gz").read_bytes()).hexdigest()) for path in files
    ]
    monkeypatch.setattr("torchvision.datasets.KMNIST.resources", sums)
    (line,) = prepare.data_set("kmnist", tmp_path)
    assert "decoded to" in line and line.endswith("; verified: by the official archives beside its files")
    (line,) = prepare.data_set("kmnist", tmp_path)
    assert "ready at" in line and line.endswith("; verified: by the official archives beside its files")
    shutil.rmtree(tmp_path / ".decoded")
    load_images.cache_clear()
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"x")
    with pytest.raises(InductiveError, match=r"damaged: not what the official archive .*ubyte\.gz holds"):
        load_images("kmnist", tmp_path)
    files[0].with_name(f"{files[0].name}.gz").write_bytes(b"torn")
    with pytest.raises(InductiveError, match=r"\.gz: damaged: it cannot be unpacked"):
        load_images("kmnist", tmp_path)


@pytest.mark.parametrize("name", ["emnist_letters", "tiny_imagenet"])
def test_files_of_one_archive_are_verified_by_it(
    name: str, made: Callable[[str], Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: an archive made of the files, its sum taken as the official one."""
    made(name)
    assert load_images(name, tmp_path).official.startswith("unverified: its files have no known sums, and ")
    emnist = name == "emnist_letters"
    archive = tmp_path / ("EMNIST/raw/gzip.zip" if emnist else "tiny-imagenet-200.zip")
    images = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and ".decoded" not in path.parts]
    images = [path.rename(path.with_suffix(".JPEG")) if path.suffix == ".png" else path for path in images]
    for path in tmp_path.rglob("val_annotations.txt"):
        path.write_text(path.read_text().replace(".png", ".JPEG"))
    with zipfile.ZipFile(archive, "w") as packed:
        for path in images:
            content = path.read_bytes()
            inside = f"gzip/{path.name}.gz" if emnist else path.relative_to(tmp_path).as_posix()
            packed.writestr(inside, gzip.compress(content) if emnist else content)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr("torchvision.datasets.EMNIST.md5", md5)
    monkeypatch.setattr(official, "TINY_IMAGENET_MD5", md5)
    (line,) = prepare.data_set(name, tmp_path)
    assert line.endswith("; verified: by the official archive beside its files")


def test_prepare_is_idempotent(made: Callable[[str], Images], tmp_path: Path) -> None:
    """The second call verifies and writes nothing; what it says names the place."""
    made("mnist")
    (first,) = prepare.data_set("mnist", tmp_path)
    assert "decoded to" in first and first.endswith("; verified: MD5 sums of its unpacked files")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (second,) = prepare.data_set("mnist", tmp_path)
    words = "every byte as decoded; verified: MD5 sums of its unpacked files"
    assert second == f"mnist: ready at {tmp_path / '.decoded'}, {words}"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert list(prepare.data_set("digits", tmp_path)) == [f"digits: {dataset('digits').reference}; nothing to do"]


def test_a_download_that_fails_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks otherwise: torchvision's traceback; nothing half-made may stay in the store."""

    def unreachable(*_: object, **__: object) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", unreachable)
    with pytest.raises(InductiveError, match="kmnist: could not be downloaded, or its files are damaged"):
        list(prepare.data_set("kmnist", tmp_path))
    assert not (tmp_path / ".decoded").exists()


def test_declarations_import_no_torch() -> None:
    """Planning looks at declarations alone; with torch imported it would take seconds before a word appears."""
    code = "import sys; from benchmarks.data import catalogue; catalogue.dataset('svhn'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "torchvision", "PIL", "sklearn"} & set(done.stdout.split())
