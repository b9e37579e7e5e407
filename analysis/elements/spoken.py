"""What the models of an arm are called in a plain sentence: 'the ResNet', 'a ViT without positions'.

A label that the study's [paper] gives, or that says more than family and encoding (an option, say), is used as it is.
"""

from dataclasses import dataclass

from analysis.elements.reported import ReportedArm
from analysis.frame.naming import NONE
from analysis.frame.rows import each_row
from models.catalogue.titles import article, position_words, title


@dataclass(frozen=True)
class Name:
    """A model's name: what it is, and the words on its positions; '' where these go without saying."""

    what: str
    positions: str = ""
    own: bool = False  # a label as the tables have it: no article goes before it

    @property
    def indefinite(self) -> str:
        """'a ViT with learned positions'."""
        whole = f"{self.what} {self.positions}".rstrip()
        return whole if self.own else f"{article(whole)} {whole}"

    @property
    def definite(self) -> str:
        """'the ViT with learned positions'."""
        return f"{'' if self.own else 'the '}{self.what} {self.positions}".strip()

    def with_its(self, what: str) -> str:
        """'the ResNet's 86 %', 'the 61 % of the ViT with learned positions' (or of what has several words)."""
        long = self.positions or " with " in self.definite
        return f"the {what} of {self.definite}" if long else f"{self.definite}'s {what}"


def spoken(arm: ReportedArm) -> dict[str, Name]:
    """The names of an arm's models by their labels. The encoding is named where the arm has several of a family."""
    kinds = list(each_row(arm.runs, ["label", "model", "position"]))
    given = set(arm.study.paper.labels.values())
    encodings: dict[str, set[str]] = {}
    for _, model, position in kinds:
        encodings.setdefault(model, set()).add(position)
    names = {
        label: Name(title(model), position_words(position) if len(encodings[model]) > 1 and position != NONE else "")
        for label, model, position in kinds
    }
    alike = list(names.values())
    return {
        label: Name(label, own=True) if label in given or alike.count(name) > 1 else name
        for label, name in names.items()
    }
