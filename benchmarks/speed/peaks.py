"""What a GPU can do at most, as its maker publishes it: TFLOP/s by precision, dense (datasheets often double them)."""

import re
from collections.abc import Mapping

PEAKS: Mapping[str, Mapping[str, float]] = {
    r"Tesla V100-SXM2.*": {"float32": 15.7},
    r"Tesla T4": {"float32": 8.1},
    r"NVIDIA A100.*": {"float32": 19.5, "tf32": 156.0, "bfloat16": 312.0},
    r"NVIDIA A30": {"float32": 10.3, "tf32": 82.0, "bfloat16": 165.0},
    r"NVIDIA A40": {"float32": 37.4, "tf32": 74.8, "bfloat16": 149.7},
    r"NVIDIA A10": {"float32": 31.2, "tf32": 62.5, "bfloat16": 125.0},
    r"NVIDIA L4": {"float32": 30.3, "tf32": 60.0, "bfloat16": 121.0},
    r"NVIDIA L40S": {"float32": 91.6, "tf32": 183.0, "bfloat16": 362.0},
    r"NVIDIA H100 80GB HBM3": {"float32": 66.9, "tf32": 494.7, "bfloat16": 989.4},  # SXM
    r"NVIDIA H100 PCIe": {"float32": 51.2, "tf32": 378.0, "bfloat16": 756.0},
    r"NVIDIA H100 NVL": {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5},
    r"NVIDIA H200": {"float32": 66.9, "tf32": 494.7, "bfloat16": 989.4},  # SXM
    r"NVIDIA H200 NVL": {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5},
    r"NVIDIA B200": {"float32": 75.0, "tf32": 1125.0, "bfloat16": 2250.0},
    r"NVIDIA GeForce RTX 3090": {"float32": 35.6, "tf32": 35.6, "bfloat16": 71.0},
    r"NVIDIA GeForce RTX 4090": {"float32": 82.6, "tf32": 82.6, "bfloat16": 165.2},
    r"NVIDIA RTX A6000": {"float32": 38.7, "tf32": 77.4, "bfloat16": 154.8},
    r"NVIDIA RTX 6000 Ada Generation": {"float32": 91.1, "tf32": 182.1, "bfloat16": 364.2},
}
"""By name as `torch.cuda.get_device_name` has it (a pattern). Sources: NVIDIA's datasheets of each card, and its
architecture whitepapers (Volta, Turing, Ampere GA100 and GA102, Ada, Hopper; HGX B200 for the last). float32 is without
tensor cores, bfloat16 with sums in float32."""


def peak(name: str, precision: str) -> float | None:
    """TFLOP/s at most of a GPU by its name; None for one that is not in the table, and for a part of one (MIG)."""
    if " MIG " in name:
        return None
    found = (peaks for pattern, peaks in PEAKS.items() if re.fullmatch(pattern, name))
    return next(found, {}).get(precision)
