"""The frame against the records it was made from: nothing lost, nothing invented, nothing that stops it."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.elements.reported import reported_arms
from analysis.frame.arms import MixedArmsError, one_arm, split
from analysis.frame.frame import COLUMNS, RUN, load
from analysis.frame.naming import resizes_input
from analysis.page.methods import sentences
from analysis.questions.fairness.numbers import ledger
from analysis.report import write_report
from benchmarks.errors import RecordError
from benchmarks.plan.comparisons import is_called
from benchmarks.plan.run import canonical
from benchmarks.plan.study import Study
from benchmarks.records.record import configuration_digest, read_record


def test_a_row_per_run_and_evaluation(made_up: Any, small: tuple[Study, Path]) -> None:
    """Reference: the formula that the records were written with."""
    study, root = small
    frame = load(root, study)
    assert list(frame.rows.columns) == list(COLUMNS)
    assert list(frame.runs.columns) == RUN
    assert frame.runs["run"].tolist() == [run.id for run in study.runs]
    assert len(frame.rows) == sum(len(wanted) for wanted in study.evaluations.values())
    assert frame.problems.empty
    by_id = {(row.run, row.evaluation): row.accuracy for row in frame.rows.itertuples()}
    for run in study.runs:
        for one in study.evaluations[run.id]:
            assert by_id[run.id, one.id] == made_up.accuracy_of(run, one)


def test_the_obvious_mean_is_that_of_the_page(made_up: Any, tmp_path: Path) -> None:
    """Several arms, validation parts and test resolutions. Reference: the CSV of the page."""
    study = made_up.study_of(made_up.SMALL, recipe=["digits", "plain"])
    made_up.write_study(tmp_path / "runs", study)
    frame = load(tmp_path / "runs", study)
    assert sorted(frame.main["run"]) == sorted(run.id for run in study.runs)
    report = write_report(study, tmp_path / "runs", tmp_path / "page", ("csv",))
    [path] = [path for path in report.tables if path.name == "accuracy-by-train-size.csv"]
    page = pd.read_csv(path).set_index(["arm", "label", "train_size"])["mean"].rename("accuracy")
    ours = frame.main.groupby(["arm", "label", "train_size"])["accuracy"].mean()
    assert set(page.index.get_level_values("arm")) == {1, 2}
    pd.testing.assert_series_equal(ours, page.sort_index(), check_index_type=False)
    mixed = frame.rows.groupby(["label", "train_size"])["accuracy"].mean()
    assert abs(mixed - ours.groupby(["label", "train_size"]).mean()).max() > 0.05  # what it must not be


def test_without_a_study_the_same_runs_are_found(small: tuple[Study, Path]) -> None:
    study, root = small
    by_study = load(root, study).rows.sort_values(["run", "evaluation"], ignore_index=True)
    by_folder = load(root).rows.sort_values(["run", "evaluation"], ignore_index=True)
    pd.testing.assert_frame_equal(by_study, by_folder)
    some = [run.id for run in study.runs[:2]]
    assert set(load(root, study, runs=some).runs["run"]) == set(some) == set(load(root, runs=some).runs["run"])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """An empty table would look like an answer."""
    with pytest.raises(RecordError, match="there is no such folder of records"):
        load(str(tmp_path / "nowhere"))


def test_several_studies_are_one_table(small: tuple[Study, Path], made_up: Any) -> None:
    """Each run once, whatever the number of studies that have it."""
    study, root = small
    fewer = made_up.study_of(made_up.SMALL, models=[{"name": "resnet"}])
    both = load(root, fewer, study)
    assert sorted(both.runs["run"]) == sorted(run.id for run in study.runs)
    assert len(both.rows) == len(load(root, study).rows)


def test_no_option_is_nan_so_no_group_is_dropped(small: tuple[Study, Path]) -> None:
    study, root = small
    rows = load(root, study).rows
    configured = rows.loc[:, "run":"protocol"]  # type: ignore[misc]  # label slices are meant
    assert not configured.isna().any().any()
    assert rows.groupby(list(configured.columns)).size().sum() == len(rows)


def test_labels_say_what_differs(made_up: Any, tmp_path: Path) -> None:
    frame = load(tmp_path, made_up.study_of(made_up.SMALL))
    assert list(dict.fromkeys(frame.runs["label"])) == ["resnet", "vit none", "vit learned_1d"]
    one_position = made_up.study_of(made_up.SMALL, models=[{"name": "vit", "position": "none"}, {"name": "resnet"}])
    assert set(load(tmp_path, one_position).runs["label"]) == {"vit", "resnet"}
    models = [
        {"name": "vit", "position": "none"},
        {"name": "vit", "position": "rope_axial", "rope_base": [10.0, 100.0]},
    ]
    labels = set(load(tmp_path, made_up.study_of(made_up.SMALL, models=models)).runs["label"])
    assert labels == {"vit none", "vit rope_axial rope_base=10.0", "vit rope_axial rope_base=100.0"}
    usual = [{"name": "vit", "position": ["rope_axial", "rope_mixed"]}]  # each with a base of its own
    labels = set(load(tmp_path, made_up.study_of(made_up.SMALL, models=usual)).runs["label"])
    assert labels == {"vit rope_axial", "vit rope_mixed"}


def test_a_ladder_is_called_by_its_mixer(made_up: Any, tmp_path: Path) -> None:
    """Hidden units that only make parameters equal are no part of a name, unless a study sets those of others.

    Those that know one grid are marked as resizing their input.
    """
    models = [
        {"name": "ladder", "mixer": ["identity", "ssd", "token_mlp"]},
        {"name": "ladder", "mixer": "depthwise_conv", "kernel": [3, 5]},
        {"name": "ladder", "mixer": "pool"},
        {"name": "ladder", "mixer": "pool", "mlp_hidden": 20},
    ]
    study = made_up.study_of(made_up.SMALL, models=models)
    frame = load(tmp_path, study)
    convolutions = {f"ladder depthwise_conv kernel={kernel}" for kernel in (3, 5)}
    pools = {"ladder pool mlp_hidden=192", "ladder pool mlp_hidden=20"}
    assert set(frame.runs["label"]) == {"ladder identity", "ladder ssd", "ladder token_mlp", *convolutions, *pools}
    assert {model for model in frame.runs["model"] if resizes_input(model)} == {"ladder token_mlp"}
    for run in study.runs:
        label = frame.runs.loc[frame.runs["run"] == run.id, "label"].item()
        assert is_called(run, label)


def test_recipes_of_one_name_with_other_numbers_are_told_apart(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL, recipe={"name": "digits", "learning_rate": [0.001, 0.003]})
    frame = load(tmp_path, study)
    assert set(frame.runs["recipe"]) == {"digits (learning_rate=0.001)", "digits (learning_rate=0.003)"}
    assert len(split(frame)) == 2


def test_a_recipe_with_other_numbers_than_the_shipped_one_says_so(made_up: Any, tmp_path: Path) -> None:
    """Also where all runs of the study have them; a number that is set to what it is by name is none."""
    one = made_up.study_of(made_up.SMALL, recipe={"name": "plain", "learning_rate": 0.003, "clip": 1.0})
    frame = load(tmp_path, one)
    assert set(frame.runs["recipe"]) == {"plain (learning_rate=0.003)"} == set(frame.recipes)
    [arm] = split(frame)
    assert "recipe plain (learning_rate=0.003), 600 steps" in arm.arm.words
    as_shipped = made_up.study_of(made_up.SMALL, recipe="plain")
    assert {run.recipe.clip for run in as_shipped.runs} == {1.0}
    assert set(load(tmp_path, as_shipped).runs["recipe"]) == {"plain"}


def test_runs_that_start_from_other_weights_are_no_cell_with_those_that_do_not(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL, init_from=["", "weights.pth"], models=[{"name": "resnet"}])
    made_up.write_study(tmp_path, study)
    frame = load(tmp_path, study)
    assert set(frame.runs["label"]) == {"resnet init_from=none", "resnet init_from=weights.pth"}
    assert len(split(frame)) == 1


def test_ways_to_start_are_told_apart_in_label_ledger_and_method(made_up: Any, tmp_path: Path) -> None:
    """Reference: the network's schemes, by name and by source."""
    study = made_up.study_of(made_up.SMALL, initial=["literature", "library"], models=[{"name": "resnet"}])
    made_up.write_study(tmp_path, study)
    frame = load(tmp_path, study)
    assert set(frame.runs["label"]) == {"resnet initial=literature", "resnet initial=library"}
    [arm] = split(frame)
    table = ledger(arm).set_index("label")
    assert table["initial"].to_dict() == {f"resnet initial={word}": word for word in ("literature", "library")}
    assert all("initial" in marks.split() for marks in table["unequal"])
    said = next(
        text
        for text in sentences(study, frame, reported_arms(study, frame, tmp_path))
        if text.startswith("Initial weights")
    )
    assert "resnet (literature): facebook/fb.resnet.torch; resnet (library): torchvision, resnet.py" in said


