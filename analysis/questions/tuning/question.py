"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.tuning.numbers import numbers
from analysis.questions.tuning.sections import chapters
from analysis.questions.tuning.sentences import claims, claims_of_all, limits

QUESTION = Question(
    asks="Is a difference the architecture's, or the tuning's?",
    numbers=numbers,
    chapters=chapters,
    claims=claims,
    limits=limits,
    claims_of_all=claims_of_all,
    csvs=(
        Csv("tuning-trials", lambda of: of.trials),
        Csv("tuning-curves", lambda of: of.curves),
        Csv("tuning-chosen", lambda of: of.chosen),
        Csv("tuning-sensitivity", lambda of: of.sensitivity),
    ),
)
