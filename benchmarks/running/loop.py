"""The training loop: updates, their metrics, checkpoints, and what to do when memory is short or a loss is not finite.

A step waits for the device only where a row of metrics is wanted: the first ten steps, about a hundred more, the last,
and those after which the network is measured on the validation part. Test images are not touched.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.errors import RecordError
from benchmarks.files import read_json
from benchmarks.plan.run import Run, default_evaluation
from benchmarks.records.checkpoints import drop_checkpoints, load_checkpoint, save_checkpoint
from benchmarks.records.init_from import source_name
from benchmarks.records.metrics import Metrics
from benchmarks.records.record import FORMAT
from benchmarks.running.attempt_log import Job, Outcome, StoppedError
from benchmarks.training.batchnorm import batch_norms
from benchmarks.training.compiling import drop_compiled
from benchmarks.training.evaluation import Measurer
from benchmarks.training.kernels import nondeterministic_operation, use_determinism
from benchmarks.training.memory import release
from benchmarks.training.ranks.normalisation import check_groups
from benchmarks.training.step_graph import PLAIN_STEPS
from benchmarks.training.training import Training

log = logging.getLogger("inductive")

Progress = Callable[[int, int, float | None], None]  # step, steps, images a second
Scored = Callable[[float, float | None], None]  # training loss, accuracy on the validation part where it was measured
FIRST_STEPS = PLAIN_STEPS + 1  # of an attempt: CUDA's start, compilation, recording: no part of images a second


@dataclass(frozen=True)
class Watch:
    """Who watches a training: `stop` is polled between steps, and between the batches of a measurement; `progress` is
    told of each step, `scored` of those that are logged. `until` ends it at a step."""

    stop: Callable[[], bool]
    progress: Progress
    checkpoint_seconds: float
    until: int | None = None
    scored: Scored = lambda loss, validation: None


class ShortOfMemoryError(Exception):
    """The device had no room for a step."""


def train(
    make: Callable[[], Training], measure: Callable[[Training], Measurer], folder: Path, job: Job, watch: Watch
) -> Training | None:
    """Trains to the end and returns the training, or None when it stopped or diverged (`job.outcome` says which).

    When the device has no room for a step, its cache is emptied once and the run resumes. Then micro-batches are halved
    and it starts anew: the size decides the bits, so the steps before must have it, too. Likewise where an operation
    has no deterministic kernel: the run starts anew and does without. Raises torch.OutOfMemoryError when one image is
    too many.

    Several ranks do not start anew by themselves: the attempt ends, and new processes begin the next one, at once with
    the half.
    """
    emptied = False
    while True:
        training = make()
        several = job.execution.get("ranks", 1) > 1
        try:
            return training if _Loop(training, measure(training), folder, job, watch).run() else None
        except ShortOfMemoryError as error:
            job.claim.check()
            if emptied or several:
                _halve(training, folder, job, error)
            else:
                log.warning("no memory for %d images at once: the cache is emptied, then again", training.micro_batch)
            emptied = True
        except RuntimeError as error:
            operation = nondeterministic_operation(error)
            if operation is None or not job.execution.get("deterministic"):
                raise
            job.claim.check()
            _give_up_determinism(operation, folder, job)
        finally:
            if training.run.data.photographs:
                job.seconds["waiting"] = training.batches.waited
            training.batches.close()
        if several:
            job.outcome = Outcome("interrupted", "stopped, to begin again by new processes", again=True)
            return None
        del training  # its memory is needed for the next, and with the error the tensors of its traceback are gone
        if job.execution.get("compile", "off") == "network":
            drop_compiled()
        release()


def _halve(training: Training, folder: Path, job: Job, error: ShortOfMemoryError) -> None:
    """Halves the micro-batch in execution.json, and removes what was trained with the larger one."""
    size = training.micro_batch
    if size == 1:
        raise error.__cause__ or error
    half = (size + 1) // 2
    if training.share is not None and training.share.groups is not None:
        recipe, ranks = training.run.recipe, int(job.execution.get("ranks", 1))
        check_groups(recipe.batch_norm_group, recipe.batch_size, ranks, half)
    log.warning("no memory for %d images at once: from step 0 again with %d (%s)", size, half, error.__cause__)
    if batch_norms(training.model) and not training.run.recipe.batch_norm_group:
        log.warning("BatchNorm normalises by these %d images now: not comparable with runs of the full batch", half)
    drop_checkpoints(folder)
    job.execution["micro_batch"] = half
    execution = read_json(folder / "execution.json") | {"micro_batch": half}
    job.claim.write_json(folder / "execution.json", execution)


def _give_up_determinism(operation: str, folder: Path, job: Job) -> None:
    """Allows operations without deterministic kernels in execution.json, and removes what was trained before."""
    log.warning(
        "%s has no deterministic kernel on %s: from step 0 again without determinism; a rerun will give close values, "
        "not the same bits",
        *(operation, job.execution["device"]),
    )
    drop_checkpoints(folder)
    job.execution["deterministic"] = False
    execution = read_json(folder / "execution.json") | {"deterministic": False}
    job.claim.write_json(folder / "execution.json", execution)
    use_determinism(job.execution)


class _Loop:
    """The updates of one attempt: from the newest checkpoint to the last step, or to where it is stopped."""

    def __init__(self, training: Training, measurer: Measurer, folder: Path, job: Job, watch: Watch):
        self.training, self.measurer, self.folder, self.job, self.watch = training, measurer, folder, job, watch
        run, steps = training.run, training.steps
        self.metrics = Metrics(folder / "metrics.jsonl", steps, run.validation_interval, job.claim.check)
        self.last = steps if watch.until is None else min(watch.until, steps)
        self.row: dict[str, Any] | None = None  # the newest step's metrics, until they are whole

    def run(self) -> bool:
        """Whether the last step is done; otherwise `job.outcome` says why it is not."""
        self._resume()
        self.job.ready()
        with self.job.timed("training"):
            if not self._updates():
                return False
        if self.watch.until is not None:
            self.metrics.finish()
            self.job.outcome = Outcome("interrupted", f"did the first {self.last} steps, as asked")
            return True
        self._save()
        self.metrics.finish()  # a disk that is still full now fails the run
        return True

    def _resume(self) -> None:
        """Takes up the newest checkpoint, where there is one, and notes at which step this attempt begins."""
        checkpoint = load_checkpoint(self.folder)
        if checkpoint is not None:
            if checkpoint["run"] != self.training.run.id:
                raise RecordError(f"{self.folder}: its checkpoint is of another run, {checkpoint['run']}")
            self.training.restore(checkpoint["training"])
            self.row = checkpoint.get("row")
        self.training.agree()
        self.metrics.start(self.training.step)
        self.job.step = self.training.step
        self.job.claim.started_at(self.training.step)

    def _updates(self) -> bool:
        """Makes the updates; False where the run diverged or was stopped before all is done."""
        training, watch = self.training, self.watch
        if self.row is not None and not self._noted():
            return self._stopped()
        first, saved, start = training.step, time.monotonic(), time.perf_counter()
        steady = first + FIRST_STEPS  # from here on images a second are counted; those of a shorter attempt have it all
        while training.step < self.last:
            self.row = self._update()
            if self.row is None:
                return self._diverged()
            before = time.perf_counter()
            noted = self._noted()
            start += time.perf_counter() - before  # images a second are those of training
            self._report((training.step - first) * training.run.recipe.batch_size / (time.perf_counter() - start))
            if training.step == self.last:
                return noted or self._stopped()
            if training.step == steady:
                self.job.seconds["first_steps"] += time.perf_counter() - start
                first, start = training.step, time.perf_counter()
            stopping = not noted or training.stops(watch.stop())
            due = time.monotonic() - saved >= watch.checkpoint_seconds
            if (stopping or due) and training.diverged():  # nothing is saved that has not been looked at
                return self._diverged()
            if stopping:
                return self._stopped()
            if due:
                self._save()
                saved = time.monotonic()
        return True

    def _update(self) -> dict[str, Any] | None:
        """One update and its metrics; None where its loss is not finite."""
        step = self.training.step + 1
        try:
            return self.training.update(read=self.metrics.wants(step) or step == self.last)
        except torch.OutOfMemoryError as error:
            raise ShortOfMemoryError from error

    def _noted(self) -> bool:
        """Measures the network on the validation part, where that is due, and notes the newest step's metrics. False
        where it is to stop meanwhile: they then wait in the checkpoint for the attempt that resumes."""
        assert self.row is not None
        training, row = self.training, self.row
        if self.metrics.validates(training.step):
            try:
                with training.averaged():
                    row |= _validated(self.measurer, training.run)
            except StoppedError:
                return False
        self.metrics.add(training.step, row)
        if row:  # it was read for the metrics: nothing waits for the device to show it
            self.watch.scored(row["loss"], row.get("validation_accuracy"))
        self.row = None
        return True

    def _stopped(self) -> bool:
        """Saves, for the attempt that resumes, and returns False."""
        self._save()
        self.job.outcome = Outcome("interrupted", f"stopped at step {self.training.step} of {self.training.steps}")
        return False

    def _report(self, images_per_second: float) -> None:
        """Tells whoever watches how far it is."""
        step, steps = self.training.step, self.training.steps
        self.job.step, self.job.images_per_second = step, images_per_second
        self.job.beat()
        self.watch.progress(step, steps, images_per_second)

    def _save(self) -> None:
        """Metrics first, then the checkpoint: one that is there has all its rows before it."""
        training, check = self.training, self.job.claim.check
        check()
        try:
            self.metrics.write()
        except OSError as error:  # the rows are kept and written with the next checkpoint
            log.warning("metrics could not be written (%s); no checkpoint at step %d", error, training.step)
            return
        state = {"run": training.run.id, "training": training.state()}
        if self.row is not None:
            state["row"] = self.row
        save_checkpoint(self.folder, training.step, state, check)

    def _diverged(self) -> bool:
        """Records that the loss is not finite at this step, and returns False."""
        training, job = self.training, self.job
        job.claim.check()
        self.metrics.finish()
        job.claim.write_json(self.folder / "result.json", result(training, job, None, None, diverged_at=training.step))
        drop_checkpoints(self.folder)
        job.step = training.step
        job.outcome = Outcome("diverged", f"loss not finite at step {training.step}")
        return False


def _validated(measurer: Measurer, run: Run) -> dict[str, Any]:
    """The network as it is (or its averaged weights), on the validation part at the training resolution."""
    _, accuracy, loss = measurer.score("validation", default_evaluation(run, "validation", run.resolution))
    return {"validation_accuracy": accuracy, "validation_loss": loss if math.isfinite(loss) else None}


def result(
    training: Training,
    job: Job,
    loss: float | None,
    accuracy: float | None,
    weights: str | None = None,
    diverged_at: int | None = None,
) -> dict[str, Any]:
    """The content of result.json; see docs/records.md."""
    run, model = training.run, training.model
    step = run.steps if diverged_at is None else diverged_at
    facts = model.describe(run.resolution, run.resolution)
    train, validation = run.part_sizes
    special: dict[str, Any] = {}
    if training.micro_batch < training.batches.size:
        by_parts = bool(batch_norms(model)) and not run.recipe.batch_norm_group
        special = {"micro_batch": training.micro_batch, "batch_norm": by_parts}
    if run.recipe.ema:
        special["weights"] = f"average of decay {run.recipe.ema:g}"
    if training.began is not None:
        special["init_from"] = asdict(training.began) | {"weights_sha256": job.execution["sources"][source_name(run)]}
    return {
        "format": FORMAT,
        "id": run.id,
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
        **special,
    }
