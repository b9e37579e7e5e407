"""Subsets: nested, stratified, disjoint, and the same for everyone."""

import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.data import subsets
from benchmarks.data.store import load_images
from benchmarks.data.subsets import Subset, draw_subset, part_sizes, stratified_order
from benchmarks.errors import ImpossibleError
from benchmarks.randomness import key

Labels = NDArray[np.int64]
SHARES = (0.1, 0.2, 0.5)


def shuffled(counts: tuple[int, ...]) -> Labels:
    """Labels with these counts, in a mixed order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


LABELS = {
    "balanced": shuffled((60,) * 10),
    "digits": load_images("digits", Path("data")).train_labels,
    "unbalanced": shuffled((200, 120, 70, 50, 31, 30, 30, 17)),
    "two": shuffled((5, 90)),
}
BALANCED_LARGE = np.arange(50_000) % 10


def counts_of(labels: Labels) -> tuple[int, ...]:
    return tuple(np.bincount(labels).tolist())


def sizes(labels: Labels, draw: int, validation: float | int) -> list[int]:
    """A dozen possible sizes, the smallest and the largest among them."""
    least = smallest(labels, draw, validation)
    most = len(labels) - (validation if isinstance(validation, int) else 0)
    return sorted({least, least + 1, most, *np.linspace(least, most, 9).astype(int).tolist()})


def smallest(labels: Labels, draw: int, validation: float | int) -> int:
    """The smallest size that works, by trying them all."""
    for n in range(1, len(labels) + 1):
        try:
            part_sizes(counts_of(labels), draw, n, validation)
        except ImpossibleError:
            continue
        return n
    raise AssertionError("no size works")


def draw(labels: Labels, number: int, n: int, validation: float | int) -> Subset:
    return draw_subset(labels, len(counts_of(labels)), number, n, validation)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("number", [0, 1, 5])
def test_every_prefix_has_each_class_within_one_of_its_share(name: str, number: int) -> None:
    """Reference: the definition, |count - n share| < 1 for each class at every n, counted image by image."""
    labels = LABELS[name]
    order = stratified_order(labels, number, len(counts_of(labels)), len(labels))
    assert sorted(order) == list(range(len(labels)))
    share = np.array(counts_of(labels)) / len(labels)
    counts = np.cumsum(labels[order][:, None] == np.arange(len(share)), axis=0)
    expected = np.arange(1, len(labels) + 1)[:, None] * share
    assert np.abs(counts - expected).max() < 1


@pytest.mark.parametrize("name", ["balanced", "digits", "unbalanced"])
@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("validation", SHARES)
def test_parts_are_nested_disjoint_and_complete(name: str, number: int, validation: float) -> None:
    """What breaks otherwise: a larger subset that is not a superset compares draws, not sizes; an image in both
    parts would be trained on and chosen by."""
    labels = LABELS[name]
    order = stratified_order(labels, key(number, "subset"), len(counts_of(labels)), len(labels))
    before = Subset(order[:0], order[:0])
    for n in sizes(labels, number, validation):
        subset = draw(labels, number, n, validation)
        train, held = set(subset.train.tolist()), set(subset.validation.tolist())
        assert not train & held
        assert train | held == set(order[:n].tolist())
        assert (len(train), len(held)) == part_sizes(counts_of(labels), number, n, validation)
        assert set(before.train.tolist()) <= train
        assert set(before.validation.tolist()) <= held
        for part in (subset.train, subset.validation):
            assert set(labels[part].tolist()) == set(range(len(counts_of(labels))))
        before = subset


@pytest.mark.parametrize("name", ["balanced", "digits", "unbalanced"])
@pytest.mark.parametrize("validation", SHARES)
def test_validation_takes_its_share_of_every_class(name: str, validation: float) -> None:
    """Reference: the definition, within one image of the fraction of each class, so within one in each part."""
    labels = LABELS[name]
    for n in sizes(labels, 0, validation):
        subset = draw(labels, 0, n, validation)
        length = len(counts_of(labels))
        held = np.bincount(labels[subset.validation], minlength=length)
        both = held + np.bincount(labels[subset.train], minlength=length)
        assert np.abs(held - validation * both).max() < 1


@pytest.mark.parametrize("n", [100, 150, 200, 333, 600])
@pytest.mark.parametrize("validation", SHARES)
def test_validation_of_equal_classes_adds_up(n: int, validation: float) -> None:
    """Reference: the plain fraction of n, which a user expects of 20 % (exactly so where classes are equal)."""
    subset = draw(LABELS["balanced"], 0, n, validation)
    assert len(subset.validation) == pytest.approx(n * validation, abs=0 if n % 10 == 0 else 5)


@pytest.mark.parametrize("name", ["balanced", "digits", "unbalanced"])
def test_oracle_validation_is_outside_and_always_the_same(name: str) -> None:
    """What breaks otherwise: sizes would be compared on other validation images, or be validated on training ones."""
    labels, oracle = LABELS[name], 150
    seen = {draw(labels, 2, n, oracle).validation.tobytes() for n in sizes(labels, 2, oracle)}
    assert len(seen) == 1
    for n in sizes(labels, 2, oracle):
        subset = draw(labels, 2, n, oracle)
        assert (len(subset.train), len(subset.validation)) == (n, oracle)
        assert not set(subset.train.tolist()) & set(subset.validation.tolist())
        assert set(labels[subset.validation].tolist()) == set(range(len(counts_of(labels))))


def test_without_validation_all_images_are_trained_on() -> None:
    """What breaks otherwise: published recipes train on all n."""
    subset = draw(LABELS["digits"], 0, 500, 0)
    assert (len(subset.train), len(subset.validation)) == (500, 0)
    assert part_sizes(counts_of(LABELS["digits"]), 0, 500, 0) == (500, 0)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize("validation", [0, 0.2])
def test_a_refused_size_names_the_nearest_that_works(name: str, number: int, validation: float | int) -> None:
    """Reference: all sizes tried one by one; the size named must be the smallest that is not refused."""
    labels = LABELS[name]
    least = smallest(labels, number, validation)
    for n in {1, least // 2, least - 1} - {0}:
        with pytest.raises(ImpossibleError, match=rf"the nearest possible is {least}$") as refusal:
            draw(labels, number, n, validation)
        assert refusal.value.key == "train_size"
    draw(labels, number, least, validation)


def test_a_size_above_the_data_set_names_the_largest() -> None:
    """What breaks otherwise: numpy would serve fewer images than asked, silently."""
    labels = LABELS["balanced"]
    with pytest.raises(ImpossibleError, match=r"601 is more than the 600 training images.*the largest possible is 600"):
        draw(labels, 0, 601, 0.2)
    with pytest.raises(ImpossibleError, match=r"beside 100 images of oracle validation; the largest possible is 500"):
        draw(labels, 0, 501, 100)
    draw(labels, 0, 600, 0.2)
    draw(labels, 0, 500, 100)


def test_a_validation_part_that_can_never_hold_every_class_is_refused() -> None:
    """The class of five images gives none to a validation part of 1 % at any size."""
    with pytest.raises(ImpossibleError, match="no size is possible with this validation"):
        draw(LABELS["two"], 0, 90, 0.01)


@pytest.mark.parametrize("name", LABELS)
def test_an_oracle_validation_with_a_class_missing_names_the_nearest(name: str) -> None:
    """Reference: all numbers tried one by one; a class without a validation image cannot be chosen for."""
    labels, n = LABELS[name], len(LABELS[name]) // 2
    classes = set(range(len(counts_of(labels))))
    order = stratified_order(labels, key(0, "subset"), len(classes), len(labels))
    least = next(k for k in range(1, len(labels)) if set(labels[order[-k:]].tolist()) == classes)
    with pytest.raises(ImpossibleError, match=rf"the nearest possible is {least}$") as refusal:
        draw(labels, 0, n, least - 1)
    assert refusal.value.key == "validation"
    assert len(draw(labels, 0, n, least).validation) == least


def test_draws_differ() -> None:
    """What breaks otherwise: draws that share their images are no repetitions."""
    subsets = [set(draw(BALANCED_LARGE, number, 1000, 0).train.tolist()) for number in range(4)]
    assert all(len(one & other) < 60 for i, one in enumerate(subsets) for other in subsets[:i])  # 20 by chance


def test_no_class_is_always_first() -> None:
    """What breaks otherwise: the class that always comes first has an image more at every odd size."""
    firsts = {int(LABELS["balanced"][draw(LABELS["balanced"], number, 10, 0).train[0]]) for number in range(60)}
    assert len(firsts) == 10


@pytest.mark.parametrize(
    ("number", "n", "validation", "digest"),
    [
        (0, 100, 0.2, "fa42f7fbe2181680"),
        (1, 300, 0.2, "af3a3447936cf4a0"),
        (2, 1200, 0.2, "d3b15598055f7908"),
        (0, 1000, 0, "cdbc85fea2652530"),
        (0, 500, 100, "91cfd51826cafa4a"),
        (3, 700, 0.25, "7c2782d3a2483782"),
    ],
)
def test_golden_subsets_of_digits(number: int, n: int, validation: float | int, digest: str) -> None:
    """Reference: the subsets of the first release, which every record names; they may never move."""
    assert draw(LABELS["digits"], number, n, validation).digest == digest


@pytest.mark.parametrize(
    ("number", "n", "validation", "digest"),
    [
        (0, 500, 0.2, "e0d7a0b656e3b490"),
        (1, 5000, 0.2, "b427c5addd867aed"),
        (2, 45000, 0.2, "db5586861545bacf"),
        (0, 50000, 0, "bc0b01588641f8b7"),
        (0, 45000, 5000, "287f66557a21d5db"),
    ],
)
def test_golden_subsets_of_ten_equal_classes(number: int, n: int, validation: float | int, digest: str) -> None:
    """Reference: the first release's subsets of ten classes of 5,000, the class of image i being i mod 10."""
    assert draw(BALANCED_LARGE, number, n, validation).digest == digest


