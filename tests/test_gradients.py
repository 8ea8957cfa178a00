"""`dslc verify --gradients`: sound targets agree, and a gradient that is wrong is found and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from backends.base import Arrays, Artifact, EmitOptions, Session
from backends.torch import BACKEND as TORCH
from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.ir import Graph, Node, Program, Value
from dsl.passes.every_graph import rewrite_every_graph
from dsl.source import Source
from dsl.target import backend as find
from dsl.types import DType
from dsl.verification import compare
from dsl.verification.gradient_noise import tolerances
from dsl.verification.gradient_report import DIFFERENCES, GradientReport
from dsl.verification.gradients import verify_gradients

BLOCKS = Path(__file__).parent / "blocks.dl"


@dataclass(frozen=True, slots=True)
class TwinBackend:
    """PyTorch, with the gradient of `spoiled`, an operation, a tenth larger than it is."""

    spoiled: str = ""
    name: str = "twin"
    summary: str = "PyTorch again"
    requires: tuple[str, ...] = ("numpy",)
    training: bool = True

    def refusal(self, node: Node, options: EmitOptions) -> str | None:
        return None

    def emit(self, program: Program, options: EmitOptions, weights: Arrays | None = None) -> Artifact:
        return TORCH.emit(rewrite_every_graph(program, self._spoil)[0], options)

    def load(self, artifact: Artifact, program: Program, weights: Arrays, *, device: str = "cpu") -> Session:
        return TORCH.load(artifact, program, weights)

    def _spoil(self, graph: Graph) -> tuple[Graph, bool]:
        """y becomes 1.1 y - 0.1 stop(y): the same value, another gradient."""
        result = graph.copy()
        for node in list(graph):
            if node.op == self.spoiled:
                _lean(result, node)
        result.reorder()
        result.library = False  # the body counts, not what PyTorch has for the name
        return result, True


def _lean(graph: Graph, node: Node) -> None:
    y, types = Value(node.id), node.types[:1]
    tenth = Value(graph.add("const", (), {"value": np.asarray(0.1)}, (replace(types[0], shape=()),)).id)
    still = Value(graph.add("stop_gradient", (y,), {}, types).id)
    change = Value(graph.add("sub", (y, still), {}, types).id)
    part = Value(graph.add("mul", (change, tenth), {}, types).id)
    total = graph.add("add", (y, part), {}, types)
    readers = [n for n in graph.users(graph.node(y)) if n.id not in (still.node, change.node, total.id)]
    for reader in readers:
        moved = tuple(Value(total.id) if v == y else v for v in reader.inputs)
        graph.replace_node(replace(reader, inputs=moved))
    graph.outputs = {name: Value(total.id) if v == y else v for name, v in graph.outputs.items()}


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def plug(spoiled: str) -> None:
        backend = TwinBackend(spoiled)
        monkeypatch.setattr(compare, "find", lambda name: backend if name == "twin" else find(name))
        monkeypatch.setattr(compare, "require_packages", lambda backend: None)

    return plug


def checked(text: str, backends: list[str], **options: object) -> GradientReport:
    program = compile_graph(Source("test.dl", text), float_type=DType.F64)
    return verify_gradients(program, backends=backends, **options)  # type: ignore[arg-type]


PERCEPTRON = (
    "model M()(x: float[B, 3]) -> (y: float[B, 2]) {\n  h = x -> Linear(3) -> tanh\n  return h -> Linear(2) -> softplus\n}"
)


def test_a_sound_target_agrees(twin: Callable[[str], None]) -> None:
    twin("")
    report = checked(PERCEPTRON, ["torch", "twin"])
    assert report.ok, report.diagnostics
    assert {(row.backend, row.against) for row in report.rows} == {
        ("torch", DIFFERENCES),
        ("twin", "torch"),
        ("twin", DIFFERENCES),
    }


@pytest.mark.parametrize("op", ["tanh", "softplus", "matmul"])
def test_a_wrong_gradient_is_found_and_named(twin: Callable[[str], None], op: str) -> None:
    twin(op)
    report = checked(PERCEPTRON, ["torch", "twin"])
    assert not report.ok
    assert all(row.ok for row in report.rows if row.backend == "torch")
    (divergence,) = report.divergences
    assert divergence.op == op
    found = divergence.diagnostic()
    assert found.code == "DL0815"
    assert f"`{op}`" in found.message


def test_the_place_of_a_wrong_gradient_is_shown(twin: Callable[[str], None]) -> None:
    twin("tanh")
    (found,) = checked(PERCEPTRON, ["torch", "twin"]).diagnostics
    assert PERCEPTRON[found.span.start : found.span.end] == "tanh"


@pytest.mark.parametrize("model", ["Recurrent", "Penalty", "Adapting", "Straight", "Norms"])
def test_torch_and_jax_agree_with_differences(model: str) -> None:
    """Scans, gradients of gradients, parameters that are moved, a gradient of the spec's own, statistics of a batch."""
    program = compile_graph(BLOCKS, model=model, float_type=DType.F64)
    report = verify_gradients(program, backends=["torch", "jax"], brief=True)
    assert report.ok, report.diagnostics
    assert len(report.rows) == 3


def test_the_type_that_is_shipped_is_compared_with_float64() -> None:
    text = Source("test.dl", PERCEPTRON)
    report = verify_gradients(compile_graph(text, float_type=DType.F64), compile_graph(text), ["torch"])
    assert report.ok, report.diagnostics
    assert [(row.against, row.dtype) for row in report.rows] == [(DIFFERENCES, "f64"), ("torch in f64", "f32")]


def test_what_comes_from_a_while_is_left_out_and_said() -> None:
    report = verify_gradients(compile_graph(BLOCKS, model="Looping", float_type=DType.F64), backends=["torch"])
    assert report.ok
    assert not report.rows
    assert report.remarks == ("`y` of `forward` comes from a `while`, which has no gradient",)


@pytest.mark.parametrize("name", ["onnx", "reference"])
def test_a_target_without_gradients_is_refused_by_name(name: str) -> None:
    with pytest.raises(SpecError, match="DL0817"):
        checked(PERCEPTRON, [name])


def test_a_gradient_that_is_zero_may_be_off_by_what_its_terms_round_to() -> None:
    exact = {"bias": np.zeros(3), "weight": np.ones(3)}
    tries = [{"bias": np.full(3, 1e-5), "weight": np.ones(3)}]
    allowed = tolerances(exact, tries, 2.0**-23, 0.0)
    assert allowed["bias"] == pytest.approx(1e-5 + 4 * 2.0**-23)
    assert allowed["weight"] == pytest.approx(4 * 2.0**-23)
