"""How a run is computed: everything that decides its bits, set by rule and never by timing.

The first attempt writes it to `execution.json`; every later attempt and `inductive rerun` use what is written.
"""

import math
import os
import platform
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch

import models
from benchmarks.errors import InductiveError
from benchmarks.plan.run import Run
from benchmarks.records.environment import driver_version
from benchmarks.training.compiling import CompileForm
from benchmarks.training.ranks.rows import most_rows
from models.linear import LinearForm
from models.network import AttentionForm


@dataclass(frozen=True)
class Kernels:
    """How networks are computed: attention, linear maps, the layout of convolutional ones, CPU threads a run."""

    attention: AttentionForm
    linear: LinearForm = "torch"
    convolutions: str = "channels_last"
    threads: int = 1
    compiled: CompileForm = "network"
    compile_from: float = math.inf  # steps of a run that earn its compilation


KERNELS = {
    ("cpu", "float32"): Kernels("explicit", linear="onednn"),
    ("cpu", "bfloat16"): Kernels("explicit"),
    **{("cuda", p): Kernels("fused", compiled="graphs", compile_from=1) for p in ("float32", "tf32", "bfloat16")},
    ("mps", "float32"): Kernels("explicit"),
}
"""By device and precision, from measurements. On CPUs torch's fused attention gains nothing in float32 at our numbers
of tokens, and in bfloat16 its step takes two to six times as long. Linear maps in float32 by oneDNN take half the time
with AVX-512, and 1.1 to 3 times as long without it (`onednn_pays`). Channels last gives convolutional networks 1.3 to
1.5x, one thread a run and a run a core up to 1.5x. On CPUs no run is compiled unless it is asked for: that does not pay
(table `compile` of `make bench`). On GPUs the steps of every run are recorded as graphs: they have the same bits
(`inductive doctor`) and, where a GPU computes kernels faster than Python launches them, take down to half the time.
"""

ATTENTION_BACKENDS = ("flash", "efficient", "math")
"""Of fused attention on CUDA, in torch's order of choice: flash for half precisions without a mask, then the
memory-efficient, then the formula. cuDNN's, which torch would prefer on an H100, is left out: it is not deterministic,
and has given gradients that are not finite with a mask at N % 128 == 64.
"""


JOB_GPUS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")  # variables of a SLURM job that has GPUs


def choose_device(wanted: str) -> str:
    """'cpu', 'cuda' or 'mps' for a wanted 'auto' (a GPU where there is one, else cpu), or as named.

    Raises InductiveError when the device asked for is not there, or 'auto' finds none of the GPUs that a SLURM job
    has: no silent fall-back.
    """
    if wanted == "auto":
        if not torch.cuda.is_available() and (gpus := next(filter(None, map(os.environ.get, JOB_GPUS)), "")):
            raise InductiveError(
                f"--device auto: this job has GPUs ({gpus}) and torch sees none: {why_no_cuda()}; --device cpu does "
                "without them"
            )
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[wanted]:
        why = f"; torch says: {why_no_cuda()}" if wanted == "cuda" else f"; {why_no_mps()}"
        raise InductiveError(
            f"--device {wanted}: there is none here; available are {', '.join(d for d in there if there[d])}{why}"
        )
    return wanted


def why_no_cuda() -> str:
    """torch's own words for there being no CUDA here: no GPU, no driver, one that is too old for this torch."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # torch raises the second where it is built without CUDA
        return " ".join(str(error).split())
    return "no reason"


def why_no_mps() -> str:
    """Why there is no mps, the device of Apple's GPUs, in this process."""
    if not torch.backends.mps.is_built():
        return "mps is for the GPUs of Macs with Apple silicon, and this torch is built without it"
    return "this torch is built with mps, and finds no GPU of Apple's that this macOS lets it use"


CompileChoice = Literal["rule", "off", "network", "graphs"]


def check_compile(choice: CompileChoice, device: str) -> None:
    """Raises InductiveError for CUDA graphs where there is no CUDA."""
    if choice == "graphs" and device != "cuda":
        raise InductiveError(
            f"--compile graphs: CUDA graphs need a CUDA GPU, and runs go to {device}; allowed: network"
        )


def form_by_rule(run: Run, device: str, ranks: int = 1) -> str:
    """How a run is compiled on a device where nobody asks for anything else; by several ranks it is not."""
    kernels = KERNELS.get((device, run.precision))
    return kernels.compiled if kernels is not None and run.steps >= kernels.compile_from and ranks == 1 else "off"


def check_ranks(run: Run, ranks: int, device: str, compiling: CompileChoice = "rule") -> None:
    """Raises InductiveError where a run cannot be computed by so many ranks. Starts no CUDA."""
    group = run.recipe.batch_norm_group
    if compiling in ("network", "graphs") and (ranks > 1 or (compiling == "network" and group)):
        why = f"--gpus-per-run {ranks}" if ranks > 1 else f"recipe.batch_norm_group = {group}"
        raise InductiveError(f"{run.id}: --compile {compiling} and {why} cannot be together; allowed: --compile off")
    if ranks > 1 and device == "mps":
        raise InductiveError(f"{run.id}: --gpus-per-run {ranks}: mps has one GPU; allowed: 1")
    if ranks > run.recipe.batch_size:
        raise InductiveError(
            f"{run.id}: --gpus-per-run {ranks}: a batch has {run.recipe.batch_size} images; allowed: as many GPUs"
        )


