"""Drawn data sets: what is drawn is what is declared, by decoders that know nothing of the drawing.

The decoders are scipy's connected components and the shapes' geometry, at a resolution at which nothing touches.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from benchmarks import randomness
from benchmarks.data import store
from benchmarks.data.catalogue import dataset
from benchmarks.data.class_names import class_names
from benchmarks.data.dataset import Images, Places
from benchmarks.data.drawn import composition, drawing, probes
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import ConfigError
from benchmarks.plan.run import make_run
from benchmarks.running import prepare

NOWHERE = Path("nowhere")
Labels = NDArray[np.int64]
Pixels = NDArray[np.float64]
SHOWN = 150  # images of each part that decoders read
MANY = 1000  # and that forests are trained and tested on


@cache
def drawn(name: str, count: int = SHOWN) -> Images:
    """The first images of each part at these pixels: a part draws the same ones, however many there are."""
    spec = dataset(f"drawn:{name}")
    few = (count // spec.classes,) * spec.classes
    return store._read(replace(spec, train_counts=few, test_count=count), NOWHERE, False)


def test_what_is_drawn_never_changes() -> None:
    """Reference: digests of the first release, on x86-64 with numpy 2; drawing is of integers, so that any other
    platform has them, too. Records made with other images would be refused."""
    found = {}
    for name in probes.PROBES:
        images = drawn(f"{name}-16")
        found[name] = hashlib.sha256(images.train.tobytes() + images.test.tobytes()).hexdigest()[:16]
    assert found == {
        "where": "89842ce37274b746",
        "composition": "af61269036613935",
        "same_near": "edb58759aaafca7e",
        "same_far": "4db22d2927a52302",
        "counting": "1e078fa7387a3473",
        "locality": "969a42b9227f153c",
        "locality_permuted": "ebe2423c3354d29b",
        "texture_or_shape": "8ea69066d4b03ba1",
    }


@pytest.mark.parametrize("name", probes.PROBES)
def test_classes_are_balanced_and_named(name: str) -> None:
    """So that a guess has exactly the chance that is declared, and any subset is stratified evenly."""
    spec = dataset(f"drawn:{name}-16")
    probe = probes.probe_of(spec.name)
    images = store._read(spec, NOWHERE, False)
    assert images.train.shape == (sum(spec.train_counts), probe.channels, 16, 16)
    assert images.test.shape == (spec.test_count, probe.channels, 16, 16)
    assert tuple(np.bincount(images.train_labels)) == spec.train_counts
    assert (np.bincount(images.test_labels) / spec.test_count == probe.chance).all()
    assert len(class_names(spec, Places())) == spec.classes
    assert not {*map(bytes, images.train)} & {*map(bytes, images.test)}  # nothing of the test is trained on
    subset = draw_subset(images.train_labels, spec.classes, 0, 100, 0.2)
    assert np.bincount(images.train_labels[subset.train]).tolist() == [80 // spec.classes] * spec.classes


@pytest.mark.parametrize("name", [name for name in probes.PROBES if name != "locality_permuted"])
def test_the_same_scenes_at_every_resolution(name: str) -> None:
    """Reference: the image of twice as many pixels, whose blocks of 2x2 are averaged: the same but for the number of
    samples behind each pixel; and no image is only enlarged."""
    small, large = drawn(f"{name}-32").train.astype(float), drawn(f"{name}-64").train.astype(float)
    blocks = large.reshape(*small.shape[:2], 32, 2, 32, 2)
    assert np.abs(blocks.mean((3, 5)) - small).mean() < 2
    assert np.abs(blocks - blocks.mean((3, 5), keepdims=True)).mean() > 0.5


def _components(mask: NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    labelled, count = ndimage.label(mask)
    found = ndimage.find_objects(labelled)
    return [box for number, box in enumerate(found) if (labelled[box] == number + 1).sum() > 2 or count == 1]


def _order_of_colours(image: Pixels) -> tuple[int, int]:
    """(0 where red is on the left, 0 where the pair is above)."""
    red, green = np.maximum(image[0] - image[1], 0), np.maximum(image[1] - image[0], 0)
    column = np.arange(image.shape[1])
    left = (red.sum(0) * column).sum() / red.sum() < (green.sum(0) * column).sum() / green.sum()
    above = ((red + green).sum(1) * column).sum() / (red + green).sum() < image.shape[1] / 2
    return int(not left), int(not above)


def test_where_ties_colours_to_place_and_unties_them() -> None:
    images = drawn("where-32")
    for pixels, labels, tied in ((images.train, images.train_labels, True), (images.test, images.test_labels, False)):
        found = np.array([_order_of_colours(image.astype(float)) for image in pixels])
        assert (found[:, 0] == labels).all()
        assert ((found[:, 1] == labels) == tied).all()


def test_a_face_has_its_parts_in_place() -> None:
    """The parts are told by their shape (a mouth is wide, a nose tall), the places by their height."""
    images = drawn("composition-64")
    for image, label in zip(images.test[:, 0].astype(int), images.test_labels, strict=True):
        boxes = _components(image < 105)
        assert len(boxes) == 4
        parts = {}
        for down, right in boxes:
            height, width = down.stop - down.start, right.stop - right.start
            kind = "mouth" if width > 2 * height else "nose" if height > 1.5 * width else "eye"
            parts.setdefault(kind, []).append((down.start + down.stop) / 2)
        assert {kind: len(places) for kind, places in parts.items()} == {"eye": 2, "nose": 1, "mouth": 1}
        in_place = max(parts["eye"]) < parts["nose"][0] < parts["mouth"][0]
        assert in_place == (label == 1)


@pytest.mark.parametrize(("name", "patch"), [("composition-16", 4), ("composition-32", 4), ("composition-64", 16)])
def test_a_misplaced_face_is_a_face_with_its_patches_in_another_order(
    name: str, patch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the same scenes drawn as faces, all of them: to a bag of patches there is nothing to tell apart."""

    def patches(images: Images) -> list[list[bytes]]:
        whole = np.concatenate([images.train, images.test])
        cut = np.lib.stride_tricks.sliding_window_view(whole[:, 0], (patch, patch), (1, 2))[:, ::patch, ::patch]
        return [sorted(map(bytes, image.reshape(-1, patch, patch))) for image in cut]

    spec = replace(dataset(f"drawn:{name}"), train_counts=(60, 60), test_count=60)
    found = composition.read(spec, NOWHERE, False)
    monkeypatch.setattr(composition, "MISPLACED", np.array([composition.FACE]))
    faces = composition.read(spec, NOWHERE, False)
    assert (found.train != faces.train).any((1, 2, 3)).tolist() == (found.train_labels == 0).tolist()
    assert patches(found) == patches(faces)


