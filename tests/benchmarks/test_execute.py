"""One run executed: stopped and continued to the same bits, never done twice, never lost."""

import io
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from warm import Started

from benchmarks.cli.status import Found, print_status
from benchmarks.console import count
from benchmarks.errors import OwnedError, RecordError, StaleError
from benchmarks.files import read_json, write_json
from benchmarks.plan.run import Evaluation, Run, default_evaluation
from benchmarks.plan.study import single
from benchmarks.records import attempts, checkpoints, sources
from benchmarks.records.attempts import Claim, claim, read_attempts
from benchmarks.records.checkpoints import checkpoint_paths
from benchmarks.records.evaluation_files import read_entries
from benchmarks.records.metrics import read_metrics
from benchmarks.records.record import configuration_digest, opened_pass, read_record
from benchmarks.records.states import run_state, study_states
from benchmarks.running.attempt_log import Outcome
from benchmarks.training import batchnorm, training
from benchmarks.training.batches import Batches
from benchmarks.training.evaluation import Measurer, evaluate

Make = Callable[..., Run]
Perform = Callable[..., Outcome]


def _left(folder: Path) -> dict[str, bytes]:
    """What a run left that must be equal to the bit: everything but the attempts."""
    names = ("weights.safetensors", "metrics.jsonl", "result.json", "config.json", "execution.json")
    arrays = {}
    for path in sorted((folder / "evaluations").glob("*.npz"))[:1]:
        with opened_pass(path) as opened:
            arrays = {f"array {name}": opened[name].tobytes() for name in opened.files}
    return {name: (folder / name).read_bytes() for name in names} | arrays


