"""The command line as a user meets it: from plan to page, and every kind of bad input."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from warm import Started

from benchmarks.cli.list import listing
from benchmarks.cli.main import main
from benchmarks.cli.train import train
from benchmarks.plan.study import load_study
from benchmarks.records.record import opened_pass
from benchmarks.speed.synthetic import write_records
from models.positions.encodings import ENCODINGS

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]

STUDY = """
question = "Does a convolution beat a ViT without positions on 100 digits?"
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = [60, 100]
budget = { steps = 40 }
seed = [0, 1]
test_resolutions = [8, 12]
[[models]]
name = "resnet"
[[models]]
name = "vit"
position = "none"
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(STUDY)
    return path


def _status(inductive: Inductive, study: Path) -> dict[str, str]:
    return {one["id"]: one["state"] for one in json.loads(inductive("status", str(study), "--json").stdout)["runs"]}


def test_from_plan_to_page_interrupted_in_the_middle(
    study: Path, inductive: Inductive, start: Callable[..., Started], tmp_path: Path
) -> None:
    """The whole way: plan, run stopped by SIGINT, run again, status, show, report, rerun, and a resolution added."""
    plan = json.loads(inductive("plan", str(study), "--json").stdout)
    assert plan["runs_to_do"] == 8
    assert plan["states"] == {"missing": 8}
    assert all(cell["macs"] > 0 and cell["parameters"] > 0 and cell["seconds_per_run"] > 0 for cell in plan["cells"])

    process = start("inductive", "run", str(study), "--jobs", "2")
    while "[3/8]" not in process.said():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait().returncode == 130
    states = list(_status(inductive, study).values())
    done = states.count("finished")
    assert 3 <= done <= 5
    assert states.count("missing") >= 1

    again = inductive("run", str(study))
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{8 - done} to do" in again.stdout
    assert set(_status(inductive, study).values()) == {"finished"}
    assert len(list((tmp_path / "runs").glob("*/attempts/0001"))) == 8

    run_id = load_study(str(study)).runs[0].id
    shown = json.loads(inductive("show", run_id[:-3], "--json").stdout)
    assert (shown["id"], shown["state"], shown["result"]["steps"]) == (run_id, "finished", 40)

    report = inductive("report", str(study), "-o", "page")
    assert report.returncode == 0, report.stdout + report.stderr
    page = Path(report.stdout.strip().splitlines()[-1].removeprefix("page: "))
    html = (tmp_path / page).read_text()
    assert "Does a convolution beat a ViT without positions on 100 digits?" in html
    assert all(run.id in html for run in load_study(str(study)).runs)
    first = {path: path.read_bytes() for path in (tmp_path / "page").rglob("*") if path.is_file()}
    assert inductive("report", str(study), "-o", "page").returncode == 0
    assert {path: path.read_bytes() for path in (tmp_path / "page").rglob("*") if path.is_file()} == first

    rerun = json.loads(inductive("rerun", run_id, "--json").stdout)
    assert (rerun["verdict"], rerun["differences"]) == ("equal", [])

    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/weights.safetensors")}
    study.write_text(STUDY.replace("[8, 12]", "[8, 12, 16]"))
    more = inductive("run", str(study))
    assert more.returncode == 0
    assert more.stdout.count("finished after") == more.stdout.count("(2 evaluations)") == 8
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert "0 to do" in inductive("run", str(study)).stdout


def test_hints_repeat_what_was_typed(inductive: Inductive, tmp_path: Path) -> None:
    """A file in its folder, not the name of the study, which no command takes; evaluations are priced, and data that is
    missing is named before anything runs. Reference: the records made here."""
    path = tmp_path / "my studies" / "mine.toml"
    path.parent.mkdir()
    text = 'train_size = 100\ntest_resolutions = [8]\n[[models]]\nname = "resnet"\nsize = "pico"\n'
    path.write_text(text)
    write_records(tmp_path / "runs", load_study(str(path)))
    path.write_text(text.replace("[8]", "[8, 24]"))
    command = "`inductive run 'my studies/mine.toml'`"
    for verb, said in (("status", f"mine: 1 finished; 24 px missing for 1 run: {command} does them"), ("plan", "")):
        done = inductive(verb, "my studies/mine.toml")
        assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr
    assert re.search(
        rf"^to evaluate: 24 px missing for 1 run, about \d+ s of one core, .*: {command}", done.stdout, re.M
    )
    assert "to do: 0 runs, " in done.stdout and "1 run in 1 cell" in done.stdout
    assert re.search(r"^memory: a run takes up to about [01]\.\d GB.*; this machine has \d+ GB", done.stdout, re.M)
    values = json.loads(inductive("plan", "my studies/mine.toml", "--json").stdout)
    assert values["evaluations_waiting"] == 2 and values["evaluations_core_seconds"] >= 0
    assert [one["what"] for one in values["evaluations_missing"]] == ["24 px"]
    path.write_text('dataset = "mnist"\n' + text.replace("[8]", "[28]"))
    said = "before running: mnist is not prepared under data: `inductive prepare 'my studies/mine.toml' --data data`"
    assert said in inductive("plan", "my studies/mine.toml").stdout


