"""Evaluations of other kinds: out of every default table and figure, in a table of their own, none of them lost."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.elements.reported import reported_arms
from analysis.frame.arms import ArmData, split
from analysis.frame.cells import at_home, by_carry
from analysis.frame.frame import load
from analysis.page.tables import csv_tables
from analysis.questions.resolution.numbers import numbers as resolution_numbers
from analysis.questions.resolution.sections import filled_maps, summaries
from analysis.questions.resolution.ways_of_testing import by_evaluation
from analysis.report import write_report
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study

OTHERS = [
    {"resolution": [8, 16], "images": ["canvas", "patch"]},
    {"resolution": [8, 16], "batchnorm": "reestimated"},
    {"resolution": 16, "carry": "all"},
    {"crop": 0.75},
]


def accuracy(run: Run, one: Evaluation) -> float:
    """Set by hand: a number for each kind, 0.01 apart between seeds."""
    kinds = {"resize": 0.6, "canvas": 0.7, "patch": 0.8}
    value = kinds[one.images] if one.resolution != run.resolution else 0.9
    value += 0.05 * (one.batchnorm == "reestimated") - 0.2 * (one.crop != 1)
    value -= 0.1 * (one.carry.endswith("bilinear"))
    return value + 0.01 * (run.seed - 1)


@pytest.fixture
def both(made_up: Any, tmp_path: Path) -> tuple[Study, Study, Path]:
    """A study with default evaluations, the same with others too, and the records of the second."""
    models = [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d"]}]
    plain = made_up.study_of(made_up.SMALL, models=models)
    full = made_up.study_of(made_up.SMALL, models=models, evaluations=OTHERS)
    for run in full.runs:
        made_up.write_record(tmp_path / "runs", run, full.evaluations[run.id], accuracy=accuracy)
    return plain, full, tmp_path / "runs"


def arm_of(study: Study, root: Path) -> ArmData:
    [only] = split(load(root, study))
    return only


def test_default_tables_and_figures_do_not_change(both: tuple[Study, Study, Path], tmp_path: Path) -> None:
    """Reference: the same page of a study that asks for the default evaluations alone, byte for byte but for the new
    section, and for the data and the seal that the page holds."""
    plain, full, root = both
    before, after = (write_report(study, root, tmp_path / name) for name, study in (("plain", plain), ("full", full)))
    text, other = (report.page.read_text() for report in (before, after))
    start = other.index('<section id="ways-of-testing">')
    end = other.index("<section", start + 1)
    link = '<li><a href="#ways-of-testing">ways of testing</a></li>\n'
    held = re.compile(r'(?<=seal" content=")\w+|(?<=base64,)[\w+/=]+')
    assert held.sub("", (other[:start] + other[end:]).replace(link, "")) == held.sub("", text)
    assert before.answers == after.answers
    tables = {path.name: path.read_bytes() for path in before.tables}
    also = {path.name: path.read_bytes() for path in after.tables}
    assert set(also) - set(tables) == {"accuracy-by-evaluation.csv"}
    assert all(also[name] == tables[name] for name in tables if name != "evaluations.csv")


def test_the_frame_has_every_evaluation(both: tuple[Study, Study, Path]) -> None:
    """Reference: the evaluations of the study."""
    _, full, root = both
    rows = load(root, full).rows
    asked = {(run.id, one.id): one for run in full.runs for one in full.evaluations[run.id]}
    assert len(rows) == len(asked)
    for row in rows.itertuples():
        one = asked[row.run, row.evaluation]
        assert (row.images, row.carry, row.crop, row.batchnorm) == (one.images, one.carry, one.crop, one.batchnorm)
        assert row.carry_default == (not one.carry.endswith(("=bilinear", "=bicubic")))
    assert at_home(rows)["run"].is_unique
    assert not by_carry(rows).duplicated(["run", "test_resolution"]).any()


def test_records_of_before(made_up: Any, tmp_path: Path) -> None:
    """An evaluation written before there were crops and BatchNorm was of whole images, its statistics kept."""
    study = made_up.study_of(made_up.SMALL, train_size=100)
    made_up.write_study(tmp_path, study)
    now = load(tmp_path, study).rows
    for path in tmp_path.glob("*/evaluations/0001.npz"):
        with np.load(path) as arrays:
            entries = json.loads(arrays["index"].tobytes())
        for entry in entries:
            del entry["evaluation"]["crop"], entry["evaluation"]["batchnorm"]
        np.savez(path, index=np.frombuffer(json.dumps(entries).encode(), dtype=np.uint8))
    pd.testing.assert_frame_equal(load(tmp_path, study).rows, now)


def test_the_table_of_ways(both: tuple[Study, Study, Path]) -> None:
    """Reference: `accuracy` at the middle seed; one at home belongs to every way of its crop and BatchNorm."""
    _, full, root = both
    table = by_evaluation(arm_of(full, root), full)
    assert set(table["train_size"]) == {300}
    assert (table["done"] == 3).all()
    found = {(row.line, row.test_resolution): round(row.mean, 6) for row in table.itertuples()}
    bilinear, bicubic = (f"resize, carry interpolate:interpolation={name}" for name in ("bilinear", "bicubic"))
    expected: dict[tuple[str, int], float] = {}
    for label in ("resnet", "vit none", "vit learned_1d"):
        away = {"resize": 0.6, "canvas": 0.7}
        away |= {"resize, BatchNorm re-estimated": 0.65} if label == "resnet" else {"patch": 0.8}
        away |= {bilinear: 0.5, bicubic: 0.6} if label == "vit learned_1d" else {}
        for way, value in away.items():
            expected[f"{label}, {way}", 8] = 0.95 if "BatchNorm" in way else 0.9
            expected[f"{label}, {way}", 16] = value
        expected |= {(f"{label}, resize, crop 0.75", 8): 0.7, (f"{label}, resize, crop 0.75", 16): 0.4}
    assert found == pytest.approx(expected)


def test_a_resized_side_is_a_way_of_its_own(made_up: Any, tmp_path: Path) -> None:
    """At home, too: whole images there belong to the whole images elsewhere alone."""
    models, others = [{"name": "resnet"}], [{"resize_side": 16, "resolution": [8, 12]}]
    study = made_up.study_of(made_up.SMALL, models=models, evaluations=others)
    for run in study.runs:
        made_up.write_record(tmp_path, run, study.evaluations[run.id], accuracy=accuracy)
    table = by_evaluation(arm_of(study, tmp_path), study)
    assert (table["done"] == 3).all()
    sides = {line: set(rows["test_resolution"]) for line, rows in table.groupby("line")}
    assert sides == {"resnet, resize": {8, 16}, "resnet, resize, crop from 16 px": {8, 12}}


def test_what_is_missing_is_said_and_what_is_not_asked_for_is_empty(
    both: tuple[Study, Study, Path], made_up: Any, tmp_path: Path
) -> None:
    """An evaluation that waits is 0/3; a place that nobody asked for has no number to wait for."""
    plain, _, root = both
    more = made_up.study_of(
        made_up.SMALL, models=[{"name": "resnet"}], evaluations=[{"resolution": 12, "images": "canvas"}]
    )
    frame = load(root, more)
    [found] = reported_arms(more, frame, root)
    assert {
        (row.line, row.test_resolution): row.done for row in found.once(resolution_numbers).by_way.itertuples()
    } == {
        ("resnet, resize", 8): 3,
        ("resnet, resize", 16): 3,
        ("resnet, canvas", 8): 3,
        ("resnet, canvas", 12): 0,
    }
    assert set(found.once(resolution_numbers).accuracy["test_resolution"]) == {8, 16}
    html = write_report(more, root, tmp_path / "out", ("html", "latex")).page.read_text()
    section = html[html.index('<section id="ways-of-testing">') : html.index('<section id="ledger">')]
    assert section.count("0/3 seeds") == 1
    assert "Canvas: the image as in training" in section
    assert "Patch:" not in section
    [nothing] = reported_arms(plain, load(root, plain), root)
    assert nothing.once(resolution_numbers).by_way.empty
    assert "accuracy-by-evaluation" not in csv_tables(frame, [nothing])


def test_an_area_is_over_what_the_study_asks_of_its_way(made_up: Any, tmp_path: Path) -> None:
    """Reference: the trapezoid by hand. Tests on a canvas of 64 px have not run in any run: there is no area over
    16 to 32 px in their place. Patches are asked for up to 32 px, so their area names that span."""
    more = [{"resolution": [16, 64], "images": "canvas"}, {"resolution": [16], "images": "patch"}]
    table = {**made_up.SMALL, "dataset": "cifar10", "size": "nano", "train_size": [500], "models": [{"name": "vit"}]}
    study = made_up.study_of(table, test_resolutions=[16, 32, 64], evaluations=more)
    for run in study.runs:
        asked = [one for one in study.evaluations[run.id] if (one.images, one.resolution) != ("canvas", 64)]
        made_up.write_record(tmp_path / "runs", run, asked, accuracy=accuracy)
    frame = load(tmp_path / "runs", study)
    [found] = reported_arms(study, frame, tmp_path / "runs")
    by_way = found.once(resolution_numbers).summary_by_way
    summary = by_way.set_index(by_way["line"].str.split(", ").str[1])
    assert summary[["from", "to"]].T.to_dict("list") == {"resize": [16, 64], "canvas": [16, 64], "patch": [16, 32]}
    assert summary.loc[["resize", "patch"], "area"].tolist() == pytest.approx([(0.6 / 2 + 0.9 + 0.6 / 2) / 2, 0.85])
    assert np.isnan(summary.loc["canvas", "area"])
    assert summary["done"].to_dict() == {"resize": 3, "canvas": 0, "patch": 3}
    shown = summaries(by_way, found)
    cells = {row.name.text.split(", ")[1]: row.cells[0] for row in shown.rows}
    assert {way: cell.aside for way, cell in cells.items()} == {"resize": "", "canvas": "", "patch": "16 to 32 px"}
    assert (cells["canvas"].text, cells["canvas"].note) == ("–", "0/3 seeds")
    assert "16 to 64 px or the span below it." in shown.about
    other = by_way.assign(train_size=100, n=2)
    assert summaries(pd.concat([other, by_way]), found).n == "n = 3 seeds"


def test_upsampling_is_said(made_up: Any, tmp_path: Path) -> None:
    """CIFAR-10 has 32 px: 48 and 64 hold no more detail, 16 and 32 are not upsampled; without them nothing is said."""
    table = {**made_up.SMALL, "dataset": "cifar10", "size": "nano", "resolution": 32, "train_size": [500]}
    for sizes, said in (
        ([16, 32, 48, 64], "cifar10 has 32 px, and those of 48 and 64 px are upsampled"),
        ([16, 32], ""),
    ):
        study = made_up.study_of(table, test_resolutions=sizes)
        root = tmp_path / f"{len(sizes)}"
        made_up.write_study(root, study)
        html = write_report(study, root, root / "out").page.read_text()
        assert (said in html) if said else ("are upsampled" not in html)


def test_maps_that_are_filled_are_said(made_up: Any, tmp_path: Path) -> None:
    """By hand: patches of 2 and two halvings: maps of 32 and 40 px have sides of 16, 8 and 20, 10; of 36 px 18, 9."""
    table = {**made_up.SMALL, "dataset": "cifar10", "size": "pico", "resolution": 32, "train_size": [500]}
    table["models"] = [{"name": "convnext", "patch_size": 2, "stages": "1-1-1"}, {"name": "resnet"}]
    for sides, said in (([32, 36, 40], "(convnext: at 36 px): there, filling and resolution change"), ([32, 40], "")):
        study = made_up.study_of(table, test_resolutions=sides)
        root = tmp_path / f"{len(sides)}"
        made_up.write_study(root, study)
        [arm] = reported_arms(study, load(root, study), root)
        assert filled_maps(arm).endswith(f"{said} together." if said else "")
        assert bool(filled_maps(arm)) == bool(said)
