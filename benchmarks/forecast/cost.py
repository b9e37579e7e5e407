"""What a study will take before it is started: parameters, MACs, time, files and bytes, each cell and in all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import models
from benchmarks.errors import RecordError
from benchmarks.forecast import gpu_speed
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.recipes import Recipe, augmentation_words
from benchmarks.plan.run import Evaluation, Run, canonical, names_of_starts
from benchmarks.plan.search import changed_keys
from benchmarks.plan.study import Study
from benchmarks.records.record import Record, read_record

# Assumed where nothing was measured, for one single-threaded CPU process: arithmetic at this rate, and a fixed time for
# each operation of a pass forward, in which small ones spend most of theirs. Forward and backward take three passes.
CPU_FLOPS = 25e9
OPERATION_SECONDS = 0.11e-3 / 3
MANY_TOKENS = 512  # below, products of attention are a small part of a network's operations
TOGETHER = 256  # images of an evaluation that are in a batch at least
EXCHANGE_BYTES = 10e9  # a second between the GPUs of a node, assumed: PCIe 4.0; NVLink is several times as fast
FILES_PER_RUN = 10
STARTS_READ = 20  # records, of a study's
DECODE_SECONDS = 2.5e-3  # of a core, for a photograph of ImageNet's usual 500 x 375 pixels and its square of 224
PROBE_SECONDS = 2e-8  # to change a value (a pixel of a channel): measured at 32 px, the mean of all probes
OTHER_BYTES = 40_000  # a record without weights and predictions


@dataclass(frozen=True)
class CellCost:
    """All the runs that differ only in draw and seed. `seconds` and `bytes` are for one run of it; `waits` says whether
    its photographs are forecast to take longer to decode than the network to learn of them; `trained` of the parameters
    learn."""

    runs: tuple[Run, ...]
    parameters: Mapping[str, int]
    macs: int
    seconds: float
    measured: bool
    bytes: int
    waits: bool = False
    trained: int = 0


@dataclass(frozen=True)
class Slot:
    """What a run computes on: a core of a CPU, or a GPU that it may share.

    `gpu` is a name of the GPU, '' where it is not known. `tflops` are assumed of the slot in training; 0: what follows
    from the others. `form` is how a run will be compiled there. `ranks` GPUs, or cores, compute a run together;
    `workers` are the cores that decode photographs for it.
    """

    device: str = "cpu"
    gpu: str = ""
    runs_per_gpu: int = 1
    tflops: float = 0.0
    form: Callable[[Run], str] = lambda run: "off"
    workers: int = 1
    ranks: int = 1

    def rows(self, batch: int) -> int:
        """Images of a batch that one of the ranks has."""
        return -(-batch // self.ranks)

    @property
    def assumption(self) -> str:
        """What is assumed of it where no run of the same network has been measured there, in words."""
        together = f", {self.ranks} of which compute a run together" if self.ranks > 1 else ""
        return self._assumed + together

    @property
    def _assumed(self) -> str:
        if self.tflops:
            return f"assumed {self.tflops:g} TFLOP/s a slot ({self.device})"
        if self.device == "cuda":
            shared = f", shared by {self.runs_per_gpu} runs" if self.runs_per_gpu > 1 else ""
            return f"assumed {gpu_speed.assumption(self.gpu)}{shared}"
        each = f"{3 * OPERATION_SECONDS * 1e3:.2f} ms for each operation of a step's forward pass"
        return f"assumed {CPU_FLOPS / 1e9:.0f} GFLOP/s a CPU core and {each}"


CPU = Slot()


@dataclass(frozen=True)
class Speeds:
    """What records say of training on a slot: images a second by `speed_key`; and of GPUs how many times longer than
    forecast a step took, by precision, and how long a run took to its steady pace, each the median."""

    rates: Mapping[str, float] = field(default_factory=dict)
    longer: Mapping[str, float] = field(default_factory=dict)
    start: float = gpu_speed.START_SECONDS


NOTHING_MEASURED = Speeds()

# A network that is described, by model, size, options, training resolution, channels and classes.
Built = tuple[str, str, tuple[tuple[str, Any], ...], int, int, int]


@lru_cache(maxsize=8)
def network_without_memory(
    model: str, size: str, options: tuple[tuple[str, Any], ...], image: int, channels: int, classes: int
) -> Any:
    """A network without memory, on the meta device."""
    import torch

    with torch.device("meta"):
        return models.create_model(
            model, image_size=image, in_channels=channels, num_classes=classes, size=size, **dict(options)
        )


@lru_cache(maxsize=1024)
def _facts(built: Built, shown: int) -> Any:
    return network_without_memory(*built).describe(shown, shown)


@lru_cache(maxsize=1024)
def _operations(built: Built) -> tuple[int, int]:
    """Operations of a pass forward that launch a kernel, and weights of two dimensions and more."""
    from benchmarks.forecast.launches import forward_operations

    network = network_without_memory(*built)
    return forward_operations(network, built[3]), sum(weight.ndim > 1 for weight in network.parameters())


@lru_cache(maxsize=1024)
def _trained(built: Built, trained: str) -> int:
    """Parameters that learn under a recipe's `trained`. Raises models.ModelError where none would."""
    from models.trained.frozen import trained_parameters

    found = trained_parameters(network_without_memory(*built), trained, (built[4], built[3], built[3]))
    return sum(parameter.numel() for parameter in found.values())


