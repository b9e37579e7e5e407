"""What the jobs of a submission run: a copy of the suite's code, the study and its plugins, made at submission.

Editing the checkout afterwards changes nothing that is queued. The job's command puts the copy first on Python's path
and keeps the working directory off it.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

import models
from benchmarks.files import write_atomic
from benchmarks.records.environment import COMMIT, code_commit

CHECKOUT = Path(__file__).resolve().parent.parent
PLUGINS = "plugins"
ROOMS = ("models", "benchmarks", "analysis", "slurm")


def freeze(submission: Path, study: Path) -> str:
    """Copies code, study and plugins. Returns the commit, which says whether files differed from it."""
    commit = freeze_code(submission)
    shutil.copyfile(study, submission / "study.toml")
    for number, plugin in enumerate(models.loaded_plugins()):  # in the order in which they were loaded
        folder = submission / PLUGINS / f"{number:02d}"  # the file keeps its name, which is that of its module
        folder.mkdir(mode=0o700, parents=True)
        write_atomic(folder / plugin.name, plugin.source.encode())
    return commit


def load_plugins(submission: Path) -> None:
    """Loads a submission's plugins in the order in which they were loaded when it was made."""
    for path in sorted((submission / PLUGINS).glob("*/*.py")):
        models.load_plugin(models.read_plugin(path))


def freeze_code(submission: Path) -> str:
    """Copies the suite's code, and notes its commit and what of it is not in the commit."""
    code = submission / "code"
    for room in ROOMS:
        shutil.copytree(CHECKOUT / room, code / room, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    commit = code_commit()
    write_atomic(code / "benchmarks" / COMMIT, f"{commit}\n".encode())
    difference = "" if (CHECKOUT / "benchmarks" / COMMIT).exists() else _git("diff", "HEAD", "--", *ROOMS)
    if difference:
        write_atomic(submission / "changes.diff", difference.encode())
    return commit


def _git(*command: str) -> str:
    """What git says of the checkout; nothing where there is no git."""
    try:
        done = subprocess.run(
            ("git", *command), cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def environment_lines(submission: Path) -> list[str]:
    """Lines of a job's script that make Python import the frozen code first, then what `setup` has put on its path (a
    module's torch), and nothing from where the job was submitted. An empty entry would be the working directory."""
    return [
        f"export PYTHONPATH={shlex.quote(str(submission / 'code'))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
        "export HF_HUB_OFFLINE=1",
    ]
