"""What a page says of a search: of records that were made up, by hand and by other ways of computing it."""

import json
import math
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.elements.reported import ReportedArm, reported_arms
from analysis.frame.frame import load
from analysis.frame.studies import joined
from analysis.questions.fairness.numbers import augmentations
from analysis.questions.tuning.numbers import at_the_edge, explained, numbers
from analysis.questions.tuning.sentences import Lead, _lead_words, change, claims, claims_of_all, leads, limits
from analysis.report import write_report
from analysis.statistics.intervals import Estimate
from analysis.statistics.tuning_curves import tuning_curve
from analysis.verify import verify
from benchmarks.data.dataset import Places
from benchmarks.plan.run import make_run
from benchmarks.plan.search import Choice, Range
from benchmarks.plan.study import Study, expand
from benchmarks.records.record import read_record
from benchmarks.records.stages import outcomes, reported
from benchmarks.speed.synthetic import write_record, write_records

STUDY: dict[str, Any] = {
    "question": "Is it the tuning?",
    "size": "pico",
    "train_size": [100, 300],
    "recipe": "plain",
    "models": [{"name": "resnet"}, {"name": "vit", "position": "none"}],
    "comparisons": [{"name": "all"}],
    "search": {
        "trials": 16,
        "studies": 4,
        "draw": {"learning_rate": "log 1e-4 .. 1e-2", "augmentation": ["plain", "none"], "drop_path": "0 .. 0.2"},
    },
    "confirm": {"seeds": 3},
}


def searched(root: Path, **changes: Any) -> Study:
    """What confirms the search of a study, all of whose records are there."""
    study, places = expand({**STUDY, **changes}, "tuned"), Places(root, root)
    write_records(root, study)
    second = reported(study, places)
    write_records(root, second)
    return second


def arms_of(root: Path, study: Study) -> list[ReportedArm]:
    return reported_arms(study, load(root, study), root)


@pytest.fixture
def arm(tmp_path: Path) -> ReportedArm:
    [one] = arms_of(tmp_path, searched(tmp_path))
    return one


def recorded(arm: ReportedArm, cell: int) -> dict[int, float]:
    """The accuracy of each trial of a search, from its record."""
    assert arm.study.tuning is not None
    found = {}
    for trial in arm.study.tuning.cells[cell].trials:
        [entry] = read_record(arm.root / trial.runs[0].id).evaluations
        found[trial.number] = entry["accuracy"]
    return found


def test_what_was_chosen_differently_stands_in_one_table(arm: ReportedArm) -> None:
    """Each model and train size has a learning rate, an augmentation and a drop path of its own, none of which parts
    the models: they were searched alike."""
    assert arm.arm.recipe == "plain, tuned" and set(arm.runs["label"]) == {"resnet", "vit"}
    assert len(arm.runs) == 2 * 2 * 3 and set(arm.runs["trials"]) == {16.0}
    assert arm.study.tuning is not None and not set(arm.runs["run"]) & arm.study.trial_ids


def test_curves_are_of_the_drawn_trials(arm: ReportedArm) -> None:
    """Reference: the statistics' own curve of accuracies read from the records, without trial 0."""
    of = arm.once(numbers)
    for place, (label, size) in enumerate([("resnet", 100), ("resnet", 300), ("vit", 100), ("vit", 300)]):
        accuracies = recorded(arm, place)
        curve = tuning_curve([accuracies[number] for number in range(1, 17)])
        found = of.curves[(of.curves["label"] == label) & (of.curves["train_size"] == size)]
        for name in ("estimate", "low", "high"):
            np.testing.assert_allclose(found[name], getattr(curve, name))
        assert found["says"].tolist() == [True] * 2 + [False] * 14
    wider = tuning_curve([recorded(arm, 0)[number] for number in range(1, 17)], 0.975)
    together = of.together[(of.together["label"] == "resnet") & (of.together["train_size"] == 100)]
    np.testing.assert_allclose(together["low"], wider.low)


