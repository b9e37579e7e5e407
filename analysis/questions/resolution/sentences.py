"""What happens at another image resolution, in words."""

import pandas as pd

from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.carrying import as_chosen, choices, several_ways
from analysis.frame.naming import resizes_input
from analysis.frame.rows import each_row
from analysis.questions.accuracy.ranking import rank, ranking_words
from analysis.questions.resolution.retention import retained, with_retention
from analysis.wording import Answer, Scope

DEFAULT, CHOSEN = ", positions carried by default", ", positions carried as chosen on validation"


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm on its smallest and largest test resolutions."""
    return [Claim(one, "carrying" if one.lead.endswith(CHOSEN) else "test-resolution") for one in answers(arm.data)]


def answers(arm: ArmData) -> list[Answer]:
    """Sentences on retention at the smallest and the largest test resolution, at the largest train size; where models
    were tested in several ways of carrying positions, by the default and, where there is a validation part, by
    the way chosen on it.

    A data set whose images have no more detail than its native pixels gets one sentence that claims nothing."""
    rows = with_retention(arm.rows)
    away = rows[rows["test_resolution"] != rows["resolution"]]
    if away.empty:
        return []
    data = arm.dataset
    if data.interpolation_only:
        native = data.native_resolution
        remark = f"interpolated from {native}x{native} pixels: no claim about architectures."
        return [Answer("Other test resolutions", Scope(data.name), remark)]
    size = int(away["train_size"].max())
    ways = {"": rows}
    if several_ways(arm.rows):
        chosen = {} if choices(arm.rows).empty else {CHOSEN: retained(as_chosen(arm.rows))}
        ways = {DEFAULT: rows, **chosen}
    found = []
    for resolution in dict.fromkeys([away["test_resolution"].min(), away["test_resolution"].max()]):
        for how, tested in ways.items():
            at = tested[(tested["train_size"] == size) & (tested["test_resolution"] == resolution)]
            ranking = rank(at, "retention", "line", bounds=None)
            if ranking is not None:
                lead = f"Accuracy above chance kept at {resolution} px{how}"
                words = ranking_words(ranking, _reservations(arm, size, at))
                found.append(Answer(lead, scope(arm, size), words))
    return found


def _reservations(arm: ArmData, train_size: int, rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """As `claims.reservations`, for each line: models that resize their input say so as well."""
    of_label = reservations(arm.runs, train_size)
    return {
        line: of_label[label] + (("resizes its input",) if resizes_input(model) else ())
        for line, label, model in each_row(rows, ["line", "label", "model"])
    }
