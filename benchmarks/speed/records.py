"""Table `records`: what it takes to look at the records of a large study: its status, its frame, its report; and at a
study of which nothing has been run: its status, and what would be submitted to a cluster.

The records are made up (synthetic.py), and so are the commands of SLURM; each look is a process of its own, Python's
start included.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.files import write_atomic
from benchmarks.plan.study import load_study
from benchmarks.speed.clock import Clock, Plan, Tell, Variant, summarise, take_turns
from benchmarks.speed.planning import grid
from benchmarks.speed.synthetic import write_records
from benchmarks.speed.tables import Table

RUNS, EVERY = 10_000, 50  # one run in fifty has not finished
QUICK: dict[str, Any] = {"models": [{"name": "resnet"}], "resolution": [32], "train_size": [100, 300], "seed": [0, 1]}
MOST_ROUNDS = 3  # a round takes a minute or two

UNSTARTED: dict[str, Any] = {  # classes of unequal size, and a draw for each seed: the most that planning has to count
    "dataset": "digits", "size": "pico", "recipe": "digits", "train_size": [60, 100, 300, 600, 1000],
    "seed": list(range(500)), "test_resolutions": [4, 8],
    "models": [{"name": "vit", "position": ["none", "learned_1d", "rope_axial"]}, {"name": "resnet"}],
}  # fmt: skip
SITE = {  # what SLURM's commands answer here
    "squeue": "",
    "sinfo": "echo 'gpu|gpu:a100:4|64|256000'",
    "scontrol": "case $2 in config) echo 'MaxArraySize = 1001';; "
    "*) echo 'PartitionName=gpu Default=YES MaxTime=1-00:00:00 PreemptMode=OFF State=UP';; esac",
}
CLUSTER = 'partitions = ["gpu"]\ndevice = "cpu"\nruns_per_gpu = 2\ncpus_per_job = 4\nminutes = 60\n'

LOOKS = {  # what a process of its own does: name, code, seconds and MB that are wanted at most
    "status": (
        "from benchmarks.cli.main import cli\ncli.main(['status', study, '--runs', runs], standalone_mode=False)",
        (3, 2000),
    ),
    "frame": (
        "from pathlib import Path\nfrom analysis.frame.frame import load\n"
        "from benchmarks.plan.study import load_study\n"
        "load(Path(runs), load_study(study))",
        (20, 2000),
    ),
    "report": (
        "from benchmarks.cli.main import cli\n"
        "cli.main(['report', study, '--runs', runs, '-o', runs + '-page'], standalone_mode=False)",
        (90, 2000),
    ),
}
LOOKS_AHEAD = {  # the same, of a study of which nothing has been run
    "status, all missing": (LOOKS["status"][0], (3, 2000)),
    "submit --dry-run": (
        "from benchmarks.cli.main import cli\n"
        "cli.main(['submit', study, '--runs', runs, '--cluster', runs + '.toml', '--dry-run'], standalone_mode=False)",
        (10, 2000),
    ),
}
CHILD = (
    "import sys\nstudy, runs = sys.argv[1:]\n{look}\nimport json, time\n"
    "from benchmarks.speed.planning import peak_megabytes\n"
    "print(json.dumps({{'cpu': time.process_time(), 'megabytes': peak_megabytes()}}))"
)


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Writes the records, then looks at them in turns."""
    found: dict[str, dict[str, float]] = {}
    few = replace(
        plan, warmup=0, seconds=0.0, rounds=min(plan.rounds, MOST_ROUNDS), most=min(plan.most, 2 * MOST_ROUNDS)
    )
    with tempfile.TemporaryDirectory() as folder:
        study, runs = Path(folder) / "made-up.toml", Path(folder) / "runs"
        write_atomic(study, as_toml(grid(RUNS) if plan.measures else {**grid(1), **QUICK}).encode())
        expanded = load_study(str(study))
        tell(f"writing {len(expanded.runs):,} records")
        write_records(runs, expanded, EVERY)
        ahead, nothing = Path(folder) / "unstarted.toml", Path(folder) / "nothing"
        write_atomic(ahead, as_toml(UNSTARTED if plan.measures else {**UNSTARTED, "seed": [0, 1]}).encode())
        nothing.mkdir()
        (Path(folder) / "nothing.toml").write_text(CLUSTER, encoding="utf-8")
        environment = with_site(Path(folder) / "bin")

        def look(name: str) -> None:
            code, place = (LOOKS[name][0], (study, runs)) if name in LOOKS else (LOOKS_AHEAD[name][0], (ahead, nothing))
            command = (sys.executable, "-c", CHILD.format(look=code), *map(str, place))
            said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
            found[name] = json.loads(said.splitlines()[-1])

        looks = [*LOOKS, *LOOKS_AHEAD]
        turns = take_turns([Variant(name, partial(look, name), name) for name in looks], few, clock, tell)
    rows = []
    for name, taken in found.items():
        summary = summarise(turns, name, name)
        seconds = "-" if summary.seconds is None else f"{summary.seconds:.1f}"
        wanted = "{} s, {:,} MB".format(*(LOOKS | LOOKS_AHEAD)[name][1])
        measured = [seconds, f"{taken['cpu']:.1f}", f"{taken['megabytes']:,.0f}"]
        rows.append([name, *measured, wanted, f"{summary.clean} of {summary.taken}"])
    return Table(
        name="records",
        about=f"Looking at the made-up records of {len(expanded.runs):,} runs with "
        f"{sum(map(len, expanded.evaluations.values())):,} evaluations, one run in {EVERY} not finished, in a new "
        "process each, Python's start included: `inductive status`, `analysis.frame.frame.load`, `inductive report`. "
        "`status, all missing` and `submit --dry-run` are of 10,000 runs on digits, a draw for each seed, none of them "
        "begun, with commands that stand in for SLURM's.",
        header=["look", "seconds", "of a core, s", "peak memory, MB", "wanted", "clean rounds"],
        rows=rows,
        turns=turns,
    )


def with_site(folder: Path) -> dict[str, str]:
    """An environment in which SLURM's commands are those of SITE, written into `folder`."""
    folder.mkdir()
    for name, script in SITE.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def as_toml(table: dict[str, Any]) -> str:
    """A study's table as its file: plain values are in TOML what they are in JSON, models are tables."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if key != "models"]
    for model in table["models"]:
        lines += ["", "[[models]]", *(f"{key} = {json.dumps(value)}" for key, value in model.items())]
    return "\n".join(lines) + "\n"
