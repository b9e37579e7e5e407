"""--anonymous: nothing that was written names the host, the account, a path or the commit."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from photographs import write_photographs

from analysis.provenance.anonymous import kind
from analysis.report import FORMATS, write_report
from analysis.verify import verify
from benchmarks.redaction import Redactor, in_id, telling_path

HOST, ACCOUNT, COMMIT = "gpu17.cs.example.edu", "alice", "0123456789abcdef0123456789abcdef01234567"


def everything(folder: Path) -> str:
    """All text that lies in a report, that packed into its page included."""
    texts = [path.name + path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    packed = re.findall(r"data:application/gzip;base64,([\w+/=]+)", (folder / "index.html").read_text("utf-8"))
    assert len(packed) == 2
    return "\n".join([*texts, *(gzip.decompress(base64.b64decode(one)).decode() for one in packed)])


@pytest.fixture
def revealing(made_up: Any, tmp_path: Path) -> tuple[Any, Path]:
    """Records and a study that name all of it, in every place that can."""
    root = tmp_path / ACCOUNT / "runs"
    weights = f"/home/{ACCOUNT}/weights.safetensors"
    study = made_up.study_of(
        made_up.SMALL,
        question=f"Does it learn what lies in ~{ACCOUNT}/images?",
        models=[{"name": "resnet"}, {"name": "vit", "init_from": weights}],
    )
    for number, run in enumerate(study.runs):
        state = {1: "failed", 2: "interrupted"}.get(number, "finished")
        error = f"Traceback\nOSError: cannot read '/home/{ACCOUNT}/my images/1.png' on {HOST}"
        folder = made_up.write_record(root, run, study.evaluations[run.id], state, error=error)
        execution = json.loads((folder / "execution.json").read_text())
        execution["sources"][f"weights {weights}"] = "0" * 64
        (folder / "execution.json").write_text(json.dumps(execution))
        attempt = folder / "attempts" / "0001"
        owner = json.loads((attempt / "owner.json").read_text())
        (attempt / "owner.json").write_text(json.dumps({**owner, "host": HOST}))
        about = {"python": "3.11", "platform": f"Linux-{HOST}", "cpu": "EPYC", "gpu": None, "commit": COMMIT,
                 "command": f"inductive run /home/{ACCOUNT}/study.toml"}  # fmt: skip
        (attempt / "environment.json").write_text(json.dumps(about))
    (root / study.runs[4].id / "attempts" / "0001" / "ended.json").unlink()  # lost: its owner is named
    (root / study.runs[4].id / "result.json").unlink()
    (root / study.runs[5].id / "config.json").write_text("{")
    (root / ".studies" / study.name).mkdir(parents=True)
    for when, text in (("2025-12-31", "plugins = []"), ("2026-01-02", f'plugins = ["/home/{ACCOUNT}/mine.py"]')):
        asked = {"study": study.name, "first_run": f"{when} 00:00:00 UTC", "text": text}
        (root / ".studies" / study.name / f"{when}.json").write_text(json.dumps(asked))
    return study, root


def test_nothing_is_revealed(revealing: tuple[Any, Path], tmp_path: Path) -> None:
    study, root = revealing
    write_report(study, root, tmp_path / "out", FORMATS, hide=True)
    text = everything(tmp_path / "out")
    for secret in (HOST, HOST.partition(".")[0], ACCOUNT, COMMIT, COMMIT[:8], str(tmp_path), "/home/"):
        assert secret not in text
    assert "OSError" in text
    assert "EPYC" in text


def test_it_would_be_seen_otherwise(revealing: tuple[Any, Path], tmp_path: Path) -> None:
    """What the test above looks for is there without --anonymous; so it can fail."""
    study, root = revealing
    write_report(study, root, tmp_path / "out", FORMATS)
    text = everything(tmp_path / "out")
    assert all(secret in text for secret in (HOST, f"/home/{ACCOUNT}", COMMIT))


def test_data_sets_and_starts_that_paths_name_stay_apart(made_up: Any, tmp_path: Path) -> None:
    """Two data sets and two weights files, each named by its path: as many models and data sets as without
    --anonymous, and no part of the paths, not even as ids of runs have it."""
    places = [tmp_path / ACCOUNT / name for name in ("pets", "my cars (1)")]
    for place in places:
        write_photographs(place, each=20)
    starts = [f"/home/{ACCOUNT}/{name}.pth" for name in ("a", "b")]
    higher, lower = (f"vit init_from={start}" for start in starts)
    study = made_up.study_of(
        made_up.SMALL,
        dataset=[f"folder:{place}" for place in places],
        train_size=20,
        seed=0,
        recipe="plain",
        models=[{"name": "vit", "init_from": start} for start in starts],
        expects=[{"higher": higher, "lower": lower, "train_size": 20, "dataset": f"folder:{places[0]}"}],
    )
    root = tmp_path / "runs"
    for run in study.runs:
        made_up.write_record(root, run, study.evaluations[run.id])
    open_ = write_report(study, root, tmp_path / "False", ("csv",))
    hidden = write_report(study, root, tmp_path / "True", ("html", "csv", "markdown"), hide=True)
    text, shown_text = everything(tmp_path / "True"), (tmp_path / "False" / "tables" / "runs.csv").read_text()
    for secret in (ACCOUNT, "pets", "cars", in_id(str(places[0])), in_id(str(places[1])), "/home/"):
        assert secret not in text and secret in shown_text
    shown, kept = (pd.read_csv(tmp_path / str(hide) / "tables" / "runs.csv") for hide in (False, True))
    for column in ("dataset", "label"):
        assert shown[column].nunique() == kept[column].nunique() == 2
    assert shown["run"].nunique() == kept["run"].nunique() == len(study.runs)
    assert all(re.fullmatch(r"folder:PATH\d", name) for name in kept["dataset"])
    assert len(open_.answers) == len(hidden.answers)
    assert verify(hidden.page, root).differences == ()
    (root / study.runs[0].id / "result.json").write_text("{}")
    assert [line.split(": ")[0] for line in verify(hidden.page, root).differences] == [study.runs[0].id]


def test_numbers_do_not_change(revealing: tuple[Any, Path], tmp_path: Path) -> None:
    study, root = revealing
    open_, hidden = (write_report(study, root, tmp_path / str(hide), hide=hide) for hide in (False, True))
    name = "tables/accuracy-by-test-resolution.csv"
    means = [re.findall(r",(0\.\d+|1\.0),", (tmp_path / str(hide) / name).read_text()) for hide in (False, True)]
    assert means[0] == means[1] != []
    assert len(open_.answers) == len(hidden.answers)


def test_one_pattern_serves_reports_and_archives() -> None:
    """Whatever an archive refuses to name, a report hides; a path of one part tells of nobody, and is only hidden."""
    for text in ("folder:/home/me/pets", "see ~me/a/b", "/scratch/ü/x", "</home/me/x>", "at /a//b"):
        path = telling_path(text)
        assert path is not None
        assert "PATH" in Redactor().text(text) and path not in Redactor().text(text)
        assert "me" not in Redactor().text(text.replace("see", ""))
    assert telling_path("/tmp, https://site/a/b, <td></td> and ../x/y") is None
    assert Redactor().text("/tmp, https://site/a/b") == "PATH, https://site/a/b"


def test_paths_in_ids_of_runs() -> None:
    """Also of runs that nobody knows, such as those of another study that a run starts from. Reference: by hand."""
    redactor = Redactor(paths=["/home/me/my pets", "/home/me/my"])
    one = "vit-none-folder__home_me_my pets-n100-r16-d0-s0-01234567"
    assert redactor.text(f"start {one}") == "start vit-none-folder_PATH1-n100-r16-d0-s0-01234567"
    assert redactor.text(one.replace("my pets", "else")) == "vit-none-folder_PATH-n100-r16-d0-s0-01234567"
    assert redactor.text("folder:/home/me/my pets, folder:/home/me/my") == "folder:PATH1, folder:PATH2"
    relative = Redactor(paths=["../alice/pets"])
    assert (
        relative.text("folder:../alice/pets, mlp-folder_.._alice_pets-n9-r8-") == "folder:PATH, mlp-folder_PATH-n9-r8-"
    )
    for text in ("resnet-folder_pets-n100-r8-d0-s0-01234567", "train_data-n100-r8-d0"):
        assert redactor.text(text) == text


def test_what_is_a_path_and_what_is_not() -> None:
    redactor = Redactor(["node-3.cluster"])
    for text in ("12,300 images/s", "2/3 seeds", "and/or", "a / b", "1/K", "</b>", "1e-3", "nodes", "../x"):
        assert redactor.text(text) == text
    assert redactor.text("file:/home/a/w.pth, ~a/x and /scratch/b") == "file:PATH, PATH and PATH"
    assert redactor.text("on node-3 or node-3.cluster") == "on HOST or HOST"
    assert kind("torch.OutOfMemoryError: CUDA on /dev/x") == "OutOfMemoryError"
    assert kind("changed since: models.vit:ViT (changed)") == "changed since: models.vit:ViT (changed)"
