"""How fast a GPU trains, forecast from a network's launches and arithmetic.

    seconds of a step = launches x 35 µs + FLOPs / (share x the GPU's peak in the run's precision)
    launches          = (3 x operations of the forward pass + 4 x weights, in bfloat16 + 60) x share left by compiling

Small networks wait for launches, large ones for arithmetic. Backward passes launch about twice what forward ones do.
Autocast turns weights and inputs of layers into bfloat16, and their gradients back. 60 stand for images and what
augments them, the loss and the optimiser.

35 µs and the shares are of the five networks that `inductive doctor` times, at 32 and 224 px, on one H100 (2026-11-26;
docs/performance.md). There they forecast 0.2 to 2.2 times what a step took (median 0.9): the shares of networks lie far
apart, 0.11 to 0.57 in float32, 0.02 to 0.21 in tf32, 0.03 to 0.16 in bfloat16. What records say of a GPU corrects them.
"""

import re
from dataclasses import dataclass

LAUNCH_SECONDS = 35e-6  # of Python, torch and the driver together
SHARES = {"float32": 0.3, "tf32": 0.12, "bfloat16": 0.08}  # of the peak
START_SECONDS = 3.0  # of a run, up to its steady pace; 1.4 on an H100 with a local disk, and shared ones are slower
CASTS, OTHERS = 4, 60
FORMS = {"off": 1.0, "network": 0.5, "graphs": 0.1}  # share of the launches that is left by compiling


@dataclass(frozen=True)
class Gpu:
    """A GPU: a pattern of the names it goes by, and its dense peaks in TFLOP/s by precision, None for one it lacks."""

    name: str
    pattern: str
    float32: float
    tf32: float | None = None
    bfloat16: float | None = None
    parts: int = 7  # into which MIG divides it


GPUS = (
    Gpu("B200", r"g?b200", 75.0, 1125.0, 2250.0),
    Gpu("H100 PCIe", r"h100.*pcie", 51.2, 378.0, 756.0),
    Gpu("H100 NVL", r"h[12]00.*nvl", 60.0, 417.5, 835.5),
    Gpu("H100", r"g?h[12]00", 66.9, 494.7, 989.4),  # H200 and GH200 compute as fast
    Gpu("A100", r"a100", 19.5, 156.0, 312.0),
    Gpu("A40", r"a40", 37.4, 74.8, 149.7),
    Gpu("A30", r"a30", 10.3, 82.0, 165.0, parts=4),
    Gpu("A10", r"a10g?", 31.2, 62.5, 125.0),
    Gpu("L40S", r"l40s", 91.6, 183.0, 362.0),
    Gpu("L40", r"l40", 90.5, 90.5, 181.0),
    Gpu("L4", r"l4", 30.3, 60.0, 121.0),
    Gpu("V100", r"v100s?", 15.7),
    Gpu("T4", r"t4", 8.1),
    Gpu("RTX 3090", r"(rtx)?[ _-]*3090", 35.6, 35.6, 71.0),
    Gpu("RTX 4090", r"(rtx)?[ _-]*4090", 82.6, 82.6, 165.2),
    Gpu("RTX A6000", r"(rtx)?[ _-]*a6000", 38.7, 77.4, 154.8),
    Gpu("RTX 6000 Ada", r"rtx[ _-]*6000[ _-]*ada", 91.1, 182.1, 364.2),
)
"""Without sparsity (data sheets often name twice as much), from NVIDIA's data sheets, and for RTX from the white papers
of GA102 and AD102 (products added up in float32). float32 is without tensor cores. V100 and T4 have neither TF32 nor
bfloat16, and compute them as float32."""

UNKNOWN = next(gpu for gpu in GPUS if gpu.name == "V100")  # what any other is taken for: few clusters have slower ones
PART = re.compile(r"(\d)g\.\d+gb")  # of a GPU that MIG has divided: 3g.20gb


def _read(name: str) -> tuple[Gpu | None, int]:
    """The GPU that a name means, and how many of its parts."""
    text = name.lower()
    part = PART.search(text)
    found = (gpu for gpu in GPUS if re.search(rf"(?<![a-z0-9]){gpu.pattern}(?![a-z0-9])", text))
    gpu = next(found, None)
    return gpu, int(part[1]) if part else (gpu or UNKNOWN).parts


def kind_of(name: str) -> str:
    """One name for all that a GPU goes by: 'A100' for torch's 'NVIDIA A100-SXM4-80GB' and SLURM's 'a100', 'A100 3/7'
    for 'a100_3g.20gb'; others as they are."""
    gpu, number = _read(name)
    if gpu is None:
        return name
    return gpu.name if number == gpu.parts else f"{gpu.name} {number}/{gpu.parts}"


def flops(name: str, precision: str) -> float:
    """FLOP/s that training is assumed to reach on a GPU of this name, by a run that has it to itself."""
    gpu, number = _read(name)
    most = gpu or UNKNOWN
    best = getattr(most, precision)  # None: it computes as in float32
    share = SHARES[precision if best else "float32"]
    return float(best or most.float32) * 1e12 * share * number / most.parts


def peak(name: str, precision: str) -> float | None:
    """TFLOP/s at most of a GPU of this name; None for one that is not in the table, for a part of one (MIG), and for a
    precision that it lacks."""
    gpu, _ = _read(name)
    part = "mig" in name.lower() or PART.search(name.lower())
    return None if gpu is None or part else getattr(gpu, precision)


def assumption(name: str) -> str:
    """In words: what `flops` says of a GPU, and what a launch is assumed to take."""
    kind = kind_of(name) if _read(name)[0] else f"{name or 'an unnamed GPU'}, taken for a {UNKNOWN.name}"
    speeds = ", ".join(f"{one} {flops(name, one) / 1e12:.3g}" for one in ("float32", "tf32", "bfloat16"))
    return f"{kind} (TFLOP/s in training: {speeds}) and {LAUNCH_SECONDS * 1e6:.0f} µs a launch"


def launches(operations: float, weights: int, precision: str, form: str) -> float:
    """Kernels of a training step: by the `operations` of its forward pass and the `weights` of its layers (tensors of
    two dimensions and more), in a form of compiling."""
    casts = CASTS * weights if precision == "bfloat16" else 0
    return (3 * operations + casts + OTHERS) * FORMS[form]
