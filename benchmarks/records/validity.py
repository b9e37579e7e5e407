"""Whether a folder holds a valid record of its run: one judgement for `status`, `run`, `show`, `pack` and the report.

A record that can be read may still hold what its run never wrote: another run's result, a number that is none, a
configuration changed by hand. The cheap part of the judgement reads what the state of a run is read from; the whole of
it reads attempts and every array as well.
"""

import itertools
import math
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError, InductiveError, RecordError
from benchmarks.files import read_bytes_or_none
from benchmarks.plan.recipes import Recipe, typed
from benchmarks.plan.run import Evaluation, Run, make_run
from benchmarks.records.evaluation_files import DAMAGE, damage_remedy, pass_paths
from benchmarks.records.record import (
    LATER,
    REMEDY,
    STATES,
    Record,
    configuration_digest,
    drift,
    misfit,
    read_record,
    recorded_sources,
)

# What reading a foreign folder raises: ours, pydantic's (a ValueError), Python's where a value is of another kind.
UNREADABLE = (InductiveError, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)

NUMBERS = ("step", "images", "train_images", "validation_images", "train_loss", "train_accuracy", "macs", "diverged_at")
ALWAYS = {  # numbers without which a result is none
    "finished": ("step", "steps", "images", "train_loss", "train_accuracy"),
    "diverged": ("step", "steps", "images", "diverged_at"),
}
STEP = re.compile(rb'^\{"step": (\d+)', re.MULTILINE)  # of a row of metrics
ROWS = "delete the rows of an attempt that had lost the run; the result stands"


def valid_record(
    folder: Path | str,
    run: Run | None = None,
    *,
    now_sources: Mapping[str, str] | None = None,
    accepted: bool = True,
    whole: bool = False,
) -> Record:
    """The record in a folder, of this run where it is given. Raises RecordError, naming file and remedy, unless it is
    one as the suite writes it.

    `now_sources`, `accepted`: see `read_record`. Without `run` the configuration need not be one of today (a plugin may
    not be loaded, a data set not be there). `whole`: attempts and arrays are checked, too.
    """
    try:
        record = read_record(folder, now_sources=now_sources, accepted=accepted)
        if now_sources is None:
            recorded_sources(record.place, record.execution, accepted)
    except UNREADABLE as error:
        raise error if isinstance(error, RecordError) else RecordError(problem(error)) from error
    record.check_name(os.path.basename(folder))  # noqa: PTH119  (as in Record.path)
    try:
        _check_identity(record, run)
        if record.state not in STATES:
            raise RecordError(f"there is no state {record.state!r}")
        if record.result is not None:
            _check_result(record, run)
        for entry in record.evaluations:
            _check_evaluation(entry, record.id)
        if whole:
            _check_attempts(record)
    except UNREADABLE as error:
        raise RecordError(f"{problem(error)}; {REMEDY}") from error
    if whole:
        _check_arrays(record.path)
    return record


def _check_identity(record: Record, run: Run | None) -> None:
    """Raises one of UNREADABLE unless the configuration is that of the run whose id it has."""
    settings = record.config["run"]
    whole = run is not None and settings == run.settings()  # then nothing else of it need be made
    edits = _edits(record, whole)
    if run is not None:
        changed = [] if whole else drift(settings, run)
        if not changed and not edits and run.id == record.id:
            return
        why = "edited by hand" if edits else "edited, or a default or the content of a named recipe has changed"
        what = "put it back" if edits else "restore it, or set the old value in the study"
        found = "; ".join(changed or edits)
        raise RecordError(f"config.json is not what run {record.id} means ({why}): {found}; {what}")
    Run.model_validate({**settings, "recipe": typed(settings["recipe"])})
    if edits:
        raise RecordError(f"config.json: edited by hand: {'; '.join(edits)}; put it back")
    if "digest" in record.config:
        return
    try:  # a record of before configurations had a digest: as far as today's suite understands it
        now = make_run(settings, Places(data=None, runs=record.path.parent)).id
    except ConfigError:
        return
    if now != record.id:
        raise RecordError(f"config.json: its configuration is that of run {now}: edited by hand; put it back")


def _edits(record: Record, whole: bool) -> list[str]:
    """What shows that a configuration is another than was written: by its digest, unless it is known to be `whole` or
    has none, and by its id."""
    config, settings = record.config, record.config["run"]
    if whole or config.get("digest") in (None, configuration_digest(settings)):
        wrong = misfit(config)
        return [wrong] if wrong else []
    gone = sorted(LATER - settings.keys()) + sorted(
        f"recipe.{key}" for key in Recipe.model_fields.keys() - settings["recipe"].keys()
    )
    return [f"run.{key} is missing" for key in gone] or ["its configuration is not the one of its digest"]


