"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.positions.numbers import numbers
from analysis.questions.positions.sections import chapters
from analysis.questions.positions.sentences import claims

QUESTION = Question(
    asks="What does each positional encoding add?",
    numbers=numbers,
    chapters=chapters,
    claims=claims,
    csvs=(
        Csv("position-ablation", lambda of: of.by_train_size, always=True),
        Csv("position-ablation-separate", lambda of: of.separate),
        Csv("position-ablation-by-test-resolution", lambda of: of.by_test_resolution, always=True),
    ),
    pairs=lambda of: of.by_train_size,
)
