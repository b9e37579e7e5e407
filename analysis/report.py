"""The report of studies: from records to a page, LaTeX, Markdown and CSV, all of the same numbers.

A pure function of the records and the studies: the same bytes each time, no date of today, no path, no network.
"""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.elements import fonts, linked
from analysis.elements.drawings import Drawn, drawn
from analysis.elements.palette import looks
from analysis.elements.reported import reported_arms
from analysis.formats import html, latex, markdown
from analysis.formats.references import bibliography
from analysis.frame import paper
from analysis.frame.frame import Frame, load
from analysis.frame.studies import joined
from analysis.inside.on_page import inside_chapter
from analysis.page.content import Content, each_chapter, gather
from analysis.page.tables import csv_tables
from analysis.provenance import anonymous
from analysis.provenance.digests import Trace, of_all, traces
from analysis.provenance.provenance import provenance
from analysis.provenance.trust import trust
from analysis.questions.fairness.sentences import limits
from benchmarks.collector import collector_paused
from benchmarks.errors import ConfigError
from benchmarks.plan.study import Study
from benchmarks.records.record import write_atomic
from models.hints import did_you_mean

FORMATS = ("html", "latex", "markdown", "csv")
PLACES = {  # of each format, the last first to be opened: its name to a reader, and where it begins
    "csv": ("tables", "tables"),
    "latex": ("LaTeX", "latex/report.tex"),
    "markdown": ("Markdown", "report.md"),
    "html": ("page", "index.html"),
}
PICTURES = {"html": ("wide", "narrow"), "latex": ("pdf",), "markdown": ("png",)}  # kinds of picture a format needs
PRINT = ("pdf", "png")


@dataclass(frozen=True)
class Report:
    """What was written: the place of each format, by its name to a reader, and the CSV tables; what must be known
    before comparing, and of letters that printed figures lack; the headline; the main table of each arm, under its
    name, and what the signs in these mean; and the answers, one line each (of several arms the first says what they
    share)."""

    written: dict[str, Path]
    headline: str
    main: list[tuple[str, linked.Table]]
    signs: list[str]
    answers: list[str]
    tables: list[Path]
    warnings: list[str]

    @property
    def page(self) -> Path:
        """What is to be opened first: the page, or of other formats that which comes closest to one."""
        return list(self.written.values())[-1]


