"""The report of a study: one HTML page, its tables as CSV, and the answers in words.

A pure function of the records and the study: the same bytes each time, no date, no path, no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from analysis import comparison_sections, methods, page, sections, wording
from analysis.findings import Findings, answers, by_state, csv_tables, find
from analysis.frame import Frame, load
from analysis.palette import looks
from analysis.tables import each_row
from analysis.wording import Answer
from benchmarks.record import write_atomic
from benchmarks.study import Study

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """What was written: the page, the CSV tables; and the answers, one line each."""

    page: Path
    answers: list[str]
    tables: list[Path]


def write_report(study: Study, root: Path, out: Path, resamples: int = 0) -> Report:
    """Reads the study's records under `root` and writes `out`/index.html and `out`/tables/*.csv.

    `resamples` is how often the test set is resampled for the declared comparisons; 0: not at all.
    Works whatever is missing. Raises OSError when `out` cannot be written.
    """
    frame = load(root, study)
    findings = find(study, frame, root, resamples)
    said = answers(frame, findings)
    html = _without_paths(_render(study, frame, findings, said), root)

    (out / "tables").mkdir(parents=True, exist_ok=True)
    tables = []
    for name, table in csv_tables(frame, findings).items():
        tables.append(out / "tables" / f"{name}.csv")
        text = _without_paths(table.to_csv(index=False, lineterminator="\n"), root)
        write_atomic(tables[-1], text.encode())
    write_atomic(out / "index.html", html.encode())
    return Report(out / "index.html", [answer.text for answer, _ in said], tables)


def _render(study: Study, frame: Frame, findings: Sequence[Findings], said: Sequence[tuple[Answer, str]]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    styles = looks(frame.runs)
    return environment.get_template("page.html.j2").render(
        study=study,
        answers=said,
        states={state: len(runs) for state, runs in by_state(frame.runs).items()},
        unfinished=page.unfinished(frame.runs),
        problems=list(each_row(frame.problems)),
        by_train_size=[sections.train_size(found, styles) for found in findings],
        by_test_resolution=[sections.test_resolution(found, styles) for found in findings],
        by_evaluation=[sections.by_evaluation(found) for found in findings if not found.by_evaluation.empty],
        demonstration=bool(findings) and all(found.arm.data.interpolation_only for found in findings),
        positions=[sections.positions(found, styles) for found in findings if not found.positions.empty],
        comparisons=[comparison_sections.families(f) for f in findings if not f.compared.families.empty],
        resampled=[comparison_sections.resampled(f) for f in findings if not f.compared.resampled.empty],
        measures=[comparison_sections.measures(f) for f in findings if f.compared.measures["done"].sum()],
        consistency=[comparison_sections.consistency(f) for f in findings if not f.compared.consistency.empty],
        variance=[comparison_sections.variance(f) for f in findings if not f.compared.variance.empty],
        ledger=[sections.ledger(found) for found in findings],
        behind=[(found.arm.words, page.runs_behind(found.data, found.links, found.pairs)) for found in findings],
        methods=methods.sentences(study, frame, findings),
        recipes=methods.recipe_table(frame),
        signs=wording.signs(frame.starved_below),
        unequal_sign=wording.UNEQUAL,
    )


def _without_paths(text: str, root: Path) -> str:
    """Errors name files by their path; a report says where they lie below the runs folder."""
    for prefix in sorted({f"{root.resolve()}/", f"{root}/"} - {"./", "/"}, key=len, reverse=True):
        text = text.replace(prefix, "").replace(str(escape(prefix)), "")
    return text
