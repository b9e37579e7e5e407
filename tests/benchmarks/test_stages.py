"""A study that searches, on records: what is chosen, what confirms it, and that nothing leaks from one to the other."""

import json
import os
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from warm import Started

from benchmarks.cli import run as command
from benchmarks.console import terminal
from benchmarks.data.dataset import Places
from benchmarks.errors import FAILED, OTHERS, ConfigError
from benchmarks.plan.study import Study, expand, load_study
from benchmarks.records.record import read_record
from benchmarks.records.stages import outcomes, reported, whole
from benchmarks.records.states import study_states
from benchmarks.records.study_texts import earlier_results, keep_text, kept_texts
from benchmarks.records.summary import listed_runs
from benchmarks.speed.synthetic import write_record, write_records

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]

STUDY: dict[str, Any] = {
    "size": "pico",
    "train_size": [100, 300],
    "test_resolutions": [8, 12],
    "models": [{"name": "resnet"}, {"name": "vit", "position": "none"}],
    "search": {"trials": 4, "seeds": 2, "draw": {"learning_rate": "log 1e-4 .. 1e-2"}},
    "confirm": {"seeds": 3},
}
TEXT = """
size = "pico"
train_size = 100
recipe = "digits"
budget = { steps = 20 }
[[models]]
name = "resnet"
[search]
trials = 3
draw = { learning_rate = "log 1e-4 .. 1e-1" }
[confirm]
seeds = 2
"""


def validation(root: Path, study: Study) -> list[dict[int, float]]:
    """The mean accuracies of the trials of each search, read from the records one by one."""
    assert study.tuning is not None
    found = []
    for cell in study.tuning.cells:
        means = {}
        for trial in cell.trials:
            numbers = []
            for run in trial.runs:
                [entry] = read_record(root / run.id).evaluations
                assert entry["evaluation"]["part"] == "validation"
                numbers.append(entry["accuracy"])
            means[trial.number] = sum(numbers) / len(numbers)
        found.append(means)
    return found


def test_what_is_chosen_is_best_on_the_validation_part(tmp_path: Path) -> None:
    """Reference: the largest mean of what the records say, the first of equal ones."""
    study, places = expand(STUDY, "s"), Places(tmp_path, tmp_path)
    write_records(tmp_path, study)
    found = outcomes(study, places)
    assert [one.chosen for one in found] == [max(means, key=means.__getitem__) for means in validation(tmp_path, study)]
    second = reported(study, places)
    assert len(second.runs) == 4 * 3 and whole(study, places).runs == (*study.runs, *second.runs)
    for run in second.runs:
        place = [run.train_size == 300, run.model == "vit"]
        one = found[2 * place[1] + place[0]]
        assert run.recipe.learning_rate == one.cell.trials[one.chosen or 0].runs[0].recipe.learning_rate


def test_a_part_of_the_grid_is_confirmed_once_its_own_search_is_done(tmp_path: Path) -> None:
    """Whatever the other parts are at, and only then: equal numbers of trials."""
    study, places = expand(STUDY, "s"), Places(tmp_path, tmp_path)
    with pytest.raises(
        ConfigError, match="s: search: nothing is confirmed yet: 40 runs left of its search; `inductive"
    ):
        reported(study, places)
    assert whole(study, places) is study
    for run in study.runs:
        if run.model == "resnet" and run.train_size == 100:
            write_record(tmp_path, run, study.evaluations[run.id])
    assert {(run.model, run.train_size) for run in reported(study, places).runs} == {("resnet", 100)}
    shutil.rmtree(tmp_path / study.runs[3].id)
    assert [one.left for one in outcomes(study, places)] == [1, 10, 10, 10]
    assert whole(study, places) is study


def test_a_trial_that_diverged_is_not_chosen_and_does_not_hold_up_the_others(tmp_path: Path) -> None:
    study, places = expand(STUDY, "s"), Places(tmp_path, tmp_path)
    write_records(tmp_path, study)
    best = outcomes(study, places)[0].chosen
    assert study.tuning is not None and best is not None
    run = study.tuning.cells[0].trials[best].runs[1]
    shutil.rmtree(tmp_path / run.id)
    write_record(tmp_path, run, [], "diverged")
    now = outcomes(study, places)[0]
    assert now.left == 0 and now.accuracies[best] is None and now.chosen not in (None, best)


def test_a_search_that_has_become_stale_keeps_its_choice(tmp_path: Path) -> None:
    """As all else that was trained by sources that have changed since: a page can still be made, and a trial that had
    diverged has not become one to be done."""
    study, places = expand(STUDY, "s"), Places(tmp_path, tmp_path)
    write_records(tmp_path, study)
    assert study.tuning is not None
    gone = study.tuning.cells[0].trials[2].runs[0]
    shutil.rmtree(tmp_path / gone.id)
    write_record(tmp_path, gone, [], "diverged")
    before = outcomes(study, places)
    for run in study.runs:
        execution = tmp_path / run.id / "execution.json"
        recorded = json.loads(execution.read_text())
        recorded["sources"]["benchmarks.training.training:Training"] = "00000000"
        execution.write_text(json.dumps(recorded))
    assert {one.state for one in study_states(study, tmp_path)} == {"stale"}
    assert outcomes(study, places) == [replace(one, stale=10) for one in before]
    assert len(reported(study, places).runs) == 4 * 3


