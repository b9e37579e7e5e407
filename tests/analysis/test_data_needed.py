"""Factors, crossings, fits and budgets of whole arms: against the functions of numbers they rest on, and by hand."""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import wording
from analysis.elements import axes
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.palette import looks
from analysis.frame.arms import ArmData, split
from analysis.frame.cells import at_home
from analysis.frame.frame import load
from analysis.questions.accuracy import sentences as accuracy_sentences
from analysis.questions.comparisons.verdicts import verdicts_of
from analysis.questions.data_needed import baselines, budgets, figures, fitted
from analysis.questions.data_needed import numbers as data_needed
from analysis.questions.data_needed import sentences as data_needed_sentences
from analysis.report import write_report
from analysis.statistics import equivalence, fits, intervals
from analysis.statistics.curves import curves_of, paired
from analysis.wording import Answer
from benchmarks.plan.run import Evaluation, Run

SIZES = [100, 200, 400, 800, 1200]


def accuracy(run: Run, _: Evaluation) -> float:
    """Power laws of error: resnet 2 n^-0.5, vit learned_1d 8 n^-0.7, which cross at 1,024; vit none is 0.2 higher."""
    noise = 1 + 0.01 * (run.seed - 1) + 0.004 * math.sin(37 * run.seed + run.train_size + len(run.position))
    error = 2 * run.train_size**-0.5 if run.model == "resnet" else 8 * run.train_size**-0.7
    return 1 - min(error + 0.2 * (run.position == "none"), 0.95) * noise


