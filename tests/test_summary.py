"""Summaries: counts that papers and other tools publish, the convention of the cost, formulas, sharing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsl.compiler import compile_graph
from dsl.dims import evaluate
from dsl.source import Source
from dsl.summary import Summary, summarize

SPECS = Path(__file__).parents[1] / "specs"


def summary(text: str) -> Summary:
    return summarize(compile_graph(Source("test.dl", text)))


def body(inputs: str, statements: str) -> str:
    return f"model Net()({inputs}) {{\n{statements}\n}}\n"


def test_resnet_50_has_the_published_cost() -> None:
    """4.09 G multiply-adds at 224 x 224, as torchvision gives it (fvcore counts convolutions and the last layer)."""
    found = summarize(compile_graph(SPECS / "cnn" / "resnet.dl", model="ResNet50"))
    assert found.parameters == 25_557_032
    operations = evaluate(found.flops, {"B": 1, "H": 224, "W": 224})
    assert operations / 2 == pytest.approx(4.09e9, rel=0.02)
    assert evaluate(found.flops, {"B": 8, "H": 224, "W": 224}) == pytest.approx(8 * operations, rel=1e-4)


def test_gpt2_counts_its_tied_embedding_once() -> None:
    found = summarize(compile_graph(SPECS / "language" / "gpt2.dl"))
    assert found.parameters == 124_439_808
    assert found.bytes == 4 * 124_439_808
    (blocks,) = [row for row in found.rows if row.path.startswith("blocks.") and row.depth == 0]
    assert (blocks.path, blocks.copies, blocks.definition) == ("blocks.0-11", 12, "Block")
    assert blocks.parameters == 12 * 7_087_872


@pytest.mark.parametrize(
    ("inputs", "expression", "flops"),
    [
        ("x: float[5, 7], y: float[7, 3]", "x @ y", 2 * 5 * 7 * 3),
        ("x: float[2, 5, 7], y: float[7, 3]", "x @ y", 2 * 2 * 5 * 7 * 3),
        ("x: float[5, 7], y: float[5, 7]", "x + y", 35),
        ("x: float[5, 7], y: float[7]", "relu(x) * y", 70),
        ("x: float[5, 7], y: float[4, 7]", 'einsum(x, y, "i d, j d -> i j")', 2 * 5 * 4 * 7),
        ("x: float[2, 5, 7], y: float[2, 4, 7]", 'einsum(x, y, "... i d, ... j d -> ... i j")', 2 * 2 * 5 * 4 * 7),
        ("x: float[5], y: float[4]", 'einsum(x, y, "i, j -> i j")', 20),
        ("x: float[1, 3, 8, 8], y: float[4, 3, 3, 3]", "conv(x, y)", 2 * 4 * 6 * 6 * 3 * 9),
        ("x: float[1, 4, 8, 8], y: float[4, 1, 3, 3]", "conv(x, y, groups=4, padding=1)", 2 * 4 * 8 * 8 * 9),
        ("x: float[1, 3, 8, 8], y: float[3, 5, 2, 2]", "conv_transpose(x, y, stride=2)", 2 * 3 * 8 * 8 * 5 * 4),
        ("x: float[1, 3, 8, 8], y: float[3]", "max_pool(x, kernel=[2, 2], stride=2) + 0", 3 * 4 * 4 * 4 + 3 * 4 * 4),
        ("x: float[5, 7], y: float[3]", "sum(x, over=1)", 35),
        ("x: float[5, 7], y: float[3]", "concat(x, x, over=0)", 0),
        ("x: float[5, 7], y: float[3]", "reshape(x, [35])", 0),
    ],
)
def test_the_cost_of_a_primitive(inputs: str, expression: str, flops: int) -> None:
    assert summary(body(inputs, f"  return {expression}")).flops == flops


def test_a_cost_is_a_formula_of_the_symbolic_dimensions() -> None:
    found = summary(body("x: float[B, T, 8]", '  return einsum(x, x, "b t d, b s d -> b t s")'))
    assert evaluate(found.flops, {"B": 3, "T": 5}) == 2 * 3 * 5 * 5 * 8


def test_what_nothing_needs_costs_nothing() -> None:
    assert summary(body("x: float[B, 4]", "  _spare = x @ x.T\n  return x")).flops == 0


def test_a_shared_layer_costs_twice_and_is_owned_once() -> None:
    found = summary(body("x: float[4, 8]", "  layer fc = Linear(8, bias=false)\n  return fc(fc(x))"))
    assert found.parameters == 64 and found.flops == 2 * (2 * 4 * 8 * 8)
    assert [(row.parameters, row.shared) for row in found.rows] == [(64, False), (0, True)]


def test_a_repeat_is_one_row_with_all_its_copies() -> None:
    found = summary(body("x: float[4, 8]", "  return x -> repeat(1_000) { Linear(8, bias=false) }"))
    (row,) = found.rows
    assert (row.copies, row.parameters, row.flops) == (1_000, 64_000, 1_000 * 2 * 4 * 64)
    assert found.parameters == 64_000


def test_buffers_count_as_bytes_and_not_as_parameters() -> None:
    found = summary(body("x: float[B, 4, H, W]", "  return x -> BatchNorm2d"))
    assert (found.parameters, found.buffers, found.bytes) == (8, 8, 64)
    assert str(found.rows[0].outputs[0]) == "f32[B, 4, H, W]"


def test_types_are_in_the_sizes_of_the_model() -> None:
    inner = "module Double()(x: float[N, K]) {\n  return 2 * x\n}\n"
    outer = "module Half()(x: float[N, L]) {\n  return x[:, :L // 2] -> Double\n}\n"
    found = summary(inner + outer + body("x: float[B, T]", "  return x -> Half"))
    assert [(row.path, str(row.outputs[0])) for row in found.rows] == [
        ("half", "f32[B, T // 2]"),
        ("half.double", "f32[B, T // 2]"),
    ]


def test_a_layer_in_a_scan_is_owned_once_and_costs_at_each_step() -> None:
    text = "  layer fc = Linear(8, bias=false)\n  scan x_t in x over T carry h = zeros(4, 8) { h = fc(x_t) }\n  return h"
    found = summary(body("x: float[T, 4, 8]", text))
    (row,) = found.rows
    assert (row.path, row.parameters, str(row.flops)) == ("fc", 64, "512 * T")
    assert found.parameters == 64
    assert str(found.flops) == "512 * T"