def test_a_finished_run_leaves_what_docs_records_says(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Reference: docs/records.md. At most about a dozen files; the predictions give back the accuracy."""
    run = tiny()
    assert perform(run) == Outcome("finished", "trained 12 steps, 2 evaluations")
    folder = tmp_path / run.id
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        *(f"attempts/0001/{name}" for name in ("ended.json", "environment.json", "log.txt", "owner.json")),
        "config.json",
        "evaluations/0001.npz",
        "execution.json",
        "metrics.jsonl",
        "result.json",
        "weights.safetensors",
    ]
    record = read_record(folder)
    assert record.run() == run
    assert (record.state, record.result["steps"]) == ("finished", 12)  # type: ignore[index]
    with opened_pass(folder / "evaluations" / "0001.npz") as arrays:
        for entry in record.evaluations:
            logits, labels = arrays[f"{entry['id']}.logits"], arrays[f"labels.{entry['evaluation']['part']}"]
            assert logits.dtype == np.float16
            assert np.mean(logits.argmax(1) == labels) == pytest.approx(entry["accuracy"], abs=0.01)
    assert (tmp_path / ".subsets" / f"{record.config['subset']}.json").exists()
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == list(range(1, 13))


@pytest.mark.parametrize("model", ["vit", "resnet"])
@pytest.mark.parametrize("stops", [(1,), (2, 3), (5, 1, 1), (11,), (12,), (13,)])
def test_stopped_and_continued_is_equal_to_the_bit(
    model: str, stops: tuple[int, ...], tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """Reference: the same run uninterrupted. Stops at the first, middle and last steps and between evaluations."""
    run = tiny(model=model)
    perform(run, root=tmp_path / "whole")
    for stop in stops:
        assert perform(run, root=tmp_path / "parts", stop_at=stop).state == "interrupted"
        assert run_state(run, tmp_path / "parts", []).state == "interrupted"
    assert perform(run, root=tmp_path / "parts").state == "finished"
    whole, parts = _left(tmp_path / "whole" / run.id), _left(tmp_path / "parts" / run.id)
    index = whole.pop("array index"), parts.pop("array index")
    assert json.loads(index[0]) == json.loads(index[1])
    assert whole == parts
    assert checkpoint_paths(tmp_path / "parts" / run.id) == []


FOUR = [Evaluation(resolution=side, part=part) for side in (8, 12) for part in ("test", "validation")]


@pytest.mark.usefixtures("one_batch")
@pytest.mark.parametrize("stops", [(12, 1, 1), (13, 1, 2), (14, 2), (15, 1), (13, 1, 1, 1, 1, 2)])
def test_a_stop_between_two_evaluations_keeps_the_first(
    stops: tuple[int, ...], tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """Reference: the same run in one go, whose one pass has equal bytes. Each attempt makes the evaluations that are
    left and no step of training; a run that is not finished has no evaluations yet."""
    run = tiny()
    root = tmp_path / "parts"
    for stop in stops:
        assert perform(run, root=root, stop_at=stop, evaluations=FOUR).state == "interrupted"
        assert read_record(root / run.id).evaluations == []
    last = perform(run, root=root, evaluations=FOUR)
    polls = sum(stop - 1 for stop in (stops[0] - 11, *stops[1:]))  # eleven polls are between steps of training
    assert last == Outcome("finished", count(4 - polls, "evaluations"))
    perform(run, root=tmp_path / "whole", evaluations=FOUR)
    assert _left(root / run.id) == _left(tmp_path / "whole" / run.id)
    (path,) = (root / run.id / "evaluations").iterdir()
    assert path.read_bytes() == (tmp_path / "whole" / run.id / "evaluations" / "0001.npz").read_bytes()
    assert not (root / run.id / "trained.json").exists()
    assert read_record(root / run.id).attempts[-1]["seconds"]["training"] == 0
    assert perform(run, root=root, evaluations=FOUR) == Outcome("finished", "nothing")


def test_evaluations_survive_a_kill(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on disk where the process ends without a chance to save: all but the one that was being made."""
    monkeypatch.setattr("benchmarks.running.execute.SAVE_SECONDS", 0.0)
    run = tiny()

    def killed(measurer: Any, wanted: list[Evaluation], *rest: Any) -> Any:
        if wanted == [FOUR[2]]:
            raise SystemExit
        return evaluate(measurer, wanted, *rest)

    with monkeypatch.context() as patched:
        patched.setattr("benchmarks.running.execute.evaluate", killed)
        with pytest.raises(SystemExit):
            perform(run, evaluations=FOUR)
    entries = read_entries(tmp_path / run.id / "evaluations" / "0001.npz")
    assert [entry["id"] for entry in entries] == [FOUR[0].id, FOUR[1].id]
    assert perform(run, evaluations=FOUR) == Outcome("finished", "2 evaluations")
    assert [entry["id"] for entry in read_record(tmp_path / run.id).evaluations] == [one.id for one in FOUR]


@pytest.mark.usefixtures("one_batch")
def test_an_added_pass_is_kept_in_parts_too(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Of a finished run: what a stopped pass has measured lies in one file with the rest; the first pass stays."""
    run = tiny()
    perform(run, evaluations=FOUR[:1])
    first = (tmp_path / run.id / "evaluations" / "0001.npz").read_bytes()
    for stop in (2, 2):
        assert perform(run, evaluations=FOUR, stop_at=stop).state == "interrupted"
    assert perform(run, evaluations=FOUR) == Outcome("finished", "1 evaluation")
    names = sorted(path.name for path in (tmp_path / run.id / "evaluations").iterdir())
    assert names == ["0001.npz", "0004.npz"]
    assert (tmp_path / run.id / "evaluations" / "0001.npz").read_bytes() == first
    assert [one["id"] for one in read_record(tmp_path / run.id).evaluations] == [one.id for one in FOUR]


MEASURED: dict[str, Any] = {"model": "resnet", "budget": {"steps": 4}, "validate_every": 2}
REESTIMATED = [Evaluation(resolution=side, part="validation", batchnorm="reestimated") for side in (8, 12)]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is measured of a tiny run takes several batches of images."""
    monkeypatch.setattr(training, "TOGETHER", 5)
    monkeypatch.setattr(batchnorm, "BATCH", 20)


@pytest.mark.usefixtures("small_batches")
def test_a_stop_within_a_measurement_leaves_no_trace(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Between any two batches: of the validation part while it is trained, of the training images after it, of those
    that BatchNorm is estimated on, of an evaluation. Reference: the same run uninterrupted."""
    run, told = tiny(**MEASURED), set()
    perform(run, root=tmp_path / "whole", evaluations=REESTIMATED)
    whole = _left(tmp_path / "whole" / run.id)
    for poll in range(1, 1000):
        root = tmp_path / str(poll)
        stopped = perform(run, root=root, stop_at=poll, evaluations=REESTIMATED)
        told.add(stopped.did)
        assert run_state(run, root, []).state == stopped.state
        if stopped.state == "finished":
            break
        assert perform(run, root=root, evaluations=REESTIMATED).state == "finished"
        assert _left(root / run.id) == whole
        assert checkpoint_paths(root / run.id) == []
    assert told == {
        *(f"stopped at step {step} of 4" for step in (1, 2, 3, 4)),
        "trained 4 steps, stopped before its result",
        *(f"stopped after {number} of 2 evaluations" for number in (0, 1)),
        "trained 4 steps, 2 evaluations",
    }


@pytest.mark.usefixtures("small_batches")
def test_a_validation_that_was_stopped_may_be_stopped_again(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Reference: the same run uninterrupted. The second poll is within the validation after step 2, and then the first
    of the attempt that resumes."""
    run = tiny(**MEASURED)
    perform(run, root=tmp_path / "whole")
    for poll in (2, 1, 1):
        assert perform(run, stop_at=poll) == Outcome("interrupted", "stopped at step 2 of 4")
    perform(run)
    for name in ("weights.safetensors", "metrics.jsonl", "result.json"):
        assert _left(tmp_path / run.id)[name] == _left(tmp_path / "whole" / run.id)[name]


@pytest.mark.usefixtures("small_batches")
def test_there_is_a_sign_of_life_between_batches_of_a_measurement(
    tiny: Make, perform: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the batches that the network is given, counted. A measurement, and before it the step or the estimate,
    ends and begins with a batch: no more than two come one after the other."""
    events = []

    def beaten(self: Claim, *about: Any) -> None:
        events.append("beat")

    def seen(run: Run, execution: Any) -> Any:
        model = build(run, execution)
        model.register_forward_pre_hook(lambda module, inputs: events.append("batch"))
        return model

    build = training.build_model
    monkeypatch.setattr(training, "build_model", seen)
    monkeypatch.setattr(Claim, "beat", beaten)
    assert perform(tiny(**MEASURED), evaluations=REESTIMATED).state == "finished"
    assert events.count("batch") > 40
    assert ["batch"] * 3 not in [events[start : start + 3] for start in range(len(events))]


def test_training_images_are_measured_once(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that is killed in its first evaluation leaves what result.json will say. Reference: the uninterrupted
    run's."""
    run, measured, score = tiny(), [], Measurer.score
    perform(run, root=tmp_path / "whole")

    def scored(self: Measurer, part: str, how: Evaluation) -> Any:
        if part == "test" and measured == ["train"]:
            measured.append("killed")
            raise SystemExit
        measured.append(part)
        return score(self, part, how)

    monkeypatch.setattr(Measurer, "score", scored)
    with pytest.raises(SystemExit):
        perform(run)
    assert perform(run).state == "finished"
    assert measured.count("train") == 1
    assert _left(tmp_path / run.id) == _left(tmp_path / "whole" / run.id)


def test_evaluations_of_other_weights_do_not_count(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Weights that are not those that were measured: made again from the checkpoint, and everything measured anew."""
    run = tiny()
    assert perform(run, evaluations=FOUR, stop_at=14).state == "interrupted"
    weights = tmp_path / run.id / "weights.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert perform(run, evaluations=FOUR) == Outcome("finished", "trained 12 steps, 4 evaluations")
    assert weights.read_bytes() == kept


def test_finished_is_not_done_again(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """The second call must write nothing at all."""
    run = tiny()
    perform(run)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert perform(run) == Outcome("finished", "nothing")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_new_resolution_is_only_evaluated(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training must not be entered; the old evaluations stay as they are."""
    run = tiny()
    perform(run)
    weights = (tmp_path / run.id / "weights.safetensors").stat().st_mtime_ns

    def no_training(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(training.Training, "update", no_training)
    more = [*single(run).evaluations[run.id], default_evaluation(run, "test", 12)]
    assert perform(run, evaluations=more) == Outcome("finished", "1 evaluation")
    record = read_record(tmp_path / run.id)
    assert sorted(entry["evaluation"]["resolution"] for entry in record.evaluations) == [8, 8, 12]
    assert (tmp_path / run.id / "weights.safetensors").stat().st_mtime_ns == weights
    assert perform(run, evaluations=more) == Outcome("finished", "nothing")


def test_other_measuring_code_measures_again(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the measurement makes evaluations missing, not the run stale."""
    run = tiny()
    perform(run)
    monkeypatch.setattr(sources, "evaluation_code", lambda *_: "00000000")
    assert len(run_state(run, tmp_path, single(run).evaluations[run.id]).waiting) == 2
    assert perform(run) == Outcome("finished", "2 evaluations")
    assert len(read_record(tmp_path / run.id).evaluations) == 2


def test_a_diverged_run_makes_no_further_update(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poisoned batch at step 5 (infinite pixels): recorded with its step, the weights are not touched again."""
    run = tiny()
    updates = []
    real = Batches.batch

    def poisoned(self: Any, step: int) -> Any:
        updates.append(step)
        x, weights = real(self, step)
        return (x * float("inf") if step == 5 else x), weights

    monkeypatch.setattr(Batches, "batch", poisoned)
    assert perform(run).state == "diverged"
    assert updates == [0, 1, 2, 3, 4, 5]
    record = read_record(tmp_path / run.id)
    assert (record.state, record.reason) == ("diverged", "non-finite loss at step 5")
    assert record.result["diverged_at"] == 5  # type: ignore[index]
    assert perform(run).state == "diverged"
    assert len(updates) == 6  # a recorded divergence is not tried again


def test_a_huge_learning_rate_really_diverges(tiny: Make, perform: Perform) -> None:
    """Without any poison: SGD at 1e30 must end as diverged, not as finished."""
    recipe = {"name": "digits", "optimizer": "sgd", "learning_rate": 1e30, "clip": 0.0}
    assert perform(tiny(model="resnet", recipe=recipe)).state == "diverged"


@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_a_last_update_that_breaks_the_weights_is_diverged_too(
    model: str, tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """One step of SGD at 1e30: its loss was finite, the network is not; no weights of NaN are kept."""
    recipe = {"name": "digits", "optimizer": "sgd", "learning_rate": 1e30, "clip": 0.0}
    run = tiny(model=model, recipe=recipe, budget={"steps": 1})
    assert perform(run).state == "diverged"
    assert read_record(tmp_path / run.id).reason == "non-finite loss at step 1"
    assert not (tmp_path / run.id / "weights.safetensors").exists()


@pytest.mark.parametrize("state", ["diverged", "finished"])
def test_what_another_process_has_ended_meanwhile_is_reported_as_it_ended(
    state: str, tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had begun when this one looked at the record, and is done when this one claims it. Reference: the other's own
    outcome and its result.json, which stays."""
    rate = {"diverged": 1e30, "finished": 1e-3}[state]
    run = tiny(recipe={"name": "digits", "optimizer": "sgd", "learning_rate": rate, "clip": 0.0})
    others = []

    def late(folder: Path) -> Claim:
        with monkeypatch.context() as patched:
            patched.setattr("benchmarks.running.execute.claim", claim)
            others.append(perform(run))
        others.append((folder / "result.json").read_bytes())
        return claim(folder)

    monkeypatch.setattr("benchmarks.running.execute.claim", late)
    ours = perform(run)
    assert ours.state == others[0].state == state
    assert (tmp_path / run.id / "result.json").read_bytes() == others[1]
    assert [one.ended["state"] for one in read_attempts(tmp_path / run.id) if one.ended] == [state] * 2
    assert run_state(run, tmp_path, []).state == state


def test_a_failure_is_recorded_and_can_be_tried_again(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the traceback's last line; and the same run uninterrupted."""
    run = tiny()
    perform(run, root=tmp_path / "whole")
    real = training.Training.update

    def fails(self: training.Training, read: bool = True) -> Any:
        if self.step == 7:
            raise ValueError("seven is too many")
        return real(self, read)

    with monkeypatch.context() as patched:
        patched.setattr(training.Training, "update", fails)
        with pytest.raises(ValueError, match="seven"):
            perform(run)
    state = run_state(run, tmp_path, [])
    assert (state.state, state.reason) == ("failed", "ValueError: seven is too many")
    assert "Traceback" in (tmp_path / run.id / "attempts" / "0001" / "log.txt").read_text()
    assert perform(run).state == "finished"
    assert _left(tmp_path / run.id)["weights.safetensors"] == _left(tmp_path / "whole" / run.id)["weights.safetensors"]


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoints_cost_steps_and_no_more(damaged: int, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """The one before is used, or the run starts anew; the end is the uninterrupted one's, to the bit."""
    run = tiny()
    perform(run, root=tmp_path / "whole")
    perform(run, stop_at=4)
    perform(run, stop_at=4)
    paths = checkpoint_paths(tmp_path / run.id)
    assert [path.name[:19] for path in paths] == ["checkpoint-00000008", "checkpoint-00000004"]
    for path in paths[:damaged]:
        path.write_bytes(path.read_bytes()[:1000])
    perform(run)
    assert read_record(tmp_path / run.id).attempts[-1]["start_step"] == (4 if damaged == 1 else 0)
    assert "is damaged" in (tmp_path / run.id / "attempts" / "0003" / "log.txt").read_text()
    for name in ("weights.safetensors", "metrics.jsonl", "result.json"):
        assert _left(tmp_path / run.id)[name] == _left(tmp_path / "whole" / run.id)[name]


KILLED = """
import os, signal, sys
from pathlib import Path
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from benchmarks.plan.run import make_run
from benchmarks.plan.study import single
import json, torch
torch.set_num_threads(1)
run = make_run(json.loads(sys.argv[1]))
polls = 0
def stop():
    global polls
    polls += 1
    if polls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return False
settings = Settings(Path("data"), checkpoint_seconds=1e-9)
execute(run, Path(sys.argv[2]), single(run).evaluations[run.id], settings, stop)
"""


@pytest.mark.parametrize("at", [1, 6, 12])
def test_killed_at_any_moment_continues_from_the_last_checkpoint(
    at: int, tiny: Make, perform: Perform, start: Callable[..., Started], tmp_path: Path
) -> None:
    """A real SIGKILL in another process; reference: the same run uninterrupted."""
    run = tiny()
    perform(run, root=tmp_path / "whole")
    killed = start("-c", KILLED, json.dumps(run.settings()), str(tmp_path), str(at)).wait()
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert run_state(run, tmp_path, []).state == "lost"
    assert perform(run).state == "finished"
    assert read_record(tmp_path / run.id).attempts[-1]["start_step"] == min(at - 1, 12) or at == 12
    for name in ("weights.safetensors", "metrics.jsonl", "result.json"):
        assert _left(tmp_path / run.id)[name] == _left(tmp_path / "whole" / run.id)[name]


def test_a_changed_recipe_is_refused_with_key_old_and_new(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """The drift guard: the same id must not come to mean something else."""
    run = tiny()
    perform(run, stop_at=3)
    config = read_json(tmp_path / run.id / "config.json")
    config["run"]["recipe"]["weight_decay"] = 0.25  # as if digits.toml had said so when the run was made
    write_json(tmp_path / run.id / "config.json", config)
    with pytest.raises(RecordError, match=r"recipe\.weight_decay: 0\.25 -> 0\.05"):
        perform(run)


def test_a_record_from_before_a_key_of_the_recipe_is_continued(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """What a recipe could not say yet was off: such a record is continued, unless its recipe says it now."""
    run, other = tiny(), tiny(recipe={"name": "digits", "ema": 0.5})
    for one in (run, other):
        perform(one, stop_at=3)
        config = read_json(tmp_path / one.id / "config.json")
        del config["run"]["recipe"]["ema"], config["run"]["recipe"]["train_resolutions"]
        write_json(tmp_path / one.id / "config.json", config | {"digest": configuration_digest(config["run"])})
    assert perform(run).state == "finished"
    with pytest.raises(RecordError, match=r"recipe\.ema: 0\.0 -> 0\.5"):
        perform(other)


def test_other_sources_stop_an_unfinished_run_and_mark_a_finished_one(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed is named; --accept-code goes on and is recorded."""
    done, half = tiny(), tiny(seed=1)
    perform(done)
    perform(half, stop_at=3)
    real = sources.run_sources
    monkeypatch.setattr(sources, "run_sources", lambda run: real(run) | {"models.vit:Block": "00000000"})
    state = run_state(done, tmp_path, [])
    assert (state.state, state.reason) == ("stale", "changed since: models.vit:Block (changed)")
    for run in (done, half):
        with pytest.raises(StaleError, match=r"models\.vit:Block \(changed\)"):
            perform(run)
    assert len(read_attempts(tmp_path / half.id)) == 1  # nothing is claimed: the run has not failed
    assert run_state(half, tmp_path, []).state == "interrupted"
    assert perform(half, accept_code=True).state == "finished"
    assert perform(done, accept_code=True).state == "finished"
    assert read_json(tmp_path / done.id / "accepted.json")["changed"] == ["models.vit:Block (changed)"]
    assert run_state(done, tmp_path, []).state == "finished"


def test_a_record_of_a_newer_version_is_refused(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """It must be left as it is."""
    run = tiny()
    perform(run, stop_at=3)
    config = read_json(tmp_path / run.id / "config.json")
    write_json(tmp_path / run.id / "config.json", config | {"format": 99})
    with pytest.raises(RecordError, match="newer version of the suite"):
        perform(run)
    assert read_json(tmp_path / run.id / "config.json")["format"] == 99


def test_a_half_written_file_is_named_and_kept(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """A torn result.json is an error with its path, never a silent retraining."""
    run = tiny()
    perform(run)
    path = tmp_path / run.id / "result.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(RecordError, match=r"result\.json"):
        perform(run)
    state = run_state(run, tmp_path, [])
    assert (state.state, "result.json" in state.reason) == ("failed", True)


@pytest.mark.parametrize(
    ("name", "content"),
    [("result.json", "{}"), ("execution.json", "{}"), ("config.json", '{"format": "2", "id": "x", "run": {}}')],
)
def test_a_file_without_its_keys_is_named(
    name: str, content: str, tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """One bad record must not take down the status of a study with a KeyError."""
    run = tiny()
    perform(run)
    (tmp_path / run.id / name).write_text(content)
    state = run_state(run, tmp_path, [])
    assert (state.state, name in state.reason) == ("failed", True)


def test_torn_words_of_an_attempt_do_not_spoil_a_finished_run(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """owner.json and ended.json only describe how it went."""
    run = tiny()
    perform(run)
    for name in ("owner.json", "ended.json"):
        (tmp_path / run.id / "attempts" / "0001" / name).write_text('{"half')
    assert run_state(run, tmp_path, []).state == "finished"
    assert perform(run) == Outcome("finished", "nothing")


def test_a_flipped_byte_in_evaluations_is_an_error_with_its_path_or_harmless(
    tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """Every place in the archive's last part, its directory: RecordError or the same entries, nothing else."""
    run = tiny()
    perform(run)
    path = tmp_path / run.id / "evaluations" / "0001.npz"
    whole, entries = path.read_bytes(), read_record(tmp_path / run.id).evaluations
    for place in range(len(whole) - 900, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            assert read_record(tmp_path / run.id).evaluations == entries
        except RecordError as error:
            assert "0001.npz" in str(error)


def test_two_processes_cannot_work_on_the_same_run(tiny: Make, perform: Perform) -> None:
    """The second is told who owns it, from inside the first's training."""
    run = tiny()
    seen = []

    def progress(step: int, steps: int, rate: float | None) -> None:
        if step == 3:
            with pytest.raises(OwnedError, match=f"process {os.getpid()}") as error:
                perform(run)
            seen.append(str(error.value))

    perform(run, progress=progress)
    assert len(seen) == 1


def test_each_evaluation_is_told_and_seen_in_status(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the study's own list of evaluations, counted; `status` is asked from inside the second of them."""
    monkeypatch.setattr(attempts, "BEAT_SECONDS", 0.0)
    run = tiny()
    study = single(run)
    told, shown = [], []

    def evaluating(number: int, of: int) -> None:
        told.append((number, of))
        if number == 2:
            console = Console(file=io.StringIO(), width=200)
            print_status(console, Found(study, study_states(study, tmp_path)))
            shown.append(console.file.getvalue())  # type: ignore[attr-defined]

    perform(run, evaluating=evaluating)
    count = len(study.evaluations[run.id])
    assert count >= 2 and told == [(number, count) for number in range(1, count + 1)]
    assert f"evaluating 1 of {count}, heartbeat 0 s ago" in shown[0]


def test_a_full_disk_during_training_warns_and_fails_at_the_end(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No checkpoint can be written: training goes on, warning; nor can the weights: the run fails, and says so."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = tiny()
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "inductive"):
        patched.setattr(checkpoints, "write_atomic", full)
        patched.setattr(attempts, "write_atomic", full)
        with pytest.raises(OSError, match="No space left"):
            perform(run, checkpoint_seconds=1e-9)
    assert caplog.text.count("could not be written") == 12
    assert run_state(run, tmp_path, []).reason.endswith("No space left on device")
    assert perform(run).state == "finished"


def test_the_recorded_execution_is_obeyed(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """A later attempt must use the first one's settings, not today's rule."""
    run = tiny()
    perform(run, stop_at=3)
    path = tmp_path / run.id / "execution.json"
    write_json(path, read_json(path) | {"attention": "fused", "torch": "1.0"})
    forms = []
    real = training.build_model

    def spy(run: Run, execution: Any) -> Any:
        forms.append(execution["attention"])
        return real(run, execution)

    training_build, training.build_model = training.build_model, spy
    try:
        perform(run)
    finally:
        training.build_model = training_build
    assert forms == ["fused"]
    log = (tmp_path / run.id / "attempts" / "0002" / "log.txt").read_text()
    assert "bits may differ from the first attempt's: torch: 1.0 then" in log
