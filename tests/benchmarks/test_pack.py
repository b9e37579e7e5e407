"""Archives of records: nothing in them of host, account and paths, read in place; several roots as one."""

import hashlib
import io
import json
import shutil
import tomllib
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cli.pack import pack as pack_command
from benchmarks.errors import RecordError
from benchmarks.plan.study import Study, expand, load_study
from benchmarks.records import roots
from benchmarks.records.archive import pack
from benchmarks.records.evaluation_files import packed, read_entries
from benchmarks.records.neighbours import in_a_cell, neighbours
from benchmarks.records.record import read_record
from benchmarks.records.states import study_states
from benchmarks.speed.synthetic import write_records

TEXT = 'question = "Which?"\nseed = [0, 1, 2, 3, 4, 5, 6, 7]\ntest_resolutions = [4, 8]\n[[models]]\nname = "resnet"\n'


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Records of eight runs under `runs`, the fourth interrupted, the eighth failed; its file is `which.toml`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "which.toml").write_text(TEXT)
    made = load_study(str(tmp_path / "which.toml"))
    write_records(tmp_path / "runs", made, every=4)
    for run in made.runs:
        attempt = tmp_path / "runs" / run.id / "attempts" / "0001"
        owner = json.loads((attempt / "owner.json").read_text())
        (attempt / "owner.json").write_text(json.dumps({**owner, "host": "gpu-node-17", "slurm_job": "12_3"}))
        (attempt / "log.txt").write_text("read /home/somebody/data on gpu-node-17")
        (attempt / "environment.json").write_text(
            json.dumps(
                {
                    **{"cpu": "AMD EPYC", "gpu": {"name": "H100"}, "gpu_uuid": "8f6d-1"},
                    **{"command": "inductive run --data /home/somebody/data", "variables": {"A": "b"}},
                }
            )
        )
        ended = json.loads((attempt / "ended.json").read_text())
        if ended["error"]:
            error = 'Traceback:\n  File "/home/somebody/x.py"\nOSError: gpu-node-17: no /home/somebody/data/x.npy'
            (attempt / "ended.json").write_text(json.dumps({**ended, "error": error}))
    return made


def write(study: Study, tmp_path: Path, name: str = "which.zip", **how: Any) -> Path:
    return pack(study, TEXT.encode(), tmp_path / "runs", tmp_path / name, **how).path


def test_nothing_tells_host_account_or_place(study: Study, tmp_path: Path) -> None:
    """Every byte of every member is searched; the hardware and what went wrong are still said."""
    with zipfile.ZipFile(write(study, tmp_path)) as archive:
        texts = {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}
    for word in ("gpu-node-17", "somebody", "/home", "12_3", str(tmp_path), "--data", "8f6d-1"):
        assert [name for name, text in texts.items() if word in text] == []
    assert not any(name.endswith("log.txt") or name.endswith(".safetensors") for name in texts)
    failed = f"{study.runs[7].id}/attempts/0001"
    assert json.loads(texts[f"{failed}/ended.json"])["error"] == "OSError: HOST: no PATH"
    assert json.loads(texts[f"{failed}/environment.json"]) == {"cpu": "AMD EPYC", "gpu": {"name": "H100"}}


def test_equal_records_make_equal_archives(study: Study, tmp_path: Path) -> None:
    assert write(study, tmp_path, "a.zip").read_bytes() == write(study, tmp_path, "b.zip").read_bytes()
    with zipfile.ZipFile(write(study, tmp_path, weights=True)) as archive:
        assert sum(name.endswith("weights.safetensors") for name in archive.namelist()) == 6


