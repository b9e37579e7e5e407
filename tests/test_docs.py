"""The documents say what the code does: keys are all there, and the example of a study is a study."""

import re
import tomllib
from pathlib import Path

from benchmarks.recipes import Recipe
from benchmarks.run import Run
from benchmarks.study import OTHER, TEXTS, expand

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_key_of_a_study_is_documented() -> None:
    """Reference: the fields of Run and Recipe, and the study's own keys."""
    text = (DOCS / "studies.md").read_text(encoding="utf-8")
    keys = {*Run.model_fields, *Recipe.model_fields, *OTHER, *TEXTS} - {"model", "options", "protocol"}
    assert {key for key in keys if not re.search(rf"\b{key}\b", text)} == set()


def test_the_example_is_a_study_of_the_size_it_says() -> None:
    """The example's own words: 24 runs."""
    example = (DOCS / "studies.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    study = expand(tomllib.loads(example), "example")
    assert study.cost.startswith(f"{len(study.runs)} runs")
