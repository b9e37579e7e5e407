"""Evaluations that finished runs lack, on the page and in `status`. Reference: what is written here."""

from pathlib import Path
from typing import Any

from analysis.elements.reported import reported_arms
from analysis.frame.frame import load
from analysis.frame.waiting import waiting
from analysis.page.answers import answers
from benchmarks.plan.evaluations import in_words
from benchmarks.plan.run import Evaluation
from benchmarks.plan.study import Study
from benchmarks.records.evaluation_files import pass_paths, read_entries, write_evaluations
from benchmarks.records.states import evaluations_missing, missing_words, study_states
from benchmarks.speed.synthetic import write_record


def test_resolutions_that_were_added(made_up: Any, tmp_path: Path) -> None:
    """17 of 18 runs are finished; 16 px, and 24 px on a canvas, were added later, and six runs have the first since.
    The run that is missing lacks nothing but itself."""
    study: Study = made_up.study_of(made_up.SMALL, evaluations=[{"resolution": 24, "images": "canvas"}])
    for number, run in enumerate(study.runs[1:]):
        at = [one for one in study.evaluations[run.id] if one.resolution == 8 or (one.resolution == 16 and number < 6)]
        write_record(tmp_path, run, at)
    expected = {"16 px": study.runs[7:], "24 px, canvas": study.runs[1:]}
    frame, states = load(tmp_path, study), study_states(study, tmp_path)
    found = waiting(frame, study)
    assert {what: set(runs) for what, runs in found} == {what: {run.id for run in on} for what, on in expected.items()}
    assert found == [(one["what"], tuple(one["runs"])) for one in evaluations_missing(states)]
    words = [f"{what} missing for {len(runs)} runs" for what, runs in found]
    assert missing_words(evaluations_missing(states)) == "; ".join(words)
    [claim, *_] = answers(frame, reported_arms(study, frame, tmp_path)).first
    missing = f"17 of 18 runs are finished; 1 run missing; {'; '.join(words)}"
    assert claim.answer.text == f"Incomplete: {missing}. Answers use what is there."


def test_nothing_waits_where_all_is_there(small: tuple[Study, Path]) -> None:
    study, root = small
    frame = load(root, study)
    assert waiting(frame, study) == []
    assert answers(frame, reported_arms(study, frame, root)).first == ()


def test_what_earlier_code_measured_is_waiting_and_shown(small: tuple[Study, Path]) -> None:
    """Reference: what `status` counts of the same records. Two runs at 16 px by other code, one of them stale since:
    nothing measures that again."""
    study, root = small
    for run in study.runs[:2]:
        [path] = pass_paths(root / run.id)
        entries = read_entries(path)
        for one in entries:
            one["code"] = "0" * 8 if one["evaluation"]["resolution"] == 16 else one["code"]
        write_evaluations(root / run.id, 1, entries, {})
    path = root / study.runs[1].id / "execution.json"
    path.write_text(path.read_text().replace('"benchmarks.training.training:Training": "', '"gone:Gone": "'))
    frame, states = load(root, study), study_states(study, root)
    found, first = waiting(frame, study), study.runs[0].id
    assert found == [("16 px by today's measuring code", (first,))]
    assert [(one["what"], tuple(one["runs"])) for one in evaluations_missing(states)] == found
    assert len(frame.rows) == sum(map(len, study.evaluations.values()))
    other = frame.rows[frame.rows["measuring_code"] == "0" * 8]
    assert set(other["run"]) == {run.id for run in study.runs[:2]} and set(other["test_resolution"]) == {16}
    assert (
        not frame.rows["current"][other.index].any() and frame.rows["current"].sum() == len(frame.rows) - 4
    )  # on both parts
    [claim, *_] = answers(frame, reported_arms(study, frame, root)).first
    assert "16 px by today's measuring code missing for 1 run" in claim.answer.text


def test_the_words(made_up: Any) -> None:
    """The part is named where it is not the test part, alone or with others."""
    [run, *_] = made_up.study_of(made_up.SMALL, models=[{"name": "resnet"}]).runs
    at = {part: Evaluation(part=part, resolution=24) for part in ("test", "validation", "test_unique")}
    assert in_words([(run, [at["test"], at["validation"]])]) == [("24 px", (run.id,))]
    assert in_words([(run, [at["validation"]])]) == [("24 px (validation)", (run.id,))]
    assert in_words([(run, [at["test_unique"]])]) == [("24 px (test_unique)", (run.id,))]
    assert in_words([(run, [Evaluation(resolution=24, crop=0.5)])]) == [("24 px, resize, crop 0.5", (run.id,))]
