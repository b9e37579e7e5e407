"""Declared families from records to the page: by hand, with runs missing, and where none is declared."""

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import power, wording
from analysis.frame.arms import split
from analysis.frame.frame import load
from analysis.questions.accuracy import sentences as accuracy_sentences
from analysis.questions.comparisons import families as declared_families
from analysis.questions.positions import sentences as ablation_sentences
from analysis.report import write_report
from analysis.statistics.intervals import Estimate
from benchmarks.plan.run import default_evaluation
from benchmarks.plan.study import Study

FAMILIES = [
    {"name": "everything"},
    {"name": "encodings", "models": ["vit"], "against": "vit learned_1d", "spread": 0.03},
]


@pytest.fixture
def declared(made_up: Any, tmp_path: Path) -> tuple[Study, Path]:
    study = made_up.study_of(made_up.SMALL, comparisons=FAMILIES)
    made_up.write_study(tmp_path / "runs", study)
    return study, tmp_path / "runs"


def text_of(page: Path) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8"))).split())


def test_a_family_is_tukeys_intervals_of_its_block_model(declared: tuple[Study, Path]) -> None:
    """Reference: the two-way analysis of variance by hand on the pivoted accuracies, with Tukey's quantile."""
    study, root = declared
    [arm] = split(load(root, study))
    table = declared_families.differences(arm, study)
    home = arm.rows[(arm.rows["part"] == "test") & (arm.rows["test_resolution"] == 8)]
    for size in (100, 300):
        y = home[home["train_size"] == size].pivot(index="seed", columns="label", values="accuracy")
        residual = y.sub(y.mean(axis=0), axis=1).sub(y.mean(axis=1), axis=0) + y.to_numpy().mean()
        s = np.sqrt((residual.to_numpy() ** 2).sum() / 4)
        half = stats.studentized_range.ppf(0.95, 3, 4) * s / np.sqrt(3)
        mine = table[(table["family"] == "everything") & (table["train_size"] == size)]
        assert len(mine) == 3
        for row in mine.itertuples():
            assert row.mean == pytest.approx(y[row.label].mean() - y[row.reference].mean())
            assert row.high - row.mean == pytest.approx(half, rel=3e-4)
            assert (row.n, row.done, row.planned, row.df) == (3, 3, 3, 4)
            assert row.line == f"{row.label} − {row.reference}"
    encodings = table[table["family"] == "encodings"]
    assert encodings["label"].tolist() == ["vit none"] * 2
    assert set(encodings["reference"]) == {"vit learned_1d"}


