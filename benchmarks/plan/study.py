"""Studies: a question and the grid of runs that answers it, declared in one TOML file.

Any field of a run or option of a model may be a list, which is then an axis; axes multiply. `[[models]]` lists the
models, each with its own options; `[[arms]]` pairs what must not be multiplied, such as a data set with its
resolution. The expansion is one pure function, and refuses what cannot be run before anything runs.
"""

import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import models
from benchmarks.collector import collector_paused
from benchmarks.data.catalogue import is_data_set
from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError, ImpossibleError, UnpreparedError
from benchmarks.plan import recipes
from benchmarks.plan.comparisons import ComparisonFamily, read_families
from benchmarks.plan.evaluations import Request, UnmetRequests, evaluations_of, read_tables
from benchmarks.plan.expectations import Expectation, read_expectations
from benchmarks.plan.paper import Paper, read_paper
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.run import UNDER, Evaluation, Run, default_evaluation, make_run, refuse_resolution, unknown_key
from benchmarks.plan.search import TABLES, Chosen, Plan, SearchedCell, Trial, changed_keys, reaching, read_plan
from models.hints import did_you_mean

FOLDER = Path(__file__).parent.parent / "studies"

GRID = tuple(name for name in Run.model_fields if name not in ("model", "options", "protocol"))
TEXTS = ("question", "cost", "expect")
NOT_OF_THE_RUN = ("test_resolutions", "evaluations", "trials")  # what is measured and stated of a run: no part of it
OTHER = (
    *(
        "models",
        "arms",
        *NOT_OF_THE_RUN,
        "comparisons",
        "expects",
        "duplicates",
        "invalid",
        "starved_below",
        "predictions",
    ),
    *("plugins", "paper", *TABLES),
)
OF_THE_STUDY = dict.fromkeys(
    (*TEXTS, *(key for key in OTHER if key not in NOT_OF_THE_RUN)), "belongs at the top of the file, before the tables"
)
IN_TABLES = {  # where keys belong that are none of the study's own
    **{key: f"belongs under {word}: {word} = {{ {key} = ... }}" for key, word in UNDER.items()},
    **{key: "belongs in an [[evaluations]] table" for key in Request.model_fields if key not in (*GRID, *UNDER)},
    "images": "belongs under budget, or in an [[evaluations]] table",
}
ARM = re.compile(r"arms\[(\d+)\]")  # a value of init_from: the run of that arm which is the same otherwise
SEQUENCES = tuple(f"recipe.{key}" for key in recipes.SEQUENCES)


