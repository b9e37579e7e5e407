"""What each positional encoding adds, in words."""

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons import verdicts
from analysis.questions.positions import numbers
from analysis.statistics import intervals
from analysis.wording import Answer


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm; none where declared families hold all its pairs, so that theirs are the answer."""
    declared = arm.once(verdicts.differences)
    if _holds_all(declared, arm.once(numbers.numbers).by_train_size):
        return []
    return [Claim(answer, "positions") for answer in answers(arm.data, declared)]


def _holds_all(declared: pd.DataFrame, ablated: pd.DataFrame) -> bool:
    """Whether there are declared pairs, those of the ablation all among them."""
    held, needed = (
        set() if table.empty else set(table[["label", "reference"]].itertuples(index=False, name=None))
        for table in (declared, ablated)
    )
    return bool(held) and needed <= held


def answers(arm: ArmData, families: pd.DataFrame | None = None) -> list[Answer]:
    """A sentence for the smallest and one for the largest train size, by the differences of declared `families`
    (`comparisons.families.differences`) where these have a pair."""
    families = pd.DataFrame() if families is None else families
    table = numbers.differences(arm)
    if table.empty:
        return []
    table = table[table["done"] > 0]
    phrases = []
    sizes = sorted(table["train_size"].unique())
    for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
        of_label, known = reservations(arm.runs, size), verdicts.of_families(families, size)
        at = table[table["train_size"] == size].sort_values("mean", ascending=False, kind="stable")
        for reference, against in each_group(at, "reference"):
            name = wording.noted(reference, *of_label[reference])
            sentence = f"against {name}: {_verdicts(against, of_label, known)}."
            lead = f"Positions, with {wording.number(size)} images"
            phrases.append(Answer(lead, scope(arm, size), sentence))
    return phrases


def _verdicts(table: pd.DataFrame, of_label: dict[str, tuple[str, ...]], known: verdicts.Verdicts) -> str:
    """The encodings by verdict; and by which intervals, where some of these are a family's."""
    parted: dict[str, list[str]] = {"above": [], "unclear": [], "below": [], "no interval": []}
    family_of = {}
    for row in each_row(table):
        difference = estimate_of(row)
        if (row.label, row.reference) in known:
            family_of[row.label], difference = known[row.label, row.reference]
        name = wording.noted(row.label, *of_label[row.label], wording.points(difference))
        parted[intervals.verdict(difference)].append(name)
    openings = {
        "above": "higher:",
        "unclear": "cannot be told apart from it:",
        "below": "lower:",
        "no interval": "no interval, so no verdict:",
    }
    phrases = [f"{openings[key]} {wording.names(names)}" for key, names in parted.items() if names]
    if family_of:
        phrases.append(f"by {verdicts.judged_by(table['label'], family_of)}")
    return "; ".join(phrases)
