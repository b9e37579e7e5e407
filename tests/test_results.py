"""Published results: every page under docs/results against the pack that it was made of."""

from pathlib import Path

import pytest

from analysis.verify import verify
from benchmarks.records.roots import opened

RESULTS = Path(__file__).parent.parent / "docs" / "results"
PAGES = sorted(RESULTS.glob("*/index.html"))


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
