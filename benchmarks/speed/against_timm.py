"""Table `models`: our ViT's training step against timm's VisionTransformer of the same size and the same arithmetic.

Learned positions, mean pooling of normalised tokens, the same form of attention, float32, one batch of random images.
The goal is at most 1.05 times timm's time.
"""

from collections.abc import Mapping
from typing import Any

from timm.models.vision_transformer import VisionTransformer

import models
from benchmarks.speed.clock import Clock, Plan, Tell, Variant, summarise, take_turns
from benchmarks.speed.steps import CLASSES, training_step
from benchmarks.speed.tables import Table, milliseconds, ratio_words
from models.network import AttentionForm, Network

GOAL = 1.05
RESOLUTION = 32
SIZES: Mapping[str, Mapping[str, int]] = {
    "192x6": {"width": 192, "depth": 6, "heads": 3, "patch_size": 4},
    "64x2": {"width": 64, "depth": 2, "heads": 2, "patch_size": 8},
}
FORMS: tuple[AttentionForm, ...] = ("explicit", "fused")


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times every size in both forms of attention, ours and timm's in turns."""
    variants = []
    for size, dimensions in SIZES.items():
        for form in FORMS:
            reference = f"{size} {form} timm"
            theirs = training_step(timm_vit(dimensions, form), batch, RESOLUTION, device)
            mine = training_step(our_vit(dimensions, form), batch, RESOLUTION, device)
            variants += [Variant(reference, theirs, reference), Variant(f"{size} {form} ours", mine, reference)]
    turns = take_turns(variants, plan, clock, tell)
    rows = []
    for size, dimensions in SIZES.items():
        for form in FORMS:
            reference, name = f"{size} {form} timm", f"{size} {form} ours"
            summary = summarise(turns, name, reference)
            theirs_ms = milliseconds(summarise(turns, reference, reference))
            speed = "-" if summary.seconds is None else f"{batch / summary.seconds:,.0f}"
            shape = f"{size}, patch {dimensions['patch_size']}"
            rows.append([shape, form, theirs_ms, milliseconds(summary), speed, *ratio_words(summary)])
    return Table(
        name="models",
        about=f"Training step (forward, cross-entropy, backward, fused AdamW) of `vit` with `learned_1d` and of timm's "
        f"VisionTransformer of the same size (learned positions, mean of the normalised tokens), batch {batch}, "
        f"{RESOLUTION} px, float32. Goal: at most {GOAL} times timm's time.",
        header=[
            *("ViT", "attention", "timm, ms", "ours, ms", "ours, images/s"),
            *("ours / timm: median (quartiles)", "clean rounds"),
        ],
        rows=rows,
        turns=turns,
    )


def our_vit(dimensions: Mapping[str, Any], form: AttentionForm) -> Network:
    """The suite's ViT with learned positions."""
    network = models.create_model(
        "vit", image_size=RESOLUTION, in_channels=3, num_classes=CLASSES, position="learned_1d", **dimensions
    )
    network.set_attention(form)
    return network


def timm_vit(dimensions: Mapping[str, Any], form: AttentionForm) -> Any:
    """timm's VisionTransformer that computes the same function of the same parameters; a test holds that."""
    network: Any = VisionTransformer(
        img_size=RESOLUTION,
        patch_size=dimensions["patch_size"],
        embed_dim=dimensions["width"],
        depth=dimensions["depth"],
        num_heads=dimensions["heads"],
        num_classes=CLASSES,
        class_token=False,
        global_pool="avg",
        fc_norm=False,  # normalise the tokens, then take their mean, as ours does
    )
    for block in network.blocks:
        block.attn.fused_attn = form == "fused"
    return network
