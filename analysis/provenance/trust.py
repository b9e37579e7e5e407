"""What a reader should know before trusting a report: edits after the first result, runs left out or not finished,
comparisons that mix what must be equal, or are of unequal models.

Each check says what it found, or that it found nothing; what the records do not tell is said as well.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from analysis import wording
from analysis.frame.arms import ArmData, split
from analysis.frame.frame import Frame
from analysis.frame.naming import decoder, hardware
from analysis.frame.states import by_state
from analysis.frame.studies import joined
from analysis.frame.waiting import by_earlier_code, waiting
from analysis.provenance.digests import Trace, traces
from analysis.provenance.provenance import LIBRARIES, counted
from benchmarks.plan.run import PROTOCOL
from benchmarks.plan.study import Study
from benchmarks.records.neighbours import in_a_cell, neighbours
from benchmarks.records.record import read_record
from benchmarks.records.study_texts import TIME, StudyText, changes, differences, earlier_results, kept_texts
from benchmarks.records.validity import UNREADABLE, leftovers

# What a check looks for. edits: of the study's file, after a result. left out: finished runs that no table shows.
# unfinished: runs and evaluations that are not in yet. unequal: what the models of an arm differ in. hardware: several
# kinds of it, or versions of libraries, in an arm. images: others in an arm. code: several sources in an arm, or
# changed ones that were accepted. records: what attempts that had lost their run left. determinism: bits that nobody
# can have again.
Kind = Literal["edits", "left out", "unfinished", "unequal", "hardware", "images", "code", "records", "determinism"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Finding:
    """One check: what it looks for, what it says, whether a reader must know it, and details, a line each."""

    kind: Kind
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

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What they are about, each once, in the order of KINDS."""
        said = {finding.kind for finding in self.alarming}
        return tuple(kind for kind in KINDS if kind in said)

    @property
    def badge(self) -> str:
        """All of it in a line: '4 of 11 checks to read: edits, unfinished', '8 checks, nothing to report'."""
        checks = wording.count(len(self.findings), "checks")
        if not self.alarming:
            return f"{checks}, nothing to report"
        return f"{len(self.alarming)} of {checks} to read: {', '.join(self.kinds)}"