def test_an_archive_is_read_as_the_folder_was(study: Study, tmp_path: Path) -> None:
    """States, reasons but for what is hidden, results and evaluations; unpacked once."""
    archive = write(study, tmp_path)
    root = roots.opened(archive)
    states = [[one.state for one in study_states(study, place)] for place in (tmp_path / "runs", root)]
    assert states[0] == states[1] and set(states[1]) == {"finished", "interrupted", "failed"}
    for run in study.runs:
        mine, theirs = (read_record(place / run.id) for place in (tmp_path / "runs", root))
        assert theirs.run() == run
        assert (mine.result, mine.evaluations, mine.execution) == (theirs.result, theirs.evaluations, theirs.execution)
    (root / "mark").touch()
    assert (roots.opened(archive) / "mark").exists()


def test_what_is_left_out_is_said(study: Study, tmp_path: Path) -> None:
    """A missing run, an unreadable one, one that died without a word and may still run."""
    gone, torn, silent = (tmp_path / "runs" / run.id for run in study.runs[:3])
    shutil.rmtree(gone)
    (torn / "result.json").write_text("{")
    (silent / "result.json").unlink()
    (silent / "attempts" / "0001" / "ended.json").unlink()
    made = pack(study, TEXT.encode(), tmp_path / "runs", tmp_path / "x.zip")
    assert made.runs == 5
    assert made.left_out[gone.name] == "missing" and made.left_out[silent.name] == "running"
    assert "result.json: cannot be read" in made.left_out[torn.name] and str(tmp_path) not in made.left_out[torn.name]


def test_many_missing_runs_are_counted(study: Study, tmp_path: Path) -> None:
    """Of a study with more seeds: they are counted, and the archive names them; a run that failed is named."""
    (tmp_path / "which.toml").write_text(TEXT.replace("7]", f"7, {', '.join(map(str, range(8, 20)))}]"))
    torn = study.runs[0].id
    (tmp_path / "runs" / torn / "result.json").write_text("{")
    arguments = [str(tmp_path / "which.toml"), "-o", str(tmp_path / "x.zip"), "--runs", str(tmp_path / "runs")]
    said = " ".join(CliRunner().invoke(pack_command, arguments, catch_exceptions=False).output.split())
    assert f"left out: {torn}: " in said and said.count("left out: ") == 2
    assert "left out: 12 runs that are missing; the archive's manifest.json names them 7 of 20 runs: " in said
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        left_out = json.loads(archive.read("manifest.json"))["left_out"]
    assert list(left_out.values()).count("missing") == 12


def test_a_record_of_another_name_is_left_out(study: Study, tmp_path: Path) -> None:
    """A folder that was renamed over another's place; the report gives the same reason."""
    first, second = (tmp_path / "runs" / run.id for run in study.runs[:2])
    shutil.rmtree(first)
    second.rename(first)
    made = pack(study, TEXT.encode(), tmp_path / "runs", tmp_path / "x.zip")
    assert made.left_out[first.name] == f"it holds the record of {second.name}: a folder has the name of its run"
    assert made.left_out[second.name] == "missing"


def test_runs_beside_the_study_are_said(study: Study, tmp_path: Path) -> None:
    """Of those that finished beside it, which could stand in its tables: a ninth seed does, another size does not."""
    more = [replace(study, runs=expand({**tomllib.loads(TEXT), "seed": 8, **other}, "more").runs)
            for other in ({}, {"size": "pico"})]  # fmt: skip
    more = [replace(one, evaluations={run.id: [] for run in one.runs}) for one in more]
    for one in more:
        write_records(tmp_path / "runs", one)
    found = neighbours([study], tmp_path / "runs")
    assert list(found) == [more[0].runs[0].id] and in_a_cell([study], found) == set(found)
    assert neighbours([study], roots.opened(write(study, tmp_path))) == found
    assert neighbours([more[0]], roots.opened(write(study, tmp_path))) != found  # its own run is not beside it


