"""The notebook of the class: its cells, on the pack that it ships with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).parent.parent / "docs"


def test_the_notebook_of_the_class_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, with a short training. Reference: the records' accuracy, and that a network without positions
    takes the mean over its tokens, whose order it cannot know."""
    book = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(cell.get("outputs", []) == [] for cell in book["cells"])
    (tmp_path / "docs").symlink_to(DOCS)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    for cell in cells:
        exec(cell.replace('"--steps", "500"', '"--steps", "3"'), names)  # noqa: S102
    recorded = names["network_of"]("none").record.main["accuracy"]
    whole, shuffled = names["shuffled"]["none"]
    assert whole == pytest.approx(recorded)
    assert shuffled == pytest.approx(whole)
    for position in ("learned_1d", "rope_axial"):
        before, after = names["shuffled"][position]
        assert after < before - 0.2
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(names["from_patches"](names["in_patches"](images)), images)
    assert names["layer"].grid == (8, 8)
    assert names["mine"].record.result["state"] == "finished"
