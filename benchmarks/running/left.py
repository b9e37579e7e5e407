"""What of a study is left to do: at once, once others have ended, or not at all. From its records; loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records.init_from import start_state
from benchmarks.records.states import RunState
from benchmarks.running import preflight

SETTLED = ("finished", "diverged", "stale")  # states in which `run` does not train


@dataclass(frozen=True)
class Left:
    """The runs of a study, each in the state it had when it was looked at, and what of them is to be done.

    `now` can start; `later` starts from some of these; `aside`, by id, has no start, which is in the state given."""

    states: tuple[RunState, ...]
    now: tuple[RunState, ...]
    later: tuple[RunState, ...]
    aside: Mapping[str, str]

    @property
    def stale(self) -> tuple[RunState, ...]:
        """Runs that stay as they are, since other code has made their records."""
        there = {one.run.id for one in (*self.now, *self.later)}
        return tuple(one for one in self.states if one.state == "stale" and one.run.id not in there)

    def ended(self, endings: Mapping[str, str]) -> dict[str, str]:
        """How what `later` starts from has ended, by id, where those of `now` have as given: for the next `left`."""
        return {one.run.id: endings.get(one.run.id, "missing") for one in self.now} | dict.fromkeys(
            self.aside, "set aside"
        )


def left(states: Sequence[RunState], root: Path, *, accept_code: bool, ended: Mapping[str, str] | None = None) -> Left:
    """What is left of runs in these states; with `accept_code`, of stale ones what they lack.

    `ended`: of runs that follow others, how those have ended, by id; then these are asked first, and the records of
    what is not among them. Where every run that could start has no start to start from, and follows nobody, none is
    set aside: whoever looks for the weights says what is missing."""
    todo = [one for one in states if one.state not in SETTLED or one.waiting or (one.state == "stale" and accept_code)]
    there = {one.run.id for one in todo}
    later = tuple(one for one in todo if one.run.init_from in there)
    first = [one for one in todo if one.run.init_from not in there]
    if ended is None:
        aside = preflight.without_start((one.run for one in first), root)
    else:
        starts = {one.run.id: ended.get(one.run.init_from) or start_state(one.run, root) for one in first}
        aside = {name: state for name, state in starts.items() if state != "finished"}
    now = [one for one in first if one.run.id not in aside]
    if not now and ended is None:
        now = first
    return Left(tuple(states), tuple(now), later, aside)
