"""Sweeps on a real SLURM cluster on this machine: `make test-cluster` (root, Debian's or Ubuntu's packages)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from cluster_user import STEPS, user
from testbed import Testbed, cluster, missing
from warm import Warm

HERE = Path(__file__).resolve().parent
WANTED = "INDUCTIVE_TEST_CLUSTER"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Says why these tests are not run, where they are not; those that ask for equal clusters follow each other."""
    here = sorted((item for item in items if item.path.parent == HERE), key=lambda item: repr(options_of(item)))
    items[:] = [item for item in items if item.path.parent != HERE] + here
    lacking = missing(accounting=True)
    if os.environ.get(WANTED) and here and lacking:  # asked for, they run or fail
        raise pytest.UsageError(f"a SLURM cluster on this machine needs {', '.join(lacking)}: tests/cluster/packages")
    if not os.environ.get(WANTED):
        for item in here:
            item.add_marker(pytest.mark.skip(reason="they take minutes and root: `make test-cluster` runs them"))


def options_of(item: pytest.Item) -> Mapping[str, bool]:
    """The options of the cluster that a test asks for."""
    options: Mapping[str, bool] = item.callspec.params.get("bed", {}) if hasattr(item, "callspec") else {}
    return options


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mapping[str, bytes]]:
    """The study run on this machine, uninterrupted."""
    here = user(tmp_path_factory.mktemp("reference"), None, STEPS)
    here.inductive("run", "study.toml", "--device", "cpu", seconds=900)
    return here.kept()


class Beds:
    """Clusters, one at a time: the one that is up serves all tests that ask for its options."""

    def __init__(self) -> None:
        self.stack, self.options = ExitStack(), dict[str, bool]()
        self.bed: Testbed | None = None

    def get(self, options: Mapping[str, bool]) -> Testbed:
        """The cluster with these options, in which nothing is queued."""
        if self.bed is None or self.options != options:
            self.drop()
            worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))  # several, each its ports
            folder = Path("/tmp") / f"inductive-test-{os.getpid()}"
            self.options = dict(options)
            self.bed = self.stack.enter_context(cluster(folder, **options, port=18200 + 100 * worker))
        return self.bed

    def drop(self) -> None:
        self.bed = None
        self.stack.close()


@pytest.fixture(scope="session")
def beds() -> Iterator[Beds]:
    found = Beds()
    yield found
    found.drop()


@pytest.fixture
def bed(request: pytest.FixtureRequest, beds: Beds, warm: Warm) -> Iterator[Testbed]:
    """A cluster in which nothing is queued and all nodes are idle; `indirect` parameters are its options."""
    found = beds.get(getattr(request, "param", {}))
    found.warm = warm
    yield found
    try:
        found.clear()
    except TimeoutError:
        beds.drop()
        raise
