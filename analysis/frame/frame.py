"""One tidy table of records: one row per run and evaluation.

    frame = load(Path("runs"), load_study("quickstart"))    # or several studies; none: every record in the folder
    frame.main.groupby(["arm", "label", "train_size"])["accuracy"].mean()

`Frame.main` has a row a run: its test accuracy at the training resolution. `Frame.rows` has every evaluation, also on
other parts and at other resolutions, which no mean should mix. `COLUMNS` names every column once, with its unit. An
option that a model does not have is "-", never NaN, because pandas' groupby silently drops rows with NaN keys. A folder
that cannot be read is a row of `problems`.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import models
from analysis.frame.main_rows import at_home
from analysis.frame.naming import NONE, differing, hardware, model_of, name_recipes, text, without_tuned
from analysis.frame.predictions import KEPT, read_predictions
from analysis.frame.rows import each_group, each_row
from analysis.frame.studies import joined
from analysis.statistics import collapses, intervals
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Dataset, Places
from benchmarks.errors import RecordError
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.recipes import Recipe, augmentation_words, typed
from benchmarks.plan.run import Run, canonical, names_of_starts, usually_shown
from benchmarks.plan.study import Study
from benchmarks.records.init_from import run_sources
from benchmarks.records.record import Record
from benchmarks.records.roots import opened
from benchmarks.records.sources import is_current, known_code
from benchmarks.records.validity import UNREADABLE, problem, valid_record
from models.catalogue.ready_made import is_ready_made

STARVED_BELOW = 0.99
LOADED, READY_MADE = "loaded", "ready-made"  # of the column initial, where `initial` of the run says nothing

COLUMNS = {
    # the run, as configured
    "run": "id of the run, and name of its folder",
    "state": "missing, queued, running, interrupted, finished, failed, diverged, lost or stale",
    "reason": "why it failed (last line of the traceback, or what is wrong in its record) or is stale (what changed)",
    "model": "family of the model; of the ladder, with its mixer",
    "size": "tier or published size",
    "position": "positional encoding; '-' where the model has none to choose",
    "position_options": "options of the encoding itself that differ within a condition, 'key=value, ...'; '-' if none",
    "options": "further model options that differ within a condition, as 'key=value, ...'; '-' if none",
    "initial": "how weights start: literature, library, torch; ready-made, as a library makes its own; loaded: from "
    "init_from or weights; '-' in records of before there was a choice",
    "weights": "of a ready-made network: library, library:TAG, or the name of a file; '-' for none",
    "published": "what of these weights' own configuration is used: transforms, head, both, or '-'",
    "label": "display name: model, and what differs between runs of this model",
    "dataset": "name of the data set",
    "classes": "of the data set",
    "chance": "accuracy of answering the most frequent class of the test part, share 0..1; where no record keeps its "
    "labels, of classes taken as equally frequent",
    "train_size": "labels used, images; validation included where it is a share",
    "validation": "below 1: share of train_size; from 1 on: images outside train_size (oracle); 0: none",
    "resolution": "training resolution, pixels",
    "recipe": "name of the recipe, and the numbers in which runs of that name differ, but for a model's own",
    "recipe_own": "what of it differs between the models of a condition, as 'key=value, ...'; '-' if nothing",
    "augmentation": "of the recipe, in words",
    "budget_kind": "steps, epochs or images",
    "budget": "amount of budget_kind",
    "draw": "number of the subset draw",
    "seed": "number of the seed",
    "draw_runs": "where draws and seeds are crossed: runs planned of its cell and draw, whose mean is one unit; else 1",
    "precision": "of the network's arithmetic",
    "protocol": "version of what a configuration means",
    # the run, as it went
    "attempts": "processes that worked on the run",
    "updates": "optimiser steps done",
    "images_seen": "images processed in training, repeats counted",
    "train_images": "images trained on",
    "validation_images": "images of the validation part",
    "train_loss": "cross-entropy on the training images without augmentation, final weights, nats",
    "train_accuracy": "accuracy on the same, share 0..1",
    "starved": "True: mean train_accuracy over the run's cell is below the study's limit",
    "collapsed": "True: its test accuracy is far below those of its cell (docs/statistics.md)",
    "batch_norm_images": "images its BatchNorm normalised by, where memory was too short for a batch; NaN: a batch",
    "diverged_at": "step at which the loss stopped being finite",
    "parameters_backbone": "trained numbers without position and head",
    "parameters_position": "trained numbers of the positional encoding",
    "parameters_head": "trained numbers of the classifier",
    "macs": "multiply-accumulates an image at the training resolution; FLOPs are twice that",
    "images_per_second": "in training, of the last attempt that measured it",
    "alone": "True: that attempt is known to have run with no other beside it on its GPU, or without one in its job",
    "side_by_side": "runs of that attempt's GPU, or without one of its job, it among them; NaN: not recorded",
    "training_seconds": "in training, all attempts",
    "hardware": "device, its capability, and processor: of the attempt that images_per_second is of, else the last",
    # the run, as the study speaks of it
    "trials": "configurations tried in tuning before its recipe was fixed, as the study states; NaN: not stated",
    # the evaluation
    "evaluation": "id of the evaluation",
    "part": "test, validation, or test_unique (the test part without known duplicates)",
    "test_resolution": "pixels",
    "images": "how the images got that size: resize, canvas or patch (docs/studies.md)",
    "carry": "how positions were carried to that size; '-' at the training resolution or without positions",
    "carry_default": "True: that is the model's default way, or there is nothing to carry",
    "crop": "share of the image's side that was shown, from its middle: 1 for all of it",
    "resize_side": "pixels of the image's shorter side before its middle was shown; 0: as crop says",
    "interpolation": "how pixels were resized, antialiased: bilinear or bicubic",
    "aspect": "of photographs: kept, or squashed to a square",
    "shown_default": "True: crop, resize_side, interpolation and aspect are the model's usual ones: the whole image, "
    "bilinear, or as its weights were published",
    "batchnorm": "statistics of BatchNorm: kept from training, or reestimated on the images as they were shown",
    "views": "one: of the image itself; mirrored: the mean of its logits and those of its mirror image",
    "probe": "what was changed in the images, or in their labels (docs/probes.md); '-': nothing",
    "strength": "of the probe, from 1; 0: there is none",
    "count": "images evaluated",
    "accuracy": "top-1, share 0..1",
    "nll": "mean negative log-likelihood, nats",
    "calibration": "expected calibration error, 15 bins of equal width, predicted class, share 0..1; NaN: not measured",
    "consistency": "share of images taken for the same class as without the probe, 0..1; NaN: no probe, or a control",
    "evaluated_per_second": "images a second of this evaluation, as measured; NaN where that was not recorded",
    "evaluated_alone": "True: the attempt that measured that is known to have run with no other beside it, as `alone`",
    "predictions": "kept of each image: logits, top5, classes or none",
    "measuring_code": "digest of the code that measured it; '-' in records of before it was kept",
    "current": "True: this version measures so; else `status` counts it as missing, and `run` measures it again",
}
EVALUATION = [
    *("evaluation", "part", "test_resolution", "images", "carry", "carry_default", "crop", "resize_side"),
    *("interpolation", "aspect", "shown_default"),
    *("batchnorm", "views"),
    *("probe", "strength"),
    *("count", "accuracy", "nll", "calibration", "consistency", "evaluated_per_second", "evaluated_alone"),
    *("predictions", "measuring_code", "current"),
]
SCORES = ["accuracy", "nll", "calibration", "consistency"]
RUN = [name for name in COLUMNS if name not in EVALUATION]

MEASURED = [  # numbers that a run may not have come to, or that nobody states: NaN until then
    *("updates", "images_seen", "train_images", "validation_images", "train_loss", "train_accuracy", "diverged_at"),
    "batch_norm_images",
    *("parameters_backbone", "parameters_position", "parameters_head", "macs"),
    *("images_per_second", "side_by_side", "training_seconds", "trials"),
]

# What must agree for runs to be comparable: an arm of the study. A table or figure holds one arm.
ARM = [
    "dataset",
    "size",
    "recipe",
    "budget_kind",
    "budget",
    "resolution",
    "validation",
    "precision",
    "protocol",
]
CELL = [*ARM, "label", "train_size"]  # the runs of a cell differ in draw and seed alone


@dataclass(frozen=True)
class Frame:
    """`rows`: a row per run and evaluation (COLUMNS). `runs`: a row per run whatever its state (RUN columns).
    `problems`: a row per folder that cannot be read (columns folder, problem). `recipes`: full name of a recipe to
    its numbers. `starved_below`: the share used for the column starved. `datasets`: what is known of each, by name.
    `outdated`: evaluations of probes by measuring code of before (columns run and EVALUATION), which `rows` lack."""

    rows: pd.DataFrame
    runs: pd.DataFrame
    problems: pd.DataFrame
    recipes: dict[str, dict[str, Any]]
    starved_below: float
    datasets: dict[str, Dataset]
    outdated: pd.DataFrame

    @cached_property
    def main(self) -> pd.DataFrame:
        """A row per run that was evaluated: on the test images at its training resolution, with nothing else changed.

        Columns: `arm`, the number that its arm (the columns ARM) has on the page and in the CSV tables, then COLUMNS.
        Runs of several arms answer several questions: group by `arm` first."""
        number = self.runs.groupby(ARM, sort=False).ngroup() + 1
        rows = at_home(self.rows)
        arms = rows["run"].map(dict(zip(self.runs["run"], number, strict=True)))
        return rows.assign(arm=arms)[["arm", *COLUMNS]].reset_index(drop=True)


def load(root: Path | str, *studies: Study, runs: Iterable[str] | None = None) -> Frame:
    """The records under `root`, in the order of the studies or by name.

    `root` may be an archive of `inductive pack`. With studies: their runs (one of several is one run), whether or not
    they have a folder, with the evaluations they ask for; finished runs whose sources have changed since are "stale".
    Without: every folder that is not hidden, with all evaluations. `runs` limits both to these ids. Unreadable folders
    are counted in `problems`; a run of a study behind such a folder stays in `Frame.runs`, as "failed", with the
    problem as reason. Raises ConfigError for studies that do not go together, RecordError where there is no such folder
    and no study.
    """
    root = opened(Path(root))
    if not root.is_dir() and not studies:
        raise RecordError(f"{root}: there is no such folder of records")
    study = joined(studies) if studies else None
    only = None if runs is None else set(runs)
    wanted = _runs_of_study(study, root, only) if study is not None else _runs_of_folder(root, only)
    datasets = {run.dataset: run.data for run in study.runs} if study is not None else {}
    entries = [_read(one, root, datasets) for one in wanted]
    problems = [{"folder": one.name, "problem": one.problem} for one in entries if one.problem]
    known = {one.name: one for one in entries if one.settings}
    starved_below = study.starved_below if study is not None else STARVED_BELOW
    settings = {name: one.settings for name, one in known.items()}
    tuned = study.tuned if study is not None else {}
    alike = {
        name: without_tuned(one, tuned[name].recipe_keys) if name in tuned else one for name, one in settings.items()
    }
    table = _table_of_runs([one.row for one in known.values()], study)
    recipes = name_recipes(table, alike, ARM, {name: one.space for name, one in tuned.items()})
    _name_labels(table, alike)
    _mark_starved(table, starved_below)
    _count_draws(table)
    evaluated = _table_of_evaluations([row for one in known.values() for row in one.evaluations])
    _count_classes(table, evaluated, root)
    _mark_collapsed(table, evaluated)
    rows = table.merge(evaluated, on="run", how="inner")[list(COLUMNS)]
    unreadable = pd.DataFrame(problems, columns=["folder", "problem"])
    outdated = _table_of_evaluations([row for one in known.values() for row in one.outdated])
    return Frame(rows, table, unreadable, recipes, starved_below, datasets, outdated)


@dataclass(frozen=True)
class _Wanted:
    """A run to be read. Of a study: with its run, the ids of its evaluations, and the digests of its sources today.
    Else its name is all that is known, and all of its evaluations are wanted (None)."""

    name: str
    run: Run | None = None
    evaluations: frozenset[str] | None = None
    sources: Mapping[str, str] | None = None


@dataclass(frozen=True)
class _Entry:
    """What was read of a run: its configuration (empty where neither study nor record has one), its columns in
    `Frame.runs`, those of its evaluations, what is wrong with its folder ('': nothing), and the evaluations that are
    left out, as code that has changed since measured them."""

    name: str
    settings: Mapping[str, Any]
    row: Mapping[str, Any]
    evaluations: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""
    outdated: tuple[Mapping[str, Any], ...] = ()


def _runs_of_study(study: Study, root: Path, only: Set[str] | None) -> list[_Wanted]:
    """The runs of a study in its order, whether or not they have a folder; `only` those with these ids."""
    return [
        _Wanted(run.id, run, frozenset(one.id for one in study.evaluations[run.id]), run_sources(run, root))
        for run in study.runs
        if only is None or run.id in only
    ]


def _runs_of_folder(root: Path, only: Set[str] | None) -> list[_Wanted]:
    """Every folder that is not hidden, by name; `only` those with these names."""
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [_Wanted(name) for name in names if only is None or name in only]


def _read(wanted: _Wanted, root: Path, datasets: dict[str, Dataset]) -> _Entry:
    """What is known of a run; `datasets` gains the data set of a record that it does not have yet."""
    if not (root / wanted.name).is_dir():
        return _without_record(wanted, datasets, "missing", "")
    try:
        return _of_record(wanted, root, datasets)
    except UNREADABLE as error:
        return _without_record(wanted, datasets, "failed", problem(error))


def _of_record(wanted: _Wanted, root: Path, datasets: dict[str, Dataset]) -> _Entry:
    """Raises an error of UNREADABLE for a record that is not valid."""
    name = wanted.name
    record = valid_record(root / name, wanted.run, now_sources=wanted.sources, whole=True)
    settings = wanted.run.settings() if wanted.run is not None else record.config["run"]
    used = settings["dataset"]
    datasets[used] = datasets.get(used) or dataset(used, Places(data=None, runs=root))
    row = {**_configured(name, settings, datasets[used]), **_happened(record)}
    rates = _evaluation_rates(record)
    asked = wanted.evaluations
    shown: list[dict[str, Any]] = []
    outdated: list[dict[str, Any]] = []
    for entry in record.evaluations:
        one = _evaluated(name, entry, settings, rates)
        if one["probe"] != NO_PROBE:
            (shown if one["current"] else outdated).append(one)
        elif asked is None or one["evaluation"] in asked:
            shown.append(one)
    return _Entry(name, settings, row, tuple(shown), outdated=tuple(outdated))


def _without_record(wanted: _Wanted, datasets: Mapping[str, Dataset], state: str, wrong: str) -> _Entry:
    """A run that has no folder, or one that cannot be read: in `Frame.runs` where a study says what it is."""
    if wanted.run is None:
        return _Entry(wanted.name, {}, {}, problem=wrong)
    settings = wanted.run.settings()
    configured = _configured(wanted.name, settings, datasets[settings["dataset"]])
    return _Entry(wanted.name, settings, {**configured, "state": state, "reason": wrong, "attempts": 0}, problem=wrong)


def _table_of_runs(rows: Sequence[Mapping[str, Any]], study: Study | None) -> pd.DataFrame:
    """`Frame.runs`, but for the columns that depend on other runs."""
    table = pd.DataFrame(rows, columns=RUN)
    table["trials"] = table["run"].map(study.trials if study is not None else {})
    table[MEASURED] = table[MEASURED].astype(float)
    return table


def _table_of_evaluations(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The columns EVALUATION of `Frame.rows`, by run."""
    evaluated = pd.DataFrame(rows, columns=["run", *EVALUATION])
    measured = [*SCORES, "evaluated_per_second"]
    evaluated[measured] = evaluated[measured].astype(float)
    for name in ("carry_default", "shown_default", "evaluated_alone", "current"):
        evaluated[name] = evaluated[name].astype(bool)
    return evaluated


