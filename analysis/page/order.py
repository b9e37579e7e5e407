"""The answers of a report in the order of reading, with what all conditions (arms) have in common said once.

Answers stand together by arm, not by kind: those of one arm build on each other (the model that leads with the fewest
images is the one that the others are measured against), and a sentence is never about two arms. So that arms can be
compared all the same, of more than two arms only the foremost answer of each stands open, one arm below the other; the
others are folded. What limits a claim (cells that are under-trained, models that are not equal) is never folded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from analysis import wording
from analysis.elements.claims import Claim
from analysis.frame.arms import Arm, ArmNames, arm_names
from analysis.wording import Answer, Scope

FOREMOST = (
    "data-needed",
    "test-resolution",
    "train-size",
)  # how anchors begin; where nothing is said of data, it is of resolution
OPEN = 2  # arms of which all answers stand open


@dataclass(frozen=True)
class ArmAnswers:
    """What an arm's runs say: its claims, and what limits them. The answers name the whole arm as their scope."""

    arm: Arm
    claims: tuple[Claim, ...]
    limits: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Part:
    """The claims of an arm, of which some may be folded. `name` tells the arm from the others; '' where it is alone."""

    name: str
    shown: tuple[Claim, ...]
    folded: tuple[Claim, ...] = ()

    @property
    def summary(self) -> str:
        """What stands for the folded ones: '7 more answers on recipe plain'."""
        return f"{wording.count(len(self.folded), 'more answers')} on {self.name}"


@dataclass(frozen=True)
class Answers:
    """The answers of a report: `first` and `last` of all of it, `parts` arm by arm. `common` says once what they hold
    for: the condition and the number of seeds, or of several what they share and in what they differ; '' without a
    run."""

    common: str
    first: tuple[Claim, ...]
    parts: tuple[Part, ...]
    last: tuple[Claim, ...]

    def __iter__(self) -> Iterator[Claim]:
        """All answers in the order of reading, folded or not."""
        yield from self.first
        for part in self.parts:
            yield from (*part.shown, *part.folded)
        yield from self.last

    @property
    def lines(self) -> list[str]:
        """The same as the terminal shows it, one line each, `common` first."""
        return [*([self.common] if self.common else []), *(answer.text for answer, _ in self)]


def in_order(first: Sequence[Claim], arms: Sequence[ArmAnswers], last: Sequence[Claim]) -> Answers:
    """The answers of a report, with what is said of all of it (`first`, `last`) and of each of its arms.

    Arms whose data set only demonstrates interpolation come behind the others."""
    apart = arm_names([one.arm for one in arms])
    units = {answer.scope.units for one in arms for answer, _ in one.claims} - {""}
    shared = next(iter(units)) if len(units) == 1 else ""
    parts = []
    for one, name in sorted(zip(arms, apart.own, strict=True), key=lambda pair: pair[0].arm.interpolation_only):
        claims = [Claim(_within(answer, name, shared), anchor) for answer, anchor in one.claims]
        parts.append(Part(name, *_parted(claims, one.arm) if len(arms) > OPEN else (tuple(claims), ())))
    common = "; ".join(part for part in (apart.common, shared) if part)
    if not any(one.claims for one in arms):
        common = ""  # nothing that could hold for it
    elif len(arms) > 1:
        differing = f"{len(arms)} conditions, which differ in {wording.names(apart.differing)}"
        common = f"{differing}. In common: {common or 'nothing'}"
    limits = _limits(arms, apart)
    return Answers(f"{common}." if common else "", tuple(first), tuple(parts), (*last, *limits))


def _within(answer: Answer, name: str, shared: str) -> Answer:
    """The answer with a scope of only what is not said of all arms."""
    units = answer.scope.units
    return replace(answer, scope=Scope(name, "" if units == shared else units))


def _parted(claims: Sequence[Claim], arm: Arm) -> tuple[tuple[Claim, ...], tuple[Claim, ...]]:
    """The first claim of the foremost kind that there is, and the others. A demonstration claims nothing on
    resolutions."""
    kinds = [kind for kind in FOREMOST if kind != "test-resolution" or not arm.interpolation_only]
    order = [place for kind in kinds for place, (_, anchor) in enumerate(claims) if anchor.startswith(kind)]
    place = order[0] if order else 0
    return tuple(claims[place : place + 1]), (*claims[:place], *claims[place + 1 :])


def _limits(arms: Sequence[ArmAnswers], apart: ArmNames) -> list[Claim]:
    """What limits the claims, once with all arms of which the same holds; of one arm, without its name."""
    where: dict[tuple[str, str, str], list[Arm]] = {}
    for one in arms:
        for answer, anchor in one.limits:
            where.setdefault((answer.lead, answer.body, anchor), []).append(one.arm)
    return [
        Claim(Answer(lead, Scope(apart.words_of(some) if len(arms) > 1 else ""), body), anchor)
        for (lead, body, anchor), some in where.items()
    ]
