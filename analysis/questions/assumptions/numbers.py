"""What finished networks keep of their accuracy under probes: one thing changed in the test images, in steps of growing
strength (`benchmarks.plan.probes`).

*Accuracy kept* by a run at a strength: its test accuracy there over that on the images as they are, both at its
training resolution; under a probe the mean of it over strengths, which is the area below its curve against strength.
Undefined (NaN) for a run that is not two binomial standard errors above chance without the probe.
*Consistency*: the share of images that are taken for the same class as without the probe, right or wrong.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.elements.reported import ReportedArm
from analysis.frame.cells import at_home, summarise
from analysis.frame.families import declared_families
from analysis.frame.main_rows import as_shown
from analysis.frame.paired import paired_difference
from analysis.frame.predictions import KEPT, Predictions, read_predictions
from analysis.frame.rows import each_group, each_row
from analysis.questions.accuracy.ranking import accuracy_ranking
from analysis.questions.comparisons.verdicts import all_verdicts
from benchmarks.plan.probes import PROBES

BOUNDS = {"kept": (0.0, math.inf), "consistency": (0.0, 1.0)}  # what is measured of a probe, and what is possible
CONTROLS = frozenset(name for name, probe in PROBES.items() if probe.control)
NOISE = "noise_image"
AT_CHANCE = 3  # binomial standard errors of one run's test images, within which a mean is at chance


@dataclass(frozen=True)
class Assumptions:
    """The tables of an arm in long form, of train sizes and models with a probed evaluation; all empty without one.

    `by_run`: evaluations, one a run and probe, with the columns kept and consistency, means over strengths, NaN for a
    run that lacks a strength that others of its train size have; strengths ('1 2 3').
    `by_probe`: rows of `cells.summarise` with measure (of BOUNDS), probe and strengths. `by_strength`: the same with
    strength, of accuracy as well. `differences`: kept minus that of the `reference`, as `paired.paired_difference` has
    them, with label, line, reference, train_size, probe. `controls`: rows of `summarise` of accuracy with probe,
    chance (NaN where it is not known) and at_chance (True, False, or NA without chance). `elsewhere`: the probed
    evaluations that no other table has, as they are of another resolution or of images shown in another way."""

    by_run: pd.DataFrame
    by_probe: pd.DataFrame
    by_strength: pd.DataFrame
    differences: pd.DataFrame
    controls: pd.DataFrame
    elsewhere: pd.DataFrame


def numbers(arm: ReportedArm) -> Assumptions:
    """What an arm's models keep under each probe, with t-intervals over units."""
    rows = measured(arm)
    control = rows["probe"].isin(CONTROLS)
    changed, controls = rows[~control], rows[control]
    each = by_run(changed)
    runs = _probed_runs(arm, changed)
    return Assumptions(each, by_probe(each, runs), by_strength(changed, runs), differences(arm, each, runs),
                       at_chance(with_chance(arm, controls), _probed_runs(arm, controls)),
                       arm.probed.drop(index=rows.index))  # fmt: skip


def probes_in_order(table: pd.DataFrame) -> list[str]:
    """The probes of a table in their order in `PROBES`; one of another version comes last."""
    there = set(table["probe"]) if len(table) else set()
    return [*(name for name in PROBES if name in there), *sorted(there - PROBES.keys())]


def measured(arm: ReportedArm) -> pd.DataFrame:
    """The probed evaluations of the test part at the training resolution, with the column kept."""
    rows = as_shown(arm.probed)
    rows = rows[(rows["part"] == "test") & (rows["test_resolution"] == rows["resolution"])]
    home, guess = at_home(arm.rows).set_index("run"), arm.arm.chance
    margin = 2 * (guess * (1 - guess) / home["count"]) ** 0.5
    plain = home["accuracy"].where(home["accuracy"] > guess + margin)
    return rows.assign(kept=rows["accuracy"] / rows["run"].map(plain).astype(float))


def _probed_runs(arm: ReportedArm, rows: pd.DataFrame) -> pd.DataFrame:
    """The runs, whatever their state, of the models and train sizes of which some run has a row."""
    return arm.runs[arm.runs["label"].isin(rows["label"]) & arm.runs["train_size"].isin(rows["train_size"])]


def by_run(rows: pd.DataFrame) -> pd.DataFrame:
    """`Assumptions.by_run` of `measured` rows."""
    tables = []
    for _, group in each_group(rows, ["train_size", "probe"]):
        strengths = sorted(group["strength"].unique().tolist())
        of_run = group.groupby("run")
        means = of_run[list(BOUNDS)].mean()[of_run["strength"].nunique() == len(strengths)]
        first = group.drop_duplicates("run")
        columns = {name: first["run"].map(means[name]).astype(float) for name in BOUNDS}
        tables.append(first.assign(**columns, strengths=" ".join(map(str, strengths))))
    return pd.concat(tables, ignore_index=True) if tables else rows.assign(strengths="")


