"""Execute one run: start it, continue it, or do only the evaluations that are missing. Idempotent.

Local slots, SLURM workers and `inductive rerun` all call `execute`; it alone writes into a run's folder.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

import models
from benchmarks.data import duplicates, folders
from benchmarks.data.dataset import Images
from benchmarks.data.store import check_same_images, load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import RecordError, StaleError
from benchmarks.files import read_json, write_json
from benchmarks.plan.evaluations import leave_out_duplicates
from benchmarks.plan.run import Evaluation, Run
from benchmarks.records import init_from, sources
from benchmarks.records.attempts import Claim, claim, read_attempts
from benchmarks.records.checkpoints import drop_checkpoints
from benchmarks.records.evaluation_files import pass_paths, unfinished_pass
from benchmarks.records.record import (
    missing_evaluations,
    read_record,
    recorded_sources,
    write_config,
    write_evaluations,
    write_plugins,
    write_subset,
)
from benchmarks.records.validity import valid_record
from benchmarks.running.attempt_log import Job, Outcome, attempt
from benchmarks.running.loop import Progress, Watch, result, train
from benchmarks.slices import changes
from benchmarks.training.compiling import use_cache
from benchmarks.training.evaluation import Measurer, evaluate, predictions_kept
from benchmarks.training.kernels import CompileChoice, apply_execution, choose_device, execution_for
from benchmarks.training.training import Training, build_model, weights_digest
from models.network import Network

log = logging.getLogger("inductive")

TRAINED = "trained.json"  # what result.json will say, while evaluations are missing
SAVE_SECONDS = 5.0  # between two savings of evaluations; what took less is soon measured again


@dataclass(frozen=True)
class Settings:
    """What of an execution cannot change the result."""

    data: Path
    device: str = "cpu"
    checkpoint_seconds: float = 300.0
    accept_code: bool = False
    compiling: CompileChoice = "rule"
    predictions: str = "auto"
    command: str = ""
    plugins: tuple[models.Plugin, ...] = ()  # loaded, with their sources, before a run that needs them


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
    began = time.perf_counter()
    for plugin in settings.plugins:
        models.load_plugin(plugin)
    folder = root / run.id
    data = run.data
    images = load_images(data.name, settings.data)
    subset = draw_subset(images.train_labels, data.classes, run.draw, run.train_size, run.validation)
    folder.mkdir(parents=True, exist_ok=True)
    known = valid_record(folder, run) if (folder / "config.json").exists() else None
    write_config(folder, run, subset)
    write_plugins(folder, run)
    folders.keep_copy(data.name, settings.data, root)
    left_out = duplicates.read_list(data.name, settings.data) if leave_out_duplicates(evaluations) else None
    finished = known is not None and known.result is not None
    if known is not None and known.result is not None:
        wanted = missing_evaluations(known, evaluations, sources.evaluation_code())
        if known.result["state"] == "diverged":
            return Outcome("diverged", "nothing")
        _check_sources(run, folder, settings)
        check_same_images(run.id, (known.execution or {}).get("data", {}), images)
        if left_out is not None:
            duplicates.check_same_list(run.id, known.evaluations, left_out)
        if not wanted:
            return Outcome("finished", "nothing")
    else:
        wanted = evaluations
    mine = claim(folder)
    with attempt(mine, settings.command, began) as job:
        if (folder / "result.json").exists() and not finished:  # another attempt ended while this one looked
            finished = True
            wanted = missing_evaluations(read_record(folder), evaluations, sources.evaluation_code())
        job.execution = _execution(run, folder, settings, images, mine)

        def measure(model: Network) -> Measurer:
            return Measurer(model, run, images, subset, job.execution["layout"] == "channels_last", left_out)

        def begun() -> Training:
            return Training(run, job.execution, images, subset, lambda model: init_from.start(model, run, root))

        trained = _trained(folder) if not finished and until is None else None
        if finished or trained is not None:
            final = trained or read_json(folder / "result.json")
            model = _finished_model(run, folder, job.execution, final["weights_sha256"])
            if trained is not None:
                job.step = run.steps
                job.claim.started_at(run.steps)
            job.ready()
        else:
            write_subset(root, run, subset)
            watch = Watch(stop, progress, settings.checkpoint_seconds, until)
            training = train(begun, lambda one: measure(one.model), folder, job, watch)
            if training is None or until is not None:
                return job.outcome
            model = training.finished_model()
            trained = _conclude(measure(model), training, folder, job)
            if trained is None:
                return job.outcome
        _evaluate(measure(model), trained, run, folder, job, wanted, settings, stop)
        return job.outcome


def _execution(run: Run, folder: Path, settings: Settings, images: Images, mine: Claim) -> dict[str, Any]:
    """The run's execution.json: written by the first attempt, obeyed and checked by all others."""
    path = folder / "execution.json"
    if not path.exists():
        chosen = execution_for(run, choose_device(settings.device), settings.compiling)
        mine.write_json(
            path,
            {
                **chosen,
                "data": {**images.digests, "official": images.official},
                "sources": init_from.run_sources(run, folder.parent),
            },
        )
    else:
        _check_sources(run, folder, settings)
    execution = read_json(path)
    if execution.get("compile", "off") != "off":
        use_cache(folder.parent)
    check_same_images(run.id, execution.get("data", {}), images)
    for difference in apply_execution(execution):
        log.warning("bits may differ from the first attempt's: %s", difference)
    return dict(execution)