def check_precision(run: Run, device: str) -> None:
    """Raises InductiveError where the device is not known to compute in the run's precision. Starts no CUDA."""
    if (device, run.precision) not in KERNELS:
        allowed = ", ".join(precision for known, precision in KERNELS if known == device)
        raise InductiveError(f"{run.id}: precision {run.precision} on {device} is not supported; allowed: {allowed}")


def execution_for(
    run: Run, device: str, compiling: CompileChoice = "rule", ranks: int = 1, recompute: bool = False
) -> dict[str, Any]:
    """The settings that decide the bits of a run on a device, or on as many as there are `ranks`; with `recompute`
    activations are computed again instead of kept.

    `micro_batch` images go through the network at once; the gradients of a batch are added up. Raises InductiveError
    where the device is not known to compute in the run's precision, or not by so many ranks.
    """
    check_precision(run, device)
    check_compile(compiling, device)
    check_ranks(run, ranks, device, compiling)
    if recompute and compiling in ("network", "graphs"):
        raise InductiveError(
            f"{run.id}: --compile {compiling} and --checkpoint-activations cannot be together; allowed: --compile off"
        )
    kernels = KERNELS[device, run.precision]
    form = compiling if compiling != "rule" else "off" if recompute else form_by_rule(run, device, ranks)
    onednn = kernels.linear == "onednn" and onednn_pays() and form == "off"
    convolutional = models.family(run.model).layout == "channels_last"
    return {
        "device": device,
        "threads": kernels.threads,
        "attention": kernels.attention,
        "linear": "onednn" if onednn else "torch",  # compiled linear maps are the compiler's
        "compile": form,
        "layout": kernels.convolutions if convolutional else "contiguous",
        "precision": run.precision,
        "micro_batch": most_rows(ranks, run.recipe.batch_size),
        "ranks": ranks,
        "checkpoint_activations": recompute,
        **(_cuda_settings(run.precision) if device == "cuda" else {}),
        **platform_bits(device),
    }


def onednn_pays() -> bool:
    """Whether linear maps by oneDNN are faster than torch's own, by what this CPU can do (docs/performance.md)."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def _cuda_settings(precision: str) -> dict[str, Any]:
    """What of the bits is set on CUDA alone. `tf32` follows from the precision, and is written for those who read it.

    Raises InductiveError for tf32 on a GPU that would compute in float32 instead.
    """
    if precision == "tf32" and torch.cuda.get_device_capability() < (8, 0):
        name = torch.cuda.get_device_name()
        raise InductiveError(f"precision tf32: {name} has no TF32 (GPUs have it from Ampere on); allowed: float32")
    return {"deterministic": True, "attention_backends": list(ATTENTION_BACKENDS), "tf32": precision == "tf32"}


def platform_bits(device: str) -> dict[str, str]:
    """What decides bits but cannot be set: CPU or GPU type and versions of libraries, CUDA, cuDNN and the driver."""
    versions = {name: version(name) for name in ("torch", "torchvision", "timm", "numpy")}
    if device != "cuda":
        return {"machine": platform.machine(), "capability": torch.backends.cpu.get_cpu_capability(), **versions}
    versions |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    name = torch.cuda.get_device_name()
    return {"machine": platform.machine(), "capability": name, **versions, "driver": driver_version()}


def apply_execution(execution: Mapping[str, Any]) -> list[str]:
    """Sets this process up as written. Returns what of it cannot be had here, so that bits may differ.

    Raises InductiveError when the device is not there.
    """
    torch.set_num_threads(execution["threads"])
    choose_device(execution["device"])
    if execution["device"] == "cuda":
        # Outside of networks float32 is exact, whatever torch's default. Inside, `training.arithmetic` decides.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS is deterministic only with it
        use_attention_backends(execution.get("attention_backends", ATTENTION_BACKENDS))  # absent in early records
    use_determinism(execution)
    now = platform_bits(execution["device"])
    then = {name: execution.get(name, "unknown") for name in now}
    return [f"{name}: {then[name]} then, {value} now" for name, value in now.items() if then[name] != value]


def use_attention_backends(names: Collection[str]) -> None:
    """Lets torch choose among these backends of fused attention alone."""
    torch.backends.cuda.enable_flash_sdp("flash" in names)
    torch.backends.cuda.enable_mem_efficient_sdp("efficient" in names)
    torch.backends.cuda.enable_math_sdp("math" in names)
    torch.backends.cuda.enable_cudnn_sdp("cudnn" in names)


def use_determinism(execution: Mapping[str, Any]) -> None:
    """Sets torch's determinism as `deterministic` says. True: deterministic kernels, and an operation that has none
    raises RuntimeError. False: it is computed all the same; torch then also leaves out what makes the backward pass of
    flash and memory-efficient attention deterministic. Absent, as on CPUs: kernels are deterministic by themselves.
    """
    written = execution.get("deterministic", False if execution["device"] == "cuda" else None)  # early records: False
    wanted = written is not None, written is False
    if wanted == (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()):
        return
    torch.use_deterministic_algorithms(wanted[0], warn_only=wanted[1])
    # By default new memory is then filled, in a pass of its own. No operation of ours reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if written is False:  # said once, when it was written
        for words in ("does not have a deterministic implementation", "defaults to a non-deterministic algorithm"):
            warnings.filterwarnings("ignore", f".*{words}")


def nondeterministic_operation(error: RuntimeError) -> str | None:
    """The operation that torch refuses, by this error, since it has no deterministic kernel; None for other errors."""
    found = re.search(r"(\S+) does not have a deterministic implementation", str(error))
    return found[1] if found else None
