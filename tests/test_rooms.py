"""What keeps the house in order: the arrows between the rooms, the links of the documents, the size of the files."""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "models": {"models"},
    "benchmarks": {"benchmarks", "models"},
    "slurm": {"slurm", "benchmarks", "models"},  # plugins and hints are the models'
    "analysis": {"analysis", "benchmarks", "models"},
}
# The rooms of each package from the ground up: a room imports those before it and itself. A file at a package's door
# that is named here stands in that place; all others at the door are one room, in the place of DOOR (slurm's verbs, on
# top of what they share).
ROOMS = {
    "models": "grids hints options resizing initial linear network | positions | DOOR | libraries | trained | "
    "catalogue | checks",
    "benchmarks": "cores errors files collector console randomness redaction same_bits slices | data | plan | "
    "records | forecast | training | running | DOOR | speed | fairness | peers | doctor | cli",
    "slurm": "commands cluster packing freeze ledger | site queue | status worker | executor | DOOR",
    "analysis": "statistics | wording | frame | provenance | elements | questions | page | formats | inside | DOOR",
}
SHARED = ("analysis.questions.accuracy.ranking", "analysis.questions.comparisons.verdicts")  # for every question
DOORS = 16  # files that a newcomer sees on opening a folder; the architectures are as many as they are
LISTS = {"benchmarks/speed": 22, "benchmarks/cli": 20}  # a table a file, a verb a file


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def imports_of(module: str) -> Iterator[tuple[str, bool]]:
    """Each of our modules that a module imports, and whether the import stands at the top level."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in inner]
        yield from ((name, id(node) in top) for name in names if name in FILES and name != module)


def room_of(module: str, rooms: list[str]) -> int:
    """The number of a module's room, from the ground up."""
    _, *inner = module.split(".")
    if not inner:
        return -1  # the package itself, which only gathers names
    name = inner[0]
    found = [number for number, room in enumerate(rooms) if name in room.split()]
    return found[0] if found else rooms.index("DOOR")


def test_arrows_between_packages_run_one_way() -> None:
    """models <- benchmarks <- slurm, analysis; the command alone may import all, inside verbs."""
    for module in FILES:
        for name, top in imports_of(module):
            package, other = module.split(".")[0], name.split(".")[0]
            if other not in PACKAGES[package]:
                assert module.startswith("benchmarks.cli.") and not top, f"{module} imports {name}"


def test_nobody_imports_a_verb() -> None:
    """What several commands need is below them all: neither slurm nor analysis nor a room of ours imports the cli."""
    wrong = [
        f"{module} imports {name}"
        for module in FILES
        if not module.startswith("benchmarks.cli")
        for name, _ in imports_of(module)
        if name.startswith("benchmarks.cli")
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ROOMS)
def test_arrows_between_rooms_run_one_way(package: str) -> None:
    rooms = [room.strip() for room in ROOMS[package].split("|")]
    wrong = [
        f"{module} imports {name}"
        for module in FILES
        if module.startswith(f"{package}.")
        for name, _ in imports_of(module)
        if name.startswith(f"{package}.") and room_of(name, rooms) > room_of(module, rooms)
    ]
    assert wrong == []


def test_no_question_imports_another() -> None:
    """But for the ranking and the verdicts of declared families, which are for all."""
    for module in FILES:
        for name, _ in imports_of(module):
            if module.startswith("analysis.questions.") and name.startswith("analysis.questions."):
                same = module.split(".")[2] == name.split(".")[2]
                assert same or name in SHARED, f"{module} imports {name}"


def test_every_question_is_a_line_of_the_page() -> None:
    """Each room of questions gives its `question`, which the list of the page takes; nothing else knows them all."""
    rooms = {path.name for path in (ROOT / "analysis" / "questions").iterdir() if (path / "__init__.py").exists()}
    listed = {name for name, _ in imports_of("analysis.page.questions") if name.startswith("analysis.questions.")}
    assert listed == {f"analysis.questions.{room}.question" for room in rooms}


def test_no_circle_of_modules() -> None:
    """Reference: the topological sort of the standard library."""
    graph = {m: {name for name, _ in imports_of(m) if name.count(".")} for m in FILES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_no_door_is_crowded() -> None:
    """The architectures, each a file, stand at the door of models."""
    for folder in {path.parent for path in FILES.values()} - {ROOT / "models"}:
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        limit = LISTS.get(folder.relative_to(ROOT).as_posix(), DOORS)
        assert len(files) <= limit, f"{folder.relative_to(ROOT)} shows {len(files)} files"


def test_every_room_says_what_it_holds() -> None:
    for path in FILES.values():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), (
                f"{path.relative_to(ROOT)} says nothing"
            )


def test_submitit_is_imported_in_slurm_alone() -> None:
    """The cluster's engine stays in its room."""
    for module, path in FILES.items():
        if not module.startswith("slurm"):
            assert not re.search(r"^\s*(import|from) submitit", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_tests_have_no_packages() -> None:
    """pytest's importlib mode: an __init__.py would shadow the rooms."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Reference: the files of the checkout."""
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_the_architecture_shows_every_room() -> None:
    """Its tree is of use only while it is whole."""
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in FILES.values():
        if path.name == "__init__.py":
            assert f"{path.parent.name}/" in tree, (
                f"the tree of docs/architecture.md lacks {path.parent.relative_to(ROOT)}"
            )


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
