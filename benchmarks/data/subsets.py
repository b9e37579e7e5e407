"""Which images a run learns from: nested, class-stratified, the same for every model and platform.

A *draw* orders the whole training part once; the subset of size n is its first n images. Validation images are
chosen inside the n (or, as *oracle validation*, are the last images of the order, outside every n).
"""

import hashlib
import heapq
import itertools
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.errors import ImpossibleError

Indices = NDArray[np.int64]
Classes = NDArray[np.integer]


@dataclass(frozen=True)
class Subset:
    """Indices into a data set's training part: `train` (n_train,), `validation` (n_validation,), both int64."""

    train: Indices
    validation: Indices

    @property
    def digest(self) -> str:
        """16 hex digits over both index lists, order included."""
        data = self.train.astype("<i8").tobytes() + b"|" + self.validation.astype("<i8").tobytes()
        return hashlib.sha256(data).hexdigest()[:16]


def class_ranks(stream: int, classes: int) -> Indices:
    """A random rank for each class, so that no class is always the first to get an image."""
    ranks = np.empty(classes, dtype=np.int64)
    ranks[randomness.permutation(randomness.key(stream, "class ranks"), classes)] = np.arange(classes)
    return ranks


@lru_cache(maxsize=8)  # of a byte or two an image
def class_sequence(counts: tuple[int, ...], stream: int, length: int) -> Classes:
    """The class of each of the first `length` images (length,), so that every prefix is stratified; not to be changed.

    In every prefix of N images each class has within one of N times its share: Tijdeman's solution of the
    chairman assignment problem (Discrete Mathematics 32, 1980), ties broken by a random rank of the classes.
    """
    by_rank = np.argsort(class_ranks(stream, len(counts))).astype(np.min_scalar_type(len(counts)))
    if len(set(counts)) == 1:  # equal shares: the rule deals the classes in turn
        sequence = np.tile(by_rank, -(-length // len(counts)))[:length]
    else:
        classes, _, dealt = _tijdeman(np.array(counts, dtype=np.int64)[by_rank], length)
        sequence = by_rank[classes[dealt]]
    sequence.flags.writeable = False
    return sequence


def _tijdeman(sizes: Indices, length: int) -> tuple[Indices, NDArray[np.float64], Indices]:
    """Deals the first `length` images of classes of these sizes (classes,), which are not all equal.

    The k-th image of a class (from 0) may come at a position once slack * (size * (position + 1) - k * total) >= total.
    From then on it waits, and of those that wait the one with the earliest deadline, ((k + 1) * slack - 1) / size, is
    next; of several with that deadline, the one whose class stands first in `sizes`.

    Returns class and deadline of each image that comes to wait (images,), in the order in which they go before each
    other; and which of these are dealt, place by place (length,).
    """
    total, slack = int(sizes.sum()), 2 * len(sizes) - 2
    lead = (total - 1) // slack  # with it, no product below is larger than the square of the total
    classes = np.repeat(np.arange(len(sizes)), -((lead - sizes * length) // total))
    numbers = _numbers_in_class(classes)
    deadlines = ((numbers + 1) * slack - 1) / sizes[classes]
    earliest = (numbers * total + lead) // sizes[classes]  # the position from which on it waits
    order = np.argsort(deadlines, kind="stable")
    coming = iter(np.argsort(earliest[order], kind="stable").data)
    waiting: list[int] = []
    dealt = np.empty(length, dtype=np.int64)
    for position, new in enumerate(np.bincount(earliest, minlength=length).data):
        for _ in range(new):
            heapq.heappush(waiting, next(coming))
        dealt[position] = heapq.heappop(waiting)  # one always waits, as Tijdeman shows
    return classes[order], deadlines[order], dealt


def _numbers_in_class(classes: NDArray[np.integer]) -> Indices:
    """How many places before each have its class (places,)."""
    counts = np.bincount(classes)
    starts = np.cumsum(counts) - counts  # of the classes, among the places ordered by class
    numbers = np.empty(len(classes), dtype=np.int64)
    numbers[np.argsort(classes, kind="stable")] = np.arange(len(classes)) - np.repeat(starts, counts)
    return numbers


def stratified_order(labels: NDArray[np.integer], stream: int, classes: int, length: int) -> Indices:
    """The first `length` image indices of the stratified permutation; in a class, images go by their hashes."""
    counts = np.bincount(labels, minlength=classes)
    sequence = class_sequence(tuple(counts.tolist()), stream, length)
    by_hash = randomness.permutation(stream, len(labels))
    by_class = by_hash[np.argsort(labels[by_hash], kind="stable")]
    return by_class[(np.cumsum(counts) - counts)[sequence] + _numbers_in_class(sequence)]


def validation_mask(sequence: NDArray[np.integer], ranks: Indices, fraction: float) -> NDArray[np.bool_]:
    """Which images of a prefix are validation images: `fraction` of each class, staggered over the classes.

    The k-th image of the class with rank r is one when floor((k + 1) f + r / C) exceeds floor(k f + r / C). It
    depends on k alone, so an image keeps its part at every n; over equal classes the parts add up to floor(n f)
    (Hermite's identity).
    """
    # Counted in millionths, so that 0.2 is exact.
    parts, offsets = round(fraction * 1_000_000), ranks * 1_000_000 // len(ranks)
    before = _numbers_in_class(sequence) * parts + offsets[sequence]
    return (before + parts) // 1_000_000 > before // 1_000_000


@lru_cache(maxsize=65536)
def part_sizes(counts: tuple[int, ...], draw: int, n: int, validation: float | int) -> tuple[int, int]:
    """Images in (training, validation) for a subset of n, from class counts alone.

    Raises ImpossibleError, naming the nearest possible value, for an n the data set cannot serve and for parts
    that leave a class out.
    """
    total = sum(counts)
    oracle = validation if isinstance(validation, int) else 0
    if n + oracle > total:
        outside = f" beside {oracle:,} images of oracle validation" if oracle else ""
        raise ImpossibleError(
            "train_size", f"{n:,} is more than the {total:,} training images there are{outside}; "
            f"the largest possible is {max(total - oracle, 0):,}"
        )  # fmt: skip
    stream = randomness.key(draw, "subset")
    before = _class_sizes(counts, stream, total - oracle, 0)["the training part"] if oracle else []
    if any(size == count for size, count in zip(before, counts, strict=False)):  # none is left for the last images
        possible = _least_oracle(counts, stream)
        hint = f"the nearest possible is {possible}" if possible else "no number is possible"
        raise ImpossibleError("validation", f"{oracle} images of oracle validation leave some class out; {hint}")
    sizes = _class_sizes(counts, stream, n, validation)
    missing = _missing_class(sizes)
    if missing is None:
        train = sum(sizes["the training part"])
        return train, oracle or n - train
    possible = _least_size(counts, stream, total - oracle, validation)
    hint = f"the nearest possible is {possible}" if possible else "no size is possible with this validation"
    raise ImpossibleError("train_size", f"{n} leaves {missing} without an image of some class; {hint}")


def least_size(counts: tuple[int, ...], draw: int) -> int:
    """The smallest subset of a draw, in images, that has every class; `counts` are those of the classes, without a
    validation part."""
    found = _least_size(counts, randomness.key(draw, "subset"), sum(counts), 0)
    assert found is not None  # all images have every class
    return found


def _class_sizes(counts: tuple[int, ...], stream: int, n: int, validation: float | int) -> dict[str, list[int]]:
    """How many images of each class are in each part that is taken from the first n: counted, not listed.

    Classes of equal size are dealt in turn (see `class_sequence`) and come in that turn, which every draw has.
    """
    ranks = list(range(len(counts)))
    if len(set(counts)) == 1:
        sizes = [n // len(counts) + (rank < n % len(counts)) for rank in ranks]
    else:
        ranks = class_ranks(stream, len(counts)).tolist()
        sizes = _prefix_sizes(counts, stream, ranks, n)
    if isinstance(validation, int) or not validation:
        return {"the training part": sizes}
    parts = round(validation * 1_000_000)  # what `validation_mask` adds up to over the images of a class
    held = [
        (size * parts + rank * 1_000_000 // len(ranks)) // 1_000_000 for size, rank in zip(sizes, ranks, strict=True)
    ]
    return {"the validation part": held, "the training part": [a - b for a, b in zip(sizes, held, strict=True)]}


def _prefix_sizes(counts: tuple[int, ...], stream: int, ranks: list[int], n: int) -> list[int]:
    """Images of each class among the first n of `class_sequence`, which is made only where it has to be: the draws of a
    large study differ in how classes of equal size share what their size is dealt."""
    dealt = _dealt(counts, n)
    if dealt is None:
        return [int(size) for size in np.bincount(class_sequence(counts, stream, n), minlength=len(counts))]
    sizes = [0] * len(counts)
    alike, before = Counter(counts), dict.fromkeys(counts, 0)
    for label in sorted(range(len(counts)), key=ranks.__getitem__):
        size = counts[label]
        each, more = divmod(dealt[size], alike[size])
        sizes[label] = each + (before[size] < more)
        before[size] += 1
    return sizes


@lru_cache(maxsize=1024)
def _dealt(counts: tuple[int, ...], length: int) -> dict[int, int] | None:
    """How many of the first `length` images of `class_sequence` are of classes of each size; None where that is not the
    same for every draw.

    Classes of one size have equal deadlines and are dealt in turn, by rank. Where those of two sizes have one deadline,
    ranks decide which goes first, until all that have it are dealt: then every order has come to the same.
    """
    classes, deadlines, places = _tijdeman(np.array(counts, dtype=np.int64), length)
    dealt = np.zeros(len(classes), dtype=bool)
    dealt[places] = True
    if not dealt.all():
        from_there = np.flatnonzero(deadlines >= deadlines[np.argmin(dealt)]).tolist()
        for _, group in itertools.groupby(from_there, key=deadlines.__getitem__):
            sizes, parts = zip(*((counts[classes[image]], dealt[image]) for image in group), strict=True)
            if len(set(sizes)) > 1 and len(set(parts)) > 1:  # images of one deadline, some dealt and some not
                return None
    given = dict.fromkeys(counts, 0)
    for size, images in zip(counts, np.bincount(classes[places], minlength=len(counts)).tolist(), strict=True):
        given[size] += images
    return given


def _missing_class(sizes: dict[str, list[int]]) -> str | None:
    """The part in which a class has no image, or None."""
    return next((name for name, of_class in sizes.items() if 0 in of_class), None)


@lru_cache(maxsize=4096)  # asked again by every run that is left out of a study
def _least_size(counts: tuple[int, ...], stream: int, most: int, validation: float | int) -> int | None:
    """The smallest size up to `most` that leaves no class out of a part: parts are nested, so a class once in stays."""
    if _missing_class(_class_sizes(counts, stream, most, validation)):
        return None
    sequence = class_sequence(counts, stream, most)
    if isinstance(validation, int) or not validation:
        return _until_every_class(sequence)
    held = validation_mask(sequence, class_ranks(stream, len(counts)), validation)
    parts = np.flatnonzero(held), np.flatnonzero(~held)
    return 1 + max(int(places[_until_every_class(sequence[places]) - 1]) for places in parts)


@lru_cache(maxsize=4096)
def _least_oracle(counts: tuple[int, ...], stream: int) -> int | None:
    """How many of the last images it takes to have one of every class; None where a class has none at all."""
    return None if 0 in counts else _until_every_class(class_sequence(counts, stream, sum(counts))[::-1])


def _until_every_class(sequence: Classes) -> int:
    """How many images it takes, from the first on, to have one of every class that there is."""
    return 1 + int(np.flatnonzero(_numbers_in_class(sequence) == 0)[-1])


def draw_subset(labels: NDArray[np.integer], classes: int, draw: int, n: int, validation: float | int) -> Subset:
    """The training and validation images of a run.

    `labels` (N,) are the classes of the training part; `validation` is a fraction of n taken from n (float), a
    number of images outside n (int: oracle validation), or 0 for none.
    """
    counts = tuple(int(count) for count in np.bincount(labels, minlength=classes))
    part_sizes(counts, draw, n, validation)  # refuses what is impossible
    stream = randomness.key(draw, "subset")
    if isinstance(validation, int):
        whole = stratified_order(labels, stream, classes, len(labels) if validation else n)
        return Subset(whole[:n], whole[len(whole) - validation :] if validation else whole[:0])
    order = stratified_order(labels, stream, classes, n)
    sequence = labels[order].astype(np.int64)
    held = validation_mask(sequence, class_ranks(stream, classes), validation)
    return Subset(order[~held], order[held])