def parsed_formats(text: str) -> tuple[str, ...]:
    """'html,csv' -> the formats. Raises ConfigError for one that there is not, with the nearest."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise ConfigError("--format", f"there is no format '{name}', only {known}{did_you_mean(name, FORMATS)}")
    return tuple(dict.fromkeys(names))


@collector_paused()
def write_report(
    studies: Study | Sequence[Study],
    root: Path,
    out: Path,
    formats: Sequence[str] = ("html", "csv"),
    hide: bool = False,
    resamples: int = 0,
    data: Path | None = None,
    processes: int = 1,
) -> Report:
    """Reads the records of the studies under `root` and writes the report into `out`, as docs/report.md lists it.

    `hide` leaves out host, account, paths and commit. `resamples` is how often the test set is resampled for the
    declared comparisons; 0: not at all. `data` is the folder of the data sets, by default that of the command: only a
    study whose [paper] says `look` needs it. With several `processes`, as the command has them, figures are drawn side
    by side; a script must then be guarded by `if __name__ == "__main__"`. Works whatever is missing. Raises OSError
    when `out` cannot be written, ConfigError for studies that do not go together or a [paper] table that names no model
    of theirs.
    """
    several = [studies] if isinstance(studies, Study) else list(studies)
    study = joined(several)
    frame = paper.apply(_below(root, load(root, study)), study.paper)
    every = {run.id: run for one in several for run in one.every_run}
    found = traces(root, list(every))
    redactor = anonymous.redactor_of(every.values(), found)
    if hide:
        frame = anonymous.hidden_frame(frame, redactor)
        found = [anonymous.hidden_trace(one, redactor) for one in found]
        study, *several = (anonymous.hidden_study(one, redactor) for one in (study, *several))
    arms = reported_arms(study, frame, root, resamples)
    styles = looks(frame.runs, paper.highlighted(study.paper))
    column = study.paper.column_width
    kinds = [kind for name, of_format in PICTURES.items() if name in formats for kind in of_format]
    with drawn(kinds, None if column is None else column / 25.4, processes) as pictures:
        chapters = [pictures.begun(chapter) for chapter in each_chapter(arms, styles)]
        if study.paper.look:
            chapters.append(pictures.begun(inside_chapter(arms, root, data)))
        unequal = [f"{arm.words}: {limit.answer.body}" for arm in arms for limit in limits(arm)]
        checks = trust(several, root, found, frame, unequal)
        if hide:
            checks = anonymous.hidden_trust(checks, redactor)
        content = gather(study, several, frame, arms, chapters, checks, provenance(found), of_all(found))
        pictures.begin(content.opening.drawings)  # in another width
        tables = {f"tables/{name}.csv": table for name, table in csv_tables(frame, arms).items()}
        if hide:
            content, tables, frame, found = anonymous.written((content, tables, frame, found), redactor)
        files = _files(content, tables, frame, found, formats, pictures)
    for name, of_file in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out / name, of_file)
    labels = frame.runs["label"].unique()
    return Report(
        {name: out / place for kind, (name, place) in PLACES.items() if kind in formats},
        content.opening.headline,
        [(section.title, table) for section in content.chapters[0].sections for table in section.tables],
        [
            f"{sign} {meaning}"
            for sign, meaning in content.signs.items()
            if any(sign in table.signs for section in content.chapters[0].sections for table in section.tables)
        ],
        content.answers.lines,
        [out / name for name in files if name.startswith("tables/")],
        [*content.warnings, *(fonts.missing_letters_warnings(labels) if {"latex", "markdown"} & {*formats} else [])],
    )


def _files(
    content: Content,
    tables: Mapping[str, pd.DataFrame],
    frame: Frame,
    found: Sequence[Trace],
    formats: Sequence[str],
    pictures: Drawn,
) -> dict[str, bytes]:
    """The files of a report by their names. The `tables` are those of CSV."""
    files: dict[str, bytes] = {}
    if "csv" in formats:
        behind = {f"figures/{one.name}.csv": one.data for one in content.drawings if not one.data.empty}
        for name, table in {**tables, **behind}.items():
            files[name] = table.to_csv(index=False, lineterminator="\n").encode()
    if "latex" in formats:
        files |= {f"latex/{name}": text.encode() for name, text in latex.files(content).items()}
    if "markdown" in formats:
        files["report.md"] = markdown.text_of(content).encode()
    if "html" in formats:
        files["index.html"] = html.page(content, frame, found, "csv" in formats, pictures).encode()
    for one in content.drawings:
        files |= {f"figures/{one.name}.{kind}": of_kind for kind, of_kind in pictures(one).items() if kind in PRINT}
    files["methods.txt"] = _methods(content).encode()
    files["references.bib"] = bibliography(frame).encode()
    return files


def _methods(content: Content) -> str:
    """The protocol in sentences, for the methods part of a paper."""
    lines = [*content.protocol, *content.methods, f"Records: digest {content.digest}."]
    return "\n\n".join(textwrap.fill(line, 100, break_long_words=False) for line in lines) + "\n"


def _below(root: Path, frame: Frame) -> Frame:
    """The frame whose errors name files by where they lie below the runs folder, wherever that lies."""
    prefixes = sorted({f"{root.resolve()}/", f"{root}/"} - {"./", "/"}, key=len, reverse=True)

    def cut(table: pd.DataFrame, column: str) -> pd.DataFrame:
        texts = table[column].astype("str")
        for prefix in prefixes:
            texts = texts.str.replace(prefix, "", regex=False)
        return table.assign(**{column: texts})

    return dataclasses.replace(
        frame,
        rows=cut(frame.rows, "reason"),
        runs=cut(frame.runs, "reason"),
        problems=cut(frame.problems, "problem"),
    )
