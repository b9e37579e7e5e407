"""Table `encodings`: what each positional encoding costs in the same backbone, relative to none.

The backbone is the `nano` ViT at 32 px, in the form of attention that a run on the device uses. The forward pass is at
another resolution than the training one, where positions are carried.
"""

import models
from benchmarks.speed.clock import Clock, Plan, Tell, Variant, summarise, take_turns
from benchmarks.speed.steps import CLASSES, forward_pass, training_step
from benchmarks.speed.tables import Table, milliseconds, ratio_words
from benchmarks.training.kernels import KERNELS
from models.network import Network

TRAINED, CARRIED = 32, 48
NONE = "none"


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times the training step and the carried forward pass of every encoding, all in turns."""
    names = sorted(models.position_names(), key=lambda name: name != NONE)  # the reference first, the rest as declared
    variants, described = [], {}
    for name in names:
        described[name] = nano_vit(name, device).describe(TRAINED, TRAINED)
        step = training_step(nano_vit(name, device), batch, TRAINED, device)
        forward = forward_pass(nano_vit(name, device), batch, CARRIED, device)
        variants += [Variant(f"{name} step", step, f"{NONE} step")]
        variants += [Variant(f"{name} forward", forward, f"{NONE} forward")]
    turns = take_turns(variants, plan, clock, tell)
    rows = []
    for name in names:
        step_summary = summarise(turns, f"{name} step", f"{NONE} step")
        forward_summary = summarise(turns, f"{name} forward", f"{NONE} forward")
        size = [f"{described[name].parameters['position']:,}", f"{described[name].macs / 1e6:.2f}"]
        numbers = [milliseconds(step_summary), *ratio_words(step_summary)]
        carried = [milliseconds(forward_summary), *ratio_words(forward_summary)]
        rows.append([f"`{name}`", *size, *numbers, *carried])
    return Table(
        name="encodings",
        about=f"`vit` of size `nano` in float32, attention and linear maps as in a run on {device}, batch {batch}. "
        f"Training step at {TRAINED} px; forward pass alone of a network made for {TRAINED} px at {CARRIED} px, "
        f"positions carried the default way. Times are relative to `{NONE}` in the same round: median (quartiles). "
        "Parameters are the encoding's own, multiply-accumulates those of the whole network for one image of "
        f"{TRAINED} px.",
        header=[
            *("position", "parameters", "MACs, M", f"step at {TRAINED} px, ms", "relative to none", "clean rounds"),
            *(f"forward at {CARRIED} px, ms", "relative to none, carried", "clean rounds, forward"),
        ],
        rows=rows,
        turns=turns,
    )


def nano_vit(position: str, device: str) -> Network:
    """The backbone with an encoding, in the forms of attention and linear maps that a run on a device uses."""
    network = models.create_model(
        "vit", image_size=TRAINED, in_channels=3, num_classes=CLASSES, size="nano", position=position
    )
    network.set_attention(KERNELS[device, "float32"].attention)
    network.set_linear(KERNELS[device, "float32"].linear)
    return network