@pytest.mark.parametrize("name", ["locality-16", "locality-32"])
def test_light_does_not_tell_a_disc_from_a_cross(name: str) -> None:
    """A forest of the grey values, wherever they are: the two are as large, and a cross has the longer edge."""
    assert _accuracy(name, _greys) < 0.8


def _shape(mask: NDArray[np.bool_]) -> str:
    """Of a light shape cut out by its box: only a disc covers the middle of its corners' sides, only a triangle is
    wider below than above."""
    rows = mask.sum(1)
    quarter = len(rows) // 4
    if rows[-quarter:].sum() > 2 * rows[:quarter].sum():
        return "triangle"
    side = len(rows) * 22 // 100
    return "disc" if mask[side, side] else "cross"


@pytest.mark.parametrize(("name", "low", "high"), [("same_near", 0.32, 0.39), ("same_far", 0.62, 0.69)])
def test_two_shapes_are_the_same_or_not(name: str, low: float, high: float) -> None:
    """Middles are of boxes of whole pixels, so that distances are known to less than a pixel, 0.01."""
    images = drawn(f"{name}-96")
    kinds, distances = {0: [], 1: []}, []
    for image, label in zip(images.test[:, 0].astype(int), images.test_labels, strict=True):
        mask = image > 105
        boxes = _components(mask)
        assert len(boxes) == 2
        first, second = (_shape(mask[box]) for box in boxes)
        assert (first == second) == (label == 1)
        middles = [[(part.start + part.stop) / 2 for part in box] for box in boxes]
        distances.append(np.hypot(*np.subtract(*middles)) / 96)
        kinds[int(label)] += [first, second]
    assert low - 0.008 <= min(distances) < low + 0.015
    assert high - 0.015 < max(distances) <= high + 0.008
    for found in kinds.values():  # a shape alone tells nothing: each is as frequent in both classes
        assert np.abs(np.unique(found, return_counts=True)[1] / len(found) - 1 / 3).max() < 0.12


