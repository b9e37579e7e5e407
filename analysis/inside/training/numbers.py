"""What is measured of answers, on arrays alone.

Shapes: N images, K classes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Array = NDArray[np.float64]


def probabilities(logits: NDArray[np.float32]) -> Array:
    """Softmax of logits N K, in double precision."""
    found: Array = softmax(logits.astype(float), axis=1)
    return found


def total_variation(one: Array, other: Array) -> Array:
    """Half the sum of absolute differences of two networks' probabilities N K, image by image: N, from 0 for the same
    answer to 1 for two answers that exclude each other."""
    distance: Array = np.abs(one - other).sum(axis=1) / 2
    return distance


def most_unlike(one: Array, other: Array, amount: int) -> NDArray[np.int64]:
    """The images, at most `amount`, on which two networks' probabilities N K are furthest apart, the furthest first;
    of equal ones the earlier first."""
    order = np.argsort(-total_variation(one, other), kind="stable")
    return order[:amount].astype(np.int64)
