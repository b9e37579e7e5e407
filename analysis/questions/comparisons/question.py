"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.comparisons.numbers import numbers
from analysis.questions.comparisons.sections import chapters
from analysis.questions.comparisons.sentences import claims

QUESTION = Question(
    asks="Which of the declared differences are there, and do networks agree?",
    numbers=numbers,
    chapters=chapters,
    claims=claims,
    csvs=(
        Csv("comparisons", lambda of: of.families),
        Csv("likelihood-and-calibration", lambda of: of.measures),
        Csv("error-consistency", lambda of: of.consistency),
        Csv("variance-shares", lambda of: of.variance),
        Csv("test-set-bootstrap", lambda of: of.resampled),
    ),
    pairs=lambda of: of.families,
)
