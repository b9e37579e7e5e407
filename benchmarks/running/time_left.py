"""How long the tasks of a session will still take: what each is forecast to take, corrected by what was seen.

A run is its start, its steps, the validations between them, and its evaluations. Steps are taken to go on at the pace
that the run itself reports, evaluations at the pace of those already made, or of runs of the same network. Where
nothing was seen, it is the forecast from operations (forecast/cost.py), times how much longer than forecast the others
took. Tasks that wait take the slots as they become free, in order.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median

from benchmarks.forecast import cost
from benchmarks.plan.run import Evaluation
from benchmarks.running.task import Task

SHARE = 0.05  # of a run's steps: from then on its pace counts
FIRST_STEPS = 5  # of an attempt, some of which are slow: images a second leave them out once there are more
NO_START = cost.Speeds(start=0.0)
START_SECONDS = 1.0  # of a run to its first step, until one has started


@dataclass(frozen=True)
class Forecast:
    """Seconds of a step, of a validation between steps, of each evaluation, and of measuring the training images."""

    step: float
    validation: float
    evaluations: tuple[float, ...]
    training_images: float


@dataclass
class Seen:
    """What a running task has told: its last step or the evaluation that it is making, and when."""

    began: float
    told: float
    first: tuple[int, float] | None = None  # the first step that it told of, and when
    step: int = 0
    pace: float = 0.0  # seconds a step; 0: not known yet
    first_evaluation: tuple[int, float] | None = None  # that it told of, counted from 1, and when it began
    evaluation: int = 0  # the one that it is making; 0 while it trains
    of: int = 0


@dataclass
class Longer:
    """How many times longer than forecast the steps and the evaluations of a kind of run take; 0: not known yet."""

    steps: float = 0.0
    evaluations: float = 0.0


class TimeLeft:
    """Is told what tasks do, and says how many seconds are left by a clock."""

    def __init__(self, tasks: Sequence[Task], slots: int, clock: Callable[[], float] = time.monotonic):
        self.slots, self.clock = slots, clock
        self.waiting = {task.run.id: task for task in tasks}
        self.running: dict[str, Seen] = {}
        self.tasks = dict(self.waiting)
        self.over: list[tuple[Task, Seen, float]] = []  # ended, and when, since the last look
        self.starts: list[float] = []
        self.longer: dict[str, Longer] = {}
        self.known: dict[str, tuple[Longer, Forecast]] = {}  # by run
        self.forecasts: dict[object, tuple[str, Forecast]] = {}  # by all that decides it

    def started(self, task: Task) -> None:
        self.tasks[task.run.id] = task
        self.waiting.pop(task.run.id, None)
        self.running[task.run.id] = Seen(self.clock(), self.clock())

    def step(self, task: Task, step: int, images_per_second: float | None) -> None:
        """`images_per_second` are those of training, without what is measured between steps."""
        seen = self._told(task)
        seen.step = step
        if seen.first is None or step <= seen.first[0]:  # it may start anew, with smaller micro-batches
            seen.first = step, seen.told
            return
        first, when = seen.first
        if step < SHARE * _steps(task):
            return
        if step - first < FIRST_STEPS:
            seen.pace = (seen.told - when) / (step - first)
        elif images_per_second:
            seen.pace = task.run.recipe.batch_size / images_per_second

    def evaluating(self, task: Task, number: int, of: int) -> None:
        """The evaluation of this number, from 1, begins."""
        seen = self._told(task)
        seen.first_evaluation = seen.first_evaluation or (number, seen.told)
        seen.evaluation, seen.of = number, of

    def ended(self, task: Task) -> None:
        seen = self.running.pop(task.run.id, None)
        if seen is not None:
            self.over.append((task, seen, self.clock()))

    def seconds(self) -> float | None:
        """Until all have ended; None while nothing is known of any."""
        self._learn()
        if not any(one.steps or one.evaluations for one in self.longer.values()):
            return None
        ends = [self._left(self.tasks[name], seen) for name, seen in self.running.items()]
        ends += [0.0] * (self.slots - len(ends))
        heapq.heapify(ends)
        for task in self.waiting.values():
            heapq.heapreplace(ends, ends[0] + self._whole(task))
        return max(ends, default=0.0)

    def _learn(self) -> None:
        """Notes how long each kind of run takes. Forecasts, for which networks are built, are made no sooner."""
        running = [(self.tasks[name], seen, None) for name, seen in self.running.items()]
        for task, seen, ended in [*self.over, *running]:
            if seen.pace:
                longer, known = self._known(task)
                longer.steps = seen.pace / known.step
            if seen.first_evaluation is None:
                continue
            longer, known = self._known(task)
            first, began = seen.first_evaluation
            last = seen.evaluation if ended and seen.evaluation == seen.of else seen.evaluation - 1
            if made := sum(_each(known, seen.of)[first - 1 : last]):
                longer.evaluations = ((ended or seen.told) - began) / made
        self.over.clear()

    def _told(self, task: Task) -> Seen:
        seen = self.running[task.run.id]
        if not seen.step and not seen.of:
            self.starts.append(self.clock() - seen.began)
        seen.told = self.clock()
        return seen

    def _known(self, task: Task) -> tuple[Longer, Forecast]:
        """What is known of a task's kind of run, and the task's forecast, made once for all seeds."""
        run = task.run
        if run.id not in self.known:
            options, budget = frozenset(run.options.items()), (run.budget.kind, run.budget.amount)
            same = run.model, run.size, options, run.resolution, run.precision, run.recipe, run.validate_every
            cell = *same, run.dataset, run.train_size, run.validation, budget, len(task.evaluations), task.missing
            if cell not in self.forecasts:
                self.forecasts[cell] = cost.speed_key(run), forecast(task)
            kind, found = self.forecasts[cell]
            self.known[run.id] = self.longer.setdefault(kind, Longer()), found
        return self.known[run.id]

    def _factors(self, longer: Longer) -> tuple[float, float]:
        """How many times longer than forecast the steps and the evaluations of a kind of run are taken to be."""
        others = list(self.longer.values())
        steps = longer.steps or _middle([one.steps for one in others])
        ratios = [one.evaluations / one.steps for one in others if one.steps and one.evaluations]
        return steps, longer.evaluations or steps * _middle(ratios)

    def _whole(self, task: Task) -> float:
        """Seconds of a task that has not told anything yet."""
        longer, known = self._known(task)
        steps, evaluations = self._factors(longer)
        start = median(self.starts) if self.starts else START_SECONDS
        if task.missing is not None:
            return start + evaluations * sum(known.evaluations)
        return start + steps * _steps(task) * known.step + evaluations * _measured(task, known, 0)

    def _left(self, task: Task, seen: Seen) -> float:
        """Seconds of a task that runs: what was left when it last told something, less what has passed since."""
        passed = self.clock() - seen.told
        if not seen.step and not seen.of:
            return max(0.0, self._whole(task) - passed)
        longer, known = self._known(task)
        steps, evaluations = self._factors(longer)
        if seen.first_evaluation is not None:
            return max(0.0, evaluations * sum(_each(known, seen.of)[seen.evaluation - 1 :]) - passed)
        pace = seen.pace or steps * known.step
        measured = evaluations * _measured(task, known, seen.step)
        return max(0.0, pace * (_steps(task) - seen.step) + measured - passed)


def forecast(task: Task) -> Forecast:
    """What a task is forecast to take on its device, by its operations alone."""
    run = task.run
    slot = cost.Slot("cuda" if task.settings.device == "cuda" else "cpu", workers=task.settings.workers or 1)

    def seconds(*evaluations: Evaluation) -> float:
        return cost.run_seconds(run, evaluations, slot, NO_START)

    trained = seconds()
    step = trained / run.steps if run.steps else 0.0
    if task.until is not None:
        return Forecast(step, 0.0, (), 0.0)
    train, validation = run.part_sizes
    image = (seconds(Evaluation(resolution=run.resolution)) - trained) / run.data.test_count
    wanted = task.evaluations if task.missing is None else task.missing
    each = tuple(seconds(one) - trained for one in wanted)
    return Forecast(step, image * validation, each, image * train)


def _steps(task: Task) -> int:
    """The last step of a task."""
    return task.run.steps if task.until is None else task.until


def _measured(task: Task, known: Forecast, step: int) -> float:
    """Forecast seconds of all that is measured after a step of training: validations, training images, evaluations."""
    interval = task.run.validation_interval
    validations = _steps(task) // interval - step // interval if interval else 0
    return validations * known.validation + known.training_images + sum(known.evaluations)


def _each(known: Forecast, count: int) -> tuple[float, ...]:
    """Forecast seconds of each of the evaluations that a task makes: of all, or where an attempt before has made some,
    as many of their mean."""
    if len(known.evaluations) == count:
        return known.evaluations
    return (sum(known.evaluations) / max(1, len(known.evaluations)),) * count


def _middle(ratios: Sequence[float]) -> float:
    """The geometric mean of ratios that were seen, 0 being none; 1 where there is none."""
    seen = [ratio for ratio in ratios if ratio]
    return geometric_mean(seen) if seen else 1.0
