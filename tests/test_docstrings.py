"""What every docstring must hold, as far as it can be checked by reading the source.

In `models/` and `analysis/` every public function, class and method has a docstring (`__init__` by that of its class).
In `models/` a function of tensors names a shape, and one that raises an error itself names the error.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
Definition = ast.FunctionDef | ast.ClassDef

# A dimension is a letter of the modules' legends, a number or one of a few words, perhaps in a sum or product: B, D,
# mn, 1+N, 2H0-1, H/2, D'. A shape is two of them in a row, separated by a blank, a comma or a cross.
LETTER = r"\d*(?:[A-Z]|[dhkmnpqt]|mn)\d?'?|\d+|prefix|rows|columns|windows|side|\.\.\."
DIMENSION = rf"(?<![\w`])(?:{LETTER})(?:[-+*/]\w+'?)*(?!\w)"
OF_ALL = {"image_size", "in_channels", "num_classes"}  # arguments of every network
SHAPE = re.compile(rf"{DIMENSION}(?: |, | x ){DIMENSION}|\b(?:shape|length)\b")


def definitions(package: str) -> Iterator[tuple[str, Definition, str]]:
    """Every public definition at the top level of a module or a class: its name, its node, its class's docstring."""

    def public(body: list[ast.stmt], name: str, above: str) -> Iterator[tuple[str, Definition, str]]:
        for node in body:
            if isinstance(node, Definition) and not node.name.startswith("_"):
                yield f"{name}{node.name}", node, above
                if isinstance(node, ast.ClassDef):
                    yield from public(node.body, f"{name}{node.name}.", ast.get_docstring(node) or "")

    for path in sorted((ROOT / package).rglob("*.py")):
        yield from public(ast.parse(path.read_text(encoding="utf-8")).body, f"{path.relative_to(ROOT)}: ", "")


def of_tensors(annotation: ast.expr | None) -> bool:
    """Whether an annotation holds a tensor; a mapping of tensors by name has no shape of its own."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("Mapping", "dict"):
        return False
    if isinstance(annotation, ast.Name):
        return annotation.id == "Tensor"
    children = ast.iter_child_nodes(annotation) if annotation is not None else ()
    return any(of_tensors(child) for child in children if isinstance(child, ast.expr))


def raised(function: ast.FunctionDef) -> set[str]:
    """The errors that a function's own statements raise by name, without those that it catches itself."""

    def names(node: ast.AST, caught: frozenset[str]) -> Iterator[str]:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            yield from {node.exc.func.id} - caught
        for child in ast.iter_child_nodes(node):
            handled: set[str] = set()
            if isinstance(node, ast.Try) and child in node.body:
                kinds = [handler.type for handler in node.handlers if handler.type is not None]
                handled = {part.id for kind in kinds for part in ast.walk(kind) if isinstance(part, ast.Name)}
            yield from names(child, caught | handled)

    return {name for name in names(function, frozenset()) if name.endswith("Error")}


@pytest.mark.parametrize("package", ["models", "analysis"])
def test_everything_public_has_a_docstring(package: str) -> None:
    assert [name for name, node, _ in definitions(package) if not ast.get_docstring(node)] == []


def test_functions_of_tensors_name_a_shape() -> None:
    """`B N D -> B D`, `(..., h, N, d)`, `N x D`, or a sentence about the shape."""
    wrong = []
    for name, node, _ in definitions("models"):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            annotations = [node.returns, *(argument.annotation for argument in arguments)]
            if any(map(of_tensors, annotations)) and not SHAPE.search(ast.get_docstring(node) or ""):
                wrong.append(name)
    assert wrong == []


def test_networks_and_layers_name_a_shape_and_their_arguments() -> None:
    """A class with a forward pass; what a network is made for (its images and classes) is explained once, in `ViT`.

    Arguments that another class explains are "those of" it.
    """
    wrong = []
    for name, node, _ in definitions("models"):
        methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
        text = " ".join((ast.get_docstring(node) or "").split())
        if isinstance(node, ast.ClassDef) and methods.keys() & {"forward", "run"} and not SHAPE.search(text):
            wrong.append(f"{name} names no shape")
        if isinstance(node, ast.ClassDef) and "__init__" in methods and "those of `" not in text:
            made = methods["__init__"].args
            named = {argument.arg for argument in [*made.args[1:], *made.kwonlyargs]} - OF_ALL
            wrong += [f"{name} says nothing of {one}" for one in sorted(named) if not re.search(rf"\b{one}\b", text)]
    assert wrong == []


def test_functions_that_raise_name_the_error() -> None:
    """In their own docstring or in that of their class."""
    wrong = []
    for name, node, above in definitions("models"):
        if isinstance(node, ast.FunctionDef):
            text = f"{ast.get_docstring(node) or ''} {above}"
            wrong += [f"{name} raises {error}" for error in raised(node) if error not in text]
    assert wrong == []


def test_what_counts_as_a_shape() -> None:
    """Otherwise the tests above say nothing."""
    for text in ("B C H W -> B K", "the mean, N x D", "(..., h, N, d)", "h 2H0-1 2W0-1", "B 1+N D", "in any shape"):
        assert SHAPE.search(text), text
    for text in ("A ViT with heads", "Rows and columns of a grid", "`N` of them", "I add 3 numbers"):
        assert not SHAPE.search(text), text
