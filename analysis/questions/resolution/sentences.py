"""What happens at another image resolution, in words."""

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.rows import each_row
from analysis.questions.accuracy.ranking import rank, ranking_words
from analysis.questions.resolution.retention import with_retention
from analysis.wording import Answer, Scope
from models import family


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm on its smallest and largest test resolutions."""
    return [Claim(answer, "test-resolution") for answer in answers(arm.data)]


def answers(arm: ArmData) -> list[Answer]:
    """Sentences on the smallest and largest test resolutions, at the largest train size.

    A data set whose images have no more detail than its native pixels gets one sentence that claims nothing."""
    rows = with_retention(arm.rows)
    away = rows[rows["test_resolution"] != rows["resolution"]]
    if away.empty:
        return []
    data = arm.dataset
    if data.interpolation_only:
        native = data.native_resolution
        remark = (
            f"the images have {native}x{native} pixels and are only interpolated to other sizes, so this is a "
            "demonstration and nothing about architectures is claimed from it."
        )
        return [Answer("Other test resolutions", Scope(data.name), remark)]
    size = int(away["train_size"].max())
    away = away[away["train_size"] == size]
    notes = _reservations(arm, size, away)
    found = []
    for resolution in dict.fromkeys([away["test_resolution"].min(), away["test_resolution"].max()]):
        ranking = rank(away[away["test_resolution"] == resolution], "retention", "line", bounds=None)
        if ranking is not None:
            sentence = ranking_words(ranking, "retention (share of its accuracy above chance that is kept)", notes)
            lead = f"Tested at {resolution} px, with {wording.number(size)} images"
            found.append(Answer(lead, scope(arm, size), sentence))
    return found


def _reservations(arm: ArmData, train_size: int, rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """As `claims.reservations`, for each line: models that resize their input say so as well."""
    of_label = reservations(arm.runs, train_size)
    return {
        line: of_label[label] + (("resizes its input",) if family(model).resizes_input else ())
        for line, label, model in each_row(rows, ["line", "label", "model"])
    }
