"""A recorded run again, locally, and what became of it: equal to the bit, within a stated tolerance, or different."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import sources
from benchmarks.attempts import read_attempts
from benchmarks.errors import OwnedError, RecordError
from benchmarks.files import read_json, write_json
from benchmarks.metrics import read_metrics
from benchmarks.record import Record, read_record
from benchmarks.run import Evaluation

RELATIVE_LOSS = 1e-3
"""Largest relative difference of the loss in the opening metrics: rounding grows from 1e-7 a step, chaotically."""
OPENING_ROWS = 10
STANDARD_ERRORS = 3.0
TOLERANCE = (
    f"losses of the first {OPENING_ROWS} logged steps within {RELATIVE_LOSS:g} of their value, final accuracies within "
    f"{STANDARD_ERRORS:g} binomial standard errors of a difference"
)


@dataclass(frozen=True)
class Verdict:
    """`verdict` is 'equal', 'within tolerance' or 'different'; `differences` says what differs, `compared` what was
    compared."""

    verdict: str
    compared: tuple[str, ...]
    differences: tuple[str, ...]


def rerun_root(root: Path) -> Path:
    """Where runs are trained again, hidden under the runs folder."""
    return root / ".reruns"


def prepare_rerun(record: Record, device: str | None) -> list[Evaluation]:
    """Makes an empty folder for the rerun with the recorded execution, and returns the evaluations to repeat.

    `device` replaces the recorded one where the user asks for it. Raises OwnedError while another rerun of the same
    run is alive.
    """
    folder = rerun_root(record.path.parent) / record.id
    attempts = read_attempts(folder)
    if attempts and attempts[-1].alive():
        raise OwnedError(f"{record.id}: a rerun of it is going on: {attempts[-1].owner_text()}")
    if record.execution is None:
        raise RecordError(f"{record.path}: was never started, so there is nothing to compare with")
    shutil.rmtree(folder, ignore_errors=False) if folder.exists() else None
    folder.mkdir(parents=True)
    execution = dict(record.execution)
    if device is not None and device != execution["device"]:
        from benchmarks.execution import execution_for

        execution |= execution_for(record.run(), device)
    execution["sources"] = sources.run_sources(record.run())
    write_json(folder / "execution.json", execution)
    return [Evaluation(**entry["evaluation"]) for entry in record.evaluations]


def compare(record: Record, first: int | None) -> Verdict:
    """Compares a record with its rerun: the opening metrics up to step `first`, or everything when it is None."""
    again = read_record(rerun_root(record.path.parent) / record.id)
    limit = first if first is not None else math.inf
    old, new = (
        [row for row in read_metrics(one.path / "metrics.jsonl") if row["step"] <= limit] for one in (record, again)
    )
    compared, exact, close = [f"{len(new)} rows of metrics"], list[str](), list[str]()
    exact += _metric_differences(old, new)
    close += [text for text in _opening_differences(old, new)]
    if first is None:
        compared += ["final weights", f"{len(record.evaluations)} evaluations"]
        for name in ("state", "weights_sha256", "train_accuracy"):
            then, now = (record.result or {}).get(name), (again.result or {}).get(name)
            if then != now:
                exact.append(f"{name}: {then} then, {now} now")
                if name == "state":
                    close.append(exact[-1])
        for text, apart in _evaluation_differences(record.evaluations, again.evaluations):
            exact.append(text)
            if apart:
                close.append(text)
    if not exact:
        return Verdict("equal", tuple(compared), ())
    if not close:
        return Verdict("within tolerance", tuple(compared), tuple(exact))
    return Verdict("different", tuple(compared), tuple(dict.fromkeys([*close, *exact])))


def _metric_differences(old: list[dict[str, float]], new: list[dict[str, float]]) -> list[str]:
    if len(old) != len(new):
        return [f"rows of metrics: {len(old)} then, {len(new)} now"]
    for then, now in zip(old, new, strict=True):
        if then != now:
            return [f"metrics from step {then['step']:.0f} on: {json.dumps(then)} then, {json.dumps(now)} now"]
    return []


def _opening_differences(old: list[dict[str, float]], new: list[dict[str, float]]) -> list[str]:
    if len(old) != len(new):
        return [f"rows of metrics: {len(old)} then, {len(new)} now"]
    pairs = list(zip(old, new, strict=True))[:OPENING_ROWS]
    apart = [(then, now) for then, now in pairs if abs(then["loss"] - now["loss"]) > RELATIVE_LOSS * abs(then["loss"])]
    return [f"loss at step {then['step']:.0f}: {then['loss']!r} then, {now['loss']!r} now" for then, now in apart[:1]]


def _evaluation_differences(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """(what differs, whether beyond the tolerance) for each evaluation whose accuracy or likelihood differs."""
    again = {entry["id"]: entry for entry in new}
    found = []
    for entry in old:
        now = again.get(entry["id"])
        what = f"{entry['evaluation']['part']} at {entry['evaluation']['resolution']} px"
        if now is None:
            found.append((f"{what}: not done again", True))
        elif (entry["accuracy"], entry["nll"]) != (now["accuracy"], now["nll"]):
            mean = (entry["accuracy"] + now["accuracy"]) / 2
            error = math.sqrt(2 * mean * (1 - mean) / entry["count"])
            apart = abs(entry["accuracy"] - now["accuracy"]) > STANDARD_ERRORS * error
            found.append((f"{what}: accuracy {entry['accuracy']:.4f} then, {now['accuracy']:.4f} now", apart))
    return found


def recorded_settings(record: Record) -> dict[str, Any]:
    """The recorded execution without what only describes, for display."""
    return {key: value for key, value in (record.execution or {}).items() if key != "sources"}


def environment_of(record: Record) -> dict[str, Any]:
    """The environment of the last attempt, or nothing."""
    path = record.path / "attempts" / f"{len(record.attempts):04d}" / "environment.json"
    return dict(read_json(path)) if path.exists() else {}
