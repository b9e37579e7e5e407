"""Runs that start from the weights of another: found, checked, digested, carried."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from benchmarks.cli.run import work_through
from benchmarks.errors import ConfigError, RecordError, StaleError
from benchmarks.files import read_json, write_json
from benchmarks.plan.run import Run, make_run
from benchmarks.records import init_from
from benchmarks.records.record import configuration_digest, read_record
from benchmarks.records.states import run_state
from benchmarks.running import local
from benchmarks.running.attempt_log import Outcome
from benchmarks.running.rerun import compare, prepare_rerun, rerun_root
from benchmarks.running.task import Settings, Task
from benchmarks.trained import load_run
from models.libraries import weights_file

Make = Callable[..., Run]
Perform = Callable[..., Outcome]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


@pytest.fixture
def first(tiny: Make, perform: Perform) -> Run:
    """A finished run to start from."""
    run = tiny()
    perform(run)
    return run


def test_a_run_starts_from_the_final_weights_of_another(
    first: Run, tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """Reference: the other's weights, which no steps of training leave as they are; the digest by hashlib."""
    run = tiny(init_from=first.id, train_size=200, budget={"steps": 0})
    assert perform(run).state == "finished"
    theirs, ours = weights_of(tmp_path / first.id), weights_of(tmp_path / run.id)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    digest = hashlib.sha256((tmp_path / first.id / "weights.safetensors").read_bytes()).hexdigest()
    result = read_record(tmp_path / run.id).result
    assert result is not None
    assert result["init_from"] == {"fresh": [], "carried": [], "kept": [], "weights_sha256": digest}
    assert read_json(tmp_path / run.id / "execution.json")["sources"][f"weights of {first.id}"] == digest


