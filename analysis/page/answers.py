"""The answers of a study in words: those of every question, arm by arm, and what is missing."""

from collections.abc import Sequence

from analysis import wording
from analysis.elements.claims import Claim
from analysis.elements.reported import ReportedArm
from analysis.frame.frame import Frame
from analysis.frame.states import by_state
from analysis.page.order import Answers, ArmAnswers, in_order
from analysis.page.questions import IN_ORDER_OF_ANSWERS
from analysis.wording import Answer, Scope


def answers(frame: Frame, arms: Sequence[ReportedArm]) -> Answers:
    """The answers, each with the anchor of the section it comes from, in the order of reading."""
    return in_order(
        [Claim(answer, "states") for answer in _state_answers(frame)],
        [_of_arm(arm) for arm in arms],
        [claim for question in IN_ORDER_OF_ANSWERS for claim in question.claims_of_all(arms)],
    )


def _of_arm(arm: ReportedArm) -> ArmAnswers:
    claims = tuple(claim for question in IN_ORDER_OF_ANSWERS for claim in question.claims(arm))
    limits = tuple(claim for question in IN_ORDER_OF_ANSWERS for claim in question.limits(arm))
    return ArmAnswers(arm.arm, claims, limits)


def _state_answers(frame: Frame) -> list[Answer]:
    states = frame.runs["state"].value_counts()
    finished = int(states.get("finished", 0))
    if finished == len(frame.runs):
        return []
    others = [f"{wording.count(len(runs), 'runs')} {state}" for state, runs in by_state(frame.runs).items()]
    others = [text for text in others if not text.endswith(" finished")]
    if finished + int(states.get("stale", 0)) == 0:
        return [Answer("No answer yet", Scope(), f"no run of this study has finished ({wording.names(others)}).")]
    body = f"{finished:,} of {len(frame.runs):,} runs are finished; {wording.names(others)}. Answers use what is there."
    return [Answer("Incomplete", Scope(), body)]
