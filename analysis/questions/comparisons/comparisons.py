"""The families of comparisons that a study declares: differences of test accuracy with intervals that hold together.

One family at one train size is one block model (`block_model`). Its intervals hold simultaneously: with probability
95 % all of them contain their true differences. Each train size is a family of its own, and so is each arm.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import wording
from analysis.frame.arms import ArmData, one_arm
from analysis.frame.cells import at_home, estimate_of, marks
from analysis.frame.rows import each_group, each_row
from analysis.questions.accuracy.data_efficiency import notes, scope
from analysis.statistics import intervals
from analysis.statistics.block_model import Fit, blocks, crossed, fit, simultaneous, vary_alike
from analysis.wording import Answer
from benchmarks.plan.comparisons import Family, pairs_of
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study

SHOWN = 6  # pairs of a verdict that a sentence names; the table has all


def labelled(runs: pd.DataFrame, study: Study) -> dict[str, Run]:
    """One run of the study for each label of `runs`."""
    by_id = {run.id: run for run in study.runs}
    return {label: by_id[mine["run"].iloc[0]] for label, mine in each_group(runs, "label")}


def declared(runs: pd.DataFrame, study: Study) -> Iterator[tuple[Family, dict[str, Run]]]:
    """Each declared family with what it may compare of an arm, as `labelled`: the models of the studies that declare
    it, as another study's were not declared to be compared."""
    for family in study.comparisons:
        mine = {run.id for part in study.parts or (study,) if family in part.comparisons for run in part.runs}
        yield family, labelled(runs[runs["run"].isin(mine)], study)


def differences(arm: ArmData, study: Study) -> pd.DataFrame:
    """A row per family, pair and train size; empty where no family is declared or the arm has none of it.

    Columns: family; label, reference; line ('a − b' for all pairs, else the label); against_one; train_size; mean, low,
    high (difference of accuracy, shares; simultaneous 95 % interval); n and planned_n (blocks with both, and as
    planned), done and planned (pairs of runs), models and blocks (of the family, with a value), critical (of |t|),
    residual (standard deviation, share), df, residual_low and residual_high (of the models one by one), alike (False:
    more unlike than those of equal models mostly are), starved, stale (of either side), runs and reference_runs (ids,
    pair by pair)."""
    one_arm(arm.runs)
    rows = at_home(arm.rows)
    result: list[dict[str, Any]] = []
    for family, by_label in declared(arm.runs, study):
        labels, reference = family.of(by_label)
        pairs = pairs_of(labels, reference)
        if not pairs:
            continue
        members = [*([reference] if reference else []), *labels]
        planned = arm.runs[arm.runs["label"].isin(members)]
        for size, runs in each_group(planned, "train_size", ordered=True):
            at = rows[(rows["train_size"] == size) & rows["label"].isin(members)].dropna(subset=["accuracy"])
            result += _of_family(family, pairs, int(size), at, runs)
    return pd.DataFrame(result)


def _of_family(
    family: Family, pairs: Sequence[tuple[str, str]], size: int, rows: pd.DataFrame, runs: pd.DataFrame
) -> list[dict[str, Any]]:
    there = set(runs["label"])
    pairs = [pair for pair in pairs if there.issuperset(pair)]
    found = fit(blocks(rows, runs, "accuracy"))
    estimates, critical = simultaneous(found, pairs)
    common = {
        "models": int(found.present.any(axis=0).sum()),
        "blocks": int((found.present.sum(axis=1) > 1).sum()),
        "critical": critical,
        "residual": found.spread,
        "df": found.df,
        **_range(found),
        "alike": vary_alike(found),
    }
    done, planned = _by_unit(rows), _by_unit(runs)
    marked = {label: marks(runs[runs["label"] == label]) for label in there}
    result = []
    for (label, reference), estimate in zip(pairs, estimates, strict=True):
        mine, other = done.get(label, {}), done.get(reference, {})
        both = sorted(mine.keys() & other.keys())
        wanted = planned[label].keys() & planned[reference].keys()
        result.append(
            {
                "family": family.name,
                "label": label,
                "reference": reference,
                "line": label if family.against else f"{label} − {reference}",
                "against_one": family.against is not None,
                "train_size": size,
                "mean": estimate.mean,
                "low": estimate.low,
                "high": estimate.high,
                "n": estimate.n,
                "done": len(both),
                "planned": len(wanted),
                "planned_n": len({draw for draw, _ in wanted}) if crossed(runs) else len(wanted),
                **common,
                **{name: here or marked[reference][name] for name, here in marked[label].items()},
                "runs": " ".join(mine[unit] for unit in both),
                "reference_runs": " ".join(other[unit] for unit in both),
            }
        )
    return result


