"""The fairness ledger: what was equal between the models of an arm, and what was not."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

import models
from analysis import wording
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import by_carry
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group
from analysis.frame.states import ACTIVE, DONE
from benchmarks.forecast.cost import facts
from benchmarks.plan.run import Run

TOLERANCE = 0.10  # parameters and MACs further than this from the arm's median are marked


@dataclass(frozen=True)
class Fairness:
    """The tables of an arm, in long form: `ledger`, `by_resolution` and `by_runs_beside`."""

    ledger: pd.DataFrame
    cost: pd.DataFrame
    shared: pd.DataFrame


def numbers(arm: ReportedArm) -> Fairness:
    """The ledger of an arm, and what an image costs at each of the study's test resolutions."""
    ids = set(arm.runs["run"])
    runs = {run.id: run for run in arm.study.runs if run.id in ids}
    return Fairness(ledger(arm.data), by_resolution(arm.data, runs, arm.resolutions), by_runs_beside(arm.data))


def ledger(arm: ArmData) -> pd.DataFrame:
    """A row per model.

    Columns: label; parameters_backbone, parameters_position, parameters_head; macs (an image, training resolution);
    images_per_second (training, median over runs measured `alone`), hardware (theirs; of several each with
    its own median and runs); updates_low, updates_high, images_low, images_high (images seen; over train sizes);
    batch_norm_short (runs whose BatchNorm saw less than a batch); initial (how weights start); weights (which, and what
    is used of their configuration; '-' where none are a library's); augmentation; recipe
    (what of it differs between the models, drop path as it reaches the model); trials (of tuning, as the study states
    them: `trial_words`); planned and one column a state (runs); unequal (names of the columns in which the model
    differs, separated by spaces); runs (ids).
    Counts that no run has come to yet are NaN.
    """
    one_arm(arm.runs)
    table = pd.DataFrame([_of_model(label, runs) for label, runs in each_group(arm.runs, "label")])
    table["unequal"] = [" ".join(names) for names in _unequal(table, arm.runs)]
    return table


def _weights(run: Any) -> str:
    """'resnet.pth, transforms and head as published'."""
    return run.weights if run.published == NONE else f"{run.weights}, {run.published} as published"


def _of_model(label: str, runs: pd.DataFrame) -> dict[str, Any]:
    done = runs[runs["state"].isin(DONE)]
    states = runs["state"]
    return {
        "label": label,
        **{f"parameters_{p}": runs[f"parameters_{p}"].median() for p in ("backbone", "position", "head")},
        "macs": runs["macs"].median(),
        "images_per_second": alone(runs)["images_per_second"].median(),
        "hardware": _hardware(runs),
        "updates_low": done["updates"].min(),
        "updates_high": done["updates"].max(),
        "images_low": done["images_seen"].min(),
        "images_high": done["images_seen"].max(),
        "batch_norm_short": int(runs["batch_norm_images"].notna().sum()),
        "initial": runs["initial"].iloc[0],
        "weights": _weights(runs.iloc[0]),
        "augmentation": augmentations(runs),
        "recipe": runs["recipe_own"].iloc[0],
        "trials": trial_words(runs["trials"]),
        "planned": len(runs),
        **{state: int((states == state).sum()) for state in ("finished", "stale", "diverged", "failed", "missing")},
        "active": int(states.isin(ACTIVE).sum()),
        "unequal": "",
        "runs": " ".join(runs.sort_values(["train_size", "draw", "seed"])["run"]),
    }


def augmentations(runs: pd.DataFrame) -> str:
    """That of a model's runs, in words: 'crop'; each with its train sizes, where a search has chosen several: 'crop
    (n = 2,000); flip (n = 500)'."""
    sizes = {text: sorted(group["train_size"].unique()) for text, group in each_group(runs, "augmentation")}
    if len(sizes) == 1:
        return str(next(iter(sizes)))
    return "; ".join(f"{text} (n = {wording.names(map(wording.number, several))})" for text, several in sizes.items())


def trial_words(trials: pd.Series) -> str:
    """The numbers of tuning trials that are stated for runs: '50', '0 and 50', 'not stated', '50 and not stated'."""
    stated = [f"{int(number):,}" for number in sorted(trials.dropna().unique())]
    return wording.names([*stated, *(["not stated"] if trials.isna().any() else [])])


