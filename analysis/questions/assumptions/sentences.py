"""Which model keeps most and least of its accuracy under each probe, in words, and what its controls limit."""

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group, each_row
from analysis.questions.accuracy.ranking import Ranking, rank
from analysis.questions.assumptions.numbers import numbers, probes_in_order
from analysis.statistics.intervals import Estimate
from analysis.wording import Answer, Scope
from benchmarks.plan.run import Evaluation

PLACE = "assumptions"
SPOKEN = 3  # probes that a sentence names one by one
CONTROL_WORDS = {"noise_image": "images of noise", "permuted_labels": "permuted labels"}
CHANCE_WORDS = {"noise_image": "most frequent class:", "permuted_labels": "expected:"}
WAYS = ["images", "crop", "resize_side", "interpolation", "aspect", "batchnorm", "views"]  # of showing images
NO_VERDICT = "no verdict, as predictions were not kept"


def spoken(probe: str) -> str:
    """'patch shuffle'."""
    return probe.replace("_", " ")


def claims(arm: ReportedArm) -> list[Claim]:
    """One sentence of an arm, at its largest probed train size: the models that keep most and least under a probe,
    where each of the others is separable from them by its paired t-interval (no family judges what is kept)."""
    each = arm.once(numbers).by_run
    if each.empty or each["label"].nunique() < 2:
        return []
    size = int(each["train_size"].max())
    at = each[each["train_size"] == size]
    most: dict[str, list[tuple[str, Estimate]]] = {}
    least: dict[str, list[tuple[str, Estimate]]] = {}
    unclear, nothing = [], []
    for probe in probes_in_order(at):
        rows = at[at["probe"] == probe]
        first, last = alone(rankings(rows)), alone(rankings(rows.assign(kept=-rows["kept"])))
        for found, one in ((most, first), (least, last)):
            if one is not None:
                found.setdefault(one[0], []).append((probe, one[1]))
        if rows["kept"].isna().all():
            nothing.append(probe)
        elif first is None and last is None:
            unclear.append(probe)
    notes = reservations(arm.runs, size)
    pair = at["label"].nunique() == 2  # where the one keeps most, the other keeps least
    phrases = [f"{lead}: {_each(found, notes)}" for lead, found in (("most", most), ("least", least)) if found]
    phrases = phrases[:1] if pair else phrases
    level = "the two are not separable" if pair else "no model is separable from all others"
    for probes, what in ((unclear, level), (nothing, "no run is above chance, so that there is nothing to keep")):
        if probes:
            every = len(probes) == at["probe"].nunique() > SPOKEN
            names = "every probe" if every else _several([spoken(probe) for probe in probes])
            phrases.append(f"under {names} {what}")
    body = ". ".join(f"{text[0].upper()}{text[1:]}" for text in phrases)
    probed, trained = at["label"].nunique(), arm.runs.loc[arm.runs["train_size"] == size, "label"].nunique()
    of_those = "" if probed == trained else f", of the {probed} of {trained} models that were probed"
    return [Claim(Answer(f"Accuracy kept under probes{of_those}", scope(arm.data, size), f"{body}."), PLACE)]


def rankings(rows: pd.DataFrame) -> Ranking | None:
    """The models by what they keep under one probe; `rows` of `Assumptions.by_run`, of one train size and probe."""
    return rank(rows, "kept", bounds=None)


def alone(ranking: Ranking | None) -> tuple[str, Estimate] | None:
    """The leader and its mean where every other model is below it and none that lacks runs could lead; else None."""
    if ranking is None or ranking.passed or not 0 < len(ranking.below) == len(ranking.means) - 1:
        return None
    return ranking.leader, ranking.mean