def _initial(settings: Mapping[str, Any]) -> str:
    """How the weights of a run really started; `initial` says it of networks of ours that begin anew."""
    if settings.get("init_from") or settings["options"].get("weights", "none") != "none":
        return LOADED
    return READY_MADE if is_ready_made(settings["model"]) else str(settings.get("initial", NONE))


def _weights(options: Mapping[str, Any]) -> str:
    kind, _, place = str(options.get("weights", "none")).partition(":")
    return Path(place).name if kind == "file" else NONE if kind == "none" else str(options["weights"])


def _published(options: Mapping[str, Any]) -> str:
    used = {"transforms": "weights", "head": "kept"}
    return " and ".join(name for name, value in used.items() if options.get(name) == value) or NONE


def _configured(name: str, settings: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """The columns that the configuration decides; labels and the recipe's name are completed afterwards."""
    [(kind, amount)] = settings["budget"].items()
    same = (
        "model",
        "size",
        "dataset",
        "train_size",
        "resolution",
        "draw",
        "seed",
        "precision",
        "protocol",
    )
    return {
        "run": name,
        **{key: settings[key] for key in same},
        "model": model_of(settings),
        "classes": data.classes,
        "position": str(settings["options"].get("position", NONE)),
        "initial": _initial(settings),
        "weights": _weights(settings["options"]),
        "published": _published(settings["options"]),
        "position_options": NONE,
        "options": NONE,
        "validation": float(settings["validation"]),
        "recipe": settings["recipe"]["name"],
        "recipe_own": NONE,
        "augmentation": augmentation_words(recipe_of(settings["recipe"]), data.flips),
        "budget_kind": kind,
        "budget": float(amount),
    }


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """The recipe of a configuration's plain values. Raises pydantic's ValidationError for another version's."""
    return Recipe.model_validate(typed(values))


def _happened(record: Record) -> dict[str, Any]:
    """The columns that the record of the run decides. Numbers that the run has not come to are absent (NaN)."""
    attempts = record.attempt_list
    measured = [attempt for attempt in attempts if (attempt.ended or {}).get("images_per_second")]
    beside = (measured[-1].ended or {}).get("runs_per_gpu") if measured else None
    seconds = [(a.get("seconds") or {}).get("training") for a in record.attempts]
    execution = record.execution or {}
    row: dict[str, Any] = {
        "state": record.state,
        "reason": record.reason or "",
        "attempts": len(record.attempts),
        "images_per_second": measured[-1].summary()["images_per_second"] if measured else None,
        "alone": beside == 1 and execution.get("ranks", 1) == 1,  # absent in early records
        "side_by_side": beside,
        "training_seconds": sum(s for s in seconds if s is not None) if any(seconds) else None,
        "hardware": hardware(execution, (measured or attempts)[-1].environment() if attempts else {}) or NONE,
    }
    result = record.result
    if result is not None:
        same = (
            "train_images",
            "validation_images",
            "train_loss",
            "train_accuracy",
            "diverged_at",
            "macs",
        )
        row |= {key: result[key] for key in same}
        row |= {f"parameters_{part}": result["parameters"][part] for part in ("backbone", "position", "head")}
        row |= {"updates": result["step"], "images_seen": result["images"]}
        row["batch_norm_images"] = result["micro_batch"] if result.get("batch_norm") else None
    return row


def _evaluation_rates(record: Record) -> dict[str, tuple[float, bool]]:
    """Images a second by evaluation id, of the last attempt that measured it; and whether it was alone."""
    rates: dict[str, tuple[float, bool]] = {}
    for attempt in record.attempts:
        alone = attempt.get("runs_per_gpu") == 1  # absent in early records
        rates |= {name: (rate, alone) for name, rate in (attempt.get("evaluation_rates") or {}).items()}
    return rates


def _evaluated(
    name: str, entry: Mapping[str, Any], settings: Mapping[str, Any], rates: Mapping[str, tuple[float, bool]]
) -> dict[str, Any]:
    how = {"crop": 1.0, "resize_side": 0, "interpolation": "bilinear", "aspect": "kept", **entry["evaluation"]}  # later
    default = default_way(settings["model"], settings["options"])
    shown = usually_shown(settings["model"], settings["options"])
    rate, alone = rates.get(entry["id"], (None, False))
    return {
        "run": name,
        "evaluation": entry["id"],
        "part": how["part"],
        "test_resolution": how["resolution"],
        "images": how["images"],
        "carry": how["carry"],
        "carry_default": how["carry"] == NONE or default in (None, how["carry"]),
        "crop": float(how["crop"]),
        "resize_side": how["resize_side"],
        "interpolation": how["interpolation"],
        "aspect": how["aspect"],
        "shown_default": (how["crop"], how["interpolation"], how["aspect"]) == shown and how["resize_side"] == 0,
        "batchnorm": how.get("batchnorm", "kept"),
        "views": how.get("views", "one"),
        "probe": how.get("probe", NO_PROBE),
        "strength": how.get("strength", 0),
        "count": entry["count"],
        "accuracy": entry["accuracy"],
        "nll": entry["nll"],
        "calibration": entry.get("calibration"),  # absent in records of before it was measured
        "consistency": entry.get("consistency"),
        "predictions": entry["predictions"],
        "evaluated_per_second": rate,
        "evaluated_alone": alone,
        "measuring_code": known_code(entry.get("code") or NONE),
        "current": is_current(entry),
    }


def default_way(model: str, options: Mapping[str, Any]) -> str | None:
    """A model's default way of carrying positions; None without one, and for a plugin's model that is not loaded."""
    try:
        return next(iter(models.carry_ways(model, options=options)), None)
    except models.ModelError:
        return None


def _named_settings(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """By run what can tell apart runs of one model in an arm: its options, and the weights it starts from."""
    begun = {run: (_model(one), one.get("init_from") or "none") for run, one in settings.items()}
    starts = names_of_starts(begun.values())
    return {
        run: {**one["options"], "initial": one.get("initial", NONE), "init_from": starts[begun[run]]}
        for run, one in settings.items()
    }


def _model(settings: Mapping[str, Any]) -> str:
    """A model with its options, but for drop path, which follows the recipe."""
    options = {key: value for key, value in settings["options"].items() if key != "drop_path"}
    return canonical([settings["model"], options])


def _saying_nothing(settings: Mapping[str, Any]) -> frozenset[str]:
    """The options of a run whose values follow from its others, or are usual for its encoding and mixer; none of a
    plugin's model that is not loaded."""
    about = settings["model"], settings["options"]
    try:
        return models.following_options(*about) | models.usual_options(*about)
    except models.ModelError:
        return frozenset()


def _name_labels(table: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Fills the columns label, options and position_options: the model and those of its options that differ within
    some arm.

    Options that differ only between arms (stochastic depth follows the recipe) are no part of the name, so a model
    has one name in the whole study. Options that not all runs of a model have belong to their encoding. Options that
    say nothing in any run of a model that has them are no part of its name either.
    """
    settled = _named_settings({run: settings[run] for run in table["run"]})
    named: dict[str, dict[str, None]] = {}  # model to its differing option keys, in order
    common: dict[str, set[str]] = {}
    for (model, *_), group in each_group(table, ["model", *ARM]):
        options = [settled[run] for run in group["run"]]
        named.setdefault(model, {}).update(dict.fromkeys(differing(options)))
        shared = set.intersection(*(set(one) for one in options))
        common[model] = common.get(model, shared) & shared

    for model, group in each_group(table, "model"):
        telling = {key for run in group["run"] for key in settled[run].keys() - _saying_nothing(settings[run])}
        named[model] = {key: None for key in named[model] if key in telling}

    columns: dict[str, list[str]] = {"position_options": [], "options": [], "label": []}
    for run, model in zip(table["run"], table["model"], strict=True):
        values = settled[run]
        keys = [key for key in named[model] if key in values and key != "position"]
        own = ", ".join(f"{key}={text(values[key])}" for key in keys if key not in common[model])
        others = ", ".join(f"{key}={text(values[key])}" for key in keys if key in common[model])
        position = str(values["position"]) if "position" in named[model] else ""
        columns["position_options"].append(own or NONE)
        columns["options"].append(others or NONE)
        columns["label"].append(" ".join(part for part in (model, position, own, others) if part))
    for name, texts in columns.items():
        table[name] = pd.Series(texts, index=table.index, dtype="str")


def _mark_starved(table: pd.DataFrame, limit: float) -> None:
    cell_mean = table.groupby(CELL)["train_accuracy"].transform("mean")
    table["starved"] = (cell_mean < limit).astype(bool)


def _count_classes(table: pd.DataFrame, evaluated: pd.DataFrame, root: Path) -> None:
    """Fills chance. The labels of a data set's test part are in any pass that kept predictions of it."""
    home = at_home(evaluated.merge(table[["run", "dataset", "resolution"]], on="run"))
    for name, runs in table.groupby("dataset", sort=False):
        kept = home[(home["dataset"] == name) & home["predictions"].isin(KEPT)]
        read = (read_predictions(root / one.run, one.evaluation, one.part) for one in each_row(kept))
        labels = next((found.labels for found in read if found is not None), None)
        share = intervals.chance(runs["classes"].iloc[0]) if labels is None else np.bincount(labels).max() / len(labels)
        table.loc[runs.index, "chance"] = float(share)


def _mark_collapsed(table: pd.DataFrame, evaluated: pd.DataFrame) -> None:
    """Fills collapsed, from the test accuracy at the training resolution."""
    found = collapses.runs_of(at_home(evaluated.merge(table[["run", "chance", *CELL]], on="run")), CELL)
    table["collapsed"] = table["run"].isin(found)


def _count_draws(table: pd.DataFrame) -> None:
    """Fills draw_runs. It is the plan that decides what a unit is: of three draws with three seeds each, the first
    three runs to finish may be three seeds of one draw, and no interval over draws."""
    draws = table.groupby(CELL)["draw"].transform("nunique")
    seeds = table.groupby([*CELL, "draw"])["seed"].transform("nunique")
    table["draw_runs"] = seeds.where(draws > 1, 1).astype(int)
