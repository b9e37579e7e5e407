"""The trainings as the two tables of docs/fairness.md, in Markdown."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy import stats

from benchmarks.fairness.cells import OURS, RATE, WAYS, Setting, beside_each_other
from benchmarks.fairness.references import PAIRS

BEST = "each its best here"  # on the very test images: no part is held out for the choice
Row = Mapping[str, Any]
Seeds = Mapping[int, Row]  # seed -> row
Group = dict[tuple[str, str, int, float], dict[int, Row]]  # family, network, steps, rate -> seed -> row


def tables(rows: Iterable[Row], setting: Setting) -> dict[str, str]:
    """Text by the name of its block: `references`, ours beside theirs; `ways`, how weights start."""
    groups: Group = {}
    for row in rows:
        groups.setdefault((row["family"], row["network"], row["steps"], row["rate"]), {})[row["seed"]] = row
    return {"references": references(groups, setting), "ways": ways(groups)}


def references(groups: Group, setting: Setting) -> str:
    """A line for each family beside each of its references, all trained alike."""
    lines = []
    for pair in PAIRS.values():
        ours = groups.get((pair.family, beside_each_other(pair)[0], pair.steps, RATE), {})
        for name in pair.references:
            theirs = groups.get((pair.family, name, pair.steps, RATE), {})
            if not (ours and theirs):
                continue
            sides = [f"{percent(one, 'test_accuracy')} ({percent(one, 'train_accuracy')})" for one in (ours, theirs)]
            lines.append([f"`{pair.family}`", name, str(pair.steps), *sides, difference(ours, theirs), pair.note])
    on_training = min(setting.test_images, setting.train_size)
    about = (
        f"{setting.train_size:,} images of {setting.data.name} at {setting.pixels} px, size {setting.size}, batches of "
        f"{setting.batch}, AdamW at {RATE:g}, no augmentation. Accuracy in % on {setting.test_images:,} test images, "
        f"in brackets on {on_training:,} training images: means over seeds, each with its own subset; ours with "
        f'`initial = "library"`. Difference in points, paired by seed, with its 95 % t-interval.'
    )
    return "\n".join(
        [about, "", *markdown(("family", "reference", "steps", "ours", "theirs", "difference", ""), lines)]
    )


def ways(groups: Group) -> str:
    """A line for each family, budget and rate that any of its ways was tried at, and one for each way at its best
    rate, where several were; that is chosen on the test images of the table."""
    names = list(dict.fromkeys(name for some in WAYS.values() for name in some))
    lines = []
    for family, tried in WAYS.items():
        for steps in sorted({key[2] for key in groups if key[0] == family and key[1] in tried}):
            rates = sorted({key[3] for key in groups if key[:3:2] == (family, steps) and key[1] in tried})
            at_rates = {
                rate: {name: groups[key] for name in names if (key := (family, name, steps, rate)) in groups}
                for rate in rates
            }
            lines += [_line(family, steps, f"{rate:g}", found, names) for rate, found in at_rates.items()]
            if len(rates) > 1 and all(name in found for found in at_rates.values() for name in tried):
                best = {
                    name: max((found[name] for found in at_rates.values() if name in found), key=mean_accuracy)
                    for name in tried
                }
                lines.append(_line(family, steps, BEST, best, names))
    head = ("family", "steps", "rate", *(name.removeprefix(f"{OURS} ") for name in names), "literature - library")
    return "\n".join(markdown(head, lines))


def _line(family: str, steps: int, rate: str, found: Mapping[str, Seeds], names: Sequence[str]) -> list[str]:
    cells = [
        f"{percent(found[name], 'test_accuracy')} ({percent(found[name], 'train_accuracy')})" if name in found else "-"
        for name in names
    ]
    apart = difference(found.get(f"{OURS} literature", {}), found.get(f"{OURS} library", {}))
    return [f"`{family}`", str(steps), rate, *cells, apart]


def mean_accuracy(rows: Seeds) -> float:
    return statistics.mean(row["test_accuracy"] for row in rows.values())


def percent(rows: Seeds, key: str) -> str:
    return f"{100 * statistics.mean(row[key] for row in rows.values()):.1f}" if rows else "-"


def difference(ours: Seeds, theirs: Seeds) -> str:
    """Points of test accuracy, seed by seed: '-1.2 [-3.4, 1.0]'; '-' where no seed has both."""
    points = [100 * (ours[seed]["test_accuracy"] - theirs[seed]["test_accuracy"]) for seed in ours if seed in theirs]
    if not points:
        return "-"
    mean = statistics.mean(points)
    if len(points) == 1:
        return f"{mean:+.1f} (one seed)"
    half = float(stats.t.ppf(0.975, len(points) - 1)) * statistics.stdev(points) / math.sqrt(len(points))
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]
