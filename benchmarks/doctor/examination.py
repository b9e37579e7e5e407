"""The whole examination: its parts in order, what of them is left out, and the findings as they come."""

import datetime
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import models
from benchmarks.data.dataset import Places
from benchmarks.doctor import compilation, machine, memory, networks, runs, throughput
from benchmarks.doctor.findings import Check, Finding, left_out, summary
from benchmarks.doctor.isolation import answered
from benchmarks.doctor.networks import Subject
from benchmarks.plan.run import Run, make_run
from benchmarks.running.gpus import ALONE, mps_runs
from benchmarks.running.local import slots
from benchmarks.running.task import Settings
from benchmarks.speed.cases import DATASET, TRAIN, write_images
from benchmarks.speed.steps import CLASSES

PARTS = ("machine", "networks", "runs", "compile", "memory", "speed")
QUICK = "left out by --quick"
QUICK_RUNS = ("vit bias_2d", "resnet")  # attention with a mask, and convolutions with BatchNorm
COMPILED = ("vit rope_axial", "resnet")
SIDE_BY_SIDE = (2, 4)  # runs, at least and at most: as many as there are cores between
SHORT_BATCH, SHORT_STEPS = 1024, 4  # of the run that is short of memory


@dataclass(frozen=True)
class Request:
    """What to examine: a device ('cuda', 'cpu', 'mps'), in full or the quick form, all networks or a glob's."""

    device: str
    quick: bool = False
    only: str | None = None


def examine(request: Request, tell: runs.Tell = lambda text: None) -> Iterator[Finding]:
    """The findings, each as it comes; `tell` hears of progress in between. All files lie in a temporary folder.

    Raises ConfigError where `only` names no network.
    """
    chosen = networks.subjects(request.only)
    with tempfile.TemporaryDirectory(prefix="inductive-doctor-") as folder:
        data, root = Path(folder) / "data", Path(folder) / "runs"
        write_images(data)
        here = list(answered(_of_machine(request.device)))
        yield from here
        if any(finding.wrong for finding in here):
            return
        yield from answered(list(networks.checks(chosen, data, request.device, quick=request.quick)))
        if request.quick:
            yield left_out("networks", f"loss in {networks.STEPS} steps", QUICK)
        yield from _of_runs(request, chosen, data, root, here, tell)
        yield from _of_compilation(request, chosen, data, root)
        yield from _of_memory(request, data, root)
        checks, missing = throughput.planned(data, request.device, quick=request.quick, only=request.only)
        yield from answered(checks)
        yield from missing


def _of_machine(device: str) -> list[Check]:
    return [Check("machine", "software", machine.software), Check("machine", "GPU", partial(machine.gpu, device))]


def _of_runs(
    request: Request, chosen: Sequence[Subject], data: Path, root: Path, here: Sequence[Finding], tell: runs.Tell
) -> Iterator[Finding]:
    """Runs through the pool; with --quick those of two networks, where those are among the chosen."""
    some = _named(chosen, QUICK_RUNS) if request.quick else list(chosen)
    jobs, why = side_by_side(request.device, here)
    if why:
        yield left_out("runs", "side by side", why)
    seeds = -(-jobs // len(some))  # of each network: as many runs as go side by side at least
    named = [
        (one.name if seeds == 1 else f"{one.name}, seed {seed}", networks.run_of(one, data, runs.STEPS, seed))
        for one in some
        for seed in range(seeds)
    ]
    yield from runs.made(named, root, Settings(data, request.device, plugins=models.loaded_plugins()), jobs, tell)
    yield from _others("runs", "rerun, resumed", chosen, some)


def side_by_side(device: str, here: Sequence[Finding]) -> tuple[int, str]:
    """How many runs go side by side, and why not several ('' where several do), by what was found of the machine."""
    least, most = SIDE_BY_SIDE
    if device == "mps":
        return 1, "mps runs one process at a time"
    if any(finding.answer.values.get("one_process_each") for finding in here) and not mps_runs():
        return 1, f"the GPU takes one process at a time (compute mode {ALONE}); several need MPS"
    return max(least, min(most, slots("cpu"))), ""


def _of_compilation(request: Request, chosen: Sequence[Subject], data: Path, root: Path) -> Iterator[Finding]:
    """Compiled training of two networks, where those are among the chosen."""
    why = QUICK if request.quick else compilation.no_compiler()
    if why:
        yield left_out("compile", "all", why)
        return
    some = _named(chosen, COMPILED)
    runs_by_name = [(one.name, networks.run_of(one, data, compilation.STEPS)) for one in some]
    yield from answered(list(compilation.checks(runs_by_name, data, root, request.device)))
    yield from _others("compile", "other networks", chosen, some, "each compilation takes seconds to a minute")


def _of_memory(request: Request, data: Path, root: Path) -> Iterator[Finding]:
    """A shortage of memory, which only CUDA can be put into."""
    if request.device != "cuda":
        yield left_out("memory", "shortage", f"not on {'a CPU' if request.device == 'cpu' else request.device}")
        return
    call = partial(memory.halved, short_run(data), root / "memory", Settings(data, "cuda"))
    yield from answered([Check("memory", "shortage", call)])


def short_run(data: Path) -> Run:
    """A run whose batch takes gigabytes, of a network without BatchNorm."""
    settings = {
        "model": "vit",
        "size": "nano",
        "dataset": DATASET,
        "train_size": TRAIN * CLASSES,
        "validation": 0,
        "recipe": {"name": "plain", "batch_size": SHORT_BATCH},
        "budget": {"steps": SHORT_STEPS},
    }
    return make_run(settings, Places(data, None))


def _named(chosen: Sequence[Subject], names: Sequence[str]) -> list[Subject]:
    """Those of the names; all that are chosen where none of them is (a user asks for others)."""
    return [one for one in chosen if one.name in names] or list(chosen)[: len(names)]


def _others(
    part: str, name: str, chosen: Sequence[Subject], some: Sequence[Subject], why: str = QUICK
) -> Iterator[Finding]:
    """Says that a part was made with some of the networks alone."""
    if len(some) < len(chosen):
        yield left_out(part, name, f"{len(chosen) - len(some)} of {len(chosen)} networks: {why}")


def report(request: Request, findings: Sequence[Finding], began: float) -> dict[str, Any]:
    """What is kept of an examination: plain values for JSON. `began` is of time.monotonic."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": request.device,
        "quick": request.quick,
        "only": request.only,
        "wrong": sum(finding.wrong for finding in findings),
        "seconds": round(time.monotonic() - began, 1),
        "table": summary(findings),
        "findings": [finding.as_json() for finding in findings],
    }


def card(findings: Sequence[Finding]) -> str:
    """The name of the GPU that was found; '' for none."""
    names = (finding.answer.values.get("name") for finding in findings if finding.part == "machine")
    return str(next(filter(None, names), ""))
