"""Several studies as one: what they share counts once, what they disagree on is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from analysis.frame.arms import split
from analysis.frame.frame import load
from analysis.frame.studies import joined
from analysis.questions.comparisons import families as declared_families
from analysis.questions.comparisons.sentences import method
from analysis.questions.data_needed.baselines import baselines
from benchmarks.errors import ConfigError


def test_runs_and_evaluations_of_all(made_up: Any) -> None:
    """Reference: sets of the ids of both."""
    one = made_up.study_of(made_up.SMALL, test_resolutions=[8])
    two = made_up.study_of(made_up.SMALL, test_resolutions=[8, 12], seed=[2, 3])
    both = joined([one, two])
    assert {run.id for run in both.runs} == {run.id for study in (one, two) for run in study.runs}
    for run in both.runs:
        wanted = {one_ for study in (one, two) for one_ in study.evaluations.get(run.id, [])}
        assert set(both.evaluations[run.id]) == wanted
        assert len(both.evaluations[run.id]) == len(wanted)
    assert both.test_resolutions == (8, 12)
    assert joined([one]) is one


def test_what_they_disagree_on_is_refused(made_up: Any) -> None:
    plain = made_up.study_of(made_up.SMALL)
    with pytest.raises(ConfigError, match="starved_below"):
        joined([plain, made_up.study_of(made_up.SMALL, starved_below=0.5)])
    families = [
        made_up.study_of(made_up.SMALL, comparisons=[{"name": "a", "against": against}])
        for against in ("resnet", "vit none", "resnet")
    ]
    with pytest.raises(ConfigError, match="'a' is another family"):
        joined(families[:2])
    assert len(joined([families[0], families[2]]).comparisons) == 1


def test_a_family_is_of_the_study_that_declares_it(made_up: Any, tmp_path: Path) -> None:
    """By hand: the other study has another size of the same models, and declares nothing: no family there."""
    declares = made_up.study_of(made_up.SMALL, comparisons=[{"name": "a", "against": "resnet"}])
    other = dataclasses.replace(made_up.study_of(made_up.SMALL, size="nano"), name="other")
    both = joined([declares, other])
    made_up.write_study(tmp_path, both)
    tables = {arm.arm.size: declared_families.differences(arm, both) for arm in split(load(tmp_path, both))}
    assert set(tables["pico"]["family"]) == {"a"} and tables["nano"].empty
    assert {one.families for arm in split(load(tmp_path, both)) for one in baselines(arm, both)} == {("a",), ()}
    said = method(both)
    assert said.startswith("Study made-up declares the family of comparisons “a” and study other declares no family")
    again = joined([declares, dataclasses.replace(other, comparisons=declares.comparisons)])
    assert all(len(declared_families.differences(arm, again)) for arm in split(load(tmp_path, again)))


def test_tuning_trials_of_all(made_up: Any) -> None:
    """Reference: by hand. What one study states holds beside one that states nothing; two numbers are refused, both
    named with their studies."""
    plain, stated = made_up.study_of(made_up.SMALL, seed=[0, 1, 2, 3]), made_up.study_of(made_up.SMALL, trials=5)
    both = joined([plain, stated])
    assert both.trials == joined([stated, plain]).trials == stated.trials
    assert len(both.trials) == len(stated.runs) == len(both.runs) * 3 / 4
    other = dataclasses.replace(made_up.study_of(made_up.SMALL, trials=6, seed=[2, 3]), name="other")
    with pytest.raises(ConfigError, match="trials: is 5 in study made-up and 6 in study other, for one and the same"):
        joined([stated, other])
    joined([dataclasses.replace(stated, runs=()), made_up.study_of(made_up.SMALL, trials=6, seed=3)])
