"""Names in tables: what differs, in words, what a recipe is called where models have their own, what hardware is."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

import models
from analysis.frame.rows import each_group
from benchmarks.plan.recipes import plain, recipe_names, recipe_values

TUNED = "tuned"  # the value of a key of a recipe that a search has chosen, for each cell its own
NONE = "-"  # an option that a model does not have, a setting that an evaluation does not have
Settings = Mapping[str, Any]  # of a run, as config.json has them


def text(value: Any) -> str:
    """An option's value as names have it: lists and truth values as JSON has them."""
    return json.dumps(value) if isinstance(value, (list, tuple, bool)) else str(value)


def model_of(settings: Settings) -> str:
    """What a run's model is called: its family, and the mixer of one that has mixers, 'ladder pool'."""
    mixer = settings["options"].get("mixer")
    return f"{settings['model']} {mixer}" if mixer else str(settings["model"])


def family_of(model: str) -> str:
    """The family of a model that is called as `model_of` does."""
    return model.partition(" ")[0]


def resizes_input(model: str) -> bool:
    """Whether a model that is called as `model_of` does resizes every image to the training resolution.

    Raises ModelError for one of a plugin that is not loaded.
    """
    family, _, mixer = model.partition(" ")
    return models.resizes_input(family, {"mixer": mixer} if mixer else {})


def differing(tables: Sequence[Settings]) -> list[str]:
    """Keys, in order of appearance, with several values in the tables that have them."""
    values: dict[str, set[str]] = {}
    for table in tables:
        for key, value in table.items():
            values.setdefault(key, set()).add(text(value))
    return [key for key, seen in values.items() if len(seen) > 1]


def hardware(execution: Settings, environment: Settings) -> str:
    """'cpu AVX2, AMD EPYC' or 'cuda NVIDIA A100': device and capability, which decide bits, and the processor, which
    decides speed; a GPU is both.

    Of execution.json and environment.json; what they do not tell is left out.
    """
    device = " ".join(str(execution[key]) for key in ("device", "capability") if execution.get(key))
    processor = "" if execution.get("device") == "cuda" else str(environment.get("cpu") or "")
    return ", ".join(part for part in (device, processor) if part)


def decoder(execution: Settings) -> str:
    """'pillow 13.0.0, libjpeg-turbo 3.2.0': what made pixels of photographs, of execution.json; '' where images lay
    decoded."""
    facts = execution.get("decoder") or {}
    library = f", libjpeg-turbo {facts['libjpeg']}" if "libjpeg" in facts else ""
    return f"{facts['name']} {facts['version']}{library}" if facts else ""


def without_tuned(settings: Settings, keys: Iterable[str]) -> Settings:
    """A run's settings with TUNED for the keys of its recipe that a search has chosen: one recipe, whatever these
    are."""
    keys = set(keys)
    recipe = {key: TUNED if key in keys else value for key, value in settings["recipe"].items()}
    options = {
        key: TUNED if key == "drop_path" and key in keys else value for key, value in settings["options"].items()
    }
    return {**settings, "recipe": recipe, "options": options}


def name_recipes(
    table: pd.DataFrame,
    settings: Mapping[str, Settings],
    arm: Sequence[str],
    tuned: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Fills the columns `recipe` and `recipe_own`; returns every recipe's full name with its numbers. Runs that are
    `tuned` come with TUNED in the place of what was chosen, which their recipe's name says; `recipe_own` has the spaces
    (by hyper-parameter, in words) where these differ.

    A full name is the file's, and the numbers in which recipes of one name differ from it or from each other. In
    `recipe`, which decides the arm (the columns `arm`), a key is left out when it differs between models but is one and
    the same for each of them: that is a model's own, `recipe_own` says it, and the ledger marks it.
    """
    tuned = tuned or {}
    by_name: dict[str, list[Settings]] = {}
    for run in table["run"]:
        by_name.setdefault(settings[run]["recipe"]["name"], []).append(settings[run]["recipe"])
    numbered = {name: differing([*_shipped(name), *recipes]) for name, recipes in by_name.items()}

    def named(recipe: Settings, without: Sequence[str] = ()) -> str:
        shown = (key for key in numbered[recipe["name"]] if recipe.get(key, TUNED) != TUNED)
        keys = [key for key in shown if key not in without]
        changes = [f"{key}={text(recipe[key])}" for key in keys]
        return f"{recipe['name']} ({', '.join(changes)})" if changes else str(recipe["name"])

    called: dict[str, str] = {}
    for _, group in each_group(table, [name for name in arm if name != "recipe"]):
        recipes: dict[str, list[Settings]] = {}
        for run in group["run"]:
            recipes.setdefault(_model(settings[run]), []).append(settings[run]["recipe"])
        varied = {key for own in recipes.values() for key in differing(own)}
        own = [key for key in differing([settings[run]["recipe"] for run in group["run"]]) if key not in varied]
        names = " / ".join(dict.fromkeys(settings[run]["recipe"]["name"] for run in group["run"]))
        for run in group["run"]:
            recipe = settings[run]["recipe"]
            if "name" in own:
                changes = ", ".join(f"{key}={text(recipe[key])}" for key in recipe if key in varied)
                called[run] = f"{names}, by model" + (f" ({changes})" if changes else "")
            else:
                called[run] = named(recipe, own) + (", by model" if own else "")
    called |= {run: f"{name}, tuned" for run, name in called.items() if run in tuned}
    table["recipe"] = pd.Series([called[run] for run in table["run"]], index=table.index, dtype="str")
    owned: dict[str, str] = {}
    for _, group in each_group(table, list(arm)):
        effective = {run: _effective(settings[run]) for run in group["run"]}
        for name in dict.fromkeys(name for run in group["run"] for name in tuned.get(run, {})):
            for run, values in effective.items():
                values[f"searched {name}"] = tuned.get(run, {}).get(name, NONE)
        keys = differing(list(effective.values()))
        for run, values in effective.items():
            owned[run] = ", ".join(f"{key}={text(values[key])}" for key in keys) or NONE
    table["recipe_own"] = pd.Series([owned[run] for run in table["run"]], index=table.index, dtype="str")
    return {
        named(settings[run]["recipe"]) + (", tuned" if run in tuned else ""): dict(settings[run]["recipe"])
        for run in table["run"]
    }


def _shipped(name: str) -> list[Settings]:
    """The numbers of the shipped recipe of this name; of a recipe that is shipped no more there are none."""
    return [plain(recipe_values(name))] if name in recipe_names() else []


def _model(settings: Settings) -> str:
    """What tells models apart, but for what follows from the recipe."""
    options = {key: value for key, value in settings["options"].items() if key != "drop_path"}
    return json.dumps([settings["model"], options], sort_keys=True)


def _effective(settings: Settings) -> dict[str, Any]:
    """A recipe as it reaches the model: '-' for what the model has no use for, its own rate of drop path."""
    values = dict(settings["recipe"])
    if values["drop_path"] or settings["options"].get("drop_path"):
        values["drop_path"] = settings["options"].get("drop_path", NONE)
    if values.get("train_resolutions"):
        try:
            resized = models.resizes_input(settings["model"], settings["options"])
        except models.ModelError:  # of a plugin that is not loaded
            resized = False
        values["train_resolutions"] = NONE if resized else values["train_resolutions"]
    return values
