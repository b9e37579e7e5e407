"""What a reader should know: edits after the first result, runs left out, comparisons that mix what must be equal."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from analysis.frame.frame import load
from analysis.provenance.digests import traces
from analysis.provenance.provenance import provenance
from analysis.provenance.trust import Finding, trust
from benchmarks.data.dataset import Places
from benchmarks.data.folders import keep_copy
from benchmarks.data.store import make_ready
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study, expand
from benchmarks.records.archive import pack
from benchmarks.records.evaluation_files import pass_paths, read_entries, write_evaluations
from benchmarks.records.roots import opened
from benchmarks.records.sources import SAME_CODE, evaluation_code
from benchmarks.records.study_texts import keep_text
from benchmarks.speed.synthetic import write_record, write_records

TEXT = 'question = "Which?"\nexpect = "A"\nseed = [0, 1]\n\n[[models]]\nname = "resnet"\n'
FIRST = "2026-01-01 00:00:08 UTC"  # of the records of tests/analysis/conftest.py: started at midnight, took 8 s


def checks(study: Study, root: Path) -> tuple[Finding, ...]:
    found = traces(root, [run.id for run in study.runs])
    return trust([study], root, found, load(root, study)).findings


def kept(root: Path, name: str, when: str, text: str) -> None:
    """A text as `keep_text` writes it, at another time."""
    keep_text(Study(name, "", "", "", (), {}, (), text=text), root)
    [path] = [one for one in (root / ".studies" / name).iterdir() if json.loads(one.read_text())["text"] == text]
    path.write_text(json.dumps({"study": name, "first_run": when, "text": text}))


def test_nothing_to_say(small: tuple[Study, Path]) -> None:
    study, root = small
    kept(root, study.name, "2025-12-31 23:00:00 UTC", TEXT)
    found = checks(dataclasses.replace(study, text=TEXT), root)
    assert not any(one.alarming for one in found)
    assert found[0].text == f"No edit of study made-up since its first result ({FIRST})."


def test_edits_after_the_first_result_are_listed(small: tuple[Study, Path]) -> None:
    """Reference: the edits made here; those before the first result, comments and [paper] are none."""
    study, root = small
    kept(root, study.name, "2025-12-31 22:00:00 UTC", TEXT.replace("[0, 1]", "[0]"))
    kept(root, study.name, "2025-12-31 23:00:00 UTC", TEXT)
    kept(root, study.name, "2026-01-02 00:00:00 UTC", TEXT.replace('"A"', '"B"'))
    now = TEXT.replace('"A"', '"B"').replace("resnet", "swin") + "# a remark\n[paper]\norder = []\n"
    found = checks(dataclasses.replace(study, text=now), root)[0]
    assert found.alarming
    assert found.details == (
        "2026-01-02 00:00:00 UTC: expect: 'A' -> 'B'",
        "since the last time it was run: models[0].name: 'resnet' -> 'swin'",
    )
    assert "exploratory" not in found.text
    family = f'{now}\n[[comparisons]]\nmodels = ["swin"]\n'
    assert "comparisons are among them: their verdicts are exploratory" in (
        checks(dataclasses.replace(study, text=family), root)[0].text
    )


def test_edits_before_the_first_text_that_was_kept_are_unknown(small: tuple[Study, Path]) -> None:
    """Reference: the times written here: the only text kept is of the day after the first result."""
    study, root = small
    kept(root, study.name, "2026-01-02 00:00:00 UTC", TEXT)
    found = checks(dataclasses.replace(study, text=TEXT), root)[0]
    assert found.alarming
    assert found.text == (
        "No edit of study made-up since 2026-01-02 00:00:00 UTC, the time of the earliest text kept of it; that is "
        f"later than the first result shown ({FIRST}), so edits between them are unknown."
    )


RATE = TEXT.replace("[[models]]", "[recipe]\nlearning_rate = {}\n\n[[models]]")


def test_results_of_earlier_texts_count(tmp_path: Path) -> None:
    """The learning rate was changed after 19 runs at 1e-3 had finished; nothing has been run since, then all of it.
    Reference: what was written here, and the time of the records (see FIRST)."""
    before, now = (RATE.format(rate).replace("[0, 1]", str(list(range(20)))) for rate in ("1e-3", "3e-3"))
    old, new = (dataclasses.replace(expand(tomllib.loads(text), "which"), text=text) for text in (before, now))
    for run in old.runs[:19]:
        write_record(tmp_path, run, old.evaluations[run.id])
    write_record(tmp_path, old.runs[19], [], "failed")
    kept(tmp_path, "which", "2025-12-31 23:00:00 UTC", before)
    for runs_of_now in (False, True):
        if runs_of_now:
            write_records(tmp_path, new)
        edits, hidden, _ = checks(new, tmp_path)[:3]
        assert edits.text == f"Edits of study which since its first result ({FIRST}): 1."
        assert edits.details == ("since the last time it was run: recipe.learning_rate: 0.001 -> 0.003",)
        said = "19 results of earlier versions of study which (recipe.learning_rate 0.001) are not shown."
        assert (hidden.text, hidden.alarming) == (said, True)
        assert hidden.details == ("19 of the text of 2025-12-31 23:00:00 UTC: recipe.learning_rate 0.001",)


def test_an_archive_says_the_same_of_earlier_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds no records of them. Reference: the trust box of the folder that was packed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before, now = (RATE.format(rate) for rate in ("1e-3", "3e-3"))
    old, new = (dataclasses.replace(expand(tomllib.loads(text), "which"), text=text) for text in (before, now))
    root = tmp_path / "runs"
    write_records(root, old)
    write_records(root, new)
    kept(root, "which", "2025-12-31 23:00:00 UTC", before)
    kept(root, "which", "2026-01-02 00:00:00 UTC", now)
    unpacked = opened(pack(new, now.encode(), root, tmp_path / "which.zip").path)
    assert len(list(unpacked.glob("*/result.json"))) == len(new.runs) == 2
    of_folder, of_archive = ([one.text for one in checks(new, place)[:2]] for place in (root, unpacked))
    assert of_archive == of_folder
    assert of_folder[1] == "2 results of earlier versions of study which (recipe.learning_rate 0.001) are not shown."


def test_results_in_an_edited_record_are_none(tmp_path: Path) -> None:
    """Reference: of two results of the earlier text, one whose configuration says another seed than its id."""
    before, now = (RATE.format(rate) for rate in ("1e-3", "3e-3"))
    old, new = (dataclasses.replace(expand(tomllib.loads(text), "which"), text=text) for text in (before, now))
    write_records(tmp_path, old)
    kept(tmp_path, "which", "2025-12-31 23:00:00 UTC", before)
    path = tmp_path / old.runs[0].id / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 5'))
    assert checks(new, tmp_path)[1].text.startswith("1 result of earlier versions of study which")


def test_the_badge_names_what_there_is_to_say(made_up: Any, tmp_path: Path) -> None:
    """Reference: what was done here to a study in which all else is in order: an edit after a result, a run that is
    missing, evaluations at 16 px that three runs lack, and two models that are not equal."""
    study = made_up.study_of(made_up.SMALL, models=[{"name": "resnet"}, {"name": "swin"}], train_size=100)
    for run in study.runs[1:]:
        at = study.evaluations[run.id]
        made_up.write_record(tmp_path, run, [one for one in at if run.model == "resnet" or one.resolution == 8])
    edited = TEXT.replace('"A"', '"B"')
    kept(tmp_path, study.name, "2025-12-31 23:00:00 UTC", TEXT)
    kept(tmp_path, study.name, "2026-01-02 00:00:00 UTC", edited)
    study = dataclasses.replace(study, text=edited)
    found = traces(tmp_path, [run.id for run in study.runs])
    said = trust([study], tmp_path, found, load(tmp_path, study), ["the arm: backbone parameters (swin)"])
    assert said.kinds == ("edits", "unfinished", "unequal")
    assert said.badge == f"3 of {len(said.findings)} checks to read: edits, unfinished, unequal"
    unfinished, unequal = (next(one for one in said.alarming if one.kind == kind) for kind in said.kinds[1:])
    assert unfinished.text == "5 of 6 runs are finished (1 missing)."
    assert unfinished.details == ("evaluations missing: 16 px for 3 runs",)
    assert unequal.details == ("the arm: backbone parameters (swin)",)


def test_results_of_earlier_texts_of_a_folder_of_images_count(tmp_path: Path) -> None:
    """The images are not where the report is made, the runs folder has their index. Reference: what was written."""
    for number in range(60):
        place = tmp_path / "data" / "pets" / ("ape", "cat")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(place / f"{number}.png")
    make_ready("folder:pets", tmp_path / "data")
    root = tmp_path / "runs"
    keep_copy("folder:pets", tmp_path / "data", root)
    table = 'dataset = "folder:pets"\ntrain_size = 20\n' + RATE
    before, now = (table.format(rate) for rate in ("1e-3", "3e-3"))
    places = Places(data=None, runs=root)
    old, new = (dataclasses.replace(expand(tomllib.loads(one), "which", places), text=one) for one in (before, now))
    write_records(root, old)
    kept(root, "which", "2025-12-31 23:00:00 UTC", before)
    assert checks(new, root)[1].text.startswith("2 results of earlier versions of study which (recipe.learning_rate")


def test_each_study_has_a_first_result_of_its_own(made_up: Any, tmp_path: Path) -> None:
    """A study edited after another one's first result, and before its own, was not edited after a result."""
    one, other = made_up.study_of(made_up.SMALL), made_up.study_of(made_up.SMALL, seed=9)
    other = dataclasses.replace(other, name="other", text=TEXT)
    made_up.write_study(tmp_path, one)
    kept(tmp_path, "other", "2026-01-02 00:00:00 UTC", TEXT.replace('"A"', '"B"'))
    kept(tmp_path, "other", "2026-01-03 00:00:00 UTC", TEXT)
    found = traces(tmp_path, [run.id for study in (one, other) for run in study.runs])
    said = [finding.text for finding in trust([one, other], tmp_path, found, load(tmp_path, one, other)).findings]
    assert "No result yet, so no edit of study other came after one." in said