def _passes(run: Run) -> int:
    """What a step takes, in passes forward: the pass backward is two, and ends at once where the last layers alone
    learn."""
    return 3 if run.recipe.trained == "all" else 1


def built_of(run: Run) -> Built:
    """What decides the network of a run."""
    data = run.data
    return run.model, run.size, tuple(run.options.items()), run.resolution, data.channels, data.classes


def facts(run: Run, resolution: int | None = None) -> Any:
    """What the network says of itself at a resolution, by default of training: parameters, MACs (computed on the
    meta device). Raises models.ModelError when it cannot take that resolution."""
    return _facts(built_of(run), resolution or run.resolution)


def cell_key(run: Run, start: str | None = None) -> str:
    """The same for all runs of a cell: the configuration without draw and seed; `start` is what the weights are called
    that it starts from, where each seed has its own."""
    settings = run.settings() | ({} if start is None else {"init_from": start})
    del settings["draw"], settings["seed"]
    return canonical(settings)


def cell_names(study: Study, with_train_size: bool = True) -> dict[str, str]:
    """By id of a run what its cell is called in tables: model, size, data set, training images, resolution and recipe;
    with the options, and the numbers of the recipe, in which cells differ that have those words in common. What a
    search draws is not among them."""
    drawn = (
        set[str]() if study.tuning is None else {key for one in study.tuning.plan.spaces for key in changed_keys(one)}
    )
    options = _varied(((*run.model_words, run.size), _telling(run)) for run in study.runs)
    recipes = _varied((run.recipe.name, dict(run.recipe)) for run in study.runs)
    names = {}
    for run in study.runs:
        own = [f"{key}={run.options.get(key, '-')}" for key in options[(*run.model_words, run.size)]]
        model = " ".join((*run.model_words, *own, run.size))
        numbers = [f"{key}={getattr(run.recipe, key)}" for key in recipes[run.recipe.name] if key not in drawn]
        recipe = f"{run.recipe.name} ({', '.join(numbers)})" if numbers else run.recipe.name
        images = f" n={run.train_size}" if with_train_size else ""
        names[run.id] = f"{model}, {run.dataset}{images} r={run.resolution}, {recipe}"
    return names


def _telling(run: Run) -> dict[str, Any]:
    """The options of a run but for those that follow from others, or from its recipe."""
    saying_nothing = models.following_options(run.model, run.options)
    return {
        key: value for key, value in run.options.items() if key not in saying_nothing and key not in Recipe.model_fields
    }