@pytest.fixture(scope="module")
def arm(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> ArmData:
    root = tmp_path_factory.mktemp("runs")
    study = made_up.study_of(made_up.SMALL, train_size=SIZES, test_resolutions=[8])
    for run in study.runs:
        made_up.write_record(root, run, study.evaluations[run.id], accuracy=accuracy)
    [only] = split(load(root, study))
    return only


def seeds_of(arm: ArmData, label: str) -> np.ndarray:
    home = at_home(arm.rows)
    wide = home[home["label"] == label].pivot(index="seed", columns="train_size", values="accuracy")
    return wide.to_numpy()


def answers(arm: ArmData) -> list[Answer]:
    """What is said against the leader: the data needed, and crossovers."""
    return [answer for answer, _ in data_needed_sentences.answers(arm, data_needed.needed(arm), verdicts_of(arm), 1)]


def test_factors_are_those_of_the_paired_curves(arm: ArmData) -> None:
    """Reference: `equivalence.factor_at` on curves pivoted by pandas; and the closed form of two power laws."""
    table = data_needed.by_train_size(arm)
    assert set(table["reference"]) == {"resnet"}
    a, b = seeds_of(arm, "resnet"), seeds_of(arm, "vit learned_1d")
    for row in table[table["label"] == "vit learned_1d"].itertuples():
        expected = equivalence.factor_at(SIZES, a, row.train_size, b[:, SIZES.index(row.train_size)])
        assert (row.mean, row.low, row.high) == pytest.approx(
            (expected.factor.mean, expected.factor.low, expected.factor.high)
        )
        assert row.bound == expected.bound
        assert len(row.runs.split()) == len(row.reference_runs.split()) == 3 * len(SIZES)
    at_800 = table[(table["label"] == "vit learned_1d") & (table["train_size"] == 800)]["mean"].item()
    assert at_800 == pytest.approx(800 / (8 * 800**-0.7 / 2) ** -2, rel=0.05)
    other = data_needed.by_train_size(arm, reference="vit learned_1d")
    assert set(other["label"]) == {"resnet", "vit none"}
    with pytest.raises(KeyError, match="there are resnet, vit none and vit learned_1d"):
        data_needed.by_train_size(arm, reference="resnt")


def test_factors_by_accuracy(arm: ArmData) -> None:
    """Reference: `equivalence.factor_for`; every level is a round number that some pair reaches."""
    table = data_needed.by_accuracy(arm)
    a, b = seeds_of(arm, "resnet"), seeds_of(arm, "vit learned_1d")
    for row in table[table["label"] == "vit learned_1d"].itertuples():
        expected = equivalence.factor_for(SIZES, a, SIZES, b, row.accuracy)
        assert row.mean == pytest.approx(expected.factor.mean)
    assert (table.groupby("accuracy")["reached"].max() > 0).all()
    assert table["accuracy"].nunique() >= 3


def test_crossings_lie_where_the_curves_are_equal(arm: ArmData) -> None:
    """Reference: the power laws are equal at n = 1,024, and change their order there. A sentence says between which
    sizes that were measured, and of those without the last none."""
    table = data_needed.crossings(arm).set_index("label")
    found = table.loc["vit learned_1d"]
    low, high = map(float, found["pieces"].strip("[]").split(", "))
    assert 950 < low < 1024 < high < 1150
    assert found["changes"]
    said = answers(arm)[1]
    assert (said.lead, said.body) == (
        "Crossover between 800 and 1,200 images",
        "vit learned_1d is below resnet at 100, 200, 400 and 800, above at 1,200.",
    )
    rows = arm.rows[arm.rows["train_size"] < 1200]
    early = ArmData(arm.arm, arm.dataset, arm.runs, rows)
    assert set(data_needed.crossings(early)["pieces"]) == {""}
    assert table.loc["vit none", "pieces"] == ""
    said = answers(early)[1]
    assert (said.lead, said.body) == (
        "No crossover",
        "resnet has the highest mean at 100, 200, 400 and 800 images.",
    )


def test_fits_of_an_arm(arm: ArmData) -> None:
    """Reference: the exponents that the curves were made of; and the t-interval over seeds of numpy's polyfit, with one
    over the binomial variance as weights, as 3 models of 3 seeds have 6 degrees of freedom."""
    table = fitted.table(arm).set_index("label")
    assert table.loc["resnet", "slope"] == pytest.approx(0.5, abs=0.01)
    assert table.loc["vit learned_1d", "slope"] == pytest.approx(0.7, abs=0.01)
    assert "not identifiable" in table.loc["resnet", "said"]
    assert math.isnan(table.loc["resnet", "c"])
    assert table.loc["vit none", "form"] == "floor"
    assert table.loc["resnet", "doubled"] == pytest.approx(2 * 2400**-0.5, rel=0.05)
    curves = {label: seeds_of(arm, str(label)) for label in table.index}
    error = np.mean([1 - one for one in curves.values()], axis=(0, 1))
    root = (error / (1 - error)) ** 0.5
    slopes = [-np.polyfit(np.log(SIZES), np.log(1 - one), 1, w=root)[0] for one in curves["resnet"]]
    expected = intervals.t_interval(slopes)
    assert (table.loc["resnet", "slope_low"], table.loc["resnet", "slope_high"]) == pytest.approx(
        (expected.low, expected.high)
    )


def test_sizes_at_chance_are_left_out_and_said(arm: ArmData) -> None:
    rows = arm.rows.copy()
    rows.loc[(rows["train_size"] == 100) & (rows["label"] == "vit none"), "accuracy"] = 0.11
    [left_out] = [out for label, _, _, out in fitted.each_fit(rows) if label == "vit none"]
    assert left_out == [100]
    table = fitted.table(ArmData(arm.arm, arm.dataset, arm.runs, rows)).set_index("label")
    assert (table.loc["vit none", "sizes"], table.loc["vit none", "left_out"]) == (4, "100")


def test_half_a_study_says_what_its_factors_rest_on(arm: ArmData) -> None:
    """Seed 2 lacks two sizes, so its curve is left out whole: two of three, in every table and in the sentence."""
    lacking = (arm.rows["seed"] == 2) & arm.rows["train_size"].isin([800, 1200])
    part = ArmData(arm.arm, arm.dataset, arm.runs, arm.rows[~(lacking & (arm.rows["label"] == "vit learned_1d"))])
    for table in (data_needed.by_train_size(part), data_needed.crossings(part)):
        mine = table[table["label"] == "vit learned_1d"]
        assert set(zip(mine["n"], mine["done"], mine["planned"], mine["incomplete"], strict=True)) == {(2, 2, 3, "")}
    needed, beside = (answer.body for answer in answers(part))
    assert re.search(r"vit learned_1d \S*× \[[^\]]*\] \(2 of 3 seeds\)", needed)
    assert (needed.count("2 of 3 seeds"), beside.count("2 of 3 seeds")) == (1, 0)
    one_seed = arm.rows["seed"] == 0
    alone = ArmData(arm.arm, arm.dataset, arm.runs[arm.runs["seed"] == 0], arm.rows[one_seed])
    assert answers(alone) == []
    assert set(data_needed.crossings(alone)["pieces"]) == {"-"}


def test_a_size_with_one_seed_does_not_cost_the_others_their_intervals(arm: ArmData) -> None:
    """Reference: the tables of the same study without its largest size, of which one seed of each model is there."""
    rows = arm.rows[(arm.rows["train_size"] < 1200) | (arm.rows["seed"] == 1)]
    part = ArmData(arm.arm, arm.dataset, arm.runs, rows)
    shorter = ArmData(
        arm.arm, arm.dataset, arm.runs[arm.runs["train_size"] < 1200], arm.rows[arm.rows["train_size"] < 1200]
    )
    table, expected = data_needed.by_train_size(part), data_needed.by_train_size(shorter)
    last = table[table["train_size"] == 1200]
    assert set(zip(last["bound"], last["n"], strict=True)) == {("unknown", 0)}
    assert set(zip(table["done"], table["planned"], table["incomplete"], strict=True)) == {(3, 3, "1200")}
    numbers = ["label", "train_size", "bound", "mean", "low", "high", "n"]
    rest = table.loc[table["train_size"] < 1200, numbers].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, expected[numbers])
    fit, without = fitted.table(part), fitted.table(shorter)
    assert set(fit["incomplete"]) == {"1200"}
    assert fit["slope_low"].tolist() == without["slope_low"].tolist()
    bodies, before = ([answer.body for answer in answers(one)] for one in (part, shorter))
    assert [body.replace(" (without n = 1,200)", "") for body in bodies] == before
    assert [body.count("without n = 1,200") for body in bodies] == [2, 0]


