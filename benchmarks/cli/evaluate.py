"""`inductive evaluate`: published networks as they are, at several resolutions; a study of runs without a step."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import models
from benchmarks.cli.options import options
from benchmarks.cli.run import run_study, settings_for
from benchmarks.console import say, table, terminal
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Dataset, Places
from benchmarks.data.subsets import least_size
from benchmarks.errors import ConfigError, RecordError
from benchmarks.files import write_atomic
from benchmarks.plan.study import Study, check_name, expand
from benchmarks.records.record import read_record
from benchmarks.running import preflight
from models.catalogue.ready_made import adapter, configuration, is_ready_made, library_of

LOOKED_AT = 1000  # training images whose accuracy is recorded, as of every run: nothing is trained on them


@dataclass(frozen=True)
class Network:
    """A ready-made network and its weights, as the model of a study has them: `options` by name."""

    name: str
    options: dict[str, str]


@click.command()
@click.argument("names", metavar="timm:NAME[.TAG]|torchvision:NAME[.TAG]...", nargs=-1, required=True)
@click.option("--weights", "files", multiple=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The network's weights, once for each name; without, the library's own, which "
              "`inductive prepare timm:NAME` downloads.")  # fmt: skip
@click.option("--dataset", "data_set", required=True, help="ImageNet, a part of it, or what the weights were made for.")
@click.option(
    "--test-resolutions", "sides", metavar="LIST", help="In pixels: 96,128,224. Default: those of the weights."
)
@click.option(
    "--crop", "crops", metavar="LIST", help="Shares of the image's side: 0.875,1; beside that of the weights."
)
@click.option("--resize-side", "shorter", metavar="LIST", help="Pixels of the shorter side before the middle is taken.")
@click.option("--leave-out", is_flag=True, help="Leave out and list sizes that a network cannot take.")
@click.option("--study", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Where the study is written that `report` takes; default: published-DATASET.toml.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Networks side by side; default: one a core or GPU.")  # fmt: skip
@options("runs", "data", "device", "compile", "accept", "workers", "decoder")
def evaluate(names: tuple[str, ...], files: tuple[Path, ...], data_set: str, sides: str | None, crops: str | None,
             shorter: str | None, leave_out: bool, file: Path | None, jobs: int | None, root: Path, data: Path,
             **flags: Any) -> int:  # fmt: skip
    """Published networks as they are, at several resolutions."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # `prepare` alone downloads; read by libraries at their import, below
    places = Places(data, root)
    networks = networks_of(names, files)
    file = file or Path(f"published-{data_set.replace(':', '-').replace('/', '-')}.toml")
    ways = {"crop": _numbers("--crop", crops, float), "resize_side": _numbers("--resize-side", shorter, int)}
    asked = _numbers("--test-resolutions", sides, int)
    text = study_text(networks, dataset(data_set, places), asked, ways, leave_out=leave_out)
    check_name(file)
    try:
        study = replace(expand(tomllib.loads(text), file.stem, places), text=text, given=str(file))
    except ConfigError as error:
        raise error.at("evaluate") from error
    settings = settings_for(data, checkpoint_every=300.0, **flags)
    console = terminal()
    check_weights(study, root)
    for line in preflight.decode(study, study.runs, data):
        say(console, line)
    _write(file, text)  # once all that it needs is there: what is tried again with other options meets no file
    for what, why in study.left_out:
        say(console, f"left out: {what}: {why}")
    code = run_study(study, None, jobs, root, settings, console)
    print_matrix(console, study, root)
    if lacking := own_resolutions_left_out(study):
        say(console, f"the page's main table is of the networks' own resolutions: add {lacking} to --test-resolutions")
    say(console, f"the page: inductive report {study.argument}; the same study: inductive plan, run, submit")
    return code


def networks_of(names: Sequence[str], files: Sequence[Path]) -> list[Network]:
    """The networks that are named, each with its file or the library's weights. Raises ConfigError with the nearest."""
    if files and len(files) != len(names):
        raise ConfigError("--weights", f"are {len(files)} for {len(names)} networks: one file for each name, in order")
    found = []
    for place, given in enumerate(names):
        if not is_ready_made(given):
            near = models.did_you_mean(given.partition(":")[0], ("timm", "torchvision"))
            raise ConfigError("NAME", f"{given!r} is of no library: timm:NAME or torchvision:NAME{near}")
        library = library_of(given)
        inner, _, tag = given.partition(":")[2].partition(".")
        name = f"{library}:{inner}"
        chosen = {"weights": f"library:{tag}" if tag else "library"}
        if files:
            if not files[place].is_file():
                raise ConfigError("--weights", f"there is no file {files[place]}")
            chosen = {"weights": f"file:{files[place]}", **({"tag": tag} if tag else {})}
        try:
            models.family(name)
            if tag and tag not in adapter(library).tags(inner):
                known = adapter(library).tags(inner)
                raise models.ModelError(f"{name} has no weights {tag!r}; there are {', '.join(known)}"
                                        f"{models.did_you_mean(tag, known)}")  # fmt: skip
            configuration(name, chosen)
        except models.ModelError as error:
            raise ConfigError("NAME", str(error)) from error
        found.append(Network(name, chosen))
    return found


