"""The head of a report: answers by arm, what arms have in common said once. Expectations are written out by hand."""

import dataclasses
import html
import re
from pathlib import Path
from typing import Any

import pytest

from analysis.frame.arms import Arm, arm_names
from analysis.page.order import Answers, ArmAnswers, in_order
from analysis.report import write_report
from analysis.wording import Answer, Scope
from benchmarks.plan.run import PROTOCOL

ARM = Arm("cifar10", "nano", "plain", "steps", 20000, 32, 0.2, "float32", PROTOCOL)
WORDS = "cifar10, size nano, recipe plain, 20,000 steps, trained at 32 px"


def arm_like(**changes: Any) -> Arm:
    return dataclasses.replace(ARM, **changes)


def of(arm: Arm, *claims: tuple[str, str], units: str = "3 seeds", limits: tuple[str, ...] = ()) -> ArmAnswers:
    """An arm with a claim for each (lead, anchor), whose body names its recipe, and limits of these bodies."""
    scope = Scope(arm.words, units)
    said = tuple((Answer(lead, scope, f"on {arm.recipe}."), anchor) for lead, anchor in claims)
    return ArmAnswers(
        arm, said, tuple((Answer("Under-trained", Scope(arm.words), body), "train-size") for body in limits)
    )


def texts(answers: Any) -> list[str]:
    return [answer.text for answer, _ in answers]


CLAIMS = (("With 500 images", "train-size"), ("Data needed", "data-needed"), ("Tested at 16 px", "test-resolution"))


def test_one_arm_is_said_once_and_in_order() -> None:
    said = in_order([], [of(ARM, *CLAIMS, limits=("one cell.",))], [])
    assert said.lines == [
        f"{WORDS}; 3 seeds.",
        "With 500 images: on plain.",
        "Data needed: on plain.",
        "Tested at 16 px: on plain.",
        "Under-trained: one cell.",
    ]
    assert not any(part.folded for part in said.parts)
    assert in_order([], [], []).lines == []


def test_two_arms_stand_open_one_behind_the_other() -> None:
    said = in_order([], [of(ARM, *CLAIMS), of(arm_like(recipe="none"), *CLAIMS)], [])
    assert said.lines == [
        "2 conditions, which differ in recipe. In common: cifar10, size nano, 20,000 steps, trained at 32 px; 3 seeds.",
        "With 500 images (recipe plain): on plain.",
        "Data needed (recipe plain): on plain.",
        "Tested at 16 px (recipe plain): on plain.",
        "With 500 images (recipe none): on none.",
        "Data needed (recipe none): on none.",
        "Tested at 16 px (recipe none): on none.",
    ]
    assert not any(part.folded for part in said.parts)


def test_of_three_arms_the_foremost_answer_stands_open_and_none_is_dropped() -> None:
    first, last = [(Answer("Incomplete", Scope(), "1 run."), "states")], [(Answer("3 data sets", Scope(), "."), "x")]
    arms = [of(arm_like(recipe=recipe), *CLAIMS) for recipe in ("none", "plain", "strong")]
    said = in_order(first, arms, last)
    assert [texts(part.shown) for part in said.parts] == [
        ["Data needed (recipe none): on none."],
        ["Data needed (recipe plain): on plain."],
        ["Data needed (recipe strong): on strong."],
    ]
    assert texts(said.parts[1].folded) == [
        "With 500 images (recipe plain): on plain.",
        "Tested at 16 px (recipe plain): on plain.",
    ]
    assert said.parts[1].summary == "2 more answers on recipe plain"
    assert texts(said)[0] == "Incomplete: 1 run."
    assert texts(said)[-1] == "3 data sets: ."
    assert len(list(said)) == 2 + 3 * 3


def foremost(*claims: tuple[str, str], dataset: str = "cifar10") -> list[str]:
    arms = [of(arm_like(dataset=dataset, recipe=recipe), *claims) for recipe in ("none", "plain", "strong")]
    return [answer.lead for answer, _ in in_order([], arms, []).parts[0].shown]


def test_which_answers_are_foremost() -> None:
    """With one train size: what another resolution does, unless the data set only demonstrates that."""
    sizes, tested = ("With 500 images", "train-size"), ("Tested at 16 px", "test-resolution")
    both = [tested, ("Tested at 64 px", "test-resolution")]
    assert foremost(sizes, *both) == ["Tested at 16 px"]
    assert foremost(sizes, *both, dataset="digits") == ["With 500 images"]
    assert foremost(sizes) == ["With 500 images"]
    assert foremost(sizes, ("Data needed", "data-needed-1-1"), ("Baseline b", "data-needed-1-2")) == ["Data needed"]
    assert foremost(("Crossings", "crossings-1-1"), sizes) == ["With 500 images"]
    assert foremost(("Comparing a", "comparisons")) == ["Comparing a"]
    assert foremost() == []


def test_demonstrations_come_last() -> None:
    sets = ("digits", "cifar10", "cifar100")
    said = in_order([], [of(arm_like(dataset=name), *CLAIMS) for name in sets], [])
    assert [part.name for part in said.parts] == ["cifar10", "cifar100", "digits"]


