"""What the numbers of a page mean, in sentences, and the numbers of its recipes."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

import models
from analysis import wording
from analysis.elements import linked
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import Arm, arm_names
from analysis.frame.frame import LOADED, Frame
from analysis.frame.naming import NONE, TUNED, family_of
from analysis.frame.rows import each_row
from analysis.frame.states import DONE
from analysis.questions.comparisons.sentences import method as method_of_comparisons
from analysis.questions.fairness.numbers import numbers as fairness
from analysis.questions.fairness.sentences import trials_of_models
from analysis.statistics import collapses, intervals
from benchmarks.plan.recipes import AUGMENTATION
from benchmarks.plan.study import Study

HALTON = (
    " Halton points are no independent draws: bands are too wide where accuracy varies smoothly over the ranges, and "
    "without a guarantee elsewhere."
)


def sentences(study: Study, frame: Frame, arms: Sequence[ReportedArm]) -> list[str]:
    """Sentences on what the numbers mean, arm by arm where they differ."""
    if not arms:
        return []
    return [
        "Intervals are 95 % Student t-intervals over independent units; those of accuracies are cut at 0 and 100 %. "
        "One unit, or units that are all equal, give no interval. What varies: "
        + _each(arms, lambda arm: intervals.covers(arm.runs))
        + ".",
        "All intervals are conditional on the fixed test set. What another test set of that size would change is not "
        "in them: " + _each(arms, _test_error) + ".",
        "Models share draws and seeds, so differences are taken run by run between the same draw and seed, and the "
        "interval is that of the differences. “Not separable” means that it contains 0, not that the models are equal. "
        "Each pair has one verdict at a train size, which everything on the page says: that of the first declared "
        "family that has the pair, by its simultaneous interval, else that of its paired t-interval. Other intervals "
        "of the same pair, and factors of images needed, state none.",
        method_of_comparisons(study),
        *_search(study),
        "n counts every label used: " + _each(arms, lambda arm: arm.arm.validation_words) + ".",
        "Training ends with the budget, and the final weights are evaluated: nothing is chosen on the test part. "
        "Budget: " + _each(arms, _budget) + ".",
        f"A cell is under-trained when the mean accuracy of its final weights on its own training images, without "
        f"augmentation, is below {wording.percent(frame.starved_below)}.",
        collapses.RULE,
        "Retention at a test resolution is (accuracy there − chance) / (accuracy at the training resolution − chance), "
        "computed run by run; it is not given for a run within two binomial standard errors of chance.",
        "Every test resolution is measured on the one final checkpoint of a run; images are resized in one antialiased "
        "step from their native pixels, by the same function as in training.",
        *_upsampled(arms),
        *_initial(frame),
        "MACs are multiply-accumulates of one image at the training resolution, attention products included; "
        "FLOPs = 2 × MACs.",
    ]


def _search(study: Study) -> Iterator[str]:
    """How settings were searched and confirmed, of each study that did so."""
    plans = {part.tuning.plan.words: part.tuning.plan for part in study.parts or (study,) if part.tuning is not None}
    for words, plan in plans.items():
        yield (
            f"{words} Bands of tuning curves are simultaneous over the numbers of trials and free of a distribution "
            "(highest-density intervals of order statistics, exact). They are about other draws of settings with the "
            "seeds and the validation images of the search, and not about other seeds or images; a trial that diverged "
            "counts as an accuracy of 0."
            f"{HALTON if plan.search.sampler == 'halton' else ''}"
        )


def protocol(frame: Frame, arms: Sequence[ReportedArm]) -> list[str]:
    """What was done, arm by arm, and every recipe by its numbers: data, models, subsets, runs."""
    return [*map(_done, arms), *(_recipe(name, values) for name, values in frame.recipes.items())]


def _done(reported: ReportedArm) -> str:
    arm, runs = reported.arm, reported.runs
    data = reported.data.dataset
    sizes = wording.names(wording.number(size) for size in sorted(runs["train_size"].unique()))
    resolutions = wording.names(str(side) for side in sorted(reported.rows["test_resolution"].unique()))
    evaluated = f"and tested at {resolutions} px" if resolutions else "and not yet tested"
    parts = f"stratified by class, nested, the same for every model; {arm.validation_words}"
    by = f"in {arm.precision} for {wording.number(arm.budget)} {arm.budget_kind} by recipe {arm.recipe}"
    done = int(runs["state"].isin(DONE).sum())
    were = "were trained" if reported.begun else "are to be trained"
    trained = f"{were} on {sizes} images ({parts}) at {arm.resolution} px {by}"
    if arm.budget == 0:
        trained = f"were not trained here, but taken as they are, at {arm.resolution} px in {arm.precision}"
    return (
        f"Data set {data.name}: {data.title}, {sum(data.train_counts):,} training and {data.test_count:,} test images "
        f"of {data.classes} classes; {data.source}. {_models(runs)}, size {arm.size}, "
        f"{trained}, {evaluated}. Runs: {'' if done == len(runs) else f'{done:,} of '}{len(runs):,}, of "
        f"{wording.count(runs['draw'].nunique(), 'draws')} and {wording.count(runs['seed'].nunique(), 'seeds')}. "
        f"Configurations tried in tuning before the recipe of a model was fixed: {_trials(reported)}."
    )


def _models(runs: pd.DataFrame) -> str:
    """Their labels, each with its positional encoding where the label leaves it out: all of its model have the same."""
    named = each_row(runs, ["label", "position"])
    return wording.names(
        dict.fromkeys(
            f"{row.label} ({row.position})"
            if row.position != NONE and row.position not in row.label.split()
            else row.label
            for row in named
        )
    )


def _trials(reported: ReportedArm) -> str:
    return trials_of_models(reported.once(fairness).ledger)


def _recipe(name: str, values: Mapping[str, Any]) -> str:
    idle = {"name", *_without_effect(values)}
    drawn = all(values.get(key) == TUNED for key in AUGMENTATION)  # a search draws the augmentation of whole recipes
    idle |= set(AUGMENTATION) if drawn else set()
    phrases = [f"{key.replace('_', ' ')} {_plain(value)}" for key, value in values.items() if key not in idle and value]
    phrases += [f"augmentation {TUNED}"] if drawn else []
    return f"Recipe {name}: {', '.join(phrases)}; what is not named is 0 or off."


def _without_effect(values: Mapping[str, Any]) -> set[str]:
    """Numbers of a recipe that something else in it turns off."""
    return {
        *({"momentum"} if values["optimizer"] != "sgd" else {"betas"}),
        *({"rrc_scale", "rrc_ratio"} if values["rrc_scale"] == 1 else ()),
        *({"randaugment_magnitude"} if not values["randaugment_operations"] else ()),
        *({"final_learning_rate"} if values["schedule"] != "cosine" else ()),
    }


def warnings(arms: Sequence[ReportedArm]) -> tuple[str, ...]:
    """What a reader must know before comparing models: that they had unlike recipes, tuning or budgets."""
    where: dict[tuple[str, str], list[Arm]] = {}
    for reported in arms:
        for text in _unlike(reported):
            where.setdefault(text, []).append(reported.arm)
    apart = arm_names([reported.arm for reported in arms])
    return (*(f"{what} ({apart.words_of(arms)}){so}" for (what, so), arms in where.items()), *_budgets(arms))


def _unlike(reported: ReportedArm) -> Iterator[tuple[str, str]]:
    """What is said of an arm's models before and behind its name."""
    odd = reported.once(fairness).ledger["unequal"].str.split()
    if reported.study.tuned.keys() & set(reported.runs["run"]):
        yield (
            "Each model has the setting that its own search has chosen",
            ": what is said of a model holds for model and setting together. The chapter on tuning shows what was "
            "chosen, the fairness ledger what else differs.",
        )
    elif odd.map(lambda columns: "recipe" in columns or "augmentation" in columns).any():
        yield (
            "The models of this comparison have recipes of their own",
            ": what is said of a model holds for model and recipe together. The fairness ledger shows every number "
            "that differs.",
        )
    if odd.map(lambda columns: "trials" in columns).any():
        tuned = "were not" if reported.runs["trials"].notna().all() else "are not known to be"
        yield (
            f"The models of this comparison {tuned} tuned alike",
            f"; configurations tried before their recipes were fixed: {_trials(reported)}. A difference may be one of "
            "tuning.",
        )