def test_runs_of_an_earlier_protocol_are_counted(made_up: Any, tmp_path: Path) -> None:
    """They are in no table of the study; reference: the four that were written here."""
    study = made_up.study_of(made_up.SMALL, models=[{"name": "resnet"}], seed=[0, 1])
    made_up.write_study(tmp_path, study)
    for run in study.runs:
        path = (tmp_path / run.id).rename(tmp_path / f"{run.id}-1") / "config.json"
        config = json.loads(path.read_text())
        del config["run"]["initial"]
        path.write_text(json.dumps(config | {"run": config["run"] | {"protocol": 1}}))
    left_out, apart = checks(study, tmp_path)[1:3]
    assert not left_out.alarming and apart.alarming
    assert apart.text == "4 finished runs of another protocol under the same runs folder are not shown (protocol 1)."


def test_a_kept_text_that_no_longer_expands_is_named(small: tuple[Study, Path]) -> None:
    study, root = small
    kept(root, study.name, "2025-12-31 22:00:00 UTC", TEXT.replace("resnet", "gone"))
    kept(root, study.name, "2025-12-31 23:00:00 UTC", TEXT)
    found = checks(dataclasses.replace(study, text=TEXT), root)[1]
    assert found.alarming and "cannot expand" in found.text
    assert found.details[0].startswith("2025-12-31 22:00:00 UTC: models[0].name: no model 'gone'")


