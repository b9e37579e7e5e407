"""Search, then confirmation: what the tables [search] and [confirm] of a study say, and the settings they try.

    [search]
    trials = 32
    draw = { learning_rate = "log 1e-4 .. 3e-3", drop_path = "0 .. 0.2", augmentation = ["plain", "strong"] }
    [confirm]
    seeds = 5

Trial 0 is the recipe as it is; trials 1 to `trials` are drawn, each hyper-parameter by a generator of its own, keyed by
its name and the trial. So a hyper-parameter that is added moves no other, and models with the same range have the same
draws. No trial depends on what another came to: equal numbers of independent trials are what the page's bands rest on.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from itertools import count as numbers_from
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.console import count
from benchmarks.errors import ConfigError
from benchmarks.plan import selection
from benchmarks.plan.recipes import AUGMENTATION, SEQUENCES, Recipe, plain, recipe_names, recipe_values, typed
from benchmarks.plan.run import Frozen, Run, canonical, unknown_key, validated
from benchmarks.randomness import key, permutation, uniforms
from models.hints import did_you_mean

TABLES = ("search", "confirm")
AS_IT_IS = "recipe"  # in a model's own space: this hyper-parameter stays as the model's recipe has it
RANGE = re.compile(r"\s*(log\s+)?(\S+)\s*\.\.\s*(\S+)\s*")
MOST = 1000  # trials of a search, and seeds of a stage: more is a slip of the pen
DIGITS = 4  # of a drawn number, so that it reads and is the same on every platform
HYPERPARAMETERS = tuple(name for name in ("augmentation", *Recipe.model_fields) if name != "name")
# Each hyper-parameter's Halton sequence counts in a prime of its own: by name, so that one more moves no other. The
# usual ones have the smallest, whose points are the most even; new ones come at the end.
IN_ORDER = (
    *("learning_rate", "weight_decay", "drop_path", "augmentation", "label_smoothing", "batch_size", "warmup", "ema"),
    *("optimizer", "momentum", "betas", "batch_norm_group", "schedule", "first_learning_rate", "final_learning_rate"),
    *("clip", "train_resolutions", "crop_padding", "crop_fill", "rrc_scale", "rrc_ratio", "flip", "flip_order"),
    *("jitter_brightness", "jitter_contrast", "jitter_saturation", "jitter_hue", "trivialaugment"),
    *("randaugment_operations", "randaugment_magnitude", "erasing", "mixup", "cutmix", "trained"),
)
PRIMES = (n for n in range(2, 1000) if all(n % smaller for smaller in range(2, math.isqrt(n) + 1)))
BASES = dict(zip(IN_ORDER, PRIMES, strict=False))

Seeds = int | tuple[Annotated[int, Field(ge=0, lt=2**63)], ...]
Value = bool | int | float | str | list[Any]


class BudgetShare(Frozen):
    """How long trials train."""

    share: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="of the study's budget")


class Search(Frozen):
    """The table [search] of a study, but for `draw`, which is a `Space`."""

    trials: Annotated[int, Field(ge=0, le=MOST)] = Field(
        description="drawn for each model and train size; 0: no search"
    )
    studies: Annotated[int, Field(ge=1)] = Field(1, description="equal searches that the trials are split into")
    sampler: Literal["random", "halton"] = Field("random", description="random: exact bands; halton: mostly wider ones")
    seeds: Seeds = Field(1, description="of every trial of every model: how many, or which")
    budget: BudgetShare = Field(BudgetShare(), description="share: how much of the study's budget a trial has")
    share: Literal["", "train_size"] = Field(
        "", description="train_size: one search a model, at its largest train size"
    )
    rule: str = Field("last_validation", description="how a trial is chosen")


class Confirm(Frozen):
    """The table [confirm] of a study."""

    seeds: Seeds = Field(5, description="fresh ones: how many, or which")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, evenly on a linear scale or a logarithmic one; `whole`: integers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, place: float) -> Value:
        """The number at a place from 0 to 1, rounded to DIGITS significant digits."""
        if self.whole and not self.log:
            return min(int(self.high), int(self.low) + int(place * (self.high - self.low + 1)))
        if self.log:
            value = math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + place * (self.high - self.low)
        rounded = min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))
        return round(rounded) if self.whole else rounded

    def place(self, value: float) -> float:
        """Where a number stands in the range: 0 at its low end, 1 at its high end; beyond, where it is outside. A
        number that a logarithmic scale does not have stands at -inf."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else -math.inf

    @property
    def words(self) -> str:
        """As a study has it."""
        return f"{'log ' if self.log else ''}{self.low:g} .. {self.high:g}"

    @property
    def prose(self) -> str:
        """In a sentence."""
        return f"from {self.low:g} to {self.high:g}{' (log scale)' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """One of several values, each as likely."""

    values: tuple[Any, ...]

    def at(self, place: float) -> Value:
        """The value at a place from 0 to 1."""
        value: Value = self.values[min(len(self.values) - 1, int(place * len(self.values)))]
        return value

    @property
    def words(self) -> str:
        """As a study has it."""
        return ", ".join(map(str, self.values))

    @property
    def prose(self) -> str:
        """In a sentence."""
        return f"one of {self.words}"


Space = Mapping[str, Range | Choice]


@dataclass(frozen=True)
class Trial:
    """A setting that is tried: its number, what was drawn of it, and its runs, one a seed."""

    number: int
    values: Mapping[str, Value]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class SearchedCell:
    """What is searched for by itself: a cell of the grid, or all train sizes of a model. `key` tells it from the
    others, `model` is the place of its model in the study's list."""

    key: str
    model: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Chosen:
    """What a run confirms: a trial of what was searched under `key`, the keys of its recipe that this has decided, and
    the space that it was drawn from, in words."""

    key: str
    trial: int
    recipe_keys: tuple[str, ...]
    space: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What is searched and how it is confirmed. `spaces` are those of the models, by their place in the study's list;
    `search_seeds` train every trial, `confirm_seeds` the chosen ones, and none is among both."""

    search: Search
    spaces: tuple[Space, ...]
    search_seeds: tuple[int, ...]
    confirm_seeds: tuple[int, ...]

    @property
    def rule(self) -> selection.Rule:
        """By which a trial is chosen."""
        return selection.RULES[self.search.rule]

    @property
    def words(self) -> str:
        """What was done, in sentences."""
        search = self.search
        each = "model, at its largest train size" if search.share else "model and train size"
        several = f" in {search.studies} equal searches" if search.studies > 1 else ""
        length = "" if search.budget.share == 1 else f" and {100 * search.budget.share:g} % of the budget"
        seeds = ", ".join(map(str, self.search_seeds))
        subsets, size = count(len(self.search_seeds), "subsets"), "the largest" if search.share else "its own"
        return (
            f"{search.trials} settings were drawn ({search.sampler}){several} before any was trained, alike for each "
            f"{each}, beside the recipe as it is: {self._space_words()}. Each was trained with the same seed ({seeds})"
            f"{length}. Chosen on validation images alone: {self.rule.about}. What was chosen was trained with "
            f"{len(self.confirm_seeds)} fresh seeds and subsets, whose labels n counts: those of the search, "
            f"{subsets} of {size} train size, come on top."
        )

    def _space_words(self) -> str:
        """What is drawn, in words; of a hyper-parameter whose range is not that of all models, every range."""
        phrases = []
        for name in dict.fromkeys(name for space in self.spaces for name in space):
            ranges = dict.fromkeys(space[name].prose if name in space else "as the recipe" for space in self.spaces)
            by_model = " by model" if len(ranges) > 1 else ""
            phrases.append(f"{name.replace('_', ' ')}{by_model} {' or '.join(ranges)}")
        return "; ".join(phrases)

    def drawn(self, model: int, trial: int) -> dict[str, Value]:
        """The values of a trial's hyper-parameters by name; nothing of trial 0, which is the recipe."""
        if trial == 0:
            return {}
        size = self.search.trials // self.search.studies
        study, place = divmod(trial - 1, size)
        return {
            name: space.at(_halton(name, study, place) if self.search.sampler == "halton" else _random(name, trial))
            for name, space in self.spaces[model].items()
        }

    def study_of(self, trial: int) -> int | None:
        """Which of the equal searches a trial belongs to, from 0; none has the recipe."""
        return None if trial == 0 else (trial - 1) // (self.search.trials // self.search.studies)

    def key(self, cell: Mapping[str, Any]) -> str:
        """What a cell is searched under: all of it but seed and draw, and the train size where that is shared."""
        left_out = ("seed", "draw", self.search.share)
        return canonical({name: value for name, value in cell.items() if name not in left_out})

    def chosen(self, key: str, model: int, trial: int) -> Chosen:
        """A trial of a model as what a run confirms."""
        space = self.spaces[model]
        return Chosen(key, trial, changed_keys(space), {name: one.words for name, one in space.items()})

    def settings(self, cell: Mapping[str, Any], model: int, trial: int, *, whole: bool) -> dict[str, Any]:
        """A cell's settings with what a trial changes in them; of `whole` budget, or of the share of a search."""
        changed = dict(cell)
        if values := self.drawn(model, trial):
            given = cell.get("recipe", "none")
            changed["recipe"] = {**({"name": given} if isinstance(given, str) else given), **recipe_changes(values)}
        share = self.search.budget.share
        if not whole and share < 1:
            [(kind, amount)] = dict(cell.get("budget", {"steps": 600})).items()
            changed["budget"] = {kind: amount * share if kind == "epochs" else max(1, round(amount * share))}
        return changed


