"""Execute one run: start it, continue it, or do only the evaluations that are missing. Idempotent.

Local slots, SLURM workers and `inductive rerun` all call `execute`; it alone writes into a run's folder.
"""

import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from benchmarks import sources
from benchmarks.attempts import Claim, claim
from benchmarks.checkpoints import drop_checkpoints, load_checkpoint, save_checkpoint
from benchmarks.datasets import load_images
from benchmarks.errors import RecordError, StaleError
from benchmarks.evaluation import Measurer, evaluate
from benchmarks.execution import apply_execution, environment, execution_for
from benchmarks.files import read_json, write_atomic, write_json
from benchmarks.metrics import Metrics
from benchmarks.record import (
    FORMAT,
    missing_evaluations,
    read_record,
    recorded_sources,
    write_config,
    write_evaluations,
    write_subset,
)
from benchmarks.run import Evaluation, Run
from benchmarks.subsets import Subset, draw_subset
from benchmarks.training import Training, build_model, weights_digest
from models.network import Network

log = logging.getLogger("inductive")

Progress = Callable[[int, int, float | None], None]  # step, steps, images a second


@dataclass(frozen=True)
class Settings:
    """What of an execution cannot change the result."""

    data: Path
    device: str = "cpu"
    checkpoint_seconds: float = 300.0
    accept_code: bool = False
    predictions: str = "auto"
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: finished, interrupted or diverged; `did` says what was done."""

    state: str
    did: str


def execute(
    run: Run,
    root: Path,
    evaluations: list[Evaluation],
    settings: Settings,
    stop: Callable[[], bool],
    progress: Progress = lambda step, steps, rate: None,
    until: int | None = None,
) -> Outcome:
    """Brings a run's record as far as it can: training, result, the wanted evaluations.

    `stop` is polled between steps and evaluations; when it is true, a checkpoint is written and the outcome is
    `interrupted`. `until` stops at a step (for `rerun --first`). Raises OwnedError when a live attempt elsewhere has
    the run, StaleError when its sources changed, RecordError for a record that cannot be used; any other exception
    is recorded as the attempt's failure and raised again.
    """
    folder = root / run.id
    data = run.data
    images = load_images(data.name, settings.data)
    subset = draw_subset(images.train_labels, data.classes, run.draw, run.train_size, run.validation)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, run, subset)
    finished = (folder / "result.json").exists()
    if finished:
        record = read_record(folder)
        wanted = missing_evaluations(record, evaluations, sources.evaluation_code())
        if record.result is not None and record.result["state"] == "diverged":
            return Outcome("diverged", "nothing")
        _check_sources(run, folder, settings)
        if not wanted:
            return Outcome("finished", "nothing")
    else:
        wanted = evaluations
    mine = claim(folder)
    with _attempt(mine, settings) as job:
        if (folder / "result.json").exists() and not finished:  # another attempt ended while this one looked
            finished = True
            wanted = missing_evaluations(read_record(folder), evaluations, sources.evaluation_code())
        job.execution = _execution(run, folder, settings)
        if not finished:
            write_subset(root, run, subset)
            training = Training(run, job.execution, images, subset)
            if not _train(training, run, folder, job, settings, stop, progress, until):
                return job.outcome
            model = training.model
        else:
            model = _finished_model(run, folder, job.execution)
        if until is None:
            _finish(model, run, folder, job, images, subset, wanted, settings, stop, finished)
        return job.outcome


class _Job:
    """What an attempt has come to so far; written to ended.json when it ends."""

    def __init__(self, mine: Claim):
        self.claim = mine
        self.execution: dict[str, Any] = {}
        self.outcome = Outcome("finished", "nothing")
        self.step = 0
        self.seconds = {"total": 0.0, "training": 0.0, "evaluation": 0.0}
        self.images_per_second: float | None = None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def end(self, state: str, error: str | None) -> None:
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        rate = round(self.images_per_second, 1) if self.images_per_second else None
        self.claim.end(state=state, step=self.step, seconds=seconds, images_per_second=rate, error=error)


class _LogFile(logging.FileHandler):
    """An attempt's log. When the disk is full its lines are lost, quietly: the failure itself is told elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def _attempt(mine: Claim, settings: Settings) -> Iterator[_Job]:
    """Logs into the attempt's folder, and says at the end how it ended, whatever happened."""
    job = _Job(mine)
    handler = _LogFile(mine.path / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        write_json(mine.path / "environment.json", {**environment(), "command": settings.command})
        with job.timed("total"):
            yield job
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        log.error("%s", text)
        try:
            job.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", text)
        except OSError as full:
            log.error("the end of this attempt could not be recorded: %s", full)
        raise
    else:
        job.end(job.outcome.state, None)
    finally:
        log.removeHandler(handler)
        handler.close()


def _execution(run: Run, folder: Path, settings: Settings) -> dict[str, Any]:
    """The run's execution.json: written by the first attempt, obeyed and checked by all others."""
    path = folder / "execution.json"
    if not path.exists():
        write_json(path, {**execution_for(run, settings.device), "sources": sources.run_sources(run)})
    else:
        _check_sources(run, folder, settings)
    execution = read_json(path)
    for difference in apply_execution(execution):
        log.warning("bits may differ from the first attempt's: %s", difference)
    return dict(execution)


def _check_sources(run: Run, folder: Path, settings: Settings) -> None:
    """Raises StaleError when the sources of a run have changed, unless that is accepted; then it is recorded."""
    path = folder / "execution.json"
    if not path.exists():
        return
    now = sources.run_sources(run)
    changed = sources.changes(recorded_sources(folder, read_json(path)), now)
    if not changed:
        return
    if not settings.accept_code:
        raise StaleError(
            f"{run.id}: made by other sources: {', '.join(changed)}. --accept-code keeps the record and goes on; "
            f"to train it again, remove {folder}"
        )
    write_json(folder / "accepted.json", {"sources": now, "changed": list(changed)})


def _train(
    training: Training,
    run: Run,
    folder: Path,
    job: _Job,
    settings: Settings,
    stop: Callable[[], bool],
    progress: Progress,
    until: int | None,
) -> bool:
    """Trains to the end, or says why not: returns True when the last step is done."""
    steps = run.steps
    metrics = Metrics(folder / "metrics.jsonl", steps)
    checkpoint = load_checkpoint(folder)
    if checkpoint is not None:
        if checkpoint["run"] != run.id:
            raise RecordError(f"{folder}: its checkpoint is of another run, {checkpoint['run']}")
        training.restore(checkpoint["training"])
    metrics.cut(training.step)
    job.step = training.step
    job.claim.started_at(training.step)
    began, saved = training.step, time.monotonic()
    last = steps if until is None else min(until, steps)

    def save() -> None:
        job.claim.check()
        try:
            metrics.write()
        except OSError as error:  # the rows are kept and written with the next checkpoint
            log.warning("metrics could not be written (%s); no checkpoint at step %d", error, training.step)
            return
        save_checkpoint(folder, training.step, {"run": run.id, "training": training.state()})

    with job.timed("training"):
        start = time.perf_counter()
        while training.step < last:
            row = training.update()
            if row is None:
                job.claim.check()
                metrics.write()
                write_json(folder / "result.json", _result(run, training, None, None, diverged_at=training.step))
                drop_checkpoints(folder)
                job.outcome = Outcome("diverged", f"loss not finite at step {training.step}")
                return False
            metrics.add(training.step, row)
            job.step = training.step
            rate = (training.step - began) * run.recipe.batch_size / (time.perf_counter() - start)
            job.images_per_second = rate
            job.claim.beat(training.step, steps, rate)
            progress(training.step, steps, rate)
            if training.step < last and stop():
                save()
                job.outcome = Outcome("interrupted", f"stopped at step {training.step} of {steps}")
                return False
            if training.step < last and time.monotonic() - saved >= settings.checkpoint_seconds:
                save()
                saved = time.monotonic()
    if until is not None:
        metrics.write()
        job.outcome = Outcome("interrupted", f"did the first {last} steps, as asked")
        return True
    save()
    metrics.write()  # a disk that is still full now fails the run
    return True


def _finished_model(run: Run, folder: Path, execution: Mapping[str, Any]) -> Network:
    """The network of a finished run with its final weights. Raises RecordError when they are gone or changed."""
    path = folder / "weights.safetensors"
    if not path.exists():
        raise RecordError(f"{path}: the weights were not kept, so no evaluation can be added; train the run again")
    data = path.read_bytes()
    if weights_digest(data) != read_json(folder / "result.json")["weights_sha256"]:
        raise RecordError(f"{path}: not the weights that the result was made with (other SHA-256)")
    model = build_model(run, execution)
    model.load_state_dict(safetensors.torch.load(data))
    return model


def _finish(
    model: Network,
    run: Run,
    folder: Path,
    job: _Job,
    images: Any,
    subset: Subset,
    wanted: list[Evaluation],
    settings: Settings,
    stop: Callable[[], bool],
    finished: bool,
) -> None:
    """Evaluates, and for a run just trained writes weights and, last of all, the result."""
    measurer = Measurer(model, images, subset, job.execution["layout"] == "channels_last")

    def between() -> bool:
        job.claim.beat(job.step, run.steps, job.images_per_second)
        return stop()

    with job.timed("evaluation"):
        result: dict[str, Any] = {}
        if not finished:
            _, accuracy, loss = measurer.score("train", run.resolution)
            if not math.isfinite(loss):  # the last update broke it
                job.claim.check()
                write_json(folder / "result.json", _result(run, model, None, None, diverged_at=run.steps))
                drop_checkpoints(folder)
                job.outcome = Outcome("diverged", "final loss not finite")
                return
            weights = safetensors.torch.save({name: t.contiguous() for name, t in model.state_dict().items()})
            result = _result(run, model, loss, accuracy, weights=weights_digest(weights))
            job.claim.check()
            write_atomic(folder / "weights.safetensors", weights)
        done = evaluate(measurer, wanted, sources.evaluation_code(), between, settings.predictions)
        if done is None:
            job.outcome = Outcome("interrupted", "stopped before all evaluations were done")
            return
        job.claim.check()
        if wanted:
            write_evaluations(folder, job.claim.number, *done)
        if not finished:
            write_json(folder / "result.json", result)
            drop_checkpoints(folder)
    what = f"{len(wanted)} evaluations"
    job.outcome = Outcome("finished", what if finished else f"trained {run.steps} steps, {what}")


def _result(
    run: Run,
    trained: Any,
    loss: float | None,
    accuracy: float | None,
    weights: str | None = None,
    diverged_at: int | None = None,
) -> dict[str, Any]:
    """The content of result.json; see docs/records.md."""
    model = trained.model if isinstance(trained, Training) else trained
    step = run.steps if diverged_at is None else diverged_at
    facts = model.describe(run.resolution, run.resolution)
    train, validation = run.part_sizes
    return {
        "format": FORMAT,
        "state": "finished" if diverged_at is None else "diverged",
        "step": step,
        "steps": run.steps,
        "diverged_at": diverged_at,
        "images": step * run.recipe.batch_size,
        "train_images": train,
        "validation_images": validation,
        "train_loss": loss,
        "train_accuracy": accuracy,
        "parameters": facts.parameters,
        "macs": facts.macs,
        "weights_sha256": weights,
    }
