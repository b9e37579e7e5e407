"""Torn, foreign and renamed folders are rows of problems, whatever is in them, and change nothing else."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.frame.frame import load
from analysis.provenance.digests import traces
from analysis.provenance.provenance import provenance
from analysis.provenance.trust import trust
from benchmarks.plan.study import Study, expand
from benchmarks.records.evaluation_files import packed, read_entries
from benchmarks.speed.synthetic import write_records

STRANGE = (None, True, -1, 10**400, 1.5, float("nan"), "", "text", [], [1], [[]], {}, {"a": 1})


@pytest.fixture
def two() -> Study:
    return expand({"seed": [0, 1], "models": [{"name": "resnet"}], "test_resolutions": [4, 8]}, "two")


@pytest.fixture
def several() -> Study:
    """Five runs to be torn at once, and one more, the last."""
    return expand({"seed": [0, 1, 2, 3, 4, 5], "models": [{"name": "resnet"}], "test_resolutions": [4, 8]}, "several")


def changed(value: Any, rng: random.Random) -> Any:
    """The value with one thing in it replaced or taken away, somewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        return [changed(one, rng) if number == place else one for number, one in enumerate(value)]
    return rng.choice(STRANGE)


@pytest.mark.parametrize("file", ["config.json", "execution.json", "result.json", "attempts/0001/ended.json", "index"])
def test_no_content_of_a_folder_stops_the_others(file: str, several: Study, tmp_path: Path) -> None:
    """Forty changes of each file, drawn, five at once: a problem each, or a row; the other run is as it was."""
    rng = random.Random(file)
    write_records(tmp_path, several)
    *mine, other = (tmp_path / run.id for run in several.runs)
    whole = load(tmp_path, several).rows
    whole = whole[whole["run"] == other.name].reset_index(drop=True)
    paths = [folder / ("evaluations/0001.npz" if file == "index" else file) for folder in mine]
    contents = [read_entries(path) if file == "index" else json.loads(path.read_text()) for path in paths]
    said = 0
    for _ in range(40 // len(mine)):
        for path, content in zip(paths, contents, strict=True):
            torn = changed(content, rng)
            path.write_bytes(packed(torn, {}) if file == "index" else json.dumps(torn).encode())
        for study in (several, None):
            frame = load(tmp_path, study)
            assert len(frame.runs) + (len(frame.problems) if study is None else 0) == len(several.runs)
            said += len(frame.problems)
            rows = frame.rows[frame.rows["run"] == other.name].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows[["run", "accuracy", "nll"]], whole[["run", "accuracy", "nll"]])
            assert frame.rows["accuracy"].dtype == np.float64
    assert said > 0


@pytest.mark.parametrize(
    "file", ["config.json", "execution.json", "result.json"]
    + [f"attempts/0001/{name}.json" for name in ("owner", "ended", "environment")],
)  # fmt: skip
def test_nor_what_is_said_beside_the_numbers(file: str, several: Study, tmp_path: Path) -> None:
    """Forty changes of each file, drawn, five at once: what a report says of origin and trust comes about all the same,
    whether the runs are of the study or lie beside it."""
    rng = random.Random(file)
    write_records(tmp_path, several)
    paths = [tmp_path / run.id / file for run in several.runs[:-1]]
    absent = {"started": "2026-01-01 00:00:00 UTC", "host": "h"}
    contents = [json.loads(path.read_text()) if path.exists() else absent for path in paths]
    one = expand({"seed": [5], "models": [{"name": "resnet"}], "test_resolutions": [4, 8]}, "one")
    for _ in range(40 // len(paths)):
        for path, content in zip(paths, contents, strict=True):
            path.write_text(json.dumps(changed(content, rng)))
        for study in (several, one):
            found = traces(tmp_path, [run.id for run in study.runs])
            assert provenance(found).facts
            assert trust([study], tmp_path, found, load(tmp_path, study)).findings


def test_torn_texts_of_a_study_are_said(two: Study, tmp_path: Path) -> None:
    write_records(tmp_path, two)
    folder = tmp_path / ".studies" / "two"
    folder.mkdir(parents=True)
    for number, text in enumerate(('{"study": "tw', "[]", '{"first_run": 3, "text": "x"}', '{"first_run": "now"}')):
        (folder / f"{number}.json").write_text(text)
    said = trust([two], tmp_path, traces(tmp_path, [run.id for run in two.runs]), load(tmp_path, two)).findings[0]
    assert said.alarming
    assert "0.json, 1.json, 2.json and 3.json cannot be read" in said.text


def test_a_copied_folder_is_no_second_run(two: Study, tmp_path: Path) -> None:
    """The same run twice would narrow an interval."""
    write_records(tmp_path, two)
    shutil.copytree(tmp_path / two.runs[0].id, tmp_path / "copy")
    frame = load(tmp_path)
    assert frame.problems["folder"].tolist() == ["copy"]
    assert f"the record of {two.runs[0].id}" in frame.problems["problem"][0]
    assert len(frame.runs) == 2


def test_files_that_are_folders_are_problems(two: Study, tmp_path: Path) -> None:
    write_records(tmp_path, two)
    (tmp_path / two.runs[0].id / "result.json").unlink()
    (tmp_path / two.runs[0].id / "result.json").mkdir()
    assert load(tmp_path, two).problems["folder"].tolist() == [two.runs[0].id]
