"""What a report is made of: chapters, each with a section for an arm (or for arms side by side).

A section knows no format: page, LaTeX and Markdown are made of the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis import wording
from analysis.elements import linked
from analysis.elements.drawings import Drawing
from analysis.elements.palette import Look
from analysis.elements.reported import ReportedArm

Styles = Mapping[str, Look]  # by label


@dataclass(frozen=True)
class Section:
    """One arm's share of a chapter: its name, a remark, figures, tables, and tables that start folded, each under a
    name."""

    title: str
    figures: tuple[Drawing, ...]
    tables: tuple[linked.Table, ...]
    folded: tuple[tuple[str, linked.Table], ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Chapter:
    """Sections of one kind. `anchor` is what claims and the contents lead to, `short` its name there. A chapter without
    a section is left out of a report, unless it is there `always`. One that goes `further` than what a study asks first
    comes behind the others, folded."""

    anchor: str
    short: str
    title: str
    sections: tuple[Section, ...]
    intro: str = ""
    always: bool = False
    further: bool = False

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """The figures of all sections, in order."""
        return tuple(drawing for section in self.sections for drawing in section.figures)

    @property
    def signs(self) -> frozenset[str]:
        """Those that its tables have, folded ones too."""
        folded = (table for section in self.sections for _, table in section.folded)
        tables = (*(table for section in self.sections for table in section.tables), *folded)
        return frozenset().union(*(table.signs for table in tables))


def n_images(size: int) -> str:
    """The head of a column or the name of a table: 'n = 1,000'."""
    return f"n = {wording.number(size)}"


def pixels(arm: ReportedArm) -> linked.ColumnHead:
    """The heads of columns of resolutions: '16 px', '8 px (trained)'."""
    return lambda resolution: f"{resolution} px" + (" (trained)" if resolution == arm.arm.resolution else "")
