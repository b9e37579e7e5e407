"""`inductive prepare`: everything a study needs from outside, so that training never touches the network.

`STEPS` is what is prepared, in order; each takes a study, the data folder and how to pack photographs, and says a line
for what it did.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import models
from benchmarks.data import duplicates, folders, official, store
from benchmarks.data.catalogue import PHOTOGRAPHS, dataset, forget
from benchmarks.data.dataset import FOLDER, Dataset, Places
from benchmarks.data.shards import UNREADABLE, Show, silently
from benchmarks.errors import InductiveError
from benchmarks.files import read_json
from benchmarks.plan.study import Study
from benchmarks.running import preflight
from benchmarks.training.training import model_of
from models.catalogue.ready_made import adapter, library_of
from models.libraries.weights_file import GET, read_weights

CHANNELS = 3  # of what libraries' weights are made for


@dataclass(frozen=True)
class Packing:
    """How photographs are packed: the share of files that may be left out, since they cannot be decoded, and what
    shows how far it is."""

    unreadable: float = UNREADABLE
    show: Show = silently


DEFAULT = Packing()


def data_sets(study: Study, data: Path, packing: Packing = DEFAULT) -> Iterator[str]:
    """The data sets of a study, and the lists of duplicates it wants left out."""
    for needed in preflight.data_sets(study, study.runs):
        yield from data_set(needed.name, data, packing)
        if needed.list_of_duplicates:
            found = duplicates.read_list(needed.name, data)
            path = duplicates.list_path(needed.name, data)
            yield f"{needed.name}: {len(found.indices):,} test images are listed in {path}"


def weights(study: Study, data: Path, packing: Packing = DEFAULT) -> Iterator[str]:
    """The weights of ready-made networks, by the libraries' own download into their own cache; files are looked for."""
    for (model, source), run in preflight.weights(study.runs).items():
        try:
            if source.startswith("library"):
                model_of(run)
                yield f"{model}: weights {source} are there"
            else:
                path = Path(source.removeprefix("file:"))
                yield f"{model}: weights {path}, {len(read_weights(path))} tensors"
        except models.ModelError as error:
            raise InductiveError(str(error)) from error


def library_weights(given: str) -> Iterator[str]:
    """The weights of one ready-made network, `timm:NAME` or `timm:NAME.TAG`, by the library's own download."""
    name, _, tag = given.partition(":")[2].partition(".")
    library = library_of(given)
    try:
        adapter(library)(
            name=name,
            image_size=None,
            in_channels=CHANNELS,
            num_classes=1,
            weights=f"library:{tag}" if tag else "library",
        )
    except models.ModelError as error:
        raise InductiveError(str(error).removesuffix(f"; {GET}")) from error
    yield f"{given}: the library's weights are there"


STEPS: tuple[Callable[[Study, Path, Packing], Iterator[str]], ...] = (data_sets, weights)


def data_set(name: str, data: Path, packing: Packing = DEFAULT) -> Iterator[str]:
    """Downloads, verifies, indexes and decodes or packs a data set; what is done already is only verified."""
    if name in PHOTOGRAPHS:
        yield from store.prepare_photographs(name, data, packing.show, packing.unreadable, download=True)
        return
    if name.startswith(FOLDER) and folders.place(name, data).is_dir():
        before = _fingerprint(name, data)
        index = folders.current_index(name, data, anew=True)
        forget()
        again = "unchanged" if before == index.fingerprint else "indexed"
        yield f"{name}: {again}: {_described(index.dataset())}"
        yield from folders.described(index)
        if left_out := folders.other_files(name, data):
            yield left_out
    spec = dataset(name, Places(data))
    if spec.photographs:
        yield from store.prepare_photographs(name, data, packing.show, packing.unreadable)
    elif spec.bundled:
        yield f"{name}: {spec.reference}; nothing to do"
    elif store.is_ready(spec, data, whole=True) and not (words := _origin(spec, data))[1]:
        yield f"{name}: ready at {data / folders.STORE}, every byte as decoded; {words[0]}"
    else:
        images = store.build(spec, data, download=True)
        store.load_images.cache_clear()
        size = sum(images.array(part).nbytes for part in ("train", "test")) / 1e6
        yield f"{name}: decoded to {data / folders.STORE}, {size:,.0f} MB: {_described(spec)}; {images.official}"


def _origin(spec: Dataset, data: Path) -> tuple[str, bool]:
    """What is known of the origin of what was decoded, and whether decoding it anew would make it verified.

    Raises InductiveError for a file, where all are still there, that is damaged by now: what was decoded is not, but
    whoever decodes it anew would need it."""
    words = store.load_images(spec.name, data).official
    if not store.has_files(spec, data):
        return words, False
    now = official.checked(spec, data)
    if words.startswith(official.UNVERIFIED):
        return now, not now.startswith(official.UNVERIFIED)
    return words, False


def find_duplicates(name: str, data: Path) -> Iterator[str]:
    """Lists the test images that equal a training image, for `duplicates = "leave_out"`."""
    found = duplicates.find(store.load_images(name, data))
    if not len(found.indices):
        yield f"{name}: no test image equals a training image to the byte; no list is written"
        return
    path = duplicates.write_list(name, data, found)
    yield f"{name}: {len(found.indices):,} test images equal a training image to the byte; listed in {path}"


def _described(spec: Dataset) -> str:
    colour = "grey" if spec.channels == 1 else "colour"
    side = "of any size" if spec.photographs else f"{spec.native_resolution}x{spec.native_resolution}"
    return (
        f"{sum(spec.train_counts):,} training and {spec.test_count:,} test images, {side}, {colour}, "
        f"{spec.classes} classes"
    )


def _fingerprint(name: str, data: Path) -> str:
    path = folders.index_path(name, data)
    return str(read_json(path).get("fingerprint", "")) if path.exists() else ""
