"""Execute one run: start it, continue it, or do only the evaluations that are missing. Idempotent.

Local slots, SLURM workers and `inductive rerun` all call `execute`; it alone writes into a run's folder.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
from numpy.typing import NDArray

import models
from benchmarks.console import count
from benchmarks.data import decoders, duplicates, folders
from benchmarks.data.dataset import Images
from benchmarks.data.decoding import Decoding, decoded_by
from benchmarks.data.photographs import Photographs
from benchmarks.data.staging import staged
from benchmarks.data.store import check_same_images, load_images
from benchmarks.data.subsets import Subset, draw_subset
from benchmarks.errors import FAILED, RecordError, StaleError
from benchmarks.files import read_json, write_json
from benchmarks.plan.evaluations import leave_out_duplicates
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.run import Evaluation, Run, default_evaluation
from benchmarks.records import init_from, sources
from benchmarks.records.attempts import Claim, claim, read_attempts
from benchmarks.records.checkpoints import drop_checkpoints
from benchmarks.records.environment import gpu
from benchmarks.records.evaluation_files import pass_paths, unfinished_pass
from benchmarks.records.record import (
    Record,
    missing_evaluations,
    read_record,
    recorded_sources,
    write_config,
    write_evaluations,
    write_plugins,
    write_subset,
)
from benchmarks.records.validity import valid_record
from benchmarks.running.attempt_log import Job, Outcome, StoppedError, attempt
from benchmarks.running.loop import Progress, Scored, Watch, result, train
from benchmarks.running.task import Settings
from benchmarks.running.together.links import LostNodeError
from benchmarks.running.together.members import Members, ranks_of
from benchmarks.slices import changes
from benchmarks.training.compiling import use_cache
from benchmarks.training.evaluation import Measurer, evaluate, predictions_kept
from benchmarks.training.kernels import apply_execution, choose_device, execution_for
from benchmarks.training.memory import explained, take_share
from benchmarks.training.probed.probing import Probing
from benchmarks.training.ranks.world import World
from benchmarks.training.training import Training, build_model, weights_digest
from models.network import Network

log = logging.getLogger("inductive")

TRAINED = "trained.json"  # what result.json will say, while evaluations are missing
SAVE_SECONDS = 5.0  # between two savings of evaluations; what took less is soon measured again


def execute(
    run: Run,
    root: Path,
    evaluations: list[Evaluation],
    settings: Settings,
    stop: Callable[[], bool],
    progress: Progress = lambda step, steps, rate: None,
    until: int | None = None,
    scored: Scored = lambda loss, validation: None,
    evaluating: Callable[[int, int], None] = lambda number, of: None,
    members: Members | None = None,
) -> Outcome:
    """Brings a run's record as far as it can: training, result, the wanted evaluations.

    `progress` and `scored`: see `Watch`; `evaluating` is told of each evaluation as it begins: its number, from 1, and
    how many there are. `stop` is polled between steps and between the batches of a measurement; when it is true, what
    is done is saved and the outcome is `interrupted`. `until` stops at a step (for `rerun --first`). `members` are the
    other ranks of a run that several compute, of which this process is the first; they end with the training. Raises
    OwnedError when a live attempt elsewhere has the run, StaleError when its sources changed, RecordError for a record
    that cannot be used; any other exception is recorded as the attempt's failure and raised again.
    """
    began = time.perf_counter()
    for plugin in settings.plugins:
        models.load_plugin(plugin)
    work, known = _opened(run, root, evaluations, settings)
    missing, finished = evaluations, False
    if known is not None and known.result is not None:
        if _diverged(known):
            return Outcome("diverged", "nothing")
        missing, finished = _missing(work, known, evaluations), True
        if not missing:
            return Outcome("finished", "nothing")
    _check_device(work)
    if not finished:
        _check_ranks(work, members)
        if not settings.accept_code:
            _check_sources(work)
    with attempt(claim(work.folder), settings.command, began) as job, explained(run.id), ExitStack() as opened:
        if (work.folder / "result.json").exists() and not finished:  # another attempt ended while this one looked
            known, finished = read_record(work.folder), True
            if _diverged(known):
                job.outcome = Outcome("diverged", "nothing")
                return job.outcome
            missing = missing_evaluations(known, evaluations)
        job.steps = run.steps
        job.execution = _execution(work, job.claim)
        job.runs_per_gpu = settings.runs_per_gpu
        if job.execution["device"] == "cuda":
            job.note(gpu())
        work = opened.enter_context(_decoding(work, job))
        trained = _trained(work.folder) if not finished and until is None else None
        if finished or trained is not None:
            model = _reloaded(work, job, trained)
        else:
            watch = Watch(stop, progress, settings.checkpoint_seconds, until, scored)
            ended = _train(work, job, watch, members)
            if ended is None:
                return job.outcome
            model, trained = ended
        _EvaluationPass(work, job, model, trained, stop).run(missing, evaluating)
        return job.outcome


@dataclass(frozen=True)
class _Work:
    """A run with what it needs: its folder under `root`, the images of its data set, its subset of them, and the test
    images that are left out of an evaluation (None where none is asked for)."""

    run: Run
    root: Path
    settings: Settings
    images: Images
    subset: Subset
    left_out: duplicates.Duplicates | None

    @property
    def folder(self) -> Path:
        return self.root / self.run.id

    def measurer(self, model: Network, job: Job, stop: Callable[[], bool]) -> Measurer:
        """What measures a network on the run's images, and meanwhile gives signs of life and polls `stop`: where that
        is true, StoppedError is raised."""

        def between() -> None:
            job.beat()
            if stop():
                raise StoppedError

        channels_last = job.execution["layout"] == "channels_last"
        return Measurer(model, self.run, self.images, self.subset, channels_last, self.left_out, between)

    def training(self, job: Job, world: World | None) -> Training:
        """The training at its step 0."""
        run, root = self.run, self.root
        begin = partial(init_from.start, run=run, root=root)
        return Training(run, job.execution, self.images, self.subset, begin, world)


def _opened(run: Run, root: Path, evaluations: list[Evaluation], settings: Settings) -> tuple[_Work, Record | None]:
    """Opens the run's data and its folder, which then has a configuration; and its record, where there was one."""
    folder, data = root / run.id, run.data
    images = load_images(data.name, settings.data)
    subset = draw_subset(images.train_labels, data.classes, run.draw, run.train_size, run.validation)
    folder.mkdir(parents=True, exist_ok=True)
    known = valid_record(folder, run) if (folder / "config.json").exists() else None
    write_config(folder, run, subset)
    write_plugins(folder, run)
    folders.keep_copy(data.name, settings.data, root)
    left_out = duplicates.read_list(data.name, settings.data) if leave_out_duplicates(evaluations) else None
    return _Work(run, root, settings, images, subset, left_out), known