def test_a_model_that_cannot_be_compared_is_named(arm: ArmData) -> None:
    """By hand. A seed of the smallest size is missing. Beside vit none, which lacks that seed everywhere, two whole
    curves are the larger part; beside vit learned_1d three without that size are. Then of vit learned_1d only one seed
    is there, then nothing."""
    rows = arm.rows[~(arm.rows["train_size"].eq(100) & arm.rows["seed"].eq(2))]
    rows = rows[~((rows["label"] == "vit none") & (rows["seed"] == 2))]
    learned = rows["label"] == "vit learned_1d"

    def body(part: pd.DataFrame) -> str:
        return answers(ArmData(arm.arm, arm.dataset, arm.runs, part))[0].body

    without = "Not compared: vit learned_1d (beside which resnet's curve is without n = 100)."
    assert re.search(rf"^to match .*: vit none [^;]*\. {re.escape(without)}$", body(rows))
    assert "to match" not in body(rows[rows["label"] != "vit none"])
    assert "Not compared: vit learned_1d (1 seed that both have)." in body(rows[~learned | (rows["seed"] == 1)])
    assert "Not compared: vit learned_1d (no result)." in body(rows[~learned])
    said = "Not compared: vit none (no result); vit learned_1d (beside which resnet's curve is without n = 100)."
    assert body(rows[rows["label"] != "vit none"]).endswith(said)


def test_notes_that_all_models_share_are_said_once() -> None:
    """By hand; of two models each says its own."""
    notes = [("2 of 3 seeds", "without n = 100"), ("without n = 100",), ("without n = 100", "without n = 300")]
    assert data_needed_sentences.shared_notes(notes) == ["without n = 100"]
    assert data_needed_sentences.shared_notes(notes[:2]) == []


