"""A user's own encodings and models: one Python file outside the checkout, loaded by name and kept with the records.

A plugin declares at its top level what it adds, as `models.positions.encodings` and `models.catalogue.families` do:

    RING = Encoding("ring", "a learned vector per ring around the centre", "Ring", ways=("recompute",))

and `load_plugin` registers every `Encoding` and `Family` it finds there. The source that was loaded is kept, so that it
can be copied into records, handed to other processes, and sliced for what a run depends on.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, ModuleType

from models.catalogue.declaration import Family
from models.catalogue.registry import register, registered
from models.hints import did_you_mean
from models.options import ModelError
from models.positions.encodings import Encoding

PREFIX = "plugin_"  # of the module's name
NAME = r"[a-z][a-z0-9_]*"  # of a file, a model or an encoding: they become parts of module names and run ids


@dataclass(frozen=True)
class Plugin:
    """A plugin's file; `path` is where it was read, for messages."""

    name: str  # ring.py
    source: str
    path: str

    @property
    def module(self) -> str:
        """The name of its module, under which its definitions are known in records."""
        return PREFIX + self.name.removesuffix(".py")

    @property
    def digest(self) -> str:
        """SHA-256 of the source."""
        return hashlib.sha256(self.source.encode()).hexdigest()


Declaration = Encoding | Family
_loaded: dict[str, tuple[Plugin, tuple[Declaration, ...]]] = {}  # by module


def loaded_plugins() -> tuple[Plugin, ...]:
    """The plugins that this process has loaded, in order."""
    return tuple(plugin for plugin, _ in _loaded.values())


def plugin_source(module: str) -> str | None:
    """The source of a loaded plugin's module, or None."""
    return _loaded[module][0].source if module in _loaded else None


def plugins_behind(names: Iterable[str]) -> tuple[Plugin, ...]:
    """The plugins that declare any of these models and encodings."""
    given = set(names)
    return tuple(plugin for plugin, found in _loaded.values() if given & {one.name for one in found})


def read_plugin(path: Path) -> Plugin:
    """The plugin in a file, not yet loaded. Raises ModelError for a file that cannot be one."""
    if path.suffix != ".py" or not re.fullmatch(NAME, path.stem):
        raise ModelError(f"plugin {path}: a plugin is one Python file, named in lower case, such as my_position.py")
    try:
        return Plugin(path.name, path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.py")])
        raise ModelError(f"plugin {path}: cannot be read ({error}){near}") from None


class _Source(importlib.abc.InspectLoader):
    """Executes a plugin's source as a module, with tracebacks that show its lines."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin

    def get_source(self, fullname: str) -> str:
        return self.plugin.source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.plugin.source, self.plugin.path)


def load_plugin(plugin: Plugin) -> tuple[Declaration, ...]:
    """Execute a plugin and register what it declares; a second time does nothing.

    Returns what it declares. Raises ModelError when it fails, declares nothing, or declares a name that is taken.
    """
    where = f"plugin {plugin.path}"
    if plugin.module in _loaded:
        known, found = _loaded[plugin.module]
        if known.source != plugin.source:
            raise ModelError(f"{where}: another {plugin.name} is loaded already, from {known.path}")
        return found
    spec = importlib.util.spec_from_loader(plugin.module, _Source(plugin), origin=plugin.path)
    assert spec is not None and spec.loader is not None  # made from a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[plugin.module] = module  # before it runs: dataclasses and pickles look themselves up
    try:
        spec.loader.exec_module(module)
        found = tuple(_declarations(module))
        if not found:
            raise ModelError("declares nothing: it needs an Encoding(...) or a Family(...) at its top level")
        for one in found:
            _check(one, module)
        register(found)
    except Exception as error:  # a user's file can raise anything
        del sys.modules[plugin.module]
        raise ModelError(f"{where}: {_in_one_line(error, plugin)}") from error
    _loaded[plugin.module] = plugin, found
    return found


def _declarations(module: ModuleType) -> Iterator[Declaration]:
    """What a plugin declares at its top level, entries made whole; what it only imports is not its own."""
    imported = {id(one) for one in registered()}
    for value in vars(module).values():
        if isinstance(value, Encoding | Family) and id(value) not in imported:
            yield replace(value, entry=value.entry if ":" in value.entry else f"{module.__name__}:{value.entry}")


def _check(one: Declaration, module: ModuleType) -> None:
    home, _, symbol = one.entry.partition(":")
    if not re.fullmatch(NAME, one.name):
        raise ModelError(f"the name {one.name!r} is not made of lower-case letters, digits and _")
    if home == module.__name__ and not hasattr(module, symbol):
        raise ModelError(f"{one.name}: the file defines no {symbol}{did_you_mean(symbol, vars(module))}")


def _in_one_line(error: Exception, plugin: Plugin) -> str:
    """An error in one line, with the line of the plugin that it comes from."""
    if isinstance(error, ModelError):
        return str(error)
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == plugin.path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{type(error).__name__}{f' in line {line}' if line else ''}: {error}"
