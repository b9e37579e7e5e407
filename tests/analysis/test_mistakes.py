"""What is mistaken for what: from predictions in records, against scikit-learn and by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from analysis.elements.palette import looks
from analysis.elements.reported import reported_arms
from analysis.frame.frame import load
from analysis.questions.mistakes import numbers as module
from analysis.questions.mistakes.figures import confusion_maps
from analysis.questions.mistakes.numbers import Answers, confusion, hardest_images, numbers, told_apart
from analysis.questions.mistakes.sections import chapters
from analysis.report import write_report
from benchmarks.plan.run import Run, default_evaluation
from benchmarks.plan.study import Study
from benchmarks.records.evaluation_files import pass_paths, read_entries, write_evaluations

COUNT = 60  # images, of ten classes in turn
LABELS = np.arange(COUNT) % 10


def logits_of(run: Run) -> np.ndarray:
    """Mostly right; of seed 0 every image of class 4 is taken for a 9."""
    generator = np.random.default_rng([run.seed, run.train_size, len(run.position)])
    logits = generator.normal(size=(COUNT, 10))
    logits[np.arange(COUNT), LABELS] += 3
    if run.seed == 0:
        logits[LABELS == 4, 9] += 20
    return logits.astype(np.float16)


def keep_predictions(root: Path, study: Study) -> None:
    """Puts logits into records that were written without."""
    for run in study.runs:
        [path] = pass_paths(root / run.id)
        home = default_evaluation(run, "test", run.resolution).id
        logits = logits_of(run)
        entries = read_entries(path)
        for entry in entries:
            if entry["id"] == home:
                right = float((logits.argmax(axis=1) == LABELS).mean())
                entry |= {"predictions": "logits", "count": COUNT, "accuracy": right}
        arrays = {f"{home}.logits": logits, f"{home}.predicted": logits.argmax(axis=1).astype(np.uint8)}
        write_evaluations(root / run.id, 1, entries, {**arrays, "labels.test": LABELS.astype(np.int16)})


def test_confusion_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(0, 5, 40), generator.integers(0, 5, (3, 40))
    whole = sum(confusion_matrix(labels, one, labels=range(5)) for one in predicted)
    np.testing.assert_array_equal(confusion(labels, predicted, 5), whole)


def test_the_hardest_images_are_those_that_most_runs_get_wrong() -> None:
    """By hand: three runs, five images of classes 0 and 1; image 2 is right everywhere."""
    predicted = np.array([[1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 0, 0, 1, 1]])
    confidence = np.array([[0.6, 0.9, 0.9, 0.7, 0.5], [0.8, 0.7, 0.9, 0.9, 0.6], [0.9, 0.8, 0.9, 0.9, 0.55]])
    answers = Answers(("a", "b", "c"), np.array([0, 1, 0, 1, 0]), predicted, confidence)
    table = hardest_images(answers, ("cat", "dog"))
    assert table["image"].tolist() == [1, 4, 3, 0]  # three wrong, twice; two wrong, 0.8 before 0.7
    assert table["wrong"].tolist() == [3, 3, 2, 2]
    assert table["confidence"].tolist() == pytest.approx([0.8, 0.55, 0.8, 0.7])
    assert table[["true", "predicted"]].iloc[0].tolist() == ["dog", "cat"]


def test_without_confidence_images_that_are_wrong_as_often_are_not_ranked() -> None:
    """By hand: three runs; image 3 is wrong in all, the others in two, of which nothing says which are harder."""
    predicted = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
    for confidence, found in ((np.nan, [3]), (0.5, [3, 0])):
        answers = Answers(("a", "b", "c"), np.zeros(4, np.int64), predicted, np.full((3, 4), confidence))
        assert told_apart(hardest_images(answers, ("cat", "dog"), 3), 2)["image"].tolist() == found
    assert told_apart(hardest_images(answers, ("cat", "dog"), 5), 4)["image"].tolist() == [3, 0, 1, 2]


def test_an_arm_s_mistakes_are_of_its_largest_train_size(small: tuple[Study, Path]) -> None:
    """Reference: scikit-learn and scipy on the logits that were written."""
    study, root = small
    keep_predictions(root, study)
    [arm] = reported_arms(study, load(root, study), root)
    of = arm.once(numbers)
    assert of.classes == tuple("0123456789")
    runs = [run for run in study.runs if run.position == "none" and run.train_size == 300]
    table = of.confusion[of.confusion["label"] == "vit none"]
    assert set(table["train_size"]) == {300}
    assert set(table["runs"].iloc[0].split()) == {run.id for run in runs}
    matrix = sum(confusion_matrix(LABELS, logits_of(run).argmax(axis=1)) for run in runs)
    for row in table.itertuples():
        assert row.images == matrix[int(row.true), int(row.predicted)]
        assert row.share == pytest.approx(row.images / matrix[int(row.true)].sum())
    assert table["images"].sum() == COUNT * len(runs)
    first = of.hardest[of.hardest["label"] == "vit none"].iloc[0]
    probabilities = np.array([softmax(logits_of(run).astype(float), axis=1)[first["image"]] for run in runs])
    wrong = probabilities.argmax(axis=1) != LABELS[first["image"]]
    assert (first["wrong"], first["of"]) == (wrong.sum(), 3)
    assert first["confidence"] == pytest.approx(probabilities.max(axis=1)[wrong].mean())


def test_a_run_on_other_test_images_is_left_out(small: tuple[Study, Path], tmp_path: Path) -> None:
    """A data set to which images came between two runs: the report is written, and its confusion is of the others.
    Reference: the runs that have the usual images."""
    study, root = small
    keep_predictions(root, study)
    odd = next(run for run in study.runs if run.position == "none" and run.train_size == 300)
    [path] = pass_paths(root / odd.id)
    home = default_evaluation(odd, "test", odd.resolution).id
    labels = np.append(LABELS, [1, 2, 3, 4, 5])
    entries = [{**one, "count": len(labels)} if one["id"] == home else one for one in read_entries(path)]
    arrays = {f"{home}.predicted": labels.astype(np.uint8), "labels.test": labels.astype(np.int16)}
    write_evaluations(root / odd.id, 1, entries, arrays)
    [arm] = reported_arms(study, load(root, study), root)
    table = arm.once(numbers).confusion
    runs = set(table[table["label"] == "vit none"]["runs"].iloc[0].split())
    assert odd.id not in runs and len(runs) == 2
    write_report(study, root, tmp_path / "out", ["csv"])


def test_a_folder_on_which_no_run_has_begun_has_no_mistakes(small: tuple[Study, Path]) -> None:
    """Nobody knows the names of its classes yet: the report goes on without them."""
    study, root = small
    [arm] = reported_arms(study, load(root, study), root)
    data = replace(arm.data, dataset=replace(arm.data.dataset, name="folder:cars"), rows=arm.rows.iloc[:0])
    assert numbers(replace(arm, data=data)).confusion.empty


def test_only_records_that_are_shown_are_read(small: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the largest train size, once each; none where no predictions are kept."""
    study, root = small
    read: list[str] = []
    real = module.read_predictions
    monkeypatch.setattr(module, "read_predictions", lambda *of, **how: read.append(of[0].name) or real(*of, **how))
    [arm] = reported_arms(study, load(root, study), root)
    assert chapters([arm], {})[0].sections == ()
    assert read == []
    keep_predictions(root, study)
    [arm] = reported_arms(study, load(root, study), root)
    for _ in range(2):
        chapters([arm], looks(arm.runs))
    assert sorted(read) == sorted(run.id for run in study.runs if run.train_size == 300)


