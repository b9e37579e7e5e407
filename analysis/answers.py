"""The answers of a study in words, as they follow from its findings."""

from collections.abc import Sequence

from analysis import ablation, aggregate, comparisons, data_efficiency, data_needed, resolution, wording
from analysis.findings import Findings, by_state
from analysis.frame import Frame
from analysis.tables import each_group, each_row
from analysis.wording import Answer


def answers(frame: Frame, findings: Sequence[Findings]) -> list[tuple[Answer, str]]:
    """The answers, each with the anchor of the section it comes from."""
    said = [(answer, "states") for answer in _state_answers(frame)]
    for found in findings:
        said += [(answer, "train-size") for answer in data_efficiency.answers(found.data)]
    for found in findings:
        said += [(answer, "data-needed") for answer in data_needed.answers(found.data, found.needed.against)]
    for found in findings:
        said += [(answer, "comparisons") for answer in comparisons.answers(found.data, found.compared.families)]
    for found in findings:
        if not found.positions_declared:
            said += [(answer, "positions") for answer in ablation.answers(found.data)]
    for found in findings:
        said += [(answer, "test-resolution") for answer in resolution.answers(found.data)]
    said += [(answer, "train-size") for answer in aggregate.answers([found.data for found in findings])]
    said += [(answer, "train-size") for answer in _starved_answers(frame, findings)]
    said += [(answer, "ledger") for answer in _unequal_answers(findings)]
    return said


def _state_answers(frame: Frame) -> list[Answer]:
    states = frame.runs["state"].value_counts()
    finished = int(states.get("finished", 0))
    if finished == len(frame.runs):
        return []
    others = [f"{wording.count(len(runs), 'runs')} {state}" for state, runs in by_state(frame.runs).items()]
    others = [text for text in others if not text.endswith(" finished")]
    if finished + int(states.get("stale", 0)) == 0:
        return [Answer("No answer yet", "", f"no run of this study has finished ({wording.names(others)}).")]
    body = f"{finished:,} of {len(frame.runs):,} runs are finished; {wording.names(others)}. Answers use what is there."
    return [Answer("Incomplete", "", body)]


def _starved_answers(frame: Frame, findings: Sequence[Findings]) -> list[Answer]:
    said = []
    for found in findings:
        table = found.by_train_size
        starved = table[table["starved"]]
        if starved.empty:
            continue
        cells = [
            f"{label} with {wording.names(map(wording.number, sizes['train_size']))} images"
            for label, sizes in each_group(starved, "label")
        ]
        body = (
            f"{len(starved)} of {len(table)} cells stay below {wording.percent(frame.starved_below)} accuracy on their "
            f"own training images, so more updates might raise them: {wording.names(cells)}."
        )
        said.append(Answer("Starved", found.arm.words, body))
    return said


def _unequal_answers(findings: Sequence[Findings]) -> list[Answer]:
    words = {
        "parameters_backbone": "backbone parameters",
        "macs": "MACs",
        "images_per_second": "the hardware on which images/s was measured",
        "updates": "updates",
        "images_seen": "images seen",
        "batch_norm_short": "the images that BatchNorm normalised by",
        "augmentation": "augmentation",
        "recipe": "the recipe",
        "trials": "tuning trials",
        "planned": "planned runs",
    }
    said = []
    for found in findings:
        odd = [
            f"{text} ({wording.names(labels)})"
            for column, text in words.items()
            if (labels := [row.label for row in each_row(found.ledger) if column in row.unequal.split()])
        ]
        if odd:
            body = f"{wording.names(odd)}; the ledger has the numbers."
            said.append(Answer("Not equal between the models", found.arm.words, body))
    return said