def _varied(tables: Iterable[tuple[Any, Mapping[str, Any]]]) -> dict[Any, list[str]]:
    """By name: the keys, in order, of which tables of that name have several values."""
    seen: dict[Any, dict[str, set[Any]]] = {}
    for name, table in tables:
        values = seen.setdefault(name, {})
        for key, value in table.items():
            values.setdefault(key, set()).add(value)
    return {name: [key for key, several in values.items() if len(several) > 1] for name, values in seen.items()}


def cells(study: Study, root: Path, slot: Slot = CPU, speeds: Speeds | None = None) -> list[CellCost]:
    """The cells of a study in its order, with what each run of them takes. `speeds`: as measured under `root`, where
    that is known."""
    groups: dict[str, list[Run]] = {}
    begun = [(canonical([run.model, run.options]), run.init_from) for run in study.runs]
    starts = names_of_starts(begun)
    for run, key in zip(study.runs, begun, strict=True):
        groups.setdefault(cell_key(run, starts[key]), []).append(run)
    speeds = measured(root, study, slot) if speeds is None else speeds
    return [_cell(study, tuple(runs), slot, speeds) for runs in groups.values()]


def _cell(study: Study, runs: tuple[Run, ...], slot: Slot, speeds: Speeds) -> CellCost:
    run = runs[0]
    known = facts(run)
    evaluations = study.evaluations[run.id]
    images = sum(_part_sizes(run)[one.part] for one in evaluations if one.probe == NO_PROBE)  # of a probe none is kept
    classes = run.data.classes
    kept = images * 2 * classes if images * 2 * classes <= 4_000_000 else images * 10
    weights = 4 * sum(known.parameters.values())
    return CellCost(
        runs,
        known.parameters,
        int(known.macs),
        run_seconds(run, evaluations, slot, speeds),
        speed_key(run) in speeds.rates,
        weights + int(kept) + OTHER_BYTES,
        _waits(run, slot, speeds),
        _trained(built_of(run), run.recipe.trained),
    )


def _waits(run: Run, slot: Slot, speeds: Speeds) -> bool:
    decoding = decoding_seconds(run, run.steps * run.recipe.batch_size, slot)
    return speed_key(run) not in speeds.rates and decoding > _training_seconds(run, slot, speeds)


def run_seconds(
    run: Run, evaluations: Sequence[Evaluation], slot: Slot = CPU, speeds: Speeds = NOTHING_MEASURED
) -> float:
    """Seconds of a run with its evaluations on a slot: by the images a second of its training where they were measured
    (an image that is only evaluated takes a third), else by what is assumed of the slot."""
    learning = _training_seconds(run, slot, speeds)
    if speed_key(run) not in speeds.rates:  # what was measured has waited for images, where it had to
        learning = max(learning, decoding_seconds(run, run.steps * run.recipe.batch_size, slot))
    return learning + evaluation_seconds(run, evaluations, slot, speeds)


def decoding_seconds(run: Run, images: float, slot: Slot) -> float:
    """What it takes to decode so many photographs on a slot's cores, while the network learns; 0 where images lie
    decoded."""
    return images * DECODE_SECONDS / max(1, slot.workers) if run.data.photographs else 0.0


def evaluation_seconds(
    run: Run, evaluations: Sequence[Evaluation], slot: Slot = CPU, speeds: Speeds = NOTHING_MEASURED
) -> float:
    """Seconds of the evaluations of a finished run on a slot, by the same rules, a GPU's start included."""
    compared = dict.fromkeys(one.unprobed for one in evaluations if one.probe != NO_PROBE)  # measured once more
    every = (*evaluations, *compared)
    attention = _attention(run, evaluations)
    work = sum(_images(run, one, _part_sizes(run)[one.part], attention) for one in every)
    images = sum(_part_sizes(run)[one.part] for one in every)
    return max(_evaluating_seconds(run, evaluations, work, slot, speeds), decoding_seconds(run, images, slot))


