"""Several studies as one: what they share counts once, what they disagree on is refused."""

from typing import Any

import pytest

from analysis.studies import joined
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
