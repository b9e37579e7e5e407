"""Published results: every page under docs/results against the pack that it was made of."""

import tomllib
from pathlib import Path

import pytest

from analysis.verify import verify
from benchmarks.plan.study import FOLDER, TEXTS
from benchmarks.records.roots import opened

RESULTS = Path(__file__).parent.parent / "docs" / "results"
PAGES = sorted(RESULTS.glob("*/index.html"))

STUDIES = sorted((RESULTS / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_on_other_images_is_the_shipped_one(path: Path) -> None:
    """Reference: the shipped file, from which it differs in `dataset` and in what it says, and says so."""
    here = tomllib.loads(path.read_text(encoding="utf-8"))
    shipped = tomllib.loads((FOLDER / f"{path.stem.rpartition('-')[0]}.toml").read_text(encoding="utf-8"))
    assert {key for key in here | shipped if here.get(key) != shipped.get(key)} <= {"dataset", *TEXTS}
    assert here["dataset"] != shipped["dataset"] and here["question"] != shipped["question"]


def test_every_page_has_a_pack_and_every_pack_a_page() -> None:
    packs = [path.stem for path in sorted((RESULTS / "records").glob("*.zip"))]
    assert packs
    assert packs == [path.parent.name for path in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_page_verifies_against_its_pack(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reference: the records themselves, and the page's own seal."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = verify(page, opened(RESULTS / "records" / f"{page.parent.name}.zip"))
    assert found.runs > 0 and found.differences == ()
