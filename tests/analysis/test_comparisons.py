"""Declared families from records to the page: by hand, with runs missing, and where none is declared."""

import html
import itertools
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import power
from analysis.elements.palette import looks
from analysis.elements.reported import ReportedArm, reported_arms
from analysis.frame.arms import split
from analysis.frame.cells import estimate_of
from analysis.frame.frame import load
from analysis.page.answers import answers as answers_of
from analysis.page.content import each_chapter
from analysis.questions.accuracy import sentences as accuracy_sentences
from analysis.questions.comparisons import families as declared_families
from analysis.questions.comparisons import verdicts
from analysis.questions.data_needed import numbers as data_needed
from analysis.questions.data_needed import sentences as data_needed_sentences
from analysis.questions.positions import numbers as ablation
from analysis.questions.positions import sentences as ablation_sentences
from analysis.report import write_report
from analysis.statistics import intervals
from benchmarks.plan.run import Evaluation, Run, default_evaluation
from benchmarks.plan.study import Study, expand, study_path
from benchmarks.records.sources import evaluation_code

FAMILIES = [
    {"name": "everything"},
    {"name": "encodings", "models": ["vit"], "against": "vit learned_1d", "spread": 0.03},
]


ENCODED = ("none", "learned_1d", "learned_2d", "relative_1d", "sincos_2d", "rope_axial")


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


def uneven(run: Run, evaluation: Evaluation) -> float:
    """Accuracies with noise of two points, by which intervals of one pair and of its family disagree for some pairs."""
    step = 0.03 * ENCODED.index(run.position) if run.position in ENCODED and run.model == "vit" else 0.0
    base = {"resnet": 0.80, "conv_stem_vit": 0.76, "swin": 0.74, "vit": 0.55}[run.model] + step
    position = run.position if run.model == "vit" else "-"
    noise = np.random.default_rng([4, run.seed, run.train_size, *map(ord, run.model + position)])
    return round(597 * (base + 0.05 * math.log(run.train_size / 100) + 0.02 * noise.standard_normal())) / 597


@pytest.fixture(scope="module")
def quickstart(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, ReportedArm]:
    """The runs of the shipped quickstart, evaluated at home, with accuracies made up; its families and a third one,
    which has pairs of both."""
    shipped = tomllib.loads(study_path("quickstart").read_text(encoding="utf-8"))
    third = {"name": "again", "models": ["resnet", "vit learned_1d", "vit none"]}
    study = expand({**shipped, "test_resolutions": [8], "comparisons": [*shipped["comparisons"], third]}, "quickstart")
    root = tmp_path_factory.mktemp("runs")
    for run in study.runs:
        made_up.write_record(root, run, study.evaluations[run.id], accuracy=uneven)
    [arm] = reported_arms(study, load(root, study), root)
    return study, arm


def expected_verdicts(study: Study, arm: ReportedArm) -> dict[tuple[str, str, int], str]:
    """The rule, by itself: the first family's simultaneous interval, else scipy's paired t-test."""
    table = declared_families.differences(arm.data, study)
    home = arm.rows[(arm.rows["part"] == "test") & (arm.rows["test_resolution"] == 8)]
    found = {}
    for size in (100, 300, 1000):
        y = home[home["train_size"] == size].pivot(index="seed", columns="label", values="accuracy")
        for a, b in itertools.permutations(y.columns, 2):
            of = table[table["train_size"] == size]
            here = of[((of["label"] == a) & (of["reference"] == b)) | ((of["label"] == b) & (of["reference"] == a))]
            if len(here):
                sign = 1 if here["label"].iloc[0] == a else -1
                low, high = sorted(sign * here[end].iloc[0] for end in ("low", "high"))
            else:
                low, high = stats.ttest_rel(y[a], y[b]).confidence_interval(0.95)
            found[a, b, size] = "above" if low > 0 else "below" if high < 0 else "unclear"
    return found