def _each(found: Mapping[str, Sequence[tuple[str, Estimate]]], notes: Mapping[str, tuple[str, ...]]) -> str:
    """'resnet under shift (97.1 %) and blur (88.0 %); swin under noise (40.2 %)'."""
    return "; ".join(
        f"{wording.noted(label, *notes.get(label, ()))} under "
        + wording.names(f"{spoken(probe)} ({_percent(mean)})" for probe, mean in probes)
        for label, probes in found.items()
    )


def _percent(mean: Estimate) -> str:
    """Of what is kept, or of its negative, by which the least is found."""
    return wording.percent(abs(mean.mean))


def _several(names: Sequence[str]) -> str:
    """'shift, blur and 3 other probes'."""
    if len(names) <= SPOKEN:
        return wording.names(names)
    return f"{', '.join(names[: SPOKEN - 1])} and {len(names) - SPOKEN + 1} other probes"


def limits(arm: ReportedArm) -> list[Claim]:
    """The controls that are not at chance: then something else than what is in the images is measured."""
    controls = arm.once(numbers).controls
    away = failed(controls)
    if away.empty:
        return []
    names = wording.names(dict.fromkeys(away["label"]))
    probes = wording.names(control_words(probe) for probe in probes_in_order(away))
    body = f"with {probes} accuracy is not at chance ({names}), so what is kept under probes may be no accuracy."
    return [Claim(Answer("A control failed", Scope(arm.words), body), PLACE)]


def failed(controls: pd.DataFrame) -> pd.DataFrame:
    """The rows of `Assumptions.controls` that are known not to be at chance."""
    return controls[(~controls["at_chance"]).fillna(False)] if len(controls) else controls


def control_words(probe: str) -> str:
    """What the test images are of a control, or their labels."""
    return CONTROL_WORDS.get(probe, spoken(probe))


def controls_line(arm: ReportedArm) -> str:
    """The controls in a line, '' without: 'Controls: with images of noise mean accuracy is 9.2 to 10.4 % (most frequent
    class: 10.1 %; at chance).'"""
    controls = arm.once(numbers).controls
    phrases = []
    for probe, of_probe in each_group(controls, "probe") if len(controls) else ():
        known, unknown = (of_probe[of_probe["at_chance"].isna() == lacking] for lacking in (False, True))
        inside = [f"{CHANCE_WORDS[probe]} {_range(known['chance'])}"] if len(known) else []
        verdicts = {"not at chance": failed(known), NO_VERDICT: unknown}
        said = [f"{words}: {wording.names(dict.fromkeys(of['label']))}" for words, of in verdicts.items() if len(of)]
        inside += said or ["at chance"]
        phrases.append(f"with {control_words(probe)} mean accuracy is {_range(of_probe['mean'])} ({'; '.join(inside)})")
    return f"Controls: {'; '.join(phrases)}." if phrases else ""


def elsewhere_line(arm: ReportedArm) -> str:
    """What was probed otherwise than the tables have it, '' for nothing: 'Measured elsewhere, for which only
    evaluations.csv has numbers: noise and blur at 16 px; shift at 8 px, crop 0.875.'"""
    places: dict[str, dict[str, None]] = {}
    for row in each_row(arm.once(numbers).elsewhere, ["probe", "test_resolution", *WAYS, "carry", "carry_default"]):
        carry = NONE if row.carry_default else row.carry
        ways = {name: getattr(row, name) for name in WAYS}
        how = Evaluation(resolution=row.test_resolution, carry=carry, **ways).words.removeprefix("resize").strip(", ")
        place = f"{row.test_resolution} px{f', {how}' if how else ''}"
        places.setdefault(place, {})[spoken(row.probe)] = None
    phrases = [f"{wording.names(probes)} at {place}" for place, probes in places.items()]
    return f"Measured elsewhere, for which only evaluations.csv has numbers: {'; '.join(phrases)}." if phrases else ""


def _range(shares: pd.Series) -> str:
    """'9.2 to 10.4 %', '9.2 %'."""
    return " to ".join(dict.fromkeys(f"{100 * share:.1f}" for share in (shares.min(), shares.max()))) + " %"
