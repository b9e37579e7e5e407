"""`inductive cluster init` and `check`: cluster.toml proposed for a site, and proved by one tiny job.

The job reports what a node sees, whether signals reach it, and, where runs go to GPUs, what `inductive doctor` finds.
"""

import json
import os
import platform
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.console import say
from benchmarks.doctor.findings import WRONG
from benchmarks.errors import DONE, FAILED, INTERRUPTED, InductiveError
from benchmarks.files import read_json, write_json
from benchmarks.forecast.memory import group_limits
from benchmarks.records.record import check_root
from slurm import freeze, ledger
from slurm.cluster import Cluster, commented, read_cluster
from slurm.commands import SilentError, SlurmError, call
from slurm.executor import check_path, executor_for
from slurm.site import check_site, look, proposal

JOB_WAIT = 600.0  # seconds that the job may wait and run
SIGNAL_WAIT = 120.0  # seconds that the job waits for a signal: a file server may show its answer after a minute
DOCTOR_WAIT = 420.0  # seconds that the doctor may take, in its quick form
ANSWER, SIGNALS = "answer.json", "signals.json"  # what the job writes: at once, and once a signal has come or not
DOCTOR = "doctor.json"  # and what the doctor has found
LEAST_FREE = 5  # gigabytes where records lie
SKEW = 30.0  # seconds
GPUS_NAMED = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")  # variables; the first that is set counts
ROUNDING = 0.99  # of the memory that is asked for: control groups count in whole pages


def write_cluster(path: Path, console: Console) -> None:
    """Writes a commented cluster.toml for this site. Raises InductiveError where the file is there already."""
    if path.exists():
        raise InductiveError(f"{path} is there already; remove it, or name another with -o")
    values, remarks = proposal(look())
    path.write_text(commented(values, remarks), encoding="utf-8")
    read_cluster(path)  # what is proposed is also accepted
    say(console, f"{path} written from what this site says; read it, then `inductive cluster check --cluster {path}`")


def check_cluster(path: Path, root: Path, data: Path, console: Console, doctor: bool | None = None) -> int:
    """Submits a job that looks around, and compares what it saw with what is here. Returns an exit code.

    `doctor`: whether the job also makes the quick form of `inductive doctor`; None: where runs go to GPUs.
    """
    cluster, root, data = read_cluster(path), root.resolve(), data.resolve()
    check_root(root)
    check_path(root)
    for words in check_site(cluster, look(), str(path)):
        say(console, words)
    cluster = cluster.on_a_node  # one stands for all
    submission = ledger.new_submission(root, "check")
    name = f"inductive-{submission.name}"
    try:
        freeze.freeze_code(submission)
        executor = executor_for(submission, cluster, name)
        executor.update_parameters(time=min(cluster.minutes, 10), signal_delay_s=min(cluster.signal_seconds, 30))
        examined = cluster.computes_on if doctor or (doctor is None and cluster.computes_on == "cuda") else ""
        order = json.dumps({"folder": str(submission), "root": str(root), "data": str(data), "doctor": examined})
        say(console, f"accepted by sbatch --test-only: {_tested(executor, submission)}")
        job = str(executor.submit(look_around, order).job_id)
        say(console, f"job {job} looks around on a node; this waits for it, at most {JOB_WAIT:.0f} s")
        found = {**_wait(submission / ANSWER, job, JOB_WAIT), "data_here": data.is_dir()}
        call("scancel", "--signal=USR2", job)  # goes the way of the one before a time limit: to the steps of the job
        found |= _wait(submission / SIGNALS, job, 2 * SIGNAL_WAIT)
        wrong = judge(found, cluster)
        if found["doctor"]:
            say(console, f"the doctor looks at the node, at most {DOCTOR_WAIT:.0f} s")
            rows = _wait(submission / DOCTOR, job, DOCTOR_WAIT)["table"]
            for row in rows:
                say(console, f"  doctor: {': '.join(row)}")
            wrong += [f"doctor: {': '.join(row)}" for row in rows if row[1] in WRONG]
    except KeyboardInterrupt:
        say(console, f"interrupted: {_cancelled(name)}")
        return INTERRUPTED
    except BaseException:
        say(console, f"given up: {_cancelled(name)}")
        raise
    finally:
        shutil.rmtree(submission, ignore_errors=True)
    for name, words in described(found).items():
        say(console, f"  {name}: {words}")
    for words in wrong:
        say(console, f"not as it should be: {words}")
    say(console, "all is as it should be" if not wrong else f"to be mended in {path}, or by the site: {len(wrong)}")
    return FAILED if wrong else DONE