def test_no_pair_has_another_verdict_elsewhere(quickstart: tuple[Study, ReportedArm]) -> None:
    """Reference: `expected_verdicts`. Every difference in an unfolded table, every factor marked as not separable, and
    every name in a sentence says what it has; separate intervals, which say otherwise here, are folded."""
    study, arm = quickstart
    expected = expected_verdicts(study, arm)
    judged = arm.once(verdicts.all_verdicts)
    assert {key: judged.of(*key).verdict for key in expected} == expected

    shown = 0
    anchors = {arm.links.pair(a, b, size): (a, b, size) for a, b, size in expected}
    for chapter in each_chapter([arm], looks(arm.runs)):
        for section in chapter.sections:
            for table in section.tables:
                for row in table.rows:
                    for cell in row.cells:
                        if cell.href in anchors and "[" in cell.interval:
                            low, high = map(float, cell.interval.replace("−", "-").strip("[]").split(", "))
                            says = "above" if low > 0 else "below" if high < 0 else "unclear"
                            assert says == expected[anchors[cell.href]], (chapter.title, table.about, row.name.text)
                            shown += 1
    assert shown == 3 * (5 + 6 + 5 + 1)  # ablation, architectures, encodings, and resnet beside vit none

    separate = arm.once(ablation.numbers).separate
    apart = [intervals.verdict(estimate_of(row)) != expected[row.label, row.reference, row.train_size]
             for row in separate.itertuples()]  # fmt: skip
    assert any(apart)
    needed = arm.once(data_needed.numbers)
    for table in (needed.at_reference, needed.by_train_size):
        for row in table.itertuples():
            assert row.verdict == expected[row.label, row.reference, row.train_size]


def test_sentences_say_the_verdict_of_the_rule(quickstart: tuple[Study, ReportedArm]) -> None:
    """Reference: `expected_verdicts`, from which each sentence is read back."""
    study, arm = quickstart
    expected = expected_verdicts(study, arm)
    labels = sorted(set(arm.runs["label"]), key=len, reverse=True)
    for size, answer in zip(
        (100, 1000), accuracy_sentences.answers(arm.data, arm.once(verdicts.all_verdicts)), strict=True
    ):
        first, second = [*re.split(r"(?<=[a-z:%])\. ", answer.body), ""][:2]
        named = [label for label in labels if re.search(rf"(?<!\w){label}(?! models)(?!\w)", first)]
        leader = min(named, key=first.index)
        assert ("separable" in first) == any(
            expected[leader, other, size] == "unclear" for other in labels if other != leader
        )
        for other in set(named) - {leader}:
            assert expected[leader, other, size] == ("unclear" if "separable" in first else "above")
        assert ("below" in second) == (
            "separable" in first and any(expected[leader, one, size] == "above" for one in labels if one != leader)
        )
    told = [answer for answer, _ in data_needed_sentences.claims(arm) if answer.lead == "Data needed"]
    assert len(told) == 2
    for answer in told:
        reference = next(label for label in labels if f"{label}'s " in answer.body or answer.body.startswith(label))
        takes, _, level = answer.body.partition(" Not separable in accuracy: ")
        for label in set(labels) - {reference}:
            if f"{label} (" in level:
                assert expected[label, reference, 100] == "unclear"
            elif re.search(rf"{label} (over |under |)[\d.]+×", takes):
                assert expected[label, reference, 100] != "unclear"


def test_all_answers_are_read_in_a_minute(quickstart: tuple[Study, ReportedArm]) -> None:
    """Under 250 words, without the family that the shipped study does not have; that some pairs are in none is said
    once."""
    study, arm = quickstart
    answers = list(answers_of(load(arm.root, study), [arm]))
    assert sum(len(answer.text.split()) for answer, _ in answers if answer.lead != "Comparing again") < 250
    assert [answer.lead for answer, _ in answers].count("Exploratory") == 1


def test_a_pair_of_two_families_is_judged_by_the_first(declared: tuple[Study, Path], tmp_path: Path) -> None:
    """Reference: the table of “everything”, which is declared first; “encodings” has the pair folded."""
    study, root = declared
    [arm] = reported_arms(study, load(root, study), root)
    table = declared_families.differences(arm.data, study).set_index(["family", "label", "reference", "train_size"])
    for size in (100, 300):
        found = arm.once(verdicts.all_verdicts).of("vit learned_1d", "vit none", size)
        row = table.loc[("everything", "vit none", "vit learned_1d", size)]
        assert (found.difference.low, found.difference.high) == pytest.approx((-row["high"], -row["low"]))
        assert found.family == "everything"
    assert "Exploratory" not in [answer.lead for answer, _ in accuracy_sentences.limits(arm)]  # it has all pairs
    [chapter] = [one for one in each_chapter([arm], looks(arm.runs)) if one.anchor == "comparisons"]
    [section] = chapter.sections
    assert len(section.tables) == 1
    assert [title for title, _ in section.folded] == ["“encodings”: pairs that an earlier family judges"]