@dataclass(frozen=True)
class Study:
    """A study, expanded. `evaluations` has the wanted evaluations of each run, by run id.

    `left_out` lists (what, why) for cells that the study leaves out (`invalid = "leave_out"`); `predictions` says
    what is kept of each image; `starved_below` is the training accuracy below which a cell is marked as starved;
    `comparisons` are the families of comparisons that the page corrects as a whole, `expects` what is expected of pairs
    of models, which the page answers;
    `trials` has, by run id, the configurations tried in tuning before its recipe was fixed, where that is stated;
    `paper` is how the report looks in print; `text` is the file, '' for a study that was never one; `given` is what
    the user named it by, a name or a path; `parts` are the studies that are looked at as one, none of a study that is
    one; `tuning` is what a study searches, whose own runs are then the trials, or those that confirm what was chosen of
    them; `tuned` has, by the ids of these, what they confirm.
    """

    name: str
    question: str
    cost: str
    expect: str
    runs: tuple[Run, ...]
    evaluations: Mapping[str, list[Evaluation]]
    test_resolutions: tuple[int, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    starved_below: float = 0.99
    predictions: str = "auto"
    comparisons: tuple[ComparisonFamily, ...] = ()
    expects: tuple[Expectation, ...] = ()
    trials: Mapping[str, int] = field(default_factory=dict)
    paper: Paper = field(default_factory=Paper)
    text: str = ""
    given: str = ""
    parts: tuple["Study", ...] = ()
    tuning: "Tuning | None" = None
    tuned: Mapping[str, Chosen] = field(default_factory=dict)

    @property
    def every_run(self) -> tuple[Run, ...]:
        """Its runs, and the trials of its search where these are others."""
        cells = () if self.tuning is None else self.tuning.cells
        trials = (run for cell in cells for trial in cell.trials for run in trial.runs)
        return tuple({run.id: run for run in (*self.runs, *trials)}.values())

    @property
    def trial_ids(self) -> frozenset[str]:
        """The ids of the trials of its search."""
        cells = () if self.tuning is None else self.tuning.cells
        return frozenset(run.id for cell in cells for trial in cell.trials for run in trial.runs)

    @property
    def argument(self) -> str:
        """The study as a command takes it: what the user named it by, quoted for a shell."""
        return shlex.quote(self.given or self.name)


@dataclass(frozen=True)
class Tuning:
    """A study's search: how it is made, what is searched for, and the study of the recipes as they are (`untuned`, at
    the seeds of the search), whose `table` it is."""

    plan: Plan
    cells: tuple[SearchedCell, ...]
    untuned: Study
    table: Mapping[str, Any]


def study_names() -> tuple[str, ...]:
    """The shipped studies."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def study_path(study: str) -> Path:
    """The file of a shipped name or of a path. Raises ConfigError with the nearest match."""
    if study in study_names():
        return FOLDER / f"{study}.toml"
    path = Path(study)
    if path.is_file():
        return path
    if (own := Path(f"{study}.toml")).is_file():
        raise ConfigError("", f"unknown study '{study}'; did you mean the file `{own}`?")
    if is_data_set(study):
        raise ConfigError(
            "",
            f"'{study}' is a data set and no study: `inductive prepare --dataset {study}` prepares it, and a study "
            "names it under `dataset`",
        )
    if path.suffix == ".toml" or "/" in study:
        raise ConfigError("", "there is no such file", study)
    known = ", ".join(study_names())
    raise ConfigError(
        "", f"unknown study '{study}'; there are {known}, or give a path{did_you_mean(study, study_names())}"
    )


def check_name(path: Path) -> None:
    """Raises ConfigError unless a study's file has a name that folders, jobs and their lists can have."""
    if not re.fullmatch(r"\w[\w.+ -]*", path.stem):
        raise ConfigError(
            "",
            f"{path.stem!r} names folders and jobs: letters, digits, space and _ . + -, of which . + - and space not "
            "at the beginning; rename the file",
            repr(str(path)),
        )


def load_study(study: str, places: Places | None = None, *, tables: bool = True) -> Study:
    """The study of a shipped name or a path; `places` is where its data sets `folder:PATH` are looked for. Without
    `tables`, evaluations are those at the test resolutions alone: what [[evaluations]] ask of a model may load torch.

    Raises ConfigError naming file, key, what is allowed, nearest match."""
    path = study_path(study)
    check_name(path)
    text, table = _read(path)
    try:
        for number, plugin in enumerate(_plugins(table)):
            load_plugin(path.parent / plugin, f"plugins[{number}]")
        with collector_paused():
            return replace(expand(table, path.stem, places, tables=tables), text=text, given=study)
    except ConfigError as error:
        raise error.at(str(path)) from error


def study_about(study: str) -> dict[str, str]:
    """What a study's file says of itself, by TEXTS: its question, cost and expectation. Nothing else of it is read, so
    they are known before its data sets are. Raises ConfigError for what is no study, or no text."""
    path = study_path(study)
    _, table = _read(path)
    try:
        return _texts(table)
    except ConfigError as error:
        raise error.at(str(path)) from error


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """A study's file as text and as a table. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("", f"not TOML: {error}", str(path)) from error
    except OSError as error:
        raise ConfigError("", f"cannot be read ({error.strerror})", str(path)) from error


def _texts(table: Mapping[str, Any]) -> dict[str, str]:
    for key in TEXTS:
        if not isinstance(table.get(key, ""), str):
            raise ConfigError(key, f"{table[key]!r} is not a text")
    return {key: table.get(key, "") for key in TEXTS}


def read_study(path: Path, name: str, places: Places | None = None) -> Study:
    """A study's file under the name it has elsewhere, whose plugins are loaded already. Raises ConfigError."""
    return expand(tomllib.loads(path.read_text(encoding="utf-8")), name, places)


def load_plugin(path: Path, key: str) -> tuple[models.Encoding | models.Family, ...]:
    """Registers what a plugin's file declares, and returns it. Raises ConfigError with the key that named it."""
    try:
        return models.load_plugin(models.read_plugin(path))
    except models.ModelError as error:
        raise ConfigError(key, str(error)) from error


def _plugins(table: Mapping[str, Any]) -> list[str]:
    files = table.get("plugins", [])
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise ConfigError("plugins", f"{files!r} is not a list of Python files")
    return files


def expand(table: Mapping[str, Any], name: str, places: Places | None = None, *, tables: bool = True) -> Study:
    """The runs and evaluations that a study's table declares, of one with a [search] the trials, measured on the
    validation part alone; `tables`: see `load_study`. Raises ConfigError for the first thing wrong."""
    unknown_key(table, (*TEXTS, *GRID, *OTHER), "", _elsewhere(table))
    _check_types(table)
    plan = read_plan(table, table["models"])
    grid = {key: value for key, value in table.items() if key not in TABLES}
    if plan is None:
        return _expanded(grid, name, places, tables)
    _refuse_in_search(table)
    kept: list[tuple[dict[str, Any], Where]] = []
    untuned = _expanded({**grid, "seed": list(plan.search_seeds)}, name, places, tables, kept=kept)
    cells = _searched(plan, kept, places)
    runs = {run.id: run for cell in cells for trial in cell.trials for run in trial.runs}
    evaluations = {run.id: [default_evaluation(run, "validation", run.resolution)] for run in runs.values()}
    return replace(
        untuned,
        runs=tuple(runs.values()),
        evaluations=evaluations,
        test_resolutions=_sides(evaluations),
        tuning=Tuning(plan, cells, untuned, grid),
    )


def confirmation(study: Study, chosen: Mapping[str, int], places: Places | None = None) -> Study | None:
    """What confirms the chosen trials of a study's search, by the key of what was searched for: runs of fresh seeds,
    with the evaluations of the study's grid. None where nothing is chosen yet."""
    if study.tuning is None or not chosen:
        return None
    plan, tuned = study.tuning.plan, dict[str, Chosen]()

    def with_chosen(cell: dict[str, Any], where: Where) -> dict[str, Any] | None:
        trial = chosen.get(plan.key(cell))
        return None if trial is None else plan.settings(cell, where.place, trial, whole=True)

    declared = {key: value for key, value in study.tuning.table.items() if key not in ("comparisons", "expects")}
    kept: list[tuple[dict[str, Any], Where]] = []
    grid = {**declared, "seed": list(plan.confirm_seeds)}
    found = _expanded(grid, study.name, places, True, change=with_chosen, kept=kept)
    for run, (cell, where) in zip(found.runs, kept, strict=True):
        key = plan.key(cell)
        tuned[run.id] = plan.chosen(key, where.place, chosen[key])
    return replace(
        found,
        comparisons=study.comparisons,
        expects=study.expects,
        trials=dict.fromkeys(found.evaluations, plan.search.trials),
        text=study.text,
        given=study.given,
        tuning=study.tuning,
        tuned=tuned,
    )


def _refuse_in_search(table: Mapping[str, Any]) -> None:
    """Raises ConfigError for keys that contradict a search."""
    where = [
        ("", table),
        *((f"{key}[{n}].", one) for key in ("arms", "models") for n, one in enumerate(table.get(key, []))),
    ]
    for prefix, keys in where:
        why = {
            "draw": "a search and its confirmation have subsets of their own, which follow their seeds",
            "trials": "is what [search] says: search.trials",
            "init_from": "a study that searches starts from no other runs",
        }
        why |= {"seed": "one for all models: at the top of the file, or search.seeds"} if prefix else {}
        for key, reason in why.items():
            if key in keys:
                raise ConfigError(f"{prefix}{key}", reason)


def _searched(
    plan: Plan, kept: Sequence[tuple[dict[str, Any], "Where"]], places: Places | None
) -> tuple[SearchedCell, ...]:
    """The trials of every cell of the grid, `kept`; where train sizes share a search, of the largest."""
    groups: dict[str, list[tuple[dict[str, Any], Where]]] = {}
    for cell, where in kept:
        groups.setdefault(plan.key(cell), []).append((cell, where))
    found, drawn = [], dict[str, str]()  # by the run of a first drawn trial, of which model
    for key, several in groups.items():
        largest = max(cell.get("train_size", 0) for cell, _ in several)
        several = [(cell, where) for cell, where in several if cell.get("train_size", 0) == largest]
        place = several[0][1].place
        trials = []
        for number in range(plan.search.trials + 1):
            values = plan.drawn(place, number)
            runs = [_trial_run(plan, cell, where, number, places) for cell, where in several]
            trials.append(Trial(number, values, tuple(runs)))
        first = trials[1].runs[0]
        if first.id in drawn:
            both = ", ".join(f"recipe.{name}" for name in changed_keys(plan.spaces[place]))
            why = f"decides all that tells two cells apart ({drawn[first.id]}, {several[0][1].model}): {both}"
            raise ConfigError("search.draw", f"{why}; what is drawn can be no list in the recipe as well")
        drawn[first.id] = several[0][1].model
        if not reaching(plan.spaces[place], trials[0].runs[0]):
            drawn_keys = ", ".join(plan.spaces[place])
            why = f"draws nothing that makes a difference to models[{place}]: it has no use for {drawn_keys}"
            raise ConfigError("search.draw", f"{why}; name another hyper-parameter for it: models[{place}].search")
        found.append(SearchedCell(key, place, tuple(trials)))
    return tuple(found)


def _trial_run(plan: Plan, cell: Mapping[str, Any], where: "Where", number: int, places: Places | None) -> Run:
    """Raises ConfigError for a trial that cannot be run: equal numbers of trials leave none out."""
    try:
        run = make_run(plan.settings(cell, where.place, number, whole=False), places)
    except ConfigError as error:
        text = f"{error.key}: {error.message} (with {where.model}: {_describe(cell)})"
        raise ConfigError(f"search.draw, trial {number}", text) from error
    if not run.validation:
        raise ConfigError(
            f"{where.prefix('validation')}validation", "is 0, and [search] chooses on the validation part"
        )
    return run


def _expanded(
    table: Mapping[str, Any],
    name: str,
    places: Places | None,
    tables: bool,
    *,
    change: "Callable[[dict[str, Any], Where], dict[str, Any] | None] | None" = None,
    kept: "list[tuple[dict[str, Any], Where]] | None" = None,
) -> Study:
    """The runs and evaluations of a study's grid. `change` gives the settings of a cell that are run in its place, or
    None to leave it out; `kept` gains each run's cell, as it was before."""
    texts = _texts(table)
    runs: dict[str, Run] = {}
    evaluations: dict[str, list[Evaluation]] = {}
    trials: dict[str, int] = {}
    impossible = _Impossible(table.get("invalid", "refuse") == "leave_out")
    leave_out_duplicates = table.get("duplicates", "keep") == "leave_out"
    unmet = UnmetRequests()
    tables_runs: dict[str, dict[str, tuple[Any, ...]]] = {}  # by place of a table, by run id: what it wants of the run
    for cell, where in _cells(table):
        test_at, asked, tried = (cell.pop(key) for key in NOT_OF_THE_RUN)
        plain, changed = cell, cell if change is None else change(cell, where)
        if changed is None:
            continue
        cell = changed
        try:
            if isinstance(cell.get("init_from"), Mapping):
                cell["init_from"] = make_run(cell["init_from"], places).id
            run = make_run(cell, places)
        except UnpreparedError:
            raise  # no cell is known before
        except ConfigError as error:
            impossible.note(error, _describe(cell), _place(error.key, where, cell))
            continue
        at = _possible(run, test_at or [run.resolution], cell, where, impossible)
        if not at:
            continue
        parts = (*run.measured_parts, "test_unique") if leave_out_duplicates else run.measured_parts
        wanted = [default_evaluation(run, part, resolution) for part in parts for resolution in at]
        for found in evaluations_of(run, asked if tables else (), at, parts, unmet):
            if isinstance(found, Evaluation):
                wanted.append(found)
            else:
                place = f"{found.key} (with {where.model}: {_describe(cell)})"
                impossible.note(found, f"{_describe(cell)}, an evaluation", place)
        if tried is not None and trials.setdefault(run.id, tried) != tried:
            message = f"is {tried} here and {trials[run.id]} elsewhere in the study, for one and the same run"
            raise ConfigError(_place("trials", where, cell), f"{message}: {run.id}")
        if kept is not None and run.id not in runs:
            kept.append((plain, where))
        runs.setdefault(run.id, run)
        for place in (where.model, where.arm):
            tables_runs.setdefault(place, {})[run.id] = (*tables_runs.get(place, {}).get(run.id, ()), *wanted, tried)
        evaluations[run.id] = list(dict.fromkeys([*evaluations.get(run.id, []), *wanted]))
    unmet.check()
    _refuse_twins(tables_runs)
    if not runs:
        raise ConfigError("models", f"the study {'has no runs left' if impossible.left_out else 'declares no runs'}")
    return Study(
        name=name,
        question=texts["question"],
        cost=texts["cost"],
        expect=texts["expect"],
        runs=tuple(runs.values()),
        evaluations=evaluations,
        test_resolutions=_sides(evaluations),
        left_out=tuple(dict.fromkeys(impossible.left_out)),
        starved_below=float(table.get("starved_below", 0.99)),
        predictions=table.get("predictions", "auto"),
        comparisons=read_families(table.get("comparisons", []), tuple(runs.values())),
        expects=read_expectations(table.get("expects", []), tuple(runs.values()), evaluations),
        trials=trials,
        paper=read_paper(table.get("paper", {})),
    )


def _sides(evaluations: Mapping[str, list[Evaluation]]) -> tuple[int, ...]:
    """The resolutions that are tested at, probes apart."""
    return tuple(sorted({one.resolution for wanted in evaluations.values() for one in wanted if one.probe == NO_PROBE}))


def _possible(
    run: Run, test_at: Sequence[int], cell: Mapping[str, Any], where: "Where", impossible: "_Impossible"
) -> list[int]:
    """Those of the test resolutions that the run can be tested at; the others are noted as impossible."""
    possible = []
    for resolution in test_at:
        try:
            refuse_resolution(run, resolution, "test_resolutions")
            possible.append(resolution)
        except ImpossibleError as error:
            what = f"{_describe(cell)}, evaluation at {resolution}"
            impossible.note(error, what, _place(error.key, where, cell))
    return possible


def _refuse_twins(tables_runs: Mapping[str, Mapping[str, tuple[Any, ...]]]) -> None:
    """Raises ConfigError for a table of models or arms that wants of the same runs the same as one before it."""
    before: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for place, wanted in tables_runs.items():
        twins = before.setdefault((place.partition("[")[0], tuple(sorted(wanted))), [])
        for twin in twins:
            if wanted == tables_runs[twin]:
                raise ConfigError(place, f"is {twin} again: it has the same runs; remove one, or say how they differ")
        twins.append(place)


class _Impossible:
    """What of a study cannot be: refused, or where the study says so left out and listed with the reason."""

    def __init__(self, leave_out: bool):
        self.leave_out, self.left_out = leave_out, list[tuple[str, str]]()

    def note(self, error: ConfigError, what: str, place: str) -> None:
        """Lists `what` as left out. Raises ConfigError at `place` where nothing, or not this, may be left out."""
        if not (self.leave_out and isinstance(error, ImpossibleError)):
            raise ConfigError(place, error.message) from error
        self.left_out.append((what, str(error)))


def single(run: Run) -> Study:
    """One run as a study, evaluated at its training resolution."""
    wanted = [default_evaluation(run, part, run.resolution) for part in run.measured_parts]
    return Study(run.id, "", "", "", (run,), {run.id: wanted}, (run.resolution,))


@dataclass(frozen=True)
class Where:
    """Where the values of a cell stand in the file: its model's table, its arm's, and the keys each of them sets."""

    place: int  # of its model in the list
    arm: str
    arm_keys: frozenset[str]
    model_keys: frozenset[str]

    @property
    def model(self) -> str:
        """Where its model's table stands: 'models[0]'."""
        return f"models[{self.place}]"

    def prefix(self, key: str) -> str:
        """What stands before a key of the run: the table that sets it, 'models[0].', or nothing for the study's."""
        table = self.model if key in self.model_keys else self.arm if key in self.arm_keys else ""
        return f"{table}." if table else ""

    def of(self, path: str) -> str:
        """Where the value of a dotted path stands: 'models[0].position', 'recipe.learning_rate'."""
        key, _, inner = path.partition(".")
        return f"{self.model}.{inner}" if key == "options" else f"{self.prefix(key)}{path}"


def _cells(table: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Where]]:
    """Every cell as settings for `make_run`, with what of it is NOT_OF_THE_RUN, and where its model is in the file."""
    base = {key: value for key, value in table.items() if key in (*GRID, *NOT_OF_THE_RUN)}
    for number, arm in enumerate(table.get("arms", [{}])):
        unknown_key(arm, (*GRID, *NOT_OF_THE_RUN), f"arms[{number}].", _elsewhere(table) | OF_THE_STUDY)
        for place, model in enumerate(table["models"]):
            options, own = _split_model(model, f"models[{place}]")
            where = Where(place, f"arms[{number}]", frozenset(arm), frozenset(own))
            merged = _merge(_merge(base, arm), own)
            other = {
                "test_resolutions": _resolutions(merged.pop("test_resolutions", []), where.prefix("test_resolutions")),
                "evaluations": read_tables(merged.pop("evaluations", []), where.prefix("evaluations")),
                "trials": _trials(merged.pop("trials", None), where.prefix("trials")),
            }
            merged["model"] = model["name"]
            start = _start(table, number, own)
            axes = [*_axes(merged), *((f"options.{key}", value) for key, value in options.items())]
            for values in itertools.product(*(_listed(path, value, where) for path, value in axes)):
                cell = _nested([path for path, _ in axes], values)
                if start is not None:
                    own_axes = {key: value for key, value in cell.items() if key not in start}
                    cell["init_from"] = {
                        key: value for key, value in {**own_axes, **start}.items() if value is not None
                    }
                yield cell | other, where