def test_what_initial_says_nothing_of_is_not_called_by_it(made_up: Any, tmp_path: Path) -> None:
    """Weights that are loaded, and networks that a library makes; reference: docs/studies.md."""
    ready_made = {"name": "timm:resnet10t", "size": "own"}
    both = made_up.study_of(
        made_up.SMALL, resolution=32, models=[{"name": "resnet", "init_from": ["", "weights.pth"]}, ready_made]
    )
    frame = load(tmp_path, both)
    assert frame.runs.groupby("label")["initial"].unique().map(list).to_dict() == {
        "resnet init_from=none": ["library"],
        "resnet init_from=weights.pth": ["loaded"],
        "timm:resnet10t": ["ready-made"],
    }
    said = "\n".join(sentences(both, frame, reported_arms(both, frame, tmp_path)))
    assert "timm:resnet10t (ready-made): timm, as it makes the network" in said
    assert "Weights of resnet were loaded" in said


def test_records_of_an_earlier_protocol_are_arms_of_their_own(made_up: Any, tmp_path: Path) -> None:
    """They are read, shown as what they were, in no table with those of today, and not continued."""
    study = made_up.study_of(made_up.SMALL, models=[{"name": "resnet"}])
    made_up.write_study(tmp_path, study)
    for run in study.runs:
        delta = {key: value for key, value in run.delta.items() if key != "initial"} | {"protocol": 1}
        earlier = tmp_path / (run.id[:-8] + hashlib.sha256(canonical(delta).encode()).hexdigest()[:8])
        shutil.copytree(tmp_path / run.id, earlier)
        config = json.loads((earlier / "config.json").read_text())
        settings = {key: value for key, value in config["run"].items() if key != "initial"} | {"protocol": 1}
        config |= {"id": earlier.name, "run": settings, "delta": delta}
        if "digest" in config:
            config["digest"] = configuration_digest(settings)
        (earlier / "config.json").write_text(json.dumps(config))
    frame = load(tmp_path)
    assert frame.problems.empty and len(frame.runs) == 2 * len(study.runs)
    assert {arm.arm.protocol: set(arm.runs["initial"]) for arm in split(frame)} == {1: {"-"}, 2: {"library"}}
    with pytest.raises(MixedArmsError, match="protocol: 1, 2"):
        one_arm(frame.runs)
    assert set(load(tmp_path, study).runs["protocol"]) == {2}
    with pytest.raises(
        RecordError, match=r"protocol: is 1, this version of the suite runs protocol 2; docs/records\.md"
    ):
        read_record(earlier).run()