def test_the_ablation_takes_the_family_of_a_pair(made_up: Any, tmp_path: Path) -> None:
    """Reference: the family's own table. Of two encodings one has a family; the sentence and the table take its
    interval, the other's is a paired t-interval, and the separate one of the first is folded."""
    families = [{"name": "encoding", "models": ["vit none"], "against": "vit learned_1d"}]
    models = [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d", "sincos_2d"]}]
    study = made_up.study_of(made_up.SMALL, comparisons=families, models=models)
    made_up.write_study(tmp_path / "runs", study)
    [arm] = reported_arms(study, load(tmp_path / "runs", study), tmp_path / "runs")
    table = declared_families.differences(arm.data, study).set_index("train_size")
    of = arm.once(ablation.numbers)
    mine = of.by_train_size.set_index(["label", "train_size"])
    for size in (100, 300):
        assert mine.loc[("vit none", size), "low"] == table.loc[size, "low"]
    assert set(of.by_train_size["family"]) == {"encoding", ""}
    assert set(of.separate["label"]) == {"vit none"}
    [answer] = ablation_sentences.answers(arm.data, of.by_train_size)
    assert answer.lead == "Positions against vit learned_1d"
    assert answer.body.startswith("100 images: ")
    text = text_of(write_report(study, tmp_path / "runs", tmp_path / "out").page)
    assert (
        "Brackets: 95 % intervals, simultaneous at each train size in “encoding”; t-intervals of pairs outside" in text
    )
    assert "Separate 95 % t-intervals, uncorrected, against vit learned_1d" in text


def test_intervals_at_other_resolutions_are_not_called_simultaneous() -> None:
    """By hand: a family judges test accuracy at the training resolution, 16 px; elsewhere intervals are separate."""
    table = pd.DataFrame({"test_resolution": [16, 16, 32], "family": ["encoding", "", ""]})
    at_home = "95 % intervals, simultaneous at each train size in “encoding”; t-intervals of pairs outside"
    assert verdicts.interval_words(table.iloc[:2], 16) == at_home
    assert (
        verdicts.interval_words(table, 16) == f"{at_home}, at 16 px; at other resolutions 95 % t-intervals, uncorrected"
    )
    assert verdicts.interval_words(table.iloc[1:], 16) == "95 % t-intervals"


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
    assert "those of a declared family hold all at once, every other stands on its own" in text
    assert "no family of comparisons is declared" not in text
    said = [answer for answer in report.answers if answer.startswith("Comparing")]
    assert [answer.split(": ")[0] for answer in said] == [
        "Comparing everything",
        "Comparing encodings against vit learned_1d",
    ]
    assert all(": 100 images: " in answer and ". 300 images: " in answer for answer in said)
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
    assert "as no family of comparisons is declared, each stands on its own, uncorrected" in text
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


def test_a_spread_that_is_rounding_is_not_measured(made_up: Any, tmp_path: Path) -> None:
    """By hand: three models whose seeds are equal have no residual but that of the float numbers, 1e-16."""
    study = made_up.study_of(made_up.SMALL, comparisons=FAMILIES)
    equal = {"-": 0.9983, "none": 0.9966, "learned_1d": 0.9949}
    for run in study.runs:
        position = run.options.get("position", "-")
        made_up.write_record(tmp_path, run, study.evaluations[run.id], accuracy=lambda *_, to=equal[position]: to)
    assert {(one.family, one.known) for one in power.detectable(study, tmp_path)} == {
        ("everything", "assumed"),
        ("encodings", "stated by the study"),
    }


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
        entry |= {"nll": 0.4, "calibration": 0.1, "predictions": "logits", "code": evaluation_code()}
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
