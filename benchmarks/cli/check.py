"""`inductive check FILE`: a user's own encodings and models put to the contract, with their symmetries and cost.

What loads torch is imported inside, so that `--help` is answered at once.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

import models
from benchmarks.console import count, say, terminal
from benchmarks.errors import DONE, FAILED, ConfigError
from benchmarks.plan.study import load_plugin

if TYPE_CHECKING:
    from models.checks.contract import Subject

SIDES = (8, 16, 32, 64, 224)  # training resolutions at which a model is tried, the smallest first
OTHER = {"width": 60, "heads": 5, "depth": 2}  # of the ViT in which an encoding is checked once more: heads of 12
BATCH, PIXELS = 32, 32  # of the measured training step
PATIENCE = 20  # seconds that others of the machine are waited for, unless said otherwise


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=PATIENCE,
    show_default=True,
    help="Seconds to wait in all for other processes to be quiet before a training step is timed.",
)
def check(file: Path, patience: float) -> int:
    """Put the encodings and models of your own FILE to the contract; print their symmetries and cost."""
    console, failed = terminal(), 0
    for one in load_plugin(file, "check"):
        before = failed
        is_encoding = isinstance(one, models.Encoding)
        say(console, f"{'position' if is_encoding else 'model'} {one.name}: {one.summary}")
        for subject in subjects(one):
            refusal = _refusal(subject) if OTHER.items() <= subject.options.items() else None
            if refusal is None:
                failed += _put_to_contract(one, subject, file, console)
            else:
                say(console, f"  not checked in {_words(subject)}: {refusal}")
        if failed == before:
            for line in portrait(one, patience):
                say(console, f"  {line}")
    say(console, f"{count(failed, 'checks')} failed" if failed else "all checks hold")
    return FAILED if failed else DONE


def _put_to_contract(one: models.Encoding | models.Family, subject: Subject, path: Path, console: Console) -> int:
    """Makes every check, says which hold and why others do not, and returns how many failed."""
    held, failed = [], []
    for name, check in checks(one):
        complaint = _complaint(check, subject, path)
        words = name.replace("_", " ")
        if complaint is None:
            held.append(words)
        else:
            promise = " ".join((check.__doc__ or "").strip().partition("\n\n")[0].split())
            failed.append(f"    failed: {words}: {complaint} ({promise})")
    made = count(len(held) + len(failed), "checks")
    say(console, f"  contract, {_words(subject)}: {len(held)} of {made} hold: {', '.join(held)}")
    for line in failed:
        say(console, line)
    return len(failed)


def _words(subject: Subject) -> str:
    """'vit of 8 px with a class token and registers', 'vit of 8 px, width 60, 5 heads'."""
    beside = " with a class token and registers" if subject.options.get("registers") else ""
    shape = (
        f", width {subject.options['width']}, {subject.options['heads']} heads" if "heads" in subject.options else ""
    )
    return f"{subject.name} of {subject.image_size} px{beside}{shape}"


def _refusal(subject: Subject) -> str | None:
    """Why a subject is not possible: its encoding's `check` refuses its width or heads; None where it does not."""
    try:
        models.resolve_options(subject.name, size=subject.size, options=subject.options)
    except models.ModelError as error:
        return str(error)
    except Exception:  # noqa: BLE001  # a user's code can raise anything; the contract says where
        return None
    return None


def subjects(one: models.Encoding | models.Family) -> list[Subject]:
    """What a declaration is checked in: the ViT alone, with tokens beside the patches, and of another width, depth and
    number of heads; a model at its smallest."""
    from models.checks.contract import Subject

    if isinstance(one, models.Family):
        for side in SIDES:
            subject = Subject(one.name, {}, one.sizes[0], side)
            if subject.takes(side):
                return [subject]
        raise ConfigError("check", f"{one.name} of size {one.sizes[0]} takes none of {', '.join(map(str, SIDES))} px")
    options: dict[str, models.Scalar] = {"position": one.name, "scale": 8}
    more: tuple[dict[str, models.Scalar], ...] = ({}, {"class_token": True, "registers": 4}, {**OTHER})
    found = [Subject("vit", options | one_more) for one_more in more]
    return [*found, Subject("ladder", {**options, "mixer": "depthwise_conv"})] if one.additive else found


def checks(one: models.Encoding | models.Family) -> Iterator[tuple[str, Callable[[Subject], None]]]:
    """The checks of a declaration, by name: every network's, and that an encoding moves no weight but its own."""
    from models.checks import contract

    yield from contract.CHECKS.items()
    if isinstance(one, models.Encoding):
        yield "compiled", compiled_in_one_layer
        yield "other_weights", other_weights
    else:
        yield "compiled", contract.compiled


