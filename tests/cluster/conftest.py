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
    lacking = missing()
    reason = ""
    if not os.environ.get(WANTED):
        reason = "they take minutes: `make test-cluster` runs them"
    elif lacking:
        reason = f"a SLURM cluster on this machine needs {', '.join(lacking)}: apt install slurm-wlm munge, as root"
    for item in items:
        if reason and ROOT / "tests" / "cluster" in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


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
    with cluster(folder, **options) as found:
        yield found
