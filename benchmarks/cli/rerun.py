"""`inductive rerun`: a recorded run trained again, and compared with its record."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

import models
from benchmarks.cli.options import Choice, options
from benchmarks.cli.run import check_gpus, gpus_for, on_all_nodes, work_through
from benchmarks.console import print_json, say, terminal
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, FAILED, INTERRUPTED, OTHERS, ConfigError
from benchmarks.plan.study import load_plugin, single
from benchmarks.records.record import Record, check_root, find_record, read_record, recorded_plugins
from benchmarks.records.validity import valid_record
from benchmarks.running import preflight
from benchmarks.running import rerun as again
from benchmarks.running.task import Task
from benchmarks.running.together import launched


@click.command()
@click.argument("run_id")
@click.option("--first", type=click.IntRange(min=1), metavar="STEPS", help="Compare only the opening metrics.")
@click.option("--device", type=Choice(["auto", "cpu", "cuda", "mps"]), help="Default: the recorded one.")
@click.option("--gpus-per-run", "ranks", type=click.IntRange(min=1), metavar="N", help="Default: as recorded.")
@click.option("--trust-code", is_flag=True, help="Execute the plugin in the record that its model comes from.")
@options("records", "data", "plugin", "json")
def rerun(run_id: str, first: int | None, device: str | None, ranks: int | None, trust_code: bool, root: Path,
          data: Path, as_json: bool) -> int:  # fmt: skip
    """Train a recorded run again and compare: equal, within tolerance, or different."""
    from benchmarks.running.local import with_workers
    from benchmarks.running.task import Settings
    from benchmarks.running.together.members import ranks_of
    from benchmarks.training.kernels import choose_device

    console = terminal(stderr=as_json)
    record = read_record(find_record(root, run_id))
    load_recorded_plugins(record, console, trusted=trust_code)
    run = record.run(Places(data, root))
    valid_record(record.path, run, whole=True)
    for line in preflight.decode(single(run), [run], data):
        say(console, line)
    check_root(root)
    device = None if device is None else choose_device(device)
    start = launched.started(ranks or ranks_of(record.path))
    with on_all_nodes(start, root) as door:
        if not start.leads:
            return DONE
        evaluations = again.prepare_rerun(record, run, device=device, first=first, ranks=ranks)
        chosen = device or str((record.execution or {})["device"])
        several = ranks_of(again.rerun_root(root) / run.id)
        check_gpus(several, chosen, start.nodes)
        command = shlex.join(["inductive", *sys.argv[1:]])
        settings = Settings(data, chosen, command=command, plugins=models.loaded_plugins(), workers=None,
                            gpus_per_run=several)  # fmt: skip
        given, settings = gpus_for(settings, start.nodes), with_workers(settings, 1, start.nodes)
        task = Task(run, evaluations, again.rerun_root(root), settings, until=first, gpus=given)
        try:
            ending = work_through([task], 1, console, door)[0]
        except KeyboardInterrupt:
            say(console, "stopped: a rerun is not continued, the same command starts it anew")
            return INTERRUPTED
    if ending.state in ("failed", "lost", "owned", "stale"):
        say(console, f"{ending.state}: {ending.line}")
        return OTHERS if ending.state == "owned" else FAILED
    verdict = again.compare(record, first)
    if as_json:
        print_json(asdict(verdict) | {"id": record.id})
    else:
        print_verdict(console, record, verdict)
    return FAILED if verdict.verdict == "different" else DONE


def print_verdict(console: Console, record: Record, verdict: again.Verdict) -> None:
    """What was compared, what differs, and why bits may differ."""
    say(console, f"{verdict.verdict}: {record.id}; compared {', '.join(verdict.compared)}")
    for difference in verdict.differences:
        say(console, f"  {difference}")
    for condition in verdict.conditions:
        say(console, f"  bits may differ: {condition}")
    if verdict.verdict != "equal":
        say(console, f"tolerance: {again.TOLERANCE}")


def load_recorded_plugins(record: Record, console: Console, *, trusted: bool) -> None:
    """Loads the plugins of a record that its model or encoding comes from; none where both are known already.

    That executes code of the record, which may be a stranger's. Raises ConfigError, with the command that does so,
    unless it is trusted.
    """
    settings, copies = record.config["run"], recorded_plugins(record.path)
    names = [str(settings["model"]), *filter(None, [settings["options"].get("position")])]
    if copies and models.unknown(names) and not trusted:
        what, files = " and ".join(models.unknown(names)), ", ".join(map(str, copies))
        again = shlex.join(["inductive", *sys.argv[1:], "--trust-code"])
        raise ConfigError(
            "--trust-code",
            f"{record.id}: {what} comes from a plugin whose code lies in the record: {files}. Read it before you let "
            f"it run as you; then `{again}`, or --plugin FILE for a file of your own",
        )
    for path in copies:
        if models.unknown(names):
            say(console, f"plugin {path.name} as it is in the record; --plugin FILE takes another")
            load_plugin(path, "--plugin")