def test_what_was_chosen(arm: ReportedArm) -> None:
    """Reference: the largest accuracy, by hand; four searches of four trials each; test accuracy from the records."""
    of = arm.once(numbers)
    row = of.chosen.iloc[3]
    accuracies = recorded(arm, 3)
    assert (row["label"], row["train_size"], row["searches"], row["trials"]) == ("vit", 300, 4, 16)
    assert row["trial"] == max(accuracies, key=lambda number: (accuracies[number], -number))
    assert row["validation_accuracy"] == max(accuracies.values()) and row["recipe_accuracy"] == accuracies[0]
    best = [max(accuracies[number] for number in range(first, first + 4)) for first in (1, 5, 9, 13)]
    assert (row["best_median"], row["best_low"], row["best_high"]) == (np.median(best), min(best), max(best))
    tests = [
        entry["accuracy"]
        for run in arm.study.runs
        if (run.model, run.train_size) == ("vit", 300)
        for entry in read_record(arm.root / run.id).evaluations
        if entry["evaluation"]["part"] == "test"
    ]
    assert row["n"] == len(tests) == 3 and row["confirmed"] == pytest.approx(np.mean(tests))
    assert row["seed_deviation"] == pytest.approx(np.std(tests, ddof=1))
    assert row["optimism"] == pytest.approx(row["validation_accuracy"] - np.mean(tests))
    assert row["overfits"] == "-"  # these records have no loss on the validation part


@pytest.mark.parametrize(
    ("losses", "answer"), [([], "-"), ([0.5], "-"), ([0.9, 0.5, 0.52], "no"), ([0.9, 0.5, 0.53], "yes")]
)
def test_a_winner_that_overfits_late(tmp_path: Path, losses: list[float], answer: str) -> None:
    """By hand: 5 % above the lowest; not known of a run that logged at most one validation loss."""
    study, places = expand({**STUDY, "train_size": 100}, "tuned"), Places(tmp_path, tmp_path)
    write_records(tmp_path, study)
    second = reported(study, places)
    write_records(tmp_path, second)
    [arm] = arms_of(tmp_path, second)
    assert study.tuning is not None
    winner = study.tuning.cells[0].trials[outcomes(study, places)[0].chosen or 0].runs[0]
    rows = [{"step": 10 * number, "loss": 1.0, "validation_loss": loss} for number, loss in enumerate(losses, 1)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / winner.id / "metrics.jsonl").write_text(text)
    of = arm.once(numbers)
    assert of.chosen["overfits"].tolist() == [answer, "-"]
    assert any("overfit late" in claim.answer.lead for claim in limits(arm)) == (answer == "yes")


def test_a_report_of_two_studies_has_both_searches(tmp_path: Path) -> None:
    """Each arm knows whose search it confirms."""
    one = searched(tmp_path, train_size=100)
    other = searched(tmp_path, train_size=100, budget={"steps": 300})
    arms = reported_arms(joined([one, other]), load(tmp_path, one, other), tmp_path)
    assert len(arms) == 2
    assert [len(arm.once(numbers).chosen) for arm in arms] == [2, 2]


def test_a_trial_that_diverged_counts_as_the_worst(tmp_path: Path) -> None:
    study, places = expand(STUDY, "tuned"), Places(tmp_path, tmp_path)
    assert study.tuning is not None
    gone = study.tuning.cells[0].trials[7].runs[0]
    for run in study.runs:
        write_record(tmp_path, run, study.evaluations[run.id], "diverged" if run == gone else "finished")
    second = reported(study, places)
    write_records(tmp_path, second)
    [arm] = arms_of(tmp_path, second)
    of = arm.once(numbers)
    assert of.chosen["diverged"].tolist() == [1, 0, 0, 0]
    first = of.trials[(of.trials["label"] == "resnet") & (of.trials["train_size"] == 100)]
    assert first["diverged"].tolist() == [number == 7 for number in range(17)] and math.isnan(first["accuracy"].iloc[7])
    assert of.curves["low"].iloc[0] == 0.0 if first["accuracy"].rank().iloc[7] == 1 else True


def test_what_a_hyper_parameter_explains() -> None:
    """A monotone effect, and one with its best in the middle, explain everything; none explains nearly nothing, on
    average over 200 searches; equal accuracies leave nothing to explain."""
    place = np.linspace(0, 1, 16)
    columns = np.stack([place, place**2], axis=1)
    assert explained(columns, list(place)) == pytest.approx(1.0)
    assert explained(columns, list(-((place - 0.5) ** 2))) > 0.9
    assert explained(columns[:, :1], list(-((place - 0.5) ** 2))) == 0.0
    rng = np.random.default_rng(0)
    assert np.mean([explained(columns, list(rng.random(16))) for _ in range(200)]) < 0.1
    assert math.isnan(explained(columns, [0.5] * 16)) and math.isnan(explained(columns[:3], [0.1, 0.2, 0.3]))
    assert explained((place > 0.5)[:, None].astype(float), list(np.floor(2 * place - 1e-9))) > 0.9


