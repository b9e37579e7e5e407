"""What each positional encoding adds, in words."""

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons.verdicts import against_words, all_verdicts
from analysis.questions.positions import numbers
from analysis.wording import Answer

PAIR = ["label", "reference"]


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm; none where declared families hold all its pairs, so that theirs are the answer."""
    judged, table = arm.once(all_verdicts), arm.once(numbers.numbers).by_train_size
    if table.empty or {frozenset(pair) for pair in each_row(table, PAIR)} <= {frozenset(pair) for pair in judged.pairs}:
        return []
    return [Claim(answer, "positions") for answer in answers(arm.data, table)]


def answers(arm: ArmData, table: pd.DataFrame) -> list[Answer]:
    """A claim for each reference on the smallest and the largest train size of `table` (`numbers.differences`, by the
    verdicts on pairs)."""
    if table.empty:
        return []
    phrases = []
    for reference, group in each_group(table[table["done"] > 0], "reference"):
        sizes = sorted(group["train_size"].unique())
        ends = list(dict.fromkeys(sizes[:1] + sizes[-1:]))
        said = []
        for size in ends:
            at = group[group["train_size"] == size].sort_values("mean", ascending=False, kind="stable")
            found = {row.label: estimate_of(row) for row in each_row(at)}
            said.append(f"{wording.number(size)} images: {against_words(found, reservations(arm.runs, size))}")
        phrases.append(Answer(f"Positions against {reference}", scope(arm, ends[-1]), f"{'. '.join(said)}."))
    return phrases
