"""The ledger: every array of a submission is found again, in order."""

from pathlib import Path

from benchmarks.files import write_json
from slurm import ledger


def test_more_than_a_hundred_arrays(tmp_path: Path) -> None:
    """What breaks otherwise: those beyond the hundredth are not seen, and their runs are submitted twice."""
    folder = ledger.new_submission(tmp_path, "study")
    write_json(folder / "submission.json", {"study": "study", "time": ledger.now()})
    written = [ledger.intend(folder, number, [[f"run{number}"]]) for number in range(120)]
    written[3].element_marker(0).touch()
    assert [array.jobs for array in ledger.read_arrays(tmp_path, "study")] == [array.jobs for array in written]
    assert ledger.read_arrays(tmp_path, "another") == []
