"""The fairness ledger: what an image costs at each resolution, how fast it was, and the warning above the answers."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.elements.reported import reported_arms
from analysis.frame.arms import split
from analysis.frame.frame import load
from analysis.page.answers import answers
from analysis.page.methods import protocol, warnings
from analysis.questions.fairness.numbers import by_resolution, by_runs_beside, ledger
from analysis.questions.fairness.numbers import numbers as fairness
from analysis.questions.fairness.sections import ledger_table, shared_table
from analysis.report import write_report
from benchmarks.forecast.cost import facts
from benchmarks.plan.run import Run, default_evaluation
from benchmarks.plan.study import Study, single


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


def test_an_evaluation_is_alone_by_its_own_attempt(
    tiny: Callable[..., Run], perform: Callable[..., Any], tmp_path: Path
) -> None:
    """Trained and measured alone, then measured at another resolution beside another run. Reference: what the attempts
    were told."""
    run = tiny()
    home, other = (default_evaluation(run, "test", resolution) for resolution in (8, 12))
    perform(run, evaluations=[home])
    perform(run, runs_per_gpu=2, evaluations=[home, other])
    study = dataclasses.replace(single(run), evaluations={run.id: [home, other]})
    rows = load(tmp_path, study).rows.set_index("evaluation")
    assert rows["evaluated_per_second"].notna().all() and rows["alone"].all()
    assert rows["evaluated_alone"].to_dict() == {home.id: True, other.id: False}
    assert cost(study, tmp_path, [8, 12])["evaluated"].notna().tolist() == [True, False]


def ledger_of(study: Study, root: Path) -> pd.DataFrame:
    [arm] = split(load(root, study))
    return ledger(arm).set_index("label")


@pytest.mark.parametrize(
    ("trials", "said", "unequal"),
    [
        ((None, None), ("not stated", "not stated"), False),
        ((50, 50), ("50", "50"), False),
        ((0, 0), ("0", "0"), False),
        ((1500, 0), ("1,500", "0"), True),
        ((50, None), ("50", "not stated"), True),
    ],
)
def test_tuning_trials_are_in_the_ledger(
    made_up: Any, tmp_path: Path, trials: tuple[int | None, ...], said: tuple[str, str], unequal: bool
) -> None:
    """Reference: the studies made here. A difference is marked, listed and warned of; no study, no statement."""
    models = [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d"]}]
    stated = [{**model, **({"trials": n} if n is not None else {})} for model, n in zip(models, trials, strict=True)]
    study = made_up.study_of(made_up.SMALL, models=stated, test_resolutions=[8])
    root = tmp_path / "runs"
    made_up.write_study(root, study)
    table = ledger_of(study, root)
    assert dict(table["trials"]) == {"resnet": said[0], "vit none": said[1], "vit learned_1d": said[1]}
    assert ["trials" in marks.split() for marks in table["unequal"]] == [unequal] * 3
    assert load(root).runs["trials"].isna().all()

    frame = load(root, study)
    arms = reported_arms(study, frame, root)
    shown = ledger_table(arms[0].once(fairness).ledger, arms[0].data, arms[0].links)
    cells = {row.name.text: row.cells[shown.head.index("tuning trials")] for row in shown.rows}
    assert (cells["resnet"].text, cells["resnet"].signs) == (said[0], "≠" if unequal else "")
    unlike = [answer.text for answer, _ in answers(frame, arms) if answer.lead.startswith("Not equal")]
    assert any("tuning trials (resnet, vit none and vit learned_1d)" in text for text in unlike) == unequal
    named = f"{said[0]} (resnet); {said[1]} (vit none and vit learned_1d)"
    known = "are not known to be" if None in trials else "were not"
    assert any(named in text and f"{known} tuned alike" in text for text in warnings(arms)) == unequal
    alike = said[0] if said[0] == "not stated" else f"{said[0]} for each model"
    assert protocol(frame, arms)[0].endswith(f"was fixed: {named if unequal else alike}.")


def test_the_method_names_encodings_that_labels_leave_out(made_up: Any, tmp_path: Path) -> None:
    """Reference: the study made here, whose ViT and hybrid have one encoding each."""
    models = [{"name": "resnet"}, {"name": "vit", "position": "rope_axial"}, {"name": "conv_stem_vit"}]
    study = made_up.study_of(made_up.SMALL, models=models, comparisons=[])
    made_up.write_study(tmp_path, study)
    frame = load(tmp_path, study)
    [done, *_] = protocol(frame, reported_arms(study, frame, tmp_path))
    assert " resnet, vit (rope_axial) and conv_stem_vit (learned_1d), size pico, were trained" in done


def test_trials_are_compared_at_the_same_train_size(made_up: Any, tmp_path: Path) -> None:
    """Reference: by hand. Every model tuned at 100 images and not at 300 is equal; in turns, or for some seeds only,
    it is not."""
    models = [{"name": "resnet"}, {"name": "swin"}]
    arms = [{"train_size": 100, "trials": 50}, {"train_size": 300, "trials": 0}]
    alike = made_up.study_of(made_up.SMALL, models=models, arms=arms)
    table = ledger_of(alike, tmp_path)
    assert set(table["trials"]) == {"0 and 50"}
    assert not table["unequal"].str.contains("trials").any()
    first, second = (run.id for run in alike.runs if run.model == "swin" and run.seed == 0)
    turned = {**alike.trials, first: alike.trials[second], second: alike.trials[first]}
    assert ledger_of(dataclasses.replace(alike, trials=turned), tmp_path)["unequal"].str.contains("trials").all()
    some = {run.id: 50 for run in alike.runs if run.seed == 0}
    table = ledger_of(dataclasses.replace(alike, trials=some), tmp_path)
    assert set(table["trials"]) == {"50 and not stated"}
    assert table["unequal"].str.contains("trials").all()


def on(root: Path, run: Run, processor: str, speed: float, attempt: int = 1) -> None:
    """Says of an attempt on what processor it was made, and how fast."""
    folder = root / run.id / "attempts" / f"{attempt:04d}"
    if attempt > 1:
        shutil.copytree(root / run.id / "attempts" / "0001", folder)
    (folder / "environment.json").write_text(json.dumps({"cpu": processor, "gpu": None}))
    ended = json.loads((folder / "ended.json").read_text())
    (folder / "ended.json").write_text(json.dumps({**ended, "images_per_second": speed or None}))


def test_another_processor_is_another_machine(small: tuple[Study, Path]) -> None:
    """Reference: the records made here, of one instruction set. One processor for each model, then one model on two."""
    study, root = small
    for run in study.runs:
        on(root, run, "EPYC", 5000)
    table = ledger_of(study, root)
    assert set(table["hardware"]) == {"cpu AVX2, EPYC"}
    assert not table["unequal"].str.contains("images_per_second").any()

    for run in study.runs:
        on(root, run, "Xeon" if run.model == "resnet" else "EPYC", 5000)
    table = ledger_of(study, root)
    assert dict(table["hardware"]) == {
        **{"resnet": "cpu AVX2, Xeon", "vit none": "cpu AVX2, EPYC", "vit learned_1d": "cpu AVX2, EPYC"}
    }
    assert table["unequal"].str.contains("images_per_second").all()

    for run in study.runs:
        on(root, run, "Xeon" if run.seed == 0 else "EPYC", 2000 if run.seed == 0 else 5000)
    table = ledger_of(study, root)
    both = "5 k images/s on cpu AVX2, EPYC (4 runs); 2 k images/s on cpu AVX2, Xeon (2 runs)"
    assert set(table["hardware"]) == {both}
    assert table["unequal"].str.contains("images_per_second").all()
    html = write_report(study, root, root / "out").page.read_text(encoding="utf-8")
    assert html.count(">5 k images/s on H1 (4 runs); 2 k images/s on H2 (2 runs)<") == 3
    assert "on H1: cpu AVX2, EPYC (12 runs); H2: cpu AVX2, Xeon (6 runs)" in html


def beside(root: Path, run: Run, runs: int | None, speed: float) -> None:
    """Says of a run how many shared its device, itself among them, and how fast it was; None: an older record."""
    path = root / run.id / "attempts" / "0001" / "ended.json"
    ended = {**json.loads(path.read_text()), "runs_per_gpu": runs, "images_per_second": speed}
    path.write_text(json.dumps({key: value for key, value in ended.items() if value is not None}))


def test_speeds_of_runs_that_shared_a_device_are_kept_apart(small: tuple[Study, Path]) -> None:
    """Reference: medians by hand. The ledger has those that ran alone; what shared stands by its number, also in the
    CSV; nothing is said of runs of which nobody knows."""
    study, root = small
    [arm] = split(load(root, study))
    assert by_runs_beside(arm).empty
    for run in study.runs:
        shared = {0: (1, 5000.0), 1: (2, 3000.0), 2: (4, 1000.0 + run.train_size)}[run.seed]
        beside(root, run, *(shared if run.model == "resnet" else (None, 9000.0)))
    frame = load(root, study)
    [arm] = split(frame)
    assert ledger(arm).set_index("label")["images_per_second"]["resnet"] == 5000.0
    table = by_runs_beside(arm)
    sizes = sorted({run.train_size for run in study.runs})
    expected = [("resnet", 1, 5000.0), ("resnet", 2, 3000.0), ("resnet", 4, 1000.0 + sum(sizes) / len(sizes))]
    assert list(table[["label", "side_by_side", "images_per_second"]].itertuples(index=False, name=None)) == expected
    assert table["runs"].str.split().str.len().tolist() == [2, 2, 2]
    [reported] = reported_arms(study, frame, root)
    shown = shared_table(table, reported.data, reported.links)
    assert shown.head == ("alone", "2 side by side", "4 side by side")
    assert [cell.text for cell in shown.rows[0].cells] == ["5 k", "3 k", "1.2 k"]
    write_report(study, root, root / "out", ("csv",))
    assert len(pd.read_csv(root / "out" / "tables" / "speed-by-runs-side-by-side.csv")) == 3


def test_hardware_is_that_of_the_attempt_that_was_timed(small: tuple[Study, Path]) -> None:
    """Reference: the attempts made here; a torn or foreign environment is as good as none."""
    study, root = small
    run = study.runs[0]
    on(root, run, "EPYC", 5000)
    on(root, run, "Xeon", 4000, attempt=2)
    on(root, run, "Other", 0, attempt=3)  # came only to evaluate
    hardware = load(root, study).runs.set_index("run")["hardware"]
    assert hardware[run.id] == "cpu AVX2, Xeon"
    assert hardware[study.runs[1].id] == "cpu AVX2"
    for torn in ("{", "[]"):
        (root / run.id / "attempts" / "0002" / "environment.json").write_text(torn)
        assert load(root, study).runs.set_index("run")["hardware"][run.id] == "cpu AVX2"


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
        found = warnings(reported_arms(study, load(root, study), root))
        report = write_report(study, root, root / "out")
        linked = report.page.read_text(encoding="utf-8")
        assert report.warnings == list(found)
        if said is None:
            assert found == ()
            assert 'class="warnings"' not in linked
        else:
            assert said in " ".join(found)
            assert linked.index(said) < linked.index("<h2>In words</h2>")
