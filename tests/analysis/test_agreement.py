"""Agreement of networks, shares of variance, the bootstrap over images, and numbers over data sets."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from analysis import two_networks
from analysis.elements.reported import reported_arms
from analysis.frame.arms import ArmData, split
from analysis.frame.frame import load
from analysis.frame.predictions import correctness
from analysis.questions.comparisons import families as declared_families
from analysis.questions.comparisons import image_bootstrap, variance
from analysis.questions.comparisons.agreement import consistency, error_consistency, mcnemar
from analysis.questions.comparisons.image_bootstrap import bootstrap
from analysis.questions.comparisons.numbers import numbers
from analysis.questions.comparisons.sections import consistency as consistency_section
from analysis.questions.over_data_sets import numbers as over_sets
from analysis.questions.over_data_sets import sentences as over_sets_sentences
from benchmarks.cli.main import main
from benchmarks.errors import ConfigError, RecordError
from benchmarks.plan.run import Run, default_evaluation
from benchmarks.records.record import read_record, write_evaluations
from benchmarks.records.sources import evaluation_code

IMAGES = 200
FIVE = ("digits", "mnist", "fashion_mnist", "kmnist", "svhn")


def predict(root: Path, run: Run, share: float, kept: str = "logits") -> np.ndarray:
    """Adds predictions of the test part to a run's record; returns which images they get right."""
    generator = np.random.default_rng(int(run.id[-8:], 16))
    labels = np.arange(IMAGES, dtype=np.int16) % 10
    right = generator.random(IMAGES) < share
    logits = np.eye(10, dtype=np.float16)[np.where(right, labels, (labels + 1) % 10)]
    one = default_evaluation(run, "test", run.resolution)
    entry = {
        "id": one.id,
        "evaluation": one.model_dump(),
        "count": IMAGES,
        "accuracy": float(right.mean()),
        "nll": 0.5,
        "calibration": 0.04,
        "predictions": kept,
        "code": evaluation_code(),
    }
    array = logits if kept == "logits" else np.argsort(-logits, axis=1, kind="stable")[:, :5].astype(np.uint16)
    arrays = {"labels.test": labels, f"{one.id}.{kept}": array} if kept != "none" else {"labels.test": labels}
    write_evaluations(root / run.id, 2, [entry], arrays)
    return right


def test_error_consistency_is_cohens_kappa() -> None:
    """Reference: sklearn.metrics.cohen_kappa_score of the two columns of right and wrong."""
    correct = np.random.default_rng(0).random((3, 500)) < np.array([[0.5], [0.8], [0.9]])
    found = error_consistency(correct)
    for i in range(3):
        for j in range(3):
            assert found[i, j] == pytest.approx(cohen_kappa_score(correct[i], correct[j]))
    assert math.isnan(error_consistency(np.ones((2, 5), dtype=bool))[0, 1])


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """Reference: the tail of scipy.stats.binom by hand: 3 of 15 disagreements."""
    a = np.array([True] * 3 + [False] * 12 + [True] * 80 + [False] * 5)
    b = np.array([False] * 3 + [True] * 12 + [True] * 80 + [False] * 5)
    found = mcnemar(a, b)
    assert (found.both, found.only_a, found.only_b, found.neither) == (80, 3, 12, 5)
    assert found.p == pytest.approx(2 * stats.binom.cdf(3, 15, 0.5))
    assert mcnemar(a, a).p == 1
    with pytest.raises(ValueError, match="not the same images"):
        mcnemar(a, b[:10])


