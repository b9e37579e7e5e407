"""Records made up to be many are records: what is measured on them is what real ones would cost."""

from collections import Counter
from pathlib import Path

from benchmarks.plan.study import expand
from benchmarks.records.record import read_record
from benchmarks.records.states import STATES, study_states
from benchmarks.speed.synthetic import ENDINGS, write_records


def test_made_up_records_are_those_of_their_runs(tmp_path: Path) -> None:
    """In every state that no process is needed for, and as the suite reads them: the same run, all it was asked for."""
    study = expand({"seed": list(range(24)), "models": [{"name": "resnet"}], "test_resolutions": [4, 8]}, "made-up")
    write_records(tmp_path, study, every=4)
    states = study_states(study, tmp_path)
    # a run that died on another host counts as running until its grace time is over
    assert Counter(one.state for one in states) == Counter(
        finished=18, interrupted=1, failed=1, diverged=1, running=1, stale=1, missing=1
    )
    assert len(ENDINGS) == 6 and set(ENDINGS) < set(STATES)
    for one in states:
        if one.state == "missing":
            continue
        record = read_record(tmp_path / one.run.id)
        assert record.run() == one.run
        if one.state == "finished":
            assert one.waiting == ()
            assert {entry["id"] for entry in record.evaluations} == {e.id for e in study.evaluations[one.run.id]}
    finished = tmp_path / study.runs[0].id
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert names == {
        *("config.json", "execution.json", "metrics.jsonl", "result.json", "weights.safetensors"),
        *("evaluations/0001.npz", "attempts/0001/owner.json", "attempts/0001/ended.json"),
        *("attempts/0001/environment.json", "attempts/0001/log.txt"),
    }