def test_states_and_reasons(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL)
    states = ["finished", "stale", "diverged", "failed", "interrupted"]
    for run, state in zip(study.runs, states, strict=False):
        error = "Traceback:\n  somewhere\nRuntimeError: out of memory" if state == "failed" else None
        made_up.write_record(tmp_path, run, study.evaluations[run.id], state, error=error)
    runs = load(tmp_path, study).runs
    assert runs["state"].tolist() == states + ["missing"] * (len(study.runs) - len(states))
    assert runs["reason"][3] == "RuntimeError: out of memory"
    assert "benchmarks.training.training:Training" in runs["reason"][1]
    assert runs["diverged_at"][2] == 120
    assert np.isnan(runs["train_accuracy"][2])


def test_unreadable_folders_are_counted_and_stop_nothing(small: tuple[Study, Path]) -> None:
    study, root = small
    torn, newer, no_zip, foreign = (root / run.id for run in study.runs[:4])
    (torn / "result.json").write_text('{"form')
    config = json.loads((newer / "config.json").read_text())
    (newer / "config.json").write_text(json.dumps({**config, "format": 99}))
    (no_zip / "evaluations" / "0001.npz").write_bytes(b"")
    (foreign / "config.json").write_text('{"some": "other program"}')
    (root / "notes").mkdir()
    (root / ".submissions").mkdir()

    of_study = load(root, study)
    assert of_study.problems["folder"].tolist() == [run.id for run in study.runs[:4]]
    assert "newer version" in of_study.problems["problem"][1]
    assert of_study.runs["state"].tolist()[:4] == ["failed"] * 4
    assert len(of_study.runs) == len(study.runs)
    assert set(load(root).problems["folder"]) == {*of_study.problems["folder"], "notes"}