def recipe_changes(values: Mapping[str, Value]) -> dict[str, Any]:
    """Drawn values as keys of a recipe: `augmentation` is that of the recipe of this name."""
    named = values.get("augmentation")
    taken = plain(recipe_values(str(named))) if named is not None else {}
    own = {name: value for name, value in values.items() if name != "augmentation"}
    return {**{name: taken[name] for name in AUGMENTATION if name in taken}, **own}


def changed_keys(space: Space) -> tuple[str, ...]:
    """The keys of a recipe that a space decides."""
    return tuple(name for one in space for name in (AUGMENTATION if one == "augmentation" else (one,)))


def reaching(space: Space, run: Run) -> Space:
    """What of a space makes a difference to a run: drop path does only where the network has it, mirroring and colours
    only where the images do, and what belongs to another key of the recipe only where that is on, or drawn itself."""
    recipe, data = run.recipe, run.data

    def off(key: str, value: object) -> bool:
        """Whether a key of the recipe has the value by which it is off, in every trial."""
        drawn = key in space or ("augmentation" in space and key in AUGMENTATION)
        return not drawn and bool(getattr(recipe, key) == value)

    idle = {
        "drop_path": "drop_path" not in run.options,
        "momentum": recipe.optimizer != "sgd" and "optimizer" not in space,
        "betas": off("optimizer", "sgd"),
        "first_learning_rate": off("warmup", 0),
        "final_learning_rate": off("schedule", "constant"),
        "crop_fill": off("crop_padding", 0),
        "rrc_ratio": off("rrc_scale", 1),
        "flip": not data.flips,
        "flip_order": not data.flips or off("flip", False),
        "jitter_saturation": data.channels == 1,
        "jitter_hue": data.channels == 1,
        "randaugment_magnitude": off("randaugment_operations", 0),
    }
    return {name: one for name, one in space.items() if not idle.get(name, False)}


