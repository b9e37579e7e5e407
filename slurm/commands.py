"""SLURM's own commands, called without a shell: what they print, or an error that says which of two things it was.

A command that SLURM refuses (SlurmError) has done nothing. A controller that does not answer (SilentError) says nothing
of the jobs: they are neither there nor gone.
"""

import getpass
import subprocess

from benchmarks.errors import InductiveError

SECONDS = 60.0
SILENT = (  # words of a command whose controller did not answer
    *("Unable to contact slurm controller", "Connection refused", "timed out", "Connection timed out"),
    "Zero Bytes were transmitted",
)
UNCONFIGURED = "Could not establish a configuration source"  # of a command that was installed, and no more


class SlurmError(InductiveError):
    """SLURM refused, or has no such command here."""


class SilentError(SlurmError):
    """SLURM's controller did not answer, so nothing is known."""


def call(*command: str, seconds: float = SECONDS) -> str:
    """Standard output of a command. Raises SlurmError with what it says, SilentError when nobody answers."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except FileNotFoundError as error:
        raise SlurmError(f"there is no `{command[0]}` here: is this a login node of a SLURM cluster?") from error
    except subprocess.TimeoutExpired as error:
        raise SilentError(f"`{' '.join(command)}` did not end within {seconds:.0f} s") from error
    if done.returncode:
        said = done.stderr or done.stdout
        if UNCONFIGURED in said:
            raise SlurmError(
                f"`{command[0]}` is installed here, but there is no SLURM cluster: it finds neither a slurm.conf nor a "
                "controller. Call this on a login node of the cluster"
            )
        words = " ".join(said.split()) or f"exit code {done.returncode}"
        kind = SilentError if any(sign in words for sign in SILENT) else SlurmError
        raise kind(f"`{' '.join(command)}`: {words}")
    return done.stdout


def user() -> str:
    """Whose jobs are ours."""
    return getpass.getuser()


def fields(line: str) -> dict[str, str]:
    """`Key=value Key=value ...`, as `scontrol -o` prints it: values may hold `=`, keys no space."""
    found = {}
    for word in line.split():
        key, equals, value = word.partition("=")
        if equals:
            found[key] = value
    return found