def _check_result(record: Record, run: Run | None) -> None:
    result = record.result or {}
    if result["state"] not in ALWAYS:
        raise RecordError(f"result.json: there is no state {result['state']!r}")
    if result.get("id", record.id) != record.id:
        raise RecordError(f"result.json is of another run, {result['id']}")
    _check_numbers("result.json", result, NUMBERS)
    _check_numbers("result.json", result["parameters"], ("backbone", "position", "head"))
    for key in ALWAYS[result["state"]]:
        if result.get(key) is None:
            raise RecordError(f"result.json: {key} is missing")
    if run is None:
        return
    expected = {"steps": run.steps, **dict(zip(("train_images", "validation_images"), run.part_sizes, strict=True))}
    for key, value in expected.items():
        if result.get(key, value) != value:
            raise RecordError(f"result.json is of another run: {key} is {result[key]!r}, not {value}")


def _check_evaluation(entry: Mapping[str, Any], run: str) -> None:
    how = entry["evaluation"]
    if entry.get("run", run) != run:  # older ones name none
        raise RecordError(f"evaluations: {entry['id']} is of another run, {entry['run']}")
    words = _evaluation_words(str(entry["id"]), tuple(how.items()))
    _check_numbers("evaluations", entry, ("count", "accuracy", "nll", "calibration", "consistency"))
    if not (isinstance(entry["count"], int) and entry["accuracy"] is not None and 0 <= entry["accuracy"] <= 1):
        raise RecordError(f"evaluations: {words}: accuracy {entry['accuracy']!r}")


@lru_cache(maxsize=4096)
def _evaluation_words(name: str, settings: tuple[tuple[str, Any], ...]) -> str:
    """What an evaluation does; raises RecordError unless `name` is the id of these settings. All runs share them."""
    how = Evaluation.model_validate(dict(settings))
    words = f"{how.words} at {how.resolution} px"
    if how.id != name:
        raise RecordError(f"evaluations: {name} is none of {words}")
    return words


def _check_attempts(record: Record) -> None:
    for attempt in record.attempts:
        _check_numbers("attempts", attempt, ("images_per_second",))
        _check_numbers("attempts", attempt.get("seconds") or {}, ("training",))
        rates = attempt.get("evaluation_rates") or {}
        _check_numbers("attempts", rates, tuple(rates))


def _check_arrays(folder: Path) -> None:
    """Raises RecordError for the first pass with a byte that is not the one written: every member's CRC-32 is made."""
    for path in pass_paths(folder):
        try:
            with zipfile.ZipFile(path) as archive:
                torn = archive.testzip()
        except FileNotFoundError:
            continue  # whoever goes on with a pass has put it into another file meanwhile
        except DAMAGE as error:
            raise RecordError(f"evaluations/{path.name}: cannot be read ({error}); {damage_remedy(path)}") from error
        if torn:
            raise RecordError(f"evaluations/{path.name}: damaged (wrong checksum of {torn}); {damage_remedy(path)}")


def _check_numbers(place: str, values: Mapping[str, Any], keys: Iterable[str]) -> None:
    for key in keys:
        value = values.get(key)
        if not (value is None or (isinstance(value, (int, float)) and math.isfinite(value))):
            raise RecordError(f"{place}: {key} is {value!r}, no number")


def leftovers(record: Record, files: Iterable[str], *, whole: bool = False) -> str:
    """What attempts that had lost the run have left in a finished record, and what to do; '' where there is nothing.
    `files` are the names in its folder.

    Rows of metrics that do not end with the last step, or have it twice; with `whole`, rows out of order anywhere.
    Checkpoints, which a finished run has none of.
    """
    result = record.result or {}
    if result.get("state") != "finished":
        return ""
    stray = sorted(name for name in files if name.startswith("checkpoint-"))
    found = [f"{name} of an attempt that had lost the run: remove it" for name in stray]
    last = result["step"]
    try:
        data = read_bytes_or_none(f"{record.place}/metrics.jsonl") or b""
    except RecordError:
        data = b""
    final = b'{"step": %d,' % last
    if data and not (data.count(final) == 1 and data.startswith(final, data.rfind(b"\n", 0, -1) + 1)):
        found.append(f"metrics.jsonl does not end with one row of step {last}: {ROWS}")
    elif whole:
        steps = [int(step) for step in STEP.findall(data)]
        if any(after <= before for before, after in itertools.pairwise(steps)):
            found.append(f"metrics.jsonl has steps out of order: {ROWS}")
    return "; ".join(found)


def problem(error: Exception) -> str:
    """What is wrong with a folder, in one line."""
    kind = "" if isinstance(error, InductiveError) else f"{type(error).__name__}: "
    text = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        text = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return kind + " ".join(text.split())
