"""The time left, told by a clock of the test. Reference: how long the tasks that it makes up take in truth."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plan.run import Evaluation, make_run
from benchmarks.running.task import Settings, Task
from benchmarks.running.time_left import Forecast, TimeLeft, forecast

SIZES = (8, 12, 16, 24)


def task(**changes: Any) -> Task:
    usual = {"size": "pico", "train_size": 100, "recipe": "digits", "budget": {"steps": 100}}
    evaluations = [Evaluation(part=part, resolution=size) for size in SIZES for part in ("test", "validation")]
    return Task(make_run({**usual, **changes}), evaluations, Path("runs"), Settings(Path("data")))


class Truth:
    """Tasks whose parts take what their forecast says, times a factor of the test; told to `TimeLeft` as they go."""

    def __init__(self, tasks: list[Task], slots: int, start: float = 0.5, first: float = 0.0):
        """`first` is what the first step takes beyond the others."""
        self.now, self.start, self.first = 0.0, start, first
        self.told = TimeLeft(tasks, slots, lambda: self.now)
        self.factors: dict[str, tuple[float, float]] = {}  # by model: of steps and of evaluations

    def parts(self, one: Task) -> Iterator[tuple[float, str, int]]:
        """(seconds until it is told, what, number) of each thing that a task tells."""
        known, (steps, evaluations) = forecast(one), self.factors[one.run.model]
        interval = one.run.validation_interval
        wait = self.start
        if one.missing is None:
            for step in range(1, one.run.steps + 1):
                wait += known.step * steps + (self.first if step == 1 else 0)
                yield wait, "step", step
                wait = known.validation * evaluations if interval and step % interval == 0 else 0.0
            wait += known.training_images * evaluations
        for number, seconds in enumerate(known.evaluations, 1):
            yield wait, "evaluating", number
            wait = seconds * evaluations
        yield wait, "ended", 0

    def seconds_alone(self, one: Task) -> float:
        return sum(wait for wait, _, _ in self.parts(one))

    def happen(self, one: Task, known: Forecast) -> Iterator[str]:
        """Makes a task, alone, and says of each thing that it was told."""
        self.told.started(one)
        rate = one.run.recipe.batch_size / (known.step * self.factors[one.run.model][0])
        for wait, what, number in self.parts(one):
            self.now += wait
            if what == "step":
                self.told.step(one, number, rate)
            elif what == "evaluating":
                self.told.evaluating(one, number, len(known.evaluations))
            else:
                self.told.ended(one)
            yield f"{what} {number}"


@pytest.mark.parametrize("factor", [0.5, 4.0])
@pytest.mark.parametrize(
    ("steps", "first", "changes"),
    [(1000, 0.0, {}), (20, 0.0, {}), (20, 5.0, {}), (200, 0.0, {"validate_every": 0.05})],
    ids=["many steps", "few steps", "a slow first step", "validations"],
)
def test_of_a_run_after_a_twentieth(factor: float, steps: int, first: float, changes: dict[str, Any]) -> None:
    """Within 1.5 of the truth, on machines faster and slower than is assumed: then, in the middle, and at its end."""
    one = task(budget={"steps": steps}, **changes)
    truth = Truth([one], 1, first=first)
    truth.factors["vit"] = factor, factor * 1.2
    whole = truth.seconds_alone(one)
    ratios = {}
    for told in truth.happen(one, forecast(one)):
        seconds = truth.told.seconds()
        if told == "ended 0":
            assert seconds == 0
        elif seconds is not None:
            ratios[told] = seconds / (whole - truth.now)
    assert f"step {max(2, steps // 20)}" in ratios
    assert f"step {max(2, steps // 20) - 1}" not in ratios
    assert {told: ratio for told, ratio in ratios.items() if not 1 / 1.5 < ratio < 1.5} == {}
    assert ratios["evaluating 8"] == pytest.approx(1, rel=0.3)


def test_of_a_study_before_its_other_models_are_seen() -> None:
    """Two slots. The first model's pace says something of the second, whose steps take longer by its operations."""
    resnets = [task(model="resnet", seed=seed) for seed in range(4)]
    vits = [task(budget={"steps": 400}, seed=seed) for seed in range(4)]
    truth = Truth([*resnets, *vits], 2)
    truth.factors = {"resnet": (3.0, 2.0), "vit": (4.0, 4.0)}
    for _ in truth.happen(resnets[0], forecast(resnets[0])):
        pass
    seconds = truth.told.seconds()
    left = [truth.seconds_alone(one) for one in (*resnets[1:], *vits)]
    slots = [0.0, 0.0]
    for one in left:
        slots[slots.index(min(slots))] += one
    assert seconds is not None
    assert 1 / 1.5 < seconds / max(slots) < 1.5


def test_it_counts_down_between_two_steps_and_never_below_nothing() -> None:
    """A step of a large network may take minutes. By hand: ten seconds later there are ten seconds less."""
    one = task()
    truth = Truth([one], 1)
    truth.told.started(one)
    for step in (1, 10):
        truth.told.step(one, step, one.run.recipe.batch_size / 60.0)
    before = truth.told.seconds()
    truth.now += 10
    after = truth.told.seconds()
    assert before is not None and before > 90 * 60
    assert after == pytest.approx(before - 10)
    truth.now += 1e6
    assert truth.told.seconds() == 0


def test_a_run_that_starts_anew_and_one_of_a_single_step() -> None:
    """With smaller micro-batches it begins at its first step again: what it told before is forgotten."""
    one = task(budget={"steps": 20})
    truth = Truth([one], 1)
    truth.told.started(one)
    for step, now in ((1, 1.0), (10, 2.0), (1, 100.0), (2, 110.0)):
        truth.now = now
        truth.told.step(one, step, None)
    seconds = truth.told.seconds()
    assert seconds is not None and seconds > 18 * 10
    single_step = task(budget={"steps": 1})
    alone = TimeLeft([single_step], 1)
    alone.started(single_step)
    alone.step(single_step, 1, 100.0)
    assert alone.seconds() is None


def test_runs_that_only_lack_evaluations() -> None:
    """The first of them says what the others take. Reference: the truth, once it has ended."""
    tasks = [task(seed=seed) for seed in range(6)]
    tasks = [replace(one, missing=tuple(one.evaluations[-2:])) for one in tasks]
    truth = Truth(tasks, 1)
    truth.factors["vit"] = 1.0, 7.0
    whole = sum(truth.seconds_alone(one) for one in tasks)
    for told in truth.happen(tasks[0], forecast(tasks[0])):
        if told == "evaluating 1":
            assert truth.told.seconds() is None
        elif told == "evaluating 2":
            assert truth.told.seconds() == pytest.approx(whole - truth.now)
    seconds = truth.told.seconds()
    assert seconds == pytest.approx(sum(truth.seconds_alone(one) for one in tasks[1:]))


def test_of_a_run_without_steps() -> None:
    """Evaluated as initialised: no step takes anything, and the evaluations are counted."""
    known = forecast(task(budget={"steps": 0}))
    assert known.step == 0.0
    assert len(known.evaluations) == 2 * len(SIZES) and all(seconds > 0 for seconds in known.evaluations)
