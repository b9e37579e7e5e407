"""Where draws and seeds are crossed: how much of a cell's spread the subset, and how much the initialisation makes."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home
from analysis.frame.rows import each_group
from analysis.statistics.block_model import crossed
from analysis.statistics.intervals import UNITS


@dataclass(frozen=True)
class Components:
    """Variances (of accuracy as a share, squared): of the subset, of the seed, and of their interaction, from which
    one run a pair cannot tell the residual. As estimated: an estimate of a small one can be negative."""

    subset: float
    seed: float
    interaction: float


def components(values: NDArray[np.float64]) -> Components:
    """The variance components of `values` (draws, seeds) by the analysis of variance of two crossed random factors
    without replication: E MS_draw = interaction + seeds x subset, and so on (Searle, Casella and McCulloch 1992,
    chapter 4.6). Raises ValueError below two draws or two seeds."""
    draws, seeds = values.shape
    if draws < 2 or seeds < 2:
        raise ValueError(f"components: needs two draws and two seeds, not {draws} and {seeds}")
    by_draw, by_seed, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    residual = values - by_draw[:, None] - by_seed[None, :] + mean
    interaction = float((residual**2).sum()) / ((draws - 1) * (seeds - 1))
    subset = (seeds * float(by_draw.var(ddof=1)) - interaction) / seeds
    seed = (draws * float(by_seed.var(ddof=1)) - interaction) / draws
    return Components(subset, seed, interaction)


def shares(arm: ArmData) -> pd.DataFrame:
    """A row per model and train size of an arm in which draws and seeds are crossed; empty otherwise.

    Columns: label, line, train_size; subset, seed, interaction (share of their sum, negative estimates counted as 0;
    NaN when some run of the cell is not in or nothing varies); negative (names of those that were); total (standard
    deviation of a run, a share); draws, seeds, done, planned (runs); runs (ids)."""
    one_arm(arm.runs)
    result = []
    rows = at_home(arm.rows).dropna(subset=["accuracy"])
    for label, group in each_group(arm.runs, "label"):
        for size, cell in each_group(group, "train_size", ordered=True):
            draws, seeds = cell["draw"].nunique(), cell["seed"].nunique()
            if not crossed(cell) or len(cell) != draws * seeds or seeds < 2:
                continue
            at = rows[(rows["label"] == label) & (rows["train_size"] == size)].sort_values(UNITS)
            parts, negative, total = dict.fromkeys(("subset", "seed", "interaction"), math.nan), "", math.nan
            if len(at) == len(cell):
                found = components(at.pivot(index="draw", columns="seed", values="accuracy").to_numpy(dtype=float))
                raw = {name: getattr(found, name) for name in parts}
                kept = {name: max(0.0, value) for name, value in raw.items()}
                negative = " ".join(name for name, value in raw.items() if value < 0)
                total = math.sqrt(sum(kept.values()))
                if total > 0:
                    parts = {name: value / total**2 for name, value in kept.items()}
            result.append(
                {"label": label, "line": label, "train_size": size, **parts, "negative": negative, "total": total}
                | {"draws": draws, "seeds": seeds, "done": len(at), "planned": len(cell), "runs": " ".join(at["run"])}
            )
    return pd.DataFrame(result)
