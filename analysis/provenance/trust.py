"""What a reader should know before trusting a report: edits after the first result, runs left out, mixed comparisons.

Each check says what it found, or that it found nothing; what the records do not tell is said as well.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis import wording
from analysis.frame.arms import ArmData
from analysis.frame.naming import hardware
from analysis.provenance.digests import Trace, traces
from analysis.provenance.provenance import LIBRARIES, counted
from benchmarks.plan.run import PROTOCOL
from benchmarks.plan.study import Study
from benchmarks.records.neighbours import in_a_cell, neighbours
from benchmarks.records.record import read_record
from benchmarks.records.study_texts import TIME, StudyText, changes, differences, earlier_results, kept_texts
from benchmarks.records.validity import UNREADABLE, leftovers


@dataclass(frozen=True)
class Finding:
    """One check: what it says, whether a reader must know it, and details, a line each."""

    text: str
    alarming: bool
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trust:
    """What all checks found, in the order of reading."""

    findings: tuple[Finding, ...]

    @property
    def alarming(self) -> tuple[Finding, ...]:
        """Those that a reader must know."""
        return tuple(finding for finding in self.findings if finding.alarming)


def trust(studies: Sequence[Study], root: Path, found: Sequence[Trace], arms: Sequence[ArmData]) -> Trust:
    """All checks. `found` are the traces of the runs of all `studies`, `arms` the arms of their records."""
    return Trust(
        (
            *(finding for study in studies for finding in _edits(study, root, found)),
            *_left_out(studies, root),
            *_mixed(found, arms),
            _leftovers(studies, root),
            _accepted(found),
            *_nondeterministic(found),
        )
    )


def _edits(study: Study, root: Path, found: Sequence[Trace]) -> Iterator[Finding]:
    """What of the study's file was changed after its first result, [paper] and comments apart, and which results of
    earlier texts are not on the page. `found` may hold traces of other studies' runs, too."""
    name = f"study {study.name}"
    kept, torn = kept_texts(study.name, root)
    if torn:
        yield Finding(f"Of the texts of {name}, {wording.names(torn)} cannot be read, so edits are unknown.", True)
        return
    if not kept:
        text = f"The text of {name} was not kept when it was run, so edits since its first result are unknown."
        yield Finding(text, True)
        return
    earlier, beyond = earlier_results(study, kept, root)
    ids = [run for runs in earlier.values() for run in runs]
    now = {run.id for run in study.runs}
    own = [*traces(root, ids), *(one for one in found if one.run in now)]
    first = min((one.finished_at for one in own if one.finished_at is not None), default=None)
    yield _edits_since(study, kept, first, bool(ids))
    dates = {one.text: one.first_run.strftime(TIME) for one in kept}
    if ids:
        old = {text: _old_values(text, study.text) for text in earlier}
        are = "is" if len(ids) == 1 else "are"
        versions = "; ".join(dict.fromkeys(old.values()))
        details = [f"{len(runs)} of the text of {dates[text]}: {old[text]}" for text, runs in earlier.items()]
        text = f"{wording.count(len(ids), 'results')} of earlier versions of {name} ({versions}) {are} not shown."
        yield Finding(text, True, tuple(details))
    if beyond:
        text = f"Texts of {name} that this version of the suite cannot expand, so that their results are unknown:"
        yield Finding(text, True, tuple(f"{dates[one]}: {why}" for one, why in beyond.items()))


def _old_values(old: str, new: str) -> str:
    """What an earlier text said where it was edited: 'recipe.learning_rate 0.001, seed [0, 1]'."""
    return ", ".join(f"{key} {before}" for key, (before, _) in differences(old, new).items())


def _edits_since(study: Study, kept: Sequence[StudyText], first: datetime | None, earlier: bool) -> Finding:
    """The edits after the time of the first result; `earlier`: there are results of earlier texts."""
    name = f"study {study.name}"
    if first is None and not earlier:
        return Finding(f"No result yet, so no edit of {name} came after one.", False)
    before = [one for one in kept if first is not None and one.first_run <= first] or kept[:1]
    texts = [(one.first_run.strftime(TIME), one.text) for one in kept if one not in before]
    if study.text and study.text not in [one.text for one in kept]:
        texts.append(("since the last time it was run", study.text))
    details, last = [], before[-1].text
    for when, text in texts:
        changed = changes(last, text)
        details += [f"{when}: {line}" for line in changed]
        last = text
    when = first.strftime(TIME) if first is not None else "at a time unknown"
    if not details:
        return Finding(f"No edit of {name} since its first result ({when}).", False)
    return Finding(f"Edits of {name} since its first result ({when}): {len(details)}.", True, tuple(details))