def _start(table: Mapping[str, Any], number: int, own: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where an arm's runs start from those of another arm: the settings in which these differ from them, None for what
    they leave to the defaults. Raises ConfigError for an arm that is not there, or has several such runs."""
    arms, key = table.get("arms", [{}]), f"arms[{number}].init_from"
    arm = arms[number]
    named = ARM.fullmatch(str(arm.get("init_from", "")))
    if named is None:
        return None
    place = int(named[1])
    if place >= len(arms) or ARM.fullmatch(str(arms[place].get("init_from", ""))):
        why = "starts from an arm itself" if place < len(arms) else "is not there"
        known = [f"arms[{one}]" for one, other in enumerate(arms) if not ARM.fullmatch(str(other.get("init_from", "")))]
        raise ConfigError(key, f"{named[0]} {why}; allowed: {', '.join(known)}")
    base = {name: value for name, value in table.items() if name in GRID}
    merged = _merge(_merge(base, arms[place]), own)
    decided = {name for name in (*arm, *arms[place]) if name in GRID and (name not in own or name == "recipe")}
    start = {name: merged.get(name) for name in decided | {"init_from"}}
    for path, value in _axes(start):
        if isinstance(value, list) and path not in SEQUENCES:
            raise ConfigError(key, f"{named[0]} has several runs to start from: {path} is a list there")
    return start


def _split_model(model: Any, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A [[models]] table as (model options, fields of the run). Raises ConfigError for a key that is neither."""
    if not isinstance(model, Mapping):
        raise ConfigError(place, f"{model!r} is not a table with a `name`")
    if not isinstance(model.get("name"), str):
        raise ConfigError(f"{place}.name", "is required: " + ", ".join(models.model_names()))
    try:
        options = _options(model["name"])
    except models.ModelError as error:
        raise ConfigError(f"{place}.name", str(error)) from error
    allowed = ("name", "search", *GRID, *NOT_OF_THE_RUN, *options)
    unknown_key(
        model, allowed, f"{place}.", IN_TABLES | {key: why for key, why in OF_THE_STUDY.items() if key not in allowed}
    )
    own = {key: value for key, value in model.items() if key in (*GRID, *NOT_OF_THE_RUN) and key not in options}
    return {key: value for key, value in model.items() if key in options}, own


def _options(model: str) -> set[str]:
    """The options of a model, with those of every encoding and mixer: which of them a cell can have is seen in the
    cell. Raises ModelError for a name that is none."""
    return set(models.possible_options(model))


def _elsewhere(table: Mapping[str, Any]) -> dict[str, str]:
    """Keys that belong under another key of a study, or in a table of it, and where that is."""
    found = table.get("models")
    names = [model.get("name") for model in found if isinstance(model, Mapping)] if isinstance(found, list) else []
    known = [name for name in names if name in models.model_names()]
    options = {option for name in known or ["vit"] for option in _options(name)} - {"name"}
    return {**dict.fromkeys(options, "belongs in a [[models]] table"), **IN_TABLES}


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`; changes to a recipe add up unless the recipe is named anew."""
    merged = {**below, **above}
    if isinstance(above.get("recipe"), Mapping) and "name" not in above["recipe"] and "recipe" in below:
        lower = below["recipe"] if isinstance(below["recipe"], Mapping) else {"name": below["recipe"]}
        merged["recipe"] = {**lower, **above["recipe"]}
    return merged


def _axes(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of every field, tables of recipe and budget taken apart."""
    for key, value in settings.items():
        if key in ("recipe", "budget") and isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", inside) for inner, inside in value.items())
        else:
            yield key, value


def _listed(path: str, value: Any, where: Where) -> list[Any]:
    """The values of an axis; a field that is itself a sequence is an axis only as a list of lists. Raises ConfigError
    for a list without values, or with one value twice."""
    if not isinstance(value, list):
        return [value]
    if path in SEQUENCES and not (value and isinstance(value[0], list)):
        return [value]
    if not value:
        raise ConfigError(where.of(path), "is an empty list: an axis needs a value")
    for place, one in enumerate(value):
        if repr(one) in map(repr, value[:place]):
            raise ConfigError(where.of(path), f"{one!r} stands twice in the list: each value makes runs of its own")
    return value


def _nested(paths: list[str], values: tuple[Any, ...]) -> dict[str, Any]:
    """Settings for `make_run` from dotted paths."""
    settings: dict[str, Any] = {"options": {}}
    for path, value in zip(paths, values, strict=True):
        key, _, inner = path.partition(".")
        if inner:
            settings.setdefault(key, {})
            settings[key] = {**settings[key], inner: value}
        else:
            settings[key] = value
    return settings


def _resolutions(value: Any, prefix: str) -> list[int]:
    values = value if isinstance(value, list) else [value]
    for one in values:
        if type(one) is not int or one < 1:
            raise ConfigError(f"{prefix}test_resolutions", f"{one!r} is not a number of pixels")
    return sorted(set(values))


def _trials(value: Any, prefix: str) -> int | None:
    if value is None or (type(value) is int and value >= 0):
        return value
    what = "a list is no axis here" if isinstance(value, list) else f"{value!r} is not a whole number from 0 on"
    raise ConfigError(f"{prefix}trials", f"{what}: one number of configurations tried in tuning; 0 for none")


def _check_types(table: Mapping[str, Any]) -> None:
    for key in ("models", "arms"):
        value = table.get(key, [{}])
        if value == []:
            raise ConfigError(key, "is an empty list")
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            raise ConfigError(key, f"is not a list of tables: write [[{key}]]")
    if not table.get("models"):
        raise ConfigError("models", "is required: at least one [[models]] table with a `name`")
    allowed = {
        "invalid": ("refuse", "leave_out"),
        "duplicates": ("keep", "leave_out"),
        "predictions": ("auto", "logits", "top5", "classes", "none"),
    }
    for key, values in allowed.items():
        if table.get(key, values[0]) not in values:
            hint = did_you_mean(str(table[key]), values)
            raise ConfigError(key, f"{table[key]!r} is not one of {', '.join(values)}{hint}")
    share = table.get("starved_below", 0.99)
    if type(share) not in (int, float) or not 0 <= share <= 1:
        raise ConfigError("starved_below", f"{share!r} is not a share between 0 and 1")


def _place(key: str, where: Where, cell: Mapping[str, Any]) -> str:
    """Where in the file the value of a refused cell stands."""
    if key in ("model", "options") or key.startswith("options."):
        return where.model + key.removeprefix("model").removeprefix("options")
    by_model = ("resolution", "test_resolutions", "train_size", "validation", "size")
    said = f"{key} (with {where.model}: {_describe(cell)})" if key in by_model else key
    return where.prefix(key.partition(".")[0]) + said


def _describe(cell: Mapping[str, Any]) -> str:
    """A cell in words: what identifies it in the grid."""
    options = " ".join(str(value) for value in cell.get("options", {}).values())
    given = {
        name: cell[name] for name in ("size", "dataset", "train_size", "resolution", "draw", "seed") if name in cell
    }
    return " ".join([f"{cell.get('model', 'vit')} {options}".strip(), *(f"{k} {v}" for k, v in given.items())])
