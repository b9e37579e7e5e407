"""`inductive list`: what there is to choose from."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import models
from benchmarks.cli.options import Choice, options
from benchmarks.console import print_json, printable, say, table, terminal
from benchmarks.data.catalogue import PHOTOGRAPHS, listed
from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError, UnpreparedError
from benchmarks.plan.probes import PROBES
from benchmarks.plan.recipes import recipe_about, recipe_names
from benchmarks.plan.study import load_study, study_about, study_names
from benchmarks.records.record import NO_RECORD
from benchmarks.records.roots import existing
from benchmarks.records.stages import whole
from benchmarks.records.states import counted
from benchmarks.records.summary import ListedRun, listed_runs, other_folders
from models.catalogue.ladder import MIXERS
from models.catalogue.ready_made import SUMMARIES, WEIGHTS
from models.options import parse_way
from models.positions.encodings import ENCODINGS


@click.command("list")
@click.argument(
    "what",
    type=Choice(["models", "vit-sizes", "positions", "mixers", "datasets", "recipes", "studies", "probes", "runs"]),
)
@click.argument("study", required=False)
@click.option("--size", help="With models: count parameters and MACs of every family that has this size.")
@click.option("--image-size", type=click.IntRange(min=1), metavar="PIXELS", help="With --size; default: 32.")
@options("records", "where", "plugin", "json")
def list_(
    what: str, study: str | None, size: str | None, image_size: int | None, root: Path, data: Path, as_json: bool
) -> None:
    """What there is to choose from; `list runs [STUDY]`: the runs there are, and how accurate they are."""
    if study is not None and what != "runs":
        raise click.UsageError(f"a study belongs to `list runs`, not to `list {what}`")
    if (size or image_size) and what != "models":
        raise click.UsageError(f"--size and --image-size belong to `list models`, not to `list {what}`")
    if image_size and not size:
        raise click.UsageError("--image-size needs --size, such as --size tiny")
    if what == "runs":
        of_study = None if study is None else whole(load_study(study, Places(data, root)), Places(data, root))
        show_runs(listed_runs(root if of_study else existing(root), of_study), as_json=as_json)
        if not of_study and not as_json:
            for name in other_folders(root):
                say(terminal(), f"left out: {root / name}: {NO_RECORD}")
    elif as_json:
        print_json(listing(what, size, image_size, Places(data, root)))
    else:
        print_listing(terminal(), what, size, image_size, Places(data, root))


def listing(
    what: str, size: str | None = None, image_size: int | None = None, places: Places | None = None
) -> list[dict[str, Any]]:
    """The rows of `inductive list WHAT`; with a size, models are counted at that size and image size. `places` is where
    the data sets of studies are declared."""
    if what == "models" and size is not None:
        return counted_models(size, image_size or 32)[0]
    if what == "models":
        families = [models.family(name) for name in models.model_names()]
        rows = [(f.name, f.sizes, f.options, f.summary) for f in families]
        rows += [(name, ("own",), (WEIGHTS,), about) for name, about in SUMMARIES.items()]
        return [
            {"name": name, "sizes": list(sizes), "options": [option.name for option in options], "about": about}
            for name, sizes, options, about in rows
        ]
    if what == "vit-sizes":
        return vit_sizes()
    if what == "positions":
        ways = {name: dict.fromkeys(parse_way(way)[0] for way in one.ways) for name, one in ENCODINGS.items()}
        return [
            {"name": one.name, "other grids": list(ways[one.name]), "about": one.summary} for one in ENCODINGS.values()
        ]
    if what == "mixers":
        return [
            {"name": one.name, "options": [option.name for option in one.options], "about": one.summary}
            for one in MIXERS.values()
        ]
    if what == "datasets":
        return list(_data_sets())
    if what == "recipes":
        return [{"name": name, **recipe_about(name)} for name in recipe_names()]
    if what == "probes":
        return [{"name": name, "strengths": len(one.values), "about": one.words} for name, one in PROBES.items()]
    return [_study(name, places) for name in study_names()]


def _study(name: str, places: Places | None) -> dict[str, Any]:
    """A shipped study. `runs` is None, and `unprepared` says why, where its data set is not prepared."""
    row: dict[str, Any] = {"name": name, "runs": None, **study_about(name), "unprepared": ""}
    try:
        row["runs"] = len(load_study(name, places, tables=False).runs)
    except UnpreparedError as error:
        row["unprepared"] = error.message
    return row


def _data_sets() -> Iterator[dict[str, Any]]:
    """Every data set that has a name: equal squares are kept decoded, photographs of any size in shards."""
    for one in listed():
        row = {"name": one.name, "images": sum(one.train_counts), "test": one.test_count}
        row |= {"pixels": one.native_resolution, "classes": one.classes}
        yield row | {"kept as": "pixels", "source": one.source}
    for known in PHOTOGRAPHS.values():
        row = {"name": known.name, "images": known.images, "test": known.test}
        yield row | {"pixels": "any", "classes": known.classes, "kept as": "shards", "source": known.source}


def show_runs(runs: Iterable[ListedRun], *, as_json: bool) -> None:
    """`inductive list runs`: prints a line a run."""
    if as_json:
        print_json([asdict(one) for one in runs])
        return
    found = list(runs)
    width = max((len(one.id) for one in found), default=0)
    for one in found:  # no table of rich's, which takes seconds for ten thousand
        n = "-" if one.train_size is None else f"{one.train_size:,}"
        seed = "-" if one.seed is None else one.seed
        accuracy = "-" if one.accuracy is None else f"{one.accuracy:.2%}"
        click.echo(printable(f"{one.id:<{width}}  {one.state:<11}  n {n:>6}  seed {seed:>2}  {accuracy:>7}"))
    click.echo(counted(one.state for one in found) or "no runs")


def counted_models(size: str, image_size: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Parameters and MACs of every family that has a size, and why the others are not there (on the meta device)."""
    import torch

    scale = min(models.SCALES, key=lambda known: abs(math.log(known / image_size)))
    rows, refused = [], []
    for name in models.model_names():
        scaled: dict[str, Any] = (
            {"scale": scale} if "scale" in {option.name for option in models.family(name).options} else {}
        )
        try:
            with torch.device("meta"):
                network = models.create_model(
                    name, image_size=image_size, in_channels=3, num_classes=10, size=size, **scaled
                )
            found = network.describe(image_size, image_size)
        except models.ModelError as error:
            refused.append(str(error))
            continue
        row = {"name": name, **found.parameters, "parameters": sum(found.parameters.values())}
        rows.append({**row, "macs": found.macs, "flops": 2 * found.macs})
    if not rows:
        raise ConfigError("--size", refused[0])
    return rows, refused


