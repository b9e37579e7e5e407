"""The tables and sentences: against pandas and scipy on the same rows, and against numbers set by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.elements.linked import grid
from analysis.elements.reported import Anchors
from analysis.frame.arms import ArmData, MixedArmsError, split
from analysis.frame.cells import accuracy_by_train_size, at_home, by_carry, summarise
from analysis.frame.frame import load
from analysis.questions.accuracy import sentences as accuracy_sentences
from analysis.questions.accuracy.ranking import accuracy_ranking, rank, ranking_words
from analysis.questions.accuracy.sections import mean_ranks
from analysis.questions.comparisons.verdicts import Judged, Verdicts, verdicts_of
from analysis.questions.data_needed import numbers as data_needed
from analysis.questions.data_needed import sentences as data_needed_sentences
from analysis.questions.fairness import numbers as fairness
from analysis.questions.positions import numbers as ablation
from analysis.questions.positions import sentences as ablation_sentences
from analysis.questions.resolution.retention import with_retention
from analysis.questions.resolution.sentences import answers as resolution_answers
from analysis.statistics.curves import curves_of, paired
from analysis.statistics.intervals import Estimate
from analysis.wording import difference, interval, points, value
from benchmarks.plan.study import Study


@pytest.fixture
def arm(small: tuple[Study, Path]) -> ArmData:
    study, root = small
    [only] = split(load(root, study))
    return only


def test_accuracy_by_train_size(arm: ArmData) -> None:
    """Reference: pandas' mean and scipy's t-interval over the three seeds of each cell."""
    table = accuracy_by_train_size(arm)
    home = arm.rows[(arm.rows["part"] == "test") & (arm.rows["test_resolution"] == 8)]
    assert len(table) == 6
    for row in table.itertuples():
        values = home[(home["label"] == row.label) & (home["train_size"] == row.train_size)]
        low, high = stats.t.interval(0.95, 2, values["accuracy"].mean(), stats.sem(values["accuracy"]))
        assert row.mean == pytest.approx(values["accuracy"].mean())
        assert (row.low, row.high) == pytest.approx((low, min(high, 1)))
        assert row.runs.split() == values.sort_values("seed")["run"].tolist()
        assert (row.n, row.done, row.planned) == (3, 3, 3)


def test_a_cell_without_runs_stays_in_the_table(arm: ArmData) -> None:
    absent = arm.rows["label"] != "resnet"
    table = accuracy_by_train_size(ArmData(arm.arm, arm.dataset, arm.runs, arm.rows[absent]))
    resnet = table[table["label"] == "resnet"]
    assert resnet["done"].tolist() == [0, 0]
    assert resnet["planned"].tolist() == [3, 3]
    assert resnet["mean"].isna().all()


def test_a_cell_of_fewer_seeds_than_planned_says_so_in_a_terminal(arm: ArmData) -> None:
    """By hand: the first run is not evaluated, so that its cell has two of three seeds."""
    lost = arm.rows["run"].iloc[0]
    [label], [size] = (arm.rows.loc[arm.rows["run"] == lost, key].unique() for key in ("label", "train_size"))
    few = ArmData(arm.arm, arm.dataset, arm.runs, arm.rows[arm.rows["run"] != lost])
    links = Anchors(1, tuple(dict.fromkeys(few.runs["label"])))
    table = grid(accuracy_by_train_size(few), few, links, "train_size", str, "")
    found = {
        (row.name.text, head): cell.line for row in table.rows for head, cell in zip(table.head, row.cells, strict=True)
    }
    assert [cell for cell, line in found.items() if line.endswith(" 2/3 seeds")] == [(label, str(size))]


def test_a_table_that_mixes_budgets_is_refused(arm: ArmData) -> None:
    mixed = arm.runs.copy()
    mixed.loc[mixed["seed"] == 0, "budget_kind"] = "epochs"
    with pytest.raises(MixedArmsError, match="budget_kind: epochs, steps"):
        summarise(at_home(arm.rows), mixed, "accuracy")
    twice = arm.rows.loc[[*at_home(arm.rows).index, at_home(arm.rows).index[0]]]
    with pytest.raises(ValueError, match="several evaluations"):
        summarise(twice, arm.runs, "accuracy")


def test_retention_by_hand(arm: ArmData) -> None:
    """Reference: (accuracy - 0.1) / (accuracy at 8 px - 0.1), run by run; a run at chance has none."""
    rows = arm.rows.copy()
    at_chance = rows["run"].iloc[0]
    rows.loc[rows["run"] == at_chance, "accuracy"] = 0.11
    found = with_retention(rows)
    assert found.loc[found["run"] == at_chance, "retention"].isna().all()
    for run, mine in found[found["run"] != at_chance].groupby("run"):
        home, away = (mine.loc[mine["test_resolution"] == r, "accuracy"].iloc[0] for r in (8, 16))
        kept = mine.set_index("test_resolution")["retention"]
        assert kept[8] == pytest.approx(1), run
        assert kept[16] == pytest.approx((away - 0.1) / (home - 0.1))


def test_ways_of_carrying_positions_are_separate_lines(arm: ArmData) -> None:
    """The evaluation at the training resolution belongs to every way; nothing is counted twice."""
    away = arm.rows[(arm.rows["test_resolution"] == 16) & (arm.rows["label"] == "vit learned_1d")]
    rows = by_carry(pd.concat([arm.rows, away.assign(carry="other way")]))
    lines = set(rows.loc[rows["label"] == "vit learned_1d", "line"])
    default = "interpolate:interpolation=bicubic_antialias"
    assert lines == {f"vit learned_1d, carry {default}", "vit learned_1d, carry other way"}
    table = summarise(rows, arm.runs, "accuracy", [8, 16])
    assert (table["done"] == 3).all()


def test_position_ablation_is_paired(arm: ArmData) -> None:
    """Reference: scipy.stats.ttest_rel over the three shared seeds."""
    table = ablation.differences(arm)
    home = at_home(arm.rows)
    assert table["label"].unique().tolist() == ["vit none"]
    for row in table.itertuples():
        mine, other = (
            home[(home["label"] == name) & (home["train_size"] == row.train_size)].sort_values("seed")
            for name in ("vit none", "vit learned_1d")
        )
        expected = stats.ttest_rel(mine["accuracy"], other["accuracy"]).confidence_interval(0.95)
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
        assert row.runs.split() == mine["run"].tolist()
        assert row.reference_runs.split() == other["run"].tolist()


def test_ranking_says_no_more_than_its_intervals(arm: ArmData) -> None:
    """Reference: accuracies set by hand; differences of exactly -0.20 +- noise, and of noise around 0."""
    home = at_home(arm.rows)
    home = home[home["train_size"] == 100].sort_values(["label", "seed"]).copy()
    home["accuracy"] = np.concatenate([[0.80, 0.82, 0.81], [0.79, 0.83, 0.80], [0.60, 0.63, 0.61]])
    ranking = rank(home, "accuracy")
    assert ranking is not None
    assert ranking.leader == "resnet"
    assert [name for name, _ in ranking.level] == ["vit learned_1d"]
    assert [name for name, _ in ranking.below] == ["vit none"]
    one_seed = rank(home[home["seed"] == 0], "accuracy")
    assert one_seed is not None
    assert [name for name, _ in one_seed.unknown] == ["vit learned_1d", "vit none"]


def _made(scores: dict[str, dict[int, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"run": f"{label}-{seed}", "label": label, "draw": seed, "seed": seed, "draw_runs": 1, "accuracy": value}
            for label, mine in scores.items()
            for seed, value in mine.items()
        ]
    )


def test_equal_means_share_their_rank() -> None:
    """Reference: 6/24 and 4/24 have the mean of 5/24 twice, which in floating point is another number."""
    a, b = {0: 6 / 24, 1: 4 / 24}, {0: 5 / 24, 1: 5 / 24}
    assert np.mean([*a.values()]) != np.mean([*b.values()])
    for first, second in ((a, b), (b, a)):
        ranking = rank(_made({"A": first, "B": second, "C": {0: 0.1, 1: 0.1}}), "accuracy")
        assert ranking is not None
        assert (ranking.leader, ranking.highest) == ("A", ("A", "B"))
    means = pd.DataFrame({"label": ["A", "B", "C"], "train_size": 90, "mean": [np.mean([*a.values()]), 5 / 24, 0.1]})
    assert mean_ranks(means) == {"A": 1.5, "B": 1.5, "C": 3.0}


def test_only_a_model_with_most_runs_leads() -> None:
    """Reference: by hand. A's mean is higher, but for want of seed 0, and B is above it wherever both ran; C lacks runs
    and is above the leader where both ran, which no mean over other seeds may hide."""
    b = {0: 0.60, 1: 0.83, 2: 0.8502}
    ranking = rank(_made({"A": {1: 0.80, 2: 0.82}, "B": b}), "accuracy")
    assert ranking is not None
    assert (ranking.leader, ranking.lacking, ranking.passed) == ("B", ("A",), ("A",))
    assert [name for name, _ in ranking.below] == ["A"]
    assert ranking.level == ranking.above == ranking.unknown == ()
    text = ranking_words(ranking, {"A": ("2 of 3 seeds",)})
    assert text == "B 76.0 %, above A (2 of 3 seeds) by 3.0 points. A could lead but lacks runs."

    ranking = rank(_made({"A": {0: 0.5, 1: 0.6, 2: 0.7}, "B": b, "C": {1: 0.861, 2: 0.88}}), "accuracy")
    assert ranking is not None
    assert (ranking.leader, ranking.lacking) == ("B", ("C",))
    assert [name for name, _ in ranking.above] == ["C"]
    text = ranking_words(ranking, {"C": ("2 of 3 seeds",)})
    assert "C (2 of 3 seeds) is 3.0 points above" in text
    assert text.endswith("C could lead but lacks runs.")


def test_a_family_that_has_a_pair_gives_its_verdict() -> None:
    """Reference: by hand. The pair B, A is at 2.0 +- 0.5 points by itself, and at 2.1 +- 3 in the family, which was
    declared as A minus B; C has no family."""
    rows = _made(
        {"A": {0: 0.80, 1: 0.81, 2: 0.82}, "B": {0: 0.780, 1: 0.792, 2: 0.798}, "C": {0: 0.5, 1: 0.52, 2: 0.54}}
    )
    alone = rank(rows, "accuracy")
    assert alone is not None
    assert [name for name, _ in alone.below] == ["B", "C"]
    declared = {("A", "B", 100): Judged(Estimate(0.021, -0.009, 0.051, 3), "pairs")}
    declared[("B", "A", 100)] = -declared[("A", "B", 100)]
    judged = Verdicts(rows.assign(train_size=100), declared)
    ranking = accuracy_ranking(judged, 100)
    assert ranking is not None
    assert ranking.level == (("B", Estimate(-0.021, -0.051, 0.009, 3)),)
    assert [name for name, _ in ranking.below] == ["C"]
    text = ranking_words(ranking, {})
    assert text == "A 81.0 % and B 79.0 %: not separable. C is 29 points below."
    assert judged.of("A", "B", 300).verdict == "no interval"
    assert judged.pairs == (("A", "B"),)


def test_models_are_only_said_to_be_level_together_where_every_pair_is() -> None:
    """Reference: by hand. B and C are each level with A, whose seeds vary; C is below B seed by seed."""
    rows = _made(
        {"A": {0: 0.75, 1: 0.85, 2: 0.80}, "B": {0: 0.79, 1: 0.79, 2: 0.791}, "C": {0: 0.75, 1: 0.752, 2: 0.752}}
    )
    ranking = rank(rows, "accuracy")
    assert ranking is not None
    assert ([name for name, _ in ranking.level], ranking.together) == (["B", "C"], False)
    assert ranking_words(ranking, {}) == "A 80.0 %, not separable from B 79.0 % and C 75.1 %."


def test_many_models_below_are_counted() -> None:
    """Reference: by hand; those of one kind are called by it, and none that has something to be noted is counted."""
    seeds = {
        name: {seed: mean + 0.001 * seed for seed in range(3)}
        for name, mean in {"resnet": 0.9, "vit a": 0.6, "vit b": 0.55, "vit c": 0.5}.items()
    }
    noisy = {"resnet": {0: 0.9, 1: 0.91, 2: 0.905}}
    ranking = rank(_made(seeds | noisy), "accuracy")
    assert ranking is not None
    assert ranking_words(ranking, {}) == "resnet 90.5 %, above the 3 vit models by 30 to 40 points."
    text = ranking_words(ranking, {"vit b": ("2 of 3 seeds",)})
    assert text == "resnet 90.5 %, above vit a, vit b (2 of 3 seeds) and vit c by 30 to 40 points."


def test_a_model_that_diverges_does_not_lead(made_up: Any, tmp_path: Path) -> None:
    """Two of three runs of the best model diverged: what is left of it is no mean to lead by, and it says so."""
    study = made_up.study_of(made_up.SMALL, train_size=100)
    for run in study.runs:
        states = {"resnet": "diverged" if run.seed else "finished", "none": "failed"}
        state = states.get(run.position, states.get(run.model, "finished"))
        made_up.write_record(tmp_path, run, study.evaluations[run.id], state)
    [arm] = split(load(tmp_path, study))
    [answer] = accuracy_sentences.answers(arm)
    assert answer.body.startswith("vit learned_1d ")
    assert "No interval, so no verdict, for resnet (1 of 3 seeds; 2 of 3 runs diverged)." in answer.body
    assert answer.body.endswith("Without any result: vit none (0 of 3 seeds; 3 of 3 runs failed).")


def test_crossed_draws_count_when_whole(made_up: Any, tmp_path: Path) -> None:
    """Reference: by hand. Of three draws with three seeds each, one draw and a third of the second are in: one unit,
    and no interval, though there are four runs (three seeds of one subset are not three draws)."""
    study = made_up.study_of(made_up.SMALL, draw=[0, 1, 2], seed=[0, 1, 2])
    made_up.write_study(tmp_path, study, [run.id for run in study.runs if (run.draw, run.seed) > (1, 0)])
    [arm] = split(load(tmp_path, study))
    table = accuracy_by_train_size(arm)
    assert set(table[["n", "planned_n", "done", "planned"]].itertuples(index=False, name=None)) == {(1, 3, 4, 9)}
    assert table["low"].isna().all()
    home = at_home(arm.rows[arm.rows["label"] == "resnet"])
    of_draw = home[home["draw"] == 0].groupby("train_size")["accuracy"].mean()
    assert table.loc[table["label"] == "resnet", "mean"].tolist() == pytest.approx(of_draw.tolist())
    whole = curves_of(home).whole(1)
    assert whole.values == pytest.approx(of_draw.to_numpy()[None, :])
    assert len(whole) == 1
    assert not ablation.differences(arm)["low"].notna().any()
    said = accuracy_sentences.answers(arm)
    assert all("[" not in answer.body and "(1 of 3 draws" in answer.body for answer in said)
    assert {answer.scope.units for answer in said} == {"3 draws, 3 seeds each"}
    links = Anchors(1, tuple(dict.fromkeys(arm.runs["label"])))
    view = grid(table, arm, links, "train_size", str, "")
    assert {(cell.interval, cell.note) for row in view.rows for cell in row.cells} == {("no interval", "1/3 draws")}
    assert view.n == "n = 1 draw of 3 planned"
    assert set(ablation.differences(arm)["planned_n"]) == {3}

    none = arm.rows[arm.rows["seed"] == 0]
    assert accuracy_sentences.answers(ArmData(arm.arm, arm.dataset, arm.runs, none)) == []
    assert accuracy_by_train_size(ArmData(arm.arm, arm.dataset, arm.runs, none))["n"].tolist() == [0] * 6


def test_curves_pair_over_whole_draws() -> None:
    """Reference: by hand. The other curve lacks a seed of draw 1, so draw 0 alone is paired."""
    rows = pd.DataFrame(
        [
            {"run": f"{draw}-{seed}-{size}", "draw": draw, "seed": seed, "train_size": size, "draw_runs": 2}
            for draw in (0, 1)
            for seed in (0, 1)
            for size in (10, 20)
        ]
    ).assign(accuracy=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    a, b = paired(curves_of(rows), curves_of(rows[rows["run"] != "1-1-20"]))
    assert a.values.tolist() == b.values.tolist() == [pytest.approx([0.2, 0.3])]
    one_seed = rows[rows["seed"] == 0].assign(draw_runs=1)  # a model planned with one seed a draw: both draws count
    a, b = paired(curves_of(rows), curves_of(one_seed))
    assert a.values.tolist() == b.values.tolist() == [[0.1, 0.2], [0.5, 0.6]]


def test_sentences_know_what_they_hold_for(arm: ArmData) -> None:
    judged = verdicts_of(arm)
    needed = [one for one, _ in data_needed_sentences.answers(arm, data_needed.needed(arm), judged, 1)]
    ablated = ablation_sentences.answers(arm, judged.applied(ablation.differences(arm)))
    said = accuracy_sentences.answers(arm) + needed + ablated
    assert [answer.lead for answer in said] == [
        "100 images",
        "300 images",
        "Data needed",
        "No crossover",
        "Positions against vit learned_1d",
    ]
    for answer in said:
        for condition in ("size pico", "recipe digits", "600 steps", "3 seeds"):
            assert condition in answer.conditions
            assert condition not in answer.body
    assert "not separable" in " ".join(answer.body for answer in said) or "above" in said[0].body


def test_digits_claim_nothing_about_resolution(arm: ArmData) -> None:
    [answer] = resolution_answers(arm)
    assert "no claim about architectures" in answer.text
    assert "resnet" not in answer.text
    assert "vit" not in answer.text


def test_another_data_set_does_claim(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(
        made_up.SMALL, dataset="cifar10", size="nano", resolution=32, test_resolutions=[16, 32, 64], train_size=[500]
    )
    made_up.write_study(tmp_path, study)
    [arm] = split(load(tmp_path, study))
    said = resolution_answers(arm)
    assert [answer.lead for answer in said] == [f"Accuracy above chance kept at {side} px" for side in (16, 64)]
    assert all("%" in answer.body for answer in said)


def test_ledger_marks_what_is_unequal(arm: ArmData) -> None:
    runs = arm.runs.copy()
    is_resnet = runs["label"] == "resnet"
    runs.loc[is_resnet, "parameters_backbone"] = 100_000.0
    runs.loc[is_resnet & (runs["train_size"] == 300), "updates"] = 700.0
    runs = runs[~((runs["label"] == "vit none") & (runs["seed"] == 2))]
    table = fairness.ledger(ArmData(arm.arm, arm.dataset, runs, arm.rows)).set_index("label")
    assert table.loc["resnet", "unequal"] == "parameters_backbone macs updates"
    assert table.loc["vit learned_1d", "unequal"] == ""
    assert table.loc["vit none", "unequal"] == "planned"
    assert (table.loc["resnet", "updates_low"], table.loc["resnet", "updates_high"]) == (600, 700)
    assert table["planned"].tolist() == [6, 4, 6]


def test_batch_norm_by_less_than_a_batch_is_in_the_ledger(made_up: Any, tmp_path: Path) -> None:
    """One run that was short of memory: with BatchNorm it is marked, without it nothing differs but rounding."""
    study = made_up.study_of(made_up.SMALL)
    made_up.write_study(tmp_path, study)
    for model, batch_norm in (("resnet", True), ("vit", False)):
        run = next(run for run in study.runs if run.model == model)
        path = tmp_path / run.id / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "micro_batch": 16, "batch_norm": batch_norm}))
    [arm] = split(load(tmp_path, study))
    table = fairness.ledger(arm).set_index("label")
    assert table["batch_norm_short"].to_dict() == {"resnet": 1, "vit none": 0, "vit learned_1d": 0}
    assert {label for label, marks in table["unequal"].items() if "batch_norm_short" in marks} == {"resnet"}


def test_rounding_never_moves_an_end_to_zero() -> None:
    """Nor has a mean fewer decimals than its interval, as in "0.0 points [0.01, 0.02]". Reference: by hand."""
    assert interval(Estimate(0.021, 0.003, 0.039, 3)) == "[0.3, 3.9]"
    assert points(Estimate(0.000151, 0.00011, 0.00019, 3)) == "+0.015 points [0.011, 0.019]"
    assert points(Estimate(-0.00005, -0.00013, 0.00003, 3), signed=False) == "0.005 points [−0.003, 0.013]"
    assert points(Estimate(0.00075, 0.0005, 0.0010, 3)) == "+0.07 points [0.05, 0.10]"
    assert value(Estimate(0.99985, 0.9996, 1.0, 3)) == "99.98 % [99.96, 100.00]"
    assert value(Estimate(0.94, 0.931, 0.949, 3)) == "94.0 % [93.1, 94.9]"
    assert value(Estimate(0.94, np.nan, np.nan, 1)) == "94.0 %"
    assert difference(Estimate(0.5, 0.5 - 1e-7, 0.5 + 1e-7, 3)) == "+50.0000"
    assert interval(Estimate(-0.025, -0.0502, 0.0002, 3)) == "[−5.02, 0.02]"
    assert points(Estimate(-0.025, -0.05, -0.01, 3), signed=False) == "2.5 points [1.0, 5.0]"
    assert points(Estimate(-0.0001, np.nan, np.nan, 1)) == "0.0 points"
