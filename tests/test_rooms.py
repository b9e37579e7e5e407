"""What keeps the house in order: the arrows between the rooms, the links of the documents, the size of the files."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "models": {"models"},
    "benchmarks": {"benchmarks", "models"},
    "slurm": {"slurm", "benchmarks", "models"},  # plugins and hints are the models'
    "analysis": {"analysis", "benchmarks", "models"},
}


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module's first name, and whether the import stands at the top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from ((name.split(".")[0], id(node) in top) for name in names)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_run_one_way(room: str) -> None:
    """models <- benchmarks <- slurm, analysis; cli.py alone may import all, inside verbs."""
    for path in (ROOT / room).rglob("*.py"):
        for name, top in _imports(path):
            if name in MAY_IMPORT and name not in MAY_IMPORT[room]:
                assert (path.name, top) == ("cli.py", False), f"{path.relative_to(ROOT)} imports {name}"


def test_submitit_is_imported_in_slurm_alone() -> None:
    """The cluster's engine stays in its room."""
    for room in ("models", "benchmarks", "analysis"):
        for path in (ROOT / room).rglob("*.py"):
            assert "submitit" not in {name for name, _ in _imports(path)}, path


def test_tests_have_no_packages() -> None:
    """pytest's importlib mode: an __init__.py would shadow the rooms."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Reference: the files of the checkout."""
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_the_readme_names_every_file_of_the_rooms() -> None:
    """The file tree is only useful while it is whole."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for room in MAY_IMPORT:
        for path in (ROOT / room).rglob("*.py"):
            if path.name != "__init__.py":
                assert path.name in readme, f"README.md's file tree lacks {path.relative_to(ROOT)}"


def test_the_checkout_is_an_application() -> None:
    """Not for an index; four rooms are the packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "Private :: Do Not Upload" in project["project"]["classifiers"]
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        "benchmarks",
        "models",
        "analysis",
        "slurm",
    ]
