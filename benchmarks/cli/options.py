"""Options that several verbs of the command share. Whatever is heavy is imported where it is used."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource


class Choice(click.Choice):
    """One of several words; the error for another one has the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            from models.hints import did_you_mean

            near = did_you_mean(str(value), map(str, self.choices))
            raise click.BadParameter(f"{error.message.rstrip('.')}{near or '.'}", ctx, param) from error


def options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options that several verbs share, by name."""
    folder, file = click.Path(file_okay=False, path_type=Path), click.Path(dir_okay=False, path_type=Path)
    known = {
        "runs": click.option("--runs", "root", type=folder, default="runs", envvar="INDUCTIVE_RUNS", show_default=True,
                             show_envvar=True, help="Folder of the records."),
        "records": click.option("--runs", "root", type=click.Path(path_type=Path), default=["runs"], multiple=True,
                                envvar="INDUCTIVE_RUNS", show_default=True, show_envvar=True, callback=_read_from,
                                help="Folder of the records, or an archive of `pack`; several are read as one."),
        "data": click.option("--data", type=folder, default="data", envvar="INDUCTIVE_DATA", show_default=True,
                             show_envvar=True, help="Folder of the data sets."),
        "where": click.option("--data", type=folder, default="data", envvar="INDUCTIVE_DATA", show_default=True,
                              show_envvar=True, help="Folder of the data sets that are folder:PATH."),
        "only": click.option("--only", metavar="GLOB", help="Only the runs whose ids match."),
        "device": click.option("--device", type=Choice(["auto", "cpu", "cuda", "mps"]), default="auto",
                               show_default=True, help="auto takes a CUDA GPU where there is one."),
        "gpus_per_run": click.option("--gpus-per-run", type=click.IntRange(min=1), default=1, show_default=True,
                                     metavar="N", help="GPUs that compute a run together, on a CPU processes: rounding "
                                     "apart, the same run. Recorded; a run resumes with as many."),
        "recompute": click.option("--checkpoint-activations", is_flag=True, help="Compute activations again instead of "
                                  "keeping them: less memory, a third more arithmetic, the same bits. Recorded."),
        "checkpoint": click.option("--checkpoint-every", type=click.FloatRange(min=0, min_open=True), default=300.0,
                                   metavar="SECONDS", show_default=True, help="Time between checkpoints."),
        "accept": click.option("--accept-code", is_flag=True, help="Continue records of other sources; recorded."),
        "compile": click.option("--compile", "compiling", type=Choice(["rule", "off", "network", "graphs"]),
                                default="rule", show_default=True, help="Compile the network, or launch whole steps as "
                                "CUDA graphs; rule: where it has been measured to pay. Recorded; rerun does the same."),
        "workers": click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Processes that decode "
                                "photographs for a run; they change no pixel. Default: the cores that runs leave."),
        "decoder": click.option("--decoder", type=Choice(["pillow", "torchcodec", "pillow-reduced"]), default="pillow",
                                show_default=True, help="What decodes photographs of runs that begin: the reference, a "
                                "faster one, or the reference at reduced scale."),
        "plugin": click.option("--plugin", "plugins", multiple=True, type=file, metavar="FILE", expose_value=False,
                               is_eager=True, callback=_load_plugins, help="A Python file of your own that declares "
                               "encodings or models."),
        "cluster": click.option("--cluster", type=file, default="cluster.toml", show_default=True,
                                help="What `inductive cluster init` wrote."),
        "json": click.option("--json", "as_json", is_flag=True, help="Plain values instead of a table."),
    }  # fmt: skip
    return lambda verb: functools.reduce(lambda wrapped, name: known[name](wrapped), reversed(names), verb)


def _read_from(context: click.Context, option: click.Parameter, paths: tuple[Path, ...]) -> Path:
    """The one folder that records are read from."""
    from benchmarks.records import roots

    if len(paths) == 1 and not paths[0].is_file():
        named = option.name is not None and context.get_parameter_source(option.name) != ParameterSource.DEFAULT
        return roots.existing(paths[0]) if named else paths[0]

    if len(paths) == 1:
        return roots.opened(paths[0])
    folder = context.with_resource(tempfile.TemporaryDirectory(prefix="inductive-"))
    return roots.joined(paths, Path(folder))


def _load_plugins(context: click.Context, option: click.Parameter, files: tuple[Path, ...]) -> None:
    if files:
        from benchmarks.plan.study import load_plugin

        for path in files:
            load_plugin(path, "--plugin")