def is_limit(name: str, value: float) -> bool:
    """Whether a number that a hyper-parameter can have is the last: no drop path is below 0."""
    bounds = Recipe.model_fields[name].metadata
    return any(getattr(bound, side, None) == value for bound in bounds for side in ("ge", "le"))


def _random(name: str, trial: int) -> float:
    return float(uniforms(key(0, f"search {name}", trial), np.arange(1))[0])


def _halton(name: str, study: int, place: int) -> float:
    """The point of a hyper-parameter's Halton sequence, digits permuted at random, each search by itself.

    Source: Owen, "A randomized Halton algorithm in R", arXiv 1706.02808.
    """
    base, value = BASES[name], 0.0
    for digit, permuted in enumerate(_permutations(name, study), start=1):
        place, which = divmod(place, base)
        value += permuted[which] * float(base) ** -digit
    return min(value, 1 - 2**-53)


@lru_cache(maxsize=256)
def _permutations(name: str, study: int) -> tuple[tuple[int, ...], ...]:
    """Of each digit, as many as a float has, in the base of a hyper-parameter."""
    base = BASES[name]
    digits = range(math.ceil(53 / math.log2(base)))
    return tuple(tuple(permutation(key(0, f"halton {name}", study, digit), base).tolist()) for digit in digits)


