"""Preflight: whether all that runs need from outside is on disk, looked at before anything starts or is submitted.

Runs need their data sets, the lists of duplicates that they leave out of the test, files of weights for ready-made
networks, and the weights that `init_from` names. `inductive prepare` gets the first three (prepare.py); `run`, `train`,
`rerun` and `submit` check all of them here.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.data import duplicates, folders, store
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import FOLDER, Places
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.plan.evaluations import leave_out_duplicates
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study
from benchmarks.records import init_from
from models.catalogue.ready_made import is_ready_made


@dataclass(frozen=True)
class Needed:
    """A data set that runs need, and whether their evaluations leave out the test images of its list of duplicates."""

    name: str
    list_of_duplicates: bool


def data_sets(study: Study, runs: Iterable[Run]) -> list[Needed]:
    """The data sets of some runs of a study, each once, in the order of the runs."""
    lists: dict[str, bool] = {}
    for run in runs:
        lists[run.dataset] = lists.get(run.dataset, False) or leave_out_duplicates(study.evaluations[run.id])
    return [Needed(name, wanted) for name, wanted in lists.items()]


def weights(runs: Iterable[Run]) -> dict[tuple[str, str], Run]:
    """By model and source of weights ('library', 'library:NAME', 'file:PATH'): the first run of a ready-made network
    that starts from them."""
    found: dict[tuple[str, str], Run] = {}
    for run in runs:
        source = str(run.options.get("weights", "none"))
        if source != "none" and is_ready_made(run.model):
            found.setdefault((run.model, source), run)
    return found


def decode(study: Study, runs: Iterable[Run], data: Path) -> Iterator[str]:
    """Decodes or packs those data sets of runs whose files are there, for all processes to read; a sentence each.

    Raises InductiveError, with the two ways to get it, for a data set or a list of duplicates that is not there.
    """
    for needed in data_sets(study, runs):
        if store.make_ready(needed.name, data):
            how = "packed" if dataset(needed.name, Places(data)).photographs else "decoded"
            yield f"{needed.name}: {how} once, for all runs, under {data}"
            if needed.name.startswith(FOLDER):
                yield from folders.described(folders.index_of(needed.name, Places(data)))
        if needed.list_of_duplicates:
            duplicates.read_list(needed.name, data)


def without_start(runs: Iterable[Run], root: Path) -> dict[str, str]:
    """Those runs, by id, that start from a run which has diverged or failed, with that state: they have to be set
    aside, and are no reason to keep back the others."""
    states = {run.id: init_from.start_state(run, root) for run in runs}
    return {name: state for name, state in states.items() if state in ("diverged", "failed")}


def aside_words(run: Run, state: str) -> str:
    """Why a run is set aside: the state of the run that it starts from."""
    return f"set aside: {run.id}: it starts from {run.init_from} ({state})"


def learned_words(runs: Iterable[Run], root: Path) -> Iterator[str]:
    """A warning for each way in which validation images of runs were trained on in the runs that they start from."""
    planned = {run.id: run for run in runs}
    found: dict[str, list[str]] = {}
    for run in planned.values():
        if words := init_from.trained_on_validation(run, root, planned):
            found.setdefault(words, []).append(run.id)
    for words, ids in found.items():
        many = f"{ids[0]} and {len(ids) - 1:,} more" if len(ids) > 1 else ids[0]
        yield (
            f"warning: images of the validation part may have been trained on in the run that is started from: {words} "
            f"({many}); what is chosen on validation may be chosen on learned images. Test accuracies are not touched"
        )


def check_weights(runs: Iterable[Run], root: Path) -> None:
    """Raises ConfigError when the weights that a run starts from are not there: a ready-made network's file, or what
    `init_from` names. The libraries' own weights are theirs to look for."""
    runs = list(runs)
    for _, source in weights(runs):
        kind, _, place = source.partition(":")
        if kind == "file" and not Path(place).is_file():
            raise ConfigError("options.weights", f"there is no file {place}")
    for run in runs:
        if run.init_from:
            init_from.check_no_circle(run, root)
            init_from.weights_path(run, root)


def unprepared(
    study: Study, runs: Iterable[Run], root: Path, data: Path, *, decoded: bool = True
) -> Iterator[InductiveError]:
    """What the runs need and is not there, each with the command that gets it: data sets, lists of duplicates, weights.

    `decoded`: data sets must be in the store; else their files are enough, which `run` decodes. Nothing is done."""
    runs = list(runs)
    for needed in data_sets(study, runs):
        spec = dataset(needed.name, Places(data, root))
        if not (spec.bundled or store.is_ready(spec, data) or (not decoded and store.has_files(spec, data))):
            command = f"`inductive prepare {study.argument} --data {shlex.quote(str(data))}`"
            yield InductiveError(f"{needed.name} is not prepared under {data}: {command}")
        elif needed.list_of_duplicates:
            yield from _refusal(partial(duplicates.read_list, needed.name, data))
    yield from _refusal(partial(check_weights, runs, root))


def _refusal(check: Callable[[], object]) -> Iterator[InductiveError]:
    """What a check raises; nothing where it is content."""
    try:
        check()
    except InductiveError as error:
        yield error


def check_prepared(study: Study, runs: Iterable[Run], root: Path, data: Path) -> None:
    """Raises InductiveError, naming `inductive prepare`, unless all that the runs need is ready: nothing is decoded."""
    for lacking in unprepared(study, runs, root, data):
        raise lacking