def test_a_search_of_which_everything_diverged_has_another_remedy(tmp_path: Path) -> None:
    """Running it again would do nothing."""
    study, places = expand(STUDY, "s"), Places(tmp_path, tmp_path)
    for run in study.runs:
        write_record(tmp_path, run, [], "diverged")
    with pytest.raises(ConfigError, match=r"every trial of its search diverged; other ranges in search\.draw"):
        reported(study, places)


def test_what_an_earlier_text_has_confirmed_is_not_forgotten(tmp_path: Path) -> None:
    """A page names results of earlier versions of its study; with more trials another setting may be confirmed."""
    texts = [TEXT, TEXT.replace("trials = 3", "trials = 4")]
    (before, now), places = (
        [replace(expand(tomllib.loads(one), "s"), text=one) for one in texts],
        Places(tmp_path, tmp_path),
    )
    write_records(tmp_path, before)
    second = reported(before, places)
    write_records(tmp_path, second)
    keep_text(before, tmp_path)
    found, beyond = earlier_results(now, kept_texts("s", tmp_path)[0], tmp_path)
    assert [run.id for run in found[TEXT]] == [run.id for run in second.runs] and beyond == {}


@pytest.mark.parametrize("code", [FAILED, OTHERS])
def test_what_is_searched_is_confirmed_whatever_became_of_other_cells(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial of one cell fails, or is another command's: the three other cells are confirmed by the same command."""
    study, places = expand(STUDY, "s"), Places(tmp_path, tmp_path)
    stages = []

    def pretend(known: Study, *_: Any) -> int:
        stages.append(len(known.runs))
        for run in known.runs[1:]:
            if not (tmp_path / run.id).exists():
                write_record(tmp_path, run, known.evaluations[run.id])
        return code

    monkeypatch.setattr(command, "run_study", pretend)
    settings = command.settings_for(tmp_path, "cpu", 60.0, False)
    assert command.run_stages(study, places, None, 1, tmp_path, settings, terminal()) == code
    assert stages == [40, 40 + 3 * 3]


def test_another_study_has_no_second_stage(tmp_path: Path) -> None:
    plain = expand({key: value for key, value in STUDY.items() if key not in ("search", "confirm")}, "s")
    places = Places(tmp_path, tmp_path)
    assert whole(plain, places) is plain and reported(plain, places) is plain and outcomes(plain, places) == []


def test_both_stages_with_an_interruption_in_the_search(
    inductive: Inductive, start: Callable[..., Started], tmp_path: Path
) -> None:
    """`run` searches and confirms. Stopped amid the search it goes on with the same draws; of the search no record has
    seen a test image, and no seed and no subset of it is in the confirmation."""
    path = tmp_path / "tuned.toml"
    path.write_text(TEXT)
    study = load_study(str(path))
    process = start("inductive", "run", str(path), "--jobs", "1")
    while "[2/4]" not in process.said():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait().returncode == 130
    assert sum(one.state == "finished" for one in listed_runs(tmp_path / "runs")) in (2, 3)

    again = inductive("run", str(path), "--jobs", "1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "tuned: searched; 2 runs confirm what was chosen" in again.stdout
    records = {one.id: read_record(tmp_path / "runs" / one.id) for one in listed_runs(tmp_path / "runs")}
    searched = {run.id for run in study.runs}
    assert searched < records.keys() and len(records) == 4 + 2
    seen: dict[bool, dict[str, set[Any]]] = {
        stage: {"seed": set(), "draw": set(), "subset": set()} for stage in (True, False)
    }
    for name, record in records.items():
        parts = {entry["evaluation"]["part"] for entry in record.evaluations}
        assert record.state == "finished" and parts == ({"validation"} if name in searched else {"test", "validation"})
        seen[name in searched]["subset"].add(record.config["subset"])
        for key in ("seed", "draw"):
            seen[name in searched][key].add(record.config["run"][key])
    assert all(not seen[True][key] & seen[False][key] for key in seen[True])

    means = validation(tmp_path / "runs", study)[0]
    best = max(means, key=means.__getitem__)
    assert study.tuning is not None
    [chosen] = study.tuning.cells[0].trials[best].runs
    second = [record.config["run"] for name, record in records.items() if name not in searched]
    assert {run["recipe"]["learning_rate"] for run in second} == {chosen.recipe.learning_rate}
    assert "0 to do" in inductive("run", str(path)).stdout
    assert "tuned: 6 finished" in inductive("status", str(path)).stdout
    plan = inductive("plan", str(path)).stdout
    assert "about no number of trials: more of them would\n" in plan  # of one model: nothing is compared
    assert "the recipe and 3 drawn trials (random)" in plan and "what the search has chosen" in plan
