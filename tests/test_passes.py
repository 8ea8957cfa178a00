"""Passes keep the meaning of a program: each is run alone and in the pipeline, and compared with the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from backends.reference import Interpreter
from dsl.compiler import compile_graph
from dsl.ir import Graph, Program
from dsl.passes.every_graph import rewrite_every_graph
from dsl.passes.fold_batch_norm import fold_batch_norm
from dsl.passes.fuse_linear import fuse_linear
from dsl.passes.inline import inline
from dsl.passes.pipeline import GRAPH_PASSES, optimize
from dsl.passes.simplify import RULES, simplify
from dsl.passes.specialize import specialize
from dsl.print_graph import print_program
from dsl.source import Source
from dsl.verification.compare import verify
from tests.small import VARIANTS


def program(body: str, signature: str = "(x: float[B, 4])") -> Program:
    return compile_graph(Source("test.dl", f"model M(){signature} {{\n{body}\n}}\n"))


def operations(graph: Graph) -> list[str]:
    return [n.op for n in graph if n.op not in ("input", "const")]


def random_weights(compiled: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that make every layer matter: batch norms with statistics of their own."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, parameter in compiled.parameters().items():
        shape = tuple(int(d) for d in parameter.type.shape if isinstance(d, int))
        weights[name] = random.uniform(0.5, 1.5, shape) if "var" in name else 0.2 * random.standard_normal(shape)
    return weights


def example_inputs(compiled: Program, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    inputs = {}
    for name, value in compiled.main.inputs.items():
        type_ = compiled.main.type(value)
        shape = tuple(d if isinstance(d, int) else sizes[str(d)] for d in type_.shape)
        inputs[name] = random.integers(0, 2, shape) if type_.dtype.is_int else random.standard_normal(shape)
    return inputs


def small(spec: str) -> tuple[Program, dict[str, np.ndarray]]:
    compiled = VARIANTS[spec].program()
    return compiled, example_inputs(compiled, VARIANTS[spec].sizes[-1])


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("spec", sorted(key for key, variant in VARIANTS.items() if not variant.is_training))
def test_the_pipeline_keeps_the_meaning_of_every_spec(spec: str, training: bool) -> None:
    compiled, inputs = small(spec)
    weights = random_weights(compiled)
    before = Interpreter(weights, training=training, seed=7)
    expected = before.run(compiled.main, inputs)
    better = optimize(compiled, weights, training=training)
    assert better.weights is not None
    after = Interpreter(better.weights, training=training, seed=7)
    found = after.run(better.program.main, inputs)
    for name, value in expected.items():
        # float64 throughout: only the order of operations differs, by a few units in the last place a layer
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-11)
    for name, value in before.updated.items():
        np.testing.assert_allclose(after.updated[name], value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("spec", ["cnn/resnet.dl", "language/gpt2.dl", "attention/transformer.dl"])
def test_inlining_keeps_the_meaning(spec: str) -> None:
    compiled, inputs = small(spec)
    weights = random_weights(compiled)
    flat = inline(specialize(compiled, training=False))
    assert not list(flat.main.calls())
    flat.main.verify()
    assert flat.parameters().keys() == compiled.parameters().keys()
    expected = Interpreter(weights).run(compiled.main, inputs)
    found = Interpreter(weights).run(flat.main, inputs)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("name", sorted(GRAPH_PASSES))
def test_a_pass_has_nothing_to_do_the_second_time(name: str) -> None:
    compiled, _ = small("cnn/resnet.dl")
    once, _ = rewrite_every_graph(inline(compiled), GRAPH_PASSES[name])
    _, again = rewrite_every_graph(once, GRAPH_PASSES[name])
    assert not again


@pytest.mark.parametrize("name", sorted(GRAPH_PASSES))
def test_a_pass_leaves_the_program_that_it_was_given(name: str) -> None:
    compiled, _ = small("cnn/googlenet.dl")
    before = print_program(compiled)
    rewrite_every_graph(compiled, GRAPH_PASSES[name])
    assert print_program(compiled) == before


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_does_what_it_says(rule: object) -> None:
    from dsl.passes.simplify import Rule

    assert isinstance(rule, Rule)
    before, after = program(f"return {rule.before}"), program(f"return {rule.after}")
    simplified, changed = rewrite_every_graph(before, simplify)
    assert changed
    pruned, _ = rewrite_every_graph(simplified, GRAPH_PASSES["prune"])
    assert operations(pruned.main) == operations(after.main)
    x = np.array([[-2.0, -0.5, 0.0, 3.0]])
    expected = Interpreter({}).run(before.main, {"x": x})
    found = Interpreter({}).run(pruned.main, {"x": x})
    for a, b in zip(expected.values(), found.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)


KEPT = [
    "x * 0", "x - x", "0 - x", "2 / x", "x ** 2", "1 / x", "1 ** x", "x + 1", "x * 2", "x - 1", "x / 2", "(-x) + x", "-abs(x)",
    "relu(abs(x))", "abs(relu(x))", "2 / sqrt(x)", "1 / exp(x)", "x + abs(x)", "x - abs(x)", "dropout(x, 0.5)",
    "x + [0.0, 0.0, 0.0, 0.0]", "x[0, 0] + zeros(3)", "cast(x > 0, float)", "expand(x[:1], [2, 4])",
    "argmax(x, over=1) / 1", "not (x > 0)",
]  # fmt: skip


@pytest.mark.parametrize("kept", KEPT)
def test_what_is_not_the_same_for_every_number_stays(kept: str) -> None:
    compiled = program(f"return {kept}")
    assert not rewrite_every_graph(compiled, simplify)[1]


@pytest.mark.parametrize("neutral", ["0 + x", "1 * x", "x + 0.0", "x - 0.0", "x ** 1.0", "x / 1.0", "(x + 0) * 1 - 0"])
def test_neutral_numbers_go_on_either_side(neutral: str) -> None:
    simplified, changed = rewrite_every_graph(program(f"return {neutral}"), simplify)
    assert changed
    assert operations(simplified.main) == []


def test_a_name_stays_with_its_value() -> None:
    simplified, _ = rewrite_every_graph(program("h = exp(x) + 0\nreturn h * h"), simplify)
    assert [n.name for n in simplified.main if n.op == "exp"] == ["h"]


def test_prune_removes_what_nothing_reads() -> None:
    compiled = program("unused = x -> Linear(3)\nreturn relu(x)")
    assert list(compiled.parameters()) == ["linear.weight", "linear.bias"]
    pruned, changed = rewrite_every_graph(compiled, GRAPH_PASSES["prune"])
    assert changed
    assert operations(pruned.main) == ["relu"]
    assert not pruned.parameters()


def test_prune_keeps_a_layer_whose_statistics_change() -> None:
    compiled = program("unused = x -> BatchNorm1d\nreturn relu(x)")
    pruned, _ = rewrite_every_graph(compiled, GRAPH_PASSES["prune"])
    assert "batch_norm1d.running_mean" in pruned.parameters()


def test_constants_are_folded() -> None:
    compiled = program("return x * sum([1.0, 2.0] * cast([3, 4], float), over=0)")
    folded, changed = rewrite_every_graph(compiled, GRAPH_PASSES["fold_constants"])
    pruned, _ = rewrite_every_graph(folded, GRAPH_PASSES["prune"])
    assert changed
    assert operations(pruned.main) == ["mul"]
    np.testing.assert_array_equal(Interpreter({}).run(pruned.main, {"x": np.ones((1, 4))})["y"], np.full((1, 4), 11.0))


@pytest.mark.parametrize(
    ("expression", "folded"),
    [
        ("sum(full([4096], 1.0) * 2)", False),  # full has no operands, and is small as it is
        ("x[0] + expand([1.0], [4096])[:4]", True),
        ("x[0] + expand([1.0], [4097])[:4]", False),  # the program would be longer than what it computes
        ("x + expand([1.0], [B, 4])", False),
        ("x + sum(expand([1.0], [4])[:B])", True),  # up to the slice
        ("x + bernoulli([0.5])", False),
        ("x + stop_gradient([0.5])", False),
        ("x + topk([2.0, 1.0], 1, over=0)[0]", False),
        ("x + cast(exp(cast([0.5], bf16)), float)", False),  # NumPy has no bf16
        ("x + mean([0, 1])", True),
    ],
)
def test_constants_are_folded_where_they_are_small_and_fixed(expression: str, folded: bool) -> None:
    compiled = program(f"return {expression}")
    better, changed = rewrite_every_graph(compiled, GRAPH_PASSES["fold_constants"])
    assert changed == folded
    if folded:
        x = np.ones((2, 4))
        np.testing.assert_array_equal(
            Interpreter({}).run(better.main, {"x": x})["y"], Interpreter({}).run(compiled.main, {"x": x})["y"]
        )


def test_folded_constants_have_the_type_that_they_had() -> None:
    compiled = program("return cast([2, 4, 6, 8], i8) // 3, x")
    folded, _ = rewrite_every_graph(compiled, GRAPH_PASSES["fold_constants"])
    (const,) = (n for n in rewrite_every_graph(folded, GRAPH_PASSES["prune"])[0].main if n.op == "const")
    value = const.attributes["value"]
    assert isinstance(value, np.ndarray) and value.dtype == np.int8 and value.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = split(x, 2, over=1)\nb = split(x, 2, over=1)\nreturn a[0] - b[1]", ["split", "sub"]),
        ("return sum(x, over=0) + sum(x, over=1)[0]", ["sum", "sum", "slice", "reshape", "add"]),
        ("return x + 1 + (x + 1)", ["add", "add"]),
        ("return cast(x, i32), cast(x, i64)", ["cast", "cast"]),
        ("layer f = Linear(4)\nreturn f(x) + f(x)", ["call", "call", "add"]),
    ],
)
def test_what_is_merged_computes_the_same(body: str, left: list[str]) -> None:
    merged, changed = rewrite_every_graph(program(body), GRAPH_PASSES["merge_equal"])
    assert changed == (left in (["split", "sub"], ["add", "add"]))
    merged.main.verify()
    assert operations(merged.main) == left


def test_equal_nodes_are_merged_and_draws_are_not() -> None:
    merged, _ = rewrite_every_graph(program("return exp(x) + exp(x)"), GRAPH_PASSES["merge_equal"])
    assert operations(merged.main) == ["exp", "add"]
    shared = program("layer f = Linear(4)\ny = f(x)\nreturn y + f.weight[0] + f.weight[0]")
    merged, _ = rewrite_every_graph(shared, GRAPH_PASSES["merge_equal"])
    assert operations(merged.main) == ["call", "param", "slice", "reshape", "add", "add"]
    draws, changed = rewrite_every_graph(program("return randn(4) + randn(4) + x"), GRAPH_PASSES["merge_equal"])
    assert not changed
    assert operations(draws.main).count("randn") == 2


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("return permute(permute(x, 1, 0), 1, 0)", []),
        ("return reshape(reshape(x, B, 2, 2), B, 4)", []),
        ("return reshape(reshape(x, B, 2, 2), 2 * B, 2)", ["reshape"]),
        ("return x.T.T.T", ["permute"]),
        ("h = reshape(x, B, 4)\nreturn reshape(h, B, 4) + h", ["add"]),
    ],
)
def test_reshapes_and_permutations_cancel(body: str, left: list[str]) -> None:
    cancelled, _ = rewrite_every_graph(program(body), GRAPH_PASSES["cancel_reshapes"])
    pruned, _ = rewrite_every_graph(cancelled, GRAPH_PASSES["prune"])
    assert operations(pruned.main) == left


def test_permutations_are_joined_in_their_order() -> None:
    compiled = program("return permute(permute(x, 1, 2, 0), 0, 2, 1)", "(x: float[2, 3, 4])")
    joined, _ = rewrite_every_graph(compiled, GRAPH_PASSES["cancel_reshapes"])
    pruned, _ = rewrite_every_graph(joined, GRAPH_PASSES["prune"])
    assert [n.attributes["order"] for n in pruned.main if n.op == "permute"] == [(1, 0, 2)]


def test_permutations_cancel_where_the_first_is_needed_as_well() -> None:
    shared, _ = rewrite_every_graph(program("return sum(x.T) + x.T.T"), GRAPH_PASSES["merge_equal"])
    cancelled, _ = rewrite_every_graph(shared, GRAPH_PASSES["cancel_reshapes"])
    assert operations(cancelled.main) == ["permute", "sum", "add"]


def test_a_step_with_a_name_stays_where_it_is_read_again() -> None:
    named = program("h = x.T\nreturn exp(h), h.T")
    assert not rewrite_every_graph(named, GRAPH_PASSES["cancel_reshapes"])[1]
    alone, changed = rewrite_every_graph(program("h = x.T\nreturn h.T"), GRAPH_PASSES["cancel_reshapes"])
    assert changed
    assert operations(rewrite_every_graph(alone, GRAPH_PASSES["prune"])[0].main) == []


def test_inference_has_no_dropout_no_branch_and_no_update() -> None:
    compiled = program("h = x -> BatchNorm1d -> dropout(0.5)\nreturn h + 1 if training else h")
    for graph in specialize(compiled, training=False).main.callees():
        assert not {"dropout", "if_training"} & set(operations(graph))
        assert not graph.updates
    training = specialize(compiled, training=True).main
    assert "dropout" in operations(training)
    assert any(g.updates for g in training.callees())


@pytest.mark.parametrize(
    ("layer", "signature"),
    [
        ("Conv2d(3, 3)", "(x: float[B, 2, 6, 6])"),
        ("Conv2d(3, 3, bias=false, stride=2)", "(x: float[B, 2, 6, 6])"),
        ("Conv1d(3, 3, bias=false)", "(x: float[B, 2, 6])"),
        ("Linear(5)", "(x: float[B, 4])"),
        ("Linear(5, bias=false)", "(x: float[B, 4])"),
    ],
)
def test_batch_norm_folds_into_the_layer_before_it(layer: str, signature: str) -> None:
    rank = "2d" if "2d" in layer else "1d"
    compiled = program(f"return x -> {layer} -> BatchNorm{rank}(eps=0.0078125) -> relu", signature)
    weights = random_weights(compiled)
    inputs = example_inputs(compiled, {"B": 3})
    folded, changed_weights, changed = fold_batch_norm(specialize(compiled, training=False), weights)
    assert changed
    assert not any("batch_norm" in name for name in (*folded.parameters(), *changed_weights))
    expected = Interpreter(weights).run(compiled.main, inputs)["y"]
    found = Interpreter(changed_weights).run(folded.main, inputs)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "body",
    [
        "h = x -> Linear(5)\nreturn (h -> BatchNorm1d) + h",  # the layer's own result is needed as well
        "layer f = Linear(4)\nreturn x -> f -> BatchNorm1d -> f",  # one set of weights, two uses
        "return x -> BatchNorm1d -> Linear(4)",  # the norm comes first
        "return x -> Linear(4) -> relu -> BatchNorm1d",  # something stands between
        "layer f = Linear(4)\nh = f(x)\nreturn (h -> BatchNorm1d) @ f.weight",  # the weight is read elsewhere
    ],
)
def test_batch_norm_stays_where_folding_would_change_something_else(body: str) -> None:
    compiled = specialize(program(body), training=False)
    assert not fold_batch_norm(compiled, random_weights(compiled))[2]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("return x -> Linear(4) -> Linear(3)", ["linear_1"]),
        ("return x -> Linear(4, bias=false) -> Linear(3, bias=false)", ["linear_1"]),
        ("return x -> Linear(4) -> Linear(3, bias=false)", ["linear_1"]),
        ("return x -> Linear(4) -> Linear(3, bias=false) -> Linear(2)", ["linear_2"]),
        ("return x -> a: Linear(4, bias=false) -> dropout(0.5) -> b: Linear(4) -> relu -> Linear(3)", ["b", "linear"]),
        ("return x -> body: repeat(3) { Linear(4) } -> Linear(3)", ["linear"]),
        ("return x -> body: repeat(3) { Linear(4, bias=false) } -> relu", ["body"]),
        ("return x -> Linear(2) -> Linear(4)", ["linear_1"]),  # 4 * 4 numbers before and after
        ("return x -> Linear(2) -> Linear(8) -> Linear(1)", ["linear_2"]),  # not the first two alone, but all three
        ("return x -> wide: Linear(64) -> BatchNorm1d -> Linear(3)", ["linear"]),  # once the norm is folded
    ],
)
def test_linear_layers_in_a_row_become_one(body: str, left: list[str]) -> None:
    compiled = program(body)
    weights = random_weights(compiled)
    inputs = example_inputs(compiled, {"B": 3})
    better = optimize(compiled, weights, training=False)
    assert "fuse_linear" in better.changed
    assert [n.target.child for n in better.program.main.calls() if n.target and n.target.child] == left
    assert better.weights is not None
    assert better.weights.keys() == better.program.parameters().keys()
    fused = [n.target.graph for n in better.program.main.calls() if n.target and n.target.child == left[0]]
    assert [(g.definition, g.entry, g.kind) for g in fused] == [("Linear", "forward", "module")]
    expected = Interpreter(weights).run(compiled.main, inputs)["y"]
    found = Interpreter(better.weights).run(better.program.main, inputs)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "body",
    [
        "return x -> Linear(4) -> relu -> Linear(4)",  # something stands between
        "h = x -> Linear(4)\nreturn (h -> Linear(4)) + h",  # the first one's result is needed as well
        "layer f = Linear(4)\nreturn x -> f -> f",  # one set of weights, two uses
        "layer f = Linear(4)\nlayer g = Linear(4)\nreturn g(f(x)) @ f.weight",  # the weight is read elsewhere
        "layer f = Linear(4)\nh = f(x)\nlayer g = f with 2 * f.params\nreturn h, x -> g -> Linear(4)",  # the weights are others
        "h = x -> Linear(4)\nreturn h, h -> Linear(4)",  # the first one's result is a result of the model
        "return x -> Linear(1) -> Linear(4)",  # 4 + 4 numbers, and the product has 16
        "return x -> repeat(2) { Linear(4) -> relu }",
    ],
)
def test_linear_layers_stay_where_one_would_not_do_or_would_be_larger(body: str) -> None:
    compiled = specialize(program(body), training=False)
    assert not fuse_linear(compiled, random_weights(compiled))[2]


def test_a_layer_of_two_entry_points_is_fused_once() -> None:
    source = """
    module Net() {
      layer net = Inner()
      def forward(x: float[B, 4]) { return net(x) }
      def twice(x: float[B, 4]) { return 2 * net(x) }
    }
    module Inner()(x: float[B, 4]) { return x -> Linear(4) -> Linear(3) }
    """
    compiled = compile_graph(Source("test.dl", source))
    weights = random_weights(compiled)
    fused, changed_weights, changed = fuse_linear(compiled, weights)
    assert changed
    assert list(changed_weights) == ["net.linear_1.weight", "net.linear_1.bias"]
    x = np.random.default_rng(0).standard_normal((3, 4))
    for name, graph in compiled.entries.items():
        expected = Interpreter(weights).run(graph, {"x": x})["y"]
        np.testing.assert_allclose(Interpreter(changed_weights).run(fused.entries[name], {"x": x})["y"], expected, rtol=1e-12)


def test_what_can_train_keeps_its_linear_layers() -> None:
    compiled = program("return x -> Linear(4) -> Linear(3)")
    weights = random_weights(compiled)
    better = optimize(compiled, weights, training=True)
    assert "fuse_linear" not in better.changed
    assert better.weights is weights


# --- drop_results -------------------------------------------------------------------------------------------------------------------

TAPS = """
module Taps()(x: float[B, 4]) -> (maps: list) {
  a = x -> Linear(3)
  b = a -> relu
  c = b -> Linear(2)
  return a, b, c, c + 1
}
"""


@pytest.mark.parametrize(
    ("read", "left"),
    [("maps[3]", 1), ("maps[0]", 2), ("maps[0] + mean(maps[2])", 2), ("concat(maps, over=1)", 4)],
    ids=["the last", "the last layer's stays with its parameters", "two", "all"],
)
def test_a_module_gives_what_is_read_of_it_and_keeps_its_parameters(read: str, left: int) -> None:
    text = f"{TAPS}\nmodel M()(x: float[B, 4]) {{\n  maps = Taps()(x)\n  return {read}\n}}"
    compiled = compile_graph(Source("taps.dl", text))
    result = optimize(compiled, training=True).program
    (call,) = result.main.layers()
    assert call.target is not None
    assert len(call.types) == len(call.target.graph.outputs) == left
    assert result.parameters().keys() == compiled.parameters().keys()
    report = verify(compiled, ["torch"], sizes=1)
    assert report.ok, report


def test_what_two_applications_read_together_stays() -> None:
    text = f"{TAPS}\nmodel M()(x: float[B, 4]) {{\n  layer t = Taps()\n  return t(x)[2], t(2 * x)[3]\n}}"
    result = optimize(compile_graph(Source("taps.dl", text)), training=True).program
    assert [len(node.types) for node in result.main.layers()] == [2, 2]
