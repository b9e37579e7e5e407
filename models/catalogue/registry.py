"""Models by name: options are resolved and images checked without torch; the network is imported when it is built."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.catalogue.declaration import SCALE, Family
from models.catalogue.families import FAMILIES
from models.catalogue.ladder import MIXERS, REPLACED, Mixer
from models.catalogue.ready_made import is_ready_made, library_of, ready_made, ready_made_arguments
from models.hints import did_you_mean
from models.options import CombinationError, ModelError, Option, OptionError, Scalar, numbers
from models.positions.encodings import ADDITIVE, ENCODINGS, SHIPPED, Encoding, encoding_ways

if TYPE_CHECKING:
    from models.network import Network


INITIAL = (
    "library",
    "literature",
    "torch",
)  # how weights start (`models.network.Network.scheme`): the first is the default


PARTS: Mapping[str, Mapping[str, Encoding | Mixer]] = {"position": ENCODINGS, "mixer": MIXERS}
# options that name a part of the network, which has code and options of its own


def model_names() -> tuple[str, ...]:
    """The names of all families."""
    return tuple(FAMILIES)


def position_names() -> tuple[str, ...]:
    """The names of all positional encodings."""
    return tuple(ENCODINGS)


def position_summaries() -> dict[str, str]:
    """One line about each positional encoding."""
    return {encoding.name: encoding.summary for encoding in ENCODINGS.values()}


def family(name: str) -> Family:
    """The declaration of a family or ready-made network.

    Raises ModelError, with the nearest name, for an unknown one.
    """
    if is_ready_made(name):
        return ready_made(name)
    if name in REPLACED and name not in FAMILIES:
        raise ModelError(f'no model {name!r} any more: it is now `ladder` with mixer = "{REPLACED[name]}"')
    if name not in FAMILIES:
        raise ModelError(f"no model {name!r}; allowed: {', '.join(FAMILIES)}{did_you_mean(name, FAMILIES)}")
    return FAMILIES[name]


def unknown(names: Sequence[str]) -> list[str]:
    """Those names that belong to no model and no positional encoding, but perhaps to a plugin that is not loaded."""
    return [name for name in names if name not in FAMILIES and name not in ENCODINGS and not is_ready_made(name)]


def default_size(name: str) -> str:
    """The size of a model where none is given: nano, or the first of a family that has no nano."""
    sizes = family(name).sizes
    return "nano" if "nano" in sizes else sizes[0]


SHIPPED_DECLARATIONS: tuple[Encoding | Family, ...] = (
    *ENCODINGS.values(),
    *FAMILIES.values(),
)  # as their modules hold them, whatever is added later


def registered() -> tuple[Encoding | Family, ...]:
    """Every declaration there is, and the shipped ones as their modules hold them."""
    return (*SHIPPED_DECLARATIONS, *ENCODINGS.values(), *FAMILIES.values())


def register(declarations: Sequence[Encoding | Family]) -> None:
    """Add encodings and families: all of them, or none. Raises ModelError when a name is taken already.

    A new encoding is offered by every family that offers all encodings, or all that act on tokens alone.
    """
    for one in declarations:
        kind, known = ("position", ENCODINGS) if isinstance(one, Encoding) else ("model", FAMILIES)
        if one.name in known:
            raise ModelError(f"there is a {kind} {one.name!r} already")
    for one in declarations:
        if isinstance(one, Encoding):
            ENCODINGS[one.name] = one
        else:
            FAMILIES[one.name] = one
    for name, known_family in FAMILIES.items():
        FAMILIES[name] = replace(known_family, options=tuple(map(_offering_all, known_family.options)))


def _offering_all(option: Option) -> Option:
    """The option `position` with every encoding that suits the family, if it offers all that are shipped."""
    offered = set(option.allowed or ()) if option.name == "position" else set()
    if not offered >= set(ADDITIVE):
        return option
    tokens_only = not offered >= set(SHIPPED)
    suited = tuple(name for name, encoding in ENCODINGS.items() if encoding.additive or not tokens_only)
    return replace(option, allowed=suited)


def declared_options(name: str, options: Mapping[str, object]) -> dict[str, Option]:
    """The options of a family, with those of the encoding and the mixer that the options choose."""
    parts = chosen_parts(name, options).values()
    return {option.name: option for option in (*family(name).options, *(one for part in parts for one in part.options))}


def possible_options(name: str) -> frozenset[str]:
    """Names of the options of a family, with those of every encoding and mixer that it can have."""
    own = {option.name for option in family(name).options}
    parts = [part for kind in own & set(PARTS) for part in PARTS[kind].values()]
    return frozenset(own | {option.name for part in parts for option in part.options})


def resolve_options(name: str, *, size: str, options: Mapping[str, object]) -> dict[str, Scalar]:
    """Every option of a model with its value, sorted by name: what is given, checked, and the defaults of the size.

    Options that belong to an encoding are there when that encoding is. Raises ModelError for an unknown name,
    size or option and a value that is not allowed; CombinationError for a size that a scale lacks, and options that
    contradict each other.
    """
    chosen = family(name)
    where = f"model {name}"
    with prefixed_errors(where):
        chosen.check_size(size)
    declared = declared_options(name, options)
    for given in options:
        if given not in declared:
            raise unknown_option(name, given, chosen_parts(name, options), declared)
    scale = int(SCALE.check(options.get("scale", SCALE.default), where))
    together = ModelError if is_ready_made(name) else CombinationError  # a library's tags do not depend on others
    with prefixed_errors(where, together):
        by_size = chosen.options_of_size(size, scale)
    resolved: dict[str, Scalar] = {}
    for key in declared:
        if key in options or key not in chosen.following:
            default = by_size.get(key, declared[key].default)
            resolved[key] = declared[key].check(options.get(key, default), where)
    with prefixed_errors(where, together):
        resolved |= {key: rule(resolved) for key, rule in chosen.following.items() if key not in resolved}
        chosen.check(resolved)
    return dict(sorted(resolved.items()))


def following_options(name: str, options: Mapping[str, Scalar]) -> frozenset[str]:
    """Of a model's resolved options those that say nothing beyond the others, from which their values follow."""

    def follows(key: str, rule: Callable[[Mapping[str, Scalar]], Scalar]) -> bool:
        try:
            return key in options and rule(options) == options[key]
        except ModelError:  # no value follows from these, so this one was given
            return False

    return frozenset(key for key, rule in family(name).following.items() if follows(key, rule))