def _budgets(arms: Sequence[ReportedArm]) -> list[str]:
    """Arms that differ in their budget alone and do not have the same models: a budget came with the model."""
    alike: dict[str, list[ReportedArm]] = {}
    for reported in arms:
        key = repr(dataclasses.replace(reported.arm, budget_kind="", budget=0))
        alike.setdefault(key, []).append(reported)
    phrases = []
    for group in alike.values():
        if len({frozenset(reported.runs["label"]) for reported in group}) > 1:
            each = "; ".join(
                f"{wording.number(reported.arm.budget)} {reported.arm.budget_kind}: "
                f"{wording.names(dict.fromkeys(reported.runs['label']))}"
                for reported in group
            )
            phrases.append(f"Models of this study were trained for unlike budgets, and are never in one table: {each}.")
    return phrases


def _each(arms: Sequence[ReportedArm], say: Callable[[ReportedArm], str]) -> str:
    """What `say` has for each arm, once where all agree."""
    phrases = {reported.words: say(reported) for reported in arms}
    if len(set(phrases.values())) == 1:
        return next(iter(phrases.values()))
    return "; ".join(f"{words}: {text}" for words, text in phrases.items())


def _test_error(reported: ReportedArm) -> str:
    images = reported.data.dataset.test_count
    errors = [
        f"{100 * intervals.binomial_se(at, images):.1f} points at {wording.percent(at)}" for at in (0.5, 0.9, 0.98)
    ]
    return f"with {images:,} images its binomial standard error is {wording.names(errors)}"


