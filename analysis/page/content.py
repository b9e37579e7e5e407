"""What a report says, before it has a format: the answers, the chapters in order, completeness, trust, method.

A new kind of section is one line in `chapters`; page, LaTeX and Markdown then have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from analysis import wording
from analysis.elements import linked
from analysis.elements.palette import Look
from analysis.frame.frame import Frame
from analysis.frame.paper import highlighted
from analysis.frame.rows import each_row
from analysis.page import methods
from analysis.page.answers import answers
from analysis.page.findings import Findings, by_state
from analysis.page.glossary import Term, glossary
from analysis.page.head import Head
from analysis.provenance.provenance import Provenance
from analysis.provenance.trust import Trust
from analysis.questions.accuracy import sections
from analysis.questions.accuracy.sections import Drawing, Section
from analysis.questions.comparisons import comparison_sections
from analysis.questions.data_needed import curve_sections
from analysis.questions.resolution import resolution_sections
from benchmarks.plan.study import Study

DEMONSTRATION = "Interpolation demonstration"


@dataclass(frozen=True)
class Chapter:
    """Sections of one kind, an arm each. `anchor` is what answers and the contents lead to, `short` its name there."""

    anchor: str
    short: str
    title: str
    sections: tuple[Section, ...]
    intro: Markup | None = None
    signs: bool = False  # whether the legend of the signs follows

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        return tuple(drawing for section in self.sections for drawing in section.figures)


@dataclass(frozen=True)
class Content:
    """Everything a report says. `studies` are those that were asked for, `study` all of them as one."""

    study: Study
    studies: tuple[Study, ...]
    warnings: tuple[str, ...]
    answers: Head
    chapters: tuple[Chapter, ...]
    states: Mapping[str, int]
    unfinished: Sequence[tuple[str, list[tuple[str, str]]]]
    problems: Sequence[Any]
    behind: Sequence[tuple[str, tuple[linked.ModelRuns, ...]]]
    protocol: Sequence[str]
    methods: Sequence[str]
    recipes: linked.Table | None
    glossary: Sequence[Term]
    signs: Mapping[str, str]
    trust: Trust
    provenance: Provenance
    digest: str
    highlight: frozenset[str]

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        return tuple(drawing for chapter in self.chapters for drawing in chapter.drawings)


def chapters(findings: Sequence[Findings], styles: Mapping[str, Look]) -> tuple[Chapter, ...]:
    """The chapters of a report that have a section, in its order."""
    demonstrated = bool(findings) and all(found.arm.interpolation_only for found in findings)
    declared = [found for found in findings if not found.compared.families.empty]
    alone = (" Each interval stands on its own here; those of declared families, under <a href='#comparisons'>"
             "comparisons</a>, hold together.") if declared else ""  # fmt: skip
    found_all = (
        Chapter("train-size", "train size", "Accuracy against train size",
                tuple(sections.train_size(found, styles) for found in findings), signs=True),
        Chapter("data-needed", "data needed", "Images needed for equal accuracy",
                tuple(curve_sections.needed(found, styles) for found in findings if found.needed.any)),
        Chapter("budgets", "budgets", "Steps beside epochs: starved or hungry",
                tuple(curve_sections.budgets(findings, styles))),
        Chapter("test-resolution", "test resolution",
                DEMONSTRATION if demonstrated else "Accuracy against test resolution",
                tuple(resolution_sections.test_resolution(found, styles) for found in findings)),
        Chapter("ways-of-testing", "ways of testing", "What another resolution changes",
                tuple(resolution_sections.by_evaluation(found) for found in findings if not found.by_evaluation.empty),
                Markup("More pixels change an image's scale, the number of tokens and what BatchNorm sees, all at "
                       "once. The same networks, tested in ways that keep these apart:")),
        Chapter("carrying", "carrying positions", "Ways of carrying positions",
                tuple(resolution_sections.carrying(found) for found in findings
                      if not found.resolutions.carrying.empty)),
        Chapter("resolution-matrix", "training resolution", "Training and test resolution",
                tuple(resolution_sections.matrices(findings))),
        Chapter("positions", "positions", "Position ablation",
                tuple(sections.positions(found, styles) for found in findings if not found.positions.empty),
                Markup("Positional encodings against <code>learned_1d</code>, run by run with the same draw and seed: "
                       "the networks start from the same weights outside their encoding and see the same images in "
                       "the same order." + alone)),
        Chapter("comparisons", "comparisons", "Comparisons",
                tuple(comparison_sections.families(found) for found in declared),
                Markup("The families of comparisons that the study declares, run by run with the same draw and seed. "
                       "All intervals of a family at one train size hold together.")),
        Chapter("test-set", "test set", "With another test set",
                tuple(comparison_sections.resampled(found) for found in findings if not found.compared.resampled.empty),
                Markup("All other intervals are conditional on this test set. Here its images are resampled as well as "
                       "the seeds. Percentile intervals over few seeds are too narrow (three seeds: 79 % instead of "
                       "95), so they are no replacement for those above: compare the standard errors.")),
        Chapter("likelihood", "likelihood", "Accuracy, likelihood and calibration",
                tuple(comparison_sections.measures(found) for found in findings
                      if found.compared.measures["done"].sum()),
                Markup("Calibration error: 15 bins of equal width, confidence of the predicted class.")),
        Chapter("consistency", "errors", "Error consistency",
                tuple(comparison_sections.consistency(found) for found in findings
                      if not found.compared.consistency.empty),
                Markup("Do networks err on the same images, beyond what their accuracies make by chance? 1: on exactly "
                       "the same; 0: as independent networks do. The diagonal, the same model with another seed, is "
                       "the reference; two models can agree more than that. Means without interval: the pairs share "
                       "networks.")),
        Chapter("variance", "variance", "Where the spread comes from",
                tuple(comparison_sections.variance(found) for found in findings if not found.compared.variance.empty),
                Markup("Draws and seeds are crossed here, so the variance of a run's accuracy parts into that of the "
                       "subset, of the seed (initialisation, order and augmentation), and of their interaction, from "
                       "which one run a pair cannot tell the residual. Estimates of so few are rough; one below 0 is "
                       "shown as 0.")),
        Chapter("ledger", "fairness", "Fairness ledger",
                tuple(sections.ledger(found) for found in findings),
                Markup(f"What was equal between the models, and what was not ({wording.UNEQUAL}).")),
    )  # fmt: skip
    return tuple(chapter for chapter in found_all if chapter.sections or chapter.anchor in ("train-size", "ledger"))


def gather(
    study: Study,
    studies: Sequence[Study],
    frame: Frame,
    findings: Sequence[Findings],
    styles: Mapping[str, Look],
    trust: Trust,
    provenance: Provenance,
    digest: str,
) -> Content:
    """What the report of these findings says."""
    shown = chapters(findings, styles)
    return Content(
        study=study,
        studies=tuple(studies),
        warnings=methods.warnings(findings),
        answers=answers(frame, findings),
        chapters=shown,
        states={state: len(runs) for state, runs in by_state(frame.runs).items()},
        unfinished=linked.unfinished(frame.runs),
        problems=list(each_row(frame.problems)),
        protocol=methods.protocol(frame, findings),
        behind=[(found.arm.words, linked.runs_behind(found.data, found.links, found.pairs)) for found in findings],
        methods=methods.sentences(study, frame, findings),
        recipes=methods.recipe_table(frame),
        glossary=glossary(),
        signs=_used(wording.signs(frame.starved_below), shown),
        trust=trust,
        provenance=provenance,
        digest=digest,
        highlight=highlighted(study.paper),
    )


def _used(signs: Mapping[str, str], shown: Sequence[Chapter]) -> dict[str, str]:
    """Of the signs, those that a table has."""
    tables = [
        table
        for chapter in shown
        for section in chapter.sections
        for table in (*section.tables, *(folded for _, folded in section.folded))
    ]
    used = {sign for table in tables for sign in table.signs}
    return {sign: meaning for sign, meaning in signs.items() if sign in used}
