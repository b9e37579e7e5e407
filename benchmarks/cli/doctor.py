"""`inductive doctor`: whether this machine computes what it should, and how fast.

What loads torch is imported inside, so that `--help` is answered at once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from benchmarks.cli.options import Choice, options
from benchmarks.console import count, duration, say, table, terminal
from benchmarks.errors import DONE, FAILED
from benchmarks.files import write_json

if TYPE_CHECKING:
    from benchmarks.doctor.examination import Request
    from benchmarks.doctor.findings import Finding

COLUMNS = {"check": "left", "result": "left", "what": "left"}


@click.command()
@click.option(
    "--device",
    type=Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="What is examined; auto: a GPU where there is one.",
)
@click.option("--quick", is_flag=True, help="A minute instead of some: fewer runs, no compilation, small images.")
@click.option("--only", metavar="GLOB", help="Only the networks whose names match: 'vit rope*', resnet.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="reports/doctor.json",
    show_default=True,
    help="All findings are kept here.",
)
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Put the table into this document.")
@options("plugin")
def doctor(device: str, quick: bool, only: str | None, json_file: Path, write: Path | None) -> int:  # fmt: skip
    """Compare what this machine computes with its CPU, stop and resume runs, and measure the speed."""
    from benchmarks.doctor.examination import Request, card, report
    from benchmarks.doctor.findings import summary
    from benchmarks.speed.tables import markdown_rows, write_card_block

    console, began = terminal(), time.monotonic()
    request = Request(_device(device), quick, only)
    findings = _shown(request, console)
    rows = summary(findings)
    say(console, "")
    table(console, f"inductive doctor, {request.device}, {duration(time.monotonic() - began)}", COLUMNS, rows)
    json_file.parent.mkdir(parents=True, exist_ok=True)
    write_json(json_file, report(request, findings, began))
    say(console, f"kept in {json_file}")
    if write:
        write_card_block(write, card(findings) or "CPU", "doctor", "\n".join(markdown_rows(list(COLUMNS), rows)))
    wrong = sum(finding.wrong for finding in findings)
    say(console, f"{count(wrong, 'checks')} wrong, as the table says" if wrong else "all is as it should be")
    return FAILED if wrong else DONE


def _device(wanted: str) -> str:
    """The device examined. Raises InductiveError, with torch's own words, for CUDA where there is none."""
    from benchmarks.training.kernels import choose_device

    return choose_device(wanted)


def _shown(request: Request, console: Console) -> list[Finding]:
    """Makes the examination, a line a check; on a terminal it also shows that it goes on."""
    from benchmarks.doctor.examination import examine

    findings: list[Finding] = []
    with console.status("looking at the machine") as status:
        for finding in examine(request, status.update):
            findings.append(finding)
            say(console, finding.line)
            status.update(f"{count(len(findings), 'checks')} made; {finding.part}")
    return findings
