"""Whether a folder is a record that may be counted: torn, foreign and renamed ones are said, and counted nowhere.

A record that can be read may still hold what nobody wrote as we do (another program's, a hand's). What the frame takes
from it is checked here, so that one folder cannot spoil a table of ten thousand.
"""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from benchmarks.errors import InductiveError, RecordError
from benchmarks.recipes import typed
from benchmarks.record import Record
from benchmarks.run import Evaluation, Run
from benchmarks.states import STATES

# What reading a foreign folder raises: ours, pydantic's (a ValueError), Python's where a value is of another kind.
UNREADABLE = (InductiveError, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)

NUMBERS = ("step", "images", "train_images", "validation_images", "train_loss", "train_accuracy", "macs", "diverged_at")


def check(name: str, record: Record) -> None:
    """Raises one of UNREADABLE unless the record in the folder `name` is one as we write it.

    Its configuration need not be one of today (a plugin may not be loaded, a data set not be there), but it has the
    kinds and ranges of values of `Run`; keys that came later may be absent.
    """
    record.check_name(name)
    settings = record.config["run"]
    Run.model_validate({**settings, "recipe": typed(settings["recipe"])})
    if record.state not in STATES:
        raise RecordError(f"result.json: there is no state {record.state!r}")
    if record.result is not None:
        _check_numbers("result.json", record.result, NUMBERS)
        _check_numbers("result.json", record.result["parameters"], ("backbone", "position", "head"))
    for attempt in record.attempts:
        _check_numbers("attempts", attempt, ("images_per_second",))
        _check_numbers("attempts", attempt.get("seconds") or {}, ("training",))
        rates = attempt.get("evaluation_rates") or {}
        _check_numbers("attempts", rates, tuple(rates))
    for entry in record.evaluations:
        how = Evaluation.model_validate(entry["evaluation"])
        if how.id != entry["id"]:
            raise RecordError(f"evaluations: {entry['id']} is none of {how.words} at {how.resolution} px")
        _check_numbers("evaluations", entry, ("count", "accuracy", "nll", "calibration"))
        if not (isinstance(entry["count"], int) and entry["accuracy"] is not None and 0 <= entry["accuracy"] <= 1):
            raise RecordError(f"evaluations: {how.words} at {how.resolution} px: accuracy {entry['accuracy']!r}")


def _check_numbers(place: str, values: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        value = values.get(key)
        if not (value is None or (isinstance(value, (int, float)) and math.isfinite(value))):
            raise RecordError(f"{place}: {key} is {value!r}, no number")


def problem(error: Exception) -> str:
    """What is wrong with a folder, in one line."""
    kind = "" if isinstance(error, InductiveError) else f"{type(error).__name__}: "
    text = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        text = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return kind + " ".join(text.split())
