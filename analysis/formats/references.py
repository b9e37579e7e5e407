"""What a report built on these models, positions, data sets and recipes should cite.

`templates/references.bib` has all entries; the field `keywords` of each says what it belongs to, as `model:resnet`.
"""

import re
from pathlib import Path

from analysis.frame.frame import Frame
from analysis.frame.naming import TUNED

ENTRIES = Path(__file__).parent / "templates" / "references.bib"
KEYWORDS = re.compile(r",\n  keywords = \{(.*?)\}")


def bibliography(frame: Frame) -> str:
    """BibTeX of what the runs of a frame use, in the order of the file, without the keywords."""
    used = {"suite"}
    for kind in ("model", "position", "dataset", "images"):
        table = frame.rows if kind == "images" else frame.runs
        used |= {f"{kind}:{value}" for value in table[kind]}
    used |= {f"recipe:{values['name']}" for values in frame.recipes.values()}
    used |= {"search"} if frame.runs["recipe"].str.endswith(f", {TUNED}").any() else set()
    used |= {f"library:{model.partition(':')[0]}" for model in frame.runs["model"] if ":" in model}
    entries = ENTRIES.read_text(encoding="utf-8").strip().split("\n\n")
    return "\n\n".join(KEYWORDS.sub("", entry) for entry in entries if used & keywords(entry)) + "\n"


def keywords(entry: str) -> set[str]:
    """What an entry belongs to."""
    found = KEYWORDS.search(entry)
    return set(found[1].split(", ")) if found else set()
