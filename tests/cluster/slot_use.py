"""How much of a cluster's time goes into training, and what the harness costs a run: short runs on the testbed.

`python tests/cluster/slot_use.py [--runs 200] [--steps 400] [--write docs/performance.md]` (root and Debian's packages,
like `make test-cluster`). Two nodes of one slot each. Packed: two jobs with a list each, their processes forked from
a warm server. Unpacked: a job a run. Busy is training and evaluation; slot time goes from the first job's start to the
last one's end on both slots, by SLURM's accounting.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from cluster_user import User, user
from testbed import NODES, Testbed, cluster

from benchmarks.files import read_json
from benchmarks.speed.tables import machine_facts, machine_words, write_block

WAYS: Mapping[str, Mapping[str, float]] = {
    "packed": {"max_jobs": len(NODES), "least_minutes": 1e-6},
    "unpacked": {"max_jobs": 10_000, "least_minutes": 1e-6},
}
STUDY = """
question = "What does a run cost beside its training?"
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 100
budget = { steps = STEPS }
seed = SEEDS
test_resolutions = [8]
[[models]]
name = "vit"
position = "learned_1d"
"""
HEADER = (
    *("way", "runs", "jobs", "busy, s a run", "up to the first step, s a run", "records, s a run"),
    *("processes, s a run", "before its first run, s a job", "all, s", "busy"),
)


@dataclass(frozen=True)
class Use:
    """Seconds of a sweep: of its runs by parts, of its jobs from start to end, from the first start to the last end."""

    runs: list[Mapping[str, float]]
    jobs: list[float]
    before: list[float]
    span: float

    @property
    def busy(self) -> float:
        """Training and evaluation, as a share of the slots' time."""
        return sum(one["training"] + one["evaluation"] for one in self.runs) / (self.span * len(NODES))

    def row(self, way: str) -> list[str]:
        count = len(self.runs)
        means = {part: sum(one[part] for one in self.runs) / count for part in self.runs[0]}
        work = means["training"] + means["evaluation"]
        inside = sum(one["total"] for one in self.runs)
        processes = (sum(self.jobs) - sum(self.before) - inside) / count
        return [
            *(way, f"{count:,}", f"{len(self.jobs):,}", f"{work:.2f}", f"{means['start']:.3f}"),
            *(f"{means['total'] - means['start'] - work:.3f}", f"{processes:.3f}"),
            *(f"{sum(self.before) / len(self.jobs):.1f}", f"{self.span:,.0f}", f"{100 * self.busy:.1f} %"),
        ]


def measure(bed: Testbed, folder: Path, way: str, runs: int, steps: int) -> Use:
    """Submits the study one way, waits for its end, and adds up."""
    there = user(folder, bed, steps, runs_per_gpu=1, minutes=60, tflops=1.0, **WAYS[way])
    text = STUDY.replace("STEPS", str(steps)).replace("SEEDS", str(list(range(runs))))
    (folder / "study.toml").write_text(text)
    print(there.inductive("submit", "study.toml", "--yes"))
    there.until("all runs to be finished", lambda: set(there.states().values()) == {"finished"}, 3600)
    there.until("all jobs to end", lambda: not bed.call("squeue", "-h").strip(), 60)
    return used(bed, there)


def used(bed: Testbed, there: User) -> Use:
    """What the records say of the runs and accounting of the jobs."""
    attempts = [path.parent for path in (there.folder / "runs").glob("[!.]*/attempts/*/ended.json")]
    first: dict[str, float] = {}
    for path in attempts:
        owner = read_json(path / "owner.json")
        began = datetime.strptime(owner["started"], "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC).timestamp()
        first[owner["slurm_job"]] = min(began, first.get(owner["slurm_job"], began))
    runs = [read_json(path / "ended.json")["seconds"] for path in attempts]
    accounting = ("env", "SLURM_TIME_FORMAT=%s", "sacct", "-X", "-n", "-P")
    lines = bed.call(*accounting, "--format=jobid,start,end", "--starttime=now-2hours").splitlines()
    times = {job: (float(start), float(end)) for job, start, end in (line.split("|") for line in lines) if job in first}
    before = [first[job] - start for job, (start, _) in times.items()]
    jobs = [end - start for start, end in times.values()]
    span = max(end for _, end in times.values()) - min(start for start, _ in times.values())
    return Use(runs, jobs, before, span)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--json", type=Path, help="keep the rows of this measurement, and show those kept before, too")
    parser.add_argument("--write", type=Path, help="put the table into this document")
    given = parser.parse_args()
    rows = json.loads(given.json.read_text()) if given.json and given.json.exists() else []
    for way in given.ways:
        with tempfile.TemporaryDirectory() as folder, cluster(Path("/tmp/inductive-slots"), accounting=True) as bed:
            rows.append(measure(bed, Path(folder), way, given.runs, given.steps).row(way))
        print(rows[-1], flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows))
    torch.set_num_threads(1)  # as every run has it: the line on the machine says so
    machine = machine_facts()
    lines = [f"Measured {machine['date']} on {machine_words(machine)}.", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
    print("\n".join(lines))
    if given.write:
        write_block(given.write, "slots", "\n".join(lines))


if __name__ == "__main__":
    main()
