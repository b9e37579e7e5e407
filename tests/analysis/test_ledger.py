"""The fairness ledger: what an image costs at each resolution, how fast it was, and the warning above the answers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.arms import split
from analysis.fairness import by_resolution
from analysis.findings import find
from analysis.frame import load
from analysis.methods import warnings
from analysis.report import write_report
from benchmarks.cost import facts
from benchmarks.run import Run
from benchmarks.study import Study, single


def with_true_macs(root: Path, study: Study) -> None:
    """Gives made-up records the MACs that their networks have."""
    for run in study.runs:
        path = root / run.id / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "macs": int(facts(run).macs)}))


def cost(study: Study, root: Path, resolutions: list[int]) -> pd.DataFrame:
    [arm] = split(load(root, study))
    table = by_resolution(arm, {run.id: run for run in study.runs}, resolutions)
    return table.set_index(["label", "test_resolution"])


def test_macs_at_other_resolutions(small: tuple[Study, Path]) -> None:
    """Reference: a ResNet is convolutions at total stride 4 and then its head, so four times the pixels are four times
    the MACs but for the head's; a ViT's grow by more, because attention grows with the square of the tokens."""
    study, root = small
    with_true_macs(root, study)
    table = cost(study, root, [4, 8, 16])
    resnet, vit = (next(run for run in study.runs if run.model == name) for name in ("resnet", "vit"))
    head = facts(resnet).parameters["head"] - 10  # without its biases: a multiply-accumulate a weight
    at = {side: table.loc[("resnet", side), "macs"] for side in (8, 16)}
    assert at[8] == facts(resnet).macs
    assert at[16] - head == 4 * (at[8] - head)
    assert table.loc[("vit none", 16), "macs"] > 4.01 * table.loc[("vit none", 8), "macs"]
    assert (table["flops"] == 2 * table["macs"]).all()
    assert vit.id in table.loc[("vit none", 4), "runs"].split()


def test_macs_of_another_network_than_the_recorded_one_are_not_shown(small: tuple[Study, Path]) -> None:
    """The made-up records have MACs that no network here has."""
    study, root = small
    table = cost(study, root, [8, 16])
    assert table.loc[("resnet", 8), "macs"] == 5_600_000
    assert math.isnan(table.loc[("resnet", 16), "macs"])


def test_the_speed_of_an_evaluation_is_recorded(
    tiny: Callable[..., Run], perform: Callable[..., Any], tmp_path: Path
) -> None:
    """Reference: the attempt's own record of it; the images of the part, so many a second."""
    run = tiny()
    perform(run)
    ended = json.loads((tmp_path / run.id / "attempts" / "0001" / "ended.json").read_text())
    study = single(run)
    assert set(ended["evaluation_rates"]) == {one.id for one in study.evaluations[run.id]}
    rows = load(tmp_path, study).rows.set_index("evaluation")["evaluated_per_second"]
    assert rows.to_dict() == pytest.approx(ended["evaluation_rates"])
    assert (rows > 0).all()
    took = sum(load(tmp_path, study).rows["count"] / rows.to_numpy())
    assert took <= ended["seconds"]["evaluation"] * 1.001 + 0.001
    table = cost(study, tmp_path, [8])
    assert table["evaluated"].iloc[0] == rows[study.evaluations[run.id][0].id]


def test_unequal_recipes_and_budgets_are_warned_of_at_the_top(made_up: Any, tmp_path: Path) -> None:
    """Reference: the studies made here. Several arms with the same models are no reason to warn."""
    models = [{"name": "resnet", "recipe": "plain"}, {"name": "vit", "position": "none"}]
    budgets = [{"name": "resnet", "budget": {"steps": 100}}, {"name": "vit", "position": "none"}]
    arms = [{"budget": {"steps": 600}}, {"budget": {"epochs": 20}}]
    table = {key: value for key, value in made_up.SMALL.items() if key != "budget"}
    for name, study, said in (
        ("recipes", made_up.study_of(made_up.SMALL, models=models), "recipes of their own"),
        ("budgets", made_up.study_of(made_up.SMALL, models=budgets), "100 steps: resnet; 600 steps: vit"),
        ("arms", made_up.study_of(table, arms=arms), None),
    ):
        root = tmp_path / name
        made_up.write_study(root, study)
        found = warnings(find(study, load(root, study), root))
        report = write_report(study, root, root / "out")
        page = report.page.read_text(encoding="utf-8")
        assert report.warnings == list(found)
        if said is None:
            assert found == ()
            assert 'class="warnings"' not in page
        else:
            assert said in " ".join(found)
            assert page.index(said) < page.index("<h2>Answers</h2>")