def _evaluating_seconds(run: Run, evaluations: Sequence[Evaluation], work: float, slot: Slot, speeds: Speeds) -> float:
    """The same, where images are there: `work` of them, counted in images of the training resolution."""
    rate, area, macs = speeds.rates.get(speed_key(run)), _training_area(run), facts(run).macs
    start = (speeds.start if slot.device == "cuda" else 0.0) + _probing_seconds(run, evaluations)
    if rate:
        return start + work / (_passes(run) * rate * area)
    operations = _operations(built_of(run))[0]
    if slot.device == "cuda":
        forward = operations * gpu_speed.LAUNCH_SECONDS
        return start + _longer(run, slot, speeds) * work * (forward / TOGETHER + 2 * macs / _flops(run, slot))
    return start + work * (2 * macs / (slot.tflops * 1e12 or CPU_FLOPS) + operations * OPERATION_SECONDS / TOGETHER)


def _probing_seconds(run: Run, evaluations: Sequence[Evaluation]) -> float:
    """What it takes a core to change the images of probes, whatever device the network is on."""
    pixels = sum(
        _part_sizes(run)[one.part] * run.probed_side(one.images, one.resolution) ** 2
        for one in evaluations
        if one.probe != NO_PROBE
    )
    return PROBE_SECONDS * pixels * run.data.channels


def _training_seconds(run: Run, slot: Slot, speeds: Speeds) -> float:
    rate, batch = speeds.rates.get(speed_key(run)), run.recipe.batch_size
    if rate:
        return run.steps * batch / rate
    if slot.device == "cuda":
        return _longer(run, slot, speeds) * run.steps * step_seconds(run, slot)
    flops = 2 * _passes(run) * facts(run).macs * slot.rows(batch) * _training_area(run)
    fixed = _passes(run) * _operations(built_of(run))[0] * OPERATION_SECONDS
    return run.steps * (fixed + flops / (slot.tflops * 1e12 or CPU_FLOPS))


def _longer(run: Run, slot: Slot, speeds: Speeds) -> float:
    """How many times longer than forecast a GPU has taken, where nobody says what it does."""
    return 1.0 if slot.tflops else speeds.longer.get(run.precision, 1.0)


def step_seconds(run: Run, slot: Slot) -> float:
    """Seconds of a training step on a GPU, forecast (`gpu_speed`)."""
    operations, weights = _operations(built_of(run))
    forward = operations * _passes(run) / 3  # of which `launches` takes there to be three
    launched = gpu_speed.launches(forward, weights, run.precision, slot.form(run)) * gpu_speed.LAUNCH_SECONDS
    images = slot.rows(run.recipe.batch_size) * _training_area(run)
    return launched + _exchange_seconds(run, slot) + 2 * _passes(run) * facts(run).macs * images / _flops(run, slot)


def _exchange_seconds(run: Run, slot: Slot) -> float:
    """Seconds in which the ranks of a run add up its gradients, in float32, each sending and receiving them nearly
    twice (a ring: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", 2009)."""
    return 8 * sum(facts(run).parameters.values()) * (slot.ranks - 1) / slot.ranks / EXCHANGE_BYTES


def _flops(run: Run, slot: Slot) -> float:
    """FLOP/s of one of the runs that share a GPU: what the user says, else its share of what the GPU has."""
    return slot.tflops * 1e12 or gpu_speed.flops(slot.gpu, run.precision) / slot.runs_per_gpu


def _part_sizes(run: Run) -> dict[str, int]:
    """Images of the parts that can be evaluated."""
    return {"test": run.data.test_count, "test_unique": run.data.test_count, "validation": run.part_sizes[1]}


def _training_area(run: Run) -> float:
    """Area of the training images, in images of the training resolution: the mean over the recipe's resolutions."""
    several = run.recipe.train_resolutions
    if not several or models.resizes_input(run.model, run.options):
        return 1.0
    return sum((side / run.resolution) ** 2 for side in several) / len(several)