def test_what_the_records_do_not_tell_is_said(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    assert "was not kept" in checks(study, root)[0].text
    unbegun = checks(study, tmp_path / "nothing")
    assert {one.kind for one in unbegun if one.alarming} == {"unfinished"}
    assert not any("was not kept" in one.text or "same hardware" in one.text for one in unbegun)
    kept(tmp_path / "none", study.name, "2025-12-31 22:00:00 UTC", TEXT)
    assert checks(study, tmp_path / "none")[0].text.startswith("No result yet")


def test_runs_left_out_are_listed(made_up: Any, tmp_path: Path) -> None:
    """Reference: what was recorded beside the study: a fourth seed of its cells, a model, another budget, a failure."""
    wide = made_up.study_of(made_up.SMALL, seed=[0, 1, 2, 3])
    study = made_up.study_of(made_up.SMALL)
    models = made_up.study_of(made_up.SMALL, models=[{"name": "swin"}], seed=0, train_size=100)
    budget = made_up.study_of(made_up.SMALL, budget={"steps": 5})
    for one in (wide, models, budget):
        made_up.write_study(tmp_path, one)
    failed = made_up.study_of(made_up.SMALL, seed=9).runs[0]
    made_up.write_record(tmp_path, failed, [], "failed")
    found = checks(study, tmp_path)[1]
    seeds = [run.id for run in wide.runs if run.seed == 3]
    note = " (another draw or seed of a cell that is shown)"
    assert sorted(found.details) == sorted([*(run + note for run in seeds), models.runs[0].id])
    assert "7 finished runs" in found.text
    assert found.text.endswith("in draw and seed alone differ 6.")
    assert "No finished run" in checks(study, tmp_path / "other")[1].text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"capability": "AVX512"}, "hardware: cpu AVX2 (17 runs); cpu AVX512 (1 run)"),
        ({"torch": "2.6.0"}, "torch: - (17 runs); 2.6.0 (1 run)"),
        ({"decoder": {"name": "pillow-reduced", "version": "13.0.0"}}, "(17 runs); pillow-reduced 13.0.0 (1 run)"),
        (
            {"sources": {"benchmarks.training.training:Training": "00"}},
            "benchmarks.training.training:Training (2 versions)",
        ),
    ],
)
def test_mixed_comparisons_are_named(small: tuple[Study, Path], change: dict[str, Any], said: str) -> None:
    study, root = small
    path = root / study.runs[0].id / "execution.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    [found] = [one for one in checks(study, root) if one.text.startswith("Comparisons that mix")]
    assert len(found.details) == 1
    assert said in found.details[0]


