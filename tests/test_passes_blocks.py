"""Passes keep the meaning of programs with blocks (tests/blocks.dl): scans, whiles, gradients, layers given other parameters."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from backends.reference import Interpreter
from dsl.compiler import compile_graph
from dsl.initial_values import initial_weights
from dsl.ir import Graph, Program
from dsl.passes.drop_dropout import drop_dropout
from dsl.passes.every_graph import rewrite_every_graph, rewrite_graph
from dsl.passes.inline import inline
from dsl.passes.lift_draws import lift_draws
from dsl.passes.lift_parameters import lift_parameters
from dsl.passes.pipeline import GRAPH_PASSES, optimize
from dsl.passes.prune import prune
from dsl.passes.specialize import specialize
from dsl.verification.inputs import make_inputs, unconstant

BLOCKS = Path(__file__).parent / "blocks.dl"
MODELS = ("Recurrent", "Counting", "Looping", "Penalty", "Adapting", "Straight", "Unrolled", "Norms")
SIZES = {"T": 3, "B": 2, "N": 3}


@cache
def compiled(model: str) -> Program:
    return compile_graph(BLOCKS, model=model)


@cache
def weights(model: str) -> dict[str, np.ndarray]:
    program = compiled(model)
    return unconstant(initial_weights(program, 0), program.parameters(), 0)


def graphs_in(graph: Graph) -> list[Graph]:
    return graph.callees()


def same(before: Program, after: Program, model: str, *, training: bool) -> None:
    """Both give the same outputs and updates; the numbers drawn are the same, since no pass changes the order of draws."""
    inputs = make_inputs(before.main, SIZES, 0)
    runs = []
    for program in (before, after):
        for graph in graphs_in(program.main):
            graph.verify()
        interpreter = Interpreter(weights(model), training=training, seed=5)
        runs.append({**interpreter.run(program.main, inputs), **interpreter.updated})
    expected, found = runs
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-7, atol=1e-9)  # gradients are differences, to about 1e-10


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("model", MODELS)
class TestMeaning:
    @pytest.mark.parametrize("name", sorted(GRAPH_PASSES))
    def test_a_pass(self, name: str, model: str, training: bool) -> None:
        after, _ = rewrite_every_graph(compiled(model), GRAPH_PASSES[name])
        same(compiled(model), after, model, training=training)

    def test_inline(self, model: str, training: bool) -> None:
        flat = inline(compiled(model))
        assert {n.op for g in graphs_in(flat.main) for n in g} & {"call", "repeat"} <= (
            {"call"} if model == "Straight" else set()
        )
        assert flat.parameters().keys() == compiled(model).parameters().keys()
        same(compiled(model), flat, model, training=training)

    def test_specialize(self, model: str, training: bool) -> None:
        same(compiled(model), specialize(compiled(model), training=training), model, training=training)

    def test_the_pipeline(self, model: str, training: bool) -> None:
        optimized = optimize(compiled(model), weights(model), training=training)
        if not training and model == "Straight":
            return  # a target that does not differentiate gets functions without the gradients that they bring along
        same(compiled(model), optimized.program, model, training=training)

    def test_parameters_and_draws_become_inputs(self, model: str, training: bool) -> None:
        program = specialize(compiled(model), training=training)
        flat = inline(program).main
        lifted, draws = lift_draws(flat)
        pure = lift_parameters(lifted)
        assert not {n.op for g in graphs_in(pure.graph) for n in g} & {"param", "buffer", "dropout", "randn"}
        inputs = make_inputs(flat, SIZES, 0)
        given = {name: weights(model)[path] for name, path in pure.parameters.items()}
        drawn = {draw.name: draw.sample(dict(SIZES), np.random.default_rng(3)) for draw in draws}
        found = Interpreter({}).run(pure.graph, {**inputs, **given, **drawn})
        if not draws:
            interpreter = Interpreter(weights(model), training=training)
            expected = interpreter.run(program.main, inputs)
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-7, atol=1e-9)


def test_a_draw_in_a_scan_has_an_axis_for_the_steps() -> None:
    _, draws = lift_draws(inline(specialize(compiled("Recurrent"), training=True)).main)
    (draw,) = draws
    assert str(draw.type) == "f32[T, B, 3]"


def test_dropout_is_dropped_in_blocks_too() -> None:
    quiet = drop_dropout(compiled("Recurrent"))
    assert not any(n.op == "dropout" for g in graphs_in(quiet.main) for n in g)
    same(specialize(compiled("Recurrent"), training=False), quiet, "Recurrent", training=True)


def test_what_nothing_reads_is_not_stacked() -> None:
    pruned = rewrite_graph(compiled("Recurrent").main, prune)
    (scan,) = (n for n in pruned if n.op == "scan")
    assert len(scan.types) == 2
    assert scan.target is not None
    assert list(scan.target.graph.outputs) == ["h", "hs"]


def test_the_parameters_of_layers_in_blocks_stay() -> None:
    pruned = rewrite_graph(compiled("Recurrent").main, prune)
    assert "cell" in pruned.children
    flat = rewrite_graph(inline(compiled("Recurrent")).main, prune)
    assert set(flat.parameters) == set(compiled("Recurrent").parameters())


def test_a_buffer_that_was_updated_is_captured_by_the_blocks_after_it() -> None:
    text = """
module Seen()(x: float[B]) -> (y: float[B]) {
  buffer seen: float[] = 1.0
  update seen = seen * 2.0
  return x * seen
}
model M()(x: float[T, B]) -> (y: float[B]) {
  layer seen = Seen()
  start = seen(sum(x, over=0))
  scan x_t in x over T carry h = start { h = h + x_t * seen.seen }
  return h
}
"""
    from dsl.source import Source

    program = compile_graph(Source("test.dl", text))
    inputs = {"x": np.arange(6.0).reshape(3, 2)}
    for training in (False, True):
        runs = [Interpreter({"seen.seen": np.asarray(1.0)}, training=training).run(p.main, inputs) for p in (
            program, inline(specialize(program, training=training)))]  # fmt: skip
        np.testing.assert_array_equal(runs[0]["y"], runs[1]["y"])


@pytest.mark.parametrize("model", [model for model in MODELS if model != "Norms"])  # whose layer is called `repeat`
def test_a_graph_with_blocks_is_printed_as_the_language_has_it(model: str) -> None:
    from dsl.parse import parse
    from dsl.print_graph import print_program
    from dsl.source import Source

    parse(Source("printed.dl", print_program(compiled(model))))


def test_what_a_print_of_a_loop_looks_like() -> None:
    from dsl.print_graph import print_program

    text = print_program(compiled("Counting"))
    assert "  scan i in range(N) reverse=true carry y = v2 {" in text
    assert "    scan x_j in x over N carry z = v3 {" in text
    assert "    emit steps = " in text