def by_probe(each: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`Assumptions.by_probe` of `by_run` and all runs of its models."""
    if each.empty:
        return pd.DataFrame()
    probes = probes_in_order(each)
    tables = [
        summarise(each, runs, measure, probes, bounds, across="probe").assign(measure=measure)
        for measure, bounds in BOUNDS.items()
    ]
    found = pd.concat(tables, ignore_index=True)
    strengths = {key: of["strengths"].iloc[0] for key, of in each_group(each, ["train_size", "probe"])}
    places = zip(found["train_size"], found["probe"], strict=True)
    return found.assign(strengths=[strengths.get(place, "") for place in places])


def by_strength(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`Assumptions.by_strength` of `measured` rows and all runs of their models."""
    tables = []
    for probe in probes_in_order(rows):
        of_probe = rows[rows["probe"] == probe]
        strengths = sorted(of_probe["strength"].unique().tolist())
        for measure, bounds in {"accuracy": (0.0, 1.0), **BOUNDS}.items():
            table = summarise(of_probe, runs, measure, strengths, bounds, across="strength")
            tables.append(table.assign(probe=probe, measure=measure))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def reference_of(arm: ReportedArm, train_size: int, labels: set[str]) -> str | None:
    """The model of `labels` against which the others are held: the reference of the first family of many against one
    that the study declares, else the one that is most accurate without a probe; None where none has a result."""
    for family, by_label in declared_families(arm.runs, arm.study):
        _, reference = family.of(by_label)
        if reference in labels:
            return reference
    ranking = accuracy_ranking(arm.once(all_verdicts), train_size)
    return next((label for label in ranking.means if label in labels), None) if ranking is not None else None


def differences(arm: ReportedArm, each: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`Assumptions.differences`: every model against the reference, run by run with the same draw and seed."""
    result = []
    for size, at in each_group(each, "train_size", ordered=True):
        labels = [label for label in dict.fromkeys(runs["label"]) if label in set(at["label"])]
        reference = reference_of(arm, size, set(labels))
        planned = dict(each_group(runs[runs["train_size"] == size], "label"))
        cells = dict(each_group(at, ["label", "probe"]))
        for label in labels if reference is not None else ():
            for probe in probes_in_order(at) if label != reference else ():
                key = {"label": label, "line": label, "reference": reference, "train_size": size, "probe": probe}
                own, other = (cells.get((name, probe), at.iloc[:0]) for name in (label, reference))
                result.append(key | paired_difference(own, other, planned[label], planned[reference], "kept"))
    return pd.DataFrame(result)


def with_chance(arm: ReportedArm, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of controls with the column chance: `chance_of` by the predictions that records keep of the test images."""
    home = at_home(arm.rows[arm.rows["run"].isin(rows["run"]) & arm.rows["predictions"].isin(KEPT)])
    read = {row.run: read_predictions(arm.root / row.run, row.evaluation, row.part) for row in each_row(home)}
    kept = {run: found for run, found in read.items() if found is not None}
    labels = next((found.labels for found in kept.values()), None)  # those of all: an arm has one test part
    pairs = zip(rows["run"], rows["probe"], strict=True)
    found = [chance_of(probe, labels, kept.get(run), arm.arm.classes) for run, probe in pairs]
    return rows.assign(chance=pd.Series(found, rows.index, dtype=float))


def chance_of(probe: str, labels: NDArray[np.int64] | None, kept: Predictions | None, classes: int) -> float:
    """The accuracy of a network that knows no more of the labels than a control leaves; NaN where it is not known.

    Of noise: the largest share of a class among the test `labels`, which no answer that is always the same exceeds. Of
    permuted labels: the sum over classes of their share among labels times their share among the answers that the
    network gave (`kept`), which is the mean over all orders of the labels."""
    if labels is None:
        return math.nan
    shares = np.bincount(labels, minlength=classes) / len(labels)
    if probe == NOISE or np.ptp(shares) == 0:
        return float(shares.max())  # of classes equally frequent the same, whatever is answered
    return math.nan if kept is None else float(shares @ np.bincount(kept.predicted, minlength=classes) / len(labels))


def at_chance(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`Assumptions.controls` of rows `with_chance`: whether the mean accuracy lies within AT_CHANCE binomial standard
    errors of chance (of noise: or below), those of one run: all runs have the same test images, so that their mean is
    no surer. No verdict where chance is not known of all runs."""
    if rows.empty:
        return pd.DataFrame()
    probes = probes_in_order(rows)
    found, expected = (summarise(rows, runs, value, probes, across="probe") for value in ("accuracy", "chance"))
    chance = expected["mean"].where(expected["done"] == found["done"])
    margin = AT_CHANCE * (chance * (1 - chance) / found["images"]) ** 0.5
    above = found["mean"] - chance
    within = (above <= margin) & ((above >= -margin) | (found["probe"] == NOISE))
    verdict = within.astype("boolean").mask(chance.isna())
    return found.assign(chance=chance, at_chance=verdict)[found["done"] > 0]