def compiled_in_one_layer(subject: Subject) -> None:
    """`torch.compile` (ahead-of-time autograd, eager kernels) gives the same logits, also at a second resolution."""
    from models.checks import contract

    # Layers are compiled one by one, and every one has the encoding.
    contract.compiled(replace(subject, options={**subject.options, "depth": 1}))


def other_weights(subject: Subject) -> None:
    """With the same seed, all weights outside the encoding are those of the network without position."""
    from models.checks import contract

    without = contract.Subject(subject.name, {**subject.options, "position": "none"}).build()
    encoded, plain = map(contract.weights_outside_position, (subject.build(), without))
    contract.require(encoded == plain, "a weight outside the encoding differs: it must be named position.*")


def _complaint(check: Callable[[Subject], None], subject: Subject, path: Path) -> str | None:
    """What is wrong, in a line that names the plugin's own line where it raised; None when the check holds."""
    try:
        check(subject)
    except Exception as error:  # noqa: BLE001  # a user's code can raise anything; the other checks go on
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f"{path.name} line {lines[-1]}: " if lines else ""
        kind = "" if isinstance(error, AssertionError | models.ModelError) else f"{type(error).__name__}: "
        return place + kind + " ".join(str(error).split())
    return None


def portrait(one: models.Encoding | models.Family, patience: float) -> Iterator[str]:
    """Symmetries, ways of being carried and cost, in lines."""
    from models.checks import contract
    from models.checks.symmetries import layouts, symmetries

    subject = subjects(one)[0]
    resolved = models.resolve_options(subject.name, size=subject.size, options=subject.options)
    patch = int(resolved.get("patch_size", max(1, subject.image_size // 8)))
    side = subject.image_size if subject.image_size >= 4 * patch else 4 * patch  # enough places to tell layouts apart
    network = contract.random_network(replace(subject, image_size=side))
    blind = symmetries(network, side, patch)
    seen = [name for name in layouts(2) if name not in blind]
    patches = side // patch
    yield f"does not notice, on {patches} x {patches} patches of {patch} px: {', '.join(blind) or 'nothing'}"
    yield f"tells apart: {', '.join(seen) or 'nothing'}"
    sides = ", ".join(map(str, subject.sides))
    yield f"other resolutions taken, of those around {subject.image_size} px: {sides}"
    if network.resizes_input:
        yield "at another grid: every image is resized to the training resolution"
    else:
        ways = f"by {' or '.join(subject.ways)}; the first by default" if subject.ways else "nothing to carry"
        yield f"at another grid: {ways}"
    yield from cost(one, patience)


def cost(one: models.Encoding | models.Family, patience: float) -> Iterator[str]:
    """Parameters and MACs, and for an encoding the time of a training step against none, measured in turns; others of
    the machine are waited for as many seconds as there is `patience`, and without any no more turns are tried."""
    import torch

    from benchmarks.speed.clock import MachineClock, Plan, Variant, summarise, take_turns
    from benchmarks.speed.steps import training_step

    if isinstance(one, models.Family):
        subject = subjects(one)[0]
        facts = subject.build().describe(subject.image_size, subject.image_size)
        yield f"cost at {subject.image_size} px: {sum(facts.parameters.values()):,} parameters, {facts.macs:,} MACs"
        return
    built = {
        name: models.create_model("vit", image_size=PIXELS, in_channels=3, num_classes=10, position=name)
        for name in (one.name, "none")
    }
    for network in built.values():
        network.set_attention("explicit")  # as every run on a CPU
    encoded, none = (built[name].describe(PIXELS, PIXELS) for name in (one.name, "none"))
    more = encoded.macs - none.macs
    yield (
        f"cost in the nano ViT at {PIXELS} px: {encoded.parameters['position']:,} parameters, {more:+,} MACs "
        f"({more / none.macs:+.1%}) against none"
    )
    variants = [Variant(name, training_step(network, BATCH, PIXELS), "none") for name, network in built.items()]
    turns = Plan(rounds=5, most=15 if patience else 5, warmup=2, seconds=0.3, patience=patience)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken = summarise(take_turns(variants, turns, MachineClock()), one.name, "none")
    finally:
        torch.set_num_threads(threads)
    if taken.ratio is None:
        yield "time of a training step: the machine was too busy to measure it"
    else:
        low, high = taken.low or taken.ratio, taken.high or taken.ratio
        yield (
            f"time of a training step, one thread here, against none: {taken.ratio:.2f} times "
            f"(quartiles {low:.2f} to {high:.2f}, {taken.clean} rounds)"
        )
