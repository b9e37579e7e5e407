"""Finished runs next to those of some studies that could stand in their tables: other seeds, sizes or models, and those
of another protocol.

A report names them, since leaving runs out is a choice. An archive of `inductive pack` holds their configurations in
`.beside/`, with those of results of the study's earlier texts, so that its report says what one of the folder says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.errors import RecordError
from benchmarks.files import read_json
from benchmarks.plan.study import Study
from benchmarks.records.record import configuration_digest

FOLDER = ".beside"

# What of a configuration decides an arm, the protocol apart: a run that agrees in it with a run of the study, and is of
# its protocol, could stand in its tables.
SAME = ("dataset", "size", "recipe", "budget", "resolution", "validation", "precision")


def neighbours(studies: Sequence[Study], root: Path) -> dict[str, Mapping[str, Any]]:
    """The settings of such runs under `root` by id, in the order of their ids; unreadable folders are passed over."""
    own = {run.id for study in studies for run in study.every_run}
    arms = {_key(run.settings()) for study in studies for run in study.runs}
    places = {path.stem: path for path in root.glob(f"{FOLDER}/*.json")}
    places |= {path.parent.name: path for path in root.glob("[!.]*/result.json")}
    found = {}
    for name, path in sorted(places.items()):
        settings = _settings(path) if name not in own else None
        if settings is not None and _key(settings) in arms:
            found[name] = settings
    return found


def in_a_cell(studies: Sequence[Study], found: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Those of `found` that are another draw or seed of a cell that a study has."""
    cells = {_cell(run.settings()) for study in studies for run in study.runs}
    return {name for name, settings in found.items() if _cell(settings) in cells}


def _settings(path: Path) -> Mapping[str, Any] | None:
    """The settings in a file of FOLDER, or the folder of a result.json where it says that the run has finished."""
    packed = path.parent.name == FOLDER
    try:
        config = read_json(path if packed else path.with_name("config.json"))
        result = {"state": "finished"} if packed else read_json(path)
    except RecordError:
        return None
    if not (isinstance(config, dict) and isinstance(result, dict) and result.get("state") == "finished"):
        return None
    settings = config.get("run")
    if not isinstance(settings, dict) or config.get("digest") not in (None, configuration_digest(settings)):
        return None  # no configuration, or one that was edited
    return settings


def _key(settings: Mapping[str, Any]) -> str:
    return repr([_plain(settings.get(name)) for name in SAME])


def _cell(settings: Mapping[str, Any]) -> str:
    return repr([_plain(value) for name, value in sorted(settings.items()) if name not in ("draw", "seed")])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted((key, _plain(inner)) for key, inner in value.items())
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
