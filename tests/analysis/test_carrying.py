"""Ways of carrying chosen on validation; best test resolution, area, and training against test resolution."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from analysis.elements.reported import Anchors, ReportedArm
from analysis.frame import carrying
from analysis.frame.arms import ArmData, alike_but_for, split
from analysis.frame.cells import by_carry
from analysis.frame.frame import load
from analysis.questions.data_needed.budgets import budget_groups
from analysis.questions.positions import numbers as ablation
from analysis.questions.resolution import figures, matrix
from analysis.questions.resolution import numbers as resolution_numbers
from analysis.questions.resolution import summary as resolution_summary
from analysis.questions.resolution.sections import summaries
from analysis.questions.resolution.sentences import CHOSEN, DEFAULT, answers
from analysis.report import write_report
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study

ACCURACY = {16: 0.5, 32: 0.8, 64: 0.6}


def accuracy(run: Run, one: Evaluation) -> float:
    """Set by hand, 0.01 apart between seeds and 0.001 between sizes; bilinear is worse on validation and better on test
    at 16 px, and the other way round at 64 px."""
    value = ACCURACY[one.resolution] + 0.01 * (run.seed - 1) * (1 + run.draw % 2) - 0.1 * (run.position == "none")
    if one.carry.endswith("bilinear"):
        sign = (1 if one.part == "test" else -1) * (1 if one.resolution == 16 else -1)
        value += 0.1 * sign
    return value


@pytest.fixture(scope="module")
def imagined(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    root = tmp_path_factory.mktemp("runs")
    study = made_up.study_of(
        made_up.SMALL,
        dataset="cifar10",
        size="nano",
        train_size=[500],
        resolution=32,
        test_resolutions=[16, 32, 64],
        evaluations=[{"carry": "all"}],
    )
    for run in study.runs:
        made_up.write_record(root, run, study.evaluations[run.id], accuracy=accuracy)
    return study, root


@pytest.fixture(scope="module")
def arm(imagined: tuple[Study, Path]) -> ArmData:
    study, root = imagined
    [only] = split(load(root, study))
    return only


def test_the_way_is_chosen_on_validation_alone(arm: ArmData) -> None:
    """Reference: `accuracy`. On test the other way would be better at both resolutions, which must not matter."""
    assert carrying.several_ways(arm.rows) == ["vit learned_1d"]
    chosen = carrying.choices(arm.rows).set_index("test_resolution")["carry"]
    assert not chosen[16].endswith("bilinear")
    assert chosen[64].endswith("=bilinear")
    rows = carrying.chosen(arm.rows)
    means = rows.groupby("test_resolution")["accuracy"].mean()
    assert means.to_dict() == pytest.approx({16: 0.5, 32: 0.8, 64: 0.5})
    both = carrying.default_and_chosen(arm.rows)
    assert both["line"].unique().tolist() == ["vit learned_1d", "vit learned_1d, carry chosen on validation"]
    assert not both.duplicated(["run", "line", "test_resolution"]).any()
    without = arm.rows[arm.rows["part"] == "test"]
    assert carrying.choices(without).empty
    assert carrying.chosen(without).empty


def test_what_is_kept_is_said_by_default_and_as_chosen(arm: ArmData) -> None:
    """By hand: at 64 px the ViT keeps (0.6 - 0.1) / (0.8 - 0.1) by default, and with the way that is better on
    validation (0.5 - 0.1) / 0.7; without a validation part there is nothing chosen."""
    said = {one.lead: one.body for one in answers(arm)}
    at = "Accuracy above chance kept at 64 px, positions carried "
    assert said[f"{at}by default"].endswith("no interval, so no verdict, for vit learned_1d.")  # level with resnet
    assert said[f"{at}as chosen on validation"].endswith("vit learned_1d by 4.8 to 14.3 points.")
    assert {lead.partition(" px")[2] for lead in said} == {DEFAULT, CHOSEN}
    test = ArmData(arm.arm, arm.dataset, arm.runs, arm.rows[arm.rows["part"] == "test"])
    assert {one.lead.partition(" px")[2] for one in answers(test)} == {DEFAULT}


def test_level_ways_are_the_default(arm: ArmData) -> None:
    rows = arm.rows.assign(accuracy=0.5)
    usual = by_carry(rows)
    default = usual[(usual["label"] == "vit learned_1d") & (usual["test_resolution"] == 64)]["carry"].unique()
    assert carrying.choices(rows)["carry"].unique().tolist() == default.tolist()


def test_area_and_best_resolution(arm: ArmData) -> None:
    """Reference: the trapezoids by hand, log2 16, 32, 64 being equally far; scipy's t-interval over seeds; and the best
    resolution by validation, where the curve was moved by hand."""
    runs = arm.runs
    table = resolution_summary.summary(by_carry(arm.rows), by_carry(arm.rows, "validation"), runs, [16, 32, 64])
    resnet = table[table["label"] == "resnet"].iloc[0]
    assert resnet["area"] == pytest.approx((0.5 / 2 + 0.8 + 0.6 / 2) / 2)
    seeds = [resnet["area"] + 0.01 * (seed - 1) * (1 + seed % 2) for seed in range(3)]
    low, high = stats.t.interval(0.95, 2, np.mean(seeds), stats.sem(seeds))
    assert (resnet["area_low"], resnet["area_high"]) == pytest.approx((low, high))
    assert (resnet["best"], resnet["from"], resnet["to"], resnet["done"]) == (32, 16, 64, 3)
    assert resnet["best_accuracy"] == pytest.approx(np.mean(seeds) - resnet["area"] + 0.8)
    validation = by_carry(arm.rows, "validation")
    moved = validation.assign(accuracy=validation["accuracy"].where(validation["test_resolution"] != 64, 0.95))
    table = resolution_summary.summary(by_carry(arm.rows), moved, runs, [16, 32, 64])
    assert set(table["best"]) == {64}
    assert table["best_gain"].tolist() == pytest.approx([-0.2] * 3)
    none = resolution_summary.summary(by_carry(arm.rows), validation.iloc[:0], runs, [16, 32, 64])
    assert none["best"].isna().all()


def test_a_run_that_lacks_a_resolution_has_no_area(arm: ArmData) -> None:
    rows = by_carry(arm.rows)
    lacking = rows[~((rows["test_resolution"] == 64) & (rows["seed"] == 2))]
    table = resolution_summary.summary(lacking, by_carry(arm.rows, "validation"), arm.runs, [16, 32, 64])
    assert table["done"].tolist() == table["n"].tolist() == [2, 2, 2]
    assert table["planned"].tolist() == [3, 3, 3]
    for name in ("best_accuracy", "best_gain"):  # at 32 px every run was measured
        assert table[f"{name}_n"].tolist() == table[f"{name}_done"].tolist() == [3, 3, 3]


def test_every_number_of_a_summary_has_its_own_n(arm: ArmData) -> None:
    """By hand: seed 2 lacks the best resolution (64 px by a moved validation), seed 1 of resnet the training one."""
    rows, validation = by_carry(arm.rows), by_carry(arm.rows, "validation")
    moved = validation.assign(accuracy=validation["accuracy"].where(validation["test_resolution"] != 64, 0.95))
    at_home = (rows["test_resolution"] == 32) & (rows["seed"] == 1) & (rows["label"] == "resnet")
    lacking = rows[~((rows["test_resolution"] == 64) & (rows["seed"] == 2)) & ~at_home]
    table = resolution_summary.summary(lacking, moved, arm.runs, [16, 32, 64]).set_index("label")
    assert table.loc["resnet", ["n", "best_accuracy_n", "best_gain_n"]].tolist() == [1, 2, 1]
    assert table.loc["vit none", ["n", "best_accuracy_n", "best_gain_n"]].tolist() == [2, 2, 2]
    found = SimpleNamespace(
        data=arm, arm=arm.arm, runs=arm.runs, links=Anchors(1, tuple(dict.fromkeys(arm.runs["label"])))
    )
    view = summaries(table.reset_index(), cast(ReportedArm, found))
    assert [[cell.note for cell in row.cells] for row in view.rows if row.name.text == "resnet"] == [
        ["1/3 seeds", "", "2/3 seeds", "1/3 seeds"]
    ]
    assert view.basis == "Brackets: 95 % t-intervals, n = 1 to 2 seeds of 3 planned."


def test_ablation_away_by_default_and_by_the_chosen_way(arm: ArmData) -> None:
    """Reference: `accuracy`: none is 0.1 below by default; against the chosen way 0 at 64 px, where that is worse."""
    for away, at_64 in ((ablation.differences_away, -0.1), (resolution_numbers.positions_by_chosen_way, 0.0)):
        table = away(arm, [16, 32, 64]).set_index("test_resolution")
        assert table["mean"].to_dict() == pytest.approx({16: -0.1, 32: -0.1, 64: at_64})
        assert (table["done"] == 3).all()
    one_way = ArmData(arm.arm, arm.dataset, arm.runs, arm.rows[arm.rows["carry_default"]])
    assert resolution_numbers.positions_by_chosen_way(one_way, [16, 32, 64]).empty


def test_the_page_shows_both_ways(imagined: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = imagined
    report = write_report(study, root, tmp_path / "out")
    html = report.page.read_text()
    assert "vit learned_1d, carry chosen on validation" in html
    assert "bilinear at 64 px" in html
    names = {path.stem for path in report.tables}
    assert {"resolution-summary", "carrying", "position-ablation-chosen-carry"} <= names


def test_matrix_of_resolutions_is_arm_by_arm(made_up: Any, tmp_path: Path) -> None:
    """Reference: each arm's own mean by pandas; arms that differ in more than resolution are refused."""
    base = {**made_up.SMALL, "dataset": "cifar10", "size": "nano", "train_size": [500]}
    study = made_up.study_of(base, resolution=[16, 32], test_resolutions=[16, 32, 64])
    made_up.write_study(tmp_path / "runs", study)
    frame = load(tmp_path / "runs", study)
    arms = split(frame)
    assert alike_but_for(arms, matrix.RESOLUTION) == [[0, 1]]
    assert budget_groups(arms) == []
    table = matrix.resolution_matrix(arms)
    assert len(table) == 3 * 2 * 3
    test = frame.rows[frame.rows["part"] == "test"]
    means = test.groupby(["label", "resolution", "test_resolution"])["accuracy"].mean()
    for row in table.itertuples():
        assert row.mean == pytest.approx(means[row.label, row.train_resolution, row.test_resolution])
    heat = figures.heat_map(table)
    assert sum(len(axes.texts) for axes in heat.axes) == 18
    curves = figures.matrix_curves(table)
    assert sum(line.get_marker() not in ("None", "") for axes in curves.axes for line in axes.lines) == 6
    with pytest.raises(ValueError, match="resolution alone"):
        matrix.resolution_matrix(arms[:1])
    html = write_report(study, tmp_path / "runs", tmp_path / "out").page.read_text()
    assert "trained at 16 px" in html
    assert "Training and test resolution" in html