def test_a_digest_knows_the_parts_and_their_order() -> None:
    """What breaks otherwise: two different subsets would share a manifest."""
    parts = [np.array(part) for part in ([1, 2], [2, 1], [1], [2], [1, 2, 3])]
    digests = {Subset(train, held).digest for train in parts for held in parts}
    assert len(digests) == len(parts) ** 2


def test_sizes_are_counted_as_the_sequence_deals_them() -> None:
    """Planning counts without dealing. Reference: the classes of every prefix of `class_sequence`, for small classes
    drawn at random, many of them of sizes that come to have one deadline; there the draw is asked, and that is rare."""
    numbers, asked, all_of_them = random.Random(1), 0, 0
    for _ in range(60):
        counts = tuple(numbers.choice([numbers.randint(1, 30), numbers.choice([5, 10, 18, 36])]) for _ in range(5))
        if len(set(counts)) == 1:
            continue
        stream = key(numbers.randint(0, 99), "subset")
        ranks = subsets.class_ranks(stream, len(counts)).tolist()
        whole = subsets.class_sequence(counts, stream, sum(counts))
        for n in range(sum(counts) + 1):
            expected = np.bincount(whole[:n], minlength=len(counts)).tolist()
            assert subsets._prefix_sizes(counts, stream, ranks, n) == expected, (counts, n)
            asked += subsets._dealt(counts, n) is None
        all_of_them += sum(counts)
    assert 0 < asked < 0.05 * all_of_them
