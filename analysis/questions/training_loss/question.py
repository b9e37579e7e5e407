"""The question as the page takes it."""

from analysis.elements.question import Csv, Question
from analysis.questions.training_loss.numbers import numbers
from analysis.questions.training_loss.sections import chapters

QUESTION = Question(
    asks="How does the loss fall while a model is trained?",
    numbers=numbers,
    chapters=chapters,
    csvs=(Csv("final-training-loss", lambda of: of.final),),
)
