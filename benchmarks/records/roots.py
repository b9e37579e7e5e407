"""Where records are read from: a runs folder, an archive of `inductive pack`, or several of them as one.

An archive is unpacked once, into a cache by its digest, after every file has been compared with the manifest; the
cache can be deleted at any time. Several roots are joined by links: a run that lies in two of them counts once, and
where they do not agree on what came out, that is what its record says.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.errors import RecordError
from benchmarks.files import write_json
from benchmarks.records.archive import FORMAT, MANIFEST
from benchmarks.records.evaluation_files import DAMAGE
from benchmarks.records.neighbours import FOLDER as NEIGHBOURS
from benchmarks.records.record import Record, read_record
from models.hints import did_you_mean

MEGABYTE = 2**20
LIMITS = (  # bytes that a member may have when unpacked, by its name: the first that fits
    (MANIFEST, 64 * MEGABYTE),
    (".subsets/*.json", 256 * MEGABYTE),  # 14 million images have 142
    ("*/metrics.jsonl", 256 * MEGABYTE),
    ("*/evaluations/*.npz", 4096 * MEGABYTE),
    ("*", 8 * MEGABYTE),
)
WEIGHTS, A_PARAMETER = 64 * MEGABYTE, 8  # of a file of weights: twice its float32, and what else may lie in it
SMALL, RATIO = 16 * MEGABYTE, 100  # a larger member that was packed more tightly is made to fill memory or disk

SHARED = (".subsets", ".datasets", ".studies", NEIGHBOURS)


def cache() -> Path:
    """Where archives are unpacked: $XDG_CACHE_HOME/inductive/packs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inductive" / "packs"


def opened(path: Path) -> Path:
    """The runs folder that a path stands for: itself, or what an archive was unpacked to.

    Raises RecordError for a file that is no archive of records, is damaged, or made by a newer version."""
    if not path.is_file():
        return path
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache() / digest
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpacking-"))
        try:
            _unpack(path, made)
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was as fast
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder


def existing(root: Path) -> Path:
    """A folder of records that somebody has named. Raises RecordError, with the nearest name, when it is not there."""
    if not root.is_dir():
        there = [path.name for path in root.parent.iterdir() if path.is_dir()] if root.parent.is_dir() else []
        raise RecordError(f"{root}: there is no such folder of records{did_you_mean(root.name, there)}")
    return root


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(path, archive, MANIFEST)
            about = json.loads(archive.read(MANIFEST))
            if about["format"] > FORMAT:
                raise RecordError(f"{path}: made by a newer version of the suite (format {about['format']})")
            if set(archive.namelist()) != {MANIFEST, *about["files"]}:
                raise RecordError(f"{path}: its files are not those of its manifest")
            whole = 0
            for name, digest in about["files"].items():
                place = PurePosixPath(name)
                if place.is_absolute() or ".." in place.parts:
                    raise RecordError(f"{path}: {name} would lie outside of the archive")
                if name.startswith(".") and place.parts[0] not in SHARED:  # such as .compiled, whose code torch loads
                    raise RecordError(f"{path}: {name} is no file of a record")
                _check_size(path, archive, name)
                whole += archive.getinfo(name).file_size
                if whole > SMALL and whole > RATIO * path.stat().st_size:  # of many members, each small enough
                    raise RecordError(f"{path}: would unpack to more than {RATIO} times its size; it is not read")
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as packed, (folder / place).open("xb+") as file:
                    shutil.copyfileobj(packed, file, MEGABYTE)
                    file.seek(0)
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise RecordError(f"{path}: {name} is not the file that was packed (other SHA-256)")
                if name.endswith(".npz"):
                    with zipfile.ZipFile(folder / place) as arrays:
                        for member in arrays.namelist():
                            _check_size(path, arrays, member, f"{name}, {member}", LIMITS[3][1])
    except (*DAMAGE, AttributeError, TypeError) as error:
        raise RecordError(f"{path}: no archive of records, or damaged ({error})") from error
    for attempt in folder.glob("*/attempts/*"):  # nobody is at work in an archive: its signs of life are old
        for sign in (*attempt.iterdir(), attempt):
            os.utime(sign, (0, 0))


