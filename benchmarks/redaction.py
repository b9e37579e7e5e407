"""What hides paths and hosts: one pattern for archives of records and for reports made for double-blind review."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

PLACE, HOST = "PATH", "HOST"

# An absolute path, or one below a home. Not what follows a letter or a dot ('and/or', '../x'), no address
# ('https://x/y'), no end of an HTML element ('</td>'). But 'folder:/home/me' names one.
PATH = re.compile(r"(?<![\w./~])(?!(?<=<)/\w+>)(?:~[\w.-]*/|/)[^\s/'\",;()<>\[\]]+(?:/+[^\s/'\",;()<>\[\]]+)*/*")


IN_ID = re.compile(r"(?<=folder_).*?(?=-n\d+-r\d+-)")  # 'resnet-folder__home_me_pets-n100-r8-d0-s0-...'


class Redactor:
    """Replaces paths, and the names of these hosts with or without their domain, in texts and values made of texts.

    The `paths` given are known whole, whatever letters they have; they stay apart, as PATH1, PATH2 ..., where there are
    several. Ids of runs name data sets, and so paths: these are replaced there, too.
    """

    def __init__(self, hosts: Iterable[str] = (), paths: Iterable[str] = ()):
        names = {name for host in hosts for name in (host, host.partition(".")[0]) if len(name) > 1}
        words = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
        self.hosts = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])") if words else None
        apart = list(dict.fromkeys(paths))
        known = {path: f"{PLACE}{number}" * (len(apart) > 1) or PLACE for number, path in enumerate(apart, 1)}
        self.known = {path: known[path] for path in sorted(known, key=len, reverse=True)}
        self.in_ids = {in_id(path): name for path, name in self.known.items()}

    def text(self, text: str) -> str:
        for path, name in self.known.items():
            text = text.replace(path, name)
        text = PATH.sub(PLACE, text)
        text = IN_ID.sub(lambda found: self._in_an_id(found.group()), text)
        return self.hosts.sub(HOST, text) if self.hosts else text

    def _in_an_id(self, name: str) -> str:
        """A folder of images in an id of a run: what is below the data folder stays, unless its path is known."""
        return self.in_ids.get(name, PLACE if name[:1] in ("_", "~") else name)

    def values(self, value: Any) -> Any:
        """The same for every text in a value of lists and mappings, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.values(key): self.values(inner) for key, inner in value.items()}
        return [self.values(one) for one in value] if isinstance(value, (list, tuple)) else value


def in_id(name: str) -> str:
    """A name as the ids of runs, which are names of folders, have it."""
    return name.replace("/", "_").replace(":", "_")


def telling_path(text: str) -> str | None:
    """The first path in a text that can tell of an account or a machine: of two parts or more; None without one."""
    paths = (found.group() for found in PATH.finditer(text))
    return next((path for path in paths if path.count("/") > 1), None)