def test_the_edge_of_a_range() -> None:
    """The outer tenth at both ends, on the range's own scale; what the recipe has where nothing was drawn; a choice has
    no edge."""
    run = make_run({"recipe": {"name": "plain", "learning_rate": 0.5}})
    space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "weight_decay": Range(0.0, 1.0),
        "flip": Choice((True, False)),
    }
    assert at_the_edge(run, {"learning_rate": 1.5e-4, "weight_decay": 0.5, "flip": True}, space) == ["learning_rate"]
    assert at_the_edge(run, {"learning_rate": 1.7e-4, "weight_decay": 0.95, "flip": True}, space) == ["weight_decay"]
    assert "learning_rate" in at_the_edge(run, {}, space)
    natural = {"weight_decay": Range(0.0, 1.0), "drop_path": Range(0.5, 1.0), "label_smoothing": Range(0.1, 0.2)}
    values = {"weight_decay": 0.01, "drop_path": 0.99, "label_smoothing": 0.1}
    assert at_the_edge(run, values, natural) == ["label_smoothing"]  # no decay is below 0, no drop path above 1
    assert at_the_edge(run, {"weight_decay": 0.99, "drop_path": 0.5, "label_smoothing": 0.15}, natural) == [
        "weight_decay",
        "drop_path",
    ]


def table(label: str, rows: list[tuple[float, float, float, bool]]) -> pd.DataFrame:
    columns = dict(zip(("estimate", "low", "high", "says"), zip(*rows, strict=True), strict=True))
    return pd.DataFrame({"label": label, "k": range(1, len(rows) + 1), **columns})


def test_who_leads_at_equal_trials() -> None:
    """By hand: at the largest k about which both bands say anything; the interval from the one's low end less the
    other's high end; the order of the estimates changes at the third trial."""
    one = table("a", [(0.5, 0.4, 0.6, True), (0.7, 0.65, 0.8, True), (0.8, 0.7, 1.0, False)])
    two = table("b", [(0.3, 0.2, 0.5, True), (0.5, 0.4, 0.6, True), (0.9, 0.4, 1.0, False)])
    [lead] = leads(pd.concat([two, one]))
    assert (lead.label, lead.other, lead.k, lead.trials, lead.changes, lead.told) == ("a", "b", 2, 3, 3, True)
    assert (lead.difference.mean, lead.difference.low) == (pytest.approx(0.2), pytest.approx(0.05))
    assert lead.difference.high == pytest.approx(0.4)
    assert leads(one) == [] and leads(pd.concat([two, one]).assign(says=False)) == []
    assert change({1: 0.2, 2: 0.3, 3: 0.3}, {1: 0.1, 2: 0.3, 3: 0.4}) == 3
    assert change({1: 0.2, 2: 0.3}, {1: 0.1, 2: 0.3}) is None


def test_sentences(arm: ReportedArm) -> None:
    """One a train size, with a verdict or without; what lies at an edge is named."""
    said = [claim.answer.text for claim in claims(arm)]
    assert len(said) == 2 and all("with k = 1 of 16 drawn trials each, " in text for text in said)
    assert all(" leads " in text and "by the estimates" in text for text in said)
    edges = arm.once(numbers).chosen["boundary"].str.len() > 0
    assert bool(list(limits(arm))) == edges.any()


def test_the_sentence_of_three_models() -> None:
    """By hand: led by so much, not told, and where the order of the estimates changes."""
    one, two = Estimate(0.2, 0.05, 0.4, 2), Estimate(0.02, -0.1, 0.14, 2)
    found = [Lead("a", "b", 2, 16, one, None), Lead("a", "c", 2, 16, two, 3)]
    assert _lead_words(found) == (
        "with k = 2 of 16 drawn trials each, by the best one's validation accuracy, a leads b by 20.0 points "
        "[5.0, 40.0]; it cannot be told whether a leads c "
        "(+2.0 points [−10.0, 14.0]); by the estimates their order changes at k = 3 for c"
    )
    assert _lead_words(found[:1]).endswith("; by the estimates a is first at every k")
    same = Lead("a", "b", 2, 16, Estimate(0.05, 0.05, 0.05, 2), None)
    assert "a leads b by 5.0 points [5.0, 5.0]; by" in _lead_words([same])


