"""The report's tables and figures for a paper: booktabs by pandas' Styler, captions with n, interval and digest.

Each table and figure is a file to \\input; `report.tex` is a document of all of them that compiles as it stands, by
any LaTeX with the packages array, booktabs and graphicx.
"""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from analysis import wording
from analysis.elements import linked
from analysis.elements.drawings import Drawing
from analysis.elements.sections import Chapter, Section
from analysis.formats.latex_text import escape
from analysis.page.content import Content

DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{array}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[margin=25mm]{geometry}
\graphicspath{{../figures/}{figures/}}
\begin{document}
%s
\end{document}
"""
FLOATS = 10  # after so many they are printed: LaTeX holds 18 that have found no place
LETTERS = 90  # of small type that a line of `DOCUMENT` has room for
GAP = 3  # letters that the space between two columns takes
SENTENCES = 0.3  # share of the line that columns of sentences have at least


def files(content: Content) -> dict[str, str]:
    """The .tex files by their names; report.tex has what the page has, in its order."""
    opened = {f"figure-{one.name}.tex": _figure(one, content) for one in content.opening.drawings}
    (first, of_first), (further, of_further) = (_chapters(part, content) for part in (content.first, content.further))
    recipes = {}
    if content.recipes:
        about = f"{content.recipes.about} Records {content.digest}.".strip()
        recipes["table-recipes.tex"] = _table(content.recipes, "table-recipes", about, content)
    glossary = [f"{one.word}: {one.meaning}{f': {one.formula}' if one.formula else ''}" for one in content.glossary]
    body = [
        *_head(content),
        *_inputs(opened),
        *_answers(content),
        r"\clearpage",
        *first,
        *_items("What to know before trusting this", _trust(content)),
        *(line for title, texts in content.absent for line in _items(escape(title), texts)),
        r"\clearpage",
        *further,
        r"\clearpage",
        *_runs(content),
        *_items("Method", [*content.protocol, *content.methods]),
        *_inputs(recipes),
        *_items("Glossary", glossary),
    ]
    return opened | of_first | of_further | recipes | {"report.tex": DOCUMENT % "\n".join(body)}


def _chapters(chapters: Sequence[Chapter], content: Content) -> tuple[list[str], dict[str, str]]:
    """The chapters in lines, and the files that these put in: a figure or a table each."""
    lines, made = [], dict[str, str]()
    for chapter in chapters:
        lines += [rf"\section*{{{escape(chapter.title)}}}", escape(chapter.intro), ""]
        for number, section in enumerate(chapter.sections, start=1):
            if section.remark:
                lines += [rf"\paragraph{{{escape(_sentence(section.title))}.}} {escape(section.remark)}", ""]
            floats = {f"figure-{drawing.name}.tex": _figure(drawing, content) for drawing in section.figures}
            for place, (title, table) in enumerate(_tables(section), start=1):
                name = f"table-{chapter.anchor}-{number}-{place}"
                floats[f"{name}.tex"] = _table(table, name, _caption(title, table, section, content), content)
            lines += _inputs(floats, len(made))
            made |= floats
    return lines, made


def _inputs(names: Iterable[str], before: int = 0) -> Iterator[str]:
    for number, name in enumerate(names, start=before + 1):
        yield rf"\input{{{name}}}"
        if number % FLOATS == 0:
            yield r"\clearpage"


def _head(content: Content) -> list[str]:
    """Title, what each study asks, what was done, what must be known before comparing, the headline, and what was
    expected."""
    first = content.opening
    lines = [rf"\title{{{escape(content.study.name)}}}", r"\author{}", r"\date{}", r"\maketitle"]
    lines += [rf"\section*{{{escape(study.question or study.name)}}}" for study in content.studies]
    lines += [escape(" · ".join(first.facts)), ""]
    lines += [rf"\paragraph{{Warning:}} {escape(warning)}" for warning in content.warnings]
    said = (*first.expected, first.shows)
    return [*lines, rf"\paragraph{{{escape(first.headline)}}}", "", *(f"{escape(text)}\n" for text in said if text)]


def _answers(content: Content) -> list[str]:
    chips = "; ".join(f"{chip.word}: {chip.text}" for chip in content.opening.chips)
    words = [escape(f"{chips}."), "", r"\section*{In words}", escape(content.answers.common), ""]
    items = [rf"\item {escape(answer.text)}" for answer, _ in content.answers]
    return [*words, escape(wording.BRACKETS), r"\begin{itemize}", *items, r"\end{itemize}"]


def _trust(content: Content) -> list[str]:
    """The checks, and how many runs are in which state."""
    found = [f"{one.text} {'; '.join(one.details)}".rstrip() for one in content.trust.findings]
    states = ", ".join(f"{number:,} {state}" for state, number in content.states.items())
    return [*found, f"Runs: {states}."]


def _items(title: str, texts: Sequence[str]) -> list[str]:
    items = [rf"\item {escape(text)}" for text in texts]
    return [rf"\section*{{{title}}}", r"\begin{itemize}", *items, r"\end{itemize}"] if items else []


def _runs(content: Content) -> list[str]:
    """The runs behind every number, by model and train size."""
    lines = []
    for title, models in content.behind:
        for model in models:
            for entry in model.entries:
                ids = [run for runs, *_ in entry.rows for run in runs]
                lines.append(f"{title}; {entry.title}: {', '.join(ids) or 'no run'}")
    return [r"{\scriptsize\raggedright", *_items("The runs behind every number", lines), "}"] if lines else []


def _tables(section: Section) -> list[tuple[str, linked.Table]]:
    return [*(("", table) for table in section.tables), *section.folded]


def _caption(title: str, table: linked.Table, section: Section, content: Content) -> str:
    """What the numbers are, of which arm, over what n, by which interval, from which records."""
    parts = [
        table.about,
        f"{title}." if title else "",
        f"{_sentence(section.title)}.",
        table.basis,
        *_signs(table, content),
    ]
    return " ".join([*(part for part in parts if part), f"Records {content.digest}."])


def _signs(table: linked.Table, content: Content) -> list[str]:
    return [f"{sign}: {meaning}." for sign, meaning in content.signs.items() if sign in table.signs]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(table: linked.Table, name: str, caption: str, content: Content) -> str:
    """A table environment, shrunk to the width of the line where it is wider."""
    if not table.rows:
        return f"% {name}: no run\n"
    in_words = table.in_words
    frame = pd.DataFrame(
        [[_cell(cell, words) for cell, words in zip(row.cells, in_words, strict=False)] for row in table.rows],
        index=[_name(row, content) for row in table.rows],
        columns=list(map(escape, table.head)),
        dtype=object,
    )
    styler = frame.style
    styler.index.name = None
    tabular = styler.to_latex(hrules=True, column_format=_columns(table))
    shrunk = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{tab:{name.removeprefix('table-')}}}",
            shrunk,
            tabular.rstrip("\n") + "}",
            r"\end{table}",
            "",
        ]
    )


def _columns(table: linked.Table) -> str:
    """How each column is set: names and numbers on one line each, sentences as paragraphs, read from the left, in the
    room that those leave, by the length of their longest."""
    names = max(len(row.name.text) for row in table.rows)
    longest = []
    for place, head in enumerate(table.head):
        cells = [row.cells[place] for row in table.rows if place < len(row.cells)]
        longest.append(max(map(len, (head, *(line for cell in cells for line in _lines(cell))))))
    columns = list(zip(table.in_words, longest, strict=True))
    taken = names + sum(GAP + (0 if words else letters) for words, letters in columns)
    room = max(SENTENCES, 1 - taken / LETTERS)
    of_all = sum(letters for words, letters in columns if words)
    return "l" + "".join(
        rf">{{\raggedright\arraybackslash}}p{{{room * letters / of_all:.3f}\linewidth}}" if words else "r"
        for words, letters in columns
    )


def _name(row: linked.Row, content: Content) -> str:
    text = escape(f"{row.name.text} {row.name.signs}".rstrip())
    return rf"\textbf{{{text}}}" if row.name.text in content.highlight else text


def _lines(cell: linked.Cell) -> list[str]:
    """The number, its interval and notes, of those that there are."""
    lines = [f"{cell.text}{' ' if cell.signs else ''}{cell.signs}", cell.interval, cell.aside, cell.note]
    return [line for line in lines if line]


def _cell(cell: linked.Cell, in_words: bool) -> str:
    """The number and, on lines below it, its interval and notes."""
    first, *others = [escape(line) for line in _lines(cell)] or [""]  # a place that nobody asked for is empty
    first = rf"\textbf{{{first}}}" if cell.best else first
    texts = [first, *(rf"{{\scriptsize {text}}}" for text in others)]
    if in_words or not others:
        return r" \newline ".join(texts)
    inner = r" \\ ".join(texts)
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{inner}\end{{tabular}}"


def _figure(drawing: Drawing, content: Content) -> str:
    caption = f"{drawing.printed_caption} {_n(drawing)} Records {content.digest}."
    width = content.study.paper.column_width
    wide = rf"width={width:g}mm" if width else r"width=\linewidth"
    return "\n".join(
        [
            r"\begin{figure}[htbp]",
            r"\centering",
            rf"\includegraphics[{wide}]{{{drawing.name}.pdf}}",
            rf"\caption{{{escape(' '.join(caption.split()))}}}",
            rf"\label{{fig:{drawing.name}}}",
            r"\end{figure}",
            "",
        ]
    )


def _n(drawing: Drawing) -> str:
    """'n = 3', 'n = 2 to 3': units of the intervals, where the table behind a figure counts them."""
    if "n" not in drawing.data:
        return ""
    seen = sorted({int(n) for n in drawing.data["n"] if n > 0})
    return f"n = {wording.number(seen[0])}{f' to {seen[-1]}' if len(seen) > 1 else ''}." if seen else ""
