"""The index of a pass, found without opening the archive: what is found, and what counts as damage."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import RecordError
from benchmarks.records import sources
from benchmarks.records.evaluation_files import packed, read_entries, unfinished_pass

ENTRIES = [{"id": "9a1b2c3d", "accuracy": 0.5, "name": "é"}, {"id": "00000000", "accuracy": 1.0, "name": "b"}]


@pytest.mark.parametrize("images", [0, 1, 5000])
def test_the_index_is_found_as_numpy_finds_it(images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: numpy.load, which is not called for an archive as we write it."""
    path = tmp_path / "0001.npz"
    path.write_bytes(packed(ENTRIES, {"9a1b2c3d.logits": np.zeros((images, 10), np.float16)}))
    with np.load(path) as arrays:
        assert json.loads(arrays["index"].tobytes()) == ENTRIES
    monkeypatch.setattr(np, "load", None)
    assert read_entries(path) == ENTRIES


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_other_archive_is_read_by_numpy(save: object, tmp_path: Path) -> None:
    """Compressed, or with the index behind another member: no archive of ours, but one of the format."""
    path = tmp_path / "0001.npz"
    index = np.frombuffer(json.dumps(ENTRIES).encode(), dtype=np.uint8)
    save(path, first=np.zeros(3), index=index)  # type: ignore[operator]
    assert read_entries(path) == ENTRIES


def test_every_damage_to_the_index_is_noticed(tmp_path: Path) -> None:
    """Cut off anywhere, or a byte of it flipped: an error that names the file, or the same entries."""
    whole = packed(ENTRIES, {"9a1b2c3d.logits": np.zeros((3, 10), np.float16)})
    path = tmp_path / "0001.npz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"0001\.npz: cannot be read"):
            read_entries(path)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        second = archive.infolist()[1].header_offset
    for place in range(second):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert read_entries(path) == ENTRIES
        except RecordError as error:
            assert "0001.npz" in str(error)


def test_a_pass_of_another_run_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file goes with the next pass that is written; one that names no run is taken, as it was before they did."""
    monkeypatch.setattr(sources, "evaluation_code", lambda *_: "00000000")
    (tmp_path / "mine" / "evaluations").mkdir(parents=True)
    for number, about in ((2, {"run": "mine"}), (3, {"run": "another"}), (4, {})):
        entries = [{"id": str(number), "code": "00000000", **about}]
        (tmp_path / "mine" / "evaluations" / f"{number:04d}.npz").write_bytes(packed(entries, {}))
    found = unfinished_pass(tmp_path / "mine", 1)
    assert [entry["id"] for entry in found.entries] == ["2", "4"]
    assert [path.name for path in found.files] == ["0002.npz", "0003.npz", "0004.npz"]


def test_what_is_no_list_of_entries_is_damage(tmp_path: Path) -> None:
    """A whole archive with an index that says nothing."""
    path = tmp_path / "0001.npz"
    buffer = io.BytesIO()
    np.savez(buffer, index=np.frombuffer(b"{]", dtype=np.uint8))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(RecordError, match="cannot be read"):
        read_entries(path)