def test_a_path_that_is_part_of_a_run_is_refused(study: Study, tmp_path: Path) -> None:
    """It could only be hidden by making it another run."""
    with pytest.raises(RecordError, match=r"study\.toml: names the path '/home/me/x\.py'"):
        pack(study, b'plugins = ["/home/me/x.py"]\n', tmp_path / "runs", tmp_path / "x.zip")
    with pytest.raises(RecordError, match=r"study\.toml: names the path '/home/me/pets'"):
        pack(study, b'dataset = "folder:/home/me/pets"\n', tmp_path / "runs", tmp_path / "x.zip")
    assert pack(study, b'question = "https://site/a/b, and/or ../x"\n', tmp_path / "runs", tmp_path / "y.zip").runs == 8
    begun = expand({**tomllib.loads(TEXT), "init_from": "/home/me/weights.pth"}, "which")
    write_records(tmp_path / "runs", begun)
    with pytest.raises(RecordError, match=r"config\.json: names the path"):
        pack(begun, TEXT.encode(), tmp_path / "runs", tmp_path / "which.zip")
    assert not (tmp_path / "which.zip").exists()
    with pytest.raises(RecordError, match="there is no record of which to pack"):
        pack(study, b"", tmp_path / "nowhere", tmp_path / "x.zip")


def test_damage_and_strangers_are_refused(study: Study, tmp_path: Path) -> None:
    """A byte flipped anywhere in the first members, a file too many, a newer format, a name that leads out of it."""
    archive = write(study, tmp_path)
    whole = archive.read_bytes()
    for place in range(0, 2000, 97):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert roots.opened(archive).is_dir()  # a flipped date or attribute changes no content
        except RecordError as error:
            assert "which.zip" in str(error)
    for name, manifest, said in (
        ("more", {"format": 1, "files": {}}, "not those of its manifest"),
        ("newer", {"format": 9, "files": {}}, "newer version"),
        ("out", {"format": 1, "files": {"../x": hashlib.sha256(b"").hexdigest()}}, "outside of the archive"),
        ("other", {"format": 1, "files": {"x": "0"}}, "other SHA-256"),
        ("list", {"format": 1, "files": ["../x"]}, "no archive of records"),
    ):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as made:
            made.writestr("x" if name == "other" else "../x", "")
            made.writestr("manifest.json", json.dumps(manifest))
        with pytest.raises(RecordError, match=said):
            roots.opened(tmp_path / f"{name}.zip")
    (tmp_path / "notes.txt").write_text("no archive")
    with pytest.raises(RecordError, match="no archive of records"):
        roots.opened(tmp_path / "notes.txt")
    assert list(roots.cache().glob(".unpacking-*")) == []


