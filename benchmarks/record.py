"""Records on disk: one folder a run, atomic files, one writer a file. The format is described in docs/records.md."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
from benchmarks import sources
from benchmarks.attempts import Attempt, read_attempts
from benchmarks.errors import ConfigError, RecordError
from benchmarks.files import read_json, write_atomic, write_json
from benchmarks.recipes import Recipe, plain
from benchmarks.run import Evaluation, Run, canonical, make_run
from benchmarks.subsets import Subset

FORMAT = 1

# What numpy, zipfile and json raise for an archive with flipped or missing bytes. A flipped flag makes a member look
# encrypted, or its compression unknown: zipfile says so by RuntimeError and by NotImplementedError, which is one.
DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

__all__ = ["FORMAT", "Record", "read_record", "write_atomic"]


@dataclass(frozen=True)
class Record:
    """Everything in a run's folder but arrays and weights.

    `evaluations` has one entry an evaluation (the newest where one was done again): the objects of docs/records.md.
    `reason` says in one line why a run failed, is lost or stale.
    """

    path: Path
    config: dict[str, Any]
    execution: dict[str, Any] | None
    result: dict[str, Any] | None
    evaluations: list[dict[str, Any]]
    attempt_list: tuple[Attempt, ...]
    state: str
    reason: str

    @property
    def id(self) -> str:
        return str(self.config["id"])

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """What each attempt did: number, start_step, state, step, error, seconds, images_per_second."""
        return [attempt.summary() for attempt in self.attempt_list]

    def run(self) -> Run:
        """The recorded run. Raises RecordError when this version of the suite understands it otherwise."""
        try:
            run = make_run(self.config["run"])
        except ConfigError as error:
            kept = "".join(f"; its plugin: --plugin {path}" for path in recorded_plugins(self.path))
            raise RecordError(f"{self.path / 'config.json'}: {error}{kept}") from error
        drift = _differences(_with_later_keys(self.config["run"]), run.settings())
        if drift or run.id != self.id:
            raise RecordError(f"{self.path / 'config.json'}: {'; '.join(drift) or f'its id would be {run.id} now'}")
        return run


def read_record(folder: Path, *, now_sources: Mapping[str, str] | None = None) -> Record:
    """The record in a folder. Raises RecordError for a torn, foreign or newer one, naming the file.

    `now_sources` are the digests of today's sources of this run; when given, a finished record made by other
    sources is `stale`.
    """
    config = read_json(folder / "config.json")
    _check(folder / "config.json", config, {"format": int, "id": str, "run": dict})
    execution = read_json(folder / "execution.json") if (folder / "execution.json").exists() else None
    if execution is not None:
        _check(folder / "execution.json", execution, {"device": str})
    result = read_json(folder / "result.json") if (folder / "result.json").exists() else None
    if result is not None:
        _check(folder / "result.json", result, {"format": int, "state": str})
    attempts = read_attempts(folder)
    state, reason = _state(result, attempts)
    if state in ("finished", "diverged") and now_sources is not None:
        changed = sources.changes(recorded_sources(folder, execution), now_sources)
        if changed:
            state, reason = "stale", f"changed since: {', '.join(changed)}"
    return Record(folder, config, execution, result, list(_evaluations(folder)), attempts, state, reason)


def _check(path: Path, value: Any, kinds: Mapping[str, type]) -> None:
    """Raises RecordError unless a file of a record has these keys, and no newer version has written it."""
    if not isinstance(value, dict) or any(not isinstance(value.get(key), kind) for key, kind in kinds.items()):
        raise RecordError(f"{path}: not as this suite writes it: it needs {', '.join(kinds)}")
    if value.get("format", FORMAT) > FORMAT:
        raise RecordError(
            f"{path}: made by a newer version of the suite (format {value['format']}, this one reads {FORMAT})"
        )


def _state(result: Mapping[str, Any] | None, attempts: tuple[Attempt, ...]) -> tuple[str, str]:
    """A run's state and the reason for it, from its result and its highest attempt."""
    if result is not None:
        reason = f"non-finite loss at step {result['diverged_at']}" if result["state"] == "diverged" else ""
        return str(result["state"]), reason
    if not attempts:
        return "missing", ""
    last = attempts[-1]
    if last.ended is not None:
        lines = (last.ended.get("error") or "").strip().splitlines()
        state = str(last.ended["state"])
        return ("interrupted" if state == "finished" else state), lines[-1] if lines else ""
    if last.alive():
        return "running", last.owner_text()
    return "lost", f"{last.owner_text()}, died without a word"


def recorded_sources(folder: Path, execution: Mapping[str, Any] | None) -> dict[str, str]:
    """The source digests a record stands for: those of its first attempt, or those accepted since."""
    accepted = folder / "accepted.json"
    if accepted.exists():
        return dict(read_json(accepted)["sources"])
    return dict((execution or {}).get("sources", {}))


