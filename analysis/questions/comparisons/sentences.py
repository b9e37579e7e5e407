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

SHOWN = 6  # pairs of a verdict that a sentence names; the table has all


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm on its declared families."""
    return [Claim(answer, "comparisons") for answer in answers(arm.data, arm.once(verdicts.differences))]


def answers(arm: ArmData, table: pd.DataFrame) -> list[Answer]:
    """A sentence for each family at the smallest and at the largest train size of `families.differences`' table."""
    if table.empty:
        return []
    phrases = []
    for family, group in each_group(table[table["n"] > 0], "family"):
        sizes = sorted(group["train_size"].unique())
        order = group["mean"] if group["against_one"].all() else group["mean"].abs()
        group = group.loc[order.sort_values(ascending=False, kind="stable").index]
        for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
            at = group[group["train_size"] == size]
            of_label = reservations(arm.runs, size)
            about = f"of {wording.count(len(at), 'simultaneous comparisons')}"
            if at["against_one"].all():
                reference = at["reference"].iloc[0]
                about += f" against {wording.noted(reference, *of_label[reference])}"
            lead = f"Comparing {family}, with {wording.number(size)} images"
            phrases.append(Answer(lead, scope(arm, size), f"{about}, {_verdicts(at, of_label)}.{_caution(at)}"))
    return phrases


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
    phrases = []
    for opening, texts in parted.items():
        if texts:
            more = [f"{len(texts) - SHOWN} more in the table"] if len(texts) > SHOWN + 1 else []
            shown = texts[:SHOWN] if more else texts
            phrases.append(f"{len(texts)} {opening}: {wording.names([*shown, *more])}")
    return "; ".join(phrases)


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


def method(study: Study) -> str:
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
    phrases = [f"{'study ' + part.name if study.parts else 'the study'} declares {_families(part)}"
            for part in study.parts or (study,)]  # fmt: skip
    families = wording.names(phrases)
    return (
        f"{families[:1].upper()}{families[1:]}. Under “Comparisons”, and for their pairs in answers, the intervals of "
        "a family at one train size hold simultaneously: paired differences from the "
        "model accuracy = model + draw and seed + residual, one residual variance for all models of the family, and "
        "the quantile of the multivariate t (Dunnett's for one reference, Tukey's for all pairs). That variance is "
        "assumed equal for all models: where one of them varies three times as much as the others, simulated 95 % "
        "intervals cover 78 to 92 %. Every other interval of the page stands on its own, uncorrected: "
        f"{alone}"
    )
