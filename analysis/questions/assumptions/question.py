"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.assumptions.numbers import numbers
from analysis.questions.assumptions.sections import chapters
from analysis.questions.assumptions.sentences import claims, limits

QUESTION = Question(
    asks="Which assumption does each model rest on?",
    numbers=numbers,
    chapters=chapters,
    claims=claims,
    limits=limits,
    csvs=(
        Csv("accuracy-kept-by-probe", lambda of: of.by_probe),
        Csv("accuracy-kept-by-strength", lambda of: of.by_strength),
        Csv("accuracy-kept-differences", lambda of: of.differences),
        Csv("probe-controls", lambda of: of.controls),
    ),
    pairs=lambda of: of.differences,
)
