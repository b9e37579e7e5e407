"""The same report in every format: what stands where, and that hostile names are text in each."""

import csv
import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from analysis.formats import latex, latex_text, markdown
from analysis.report import FORMATS, parsed_formats, write_report
from benchmarks.errors import ConfigError
from benchmarks.plan.study import Study
from models.catalogue.families import FAMILIES
from models.catalogue.ladder import MIXERS
from models.positions.encodings import CARRYING, ENCODINGS

HOSTILE = "<script>alert(1)</script> \\input{/etc/passwd} 100% $x^2$ a_b #1 ~ {} [l](u) | `c`"


@pytest.fixture(scope="module")
def recorded(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A finished study, for tests that change nothing of it."""
    study, root = made_up.study_of(made_up.SMALL), tmp_path_factory.mktemp("records")
    made_up.write_study(root, study)
    return study, root


@pytest.fixture(scope="module")
def written(recorded: tuple[Study, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report in every format."""
    out = tmp_path_factory.mktemp("report")
    write_report(*recorded, out, FORMATS)
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_format_has_the_same_bytes_twice(recorded: tuple[Study, Path], written: Path, tmp_path: Path) -> None:
    """PDF and PNG too: no date, no version in them."""
    study, root = recorded
    write_report(study, root, tmp_path / "again", FORMATS)
    first = files(written)
    assert first == files(tmp_path / "again")
    for name in ("figures/accuracy-by-train-size-1", "figures/position-ablation-1-1"):
        assert {f"{name}.{kind}" for kind in ("csv", "pdf", "png")} <= set(first)
        assert first[f"{name}.pdf"].startswith(b"%PDF")
        assert not re.search(rb"CreationDate|Producer|Matplotlib", first[f"{name}.pdf"])
        assert not re.search(rb"Software|Matplotlib", first[f"{name}.png"])


def test_formats_bring_what_they_refer_to(recorded: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = recorded
    kinds = {"html": {".html"}, "latex": {".tex", ".pdf"}, "markdown": {".md", ".png"}, "csv": {".csv"}}
    for name, expected in kinds.items():
        write_report(study, root, tmp_path / name, [name])
        found = {Path(file).suffix for file in files(tmp_path / name)}
        assert found == expected | {".txt", ".bib"}
    document = (tmp_path / "latex" / "latex" / "report.tex").read_text()
    for file in re.findall(r"\\input\{(.+?)\}", document):
        assert (tmp_path / "latex" / "latex" / file).exists()
    for picture in re.findall(r"!\[.*?\]\((.+?)\)", (tmp_path / "markdown" / "report.md").read_text()):
        assert (tmp_path / "markdown" / picture).exists()


@pytest.mark.parametrize(("text", "said"), [("htm", "did you mean `html`"), ("html,", "no format ''"), ("pdf", "only")])
def test_an_unknown_format_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parsed_formats(text)
    assert parsed_formats("csv, html,csv") == ("csv", "html")


def test_the_table_behind_a_figure_is_the_one_shown(written: Path) -> None:
    """Reference: the stacked table of the page, whose rows of that arm they are."""
    behind = rows(written / "figures" / "accuracy-by-train-size-1.csv")
    stacked = rows(written / "tables" / "accuracy-by-train-size.csv")
    assert [{key: row[key] for key in behind[0]} for row in stacked] == behind


def test_latex_captions_say_n_interval_and_digest(written: Path) -> None:
    page = (written / "index.html").read_text(encoding="utf-8")
    [digest] = re.findall(r'name="inductive-records" content="(\w+)"', page)
    for name in ("table-train-size-1-1", "figure-accuracy-by-train-size-1"):
        text = (written / "latex" / f"{name}.tex").read_text()
        [caption] = re.findall(r"\\caption\{(.*)\}\n", text)
        for said in ("n = 3", r"95 \% t-intervals", f"Records {digest}", "recipe digits, 600 steps"):
            assert said in caption
    table = (written / "latex" / "table-train-size-1-1.tex").read_text()
    assert table.index(r"\toprule") < table.index(r"\midrule") < table.index(r"\bottomrule")
    assert table.count("{") - table.count(r"\{") == table.count("}") - table.count(r"\}")


def test_every_table_names_its_own_interval_and_n(made_up: Any, tmp_path: Path) -> None:
    """A family's intervals are no t-intervals of their own, nor are those of a bounded factor; each has its n."""
    study = made_up.study_of({**made_up.SMALL, "comparisons": [{"name": "all"}]})
    made_up.write_study(tmp_path / "runs", study)
    write_report(study, tmp_path / "runs", tmp_path, FORMATS)
    written = [(tmp_path / "report.md").read_text(encoding="utf-8"), (tmp_path / "index.html").read_text("utf-8")]
    together = "95 % intervals that hold simultaneously at each train size, n = 3 seeds"
    factors = "of a bound (≥, ≤) the factors that no 95 % t-interval excludes, whose end it is, n = 3 seeds"
    measures = "means over runs. Brackets: 95 % t-intervals, n = 3 seeds"
    for text in written:
        assert all(said in text for said in (together, factors, measures))
        assert "t-intervals over seeds." not in text
    table = (tmp_path / "latex" / "table-comparisons-1-1.tex").read_text()
    assert together.replace("%", r"\%") in table
    assert "t-interval" not in table


def hostile(made_up: Any, tmp_path: Path) -> Path:
    study = made_up.study_of(made_up.SMALL, question=HOSTILE, paper={"labels": {"resnet": HOSTILE}})
    made_up.write_study(tmp_path / "runs", study, skip=[study.runs[0].id])
    write_report(study, tmp_path / "runs", tmp_path / "out", FORMATS)
    return tmp_path / "out"


def test_hostile_names_are_text_in_markdown(made_up: Any, tmp_path: Path) -> None:
    text = (hostile(made_up, tmp_path) / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"(?<!!)\[[^\]]*[^\\]\]\(", text)  # no link that is not a picture
    lines = [line for line in text.splitlines() if line.startswith("| &lt;script")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in lines[:1]} == {5}  # and the mean rank
    assert markdown.escape("a|b*c") == r"a\|b\*c"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles(made_up: Any, tmp_path: Path) -> None:
    """Reference: pdflatex, with names that would break it, or read files, if they were not text."""
    folder = hostile(made_up, tmp_path) / "latex"
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    assert (folder / "report.pdf").exists()
    assert b"(/etc/passwd" not in done.stdout  # as a file that is read is named; the text may be


def test_latex_escapes() -> None:
    """Reference: LaTeX's ten special characters, written as its manual says."""
    assert latex_text.escape(r"\{}$&%#_~^") == (r"\textbackslash{}\{\}\$\&\%\#\_\ensuremath{\sim}\textasciicircum{}")
    assert latex_text.escape("Which?\n\n  And at 48 px?") == "Which? And at 48 px?"  # no paragraph ends in a title
    assert latex_text.escape("−1 ≠ é 中") == r"\ensuremath{-}1 \ensuremath{\neq} \'{e} U+4E2D"
    assert latex_text.escape("šüßłïḍ") == r"\v{s}\"{u}\ss{}\l{}\"{\i}\d{d}"
    assert latex_text.escape("中文 a中") == r"U+4E2D\allowbreak{}U+6587 aU+4E2D"
    assert latex_text.escape("βΩΑо") == r"\ensuremath{\beta}\ensuremath{\Omega}AU+043E"


@pytest.mark.parametrize(
    ("text", "printed"),
    [('the "best" one', "the ``best'' one"), ('("a" "b")', "(``a'' ``b'')"), ('a "', "a ``"), ('27", so', "27'', so")],
)
def test_straight_quotes_open_and_close(text: str, printed: str) -> None:
    """Reference: by hand; a quote opens where a word may begin."""
    assert latex_text.escape(text) == printed


def test_a_latex_report_begins_with_what_is_asked(made_up: Any, tmp_path: Path) -> None:
    """Title, question, warnings, expectation, figures, answers, then the floats, of which LaTeX holds at most 18."""
    models = [{"name": "resnet", "trials": 3}, {"name": "vit", "position": ["none", "learned_1d"]}]
    study = made_up.study_of(made_up.SMALL, models=models)
    made_up.write_study(tmp_path / "runs", study)
    write_report(study, tmp_path / "runs", tmp_path, ["latex"])
    text = (tmp_path / "latex" / "report.tex").read_text()
    parts = [
        r"\title{made-up}",
        study.question,
        "Warning:",
        "Expected beforehand:",
        study.expect,
        r"\input{figure-accuracy-by-train-size-1.tex}",
        r"\input{figure-images-needed-1.tex}",
        "In words",
        r"\item",
        r"\input{table-train-size-1-1.tex}",
        "What to know before trusting this",
        r"\input{figure-data-factor-1.tex}",
        "The runs behind every number",
        "Method",
        "Glossary",
    ]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    flushed = [part.count(r"\input") for part in text.split(r"\clearpage")]
    assert max(flushed) <= 18
    assert len(flushed) < sum(flushed) / 5 + 3


def test_every_format_says_what_stands_beside_tables(made_up: Any, tmp_path: Path) -> None:
    """The introduction of a chapter, the remarks of its sections, what failed and what the study leaves out, and why.
    Reference: the sentences as the page has them."""
    study = dataclasses.replace(made_up.study_of(made_up.SMALL), left_out=(("vit size giga", "no such size"),))
    without = study.runs[:4]
    made_up.write_study(tmp_path / "runs", study, skip=[run.id for run in without])
    for run, error in zip(without, ("OSError: no more room", "OSError: no more room", None), strict=False):
        made_up.write_record(tmp_path / "runs", run, study.evaluations[run.id], "failed", error=error)
    write_report(study, tmp_path / "runs", tmp_path, ["html", "markdown", "latex"])
    page, *others = (
        " ".join((tmp_path / name).read_text(encoding="utf-8").split())
        for name in ("index.html", "report.md", "latex/report.tex")
    )
    remark = "medians over runs with no other run of the suite beside them"
    said = ["What was equal between the models, and what was not", remark, "no such size"]
    for text in (page, *others):
        for sentence in said:
            assert text.count(sentence) == 1, sentence
        assert text.count("OSError: no more room") == (2 if text == page else 1)  # a line for a reason
    for text in others:
        assert "3 failed" in text and "and 1 other: OSError: no more room" in text


def test_sentences_are_paragraphs_in_latex(made_up: Any, tmp_path: Path) -> None:
    """Reference: the cells of the table of fits, which three sizes have; a column of numbers is none."""
    study = made_up.study_of(made_up.SMALL, train_size=[60, 100, 300])
    made_up.write_study(tmp_path / "runs", study)
    write_report(study, tmp_path / "runs", tmp_path, ["latex"])
    seen = set()
    for path in sorted((tmp_path / "latex").glob("table-*.tex")):
        text = path.read_text()
        [columns] = re.findall(r"\\begin\{tabular\}\{(l.*)\}\n", text)
        shares = [float(share) for share in re.findall(r"p\{([\d.]+)\\linewidth\}", columns)]
        assert sum(shares) < 1
        if "cannot be fitted" in text:
            assert shares
        seen.add(bool(shares))
    assert seen == {True, False}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles_with_any_letter(tmp_path: Path) -> None:
    """Reference: pdflatex with the fonts that it takes by itself, which have no ą, ə or Ж."""
    letters = [chr(code) for code in (*range(0xA1, 0x250), 0x259, *range(0x370, 0x400), *range(0x1E00, 0x1F00), 0x416)]
    text = "\n\n".join(latex_text.escape(f"{letter}x {{}}") for letter in letters)
    (tmp_path / "letters.tex").write_text(latex.DOCUMENT % text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "letters.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    assert b"Missing character" not in (tmp_path / "letters.log").read_bytes()


def test_letters_that_figures_lack_are_named_once(made_up: Any, tmp_path: Path) -> None:
    """And no warning of matplotlib's. Reference: DejaVu Sans has Cyrillic and Greek, no Chinese; the SVG keeps text."""
    study = made_up.study_of(made_up.SMALL, paper={"labels": {"resnet": "残差 残", "vit none": "Ж—α β ½ ≥"}})
    made_up.write_study(tmp_path / "runs", study)
    drawn = write_report(study, tmp_path / "runs", tmp_path / "out", FORMATS)
    [said] = drawn.warnings
    assert "残 差 of “残差 残”" in said
    assert "Ж" not in said
    figure = re.findall(r"<svg.*?</svg>", drawn.page.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert "残差 残" in figure
    assert write_report(study, tmp_path / "runs", tmp_path / "page", ["html", "csv"]).warnings == []


def places_of_legends(page: str) -> dict[str, int]:
    """Where on a page each sign is explained."""
    return {found[1]: found.start() for found in re.finditer(r"<dt>(\S|2/3)</dt>", page)}


def test_signs_are_explained_where_there_are_any(made_up: Any, tmp_path: Path) -> None:
    """Reference: the study: nothing resizes or is stale; with a run left out some cells have 2 of 3. Each is explained
    once, below the first chapter that has it."""
    study = made_up.study_of(made_up.SMALL)
    for name, skip in (("whole", []), ("partial", [study.runs[0].id])):
        root = tmp_path / name
        made_up.write_study(root, study, skip=skip)
        write_report(study, root, root / "out", ["html", "markdown"])
        page, text = ((root / "out" / file).read_text(encoding="utf-8") for file in ("index.html", "report.md"))
        cells = "".join(re.findall(r'<span class="(?:sign|note)">(.*?)</span>', page))
        known = {sign for sign in "†↔▽≠" if sign in cells} | ({"2/3"} if skip else set())
        assert set(re.findall(r"<dt>(\S|2/3)</dt>", page)) & {*"†↔▽≠", "2/3"} == known
        assert set(re.findall(r"^(\S|2/3): ", text, re.MULTILINE)) == known
        assert not {"†", "↔"} & known
        ledger = page.index("<h2>Fairness ledger")
        assert all((place > ledger) == (sign == "≠") for sign, place in places_of_legends(page).items() if sign in "▽≠")


def test_the_names_of_models_are_explained(made_up: Any, tmp_path: Path) -> None:
    """Reference: the declarations of the families, the encodings and the mixer that the study has; no other's."""
    models = [{"name": "vit", "position": ["none", "rope_axial"]}, {"name": "ladder", "mixer": "pool"}]
    study = made_up.study_of(made_up.SMALL, models=models)
    made_up.write_study(tmp_path / "runs", study)
    write_report(study, tmp_path / "runs", tmp_path / "out", ["html", "markdown", "latex"])
    page, text, tex = (
        (tmp_path / "out" / file).read_text(encoding="utf-8")
        for file in ("index.html", "report.md", "latex/report.tex")
    )
    for name, meaning in (
        ("vit", FAMILIES["vit"].summary),
        ("rope_axial", ENCODINGS["rope_axial"].summary),
        ("ladder pool", MIXERS["pool"].summary),
        ("carry recompute", CARRYING["recompute"]),
    ):
        assert f"<dt>{name}</dt><dd>{meaning}</dd>" in page
        assert f"- **{name}**: {meaning}" in text.replace("\\", "")
    assert "conv_stem_vit" not in page.partition('<section id="glossary">')[2]
    assert "turned by row and column" in tex


def test_methods_and_references_lie_beside(written: Path) -> None:
    """Reference: the models, data and recipe of the study."""
    methods = (written / "methods.txt").read_text(encoding="utf-8")
    text = " ".join(methods.split())
    for said in (
        "Data set digits: handwritten digits (scikit-learn, 8x8, grey), 1,200 training and 597 test images",
        "resnet, vit none and vit learned_1d, size pico, were trained on 100 and 300 images",
        "at 8 px in float32 for 600 steps by recipe digits, and tested at 8 and 16 px. Runs: 18, of 3 draws and 3",
        "Recipe digits: optimizer adamw, learning rate 0.003, weight decay 0.05",
        "Student t-intervals",
    ):
        assert said in text
    assert max(map(len, methods.splitlines())) <= 100
    keys = re.findall(r"^@\w+\{(\w+),", (written / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"dosovitskiy2021vit", "he2016resnet", "pedregosa2011sklearn", "paszke2019pytorch"} <= set(keys)
    assert not {"liu2021swin", "krizhevsky2009cifar", "su2024roformer"} & set(keys)


def test_the_command_takes_several_studies(
    recorded: tuple[Study, Path], tmp_path: Path, inductive: Callable[..., CompletedProcess[str]]
) -> None:
    """Two studies on one page, a run of both counted once; an unknown format is one line and exit code 2."""
    _, root = recorded
    text = 'question = "{}"\nsize = "pico"\nrecipe = "digits"\nbudget = {{ steps = 600 }}\ntrain_size = [100, 300]\n'
    text += 'seed = [0, 1, 2]\ntest_resolutions = [8, 16]\n[[models]]\nname = "{}"\n'
    (tmp_path / "one.toml").write_text(text.format("First?", "resnet"))
    (tmp_path / "two.toml").write_text(text.format("Second?", "vit"))
    (tmp_path / "three.toml").write_text(text.format("Third?", "vit"))
    studies = ("one.toml", "two.toml", "three.toml")
    done = inductive("report", *studies, "--runs", str(root), "-o", "out", "--format", "html,csv")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert all(f"<h1>{question}</h1>" in page for question in ("First?", "Second?", "Third?"))
    assert re.search(r"^resnet .*\n+vit ", done.stdout, re.MULTILINE)  # the main table
    runs = rows(tmp_path / "out" / "tables" / "runs.csv")
    assert len(runs) == len({row["run"] for row in runs}) == 12
    assert done.stdout.splitlines()[-2:] == ["tables: out/tables", "page: out/index.html"]
    (tmp_path / "four.toml").write_text(text.format("Fourth?", "swin"))
    bare = inductive("report", "four.toml", "--runs", str(root), "-o", "out", "--format", "csv")
    assert re.search(r": nothing is evaluated at the training resolution yet$", bare.stdout, re.MULTILINE), bare.stderr
    wrong = inductive("report", "one.toml", "--format", "html,latx")
    assert wrong.returncode == 2
    assert "there is no format 'latx'" in wrong.stderr
    assert inductive("report").returncode == 2
