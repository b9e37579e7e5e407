"""Records on disk: one folder a run, atomic files, one writer a file. The format is described in docs/records.md."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import models
from benchmarks.data.dataset import Places
from benchmarks.data.subsets import Subset
from benchmarks.errors import ConfigError, RecordError
from benchmarks.files import parsed_json, read_bytes_or_none, read_json_or, write_atomic, write_json
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.recipes import Recipe, plain
from benchmarks.plan.run import DEFAULTS, Aspect, Evaluation, Interpolation, Run, canonical, make_run, usually_shown
from benchmarks.records import sources
from benchmarks.records.attempts import Attempt, read_attempts
from benchmarks.records.evaluation_files import DAMAGE, opened_pass, read_entries, write_evaluations
from benchmarks.slices import changes

FORMAT = 1
CONFIG_KEYS: Mapping[str, type] = {"format": int, "id": str, "run": dict, "delta": dict, "subset": str}
EXECUTION_KEYS: Mapping[str, type] = {"device": str}
RESULT_KEYS: Mapping[str, type] = {"format": int, "state": str}
KINDS: Mapping[type, str] = {int: "an integer", str: "a text", dict: "a table"}
REMEDY = "to train the run again, remove its folder: `inductive run` then starts it anew"
NO_RECORD = "there is no config.json in this folder, so it is the record of no run"
EDITED = f"put back what was edited; or, {REMEDY}"
LATER = frozenset({"initial", "init_from", "validate_every"})  # of a run's keys, those that old records may lack
FIRST = frozenset(DEFAULTS) - LATER
STATES = ("missing", "queued", "running", "interrupted", "finished", "failed", "diverged", "lost", "stale")

__all__ = ["DAMAGE", "FORMAT", "Record", "opened_pass", "read_record", "write_atomic", "write_evaluations"]


@dataclass(frozen=True)
class Record:
    """Everything in a run's folder, `place`, but arrays and weights.

    `evaluations` has one entry an evaluation (the newest where one was done again): the objects of docs/records.md.
    `execution` shares its inner tables with the records of other runs: they are not to be changed.
    `reason` says in one line why a run failed, is lost or stale.
    """

    place: str
    config: dict[str, Any]
    execution: dict[str, Any] | None
    result: dict[str, Any] | None
    evaluations: list[dict[str, Any]]
    state: str
    reason: str

    @cached_property
    def path(self) -> Path:
        """The folder. Made when it is asked for: ten thousand of them take as long as reading a file of each."""
        return Path(self.place)

    @cached_property
    def attempt_list(self) -> tuple[Attempt, ...]:
        """The attempts, read when they are asked for: a finished run's are no part of its state."""
        return read_attempts(self.path)

    @property
    def id(self) -> str:
        return str(self.config["id"])

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """What each attempt did: number, start_step, state, step, error, seconds, images_per_second."""
        return [attempt.summary() for attempt in self.attempt_list]

    @property
    def unprobed(self) -> list[dict[str, Any]]:
        """The entries of the evaluations without a probe."""
        return [entry for entry in self.evaluations if entry["evaluation"].get("probe", NO_PROBE) == NO_PROBE]

    @property
    def main(self) -> dict[str, Any] | None:
        """The entry of the run's main evaluation: test images at the training resolution, shown as usual. None
        where it was not made."""
        settings = self.config["run"]
        shown = usually_shown(settings["model"], settings["options"])
        wanted = _main_evaluation(settings["resolution"], *shown)
        return next((entry for entry in self.evaluations if entry["id"] == wanted), None)

    def check_name(self, name: str) -> None:
        """Raises RecordError where a folder of another name holds it: it would count as another run, or twice."""
        if self.id != name:
            raise RecordError(f"it holds the record of {self.id}: a folder has the name of its run")

    def run(self, places: Places | None = None) -> Run:
        """The recorded run; by default its `places` (see `make_run`) have the runs folder that the record lies in.

        Raises RecordError when this version of the suite understands it otherwise."""
        try:
            run = make_run(self.config["run"], places or Places(runs=self.path.parent))
        except ConfigError as error:
            kept = "".join(f"; its plugin: --plugin {path}" for path in recorded_plugins(self.path))
            raise RecordError(f"{self.path / 'config.json'}: {error}{kept}") from error
        changed = drift(self.config["run"], run)
        if changed:
            raise RecordError(f"{self.path / 'config.json'}: {'; '.join(changed)}")
        if run.id != self.id:
            raise RecordError(f"{self.path / 'config.json'}: its configuration is that of run {run.id}; {EDITED}")
        return run


