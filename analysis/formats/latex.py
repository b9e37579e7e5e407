"""The report's tables and figures for a paper: booktabs by pandas' Styler, captions with n, interval and digest.

Each table and figure is a file to \\input; `report.tex` is a document of all of them that compiles as it stands, by
any LaTeX with the packages array, booktabs and graphicx.
"""

import pandas as pd

from analysis import wording
from analysis.elements import linked
from analysis.elements.drawings import Drawing
from analysis.elements.sections import Section
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
    """The .tex files by their names."""
    made: dict[str, str] = {}
    for chapter in content.chapters:
        for number, section in enumerate(chapter.sections, start=1):
            for drawing in section.figures:
                made[f"figure-{drawing.name}.tex"] = _figure(drawing, content)
            for place, (title, table) in enumerate(_tables(section), start=1):
                name = f"table-{chapter.anchor}-{number}-{place}"
                made[f"{name}.tex"] = _table(table, name, _caption(title, table, section, content), content)
    body = [*_head(content), r"\clearpage"]
    for number, name in enumerate(made, start=1):
        body += [rf"\input{{{name}}}", *([r"\clearpage"] if number % FLOATS == 0 else [])]
    return made | {"report.tex": DOCUMENT % "\n".join(body)}


def _head(content: Content) -> list[str]:
    """Title, what each study asks and expects, what must be known before comparing, and the answers."""
    lines = [rf"\title{{{escape(content.study.name)}}}", r"\author{}", r"\date{}", r"\maketitle"]
    for study in content.studies:
        lines += [rf"\section*{{{escape(study.question or study.name)}}}"]
        lines += [rf"\textbf{{Expected beforehand:}} {escape(study.expect)}"] if study.expect else []
    lines += [rf"\paragraph{{Warning:}} {escape(warning)}" for warning in content.warnings]
    lines += [r"\section*{Answers}", escape(content.answers.common), "", escape(wording.BRACKETS)]
    return [*lines, r"\begin{itemize}", *(rf"\item {escape(answer.text)}" for answer, _ in content.answers),
            r"\end{itemize}"]  # fmt: skip


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
    texts = [first, *(rf"{{\scriptsize {text}}}" for text in others)]
    if in_words or not others:
        return r" \newline ".join(texts)
    inner = r" \\ ".join(texts)
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{inner}\end{{tabular}}"


def _figure(drawing: Drawing, content: Content) -> str:
    caption = f"{drawing.caption} {_n(drawing)} Records {content.digest}."
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