def test_a_cell_is_starved_by_its_mean(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL, train_size=[100], starved_below=0.95)
    of_cell = [run for run in study.runs if run.model == "resnet"]
    for run, reached in zip(of_cell, (1.0, 0.98, 0.85), strict=True):  # mean 0.943
        made_up.write_record(tmp_path, run, study.evaluations[run.id], train_accuracy=reached)
    runs = load(tmp_path, study).runs
    assert runs.groupby("label")["starved"].all().to_dict() == {
        "resnet": True,
        "vit none": False,
        "vit learned_1d": False,
    }


def test_evaluations_that_the_study_does_not_ask_for_are_left_out(made_up: Any, small: tuple[Study, Path]) -> None:
    study, root = small
    fewer = made_up.study_of(made_up.SMALL, test_resolutions=[8])
    assert set(load(root, fewer).rows["test_resolution"]) == {8}
    assert set(load(root, study).rows["test_resolution"]) == {8, 16}


@pytest.mark.parametrize(
    "axis",
    [
        {"arms": [{"budget": {"steps": 600}}, {"budget": {"epochs": 10}}]},
        {"arms": [{"recipe": "digits"}, {"recipe": "none"}]},
        {"arms": [{"resolution": 8}, {"resolution": 16}]},
        {"arms": [{"validation": 0.2}, {"validation": 0}]},
        {"arms": [{"validation": 0.1}, {"validation": 0.2}]},
        {"arms": [{"precision": "float32"}, {"precision": "bfloat16"}]},
        {"arms": [{"precision": "float32"}, {"precision": "tf32"}]},
    ],
)
def test_what_answers_different_questions_is_never_one_arm(
    made_up: Any, tmp_path: Path, axis: dict[str, object]
) -> None:
    study = made_up.study_of(
        {key: value for key, value in made_up.SMALL.items() if key not in ("budget", "recipe")}, **axis
    )
    made_up.write_study(tmp_path, study)
    frame = load(tmp_path, study)
    arms = split(frame)
    assert len(arms) == len({arm.arm.words for arm in arms}) == 2
    assert [len(arm.runs) for arm in arms] == [len(study.runs) // 2] * 2
    with pytest.raises(MixedArmsError, match="separate tables"):
        one_arm(frame.rows)


def test_nothing_at_all(tmp_path: Path) -> None:
    frame = load(tmp_path)
    assert frame.rows.empty
    assert frame.runs.empty
    assert split(frame) == []
