"""Randomness as a pure function of (seed, purpose, numbers): nothing to save, nothing to restore.

Every random choice outside the network is `hashes(key(seed, purpose, ...), indices)`: a resumed run draws what an
uninterrupted one draws, on every platform, and a new augmentation (a new purpose) moves no other draw.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def key(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit key (it fits a torch seed) from BLAKE2b of the arguments; stable over platforms and versions."""
    text = "/".join([str(int(seed)), purpose, *(str(int(number)) for number in numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def hashes(stream: int, indices: NDArray[np.integer]) -> NDArray[np.uint64]:
    """One 64-bit hash for each index: output number `index` of SplitMix64 started at `stream`.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    with np.errstate(over="ignore"):
        z = np.uint64(stream) + (indices.astype(np.uint64) + np.uint64(1)) * _GAMMA
        for shift, factor in ((30, _MIX_1), (27, _MIX_2)):  # in place, which is faster
            z ^= z >> np.uint64(shift)
            z *= factor
        z ^= z >> np.uint64(31)
        return z


def uniforms(stream: int, indices: NDArray[np.integer]) -> NDArray[np.float64]:
    """One number in [0, 1) for each index, from the top 53 bits of its hash."""
    return (hashes(stream, indices) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(stream: int, count: int) -> NDArray[np.int64]:
    """The indices 0..count-1 in the order of their hashes."""
    return np.argsort(hashes(stream, np.arange(count))).astype(np.int64)  # no two hashes of a stream are equal
