"""submitit's executor for SLURM, with a limit on how long sbatch may take, and a job's parameters from cluster.toml."""

import shlex
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core import utils

from benchmarks.errors import ConfigError
from slurm.cluster import Cluster
from slurm.freeze import environment_lines
from slurm.ledger import ERROR_BYTES
from slurm.worker import BLOCKED, work

FOREVER = 10**6  # submitit's own count of time-outs is not relied on: jobs shorter than ten minutes always count


class Executor(submitit.SlurmExecutor):
    """submitit's, whose every sbatch (an array's too) is ended after some seconds."""

    seconds: float = 60.0

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["timeout", f"{self.seconds:g}", *super()._make_submission_command(submission_file_path)]

    def _internal_process_submissions(self, delayed_submissions: Any) -> Any:
        """As submitit does it; its own makes the array by another executor, whose sbatch may take for ever."""
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(delayed_submissions)
        folder = utils.JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        pickles = []
        for delayed in delayed_submissions:
            delayed.set_timeout(self.parameters.get("time", 5), self.max_num_timeout)
            pickles.append(folder / f"{uuid.uuid4().hex}.pkl")
            delayed.dump(pickles[-1])
        self.parameters["map_count"] = len(pickles)
        first = self._submit_command(self._submitit_command_str)
        jobs: list[Any] = []
        for number, path in enumerate(pickles):
            jobs.append(submitit.SlurmJob(folder=self.folder, job_id=f"{first.job_id}_{number}", tasks=[0]))
            jobs[-1].paths.move_temporary_file(path, "submitted_pickle")
        return jobs


def executor_for(submission: Path, cluster: Cluster, name: str, dependency: str = "") -> Executor:
    """An executor that submits one array of a submission under a unique name.

    Signals are blocked before `launch`, so a wrapper around the interpreter does not die of them, and unblocked by the
    worker.
    """
    python = shlex.join([*cluster.launch, cluster.python or sys.executable])
    executor = Executor(submission / "submitit", max_num_timeout=FOREVER, python=f"env {BLOCKED} {python}")
    executor.seconds = cluster.sbatch_seconds
    executor.update_parameters(**parameters(submission, cluster, name, dependency))
    return executor


def check_path(root: Path) -> None:
    """Raises ConfigError for a path that sbatch would read otherwise: it expands %, and splits at quotes."""
    bad = sorted({sign for sign in str(root) if sign in "%\\'\"" or not sign.isprintable()})
    if bad:
        raise ConfigError(
            "--runs", f"{str(root)!r} has {' and '.join(map(repr, bad))} in it, which sbatch would replace"
        )


def parameters(submission: Path, cluster: Cluster, name: str, dependency: str = "") -> dict[str, Any]:
    """A job's parameters as submitit names them."""
    nodes, cluster = cluster.nodes, cluster.on_a_node
    more: dict[str, Any] = {**cluster.options, "chdir": str(submission)}
    more["requeue" if cluster.requeue else "no-requeue"] = True
    if dependency:
        more["kill-on-invalid-dep"] = "yes"
    cpus = cluster.cpus_per_job  # srun takes it from sbatch no more since SLURM 22.05
    all_cpus = [] if cpus else ["export SRUN_CPUS_PER_TASK=$SLURM_CPUS_ON_NODE"]
    given = {
        "job_name": name,
        "partition": ",".join(cluster.partitions),
        "time": cluster.minutes,
        "nodes": nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus or None,
        "gpus_per_node": f"{cluster.gpu_type}:{cluster.gpus_per_job}".lstrip(":") if cluster.gpus_per_job else None,
        "mem": f"{round(cluster.memory_gb * 1000)}M" if cluster.memory_gb else None,
        "account": cluster.account or None,
        "qos": cluster.qos or None,
        "signal_delay_s": cluster.signal_seconds,
        "setup": [*error_lines(submission, name), *cluster.setup, *all_cpus, *environment_lines(submission)],
        "dependency": dependency or None,
        "array_parallelism": cluster.max_jobs,
        "srun_args": [*([f"--cpus-per-task={cpus}"] if cpus else []), *cluster.srun_args],
        "stderr_to_stdout": True,
        "additional_parameters": more,
    }
    return {key: value for key, value in given.items() if value is not None}


def error_lines(submission: Path, name: str) -> list[str]:
    """Lines that keep the end of a job's log as its last error, where it ends badly and has not kept a better one: no
    such interpreter or module, out of memory. First of all, so that they hold for the lines of `setup` as well."""
    error = shlex.quote(f"{submission}/arrays/{name.rpartition('-')[2]}")
    log = shlex.quote(f"{submission}/submitit/")
    return [
        f"inductive_error={error}.${{SLURM_ARRAY_TASK_ID:-0}}.error",
        f"inductive_log={log}${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}_0_log.out",
        'rm -f "$inductive_error"',
        "inductive_keep_error() {",
        "  code=$?; set +e",
        '  if [ $code -ne 0 ] && [ ! -s "$inductive_error" ]; then',
        f'    {{ echo "exit code $code"; tail -n 30 "$inductive_log"; }} | tail -c {ERROR_BYTES} > "$inductive_error"',
        "  fi",
        "}",
        "trap inductive_keep_error EXIT",
    ]


def send(executor: Executor, orders: Sequence[str]) -> str:
    """Submits a job for each order, in one array. Returns SLURM's id of the array, or of the job when it is one."""
    jobs = executor.map_array(work, orders)
    return str(jobs[0].job_id).partition("_")[0]