def _diverged(known: Record) -> bool:
    """Whether a record with a result is of a run that diverged."""
    return known.result is not None and known.result["state"] == "diverged"


@contextmanager
def _decoding(work: _Work, job: Job) -> Iterator[_Work]:
    """The work, its photographs read from the node's scratch disk where there is one, and made pixels of by the
    processes that the settings allow, as long as this is open."""
    images, settings = work.images, work.settings
    if not isinstance(images.train, Photographs):
        yield work
        return
    with ExitStack() as opened:
        store = images.train.store
        if settings.scratch is not None:
            store = opened.enter_context(staged(store, settings.scratch, job.beat))
        decoder = job.execution["decoder"]["name"]
        decoding = opened.enter_context(Decoding(store, decoder, settings.workers or 0))
        yield replace(work, images=decoded_by(images, decoding))


def _missing(work: _Work, known: Record, evaluations: list[Evaluation]) -> list[Evaluation]:
    """The evaluations that a finished record lacks. Raises StaleError and RecordError where what would be measured is
    not what was trained: other sources, other images."""
    missing = missing_evaluations(known, evaluations)
    _check_sources(work)
    check_same_images(work.run.id, (known.execution or {}).get("data", {}), work.images)
    if work.left_out is not None:
        duplicates.check_same_list(work.run.id, known.evaluations, work.left_out)
    return missing