def read_plan(table: Mapping[str, Any], own: Iterable[Mapping[str, Any]]) -> Plan | None:
    """What the tables [search] and [confirm] of a study say, `own` being the [[models]] tables, which may have a space
    of their own; None where nothing is searched. Raises ConfigError for the first thing wrong."""
    for name in TABLES:
        if not isinstance(table.get(name, {}), Mapping):
            raise ConfigError(name, f"{table[name]!r} is not a table: write [{name}]")
    if "search" not in table:
        if "confirm" in table:
            raise ConfigError("confirm", "confirms a search, and there is none: write [search]")
        if any("search" in model for model in own):
            raise ConfigError("models.search", "is a space of its own in a search, and there is none: write [search]")
        return None
    unknown_key(table["search"], (*Search.model_fields, "draw"), "search.")
    unknown_key(table.get("confirm", {}), Confirm.model_fields, "confirm.")
    search = _read(Search, {name: value for name, value in table["search"].items() if name != "draw"}, "search.")
    confirm = _read(Confirm, table.get("confirm", {}), "confirm.")
    if search.rule not in selection.RULES:
        known = ", ".join(selection.RULES)
        raise ConfigError(
            "search.rule",
            f"there is no rule {search.rule!r}; there are {known}{did_you_mean(search.rule, selection.RULES)}",
        )
    spaces = tuple(
        read_space(table["search"].get("draw", {}), "search.draw", model.get("search", {}), f"models[{place}].search")
        for place, model in enumerate(own)
    )
    if search.trials == 0:
        return None
    for place, space in enumerate(spaces):
        if not space:
            raise ConfigError("search.draw", f"draws nothing for models[{place}]: name at least one hyper-parameter")
    _refuse_uneven(search)
    seeds = _usual_seeds(table.get("seed", 0))
    searching = _seeds(search.seeds, seeds, (), "search.seeds")
    return Plan(search, spaces, searching, _seeds(confirm.seeds, seeds, searching, "confirm.seeds"))


def _read(kind: type[Any], table: Mapping[str, Any], prefix: str) -> Any:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    if "budget" in values:
        if not isinstance(values["budget"], Mapping):
            raise ConfigError(f"{prefix}budget", f"{values['budget']!r} is not a table such as {{ share = 0.25 }}")
        unknown_key(values["budget"], BudgetShare.model_fields, f"{prefix}budget.")
        values["budget"] = validated(BudgetShare, values["budget"], f"{prefix}budget.")
    if kind is Search and "trials" not in values:
        raise ConfigError("search.trials", "is required: how many settings are tried for each model and train size")
    return validated(kind, values, prefix)


def _refuse_uneven(search: Search) -> None:
    """Raises ConfigError for searches that cannot be equal."""
    if search.studies > search.trials:
        raise ConfigError(
            "search.studies",
            f"{search.studies} searches of {search.trials} trials: at most {search.trials}, or more trials",
        )
    if search.trials % search.studies:
        fitting = [n for n in range(1, search.trials + 1) if search.trials % n == 0]
        near = min(fitting, key=lambda n: abs(n - search.studies))
        raise ConfigError(
            "search.studies",
            f"{search.trials} trials are not {search.studies} equal searches; the nearest number that is, is {near}",
        )


def _usual_seeds(given: Any) -> tuple[int, ...]:
    """The seeds of the study. Raises ConfigError for what are none."""
    seeds = tuple(given) if isinstance(given, list) else (given,)
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ConfigError("seed", f"{given!r} is neither a whole number from 0 on nor a list of them, each once")
    return seeds


