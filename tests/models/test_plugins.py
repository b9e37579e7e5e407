"""Plugins: what a file declares is registered whole, once, under a free name; the contract catches broken ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import models
from models.catalogue import plugins
from models.catalogue.families import FAMILIES
from models.checks import contract
from models.checks.contract import CHECKS, Subject
from models.network import attend
from models.positions.encodings import ENCODINGS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "own-models.md"
RING, PATCH_MEAN = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
NAME_OF_RING = 'RING = Encoding(\n    "ring"'


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What a test registers is gone after it."""
    tables = ENCODINGS, FAMILIES, plugins._loaded
    kept = [dict(table) for table in tables]  # type: ignore[call-overload]
    yield
    for table, before in zip(tables, kept, strict=True):
        table.clear()  # type: ignore[attr-defined]
        table.update(before)  # type: ignore[attr-defined]
    for name in [name for name in sys.modules if name.startswith(plugins.PREFIX)]:
        del sys.modules[name]


def plugged(source: str, name: str = "ring.py") -> models.Plugin:
    return models.Plugin(name, source, f"somewhere/{name}")


def broken(source: str, check: str, **options: models.Scalar) -> str:
    """What a check says of the ViT with a broken ring, or nothing."""
    models.load_plugin(plugged(source))
    try:
        CHECKS[check](Subject("vit", {"position": "ring", "scale": 8, **options}))
    except (AssertionError, IndexError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("source", "name"), [(RING, "vit"), (RING, "ladder"), (PATCH_MEAN, "patch_mean")])
def test_the_documented_examples_keep_the_contract(source: str, name: str) -> None:
    """The two examples of docs/own-models.md, whole; the encoding is offered by a network without attention as well."""
    (declared,) = models.load_plugin(plugged(source, "example.py"))
    options: dict[str, models.Scalar] = {"position": "ring", "scale": 8} if declared.name == "ring" else {}
    for check in CHECKS.values():
        check(Subject(name, options))


def test_importing_models_loads_no_torch_and_plugins_are_offered_everywhere() -> None:
    """The families that offer all encodings offer the new one; those that offer additive ones only an additive."""
    models.load_plugin(plugged(RING))
    offering = {name for name, one in FAMILIES.items() if any("ring" in (o.allowed or ()) for o in one.options)}
    everywhere = {name for name, one in FAMILIES.items() if any("none" in (o.allowed or ()) for o in one.options)}
    assert offering == everywhere >= {"vit", "cct", "ladder"}
    models.load_plugin(plugged(RING.replace("additive=True,", "").replace('"ring",', '"hoop",'), "hoop.py"))
    assert "hoop" in next(o.allowed or () for o in FAMILIES["vit"].options if o.name == "position")
    assert "hoop" not in next(o.allowed or () for o in FAMILIES["ladder"].options if o.name == "position")
    assert models.resolve_options("vit", size="pico", options={"position": "ring"})["ring_count"] == 4


def test_what_a_plugin_imports_is_not_its_own() -> None:
    """A shipped family and a shipped encoding at its top level, by import: it declares its own encoding alone."""
    imports = (
        "from models.positions.encodings import ENCODINGS\nfrom models.catalogue.families import VIT\n"
        "NONE = ENCODINGS['none']\n"
    )
    before = models.model_names(), models.position_names()
    (declared,) = models.load_plugin(plugged(imports + RING))
    assert declared.name == "ring" and declared.entry == "plugin_ring:Ring"
    assert (models.model_names(), models.position_names()) == (before[0], (*before[1], "ring"))
    hoop = RING.replace('"ring",', '"hoop",')
    (second,) = models.load_plugin(plugged(imports + hoop, "hoop.py"))  # families are other objects by now
    assert second.name == "hoop"


def test_a_family_made_of_a_shipped_one_has_its_sizes() -> None:
    """A declaration holds its dimensions, so another name and class of it are sized like the first."""
    source = (
        "from dataclasses import replace\nfrom models.catalogue.families import VIT\nfrom models.vit import ViT\n"
        "class Tall(ViT): pass\nTALL = replace(VIT, name='tall', entry='Tall')\n"
    )
    models.load_plugin(plugged(source, "tall.py"))
    for size, scale in (("nano", 32), ("tiny", 224), ("S/16", 64)):
        given: Any = {"size": size, "options": {"scale": scale}}
        assert models.resolve_options("tall", **given) == models.resolve_options("vit", **given)
    with pytest.raises(models.ModelError, match="model tall: no size 'pico' at scale 64"):
        models.resolve_options("tall", size="pico", options={"scale": 64})