def usual_options(name: str, options: Mapping[str, Scalar]) -> frozenset[str]:
    """Of a model's resolved options those of its encoding and mixer that have the default there, which is another for
    another encoding (`rope_base`). Raises ModelError for an encoding or mixer that is not known."""
    own = [option for part in chosen_parts(name, options).values() for option in part.options]
    return frozenset(option.name for option in own if options.get(option.name) == option.default)


@contextmanager
def prefixed_errors(where: str, kind: type[ModelError] = ModelError) -> Iterator[None]:
    """Within the context a ModelError begins with whose it is, such as `model vit`, and is of this kind; the refusal
    of one option stays one."""
    try:
        yield
    except ModelError as error:
        message = str(error)
        message = message if message.startswith(where) else f"{where}: {message}"
        raise (OptionError(message, error.option) if isinstance(error, OptionError) else kind(message)) from None


def unknown_option(
    name: str, given: str, parts: Mapping[str, Encoding | Mixer], declared: Mapping[str, Option]
) -> OptionError:
    """The error for an option that a model does not have: it belongs to another encoding or mixer, or to none."""
    for kind, chosen in parts.items():
        owners = [one.name for one in PARTS[kind].values() if given in {option.name for option in one.options}]
        if owners:
            reason = f"option `{given}` belongs to {kind} {' and '.join(owners)}, and {kind} is {chosen.name}"
            return OptionError(f"model {name}: {reason}", given)
    reason = f"no option `{given}`; allowed: {', '.join(sorted(declared))}{did_you_mean(given, declared)}"
    return OptionError(f"model {name}: {reason}", given)


def check_resolution(
    name: str, *, size: str, options: Mapping[str, object], resolution: int, train_resolution: int
) -> None:
    """Raises ModelError, with the nearest that work, when the model cannot take images of this resolution (pixels)."""
    resolved = resolve_options(name, size=size, options=options)
    for length in (train_resolution, resolution):
        if type(length) is not int or length < 1:
            raise ModelError(f"model {name}: resolution {length!r} is no positive whole number")
    with prefixed_errors(f"model {name}"):
        family(name).check_image(resolved, resolution, train_resolution)


def chosen_parts(name: str, options: Mapping[str, object]) -> dict[str, Encoding | Mixer]:
    """The encoding and the mixer that the options choose, under `position` and `mixer`, of a family that has them.

    Raises OptionError for an unknown one.
    """
    declared = {option.name: option for option in family(name).options if option.name in PARTS}
    return {
        kind: PARTS[kind][str(option.check(options.get(kind, option.default), f"model {name}"))]
        for kind, option in declared.items()
    }


