"""What the doctor looks for and what it finds: a check, its answer, and both together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "differs", "failed", "left out"]
WRONG = ("differs", "failed")


@dataclass(frozen=True)
class Answer:
    """What came of a check: in a word, in a line, and in numbers by name."""

    verdict: Verdict
    words: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One question; `call` answers it in any process of this machine, and may raise."""

    part: str
    name: str
    call: Callable[[], Answer]


@dataclass(frozen=True)
class Finding:
    """An answered check. `part` is one of `examination.PARTS`."""

    part: str
    name: str
    answer: Answer
    seconds: float = 0.0

    @property
    def wrong(self) -> bool:
        return self.answer.verdict in WRONG

    @property
    def line(self) -> str:
        """'networks, vit rope_axial: ok: logits 1e-07, ... (0.3 s)'."""
        return f"{self.part}, {self.name}: {self.answer.verdict}: {self.answer.words} ({self.seconds:.1f} s)"

    def as_json(self) -> dict[str, Any]:
        return {"part": self.part, "name": self.name, **asdict(self.answer), "seconds": round(self.seconds, 2)}


def left_out(part: str, name: str, why: str) -> Finding:
    """A check that is not made, and why."""
    return Finding(part, name, Answer("left out", why))


def summary(findings: Sequence[Finding]) -> list[list[str]]:
    """Rows of one table (check, result, what). The checks of a part that compared something and found it as it should
    be are one row; each other one stands for itself."""
    rows = []
    for part in dict.fromkeys(finding.part for finding in findings):
        of_part = [finding for finding in findings if finding.part == part]
        alike = [one for one in of_part if one.answer.verdict == "ok" and "difference" in one.answer.values]
        alike = alike if len(alike) > 1 else []
        if alike:
            rows.append([f"{part}, {len(alike)} checks", "ok", _together(alike)])
        rows += [
            [f"{one.part}, {one.name}", one.answer.verdict, one.answer.words] for one in of_part if one not in alike
        ]
    return rows


def _together(alike: Sequence[Finding]) -> str:
    """What several checks have found, in words: the same, or the one with the largest difference."""
    if len({one.answer.words for one in alike}) == 1:
        return alike[0].answer.words
    largest = max(alike, key=lambda one: float(one.answer.values["difference"]))
    return f"the largest difference is that of {largest.name}: {largest.answer.words}"
