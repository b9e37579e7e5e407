"""Data sets: what is declared is what is there."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks import datasets
from benchmarks.datasets import DATASETS, check_there, dataset, load_images
from benchmarks.errors import ConfigError, InductiveError

NOWHERE = Path("nowhere")


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
    assert hashlib.sha256(images.train.tobytes() + images.test.tobytes()).hexdigest()[:16] == "309ae33874484150"
    assert hashlib.sha256(images.test_labels.astype("<i8").tobytes()).hexdigest()[:16] == "162159d2116e5f77"
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


def test_missing_cifar10_names_path_class_size_and_both_ways(tmp_path: Path) -> None:
    """What breaks otherwise: a user without network is told that something failed, not what to do."""
    with pytest.raises(InductiveError) as refusal:
        load_images("cifar10", tmp_path)
    text = str(refusal.value)
    for part in (
        str(tmp_path / "cifar-10-batches-py"),
        "torchvision.datasets.CIFAR10",
        "170 MB",
        f"CIFAR10('{tmp_path}', download=True)",
        "--data DIR",
        "INDUCTIVE_DATA",
    ):
        assert part in text


def test_check_there_wants_nothing_for_a_bundled_set() -> None:
    """What breaks otherwise: digits would ask for a folder."""
    check_there("digits", NOWHERE)


def test_damaged_cifar10_files_are_named(tmp_path: Path) -> None:
    """torchvision's own check of the MD5 sums must come out as an error that names the folder."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"torn")
    with pytest.raises(InductiveError, match="damaged or incomplete") as refusal:
        load_images("cifar10", tmp_path)
    assert str(tmp_path) in str(refusal.value)


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Image.Image]]:
    """CIFAR-10's files with three made images each; returns the images as PIL has them, by part."""
    from torchvision.datasets import CIFAR10

    generator = np.random.default_rng(0)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    made: dict[str, list[Image.Image]] = {"train": [], "test": []}
    names = [(name, "train") for name, _ in CIFAR10.train_list] + [(name, "test") for name, _ in CIFAR10.test_list]
    for number, (name, part) in enumerate(names):
        pixels = generator.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)  # rows, columns, red green blue
        made[part] += [Image.fromarray(one) for one in pixels]
        rows = np.stack([np.concatenate([np.asarray(one)[:, :, c].ravel() for c in range(3)]) for one in pixels])
        labels = [number % 10, 8, 9]
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": labels}))
    (folder / CIFAR10.meta["filename"]).write_bytes(pickle.dumps({CIFAR10.meta["key"]: list("abcdefghij")}))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    counts = (1, 1, 1, 1, 1, 0, 0, 0, 5, 5)
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], train_counts=counts, test_count=3))
    load_images.cache_clear()
    return made


def test_cifar10_is_read_with_its_channels_in_order(
    tmp_path: Path, small_cifar10: dict[str, list[Image.Image]]
) -> None:
    """Reference: the made images as PIL splits them into red, green and blue; nobody would see a mix-up in training."""
    images = load_images("cifar10", tmp_path)
    for part, pixels in (("train", images.train), ("test", images.test)):
        expected = np.stack([np.stack([np.asarray(band) for band in one.split()]) for one in small_cifar10[part]])
        assert (pixels == expected).all()
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
    assert images.train_labels.tolist() == [0, 8, 9, 1, 8, 9, 2, 8, 9, 3, 8, 9, 4, 8, 9]
    assert images.test_labels.tolist() == [5, 8, 9]


@pytest.mark.usefixtures("small_cifar10")
def test_other_images_than_declared_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks otherwise: a folder with a part of the data would be trained on under the full set's name."""
    monkeypatch.setitem(datasets.DATASETS, "cifar10", replace(dataset("cifar10"), train_counts=(5000,) * 10))
    with pytest.raises(InductiveError, match="other images than the suite expects"):
        load_images("cifar10", tmp_path)


def test_declarations_of_cifar10() -> None:
    """Reference: Krizhevsky (2009): 50,000 and 10,000 images of 32x32 in colour, ten equal classes."""
    spec = dataset("cifar10")
    assert spec.train_counts == (5000,) * 10
    assert (spec.test_count, spec.channels, spec.native_resolution) == (10_000, 3, 32)
    assert spec.flips
    assert not spec.interpolation_only
    assert dataset("digits").interpolation_only
    assert not dataset("digits").flips