def test_a_model_that_could_lead_but_lacks_runs_is_named(arm: ArmData) -> None:
    """By hand: resnet is the best at every size but has two seeds where the others have three."""
    part = arm.rows[~((arm.rows["label"] == "resnet") & (arm.rows["train_size"] == 100) & (arm.rows["seed"] == 2))]
    part_of_arm = ArmData(arm.arm, arm.dataset, arm.runs, part)
    assert baselines.leader(part_of_arm) == baselines.Leader("vit learned_1d", 100, ("resnet",))
    answer = answers(part_of_arm)[0]
    assert answer.body.endswith(" resnet could lead but lacks runs there.")
    assert baselines.leader(arm) == baselines.Leader("resnet", 100)


def test_models_with_their_own_seeds_in_a_draw_are_not_compared(made_up: Any, tmp_path: Path) -> None:
    """Two draws; resnet with seeds 0 and 1, vit with 1 and 2. Each has its mean over whole draws, but a difference
    would hold for other seeds on either side: there is none, and both answers say so."""
    models = [{"name": "resnet", "seed": [0, 1]}, {"name": "vit", "position": "learned_1d", "seed": [1, 2]}]
    study = made_up.study_of({**made_up.SMALL, "models": models}, draw=[0, 1])
    made_up.write_study(tmp_path, study)
    [crossed] = split(load(tmp_path, study))
    small, _ = accuracy_sentences.answers(crossed)
    assert small.body.startswith("resnet ") and small.body.endswith("No interval, so no verdict, for vit.")
    answer = answers(crossed)[0]
    assert "Not compared: vit (0 draws that both have whole)." in answer.body


def test_a_model_without_a_whole_draw_is_named_beside_the_ranking(made_up: Any, tmp_path: Path) -> None:
    """Two draws crossed with two seeds; of resnet, the best by the formula, a seed of each draw is missing: no mean, so
    it cannot lead, and the answer says that it could."""
    models = [{"name": "resnet"}, {"name": "vit", "position": "learned_1d"}, {"name": "swin"}]
    study = made_up.study_of({**made_up.SMALL, "models": models, "train_size": [300]}, draw=[0, 1], seed=[0, 1])
    missing = [run.id for run in study.runs if run.model == "resnet" and run.seed == run.draw]
    made_up.write_study(tmp_path, study, skip=missing)
    [crossed] = split(load(tmp_path, study))
    [answer] = accuracy_sentences.answers(crossed)
    assert answer.body.endswith(" resnet (0 of 2 draws) could lead but lacks runs.")


def test_what_keeps_more_points_is_kept() -> None:
    """Reference: by hand, 5 sizes; the number of points is that of seeds times sizes."""

    def kept(*missing: tuple[int, int], least: int = 2) -> tuple[int, tuple[int, ...]]:
        cells = [(seed, size) for seed in range(3) for size in SIZES if (seed, size) not in missing]
        rows = pd.DataFrame(cells, columns=["seed", "train_size"]).assign(draw=0, run="r", accuracy=0.5, draw_runs=1)
        curves = curves_of(rows).whole(least)
        return len(curves), curves.sizes

    assert kept() == (3, tuple(SIZES))
    assert kept((2, 1200)) == (3, (100, 200, 400, 800))  # 12, not 10
    assert kept((2, 1200), (2, 800)) == (2, tuple(SIZES))  # 10, not 9
    assert kept((2, 1200), (1, 200)) == (3, (100, 400, 800))  # 9, not 8 or 5
    most = [(seed, size) for seed in (1, 2) for size in SIZES[2:]]
    assert kept(*most) == (3, (100, 200))  # 6, not 5
    assert kept(*most, least=3) == (1, tuple(SIZES))  # two sizes are too few


def test_crossed_draws_and_seeds_count_as_draws(arm: ArmData) -> None:
    """Reference: by hand; two seeds a draw are averaged before anything else."""
    rows = at_home(arm.rows)
    mine = rows[rows["label"] == "resnet"]
    twice = pd.concat([mine, mine.assign(seed=9, accuracy=mine["accuracy"] - 0.02)]).assign(draw_runs=2)
    crossed, _ = paired(curves_of(twice), curves_of(twice))
    assert crossed.values == pytest.approx(seeds_of(arm, "resnet") - 0.01)
    assert len(crossed) == 3