def _cancelled(name: str) -> str:
    """Cancels a job by its unique name, which sbatch may have taken without giving an id, wherever it is by now; what
    came of that, in words."""
    try:
        call("scancel", f"--name={name}")
    except SlurmError as error:
        return f"its job could not be cancelled ({error}): `scancel --name={name}`"
    return "no job of it is left in the queue"


def _tested(executor: Any, submission: Path) -> str:
    """What `sbatch --test-only` says of the job's script. Raises SlurmError where it refuses."""
    script = submission / "test.sh"
    script.write_text(executor._make_submission_file_text("true", "test"), encoding="utf-8")
    return call("sbatch", "--test-only", str(script)).strip() or "yes"


def look_around(text: str) -> str:
    """On the node: writes what can be seen from there, then whether USR2, still blocked here, comes within a while, and
    last what the doctor finds on the device that the order names ('': none)."""
    order = json.loads(text)
    import torch

    from benchmarks.running import gpus
    from benchmarks.training.kernels import why_no_cuda

    seen = torch.cuda.is_available()
    root, folder = Path(order["root"]), Path(order["folder"])
    doctor = order["doctor"] if seen or order["doctor"] != "cuda" else ""  # without a GPU there is nothing to examine
    write_json(
        folder / ANSWER,
        {
            "host": platform.node(),
            "python": sys.version.split()[0],
            "interpreter": sys.executable,
            "torch": torch.__version__,
            "code": str(Path(__file__).resolve().parent.parent),
            "time": time.time(),
            "root": root.is_dir() and os.access(root, os.W_OK),
            "data": Path(order["data"]).is_dir(),
            "free_gb": round(shutil.disk_usage(root).free / 1e9, 1) if root.is_dir() else 0.0,
            "cuda": len(gpus.given()) if seen else 0,
            "why_no_cuda": "" if seen else why_no_cuda(),
            "one_process_each": list(gpus.one_process_each()),
            "mps": gpus.mps_runs(),
            "doctor": doctor,
            "gpus": next(filter(None, map(os.environ.get, GPUS_NAMED)), ""),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_gb": memory_limit(),
            "scontrol": shutil.which("scontrol") is not None,
        },
    )
    came = signal.sigtimedwait({signal.SIGUSR2}, SIGNAL_WAIT)
    write_json(folder / SIGNALS, {"signals": came is not None})
    if doctor:
        from benchmarks.doctor.examination import Request, examine, report

        request, began = Request(doctor, quick=True), time.monotonic()
        write_json(folder / DOCTOR, report(request, list(examine(request)), began))
    return "looked"


def memory_limit() -> float | None:
    """What this process may use, in cluster.toml's gigabytes: the least of SLURM's word and the limits of its control
    groups; None where nobody sets one."""
    limits = [int(text) * 2**20 for text in [os.environ.get("SLURM_MEM_PER_NODE", "")] if text.isdigit()]
    least = min((*limits, *group_limits()), default=2**62)
    return round(least / 2**20 / 1000, 2) if least < 2**50 else None  # version 1 writes "no limit" as a huge number