def _train(work: _Work, job: Job, watch: Watch, members: Members | None) -> tuple[Network, dict[str, Any]] | None:
    """Trains the run. Returns the network and what result.json will say of it; None where it stopped or diverged
    (`job.outcome` says which), and where only its first steps were to be made."""
    write_subset(work.root, work.run, work.subset)
    with _together(work, job, watch, members) as world:
        stop = watch.stop if world is None else lambda: False  # several ranks stop together, after a step
        make, measure = partial(work.training, job, world), lambda one: work.measurer(one.model, job, stop)
        training = train(make, measure, work.folder, job, watch)
    if training is None or watch.until is not None:
        return None
    model = training.finished_model()
    try:
        trained = _conclude(work.measurer(model, job, watch.stop), training, work.folder, job)
    except StoppedError:
        job.outcome = Outcome("interrupted", f"trained {count(work.run.steps, 'steps')}, stopped before its result")
        return None
    return None if trained is None else (model, trained)


@contextmanager
def _together(work: _Work, job: Job, watch: Watch, members: Members | None) -> Iterator[World | None]:
    """The ranks that compute a run together, for as long as it is trained; None where this process does so alone."""
    if members is None or int(job.execution.get("ranks", 1)) == 1:
        yield None
        return
    last = work.run.steps if watch.until is None else min(watch.until, work.run.steps)

    def give_up(error: Exception) -> None:
        gone = isinstance(error, LostNodeError)
        job.end("interrupted" if gone else "failed", str(error))
        members.last_word("lost" if gone else "failed", str(error))
        os._exit(FAILED)  # the main thread waits for ranks that will not come, and hears nothing

    members.give_up = give_up
    if members.door is not None:
        job.note({"nodes": members.door.nodes})
    try:
        world = members.gather(work.run, work.settings, job.execution, last)
        try:
            yield world
        finally:
            world.end()
    finally:
        members.end()


def _reloaded(work: _Work, job: Job, trained: Mapping[str, Any] | None) -> Network:
    """The network of a run whose training has ended; `trained` where its result is not written yet."""
    final = trained or read_json(work.folder / "result.json")
    model = finished_model(work.run, work.folder, job.execution, final["weights_sha256"])
    if trained is not None:
        job.step = work.run.steps
        job.claim.started_at(work.run.steps)
    job.ready()
    return model


def _execution(work: _Work, claimed: Claim) -> dict[str, Any]:
    """The run's execution.json: written by the first attempt, obeyed and checked by all others."""
    run, settings, images = work.run, work.settings, work.images
    path = work.folder / "execution.json"
    if not path.exists():
        device, how = choose_device(settings.device), (settings.gpus_per_run, settings.checkpoint_activations)
        chosen = execution_for(run, device, settings.compiling, *how)
        if run.data.photographs:
            chosen["decoder"] = decoders.facts(settings.decoder)
        data = {**images.digests, "official": images.official}
        made_by = sources.with_ranks(init_from.run_sources(run, work.root), chosen)
        claimed.write_json(path, {**chosen, "data": data, "sources": made_by})
    else:
        _check_sources(work)
    execution = read_json(path)
    if execution.get("compile", "off") != "off":
        use_cache(work.root)
    check_same_images(run.id, execution.get("data", {}), images)
    for difference in (*apply_execution(execution), *decoders.differences(execution)):
        log.warning("bits may differ from the first attempt's: %s", difference)
    if execution["device"] != settings.device:
        log.warning("on %s, where the run was begun, not on %s", execution["device"], settings.device)
    if execution["device"] == "cuda" and settings.runs_per_gpu > 1:
        take_share(settings.runs_per_gpu)
    return dict(execution)


def _check_device(work: _Work) -> None:
    """Raises RecordError, before anything is claimed, for a record that was begun on a GPU and is to go on without."""
    path, device = work.folder / "execution.json", work.settings.device
    recorded = str(read_json(path)["device"]) if path.exists() else device
    if recorded not in (device, "cpu"):
        raise RecordError(
            f"{work.run.id}: begun on {recorded} and continued there alone, so nothing was done: --device {recorded}, "
            f"where there is one; `inductive rerun` has --device {device} to compare with; to train it anew on "
            f"{device}, remove {work.folder}"
        )