def test_the_answer_has_the_numbers_of_the_tables(arm: ArmData) -> None:
    """Reference: the images that vit learned_1d needs for what resnet reaches with 100, by numpy's interp."""
    answer = answers(arm)[0]
    assert "to match resnet's 80.0 % at 100 images: " in answer.text
    levels = seeds_of(arm, "resnet")[:, 0]
    needs = [np.interp(level, curve, np.log(SIZES)) - math.log(100) for level, curve in
             zip(levels, seeds_of(arm, "vit learned_1d"), strict=True)]  # fmt: skip
    found = intervals.exponentiated(intervals.t_interval(needs))
    assert f"{found.mean:.2f}× [{found.low:.2f}, " in answer.text
    for condition in ("size pico", "recipe digits", "600 steps", "3 seeds"):
        assert condition in answer.conditions


def test_images_for_what_the_reference_reaches(arm: ArmData) -> None:
    """Reference: `equivalence.factor_at` on curves pivoted by pandas, the other way round; accuracies by scipy's t; the
    runs of the accuracies are among those of the factor. Fewest images first."""
    [held] = baselines.baselines(arm)
    table = data_needed.at_reference(arm, held)
    assert (table["label"].tolist(), set(table["train_size"])) == (["vit learned_1d", "vit none"], {100})
    a, b = seeds_of(arm, "resnet"), seeds_of(arm, "vit learned_1d")
    row = next(table.itertuples())
    expected = equivalence.factor_at(SIZES, b, 100, a[:, 0]).inverse
    assert (row.mean, row.low, row.high, row.bound) == pytest.approx(
        (expected.factor.mean, expected.factor.low, expected.factor.high, expected.bound)
    )
    assert row.mean == pytest.approx((8 / 0.2) ** (1 / 0.7) / 100, rel=0.02)  # 8 n^-0.7 = 2 x 100^-0.5
    for values, column in ((b, "accuracy"), (a, "reference_accuracy")):
        ends = stats.t.interval(0.95, 2, values[:, 0].mean(), stats.sem(values[:, 0]))
        found = tuple(getattr(row, column + end) for end in ("", "_low", "_high"))
        assert found == pytest.approx((values[:, 0].mean(), *ends))
    never = table.set_index("label").loc["vit none"]
    assert (never["bound"], never["reached"], never["high"]) == ("at least", 0, math.inf)
    assert never["mean"] == pytest.approx(1200 / 100)


def test_the_sentence_leads_to_the_table_that_has_its_factors(made_up: Any, tmp_path: Path) -> None:
    """Reference: the sentence is read back by a pattern: every factor with its interval stands in the table at its
    anchor, beside its model, and in the CSV with the runs."""
    study = made_up.study_of(made_up.SMALL, comparisons=[ENCODINGS])
    made_up.write_study(tmp_path / "runs", study)
    html = write_report(study, tmp_path / "runs", tmp_path / "out").page.read_text(encoding="utf-8")
    written = pd.read_csv(tmp_path / "out" / "tables" / "data-factor-at-reference.csv")
    sentences = re.findall(r"<li><b>Data needed</b>: (.*?) <a class=\"more\" href=\"#(.*?)\"", html)
    assert [anchor for _, anchor in sentences] == ["data-needed-1-1", "data-needed-1-2"]
    seen = 0
    for body, anchor in sentences:
        table = html.split(f'id="{anchor}"', 1)[1].split("</table>", 1)[0]
        rows = table.split("<tr>")[1:]
        reference = re.match(r"to match (.*?)&#39;s ", body)
        assert reference
        takes = body.split(" images: ")[1].split(". Not ")[0]
        for label, bound, factor, interval in re.findall(
            r"(\w+(?: \w+)??) (over |under |)([\d.]+×)(?: ([\[(][^\])]*[\])]))?", takes.replace(" and ", ", ")
        ):
            sign = {"over ": "≥ ", "under ": "≤ ", "": ""}[bound]
            row = next(row for row in rows if f">{label}</a>" in row)
            assert f">{sign}{factor}</a>" in row
            assert f">{interval}</span>" in row or (bound and not interval)
            one = written[(written["label"] == label) & (written["reference"] == reference[1])]
            assert f"{one['mean'].item():.1f}"[:2] == factor[:2]
            assert len(one["runs"].item().split()) == 6
            seen += 1
    assert (seen, sum(body.count(" more images") for body, _ in sentences)) == (2, 1)  # where a curve ends


