"""Fixtures shared by all rooms: tiny runs on digits, and the command line in a process of its own."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from imagenet import declare_imagenet
from photographs import write_photographs
from warm import Started, Warm

from benchmarks.plan.run import Run, default_evaluation, make_run
from benchmarks.plan.study import single
from benchmarks.running.attempt_log import Outcome
from benchmarks.running.execute import execute
from benchmarks.running.local import warm_context
from benchmarks.running.prepare import data_set
from benchmarks.running.task import Settings
from benchmarks.training import training

ROOT = Path(__file__).resolve().parent.parent
LONGEST = (  # test files that take half a minute and more, by what they took side by side
    *(
        "contract",
        "speed_sweep",
        "compiling",
        "plugin_check",
        "local",
        "cli",
        "exactness",
        "ready_made",
        "members",
        "nodes",
    ),
    *("layout", "execute", "doctor", "formats", "ranks", "imagenet_studies", "fake_cuda", "data_needed", "probed"),
    *("shards", "loop", "ways_of_testing", "on_page", "page", "streamed", "submit", "verify", "block_model"),
    *("step_operations", "report", "training", "one_run", "comparisons", "evaluate_verb", "training_loss", "freeze"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that side by side no process is left with one of them in the end."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """As in a run: one thread, so that bits do not depend on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The user's own folders must not reach a test."""
    for name in ("INDUCTIVE_RUNS", "INDUCTIVE_DATA"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.fixture(scope="session")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records that an ImageNet was declared for, though none of its images is there."""
    return declare_imagenet(tmp_path_factory.mktemp("declared"))


@pytest.fixture
def imagenet(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of ImageNet can be read, though not run."""
    monkeypatch.setenv("INDUCTIVE_RUNS", str(declared))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Where the commands of tests are forked from."""
    server = Warm(tmp_path_factory.mktemp("warm"))
    yield server
    server.end()


@pytest.fixture(scope="session")
def fork_server() -> None:
    """The fork server of runs, before any other's: a process has one, which whatever packs or draws takes as it is."""
    warm_context()


@pytest.fixture(scope="session")
def photographs(fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a packed `folder:photos` of 180 photographs, for tests that change nothing of it, or that
    change a copy."""
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder / "photos", each=60)
    list(data_set("folder:photos", folder))
    return folder


@pytest.fixture
def start(tmp_path: Path, warm: Warm) -> Iterator[Callable[..., Started]]:
    """Starts `inductive ...`, or what `python ARGUMENTS` would, in a folder of the test; whatever still is there at the
    end of the test is killed. `together` and `anew`: see warm.py."""
    started: list[Started] = []

    def call(*arguments: str, environment: Mapping[str, str] | None = None, **how: bool) -> Started:
        whole = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(environment or {})}
        started.append(warm.start(arguments, tmp_path, whole, **how))
        return started[-1]

    yield call
    for process in started:
        if process.code is None:
            process.kill()
            process.wait()


@pytest.fixture
def inductive(start: Callable[..., Started]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls `inductive ...` as a user does, in a folder of the test, and returns what came of it."""

    def call(
        *arguments: str, timeout: float = 300, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return start("inductive", *arguments, environment=environment).wait(timeout)

    return call


@pytest.fixture
def tiny() -> Callable[..., Run]:
    """A run of a few steps on digits; anything of it can be changed."""

    def make(**changes: Any) -> Run:
        usual = {"size": "pico", "train_size": 100, "recipe": "digits", "budget": {"steps": 12}}
        return make_run({**usual, **changes})

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A finished run with logits, of two test resolutions, and the folder of its record: for those who only look."""
    root = tmp_path_factory.mktemp("finished")
    wanted = {"model": "vit", "size": "pico", "train_size": 100, "recipe": "digits", "budget": {"steps": 12}}
    run = make_run({**wanted, "options": {"position": "learned_1d"}, "validate_every": 6})
    parts: tuple[Literal["test"], Literal["validation"]] = ("test", "validation")
    evaluations = [default_evaluation(run, part, side) for part in parts for side in (8, 12)]
    execute(run, root, evaluations, Settings(Path("data")), lambda: False)
    return run, root


@pytest.fixture
def one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation is one batch of images, so that it is polled once whether to stop: before it."""
    monkeypatch.setattr(training, "TOGETHER", 1000)


@pytest.fixture
def perform(tmp_path: Path) -> Callable[..., Outcome]:
    """Executes a run under tmp_path; `stop_at` lists the poll at which it is asked to stop."""

    def call(run: Run, *, root: Path = tmp_path, stop_at: int | None = None, **changes: Any) -> Outcome:
        polls = 0

        def stop() -> bool:
            nonlocal polls
            polls += 1
            return polls == stop_at

        evaluations = changes.pop("evaluations", single(run).evaluations[run.id])
        named = ("until", "progress", "scored", "evaluating")
        more = {name: changes.pop(name) for name in named if name in changes}
        return execute(run, root, evaluations, Settings(Path("data"), **changes), stop, **more)

    return call
