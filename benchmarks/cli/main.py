"""The command `inductive`: its verbs in order, and what becomes of errors. A verb is a file here, imported once called.

A new verb is a click command in a file of its own and a line in VERBS.
"""

import ast
import importlib
import importlib.util
import os
import signal
import sys
from pathlib import Path

import click

from benchmarks import end_early
from benchmarks.console import printable
from benchmarks.errors import DONE, INTERRUPTED, OTHERS, USAGE, ConfigError, InductiveError, OwnedError

EPILOG = """\b
Three ways to use it:
  inductive run quickstart             a study on this machine (Ctrl-C stops; the same command resumes)
  inductive report quickstart          tables, figures and the page from its records
  inductive rerun RUN_ID               one recorded run again, compared with its record
"""
VERBS = {  # by name, in the order of --help: the file and the function in it
    "list": ("list", "list_"),
    "prepare": ("prepare", "prepare"),
    "plan": ("plan", "plan"),
    "run": ("run", "run"),
    "train": ("train", "train"),
    "rerun": ("rerun", "rerun"),
    "evaluate": ("evaluate", "evaluate"),
    "probe": ("probe", "probe"),
    "show": ("show", "show"),
    "look": ("look", "look"),
    "status": ("status", "status"),
    "report": ("report", "report"),
    "export": ("export", "export"),
    "pack": ("pack", "pack"),
    "cluster": ("cluster", "cluster"),
    "submit": ("cluster", "submit"),
    "retry": ("cluster", "retry"),
    "cancel": ("cluster", "cancel"),
    "logs": ("cluster", "logs"),
    "check": ("check", "check"),
    "doctor": ("doctor", "doctor"),
}


class Verbs(click.Group):
    """The verbs of VERBS. A file is imported when its verb is called; `--help` reads it without that, to be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        file, function = VERBS[cmd_name]
        verb = getattr(importlib.import_module(f"benchmarks.cli.{file}"), function)
        assert isinstance(verb, click.Command), f"benchmarks/cli/{file}.py: {function} is no command"
        return verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            from benchmarks.plan.study import study_names
            from models.hints import did_you_mean, nearest

            study = nearest(args[0], study_names())
            hint = did_you_mean(args[0], VERBS) or (study and f"; did you mean `inductive run {study}`?")
            ctx.fail(f"No such command '{args[0]}'{hint or '.'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - 6 - max(map(len, VERBS))  # as click has it
        with formatter.section("Commands"):
            formatter.write_dl([(name, _unloaded(name).get_short_help_str(limit)) for name in VERBS])


def _unloaded(name: str) -> click.Command:
    """A verb with nothing but its help: the docstring of its function, read without importing the file."""
    file, function = VERBS[name]
    text = Path(__file__).with_name(f"{file}.py").read_text(encoding="utf-8")
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == function]
    return click.Command(name, help=ast.get_docstring(found[0]))


@click.group(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inductive")
def cli() -> None:
    """How much data does each architecture need, what happens at another resolution, and which assumption
    is responsible?
    """


def refuse_foreign() -> None:
    """Raises InductiveError on native Windows, or when another package of a room's name shadows ours."""
    if os.name == "nt":
        raise InductiveError("native Windows is not supported: install Inductive inside WSL2 (docs/installing.md)")
    home = Path(__file__).resolve().parents[2]
    for room in ("models", "analysis", "slurm"):
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / room:
            raise InductiveError(f"another package named `{room}` ({found}) shadows {home / room}; run from elsewhere")


def main(arguments: list[str] | None = None) -> None:
    """The entry point: verbs return exit codes, errors a user can cause are one line."""
    try:
        if signal.getsignal(signal.SIGINT) is end_early:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        refuse_foreign()
        code = cli.main(arguments, prog_name="inductive", standalone_mode=False)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.ClickException as error:
        error.show()
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except OwnedError as error:
        click.echo(printable(f"error: {error}"), err=True)
        code = OTHERS
    except OSError as error:
        click.echo(printable(f"error: {error.filename or 'file'}: {error.strerror or error}"), err=True)
        code = USAGE
    except InductiveError as error:
        where = "configuration error" if isinstance(error, ConfigError) else "error"
        click.echo(printable(f"{where}: {error}"), err=True)
        code = USAGE
    sys.exit(code or DONE)


if __name__ == "__main__":
    main()
