"""The declared families in words, and what the page says of corrections for their number."""

from collections.abc import Mapping

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons import verdicts
from analysis.statistics import intervals
from analysis.wording import Answer
from benchmarks.plan.study import Study

SHOWN = 3  # models below others that a sentence on pairs names; the table has all


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm on its declared families."""
    table = arm.once(verdicts.all_verdicts).applied(arm.once(verdicts.differences).rename(columns={"family": "of"}))
    return [Claim(answer, "comparisons") for answer in answers(arm.data, table)]


def answers(arm: ArmData, table: pd.DataFrame) -> list[Answer]:
    """A claim for each family on the smallest and the largest train size of its table (`families.differences`, by the
    verdicts on pairs; the column `of` has the name of the family)."""
    if table.empty:
        return []
    phrases = []
    for family, group in each_group(table[table["n"] > 0], "of"):
        sizes = sorted(group["train_size"].unique())
        ends = list(dict.fromkeys(sizes[:1] + sizes[-1:]))
        said = []
        for size in ends:
            at = group[group["train_size"] == size]
            words = _against_one if at["against_one"].all() else _in_pairs
            said.append(f"{wording.number(size)} images: {words(at, reservations(arm.runs, size))}")
        against = f" against {group['reference'].iloc[0]}" if group["against_one"].all() else ""
        body = f"{'. '.join(said)}.{_caution(group[group['train_size'].isin(ends)])}"
        phrases.append(Answer(f"Comparing {family}{against}", scope(arm, ends[-1]), body))
    return phrases


def _against_one(table: pd.DataFrame, of_label: Mapping[str, tuple[str, ...]]) -> str:
    ordered = table.sort_values("mean", ascending=False, kind="stable")
    return verdicts.against_words({row.label: estimate_of(row) for row in each_row(ordered)}, of_label)


def _in_pairs(table: pd.DataFrame, of_label: Mapping[str, tuple[str, ...]]) -> str:
    """All pairs by verdict, those below others by the model that is below: 'a and b above c; others not separable'
    or, where that takes many words, '4 of 36 pairs separable'."""
    above: dict[str, list[str]] = {}
    known = 0
    for row in each_row(table):
        for label, reference, difference in (
            (row.label, row.reference, estimate_of(row)),
            (row.reference, row.label, -estimate_of(row)),
        ):
            if intervals.verdict(difference) == "above":
                above.setdefault(reference, []).append(label)
        known += estimate_of(row).has_interval
    separable = sum(map(len, above.values()))
    without = f"; {wording.count(len(table) - known, 'pairs')} without an interval" if known < len(table) else ""
    if not separable or len(above) > SHOWN:
        return f"{separable or 'none'} of {wording.count(len(table), 'pairs')} separable{without}"

    def named(label: str) -> str:
        return wording.noted(label, *of_label[label])

    phrases = [f"{wording.names(map(named, those))} above {named(label)}" for label, those in above.items()]
    others = "; others not separable" if separable < known else ""
    return f"{'; '.join(phrases)}{others}{without}"


def _caution(table: pd.DataFrame) -> str:
    """What is odd about the residual that the intervals of a family are made of."""
    said = [
        f" At {wording.number(row.train_size)} images a collapsed seed of {row.collapsed_models} widens all intervals."
        for row in each_row(table, ["train_size", "collapsed_models"])
        if row.collapsed_models
    ]
    unlike = table[~table["alike"].astype(bool)]
    if len(unlike):
        ends = f"{100 * unlike['residual_low'].min():.1f} to {100 * unlike['residual_high'].max():.1f} points"
        said.append(f" Residuals are unlike ({ends}): intervals of the more variable models are too narrow.")
    return "".join(said)


def _families(study: Study) -> str:
    named = [f"“{family.name}”" for family in study.comparisons]
    if len(named) > 1:
        return f"the families of comparisons {wording.names(named)}"
    return f"the family of comparisons {named[0]}" if named else "no family of comparisons"


def method(study: Study) -> str:
    """What the page says of corrections: by family where there is one, that there is none otherwise."""
    alone = (
        "of twenty comparisons between equals, one is expected to exclude 0, and a model that is singled out because "
        "it leads is favoured by that. Such verdicts are exploratory."
    )
    if not study.comparisons:
        return (
            "The study declares no family of comparisons ([[comparisons]]), so each interval stands on its own, "
            f"uncorrected for their number: {alone}"
        )
    phrases = [f"{'study ' + part.name if study.parts else 'the study'} declares {_families(part)}"
            for part in study.parts or (study,)]  # fmt: skip
    families = wording.names(phrases)
    return (
        f"{families[:1].upper()}{families[1:]}. The first that has a pair judges it, everywhere on the page. The "
        "intervals of a family at one train size hold simultaneously: paired differences from the "
        "model accuracy = model + draw and seed + residual, one residual variance for all models of the family, and "
        "the quantile of the multivariate t (Dunnett's for one reference, Tukey's for all pairs). That variance is "
        "assumed equal for all models: where one of them varies three times as much as the others, simulated 95 % "
        "intervals cover 78 to 92 %. Every other interval of the page stands on its own, uncorrected: "
        f"{alone}"
    )