def _left_out(studies: Sequence[Study], root: Path) -> Iterator[Finding]:
    """Finished runs beside those of the studies that could stand in their tables, and those of another protocol."""
    found = neighbours(studies, root)
    others = {name: settings for name, settings in found.items() if settings.get("protocol") == PROTOCOL}
    yield _could_stand(studies, others)
    apart = sorted(f"protocol {found[name].get('protocol')}" for name in found.keys() - others.keys())
    if apart:
        text = f"{wording.count(len(apart), 'finished runs')} of another protocol under the same runs folder"
        yield Finding(f"{text} {'is' if len(apart) == 1 else 'are'} not shown ({counted(apart)}).", True)


def _could_stand(studies: Sequence[Study], others: Mapping[str, Mapping[str, Any]]) -> Finding:
    """`others` by their ids, which are of no study here."""
    if not others:
        return Finding("No finished run that could stand in these tables was left out.", False)
    same = in_a_cell(studies, others)
    text = (
        f"{wording.count(len(others), 'finished runs')} under the same runs folder could stand in these tables and "
        f"{'is' if len(others) == 1 else 'are'} not in the study; in draw and seed alone differ {len(same)}."
    )
    note = " (another draw or seed of a cell that is shown)"
    return Finding(text, True, tuple(name + note * (name in same) for name in others))


def _mixed(found: Sequence[Trace], arms: Sequence[ArmData]) -> Iterator[Finding]:
    """Arms whose runs were made on several kinds of hardware, by several library versions, or by several sources."""
    by_run = {one.run: one for one in found}
    details = []
    for arm in arms:
        group = [by_run[run] for run in arm.runs["run"] if by_run[run].execution]
        for what, values in (
            ("hardware", [hardware(one.execution, one.environment) for one in group]),
            *((name, [str(one.execution.get(name, "-")) for one in group]) for name in LIBRARIES),
        ):
            if len(set(values)) > 1:
                details.append(f"{arm.arm.words}: {what}: {counted(values)}")
        changed = _several_sources(group)
        if changed:
            details.append(f"{arm.arm.words}: sources: {wording.names(changed)}")
    if details:
        yield Finding("Comparisons that mix hardware, library versions or sources:", True, tuple(details))
    else:
        text = "All runs of an arm were made on the same hardware, by the same library versions and the same sources."
        yield Finding(text, False)


def _leftovers(studies: Sequence[Study], root: Path) -> Finding:
    """Rows and checkpoints of attempts that had lost their run, in finished records."""
    details = []
    for run in dict.fromkeys(run.id for study in studies for run in study.runs):
        try:
            left = leftovers(read_record(root / run), (path.name for path in (root / run).iterdir()), whole=True)
        except UNREADABLE:
            continue  # a problem of the frame
        details += [f"{run}: {left}"] if left else []
    if details:
        return Finding("Attempts that had lost their run left something in its record:", True, tuple(details))
    return Finding("No attempt that had lost its run left rows or checkpoints in a finished record.", False)


def _several_sources(group: Iterable[Trace]) -> list[str]:
    """The symbols that runs agree to depend on, in more than one version; facts of a run, which differ, are none."""
    digests: dict[str, set[str]] = {}
    for one in group:
        symbols = {name: digest for name, digest in (one.execution.get("sources") or {}).items() if ":" in name}
        for symbol, digest in symbols.items():
            digests.setdefault(symbol, set()).add(digest)
    return [f"{symbol} ({len(seen)} versions)" for symbol, seen in sorted(digests.items()) if len(seen) > 1]


def _nondeterministic(found: Sequence[Trace]) -> Iterator[Finding]:
    """Runs whose bits nobody can have again, where there are any."""
    runs = tuple(one.run for one in found if one.execution.get("deterministic") is False)
    if runs:
        text = f"{wording.count(len(runs), 'runs')} used an operation that has no deterministic kernel on its device"
        yield Finding(f"{text}: trained again, they give close values and not the same bits.", True, runs)


def _accepted(found: Sequence[Trace]) -> Finding:
    runs = tuple(one.run for one in found if one.accepted)
    if not runs:
        return Finding("No run went on with changed sources (--accept-code).", False)
    return Finding(f"{wording.count(len(runs), 'runs')} went on with changed sources (--accept-code).", True, runs)
