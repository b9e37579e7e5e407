"""The report of a study: one HTML page, its tables as CSV, and the answers in words.

A pure function of the records and the study: the same bytes each time, no date, no path, no network.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis import ablation, data_efficiency, fairness, figures, page, resolution, statistics, wording
from analysis.arms import Arm, ArmData, split
from analysis.frame import ARM, COLUMNS, Frame, load
from analysis.palette import Look, looks
from analysis.wording import Answer
from benchmarks.datasets import dataset
from benchmarks.record import write_atomic
from benchmarks.study import Study

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """What was written: the page, the CSV tables; and the answers, one line each."""

    page: Path
    answers: list[str]
    tables: list[Path]


@dataclass(frozen=True)
class Section:
    """One arm's share of a section: its heading, an optional figure, tables, and tables that start folded."""

    title: str
    figure: Markup | None
    alt: str
    tables: tuple[page.Table, ...]
    folded: tuple[tuple[str, page.Table], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """An arm with all its tables, long form."""

    arm: Arm
    data: ArmData
    links: page.Anchors
    by_train_size: pd.DataFrame
    by_test_resolution: pd.DataFrame
    retention: pd.DataFrame
    positions: pd.DataFrame
    positions_away: pd.DataFrame
    ledger: pd.DataFrame


def write_report(study: Study, root: Path, out: Path) -> Report:
    """Reads the study's records under `root` and writes `out`/index.html and `out`/tables/*.csv.

    Works whatever is missing. Raises OSError when `out` cannot be written.
    """
    frame = load(root, study)
    findings = [_find(number, arm, study) for number, arm in enumerate(split(frame), start=1)]
    answers = _answers(study, frame, findings)
    html = _render(study, root, frame, findings, answers)

    (out / "tables").mkdir(parents=True, exist_ok=True)
    tables = []
    for name, table in csv_tables(frame, findings).items():
        tables.append(out / "tables" / f"{name}.csv")
        write_atomic(tables[-1], table.to_csv(index=False, lineterminator="\n").encode())
    write_atomic(out / "index.html", html.encode())
    return Report(out / "index.html", [answer.text for answer, _ in answers], tables)


def _find(number: int, arm: ArmData, study: Study) -> Findings:
    wanted = [one for run in arm.runs["run"] for one in study.evaluations[run] if one.part == "test"]
    resolutions = sorted({one.resolution for one in wanted})
    claims = not arm.arm.data.interpolation_only
    return Findings(
        arm.arm,
        arm,
        page.anchors(number, arm),
        data_efficiency.curve(arm),
        resolution.curve(arm, "accuracy", resolutions),
        resolution.curve(arm, "retention", resolutions) if claims else pd.DataFrame(),
        ablation.differences(arm),
        ablation.differences_away(arm, resolutions) if claims else pd.DataFrame(),
        fairness.ledger(arm),
    )


def csv_tables(frame: Frame, findings: Sequence[Findings]) -> dict[str, pd.DataFrame]:
    """The page's tables in long form by file name. Columns say the arm; `runs` has the ids behind a row."""
    return {
        "accuracy-by-train-size": _stacked(findings, "by_train_size"),
        "accuracy-by-test-resolution": _stacked(findings, "by_test_resolution"),
        "retention-by-test-resolution": _stacked(findings, "retention"),
        "position-ablation": _stacked(findings, "positions"),
        "position-ablation-by-test-resolution": _stacked(findings, "positions_away"),
        "fairness-ledger": _stacked(findings, "ledger"),
        "evaluations": frame.rows,
        "runs": frame.runs,
    }


def _stacked(findings: Sequence[Findings], name: str) -> pd.DataFrame:
    tables = []
    for number, found in enumerate(findings, start=1):
        table: pd.DataFrame = getattr(found, name)
        if not table.empty:
            first = {"arm": number, **{column: getattr(found.arm, column) for column in ARM}}
            tables.append(pd.concat([pd.DataFrame([first] * len(table), index=table.index), table], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["arm", *ARM])


def _answers(study: Study, frame: Frame, findings: Sequence[Findings]) -> list[tuple[Answer, str]]:
    """The answers, each with the anchor of the section it comes from."""
    said = [(answer, "states") for answer in _state_answers(frame)]
    for found in findings:
        said += [(answer, "train-size") for answer in data_efficiency.answers(found.data)]
    for found in findings:
        said += [(answer, "positions") for answer in ablation.answers(found.data)]
    for found in findings:
        said += [(answer, "test-resolution") for answer in resolution.answers(found.data)]
    said += [(answer, "train-size") for answer in _starved_answers(frame, findings)]
    said += [(answer, "ledger") for answer in _unequal_answers(findings)]
    return said


def _state_answers(frame: Frame) -> list[Answer]:
    states = frame.runs["state"].value_counts()
    finished = int(states.get("finished", 0))
    if finished == len(frame.runs):
        return []
    others = [wording.count(len(runs), "runs") + f" {state}" for state, runs in page.state_lines(frame.runs)]
    if finished + int(states.get("stale", 0)) == 0:
        return [Answer("No answer yet", "", f"no run of this study has finished ({wording.names(others)}).")]
    body = f"{finished:,} of {len(frame.runs):,} runs are finished; {wording.names(others)}. Answers use what is there."
    return [Answer("Incomplete", "", body)]


def _starved_answers(frame: Frame, findings: Sequence[Findings]) -> list[Answer]:
    said = []
    for found in findings:
        table = found.by_train_size
        starved = table[table["starved"]]
        if starved.empty:
            continue
        cells = [
            f"{label} with {wording.names(map(wording.number, sizes['train_size']))} images"
            for label, sizes in starved.groupby("label", sort=False)
        ]
        body = (
            f"{len(starved)} of {len(table)} cells stay below {wording.percent(frame.starved_below)} accuracy on their "
            f"own training images, so more updates might raise them: {wording.names(cells)}."
        )
        said.append(Answer("Starved", found.arm.words, body))
    return said


def _unequal_answers(findings: Sequence[Findings]) -> list[Answer]:
    words = {
        "parameters_backbone": "backbone parameters",
        "macs": "MACs",
        "images_per_second": "the hardware on which images/s was measured",
        "updates": "updates",
        "images_seen": "images seen",
        "planned": "planned runs",
    }
    said = []
    for found in findings:
        odd = [
            f"{text} ({wording.names(labels)})"
            for column, text in words.items()
            if (labels := [row.label for row in found.ledger.itertuples() if column in row.unequal.split()])
        ]
        if odd:
            body = f"{wording.names(odd)}; the ledger has the numbers."
            said.append(Answer("Not equal between the models", found.arm.words, body))
    return said


def _render(
    study: Study, root: Path, frame: Frame, findings: Sequence[Findings], answers: Sequence[tuple[Answer, str]]
) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    styles = looks(frame.runs)
    signs = {sign: said.format(limit=wording.percent(frame.starved_below)) for sign, said in wording.SIGNS.items()}
    html = environment.get_template("page.html.j2").render(
        study=study,
        expect=[line for line in (study.cost, study.expect) if line],
        answers=answers,
        states=_state_counts(frame.runs),
        unfinished=page.state_lines(frame.runs),
        problems=list(frame.problems.itertuples(index=False)),
        by_train_size=[_train_size_section(found, styles) for found in findings],
        by_test_resolution=[_test_resolution_section(found, styles) for found in findings],
        demonstration=all(found.arm.data.interpolation_only for found in findings) if findings else False,
        native=findings[0].arm.data.native_resolution if findings else 0,
        unequal_sign=wording.UNEQUAL,
        positions=[_position_section(found, styles) for found in findings if not found.positions.empty],
        ledger=[
            (_arm_title(found), page.ledger_table(found.ledger, found.data, found.links), _hardware(found))
            for found in findings
        ],
        behind=[
            (_arm_title(found), page.runs_behind(found.data, found.links, found.positions)) for found in findings
        ],
        methods=_methods(frame, findings),
        recipes=_recipe_table(frame),
        signs=signs,
    )
    return _without_paths(html, root)


def _without_paths(html: str, root: Path) -> str:
    """Messages of errors name files by their path; the page says where they lie below the runs folder."""
    for prefix in sorted({f"{root.resolve()}/", f"{root}/"} - {"./", "/"}, key=len, reverse=True):
        html = html.replace(str(Markup.escape(prefix)), "")
    return html


def _arm_title(found: Findings) -> str:
    return found.arm.words


def _state_counts(runs: pd.DataFrame) -> list[tuple[str, int]]:
    counts = runs["state"].value_counts()
    order = ["finished", *(state for state, _ in page.state_lines(runs))]
    return [(state, int(counts.get(state, 0))) for state in order]


def _draw(figure: Any, name: str) -> Markup:
    return Markup(figures.svg(figure, name))


def _pixels(resolution_: int, home: int) -> str:
    return f"{resolution_} px" + (" (trained)" if resolution_ == home else "")


def _train_size_section(found: Findings, styles: dict[str, Look]) -> Section:
    arm, links = found.data, found.links
    table = page.grid(
        found.by_train_size,
        arm,
        links,
        "train_size",
        lambda n: f"n = {wording.number(n)}",
        "Mean test accuracy in per cent, t-interval below.",
    )
    drawn = arm.rows["train_size"].nunique() > 1
    figure = _draw(figures.accuracy_by_train_size(arm.rows, styles), f"n{links.arm}") if drawn else None
    alt = f"Test accuracy against train size, {found.arm.words}; the table below has the numbers."
    return Section(_arm_title(found), figure, alt, (table,))


def _test_resolution_section(found: Findings, styles: dict[str, Look]) -> Section:
    arm, links = found.data, found.links
    home = found.arm.resolution

    def view(table: pd.DataFrame, size: int, what: str) -> page.Table:
        return page.grid(
            table[table["train_size"] == size],
            arm,
            links,
            "test_resolution",
            lambda r: _pixels(r, home),
            f"{what}, trained on {wording.number(size)} images at {home} px, in per cent; t-interval below.",
        )

    *smaller, largest = sorted(arm.runs["train_size"].unique().tolist())
    tables = [view(found.by_test_resolution, largest, "Mean test accuracy")]
    if not found.retention.empty:
        tables.append(view(found.retention, largest, "Retention of accuracy above chance"))
    folded = tuple(
        (f"n = {wording.number(size)}", view(found.by_test_resolution, size, "Mean test accuracy"))
        for size in smaller
    )
    rows = arm.rows[arm.rows["train_size"] == largest]
    drawn = rows["test_resolution"].nunique() > 1
    figure = _draw(figures.accuracy_by_test_resolution(rows, styles), f"r{links.arm}") if drawn else None
    alt = f"Test accuracy against test resolution, {found.arm.words}; the table below has the numbers."
    return Section(_arm_title(found), figure, alt, tuple(tables), folded)


def _position_section(found: Findings, styles: dict[str, Look]) -> Section:
    arm, links = found.data, found.links
    parts, drawn = [], []
    for number, (reference, table) in enumerate(found.positions.groupby("reference", sort=False), start=1):
        about = f"Difference of test accuracy to {reference} at {found.arm.resolution} px, in points; t-interval below."
        parts.append(
            page.grid(
                table, arm, links, "train_size", lambda n: f"n = {wording.number(n)}", about, difference=True
            )
        )
        if table["done"].sum() and table["train_size"].nunique() > 1:
            drawn.append(
                _draw(figures.differences_by_train_size(table, styles), f"p{links.arm}-{number}")
            )
    if not found.positions_away.empty:
        size = wording.number(found.positions_away["train_size"].max())
        for reference, table in found.positions_away.groupby("reference", sort=False):
            about = f"The same difference to {reference} at each test resolution, trained on {size} images."
            parts.append(
                page.grid(
                    table,
                    arm,
                    links,
                    "test_resolution",
                    lambda r: _pixels(r, found.arm.resolution),
                    about,
                    difference=True,
                )
            )
    alt = f"Difference of test accuracy to learned 1-D positions, {found.arm.words}; the table below has the numbers."
    return Section(_arm_title(found), Markup("").join(drawn) if drawn else None, alt, tuple(parts))


def _hardware(found: Findings) -> str:
    hardware = sorted(set(found.ledger["hardware"]) - {""})
    return "; ".join(hardware) or wording.ABSENT


def _methods(frame: Frame, findings: Sequence[Findings]) -> list[str]:
    """Sentences on what the numbers mean, arm by arm where they differ."""
    if not findings:
        return []
    notes = [
        "Intervals are 95 % Student t-intervals over independent units, cut at 0 and 100 %. One unit, or units that "
        "are all equal, give no interval. What varies: "
        + _each(findings, lambda found: statistics.covers(found.data.runs))
        + ".",
        "All intervals are conditional on the fixed test set. What another test set of that size would change is not "
        "in them: " + _each(findings, _test_error) + ".",
        "Models share draws and seeds, so differences are taken run by run between the same draw and seed, and the "
        "interval is that of the differences. “Cannot be told apart” means that it contains 0, not that the models "
        "are equal. Each interval stands on its own: of twenty comparisons between equals, one is expected to exclude 0; "
        "the model that leads is chosen by looking, which favours it.",
        "n counts every label used: " + _each(findings, lambda found: found.arm.validation_words) + ".",
        "Training ends with the budget, and the final weights are evaluated: nothing is chosen on the test part. "
        "Budget: " + _each(findings, _budget) + ".",
        f"A cell is starved when the mean accuracy of its final weights on its own training images, without "
        f"augmentation, is below {wording.percent(frame.starved_below)}.",
        "Retention at a test resolution is (accuracy there − chance) / (accuracy at the training resolution − chance), "
        "computed run by run; it is not given for a run within two binomial standard errors of chance.",
        "Every test resolution is measured on the one final checkpoint of a run; images are resized in one antialiased "
        "step from their native pixels, by the same function as in training.",
        "MACs are multiply-accumulates of one image at the training resolution, attention products included; "
        "FLOPs = 2 × MACs.",
    ]
    return notes


def _each(findings: Sequence[Findings], say: Any) -> str:
    """What `say` has for each arm, once where all agree."""
    said = {found.arm.words: say(found) for found in findings}
    if len(set(said.values())) == 1:
        return str(next(iter(said.values())))
    return "; ".join(f"{words}: {text}" for words, text in said.items())


def _test_error(found: Findings) -> str:
    images = dataset(found.arm.dataset).test_count
    errors = [f"{100 * statistics.binomial_se(at, images):.1f} points at {wording.percent(at)}" for at in (0.5, 0.9, 0.98)]
    return f"with {images:,} images its binomial standard error is {wording.names(errors)}"


def _budget(found: Findings) -> str:
    done = found.data.runs.dropna(subset=["images_seen", "train_images"])
    amount = f"{wording.number(found.arm.budget)} {found.arm.budget_kind}"
    if done.empty:
        return amount
    passes = done["images_seen"] / done["train_images"]
    updates = page._range(done["updates"].min(), done["updates"].max())
    return f"{amount}, that is {updates} updates and {_passes(passes.min(), passes.max())} passes over the training images"


def _passes(low: float, high: float) -> str:
    texts = list(dict.fromkeys((f"{low:,.3g}", f"{high:,.3g}")))
    return " to ".join(texts)


def _recipe_table(frame: Frame) -> page.Table | None:
    """Every number of every recipe used, recipes across."""
    names = list(dict.fromkeys(frame.runs["recipe"]))
    if not names:
        return None
    keys = [key for key in frame.recipes[names[0]] if key != "name"]
    rows = tuple(
        page.Row(
            page.Cell(re.sub("_", " ", key)),
            tuple(page.Cell(_plain(frame.recipes[name].get(key))) for name in names),
        )
        for key in keys
    )
    return page.Table("", "setting", tuple(names), rows, words=True)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


__all__ = ["COLUMNS", "Report", "write_report"]
