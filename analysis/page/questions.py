"""The questions of a report, in the order of its chapters: a new one is a room in `analysis/questions` and a line here.

Each gives a `Question` (`elements.question`); the chapters, answers and CSV files of a report are theirs, one after the
other.
"""

from typing import Any

from analysis.elements.question import Question
from analysis.questions.accuracy.question import QUESTION as ACCURACY
from analysis.questions.assumptions.question import QUESTION as ASSUMPTIONS
from analysis.questions.comparisons.question import QUESTION as COMPARISONS
from analysis.questions.data_needed.question import QUESTION as DATA_NEEDED
from analysis.questions.fairness.question import QUESTION as FAIRNESS
from analysis.questions.mistakes.question import QUESTION as MISTAKES
from analysis.questions.over_data_sets.question import QUESTION as OVER_DATA_SETS
from analysis.questions.positions.question import QUESTION as POSITIONS
from analysis.questions.resolution.question import QUESTION as RESOLUTION
from analysis.questions.training_loss.question import QUESTION as TRAINING_LOSS
from analysis.questions.tuning.question import QUESTION as TUNING

QUESTIONS: tuple[Question[Any], ...] = (  # Any: each has numbers of its own kind
    ACCURACY,
    POSITIONS,
    RESOLUTION,
    ASSUMPTIONS,
    TUNING,
    TRAINING_LOSS,
    MISTAKES,
    FAIRNESS,
    DATA_NEEDED,
    COMPARISONS,
    OVER_DATA_SETS,
)
# Answers are read in another order than chapters: what was declared before what was not. Others follow.
ANSWERED_FIRST: tuple[Question[Any], ...] = (ACCURACY, DATA_NEEDED, COMPARISONS, POSITIONS)
IN_ORDER_OF_ANSWERS = (*ANSWERED_FIRST, *(one for one in QUESTIONS if one not in ANSWERED_FIRST))
