"""What a study expects, held against what was found."""

from collections.abc import Sequence
from typing import NamedTuple

from analysis.elements.reported import ReportedArm


class Judgement(NamedTuple):
    expected: str
    found: str
    verdict: str


def judged(arms: Sequence[ReportedArm]) -> tuple[Judgement, ...]:
    return ()
