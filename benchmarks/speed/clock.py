"""How everything is timed here: variants take turns in one process, and a turn that shared the machine does not count.

A round lets every variant have one turn, A B C A B C ..., so that whatever drifts drifts for all. A turn is as many
calls as fill a good part of a second, after calls that warm up and are not counted. A turn during which other
processes used more than 0.2 of a core is dirty, and the next one waits until they are quiet, as long as patience
lasts. The ratio of a variant is taken in each round in which its turn and that of its reference are clean; reported are
the median of these ratios and their quartiles. Rounds go on until every variant has as many as are wanted, or until a
limit; how many there are is said.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

MOST_OTHERS = 0.2
"""Cores that other processes may use during a turn that counts; the kernel counts in hundredths of a second."""

LOOK = 0.5
"""Seconds of quiet that end the waiting for others."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """What is timed, and the name of the variant that it is compared with (which may be its own)."""

    name: str
    call: Callable[[], object]
    reference: str


@dataclass(frozen=True)
class Plan:
    """How long to measure: clean rounds wanted, most rounds, calls to warm up, least seconds a turn.

    `patience` is how many seconds are waited in all for others to be quiet; after that, turns are taken regardless.
    """

    rounds: int = 9
    most: int = 40
    warmup: int = 3
    seconds: float = 0.75
    patience: float = 300.0

    @property
    def measures(self) -> bool:
        """Whether it is about times: with turns of no seconds, it is tried whether a table comes about."""
        return self.seconds > 0


@dataclass(frozen=True)
class Turn:
    """Seconds a call took, and how many cores other processes used meanwhile (None: cannot be known here)."""

    seconds: float
    others: float | None

    @property
    def clean(self) -> bool:
        return self.others is None or self.others <= MOST_OTHERS


@dataclass(frozen=True)
class Summary:
    """A variant's clean turns: median seconds a call; median, lower and upper quartile of the ratios to its reference.

    `clean` counts the rounds with a ratio, `taken` all rounds. Without a clean one the numbers are None.
    """

    seconds: float | None
    ratio: float | None
    low: float | None
    high: float | None
    clean: int
    taken: int


class Clock(Protocol):
    """A clock that also knows the CPU time that other processes have used so far."""

    def now(self) -> float: ...
    def others(self) -> float | None: ...
    def sleep(self, seconds: float) -> None: ...


class MachineClock:
    """This machine's clock; contention from /proc/stat, or unknown where there is none."""

    def now(self) -> float:
        """Seconds, once the GPU has done all that this process gave it: it works behind the calls that are timed."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.perf_counter()

    def others(self) -> float | None:
        """CPU seconds used by all but this process and the children it has waited for, time stolen by the host
        included."""
        try:
            line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
        except FileNotFoundError:
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def take_turns(
    variants: Sequence[Variant], plan: Plan, clock: Clock, tell: Tell = lambda text: None
) -> dict[str, list[Turn]]:
    """The turns of every variant, one a round, by name.

    Stops when every variant has `plan.rounds` clean rounds, its reference's turn clean too, after `plan.most`, or
    with what it has when interrupted (Ctrl-C).
    """
    tell(f"warming up {len(variants)} variants")
    calls = {variant.name: _calls_a_turn(variant, plan, clock) for variant in variants}
    turns: dict[str, list[Turn]] = {variant.name: [] for variant in variants}
    patience, number = plan.patience, 0
    try:
        for number in range(1, plan.most + 1):
            for variant in variants:
                turn = _turn(variant.call, calls[variant.name], clock)
                turns[variant.name].append(turn)
                if not turn.clean:
                    patience -= _wait(clock, patience)
            fewest = min(len(ratios(turns, variant.name, variant.reference)) for variant in variants)
            clean = sum(taken[-1].clean for taken in turns.values())
            tell(f"round {number}: {clean} of {len(variants)} turns clean; {fewest} of {plan.rounds} rounds everywhere")
            if fewest >= plan.rounds:
                break
    except KeyboardInterrupt:
        if number <= 1:
            raise
        tell(f"stopped in round {number}: the rounds before it count")
        turns = {name: taken[: number - 1] for name, taken in turns.items()}
    return turns


def _calls_a_turn(variant: Variant, plan: Plan, clock: Clock) -> int:
    """Calls that fill a turn, from the last of the calls that warm up."""
    seconds = math.inf
    for _ in range(plan.warmup):
        start = clock.now()
        variant.call()
        seconds = clock.now() - start
    return max(1, math.ceil(plan.seconds / seconds))


def _turn(call: Callable[[], object], calls: int, clock: Clock) -> Turn:
    before, start = clock.others(), clock.now()
    for _ in range(calls):
        call()
    seconds, after = clock.now() - start, clock.others()
    others = None if before is None or after is None else max(0.0, after - before) / seconds
    return Turn(seconds / calls, others)


def _wait(clock: Clock, patience: float) -> float:
    """Waits until others are quiet for a moment, but no longer than `patience`. Returns the seconds it waited."""
    start = clock.now()
    while clock.now() - start < patience:
        if _turn(lambda: clock.sleep(LOOK), 1, clock).clean:
            break
    return clock.now() - start


def ratios(turns: Mapping[str, Sequence[Turn]], name: str, reference: str) -> list[float]:
    """Time of a variant over that of its reference, for each round in which both turns are clean."""
    pairs = zip(turns[name], turns[reference], strict=True)
    return [mine.seconds / theirs.seconds for mine, theirs in pairs if mine.clean and theirs.clean]


def summarise(turns: Mapping[str, Sequence[Turn]], name: str, reference: str) -> Summary:
    """A variant's numbers from the clean turns."""
    clean = [turn.seconds for turn in turns[name] if turn.clean]
    by_round = ratios(turns, name, reference)
    seconds = statistics.median(clean) if clean else None
    if not by_round:
        return Summary(seconds, None, None, None, 0, len(turns[name]))
    low, middle, high = by_round * 3 if len(by_round) == 1 else statistics.quantiles(by_round, n=4, method="inclusive")
    return Summary(seconds, middle, low, high, len(by_round), len(turns[name]))
