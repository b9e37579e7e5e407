"""What models keep of their accuracy under probes, and what the page shows of it.

Reference: numpy and scipy's t-interval on accuracies made up here, run by run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.elements.palette import looks
from analysis.elements.reported import ReportedArm, reported_arms
from analysis.frame.frame import load
from analysis.questions.assumptions.figures import kept_by_probe, kept_by_strength
from analysis.questions.assumptions.numbers import numbers
from analysis.questions.assumptions.sections import chapters, remark
from analysis.questions.assumptions.sentences import claims, failed, limits
from analysis.questions.resolution.retention import retained
from analysis.report import write_report
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study
from benchmarks.records.evaluation_files import pass_paths, read_entries, write_evaluations

MODELS = [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d"]}]
PROBES = [{"probe": ["shift", "blur", "patch_shuffle", "noise_image", "permuted_labels"]}]
NAMES = {"-": "resnet", "none": "vit none", "learned_1d": "vit learned_1d"}  # by position
KEEPS = {  # at strength 0, by position; 0.05 less a strength
    "shift": {"-": 0.9, "none": 0.7, "learned_1d": 0.5},
    "blur": {"-": 0.8, "none": 0.8, "learned_1d": 0.8},
    "patch_shuffle": {"-": 0.4, "none": 1.0, "learned_1d": 0.6},
}
LABELS = np.arange(597) % 10
STRENGTHS = {"shift": 4, "blur": 5, "patch_shuffle": 3}  # that suit images of 8 pixels


def share_kept(run: Run, probe: str, strength: int) -> float:
    """Of seed 0, 1, 2 more by these shares; under blur by four times as much, which is all that it parts models by."""
    aside = {"-": (0.0, 0.01, 0.02), "none": (0.02, 0.0, 0.01), "learned_1d": (0.01, 0.02, 0.0)}[run.position][run.seed]
    spread = aside * (4 if probe == "blur" else 1)
    return KEEPS[probe][run.position] - 0.05 * strength + spread


def accuracy(run: Run, one: Evaluation) -> float:
    plain = {"-": 0.9, "none": 0.6, "learned_1d": 0.8}[run.position] + 0.01 * run.seed
    if one.probe in KEEPS:
        return plain * share_kept(run, one.probe, one.strength)
    return plain if one.probe == "-" else 0.1


def made(
    made_up: Any,
    root: Path,
    how: Callable[[Run, Evaluation], float] = accuracy,
    labels: np.ndarray | None = None,
    **changes: Any,
) -> ReportedArm:
    """With `labels`, the predictions of the images as they are were kept: all are right."""
    study = made_up.study_of(made_up.SMALL, models=MODELS, evaluations=PROBES, **changes)
    for run in study.runs:
        made_up.write_record(root, run, study.evaluations[run.id], accuracy=how)
        if labels is not None:
            keep_predictions(root / run.id, labels, labels)
    return arm_of(study, root)


def keep_predictions(folder: Path, labels: np.ndarray, predicted: np.ndarray, kept: str = "top5") -> None:
    """In the place of the pass of a record: one that keeps what was predicted at home, or `none`."""
    [path] = pass_paths(folder)
    entries = read_entries(path)
    at_home = {"part": "test", "probe": "-", "resolution": 8}
    [home] = [one for one in entries if at_home.items() <= one["evaluation"].items()]
    home["predictions"] = kept
    arrays = {"labels.test": labels, f"{home['id']}.predicted": predicted} if kept != "none" else {}
    write_evaluations(folder, 1, entries, arrays)


def arm_of(study: Study, root: Path) -> ReportedArm:
    [arm] = reported_arms(study, load(root, study), root)
    return arm


def areas(arm: ReportedArm, position: str, size: int, probe: str) -> np.ndarray:
    """What each seed's run keeps under a probe, by hand."""
    runs = [run for run in arm.study.runs if (run.position, run.train_size) == (position, size)]
    steps = range(1, STRENGTHS[probe] + 1)
    return np.array([np.mean([share_kept(run, probe, step) for step in steps]) for run in runs])


def assert_t_interval(row: pd.Series, values: np.ndarray) -> None:
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert [row["mean"], row["low"], row["high"]] == pytest.approx([values.mean(), low, high])
    assert row["n"] == len(values)