def test_images_that_changed_between_runs_are_an_alarm(small: tuple[Study, Path]) -> None:
    """Reference: the digests written here, as execution.json has them; without any nothing is known to differ."""
    study, root = small
    for number, run in enumerate(study.runs):
        path = root / run.id / "execution.json"
        data = {"train": "a" * 64, "test": ("c" if number == 3 else "b") * 64}
        path.write_text(json.dumps({**json.loads(path.read_text()), "data": data}))
    [found] = [one for one in checks(study, root) if one.kind == "images"]
    assert found.alarming and len(found.details) == 1
    assert "test images by digest: bbbbbbbbbbbb (17 runs); cccccccccccc (1 run)" in found.details[0]


def test_evaluations_by_several_versions_of_the_measuring_code_are_named(small: tuple[Study, Path]) -> None:
    """Reference: what is changed here, the evaluations of one run of 18, on both parts; digests of code that
    measures the same are one version (`SAME_CODE`)."""
    study, root = small
    for run, code in zip(study.runs, ["0" * 8, *SAME_CODE], strict=False):
        [path] = pass_paths(root / run.id)
        write_evaluations(root / run.id, 1, [{**one, "code": code} for one in read_entries(path)], {})
    found = checks(study, root)
    [unfinished, mixed] = [one for one in found if one.alarming and one.kind in ("unfinished", "code")]
    assert unfinished.text == "18 of 18 runs are finished."
    assert unfinished.details == (
        "evaluations missing: 8 px by today's measuring code for 1 run",
        "evaluations missing: 16 px by today's measuring code for 1 run",
        "evaluations measured by earlier code: 4 of 72, shown, to be made again by `inductive run made-up`",
    )
    assert mixed.text == "Comparisons that mix sources:"
    [line] = mixed.details
    assert line.endswith(f": measuring code: {evaluation_code()} (17 runs); 00000000 (1 run)")