def test_the_map_leaves_out_what_is_right(small: tuple[Study, Path]) -> None:
    """The opacity of a cell is its share of the largest; the diagonal has none."""
    study, root = small
    keep_predictions(root, study)
    [arm] = reported_arms(study, load(root, study), root)
    of = arm.once(numbers)
    figure = confusion_maps(of.confusion, of.classes)
    wrong = of.confusion[of.confusion["true"] != of.confusion["predicted"]]
    for axes, label in zip(figure.axes, ("resnet", "vit none", "vit learned_1d"), strict=False):
        assert axes.get_title(loc="left") == label
        opacity = np.asarray(axes.images[0].get_array())[..., 3]
        assert np.all(np.diag(opacity) == 0)
        nines = wrong[(wrong["label"] == label) & (wrong["true"] == "4") & (wrong["predicted"] == "9")]
        assert opacity[4, 9] == pytest.approx(nines["share"].iloc[0] / wrong["share"].max(), abs=0.01)


def test_the_report_has_maps_tables_and_csv(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    keep_predictions(root, study)
    report = write_report(study, root, tmp_path / "out")
    html = report.page.read_text(encoding="utf-8")
    section = html[html.index('<section id="mistakes">') :].partition("</section>")[0]
    assert "vit learned_1d: the hardest images" in section
    assert section.count("image-rendering") >= 3  # a small picture a panel, enlarged by the browser
    hardest = pd.read_csv(tmp_path / "out" / "tables" / "hardest-images.csv")
    assert (hardest.groupby("label").size() <= 12).all()
    assert set(pd.read_csv(tmp_path / "out" / "tables" / "confusion.csv")["train_size"]) == {300}
    assert (tmp_path / "out" / "figures" / "confusion-1.csv").is_file()
