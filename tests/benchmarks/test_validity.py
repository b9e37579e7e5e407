"""One judgement of a record, whoever asks: status, `run`, `show`, `pack` and the report agree on every damage."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from analysis.frame.frame import load
from analysis.provenance.digests import traces
from analysis.provenance.trust import trust
from benchmarks.errors import FAILED, RecordError
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study, expand, load_study
from benchmarks.records.archive import pack
from benchmarks.records.evaluation_files import packed, read_entries
from benchmarks.records.neighbours import neighbours
from benchmarks.records.record import REMEDY, configuration_digest, read_record
from benchmarks.records.states import run_state, study_states
from benchmarks.records.validity import valid_record
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from benchmarks.speed.synthetic import write_records

TEXT = 'seed = [0, 1]\ntest_resolutions = [4, 8]\n[[models]]\nname = "resnet"\n'


@pytest.fixture
def two(tmp_path: Path) -> Study:
    """Two finished runs that differ in their seed alone, under tmp_path / "runs"."""
    (tmp_path / "two.toml").write_text(TEXT)
    study = load_study(str(tmp_path / "two.toml"))
    write_records(tmp_path / "runs", study)
    return study


def edited(name: str, **changes: Any) -> Callable[[Path, Path], None]:
    """An edit of one JSON file of the first record; keys with a dot are those of an inner table."""

    def edit(mine: Path, other: Path) -> None:
        values = json.loads((mine / name).read_text())
        for key, value in changes.items():
            *outer, last = key.split("__")
            table = values
            for part in outer:
                table = table[part]
            table[last] = value
        (mine / name).write_text(json.dumps(values))

    return edit


def without(*path: str) -> Callable[[Path, Path], None]:
    """config.json of the first record without one of its keys."""

    def edit(mine: Path, other: Path) -> None:
        values = json.loads((mine / "config.json").read_text())
        table = values
        for key in path[:-1]:
            table = table[key]
        del table[path[-1]]
        (mine / "config.json").write_text(json.dumps(values))

    return edit


def another_result(mine: Path, other: Path) -> None:
    (mine / "result.json").write_bytes((other / "result.json").read_bytes())


def another_result_of_before_ids(mine: Path, other: Path) -> None:
    another_result(mine, other)
    values = json.loads((mine / "result.json").read_text())
    del values["id"]
    (mine / "result.json").write_text(json.dumps({**values, "train_images": 7}))


def another_accuracy(mine: Path, other: Path) -> None:
    entries = read_entries(mine / "evaluations" / "0001.npz")
    entries[0]["accuracy"] = float("nan")
    (mine / "evaluations" / "0001.npz").write_bytes(packed(entries, {}))


def another_pass(mine: Path, other: Path) -> None:
    (mine / "evaluations" / "0001.npz").write_bytes((other / "evaluations" / "0001.npz").read_bytes())


DAMAGES = {
    "a number that is none": (edited("result.json", train_loss=float("nan")), "result.json: train_loss is nan"),
    "no number at all": (edited("result.json", train_accuracy=None), "result.json: train_accuracy is missing"),
    "another seed": (edited("config.json", run__seed=5), "seed: 5 -> 0"),
    "another default": (edited("config.json", run__recipe__clip=0.5), "recipe.clip: 0.5 -> 1.0"),
    "a lost key of its place": (without("run", "resolution"), "config.json: run.resolution is missing"),
    "a lost key at its default": (without("run", "precision"), "config.json: run.precision is missing"),
    "a lost key that came later": (without("run", "init_from"), "(edited by hand): run.init_from is missing"),
    "a lost key of the recipe": (without("run", "recipe", "clip"), "(edited by hand): run.recipe.clip is missing"),
    "no delta": (without("delta"), "config.json: delta is missing"),
    "another delta": (edited("config.json", delta={}), "(edited by hand): its delta is not the one of its id"),
    "a delta of another kind": (edited("config.json", delta=[]), "config.json: delta is [], not a table"),
    "no subset": (without("subset"), "config.json: subset is missing"),
    "another run's result": (another_result, "result.json is of another run, resnet-"),
    "the same in an old record": (another_result_of_before_ids, "result.json is of another run: train_images is 7"),
    "another run's evaluations": (another_pass, "is of another run, resnet-"),
    "a wrong accuracy": (another_accuracy, "accuracy is nan"),
    "sources that are no table": (edited("execution.json", sources=[1]), "execution.json: its sources are no table"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_all_agree_on_a_damaged_record(damage: str, two: Study, tmp_path: Path) -> None:
    """Reference: the damage done here. Nobody counts the record, everybody names the reason, nothing of it changes."""
    root, run = tmp_path / "runs", two.runs[0]
    assert [one.state for one in study_states(two, root)] == ["finished", "finished"]
    assert load(root, two).problems.empty and load(root).problems.empty
    do, said = DAMAGES[damage]
    do(root / run.id, root / two.runs[1].id)
    before = {path: path.read_bytes() for path in (root / run.id).rglob("*") if path.is_file()}

    state = run_state(run, root, two.evaluations[run.id])
    assert (state.state, said in state.reason) == ("failed", True), state.reason
    frame = load(root, two)
    assert frame.runs["state"].tolist() == ["failed", "finished"]
    assert said in frame.runs["reason"][0] and said in frame.problems["problem"][0]
    assert frame.rows["run"].unique().tolist() == [two.runs[1].id]
    with pytest.raises(RecordError) as error:
        execute(run, root, two.evaluations[run.id], Settings(Path("data")), lambda: False)
    assert said in str(error.value)
    made = pack(two, TEXT.encode(), root, tmp_path / "two.zip")
    assert made.runs == 1 and said in made.left_out[run.id]
    assert {path: path.read_bytes() for path in (root / run.id).rglob("*") if path.is_file()} == before


def test_another_seed_is_found_however_it_is_written(two: Study, tmp_path: Path) -> None:
    """A configuration whose digest was made to fit does not fit the id: nobody counts such a record, with a study or
    without, in it or beside it, and all say what to do. Reference: the edit made here."""
    root, run = tmp_path / "runs", two.runs[0]
    path = root / run.id / "config.json"
    values = json.loads(path.read_text())
    values["run"]["seed"] = 5
    path.write_text(json.dumps({**values, "digest": configuration_digest(values["run"])}))
    state = run_state(run, root, [])
    said = f"config.json is not what run {run.id} means (edited by hand): seed: 5 -> 0; put it back; {REMEDY}"
    assert (state.state, state.reason) == ("failed", said)
    assert load(root).problems["problem"].tolist() == [
        f"config.json: edited by hand: its configuration is not the one of its id; put it back; {REMEDY}"
    ]
    with pytest.raises(RecordError, match=r"its configuration is that of run resnet-.*; put back what was"):
        read_record(root / run.id).run()
    path.write_text(json.dumps(values))
    other = expand({"seed": [1], "models": [{"name": "resnet"}], "test_resolutions": [4, 8]}, "other")
    assert other.runs == two.runs[1:] and neighbours([other], root) == {}


def test_a_torn_pass_is_measured_again(tiny: Callable[..., Run], perform: Callable[..., Any], tmp_path: Path) -> None:
    """As its message says: without the file, `run` makes the same evaluations from the weights that are kept. Without
    those the run is to be trained again. Reference: the evaluations of before."""
    run = tiny()
    perform(run)
    before, path = read_record(tmp_path / run.id).evaluations, tmp_path / run.id / "evaluations" / "0001.npz"
    path.write_bytes(path.read_bytes()[:-30])
    reason = run_state(run, tmp_path, []).reason
    assert "0001.npz: cannot be read" in reason
    assert reason.endswith("; remove this file: `inductive run` then makes its evaluations again")
    path.unlink()
    perform(run)
    assert read_record(tmp_path / run.id).evaluations == before
    (tmp_path / run.id / "weights.safetensors").unlink()
    [path] = (tmp_path / run.id / "evaluations").glob("*.npz")
    path.write_bytes(path.read_bytes()[:-30])
    assert "weights were not kept: to train it again, remove its folder" in run_state(run, tmp_path, []).reason


@pytest.mark.parametrize("file", ["config.json", "execution.json", "result.json"])
def test_a_torn_file_says_what_to_do(file: str, two: Study, tmp_path: Path) -> None:
    """Cut off in its middle, as a disk leaves it."""
    path = tmp_path / "runs" / two.runs[0].id / file
    path.write_bytes(path.read_bytes()[:40])
    state = run_state(two.runs[0], tmp_path / "runs", [])
    assert state.state == "failed" and f"{file}: cannot be read" in state.reason
    assert state.reason.endswith(f"; {REMEDY}")
    assert load(tmp_path / "runs", two).problems["problem"][0].endswith(f"; {REMEDY}")


def test_evaluations_that_name_no_run_count(two: Study, tmp_path: Path) -> None:
    """As those of older records, which cannot be told from another run's."""
    root, run = tmp_path / "runs", two.runs[0]
    path = root / run.id / "evaluations" / "0001.npz"
    entries = read_entries(path)
    assert {entry.pop("run") for entry in entries} == {run.id}
    path.write_bytes(packed(entries, {}))
    assert run_state(run, root, two.evaluations[run.id]).state == "finished"