def test_no_pair_of_a_family_has_another_verdict_elsewhere(made_up: Any, tmp_path: Path) -> None:
    """Reference: the family's own table. The leader is beside vit learned_1d in it and beside vit none in none; of two
    encodings it has one. Sentences name what they took, and the table of encodings says that its own are separate."""
    families = [
        {"name": "architectures", "models": ["resnet", "vit learned_1d"]},
        {"name": "encoding", "models": ["vit none"], "against": "vit learned_1d"},
    ]
    models = [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d", "sincos_2d"]}]
    study = made_up.study_of(made_up.SMALL, comparisons=families, models=models)
    made_up.write_study(tmp_path / "runs", study)
    [arm] = split(load(tmp_path / "runs", study))
    table = declared_families.differences(arm, study).set_index(["family", "train_size"])
    for size, answer in zip((100, 300), accuracy_sentences.answers(arm, table.reset_index()), strict=True):
        assert answer.body.startswith("resnet has the highest")
        row = table.loc[("architectures", size)]
        ends = wording.interval(Estimate(row["mean"], row["low"], row["high"], 3))
        away = wording.interval(Estimate(-row["mean"], -row["high"], -row["low"], 3))
        assert (ends if row["low"] > 0 else away) in answer.body
        assert "By the simultaneous intervals of “architectures” for vit learned_1d; separate ones" in answer.body
    for size, answer in zip((100, 300), ablation_sentences.answers(arm, table.reset_index()), strict=True):
        row = table.loc[("encoding", size)]
        assert f"vit none ({wording.points(Estimate(row['mean'], row['low'], row['high'], 3))})" in answer.body
        assert answer.body.endswith(
            "; by the simultaneous intervals of “encoding” for vit none; separate ones for the others."
        )
    text = text_of(write_report(study, tmp_path / "runs", tmp_path / "out").page)
    assert "Brackets: separate 95 % t-intervals, pair by pair (those of a declared family" in text


def test_missing_runs_are_counted_and_solved_by_least_squares(declared: tuple[Study, Path]) -> None:
    """Reference: the difference of two models in the two blocks they share is no more the whole of what is known."""
    study, root = declared
    frame = load(root, study)
    [arm] = split(frame)
    absent = next(run.id for run in study.runs if run.model == "resnet" and run.train_size == 100)
    rows = arm.rows[arm.rows["run"] != absent]
    table = declared_families.differences(type(arm)(arm.arm, arm.dataset, arm.runs, rows), study)
    mine = table[(table["family"] == "everything") & (table["train_size"] == 100)].set_index(["label", "reference"])
    assert mine.loc[("resnet", "vit none"), ["n", "done", "planned"]].tolist() == [2, 2, 3]
    assert mine.loc[("vit none", "vit learned_1d"), ["n", "done", "planned"]].tolist() == [3, 3, 3]
    assert set(mine["df"]) == {3}
    assert absent not in " ".join(mine["runs"])


def test_the_page_says_what_holds_together(declared: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = declared
    report = write_report(study, root, tmp_path / "out")
    text = text_of(report.page)
    assert "Those of a declared family (“Comparing …”) hold all at once, also where" in text
    assert "No family of comparisons is declared" not in text
    said = [answer for answer in report.answers if answer.startswith("Comparing")]
    assert [answer.split(" (")[0] for answer in said] == [
        "Comparing everything, with 100 images",
        "Comparing everything, with 300 images",
        "Comparing encodings, with 100 images",
        "Comparing encodings, with 300 images",
    ]
    assert "of 3 simultaneous comparisons" in said[0]
    assert not any(answer.startswith("Positions") for answer in report.answers)  # the family is the answer
    table = pd.read_csv(tmp_path / "out" / "tables" / "comparisons.csv")
    links = set(re.findall(r'href="#([^"]+)"', report.page.read_text()))
    assert links <= set(re.findall(r'id="([^"]+)"', report.page.read_text()))
    for row in table.itertuples():
        assert row.high >= row.low
        assert len(row.runs.split()) == len(row.reference_runs.split()) == row.done


def test_without_a_family_the_page_says_so(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    report = write_report(study, root, tmp_path / "out")
    text = text_of(report.page)
    assert "No family of comparisons is declared: each stands on its own, uncorrected" in text
    assert "declares no family of comparisons ([[comparisons]])" in text
    assert any(answer.startswith("Positions") for answer in report.answers)
    assert not (tmp_path / "out" / "tables" / "comparisons.csv").exists()


def test_nothing_and_one_seed_have_no_interval(made_up: Any, tmp_path: Path) -> None:
    for seeds, skip in (([0, 1, 2], True), ([0], False)):
        study = made_up.study_of(made_up.SMALL, comparisons=FAMILIES, seed=seeds)
        root = tmp_path / str(len(seeds))
        made_up.write_study(root, study, skip=[run.id for run in study.runs] if skip else [])
        report = write_report(study, root, tmp_path / "out")
        said = " ".join(answer for answer in report.answers if answer.startswith("Comparing"))
        assert "[" not in said
        assert skip == (not said)
        table = pd.read_csv(tmp_path / "out" / "tables" / "comparisons.csv")
        assert table["low"].isna().all()
        assert table["n"].max() == (0 if skip else 1)


def test_a_plan_says_what_can_be_detected(made_up: Any, tmp_path: Path) -> None:
    """The spread is measured where runs are finished, else the study's, else assumed; each is said."""
    study = made_up.study_of(made_up.SMALL, comparisons=FAMILIES)
    before = power.detectable(study, tmp_path)
    assert [(one.family, one.train_size, one.models, one.known) for one in before] == [
        ("everything", 100, 3, "assumed"),
        ("everything", 300, 3, "assumed"),
        ("encodings", 100, 2, "stated by the study"),
        ("encodings", 300, 2, "stated by the study"),
    ]
    expected = power.smallest_difference(2, 3, True, 0.03)
    assert before[2].differences[3] == pytest.approx(expected)
    assert before[2].differences[10] < before[2].differences[5] < before[2].differences[3]
    made_up.write_study(tmp_path, study)
    [first, *_] = power.detectable(study, tmp_path)
    [arm] = split(load(tmp_path, study))
    assert first.known == "of 9 finished runs"
    assert first.spread == declared_families.differences(arm, study)["residual"].iloc[0]
    heads, rows, meaning = power.plan_table(made_up.study_of(made_up.SMALL, seed=0), tmp_path)
    assert heads[-4:] == ["1 seed", "3 seeds", "5 seeds", "10 seeds"]
    assert rows[0][0] == "all pairs" and rows[0][-4] == "[none]"
    assert "declares no [[comparisons]]" in meaning
    assert power.plan_values(study, tmp_path)[0]["seeds"] == 3


def test_the_test_set_is_resampled_when_asked(declared: tuple[Study, Path], tmp_path: Path) -> None:
    """Pairs whose predictions were kept are resampled, the others said; the same bytes twice."""
    study, root = declared
    labels = np.arange(50, dtype=np.int16) % 10
    from benchmarks.records.record import write_evaluations

    for number, run in enumerate(study.runs):
        if run.position == "none" and run.seed == 0:
            continue
        one = default_evaluation(run, "test", 8)
        wrong = np.random.default_rng(number).random(50) < 0.3
        logits = np.eye(10, dtype=np.float16)[np.where(wrong, (labels + 1) % 10, labels)]
        entry = {"id": one.id, "evaluation": one.model_dump(), "count": 50, "accuracy": float(1 - wrong.mean())}
        entry |= {"nll": 0.4, "calibration": 0.1, "predictions": "logits", "code": "0" * 8}
        write_evaluations(root / run.id, 2, [entry], {"labels.test": labels, f"{one.id}.logits": logits})
    pages = []
    for name in ("first", "second"):
        report = write_report(study, root, tmp_path / name, resamples=200)
        pages.append(report.page.read_bytes())
    assert pages[0] == pages[1]
    table = pd.read_csv(tmp_path / "first" / "tables" / "test-set-bootstrap.csv")
    assert set(table["train_size"]) == {300}
    assert table.set_index("line").loc["resnet − vit none", ["n", "planned"]].tolist() == [2, 3]
    assert (table["se_both"] > 0).all()
    text = text_of(report.page)
    assert "With another test set" in text and "three seeds: 79" in text
    assert "predictions are kept of 8 of 9 runs" in text
    assert "reference: the same model with another seed" in text and "ceiling" not in text
    assert "percentile 95 % intervals of a bootstrap over seeds and test images, n = 2 to 3 pairs" in text