def alone(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose speed was measured with no other beside them: what shares a machine measures its neighbours."""
    return runs[runs["images_per_second"].notna() & runs["alone"]]


def speeds(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """Images a second in training of the runs that were timed alone, by the hardware they were timed on."""
    timed = alone(runs)
    return {kind: group["images_per_second"] for kind, group in each_group(timed, "hardware", ordered=True)}


def by_runs_beside(arm: ArmData) -> pd.DataFrame:
    """Images a second in training by how many runs shared a GPU, or without one a job: speeds of unlike numbers are
    never put together.

    Columns: label, side_by_side, hardware, images_per_second (median over those runs), runs. Empty where no run is
    known to have shared: then the ledger has all of it.
    """
    one_arm(arm.runs)
    timed = arm.runs.dropna(subset=["images_per_second", "side_by_side"])
    order = {label: place for place, (label, _) in enumerate(each_group(arm.runs, "label"))}
    result = [
        {
            "label": label,
            "side_by_side": int(beside),
            "hardware": kind,
            "images_per_second": group["images_per_second"].median(),
            "runs": " ".join(group.sort_values(["train_size", "draw", "seed"])["run"]),
        }
        for (label, beside, kind), group in each_group(timed, ["label", "side_by_side", "hardware"], ordered=True)
        if (timed["side_by_side"] > 1).any()
    ]
    result.sort(key=lambda row: order[row["label"]])
    return pd.DataFrame(result, columns=["label", "side_by_side", "hardware", "images_per_second", "runs"])


def by_hardware(runs: pd.DataFrame, names: Mapping[str, str]) -> str:
    """'NAME', or for several kinds of hardware '5.1 k images/s on NAME (12 runs); 3.2 k images/s on NAME (3 runs)'."""
    found = speeds(runs)
    if len(found) == 1:
        return names[next(iter(found))]
    return "; ".join(
        f"{wording.compact(of.median())} images/s on {names[kind]} ({wording.count(len(of), 'runs')})"
        for kind, of in found.items()
    )


def _hardware(runs: pd.DataFrame) -> str:
    return by_hardware(runs, {kind: kind for kind in speeds(runs)})


def _unequal(table: pd.DataFrame, runs: pd.DataFrame) -> list[list[str]]:
    """For each row of `table` the columns in which it stands out."""
    marks: list[list[str]] = [[] for _ in range(len(table))]
    for column in ("parameters_backbone", "macs"):
        median = table[column].median()
        for i, value in enumerate(table[column]):
            if abs(value - median) > TOLERANCE * median:
                marks[i].append(column)
    for column in ("initial", "augmentation", "recipe"):
        for mark, is_odd in zip(marks, _odd(table[column]), strict=True):
            mark += [column] * is_odd
    stated = runs.groupby("train_size")["trials"].nunique(dropna=False)
    unlike = {
        "images_per_second": len(speeds(runs)) > 1,
        "trials": table["trials"].nunique() > 1 or bool((stated > 1).any()),  # no model's tuning is the usual one
    }
    for mark in marks:
        mark += [column for column, holds in unlike.items() if holds]
    for i, short in enumerate(table["batch_norm_short"]):
        if short:
            marks[i].append("batch_norm_short")
    done = runs[runs["state"].isin(DONE)]
    for column in ("updates", "images_seen"):
        usual = done.groupby("train_size")[column].agg(lambda values: values.mode().iloc[0])
        odd = done[done[column] != done["train_size"].map(usual)]
        for i, label in enumerate(table["label"]):
            if (odd["label"] == label).any():
                marks[i].append(column)
    grids = {
        label: frozenset(cell[["train_size", "draw", "seed"]].itertuples(index=False, name=None))
        for label, cell in each_group(runs, "label")
    }
    most = max(grids.values(), key=len)
    for i, label in enumerate(table["label"]):
        if grids[label] != most:
            marks[i].append("planned")
    return marks


def _odd(values: pd.Series) -> list[bool]:
    """Which values are other than that of most models; all of them where no value is that of most."""
    counts = values.value_counts()
    usual = counts.index[0] if 2 * counts.iloc[0] > len(values) else None
    return [len(counts) > 1 and value != usual for value in values]


def by_resolution(arm: ArmData, runs: Mapping[str, Run], resolutions: Iterable[int]) -> pd.DataFrame:
    """What one image costs each model at each resolution: a row per model and resolution.

    Columns: label, line, test_resolution, macs and flops (twice that; of resized images, the default), evaluated (its
    images a second in evaluation: median over what was `evaluated_alone`), trained (the same in training, at the
    training resolution), hardware (of training, as in `ledger`), runs. `runs` has the configuration of each run by its
    id. MACs at the training resolution are those recorded; at others they are counted now, and NaN where today's
    network is not the recorded one (it has other MACs at the training resolution), or cannot be built or tested there.
    """
    one_arm(arm.runs)
    rows = by_carry(arm.rows)
    result = []
    for label, group in each_group(arm.runs, "label"):
        of_label = rows[(rows["label"] == label) & rows["carry_default"]]
        recorded = group["macs"].median()
        trained, hardware = alone(group)["images_per_second"].median(), _hardware(group)
        ids = " ".join(group.sort_values(["train_size", "draw", "seed"])["run"])
        for resolution in sorted({*resolutions, arm.arm.resolution}):
            macs = _macs(runs[group["run"].iloc[0]], resolution, recorded)
            there = of_label[of_label["test_resolution"] == resolution]
            at_home = resolution == arm.arm.resolution
            result.append(
                {
                    "label": label,
                    "line": label,
                    "test_resolution": resolution,
                    "macs": macs,
                    "flops": 2 * macs,
                    "evaluated": there.loc[there["evaluated_alone"], "evaluated_per_second"].median(),
                    "trained": trained if at_home else math.nan,
                    "hardware": hardware,
                    "runs": ids,
                }
            )
    return pd.DataFrame(result)


def _macs(run: Run, resolution: int, recorded: float) -> float:
    if resolution == run.resolution or math.isnan(recorded):
        return recorded
    try:
        return float(facts(run, resolution).macs) if facts(run).macs == recorded else math.nan
    except models.ModelError:  # of a plugin that is not loaded, or a resolution that only patches can have
        return math.nan
