"""Numbers and names as the page and the terminal write them. Shares come in, per cent and points go out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from analysis.statistics.intervals import Estimate
from benchmarks.console import count as count

ABSENT = "–"
# Signs in tables; `signs` says what each means.
STARVED, STALE, COLLAPSED, RESIZES, UNEQUAL, TIED, PARTIAL = "▽", "†", "‡", "↔", "≠", "≈", "2/3"

BRACKETS = (
    "Brackets are 95 % intervals: t-intervals over draws or seeds, but simultaneous ones in a declared family of "
    "comparisons (of test accuracy, at the training resolution), and for a bound on a factor those factors that no "
    "t-interval excludes. Each table names its own."
)

# Words of a report, each with its definition in a sentence, in the order in which a reader meets them.
TERMS: Mapping[str, str] = MappingProxyType(
    {
        "n": "labelled images used, those of the validation part included where it is a share of n",
        "draw": "number of a subset: the first n images of a class-stratified order; the same for every model",
        "seed": "number that decides initialisation, order and augmentation",
        "cell": "the runs that differ in draw and seed alone",
        "condition": "the runs that may stand in one table: same data, size, recipe, budget, training resolution, "
        "validation and precision",
        "accuracy": "share of test images whose class has the largest logit",
        "trial": "a setting of the recipe that a search has drawn, before any was run, and trained",
        "tuning curve": "median of the best validation accuracy among k drawn trials, as a function of k",
        "optimism": "validation accuracy of the chosen trial less the test accuracy of its fresh seeds",
        "interval": "95 % Student t-interval of the mean over k independent units (draws, else seeds)",
        "paired difference": "taken run by run between models with the same draw and seed",
        "simultaneous interval": "of a declared family at one train size: with 95 % all of its differences lie in "
        "theirs; s is the residual of accuracy = model + unit, ν its degrees of freedom, c the quantile of the largest "
        "|t| (Dunnett against one, Tukey for all pairs), k the units of both",
        "verdict": "higher, lower or not separable: what the interval of a pair's difference allows to say, which is "
        "the simultaneous one of the first declared family that has the pair, else the paired t-interval",
        "not separable": "the interval of the difference contains 0, which does not show that the models are equal",
        "exploratory": "of a pair in no declared family: its interval is not corrected for the number of pairs, nor "
        "for a model that is singled out after seeing the results, as the one that leads is",
        "under-trained": "a cell whose networks do not fit their own training images: too few updates, perhaps, rather "
        "than too few images (column starved)",
        "collapsed": "a run whose accuracy lies far below the others of its cell, so that its mean and interval are of "
        "two kinds of runs",
        "chance": "accuracy of always answering the most frequent class of the test part; 1 / K where K classes are "
        "equally frequent, and where no record keeps the labels",
        "retention": "what is left of the accuracy above chance at test resolution r, of that at the training "
        "resolution R",
        "accuracy kept": "test accuracy under a probe over that without, the mean over the probe's strengths",
        "data-equivalence factor": "of B against A: the images B has over the images with which A is as accurate, A's "
        "curve read linearly in log n; an interval is over log factors",
        "images needed": "for what A reaches with n images: those with which B is as accurate, over n; B's curve read "
        "linearly in log n",
        "crossing N*": "interpolated between train sizes: where the paired t-interval of two curves' difference "
        "contains 0, curves being linear in log n",
        "fitted curve": "test error e against n, the form by its error at the largest size, held out",
        "area": "test accuracy averaged over log resolution between the ends r₁ and r₂ of the test resolutions",
        "best test resolution": "that with the highest mean accuracy on validation",
        "chosen on validation": "the way of carrying positions with the highest mean accuracy over the validation "
        "parts of a model's runs, at each test resolution",
        "test-set error": "binomial standard error of an accuracy on N images; not part of the intervals",
        "MACs, FLOPs": "multiply-accumulates of one image, attention products included",
        "negative log-likelihood": "mean over test images of minus the log of the probability of the true class, in "
        "nats (column nll)",
        "calibration error": "distance of confidence and accuracy over 15 bins of equal width of the predicted class's "
        "confidence",
        "error consistency": "Cohen's kappa of two networks being right on the same images, o the share on which they "
        "agree in that, e the share expected of independent ones",
        "shares of variance": "where draws and seeds are crossed: of the subset, of the seed, and of their "
        "interaction, by the analysis of variance; negative ones count as 0",
    }
)

_SIGNS = {
    STARVED: "under-trained: the networks do not fit their own training images (mean training accuracy below {limit}), "
    "so a low value may be a lack of updates rather than a lack of data or a property of the architecture",
    STALE: "stale: the sources that at least one of these runs depends on have changed since it was recorded",
    COLLAPSED: "a seed has collapsed, far below the others of its cell: mean and interval are of two kinds of runs, "
    "and 95 % do not hold; in a family of comparisons it widens the intervals of all pairs",
    RESIZES: "resizes its input to the training resolution: at another test resolution this shows how robust it is to "
    "interpolated pixels, not how its architecture handles another grid",
    UNEQUAL: "not equal: further than 10 % from the condition's median (parameters, MACs), another value than the "
    "other models have at the same train size (updates, images seen) or than most models (augmentation, recipe), other "
    "planned runs, other hardware (images/s), or other tuning trials",
    TIED: "not separable from the model that leads its column, which is bold: the highest mean of those with most runs",
    PARTIAL: "so many of the planned draws, seeds or pairs of a cell are in",
}


def signs(starved_below: float) -> dict[str, str]:
    """What each sign means, for the page's legend."""
    return {sign: phrases.format(limit=percent(starved_below)) for sign, phrases in _SIGNS.items()}