def write_config(folder: Path, run: Run, subset: Subset) -> None:
    """Writes config.json, or checks the one that is there.

    Raises RecordError when a default or a named recipe has changed since: the same id would mean something else.
    """
    path = folder / "config.json"
    settings = json.loads(canonical(run.settings()))
    if path.exists():
        recorded = read_record(folder).config
        drift = _differences(_with_later_keys(recorded["run"]), settings)
        if drift:
            raise RecordError(
                f"{path}: a default or the content of a named recipe has changed since this run was made: "
                f"{'; '.join(drift)}. Restore it, or set the old value in the study"
            )
        if recorded["subset"] != subset.digest:
            raise RecordError(f"{path}: the subset is another one now ({recorded['subset']} -> {subset.digest})")
        return
    write_json(path, {"format": FORMAT, "id": run.id, "run": settings, "delta": run.delta, "subset": subset.digest})


def _with_later_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded configuration with the keys that came later, at their defaults: what they switch on was not there."""
    fields = {name: field.default for name, field in Run.model_fields.items() if name not in settings}
    return {**fields, **settings, "recipe": {**plain(dict(Recipe())), **settings["recipe"]}}


def write_plugins(folder: Path, run: Run, prefix: str = "") -> None:
    """Copies the source of the plugins that declare the run's model and encoding; a copy that is there stays."""
    for plugin in models.plugins_behind((run.model, run.position)):
        copy = folder / "plugins" / (prefix + plugin.name)
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            write_atomic(copy, plugin.source.encode())


def recorded_plugins(folder: Path) -> tuple[Path, ...]:
    """The plugins that a run was begun with, as they lie in its record."""
    return tuple(path for path in sorted((folder / "plugins").glob("*.py")) if not path.name.startswith("accepted-"))


def write_subset(root: Path, run: Run, subset: Subset) -> None:
    """Writes the manifest of a subset, once for all the runs that use it."""
    path = root / ".subsets" / f"{subset.digest}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        parts = {"train": subset.train.tolist(), "validation_images": subset.validation.tolist()}
        about = {
            "dataset": run.dataset,
            "draw": run.draw,
            "train_size": run.train_size,
            "validation": run.validation,
        }
        write_json(path, {**about, **parts})


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs; not for a key that came after the record was made.

    Such a key is at its default in a run of the same id, which then means what it meant before there was the key.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = sorted(old)
        return [
            text for name in names for text in _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
        ]
    return [] if old == new and type(old) is type(new) else [f"{key}: {old!r} -> {new!r}"]


def write_evaluations(
    folder: Path,
    number: int,
    entries: list[dict[str, Any]],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Writes one pass of evaluations as `evaluations/NNNN.npz`, NNNN being the attempt that measured them."""
    index = np.frombuffer(json.dumps(entries).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, index=index, **arrays)  # type: ignore[arg-type]  # its stub takes **arrays for allow_pickle
    path = folder / "evaluations" / f"{number:04d}.npz"
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, buffer.getvalue())


def _evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """The index entries of all passes, a later pass over an earlier one."""
    newest: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "evaluations").glob("[0-9]*.npz")):
        with opened_pass(path) as arrays:
            try:
                entries = json.loads(arrays["index"].tobytes())
            except DAMAGE as error:
                raise RecordError(f"{path}: cannot be read ({error})") from error
        newest |= {entry["id"]: entry for entry in entries}
    return iter(newest.values())


@contextmanager
def opened_pass(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of one pass. Raises RecordError when the file is torn."""
    with path.open("rb") as file:
        try:
            arrays = np.load(file, allow_pickle=False)
        except DAMAGE as error:
            raise RecordError(f"{path}: cannot be read ({error})") from error
        with arrays:
            yield arrays


def missing_evaluations(record: Record, wanted: list[Evaluation], code: str) -> list[Evaluation]:
    """The evaluations not yet done, or done by other measuring code (`code`: sources.evaluation_code())."""
    done = {entry["id"] for entry in record.evaluations if entry.get("code") == code}
    return [evaluation for evaluation in wanted if evaluation.id not in done]


def check_root(root: Path) -> None:
    """Raises RecordError unless records can be written under `root` (it is made when missing)."""
    probe = root / f".writable-{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_atomic(probe, b"a few bytes, to see that they arrive")
    except OSError as error:
        raise RecordError(f"the runs folder {root} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            probe.unlink()


def find_record(root: Path, start: str) -> Path:
    """The folder of the run whose id is, or uniquely starts or ends with, `start`."""
    names = sorted(path.name for path in root.glob("[!.]*") if (path / "config.json").exists())
    if start in names:
        return root / start
    matches = [name for name in names if name.startswith(start) or name.endswith(start)]
    if len(matches) == 1:
        return root / matches[0]
    if matches:
        some = ", ".join(matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise RecordError(f"'{start}' is the beginning of {len(matches)} runs under {root}: {some}")
    from models.hints import did_you_mean

    raise RecordError(f"no run '{start}' among the {len(names)} under {root}{did_you_mean(start, names)}")