def _check_ranks(work: _Work, members: Members | None) -> None:
    """Raises RecordError, before anything is claimed, where a run is computed by more processes than there are."""
    wanted, there = ranks_of(work.folder, work.settings.gpus_per_run), 1 if members is None else members.ranks
    if wanted > 1 and wanted != there:
        raise RecordError(
            f"{work.run.id}: computed by {wanted} ranks, and here {'is' if there == 1 else 'are'} {there}; "
            f"--gpus-per-run {wanted} on as many GPUs resumes it, as its bits depend on it"
        )


def _check_sources(work: _Work) -> None:
    """Raises StaleError when the sources of a run have changed, unless that is accepted; then it is recorded."""
    run, folder = work.run, work.folder
    path = folder / "execution.json"
    if not path.exists():
        return
    execution = read_json(path)
    now = sources.with_ranks(init_from.run_sources(run, work.root), execution)
    changed = changes(recorded_sources(folder, execution), now)
    if not changed:
        return
    if not work.settings.accept_code:
        raise StaleError(
            f"{run.id}: made by other sources: {', '.join(changed)}. --accept-code keeps the record and goes on; "
            f"to train it again, remove {folder}"
        )
    write_json(folder / "accepted.json", {"sources": now, "changed": list(changed)})
    write_plugins(folder, run, "accepted-")


def _trained(folder: Path) -> dict[str, Any] | None:
    """What result.json will say of a run that was stopped among its evaluations; None when it is not trained yet, or
    its final weights are not there as they were: then it is continued from its last checkpoint."""
    path, weights = folder / TRAINED, folder / "weights.safetensors"
    if not path.exists() or not weights.exists():
        return None
    result: dict[str, Any] = read_json(path)
    if weights_digest(weights.read_bytes()) != result["weights_sha256"]:
        log.warning("%s: not the weights that were measured (other SHA-256); made again from the checkpoint", weights)
        return None
    return result


def finished_model(run: Run, folder: Path, execution: Mapping[str, Any], sha256: str) -> Network:
    """The network of a trained run with its final weights. Raises RecordError when they are gone or changed."""
    path = folder / "weights.safetensors"
    if not path.exists():
        raise RecordError(f"{path}: the weights were not kept, so no evaluation can be added; train the run again")
    data = path.read_bytes()
    if weights_digest(data) != sha256:
        raise RecordError(f"{path}: not the weights that the result was made with (other SHA-256)")
    model = build_model(run, execution)
    model.load_state_dict(safetensors.torch.load(data))
    return model


def _conclude(measurer: Measurer, training: Training, folder: Path, job: Job) -> dict[str, Any] | None:
    """Measures the run just trained on its training images, and writes its weights and what result.json will say, so
    that this is done once. Returns the latter, or None for a run that its last update broke."""
    run = training.run
    with job.timed("evaluation"):
        _, accuracy, loss = measurer.score("train", default_evaluation(run, "test", run.resolution))
        job.claim.check()
        if not math.isfinite(loss):
            job.claim.write_json(folder / "result.json", result(training, job, None, None, diverged_at=run.steps))
            drop_checkpoints(folder)
            job.outcome = Outcome("diverged", "final loss not finite")
            return None
        for path in pass_paths(folder):  # of other weights; later attempts' are not this one's to remove
            if int(path.stem) <= job.claim.number:
                path.unlink()
        state = measurer.model.state_dict()
        weights = safetensors.torch.save({name: t.contiguous() for name, t in state.items()})
        job.claim.write(folder / "weights.safetensors", weights)
        trained = result(training, job, loss, accuracy, weights=weights_digest(weights))
        job.claim.write_json(folder / TRAINED, trained)
        return trained


