"""[paper] look = true: a page shows one run of each model from inside, or says why not."""

from dataclasses import replace
from pathlib import Path

from markupsafe import escape

from analysis.inside.attention.view import panels
from analysis.inside.on_page import IMAGES
from analysis.inside.panel import Choices
from analysis.inside.subject import opened
from analysis.report import write_report
from benchmarks.plan.paper import Paper
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study, single

DATA = Path("data")


def looked_into(run: Run) -> Study:
    return replace(single(run), paper=Paper(look=True))


def test_a_page_has_the_figures_of_a_look(finished: tuple[Run, Path], tmp_path: Path) -> None:
    """Reference: the words of the views' own panels. Twice the same bytes; without the key nothing of it is there."""
    run, root = finished
    pages = [
        write_report(study, root, tmp_path / name, ("html", "csv"), data=DATA).page.read_text(encoding="utf-8")
        for name, study in (("one", looked_into(run)), ("two", looked_into(run)), ("without", single(run)))
    ]
    assert pages[0] == pages[1]
    assert 'id="inside"' not in pages[2]
    shown = {panel.name: panel for panel in panels([opened(run.id, "validation", IMAGES, root, DATA)], Choices())}
    for name in ("mean-token", "distance"):
        words = str(escape(shown[name].shows))
        assert words in pages[0]
        assert words not in pages[2]
        assert f'id="inside-1-{name}-' in pages[0]
    assert not list((tmp_path / "one" / "figures").glob("inside-*.csv"))


def test_what_cannot_be_shown_is_said(finished: tuple[Run, Path], tmp_path: Path) -> None:
    """A record whose weights were not kept: the report comes about."""
    run, root = finished
    folder = tmp_path / "runs" / run.id
    folder.mkdir(parents=True)
    for path in (root / run.id).rglob("*"):
        place = folder / path.relative_to(root / run.id)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif path.name != "weights.safetensors":
            place.write_bytes(path.read_bytes())
    report = write_report(looked_into(run), tmp_path / "runs", tmp_path / "out", ("markdown",), data=DATA)
    assert "Nothing is shown: " in report.page.read_text(encoding="utf-8")
