"""The verbs of a SLURM cluster: `inductive cluster init|check|jobs`, `submit`, `retry`, `cancel` and `logs`.

What they do is in slurm/, a verb a file; here are their flags.
"""

from pathlib import Path

import click

from benchmarks.cli.options import options
from benchmarks.console import terminal
from benchmarks.errors import DONE


class InOrder(click.Group):
    """Verbs in the order in which they are defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder)
def cluster() -> None:
    """What is known of a SLURM cluster: cluster.toml."""


@cluster.command()
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="cluster.toml", show_default=True
)
def init(output: Path) -> int:
    """Write a commented cluster.toml from what this site says of itself."""
    from slurm.check import write_cluster

    write_cluster(output, terminal())
    return DONE


@cluster.command()
@click.option(
    "--doctor/--no-doctor",
    default=None,
    help="Also make the quick form of `inductive doctor` on the node. Default: where runs go to GPUs.",
)
@options("cluster", "runs", "data")
def check(cluster: Path, root: Path, data: Path, doctor: bool | None) -> int:  # fmt: skip
    """Prove a cluster.toml with one tiny job, and say what it found on the node."""
    from slurm.check import check_cluster

    return check_cluster(cluster, root, data, terminal(), doctor)


@cluster.command()
@click.argument("study", required=False)
@click.option("--prune", is_flag=True, help="Remove the folders of submissions whose jobs are all over.")
@click.option("--yes", is_flag=True, help="With --prune: do not ask.")
@options("runs", "json")
def jobs(study: str | None, prune: bool, yes: bool, root: Path, as_json: bool) -> int:
    """What was submitted: when, which text of the study, the states of its jobs, why some failed, where logs are."""
    from slurm.jobs import show_jobs

    show_jobs(study, root, terminal(), prune=prune, yes=yes, as_json=as_json)
    return DONE


@click.command()
@click.argument("study")
@click.option("--dry-run", is_flag=True, help="Show the jobs, submit none.")
@click.option("--yes", is_flag=True, help="Do not ask, however many hours of GPUs or cores it takes.")
@options("cluster", "only", "runs", "data", "accept", "plugin")
def submit(study: str, cluster: Path, only: str | None, root: Path, data: Path, dry_run: bool, yes: bool,
           accept_code: bool) -> int:  # fmt: skip
    """Send what is left of a study to a SLURM cluster; submitting twice is safe."""
    from slurm.submit import read_request, submit_study

    request = read_request(study, cluster, root, data, only=only, accept_code=accept_code)
    return submit_study(request, terminal(), dry_run=dry_run, yes=yes)


@click.command()
@click.argument("study")
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--lost", is_flag=True, help="Those whose process exited without reporting.")
@click.option("--diverged", is_flag=True, help="Those whose loss was not finite; their records are put aside.")
@click.option("--yes", is_flag=True, help="Do not ask, however many hours of GPUs or cores it takes.")
@options("cluster", "only", "runs", "data", "accept", "plugin")
def retry(study: str, failed: bool, lost: bool, diverged: bool, yes: bool, cluster: Path, only: str | None,
          root: Path, data: Path, accept_code: bool) -> int:  # fmt: skip
    """Submit runs again that ended badly; without an option those that failed, were lost or interrupted."""
    from slurm.submit import read_request, retry_study

    named = [state for state, on in (("failed", failed), ("lost", lost), ("diverged", diverged)) if on]
    states = tuple(named) or ("failed", "lost", "interrupted")
    request = read_request(study, cluster, root, data, only=only, states=states, accept_code=accept_code)
    return retry_study(request, terminal(), yes=yes)


@click.command()
@click.argument("study")
@options("only", "runs")
def cancel(study: str, only: str | None, root: Path) -> int:
    """Cancel the jobs of a study, those of its earlier texts too; what they have done is kept."""
    from slurm.cancel import cancel_study

    return cancel_study(study, only, root, terminal())


@click.command()
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True, help="Print what is added, while the run goes on.")
@options("runs")
def logs(run_id: str, follow: bool, root: Path) -> int:
    """The log of a run's last attempt."""
    from slurm.logs import show_logs

    show_logs(run_id, root, terminal(), follow=follow)
    return DONE
