"""The texts that a study has had, and when each was first run, kept with the records that answer them.

`.studies/NAME/DIGEST.json` under the runs folder holds one text of a study's file and when it was first run. The name
is the digest of the text, so that whoever writes it writes the same, and no file changes. The report lists what of a
study was edited after its first result, whichever text that was of, and what it leaves out of earlier texts.
"""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError, RecordError
from benchmarks.files import read_json, write_json
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study, expand
from benchmarks.records.neighbours import FOLDER as NEIGHBOURS
from benchmarks.records.stages import whole
from benchmarks.records.validity import valid_record
from models.options import ModelError

FOLDER = ".studies"
TIME = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True)
class StudyText:
    """A text of a study, and when it was first run (UTC)."""

    first_run: datetime
    text: str


def keep_text(study: Study, root: Path) -> None:
    """Keeps the text of a study that is about to be run, unless it is kept already."""
    path = root / FOLDER / study.name / f"{hashlib.sha256(study.text.encode()).hexdigest()[:16]}.json"
    if study.text and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"study": study.name, "first_run": datetime.now(UTC).strftime(TIME), "text": study.text})


def kept_texts(name: str, root: Path) -> tuple[list[StudyText], list[str]]:
    """(the texts that a study has been run with, oldest first; names of files that are torn or somebody else's)."""
    texts, torn = [], []
    for path in sorted((root / FOLDER / name).glob("[!.]*.json")):
        try:
            one = read_json(path)
            texts.append(StudyText(parsed_time(one["first_run"]), one["text"]))
            tomllib.loads(one["text"])
        except (RecordError, LookupError, TypeError, ValueError):
            torn.append(path.name)
    return sorted(texts, key=lambda one: (one.first_run, one.text)), torn


def parsed_time(text: str) -> datetime:
    """A time as records write it."""
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)


def changes(old: str, new: str) -> list[str]:
    """`key: old -> new` for what differs between two texts of a study; not comments, layout or [paper]."""
    return [f"{key}: {before} -> {after}" for key, (before, after) in differences(old, new).items()]


def differences(old: str, new: str) -> dict[str, tuple[str, str]]:
    """(old, new) by key for what differs between two texts of a study; not comments, layout or [paper]."""
    before, after = (flat(tomllib.loads(text)) for text in (old, new))
    gone = "absent"
    return {
        key: (before.get(key, gone), after.get(key, gone))
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key) and not key.startswith("paper")
    }


def earlier_results(study: Study, kept: Sequence[StudyText], root: Path) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """What finished under `root` of earlier texts of a study and is no run of it now: (runs by the newest text that has
    them; why, by text, for those that can no longer be expanded).

    An archive of `inductive pack` names such runs, and has no records of them."""
    seen = {run.id for run in study.every_run}
    found: dict[str, list[Run]] = {}
    beyond: dict[str, str] = {}
    for one in reversed(kept):
        if not differences(one.text, study.text):
            continue
        try:
            places = Places(data=None, runs=root)
            runs = whole(expand(tomllib.loads(one.text), study.name, places), places).runs
        except (ConfigError, ModelError) as error:
            beyond[one.text] = str(error)
            continue
        new = [run for run in runs if run.id not in seen]
        seen.update(run.id for run in new)
        finished = [run for run in new if _finished(run, root)]
        if finished:
            found[one.text] = finished
    return found, beyond


def _finished(run: Run, root: Path) -> bool:
    try:
        return valid_record(root / run.id, run).state == "finished"
    except RecordError:
        return (root / NEIGHBOURS / f"{run.id}.json").exists()


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A table's values as text by dotted key; lists of tables by their places, `models[0].name`."""
    values: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            values |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            for place, one in enumerate(value):
                values |= flat(one, f"{prefix}{key}[{place}].")
        else:
            values[f"{prefix}{key}"] = repr(value)
    return values
