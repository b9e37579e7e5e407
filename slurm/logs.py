"""`inductive logs`: what a run's last attempt has logged, and the last error of its job."""

import time
from pathlib import Path

from rich.console import Console

from benchmarks.console import say
from benchmarks.errors import InductiveError, RecordError
from benchmarks.records.record import find_record, read_record
from slurm import ledger


def show_logs(run_id: str, root: Path, console: Console, *, follow: bool = False) -> None:
    """What a run's last attempt has logged, how far it is, the last error of its job, and where that job's own log
    lies. `follow` prints what is added for as long as the run goes on. Raises RecordError for a run that nobody knows,
    InductiveError for one that has not begun."""
    errors = ledger.last_errors(ledger.read_arrays(root))
    try:
        folder = find_record(root, run_id)
    except RecordError:
        listed = [run for run in errors if run_id == run or run.startswith(run_id) or run.endswith(run_id)]
        if len(listed) != 1:
            raise
        say(console, f"{listed[0]} has not begun")
        _show_error(errors[listed[0]], root, console)
        return
    path, place, shown = folder, 0, ""  # the log that is printed, how much of it is, and the last line on the run
    while True:
        record = read_record(folder)
        if not record.attempt_list and record.id in errors:
            say(console, f"{record.id} has not begun")
            _show_error(errors[record.id], root, console)
            return
        if not record.attempt_list:
            raise InductiveError(f"{record.id} has not begun")
        attempt = record.attempt_list[-1]
        log = attempt.path / "log.txt"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        if log != path or len(text) < place:  # another attempt, or a log that was full and began anew
            path, place = log, 0
        if text[place:]:
            say(console, text[place:].rstrip("\n"))
            place = len(text)
        beat = attempt.heartbeat()
        how = f"{record.id}: {record.state}" + (f", step {beat['step']:,} of {beat['steps']:,}" if beat else "")
        if how != shown:
            say(console, how)
            shown = how
        if not follow or record.state != "running":
            break
        time.sleep(1.0)
    job = (attempt.owner or {}).get("slurm_job")
    if record.id in errors and record.state not in ("finished", "running"):
        _show_error(errors[record.id], root, console)
        if errors[record.id][0] == job:
            return
    if job:
        _show_job_log(job, root, console)


def _show_error(error: tuple[str, str], root: Path, console: Console) -> None:
    job, text = error
    say(console, f"the last error of its job {job}:\n{text}")
    _show_job_log(job, root, console)


def _show_job_log(job: str, root: Path, console: Console) -> None:
    for log in sorted((root / ledger.FOLDER).glob(f"*/submitit/{job}_0_log.out")):
        say(console, f"the log of its job {job}: {log}")
