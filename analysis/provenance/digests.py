"""What records say beside their numbers: a digest of what they hold, versions, hardware, commit, sources.

The digest covers what a report is made of: configuration, execution, result and evaluations, and how fast the
attempts were, on which processor; not who worked on a run, where and when. JSON counts by its values, so formatting
does not matter; an archive of evaluations by its index and, for the arrays, by the CRC-32 that it keeps of each.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.records.record import DAMAGE
from benchmarks.records.study_texts import parsed_time

SPEED = ("state", "step", "seconds", "images_per_second", "evaluation_rates")  # of an attempt's ended.json
PROCESSOR = ("cpu", "gpu")  # of its environment.json
ABSENT = "absent"


@dataclass(frozen=True)
class Trace:
    """`parts` has a digest of each part of the record, by its name; empty when there is no folder.

    `hosts` are those that its attempts ran on, `commit` is of the last attempt, `finished_at` when the first attempt
    that finished the run did so. `config` is the run, as configured."""

    run: str
    parts: Mapping[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    accepted: bool = False
    finished_at: datetime | None = None

    @property
    def digest(self) -> str:
        """One digest of all parts of the record."""
        return _digest(json.dumps(self.parts, sort_keys=True).encode()) if self.parts else ABSENT


def traces(root: Path, runs: Iterable[str]) -> list[Trace]:
    """The trace of each run, whatever state its record is in."""
    known: Known = {}
    return [_trace(root / run, run, known) for run in runs]


SHARED = ("execution.json", "environment.json")  # thousands of runs were executed alike, and share what says so
Known = dict[bytes, tuple[str, dict[str, Any]]]  # digest and values of these, by what is in the file


def _trace(folder: Path, run: str, known: Known) -> Trace:
    if not folder.is_dir():
        return Trace(run, {})
    parts, values = {}, {}
    for name in ("config", "execution", "result", "accepted"):
        path = folder / f"{name}.json"
        if path.exists():
            parts[name], values[name] = _json(path, known)
    metrics = folder / "metrics.jsonl"
    if metrics.exists():
        parts["metrics"] = _digest(metrics.read_bytes())
    for path in sorted((folder / "evaluations").glob("[0-9]*.npz")):
        parts[f"evaluations/{path.stem}"] = _archive(path)
    hosts: list[str] = []
    environment: dict[str, Any] = {}
    finished_at = None
    for path in sorted((folder / "attempts").glob("[0-9]*")):
        owner, ended = (_json(path / f"{name}.json", known)[1] for name in ("owner", "ended"))
        here = _json(path / "environment.json", known)[1]
        environment = here or environment
        hosts += [str(owner["host"])] if owner.get("host") else []
        if ended:
            speed = {key: ended[key] for key in SPEED if key in ended}
            speed |= {key: here[key] for key in PROCESSOR if here.get(key)}
            parts[f"attempts/{path.name}"] = _digest(_canonical(speed))
        if finished_at is None and ended.get("state") == "finished":
            finished_at = _end(owner, ended)
    return Trace(
        run,
        parts,
        _mapping(values.get("config", {}).get("run")),
        _checked(values.get("execution", {})),
        environment,
        tuple(dict.fromkeys(hosts)),
        "accepted" in parts,
        finished_at,
    )


def _end(owner: Mapping[str, Any], ended: Mapping[str, Any]) -> datetime | None:
    """When an attempt ended; None where its files do not tell it as ours do."""
    took = _mapping(ended.get("seconds")).get("total", 0.0)
    try:
        return parsed_time(owner["started"]) + timedelta(seconds=took)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    """The value, or nothing where somebody else has put a value of another kind."""
    return value if isinstance(value, Mapping) else {}


def _checked(execution: Mapping[str, Any]) -> Mapping[str, Any]:
    """An execution.json whose digests are texts by name; others are as good as absent."""

    def ours(name: str, value: Any) -> bool:
        whole = isinstance(value, Mapping) and all(isinstance(digest, str) for digest in value.values())
        return whole or name not in ("data", "sources")

    return {name: value for name, value in execution.items() if ours(name, value)}


def of_all(found: Iterable[Trace]) -> str:
    """One digest of many records, whatever their order."""
    return _digest("".join(f"{one.run} {one.digest}\n" for one in sorted(found, key=lambda one: one.run)).encode())


def _json(path: Path, known: Known) -> tuple[str, dict[str, Any]]:
    """(digest, values) of a file; no values when it is torn, which the report says elsewhere."""
    try:
        data = path.read_bytes()
    except OSError:
        return ABSENT, {}
    seen = known.get(data)
    if seen is None:
        seen = _parsed(data)
        if path.name in SHARED:
            known[data] = seen
    return seen


def _parsed(data: bytes) -> tuple[str, dict[str, Any]]:
    try:
        value = json.loads(data)
    except ValueError:
        return _digest(data), {}
    return _digest(_canonical(value)), value if isinstance(value, dict) else {}


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            index = archive.read("index.npy")
            sums = sorted((one.filename, one.file_size, one.CRC) for one in archive.infolist())
    except DAMAGE:
        return _digest(path.read_bytes())
    return _digest(index + _canonical(sums))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
