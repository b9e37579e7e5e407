"""What was not equal between the models, in words."""

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim
from analysis.elements.reported import ReportedArm
from analysis.frame.rows import each_row
from analysis.questions.fairness.numbers import numbers
from analysis.wording import Answer, Scope


def limits(arm: ReportedArm) -> list[Claim]:
    """What was not equal between the models of an arm, with the models of which it holds."""
    words = {
        "parameters_backbone": "backbone parameters",
        "macs": "MACs",
        "images_per_second": "the hardware on which images/s was measured",
        "updates": "updates",
        "images_seen": "images seen",
        "batch_norm_short": "the images that BatchNorm normalised by",
        "initial": "how weights start",
        "augmentation": "augmentation",
        "recipe": "the recipe",
        "trials": "tuning trials",
        "planned": "planned runs",
    }
    odd = [
        f"{text} ({wording.names(labels)})"
        for column, text in words.items()
        if (labels := [row.label for row in each_row(arm.once(numbers).ledger) if column in row.unequal.split()])
    ]
    body = f"{wording.names(odd)}."
    answer = Answer("Not equal between the models", Scope(arm.words), body)
    return [Claim(answer, "ledger")] if odd else []


def trials_of_models(ledger: pd.DataFrame) -> str:
    """Tuning trials by the ledger: '50 for each model', 'not stated', or '50 (resnet); not stated (vit none)'."""
    labels: dict[str, list[str]] = {}
    for row in each_row(ledger):
        labels.setdefault(row.trials, []).append(row.label)
    if len(labels) == 1:
        [words] = labels
        return words if len(ledger) == 1 or words == "not stated" else f"{words} for each model"
    return "; ".join(f"{words} ({wording.names(those)})" for words, those in labels.items())