def archive_of(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive with these members and the manifest that belongs to them."""
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
        files = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
        made.writestr("manifest.json", json.dumps({"format": 1, "files": files}))
    return path


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return roots.cache()


ZEROS = bytes(48 * 2**20)
SMALL_RESULT = json.dumps({"parameters": {"backbone": 1000, "position": 0, "head": 10}}).encode()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a/config.json": ZEROS}, r"a/config\.json has 48 MB unpacked, and at most 8 MB are allowed"),
        ({"a/evaluations/0001.npz": ZEROS}, r"0001\.npz would unpack to 1,0\d\d times its packed size"),
        (
            {"a/result.json": SMALL_RESULT, "a/weights.safetensors": ZEROS + ZEROS[: 20 * 2**20]},
            r"weights\.safetensors has 68 MB unpacked, and at most 64 MB are allowed",
        ),
        ({"a/plugins/x.py": ZEROS}, r"x\.py has 48 MB"),
    ],
)
def test_members_made_to_fill_memory_or_disk_are_refused(
    members: dict[str, bytes], said: str, cached: Path, tmp_path: Path
) -> None:
    """By their kind, or by how tightly they are packed; a file packed twice as well. Nothing of them is left."""
    archive = archive_of(tmp_path / "given.zip", members)
    assert archive.stat().st_size < 2**18
    with pytest.raises(RecordError, match=said):
        roots.opened(archive)
    assert not list(cached.iterdir())


def test_many_small_members_made_to_fill_the_disk_are_refused(cached: Path, tmp_path: Path) -> None:
    """Each has 7 MB, which a file of a record may have; all of them would fill any disk."""
    archive = archive_of(tmp_path / "given.zip", {f"run{n}/config.json": ZEROS[: 7 * 2**20] for n in range(4)})
    with pytest.raises(RecordError, match="would unpack to more than 100 times its size"):
        roots.opened(archive)
    assert not list(cached.iterdir())


@pytest.mark.parametrize("name", [".compiled/fx.py", ".reruns/.compiled/fx.py", "./.compiled/fx.py", ".submissions/x"])
def test_what_is_no_record_is_refused(name: str, cached: Path, tmp_path: Path) -> None:
    """Above all what torch.compile has kept: `rerun` would look for it there, and execute it."""
    with pytest.raises(RecordError, match=r"is no file of a record"):
        roots.opened(archive_of(tmp_path / "given.zip", {name: b"x"}))
    assert not list(cached.iterdir())


def test_a_pass_that_is_packed_too_tightly_is_refused(cached: Path, tmp_path: Path) -> None:
    """Its arrays are what is large, and the outer archive has only the small file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, index=np.zeros(2, np.uint8), logits=np.zeros(24 * 2**20, np.uint8))
    archive = archive_of(tmp_path / "given.zip", {"a/evaluations/0001.npz": buffer.getvalue()})
    with pytest.raises(RecordError, match=r"0001\.npz, logits\.npy would unpack to 1,0\d\d times its packed size"):
        roots.opened(archive)


