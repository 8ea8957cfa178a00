"""Names and strings that mean something to Python, to a framework or to a shell: all targets take them, and compute the same."""

from __future__ import annotations

import ast
import keyword

import pytest

from dsl.compiler import compile_graph, compile_spec
from dsl.diagnostics import SpecError
from dsl.source import Source
from dsl.verification.compare import verify

SHARED = ("from", "import", "as", "def", "return", "assert", "if", "else", "for", "in", "and", "or", "not")
"""Words of Python that are words of the language, too."""

WORDS = [k for k in keyword.kwlist if k[0].islower() and k not in SHARED]
LAYERS = [
    "class",
    "lambda",
    "self",
    "torch",
    "nn",
    "forward",
    "parameters",
    "eval",
    "print",
    "jax",
    "np",
    "weight",
    "type",
    "_modules",
]
TENSORS = [
    "None_",
    "lambda",
    "print",
    "self",
    "x",
    "torch",
    "F",
    "jnp",
    "key",
    "params",
    "state",
    "input",
    "output",
    "len",
    "__class__",
]


def spec() -> Source:
    steps = zip(TENSORS[1:], TENSORS[:-1], LAYERS, strict=True)
    body = "".join(f"  {name} = {before} -> {label}: Linear(3)\n" for name, before, label in steps)
    return Source(
        "del.dl",
        "model Module(def_: int = 3)(list: float[class, def_]) -> (return_: float[class, 3]) {\n"
        '  require class < 1000, "quotes \\" and \\\\ and {braces} and a \\n line and %s"\n'
        f"  {TENSORS[0]} = list -> relu\n{body}  return {TENSORS[-1]}\n}}\n",
    )


def code(text: str, target: str) -> str:
    return compile_spec(Source("net.dl", text), target).artifact.content.decode()


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_names_of_the_host_are_fine(backend: str) -> None:
    program = compile_graph(spec())
    assert list(program.parameters())[:2] == ["class.weight", "class.bias"], "parameters keep the names of the spec"
    report = verify(program, [backend], sizes=1)
    assert report.ok, [d.message for d in report.diagnostics]


def test_the_one_name_that_pytorch_cannot_have_is_refused() -> None:
    """An nn.Module assigns to `self.training`, which a layer of that name would stop."""
    text = "model Net()(x: float[B, 3]) {\n  return x -> training: Linear(2)\n}\n"
    with pytest.raises(SpecError) as caught:
        code(text, "torch")
    (problem,) = caught.value.diagnostics
    assert problem.code == "DL0705" and problem.span.line == 2 and problem.help is not None and "`jax`" in problem.help


@pytest.mark.parametrize("name", WORDS)
def test_any_word_of_python_names_a_layer_or_a_tensor(name: str) -> None:
    text = f"model Net()(x: float[B, 3]) {{\n  {name} = x -> {name}: Linear(2)\n  return {name}\n}}\n"
    for target in ("torch", "jax"):
        compile(code(text, target), "net.py", "exec")


@pytest.mark.parametrize("name", ["../x", "a-b", "a.b", 'a"); import os', "größe", "a b", ""])
def test_what_is_no_name_never_gets_through(name: str) -> None:
    with pytest.raises(SpecError):
        compile_graph(Source("net.dl", f"model Net()(x: float[B, 3]) {{\n  return x -> {name}: Linear(2)\n}}\n"))
    with pytest.raises(SpecError):
        compile_graph(Source("net.dl", f"model {name or '1'}()(x: float[B, 3]) {{\n  return x\n}}\n"))


@pytest.mark.parametrize("model", ["con", "__init__", "Module", "Linear", "Tensor", "None_", "_"])
def test_names_of_models(model: str) -> None:
    text = f"model {model}()(x: float[B, 3]) {{\n  return relu(x)\n}}\n"
    for target in ("torch", "jax"):
        compile(code(text, target), "net.py", "exec")


@pytest.mark.parametrize("comment", ['"""', "\\", "'''", '""" + __import__("os").system("true") + """'])
def test_comments_stay_comments(comment: str) -> None:
    text = f"# {comment}\nmodel Net()(x: float[B, 3]) {{\n  # {comment}\n  return relu(x)\n}}\n"
    for target in ("torch", "jax"):
        names = {node.id for node in ast.walk(ast.parse(code(text, target))) if isinstance(node, ast.Name)}
        assert "__import__" not in names