def study_text(
    networks: Sequence[Network],
    data: Dataset,
    sides: Sequence[int],
    ways: dict[str, list[Any]],
    *,
    leave_out: bool = False,
) -> str:
    """A study of networks as they are: each at its own resolution, shown images as its weights' configuration says.

    `sides` are the test resolutions, without any those of the configuration; `ways` are axes of an evaluation by key.
    """
    shown = min(sum(data.train_counts), max(LOOKED_AT, least_size(data.train_counts, 0)))
    tables = "".join(f"{{ {key} = {json.dumps(values)} }}, " for key, values in ways.items() if values)
    lines = [
        "# Published networks as they are, by `inductive evaluate`: no step is trained, nothing is chosen.",
        f"question = {json.dumps(f'How accurate are published networks on {data.name}, by test resolution?')}",
        f"dataset = {json.dumps(data.name)}",
        f"train_size = {shown}  # looked at, not learned from",
        "validation = 0",
        "budget = { steps = 0 }",
        "starved_below = 0",
        *(['invalid = "leave_out"'] if leave_out else []),
        *([f"evaluations = [{tables.removesuffix(', ')}]"] if tables else []),
    ]
    for network in networks:
        own = configuration(network.name, network.options)
        at = sides or sorted({own.resolution, own.test_resolution})
        chosen = {**network.options, "transforms": "weights", "head": "kept"}
        lines += ["", "[[models]]", f"name = {json.dumps(network.name)}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in chosen.items()]
        lines += [f"resolution = {own.resolution}", f"test_resolutions = {json.dumps(sorted(set(at)))}"]
    return "\n".join(lines) + "\n"


def check_weights(study: Study, root: Path) -> None:
    """Reads the weights of what was not evaluated yet. Raises ConfigError for those that are not there, or that do not
    fit network or data set."""
    from benchmarks.training.training import model_of
    from models.libraries.weights_file import GET

    for run in study.runs:
        if (root / run.id / "result.json").exists():
            continue
        kind, _, tag = str(run.options["weights"]).partition(":")
        name = f"{run.model}.{tag}" if tag and kind == "library" else run.model
        get = f"`inductive prepare {name}` downloads them, or give a file: --weights FILE"
        try:
            model_of(run)
        except models.ModelError as error:
            key = "--weights" if kind == "file" else "NAME"
            raise ConfigError(key, str(error).replace(GET, get)) from error


def print_matrix(console: Console, study: Study, root: Path) -> None:
    """Accuracy by network, way of showing images and test resolution, as far as it is measured."""
    head = {"accuracy": "left"} | {f"{side} px": "right" for side in study.test_resolutions}
    rows: dict[str, dict[int, str]] = {}
    for run in study.runs:
        try:
            measured = {one["id"]: one["accuracy"] for one in read_record(root / run.id).evaluations}
        except RecordError:
            continue
        several = sum(one.model == run.model for one in study.runs) > 1
        name = f"{run.model} ({run.options['weights']})" if several else run.model
        for one in study.evaluations[run.id]:
            way = f"{name}, from {one.resize_side} px" if one.resize_side else f"{name}, crop {one.crop:g}"
            if one.id in measured:
                rows.setdefault(way, {})[one.resolution] = f"{100 * measured[one.id]:.2f} %"
    lines = [[way, *(found.get(side, "-") for side in study.test_resolutions)] for way, found in rows.items()]
    if lines:
        table(console, "", head, lines)


def own_resolutions_left_out(study: Study) -> str:
    """Those at which no run of its network is tested, '' where there are none: '160, 224'."""
    tested = {run.id: {one.resolution for one in study.evaluations[run.id]} for run in study.runs}
    return ", ".join(str(one) for one in sorted({run.resolution for run in study.runs
                                                 if run.resolution not in tested[run.id]}))  # fmt: skip


def _write(file: Path, text: str) -> None:
    """Raises ConfigError where another study lies there."""
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise ConfigError(
            "--study", f"{file} holds another study, as of other options: name another FILE, or remove it"
        )
    write_atomic(file, text.encode())


def _numbers(flag: str, text: str | None, kind: type[int] | type[float]) -> list[Any]:
    """The numbers of a list with commas. Raises ConfigError for what is none."""
    try:
        return [kind(one) for one in text.split(",")] if text else []
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise ConfigError(
            flag, f"{text!r} is no list of {what} such as {'96,128' if kind is int else '0.875,1'}"
        ) from error