def _seeds(asked: Seeds, usual: tuple[int, ...], used: tuple[int, ...], place: str) -> tuple[int, ...]:
    """The seeds that are named, or as many as are asked for: the study's own that are not used, then those that follow
    them. Raises ConfigError for one that is named and used."""
    if not isinstance(asked, int):
        if not asked or len(set(asked)) < len(asked):
            raise ConfigError(place, f"{list(asked)}: name at least one seed, and each once")
        both = [seed for seed in asked if seed in used]
        fresh = max((*usual, *used, *asked)) + 1
        if both:
            raise ConfigError(
                place, f"{both[0]} was used in the search: a confirmation has fresh seeds, such as {fresh}"
            )
        return asked
    if not 1 <= asked <= MOST:
        raise ConfigError(place, f"{asked}: from 1 to {MOST}, or a list of seeds")
    following = chain(usual, numbers_from(max((*usual, *used)) + 1))
    free = (seed for seed in following if seed not in used)
    return tuple(next(free) for _ in range(asked))


def read_space(common: Any, where: str, own: Any, where_own: str) -> Space:
    """What is drawn for a model: the study's hyper-parameters, and its own in their place or beside them. Raises
    ConfigError for the first thing wrong."""
    space: dict[str, Range | Choice] = {}
    for table, place in ((common, where), (own, where_own)):
        if not isinstance(table, Mapping):
            raise ConfigError(place, f'{table!r} is not a table such as {{ learning_rate = "log 1e-4 .. 1e-2" }}')
        unknown_key(table, HYPERPARAMETERS, f"{place}.")
        for name, given in table.items():
            if given == AS_IT_IS and table is own:
                space.pop(name, None)
            else:
                space[name] = _read_axis(name, given, f"{place}.{name}")
    return space


def _read_axis(name: str, given: Any, place: str) -> Range | Choice:
    if isinstance(given, list):
        return _read_choice(name, given, place)
    found = RANGE.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ConfigError(place, f'{given!r} is neither a range ("0 .. 0.2", "log 1e-4 .. 3e-3") nor a list of values')
    default = None if name == "augmentation" else Recipe.model_fields[name].get_default()
    if isinstance(default, bool) or not isinstance(default, int | float):
        raise ConfigError(place, f"{given!r}: {name} is no number: a list of values")
    low, high = (_number(text, place) for text in found.groups()[1:])
    log, whole = found[1] is not None, isinstance(default, int)
    if whole and not (low.is_integer() and high.is_integer()):
        raise ConfigError(place, f"{given!r}: {name} is a whole number, and so are the ends of its range")
    if log and low <= 0:
        raise ConfigError(place, f"{given!r}: the logarithm of {low:g} is none; begin above 0, or leave out `log`")
    if low == high:
        raise ConfigError(place, f"{given!r} is one value: recipe.{name} = {low:g} says that, outside the search")
    if low > high:
        turned = Range(high, low, log).words
        raise ConfigError(
            place, f'{given!r} is upside down: write "{turned}"' if not log or high > 0 else f"{given!r} is upside down"
        )
    for end in (low, high):
        _check(name, int(end) if whole else end, place)
    return Range(low, high, log, whole)


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(place, f"{text!r} is not a number")
    return value


def _read_choice(name: str, given: list[Any], place: str) -> Choice:
    if not given or len({repr(value) for value in given}) < len(given):
        raise ConfigError(place, f"{given!r}: a list of values to choose from, each once")
    for value in given:
        if name in SEQUENCES and not isinstance(value, list):
            raise ConfigError(place, f"{value!r}: {name} is a list itself, so its values are lists")
        if name == "augmentation":
            if value not in recipe_names():
                known = ", ".join(recipe_names())
                near = did_you_mean(str(value), recipe_names())
                raise ConfigError(
                    place, f"{value!r} is no recipe whose augmentation could be taken; there are {known}{near}"
                )
        else:
            _check(name, value, place)
    if len(given) == 1:
        recipe = "recipe" if name == "augmentation" else f"recipe.{name}"
        raise ConfigError(place, f"{given!r} is one value: {recipe} says that, outside the search")
    return Choice(tuple(given))


def _check(name: str, value: Any, place: str) -> None:
    """Raises ConfigError for a value that a recipe cannot have."""
    try:
        validated(Recipe, typed({name: value}))
    except ConfigError as error:
        raise ConfigError(place, error.message) from error