def test_a_piece_of_a_crossing_is_what_is_known_of_it() -> None:
    """Reference: by hand."""
    pieces = ((0, 255), (2904, math.inf), (0, math.inf), (772.0, 5671.0))
    assert [data_needed.piece_words(*piece) for piece in pieces] == [
        "up to 255",
        "from 2,900 on",
        "at any size",
        "from 772 to 5,670",
    ]


def test_an_interval_without_an_end_is_written_as_open() -> None:
    """Reference: by hand; a factor of 0 does not exist, nor does one of infinity."""
    ends = ((0.0, 1.14), (2.9, math.inf), (0.035, 4.1), (1e-9, 2.0), (0.0, math.inf))
    found = [wording.factor_interval(intervals.Estimate(1.0, *end, 3)) for end in ends]
    assert found == ["(0, 1.14]", "[2.9, ∞)", "[0.035, 4.1]", "(0, 2.0]", ""]
    closed = Table("", "model", ("x",), (Row(Cell("a"), (Cell("1×", found[0]),)),), n="n = 3 seeds")
    assert closed.basis == "Brackets: 95 % t-intervals, n = 3 seeds."


def test_models_need_not_share_their_train_sizes(made_up: Any, tmp_path: Path) -> None:
    """Reference: by hand. resnet alone has 100 images, so the leader is that of 300, which both have; and where no size
    is planned with all, of those with the most models."""
    models = [{"name": "resnet", "train_size": [100, 300, 1000]}, {"name": "vit", "position": "learned_1d"}]
    study = made_up.study_of(made_up.SMALL, train_size=[300, 1000], models=models)
    made_up.write_study(tmp_path / "runs", study)
    [arm] = split(load(tmp_path / "runs", study))
    assert baselines.leader(arm) == baselines.Leader("resnet", 300)
    answer = answers(arm)[0]
    assert answer.text.count("at 300 images") == 1
    html = write_report(study, tmp_path / "runs", tmp_path / "out").page.read_text()
    assert "resnet leads with n = 300; exploratory" in html
    models.append({"name": "swin", "train_size": [100]})
    study = made_up.study_of(made_up.SMALL, train_size=[300, 1000], models=models)
    made_up.write_study(tmp_path / "more", study)
    [arm] = split(load(tmp_path / "more", study))
    first = baselines.leader(arm)
    assert first is not None
    assert first.train_size == 100
    assert answers(arm)


ENCODINGS = {"name": "encodings", "models": ["vit"], "against": "vit none"}


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ([], [("resnet", ["vit none", "vit learned_1d"], (), True)]),
        ([{"name": "pairs"}], [("resnet", ["vit none", "vit learned_1d"], (), True)]),
        (
            [ENCODINGS],
            [
                ("resnet", ["vit none", "vit learned_1d"], (), True),
                ("vit none", ["vit learned_1d"], ("encodings",), False),
            ],
        ),
        ([{"name": "all", "against": "vit none"}], [("vit none", ["resnet", "vit learned_1d"], ("all",), False)]),
        (
            [ENCODINGS, {"name": "also", "models": ["resnet"], "against": "vit none"}],
            [("vit none", ["resnet", "vit learned_1d"], ("encodings", "also"), False)],
        ),
        (
            [{"name": "one", "models": ["vit none"], "against": "resnet"}],
            [("resnet", ["vit none", "vit learned_1d"], ("one",), True)],
        ),
    ],
)
def test_what_is_held_against_what(
    made_up: Any, tmp_path: Path, families: list[dict[str, Any]], expected: list[tuple[Any, ...]]
) -> None:
    """Reference: the families, read by hand: they have every model, or the leader (resnet) is held against all."""
    study = made_up.study_of(made_up.SMALL, comparisons=families)
    made_up.write_study(tmp_path, study)
    [arm] = split(load(tmp_path, study))
    needed = data_needed.needed(arm, study)
    assert needed.baselines == tuple(
        baselines.Baseline(reference, tuple(labels), 100, named, leads) for reference, labels, named, leads in expected
    )
    pairs = [(reference, label) for reference, labels, *_ in expected for label in labels]
    assert set(needed.at_reference[["reference", "label"]].itertuples(index=False, name=None)) == set(pairs)
    for table in (needed.by_train_size, needed.crossings):
        found = table[["reference", "label"]].drop_duplicates().itertuples(index=False, name=None)
        assert list(found) == pairs
    for reference, labels, *_ in expected:
        alone = data_needed.by_train_size(arm, reference)
        mine = needed.by_train_size[needed.by_train_size["reference"] == reference].drop(columns="verdict")
        kept = alone[alone["label"].isin(labels)]
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), kept.reset_index(drop=True))
    found = data_needed_sentences.answers(arm, needed, verdicts_of(arm), 1)
    places = [f"data-needed-1-{place}" for place in range(1, len(expected) + 1)]
    assert [anchor for _, anchor in found] == [*places, "train-size"]


