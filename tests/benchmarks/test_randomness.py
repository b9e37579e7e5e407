"""Randomness: SplitMix64 against its published outputs, uniformity, independence, and golden keys."""

import itertools

import numpy as np
import pytest
from scipy import stats

from benchmarks.randomness import hashes, key, permutation, uniforms


def test_hashes_are_the_published_outputs_of_splitmix64() -> None:
    """Reference: the outputs for seed 1234567 that the generator's authors' C code gives (Rosetta Code, SplitMix64)."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert hashes(1234567, np.arange(5)).tolist() == published


def test_hashes_equal_the_sequential_generator() -> None:
    """Reference: the generator written with Python integers, state carried along, from a start that overflows."""
    state, expected, mask = 2**63 - 1, [], 2**64 - 1
    for _ in range(100):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        expected.append(z ^ (z >> 31))
    assert hashes(2**63 - 1, np.arange(100)).tolist() == expected


def test_a_hash_depends_on_its_index_alone() -> None:
    """If a hash depended on the indices beside it, a resumed run would draw other numbers."""
    every = hashes(7, np.arange(1000))
    some = np.array([[999, 3], [500, 0]])
    assert (hashes(7, some) == every[some]).all()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, "subset"), 2002549381174002267),
        ((1, "order", 2), 2250116526275059154),
        ((123456789, "network", 41), 4019847595709981253),
    ],
)
def test_golden_keys(arguments: tuple[int, str], expected: int) -> None:
    """Reference: the keys of the first release; another key draws other images for every recorded run."""
    assert key(*arguments) == expected


def test_keys_fit_a_torch_seed_and_differ() -> None:
    """torch.manual_seed takes 63 bits on every platform; two equal keys would tie two draws together."""
    purposes = ("subset", "order", "crop", "flip", "randaugment", "erase", "mix", "network", "initialisation")
    keys = [key(*each) for each in itertools.product(range(20), purposes, range(20))]
    assert len(set(keys)) == len(keys)
    assert all(0 <= one < 2**63 for one in keys)


def test_uniforms_are_uniform() -> None:
    """Reference: Kolmogorov-Smirnov and chi-square of scipy, on a fixed seed, for numbers and for neighbours."""
    numbers = uniforms(key(0, "test"), np.arange(100_000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > 0.01
    cells = np.floor(numbers.reshape(-1, 2) * 10).astype(int) @ [10, 1]
    assert stats.chisquare(np.bincount(cells, minlength=100)).pvalue > 0.01


def test_uniforms_use_53_bits() -> None:
    """Reference: NumPy's own rule for doubles, (hash >> 11) / 2**53; the largest hash must stay below 1."""
    indices = np.arange(1000)
    assert (uniforms(3, indices) == (hashes(3, indices) // 2**11) / 2**53).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "crop"), (0, "flip")),
        ((0, "order", 0), (0, "order", 1)),
        ((0, "order", 0), (1, "order", 0)),
        ((0, "subset"), (1, "subset")),
    ],
)
def test_purposes_and_numbers_are_independent(one: tuple[int, str], other: tuple[int, str]) -> None:
    """Reference: Pearson's and a lagged correlation of scipy; a tie would let an augmentation follow the order."""
    first, second = (uniforms(key(*each), np.arange(20_000)) for each in (one, other))
    assert stats.pearsonr(first, second).pvalue > 0.01
    assert stats.pearsonr(first[1:], second[:-1]).pvalue > 0.01
    assert not set(hashes(key(*one), np.arange(20_000))) & set(hashes(key(*other), np.arange(20_000)))


@pytest.mark.parametrize("count", [0, 1, 2, 5, 64, 1000])
def test_permutation_is_a_permutation(count: int) -> None:
    """An image that is missing or twice in the order would make epochs unequal."""
    assert sorted(permutation(11, count)) == list(range(count))


def test_permutations_are_uniform() -> None:
    """Reference: chi-square over all 24 orders of four things."""
    orders = [tuple(permutation(key(seed, "order"), 4).tolist()) for seed in range(4800)]
    counts = [orders.count(each) for each in itertools.permutations(range(4))]
    assert stats.chisquare(counts).pvalue > 0.01