def _check_sources(run: Run, folder: Path, settings: Settings) -> None:
    """Raises StaleError when the sources of a run have changed, unless that is accepted; then it is recorded."""
    path = folder / "execution.json"
    if not path.exists():
        return
    now = init_from.run_sources(run, folder.parent)
    changed = changes(recorded_sources(folder, read_json(path)), now)
    if not changed:
        return
    if not settings.accept_code:
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


def _finished_model(run: Run, folder: Path, execution: Mapping[str, Any], sha256: str) -> Network:
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
    """Measures the run just trained on its training images and writes its weights. Returns what result.json will say,
    or None for a run that its last update broke."""
    run = training.run
    with job.timed("evaluation"):
        _, accuracy, loss = measurer.score("train", Evaluation(resolution=run.resolution))
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
        return result(training, job, loss, accuracy, weights=weights_digest(weights))


def _evaluate(
    measurer: Measurer,
    trained: Mapping[str, Any] | None,
    run: Run,
    folder: Path,
    job: Job,
    wanted: list[Evaluation],
    settings: Settings,
    stop: Callable[[], bool],
) -> None:
    """Makes the wanted evaluations, keeping what is done when it is stopped, and every few seconds. For a run whose
    training has just ended (`trained`) it writes, last of all, the result."""
    code = sources.evaluation_code()
    ended = [one.number for one in read_attempts(folder) if one.ended is not None and one.ended["state"] == "finished"]
    done = unfinished_pass(folder, max(ended, default=0), code)
    if measurer.left_out is not None:
        duplicates.check_same_list(run.id, done.entries, measurer.left_out)
    before = {entry["id"] for entry in done.entries}
    left = [one for one in wanted if one.id not in before]
    keep = (
        str(done.entries[0]["predictions"]) if done.entries else predictions_kept(measurer, left, settings.predictions)
    )
    saved = time.monotonic()

    def save() -> None:
        job.claim.check()
        if trained is not None:
            job.claim.write_json(folder / TRAINED, dict(trained))
        if len(done.entries) > len(before):
            write()

    def write() -> None:
        write_evaluations(folder, job.claim.number, done.entries, done.arrays, job.claim.check)
        for path in done.files:  # what they held is in the new one
            path.unlink(missing_ok=True)
        done.files.clear()

    with job.timed("evaluation"):
        for number, one in enumerate(left):
            job.claim.beat(job.step, run.steps, job.images_per_second)
            stopping = stop()
            if stopping or (number and time.monotonic() - saved >= SAVE_SECONDS):
                save()
                saved = time.monotonic()
            if stopping:
                job.outcome = Outcome("interrupted", f"stopped after {number} of {len(left)} evaluations")
                return
            began = time.perf_counter()
            measured = evaluate(measurer, [one], code, lambda: False, keep)
            assert measured is not None  # nothing has told it to give up
            done.entries += measured[0]
            done.arrays |= measured[1]
            job.evaluated(one.id, measured[0][0]["count"], time.perf_counter() - began)
        job.claim.check()
        if left or done.files:  # also where others have measured all: an attempt that stalls may take its pass back
            write()
        if trained is not None:
            job.claim.write_json(folder / "result.json", dict(trained))
            drop_checkpoints(folder)
            (folder / TRAINED).unlink(missing_ok=True)
    what = f"{len(left)} evaluations"
    trained_here = trained is not None and job.seconds["training"]
    job.outcome = Outcome("finished", f"trained {run.steps} steps, {what}" if trained_here else what)
