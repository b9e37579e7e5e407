"""Ways of carrying positions to another grid: each model's default beside the way chosen on the validation part.

The choice is made for a model, a train size and a test resolution: the way with the highest mean accuracy over the
validation parts of its runs, the default where several are level. The test part has no say in it. A study asks for
several ways with `carry = "all"` in its [[evaluations]].
"""

import pandas as pd

from analysis.frame.cells import by_carry
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group

CHOSEN = "carry chosen on validation"
_PLACE = ["label", "train_size", "test_resolution"]


def several_ways(rows: pd.DataFrame) -> list[str]:
    """The labels that were tested with more than one way of carrying positions."""
    plain = _plain(rows)
    ways = plain[plain["carry"] != NONE].groupby("label", sort=False)["carry"].nunique()
    return [str(label) for label in ways[ways > 1].index]


def choices(rows: pd.DataFrame) -> pd.DataFrame:
    """The chosen way of each place: columns label, train_size, test_resolution, carry, validation_accuracy.

    `rows`: evaluations of one arm. Ways that were not measured on as many runs as the others stand back. Empty without
    a validation part."""
    candidates = _plain(rows)
    several = candidates["label"].isin(several_ways(rows))
    candidates = candidates[several & (candidates["part"] == "validation") & (candidates["carry"] != NONE)]
    means = candidates.groupby([*_PLACE, "carry"], sort=True).agg(
        validation_accuracy=("accuracy", "mean"), runs=("run", "nunique"), default=("carry_default", "all")
    )
    means = means.reset_index()
    whole = means[means["runs"] == means.groupby(_PLACE)["runs"].transform("max")]
    best = whole.sort_values(["validation_accuracy", "default", "carry"], ascending=[False, False, True], kind="stable")
    chosen = best.drop_duplicates(_PLACE).sort_values(_PLACE, ignore_index=True)
    return chosen[[*_PLACE, "carry", "validation_accuracy"]]


def chosen(rows: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """The evaluations on `part` by the chosen way, those at the training resolution included, with the column `line`:
    the label and `CHOSEN`. Only of models with several ways and a validation part to choose on."""
    there = choices(rows)
    measured = _plain(rows)
    measured = measured[measured["part"] == part]
    away = measured.merge(there[[*_PLACE, "carry"]], on=[*_PLACE, "carry"])
    home = measured[(measured["carry"] == NONE) & measured["label"].isin(there["label"])]
    both = pd.concat([away, home])
    return both.assign(line=both["label"] + f", {CHOSEN}")


def default_and_chosen(rows: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Both, for models with several ways: lines 'vit rope_axial' (the default) and 'vit rope_axial, carry chosen on
    validation'."""
    usual = by_carry(rows, part)
    group = [usual[usual["label"].isin(several_ways(rows))], chosen(rows, part)]
    order = {label: place for place, label in enumerate(dict.fromkeys(rows["label"]))}
    both = pd.concat([table for table in group if len(table)] or group[:1])
    return both.sort_values("label", key=lambda labels: labels.map(order), kind="stable")


def as_chosen(rows: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Every model's evaluations, by its chosen way where it has several and by its only one otherwise; `line` is the
    label, so that models can be compared with each at its best."""
    usual = by_carry(rows, part)
    best = chosen(rows, part)
    tables = [usual[~usual["label"].isin(best["label"])], best.assign(line=best["label"])]
    return pd.concat([table for table in tables if len(table)] or tables[:1])


def ways_words(there: pd.DataFrame, label: str, train_size: int) -> str:
    """'interpolate at 16 px, recompute at 48 and 64 px': what was chosen for a model, from `choices`."""
    group = there[(there["label"] == label) & (there["train_size"] == train_size)]
    by_way = {way: [f"{r}" for r in places["test_resolution"]] for way, places in each_group(group, "carry")}
    return "; ".join(f"{way} at {', '.join(places)} px" for way, places in by_way.items())


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Resized whole images, BatchNorm as trained, no mirror images, however positions are carried."""
    return rows[
        (rows["images"] == "resize") & rows["shown_default"] & (rows["views"] == "one") & (rows["batchnorm"] == "kept")
    ]