def test_consistency_of_models_and_their_reference(made_up: Any, tmp_path: Path) -> None:
    """Reference: sklearn's kappa, averaged by hand over networks of different seeds; runs without predictions are
    left out and counted."""
    study = made_up.study_of(made_up.SMALL, train_size=100)
    made_up.write_study(tmp_path, study)
    shares = {"resnet": 0.9, "none": 0.5, "learned_1d": 0.7}
    right = {
        run.id: predict(tmp_path, run, shares.get(run.position, 0.9), "top5" if run.seed else "logits")
        for run in study.runs[:-1]
    }
    [arm] = split(load(tmp_path, study))
    home = arm.rows[(arm.rows["part"] == "test") & (arm.rows["test_resolution"] == 8)]
    correct = correctness(tmp_path, home)
    assert set(correct) == set(right)
    assert all((correct[run] == right[run]).all() for run in right)
    table = consistency(arm, correct).set_index(["label", "other"])
    of = {label: arm.runs.loc[arm.runs["label"] == label, "run"].tolist() for label in arm.runs["label"].unique()}
    kappas = [
        cohen_kappa_score(right[a], right[b])
        for a in of["resnet"]
        for b in of["vit none"]
        if of["resnet"].index(a) != of["vit none"].index(b)
    ]
    assert table.loc[("resnet", "vit none"), "kappa"] == pytest.approx(np.mean(kappas))
    assert table.loc[("resnet", "vit none"), "pairs"] == 6
    assert table.loc[("resnet", "resnet"), "pairs"] == 3
    assert table.loc[("vit learned_1d", "vit learned_1d"), "pairs"] == 1
    assert consistency(arm, {}).empty


def test_two_networks_and_what_is_refused(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL, train_size=100)
    made_up.write_study(tmp_path, study)
    a, b, c = study.runs[0], study.runs[4], study.runs[8]
    right = [predict(tmp_path, run, 0.8) for run in (a, b)]
    records = [read_record(tmp_path / run.id) for run in (a, b, c)]
    test, kappa = two_networks.compare(records[0], records[1])
    assert test == mcnemar(*right)
    assert kappa == pytest.approx(cohen_kappa_score(*right))
    with pytest.raises(RecordError, match="no predictions of the test part at 8 px"):
        two_networks.compare(records[0], records[2])
    with pytest.raises(ConfigError, match="same run"):
        two_networks.compare(records[0], records[0])
    for run, digest in ((a, "1"), (b, "2")):
        path = tmp_path / run.id / "execution.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "data": {"test": digest * 64}}))
    with pytest.raises(ConfigError, match="digits was changed between"):
        two_networks.compare(*(read_record(tmp_path / run.id) for run in (a, b)))


def test_variance_components_are_found_again() -> None:
    """Reference: simulated cells with known variances: the estimates are unbiased; and one cell by hand."""
    generator = np.random.default_rng(0)
    d, s, e = (generator.normal(0, sd, (3000, *shape)) for sd, shape in ((3, (4, 1)), (2, (1, 5)), (1, (4, 5))))
    found = [variance.components(values) for values in d + s + e]
    means = [np.mean([getattr(one, name) for one in found]) for name in ("subset", "seed", "interaction")]
    assert means == pytest.approx([9, 4, 1], rel=0.05)
    hand = variance.components(np.array([[1.0, 2.0], [3.0, 6.0]]))
    assert (hand.subset, hand.seed, hand.interaction) == pytest.approx((4.0, 1.5, 1.0))
    with pytest.raises(ValueError, match="two draws"):
        variance.components(np.ones((1, 3)))


def test_shares_of_variance_only_where_crossed_and_complete(made_up: Any, tmp_path: Path) -> None:
    """Shares add up to 1; a cell that lacks a run has none, and says how many it has."""
    crossed = made_up.study_of(made_up.SMALL, train_size=100, draw=[0, 1, 2], seed=[0, 1])
    made_up.write_study(tmp_path, crossed, skip=[crossed.runs[0].id])
    [arm] = split(load(tmp_path, crossed))
    table = variance.shares(arm).set_index("label")
    assert table.loc["resnet", ["done", "planned"]].tolist() == [5, 6]
    assert math.isnan(table.loc["resnet", "subset"])
    whole = table.loc["vit none"]
    assert sum(whole[["subset", "seed", "interaction"]]) == pytest.approx(1)
    assert all(whole[name] == 0 for name in whole["negative"].split())
    paired = made_up.study_of(made_up.SMALL)
    [arm] = split(load(tmp_path, paired))
    assert variance.shares(arm).empty


