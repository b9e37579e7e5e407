"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.mistakes.numbers import numbers
from analysis.questions.mistakes.sections import chapters

QUESTION = Question(
    asks="Which images does each model get wrong, and what does it take them for?",
    numbers=numbers,
    chapters=chapters,
    csvs=(Csv("confusion", lambda of: of.confusion), Csv("hardest-images", lambda of: of.hardest)),
)