def test_twice_is_once_and_other_content_is_refused() -> None:
    """The same source again changes nothing; another source under the same name cannot be told apart in records."""
    assert models.load_plugin(plugged(RING)) == models.load_plugin(plugged(RING))
    assert models.plugins_behind(["vit", "ring"]) == models.loaded_plugins() == (plugged(RING),)
    assert models.plugins_behind(["vit", "none"]) == ()
    with pytest.raises(models.ModelError, match=r"another ring\.py is loaded already, from somewhere/ring\.py"):
        models.load_plugin(plugged(RING + "\n"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_this_name\n", r"ring\.py: ModuleNotFoundError in line 1: No module named"),
        ("x = 1\nx / 0\n", r"ZeroDivisionError in line 2"),
        ("x = (\n", r"SyntaxError in line 1"),
        ("x = 1\n", r"declares nothing: it needs an Encoding\(\.\.\.\) or a Family"),
        (RING.replace('"Ring",', '"Rings",'), r"ring: the file defines no Rings; did you mean `Ring`\?"),
        (
            RING.replace(NAME_OF_RING, NAME_OF_RING.replace('"ring"', '"learned_1d"')),
            "there is a position 'learned_1d'",
        ),
        (RING.replace(NAME_OF_RING, NAME_OF_RING.replace('"ring"', '"Ring!"')), "lower-case letters"),
    ],
)
def test_a_file_that_is_no_plugin_leaves_nothing(source: str, said: str) -> None:
    """One line: the file, its line, what is wrong; nothing is registered."""
    before = models.position_names()
    with pytest.raises(models.ModelError, match=said):
        models.load_plugin(plugged(source))
    assert models.position_names() == before and models.loaded_plugins() == ()
    assert "plugin_ring" not in sys.modules


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Names that cannot be a module or part of an id, and the nearest file for one that is not there."""
    (tmp_path / "ring.py").write_text(RING)
    for name in ("Ring.py", "my ring.py", "ring.txt", "2d.py"):
        with pytest.raises(models.ModelError, match="one Python file, named in lower case"):
            models.read_plugin(tmp_path / name)
    with pytest.raises(models.ModelError, match=r"cannot be read.*did you mean `ring\.py`"):
        models.read_plugin(tmp_path / "rings.py")
    assert models.read_plugin(tmp_path / "ring.py").source == RING


@pytest.mark.parametrize(
    ("old", "new", "check", "said"),
    [
        ("return tokens + added", "return tokens + 0 * added", "gradients", "no gradient reaches position.table"),
        ("torch.hypot(y, x) / max(grid)", "torch.hypot(y, x)", "resolutions", "out of"),
        ("(0, 0, self.prefix, 0)", "(0, 0, 0, self.prefix)", "weight_decay", ""),
        ("normal(0.02)}", "lambda shape, g: torch.randn(shape, dtype=torch.float64)}", "seeds", "moves torch's global"),
        ('ways = ("recompute",)', 'ways = ("stretch",)', "ways", "the refusal of 'teleport' says"),
        ("rings = self.constant(self.ring, grid, tokens.device, torch.long)",
         "rings = self.ring(grid).roll(int(self.training))", "state", ""),
        ("self.table = nn.Parameter(torch.empty(count, self.width))",
         "self.register_buffer('table', torch.empty(count, self.width), persistent=False)",
         "state", "the state dict does not hold all that matters"),
        ("def initial(self):",
         "def __deepcopy__(self, memo):\n"
         "        return Position(grid=self.trained, width=self.width, depth=1, heads=1, prefix=self.prefix)\n\n"
         "    def initial(self):",
         "state", "a deep copy computes something else"),
        ("return tokens + added",
         "return (tokens + added).to(torch.bfloat16 if torch.is_autocast_enabled('cpu') else tokens.dtype)",
         "half_precision", "the residual stream is rounded"),
        ("return tokens + added", "return tokens + added * (1 + 4 * torch.is_autocast_enabled('cpu'))",
         "half_precision", "% away"),
    ],
)  # fmt: skip
def test_the_contract_can_fail(old: str, new: str, check: str, said: str) -> None:
    """The documented ring with one fault: the check that is made for it complains (or, for '', it is no fault)."""
    assert old in RING
    complaint = broken(RING.replace(old, new), check)
    assert said in complaint and bool(said) == bool(complaint)


@pytest.mark.parametrize("form", ["fused", "explicit"])
def test_forms_of_attention_that_differ_are_seen(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ViT one form of whose attention forgets the bias: the check of resolutions complains of the fused form."""

    def forgetful(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, fused: bool, *rest: Any) -> Any:
        forgets = fused == (form == "fused")
        return attend(queries, keys, values, None if forgets else bias, fused, *rest)

    monkeypatch.setattr("models.vit.attend", forgetful)
    with pytest.raises(AssertionError, match=r"^fused attention at 8 x 8"):
        CHECKS["resolutions"](Subject("vit", {"position": "alibi_2d", "scale": 8}))


def test_other_weights_are_seen() -> None:
    """The digest of the weights outside an encoding sees one that moves."""
    network = models.create_model("vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8)
    before = contract.weights_outside_position(network)
    with torch.no_grad():
        network.position.table += 1
    assert contract.weights_outside_position(network) == before
    with torch.no_grad():
        network.head.bias += 1
    assert contract.weights_outside_position(network) != before