def test_seeds_are_said_where_they_differ() -> None:
    few = of(arm_like(recipe="none"), *CLAIMS, units="2 seeds")
    said = in_order([], [of(ARM, *CLAIMS), few], [])
    assert said.common.endswith("In common: cifar10, size nano, 20,000 steps, trained at 32 px.")
    assert texts(said)[0] == "With 500 images (recipe plain; 3 seeds): on plain."
    assert texts(said)[-1] == "Tested at 16 px (recipe none; 2 seeds): on none."


def test_limits_are_never_folded_and_said_once_of_arms_that_share_them() -> None:
    arms = [
        of(arm_like(recipe=recipe), *CLAIMS, limits=("all.", *more))
        for recipe, more in (("none", ()), ("plain", ("some.",)), ("strong", ("some.",)))
    ]
    assert texts(in_order([], arms, []).last) == [
        "Under-trained (every condition): all.",
        "Under-trained (recipe plain; recipe strong): some.",
    ]


@pytest.mark.parametrize(
    ("changes", "differing", "own"),
    [
        ({"precision": "bfloat16"}, ("precision",), ("float32", "bfloat16")),
        ({"protocol": 1}, ("protocol",), ("protocol 2", "protocol 1")),
        ({"budget_kind": "epochs", "budget": 20}, ("budget",), ("20,000 steps", "20 epochs")),
        ({"validation": 0.1}, ("validation",), ("validation is 20 % of n", "validation is 10 % of n")),
        (
            {"dataset": "digits", "resolution": 8},
            ("data set", "training resolution"),
            ("cifar10, trained at 32 px", "digits, trained at 8 px"),
        ),
    ],
)
def test_arms_are_told_apart_by_all_that_makes_an_arm(
    changes: dict[str, Any], differing: tuple[str, ...], own: tuple[str, ...]
) -> None:
    """Also by what goes without saying where it is equal."""
    apart = arm_names([ARM, arm_like(**changes)])
    assert (apart.differing, apart.own) == (differing, own)


def test_numbers_that_all_recipes_have_are_common() -> None:
    """By hand, of the names that `name_recipes` makes; a recipe without numbers shares none."""
    recipes = ("plain (a=1, b=[2, 3], c=4)", "none (a=1, b=[2, 3])", "plain (a=1, b=[2, 5])")
    apart = arm_names([arm_like(recipe=recipe) for recipe in recipes])
    assert apart.own == ("recipe plain (b=[2, 3], c=4)", "recipe none (b=[2, 3])", "recipe plain (b=[2, 5])")
    assert apart.common.endswith(", all recipes (a=1)")
    apart = arm_names([arm_like(recipe=recipe) for recipe in ("plain (a=1, b=2)", "none (a=1, b=2), by model")])
    assert apart.own == ("recipe plain", "recipe none, by model") and "all recipes (a=1, b=2)" in apart.common
    bare = [arm_like(recipe=recipe) for recipe in ("plain (a=1)", "none")]
    assert arm_names(bare).own == ("recipe plain (a=1)", "recipe none")


def test_what_is_common_is_said_once_in_every_format(made_up: Any, tmp_path: Path) -> None:
    """Three recipes: conditions once, every answer in every format, folded ones in the page's <details>."""
    table = {**made_up.SMALL, "recipe": ["none", "digits", "plain"]}
    study = made_up.study_of(table)
    made_up.write_study(tmp_path / "runs", study)
    formats = ("html", "markdown", "latex")
    report = write_report(study, tmp_path / "runs", tmp_path / "out", formats)
    again = write_report(study, tmp_path / "runs", tmp_path / "again", ("html",))
    page = report.page.read_text(encoding="utf-8")
    assert page == again.page.read_text(encoding="utf-8")
    common, *answers = report.answers
    assert common == (
        "3 conditions, which differ in recipe. In common: digits, size pico, 600 steps, trained at 8 px; 3 seeds."
    )
    assert not any("size pico" in answer for answer in answers)
    bodies = [answer.partition("): ")[2][:40] for answer in answers]
    shown = page.partition('<section id="answers">')[2].partition("<nav")[0]
    for text in (shown, (tmp_path / "out" / "report.md").read_text(encoding="utf-8")):
        plain = html.unescape(text).replace("\\", "")
        assert plain.count(common) == 1
        assert all(body in plain for body in bodies)
    latex = (tmp_path / "out" / "latex" / "report.tex").read_text(encoding="utf-8")
    in_words = latex.partition("{In words}")[2].partition(r"\end{itemize}")[0]
    assert in_words.count(r"\item ") == len(answers)
    assert latex.count(common) == 1
    assert len(re.findall("<details><summary>.*more answers on recipe ", shown)) == 3
    open_ = re.sub(r"<details>.*?</details>", "", shown, flags=re.DOTALL)
    assert open_.count("<b>Data needed</b>") == 3
    assert open_.count("<b>100 images</b>") == 0


def test_a_head_is_a_sequence_of_answers() -> None:
    assert list(Answers("", (), (), ())) == []
