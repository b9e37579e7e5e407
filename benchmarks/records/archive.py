"""`inductive pack STUDY`: the records of a study as one archive to give away, free of host, account and paths.

A zip file: `manifest.json`, `study.toml`, and the runs folder as docs/records.md describes it, without logs,
checkpoints and, unless asked for, weights. Equal records make equal bytes. `benchmarks.records.roots` reads it in
place.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.errors import RecordError
from benchmarks.files import read_json_or, write_atomic_by
from benchmarks.plan.study import Study
from benchmarks.records.evaluation_files import pass_paths, without_logits
from benchmarks.records.neighbours import FOLDER as NEIGHBOURS
from benchmarks.records.neighbours import neighbours
from benchmarks.records.states import RunState, study_states
from benchmarks.records.study_texts import earlier_results, kept_texts
from benchmarks.redaction import Redactor, telling_path

FORMAT = 1
MANIFEST, STUDY = "manifest.json", "study.toml"
README = """The records of a study, made by `inductive pack`. `report`, `show`, `status` and `rerun` read them here:

    inductive report study.toml --runs THIS.zip

manifest.json lists every file with its SHA-256; docs/records.md of the suite describes them.
"""
TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say

AS_THEY_ARE = ("config.json", "execution.json", "metrics.jsonl", "result.json", "accepted.json")
OWNER = {"host": "-", "boot": "-", "pid_namespace": "-", "pid": 0, "process_start": "-", "slurm_job": None}
HIDDEN = ("command", "variables", "hostname", "user", "gpu_uuid")  # of environment.json


@dataclass(frozen=True)
class Packed:
    """What came of it: the archive, how many runs are in it, and which are not, with the reason."""

    path: Path
    runs: int
    left_out: dict[str, str]


def pack(study: Study, text: bytes, root: Path, out: Path, weights: bool = False, logits: bool = True) -> Packed:
    """Writes the archive of a study's records under `root`; `text` is the study's file. Without `logits`, the predicted
    class is all that passes keep of an image.

    Runs that are missing, running or unreadable are left out, with the reason. Raises RecordError for a file that names
    a path which is part of a run's identity: it cannot be hidden.
    """
    states = study_states(study, root)
    left_out = {one.run.id: reason for one in states if (reason := _unfit(one, root))}
    kept = [one.run.id for one in states if one.run.id not in left_out]
    if not kept:
        raise RecordError(f"{root}: there is no record of {study.name} to pack")
    digests: dict[str, str] = {}

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:

            def add(name: str, data: bytes) -> None:
                digests[name] = hashlib.sha256(data).hexdigest()
                archive.writestr(zipfile.ZipInfo(name, TIME), data, zipfile.ZIP_DEFLATED)

            add("README.txt", README.encode())
            add(STUDY, _checked(STUDY, text))
            for name, data in _shared(root, study, kept):
                add(name, data)
            for run, settings in _named_only(study, root).items():
                add(f"{NEIGHBOURS}/{run}.json", json.dumps(Redactor().values({"run": settings}), indent=1).encode())
            for run in kept:
                for name, data in _files(root / run, weights, logits):
                    add(f"{run}/{name}", data)
            about = {"format": FORMAT, "study": study.name, "runs": kept, "left_out": left_out, "files": digests}
            archive.writestr(zipfile.ZipInfo(MANIFEST, TIME), json.dumps(about, indent=1) + "\n", zipfile.ZIP_DEFLATED)

    write_atomic_by(out, write)
    return Packed(out, len(kept), left_out)


def _named_only(study: Study, root: Path) -> dict[str, Mapping[str, Any]]:
    """The settings of finished runs that a report of the archive must name, by id: neighbours of the study, and results
    of its earlier texts."""
    kept, _ = kept_texts(study.name, root)
    earlier, _ = earlier_results(study, kept, root)
    return {**neighbours([study], root), **{run.id: run.settings() for runs in earlier.values() for run in runs}}


def _unfit(one: RunState, root: Path) -> str:
    """Why a run cannot be packed; '' when it can."""
    if one.state in ("missing", "running"):
        return one.state
    if one.state == "failed" and one.record is None:
        return Redactor().text(one.reason.replace(f"{root}/", ""))
    return ""


def _shared(root: Path, study: Study, runs: list[str]) -> Iterator[tuple[str, bytes]]:
    """What runs share: manifests of their subsets, indices of folders of images, the texts of the study."""
    subsets = sorted({str(read_json_or(root / run / "config.json")["subset"]) for run in runs})
    paths = [root / ".subsets" / f"{digest}.json" for digest in subsets]
    paths += sorted((root / ".datasets").glob("*.json")) + sorted((root / ".studies" / study.name).glob("*.json"))
    for path in paths:
        if path.is_file():
            name = path.relative_to(root).as_posix()
            yield name, _checked(name, path.read_bytes())


def _files(folder: Path, weights: bool, logits: bool) -> Iterator[tuple[str, bytes]]:
    """The files of a record, in a fixed order, without what tells who made it and where."""
    names = (*AS_THEY_ARE, *(["weights.safetensors"] if weights else []))
    for name in names:
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            yield name, data if name.endswith(".safetensors") else _checked(f"{folder.name}/{name}", data)
    for path in pass_paths(folder):
        yield path.relative_to(folder).as_posix(), path.read_bytes() if logits else without_logits(path)
    for path in sorted(folder.glob("plugins/*.py")):
        yield path.relative_to(folder).as_posix(), path.read_bytes()
    for attempt in sorted(folder.glob("attempts/[0-9]*")):
        owner = read_json_or(attempt / "owner.json", {})
        redactor = Redactor([str(owner.get("host", ""))])
        cleaned = {"owner": {**owner, **OWNER} if owner else {}}
        environment = read_json_or(attempt / "environment.json", {})
        cleaned["environment"] = {key: value for key, value in environment.items() if key not in HIDDEN}
        ended = read_json_or(attempt / "ended.json", {})
        last = (str(ended.get("error") or "").strip().splitlines() or [""])[-1]
        cleaned["ended"] = {**ended, "error": redactor.text(last) or None} if ended else {}
        for kind, values in cleaned.items():
            if values:
                name = f"attempts/{attempt.name}/{kind}.json"
                yield name, _checked(f"{folder.name}/{name}", _json(values))


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def _checked(name: str, data: bytes) -> bytes:
    """The file as it is. Raises RecordError where it names a path."""
    found = telling_path(data.decode("utf-8", errors="replace"))
    if found:
        raise RecordError(
            f"{name}: names the path {found!r}, which cannot be hidden without making it another run; train "
            f"from a relative path (a file's from where `inductive` is run, that of `folder:PATH` from the data "
            f"folder), or leave it out of the study"
        )
    return data
