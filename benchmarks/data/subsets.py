"""Which images a run learns from: nested, class-stratified, the same for every model and platform.

A *draw* orders the whole training part once; the subset of size n is its first n images. Validation images are
chosen inside the n (or, as *oracle validation*, are the last images of the order, outside every n).
"""

import hashlib
import heapq
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.errors import ImpossibleError

Indices = NDArray[np.int64]


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


@lru_cache(maxsize=256)
def class_sequence(counts: tuple[int, ...], stream: int, length: int) -> Indices:
    """The class of each of the first `length` images, so that every prefix is stratified.

    In every prefix of N images each class has within one of N times its share: Tijdeman's solution of the
    chairman assignment problem (Discrete Mathematics 32, 1980), ties broken by a random rank of the classes.
    """
    classes, total = len(counts), sum(counts)
    ranks = class_ranks(stream, classes)
    if len(set(counts)) == 1:  # equal shares: the rule deals the classes in turn
        return np.tile(np.argsort(ranks), -(-length // classes))[:length]
    sizes = np.array(counts, dtype=np.int64)
    given = np.zeros(classes, dtype=np.int64)
    slack = 2 * classes - 2
    sequence = np.empty(length, dtype=np.int64)
    for position in range(length):
        # Eligible: share * (position + 1) - given >= 1 / slack, in integers. The earliest deadline goes first.
        eligible = slack * (sizes * (position + 1) - given * total) >= total
        with np.errstate(divide="ignore"):
            deadline = np.where(eligible & (sizes > 0), ((given + 1) * slack - 1) / sizes, np.inf)
        first = np.flatnonzero(deadline == deadline.min())
        chosen = first[np.argmin(ranks[first])]
        sequence[position] = chosen
        given[chosen] += 1
    return sequence


def stratified_order(labels: NDArray[np.integer], stream: int, classes: int, length: int) -> Indices:
    """The first `length` image indices of the stratified permutation; in a class, images go by their hashes."""
    counts = tuple(int(count) for count in np.bincount(labels, minlength=classes))
    sequence = class_sequence(counts, stream, length)
    ranks = randomness.hashes(stream, np.arange(len(labels)))
    order = np.empty(length, dtype=np.int64)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(ranks[members], kind="stable")]
        places = np.flatnonzero(sequence == label)
        order[places] = members[: len(places)]
    return order


def validation_mask(sequence: Indices, ranks: Indices, fraction: float) -> NDArray[np.bool_]:
    """Which images of a prefix are validation images: `fraction` of each class, staggered over the classes.

    The k-th image of the class with rank r is one when floor((k + 1) f + r / C) exceeds floor(k f + r / C). It
    depends on k alone, so an image keeps its part at every n; over equal classes the parts add up to floor(n f)
    (Hermite's identity).
    """
    mask = np.zeros(len(sequence), dtype=bool)
    for label, rank in enumerate(ranks):
        places = np.flatnonzero(sequence == label)
        # Counted in millionths, so that 0.2 is exact.
        parts, offset = round(fraction * 1_000_000), int(rank) * 1_000_000 // len(ranks)
        upto = (np.arange(len(places) + 1) * parts + offset) // 1_000_000
        mask[places] = np.diff(upto) > 0
    return mask


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
        least = _least_oracle(counts, stream)
        raise ImpossibleError(
            "validation", f"{oracle} images of oracle validation leave some class out; the nearest possible is {least}"
        )
    sizes = _class_sizes(counts, stream, n, validation)
    missing = _missing_class(sizes)
    if missing is None:
        train = sum(sizes["the training part"])
        return train, oracle or n - train
    possible = _least_size(counts, stream, total - oracle, validation)
    hint = f"the nearest possible is {possible}" if possible else "no size is possible with this validation"
    raise ImpossibleError("train_size", f"{n} leaves {missing} without an image of some class; {hint}")


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
    for size, images in dealt.items():
        members = sorted((label for label, count in enumerate(counts) if count == size), key=ranks.__getitem__)
        for place, label in enumerate(members):
            sizes[label] = images // len(members) + (place < images % len(members))
    return sizes


@lru_cache(maxsize=1024)
def _dealt(counts: tuple[int, ...], length: int) -> dict[int, int] | None:
    """How many of the first `length` images of `class_sequence` are of classes of each size; None where that is not the
    same for every draw.

    Classes of one size have equal deadlines and are dealt in turn, by rank. Where those of two sizes have one deadline,
    ranks decide which goes first, until all that have it are dealt: then every order has come to the same.
    """
    slack, total = 2 * len(counts) - 2, sum(counts)
    alike = {size: counts.count(size) for size in set(counts) if size}
    given = dict.fromkeys(alike, 0)

    def turn(size: int) -> tuple[int, float]:
        """(position from which the next image of the size may come, its deadline)."""
        each = given[size] // alike[size]
        return -(-total * (1 + slack * each) // (slack * size)) - 1, ((each + 1) * slack - 1) / size

    waiting = [(turn(size)[0], size) for size in alike]
    heapq.heapify(waiting)
    ready: list[tuple[float, int]] = []
    contested = -1.0  # the deadline that several sizes have
    for position in range(length + 1):
        while waiting and waiting[0][0] <= position:
            size = heapq.heappop(waiting)[1]
            heapq.heappush(ready, (turn(size)[1], size))
        if position == length:
            break
        deadline, size = heapq.heappop(ready)
        if ready and ready[0][0] == deadline:
            contested = deadline
        given[size] += 1
        heapq.heappush(waiting, (turn(size)[0], size))
    return None if any(deadline == contested for deadline, _ in ready) else given


def _missing_class(sizes: dict[str, list[int]]) -> str | None:
    """The part in which a class has no image, or None."""
    return next((name for name, of_class in sizes.items() if 0 in of_class), None)


def _parts(counts: tuple[int, ...], stream: int, n: int, validation: float | int) -> dict[str, Indices]:
    """The class of each place in the order of n images, in each part that is taken from n; -1 for the other's."""
    sequence = class_sequence(counts, stream, n)
    if isinstance(validation, int) or not validation:
        return {"the training part": sequence}
    held = validation_mask(sequence, class_ranks(stream, len(counts)), validation)
    return {"the validation part": np.where(held, sequence, -1), "the training part": np.where(held, -1, sequence)}


def _least_size(counts: tuple[int, ...], stream: int, most: int, validation: float | int) -> int | None:
    """The smallest size up to `most` that leaves no class out of a part: parts are nested, so a class once in stays."""
    if _missing_class(_class_sizes(counts, stream, most, validation)):
        return None
    parts = _parts(counts, stream, most, validation).values()
    return 1 + max(int(np.argmax(part == label)) for part in parts for label in range(len(counts)))


def _least_oracle(counts: tuple[int, ...], stream: int) -> int:
    """How many of the last images it takes to have one of every class."""
    sequence = class_sequence(counts, stream, sum(counts))
    return len(sequence) - min(int(np.flatnonzero(sequence == label)[-1]) for label in range(len(counts)))


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