def test_discs_can_be_counted() -> None:
    images = drawn("counting-64")
    for image, label in zip(images.test[:, 0].astype(int), images.test_labels, strict=True):
        assert len(_components(image > 90)) == label + 1


def test_texture_and_shape_agree_and_then_contradict() -> None:
    images = drawn("texture_or_shape-64")
    for pixels, labels, agree in ((images.train, images.train_labels, True), (images.test, images.test_labels, False)):
        for image, label in zip(pixels[:, 0].astype(int), labels, strict=True):
            mask = image > 90
            down, right = np.argwhere(mask).min(0), np.argwhere(mask).max(0)
            side = (right - down) * 20 // 100
            disc = mask[tuple(down + side)] and mask[tuple(right - side)]
            assert disc == (label == 0)
            middle = image[tuple(slice((a + b) // 2 - 5, (a + b) // 2 + 5) for a, b in zip(down, right, strict=True))]
            stripes = np.abs(np.diff(middle, axis=0)).mean() < 0.1 * np.abs(np.diff(middle, axis=1)).mean()
            assert (stripes == (label == 0)) == agree


def _accuracy(name: str, seen: Callable[[Pixels], Pixels]) -> float:
    """On the test part, of a forest that is trained on what is `seen` of images, (N, P) grey values."""
    images = drawn(name, MANY)
    train, test = (seen(part.reshape(MANY, -1).astype(float)) for part in (images.train, images.test))
    forest = RandomForestClassifier(40, min_samples_leaf=20, random_state=0).fit(train, images.train_labels)
    return float(forest.score(test, images.test_labels))


def _greys(pixels: Pixels) -> Pixels:
    """The histogram of each image, as sorted values, of which 64 are taken."""
    return np.sort(pixels, axis=1)[:, 3 :: pixels.shape[1] // 64]


def _lit(pixels: Pixels) -> Pixels:
    return (pixels > 90).mean(1, keepdims=True)


@pytest.mark.parametrize("name", ["same_near-16", "same_near-32", "same_far-16", "same_far-32"])
def test_light_does_not_tell_whether_shapes_are_the_same(name: str) -> None:
    """A forest of the grey values, wherever they are, is near the chance of one half: shapes are of any area."""
    assert 0.42 < _accuracy(name, _greys) < 0.58


@pytest.mark.parametrize("name", ["texture_or_shape-16", "texture_or_shape-32"])
def test_area_does_not_tell_a_disc_from_a_cross(name: str) -> None:
    """The share of lit pixels says little of the shape, whatever the texture: edges alone differ."""
    assert 0.4 < _accuracy(name, _lit) < 0.65


def _largest(pixels: Pixels) -> Pixels:
    """The pixels of the largest disc of each image (N, 1)."""
    side = int(pixels.shape[1] ** 0.5)
    sizes = [np.bincount(ndimage.label(image.reshape(side, side) > 90)[0].ravel())[1:].max() for image in pixels]
    return np.array(sizes, dtype=float)[:, None]


@pytest.mark.parametrize("name", ["counting-16", "counting-32"])
def test_neither_area_nor_size_says_how_many(name: str) -> None:
    """Chance is 0.2, and either of the two says a little."""
    assert _accuracy(name, _lit) < 0.4
    assert _accuracy(name, _largest) < 0.4


def test_random_numbers_are_within_their_bounds() -> None:
    """Both bounds come, each about equally often; orders are permutations; parts and purposes differ."""
    scenes = drawing.Scenes("a", "train", np.arange(3000), np.zeros(3000, dtype=np.int64))
    counts = np.bincount(scenes.between("purpose", 0, 4))
    assert len(counts) == 5
    assert counts.min() > 500
    assert (np.sort(scenes.orders("cells", 9), axis=1) == np.arange(9)).all()
    other = drawing.Scenes("a", "test", scenes.numbers, scenes.labels)
    assert (scenes.between("x", 0, 999) != other.between("x", 0, 999)).mean() > 0.99
    assert (scenes.between("x", 0, 999) != scenes.between("y", 0, 999)).mean() > 0.99


def test_pixels_are_the_share_that_is_covered() -> None:
    """Reference: the area of a disc and of a triangle, and a box on the borders of pixels."""
    canvas = drawing.Canvas(1, 1, 64)
    middle, radius = np.array([drawing.UNITS // 2]), np.array([drawing.UNITS // 4])
    assert canvas.disc(middle, middle, radius).mean() == pytest.approx(np.pi / 16, abs=1e-3)
    assert canvas.ellipse(middle, middle, radius, radius // 2).mean() == pytest.approx(np.pi / 32, abs=1e-3)
    assert canvas.triangle(middle, middle, radius).mean() == pytest.approx(1 / 8, abs=2e-3)
    assert canvas.cross(middle, middle, radius).mean() == pytest.approx(5 / 9 / 4, abs=2e-3)
    canvas.paint(canvas.box(middle, middle, radius, radius // 2), np.array([200]))
    expected = np.zeros((64, 64))
    expected[24:40, 16:48] = 200
    assert np.array_equal(canvas.pixels()[0, 0], expected)


def test_a_drawn_data_set_is_prepared_like_others(tmp_path: Path) -> None:
    """Drawn once, into the store that all processes map; a second preparation compares every byte."""
    assert "decoded to" in next(iter(prepare.data_set("drawn:where-16", tmp_path)))
    assert "every byte as decoded; verified: drawn by the suite" in next(
        iter(prepare.data_set("drawn:where-16", tmp_path))
    )
    found = store.load_images("drawn:where-16", tmp_path)
    assert np.array_equal(found.train, store._read(dataset("drawn:where-16"), NOWHERE, False).train)
    assert found.digests == store.digests(found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("drawn:countin-32", "unknown drawn data set 'drawn:countin-32'; there are .*did you mean `counting`"),
        ("drawn:counting", "'drawn:counting' needs its pixels, 16 to 256: drawn:counting-32"),
        ("drawn:counting-8", "'drawn:counting-8' needs its pixels, 16 to 256"),
        ("drawn:counting-016", "'drawn:counting-016' needs its pixels, 16 to 256: drawn:counting-16"),
        (f"drawn:counting-{'1' * 5000}", "'drawn:counting-1{5000}' needs its pixels, 16 to 256: drawn:counting-32"),
        ("drawn:counting-x", "'drawn:counting-x' needs its pixels"),
        ("drawn:", "unknown drawn data set 'drawn:'; there are drawn:where-32"),
        ("drawncounting-32", "unknown data set 'drawncounting-32'.*did you mean `drawn:counting-32`"),
    ],
)
def test_errors_name_what_is_allowed(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^dataset: {message}"):
        dataset(name)


def test_a_name_has_one_form() -> None:
    """drawn:counting-032 would be another run than drawn:counting-32, on the same images."""
    assert make_run({"dataset": "drawn:counting-32"}).dataset == "drawn:counting-32"
    with pytest.raises(ConfigError, match=r"^dataset: 'drawn:counting-032' needs its pixels.*: drawn:counting-32$"):
        make_run({"dataset": "drawn:counting-032"})


def test_permuted_pixels_are_one_permutation() -> None:
    """Reference: the images of `locality`: every image has the same pixels, and every place of theirs is one here."""
    plain, permuted = (drawn(f"{name}-16") for name in ("locality", "locality_permuted"))
    before, after = (
        np.concatenate([images.train, images.test]).reshape(-1, 256) for images in (plain, permuted)
    )  # N, places
    assert not np.array_equal(before, after)
    assert sorted(map(bytes, before.T)) == sorted(map(bytes, after.T))
    assert np.array_equal(plain.train_labels, permuted.train_labels)
    assert np.array_equal(plain.test_labels, permuted.test_labels)
    order = randomness.permutation(randomness.key(0, "drawn locality pixels"), 256)
    beside = np.abs(np.diff(order.reshape(16, 16))) == 1
    assert beside.mean() < 0.05  # neighbours are strangers


def test_shuffled_labels_keep_their_counts_and_lose_their_meaning() -> None:
    """Reference: the digits: the same images, test labels and counts of training labels, which are right by chance."""
    plain, shuffled = (store.load_images(name, NOWHERE) for name in ("digits", "digits_shuffled_labels"))
    assert np.array_equal(plain.train, shuffled.train)
    assert np.array_equal(plain.test, shuffled.test)
    assert np.array_equal(plain.test_labels, shuffled.test_labels)
    assert np.array_equal(np.bincount(plain.train_labels), np.bincount(shuffled.train_labels))
    assert 0.07 < (plain.train_labels == shuffled.train_labels).mean() < 0.13
