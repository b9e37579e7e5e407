"""What another test set would change: a bootstrap over seeds and over images, crossed.

The intervals of the page are conditional on the test set. Here the blocks (seeds; draws where both are crossed) and
the test images are resampled, each by itself and both at once, every network of a block with the same images (Owen
2007: the pigeonhole bootstrap). A percentile interval over three seeds covers the truth in some 79 % of studies
(docs/studies.md), so this is no replacement for the t-intervals: it shows how large the part of the images is beside
that of the seeds.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.frame.predictions import Correct
from analysis.frame.rows import each_group, each_row
from analysis.statistics import intervals
from analysis.statistics.block_model import crossed

CHUNK = 100  # resamples at once, so that 10,000 images take megabytes


@dataclass(frozen=True)
class Resampled:
    """Standard errors of a difference of accuracies (shares) by resampling seeds, images, or both, and the 95 %
    percentile interval of both."""

    seeds: float
    images: float
    both: float
    low: float
    high: float


def bootstrap(differences: NDArray[np.float64], resamples: int, seed: int = 0) -> Resampled:
    """`differences` (blocks, images): correctness of one network minus that of the other, block by block. The same
    numbers each time: the resamples are drawn from `seed`.

    Resampled as they are, k blocks vary by (k - 1) / k of the variance they were drawn with; so their deviations are
    widened by the root of k / (k - 1), and the standard error over blocks is s / sqrt(k) (Davison & Hinkley 1997,
    section 2.3). Raises ValueError for less than two blocks."""
    blocks, images = differences.shape
    if blocks < 2:
        raise ValueError(f"bootstrap: needs at least two blocks, not {blocks}")
    middle = differences.mean(axis=0)
    differences = middle + math.sqrt(blocks / (blocks - 1)) * (differences - middle)
    generator = np.random.default_rng(seed)
    drawn: list[NDArray[np.float64]] = []
    for start in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - start)
        of_blocks = generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=count) / blocks
        of_images = generator.multinomial(images, np.full(images, 1 / images), size=count) / images
        by_block = of_blocks @ differences  # (count, images)
        both = (by_block * of_images).sum(axis=1)
        drawn.append(np.stack([by_block.mean(axis=1), of_images @ middle, both]))
    values = np.concatenate(drawn, axis=1)
    low, high = np.quantile(values[2], [0.5 - intervals.LEVEL / 2, 0.5 + intervals.LEVEL / 2])
    errors = values.std(axis=1, ddof=1)
    return Resampled(float(errors[0]), float(errors[1]), float(errors[2]), float(low), float(high))


def resampled(pairs: pd.DataFrame, correct: Correct, runs: pd.DataFrame, resamples: int) -> pd.DataFrame:
    """The pairs of a table of differences (`comparisons.differences`) at the largest train size, resampled. `runs` are
    all planned runs of the arm.

    Columns: family, label, reference, line, train_size, mean (of the pairs with predictions), low, high, se_seeds,
    se_images, se_both, n (pairs with predictions), blocks (what is resampled: pairs, or draws where they are crossed
    with seeds), planned, images, runs, reference_runs. A pair with no predictions has n = 0 and NaN, one with a single
    block has no interval. Of crossed draws those count whose planned pairs all have predictions (`block_model`)."""
    result = []
    for row in each_row(pairs[pairs["train_size"] == pairs["train_size"].max()] if len(pairs) else pairs):
        planned = runs[(runs["train_size"] == row.train_size) & runs["label"].isin([row.label, row.reference])]
        both = [
            (a, b)
            for a, b in zip(row.runs.split(), row.reference_runs.split(), strict=True)
            if a in correct and b in correct
        ]
        blocks = _blocks(both, planned)
        both = [pair for block in blocks for pair in block]
        key = {name: getattr(row, name) for name in ("family", "label", "reference", "line", "train_size", "planned")}
        values: dict[str, float] = dict.fromkeys(("mean", "low", "high", "se_seeds", "se_images", "se_both"), np.nan)
        images = 0
        if blocks:
            differences = np.array(
                [np.mean([correct[a].astype(float) - correct[b] for a, b in block], axis=0) for block in blocks]
            )
            images = differences.shape[1]
            values["mean"] = float(differences.mean())
            if len(blocks) > 1:
                found = bootstrap(differences, resamples)
                values |= {"low": found.low, "high": found.high, "se_seeds": found.seeds}
                values |= {"se_images": found.images, "se_both": found.both}
        ids = {"runs": " ".join(a for a, _ in both), "reference_runs": " ".join(b for _, b in both)}
        result.append({**key, **values, "n": len(both), "blocks": len(blocks), "images": images, **ids})
    return pd.DataFrame(result)


def _blocks(pairs: list[tuple[str, str]], planned: pd.DataFrame) -> list[list[tuple[str, str]]]:
    """The pairs of runs that vary together: each by itself, or those of a draw where draws and seeds are crossed."""
    if not crossed(planned):
        return [[pair] for pair in pairs]
    shared = planned[planned.duplicated(intervals.UNITS, keep=False)]  # draws and seeds planned for both models
    there = {run for pair in pairs for run in pair}
    draws = (set(group["run"]) for _, group in each_group(shared, "draw", ordered=True))
    return [[pair for pair in pairs if pair[0] in draw] for draw in draws if draw <= there]
