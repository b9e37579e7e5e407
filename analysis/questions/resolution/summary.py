"""A curve over test resolutions in two numbers: its best test resolution, and the area below it.

*Best test resolution*: that with the highest mean accuracy over the validation parts of a model's runs (the one nearest
to the training resolution where several are level); the accuracy given there is that on the test part.
*Area*: the integral of test accuracy over log resolution, by trapezoids, divided by the log of the ratio of the ends,
which are the smallest and the largest test resolution: an accuracy averaged over octaves, run by run.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from analysis.frame.arms import one_arm
from analysis.frame.cells import marks
from analysis.frame.rows import each_group
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate

NEEDED = [
    *("run", "label", "line", "train_size", "test_resolution"),
    *("draw", "seed", "draw_runs", "accuracy", "state", "starved", "collapsed"),
]


def summary(
    test: pd.DataFrame, validation: pd.DataFrame, runs: pd.DataFrame, resolutions: Iterable[int] = ()
) -> pd.DataFrame:
    """One row per line and train size.

    test, validation: evaluations of one arm with the column `line`, at most one per run, line and test resolution;
    those that are asked for and not measured yet have accuracy NaN. runs: all runs of that arm. resolutions: asked of
    every line. A run that lacks one of those, or one that another run of its line has in `test`, has no area.
    Columns: label, line, train_size, home (training resolution, pixels), best (pixels; NaN where nothing was measured
    on validation), best_accuracy and best_gain (over the training resolution, paired), each with _low, _high, _n
    (units) and _done (runs); area with area_low and area_high, its n (units), done (runs) and ends from, to (pixels);
    planned (runs), planned_n (units), starved, stale, runs (of the area)."""
    one_arm(runs)
    home = int(runs["resolution"].iloc[0])
    test, validation = test[NEEDED], validation[NEEDED]  # few columns: pandas copies them all for every group
    result = []
    for (label, line), own in each_group(test, ["label", "line"]):
        planned = runs[runs["label"] == label]
        chosen_on = validation[validation["line"] == line]
        for size, at in each_group(own, "train_size", ordered=True):
            wanted = sorted(set(at["test_resolution"]).union(resolutions))
            of_cell = planned[planned["train_size"] == size]
            if len(wanted) < 2:
                continue
            best = best_resolution(chosen_on[chosen_on["train_size"] == size], home)
            measured = _by_run(at, wanted, best, home)
            area = intervals.over_seeds(measured, "area", bounds=(0.0, 1.0))
            there = intervals.over_seeds(measured, "best_accuracy", bounds=(0.0, 1.0))
            gain = intervals.over_seeds(measured, "best_gain")
            whole = measured.dropna(subset=["area"])
            result.append(
                {
                    "label": label,
                    "line": line,
                    "train_size": size,
                    "home": home,
                    "best": math.nan if best is None else float(best),
                    **_ends("best_accuracy", there),
                    "best_accuracy_n": there.n,
                    "best_accuracy_done": int(measured["best_accuracy"].notna().sum()),
                    **_ends("best_gain", gain),
                    "best_gain_n": gain.n,
                    "best_gain_done": int(measured["best_gain"].notna().sum()),
                    **_ends("area", area),
                    "from": wanted[0],
                    "to": wanted[-1],
                    "n": area.n,
                    "done": len(whole),
                    "planned": len(of_cell),
                    "planned_n": intervals.planned_units(of_cell),
                    **marks(at),
                    "runs": " ".join(whole["run"]),
                }
            )
    return pd.DataFrame(result)


def best_resolution(validation: pd.DataFrame, home: int) -> int | None:
    """The test resolution with the highest mean accuracy of `validation` (one line and train size), among those that as
    many runs were measured at as at any; None where there is none."""
    if validation.empty:
        return None
    means = validation.groupby("test_resolution")["accuracy"].agg(["mean", "count"])
    means = means[means["count"] == means["count"].max()]
    top = means.index[means["mean"] == means["mean"].max()]
    return int(min(top, key=lambda side: (abs(math.log(side / home)), side)))


def _by_run(rows: pd.DataFrame, resolutions: list[int], best: int | None, home: int) -> pd.DataFrame:
    """For each run of one line and train size: area (NaN where it lacks one of `resolutions`), the accuracy at `best`
    and what it gains there over `home`; columns draw, seed, draw_runs, run, area, best_accuracy, best_gain."""
    wide = rows.pivot(index=[*intervals.UNITS, "draw_runs", "run"], columns="test_resolution", values="accuracy")
    wide = wide.reindex(columns=sorted({*resolutions, home})).sort_index()
    places = np.log(np.asarray(resolutions, dtype=float))
    areas = trapezoid(wide[resolutions].to_numpy(dtype=float), places, axis=1) / (places[-1] - places[0])
    there = wide[best] if best is not None else pd.Series(math.nan, wide.index)
    return wide.index.to_frame(index=False).assign(
        area=areas, best_accuracy=there.to_numpy(), best_gain=(there - wide[home]).to_numpy()
    )


def _ends(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