def test_a_large_member_is_streamed(cached: Path, tmp_path: Path) -> None:
    """Memory is that of a buffer, not of the file. Reference: tracemalloc's peak against the member's 60 MB."""
    noise = np.random.default_rng(0).bytes(60 * 2**20)
    members = {"a/result.json": SMALL_RESULT, "a/weights.safetensors": noise}
    archive = archive_of(tmp_path / "given.zip", members, zipfile.ZIP_STORED)
    tracemalloc.start()
    root = roots.opened(archive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (root / "a" / "weights.safetensors").stat().st_size == len(noise)
    assert peak < len(noise) / 6


def test_a_run_of_two_roots_counts_once(study: Study, tmp_path: Path) -> None:
    """An archive beside the folder it was made of, in which a run has gone on since: what has come further counts."""
    archive = write(study, tmp_path)
    run = study.runs[3]  # interrupted in the archive
    write_records(tmp_path / "more", replace(study, runs=(run,)))
    (tmp_path / "one").mkdir()
    folder = roots.joined([archive, tmp_path / "more"], tmp_path / "one")
    assert sorted(path.name for path in folder.iterdir()) == sorted(one.id for one in study.runs)
    assert [one.state for one in study_states(study, folder)] == ["finished"] * 7 + ["failed"]
    with pytest.raises(RecordError, match="there is no such folder"):
        roots.joined([archive, tmp_path / "nowhere"], tmp_path / "two")


def test_roots_that_disagree_are_shown_to(study: Study, tmp_path: Path) -> None:
    """Another accuracy, another result: neither is taken, and the record says how they differ."""
    archive = write(study, tmp_path)
    measured, trained = (tmp_path / "runs" / run.id for run in study.runs[:2])
    path = measured / "evaluations" / "0001.npz"
    entries = read_entries(path)
    path.write_bytes(packed([{**entries[0], "accuracy": 0.125}, *entries[1:]], {}))
    result = json.loads((trained / "result.json").read_text())
    (trained / "result.json").write_text(json.dumps({**result, "weights_sha256": "1" * 64}))
    (tmp_path / "one").mkdir()
    folder = roots.joined([archive, tmp_path / "runs"], tmp_path / "one")
    for name, what in ((measured.name, "px, accuracy: "), (trained.name, "weights_sha256: ")):
        with pytest.raises(RecordError, match=f"which.zip and runs disagree on this run: .*{what}"):
            read_record(folder / name)
    assert [one.state for one in study_states(study, folder)][:3] == ["failed", "failed", "finished"]


def test_the_command(study: Study, tmp_path: Path, inductive: Callable[..., Any]) -> None:
    """pack, then status, show and report of the archive; no verb that trains takes it."""
    done = inductive("pack", "which.toml", "-o", "given.zip")
    assert "8 of 8 runs: given.zip" in done.stdout
    states = json.loads(inductive("status", "which.toml", "--runs", "given.zip", "--json").stdout)["runs"]
    assert [one["state"] for one in states].count("finished") == 6
    shown = json.loads(inductive("show", study.runs[0].id, "--runs", "given.zip", "--runs", "runs", "--json").stdout)
    assert shown["state"] == "finished"
    assert inductive("run", "which.toml", "--runs", "given.zip").returncode == 2


@pytest.mark.parametrize("kind", ["logits", "top5"])
def test_without_logits_the_answers_stay(kind: str, study: Study, tmp_path: Path) -> None:
    """Reference: the classes and the index as the record has them, and bytes that hardly compress: 2 of each logit; of
    the five first classes what a permutation of ten holds in its first five, 15 bits."""
    run, generator = study.runs[0].id, np.random.default_rng(0)
    logits = generator.standard_normal((5000, 10)).astype(np.float16)
    (path,) = (tmp_path / "runs" / run / "evaluations").glob("*.npz")
    entries = [entry | {"predictions": kind} for entry in read_entries(path)]
    more = logits if kind == "logits" else np.argsort(-logits, 1)[:, :5].astype(np.uint16)
    arrays = {f"{entry['id']}.{kind}": more for entry in entries}
    arrays |= {f"{entry['id']}.predicted": logits.argmax(1).astype(np.uint8) for entry in entries}
    path.write_bytes(packed(entries, arrays))
    whole, small = write(study, tmp_path, "whole.zip"), write(study, tmp_path, "small.zip", logits=False)
    least = 0.8 * logits.nbytes if kind == "logits" else 15 / 8 * len(logits)
    assert whole.stat().st_size - small.stat().st_size > least * len(entries)
    folder = roots.opened(small) / run
    (kept,) = (folder / "evaluations").glob("*.npz")
    assert read_entries(kept) == [entry | {"predictions": "classes"} for entry in entries]
    with np.load(kept) as found:
        assert {name for name in found.files if name != "index"} == {f"{entry['id']}.predicted" for entry in entries}
        assert all((found[f"{entry['id']}.predicted"] == logits.argmax(1)).all() for entry in entries)


@pytest.mark.parametrize("flags", [(), ("--trust-code",)])
def test_code_in_an_archive_is_not_executed(
    flags: tuple[str, ...], tmp_path: Path, inductive: Callable[..., Any]
) -> None:
    """A stranger's plugin beside a run whose model and encoding are the suite's own: nothing needs it."""
    flags_of_run = ("--model", "resnet", "--steps", "1", "--train-size", "50")
    assert (done := inductive("train", *flags_of_run)).returncode == 0, done.stderr
    (record,) = (tmp_path / "runs").glob("resnet-*")
    members = {
        path.relative_to(tmp_path / "runs").as_posix(): path.read_bytes()
        for path in (tmp_path / "runs").rglob("*")
        if path.is_file() and path.suffix in (".json", ".jsonl", ".npz")
    }
    evil = b"import pathlib\npathlib.Path('executed').touch()\n"
    archive_of(tmp_path / "given.zip", {**members, f"{record.name}/plugins/evil.py": evil})
    place = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    again = inductive("rerun", record.name, "--runs", "given.zip", *flags, environment=place)
    assert again.returncode == 0 and "equal: " in again.stdout, again.stdout + again.stderr
    assert not (tmp_path / "executed").exists()