def _wait(answer: Path, job: str, seconds: float) -> dict[str, Any]:
    """What the job writes. Raises InductiveError with its log when it ends without that, and after so many seconds.

    A controller that is silent for a while says nothing of the job, so this goes on waiting."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer.exists():
            return dict(read_json(answer))
        try:
            gone = call("squeue", "-h", "-j", job, "-o", "%T").strip() in ("", "COMPLETED", "FAILED", "CANCELLED")
        except SilentError:
            gone = False
        except SlurmError:  # SLURM has forgotten the job
            gone = True
        if gone:
            time.sleep(2.0)  # a file server may show the answer late
            if answer.exists():
                continue
            logs = sorted((answer.parent / "submitit").glob(f"{job}*log*"))
            text = logs[-1].read_text(encoding="utf-8", errors="replace").strip().splitlines() if logs else []
            words = " / ".join(text[-5:]) or "no log: is the folder seen on the node?"
            raise InductiveError(f"job {job} ended without an answer: {words}")
        time.sleep(0.5)
    raise InductiveError(f"job {job} gave no answer within {seconds:.0f} s")


def judge(found: dict[str, Any], cluster: Cluster) -> list[str]:
    """What of a node's answer would go wrong in a run."""
    wrong = []
    if not found["root"]:
        wrong.append("the folder of the records is not there, or cannot be written, on the node")
    if not found["data"] and found["data_here"]:
        wrong.append("the folder of the data sets is not there on the node")
    if cluster.computes_on == "cuda" and not found["cuda"]:
        wrong.append(
            f"device is {cluster.device}, and torch sees no GPU on the node: every run would fail, saying so "
            f'({found["why_no_cuda"]}); for nodes without GPUs: device = "cpu" and gpus_per_job = 0'
        )
    elif cluster.computes_on == "cuda" and found["cuda"] < cluster.gpus_per_job:
        wrong.append(f"torch sees {found['cuda']} of the {cluster.gpus_per_job} GPUs of gpus_per_job")
    if cluster.computes_on == "cuda" and cluster.runs_per_gpu > 1 and found["one_process_each"] and not found["mps"]:
        alone = ", ".join(found["one_process_each"])
        wrong.append(
            f"GPU {alone} takes one process at a time (Exclusive_Process) and no MPS runs: runs_per_gpu has to be 1"
        )
    if len(gpus_named(found["gpus"])) < cluster.gpus_per_job:
        given = len(gpus_named(found["gpus"]))
        wrong.append(f"SLURM gives the job {given} of the {cluster.gpus_per_job} GPUs of gpus_per_job")
    if found["cpus"] < cluster.cpus_per_job:
        wrong.append(f"the job's process may use {found['cpus']} of the {cluster.cpus_per_job} CPUs of cpus_per_job")
    if found["memory_gb"] is not None and found["memory_gb"] < cluster.memory_gb * ROUNDING:
        wrong.append(f"the job may use {found['memory_gb']} of the {cluster.memory_gb:g} GB of memory_gb")
    if not found["signals"]:
        wrong.append(
            "USR2 does not reach Python: at a time limit runs would lose their work since the last checkpoint, and the "
            "job would not go back into the queue; a wrapper in `launch` must exec Python, or pass signals on"
        )
    if found["python"] != sys.version.split()[0]:
        wrong.append(f"Python {found['python']} there, {sys.version.split()[0]} here: set `python`")
    if abs(found["time"] - time.time()) > SKEW:
        wrong.append(
            f"the node's clock differs by {found['time'] - time.time():+.0f} s (nothing here depends on it, logs do)"
        )
    if found["free_gb"] < LEAST_FREE:
        wrong.append(f"{found['free_gb']} GB are free where records lie")
    return wrong


def gpus_named(text: str) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names; older versions of SLURM write `NoDevFiles` for none."""
    return [name for name in text.split(",") if name and name != "NoDevFiles"]


def described(found: dict[str, Any]) -> dict[str, str]:
    """A node's answer in words."""
    gpus = f"{found['cuda']} seen by torch" + (f"; SLURM gave the job number {found['gpus']}" if found["gpus"] else "")
    gpus += "; MPS runs" if found["mps"] else ""
    memory = "no limit" if found["memory_gb"] is None else f"{found['memory_gb']} GB"
    data = "there" if found["data"] else "not there" + ("" if found["data_here"] else ", nor here")
    return {
        "node": f"{found['host']}; the job may use {found['cpus']} CPUs and, of memory, {memory}",
        "GPUs": gpus,
        "Python": f"{found['python']} ({found['interpreter']}), torch {found['torch']}",
        "code": found["code"],
        "data sets": data + ("" if found["data"] else ": `inductive prepare STUDY` gets what a study needs"),
        "signals": "USR2 reaches Python" if found["signals"] else "USR2 does not reach Python",
        "disk": f"{found['free_gb']} GB free where records lie",
        "scontrol": "there" if found["scontrol"] else "not there: jobs cannot put themselves back into the queue",
    }