@pytest.mark.parametrize("blocks", [2, 3, 8])
def test_the_bootstrap_has_the_variances_of_its_parts(blocks: int) -> None:
    """Reference: s / sqrt(k) over k blocks, and the variance of a mean resampled by images, in closed form; the same
    numbers twice."""
    generator = np.random.default_rng(0)
    shifts = generator.normal(0, 0.05, (blocks, 1))
    differences = np.sign(generator.normal(size=(blocks, 400)) + shifts) * (generator.random((blocks, 400)) < 0.3)
    found = bootstrap(differences, 4000)
    assert found.seeds == pytest.approx(stats.sem(differences.mean(axis=1)), rel=0.05)
    assert found.images == pytest.approx(differences.mean(axis=0).std() / math.sqrt(400), rel=0.05)
    assert found.both > max(found.seeds, found.images)
    assert found.low < differences.mean() < found.high
    assert found == bootstrap(differences, 4000)
    with pytest.raises(ValueError, match="at least two blocks"):
        bootstrap(differences[:1], 10)


def test_the_bootstrap_resamples_draws_where_they_are_crossed_with_seeds(made_up: Any, tmp_path: Path) -> None:
    """Reference: s / sqrt(draws) of the draws' mean differences. A draw that lacks a run with predictions is left out,
    with its runs."""
    family = {"name": "encodings", "models": ["vit none", "vit learned_1d"]}
    changes = {"train_size": 100, "draw": [0, 1, 2, 3], "seed": [0, 1, 2], "comparisons": [family]}
    study = made_up.study_of(made_up.SMALL, **changes)
    made_up.write_study(tmp_path, study)
    right = {run.id: predict(tmp_path, run, 0.5 + 0.1 * run.draw) for run in study.runs if run.model == "vit"}
    [arm] = split(load(tmp_path, study))
    families = declared_families.differences(arm, study)
    whole = image_bootstrap.resampled(families, right, arm.runs, 4000).iloc[0]
    of_run = arm.runs.set_index("run")["draw"]
    pairs = pd.DataFrame({"run": whole["runs"].split(), "reference": whole["reference_runs"].split()})
    pairs["difference"] = [right[a].mean() - right[b].mean() for a, b in pairs.itertuples(index=False)]
    by_draw = pairs.groupby(pairs["run"].map(of_run))["difference"].mean()
    assert (whole["n"], whole["blocks"], whole["mean"]) == pytest.approx((12, 4, by_draw.mean()))
    assert whole["se_seeds"] == pytest.approx(stats.sem(by_draw), rel=0.05)

    lost = pairs["run"].iloc[0]
    some = image_bootstrap.resampled(families, {run: one for run, one in right.items() if run != lost}, arm.runs, 50)
    assert some[["n", "blocks"]].iloc[0].tolist() == [9, 3]
    assert set(of_run[some["runs"].iloc[0].split()]) == set(by_draw.index) - {of_run[lost]}


def test_one_number_over_data_sets_from_five_on() -> None:
    """Reference: scipy.stats.trim_mean of a quarter at each end of each seed's scores, and the t-interval of these by
    scipy.stats; fewer than five data sets are not put together."""
    generator = np.random.default_rng(0)
    values = generator.normal(0.1 * np.arange(1, 6), 0.01, (3, 5))
    scores = pd.DataFrame(values, columns=[f"set {i}" for i in range(1, 6)])
    found = over_sets.interquartile_mean(scores)
    assert found is not None
    seeds = [stats.trim_mean(row, 0.25) for row in values]
    ends = stats.t.interval(0.95, 2, np.mean(seeds), stats.sem(seeds))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(seeds), *ends, 3))
    assert over_sets.interquartile_mean(scores.iloc[:, :4]) is None
    assert over_sets.normalised(0.55, 0.1) == pytest.approx(0.5)

    some = scores.mask(np.eye(3, 5) > 0)  # of every seed a data set lacks the run
    apart = over_sets.interquartile_mean(some)
    assert apart is not None and not apart.has_interval and apart.n == 0
    assert apart.mean == pytest.approx(stats.trim_mean(some.mean(), 0.25))
    one = over_sets.interquartile_mean(some.fillna({"set 1": 0.1}))
    assert one is not None and not one.has_interval and one.n == 1
    with pytest.raises(ValueError, match="has no run"):
        over_sets.interquartile_mean(scores.assign(empty=math.nan))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_over_data_sets_covers(seeds: int) -> None:
    """Reference: simulation, with a part of the noise that a seed has in all data sets. Of 2,000 nominal 95 % intervals
    93 to 97 % hold the interquartile mean of very many seeds."""
    generator = np.random.default_rng(seeds)
    means = np.linspace(0.3, 0.9, 8)

    def studies(*shape: int) -> np.ndarray:
        return means + generator.normal(0, 0.01, (*shape, 1)) + generator.normal(0, 0.05, (*shape, 8))

    truth = stats.trim_mean(studies(200_000), 0.25, axis=1).mean()
    found = [over_sets.interquartile_mean(pd.DataFrame(scores)) for scores in studies(2000, seeds)]
    assert 0.93 < np.mean([one is not None and one.low <= truth <= one.high for one in found]) < 0.97