def chosen_position(name: str, options: Mapping[str, object]) -> str | None:
    """The encoding that the options choose, or None for a family without. Raises OptionError for an unknown one."""
    parts = chosen_parts(name, options)
    return parts["position"].name if "position" in parts else None


def resizes_input(name: str, options: Mapping[str, object]) -> bool:
    """Whether a model knows one grid only, so that every image is resized to the training resolution."""
    mixer = chosen_parts(name, options).get("mixer")
    return family(name).resizes_input or (isinstance(mixer, Mixer) and mixer.one_grid)


def fills_maps(name: str, *, size: str, options: Mapping[str, object], resolution: int) -> bool:
    """Whether maps of images of this side (pixels) are filled with zeros so that they can be halved: at such a
    resolution filling and size change together. Known of the suite's own families and of plugins that say so. Raises
    ModelError for what `resolve_options` refuses."""
    return family(name).fills_maps(resolve_options(name, size=size, options=options), resolution)


def carry_ways(name: str, *, options: Mapping[str, object]) -> tuple[str, ...]:
    """How positions can be carried to another grid, the default first; () where nothing is or needs to be carried."""
    if resizes_input(name, options):
        return ()
    position = chosen_position(name, options)
    return family(name).ways if position is None else encoding_ways(position, options)


def initial_source(name: str, initial: str) -> str:
    """Where the initial weights of a model come from: a paper, or whose code."""
    if is_ready_made(name):
        return f"{library_of(name)}, as it makes the network"
    network: type[Network] = load(family(name).entry)
    return network.scheme(initial).source


def sources(name: str, *, options: Mapping[str, object]) -> tuple[str, ...]:
    """Entry points, "module:symbol", of the code that a model with these options is made of."""
    parts = chosen_parts(name, options).values()
    return (family(name).entry, *(part.entry for part in parts), "models.initial:initialise")


def create_model(
    name: str,
    *,
    image_size: int,
    in_channels: int,
    num_classes: int,
    size: str | None = None,
    seed: int = 0,
    initial: str = INITIAL[0],
    **options: Scalar,
) -> Network:
    """Build a network with keyed initial weights; `image_size` is the training resolution, `size` by `default_size`.

    `initial` says how they start: as in the family's `literature`, as in its `library`, or as layers of `torch` do.

    Works under `torch.device("meta")`, then without values. Neither reads nor moves torch's global
    generators. Raises ModelError for what `resolve_options` and `check_resolution` refuse.
    """
    size = default_size(name) if size is None else size
    resolved = resolve_options(name, size=size, options=options)
    check_resolution(name, size=size, options=options, resolution=image_size, train_resolution=image_size)
    for what, count in (("in_channels", in_channels), ("num_classes", num_classes)):
        if type(count) is not int or count < 1:
            raise ModelError(f"model {name}: {what} {count!r} is no positive whole number")
    if initial not in INITIAL:
        raise ModelError(
            f"model {name}: initial {initial!r}; allowed: {', '.join(INITIAL)}{did_you_mean(initial, INITIAL)}"
        )
    if type(seed) is not int or not 0 <= seed < 2**64:
        raise ModelError(f"model {name}: seed {seed!r} is no whole number from 0 to 2^64 - 1")
    import torch

    from models.initial import keyed_generator

    arguments = constructor_arguments(name, resolved)
    with torch.random.fork_rng(devices=[]):  # layers draw first values of their own: kept only in a ready-made network
        torch.default_generator.manual_seed(keyed_generator(seed, "constructor").initial_seed())
        network: Network = load(family(name).entry)(
            image_size=image_size, in_channels=in_channels, num_classes=num_classes, **arguments
        )
    network.initialise(seed, initial)
    return network


def constructor_arguments(name: str, resolved: Mapping[str, Scalar]) -> dict[str, Any]:
    """Resolved options as the network's class takes them: sequences as tuples, encoding and mixer as their classes."""
    arguments: dict[str, Any] = {}
    for option in family(name).options:
        value = resolved[option.name]
        arguments[option.name] = numbers(str(value)) if option.is_sequence else value
    if is_ready_made(name):
        arguments |= ready_made_arguments(name)
    arguments.pop("scale", None)  # it has decided the other dimensions
    for kind in PARTS:
        if kind in arguments:
            part = PARTS[kind][arguments[kind]]
            own = {option.name.removeprefix(part.prefix): resolved[option.name] for option in part.options}
            arguments[kind] = functools.partial(load(part.entry), **own)
    return arguments


def load(entry: str) -> Any:
    """Import the object behind "module:symbol"."""
    module, symbol = entry.split(":")
    return getattr(importlib.import_module(module), symbol)