@lru_cache(maxsize=1024)
def _main_evaluation(resolution: int, crop: float, interpolation: Interpolation, aspect: Aspect) -> str:
    """The id of the evaluation that counts where one number stands for a run."""
    return Evaluation(resolution=resolution, crop=crop, interpolation=interpolation, aspect=aspect).id


def read_record(folder: Path | str, *, now_sources: Mapping[str, str] | None = None, accepted: bool = True) -> Record:
    """The record in a folder. Raises RecordError for a torn, foreign or newer one, naming the file.

    `now_sources` are the digests of today's sources of this run; when given, a finished record made by other
    sources is `stale`. `accepted`: False where the caller has seen that there is no accepted.json.
    """
    place = str(folder)
    config = _read(f"{place}/config.json", CONFIG_KEYS)
    if config is None:
        raise RecordError(f"{place}/config.json: there is no such file")
    if lacking := FIRST.difference(config["run"]):
        raise RecordError(f"{place}/config.json: {_missing(f'run.{key}' for key in lacking)}; {EDITED}")
    execution = _read(f"{place}/execution.json", EXECUTION_KEYS, _parsed_once)
    result = _read(f"{place}/result.json", RESULT_KEYS)
    state, reason = _state(result, () if result is not None else read_attempts(Path(folder)))
    if state in ("finished", "diverged") and now_sources is not None:
        changed = changes(recorded_sources(place, execution, accepted), sources.with_ranks(now_sources, execution))
        if changed:
            state, reason = "stale", f"changed since: {', '.join(changed)}"
    evaluations = _evaluations(place) if result is not None else []  # a pass that is still being made is no result
    return Record(place, config, execution, result, evaluations, state, reason)


def _read(path: str, kinds: Mapping[str, type], parse: Callable[[bytes], Any] = parsed_json) -> dict[str, Any] | None:
    """One file of a record, None where it is not there.

    Raises RecordError unless it has these keys, and no newer version has written it."""
    data = read_bytes_or_none(path)
    if data is None:
        return None
    try:
        value = parse(data)
    except ValueError as error:
        raise RecordError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    if isinstance(value, dict) and "disagreement" in value:  # of two roots, see benchmarks/records/roots.py
        raise RecordError(str(value["disagreement"]))
    if not isinstance(value, dict):
        raise RecordError(f"{path}: not as this suite writes it: it needs {', '.join(kinds)}; {REMEDY}")
    if lacking := [key for key in kinds if key not in value]:
        raise RecordError(f"{path}: {_missing(lacking)}; {EDITED}")
    for key, kind in kinds.items():
        if not isinstance(value[key], kind):
            raise RecordError(f"{path}: {key} is {value[key]!r}, not {KINDS[kind]}; {EDITED}")
    if value.get("format", FORMAT) > FORMAT:
        raise RecordError(
            f"{path}: made by a newer version of the suite (format {value['format']}, this one reads {FORMAT})"
        )
    return value


def _missing(keys: Iterable[str]) -> str:
    found = sorted(keys)
    return f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} missing"


def _parsed_once(data: bytes) -> Any:
    """What an execution.json says, its inner tables shared by all records with the same text: most of a study."""
    value = _parsed(data)
    return dict(value) if isinstance(value, dict) else value


@lru_cache(maxsize=1024)
def _parsed(data: bytes) -> Any:
    return parsed_json(data)


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
    return "lost", f"{last.owner_text()}, exited without reporting"


def recorded_sources(folder: Path | str, execution: Mapping[str, Any] | None, accepted: bool = True) -> dict[str, str]:
    """The source digests a record stands for: those of its first attempt, or those accepted since (`accepted`: see
    `read_record`). Raises RecordError where they are no table."""
    since = read_json_or(f"{folder}/accepted.json") if accepted else None
    source = execution or {} if since is None else since
    found = source.get("sources", {}) if isinstance(source, dict) else None
    if not isinstance(found, dict):
        name = "execution.json" if since is None else "accepted.json"
        raise RecordError(f"{folder}/{name}: its sources are no table")
    return found