def test_what_is_not_confirmed_is_named(tmp_path: Path) -> None:
    """A search that is not done, and one that came to nothing; of a study that is done nothing is said."""
    study, places = expand(STUDY, "tuned"), Places(tmp_path, tmp_path)
    assert study.tuning is not None
    of = [{run.id for trial in cell.trials for run in trial.runs} for cell in study.tuning.cells]
    for run in study.runs[1:]:
        write_record(tmp_path, run, study.evaluations[run.id], "diverged" if run.id in of[3] else "finished")
    [claim] = claims_of_all(arms_of(tmp_path, reported(study, places)))
    assert claim.answer.body == (
        "resnet with 100 images (1 run of its search left) and vit none with 300 images (every trial diverged)."
    )
    write_record(tmp_path, study.runs[0], study.evaluations[study.runs[0].id])
    [claim] = claims_of_all(arms_of(tmp_path, reported(study, places)))
    assert "resnet" not in claim.answer.body


def test_train_sizes_that_share_a_search(tmp_path: Path) -> None:
    """What was searched at the largest is of that alone: no curve, trial or optimism of others is made of it."""
    [arm] = arms_of(tmp_path, searched(tmp_path, search={**STUDY["search"], "share": "train_size"}))
    of = arm.once(numbers)
    assert of.chosen["train_size"].tolist() == [100, 300] * 2 and set(of.chosen["searched_size"]) == {300}
    assert of.chosen["optimism"].isna().tolist() == [True, False] * 2
    for table in (of.trials, of.curves, of.together, of.sensitivity):
        assert set(table["train_size"]) == {300}
    assert len(list(claims(arm))) == 1 and not any("n = 100" in claim.answer.body for claim in limits(arm))
    assert set(of.chosen["validation_accuracy"]) == {max(recorded(arm, cell).values()) for cell in (0, 1)}


def test_trials_with_less_of_the_budget_show_no_optimism(tmp_path: Path) -> None:
    """The difference to what was trained longer is that of the budget."""
    [arm] = arms_of(tmp_path, searched(tmp_path, search={**STUDY["search"], "budget": {"share": 0.25}}))
    chosen = arm.once(numbers).chosen
    assert chosen["optimism"].isna().all() and set(chosen["searched_budget"]) == {0.25}


def test_what_does_not_reach_a_network_is_not_said_of_it(tmp_path: Path) -> None:
    """A network without drop path was not tuned in it, has none chosen, and none that explains anything."""
    [arm] = arms_of(tmp_path, searched(tmp_path, models=[{"name": "simple_cnn"}, {"name": "resnet"}]))
    of = arm.once(numbers)
    for label, has in (("simple_cnn", False), ("resnet", True)):
        names = set(of.sensitivity.loc[of.sensitivity["label"] == label, "hyperparameter"])
        assert names == {"learning_rate", "augmentation"} | ({"drop_path"} if has else set())
        settings = of.trials.loc[(of.trials["label"] == label) & (of.trials["trial"] > 0), "settings"]
        assert all(("drop_path" in text) == has for text in settings)


def test_a_ledger_has_the_augmentation_of_every_train_size() -> None:
    """By hand: what was chosen at one size is not said of another."""
    runs = pd.DataFrame({"train_size": [500, 500, 2000, 4000], "augmentation": ["strong", "strong", "crop", "crop"]})
    assert augmentations(runs) == "strong (n = 500); crop (n = 2,000 and 4,000)"
    assert augmentations(runs[runs["train_size"] > 500]) == "crop"


def test_stale_trials_are_named(tmp_path: Path) -> None:
    """With how many runs there are; of a search whose sources are today's nothing is said."""
    study, places = expand({**STUDY, "train_size": 100}, "tuned"), Places(tmp_path, tmp_path)
    for place, run in enumerate(study.runs):
        write_record(tmp_path, run, study.evaluations[run.id], "stale" if place in (3, 5) else "finished")
    second = reported(study, places)
    write_records(tmp_path, second)
    [arm] = arms_of(tmp_path, second)
    [said] = [claim.answer.body for claim in limits(arm) if "stale" in claim.answer.lead]
    assert said == "resnet at n = 100 (2 runs): the sources of these trials have changed since."


def test_few_trials_say_nothing(tmp_path: Path) -> None:
    [arm] = arms_of(tmp_path, searched(tmp_path, search={**STUDY["search"], "trials": 4}))
    assert [claim.answer.body for claim in claims(arm)] == [
        "bands of 4 trials say nothing about the best of any number of them."
    ] * 2