def test_over_data_sets_the_runs_of_a_draw_are_one_unit(made_up: Any, tmp_path: Path) -> None:
    """Reference: by hand. Two draws crossed with three seeds are two units; a draw that a data set lacks is left out
    with its runs; one seed leaves nothing to vary."""
    arms = [{"dataset": name, "resolution": 8} for name in FIVE]
    changes = {"train_size": 100, "test_resolutions": [8], "arms": arms}
    crossed = made_up.study_of(made_up.SMALL, **changes, draw=[0, 1, 2], seed=[0, 1, 2])
    lacking = [run.id for run in crossed.runs if (run.model, run.dataset, run.draw) == ("resnet", "svhn", 2)]
    made_up.write_study(tmp_path / "crossed", crossed, skip=lacking)
    table = over_sets.over_data_sets(split(load(tmp_path / "crossed", crossed))).set_index("label")
    assert table["n"].to_dict() == {"resnet": 2, "vit none": 3, "vit learned_1d": 3}
    assert set(table["units"]) == {"draws"} and len(table["runs"].str.split().loc["resnet"]) == 5 * 2 * 3

    early = [run.id for run in crossed.runs if run.draw > 1 or (run.draw == 1 and run.seed > 0)]
    made_up.write_study(tmp_path / "early", crossed, skip=early)
    table = over_sets.over_data_sets(split(load(tmp_path / "early", crossed)))
    assert set(table["n"]) == {1} and set(table["units"]) == {"draws"} and table["low"].isna().all()
    made_up.write_study(tmp_path / "none whole", crossed, skip=[run.id for run in crossed.runs if run.seed == 2])
    table = over_sets.over_data_sets(split(load(tmp_path / "none whole", crossed)))
    assert set(table["n"]) == {0} and table["mean"].isna().all()

    single = made_up.study_of(made_up.SMALL, **changes, draw=[0], seed=[0])
    made_up.write_study(tmp_path / "single", single)
    [said] = over_sets_sentences.answers(split(load(tmp_path / "single", single)))
    assert said.body.count("no interval from 1 seed") == 3 and "[" not in said.body


def test_few_data_sets_are_each_shown(made_up: Any, tmp_path: Path) -> None:
    for count in (1, 2, 5):
        arms = [{"dataset": name, "resolution": 8} for name in FIVE[:count]]
        study = made_up.study_of(made_up.SMALL, train_size=100, test_resolutions=[8], arms=arms)
        root = tmp_path / str(count)
        made_up.write_study(root, study)
        said = over_sets_sentences.answers(split(load(root, study)))
        assert len(said) == (count > 1)
        if count == 2:
            assert said[0].text == "2 data sets: each is shown by itself; one number over them needs 5."
        if count == 5:
            assert "Over 5 data sets, with 100 images" in said[0].text
            assert "interquartile mean" in said[0].text and "resnet (" in said[0].text


