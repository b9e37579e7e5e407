"""`inductive probe` as a user meets it: finished runs measured, everything else refused in one line."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.cli.probe import probed_evaluations, requests_of
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run
from benchmarks.records.record import read_record

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]

STUDY = """
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 100
budget = { steps = 12 }
seed = [0, 1]
[[models]]
name = "vit"
position = "learned_1d"
"""


@pytest.fixture
def runs(finished: tuple[Run, Path], tmp_path: Path) -> tuple[str, Path]:
    """The id of a finished run, and the folder that it lies in alone."""
    run, root = finished
    shutil.copytree(root, tmp_path / "runs")
    return run.id, tmp_path / "runs"


def test_a_run_is_measured_once(runs: tuple[str, Path], inductive: Inductive) -> None:
    """By the beginning of its id; the second time nothing is left to do. `show` does not list what was added."""
    run, root = runs
    files = {path: path.read_bytes() for path in (root / run).glob("*") if path.is_file()}
    done = inductive("probe", run, "--probes", "blur,patch_shuffle", "--strengths", "1, 2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 evaluations" in done.stdout
    found = [entry for entry in read_record(root / run).evaluations if entry["evaluation"]["probe"] != "-"]
    assert [(one["evaluation"]["probe"], one["evaluation"]["strength"]) for one in found] == [
        *(("blur", 1), ("blur", 2)),
        *(("patch_shuffle", 1), ("patch_shuffle", 2)),
    ]
    assert all(0 <= one["consistency"] <= 1 for one in found)
    again = inductive("probe", run, "--probes", "blur,patch_shuffle", "--strengths", "1,2")
    assert again.returncode == 0 and "0 to do" in again.stdout
    shown = json.loads(inductive("show", run, "--json").stdout)["evaluations"]
    assert shown == read_record(root / run).unprobed and len(shown) == 4
    assert files == {path: path.read_bytes() for path in (root / run).glob("*") if path.is_file()}


def test_a_study_is_measured_as_far_as_it_is_finished(tmp_path: Path, inductive: Inductive) -> None:
    """One of two runs is there: it is measured, the other is named and not trained. With none it is an error. The study
    that asks for the same then finds it done."""
    (tmp_path / "pair.toml").write_text(STUDY)
    nothing = inductive("probe", "pair.toml")
    assert nothing.returncode == 2 and "no finished run with weights under runs: 2 runs not finished" in nothing.stderr
    assert inductive("run", "pair.toml", "--only", "*s0*").returncode == 0
    done = inductive("probe", "pair.toml", "--probes", "shift", "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 run not finished, not measured" in done.stdout
    assert "(4 evaluations)" in done.stdout
    assert len(list((tmp_path / "runs").glob("*-digits-*"))) == 1
    (tmp_path / "pair.toml").write_text(STUDY.replace("[[models]]", '[[evaluations]]\nprobe = "shift"\n[[models]]'))
    states = json.loads(inductive("plan", "pair.toml", "--json").stdout)
    assert states["evaluations_waiting"] == 0 and states["states"] == {"finished": 1, "missing": 1}
    (tmp_path / "pair.toml").write_text(STUDY.replace("[[models]]", '[[evaluations]]\nprobe = "blur"\n[[models]]'))
    waiting = json.loads(inductive("plan", "pair.toml", "--json").stdout)
    assert waiting["evaluations_waiting"] == 5
    assert [one["what"] for one in waiting["evaluations_missing"]] == ["8 px, resize, probe blur"]


@pytest.mark.parametrize(
    ("probes", "strengths", "text"),
    [
        ("blr", None, r"^--probes: 'blr' is no probe; there are all, .*did you mean `blur`"),
        ("shift,", None, r"^--probes: '' is no probe"),
        ("blur,shift", "6", r"^--strengths: 6 is out of range: blur goes from 1 to 5"),
        ("all", "10", r"^--strengths: 10 is out of range: the probes go from 1 to 9"),
        ("all", "much", r"^--strengths: 'much' is not a number"),
        ("all", "1,-1", r"^--strengths: '-1' is not a number"),
    ],
)
def test_probes_and_strengths_that_there_are_not(probes: str, strengths: str | None, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        requests_of(probes, strengths)


def test_a_strength_that_does_not_suit_the_images(finished: tuple[Run, Path]) -> None:
    with pytest.raises(ConfigError, match=r"^--probes: shift: 6 pixels are more than half of an image of 8"):
        probed_evaluations(finished[0], requests_of("shift", "5"))
    assert len(probed_evaluations(finished[0], requests_of("all", None))) == 63


def test_what_cannot_be_measured_is_refused_in_one_line(runs: tuple[str, Path], inductive: Inductive) -> None:
    """What is no study and no run; runs without weights, and without a result. Nothing of the record changes."""
    run, root = runs

    def refused(*arguments: str) -> str:
        done = inductive("probe", *arguments)
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stdout + done.stderr
        return done.stderr

    assert "did you mean `quickstart`? no run 'quickstrat' among the 1 under runs" in refused("quickstrat")
    assert f"'{run}' is one too many: one study, or the ids of runs" in refused("quickstart", run)
    (root / run / "weights.safetensors").unlink()
    assert f"{run}: there are no weights: not kept, or packed without" in refused(run)
    (root / run / "result.json").unlink()
    assert f"{run} is interrupted, so there is nothing to measure" in refused(run)
    assert len(list((root / run / "attempts").iterdir())) == 1
