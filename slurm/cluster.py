"""cluster.toml: what a user says of a cluster, read and checked before anything is sent to it."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmarks.errors import ConfigError
from models.hints import did_you_mean

Count = Annotated[int, Field(ge=1)]


class Cluster(BaseModel):
    """The file's keys. Whatever is left out has this default."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    partitions: tuple[str, ...] = Field(description="in order of preference; SLURM takes the first that can start")
    account: str = Field("", description="who pays; empty: the site's default")
    qos: str = Field("", description="quality of service; empty: the site's default")
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="what runs compute on; auto: cuda where a job has GPUs. cuda: without one a run fails"
    )
    nodes: Count = Field(
        1, description="nodes of a job, which share its GPUs, CPUs and memory equally and compute each run together"
    )
    gpus_per_job: Annotated[int, Field(ge=0)] = Field(1, description="GPUs of a job, also where device is cpu")
    gpu_type: Annotated[str, Field(pattern=r"^[\w.-]*$")] = Field("", description="their type; empty: any")
    runs_per_gpu: Count = Field(1, description="runs side by side on a GPU, each a process; without GPUs, in a job")
    gpus_per_run: Count = Field(
        1, description="GPUs that compute a run together; without GPUs processes, of those side by side in a job"
    )
    checkpoint_activations: bool = Field(
        False, description="compute activations of new runs again instead of keeping them: less memory, a third slower"
    )
    cpus_per_job: Annotated[int, Field(ge=0)] = Field(
        2, description="CPU cores of a job; 0: not asked for, so what the site gives by default"
    )
    memory_gb: Annotated[float, Field(ge=0)] = Field(
        16.0, description="memory of a job; 0: not asked for, so what the site gives by default"
    )
    minutes: Count = Field(240, description="time limit of a job")
    least_minutes: Annotated[float, Field(gt=0)] = Field(
        15.0, description="work of a job at least, when a study is spread over many: each costs a start of some seconds"
    )
    signal_seconds: Annotated[int, Field(ge=1)] = Field(
        120, description="before its end a job is told to save; twice the slowest step with its checkpoint at least"
    )
    checkpoint_seconds: Annotated[float, Field(gt=0)] = Field(
        300.0, description="between checkpoints: what a node that dies can cost"
    )
    largest_array: Count = Field(1000, description="jobs in one array, below the site's MaxArraySize")
    max_jobs: Count = Field(200, description="jobs of a study in the queue at once")
    over: Literal["wait", "dependent"] = Field(
        "wait", description="runs beyond max_jobs: wait for the next `submit`, or for a job after the last array"
    )
    dependent_partition: str = Field(
        "", description="where that job runs, which asks for one CPU and no GPU; empty: in the partitions of the others"
    )
    requeue: bool = Field(True, description="whether the site lets a job put itself back into the queue")
    ask_above: Annotated[float, Field(ge=0)] = Field(
        50.0, description="estimated GPU-hours, or core-hours on CPUs, above which `submit` asks"
    )
    tflops: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="assumed of a slot in training, in TFLOP/s, where no run has been measured yet; 0: by what runs "
        "compute on, a GPU by gpu_type",
    )
    check_limits: bool = Field(
        True, description="whether `submit` refuses what no node of the partitions has, or is over their time limit"
    )
    sbatch_seconds: Annotated[float, Field(gt=0)] = Field(60.0, description="after which sbatch counts as hanging")
    decoder: Literal["pillow", "torchcodec", "pillow-reduced"] = Field(
        "pillow",
        description="what decodes photographs of runs that begin: the reference, a faster one, or it at reduced scale",
    )
    scratch: str = Field(
        "",
        description="a disk of each node, as $TMPDIR or /scratch/$USER, to which photographs are copied once for all "
        "jobs there; a copy that nobody has used for a week is removed. Empty: read where they lie",
    )
    python: str = Field("", description="the interpreter on the nodes; empty: the one that submits")
    setup: tuple[str, ...] = Field((), description="lines of the job's script before it starts: modules, exports")
    srun_args: tuple[str, ...] = Field((), description="further options of srun, each a word: --container-image=...")
    launch: tuple[str, ...] = Field(
        (), description="words before the interpreter: a container's `apptainer exec`; must pass signals on"
    )
    options: dict[str, str | int | bool] = Field({}, description="further options of sbatch: constraint, exclude, ...")

    @field_validator("partitions", "setup", "srun_args", "launch", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("python")
    @classmethod
    def _a_path(cls, value: str) -> str:
        if value and (any(sign in value for sign in " \t\"'$;&|<>") or not value.startswith("/")):
            raise ValueError("is the absolute path of an interpreter and nothing else: see setup and launch")
        return value

    @field_validator("srun_args", "launch")
    @classmethod
    def _words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if not word.strip() or not word.isprintable():
                raise ValueError(f"{word!r} is no word of a command line")
        return value

    @field_validator("srun_args")
    @classmethod
    def _options_of_srun(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if not word.startswith("--"):
                raise ValueError(f"{word!r}: write each as one word, --option or --option=value")
            if word.removeprefix("--").partition("=")[0] in TAKEN_OF_SRUN:
                raise ValueError(f"{word!r} is set by other keys, or by the suite")
        return value

    @model_validator(mode="after")
    def _whole(self) -> "Cluster":
        if not self.partitions:
            raise ValueError("partitions: at least one")
        if self.gpu_type and not self.gpus_per_job:
            raise ValueError(f"gpu_type: {self.gpu_type!r} while gpus_per_job = 0")
        if self.minutes * 60 < 2 * self.signal_seconds:
            raise ValueError(
                f"minutes: {self.minutes} is less than twice signal_seconds = {self.signal_seconds}, so a job would be "
                f"told to save before half of its time is over; allowed: minutes from {self.signal_seconds / 30:g}, or "
                f"signal_seconds up to {self.minutes * 30}"
            )
        there = max(1, self.gpus_per_job) * (1 if self.computes_on == "cuda" else self.runs_per_gpu)
        if there % self.gpus_per_run:
            name = "gpus_per_job" if self.gpus_per_job else "runs_per_gpu"
            allowed = ", ".join(str(number) for number in range(1, there + 1) if there % number == 0)
            raise ValueError(f"gpus_per_run: {self.gpus_per_run} does not divide {name} = {there}; allowed: {allowed}")
        if self.nodes > 1:
            for key, shared in (("gpus_per_job", self.gpus_per_job), ("cpus_per_job", self.cpus_per_job)):
                if shared % self.nodes:
                    raise ValueError(f"{key}: {shared} cannot be shared equally by nodes = {self.nodes}")
            if self.gpus_per_run != there or there % self.nodes:
                raise ValueError(
                    f"gpus_per_run: {self.gpus_per_run} with nodes = {self.nodes}, whose job computes one run at a "
                    f"time by all of its {there}; allowed: {there}, a multiple of nodes"
                )
            if self.computes_on == "cuda" and self.runs_per_gpu > 1:
                raise ValueError(f"runs_per_gpu: {self.runs_per_gpu} with nodes = {self.nodes}; allowed: 1")
        taken = sorted(set(self.options) & TAKEN)
        if taken:
            raise ValueError(f"options: {', '.join(taken)} are set by other keys, or by the suite")
        for key, value, others in (("cpus_per_job", self.cpus_per_job, CPUS), ("memory_gb", self.memory_gb, MEMORY)):
            if value and (other := next(iter(others & set(self.options)), "")):
                raise ValueError(f"options: {other} contradicts {key} = {value:g}; with {key} = 0 it is allowed")
        return self

    @property
    def computes_on(self) -> str:
        """cuda or cpu: a job that asks for GPUs is promised them, so that none falls back to the CPU unsaid."""
        return self.device if self.device != "auto" else "cuda" if self.gpus_per_job else "cpu"

    @property
    def slots(self) -> int:
        """Runs side by side in a job."""
        return self.runs_per_gpu * max(1, self.gpus_per_job) // self.gpus_per_run

    @property
    def on_a_node(self) -> "Cluster":
        """What a job asks of each of its nodes."""
        shares = {
            "nodes": 1,
            "gpus_per_job": self.gpus_per_job // self.nodes,
            "gpus_per_run": max(1, self.gpus_per_run // self.nodes),
            "cpus_per_job": self.cpus_per_job // self.nodes,
            "memory_gb": self.memory_gb / self.nodes,
        }
        return self.model_copy(update=shares) if self.nodes > 1 else self

    @property
    def memory_bytes(self) -> int:
        """Memory of a job, whose M are 2**20 bytes to SLURM; 0 where it is not asked for."""
        return round(self.memory_gb * 1000) * 2**20

    @property
    def only_submits(self) -> "Cluster":
        """What the job that only submits asks for: one CPU, no GPU, little memory and time."""
        minutes = min(self.minutes, SUBMITS_MINUTES)
        changes = {
            "partitions": (self.dependent_partition,) if self.dependent_partition else self.partitions,
            "nodes": 1,
            "gpus_per_job": 0,
            "gpu_type": "",
            "gpus_per_run": 1,
            "cpus_per_job": min(1, self.cpus_per_job),
            "memory_gb": min(SUBMITS_GB, self.memory_gb),
            "minutes": minutes,
            "signal_seconds": min(self.signal_seconds, minutes * 30),
            "options": {key: value for key, value in self.options.items() if key not in CPUS | MEMORY | FOR_RUNS},
        }
        return self.model_copy(update=changes)


SUBMITS_MINUTES, SUBMITS_GB = 30, 4.0  # of a job that only submits: 10,000 runs take half a minute and 0.9 GB
CPUS = {"cpus-per-gpu"}
MEMORY = {"mem-per-cpu", "mem-per-gpu"}
FOR_RUNS = {"exclusive", "gpu-bind", "gpu-freq", "gpus", "gpus-per-task", "gres", "gres-flags"}
TAKEN_OF_SRUN = {
    *("chdir", "cpus-per-task", "error", "gpus-per-node", "input", "kill-on-bad-exit", "label", "mem", "nodes"),
    *("ntasks", "ntasks-per-node", "output", "unbuffered"),
}
TAKEN = {
    *("account", "array", "chdir", "cpus-per-task", "dependency", "error", "gpus-per-node", "job-name", "mem"),
    *("nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "partition", "qos", "requeue", "signal", "time"),
}


def read_cluster(path: Path) -> Cluster:
    """The file. Raises ConfigError naming file, key, what is allowed and the nearest key."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError("--cluster", f"there is no {path}; `inductive cluster init` writes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("", str(error), str(path)) from error
    try:
        return Cluster(**found)
    except ValidationError as error:
        first = error.errors()[0]
        key, names = ".".join(map(str, first["loc"])), list(Cluster.model_fields)
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                key, f"unknown; allowed: {', '.join(names)}{did_you_mean(key, names)}", str(path)
            ) from error
        raise ConfigError(key, first["msg"].removeprefix("Value error, "), str(path)) from error


def commented(values: dict[str, Any], remarks: dict[str, str]) -> str:
    """A cluster.toml with every key, what it means, and what the site says of it (`remarks`)."""
    lines = ["# What `inductive submit --cluster cluster.toml` asks of this cluster, and how runs go there.", ""]
    tables = []
    for name, field in Cluster.model_fields.items():
        value = values.get(name, field.default)
        comment = f"# {name}: {field.description}" + (f" ({remarks[name]})" if name in remarks else "")
        if isinstance(value, dict):
            tables += ["", comment, f"[{name}]", *(f"{key} = {_toml(one)}" for key, one in value.items())]
        else:
            lines += [comment, f"{name} = {_toml(value)}"]
    return "\n".join([*lines, *tables]) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
