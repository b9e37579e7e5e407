"""The differences that a study declared families of comparisons for: where one has a pair, its interval is the answer.

A pair that was judged by its own interval in one sentence and by a family's in another would have two verdicts. So
sentences on accuracy at the training resolution take the family's, and say which pairs have none.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from analysis import wording
from analysis.elements.reported import ReportedArm
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_row
from analysis.questions.comparisons import families
from analysis.statistics.intervals import Estimate

Verdicts = Mapping[tuple[str, str], tuple[str, Estimate]]  # (a, b): name of the family, its estimate of a - b


def differences(arm: ReportedArm) -> pd.DataFrame:
    """The differences of the families that the study declares, as `families.differences` describes them. To be taken by
    `arm.once(differences)`: several questions judge by them."""
    return families.differences(arm.data, arm.study)


def of_families(table: pd.DataFrame, train_size: int) -> Verdicts:
    """The pairs of a table of `families.differences` at a train size, in both directions. Of several families that have
    a pair the first that the study declares counts."""
    found: dict[tuple[str, str], tuple[str, Estimate]] = {}
    if table.empty:
        return found
    for row in each_row(table[table["train_size"] == train_size]):
        estimate = estimate_of(row)
        found.setdefault((row.label, row.reference), (row.family, estimate))
        found.setdefault((row.reference, row.label), (row.family, -estimate))
    return found


def judged_by(labels: Iterable[str], family_of: Mapping[str, str]) -> str:
    """By which intervals these labels are judged: 'the simultaneous intervals of “a” for x and y, separate ones for the
    others'; '' of no label."""
    labels = list(labels)
    of_family: dict[str, list[str]] = {}
    for label in labels:
        if label in family_of:
            of_family.setdefault(family_of[label], []).append(label)
    covered = sum(map(len, of_family.values()))
    if not covered:
        return "separate intervals" if labels else ""
    if covered == len(labels) and len(of_family) == 1:
        return f"the simultaneous intervals of “{next(iter(of_family))}”"
    phrases = [f"those of “{family}” for {wording.names(those)}" for family, those in of_family.items()]
    phrases[0] = phrases[0].replace("those of", "the simultaneous intervals of", 1)
    others = "; separate ones for the others" if covered < len(labels) else ""
    return f"{'; '.join(phrases)}{others}"