def test_declared_references_are_on_the_page(made_up: Any, tmp_path: Path) -> None:
    """Reference: the study's family: a figure and tables for each reference, and sentences that say why it is one; a
    reference without any result is no reference yet."""
    study = made_up.study_of(made_up.SMALL, comparisons=[ENCODINGS])
    root = tmp_path / "runs"
    made_up.write_study(root, study)
    report = write_report(study, root, tmp_path / "out")
    html = report.page.read_text(encoding="utf-8")
    for said in (
        "resnet leads with n = 100; exploratory, as the results chose it.",
        "vit none is what the study declares “encodings” to be compared with.",
        "by accuracy, against vit none",
    ):
        assert html.count(said) == 1
    told = [answer for answer in report.answers if answer.startswith("Data needed")]
    assert len(told) == 2
    assert "resnet" in told[0]
    assert "resnet" not in told[1]
    table = pd.read_csv(tmp_path / "out" / "tables" / "data-factor-by-train-size.csv")
    drawn = [pd.read_csv(tmp_path / "out" / "figures" / f"data-factor-1-{place}.csv") for place in (1, 2)]
    assert [set(one["reference"]) for one in drawn] == [{"resnet"}, {"vit none"}]
    assert set(table["reference"]) == {"resnet", "vit none"}

    made_up.write_study(tmp_path / "part", study, skip={run.id for run in study.runs if run.position == "none"})
    [arm] = split(load(tmp_path / "part", study))
    assert [one.reference for one in data_needed.needed(arm, study).baselines] == ["resnet"]


def test_no_factor_is_drawn_where_no_pair_has_a_curve_in_common(made_up: Any, tmp_path: Path) -> None:
    """Reference: by hand. With 300 images resnet has only seed 0, the others have only seed 1: nothing can be paired,
    and the page says so in its table without a figure."""
    study = made_up.study_of(made_up.SMALL)
    only = {run.id for run in study.runs if run.train_size == 300 and run.seed != (0 if run.model == "resnet" else 1)}
    made_up.write_study(tmp_path / "runs", study, skip=only)
    [arm] = split(load(tmp_path / "runs", study))
    table = data_needed.by_train_size(arm)
    assert table["mean"].isna().all()
    assert set(table["done"]) == {0}
    html = write_report(study, tmp_path / "runs", tmp_path / "out").page.read_text()
    assert "Images used over the images with which resnet is as accurate" in html
    assert "data-factor-1" not in html
    assert axes.dodged([], ["resnet"])(100, "resnet") == 100


def test_no_factor_by_accuracy_is_drawn_where_all_are_unknown(made_up: Any, tmp_path: Path) -> None:
    """Reference: by hand. Seeds are twenty points apart on curves that rise by fifteen or so: each accuracy lies above
    some and below others, so nothing is known of a factor."""

    def wide(run: Any, _: Any) -> float:
        rise = 0.15 if run.model == "resnet" else 0.13
        return 0.4 + 0.2 * (run.seed - 1) + rise * (run.train_size > 100)

    study = made_up.study_of(made_up.SMALL)
    for run in study.runs:
        made_up.write_record(tmp_path / "runs", run, study.evaluations[run.id], accuracy=wide)
    [arm] = split(load(tmp_path / "runs", study))
    table = data_needed.by_accuracy(arm)
    assert len(table) and table["mean"].isna().all()
    html = write_report(study, tmp_path / "runs", tmp_path / "out").page.read_text()
    assert "The same by accuracy" in html and "data-factor-by-accuracy" not in html


