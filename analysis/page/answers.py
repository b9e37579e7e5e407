"""The answers of a study in words: those of every question, arm by arm, and what is missing."""

from collections.abc import Sequence

from analysis import wording
from analysis.elements.claims import Claim
from analysis.elements.reported import ReportedArm, begun
from analysis.frame.arms import arm_names
from analysis.frame.frame import Frame
from analysis.frame.states import by_state
from analysis.frame.waiting import waiting
from analysis.page.order import Answers, ArmAnswers, in_order
from analysis.page.questions import IN_ORDER_OF_ANSWERS
from analysis.wording import Answer, Scope


def answers(frame: Frame, arms: Sequence[ReportedArm]) -> Answers:
    """The answers, each with the anchor of the section it comes from, in the order of reading."""
    return in_order(
        [Claim(answer, "states") for answer in _state_answers(frame, arms)],
        [_of_arm(arm) for arm in arms],
        [claim for question in IN_ORDER_OF_ANSWERS for claim in question.claims_of_all(arms)],
    )


def _of_arm(arm: ReportedArm) -> ArmAnswers:
    claims = tuple(claim for question in IN_ORDER_OF_ANSWERS for claim in question.claims(arm))
    limits = tuple(claim for question in IN_ORDER_OF_ANSWERS for claim in question.limits(arm))
    return ArmAnswers(arm.arm, claims, limits)


def _state_answers(frame: Frame, arms: Sequence[ReportedArm]) -> list[Answer]:
    """What is missing: runs by state, arms that have not begun while others have, and evaluations of finished runs."""
    lacking = waiting(frame, arms[0].study) if arms else []
    states = frame.runs["state"].value_counts()
    finished = int(states.get("finished", 0))
    missing = [f"{what} missing for {wording.count(len(runs), 'runs')}" for what, runs in lacking]
    if finished == len(frame.runs) and not missing:
        return []
    others = [f"{wording.count(len(runs), 'runs')} {state}" for state, runs in by_state(frame.runs).items()]
    others = [text for text in others if not text.endswith(" finished")]
    if finished + int(states.get("stale", 0)) == 0:
        return [Answer("No answer yet", Scope(), f"no run of this study has finished ({wording.names(others)}).")]
    are = "is" if finished == 1 else "are"
    whole = f"{finished:,} of {wording.count(len(frame.runs), 'runs')} {are} finished"
    there = begun(arms)
    idle = [arm.arm for arm in arms if arm not in there]
    none = [f"nothing yet of {arm_names([arm.arm for arm in arms]).words_of(idle)}"] if idle else []
    said = "; ".join([whole, *others, *missing, *none])
    return [Answer("Incomplete", Scope(), f"{said}. Answers use what is there.")]
