"""The texts that a study has been run with are kept, so that edits after the first result can be seen."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from benchmarks.plan.study import Study
from benchmarks.records.study_texts import changes, keep_text, kept_texts

TEXT = 'question = "Which?"\nexpect = "A"\nseed = [0, 1]\n\n[[models]]\nname = "resnet"\n'


def test_a_text_is_kept_once(tmp_path: Path) -> None:
    """Two who run the same text write one file; another text is another; a study without a file leaves none."""
    study = Study("s", "", "", "", (), {}, (), text=TEXT)
    for text in (TEXT, TEXT, TEXT + "# more"):
        keep_text(dataclasses.replace(study, text=text), tmp_path)
    keep_text(dataclasses.replace(study, text=""), tmp_path)
    assert {one.text for one in kept_texts("s", tmp_path)[0]} == {TEXT, TEXT + "# more"}


def test_changes_are_named_by_key() -> None:
    """Reference: the edits made here; comments, layout and [paper] are none."""
    assert changes(TEXT, "# more\n" + TEXT + "\n[paper]\norder = []\n") == []
    assert changes(TEXT, TEXT.replace("[0, 1]", "[0]").replace("resnet", "swin") + 'position = "none"\n') == [
        "seed: [0, 1] -> [0]",
        "models[0].name: 'resnet' -> 'swin'",
        "models[0].position: absent -> 'none'",
    ]
    assert changes(TEXT, TEXT + "trials = 50\n") == ["models[0].trials: absent -> 50"]
    assert changes("trials = 0\n" + TEXT, "trials = 50\n" + TEXT) == ["trials: 0 -> 50"]


def test_run_keeps_the_text(tmp_path: Path, inductive: Callable[..., CompletedProcess[str]]) -> None:
    """Before anything is trained; planning and reporting keep none."""
    text = 'size = "pico"\ntrain_size = 100\nbudget = { steps = 0 }\nrecipe = "digits"\n[[models]]\nname = "mlp"\n'
    (tmp_path / "mine.toml").write_text(text)
    for verb in ("plan", "report"):
        assert inductive(verb, "mine.toml").returncode == 0
    assert kept_texts("mine", tmp_path / "runs") == ([], [])
    done = inductive("run", "mine.toml", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert [one.text for one in kept_texts("mine", tmp_path / "runs")[0]] == [text]
    assert "No edit of study mine since its first result" in _page(tmp_path, inductive)
    (tmp_path / "mine.toml").write_text(text.replace("100", "200"))
    page = _page(tmp_path, inductive)
    assert "1 result of earlier versions of study mine (train_size 100) is not shown." in page
    assert "since the last time it was run: train_size: 100 -&gt; 200" in page


def _page(folder: Path, inductive: Callable[..., CompletedProcess[str]]) -> str:
    assert inductive("report", "mine.toml", "-o", "out", "--format", "html").returncode == 0
    return (folder / "out" / "index.html").read_text(encoding="utf-8")