@pytest.mark.parametrize("kind", ["run", "folder", "safetensors", "pth"])
def test_the_ways_of_naming_weights(kind: str, first: Run, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """A run, the folder of a record anywhere, and files: the same weights, the same training. Reference: the run."""
    elsewhere = tmp_path / "elsewhere" / first.id
    shutil.copytree(tmp_path / first.id, elsewhere)
    given = {"run": first.id, "folder": str(elsewhere), "safetensors": str(elsewhere / "weights.safetensors")}
    if kind == "pth":
        torch.save(weights_of(elsewhere), tmp_path / "weights.pth")
        given["pth"] = str(tmp_path / "weights.pth")
    run, reference = (tiny(seed=1, init_from=given[one], budget={"steps": 3}) for one in (kind, "run"))
    perform(run)
    perform(reference)
    ours, theirs = weights_of(tmp_path / run.id), weights_of(tmp_path / reference.id)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_another_resolution_and_other_classes(first: Run, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """The table of positions is carried to the new training grid, the head of other classes is drawn from the seed;
    both are said. Reference for the head: the same run without a start."""
    weights = weights_of(tmp_path / first.id)
    weights |= {name: weights[name][:7] for name in ("head.weight", "head.bias")}
    safetensors.torch.save_file(weights, tmp_path / "seven.safetensors")
    run = tiny(init_from=str(tmp_path / "seven.safetensors"), resolution=16, budget={"steps": 0})
    drawn = tiny(resolution=16, budget={"steps": 0})
    perform(run)
    perform(drawn)
    said = read_record(tmp_path / run.id).result["init_from"]  # type: ignore[index]
    assert (said["fresh"], said["carried"]) == (["head.bias", "head.weight"], ["position.table"])
    log = (tmp_path / run.id / "attempts" / "0001" / "log.txt").read_text()
    assert "of other classes, so drawn anew: head.bias, head.weight" in log
    assert "carried to this grid: position.table" in log
    ours, fresh = weights_of(tmp_path / run.id), weights_of(tmp_path / drawn.id)
    assert torch.equal(ours["head.weight"], fresh["head.weight"])
    assert not torch.equal(ours["position.table"], fresh["position.table"])


def test_stopped_and_continued_is_equal_to_the_bit(first: Run, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Reference: the uninterrupted run; what was carried and drawn anew must not be done over what was trained."""
    run = tiny(init_from=first.id, resolution=16)
    for root, stop in ((tmp_path / "whole", None), (tmp_path / "parts", 5)):
        shutil.copytree(tmp_path / first.id, root / first.id)
        perform(run, root=root, stop_at=stop)
        perform(run, root=root)
    for name in ("weights.safetensors", "metrics.jsonl", "result.json"):
        assert (tmp_path / "whole" / run.id / name).read_bytes() == (tmp_path / "parts" / run.id / name).read_bytes()


def test_an_encoding_keeps_the_unit_of_the_weights_it_starts_from(
    tiny: Make, perform: Perform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`cpb` takes offsets in units of the training grid, here of the start's through an interruption, an average of
    the weights and the record. Reference: the start's logits at the other resolution, of no steps; the uninterrupted
    run. A bare file does not say its grid, which the log says."""
    options = {"position": "cpb"}
    start = tiny(options=options)
    perform(start)
    none, some = (
        tiny(init_from=start.id, resolution=16, options=options, recipe={"name": "digits", "ema": 0.5}, budget=budget)
        for budget in ({"steps": 0}, {"steps": 6})
    )
    for root in ("whole", "parts"):
        shutil.copytree(tmp_path / start.id, tmp_path / root / start.id)
    perform(some, root=tmp_path / "parts", stop_at=3)
    for root in (tmp_path / "whole", tmp_path / "parts"):
        assert perform(some, root=root).state == "finished"
    whole, parts = (tmp_path / root / some.id / "weights.safetensors" for root in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    perform(none)
    said = read_record(tmp_path / none.id).result["init_from"]  # type: ignore[index]
    assert (said["carried"], said["kept"]) == ([], ["position.measured"])
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, got = (load_run(run.id, tmp_path).network(images) for run in (start, none))
    torch.testing.assert_close(got, wanted)
    caplog.clear()
    (tmp_path / "another's").mkdir()
    bare = tmp_path / "another's" / "weights.safetensors"
    (bare.parent / "config.json").write_text('{"of": "another program"}')
    for run, said in ((start, True), (none, False)):  # the second file has the unit
        shutil.copy(tmp_path / run.id / "weights.safetensors", bare)
        perform(tiny(init_from=str(bare), resolution=16, options=options, budget={"steps": 0}, seed=int(said)))
        assert ("the file does not say of which training grid it is" in caplog.text) == said
        caplog.clear()


@pytest.mark.parametrize("model", ["swin", "swin_v2"])
def test_windows_that_the_grid_had_cut_are_said(
    model: str, tiny: Make, perform: Perform, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a network has larger windows than the one it starts from. Reference: the windows of both, by `describe`."""
    small, large = ({"model": model, "resolution": side, "budget": {"steps": 0}} for side in (8, 32))
    start = tiny(**small, options={"scale": 8, "window": 4})
    perform(start)
    for settings, said in ((small, False), (large, True)):
        run = tiny(**settings, options={"scale": 8, "window": 4}, init_from=start.id, seed=1)
        perform(run)
        assert ("its windows were cut by its grid: 4x4 2x2" in caplog.text) == said


def test_other_weights_make_a_run_stale_and_stop_it(first: Run, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """The id names them, their content decides: changed bytes are named, for a finished run and an unfinished one."""
    file = tmp_path / "start.safetensors"
    shutil.copy(tmp_path / first.id / "weights.safetensors", file)
    done, half = (tiny(seed=seed, init_from=str(file)) for seed in (0, 1))
    perform(done)
    perform(half, stop_at=3)
    other = {name: tensor + 1 for name, tensor in weights_of(tmp_path / first.id).items()}
    safetensors.torch.save_file(other, file)
    state = run_state(done, tmp_path, [])
    assert (state.state, state.reason) == ("stale", f"changed since: weights of {file} (changed)")
    for run in (done, half):
        with pytest.raises(StaleError, match=r"weights of .*start\.safetensors \(changed\)"):
            perform(run)
    file.unlink()
    assert run_state(done, tmp_path, []).state == "stale"


def test_a_rerun_starts_from_the_same_weights(first: Run, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Reference: the record. A rerun lies under .reruns, the run it starts from does not."""
    run = tiny(init_from=first.id)
    perform(run)
    record = read_record(tmp_path / run.id)
    evaluations = prepare_rerun(record, run)
    perform(first, root=rerun_root(tmp_path), stop_at=1)  # a rerun of the start, which may end otherwise
    perform(run, root=rerun_root(tmp_path), evaluations=evaluations)
    assert compare(record, None).verdict == "equal"


def _unfinished(root: Path, run: Run) -> str:
    (root / run.id / "result.json").unlink()
    return run.id


def _diverged(root: Path, run: Run) -> str:
    (root / run.id / "weights.safetensors").unlink()
    return run.id


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda root, run: "no.pth", r"^init_from: there is no file no\.pth$"),
        (lambda root, run: run.id[:-1], r"^init_from: '.*' is neither a run under .*; did you mean `vit-"),
        (_unfinished, r"^init_from: run vit-.* has not finished: train it first$"),
        (_diverged, r"^init_from: run vit-.* has no weights: it diverged, or they were not kept$"),
    ],
)
def test_missing_weights_are_said_before_anything_starts(
    given: Callable[[Path, Run], str],
    message: str,
    first: Run,
    tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One error, and no process for the runs that could start."""
    monkeypatch.setattr(local, "run_tasks", lambda *_: pytest.fail("started"))
    runs = [tiny(seed=1), tiny(init_from=given(tmp_path, first))]
    tasks = [Task(run, [], tmp_path, Settings(Path("data"))) for run in runs]
    with pytest.raises(ConfigError, match=message):
        work_through(tasks, 1, None)  # type: ignore[arg-type]


def test_weights_of_a_record_that_are_not_its_own(first: Run, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Reference: the SHA-256 in the record's result."""
    write_json(
        tmp_path / first.id / "result.json", read_json(tmp_path / first.id / "result.json") | {"weights_sha256": "0"}
    )
    with pytest.raises(RecordError, match=r"weights\.safetensors: not the weights that the result was made with"):
        perform(tiny(init_from=first.id))


def test_weights_of_another_architecture(first: Run, tiny: Make, perform: Perform) -> None:
    """Named by parameter, not loaded in part."""
    with pytest.raises(ConfigError, match=r"init_from: .*weights\.safetensors: missing .* not of this network"):
        perform(tiny(model="resnet", init_from=first.id))


def test_two_kinds_of_weights_are_one_too_many() -> None:
    """Ready-made weights and others: it is not for us to say which are meant."""
    settings: dict[str, Any] = {"model": "timm:resnet18", "size": "own", "init_from": "a.pth"}
    make_run(settings)
    with pytest.raises(ConfigError, match=r"init_from: .* has weights already: weights = 'file:b\.pth'"):
        make_run({**settings, "options": {"weights": "file:b.pth"}})


def test_kinds_of_files_are_those_that_can_be_read() -> None:
    """Reference: models.libraries.weights_file, which a status must not import."""
    assert init_from.SUFFIXES == weights_file.SUFFIXES


def test_a_record_of_before_there_was_a_choice_is_the_same_run(first: Run, perform: Perform, tmp_path: Path) -> None:
    """Its config.json has no init_from and no validate_every: the run means what it meant."""
    path = tmp_path / first.id / "config.json"
    config = json.loads(path.read_text())
    for key in ("init_from", "validate_every"):
        del config["run"][key]
    write_json(path, config | {"digest": configuration_digest(config["run"])})
    assert read_record(tmp_path / first.id).run() == first
    assert perform(first) == Outcome("finished", "nothing")