def _by_unit(rows: pd.DataFrame) -> dict[str, dict[tuple[int, int], str]]:
    """The ids of each label's runs by (draw, seed)."""
    found: dict[str, dict[tuple[int, int], str]] = {}
    for row in each_row(rows[["label", *intervals.UNITS, "run"]]):
        found.setdefault(row.label, {})[row.draw, row.seed] = row.run
    return found


def _range(found: Fit) -> dict[str, float]:
    known = found.spreads[np.isfinite(found.spreads)]
    ends = (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)
    return {"residual_low": ends[0], "residual_high": ends[1]}


def answers(arm: ArmData, table: pd.DataFrame) -> list[Answer]:
    """A sentence for each family at the smallest and at the largest train size of `differences`' table."""
    if table.empty:
        return []
    said = []
    for family, mine in each_group(table[table["n"] > 0], "family"):
        sizes = sorted(mine["train_size"].unique())
        order = mine["mean"] if mine["against_one"].all() else mine["mean"].abs()
        mine = mine.loc[order.sort_values(ascending=False, kind="stable").index]
        for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
            at = mine[mine["train_size"] == size]
            of_label = notes(arm.runs, size)
            about = f"of {wording.count(len(at), 'simultaneous comparisons')}"
            if at["against_one"].all():
                reference = at["reference"].iloc[0]
                about += f" against {wording.noted(reference, *of_label[reference])}"
            lead = f"Comparing {family}, with {wording.number(size)} images"
            said.append(Answer(lead, scope(arm, size), f"{about}, {_verdicts(at, of_label)}.{_caution(at)}"))
    return said


def _verdicts(table: pd.DataFrame, of_label: Mapping[str, tuple[str, ...]]) -> str:
    """The comparisons by verdict, those of a family of pairs with the higher one first."""
    against_one = table["against_one"].all()
    openings = {
        "above": "higher" if against_one else "told apart",
        "below": "lower",
        "unclear": "cannot be told apart",
        "no interval": "without an interval",
    }
    parted: dict[str, list[str]] = {opening: [] for opening in openings.values()}
    for row in each_row(table):
        estimate, names = estimate_of(row), (row.label, row.reference)
        if not against_one and estimate.mean < 0:
            estimate = -estimate
            names = (row.reference, row.label)
        verdict = intervals.verdict(estimate)
        label, other = (wording.noted(name, *of_label[name]) for name in names)
        if against_one:
            text = wording.noted(names[0], *of_label[names[0]], wording.points(estimate))
        else:
            text = f"{label} {'above' if verdict == 'above' else 'and'} {other} ({wording.points(estimate)})"
        parted[openings[verdict]].append(text)
    said = []
    for opening, texts in parted.items():
        if texts:
            more = [f"{len(texts) - SHOWN} more in the table"] if len(texts) > SHOWN + 1 else []
            shown = texts[:SHOWN] if more else texts
            said.append(f"{len(texts)} {opening}: {wording.names([*shown, *more])}")
    return "; ".join(said)


def _caution(table: pd.DataFrame) -> str:
    first = next(each_row(table))
    if first.alike:
        return ""
    ends = f"{100 * first.residual_low:.1f} to {100 * first.residual_high:.1f} points"
    return f" Residuals vary unlike between these models ({ends}): intervals of the more variable ones are too narrow."


def _families(study: Study) -> str:
    named = [f"“{family.name}”" for family in study.comparisons]
    if len(named) > 1:
        return f"the families of comparisons {wording.names(named)}"
    return f"the family of comparisons {named[0]}" if named else "no family of comparisons"


def sentence(study: Study) -> str:
    """What the page says of corrections: by family where there is one, that there is none otherwise."""
    alone = (
        "of twenty comparisons between equals, one is expected to exclude 0; the model that leads is chosen by "
        "looking, which favours it."
    )
    if not study.comparisons:
        return (
            "The study declares no family of comparisons ([[comparisons]]), so each interval stands on its own, "
            f"uncorrected for their number: {alone}"
        )
    said = [f"{'study ' + part.name if study.parts else 'the study'} declares {_families(part)}"
            for part in study.parts or (study,)]  # fmt: skip
    families = wording.names(said)
    return (
        f"{families[:1].upper()}{families[1:]}. Under “Comparisons”, and for their pairs in answers, the intervals of "
        "a family at one train size hold simultaneously: paired differences from the "
        "model accuracy = model + draw and seed + residual, one residual variance for all models of the family, and "
        "the quantile of the multivariate t (Dunnett's for one reference, Tukey's for all pairs). That variance is "
        "assumed equal for all models: where one of them varies three times as much as the others, simulated 95 % "
        "intervals cover 78 to 92 %. Every other interval of the page stands on its own, uncorrected: "
        f"{alone}"
    )