def test_an_edited_configuration_is_found_without_a_study(two: Study, tmp_path: Path) -> None:
    """By the digest of the configuration; in a record of before there was one, by what the suite makes of it."""
    root = tmp_path / "runs"
    for name, old in zip((run.id for run in two.runs), (False, True), strict=True):
        path = root / name / "config.json"
        values = json.loads(path.read_text())
        if old:
            del values["digest"]
            path.write_text(json.dumps(values))
            valid_record(root / name)
        values["run"]["recipe"]["clip"] = 0.5
        path.write_text(json.dumps(values))
    first, old = sorted(load(root).problems["problem"], key=lambda text: "that of run" in text)
    assert first.startswith("config.json: edited by hand: its configuration is not the one of its digest")
    assert old.startswith("config.json: its configuration is that of run resnet-")


def test_the_command_names_the_remedy(
    two: Study, tmp_path: Path, inductive: Callable[..., CompletedProcess[str]]
) -> None:
    """`status`, `run` and `show`, as a user meets them: the record is neither trained over nor passed over."""
    folder = tmp_path / "runs" / two.runs[0].id
    edited("result.json", train_loss=float("nan"))(folder, folder)
    said = f"result.json: train_loss is nan, no number; {REMEDY}"
    for arguments, code in ((("status", "two.toml"), 0), (("run", "two.toml", "--jobs", "1"), FAILED)):
        done = inductive(*arguments)
        assert (done.returncode, said in " ".join(done.stdout.split())) == (code, True), done.stdout + done.stderr
    shown = inductive("show", folder.name)
    assert shown.returncode == 0 and f"failed ({said})" in " ".join(shown.stdout.split())


