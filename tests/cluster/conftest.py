"""Sweeps on a real SLURM cluster on this machine: `make test-cluster` (root, Debian's or Ubuntu's packages)."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cluster_user import ROOT, STEPS, user
from testbed import Testbed, cluster, missing

WANTED = "INDUCTIVE_TEST_CLUSTER"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Says why these tests are not run, where they are not."""
    here = [item for item in items if ROOT / "tests" / "cluster" in item.path.parents]
    lacking = missing(accounting=True)
    if os.environ.get(WANTED) and here and lacking:  # asked for, they run or fail
        raise pytest.UsageError(f"a SLURM cluster on this machine needs {', '.join(lacking)}: tests/cluster/packages")
    if not os.environ.get(WANTED):
        for item in here:
            item.add_marker(pytest.mark.skip(reason="they take minutes and root: `make test-cluster` runs them"))


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mapping[str, bytes]]:
    """The study run on this machine, uninterrupted."""
    here = user(tmp_path_factory.mktemp("reference"), None, STEPS)
    here.inductive("run", "study.toml", "--device", "cpu", seconds=900)
    return here.kept()


@pytest.fixture
def bed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """A cluster; `indirect` parameters are its options."""
    options = getattr(request, "param", {})
    folder = Path("/tmp") / f"inductive-test-{os.getpid()}"
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))  # several clusters, each its ports
    with cluster(folder, **options, port=18200 + 100 * worker) as found:
        yield found
