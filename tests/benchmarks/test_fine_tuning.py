"""Runs that start from another arm's runs: which these are, in which order they come, and how a page has them."""

import subprocess
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from photographs import write_photographs
from rich.console import Console
from safetensors.torch import load_file

from analysis.frame.frame import load
from benchmarks.cli import run as command
from benchmarks.data.dataset import Places
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import DONE, FAILED, OTHERS, ConfigError
from benchmarks.forecast.cost import cells
from benchmarks.plan.run import Run, make_run, names_of_starts
from benchmarks.plan.study import FOLDER, Study, expand, load_study
from benchmarks.records.record import read_record
from benchmarks.records.states import study_states
from benchmarks.running.preflight import learned_words
from benchmarks.running.task import Ending, Task
from benchmarks.speed.synthetic import write_record

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]

STUDY: dict[str, Any] = {
    "size": "pico",
    "train_size": 100,
    "budget": {"steps": 3},
    "seed": [0, 1],
    "models": [{"name": "resnet"}, {"name": "vit", "position": ["learned_2d", "rope_axial"]}],
    "arms": [
        {"resolution": 8, "recipe": {"name": "digits", "learning_rate": 2e-3}},
        {"resolution": [12, 16], "init_from": "arms[0]", "budget": {"steps": 2}},
    ],
}


def test_each_run_starts_from_the_one_that_is_the_same_otherwise(tmp_path: Path) -> None:
    """Reference: the settings of each start, written out, and made into a run."""
    one = expand(STUDY, "s")
    ids = {run.id for run in one.runs}
    begun = [run for run in one.runs if run.init_from]
    assert len(one.runs) == 6 + 12 and len(begun) == 12
    for run in begun:
        expected = {
            **{key: getattr(run, key) for key in ("model", "size", "train_size", "seed")},
            "resolution": 8,
            "recipe": {"name": "digits", "learning_rate": 2e-3},
            "budget": {"steps": 3},
            "options": {"position": run.position} if run.model == "vit" else {},
        }
        assert run.init_from == make_run(expected).id and run.init_from in ids
        assert run.recipe.name == "none" and run.steps == 2
    assert len(cells(one, tmp_path)) == 3 + 6