def test_a_key_that_is_gone_is_named(
    two: Study, tmp_path: Path, inductive: Callable[..., CompletedProcess[str]]
) -> None:
    """`show` and `list runs` say which file lacks which key, in one line; the other runs are listed."""
    folder = tmp_path / "runs" / two.runs[0].id
    without("run", "resolution")(folder, folder)
    shown = inductive("show", folder.name)
    said = f"config.json: run.resolution is missing; put back what was edited; or, {REMEDY}"
    assert (shown.returncode, len(shown.stderr.splitlines())) == (2, 1), shown.stderr
    assert f"{folder.name}/{said}" in shown.stderr
    listed = inductive("list", "runs", "two.toml")
    assert listed.returncode == 0 and listed.stdout.splitlines()[-1] == "1 finished, 1 failed"


def test_a_flipped_byte_of_the_arrays(two: Study, tmp_path: Path) -> None:
    """Wherever it is: the report and `show` make every checksum; status reads the index alone. Reference: zipfile."""
    root, run = tmp_path / "runs", two.runs[0]
    path = root / run.id / "evaluations" / "0001.npz"
    entries = read_entries(path)
    whole = packed(entries, {f"{entries[0]['id']}.logits": np.arange(40, dtype=np.float16).reshape(4, 10)})
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        member = archive.infolist()[1]
    place = member.header_offset + 30 + len(member.filename) + 20 + 128 + 3  # past the headers of zip and numpy
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert run_state(run, root, []).state == "finished"
    said = "evaluations/0001.npz: damaged (wrong checksum of"
    assert said in run_state(run, root, [], whole=True).reason
    assert said in load(root, two).problems["problem"][0]


def test_a_pass_that_is_merged_while_it_is_read(two: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever goes on with a pass writes a file of its own and removes the earlier one: to a reader who has listed the
    earlier one it is no damage. Reference: the same evaluations."""
    root, run = tmp_path / "runs", two.runs[0]
    passes, wanted = root / run.id / "evaluations", two.evaluations[run.id]

    def merged(path: str) -> list[dict[str, Any]]:
        if (passes / "0001.npz").exists():
            (passes / "0001.npz").rename(passes / "0002.npz")
        return read_entries(path)

    monkeypatch.setattr("benchmarks.records.record.read_entries", merged)
    state = run_state(run, root, wanted)
    assert (state.state, state.waiting) == ("finished", ())


def doubled(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes())


def early(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])


def inside(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, first, *others]))


def checkpoint(folder: Path) -> None:
    (folder / "checkpoint-00000400-0123456789abcdef.pt").touch()


@pytest.mark.parametrize(
    ("leave", "said", "cheap"),
    [
        (doubled, "does not end with one row of step 600", True),
        (early, "does not end with one row of step 600", True),
        (inside, "steps out of order", False),
        (checkpoint, "checkpoint-00000400-0123456789abcdef.pt of an attempt that had lost the run: remove it", True),
    ],
)
def test_leftovers_of_a_lost_attempt_are_reported(
    leave: Callable[[Path], None], said: str, cheap: bool, two: Study, tmp_path: Path
) -> None:
    """The run stays finished, and counts; what was left here is named by `show` and the report, and by status where a
    look at the end of the file is enough."""
    root, run = tmp_path / "runs", two.runs[0]
    assert run_state(run, root, [], whole=True).reason == ""
    leave(root / run.id)
    state = run_state(run, root, [])
    assert (state.state, said in state.reason) == ("finished", cheap)
    assert said in run_state(run, root, [], whole=True).reason
    found = trust([two], root, traces(root, [one.id for one in two.runs]), load(root, two)).alarming
    assert any(said in line and line.startswith(run.id) for one in found for line in one.details)
