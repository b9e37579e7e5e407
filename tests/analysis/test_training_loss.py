"""Loss while training: what is read of metrics.jsonl, and what the page shows of it.

Reference: numpy on metrics made up here, and scipy's t-interval.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.elements.palette import Look, looks
from analysis.elements.reported import ReportedArm, reported_arms
from analysis.frame.frame import load
from analysis.questions.training_loss import numbers as module
from analysis.questions.training_loss.figures import loss_curves
from analysis.questions.training_loss.numbers import numbers, read_losses
from analysis.questions.training_loss.sections import chapters
from analysis.report import write_report
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study

STEPS = [1, 2, 10, 300, 600]


def loss_of(run: Run, step: int, validation: bool = False) -> float:
    """A fall that differs by model, train size and seed; validation ends above."""
    start = {"none": 2.4, "learned_1d": 2.3}.get(run.position, 2.2)
    return float(start * (1 + 0.1 * run.seed) * (100 / run.train_size) / step**0.5 + 0.3 * validation)


def write_metrics(root: Path, study: Study, validated: Callable[[int], bool] = lambda step: False) -> None:
    for run in study.runs:
        rows = []
        for step in STEPS:
            row = {"step": step, "loss": loss_of(run, step), "learning_rate": 1e-3, "accuracy": 0.5}
            if validated(step):
                row |= {"validation_loss": loss_of(run, step, True), "validation_accuracy": 0.4}
            rows.append(json.dumps(row) + "\n")
        (root / run.id / "metrics.jsonl").write_text("".join(rows) + '{"step": 6')  # a torn last line


def arm_of(study: Study, root: Path) -> ReportedArm:
    [arm] = reported_arms(study, load(root, study), root)
    return arm


def test_final_losses_are_the_last_logged_with_t_intervals(small: tuple[Study, Path]) -> None:
    study, root = small
    write_metrics(root, study, lambda step: step in (300, 600))
    table = arm_of(study, root).once(numbers).final.set_index(["measure", "label", "train_size"])
    for label, position in (("resnet", "-"), ("vit none", "none"), ("vit learned_1d", "learned_1d")):
        for size in (100, 300):
            runs = [run for run in study.runs if (run.position, run.train_size) == (position, size)]
            for measure, validation in (("batch", False), ("validation", True)):
                losses = np.array([loss_of(run, 600, validation) for run in runs])
                row = table.loc[(measure, label, size)]
                assert row["mean"] == pytest.approx(losses.mean())
                low, high = stats.t.interval(0.95, 2, losses.mean(), stats.sem(losses))
                assert [row["low"], row["high"]] == pytest.approx([max(0.0, low), high])
                assert (row["n"], row["done"], row["planned"]) == (3, 3, 3)
                assert set(row["runs"].split()) == {run.id for run in runs}
            assert table.loc[("train", label, size), "mean"] == pytest.approx(0.01)  # as result.json has it


def test_curves_are_means_with_the_lowest_and_the_highest_run(small: tuple[Study, Path]) -> None:
    study, root = small
    write_metrics(root, study, lambda step: step in (300, 600))
    curves = arm_of(study, root).once(numbers).curves.set_index(["measure", "label", "train_size", "step"]).sort_index()
    runs = [run for run in study.runs if run.position == "none" and run.train_size == 300]
    for step in STEPS:
        losses = np.array([loss_of(run, step) for run in runs])
        row = curves.loc[("batch", "vit none", 300, step)]
        assert row[["mean", "low", "high"]].tolist() == pytest.approx([losses.mean(), losses.min(), losses.max()])
        assert row["n"] == 3
        images = step * runs[0].recipe.batch_size
        assert row["epoch"] == pytest.approx(images / runs[0].part_sizes[0])
    assert curves.loc[("validation", "vit none", 300)].index.tolist() == [300, 600]


def test_a_loss_that_is_not_finite_is_no_point_and_only_steps_of_all_runs_are(small: tuple[Study, Path]) -> None:
    study, root = small
    write_metrics(root, study)
    first = next(run for run in study.runs if run.position == "none")
    rows = [
        '{"step": 1, "loss": 2.0}\n',
        '{"step": 2, "loss": NaN}\n',
        '{"step": 10, "loss": null}\n',
        '{"step": 600, "loss": 1.0}\n',
    ]
    (root / first.id / "metrics.jsonl").write_text("".join(rows))
    assert read_losses(root / first.id / "metrics.jsonl") == {"batch": [(1, 2.0), (600, 1.0)], "validation": []}
    curves = arm_of(study, root).once(numbers).curves
    cell = curves[(curves["label"] == "vit none") & (curves["train_size"] == first.train_size)]
    assert cell["step"].tolist() == [1, 600]


def test_without_logs_there_is_no_chapter_and_damage_is_named(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    assert arm_of(study, root).once(numbers).curves.empty
    html = write_report(study, root, tmp_path / "none", ("html", "csv")).page.read_text(encoding="utf-8")
    assert "Loss while training" not in html
    assert not (tmp_path / "none" / "tables" / "final-training-loss.csv").exists()
    write_metrics(root, study)
    (root / study.runs[0].id / "metrics.jsonl").write_text('{"step": 1, "loss"\n{"step": 2, "loss": 1.0}\n')
    arm = arm_of(study, root)
    assert arm.once(numbers).damaged == (study.runs[0].id,)
    [chapter] = chapters([arm], looks(arm.runs))
    assert study.runs[0].id in chapter.sections[0].remark
    notes = [cell.note for row in chapter.sections[0].folded[0][1].rows for cell in row.cells]
    assert notes.count("2/3 seeds") == 1


def test_the_report_has_figure_tables_and_csv_late_on_the_page(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    write_metrics(root, study)
    report = write_report(study, root, tmp_path / "out", ("html", "latex", "markdown", "csv"))
    html = report.page.read_text(encoding="utf-8")
    places = [html.index(f'<section id="{name}">') for name in ("training-loss", "ledger", "likelihood")]
    assert places == sorted(places)
    section = html[places[0] : places[1]]
    assert "Validation loss was not logged" in section
    assert "bands: from the lowest to the highest run" in section
    assert not any("training loss" in answer for answer in report.answers)
    table = pd.read_csv(tmp_path / "out" / "tables" / "final-training-loss.csv")
    assert set(table["measure"]) == {"batch", "train"}
    for name in ("figures/training-loss-1.csv", "figures/training-loss-1.png", "figures/training-loss-1.pdf"):
        assert (tmp_path / "out" / name).is_file()
    assert not (tmp_path / "out" / "figures" / "validation-loss-1.csv").exists()


def test_each_metrics_file_is_read_once(small: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    study, root = small
    write_metrics(root, study)
    seen: list[Path] = []
    real = module.read_metrics
    monkeypatch.setattr(module, "read_metrics", lambda path: seen.append(path) or real(path))
    arm = arm_of(study, root)
    for _ in range(2):
        chapters([arm], looks(arm.runs))
    assert sorted(seen) == sorted(root / run.id / "metrics.jsonl" for run in study.runs)


def test_with_a_budget_of_epochs_the_axis_is_passes(made_up: Any, tmp_path: Path) -> None:
    """Steps of unlike train sizes are unlike passes; the label of the axis says which it is."""
    table = {key: value for key, value in made_up.SMALL.items() if key != "budget"}
    study = made_up.study_of(table, budget={"epochs": 20})
    made_up.write_study(tmp_path, study)
    write_metrics(tmp_path, study, lambda step: True)
    arm = arm_of(study, tmp_path)
    [chapter] = chapters([arm], looks(arm.runs))
    assert [drawing.name for drawing in chapter.drawings] == ["training-loss-1", "validation-loss-1"]
    assert all(drawing.figure.get_supxlabel() == "passes over the training images" for drawing in chapter.drawings)
    curves = arm.once(numbers).curves
    figure = loss_curves(curves[curves["measure"] == "batch"], x="epoch")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["n = 100", "n = 300"]
    assert all(len(axes.collections) == 3 for axes in figure.axes)  # a band a model


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(2.4, 1.25, ["1.4", "1.6", "1.8", "2"]), (8.0, 1.5, ["2", "5"]), (20.0, 0.5, ["1", "10"])],
)
def test_an_axis_of_less_than_a_decade_has_numbers_too(first: float, last: float, expected: list[str]) -> None:
    """Reference: counted by hand: from 1.25 to 2.4 there is no power of ten, and of 1, 2 and 5 only the 2."""
    line = {"measure": "batch", "train_size": 100, "label": "vit", "step": [1, 2], "mean": [first, last]}
    curves = pd.DataFrame({**line, "low": [first, last], "high": [first, last]})
    axis = loss_curves(curves, {"vit": Look("#000000", "o", "-")}).axes[0].yaxis
    assert [axis.get_major_formatter()(tick) for tick in axis.get_majorticklocs()][: len(expected)] == expected