def test_bounds_are_not_ranked_among_values() -> None:
    """Reference: by hand; of many bounds the first and the last are named, and how many there are."""
    told = {f"m{number}": f"{number}.0×" for number in range(1, 7)}
    beyond = {f"b{number}": f"over {number}.5×" for number in range(1, 6)}
    listed = data_needed_sentences._listed
    assert listed(told, frozenset()) == "from m1 1.0× to m6 6.0× (4 between)"
    assert listed(told | {"b1": "over 1.5×"}, frozenset({"b1"})).endswith("(4 between) and b1 over 1.5×")
    assert listed(told | beyond, frozenset(beyond)).endswith("and 5 by bounds alone, from b1 over 1.5× to b5 over 5.5×")


@pytest.mark.parametrize(
    ("bound", "mean", "verdict", "tells"),
    [
        ("at most", 1.03, "above", False),
        ("at most", 0.8, "above", True),
        ("at least", 0.9, "below", False),
        ("at least", 2.0, "below", True),
        ("", 1.03, "above", True),
        ("at least", 1.0, "below", False),
    ],
)
def test_a_bound_that_says_less_than_the_verdict_stands_nowhere_on_top(
    bound: str, mean: float, verdict: str, tells: bool
) -> None:
    """A model that is ahead needs fewer images: that it needs at most some more says nothing. Reference: by hand."""
    row = SimpleNamespace(bound=bound, mean=mean, verdict=verdict)
    assert data_needed_sentences.telling(row) == tells


def test_figures_show_bounds_and_stop_at_twice_the_largest_size(arm: ArmData) -> None:
    """Reference: the table's rows with a bound; 2 x 1,200 images."""
    styles, table = looks(arm.runs), data_needed.by_train_size(arm)
    [panel] = figures.factors(table, styles).axes
    triangles = [line for line in panel.lines if line.get_fillstyle() == "none"]
    assert len(triangles) == (table["bound"].isin(figures.BOUNDS) & table["mean"].notna()).sum() > 0
    [panel] = figures.fitted_curves(arm.rows, styles).axes
    ends = [float(np.max(np.asarray(line.get_xdata()))) for line in panel.lines if line.get_linestyle() == ":"]
    assert ends == pytest.approx([fits.REACH * 1200] * 3)


def test_steps_and_epochs_stand_side_by_side(made_up: Any, tmp_path: Path) -> None:
    """Reference: the arms' own tables; a panel each, no panel with two, the same models in both tables."""
    table = {key: value for key, value in made_up.SMALL.items() if key != "budget"}
    study = made_up.study_of(table, arms=[{"budget": {"steps": 600}}, {"budget": {"epochs": 20}}])
    made_up.write_study(tmp_path / "runs", study)
    frame = load(tmp_path / "runs", study)
    arms = split(frame)
    assert budgets.budget_groups(arms) == [[0, 1]]
    figure = figures.side_by_side(frame.rows, looks(frame.runs))
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["600 steps", "20 epochs"]
    for panel, arm in zip(figure.axes, arms, strict=True):
        drawn = {
            round(float(y), 6) for line in panel.lines if line.get_marker() == "." for y in np.asarray(line.get_ydata())
        }
        assert drawn == {round(100 * value, 6) for value in at_home(arm.rows)["accuracy"]}
    html = write_report(study, tmp_path / "runs", tmp_path / "out").page.read_text()
    section = html[html.index('<section id="budgets">') : html.index('<section id="test-resolution">')]
    assert "600 steps beside 20 epochs" in section
    assert section.count("updates of a run") == 4
    only_steps = made_up.study_of(table, arms=[{"budget": {"steps": 600}}, {"budget": {"steps": 900}}])
    assert budgets.budget_groups(split(load(tmp_path / "none", only_steps))) == []