def _attention(run: Run, evaluations: Sequence[Evaluation]) -> float:
    """The share of a network's operations, at the training resolution, that grows with the square of an image's area,
    as attention between all of its places does: told by the operations at the largest resolution of the evaluations."""
    largest = max((one.resolution for one in evaluations if one.images != "patch"), default=run.resolution)
    here, area = facts(run), (largest / run.resolution) ** 2
    if area <= 1 or here.tokens * area < MANY_TOKENS or models.resizes_input(run.model, run.options):
        return 0.0
    return max(0.0, (facts(run, largest).macs / here.macs / area - 1) / (area - 1))


def _images(run: Run, one: Evaluation, count: int, attention: float = 0.0) -> float:
    """What an evaluation of `count` images takes, in images of the training resolution; `attention`: see above."""
    if one.batchnorm == "reestimated" and one.part == "test":  # its statistics serve every part
        count += run.part_sizes[0]
    count *= 2 if one.views == "mirrored" else 1
    if one.images == "patch" or models.resizes_input(run.model, run.options):
        return count
    area = (one.resolution / run.resolution) ** 2
    return count * area * (1 - attention + attention * area)


def speed_key(run: Run) -> str:
    """What decides the speed of a run: its network and what of it learns, resolution, precision, batch, augmentation,
    and its data where they are photographs, which are decoded meanwhile."""
    return canonical(
        [
            *([run.dataset] if run.data.photographs else []),
            run.model,
            run.size,
            dict(run.options),
            run.resolution,
            run.precision,
            run.recipe.batch_size,
            augmentation_words(run.recipe, run.data.flips),
            run.recipe.trained,
        ]
    )


def measured_start(root: Path, study: Study) -> float:
    """The longest start of an attempt (s, to its first step) in a few records of the study; 0 where there is none."""
    found = [0.0]
    recorded = (run for run in study.runs if (root / run.id / "config.json").exists())
    for run in islice(recorded, STARTS_READ):
        with suppress(RecordError):
            attempts = read_record(root / run.id).attempts
            found += [float(one["seconds"]["start"]) for one in attempts if one["seconds"]]
    return max(found)


def measured(root: Path, study: Study, slot: Slot = CPU) -> Speeds:
    """What the study's records say of training on a slot: those made on its device, and for a GPU on that kind of GPU,
    shared by as many runs, compiled in the same form."""
    rates: dict[str, float] = {}
    longer: dict[str, list[float]] = {}
    starts: list[float] = []
    for run in study.runs:
        key = speed_key(run)
        if key in rates or not (root / run.id / "config.json").exists():
            continue
        with suppress(RecordError):
            record = read_record(root / run.id)
            timed = [one for one in record.attempts if one["images_per_second"] and _is_of(record, one, run, slot)]
            if not timed:
                continue
            rates[key] = float(timed[-1]["images_per_second"])
            if slot.device == "cuda":
                forecast = step_seconds(run, slot)
                longer.setdefault(run.precision, []).append(run.recipe.batch_size / rates[key] / forecast)
                starts.append(timed[-1]["seconds"]["start"] + timed[-1]["seconds"]["first_steps"])
    medians = {precision: median(ratios) for precision, ratios in longer.items()}
    return Speeds(rates, medians, median(starts) if starts else gpu_speed.START_SECONDS)


def _is_of(record: Record, attempt: Mapping[str, Any], run: Run, slot: Slot) -> bool:
    """Whether an attempt's speed is that of a slot. An attempt on a GPU says how many shared it."""
    execution = record.execution or {}
    on_gpu = execution.get("device") == "cuda"
    if execution.get("ranks", 1) != slot.ranks:  # absent in early records
        return False
    if not on_gpu or slot.device != "cuda":
        return not on_gpu and slot.device != "cuda"
    return (
        (not slot.gpu or gpu_speed.kind_of(execution["capability"]) == gpu_speed.kind_of(slot.gpu))
        and attempt.get("runs_per_gpu") == slot.runs_per_gpu
        and execution.get("compile", "off") == slot.form(run)
    )
