"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.fairness.numbers import numbers
from analysis.questions.fairness.sections import chapters
from analysis.questions.fairness.sentences import limits

QUESTION = Question(
    asks="What was equal between the models, and what was not?",
    numbers=numbers,
    chapters=chapters,
    limits=limits,
    csvs=(
        Csv("fairness-ledger", lambda of: of.ledger.rename(columns={"recipe": "recipe_own"}), always=True),
        Csv("cost-by-resolution", lambda of: of.cost, always=True),
        Csv("speed-by-runs-side-by-side", lambda of: of.shared),
    ),
)