def test_spaces_that_differ_are_in_the_ledger(tmp_path: Path) -> None:
    """As what of the recipe is not equal, marked."""
    models = [{"name": "resnet", "search": {"drop_path": "recipe"}}, {"name": "vit", "position": "none"}]
    study = searched(tmp_path, models=models)
    own = load(tmp_path, study).runs.drop_duplicates("label").set_index("label")["recipe_own"]
    assert "searched drop_path=-" in own["resnet"] and "searched drop_path=0 .. 0.2" in own["vit"]
    assert "learning_rate" not in own["resnet"]


def test_the_page_has_it_in_every_format(tmp_path: Path) -> None:
    """A chapter of its own with its figure, tables, sentences and CSV files; the same bytes twice; and no run of the
    search is taken for a neighbour that was left out."""
    study = searched(tmp_path / "runs")
    formats = ("html", "latex", "markdown", "csv")
    written = write_report(study, tmp_path / "runs", tmp_path / "page", formats)
    first = {path: path.read_bytes() for path in (tmp_path / "page").rglob("*") if path.is_file()}
    for name in ("index.html", "report.md", "latex/report.tex"):
        assert "tuning-1" in (tmp_path / "page" / name).read_text()
    for name in ("index.html", "report.md", "latex/table-tuning-1-1.tex"):
        text = (tmp_path / "page" / name).read_text()
        assert "confirmed" in text and "optimism" in text
    for path in (tmp_path / "page" / "tables").glob("*.csv"):
        names = path.read_text().splitlines()[0].split(",")
        assert len(set(names)) == len(names), path.name
    for name in ("trials", "curves", "chosen", "sensitivity"):
        assert not pd.read_csv(tmp_path / "page" / "tables" / f"tuning-{name}.csv").empty
    assert any("Tuned alike" in line for line in written.answers)
    methods = " ".join((tmp_path / "page" / "methods.txt").read_text().split())
    assert "16 settings were drawn (random) in 4 equal searches before any was trained" in methods
    assert "drop path tuned, augmentation tuned; what is not named" in methods and "crop padding tuned" not in methods
    assert any("setting that its own search has chosen" in warning for warning in written.warnings)
    assert not any("fairness ledger shows every number" in warning for warning in written.warnings)
    assert "lourie2024show" in (tmp_path / "page" / "references.bib").read_text()
    assert "No finished run that could stand in these tables was left out" in (tmp_path / "page/report.md").read_text()
    write_report(study, tmp_path / "runs", tmp_path / "page", formats)
    assert {path: path.read_bytes() for path in first} == first
    assert study.tuning is not None
    trial = study.tuning.cells[0].trials[3].runs[0].id
    assert verify(tmp_path / "page" / "index.html", tmp_path / "runs").runs == len(study.every_run) == 4 * (17 + 3)
    shutil.rmtree(tmp_path / "runs" / trial)
    found = verify(tmp_path / "page" / "index.html", tmp_path / "runs").differences
    assert found == (f"{trial}: there is no such record here",)


def test_a_search_that_was_edited_after_its_first_trials(tmp_path: Path) -> None:
    """Two trials were done in January, another was asked for in March, the confirmation is of April: an edit after the
    first result, though before all that the tables are of."""
    text = "size = 'pico'\n[[models]]\nname = 'resnet'\n[search]\ntrials = {}\ndraw = {{ ema = '0 .. 0.9' }}\n"
    texts = [text.format(number) for number in (2, 3)]
    before, now = (replace(expand(tomllib.loads(one), "s"), text=one) for one in texts)
    for when, one in zip(("2025-12-01", "2026-03-01"), texts, strict=True):
        path = tmp_path / ".studies" / "s" / f"{when}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"study": "s", "first_run": f"{when} 00:00:00 UTC", "text": one}))
    write_records(tmp_path, before)  # as of the first of January
    early = {run.id for run in before.runs}
    write_records(tmp_path, replace(now, runs=tuple(run for run in now.runs if run.id not in early)))
    second = reported(now, Places(tmp_path, tmp_path))
    write_records(tmp_path, second)
    for run in second.every_run:
        if run.id not in early:
            owner = tmp_path / run.id / "attempts" / "0001" / "owner.json"
            owner.write_text(owner.read_text().replace("2026-01-01", "2026-04-01"))
    write_report(second, tmp_path, tmp_path / "page", ("markdown",))
    page = (tmp_path / "page" / "report.md").read_text()
    assert "Edits of study s since its first result (2026-01-01" in page and "search.trials" in page