def test_accepted_sources_are_named(small: tuple[Study, Path]) -> None:
    study, root = small
    (root / study.runs[3].id / "accepted.json").write_text('{"sources": {}, "changed": []}')
    assert checks(study, root)[-1].details == (study.runs[3].id,)


CUDA = {"device": "cuda", "capability": "NVIDIA H100", "cuda": "13.0", "cudnn": "91300", "driver": "580.82.07"}


def on_cuda(root: Path, run: Run, **changes: Any) -> None:
    """Says of a run that it was made on a GPU."""
    path = root / run.id / "execution.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **CUDA, **changes}))
    about = {"cpu": "EPYC", "gpu": {"name": "NVIDIA H100", "memory": 85, "driver": "580.82.07"}}
    (root / run.id / "attempts" / "0001" / "environment.json").write_text(json.dumps(about))


def test_what_decides_bits_on_a_gpu_is_said(small: tuple[Study, Path]) -> None:
    """Reference: the records changed here, all on one GPU, then one with another driver."""
    study, root = small
    for run in study.runs:
        on_cuda(root, run)
    facts = dict(provenance(traces(root, [run.id for run in study.runs])).facts)
    assert facts["hardware"] == "cuda NVIDIA H100"
    assert facts["libraries"].endswith("cuda 13.0, cudnn 91300, driver 580.82.07")
    assert not any(one.text.startswith("Comparisons that mix") for one in checks(study, root))
    on_cuda(root, study.runs[2], driver="535.1")
    [found] = [one for one in checks(study, root) if one.text.startswith("Comparisons that mix")]
    assert [line.partition(": driver: ")[2] for line in found.details] == ["580.82.07 (17 runs); 535.1 (1 run)"]


def test_runs_whose_bits_cannot_be_had_again_are_named(small: tuple[Study, Path]) -> None:
    """Those that say so, and not those of CPUs, which say nothing of it, or of a GPU that kept to its kernels."""
    study, root = small
    on_cuda(root, study.runs[0], deterministic=True)
    assert not any("deterministic" in one.text for one in checks(study, root))
    for number in (1, 5):
        on_cuda(root, study.runs[number], deterministic=False)
    [found] = [one for one in checks(study, root) if "deterministic" in one.text]
    assert found.text.startswith("2 runs used an operation that has no deterministic kernel on its device: ")
    assert found.alarming
    assert set(found.details) == {study.runs[1].id, study.runs[5].id}


def test_provenance_counts_what_differs(small: tuple[Study, Path]) -> None:
    study, root = small
    for number, run in enumerate(study.runs):
        about = {"python": "3.11.2", "commit": "a" * 40 if number < 5 else "b" * 40, "cpu": "EPYC"}
        (root / run.id / "attempts" / "0001" / "environment.json").write_text(json.dumps(about))
    facts = dict(provenance(traces(root, [run.id for run in study.runs])).facts)
    assert facts["commit"] == f"{'b' * 40} (13 runs); {'a' * 40} (5 runs)"
    assert (facts["Python"], facts["hardware"]) == ("3.11.2", "cpu AVX2, EPYC")


def test_another_processor_is_other_hardware(small: tuple[Study, Path]) -> None:
    """With the same instructions, and so the same bits, but another speed."""
    study, root = small
    for number, run in enumerate(study.runs):
        (root / run.id / "attempts" / "0001" / "environment.json").write_text(
            json.dumps({"cpu": "Xeon" if number < 5 else "EPYC"})
        )
    [found] = [one for one in checks(study, root) if one.text.startswith("Comparisons that mix")]
    assert "hardware: cpu AVX2, EPYC (13 runs); cpu AVX2, Xeon (5 runs)" in found.details[0]
