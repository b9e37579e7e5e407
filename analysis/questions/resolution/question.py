"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.resolution.numbers import numbers
from analysis.questions.resolution.sections import chapters
from analysis.questions.resolution.sentences import claims

QUESTION = Question(
    asks="What happens at another image resolution?",
    numbers=numbers,
    chapters=chapters,
    claims=claims,
    csvs=(
        Csv("accuracy-by-test-resolution", lambda of: of.accuracy, always=True),
        Csv("retention-by-test-resolution", lambda of: of.retention, always=True),
        Csv("accuracy-by-evaluation", lambda of: of.by_way),
        Csv("resolution-summary", lambda of: of.summary),
        Csv("resolution-summary-by-evaluation", lambda of: of.summary_by_way),
        Csv("carrying", lambda of: of.carrying.accuracy),
        Csv("carrying-retention", lambda of: of.carrying.retention),
        Csv("carrying-summary", lambda of: of.carrying.summary),
        Csv("position-ablation-chosen-carry", lambda of: of.carrying.positions),
    ),
)