def _check_size(path: Path, archive: zipfile.ZipFile, name: str, words: str = "", limit: int = 0) -> None:
    """Raises RecordError for a member that is larger than its kind may be, or packed as no record is.

    What is read of a member is never more than its header says, so nothing has to be unpacked to know.
    """
    about = archive.getinfo(name)
    limit = limit or _limit(archive, name)
    if about.file_size > limit:
        size = f"{about.file_size / MEGABYTE:,.0f} MB unpacked, and at most {limit / MEGABYTE:,.0f} MB are allowed"
        raise RecordError(f"{path}: {words or name} has {size}; it is not read")
    if about.file_size > SMALL and about.file_size > RATIO * about.compress_size:
        ratio = f"{about.file_size / max(1, about.compress_size):,.0f} times its packed size"
        raise RecordError(f"{path}: {words or name} would unpack to {ratio}, as no record does; it is not read")


def _limit(archive: zipfile.ZipFile, name: str) -> int:
    """Bytes that a member may have, from its name; of weights, from the parameters that the run's result counts."""
    if not name.endswith("/weights.safetensors"):
        return next(size for pattern, size in LIMITS if fnmatchcase(name, pattern))
    result = f"{name.rpartition('/')[0]}/result.json"
    if archive.getinfo(result).file_size > LIMITS[-1][1]:
        return 0
    return WEIGHTS + A_PARAMETER * sum(int(count) for count in json.loads(archive.read(result))["parameters"].values())


def joined(paths: Sequence[Path], folder: Path) -> Path:
    """Several roots as one, of links in `folder`; of a run that lies in several, the one that has come furthest."""
    roots = [(path.name, opened(path)) for path in paths]
    places: dict[str, list[tuple[str, Path]]] = {}
    for name, root in roots:
        for run in sorted(existing(root).iterdir()):
            if run.is_dir() and not run.name.startswith("."):
                places.setdefault(run.name, []).append((name, run))
        for name in SHARED:
            for file in sorted((root / name).rglob("*.json")):
                link = folder / file.relative_to(root)
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(file.resolve())
    for name, found in places.items():
        _link(folder / name, found)
    return folder


def _link(place: Path, found: list[tuple[str, Path]]) -> None:
    """A link to the one record, or to the furthest of several that agree; else a record that says how they differ."""
    records: list[tuple[str, Record]] = []
    for name, path in found if len(found) > 1 else []:
        try:
            records.append((name, read_record(path)))
        except RecordError:
            continue  # it counts where no other root has the run
    if not records:
        place.symlink_to(found[0][1].resolve())
        return
    records.sort(key=lambda one: (one[1].result is None, -len(one[1].evaluations)))  # stable: then by order of roots
    (first_name, first), others = records[0], records[1:]
    for name, other in others:
        differences = disagreement(first, other)
        if differences:
            place.mkdir()
            text = f"{first_name} and {name} disagree on this run: {'; '.join(differences)}"
            write_json(place / "config.json", {"disagreement": text})
            return
    place.symlink_to(first.path.resolve())


def disagreement(one: Record, other: Record) -> list[str]:
    """What two records of a run say differently, as far as both have come."""
    pairs: list[tuple[str, Any, Any]] = [(key, one.config.get(key), other.config.get(key)) for key in ("run", "subset")]
    if one.result and other.result:
        pairs += [(key, one.result[key], other.result.get(key)) for key in one.result if key != "id"]  # not in old ones
    measured = {entry["id"]: entry for entry in other.evaluations}
    for entry in one.evaluations:
        if entry["id"] in measured:
            what = f"{entry['evaluation']['part']} at {entry['evaluation']['resolution']} px"
            pairs += [
                (f"{what}, {key}", entry[key], measured[entry["id"]][key]) for key in ("count", "accuracy", "nll")
            ]
    return [f"{key}: {ours} and {theirs}" for key, ours, theirs in pairs if ours != theirs]
