"""A recorded run again, locally, and what became of it: equal to the bit, within a stated tolerance, or different."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.console import count
from benchmarks.errors import OwnedError, RecordError
from benchmarks.files import read_json, write_json
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.run import Evaluation, Run
from benchmarks.records import init_from
from benchmarks.records.attempts import read_attempts
from benchmarks.records.metrics import read_metrics
from benchmarks.records.record import Record, read_record
from benchmarks.records.sources import is_current, same_code, with_ranks
from benchmarks.slices import changes

RELATIVE_LOSS = 1e-3
"""Largest relative difference of the loss in the opening metrics: rounding grows from 1e-7 a step, chaotically."""
OPENING_ROWS = 10
STANDARD_ERRORS = 3.0
SHARES = ("accuracy", "consistency")  # of an evaluation; the second of a probe alone
SCORES = (*SHARES, "nll")
TOLERANCE = (
    f"losses of the first {OPENING_ROWS} logged steps within {RELATIVE_LOSS:g} of their value, final accuracies (under "
    f"probes consistencies, too) within {STANDARD_ERRORS:g} binomial standard errors of a difference; it applies where "
    f"sources, measuring code, device, hardware or library versions differ, or an operation has no deterministic "
    f"kernel, otherwise equality to the bit is promised"
)


@dataclass(frozen=True)
class Verdict:
    """`verdict` is 'equal', 'within tolerance' or 'different'; `differences` says what differs, `compared` what was
    compared, `conditions` why bits may differ: what was not the same in the first place (sources, measuring code,
    device, hardware, versions), and operations that have no deterministic kernel."""

    verdict: str
    compared: tuple[str, ...]
    differences: tuple[str, ...]
    conditions: tuple[str, ...]


def rerun_root(root: Path) -> Path:
    """Where runs are trained again, hidden under the runs folder."""
    return root / ".reruns"


def prepare_rerun(
    record: Record, run: Run, *, device: str | None = None, first: int | None = None, ranks: int | None = None
) -> list[Evaluation]:
    """Makes an empty folder for the rerun with the recorded execution, and returns the evaluations to repeat.

    `run` is the record's, read with the data folder that it is trained from now. `device` replaces the recorded one
    where the user asks for it, `ranks` the number of GPUs that compute it together. Raises RecordError when the record
    has not come as far as is to be compared (step `first`, or the end), OwnedError while another rerun of the same run
    is alive.
    """
    folder = rerun_root(record.path.parent) / record.id
    attempts = read_attempts(folder)
    if attempts and attempts[-1].alive():
        raise OwnedError(f"{record.id}: a rerun of it is going on: {attempts[-1].owner_text()}")
    reached = max((int(row["step"]) for row in read_metrics(record.path / "metrics.jsonl")), default=0)
    if record.execution is None or (record.result is None and (first is None or first > reached)):
        ask = f"; `--first {reached}` compares what there is" if reached else ""
        raise RecordError(f"{record.id}: is {record.state} after step {reached}, so there is no more to compare{ask}")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    execution = dict(record.execution)
    recompute = bool(execution.get("checkpoint_activations", False))  # absent in early records
    if device is not None and device != execution["device"]:
        from benchmarks.training.kernels import execution_for

        known = ("data", "decoder")  # early records lack them, and only photographs are decoded
        images: dict[str, Any] = {key: execution[key] for key in known if key in execution}
        execution = {**execution_for(run, device, ranks=ranks or 1, recompute=recompute), **images}
    elif ranks is not None and ranks != execution.get("ranks", 1):
        from benchmarks.training.kernels import execution_for

        chosen = execution_for(run, execution["device"], ranks=ranks, recompute=recompute)
        execution |= {key: chosen[key] for key in ("ranks", "micro_batch", "compile")}
    execution["sources"] = with_ranks(init_from.run_sources(run, record.path.parent), execution)
    write_json(folder / "execution.json", execution)
    return [Evaluation(**entry["evaluation"]) for entry in _comparable(record)]


def _comparable(record: Record) -> list[dict[str, Any]]:
    """The recorded evaluations but those with a probe whose code has changed since: they were of other images."""
    return [entry for entry in record.evaluations if _probe(entry) == NO_PROBE or is_current(entry)]


def _probe(entry: Mapping[str, Any]) -> str:
    return str(entry["evaluation"].get("probe", NO_PROBE))


MEASURED_OTHERWISE = "measuring code (changed)"
NONDETERMINISTIC = "deterministic: false: an operation of the network has no deterministic kernel"


def conditions(record: Record, again: Record) -> tuple[str, ...]:
    """Why bits may differ: what of sources, measuring code, device, hardware and versions is not as it was when the
    record was made, and an operation without a deterministic kernel."""
    from benchmarks.training.kernels import platform_bits

    then = record.execution or {}
    now = {**(again.execution or {}), **platform_bits(str((again.execution or {})["device"]))}
    changed = changes(then.get("sources", {}), now.get("sources", {}))
    kept = {key: value for key, value in then.items() if key != "sources"}
    lay, lie = (nodes_of(one) if now.get("device") == "cuda" else [] for one in (record, again))
    return (
        *changed,
        *([MEASURED_OTHERWISE] if _measured_otherwise(_comparable(record), again.evaluations) else []),
        *(f"{key}: {value} then, {now.get(key)} now" for key, value in kept.items() if now.get(key) != value),
        *([f"nodes: {', '.join(lay)} then, {', '.join(lie)} now"] if lay != lie else []),
        *([NONDETERMINISTIC] if False in (then.get("deterministic"), now.get("deterministic")) else []),
    )


def _measured_otherwise(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> bool:
    """Whether an evaluation that is compared was made by other measuring code than the same one of the rerun."""
    today = {entry["id"]: entry["code"] for entry in new}
    return any(entry["id"] in today and not same_code(entry.get("code"), today[entry["id"]]) for entry in old)


def nodes_of(record: Record) -> list[str]:
    """On how many nodes its attempts were, each number once: NCCL adds up in another order on more, gloo does not."""
    paths = sorted((record.path / "attempts").glob("*/environment.json"))
    return sorted({str(read_json(path).get("nodes", 1)) for path in paths})  # absent on one node


def compare(record: Record, first: int | None) -> Verdict:
    """Compares a record with its rerun: the opening metrics up to step `first`, or everything when it is None."""
    again = read_record(rerun_root(record.path.parent) / record.id)
    limit = first if first is not None else math.inf
    old, new = (
        [row for row in read_metrics(one.path / "metrics.jsonl") if row["step"] <= limit] for one in (record, again)
    )
    compared, exact = [f"{count(len(new), 'rows')} of metrics"], _metric_differences(old, new)
    close = _opening_differences(old, new)
    if first is None:
        evaluations = _comparable(record)
        left_out = len(record.evaluations) - len(evaluations)
        compared += ["result and final weights", count(len(evaluations), "evaluations")]
        compared += [f"not {count(left_out, 'probed evaluations')} of measuring code that has changed"] * bool(left_out)
        then, now = record.result or {}, again.result or {}
        exact += [f"{key}: {then.get(key)} then, {now.get(key)} now" for key in then if then[key] != now.get(key)]
        if then.get("state") != now.get("state"):
            close.append(f"state: {then.get('state')} then, {now.get('state')} now")
        for text, apart in _evaluation_differences(evaluations, again.evaluations):
            exact.append(text)
            close += [text] if apart else []
    unlike = conditions(record, again)
    if not exact:
        verdict = "equal"
    else:
        verdict = "within tolerance" if unlike and not close else "different"
    return Verdict(verdict, tuple(compared), tuple(dict.fromkeys([*close, *exact])), unlike)


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
    """(what differs, whether beyond the tolerance) for each evaluation that differs in one of SCORES."""
    again = {entry["id"]: entry for entry in new}
    found = []
    for entry in old:
        now = again.get(entry["id"])
        how = entry["evaluation"]
        what = f"{how['part']} at {how['resolution']} px"
        if _probe(entry) != NO_PROBE:
            what += f", probe {how['probe']} {how['strength']}"
        if now is None:
            found.append((f"{what}: not done again", True))
        elif any(entry.get(key) != now.get(key) for key in SCORES):
            apart = any(_apart(entry.get(key), now.get(key), entry["count"]) for key in SHARES)
            then, here = (", ".join(_score_words(one)) for one in (entry, now))
            found.append((f"{what}: {then} then, {here} now", apart))
    return found


def _apart(then: float | None, now: float | None, count: int) -> bool:
    """Whether two shares of as many images differ beyond the tolerance; one that only one of them has does."""
    if then is None or now is None:
        return then is not now
    mean = (then + now) / 2
    return abs(then - now) > STANDARD_ERRORS * math.sqrt(2 * mean * (1 - mean) / count)


def _score_words(entry: Mapping[str, Any]) -> Iterator[str]:
    """'accuracy 0.9000', 'likelihood 0.31', and of a probe 'consistency 0.9500'."""
    yield f"accuracy {entry['accuracy']:.4f}"
    yield f"likelihood {entry['nll']}"
    if entry.get("consistency") is not None:
        yield f"consistency {entry['consistency']:.4f}"