def test_a_run_that_no_machine_can_hold_is_refused(inductive: Inductive, tmp_path: Path) -> None:
    """With the number, before anything is begun: images of 100,000 pixels; and what a job of a cluster has."""
    (tmp_path / "large.toml").write_text('resolution = 100000\n[[models]]\nname = "resnet"\n')
    train = ("train", "--model", "resnet", "--resolution", "100000")
    for arguments in (("plan", "large.toml"), ("run", "large.toml"), train):
        done = inductive(*arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert re.search(r"needs about [\d,]+ GB of memory, and this machine has [\d,]+ GB; what helps: ", done.stderr)
    another = "what helps: --gpu NAME or --cluster FILE to plan for another machine, a smaller resolution, network or"
    assert another in inductive("plan", "large.toml").stderr
    assert not list(tmp_path.glob("runs/[!.]*"))
    (tmp_path / "small.toml").write_text('[[models]]\nname = "resnet"\nsize = "pico"\n')
    (tmp_path / "c.toml").write_text('partitions = ["cpu"]\ndevice = "cpu"\nruns_per_gpu = 2\nmemory_gb = 0.5\n')
    done = inductive("plan", "small.toml", "--cluster", "c.toml")
    assert done.returncode == 2
    assert re.search(r"memory with 2 side by side, and a job of c\.toml has 0\.5 GB", done.stderr), done.stderr
    keys = "a larger memory_gb (0.5), a smaller runs_per_gpu (2)"
    assert f"what helps: {keys}, --gpu NAME to plan for a GPU, checkpoint_activations = true, a smaller" in done.stderr


def test_a_changed_record_makes_rerun_differ(study: Path, inductive: Inductive, tmp_path: Path) -> None:
    """Exit 3 and what differs; the opening metrics alone are compared with --first."""
    inductive("run", str(study), "--only", "resnet*n60*s0-*")
    run_id = next((tmp_path / "runs").glob("resnet*")).name
    path = tmp_path / "runs" / run_id / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    opening = inductive("rerun", run_id, "--first", "5")
    assert (opening.returncode, "equal" in opening.stdout) == (0, True)
    rows[20]["loss"] *= 1.5
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert inductive("rerun", run_id, "--first", "5").returncode == 0
    later = json.loads(inductive("rerun", run_id, "--json").stdout)
    assert (later["verdict"], later["conditions"]) == ("different", [])  # same machine: bits are promised
    assert "metrics from step 21 on" in later["differences"][0]
    execution = tmp_path / "runs" / run_id / "execution.json"
    execution.write_text(execution.read_text().replace('"torch": "', '"torch": "1.'))
    elsewhere = json.loads(inductive("rerun", run_id, "--json").stdout)
    assert elsewhere["verdict"] == "within tolerance"
    assert elsewhere["conditions"][0].startswith("torch: 1.")
    rows[2]["loss"] *= 1.5
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    different = inductive("rerun", run_id, "--first", "5")
    assert different.returncode == 3
    assert "different" in different.stdout
    assert "loss at step 3" in different.stdout


def test_a_failing_run_stops_no_other_and_is_exit_3(study: Path, inductive: Inductive, tmp_path: Path) -> None:
    """One record is torn on purpose: the others finish, and the command names it."""
    torn = load_study(str(study)).runs[0].id
    (tmp_path / "runs" / torn).mkdir(parents=True)
    (tmp_path / "runs" / torn / "config.json").write_text('{"format": 1, "id"')
    done = inductive("run", str(study), "--only", "resnet*n60*")
    assert done.returncode == 3, done.stdout
    assert f"failed: {torn}" in done.stdout
    assert "config.json" in done.stdout
    states = _status(inductive, study)
    assert states[torn] == "failed"
    assert sum(state == "finished" for state in states.values()) == 1
    assert (tmp_path / "runs" / torn / "config.json").read_text() == '{"format": 1, "id"'


def test_the_list_of_positions_says_how_each_is_carried_to_another_grid() -> None:
    """Reference: the classes themselves: each way is one that the encoding's class has, and none is left out."""
    for row in listing("positions"):
        module, _, name = ENCODINGS[row["name"]].entry.partition(":")
        assert set(row["other grids"]) == set(getattr(importlib.import_module(module), name).ways), row["name"]


def test_train_says_what_the_defaults_came_to_first(inductive: Inductive) -> None:
    """Every key has a default; flags are shorthands, --set reaches any key."""
    done = inductive(
        "train", "--steps", "3", "--size", "pico", "--set", "recipe.learning_rate=2e-3", "--position", "none"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("run vit-none-digits-n1000-r8"))
    values = dict(line.split(maxsplit=1) for line in lines[:first] if len(line.split(maxsplit=1)) == 2)
    assert values["recipe.learning_rate"].split() == ["0.002", "set"]
    assert values["recipe.weight_decay"].split() == ["0.05"]
    assert values["train_size"].split() == ["1000"]
    assert "test accuracy" in done.stdout or "evaluations" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["run", "quikstart"],
            "there are convolution-and-attention, convolution-and-attention-16px, course-cifar-long, course-",
        ),
        (["run", "nowhere.toml"], "nowhere.toml: there is no such file"),
        (["quikstart"], "No such command 'quikstart'; did you mean `inductive run quickstart`?"),
        (["reprot"], "No such command 'reprot'; did you mean `report`?"),
        (["run", "quickstart", "--only", "resnext*"], "'resnext*' matches none of the 81 runs of quickstart"),
        (["train", "--model", "resnt"], "did you mean `resnet`?"),
        (["train", "--position", "rope_axal"], "did you mean `rope_axial`?"),
        (["train", "--dataset", "digit"], "did you mean `digits`?"),
        (["train", "--recipe", "plane"], "did you mean `plain`?"),
        (["train", "--set", "recipe.learning_rat=1"], "recipe.learning_rat: unknown; did you mean `learning_rate`?"),
        (["train", "--set", "recipe.learning_rate=fast"], "recipe.learning_rate: 'fast'"),
        (["train", "--set", "recipe=3", "--set", "recipe.clip=1"], "recipe: is 3, so it has no `clip`"),
        (["train", "--set", "recipe.betas=[0.9,1.0]"], "recipe.betas"),
        (["train", "--model", "swin", "--set", "options.window=50"], "window 50 is larger than the grid of"),
        (["train", "--checkpoint-every", "nan"], "--checkpoint-every"),
        (["train", "--set", "nonsense"], "'nonsense' is not KEY=VALUE"),
        (["train", "--steps", "3", "--epochs", "1"], "exactly one of steps, epochs, images"),
        (["train", "--train-size", "5000"], "5,000 is more than the 1,200 training images"),
        (["train", "--train-size", "20"], "the nearest possible is"),
        (["train", "--resolution", "7"], "nearest"),
        (["train", "--dataset", "cifar10", "--train-size", "500"], "cifar10: not found at data/cifar-10-batches-py"),
        (["train", "--modle", "vit"], "--model"),
        (["shwo"], "show"),
        (
            ["export", "quickstart", "--to", "cvs"],
            "'cvs' is not one of 'csv', 'tensorboard', 'wandb'; did you mean `csv`?",
        ),
        (["list", "modles"], "did you mean `models`?"),
        (["train", "--device", "cdua"], "did you mean `cuda`?"),
        (["show", "vit-x"], "no run 'vit-x'"),
        (["rerun", "vit-x"], "no run 'vit-x'"),
    ],
)
def test_bad_input_is_exit_2_and_one_clear_message(
    arguments: list[str], expected: str, inductive: Inductive, tmp_path: Path
) -> None:
    """What was wrong, what is allowed or nearest; no traceback; nothing is left behind."""
    done = inductive(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/[!.]*"))


def test_a_study_error_names_file_key_and_nearest_match(study: Path, inductive: Inductive) -> None:
    """The form of the message: file: key: what; the nearest match."""
    study.write_text(STUDY.replace("position =", "positon ="))
    done = inductive("plan", str(study))
    assert done.returncode == 2
    assert f"{study}: models[1].positon: unknown; did you mean `position`?" in done.stderr


def test_a_runs_folder_that_cannot_be_written_is_refused_at_once(inductive: Inductive, tmp_path: Path) -> None:
    """A file where the folder should be (root may write anywhere, so a mode would not do)."""
    (tmp_path / "taken").write_text("")
    done = inductive("run", "quickstart", "--runs", str(tmp_path / "taken" / "runs"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    """Reference: the modules loaded after --help, of the command and of every verb, and after the quick verbs."""
    code = (
        "import sys\n"
        "from benchmarks.cli.main import main\n"
        "try:\n"
        "    main({arguments})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = ['torch', 'timm', 'pandas', 'seaborn', 'matplotlib', 'scipy', 'sklearn', 'submitit']\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    quick = [["--help"], ["list", "positions"], ["list", "studies"], ["status", "quickstart"]]
    for arguments in quick:
        program = code.format(arguments=arguments)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.strip().splitlines()[-1] == "[]", arguments


def test_the_help_of_each_verb_is_its_docstring_and_quick() -> None:
    """Reference: click's own short help of the loaded commands, and the modules that loading them all imports."""
    code = (
        "import sys\n"
        "from click import Context\n"
        "from benchmarks.cli.main import VERBS, _unloaded, cli\n"
        "context = Context(cli)\n"
        "for name in VERBS:\n"
        "    verb = cli.get_command(context, name)\n"
        "    assert verb.name == name, name\n"
        "    assert verb.get_short_help_str(60) == _unloaded(name).get_short_help_str(60) != '', name\n"
        "print([name for name in ['torch', 'timm', 'pandas', 'matplotlib', 'submitit'] if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_options_of_train_say_what_they_take() -> None:
    """Reference: click's own names of types, which say nothing."""
    options = [one for one in train.params if isinstance(one, click.Option)]
    taken = [one.make_metavar(click.Context(train)) for one in options if not one.is_flag]
    assert not {"TEXT", "INTEGER", "FLOAT"} & {name.split()[0] for name in taken}, taken


@pytest.mark.parametrize("what", ["models", "positions", "datasets", "recipes", "studies", "probes"])
def test_list(what: str, inductive: Inductive) -> None:
    """Every entry of the JSON stands in the table."""
    rows = json.loads(inductive("list", what, "--json").stdout)
    table = inductive("list", what).stdout
    assert rows
    assert all(row["name"] in table for row in rows)


def test_native_windows_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """WSL2 is the way there."""
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(SystemExit) as end:
        main(["list", "models"])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "error: native Windows is not supported: install Inductive inside WSL2 (docs/installing.md)\n"
    )


def test_a_foreign_package_named_models_is_refused_by_name(tmp_path: Path) -> None:
    """A `models` folder in front of ours on the path must not be used by accident."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("")
    (tmp_path / "models" / "hints.py").write_text("def did_you_mean(*_): return ''")
    done = subprocess.run(
        [sys.executable, "-c", "from benchmarks.cli.main import main; main(['list', 'models'])"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 2
    assert f"another package named `models` ({tmp_path / 'models'}) shadows" in done.stderr


def test_a_study_says_what_is_kept_of_each_image(study: Path, inductive: Inductive, tmp_path: Path) -> None:
    """`predictions = "none"` keeps no logits, the default does; reference: the arrays of the records."""
    for kept, text in (("logits", STUDY), ("none", STUDY.replace("size =", 'predictions = "none"\nsize =', 1))):
        study.write_text(text)
        done = inductive("run", str(study), "--only", "resnet*n60*s0*", "--runs", kept)
        assert done.returncode == 0, done.stdout + done.stderr
        [record] = (tmp_path / kept).glob("resnet*")
        with opened_pass(record / "evaluations" / "0001.npz") as arrays:
            assert any(name.endswith(".logits") for name in arrays.files) == (kept == "logits")


EARLY = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests in the background ignores it
sys.argv[0] = "/anywhere/bin/inductive"  # as the installed command has it
from benchmarks.cli.main import main
main(["list", "recipes"])
"""


def test_ctrl_c_while_the_command_is_imported(tmp_path: Path) -> None:
    """A click that stops itself at its import: one line and exit code 130, as later."""
    (tmp_path / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", EARLY], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_in_a_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same line."""
    import benchmarks.cli.list

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmarks.cli.list, "print_listing", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["list", "recipes"])
    assert end.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted"