def test_what_is_kept_is_the_mean_of_ratios_with_t_intervals(made_up: Any, tmp_path: Path) -> None:
    arm = made(made_up, tmp_path)
    of = arm.once(numbers)
    table = of.by_probe.set_index(["measure", "probe", "label", "train_size"])
    steps = of.by_strength.set_index(["measure", "probe", "label", "train_size", "strength"])
    for probe, last in STRENGTHS.items():
        for position, label in NAMES.items():
            for size in (100, 300):
                assert_t_interval(table.loc[("kept", probe, label, size)], areas(arm, position, size, probe))
                assert table.loc[("consistency", probe, label, size), "mean"] == 0.5  # as the records have it
                assert table.loc[("kept", probe, label, size), "strengths"] == " ".join(map(str, range(1, last + 1)))
                runs = [run for run in arm.study.runs if (run.position, run.train_size) == (position, size)]
                for step in (1, last):
                    kept = np.array([share_kept(run, probe, step) for run in runs])
                    assert_t_interval(steps.loc[("kept", probe, label, size, step)], kept)
    assert list(dict.fromkeys(of.by_probe["probe"])) == list(STRENGTHS)  # in the order of their table, no controls


def test_differences_are_paired_over_seeds_against_the_reference(made_up: Any, tmp_path: Path) -> None:
    """The most accurate model where the study declares none, else that of its first family of many against one."""
    arm = made(made_up, tmp_path)
    table = arm.once(numbers).differences
    assert set(table["reference"]) == {"resnet"} and set(table["label"]) == {"vit none", "vit learned_1d"}
    for row in table.to_dict("records"):
        position = next(key for key, label in NAMES.items() if label == row["label"])
        ours, theirs = (areas(arm, one, row["train_size"], row["probe"]) for one in (position, "-"))
        assert_t_interval(pd.Series(row), ours - theirs)
    family = [{"name": "encodings", "models": ["vit"], "against": "vit learned_1d"}]
    declared = arm_of(made_up.study_of(made_up.SMALL, models=MODELS, evaluations=PROBES, comparisons=family), tmp_path)
    assert set(declared.once(numbers).differences["reference"]) == {"vit learned_1d"}


def test_a_run_without_one_of_the_strengths_has_no_mean_over_them(made_up: Any, tmp_path: Path) -> None:
    arm = made(made_up, tmp_path, train_size=300)
    run = next(run for run in arm.study.runs if run.position == "none")
    [path] = pass_paths(tmp_path / run.id)
    entries = read_entries(path)
    kept = [one for one in entries if (one["evaluation"]["probe"], one["evaluation"]["strength"]) != ("shift", 2)]
    assert len(kept) == len(entries) - 1
    write_evaluations(tmp_path / run.id, 1, kept, {})
    arm = arm_of(arm.study, tmp_path)
    table = arm.once(numbers).by_probe.set_index(["measure", "probe", "label", "train_size"])
    assert_t_interval(table.loc[("kept", "shift", "vit none", 300)], areas(arm, "none", 300, "shift")[1:])
    assert table.loc[("kept", "blur", "vit none", 300), "n"] == 3
    assert "vit none could" not in claims(arm)[0].answer.body


def test_a_run_at_chance_keeps_nothing_that_could_be_measured(made_up: Any, tmp_path: Path) -> None:
    """Two binomial standard errors of 597 images above 10 % are 12.5 %."""
    edge = 0.1 + 2 * np.sqrt(0.09 / 597)

    def low(run: Run, one: Evaluation) -> float:
        if run.position == "none" and run.train_size == 100 and one.probe == "-":
            return float(edge - 0.001 if run.seed == 0 else edge + 0.001)
        return accuracy(run, one)

    arm = made(made_up, tmp_path, low)
    table = arm.once(numbers).by_probe.set_index(["measure", "probe", "label", "train_size"])
    assert [table.loc[("kept", "shift", "vit none", size), "n"] for size in (100, 300)] == [2, 3]
    assert table.loc[("consistency", "shift", "vit none", 100), "n"] == 3


def test_where_nothing_is_above_chance_nothing_is_said_to_be_level(made_up: Any, tmp_path: Path) -> None:
    arm = made(made_up, tmp_path, lambda run, one: 0.1, train_size=300)
    assert remark(arm).startswith("No accuracy kept is given: with n = 300, no run is two standard errors above chance")
    [claim] = claims(arm)
    assert claim.answer.body == (
        "Under shift, blur and patch shuffle no run is above chance, so that there is nothing to keep."
    )


