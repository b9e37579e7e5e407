"""The report as Markdown, for a README: answers, figures as PNG beside it, tables."""

import re

from analysis import wording
from analysis.elements import linked
from analysis.elements.drawings import Drawing
from analysis.elements.sections import Chapter
from analysis.page.content import Content

SPECIAL = re.compile(r"[\\`*_<|~$&#]|\](?=[(\[:])")


def text_of(content: Content) -> str:
    """One document, made to lie beside the folder `figures`."""
    lines: list[str] = []
    for study in content.studies:
        lines += [f"# {escape(study.question or study.name)}", ""]
    first = content.opening
    lines += [escape(" · ".join(first.facts)), ""]
    lines += [f"> **Warning:** {escape(warning)}\n" for warning in content.warnings]
    lines += [f"**{escape(first.headline)}**", "", *(f"{escape(text)}\n" for text in first.expected)]
    lines += [f"{escape(first.shows)}\n"] if first.shows else []
    for one in first.drawings:
        lines += _figure(one)
    lines += [f"- {escape(chip.word)}: {escape(chip.text)}" for chip in first.chips]
    lines += ["", "## In words", ""]
    lines += [f"{escape(content.answers.common)}\n"] if content.answers.common else []
    lines += [
        *(f"- **{escape(answer.lead)}**{_conditions(answer.conditions)}: {escape(answer.body)}"
          for answer, _ in content.answers),
        "",
        escape(wording.BRACKETS),
        "",
    ]  # fmt: skip
    for chapter in content.first:
        lines += _chapter(chapter, content)
    lines += ["## What to know before trusting this", ""]
    for finding in content.trust.findings:
        lines += [f"- {escape(finding.text)}", *(f"  - {escape(detail)}" for detail in finding.details)]
    lines += ["", f"Runs: {', '.join(f'{number:,} {state}' for state, number in content.states.items())}.", ""]
    for title, texts in content.absent:
        lines += [f"{escape(title)}:", "", *(f"- {escape(text)}" for text in texts), ""]
    for chapter in content.further:
        lines += _chapter(chapter, content)
    lines += ["## Method", "", *(f"- {escape(note)}" for note in (*content.protocol, *content.methods)), ""]
    lines += ["## Glossary", ""]
    for term in content.glossary:
        lines += [f"- **{escape(term.word)}**: {escape(term.meaning + (f': {term.formula}' if term.formula else ''))}"]
    lines += [""]
    lines += [f"Made by Inductive from records of the digest `{content.digest}`.", ""]
    return "\n".join(lines)


def _chapter(chapter: Chapter, content: Content) -> list[str]:
    lines = [f"## {escape(chapter.title)}", "", *([f"{escape(chapter.intro)}\n"] if chapter.intro else [])]
    for section in chapter.sections:
        lines += [f"*{escape(section.title)}*", ""]
        lines += [f"{escape(section.remark)}\n"] if section.remark else []
        for one in section.figures:
            lines += _figure(one)
        for title, table in [*(("", table) for table in section.tables), *section.folded]:
            lines += [*_table(title, table), ""]
    lines += [f"{escape(sign)}: {escape(meaning)}.\n" for sign, meaning in content.legends[chapter.anchor].items()]
    return lines


def _figure(one: Drawing) -> list[str]:
    return [f"![{escape(one.alt)}](figures/{one.name}.png)\n", f"{escape(one.printed_caption)}\n"]


def _conditions(text: str) -> str:
    return f" ({escape(text)})" if text else ""


def _table(title: str, table: linked.Table) -> list[str]:
    about = " ".join(part for part in (f"{title}." if title else "", table.about, table.basis) if part)
    return [
        escape(about),
        "",
        f"| {' | '.join(map(escape, (table.corner, *table.head)))} |",
        f"|---|{'---:|' * len(table.head)}",
        *(f"| {' | '.join(_cell(cell) for cell in (row.name, *row.cells))} |" for row in table.rows),
    ]


def _cell(cell: linked.Cell) -> str:
    number = escape(f"{cell.text} {cell.signs}".rstrip())
    others = [escape(part) for part in (cell.interval, cell.aside, cell.note) if part]
    return "<br>".join(part for part in (f"**{number}**" if cell.best else number, *others) if part)


def escape(text: str) -> str:
    """Text that Markdown, and the HTML in it, leaves as it is. Brackets are special only as those of a link."""
    return SPECIAL.sub(lambda found: "&lt;" if found[0] == "<" else "\\" + found[0], " ".join(text.split()))