def _budget(reported: ReportedArm) -> str:
    runs = reported.runs
    done = runs[runs["state"].isin(DONE)]
    amount = f"{wording.number(reported.arm.budget)} {reported.arm.budget_kind}"
    if done.empty:
        return amount
    updates = wording.span(done["updates"].min(), done["updates"].max())
    passes = done["images_seen"] / done["train_images"]
    return (
        f"{amount}, that is {updates} updates and {_passes(passes.min(), passes.max())} passes over the training images"
    )


def _upsampled(arms: Sequence[ReportedArm]) -> list[str]:
    """Where images have more pixels than detail; of sets that demonstrate interpolation their own section says so, and
    photographs have no one size."""
    sizes: dict[str, set[int]] = {}
    for reported in arms:
        data = reported.data.dataset
        if not (data.interpolation_only or data.photographs):
            seen = {reported.arm.resolution, *reported.rows["test_resolution"]}
            above = {int(side) for side in seen if side > data.native_resolution}
            sizes.setdefault(f"{data.name} has {data.native_resolution} px", set()).update(above)
    return [
        f"Images above their native resolution are upsampled and hold no more detail: {what}, and those of "
        f"{wording.names(map(str, sorted(above)))} px are upsampled."
        for what, above in sizes.items()
        if above
    ]


def _source(model: str, initial: str) -> str:
    try:
        return models.initial_source(family_of(model), initial)
    except models.ModelError:  # of a plugin that is not loaded
        return ""


def _initial(frame: Frame) -> list[str]:
    """How the weights of each model start, and where that is from."""
    pairs = dict.fromkeys(zip(frame.runs["model"], frame.runs["initial"], strict=True))
    found = {(model, way): _source(model, way) for model, way in pairs if way not in (NONE, LOADED)}
    phrases = "; ".join(f"{model} ({way}): {source}" for (model, way), source in found.items() if source)
    loaded = [model for model, way in pairs if way == LOADED]
    drawn = f"Initial weights are those of each family's own convention, drawn from the seed: {phrases}."
    others = f"Weights of {wording.names(loaded)} were loaded: init_from, or the model's option `weights`."
    shown = frame.runs[frame.runs["published"].astype(str).str.contains("transforms")]
    published = (
        f"Images of {wording.names(dict.fromkeys(shown['label']))} are shown as the weights' own configuration says: "
        "mean and deviation, and by default interpolation, crop and aspect, which evaluations.csv has."
    )
    return [drawn] * bool(phrases) + [others] * bool(loaded) + [published] * (not shown.empty)


def _passes(low: float, high: float) -> str:
    texts = list(dict.fromkeys((f"{low:,.3g}", f"{high:,.3g}")))
    return " to ".join(texts)


def recipe_table(frame: Frame) -> linked.Table | None:
    """Every number of every recipe used, recipes across."""
    names = list(frame.recipes)
    if not names:
        return None
    keys = [key for key in frame.recipes[names[0]] if key != "name"]
    rows = tuple(
        linked.Row(
            linked.Cell(key),
            tuple(linked.Cell(_plain(frame.recipes[name].get(key))) for name in names),
        )
        for key in keys
    )
    return linked.Table("", "recipe.", tuple(names), rows, "words")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
