"""Subsets: nested, stratified, disjoint, and the same for everyone."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.data import subsets
from benchmarks.data.store import load_images
from benchmarks.data.subsets import Subset, draw_subset, part_sizes, stratified_order
from benchmarks.errors import ImpossibleError
from benchmarks.randomness import hashes, key
from benchmarks.speed.subsets import CLASSES, IMAGES

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


def plain_sequence(counts: tuple[int, ...], stream: int, length: int) -> list[int]:
    """The rule as the first release had it: image by image, over all classes, in whole numbers."""
    ranks, total, slack = subsets.class_ranks(stream, len(counts)), sum(counts), 2 * len(counts) - 2
    given, sequence = [0] * len(counts), []
    for position in range(length):
        waiting = [
            (((had + 1) * slack - 1) / size, ranks[label], label)
            for label, (size, had) in enumerate(zip(counts, given, strict=True))
            if size and slack * (size * (position + 1) - had * total) >= total
        ]
        sequence.append(min(waiting)[2])
        given[sequence[-1]] += 1
    return sequence


def plain_order(labels: Labels, stream: int, sequence: list[int]) -> list[int]:
    """The images of each class by their hashes, each taken when its class is due."""
    by_hash = sorted(range(len(labels)), key=hashes(stream, np.arange(len(labels))).tolist().__getitem__)
    due = {label: iter([image for image in by_hash if labels[image] == label]) for label in set(sequence)}
    return [next(due[label]) for label in sequence]


def plain_mask(sequence: list[int], ranks: list[int], fraction: float) -> list[bool]:
    """The definition of `validation_mask`, counted image by image in millionths."""
    parts, seen, held = round(fraction * 1_000_000), dict.fromkeys(sequence, 0), []
    for label in sequence:
        before = seen[label] * parts + ranks[label] * 1_000_000 // len(ranks)
        held.append((before + parts) // 1_000_000 > before // 1_000_000)
        seen[label] += 1
    return held


def random_counts(numbers: random.Random) -> tuple[int, ...]:
    """Images of each of a few classes: any numbers, numbers that come to have one deadline, empty classes among them,
    or equal ones."""
    kinds = [range(1, 31), (5, 10, 18, 36), (0, 3, 6, 9, 12), (1, 2, 4, 8, 40), (7,)]
    return tuple(numbers.choices(numbers.choice(kinds), k=numbers.randint(2, 12)))


def test_subsets_are_those_of_the_plain_rule() -> None:
    """Reference: the rule of the first release, class by class and image by image, on small classes drawn at random."""
    numbers, empty, equal, drawn = random.Random(2), 0, 0, 0
    for case in range(300):
        counts = random_counts(numbers)
        if not sum(counts):
            continue
        empty, equal = empty + (0 in counts), equal + (len(set(counts)) == 1)
        labels = np.random.default_rng(case).permutation(np.repeat(np.arange(len(counts)), counts))
        stream, length = key(case, "subset"), numbers.choice([1, sum(counts), numbers.randint(1, sum(counts))])
        sequence = plain_sequence(counts, stream, length)
        assert subsets.class_sequence(counts, stream, length).tolist() == sequence, (counts, case, length)
        order = plain_order(labels, stream, sequence)
        assert stratified_order(labels, stream, len(counts), length).tolist() == order
        ranks, fraction = subsets.class_ranks(stream, len(counts)), numbers.choice([*SHARES, 1 / 3, 0.9])
        held = plain_mask(sequence, ranks.tolist(), fraction)
        assert subsets.validation_mask(np.array(sequence), ranks, fraction).tolist() == held
        try:
            subset = draw_subset(labels, len(counts), case, length, fraction)
        except ImpossibleError:
            continue
        drawn += 1
        assert subset.train.tolist() == [image for image, out in zip(order, held, strict=True) if not out]
        assert subset.validation.tolist() == [image for image, out in zip(order, held, strict=True) if out]
    assert min(empty, equal, drawn) > 20


@pytest.mark.parametrize(
    "counts", [(700_000_000, 9, 1_300_000_000), (732, 1300, 14_000_000), tuple(range(1, 21_001, 7))]
)
def test_the_rule_holds_for_numbers_far_larger_than_imagenet(counts: tuple[int, ...]) -> None:
    """Reference: the plain rule in Python's whole numbers, which have no largest one."""
    assert subsets.class_sequence(counts, 3, 200).tolist() == plain_sequence(counts, 3, 200)


def test_one_class_is_dealt_alone() -> None:
    """What breaks otherwise: the rule divides by the number of other classes."""
    assert subsets.class_sequence((5,), 0, 3).tolist() == [0, 0, 0]


def test_an_oracle_validation_of_a_class_without_images_is_refused() -> None:
    """No number of images holds one of a class that has none."""
    with pytest.raises(ImpossibleError, match="leave some class out; no number is possible"):
        part_sizes((0, 5, 9), 0, 6, 3)


def test_a_subset_of_imagenets_size_is_that_of_the_first_release() -> None:
    """Reference: the digest that the first release's code came to, in two minutes. 2 GB are allowed; a process of its
    own has less than half of them at its peak."""
    code = (
        "import json\n"
        "from benchmarks.data.subsets import draw_subset, part_sizes\n"
        "from benchmarks.speed.planning import peak_megabytes\n"
        "from benchmarks.speed.subsets import CLASSES, IMAGES, class_counts, labels\n"
        "subset = draw_subset(labels(), CLASSES, 2, IMAGES, 0.2)\n"
        "assert part_sizes(class_counts(), 2, IMAGES, 0.2) == (len(subset.train), len(subset.validation))\n"
        "print(json.dumps([subset.digest, peak_megabytes()]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    digest, megabytes = json.loads(done.stdout)
    assert digest == "4c5625aef76fc5b3"
    assert megabytes < 1000


def test_kept_sequences_are_small() -> None:
    """What breaks otherwise: planning on a large data set fills memory with the classes of every draw."""
    most = subsets.class_sequence.cache_parameters()["maxsize"]
    sequence = subsets.class_sequence((1,) * CLASSES, 0, CLASSES)
    assert most * sequence.itemsize * IMAGES < 50e6


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