def write_config(folder: Path, run: Run, subset: Subset) -> None:
    """Writes config.json where there is none. Raises RecordError when the one that is there is of another subset."""
    path = folder / "config.json"
    if path.exists():
        recorded = read_record(folder).config
        if recorded["subset"] != subset.digest:
            raise RecordError(f"{path}: the subset is another one now ({recorded['subset']} -> {subset.digest})")
        return
    write_json(path, config_values(run, subset.digest))


def config_values(run: Run, subset: str) -> dict[str, Any]:
    """What config.json says of a run on the subset of this digest."""
    settings = json.loads(canonical(run.settings()))
    digest = configuration_digest(settings)
    return {"format": FORMAT, "id": run.id, "digest": digest, "run": settings, "delta": run.delta, "subset": subset}


def configuration_digest(settings: Mapping[str, Any]) -> str:
    """16 hex digits of SHA-256 of a whole resolved configuration."""
    return hashlib.sha256(canonical(settings).encode()).hexdigest()[:16]


def misfit(config: Mapping[str, Any]) -> str:
    """What of a configuration does not agree with its own id, in words; '' for none: its delta with the digest in it,
    its place (n, r, d, s). Also where this version of the suite does not understand it."""
    settings, delta = config["run"], config["delta"]
    if not config["id"].endswith(f"-{hashlib.sha256(canonical(delta).encode()).hexdigest()[:8]}"):
        return "its delta is not the one of its id"
    place = "-n{train_size}-r{resolution}-d{draw}-s{seed}-".format(**settings)
    inside = all(_contains(settings.get(key), value) for key, value in delta.items())
    return "" if place in config["id"] and inside else "its configuration is not the one of its id"


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(whole, Mapping) and isinstance(part, Mapping):
        return all(_contains(whole.get(key), value) for key, value in part.items())
    return bool(whole == part)


def drift(settings: Mapping[str, Any], run: Run) -> list[str]:
    """`key: recorded -> now` for what of a recorded configuration is not that of a run; keys that came later apart."""
    now = run.settings()
    return [] if settings == now else _differences(_with_later_keys(settings), now)


def _with_later_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded configuration with the keys that came later, at their defaults: what they switch on was not there."""
    return {
        **{name: DEFAULTS[name] for name in LATER},
        **settings,
        "recipe": {**plain(dict(Recipe())), **settings["recipe"]},
    }


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
        write_atomic(path, (json.dumps({**about, **parts}) + "\n").encode())  # a line an index takes four times as long


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


def _evaluations(place: str) -> list[dict[str, Any]]:
    """The index entries of all passes of a record, a later pass over an earlier one."""
    try:
        names = sorted(os.listdir(f"{place}/evaluations"))  # noqa: PTH208  (as in files.read_json_or)
    except OSError:
        return []
    newest: dict[str, dict[str, Any]] = {}
    for name in names:
        if not (name[0].isdigit() and name.endswith(".npz")):
            continue
        path = f"{place}/evaluations/{name}"
        try:
            newest |= {entry["id"]: entry for entry in read_entries(path)}
        except RecordError:
            if os.path.lexists(path):
                raise
            return _evaluations(place)  # whoever goes on with a pass has put it into another file meanwhile
    return list(newest.values())


def missing_evaluations(record: Record, wanted: list[Evaluation]) -> list[Evaluation]:
    """The evaluations not yet done, or done by other measuring code than today's."""
    done = {entry["id"] for entry in record.evaluations if sources.is_current(entry)}
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
    """The folder of the run whose id is, or uniquely starts or ends with, `start`. Raises RecordError where there is
    none, or several."""
    names = sorted(path.name for path in root.glob("[!.]*") if (path / "config.json").exists())
    if start in names:
        return root / start
    matches = [name for name in names if name.startswith(start) or name.endswith(start)]
    if len(matches) == 1:
        return root / matches[0]
    if matches:
        some = ", ".join(matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise RecordError(f"'{start}' is the beginning of {len(matches)} runs under {root}: {some}")
    if (root / start).is_dir():
        raise RecordError(f"{root / start}: {NO_RECORD}")
    from models.hints import did_you_mean

    hint = did_you_mean(start, names) or (f"; an id looks like {names[0]}" if names else "")
    raise RecordError(f"no run '{start}' among the {len(names)} under {root}{hint}")
