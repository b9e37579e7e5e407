"""Which definitions a piece of our code is made of: the slice from its entry points, each definition digested.

The slice follows names through our own modules. Comments, formatting, docstrings and annotations of names do not count,
and a change of anything outside the slice touches nothing.
"""

import ast
import hashlib
import importlib.util
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import models
from benchmarks.same_bits import GONE, SAME

PACKAGES = ("benchmarks", "models")

# Declarations, look-ups by name, and messages, as whole modules or symbols: what they come to for a run is recorded in
# its configuration or digested as a fact below, and what they lead to is named by `entry_points`. Following them would
# make every run depend on every model, data set and augmentation.
REGISTRIES = {
    "benchmarks.data.catalogue:DATASETS",
    "benchmarks.data.catalogue:dataset",
    "benchmarks.errors",
    "benchmarks.plan.probes:NO_PROBE",
    "benchmarks.plan.probes:PROBES",
    "benchmarks.plan.recipes",
    "benchmarks.plan.run:Run",
    "benchmarks.data.subsets:part_sizes",
    "models.trained.frozen",
    "benchmarks.training.images",
    "benchmarks.training.ranks.share",
    "models",
    "models.positions.encodings",
    "models.catalogue.families",
    "models.hints",
    "models.catalogue.ready_made",
    "models.catalogue.registry:check_resolution",
    "models.catalogue.registry:PARTS",
    "models.catalogue.registry:family",
    "models.catalogue.registry:resolve_options",
    "models.catalogue.sizes",
}


def slice_digests(entries: Iterable[str]) -> dict[str, str]:
    """Digest of every definition reached from the entry points, sorted by name."""
    return dict(_slice(tuple(entries)))


@lru_cache(maxsize=64)
def code_digest(entries: tuple[str, ...]) -> str:
    """One digest of every definition reached from the entry points, whatever modules they are in."""
    own = sorted((_own_name(name), digest) for name, digest in _slice(entries))
    return digest_of("".join(f"{name}={digest};" for name, digest in own))


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """The definitions and facts that differ between two slices, each with how: `models.vit:Block (changed)`.

    What is the same in another module has not changed: a definition is known by its own name and its digest.
    """
    return () if old == new else _changes(tuple(old.items()), tuple(new.items()))


@lru_cache(maxsize=4096)
def _changes(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    kept = {(_own_name(name), digest) for name, digest in new}
    old = tuple(one for one in old if (known := (_own_name(one[0]), one[1])) not in GONE or known in kept)
    before, after = _only_in(old, new), _only_in(new, old)
    named_before, named_after = set(map(_own_name, before)), set(map(_own_name, after))
    words = [f"{name} ({'changed' if _own_name(name) in named_before else 'new'})" for name in after]
    return tuple(sorted([*words, *(f"{name} (gone)" for name in before if _own_name(name) not in named_after)]))


def _only_in(these: tuple[tuple[str, str], ...], others: tuple[tuple[str, str], ...]) -> list[str]:
    """The names of what `these` hold and the others do not."""
    left = Counter((_own_name(name), digest) for name, digest in others)
    names = []
    for name, digest in these:
        left[_own_name(name), digest] -= 1
        if left[_own_name(name), digest] < 0:
            names.append(name)
    return names


def _own_name(name: str) -> str:
    """`module:symbol` without its module; a fact ("data set digits") as it is."""
    module, _, symbol = name.partition(":")
    return symbol if symbol.isidentifier() and " " not in module else name


@lru_cache(maxsize=4096)
def _slice(entries: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        module, _, symbol = name.partition(":")
        if name in found:
            continue
        digest, used = _definition(module, symbol)
        found[name] = digest
        waiting.extend(used)
    return tuple(sorted((name, digest) for name, digest in found.items() if digest))


@lru_cache(maxsize=4096)
def _definition(module: str, symbol: str) -> tuple[str, tuple[str, ...]]:
    """A definition's digest, and the `module:symbol` names it uses."""
    definitions, imports = _module(module)
    if symbol not in definitions:
        if symbol in imports:  # re-exported: follow it to its home
            return digest_of(imports[symbol]), tuple(_resolve(imports[symbol], ()))
        raise LookupError(f"{module} defines no {symbol}")
    nodes = definitions[symbol]
    used: set[str] = set()
    for node in nodes:
        for name, attributes in _names(node):
            if name in definitions and name != symbol:
                used.add(f"{module}:{name}")
            elif name in imports:
                used.update(_resolve(imports[name], attributes))
    digest = digest_of("".join(_text(node) for node in nodes))
    return SAME.get((symbol, digest), digest), tuple(sorted(used - REGISTRIES))


def _resolve(target: str, attributes: tuple[str, ...]) -> Iterator[str]:
    """The symbols meant by an imported name and the attributes taken of it; nothing of a registry module."""
    module, _, symbol = target.partition(":")
    if symbol and _path(f"{module}.{symbol}"):  # `from benchmarks import randomness` names a module
        module, symbol = f"{module}.{symbol}", ""
    if module in REGISTRIES:
        return
    if symbol:
        yield f"{module}:{symbol}"
    else:
        yield from (f"{module}:{name}" for name in attributes if name in _module(module)[0])


def _names(node: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every name read in a definition, with the attribute taken of it where there is one."""
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
            yield child.value.id, (child.attr,)
        elif isinstance(child, ast.Name):
            yield child.id, ()


@lru_cache(maxsize=4096)
def _path(module: str) -> Path | None:
    """The file of one of our modules, found without importing it; None for anything else."""
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package) if package in PACKAGES else None
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent.joinpath(*inner)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _text_of(module: str) -> str:
    """The source of one of our modules, or of a loaded plugin. Raises LookupError for anything else."""
    plugged = models.plugin_source(module)
    if plugged is not None:
        return plugged
    path = _path(module)
    if path is None:
        raise LookupError(f"{module} is no module of the suite")
    return path.read_text(encoding="utf-8")


@lru_cache(maxsize=256)
def _module(module: str) -> tuple[dict[str, list[ast.AST]], dict[str, str]]:
    """A module's top-level definitions by name, and its imports of ours: name -> `module:symbol` or `module`."""
    definitions: dict[str, list[ast.AST]] = {}
    imports: dict[str, str] = {}
    tree = ast.parse(_text_of(module))
    _Plain().visit(tree)
    for node in ast.walk(tree):  # imports inside functions count as well
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            imports |= {alias.asname or alias.name: f"{node.module}:{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.split(".")[0] in PACKAGES]
            imports |= {alias.asname or alias.name: alias.name for alias in ours}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            definitions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (name for each in targets for name in ast.walk(each) if isinstance(name, ast.Name)):
                definitions.setdefault(target.id, []).append(node)
    return definitions, imports


class _Plain(ast.NodeTransformer):
    """Drops docstrings and annotations, which change no result; `x: T = v` becomes `x = v`."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del body[0]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                return ast.Assign([node.target], node.value)
            node.annotation = ast.Constant(None)
        return node


def _text(node: object) -> str:
    """A definition as text. Empty fields are left out: Python versions differ in which they print."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({','.join(f'{name}={_text(value)}' for name, value in fields)})"
    return f"[{','.join(map(_text, node))}]" if isinstance(node, list) else repr(node)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