def trust(
    studies: Sequence[Study], root: Path, found: Sequence[Trace], frame: Frame, unequal: Sequence[str] = ()
) -> Trust:
    """All checks. `found` are the traces of the runs of all `studies`, trials among them, `frame` has the records of
    the others, `unequal` says a line for each arm whose models were not equal, and in what."""
    return Trust(
        (
            *(finding for study in studies for finding in _edits(study, root, found)),
            *_left_out(studies, root),
            _unfinished(frame, joined(studies)),
            _unequal(unequal),
            *_mixed(found, split(frame)),
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
        text = f"Of the texts of {name}, {wording.names(torn)} cannot be read, so edits are unknown."
        yield Finding("edits", text, True)
        return
    now = {run.id for run in study.every_run}
    if not kept and not any(one.parts for one in found if one.run in now):
        yield Finding("edits", f"No run of {name} has been begun.", False)
        return
    if not kept:
        text = f"The text of {name} was not kept when it was run, so edits since its first result are unknown."
        yield Finding("edits", text, True)
        return
    earlier, beyond = earlier_results(study, kept, root)
    ids = [run.id for runs in earlier.values() for run in runs]
    own = [*traces(root, ids), *(one for one in found if one.run in now)]
    first = min((one.finished_at for one in own if one.finished_at is not None), default=None)
    yield _edits_since(study, kept, first, bool(ids))
    dates = {one.text: one.first_run.strftime(TIME) for one in kept}
    if ids:
        old = {text: _old_values(text, study.text) for text in earlier}
        versions, are = "; ".join(dict.fromkeys(old.values())), _are(len(ids))
        details = [f"{len(runs)} of the text of {dates[text]}: {old[text]}" for text, runs in earlier.items()]
        text = f"{wording.count(len(ids), 'results')} of earlier versions of {name} ({versions}) {are} not shown."
        yield Finding("edits", text, True, tuple(details))
    if beyond:
        text = f"Texts of {name} that this version of the suite cannot expand, so that their results are unknown:"
        yield Finding("edits", text, True, tuple(f"{dates[one]}: {why}" for one, why in beyond.items()))


def _old_values(old: str, new: str) -> str:
    """What an earlier text said where it was edited: 'recipe.learning_rate 0.001, seed [0, 1]'."""
    return ", ".join(f"{key} {before}" for key, (before, _) in differences(old, new).items())


def _edits_since(study: Study, kept: Sequence[StudyText], first: datetime | None, earlier: bool) -> Finding:
    """The edits after the time of the first result; `earlier`: there are results of earlier texts."""
    name = f"study {study.name}"
    if first is None and not earlier:
        return Finding("edits", f"No result yet, so no edit of {name} came after one.", False)
    known = [one for one in kept if first is not None and one.first_run <= first]
    before = known or kept[:1]
    texts = [(one.first_run.strftime(TIME), one.text) for one in kept if one not in before]
    if study.text and study.text not in [one.text for one in kept]:
        texts.append(("since the last time it was run", study.text))
    details, last = [], before[-1].text
    for when, text in texts:
        changed = changes(last, text)
        details += [f"{when}: {line}" for line in changed]
        last = text
    when = first.strftime(TIME) if first is not None else "at a time unknown"
    since, later = f"its first result ({when})", ""
    if first is not None and not known:
        since = f"{kept[0].first_run.strftime(TIME)}, the time of the earliest text kept of it"
        later = f"; that is later than the first result shown ({when}), so edits between them are unknown"
    if not details:
        return Finding("edits", f"No edit of {name} since {since}{later}.", bool(later))
    text = f"Edits of {name} since {since}: {len(details)}{later}."
    if any(key.startswith("comparisons[") for key in differences(before[-1].text, study.text)):
        text += " Families of comparisons are among them: their verdicts are exploratory, too."
    return Finding("edits", text, True, tuple(details))


def _left_out(studies: Sequence[Study], root: Path) -> Iterator[Finding]:
    """Finished runs beside those of the studies that could stand in their tables, and those of another protocol."""
    found = neighbours(studies, root)
    others = {name: settings for name, settings in found.items() if settings.get("protocol") == PROTOCOL}
    yield _could_stand(studies, others)
    apart = sorted(f"protocol {found[name].get('protocol')}" for name in found.keys() - others.keys())
    if apart:
        text = f"{wording.count(len(apart), 'finished runs')} of another protocol under the same runs folder"
        yield Finding("left out", f"{text} {_are(len(apart))} not shown ({counted(apart)}).", True)


def _could_stand(studies: Sequence[Study], others: Mapping[str, Mapping[str, Any]]) -> Finding:
    """`others` by their ids, which are of no study here."""
    if not others:
        return Finding("left out", "No finished run that could stand in these tables was left out.", False)
    same = in_a_cell(studies, others)
    text = (
        f"{wording.count(len(others), 'finished runs')} under the same runs folder could stand in these tables and "
        f"{_are(len(others))} not in the study; in draw and seed alone differ {len(same)}."
    )
    note = " (another draw or seed of a cell that is shown)"
    return Finding("left out", text, True, tuple(name + note * (name in same) for name in others))


def _unfinished(frame: Frame, study: Study) -> Finding:
    """The runs that have not finished, by state, and what is still to be evaluated of those that have."""
    parted = {state: len(runs) for state, runs in by_state(frame.runs).items()}
    finished = parted.pop("finished", 0)
    lacking = [
        f"evaluations missing: {what} for {wording.count(len(runs), 'runs')}" for what, runs in waiting(frame, study)
    ]
    if outdated := len(by_earlier_code(frame)):
        again = wording.names([f"`inductive run {one.argument}`" for one in study.parts or (study,)])
        number = f"{outdated:,} of {len(frame.rows):,}"
        lacking.append(f"evaluations measured by earlier code: {number}, shown, to be made again by {again}")
    whole = f"{finished:,} of {wording.count(len(frame.runs), 'runs')}"
    if not parted and not lacking:
        return Finding("unfinished", f"{whole} {_are(finished)} finished, with all evaluations.", False)
    states = ", ".join(f"{number:,} {state}" for state, number in parted.items())
    text = f"{whole} {_are(finished)} finished{f' ({states})' if states else ''}."
    return Finding("unfinished", text, True, tuple(lacking))


def _unequal(unequal: Sequence[str]) -> Finding:
    if not unequal:
        return Finding("unequal", "Nothing that the fairness ledger compares was unequal between the models.", False)
    return Finding("unequal", "Not equal between the models:", True, tuple(unequal))


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _mixed(found: Sequence[Trace], arms: Sequence[ArmData]) -> Iterator[Finding]:
    """Arms whose runs were made on several kinds of hardware or by several library versions; on several versions of
    the images; and by several sources, or measured by several versions of the measuring code."""
    by_run = {one.run: one for one in found}
    machines, images, sources = [], [], []
    if not any(one.execution for one in found):
        yield Finding("hardware", "No run has been made, so there are no hardware and no sources to compare.", False)
        return
    for arm in arms:
        group = [by_run[run] for run in arm.runs["run"] if by_run[run].execution]
        for what, values in (
            ("hardware", [hardware(one.execution, one.environment) for one in group]),
            *((name, [str(one.execution.get(name, "-")) for one in group]) for name in LIBRARIES),
            ("decoder", [decoder(one.execution) for one in group]),
        ):
            if len(set(values)) > 1:
                machines.append(f"{arm.arm.words}: {what}: {counted(values)}")
        for part in ("train", "test"):
            digests = [str(digest)[:12] for one in group if (digest := one.execution.get("data", {}).get(part))]
            if len(set(digests)) > 1:  # absent in early records
                images.append(f"{arm.arm.words}: {part} images by digest: {counted(digests)}")
        changed = _several_sources(group)
        if changed:
            sources.append(f"{arm.arm.words}: sources: {wording.names(changed)}")
        measured = arm.rows.drop_duplicates(["run", "measuring_code"])["measuring_code"]
        if measured.nunique() > 1:
            sources.append(f"{arm.arm.words}: measuring code: {counted(measured)}")
    if machines:
        yield Finding("hardware", "Comparisons that mix hardware or library versions:", True, tuple(machines))
    else:
        text = "All runs of a condition were made on the same hardware, by the same library versions."
        yield Finding("hardware", text, False)
    if images:
        yield Finding("images", "Comparisons that mix images, as the data set was changed:", True, tuple(images))
    else:
        yield Finding("images", "All runs of a condition were made on the same images.", False)
    if sources:
        yield Finding("code", "Comparisons that mix sources:", True, tuple(sources))
    else:
        yield Finding("code", "All runs of a condition were made by the same sources.", False)


def _leftovers(studies: Sequence[Study], root: Path) -> Finding:
    """Rows and checkpoints of attempts that had lost their run, in finished records."""
    details = []
    for run in dict.fromkeys(run.id for study in studies for run in study.every_run):
        try:
            left = leftovers(read_record(root / run), (path.name for path in (root / run).iterdir()), whole=True)
        except UNREADABLE:
            continue  # a problem of the frame
        details += [f"{run}: {left}"] if left else []
    if details:
        text = "Attempts that had lost their run left something in its record:"
        return Finding("records", text, True, tuple(details))
    return Finding("records", "No attempt that had lost its run left rows or checkpoints in a finished record.", False)


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
        text = f"{text}: trained again, they give close values and not the same bits."
        yield Finding("determinism", text, True, runs)


def _accepted(found: Sequence[Trace]) -> Finding:
    runs = tuple(one.run for one in found if one.accepted)
    if not runs:
        return Finding("code", "No run went on with changed sources (--accept-code).", False)
    text = f"{wording.count(len(runs), 'runs')} went on with changed sources (--accept-code)."
    return Finding("code", text, True, runs)
