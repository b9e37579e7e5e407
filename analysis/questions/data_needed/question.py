"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.data_needed.numbers import numbers
from analysis.questions.data_needed.sections import chapters
from analysis.questions.data_needed.sentences import claims

QUESTION = Question(
    asks="How many images does each architecture need?",
    numbers=numbers,
    chapters=chapters,
    claims=claims,
    csvs=(
        Csv("data-factor-at-reference", lambda of: of.at_reference),
        Csv("data-factor-by-train-size", lambda of: of.by_train_size),
        Csv("data-factor-by-accuracy", lambda of: of.by_accuracy),
        Csv("crossings", lambda of: of.crossings),
        Csv("fitted-curves", lambda of: of.fits),
    ),
)
