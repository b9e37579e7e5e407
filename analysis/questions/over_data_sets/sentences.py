"""What is said over several data sets."""

from collections.abc import Sequence

from analysis import wording
from analysis.elements.claims import Claim
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.rows import each_group, each_row
from analysis.questions.over_data_sets.numbers import ENOUGH, OWN, SAME, over_data_sets
from analysis.statistics.intervals import Estimate
from analysis.wording import Answer, Scope


def claims(arms: Sequence[ReportedArm]) -> list[Claim]:
    """The sentences on all arms together."""
    return [Claim(answer, "train-size") for answer in answers([arm.data for arm in arms])]


def answers(arms: Sequence[ArmData]) -> list[Answer]:
    """What is said over data sets at each resolution and train size: nothing of one, that each stands by itself below
    five in common."""
    table = over_data_sets(arms)
    if table.empty:
        return []
    phrases = []
    for key, group in each_group(table.dropna(subset=["mean"]), [*SAME, "resolution", "train_size"]):
        names = dict(zip([*SAME, "resolution", "train_size"], key, strict=True))
        group = group.sort_values("mean", ascending=False, kind="stable")
        estimates = {row.label: (Estimate(row.mean, row.low, row.high, row.n), row.units) for row in each_row(group)}
        means = [wording.noted(label, *_notes(*found)) for label, found in estimates.items()]
        budget = f"{wording.number(names['budget'])} {names['budget_kind']}"
        at = "each at a resolution of its own" if names["resolution"] == OWN else f"trained at {names['resolution']}"
        about = f"{group['names'].iloc[0]}; size {names['size']}, recipe {names['recipe']}, {budget}, {at}"
        body = f"interquartile mean of accuracy above chance, the data sets being fixed: {wording.names(means)}."
        lead = f"Over {group['data_sets'].iloc[0]} data sets, with {wording.number(names['train_size'])} images"
        phrases.append(Answer(lead, Scope(about), body))
    if not phrases:
        lead = f"{table['data_sets'].max()} data sets"
        needed = f"{ENOUGH}" if table["data_sets"].max() < ENOUGH else f"{ENOUGH} that its models have in common"
        phrases.append(Answer(lead, Scope(), f"each is shown by itself; one number over them needs {needed}."))
    return phrases


def _notes(found: Estimate, units: str) -> tuple[str, str]:
    shared = wording.count(found.n, units)
    return wording.value(found), shared if found.has_interval else f"no interval from {shared}"
