"""What happens at another image resolution: accuracy against test resolution, and how much of it is retained.

*Retention* at test resolution r is (accuracy at r - chance) / (accuracy at the training resolution - chance), computed
for each run from its one checkpoint: 1 keeps everything, 0 is guessing. It is undefined (NaN) for a run that is not
two binomial standard errors above chance at home, because the quotient of two noises says nothing.
"""

import pandas as pd

from analysis import statistics, wording
from analysis.arms import ArmData, one_arm
from analysis.cells import at_home, by_carry, summarise
from analysis.data_efficiency import conditions, notes
from analysis.ranking import rank, told
from analysis.tables import each_row
from analysis.wording import Answer
from models import family


def with_retention(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of an arm at all resolutions (see `cells.by_carry`) with the column retention."""
    rows = by_carry(rows)
    if rows.empty:
        return rows.assign(retention=pd.Series(dtype=float))
    guess = statistics.chance(one_arm(rows).data.classes)
    home = at_home(rows).drop_duplicates("run").set_index("run")[["accuracy", "count"]]
    margin = 2 * (guess * (1 - guess) / home["count"]) ** 0.5
    above = (home["accuracy"] - guess).where(home["accuracy"] > guess + margin)
    return rows.assign(retention=(rows["accuracy"] - guess) / rows["run"].map(above))


def curve(arm: ArmData, value: str, resolutions: list[int]) -> pd.DataFrame:
    """The table: a row per model (and way of carrying positions), train size and test resolution.

    `value` is accuracy or retention; `resolutions` are the study's, so that evaluations that are missing show."""
    rows = with_retention(arm.rows)
    seen = set(rows["test_resolution"].tolist())
    wanted = sorted(seen.union(resolutions))
    bounds = (0.0, 1.0) if value == "accuracy" else None
    return summarise(rows, arm.runs, value, wanted, bounds)


def answers(arm: ArmData) -> list[Answer]:
    """Sentences on the smallest and largest test resolutions, at the largest train size.

    A data set whose images have no more detail than its native pixels gets one sentence that claims nothing."""
    rows = with_retention(arm.rows)
    away = rows[rows["test_resolution"] != rows["resolution"]]
    if away.empty:
        return []
    data = one_arm(arm.runs).data
    if data.interpolation_only:
        native = data.native_resolution
        remark = (
            f"the images have {native}x{native} pixels and are only interpolated to other sizes, so this is a "
            "demonstration and nothing about architectures is claimed from it."
        )
        return [Answer("Other test resolutions", data.name, remark)]
    size = int(away["train_size"].max())
    away = away[away["train_size"] == size]
    said = _notes(arm, size, away)
    claims = []
    for resolution in dict.fromkeys([away["test_resolution"].min(), away["test_resolution"].max()]):
        ranking = rank(away[away["test_resolution"] == resolution], "retention", "line", bounds=None)
        if ranking is not None:
            sentence = told(ranking, "retention (share of its accuracy above chance that is kept)", said)
            lead = f"Tested at {resolution} px, with {wording.number(size)} images"
            claims.append(Answer(lead, conditions(arm, size), sentence))
    return claims


def _notes(arm: ArmData, train_size: int, rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """As `data_efficiency.notes`, for each line: models that resize their input say so as well."""
    of_label = notes(arm.runs, train_size)
    return {
        line: of_label[label] + (("resizes its input",) if family(model).resizes_input else ())
        for line, label, model in each_row(rows, ["line", "label", "model"])
    }