def test_sentences_name_models_that_are_separable_from_all_others(made_up: Any, tmp_path: Path) -> None:
    """By hand: shifts and shuffles part all three models, a blur none."""
    [claim] = claims(made(made_up, tmp_path, train_size=300))
    means = {(probe, position): KEEPS[probe][position] - 0.05 * (STRENGTHS[probe] + 1) / 2 + 0.01
             for probe in KEEPS for position in NAMES}  # fmt: skip
    shift, shuffle, least, fewest = (
        f"{100 * means[key]:.1f} %"
        for key in (("shift", "-"), ("patch_shuffle", "none"), ("shift", "learned_1d"), ("patch_shuffle", "-"))
    )
    assert claim.answer.body == (
        f"Most: resnet under shift ({shift}); vit none under patch shuffle ({shuffle}). "
        f"Least: vit learned_1d under shift ({least}); resnet under patch shuffle ({fewest}). "
        "Under blur no model is separable from all others."
    )


def test_controls_at_chance_are_a_line_and_others_a_limit(made_up: Any, tmp_path: Path) -> None:
    """Three binomial standard errors of 597 images are 3.7 points. The most frequent of ten classes has 60 images."""
    edge = 3 * np.sqrt(0.09 / 597)

    def leaking(run: Run, one: Evaluation) -> float:
        chance = {"noise_image": 60 / 597 + edge - 0.001, "permuted_labels": 0.1 + edge + 0.001}.get(one.probe)
        return float(chance) if run.position == "none" and chance else accuracy(run, one)

    arm = made(made_up, tmp_path / "fine", labels=LABELS, train_size=300)
    assert limits(arm) == []
    [chapter, _] = chapters([arm], looks(arm.runs))
    assert chapter.sections[0].remark == (
        "Controls: with images of noise mean accuracy is 10.0 % (most frequent class: 10.1 %; at chance); "
        "with permuted labels mean accuracy is 10.0 % (expected: 10.0 %; at chance)."
    )
    arm = made(made_up, tmp_path / "leaking", leaking, LABELS, train_size=300)
    [limit] = limits(arm)
    assert "with permuted labels accuracy is not at chance (vit none)" in limit.answer.body
    controls = arm.once(numbers).controls
    assert set(failed(controls)[["label", "probe"]].itertuples(index=False, name=None)) == {
        ("vit none", "permuted_labels")
    }


def test_chance_of_unequal_classes(made_up: Any, tmp_path: Path) -> None:
    """Reference: the mean accuracy over many orders of the labels, drawn here. Of noise, a network that always answers
    the same is at chance, whichever class that is; one beyond the most frequent class is not."""
    generator = np.random.default_rng(0)
    labels = generator.choice(10, 597, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01])
    answers = np.where(generator.random(597) < 0.5, labels, 0)  # leans towards the most frequent class
    largest, rare = (np.mean(labels == one) for one in (0, 9))
    expected = {
        name: np.mean([np.mean(given == generator.permutation(labels)) for _ in range(4000)])
        for name, given in (("resnet", labels), ("vit none", answers))
    }

    def unequal(run: Run, one: Evaluation) -> float:
        if one.probe == "noise_image":
            return float({"-": largest, "none": rare, "learned_1d": largest + 0.08}[run.position])
        return float(expected.get(NAMES[run.position], 0.1)) if one.probe == "permuted_labels" else 0.9

    arm = made(made_up, tmp_path, unequal, labels, train_size=300)
    for run in arm.study.runs:
        if run.position != "-":
            keep_predictions(tmp_path / run.id, labels, answers, "top5" if run.position == "none" else "none")
    controls = (arm := arm_of(arm.study, tmp_path)).once(numbers).controls.set_index(["probe", "label"])
    for label, share in expected.items():
        assert controls.loc[("permuted_labels", label), "chance"] == pytest.approx(share, abs=0.002)
        assert controls.loc[("permuted_labels", label), "at_chance"]
    assert pd.isna(controls.loc[("permuted_labels", "vit learned_1d"), "at_chance"])
    assert controls.loc["noise_image", "chance"].tolist() == [largest] * 3
    assert controls.loc["noise_image", "at_chance"].tolist() == [True, True, False]
    [chapter, _] = chapters([arm], looks(arm.runs))
    for text in ("not at chance: vit learned_1d)", "no verdict, as predictions were not kept: vit learned_1d)"):
        assert text in chapter.sections[0].remark
    [limit] = limits(arm)
    assert "with images of noise accuracy is not at chance (vit learned_1d)" in limit.answer.body