class _EvaluationPass:
    """The evaluations that an attempt makes, with those that stopped attempts before it have left: one file.

    `trained` is what result.json will say of a run whose training has just ended: it is written last of all.
    """

    def __init__(
        self, work: _Work, job: Job, model: Network, trained: Mapping[str, Any] | None, stop: Callable[[], bool]
    ):
        self.work, self.job, self.trained = work, job, trained
        self.measurer = work.measurer(model, job, stop)
        self.probing = Probing(self.measurer)
        attempts = read_attempts(work.folder)
        ended = [one.number for one in attempts if one.ended is not None and one.ended["state"] == "finished"]
        decoder = job.execution.get("decoder")
        self.decoder = {"decoder": decoders.facts(decoder["name"])} if decoder else {}  # as it is here and now
        self.done = unfinished_pass(work.folder, max(ended, default=0))
        if work.left_out is not None:
            duplicates.check_same_list(work.run.id, self.done.entries, work.left_out)
        self.found = {entry["id"] for entry in self.done.entries}  # by attempts before this one

    def run(self, missing: list[Evaluation], evaluating: Callable[[int, int], None]) -> None:
        """Makes those of the missing evaluations that are not found, keeping what is done when it is stopped and every
        few seconds; `job.outcome` says how it ended."""
        left = [one for one in missing if one.id not in self.found]
        with self.job.timed("evaluation"):
            if not self._measure(left, evaluating):
                return
            self._conclude(len(left))
        what = count(len(left), "evaluations")
        trained_here = self.trained is not None and self.job.seconds["training"]
        trained = f"trained {count(self.work.run.steps, 'steps')}, {what}"
        self.job.outcome = Outcome("finished", trained if trained_here else what)

    def _measure(self, left: list[Evaluation], evaluating: Callable[[int, int], None]) -> bool:
        """Whether all are made; False when it was stopped before."""
        done, job = self.done, self.job
        kept = self._predictions_kept([one for one in left if one.probe == NO_PROBE])
        saved = time.monotonic()
        for number, one in enumerate(left):
            job.evaluating = (number + 1, len(left))
            evaluating(*job.evaluating)
            if number and time.monotonic() - saved >= SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
            began = time.perf_counter()
            try:
                self.measurer.between()
                entries, arrays = self._evaluated(one, kept)
            except StoppedError:
                self._save()
                job.outcome = Outcome("interrupted", f"stopped after {number} of {count(len(left), 'evaluations')}")
                return False
            done.entries += [{"run": self.work.run.id, **entry, **self.decoder} for entry in entries]
            done.arrays |= arrays
            job.evaluated(one.id, entries[0]["count"], time.perf_counter() - began)
        return True

    def _predictions_kept(self, left: list[Evaluation]) -> str:
        """What is kept of each image in this pass, probes apart: the same as in what is done of it."""
        of_done = [entry for entry in self.done.entries if entry["evaluation"].get("probe", NO_PROBE) == NO_PROBE]
        if of_done:
            return str(of_done[0]["predictions"])
        return predictions_kept(self.measurer, left, self.work.settings.predictions)

    def _evaluated(self, one: Evaluation, kept: str) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
        """Index entries and arrays of one evaluation."""
        code = sources.evaluation_code(one.probe, self.work.run.data.photographs)
        if one.probe != NO_PROBE:
            return self.probing.evaluate(one, code, self.work.settings.predictions)
        return evaluate(self.measurer, [one], code, kept)

    def _save(self) -> None:
        """Keeps what is measured so far, for an attempt that resumes."""
        self.job.claim.check()
        if len(self.done.entries) > len(self.found):
            self._write()

    def _write(self) -> None:
        """Writes the pass, then removes the files whose evaluations are in it now."""
        number = self.job.claim.number
        write_evaluations(self.work.folder, number, self.done.entries, self.done.arrays, self.job.claim.check)
        for path in self.done.files:
            if int(path.stem) != number:  # another run's may have had this very name
                path.unlink(missing_ok=True)
        self.done.files.clear()

    def _conclude(self, measured: int) -> None:
        """The whole pass, then the result, and only then away with the checkpoints: a kill in between loses nothing."""
        folder, claimed = self.work.folder, self.job.claim
        claimed.check()
        if measured or self.done.files:  # also where others have measured all: an attempt that stalls may take its back
            self._write()
        if self.trained is not None:
            claimed.write_json(folder / "result.json", dict(self.trained))
            drop_checkpoints(folder)
            (folder / TRAINED).unlink(missing_ok=True)