def vit_sizes() -> list[dict[str, Any]]:
    """The published ViT sizes: what ours has, computed, and what was printed."""
    from models.catalogue.published import SIDES, VIT_SIZES
    from models.checks.published_sizes import compute

    rows = []
    for name, one in VIT_SIZES.items():
        found = compute(name)
        row = {"name": name, "width": one.width, "depth": one.depth, "mlp": one.hidden, "heads": one.heads}
        row |= {"patch": one.patch, "parameters": found.parameters, "published_parameters_m": one.parameters}
        for side, flops, published in zip(SIDES, found.flops, one.gflops, strict=True):
            row |= {f"flops_{side}": flops, f"published_gflops_{side}": published}
        rows.append(row)
    return rows


def print_listing(
    console: Console,
    what: str,
    size: str | None = None,
    image_size: int | None = None,
    places: Places | None = None,
) -> None:
    """`inductive list WHAT` as a table."""
    if what == "models" and size is not None:
        return print_counted(console, size, image_size or 32)
    if what == "vit-sizes":
        return print_vit_sizes(console)
    if what == "studies":
        return print_studies(console, listing(what, places=places))
    rows = listing(what)
    columns = {key: "right" if isinstance(value, int) else "left" for key, value in rows[0].items()}
    cells = [
        [", ".join(v) if isinstance(v, list) else f"{v:,}" if isinstance(v, int) else v for v in r.values()]
        for r in rows
    ]
    table(console, "", columns, cells)


def print_studies(console: Console, rows: Iterable[dict[str, Any]]) -> None:
    """The shipped studies, and below them which data sets must be prepared before their runs are known."""
    columns = {"name": "left", "runs": "right", "question": "left", "cost": "left", "expect": "left"}
    cells = [["-" if row[key] is None else str(row[key]) for key in columns] for row in rows]
    table(console, "", columns, cells)
    for text in dict.fromkeys(row["unprepared"] for row in rows if row["unprepared"]):
        say(console, f"no runs yet where {text}")


def print_counted(console: Console, size: str, image_size: int) -> None:
    """Every family that has a size: parameters by part, MACs and FLOPs of one image."""
    rows, refused = counted_models(size, image_size)
    columns = {"name": "left"} | dict.fromkeys(("backbone", "position", "head", "parameters", "MACs", "FLOPs"), "right")
    cells = [[f"{value:,}" if isinstance(value, int) else value for value in row.values()] for row in rows]
    table(console, f"size {size}, images of 3 x {image_size} x {image_size}, 10 classes", columns, cells)
    say(console, "FLOPs = 2 MACs, attention products counted")
    for reason in refused:
        say(console, f"left out: {reason}")


def print_vit_sizes(console: Console) -> None:
    """The published ViT sizes: computed, and in brackets as published."""
    shape = ("name", "width", "depth", "mlp", "heads")  # the name tells the patch
    columns = {key: "right" for key in (*shape, "millions", "GFLOPs 224", "GFLOPs 384")} | {"name": "left"}
    cells = []
    for row in vit_sizes():
        line = [*(row[key] for key in shape), f"{row['parameters'] / 1e6:.1f} ({row['published_parameters_m']})"]
        for side in (224, 384):
            line.append(f"{row[f'flops_{side}'] / 1e9:.1f} ({row[f'published_gflops_{side}']:.1f})")
        cells.append(line)
    table(console, "", columns, cells)
    say(
        console,
        "Computed, in brackets as published. Parameters with position and without head; GFLOPs = 2 x MACs / 1e9,\n"
        "attention products counted, head not. A patch that does not divide the image leaves its border out.",
    )
