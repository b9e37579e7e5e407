"""Whether a page says what the records say: `inductive report --verify PAGE`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.formats.html import SEAL, seal
from analysis.provenance.digests import of_all, traces
from benchmarks.errors import RecordError
from benchmarks.redaction import PLACE

DIGESTS = re.compile(r'<script type="application/json" id="inductive-digests">(.*?)</script>', re.DOTALL)
DIGEST = re.compile(r'<meta name="inductive-records" content="([0-9a-f]+)">')


@dataclass(frozen=True)
class Verification:
    """`runs` that the page has records of; `differences` says, a line each, what is not as the page has it."""

    runs: int
    differences: tuple[str, ...]


def verify(page: Path, root: Path) -> Verification:
    """Compares a page with the records under `root`, and with its own seal.

    Raises RecordError for a file that is no page of the suite, OSError when it cannot be read."""
    text = page.read_text(encoding="utf-8", errors="replace")
    digests, digest, sealed = DIGESTS.search(text), DIGEST.search(text), SEAL.search(text)
    if digests is None or digest is None or sealed is None:
        raise RecordError(f"{page}: no page of `inductive report`, or one of before it held digests of the records")
    differences = []
    if sealed[2] != seal(text):
        differences.append("the page is not as it was written: somebody has changed it")
    try:
        then: dict[str, dict[str, str]] = json.loads(digests[1])
    except ValueError:
        return Verification(0, (*differences, "its digests of the records are torn"))
    then = {_folder(run, root): parts for run, parts in then.items()}
    now, known = traces(root, then), sum(map(bool, then.values()))
    if not any("metrics" in parts for parts in then.values()):  # pages of before did not hold it
        now = [replace(one, parts={name: one.parts[name] for name in one.parts if name != "metrics"}) for one in now]
    if not differences and of_all(now) == digest[1]:
        return Verification(known, ())
    differences += [f"{one.run}: {phrases}" for one in now for phrases in _differences(then[one.run], one.parts)]
    return Verification(known, tuple(differences))


def _folder(run: str, root: Path) -> str:
    """The folder of a run, whose id may have PATH in place of a path (`--anonymous`): the one that ends like it."""
    if PLACE not in run or (root / run).exists():
        return run
    end = re.search(r"-n\d+-r\d+-d\d+-s\d+-\w+$", run)
    found = [path.name for path in root.glob("[!.]*") if end and path.name.endswith(end[0])]
    return found[0] if len(found) == 1 else run


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What of one record is not as it was."""
    if then and not now:
        return ["there is no such record here"]
    if now and not then:
        return ["was missing, and is there now"]
    words = []
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            what = "is new" if name not in then else "is gone" if name not in now else "has changed"
            words.append(f"{name} {what}")
    return words
