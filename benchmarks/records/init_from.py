"""Where a run's weights come from when they are not drawn: `init_from`, a run, a record's folder or a weights file.

What lies there is among the sources of the run, by its SHA-256: when it changes, the run is stale.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import ConfigError, RecordError
from benchmarks.files import read_json
from benchmarks.plan.run import Run
from benchmarks.records import sources
from benchmarks.records.record import read_record
from models.hints import did_you_mean
from models.options import ModelError

if TYPE_CHECKING:  # torch is for those who load weights, not for those who ask whether they are there
    from models.network import Network
    from models.trained.transfer import Fitted

log = logging.getLogger("inductive")

KEY = "init_from"
SUFFIXES = (".safetensors", ".pth", ".pt")


def weights_path(run: Run, root: Path) -> Path:
    """The file of the weights that a run starts from.

    A run is looked for under `root`, and for a rerun under the folder above. Raises ConfigError when the file is not
    there, with the nearest run, or the run has not finished.
    """
    given = Path(run.init_from)
    if given.suffix in SUFFIXES:
        if not given.is_file():
            raise ConfigError(KEY, f"there is no file {given}")
        return given
    folder = _folder(run.init_from, root)
    if folder is None and run.init_from == run.model_copy(update={"init_from": ""}).id:
        raise ConfigError(KEY, f"'{given}' is this very run as it would be without init_from: train that one first")
    if folder is None:
        known = [path.parent.name for path in root.glob("[!.]*/config.json")]
        raise ConfigError(
            KEY,
            f"'{given}' is neither a run under {root}, nor the folder of a record, nor a file "
            f"({', '.join(SUFFIXES)}){did_you_mean(str(given), known)}",
        )
    if not (folder / "result.json").exists():
        raise ConfigError(KEY, f"run {folder.name} has not finished: train it first")
    if not (folder / "weights.safetensors").exists():
        raise ConfigError(KEY, f"run {folder.name} has no weights: it diverged, or they were not kept")
    return folder / "weights.safetensors"


def _folder(given: str, root: Path) -> Path | None:
    """The record that `init_from` names: a run under `root`, or a folder. For a rerun it is the run under the folder
    above, as for its record, before another rerun."""
    folders = [*([root.parent / given] if root.name.startswith(".") else []), root / given, Path(given)]
    return next((one for one in folders if (one / "config.json").exists()), None)


def start_state(run: Run, root: Path) -> str:
    """The state of the run that this one starts from; failed where its record cannot be read, '' where it starts from
    no record: from nothing, a file, or a name that nobody knows."""
    folder = _folder(run.init_from, root) if run.init_from else None
    try:
        return "" if folder is None else read_record(folder).state
    except RecordError:
        return "failed"


def trained_on_validation(run: Run, root: Path, planned: Mapping[str, Run] | None = None) -> str:
    """In words why images of a run's validation part may have been trained on in the run that it starts from, one of
    those `planned` or a record under `root`; '' where they were not: parts of one draw and share are nested. Nothing is
    known of what a file comes from."""
    if not run.init_from or not run.validation:
        return ""
    start = (planned or {}).get(run.init_from)
    there: Mapping[str, Any] = {} if start is None else start.settings()
    if start is None and (folder := _folder(run.init_from, root)) is not None:
        there = read_json(folder / "config.json").get("run", {})
    here = run.settings()
    differ = [key for key in ("draw", "validation") if there and there.get(key) != here[key]]
    if not differ or there.get("dataset") != run.dataset:
        return ""
    return " and ".join(f"{key} is {there.get(key)} there and {here[key]} here" for key in differ)


def check_no_circle(run: Run, root: Path) -> None:
    """Raises ConfigError where a run starts from itself: by another name of its folder, or through other runs."""
    place, given, passed = (root / run.id).resolve(), run.init_from, [run.id]
    while given:
        named = Path(given)
        folder = named.parent if named.suffix in SUFFIXES else _folder(given, root)
        if folder is None or not (folder / "config.json").exists():
            return
        passed.append(folder.resolve().name)
        if folder.resolve() == place or passed.count(passed[-1]) > 1:
            raise ConfigError(KEY, f"the run starts from itself: {' from '.join(passed)}; name another run or file")
        settings = read_json(folder / "config.json").get("run", {})
        given = str(settings.get("init_from") or "")


def weights_digest(path: Path) -> str:
    """SHA-256 of a weights file, computed anew when the file is touched."""
    return sources.file_digest(path, path.stat().st_mtime_ns)


def run_sources(run: Run, root: Path) -> dict[str, str]:
    """What a run's weights depend on: the source code, and the weights it starts from ('not there' when gone)."""
    if not run.init_from:
        return sources.run_sources(run)
    try:
        digest = weights_digest(weights_path(run, root))
    except ConfigError:
        digest = "not there"
    return sources.run_sources(run) | {source_name(run): digest}


def source_name(run: Run) -> str:
    """The name, among a run's sources, of the weights it starts from."""
    return f"weights of {run.init_from}"


def _source(path: Path, channels: int) -> Network | None:
    """A network like the one that recorded weights are of, without values; None for a file that lies in no record."""
    import torch

    from models import create_model

    config = path.parent / "config.json"
    if path.name != "weights.safetensors" or not config.exists():
        return None
    run = read_json(config).get("run")
    if not isinstance(run, dict):
        return None
    shape = {"image_size": run["resolution"], "in_channels": channels, "num_classes": 2}
    with torch.device("meta"):
        return create_model(run["model"], **shape, size=run["size"], **run["options"])


def start(network: Network, run: Run, root: Path) -> Fitted | None:
    """Loads the weights that a run starts from into its network, and returns what was not taken as it is; None for a
    run whose weights are drawn.

    Raises ConfigError when they cannot be had or do not fit, RecordError when they are not those of the run named.
    """
    from models.libraries.weights_file import read_weights
    from models.trained.transfer import fit, measured

    if not run.init_from:
        return None
    path = weights_path(run, root)
    result = path.parent / "result.json"
    if path.name == "weights.safetensors" and result.exists():
        recorded = read_json(result)["weights_sha256"]
    else:
        recorded = weights_digest(path)
    if recorded != weights_digest(path):
        raise RecordError(f"{path}: not the weights that the result was made with (other SHA-256)")
    try:
        weights = read_weights(path)
        windows: Any = getattr(network, "windows", None)
        source = _source(path, network.in_channels) if windows or measured(network) else None
        fitted = fit(network, weights, str(path), source)
    except ModelError as error:
        raise ConfigError(KEY, str(error)) from error
    if measured(network) and source is None and not any(name.endswith(".measured") for name in weights):
        log.warning("%s: the file does not say of which training grid it is: offsets are measured in this one's", path)
    if windows and source is not None and source.windows != windows:
        cut: Any = source.windows
        theirs, ours = (" ".join(f"{m}x{n}" for m, n in one) for one in (cut, windows))
        log.warning("its windows were cut by its grid: %s there, %s here: another architecture", theirs, ours)
    if words := trained_on_validation(run, root):
        log.warning("images of the validation part may have been trained on in %s: %s", run.init_from, words)
    for names, what in (
        (fitted.fresh, "of other classes, so drawn anew"),
        (fitted.carried, "carried to this grid"),
        (fitted.kept, "kept, the unit of offsets, of another grid"),
    ):
        if names:
            log.warning("started from %s: %s: %s", run.init_from, what, ", ".join(names))
    return fitted
