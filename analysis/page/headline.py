"""The one sentence of a report: what its first question comes to, in plain words, computed from the records.

Of the images needed where a study has several train sizes; else of accuracy kept at another test resolution; else of
who leads, at the training resolution where the study tests there. It claims nothing that the verdict on a pair does not
allow.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from analysis import wording
from analysis.elements.reported import ReportedArm, begun
from analysis.elements.spoken import Name, spoken
from analysis.frame.arms import arm_names
from analysis.frame.carrying import several_ways
from analysis.frame.cells import at_home, estimate_of
from analysis.frame.families import declared_families
from analysis.frame.naming import resizes_input
from analysis.frame.paired import REFERENCE
from analysis.frame.rows import each_row
from analysis.frame.states import DONE
from analysis.questions.accuracy.ranking import Ranking, accuracy_ranking, rank
from analysis.questions.comparisons.verdicts import all_verdicts
from analysis.questions.data_needed.baselines import Baseline
from analysis.questions.data_needed.numbers import DataNeeded
from analysis.questions.data_needed.numbers import numbers as data_needed
from analysis.questions.data_needed.sentences import factor_words, telling
from analysis.questions.resolution.retention import with_retention
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate

NOTHING = "No run of this study has finished yet."
UNTESTED = "No run of this study has been tested yet"


def headline(arms: Sequence[ReportedArm]) -> str:
    """The sentence, on the first arm that has a factor of images needed, else on the first that has accuracy kept at
    another test resolution, else on the first with a result; arms that demonstrate interpolation come last. Of several
    arms it names its own. While runs are missing it says of how many it speaks."""
    done = sum(int(arm.runs["state"].isin(DONE).sum()) for arm in arms)
    if not done:
        return NOTHING
    planned = sum(len(arm.runs) for arm in arms)
    text, own, _ = _sentence(arms)
    so_far = "" if done == planned else f"so far: {done:,} of {wording.count(planned, 'runs')}"
    scope = "; ".join(filter(None, (own, so_far)))
    return f"{text}{f' ({scope})' if scope else ''}."


def foremost(arms: Sequence[ReportedArm]) -> ReportedArm | None:
    """The arm that the sentence is of; where it is of none, the first that has begun, interpolation coming last."""
    _, _, arm = _sentence(arms)
    in_order = sorted(begun(arms), key=lambda one: one.arm.interpolation_only)
    return arm or next(iter(in_order), None)


def _sentence(arms: Sequence[ReportedArm]) -> tuple[str, str, ReportedArm | None]:
    """The sentence, without its full stop, which of several arms it is of, and this arm."""
    apart = arm_names([arm.arm for arm in arms])
    in_order = sorted(zip(arms, apart.own, strict=True), key=lambda pair: pair[0].arm.interpolation_only)
    told = [(arm, own) for arm, own in in_order if not _at_chance(arm)]
    for make in (_images_needed, _resolution, _leader, _leader_elsewhere):
        for arm, own in told:
            if text := make(arm):
                return f"{text[:1].upper()}{text[1:]}", own if len(arms) > 1 else "", arm
    at_chance = next((arm.arm for arm, _ in in_order if _at_chance(arm)), None)
    if at_chance is None:
        return UNTESTED, "", None
    return f"No network can be told from chance ({_whole(at_chance.chance)})", "", None


def _at_chance(arm: ReportedArm) -> bool:
    """Whether runs have been tested at the training resolution and none is above chance there (`with_retention`)."""
    home = at_home(with_retention(arm.rows))
    return not home.empty and bool(home["retention"].isna().all())


def _stand_in(arm: ReportedArm) -> str | None:
    """The label of the model that stands for the ViT: the reference of a declared family, else the ViT with the
    reference encoding, else the first ViT."""
    vits = {row.label: row.position for row in each_row(arm.runs, ["label", "model", "position"]) if row.model == "vit"}
    for family, by_label in declared_families(arm.runs, arm.study):
        _, reference = family.of(by_label)
        if reference in vits:
            return reference
    return next((label for label, position in vits.items() if position == REFERENCE), next(iter(vits), None))


def _whole(share: float) -> str:
    return f"{100 * share:.0f} %"


def _images_needed(arm: ReportedArm) -> str:
    """'To match the ResNet's 86 % at 100 images, a ViT with learned positions needs 6.5× the images [3.5, 12]; without
    positions, over 10×'. Of the leader, where it is a reference, else of the first reference that others need a known
    number of images for."""
    of = arm.once(data_needed)
    first = sorted(of.baselines, key=lambda one: not one.leads)  # the others keep their order
    return next(filter(None, (_to_match(arm, of, baseline) for baseline in first)), "")


def _to_match(arm: ReportedArm, of: DataNeeded, baseline: Baseline) -> str:
    """The same of one reference."""
    table = of.at_reference[of.at_reference["reference"] == baseline.reference]
    rows = {row.label: row for row in each_row(table) if not row.why and row.verdict != "no interval"}
    if not rows:
        return ""
    names, reached = spoken(arm), _whole(table["reference_accuracy"].iloc[0])
    needs = {label: row for label, row in rows.items() if row.verdict != "unclear" and telling(row)}
    level = [label for label, row in rows.items() if row.verdict == "unclear"]
    images = f"{wording.number(baseline.train_size)} images"
    reference = names[baseline.reference]
    if not needs:
        if set(level) != set(arm.runs["label"]) - {baseline.reference}:
            return ""  # of others nothing is known here
        return _all_level(names, baseline, level, f"{reference.definite} ({reached})", images)
    standing = _stand_in(arm)
    furthest = max(needs, key=lambda label: abs(math.log(needs[label].mean)))
    contrasts = [label for label in dict.fromkeys((standing, furthest)) if label is not None and label in needs]
    phrases = list(_needing([(names[label], needs[label]) for label in contrasts]))
    most = needs[furthest].mean > 1
    beyond = {row.bound for label, row in needs.items() if label != furthest}  # what may lie beyond what is known
    if furthest != standing and len(needs) > len(contrasts) and ("at least" if most else "at most") not in beyond:
        phrases[-1] += f", the {'most' if most else 'fewest'} of those known"
    if standing is not None and standing in level:
        phrases.append(f"{names[standing].indefinite} cannot be separated from it")
    text = f"to match {reference.with_its(reached)} at {images}, {'; '.join(phrases)}"
    if any(rows[label].starved for label in contrasts):  # then updates may be what is short, not images
        text += f" (some cells under-trained in {wording.number(arm.arm.budget)} {arm.arm.budget_kind})"
    return text


def _needing(contrasts: Sequence[tuple[Name, Any]]) -> Iterator[str]:
    """What each needs; of a second one of the same family only its positions are named."""
    before = ""
    for place, (name, row) in enumerate(contrasts):
        factor, _, interval = factor_words(estimate_of(row), row.bound).partition("× ")
        ends = f" {interval}" if interval else ""
        times = f"{factor.removesuffix('×')}×"
        if place == 0:
            yield f"{name.indefinite} needs {times} the images{ends}"
        else:
            what = name.positions if name.what == before and name.positions else name.indefinite
            yield f"{what}, {times}{ends}"
        before = name.what


def _all_level(names: dict[str, Name], baseline: Baseline, level: Sequence[str], reference: str, images: str) -> str:
    """That nothing is separable from the reference."""
    if not level:
        return ""
    who = names[level[0]].indefinite if len(level) == 1 else f"none of the other {len(level)} models"
    cannot = "cannot be separated" if len(level) == 1 else "can be separated"
    return f"at {images}, {who} {cannot} from {reference}"


def _resolution(arm: ReportedArm) -> str:
    """'Trained at 32 px, tested at 48 px, a ViT with rotary positions keeps 91 % [88, 94] of its accuracy above chance;
    with learned positions, 74 %'. Of models that work at another resolution: those that resize their input keep what
    the pixels keep."""
    if arm.arm.interpolation_only:
        return ""
    rows = with_retention(arm.rows)
    away = rows[(rows["test_resolution"] != rows["resolution"]) & rows["retention"].notna()]
    away = away[[not resizes_input(model) for model in away["model"]]]
    if away.empty:
        return ""
    away = away[away["train_size"] == away["train_size"].max()]
    side = int(away["test_resolution"].max())
    ranking = rank(away[away["test_resolution"] == side], "retention", "line", bounds=None)
    if ranking is None:
        return ""
    names = spoken(arm)
    leader = _of_line(names, ranking.leader)
    kept = f"{_whole(ranking.mean.mean)}{_whole_interval(ranking.mean)}"
    by_default = " with positions carried by default" if several_ways(arm.rows) else ""
    where = f"trained at {arm.arm.resolution} px, tested at {side} px{by_default}"
    text = f"{where}, {leader.indefinite} keeps {kept} of its accuracy above chance"
    standing = _stand_in(arm)
    others = [line for line in ranking.means if line != ranking.leader]
    other = next((line for line in others if line == standing), others[-1] if others else None)
    if other is None:
        return text
    name, mean = _of_line(names, other), _whole(ranking.means[other].mean)
    verdicts = {key: found for key, found in (*ranking.above, *ranking.level, *ranking.below, *ranking.unknown)}
    verdict = intervals.verdict(verdicts[other])
    if verdict == "unclear":
        return f"{text}; {name.indefinite} ({mean}) cannot be separated from it"
    what = name.positions if name.what == leader.what and name.positions else name.indefinite
    return f"{text}; {what}, {mean}{', of which there is no interval' if verdict == 'no interval' else ''}"


def _of_line(names: dict[str, Name], line: str) -> Name:
    """The name of a line, which is a label or a label and its way of carrying positions."""
    return names.get(line) or Name(line, own=True)


def _whole_interval(estimate: Estimate) -> str:
    return f" [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]" if estimate.has_interval else ""


def _leader(arm: ReportedArm) -> str:
    """'With 1,000 images the ResNet reaches 98 %, 2.2 points [0.8, 3.6] above the next, a conv-stem ViT'."""
    judged = arm.once(all_verdicts)
    known = judged.rows.dropna(subset=["accuracy"])
    for size in sorted(known["train_size"].unique().tolist(), reverse=True):
        ranking = accuracy_ranking(judged, size)
        if ranking is not None:
            return _leading(ranking, spoken(arm), _trained(arm, size))
    return ""


def _leader_elsewhere(arm: ReportedArm) -> str:
    """'Trained at 32 px, tested at 48 px, with 1,000 images the ResNet reaches 61 %, ...': of the largest size and
    resolution, where a study tests at others than the training resolution alone."""
    rows = with_retention(arm.rows).dropna(subset=["accuracy"])
    for size in sorted(rows["train_size"].unique().tolist(), reverse=True):
        of_size = rows[rows["train_size"] == size]
        side = int(of_size["test_resolution"].max())
        ranking = rank(of_size[of_size["test_resolution"] == side], "accuracy", "line")
        if ranking is not None:
            names = spoken(arm)
            of_lines = {line: _of_line(names, line) for line in ranking.means}
            where = f"trained at {arm.arm.resolution} px, tested at {side} px"
            return f"{where}, {_leading(ranking, of_lines, _trained(arm, size))}"
    return ""


def _trained(arm: ReportedArm, size: int) -> str:
    return "as it is" if arm.arm.budget == 0 else f"with {wording.number(size)} images"


def _leading(ranking: Ranking, names: dict[str, Name], how: str) -> str:
    leader = names[ranking.leader].definite
    text = f"{how} {leader} reaches {_whole(ranking.mean.mean)}"
    ranked = {key: found for key, found in (*ranking.above, *ranking.level, *ranking.below, *ranking.unknown)}
    following = next((key for key in ranking.means if key != ranking.leader), None)
    if following is None:
        return f"{text}{_whole_interval(ranking.mean)}"
    name, mean = names[following].indefinite, _whole(ranking.means[following].mean)
    difference = -ranked[following]
    match intervals.verdict(difference):
        case "above":
            return f"{text}, {wording.points(difference)[1:]} above the next, {name}"
        case "below":
            return f"{text}; {name} ({mean}), of fewer runs, is above it where both ran"
        case "unclear":
            return f"{text}; {name} ({mean}) cannot be separated from it"
        case _:
            return f"{text}; {name} {mean}, without an interval"
