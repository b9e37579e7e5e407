"""The question as the page takes it: sentences on all arms together, and their table; no chapter."""

from analysis.elements.question import CsvOfAll, Question
from analysis.elements.reported import ReportedArm
from analysis.questions.over_data_sets.numbers import over_data_sets
from analysis.questions.over_data_sets.sentences import claims


def nothing(arm: ReportedArm) -> None:
    """There is no number of one arm."""


QUESTION = Question(
    asks="What holds over several data sets?",
    numbers=nothing,
    claims_of_all=claims,
    csvs_of_all=(CsvOfAll("over-data-sets", lambda arms: over_data_sets([arm.data for arm in arms])),),
)
