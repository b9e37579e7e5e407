"""The question as the page takes it."""

import pandas as pd

from analysis.elements.question import Csv, Question
from analysis.elements.reported import ReportedArm
from analysis.questions.accuracy.sections import chapters
from analysis.questions.accuracy.sentences import claims, limits


def numbers(arm: ReportedArm) -> pd.DataFrame:
    """Test accuracy at the training resolution by model and train size (`cells.accuracy_by_train_size`)."""
    return arm.by_train_size


QUESTION = Question(
    asks="How accurate is each model with so many images?",
    numbers=numbers,
    chapters=chapters,
    claims=claims,
    limits=limits,
    csvs=(Csv("accuracy-by-train-size", lambda table: table, always=True),),
)
