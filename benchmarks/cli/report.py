"""`inductive report`: tables, figures and the page, or whether a page still is what the records say."""

from pathlib import Path

import click

from benchmarks.cli.options import options
from benchmarks.console import count, printable, say, table, terminal
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, FAILED
from benchmarks.plan.study import load_study
from benchmarks.records.stages import reported

ARMS = 3  # whose main tables are printed


@click.command()
@click.argument("names", metavar="STUDY...", nargs=-1)
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Default: reports/STUDY."
)
@click.option(
    "--format",
    "formats",
    default="html,latex,markdown,csv",
    show_default=True,
    metavar="LIST",
    help="What to write, separated by commas.",
)
@click.option("--anonymous", is_flag=True, help="Leave out host, account, paths and commit.")
@click.option(
    "--verify",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PAGE",
    help="Compare the records with a page that was made of them, instead.",
)
@click.option(
    "--bootstrap",
    "resamples",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Resample seeds and test images N times for the declared comparisons (1000).",
)
@options("records", "where", "plugin")
def report(names: tuple[str, ...], output: Path | None, formats: str, anonymous: bool, page: Path | None,
           resamples: int, root: Path, data: Path) -> int:  # fmt: skip
    """Tables, figures and the page, from the records of one study or several."""
    if page is not None:
        if names or anonymous or output:
            raise click.UsageError("--verify PAGE takes no study and writes nothing")
        return _verify(page, root)
    if not names:
        raise click.UsageError("which STUDY? `inductive list studies` shows those that are shipped")
    from analysis.report import parsed_formats, write_report
    from benchmarks.cores import cores

    chosen = parsed_formats(formats)
    places = Places(data, root)
    loaded = [reported(load_study(name, places), places) for name in dict.fromkeys(names)]
    out = output or Path("reports") / "+".join(study.name for study in loaded)
    written = write_report(loaded, root, out, chosen, anonymous, resamples, data, cores())
    console = terminal()
    for warning in written.warnings:
        say(console, f"warning: {warning}")
    say(console, written.headline)
    for title, main in written.main[:ARMS]:
        if main.empty:
            say(console, f"\n{title}: nothing is evaluated at the training resolution yet")
            continue
        head = {main.corner: "left"} | dict.fromkeys(main.head, "right")
        rows = [[cell.line for cell in (row.name, *row.cells)] for row in main.rows]
        table(console, f"\n{title}: {main.about}", head, rows)
    for sign in written.signs:
        say(console, sign)
    if len(written.main) > ARMS:
        say(console, f"{count(len(written.main) - ARMS, 'more conditions')}: in the page")
    for what, place in written.written.items():
        say(console, f"{what}: {place}")
    return DONE


def _verify(page: Path, root: Path) -> int:
    """Compares records with a page. Returns the exit code."""
    from analysis.verify import verify

    found = verify(page, root)
    for difference in found.differences:
        click.echo(printable(difference))
    outcome = f"{len(found.differences)} differences" if found.differences else "as the page has them"
    click.echo(f"{count(found.runs, 'records')} compared: {outcome}")
    return FAILED if found.differences else DONE
