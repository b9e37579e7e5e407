"""The list of questions: what they give does not collide, and the page has nothing of its own between them."""

from pathlib import Path

from analysis.elements.palette import looks
from analysis.elements.question import Csv, CsvOfAll
from analysis.elements.reported import reported_arms
from analysis.frame.frame import load
from analysis.page.content import each_chapter, ordered
from analysis.page.questions import IN_ORDER_OF_ANSWERS, QUESTIONS
from analysis.page.tables import csv_tables
from benchmarks.plan.study import Study


def test_no_two_questions_give_the_same_file_or_ask_the_same() -> None:
    names = [csv.name for one in QUESTIONS for csv in (*one.csvs, *one.csvs_of_all)]
    assert len(names) == len(set(names))
    assert len({one.asks for one in QUESTIONS}) == len(QUESTIONS)


def test_every_question_answers_once() -> None:
    assert len(IN_ORDER_OF_ANSWERS) == len(QUESTIONS)
    assert {one.asks for one in IN_ORDER_OF_ANSWERS} == {one.asks for one in QUESTIONS}


def test_chapters_are_those_of_the_questions_in_their_order(small: tuple[Study, Path]) -> None:
    study, root = small
    frame = load(root, study)
    arms, styles = reported_arms(study, frame, root), looks(frame.runs)
    anchors = [chapter.anchor for chapter in ordered(each_chapter(arms, styles))]
    of_all = [chapter for one in QUESTIONS for chapter in one.chapters(arms, styles)]
    every = [chapter.anchor for further in (False, True) for chapter in of_all if chapter.further == further]
    assert len(every) == len(set(every))
    assert anchors == [anchor for anchor in every if anchor in anchors]
    assert {"train-size", "ledger"} <= set(anchors)


def test_csv_tables_are_those_of_the_questions_and_the_records(small: tuple[Study, Path]) -> None:
    study, root = small
    frame = load(root, study)
    tables = csv_tables(frame, reported_arms(study, frame, root))
    csvs: list[Csv[object] | CsvOfAll] = [csv for one in QUESTIONS for csv in (*one.csvs, *one.csvs_of_all)]
    assert set(tables) - {"runs", "evaluations"} <= {csv.name for csv in csvs}
    assert {csv.name for csv in csvs if isinstance(csv, Csv) and csv.always} <= set(tables)


def test_what_is_made_of_an_arm_is_made_once(small: tuple[Study, Path]) -> None:
    study, root = small
    [arm] = reported_arms(study, load(root, study), root)
    for one in QUESTIONS:
        assert arm.once(one.numbers) is arm.once(one.numbers)