@dataclass(frozen=True)
class Scope:
    """What a claim holds for: its arm (data, size, recipe, budget, training resolution) and how many seeds."""

    arm: str = ""
    units: str = ""

    @property
    def words(self) -> str:
        """Both parts in one line; '' where a claim holds for all."""
        return "; ".join(part for part in (self.arm, self.units) if part)


@dataclass(frozen=True)
class Answer:
    """One claim in words: what it is about, what it holds for, and the claim."""

    lead: str
    scope: Scope
    body: str

    @property
    def conditions(self) -> str:
        """What the claim holds for, in words."""
        return self.scope.words

    @property
    def text(self) -> str:
        """The whole claim on one line, as the terminal shows it."""
        return f"{self.lead} ({self.conditions}): {self.body}" if self.conditions else f"{self.lead}: {self.body}"


def number(value: float) -> str:
    """1000 -> '1,000'; 2.5 -> '2.5'."""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def compact(value: float) -> str:
    """For the ledger: 842 -> '842', 55498 -> '55.5 k', 2300000 -> '2.30 M'."""
    if math.isnan(value):
        return ABSENT
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def span(low: float, high: float) -> str:
    """'600', '600 – 38,400', or '–' where nothing is known."""
    if math.isnan(low):
        return ABSENT
    return number(low) if low == high else f"{number(low)} – {number(high)}"


def percent(share: float) -> str:
    """0.9418 -> '94.2 %'; NaN -> '–'."""
    return ABSENT if math.isnan(share) else f"{100 * share:.1f} %"


def interval(estimate: Estimate) -> str:
    """The interval in per cent or points: '[93.1, 95.3]', or '' where there is none."""
    digits = _digits(estimate)
    return f"[{_rounded(estimate.low, digits)}, {_rounded(estimate.high, digits)}]" if estimate.has_interval else ""


def mean(estimate: Estimate) -> str:
    """The mean in per cent, with as many decimals as its interval: '94.2'; '0.015' beside '[0.011, 0.019]'."""
    return _rounded(estimate.mean, _digits(estimate))


def difference(estimate: Estimate) -> str:
    """A difference of shares in points, with its sign and as many decimals as its interval: '+2.1'."""
    return ("+" if estimate.mean > 0 else "") + mean(estimate)


def _digits(estimate: Estimate) -> int:
    """Decimals of an estimate and of its interval: one; more where an end would be rounded to 0, because on which side
    of 0 it lies is what matters, or where both ends would be less than two last digits apart, but not one and the
    same."""
    if not estimate.has_interval or math.isclose(estimate.low, estimate.high, rel_tol=0, abs_tol=1e-9):
        return 1
    ends, width = (100 * estimate.low, 100 * estimate.high), 100 * (estimate.high - estimate.low)
    enough = (d for d in (1, 2, 3) if width >= 2 * 10**-d and all(x == 0 or round(x, d) != 0 for x in ends))
    return next(enough, 4)


def value(estimate: Estimate) -> str:
    """'94.2 % [93.1, 95.3]', without the brackets where there is no interval."""
    return ABSENT if math.isnan(estimate.mean) else f"{mean(estimate)} % {interval(estimate)}".rstrip()


def points(estimate: Estimate, signed: bool = True) -> str:
    """A difference of shares: '+2.1 points [0.3, 3.9]'; unsigned, the size of it: '2.1 points [0.3, 3.9]'."""
    size = -estimate if estimate.mean < 0 and not signed else estimate
    return f"{difference(size) if signed else mean(size)} points {interval(size)}".rstrip()


def points_range(estimates: Iterable[Estimate]) -> str:
    """The sizes of differences of shares: '28 to 40 points', '0.8 to 13.1 points', '5.7 points'. Whole points where all
    are ten or more."""
    sizes = [abs(100 * one.mean) for one in estimates]
    digits = 0 if min(sizes) >= 9.95 else 1
    ends = dict.fromkeys(f"{size:.{digits}f}" for size in (min(sizes), max(sizes)))
    return f"{' to '.join(ends)} points"


_NO_FACTOR = 0.0005  # would be printed as 0, which no factor is: an interval from there on is printed as open


def times(value: float) -> str:
    """A factor: '0.035', '1.38', '3.4', '12', '∞'."""
    if math.isinf(value):
        return "∞"
    digits = 3 if value < 0.0995 else 2 if value < 1.995 else 1 if value < 9.95 else 0
    return f"{value:,.{digits}f}"


def factor(estimate: Estimate, bound: str = "") -> str:
    """'3.4× [2.9, 4.1]'; with a bound 'at least 3.4× [2.9, ∞)', or 'unknown'."""
    if math.isnan(estimate.mean):
        return f"unknown {factor_interval(estimate)}".rstrip()
    return f"{bound} {times(estimate.mean)}× {factor_interval(estimate)}".strip()


def factor_interval(estimate: Estimate) -> str:
    """'[2.9, 4.1]', open where an end is not known: '[2.9, ∞)', '(0, 1.1]'; or '' where there is none."""
    low, high = estimate.low, estimate.high
    if not estimate.has_interval or (low == 0 and math.isinf(high)):
        return ""
    start = "(0" if low < _NO_FACTOR else f"[{times(low)}"
    return f"{start}, {times(high)}{')' if math.isinf(high) else ']'}"


def _rounded(share: float, digits: int) -> str:
    text = f"{100 * share:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def names(items: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    listed: Sequence[str] = list(items)
    if len(listed) <= 1:
        return "".join(listed)
    return f"{', '.join(listed[:-1])} and {listed[-1]}"


def noted(name: str, *notes: str) -> str:
    """'resnet', or with notes 'resnet (2 of 3 seeds; 1 of 3 runs diverged)'."""
    return f"{name} ({'; '.join(notes)})" if notes else name
