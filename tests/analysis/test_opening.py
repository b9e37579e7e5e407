"""The first screen where little can be shown: which figures, and what stands in the place of an empty one."""

import math
from pathlib import Path
from typing import Any

import pytest

from analysis.report import write_report
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study

CIFAR = {"dataset": "cifar10", "size": "nano", "resolution": 32, "test_resolutions": [16, 32, 48]}


def page_of(study: Study, root: Path) -> str:
    return write_report(study, root, root.parent / "out", ("html", "markdown", "csv")).page.read_text(encoding="utf-8")


def opened(page: str) -> str:
    """What stands on the first screen, before the answers in words."""
    return page[page.index('class="facts-line"') : page.index("<section")]


@pytest.mark.parametrize("sizes", [[500], [500, 1000]])
def test_where_all_is_at_chance_no_figure_is_empty(sizes: list[int], made_up: Any, tmp_path: Path) -> None:
    """Retention is a quotient of two noises there: a sentence stands in its place. Reference: accuracies by hand."""
    study = made_up.study_of(made_up.SMALL, **CIFAR, train_size=sizes)
    for run in study.runs:
        made_up.write_record(tmp_path / "runs", run, study.evaluations[run.id], accuracy=lambda *_: 0.1)
    page = page_of(study, tmp_path / "runs")
    assert not (tmp_path / "out" / "figures" / "retention-by-test-resolution-1.csv").exists()
    reason = "no run is two standard errors above chance at 32 px"
    assert f"No retention is shown: with n = {max(sizes):,}, {reason}" in page
    assert "no retention: no model is above chance at 32 px" in opened(page)


def test_several_train_sizes_open_with_accuracy_over_them(made_up: Any, tmp_path: Path) -> None:
    """As docs/report.md has it, also where no images needed can be named, as of one model: those of resolutions follow.
    Reference: the order of the page."""
    study = made_up.study_of(made_up.SMALL, **CIFAR, train_size=[500, 1000], models=[{"name": "resnet"}])
    made_up.write_study(tmp_path / "runs", study)
    screen = opened(page_of(study, tmp_path / "runs"))
    assert "Figures and numbers of" not in screen  # there is one condition
    assert (
        0 < screen.find("Test accuracy against training images") < screen.find("Test accuracy against test resolution")
    )
    assert "Retention of accuracy" not in screen


def test_figures_and_numbers_are_of_the_headlines_condition(made_up: Any, tmp_path: Path) -> None:
    """Of two recipes the first has not begun. Reference: the number of the arm in the names of its figures."""
    study = made_up.study_of(made_up.SMALL, recipe=["none", "digits"])
    made_up.write_study(tmp_path / "runs", study, skip={run.id for run in study.runs if run.recipe.name == "none"})
    screen = opened(page_of(study, tmp_path / "runs"))
    assert "(recipe digits" in screen and ">Figures and numbers of recipe digits" in screen
    assert "\nFigures and numbers of recipe digits" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Test accuracy against training images" in screen and 'href="#data-needed' in screen
    assert {"accuracy-by-train-size-2.csv"} <= {path.name for path in (tmp_path / "out" / "figures").iterdir()}


def test_what_was_tested_elsewhere_alone_is_shown(made_up: Any, tmp_path: Path) -> None:
    """As of `inductive evaluate` without the networks' own resolution: the main table has the others, and explains no
    sign that it has not. Reference: the accuracies written here."""
    given: dict[str, Any] = {**CIFAR, "train_size": [500], "test_resolutions": [16, 48]}
    study = made_up.study_of(made_up.SMALL, **given)

    def accuracy(run: Run, one: Evaluation) -> float:
        return 0.5 if one.resolution == 16 else 0.75

    for run in study.runs:
        elsewhere = [one for one in study.evaluations[run.id] if one.resolution != run.resolution]
        made_up.write_record(tmp_path / "runs", run, elsewhere, accuracy=accuracy)
    report = write_report(study, tmp_path / "runs", tmp_path / "out", ("markdown", "csv"))
    [(_, main)] = report.main
    assert main.head == ("16 px", "48 px") and not main.empty
    assert [cell.text for cell in main.rows[0].cells] == ["50.0", "75.0"]
    assert "none was tested at its own, 32 px" in main.about
    assert not any("units" in sign for sign in report.signs), report.signs


def test_many_expectations_are_counted_and_folded(made_up: Any, tmp_path: Path) -> None:
    """Two are shown; of four recipes they are eight, which would push the figures off the screen. By hand: by the
    accuracies that are made up the ResNet is above and the other pair never as expected."""
    expects = [
        {"higher": "resnet", "lower": "vit none", "train_size": 300},
        {"higher": "vit none", "lower": "vit learned_1d", "train_size": 300},
    ]

    def accuracy(run: Run, _: Evaluation) -> float:
        jitter = 0.002 * math.sin(37 * run.seed + 5 * len(run.position) + len(run.model))
        return (0.9 if run.model == "resnet" else 0.8 - 0.2 * (run.position == "none")) + jitter

    for recipes, folded in (["none"], False), (["none", "digits", "plain", "strong"], True):
        root = tmp_path / str(len(recipes)) / "runs"
        study = made_up.study_of(made_up.SMALL, expects=expects, recipe=recipes)
        for run in study.runs:
            made_up.write_record(root, run, study.evaluations[run.id], accuracy=accuracy)
        screen = opened(page_of(study, root))
        assert screen.count("Expected: ") == 2 * len(recipes)
        assert ('<details class="expected"><summary>8 expectations: 4 held, 4 not held</summary>' in screen) == folded
