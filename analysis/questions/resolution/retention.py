"""What happens at another image resolution: accuracy against test resolution, and how much of it is retained.

*Retention* at test resolution r is (accuracy at r - chance) / (accuracy at the training resolution - chance), computed
for each run from its one checkpoint: 1 keeps everything, 0 is guessing. It is undefined (NaN) for a run that is not
two binomial standard errors above chance at home, because the quotient of two noises says nothing.
"""

import pandas as pd

from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, by_carry, summarise


def with_retention(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of an arm at all resolutions (see `cells.by_carry`) with the column retention."""
    return retained(by_carry(rows))


def retained(rows: pd.DataFrame) -> pd.DataFrame:
    """Evaluations of an arm, those at the training resolution among them, with the column retention."""
    if rows.empty:
        return rows.assign(retention=pd.Series(dtype=float))
    guess = one_arm(rows).chance
    home = at_home(rows).drop_duplicates("run").set_index("run")[["accuracy", "count"]]
    margin = 2 * (guess * (1 - guess) / home["count"]) ** 0.5
    above = (home["accuracy"] - guess).where(home["accuracy"] > guess + margin)
    return rows.assign(retention=(rows["accuracy"] - guess) / rows["run"].map(above))


def curve(arm: ArmData, value: str, resolutions: list[int]) -> pd.DataFrame:
    """The table: a row per model (and way of carrying positions), train size and test resolution.

    `value` is accuracy or retention; `resolutions` are the study's, so that evaluations that are missing show."""
    rows = with_retention(arm.rows)
    seen = set(rows["test_resolution"].tolist())
    wanted = sorted(seen.union(resolutions))
    bounds = (0.0, 1.0) if value == "accuracy" else None
    return summarise(rows, arm.runs, value, wanted, bounds)
