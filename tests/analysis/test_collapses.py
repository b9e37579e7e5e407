"""Seeds far below their cell: found by a robust rule, marked beside every interval, said in the answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import wording
from analysis.elements import linked
from analysis.frame.arms import split
from analysis.frame.cells import at_home, summarise
from analysis.frame.frame import load
from analysis.questions.comparisons.families import differences
from analysis.report import write_report
from analysis.statistics.collapses import collapsed


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.90, 0.91, 0.40], [False, False, True]),
        ([0.90, 0.91, 0.70], [False, False, False]),  # 0.2 below the median, not more
        ([0.90, 0.91, 0.69], [False, False, True]),
        ([0.519, 0.514, 0.407], [False, False, False]),  # two of three that lie close are no measure of a spread
        ([0.90, 0.80, 0.70, 0.60, 0.35], [False] * 5),  # they vary: six median absolute deviations are 0.6
        ([0.90, 0.40], [False, False]),  # which of two is the odd one?
        ([0.18, 0.17, 0.10], [False, False, True]),  # at chance, and less than twenty points below
        ([0.12, 0.13, 0.10], [False, False, False]),  # all near chance
        ([0.90, 0.10, 0.11], [False, True, True]),  # the median is at chance, one run is far above it
        ([0.29, 0.10, 0.11], [False, False, False]),  # not that far
        ([0.90, 0.30, 0.31], [False, False, False]),  # two above chance: which are the odd ones?
        ([0.90, 0.91, 0.99], [False, False, False]),  # above is no collapse
        ([], []),
    ],
)
def test_the_rule(accuracies: list[float], expected: list[bool]) -> None:
    """Reference: the rule as docs/statistics.md has it, worked out by hand for ten classes and 597 images."""
    assert collapsed(np.array(accuracies), 0.1, 597).tolist() == expected


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.57, 0.56, 0.58], [False] * 3),  # all within two standard errors of a half: none stands out
        ([0.66, 0.65, 0.57], [False, False, True]),
    ],
)
def test_few_test_images_of_two_classes(accuracies: list[float], expected: list[bool]) -> None:
    """Reference: two binomial standard errors of 200 images are 7.1 points, more than the 5 of the rule."""
    assert collapsed(np.array(accuracies), 0.5, 200).tolist() == expected


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_ordinary_cells_are_seldom_marked(runs: int) -> None:
    """As docs/statistics.md says: normal errors with a spread of five points, a thousand cells."""
    cells = np.random.default_rng(0).normal(0.6, 0.05, (1000, runs))
    assert np.mean([collapsed(cell, 0.1, 2000).any() for cell in cells]) <= 0.01


def test_a_collapsed_seed_is_marked_and_said(made_up: Any, tmp_path: Path) -> None:
    """In the row of its cell and no other; the page, the answers and the terminal say so, with the numbers."""
    study = made_up.study_of(made_up.SMALL)
    broken = next(run for run in study.runs if (run.model, run.train_size, run.seed) == ("resnet", 300, 1))
    for run in study.runs:
        low = (lambda *_: 60 / 597) if run is broken else made_up.accuracy_of
        made_up.write_record(tmp_path / "runs", run, study.evaluations[run.id], accuracy=low)
    frame = load(tmp_path / "runs", study)
    assert frame.runs.loc[frame.runs["collapsed"], "run"].tolist() == [broken.id]
    table = summarise(at_home(frame.rows), frame.runs, "accuracy")
    assert table.loc[table["collapsed"], ["label", "train_size"]].to_numpy().tolist() == [["resnet", 300]]
    signs = {(row.label, row.train_size): linked.signs_of(row) for row in table.itertuples()}
    assert [key for key, sign in signs.items() if wording.COLLAPSED in sign] == [("resnet", 300)]
    report = write_report(study, tmp_path / "runs", tmp_path / "out", ("html", "latex"))
    (said,) = [line for line in report.answers if line.startswith("Collapsed")]
    assert "resnet with 300 images (10.1 %; median " in said
    assert "‡" in report.page.read_text() and "collapsed, far below" in report.page.read_text()


def test_in_a_family_it_widens_all_intervals_and_is_named(made_up: Any, tmp_path: Path) -> None:
    """Reference: by hand. All pairs carry the sign at that size, and at no other; the sentence names the model."""
    study = made_up.study_of({**made_up.SMALL, "comparisons": [{"name": "all"}]})
    broken = next(run for run in study.runs if (run.model, run.train_size, run.seed) == ("resnet", 300, 1))
    for run in study.runs:
        low = (lambda *_: 60 / 597) if run is broken else made_up.accuracy_of
        made_up.write_record(tmp_path / "runs", run, study.evaluations[run.id], accuracy=low)
    [arm] = split(load(tmp_path / "runs", study))
    table = differences(arm, study)
    assert (table["collapsed"] == (table["train_size"] == 300)).all()
    assert set(table["collapsed_models"]) == {"", "resnet"}
    report = write_report(study, tmp_path / "runs", tmp_path / "out", ("html",))
    (said,) = [line for line in report.answers if line.startswith("Comparing all")]
    assert said.count("At 300 images a collapsed seed of resnet widens all intervals.") == 1
    page = report.page.read_text()
    assert "collapsed: resnet" in page and "A collapsed seed widens all intervals of its family at that size" in page


def test_cells_whose_seeds_are_all_equal_are_said(made_up: Any, tmp_path: Path) -> None:
    """No interval is given then; the answers say how many cells and why."""
    study = made_up.study_of(made_up.SMALL)
    for run in study.runs:
        level = (lambda *_: 1.0) if run.model == "resnet" else made_up.accuracy_of
        made_up.write_record(tmp_path / "runs", run, study.evaluations[run.id], accuracy=level)
    report = write_report(study, tmp_path / "runs", tmp_path / "out", ("html",))
    (said,) = [line for line in report.answers if line.startswith("Without interval")]
    level = at_home(load(tmp_path / "runs", study).rows).groupby(["label", "train_size"])["accuracy"].nunique() == 1
    assert level["resnet"].all()
    assert f"in {level.sum()} of 6 cells all seeds are equal" in said
    assert not any(line.startswith("Collapsed") for line in report.answers)
