"""What runs need from outside is found in one place, for `run`, `prepare` and `submit` alike."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.errors import ConfigError, InductiveError
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study, single
from benchmarks.running import preflight
from benchmarks.running.preflight import Needed
from benchmarks.speed.synthetic import write_record

Make = Callable[..., Run]


def study_of(*runs: Run, leave_out: bool = False) -> Study:
    """A study of some runs, which are measured on the test part; with `leave_out`, without its duplicates."""
    part = "test_unique" if leave_out else "test"
    evaluations = {run.id: [Evaluation(resolution=run.resolution, part=part)] for run in runs}
    return replace(single(runs[0]), runs=runs, evaluations=evaluations)


def test_each_data_set_once_with_its_list(tiny: Make) -> None:
    """In the order of the runs; a list is needed where one run of the data set leaves duplicates out. By hand."""
    first, second, other = tiny(), tiny(seed=1), tiny(dataset="mnist")
    study = study_of(first, other, second)
    assert preflight.data_sets(study, study.runs) == [Needed("digits", False), Needed("mnist", False)]
    study.evaluations[second.id] = study_of(second, leave_out=True).evaluations[second.id]
    assert preflight.data_sets(study, study.runs) == [Needed("digits", True), Needed("mnist", False)]
    assert preflight.data_sets(study, [other]) == [Needed("mnist", False)]


def test_what_is_not_there_is_named(tiny: Make, tmp_path: Path) -> None:
    """The data set by the command that gets it, the list by its path, weights by their file or run."""
    with pytest.raises(InductiveError, match=r"mnist is not prepared under .*: `inductive prepare .* --data"):
        preflight.check_prepared(study_of(run := tiny(dataset="mnist")), [run], tmp_path, tmp_path)
    without = study_of(run := tiny(), leave_out=True)
    for check in (
        lambda: preflight.check_prepared(without, [run], tmp_path, tmp_path),
        lambda: list(preflight.decode(without, [run], tmp_path)),
    ):
        with pytest.raises(InductiveError, match=r"no list of duplicates at .*digits\.csv"):
            check()
    started = tiny(init_from="nowhere.pth")
    with pytest.raises(ConfigError, match=r"init_from: there is no file nowhere\.pth"):
        preflight.check_prepared(study_of(started), [started], tmp_path, tmp_path)
    preflight.check_prepared(study_of(plain := tiny()), [plain], tmp_path, tmp_path)


def test_what_is_not_there_is_listed_as_the_study_was_named(tiny: Make, tmp_path: Path) -> None:
    """Each with its command, all of them; files that `run` would decode itself are enough where that is said."""
    run = tiny(dataset="mnist")
    study = replace(study_of(tiny(), run, tiny(init_from="gone.pth")), given="my studies/one.toml")
    said = [str(one) for one in preflight.unprepared(study, study.runs, tmp_path, tmp_path / "data")]
    command = f"`inductive prepare 'my studies/one.toml' --data {tmp_path / 'data'}`"
    assert said == [
        f"mnist is not prepared under {tmp_path / 'data'}: {command}",
        "init_from: there is no file gone.pth",
    ]
    for file in run.data.files:
        (tmp_path / "data" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / file).touch()
    alone = replace(study, runs=(run,))
    assert [*preflight.unprepared(alone, [run], tmp_path, tmp_path / "data", decoded=False)] == []
    assert len([*preflight.unprepared(alone, [run], tmp_path, tmp_path / "data")]) == 1


def test_a_run_that_starts_from_itself_is_refused(tiny: Make, tmp_path: Path) -> None:
    """By another name of its folder, by its weights there, or through another run; and its own id without init_from,
    where that run is none yet. Reference: the records and links made here."""
    own, weights = (tiny(init_from=str(tmp_path / name)) for name in ("own", "weights/weights.safetensors"))
    first = tiny(init_from=str(tmp_path / "other"))
    second = tiny(seed=1, init_from=first.id)
    for run in (own, weights, first, second):
        write_record(tmp_path, run, [])
    for name, run in (("own", own), ("weights", weights), ("other", second)):
        (tmp_path / name).symlink_to(tmp_path / run.id)
    said = "init_from: the run starts from itself: {}; name another run or file"
    for run, passed in ((own, [own]), (weights, [weights]), (first, [second, first])):
        with pytest.raises(ConfigError) as refusal:
            preflight.check_weights([run], tmp_path)
        assert str(refusal.value) == said.format(" from ".join(one.id for one in (run, *passed)))
    without = tiny(seed=7)
    with pytest.raises(ConfigError, match="is this very run as it would be without init_from: train that one first"):
        preflight.check_weights([tiny(seed=7, init_from=without.id)], tmp_path)


def test_weights_of_ready_made_networks(tmp_path: Path, tiny: Make) -> None:
    """Each source once, however many runs start from it; none for a network that starts from nothing."""
    file = tmp_path / "weights.pth"
    named = {"model": "timm:resnet10t", "size": "own", "recipe": "plain"}
    runs = [tiny(**named, seed=seed, options={"weights": f"file:{file}"}) for seed in (0, 1)]
    assert preflight.weights([*runs, tiny(**named), tiny()]) == {("timm:resnet10t", f"file:{file}"): runs[0]}
    with pytest.raises(ConfigError, match=r"options\.weights: there is no file .*weights\.pth"):
        preflight.check_weights(runs, tmp_path)
    file.touch()
    preflight.check_weights(runs, tmp_path)
