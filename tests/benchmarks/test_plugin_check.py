"""A user's own file from the command line: check, a study with it, its copy in the records, rerun, and staleness."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "own-models.md"
TEXT = DOCS.read_text(encoding="utf-8")
RING, PATCH_MEAN = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(STUDY,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "ring.py").write_text(RING)
    (tmp_path / "patch_mean.py").write_text(PATCH_MEAN)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def test_check_says_what_the_documentation_promises(home: Path, inductive: Inductive) -> None:
    """docs/own-models.md: rings do not notice a mirrored or turned image; the mean of patches notices no order."""
    ring = inductive("check", "ring.py", "--patience", "0")
    assert ring.returncode == 0, ring.stdout + ring.stderr
    assert "does not notice, on 4 x 4 patches of 2 px: left-right, up-down, transposition, rotation\n" in ring.stdout
    assert "tells apart: cyclic shift, permutation\n" in ring.stdout
    assert "time of a training step" in ring.stdout
    assert "256 parameters, +0 MACs" in ring.stdout and "at another grid: by recompute" in ring.stdout
    mean = inductive("check", "patch_mean.py")
    assert mean.returncode == 0, mean.stdout + mean.stderr
    assert "tells apart: nothing\n" in mean.stdout


def test_check_tells_what_is_broken_and_where(home: Path, inductive: Inductive) -> None:
    """Exit code 3, the failed check with the plugin's own line, and the other checks made all the same."""
    (home / "ring.py").write_text(RING.replace("/ max(grid)", ""))
    said = inductive("check", "ring.py")
    line = 1 + RING[: RING.index("added = nn.functional.pad")].count("\n")
    assert said.returncode == 3
    assert re.search(rf"failed: resolutions: ring\.py line {line}: IndexError: .* \(At every resolution", said.stdout)
    assert "checks hold: " in said.stdout and "checks failed" in said.stdout
    missing = inductive("check", "rings.py")
    assert missing.returncode == 2 and "did you mean `ring.py`?" in missing.stderr


def test_check_tries_another_width_and_number_of_heads(home: Path, inductive: Inductive) -> None:
    """An encoding written for one width fails at another; one that refuses the other by its `check` is told so."""
    (home / "ring.py").write_text(RING.replace("torch.empty(count, self.width)", "torch.empty(count, 48)"))
    said = inductive("check", "ring.py", "--patience", "0")
    assert said.returncode == 3
    assert re.search(r"contract, vit of 8 px: (\d+) of \1 checks hold", said.stdout), said.stdout
    assert re.search(r"contract, vit of 8 px, width 60, 5 heads: \d of \d+ checks hold", said.stdout)
    only = "def only(options):\n    if options['heads'] != 4:\n        raise ModelError('four heads alone')\n\n\nRING ="
    refusing = RING.replace("import Encoding", "import ModelError, Encoding").replace("RING =", only)
    (home / "ring.py").write_text(refusing.replace("additive=True", "check=only"))
    said = inductive("check", "ring.py", "--patience", "0")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "not checked in vit of 8 px, width 60, 5 heads: model vit: four heads alone" in said.stdout
    (home / "ring.py").write_text(refusing.replace("additive=True", "check=only").replace("!= 4", "!= 7"))
    said = inductive("check", "ring.py", "--patience", "0")  # it refuses the very ViT of the contract
    assert said.returncode == 3 and "failed: " in said.stdout and "four heads alone" in said.stdout, said.stderr


def test_a_study_with_a_plugin(home: Path, inductive: Inductive) -> None:
    """The documented study runs in processes of their own; records hold the source; the page knows the encoding."""
    assert json.loads(inductive("plan", "study.toml", "--json").stdout)["runs_to_do"] == 6
    ran = inductive("run", "study.toml", "--jobs", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    records = {path.name: path for path in (home / "runs").glob("vit-*")}
    with_copy = {name for name, path in records.items() if (path / "plugins").exists()}
    assert len(records) == 6 and with_copy == {name for name in records if name.startswith("vit-ring-")}
    one = records[min(with_copy)]
    assert (one / "plugins" / "ring.py").read_text() == RING
    sources = json.loads((one / "execution.json").read_text())["sources"]
    assert {"plugin_ring:Ring", "models.positions.base:coordinates"} <= set(sources)
    report = inductive("report", "study.toml", "-o", "page")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "ring" in (home / "page" / "index.html").read_text()

    (home / "ring.py").write_text(RING.replace("0.75", "0.8").replace("# made once a grid", "# once a grid"))
    states = json.loads(inductive("status", "study.toml", "--json").stdout)["runs"]
    stale = {state["id"]: state["reason"] for state in states if state["state"] == "stale"}
    assert set(stale) == with_copy and set(stale.values()) == {"changed since: plugin_ring:Ring (changed)"}
    accepted = inductive("run", "study.toml", "--accept-code", "--only", one.name)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert "0.8 *" in (one / "plugins" / "accepted-ring.py").read_text()

    other = records[max(with_copy)]
    (home / "ring.py").unlink()
    again = inductive("rerun", other.name)
    assert again.returncode == 2 and f"rerun {other.name} --trust-code" in again.stderr, again.stdout + again.stderr
    assert f"ring comes from a plugin whose code lies in the record: runs/{other.name}/plugins/ring.py" in again.stderr
    again = inductive("rerun", other.name, "--trust-code")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "plugin ring.py as it is in the record" in again.stdout and "equal: " in again.stdout
    shown = inductive("show", other.name)
    assert shown.returncode == 2 and f"--plugin runs/{other.name}/plugins/ring.py" in shown.stderr
    assert inductive("show", other.name, "--plugin", str(other / "plugins" / "ring.py")).returncode == 0


def test_plugins_by_flag_and_their_refusals(home: Path, inductive: Inductive) -> None:
    """`--plugin` serves every verb; a wrong path in a study is named with its key."""
    listed = inductive("list", "positions", "--plugin", "ring.py")
    assert "a learned vector per ring around the centre" in listed.stdout
    trained = inductive(
        *("train", "--plugin", "ring.py", "--position", "ring", "--size", "pico", "--steps", "3", "--train-size", "60"),
        *("--set", "options.ring_count=2"),
    )
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert len(list((home / "runs").glob("vit-ring-*/plugins/ring.py"))) == 1
    own = inductive("train", "--plugin", "patch_mean.py", "--model", "patch_mean", "--size", "pico", "--steps", "3")
    assert own.returncode == 0, own.stdout + own.stderr
    without = inductive("train", "--position", "ring")
    assert without.returncode == 2 and "ring" in without.stderr
    (home / "study.toml").write_text(STUDY.replace("ring.py", "rong.py"))
    wrong = inductive("plan", "study.toml")
    assert wrong.returncode == 2
    assert "study.toml: plugins[0]: plugin " in wrong.stderr and "did you mean `ring.py`?" in wrong.stderr
    (home / "study.toml").write_text(STUDY.replace('["ring.py"]', '"ring.py"'))
    assert "plugins: 'ring.py' is not a list of Python files" in inductive("plan", "study.toml").stderr