@pytest.mark.parametrize(
    ("arm", "start", "said"),
    [
        ({}, {}, ""),
        ({"train_size": 300}, {}, ""),
        ({"validation": 0}, {"validation": 0}, ""),
        ({"validation": 0.2}, {"validation": 0}, "validation is 0 there and 0.2 here"),
        ({"validation": 0.2}, {"validation": 0.1}, "validation is 0.1 there and 0.2 here"),
        ({"draw": 7}, {"draw": 0}, "draw is 0 there and 7 here"),
    ],
)
def test_validation_images_that_were_trained_on_are_said(
    arm: dict[str, Any], start: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Reference: the images of both subsets, drawn."""
    arms = [{"resolution": 8, **start}, {"resolution": 12, "init_from": "arms[0]", **arm}]
    study = expand({**STUDY, "models": [{"name": "resnet"}], "seed": 0, "train_size": 600, "arms": arms}, "s")
    first, run = study.runs
    labels = load_images("digits", tmp_path).train_labels
    subsets = [draw_subset(labels, 10, one.draw, one.train_size, one.validation) for one in (first, run)]
    assert bool(set(subsets[0].train) & set(subsets[1].validation)) == bool(said)
    lines = list(learned_words(study.runs, tmp_path))
    assert len(lines) == bool(said) and all(said in line and run.id in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [{"init_from": "arms[0]"}]}, r"arms\[0\].init_from: arms\[0\] starts from an arm itself; allowed: $"),
        ({"arms": [{}, {"init_from": "arms[7]"}]}, r"arms\[1\].init_from: arms\[7\] is not there; allowed: arms\[0\]"),
        (
            {"arms": [{"train_size": [50, 100]}, {"init_from": "arms[0]"}]},
            r"arms\[1\].init_from: arms\[0\] has several runs to start from: train_size is a list there",
        ),
        (
            {"arms": [{"budget": {"steps": [2, 3]}}, {"init_from": "arms[0]"}]},
            r"has several runs to start from: budget.steps is a list there",
        ),
    ],
)
def test_an_arm_without_one_run_to_start_from(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand({**STUDY, **changes}, "s")


def test_what_starts_are_called() -> None:
    """By what ids of one cell have in common; by the whole id where one seed starts from two."""
    one, other = "vit-digits-n100-r8-d0-s0-00000000", "vit-digits-n100-r8-d1-s1-11111111"
    again = "vit-digits-n100-r8-d0-s0-22222222"
    assert set(names_of_starts([("vit", one), ("vit", other)]).values()) == {"vit-digits-n100-r8"}
    assert set(names_of_starts([("vit", one), ("vit", other), ("vit", again)]).values()) == {one, other, again}
    assert set(names_of_starts([("vit", one), ("vit 2", again)]).values()) == {"vit-digits-n100-r8"}
    assert names_of_starts([("vit", "weights.pth"), ("vit", "")]) == {
        ("vit", "weights.pth"): "weights.pth", ("vit", ""): ""
    }  # fmt: skip


STAGES = """
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 60
budget = { steps = 2 }
seed = [0, 1]
test_resolutions = [8]
models = [{ name = "resnet" }]
arms = [{}, { init_from = "arms[0]", budget = { steps = 1 } }]
"""


def by_seed(study: Study) -> tuple[list[Run], list[Run]]:
    """The runs of STAGES that come first, and those that start from them."""
    return [one for one in study.runs if not one.init_from], [one for one in study.runs if one.init_from]


def test_a_start_that_has_diverged_keeps_nobody_else_back(inductive: Inductive, tmp_path: Path) -> None:
    """Of two runs to start from one has diverged before. Reference: its record, written here, and the states after; by
    another command nothing is left but to refuse what has no start."""
    (tmp_path / "stages.toml").write_text(STAGES)
    study = load_study(str(tmp_path / "stages.toml"))
    first, second = by_seed(study)
    write_record(tmp_path / "runs", first[0], [], "diverged")
    done = inductive("run", "stages.toml", "--device", "cpu", "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    said = f"set aside: {second[0].id}: it starts from {first[0].id} (diverged)"
    assert said in done.stdout.splitlines()
    states = {one.run.id: one.state for one in study_states(study, tmp_path / "runs")}
    assert [states[one.id] for one in (*first, *second)] == ["diverged", "finished", "missing", "finished"]
    again = inductive("run", "stages.toml", "--device", "cpu", "--jobs", "1")
    assert again.returncode == 2 and said in again.stdout
    assert f"init_from: run {first[0].id} has no weights" in again.stderr


@pytest.mark.parametrize(("state", "code"), [("failed", FAILED), ("owned", OTHERS), ("diverged", DONE)])
def test_what_does_not_follow_is_named(
    state: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two runs of the first stage one ends without weights: what starts from the other follows, in the same command.
    Reference: how they end, as is said here."""
    study = expand(tomllib.loads(STAGES), "stages")
    first, second = by_seed(study)
    stages: list[list[Run]] = []

    def pretend(tasks: Sequence[Task], *_: Any) -> list[Ending]:
        stages.append([task.run for task in tasks])
        return [Ending(task, state if task.run == first[0] else "finished", "made up", 0.0) for task in tasks]

    monkeypatch.setattr(command, "work_through", pretend)
    settings = command.settings_for(tmp_path, "cpu", 60.0, False)
    console = Console(width=500)
    assert command.run_study(study, None, 1, tmp_path / "runs", settings, console) == code
    assert stages == [first, second[1:]]
    assert f"set aside: {second[0].id}: it starts from {first[0].id} ({state})" in capsys.readouterr().out


def test_a_share_of_the_shipped_study(inductive: Inductive, tmp_path: Path) -> None:
    """On photographs, trained at 24 px and fine-tuned at 32 by one command; fine-tuning begins at the weights of the
    run that it names: a rate of nearly 0 leaves them where they were, and so does what trains the last layers alone."""
    write_photographs(tmp_path / "data" / "photos", each=20)
    shipped = tomllib.loads((FOLDER / "fine-tune-resolution.toml").read_text(encoding="utf-8"))
    assert shipped["arms"][1]["init_from"] == "arms[0]"
    text = """
        dataset = "folder:photos"
        size = "pico"
        train_size = 48
        validation = 0
        recipe = { name = "none", batch_size = 16 }
        budget = { steps = 2 }
        seed = [0, 1]
        test_resolutions = [24, 32]
        evaluations = [{ batchnorm = "reestimated" }]
        [[models]]
        name = "resnet"
        [[models]]
        name = "vit"
        position = "rope_axial"
        scale = 32
        [[arms]]
        resolution = 24
        [[arms]]
        resolution = 32
        init_from = "arms[0]"
        budget = { steps = 1 }
        recipe = { learning_rate = 1e-12, weight_decay = 0.0 }
        [[arms]]
        resolution = 32
        init_from = "arms[0]"
        budget = { steps = 1 }
        recipe = { trained = "last_norm_and_head", learning_rate = 0.1, crop_padding = 0, flip = false }
    """
    share = tomllib.loads(text)
    assert share.keys() < shipped.keys() and share["arms"][1].keys() == shipped["arms"][1].keys()
    assert share["arms"][2].keys() == shipped["arms"][3].keys()
    assert share["arms"][2]["recipe"].keys() < shipped["arms"][3]["recipe"].keys()
    (tmp_path / "share.toml").write_text(text)
    done = inductive("run", "share.toml", "--device", "cpu", "--workers", "0", "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 runs more, which start from these, follow" in done.stdout
    study = load_study(str(tmp_path / "share.toml"), Places(tmp_path / "data"))
    frame = load(tmp_path / "runs", study)
    assert set(frame.runs["state"]) == {"finished"} and set(frame.runs["label"]) == {"resnet", "vit"}
    for run in (one for one in study.runs if one.init_from):
        before, after = (
            load_file(tmp_path / "runs" / name / "weights.safetensors") for name in (run.init_from, run.id)
        )
        if run.recipe.trained != "all":  # the same to the bit, but for the last norm and the head
            moved = {name for name, weight in before.items() if not torch.equal(after[name], weight)}
            last = "norm" if run.model == "vit" else "stages.2.0.norm2"
            assert moved == {name for name in before if name.startswith(("head.", f"{last}."))}
            continue
        for name, weight in before.items():
            assert "running" in name or "num_batches" in name or (after[name] - weight).abs().max() < 1e-6, name
        assert len(read_record(tmp_path / "runs" / run.id).evaluations) == (4 if run.model == "resnet" else 2)