def test_chance_is_that_of_the_most_frequent_class(made_up: Any, tmp_path: Path) -> None:
    """Reference: two binomial standard errors above 40 %, where one class has as many of the 597 test images, by hand:
    44.0 %. Above 1 / K are all; without kept labels that is all that is known."""
    labels = np.where(np.arange(597) < 239, 0, 1 + np.arange(597) % 9)
    plain = {"-": 0.9, "none": 0.43, "learned_1d": 0.45}

    def level(run: Run, one: Evaluation) -> float:
        return plain[run.position]

    known, unknown = (made(made_up, tmp_path / str(place), level, one) for place, one in enumerate((labels, None)))
    assert (known.arm.chance, unknown.arm.chance) == (239 / 597, 0.1)
    above = [set(retained(arm.rows).dropna(subset=["retention"])["label"]) for arm in (known, unknown)]
    assert above == [{"resnet", "vit learned_1d"}, {"resnet", "vit none", "vit learned_1d"}]
    kept_by_run = numbers(known).by_run.groupby("label")["kept"].count()
    assert kept_by_run["vit none"] == 0 < kept_by_run["vit learned_1d"]


def test_what_was_measured_elsewhere_is_named(made_up: Any, tmp_path: Path) -> None:
    """Probes at another resolution, and of images shown in another way, stand in no table; nor does one alone."""
    asked = [{"probe": ["noise", "shift"], "resolution": 16}, {"probe": "blur", "crop": 0.875}]
    elsewhere = (
        "Measured elsewhere, for which only evaluations.csv has numbers: "
        "noise and shift at 16 px; blur at 8 px, crop 0.875."
    )
    for name, tables in (("alone", asked), ("beside", [*PROBES, *asked])):
        study = made_up.study_of(made_up.SMALL, models=MODELS[:1], evaluations=tables, train_size=300)
        for run in study.runs:
            made_up.write_record(tmp_path / name, run, study.evaluations[run.id], accuracy=lambda *_: 0.5)
        arm = arm_of(study, tmp_path / name)
        [section] = chapters([arm], looks(arm.runs))[0].sections
        assert section.remark.endswith(elsewhere)
        assert (section.remark == elsewhere) == (name == "alone")


def test_without_probes_the_question_says_nothing(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    arm = arm_of(study, root)
    assert all(not chapter.sections for chapter in chapters([arm], looks(arm.runs)))
    assert claims(arm) == limits(arm) == []
    report = write_report(study, root, tmp_path / "out", ("html", "csv"))
    assert "Which assumption" not in report.page.read_text(encoding="utf-8")
    assert not [path for path in report.tables if "kept" in path.name or "probe" in path.name]


def test_every_format_has_the_section_after_resolution(made_up: Any, tmp_path: Path) -> None:
    arm = made(made_up, tmp_path / "runs")
    out = tmp_path / "out"
    report = write_report(arm.study, tmp_path / "runs", out, ("html", "latex", "markdown", "csv"))
    html = report.page.read_text(encoding="utf-8")
    places = [
        html.index(f'<section id="{name}">') for name in ("positions", "assumptions", "ledger", "probe-strengths")
    ]
    assert places == sorted(places)
    assert html[places[1] :].partition("</section>")[0].count("<table") == 5  # two sizes, differences, what probes do
    for name in ("by-probe", "by-strength", "differences"):
        assert (out / "tables" / f"accuracy-kept-{name}.csv").is_file()
    assert "## Which assumption" in (out / "report.md").read_text(encoding="utf-8")
    assert "accuracy-kept-1" in (out / "latex" / "report.tex").read_text(encoding="utf-8")
    for kind in ("pdf", "png", "csv"):
        assert (out / "figures" / f"accuracy-kept-1.{kind}").is_file()


def test_figures_have_a_panel_a_probe_and_hollow_points_of_what_is_level(made_up: Any, tmp_path: Path) -> None:
    arm = made(made_up, tmp_path, train_size=300)
    of, styles = arm.once(numbers), looks(arm.runs)
    table = of.by_probe[(of.by_probe["measure"] == "kept") & (of.by_probe["train_size"] == 300)]
    figure = kept_by_probe(table, {("blur", "vit none")}, styles, width=3.9)
    named = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in named] == ["shift", "blur", "patch shuffle"]
    for axes, probe in zip(named, STRENGTHS, strict=True):
        points = [line for line in axes.lines if line.get_marker() == "o"]
        means = table.loc[table["probe"] == probe, "mean"]
        assert [line.get_xdata()[0] for line in points] == pytest.approx((100 * means).tolist())
        assert [line.get_markerfacecolor() == "white" for line in points] == [False, probe == "blur", False]
    curves = of.by_strength[(of.by_strength["measure"] == "kept") & (of.by_strength["train_size"] == 300)]
    figure = kept_by_strength(curves, styles)
    ticks = [axes.get_xticks().tolist() for axes in figure.axes if axes.get_title(loc="left")]
    assert ticks == [list(range(1, last + 1)) for last in STRENGTHS.values()]
