"""The driver: the one file that knows every part. Commands, the public API and the tests go through it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dsl.diagnostics import Diagnostic
from dsl.elaborate.program import MOST_PARAMETERS, Elaborated, elaborate, evaluate_text, run_tests
from dsl.ir import Graph, Program, Value
from dsl.loader import Loader, Unit
from dsl.parse import read_source
from dsl.source import Source
from dsl.types import DType

Spec = str | Path | Source
"""A path, or a Source with the text itself."""


def load(spec: Spec) -> tuple[Unit, tuple[Diagnostic, ...]]:
    """Read and parse a spec and what it imports; the unit and the warnings."""
    loader = Loader()
    source = spec if isinstance(spec, Source) else read_source(str(spec))
    path = None if isinstance(spec, Source) or str(spec) == "-" else Path(spec)
    unit = loader.load(source, path)
    return unit, tuple(loader.warnings)


def compile_graph(
    spec: Spec,
    hyper: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    float_type: DType = DType.F32,
    max_parameters: int = MOST_PARAMETERS,
) -> Program:
    """The checked program of a spec, before any pass."""
    return elaborated(spec, hyper, model=model, float_type=float_type, max_parameters=max_parameters).program


def elaborated(
    spec: Spec,
    hyper: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    float_type: DType = DType.F32,
    max_parameters: int = MOST_PARAMETERS,
) -> Elaborated:
    """The checked program of a spec with all warnings."""
    unit, warnings = load(spec)
    result = elaborate(unit, model=model, settings=hyper, float_type=float_type, max_parameters=max_parameters)
    return Elaborated(result.program, (*warnings, *result.warnings))


def compute(graph: Graph, value: Value) -> np.ndarray:
    """The value of a tensor in a graph without inputs and parameters."""
    from backends.reference import Interpreter

    closed = graph.copy()
    closed.outputs = {"value": value}
    return Interpreter({}).run(closed, {})["value"]


def evaluate_expression(text: str) -> np.ndarray | tuple[np.ndarray, ...]:
    """The value of an expression of the language, computed by the reference: `evaluate_expression("relu([-1.0, 2.0])")`."""
    graph, values = evaluate_text(text)
    results = tuple(compute(graph, v) for v in values)
    return results[0] if len(results) == 1 else results


def test_blocks(spec: Spec) -> list[tuple[str, tuple[Diagnostic, ...]]]:
    """Run the `test` blocks of a spec: each title with what is wrong."""
    unit, _ = load(spec)
    return run_tests(unit, compute)