def test_no_number_is_of_one_data_set_at_two_resolutions(made_up: Any, tmp_path: Path) -> None:
    """Reference: the ids of the runs, which name their resolution. Data sets of one resolution each are one number."""
    arms = [{"dataset": name, "resolution": pixels} for name in FIVE for pixels in (8, 16)]
    study = made_up.study_of(made_up.SMALL, train_size=100, test_resolutions=[8, 16], arms=arms)
    made_up.write_study(tmp_path / "two", study)
    arms_there = split(load(tmp_path / "two", study))
    table = over_sets.over_data_sets(arms_there)
    assert table.groupby("resolution")["label"].nunique().to_dict() == {"8 px": 3, "16 px": 3}
    for row in table.itertuples():
        assert row.data_sets == 5 and len(row.runs.split()) == 15
        assert all(f"-r{row.resolution.removesuffix(' px')}-" in run for run in row.runs.split())
    assert ["trained at 8 px" in one.text for one in over_sets_sentences.answers(arms_there)] == [True, False]

    arms = [{"dataset": name, "resolution": pixels} for name, pixels in zip(FIVE, (8, 16, 16, 16, 16), strict=True)]
    study = made_up.study_of(made_up.SMALL, train_size=100, test_resolutions=[8, 16], arms=arms)
    made_up.write_study(tmp_path / "own", study)
    [said] = over_sets_sentences.answers(split(load(tmp_path / "own", study)))
    assert "each at a resolution of its own" in said.text


def test_models_are_compared_over_the_same_data_sets(made_up: Any, tmp_path: Path) -> None:
    """Reference: sets of names by hand. Two models of five data sets each, four of them the same, are not compared;
    with six data sets, of which each lacks another at most, the rest is named."""
    names = (*FIVE, "cifar10")
    arms = [{"dataset": name, "resolution": 8} for name in names]
    study = made_up.study_of(made_up.SMALL, train_size=100, test_resolutions=[8], arms=arms)

    def without(**lacking: str) -> list[ArmData]:
        root = tmp_path / "-".join(lacking.values())
        skip = [run.id for run in study.runs if lacking.get(run.model) == run.dataset]
        made_up.write_study(root, study, skip=skip)
        return split(load(root, study))

    arms_there = without(resnet=names[0])
    table = over_sets.over_data_sets(arms_there)
    assert set(table["names"]) == {", ".join(names[1:])} and table["mean"].notna().all()
    [said] = over_sets_sentences.answers(arms_there)
    assert said.text.startswith(f"Over 5 data sets, with 100 images ({', '.join(names[1:])}; size")

    arms_there = without(resnet=names[0], vit=names[1])
    assert over_sets.over_data_sets(arms_there)["mean"].isna().all()
    assert [one.text for one in over_sets_sentences.answers(arms_there)] == [
        "5 data sets: each is shown by itself; one number over them needs 5 that its models have in common."
    ]


def test_the_command_shows_two_networks(made_up: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reference: the same numbers by `mcnemar`; as JSON and in words that speak of two networks alone."""
    study = made_up.study_of(made_up.SMALL, train_size=100)
    made_up.write_study(tmp_path, study)
    a, b = study.runs[0], study.runs[4]
    expected = mcnemar(*(predict(tmp_path, run, 0.8) for run in (a, b)))
    first = min(run.id for run in study.runs)
    command = ["show", a.id, "--against", b.id, "--runs", str(tmp_path)]
    for arguments in (command, [*command, "--json"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
    said, _, values = capsys.readouterr().out.partition("{")
    assert f"McNemar's exact test: p = {expected.p:.3g}" in said
    assert "Of their architectures it says nothing" in said
    for other, near in ((f"{b.id[:-1]}x", f"did you mean `{b.id}`?"), ("nosuch", f"an id looks like {first}")):
        with pytest.raises(SystemExit) as end:
            main(["show", a.id, "--against", other, "--runs", str(tmp_path)])
        assert end.value.code == 2
        assert f"no run '{other}' among the 9 under {tmp_path}; {near}" in capsys.readouterr().err
    found = json.loads("{" + values)
    assert (found["only_a"], found["only_b"], found["p"]) == (expected.only_a, expected.only_b, expected.p)


@pytest.mark.parametrize(("models", "maps"), [(1, 0), (3, 1)])
def test_one_model_has_no_map(models: int, maps: int, made_up: Any, tmp_path: Path) -> None:
    """By hand: one model has its reference alone, a number of the table; three have a map of nine."""
    names = [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d"]}][: 1 if models == 1 else 2]
    study = made_up.study_of(made_up.SMALL, models=names, train_size=100)
    made_up.write_study(tmp_path, study)
    for run in study.runs:
        predict(tmp_path, run, 0.9)
    [arm] = reported_arms(study, load(tmp_path, study), tmp_path)
    assert len(arm.once(numbers).consistency) == models**2
    assert len(consistency_section(arm).figures) == maps
