"""Ready-made networks in runs: names and ids, weights from a file, no steps at all, and what makes a record stale."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from benchmarks.cli.list import listing
from benchmarks.errors import ConfigError, ImpossibleError
from benchmarks.plan.run import PROTOCOL, Evaluation, Run, make_run
from benchmarks.plan.study import expand
from benchmarks.records import sources
from benchmarks.records.record import read_record
from benchmarks.running.execute import Outcome
from benchmarks.slices import changes

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_vit", num_classes=10).state_dict(), path)
    return path


def evaluated(path: Path, **more: object) -> Run:
    settings = {"model": "timm:test_vit", "resolution": 32, "train_size": 60, "budget": {"steps": 0}}
    return make_run({**settings, "options": {"weights": f"file:{path}"}, **more})


def test_names_and_ids() -> None:
    """The size is `own` unless a wrong one is given; ids hold no colon; a study's model may be a ready-made one."""
    run = make_run({"model": "timm:test_vit", "resolution": 32})
    assert run.size == "own" and run.options == {"head": "fitted", "tag": "", "transforms": "data", "weights": "none"}
    assert run.id.startswith("timm_test_vit-digits-n1000-r32-d0-s0-")
    assert run.id == make_run({"model": "timm:test_vit", "size": "own", "resolution": 32}).id
    assert make_run(run.settings()) == run and run.delta == {
        "model": "timm:test_vit",
        "resolution": 32,
        "initial": "library",
        "protocol": PROTOCOL,
    }
    with pytest.raises(ConfigError, match="no size 'nano'; allowed: own"):
        make_run({"model": "timm:test_vit", "size": "nano", "resolution": 32})
    table = {"models": [{"name": "torchvision:resnet18"}, {"name": "vit"}], "resolution": 32, "budget": {"steps": 1}}
    assert [one.size for one in expand(table, "s").runs] == ["own", "nano"]
    table["models"] = [{"name": "timm:resnet81"}]
    with pytest.raises(ConfigError, match=r"models\[0\].name: no model .*; did you mean `resnet18`"):
        expand(table, "s")
    swin = {"model": "timm:swin_tiny_patch4_window7_224", "dataset": "cifar10", "resolution": 224}
    with pytest.raises(ImpossibleError, match=r"recipe.train_resolutions: 192: .* trains at its own 224 px alone"):
        make_run({**swin, "recipe": {"name": "none", "train_resolutions": [192, 224]}})
    assert {"timm:NAME", "torchvision:NAME"} <= {row["name"] for row in listing("models")}


def test_a_run_without_steps_is_evaluated_as_it_stands(
    weights: Path, perform: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Zero steps: what is kept and evaluated is the file's weights; asking again does nothing, a new size is added."""
    run = evaluated(weights)
    at = [Evaluation(resolution=32), Evaluation(resolution=48, carry="dynamic")]
    assert perform(run, evaluations=at).did == "trained 0 steps, 2 evaluations"
    record = read_record(tmp_path / run.id)
    assert record.result is not None and (record.result["step"], record.result["images"]) == (0, 0)
    kept = record.path / "weights.safetensors"
    state = safetensors.torch.load_file(kept)
    given = torch.load(weights, weights_only=True)
    assert torch.equal(state["net.head.weight"], given["head.weight"])  # ten classes there and here: nothing is fresh
    assert [one["evaluation"]["resolution"] for one in record.evaluations] == [32, 48]
    assert perform(run, evaluations=at).did == "nothing"
    assert perform(run, evaluations=[*at, Evaluation(resolution=64, carry="dynamic")]).did == "1 evaluation"


def test_other_weights_make_a_record_stale(weights: Path) -> None:
    """The file's digest and the library's version are among the sources, the library's code is not."""
    run = evaluated(weights)
    before = sources.run_sources(run)
    assert f"weights {weights}" in before and "timm" in before and "models.libraries.timm_networks:Timm" in before
    assert not any(name.startswith(("models.vit", "models.libraries.torchvision_networks")) for name in before)
    torch.save(timm.create_model("test_vit", num_classes=10).state_dict(), weights)
    assert changes(before, sources.run_sources(run)) == (f"weights {weights} (changed)",)
    assert not {"timm", "torchvision"} & set(sources.run_sources(make_run({})))


STUDY = """
budget = {{ steps = 0 }}
resolution = 32
train_size = 60
[[models]]
name = "{name}"
weights = "{weights}"
"""


def test_prepare_fetches_weights_and_runs_do_not(inductive: Inductive, tmp_path: Path, weights: Path) -> None:
    """Nothing can be downloaded here, so a run says what to do at once; what the library has kept serves it offline."""
    study, cache = tmp_path / "study.toml", tmp_path / "cache"
    hub = {"TORCH_HOME": str(cache), "https_proxy": "http://127.0.0.1:9", "HF_HUB_OFFLINE": ""}  # nobody answers there
    study.write_text(STUDY.format(name="torchvision:resnet18", weights="library"))
    ran = inductive("run", str(study), environment=hub)
    assert ran.returncode == 3 and "downloads are off here" in ran.stdout
    assert "`inductive prepare STUDY` downloads them" in ran.stdout
    assert not list(cache.rglob("*.pth"))
    tried = inductive("prepare", str(study), environment=hub)
    assert tried.returncode == 2 and "could not be had from https://download.pytorch.org/" in tried.stderr
    kept = cache / "hub" / "checkpoints" / Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    kept.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torchvision.models.resnet18().state_dict(), kept)
    done = inductive("prepare", str(study), environment=hub)
    assert done.returncode == 0 and "torchvision:resnet18: weights library are there" in done.stdout
    assert inductive("run", str(study), environment=hub).returncode == 0
    study.write_text(STUDY.format(name="timm:test_vit", weights=f"file:{weights}"))
    said = f"timm:test_vit: weights {weights}, {len(torch.load(weights))} tensors"
    assert said in inductive("prepare", str(study)).stdout
