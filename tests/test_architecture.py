"""Who may import whom, and that checking a spec loads no framework. The layers are those of the README's picture."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
OURS = ("dsl", "backends", "grammar")

LAYERS = {
    "text": "dsl.source dsl.diagnostics dsl.error_codes dsl.text_errors dsl.read_source dsl.locks dsl.files dsl.data_files dsl.array_files "
    "dsl.version dsl.garbage dsl.limits",
    "types": "dsl.dims dsl.types",
    "syntax": "grammar dsl.syntax dsl.words dsl.tokens dsl.comments dsl.depth dsl.lalr dsl.build_expressions dsl.check_syntax "
    "dsl.build_tree dsl.clause_errors dsl.syntax_errors dsl.parse dsl.yaml_nodes dsl.yaml_expressions dsl.yaml_statements dsl.load_yaml "
    "dsl.print_expression dsl.print_clauses dsl.printer dsl.dump_yaml",
    "ops": "dsl.ops",
    "graph": "dsl.ir dsl.build dsl.differentiable dsl.print_graph dsl.training",
    "loader": "dsl.loader dsl.allowed",
    "lints": "dsl.lints",
    "elaborate": "dsl.elaborate",
    "passes": "dsl.passes",
    "weights": "dsl.initial_values dsl.weights dsl.weight_parts",
    "data": "dsl.data dsl.hosts",
    "pictures": "dsl.summary dsl.picture dsl.draw",
    "backends": "backends",
    "driver": "dsl.attribution dsl.describe_library dsl.grow dsl.inputs dsl.target dsl.lower dsl.compiler dsl.doctor dsl.trainer "
    "dsl.verification",
    "surface": "dsl.commands dsl.cli dsl",
}
"""The modules of each layer; a package stands for all that is in it."""

MAY_IMPORT = {
    "text": "",
    "types": "",
    "syntax": "text",
    "ops": "types",
    "graph": "text types ops",
    "loader": "text syntax",
    "elaborate": "text types syntax ops graph loader",
    "lints": "text types ops graph",
    "passes": "text types ops graph",
    "weights": "text types ops graph",
    "data": "text types ops graph",
    "pictures": "text types ops graph passes",
    "backends": "text types ops graph",
    "driver": "text types syntax ops graph loader elaborate lints passes weights data pictures backends",
    "surface": "text types syntax ops graph loader elaborate lints passes weights data pictures backends driver",
}
"""What a layer may import beside itself."""

FRAMEWORKS = ("torch", "jax", "onnx", "onnxruntime", "scipy", "sympy", "matplotlib", "sklearn", "pyarrow", "gymnasium")
_LAYER = {module: layer for layer, modules in LAYERS.items() for module in modules.split()}


def layer_of(module: str) -> str:
    """The layer of a module: its own entry or that of the package it is in."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in _LAYER and (prefix != "dsl" or module == "dsl"):
            return _LAYER[prefix]
    raise AssertionError(f"{module} belongs to no layer: add it to LAYERS")


def modules() -> dict[str, Path]:
    """Every module of ours and its file."""
    found = {}
    for path in sorted(p for package in OURS for p in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of ours that a file imports, wherever in it, except for the type checker alone."""
    for statement in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if alias.name.split(".")[0] in OURS)
        elif isinstance(statement, ast.ImportFrom) and statement.module and statement.module.split(".")[0] in OURS:
            inside = [f"{statement.module}.{alias.name}" for alias in statement.names]
            yield from (name if name in known else statement.module for name in inside)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        yield statement
        for inner in ("body", "orelse", "finalbody", "handlers"):
            yield from _statements(getattr(statement, inner, []))


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imported(path, known)) - {name} for name, path in known.items()}


def test_each_layer_imports_only_what_it_may(imports: dict[str, set[str]]) -> None:
    wrong = [
        f"{module} ({layer}) imports {other} ({layer_of(other)})"
        for module, others in imports.items()
        for layer in [layer_of(module)]
        for other in sorted(others)
        if layer_of(other) != layer and layer_of(other) not in MAY_IMPORT[layer].split()
    ]
    assert wrong == []


def test_no_module_imports_itself_by_a_detour(imports: dict[str, set[str]]) -> None:
    graph = nx.DiGraph([(module, other) for module, others in imports.items() for other in others])
    assert [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1] == []


def test_no_backend_knows_another(imports: dict[str, set[str]]) -> None:
    """`backends.jax_rows` is of the family jax; files without a family (base, writer, ...) are shared and know none."""
    families = ("torch", "jax", "onnx", "reference")

    def family(module: str) -> str | None:
        name = module.removeprefix("backends.").split(".")[0].split("_")[0]
        return name if name in families else None

    wrong = [
        f"{module} imports {other}"
        for module, others in imports.items()
        if module.startswith("backends")
        for other in others
        if other.startswith("backends.") and family(other) is not None and family(other) != family(module)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "code",
    [
        "import dsl",
        "import dsl.cli; assert dsl.cli.run(['check', 'specs/cnn/lenet.dl']) == 0",
        "import dsl.cli; assert dsl.cli.run(['fmt', '--check', 'specs/cnn/lenet.dl']) == 0",
        "import dsl.cli; assert dsl.cli.run(['ops', 'relu']) == 0",
        "import dsl.cli; assert dsl.cli.run(['explain', 'DL0301']) == 0",
    ],
    ids=["import", "check", "fmt", "ops", "explain"],
)
def test_no_framework_is_loaded_to(code: str) -> None:
    program = f"{code}\nimport json, sys\nprint(json.dumps([m for m in {FRAMEWORKS} if m in sys.modules]))"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1]) == []
