"""The report's tables and figures for a paper: booktabs by pandas' Styler, captions with n, interval and digest.

Each table and figure is a file to \\input; `report.tex` is a document of all of them that compiles as it stands, by
any LaTeX with the packages booktabs and graphicx.
"""

import pandas as pd

from analysis import page, wording
from analysis.content import Content
from analysis.latex_text import escape
from analysis.sections import Drawing, Section

DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[margin=25mm]{geometry}
\graphicspath{{../figures/}{figures/}}
\begin{document}
%s
\end{document}
"""


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
    body = [escape(content.study.name) + r"\section*{Answers}", escape(content.answers.common), r"\begin{itemize}"]
    body += [rf"\item {escape(answer.text)}" for answer, _ in content.answers]
    body += [r"\end{itemize}", *(rf"\paragraph{{Mind:}} {escape(warning)}" for warning in content.warnings)]
    body += [rf"\input{{{name}}}\clearpage" for name in made]
    return made | {"report.tex": DOCUMENT % "\n".join(body)}


def _tables(section: Section) -> list[tuple[str, page.Table]]:
    return [*(("", table) for table in section.tables), *section.folded]


def _caption(title: str, table: page.Table, section: Section, content: Content) -> str:
    """What the numbers are, of which arm, over what n, by which interval, from which records."""
    parts = [
        table.about,
        f"{title}." if title else "",
        f"{_sentence(section.title)}.",
        table.basis,
        *_signs(table, content),
    ]
    return " ".join([*(part for part in parts if part), f"Records {content.digest}."])


def _signs(table: page.Table, content: Content) -> list[str]:
    used = "".join(cell.signs for row in table.rows for cell in (row.name, *row.cells))
    return [f"{sign}: {meaning}." for sign, meaning in content.signs.items() if sign in used]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(table: page.Table, name: str, caption: str, content: Content) -> str:
    """A table environment, shrunk to the width of the line where it is wider."""
    if not table.rows:
        return f"% {name}: no run\n"
    frame = pd.DataFrame(
        [[_cell(cell) for cell in row.cells] for row in table.rows],
        index=[_name(row, content) for row in table.rows],
        columns=list(map(escape, table.head)),
        dtype=object,
    )
    styler = frame.style
    styler.index.name = None
    tabular = styler.to_latex(hrules=True, column_format="l" + "r" * len(table.head))
    shrunk = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{tab:{name.removeprefix('table-')}}}",
            shrunk,
            tabular.rstrip("\n") + "}",
            r"\end{table}",
            "",
        ]
    )


def _name(row: page.Row, content: Content) -> str:
    text = escape(f"{row.name.text} {row.name.signs}".rstrip())
    return rf"\textbf{{{text}}}" if row.name.text in content.highlight else text


def _cell(cell: page.Cell) -> str:
    """The number and, on lines below it, its interval and notes."""
    lines = [f"{cell.text}{' ' if cell.signs else ''}{cell.signs}", cell.interval, cell.aside, cell.note]
    texts = [escape(line) for line in lines if line]
    if len(texts) <= 1:
        return "".join(texts)  # a place that nobody asked for is empty
    inner = r" \\ ".join([texts[0], *(rf"{{\scriptsize {text}}}" for text in texts[1:])])
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{inner}\end{{tabular}}"


def _figure(drawing: Drawing, content: Content) -> str:
    caption = f"{drawing.caption} {_n(drawing)} Records {content.digest}."
    width = content.study.paper.column_width
    wide = rf"width={width:g}mm" if width else r"width=\linewidth"
    return "\n".join(
        [
            r"\begin{figure}[t]",
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
