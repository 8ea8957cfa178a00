"""What the constructs of the language mean: names, sharing, repetition, static control, dimensions as values, imports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.reference import Interpreter
from dsl import compiler
from dsl.compiler import compile_graph, compile_training
from dsl.diagnostics import SpecError
from dsl.ir import Program, count_parameters
from dsl.source import Source


def program(body: str, signature: str = "(x: float[B, 4])", before: str = "", **hyper: object) -> Program:
    return compile_graph(Source("test.dl", f"{before}\nmodel M(){signature} {{\n{body}\n}}\n"), hyper)


def names(body: str, signature: str = "(x: float[B, 4])", before: str = "") -> list[str]:
    return list(program(body, signature, before).parameters())


def output_type(body: str, signature: str = "(x: float[B, 4])", before: str = "") -> str:
    graph = program(body, signature, before).main
    return str(graph.type(next(iter(graph.outputs.values()))))


def run(compiled: Program, *, training: bool = False, **inputs: object) -> dict[str, np.ndarray]:
    weights = {}
    random = np.random.default_rng(0)
    for name, parameter in compiled.parameters().items():
        weights[name] = random.standard_normal([int(d) for d in parameter.type.shape if isinstance(d, int)])
    given = {name: np.asarray(value) for name, value in inputs.items()}
    return Interpreter(weights, training=training).run(compiled.main, given)


# --- names of parameters ------------------------------------------------------------------------------------------------------------


def test_unlabelled_layers_are_named_by_their_type_and_numbered_from_the_second_on() -> None:
    assert names("return x -> Linear(3, bias=false) -> Linear(3, bias=false) -> Linear(3, bias=false)") == [
        "linear.weight",
        "linear_1.weight",
        "linear_2.weight",
    ]


def test_a_label_names_the_instance() -> None:
    assert names("return x -> first: Linear(3, bias=false) -> Linear(3, bias=false)") == ["first.weight", "linear.weight"]


def test_labels_in_a_loop_are_numbered_like_types() -> None:
    body = "for width in [3, 5] { x = x -> fc: Linear(width, bias=false) }\nreturn x"
    assert names(body) == ["fc.weight", "fc_1.weight"]


def test_copies_of_a_repeat_have_numbers() -> None:
    assert names("return x -> blocks: repeat(2) { Linear(4, bias=false) }") == ["blocks.0.weight", "blocks.1.weight"]
    assert names("return x -> repeat(2) { Linear(4, bias=false) -> LayerNorm(affine=false) }") == [
        "repeat.0.linear.weight",
        "repeat.1.linear.weight",
    ]


def test_copies_of_which_the_first_has_another_width_keep_their_numbers() -> None:
    compiled = program("return x -> blocks: repeat(3) { Linear(5, bias=false) }")
    shapes = {name: str(p.type) for name, p in compiled.parameters().items()}
    assert shapes == {"blocks.0.weight": "f32[5, 4]", "blocks.1.weight": "f32[5, 5]", "blocks.2.weight": "f32[5, 5]"}
    assert run(compiled, x=np.ones((2, 4)))["y"].shape == (2, 5)


def test_no_copy_is_the_value_itself() -> None:
    compiled = program("return x -> repeat(0) { Linear(4) }")
    np.testing.assert_array_equal(run(compiled, x=np.ones((1, 4)))["y"], np.ones((1, 4)))


# --- sharing ------------------------------------------------------------------------------------------------------------------------


def test_a_declared_layer_has_one_set_of_weights_however_often_it_is_applied() -> None:
    compiled = program("layer f = Linear(4)\nreturn f(f(x))")
    assert list(compiled.parameters()) == ["f.weight", "f.bias"]
    assert count_parameters(compiled.entries.values()) == 20


def test_a_shared_layer_may_meet_inputs_of_another_rank_but_not_of_another_width() -> None:
    signature = "(x: float[B, 4], z: float[B, T, 4])"
    assert program("layer f = Linear(3)\nreturn f(x), f(z)", signature).parameters().keys() == {"f.weight", "f.bias"}
    with pytest.raises(SpecError, match="DL0515"):
        program("layer f = Linear(3)\nreturn f(x), f(z)", "(x: float[B, 4], z: float[B, T, 5])")


def test_parameters_are_members_of_a_layer_that_has_been_applied() -> None:
    compiled = program("layer f = Linear(4, bias=false)\nh = f(x)\nreturn h @ f.weight.T")
    assert list(compiled.parameters()) == ["f.weight"]
    with pytest.raises(SpecError, match="DL0518"):
        program("layer f = Linear(4)\nreturn x @ f.weight")


def test_modules_of_one_kind_are_one_graph() -> None:
    compiled = program("return x -> Linear(4) -> Linear(4) -> repeat(3) { Linear(4) }")
    assert len(compiled.main.callees()) == 2  # the model, and one Linear


# --- hyper-parameters ---------------------------------------------------------------------------------------------------------------


def test_functions_and_layers_are_hyper_parameters() -> None:
    before = """
    module Twice(block: layer, act: fn = relu)(x: float[B, D]) { return x -> block(D, bias=false) -> act -> block(D) -> act }
    """
    compiled = program("return x -> Twice(Linear, act=tanh)", before=before)
    assert list(compiled.parameters()) == ["twice.linear.weight", "twice.linear_1.weight", "twice.linear_1.bias"]
    assert "tanh" in {n.op for g in compiled.main.callees() for n in g}


def test_a_function_may_be_given_a_layer_of_its_caller_or_an_entry_point_of_one() -> None:
    before = """
    fn twice(f: fn, x) = f(f(x))
    module Two() {
      layer fc = Linear(4, bias=false)
      def forward(x: float[B, 4]) -> float[B, 4] { return fc(x) }
      def other(x: float[B, 4]) -> float[B, 4] { return 2 * fc(x) }
    }
    """
    body = "layer net = Two()\nreturn twice(net, x), 4 * twice(net, x) - twice(net.other, x), net(net(x)) - twice(net, x)"
    compiled = program(body, before=before)
    assert list(compiled.parameters()) == ["net.fc.weight"]
    found = list(run(compiled, x=np.ones((2, 4))).values())
    assert np.abs(found[0]).min() > 0
    np.testing.assert_allclose(found[1:], 0, atol=1e-12)


def test_hyper_parameters_are_set_from_outside() -> None:
    text = (
        'model M(widths: list = [3], act: fn = relu, name: str = "a")(x: float[B, 4]) { return x -> MLP(widths, out=2, act=act) }'
    )
    compiled = compile_graph(Source("test.dl", text), {"widths": "[8, 8]", "act": "tanh", "name": "b"})
    assert [str(p.type) for n, p in compiled.parameters().items() if n.endswith("weight")] == [
        "f32[8, 4]",
        "f32[8, 8]",
        "f32[2, 8]",
    ]


# --- static control -----------------------------------------------------------------------------------------------------------------


def test_lists_comprehensions_and_constants() -> None:
    before = "const widths = [2 * i + 1 for i in range(4) if i != 2]"
    body = "for i, w in enumerate(widths) { if i > 0 { x = x -> Linear(w, bias=false) } }\nreturn x"
    assert output_type(body, before=before) == "f32[B, 7]"


def test_an_early_return_ends_the_module() -> None:
    before = "module Head(n: int)(x: float[B, D]) { if n == D { return x }\n return x -> Linear(n) }"
    assert names("return x -> Head(4)", before=before) == []
    assert names("return x -> Head(3)", before=before) == ["head.linear.weight", "head.linear.bias"]


def test_a_name_is_bound_again_and_the_graph_keeps_both_values() -> None:
    compiled = program("h = x + 1\nx = h * x\nreturn x - h")
    np.testing.assert_allclose(run(compiled, x=[[1.0, 2.0, 3.0, 4.0]])["y"], [[0.0, 3.0, 8.0, 15.0]])


def test_branches_on_training_merge() -> None:
    compiled = program("if training { s = 2.0 * x } else { s = 3.0 * x }\nreturn s")
    x = np.ones((1, 4))
    assert run(compiled, training=True, x=x)["s"][0, 0] == 2.0
    assert run(compiled, x=x)["s"][0, 0] == 3.0


def test_a_buffer_changes_in_training_only() -> None:
    compiled = program("buffer seen: float[] = 0\nupdate seen = seen + sum(x)\nreturn x + seen")
    state = {"seen": np.array(10.0)}
    resting = Interpreter(state)
    resting.run(compiled.main, {"x": np.ones((2, 4))})
    assert resting.updated == {}
    training = Interpreter(state, training=True)
    training.run(compiled.main, {"x": np.ones((2, 4))})
    assert training.updated["seen"] == 18.0


# --- dimensions ---------------------------------------------------------------------------------------------------------------------


def test_dimensions_are_values_at_run_time() -> None:
    compiled = program("return x + arange(T) / T, reshape(x, B * T), zeros(T, B) + T", "(x: float[B, T])")
    for b, t in [(1, 3), (2, 5)]:
        first, second, third = run(compiled, x=np.zeros((b, t))).values()
        np.testing.assert_allclose(first, np.tile(np.arange(t) / t, (b, 1)))
        assert second.shape == (b * t,)
        np.testing.assert_array_equal(third, np.full((t, b), t))


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        ("return sum(x, over=H)", "f32[B, 3, W]"),
        ("return concat(x, x -> Conv2d(5, 1), over=C)", "f32[B, 8, H, W]"),
        ("return mean(relu(x), over=[H, W])", "f32[B, 3]"),
        ("return sum(permute(x, 0, 2, 3, 1), over=C)", "f32[B, H, W]"),
        ("return softmax(x, over=C)", "f32[B, 3, H, W]"),
        ('return max(x -> rearrange("b c h w -> b w c h"), over=W)', "f32[B, 3, H]"),
    ],
)
def test_over_takes_the_name_of_a_dimension(body: str, type_: str) -> None:
    graph = compile_graph(
        Source("t.dl", f"module N()(x: float[B, C, H, W]) {{ {body} }}\nmodel M()(x: float[B, 3, H, W]) {{ return x -> N }}"),
        model="M",
    ).main
    assert str(graph.type(next(iter(graph.outputs.values())))) == type_


def test_a_requirement_of_a_module_is_one_of_its_callers() -> None:
    before = 'module Half()(x: float[B, H]) { require H % 2 == 0, "even"\n return x[:, : H // 2] }'
    compiled = program("return x -> Half", "(x: float[B, T])", before)
    (constraint,) = compiled.main.constraints
    assert (str(constraint.left), constraint.relation, constraint.right, constraint.message) == ("T % 2", "==", 0, "even")
    assert not program("return x -> Half", "(x: float[B, 4])", before).main.constraints
    with pytest.raises(SpecError, match="DL0310"):
        program("return x -> Half", "(x: float[B, 5])", before)


def test_a_size_declared_as_an_expression_stays_one() -> None:
    before = "module Shift()(x: float[B, T], y: float[B, T - 1]) -> float[B, T - 1] { return x[:, :-1] + y }"
    assert output_type("return Shift()(x, x[:, 1:])", "(x: float[B, N])", before) == "f32[B, N - 1]"
    with pytest.raises(SpecError, match="DL0301"):
        program("return Shift()(x, x)", "(x: float[B, N])", before)


def test_divisibility_makes_sizes_exact() -> None:
    body = "require H % 4 == 0\nreturn x + interpolate(avg_pool2d(avg_pool2d(x, 2), 2), scale=4)"
    assert output_type(body, "(x: float[B, 1, H, H])") == "f32[B, 1, H, H]"
    with pytest.raises(SpecError, match="DL0301"):
        program(body.split("\n")[1], "(x: float[B, 1, H, H])")


def test_the_divisor_may_be_a_hyper_parameter() -> None:
    before = "module Rows(count: int)(x: float[B, H]) { require H % count == 0\nreturn reshape(x, [B, H // count, count]) }"
    assert output_type("require N % 6 == 0\nreturn Rows(3)(x)", "(x: float[B, N])", before) == "f32[B, N // 3, 3]"
    with pytest.raises(SpecError, match="DL0310"):
        program("return Rows(3)(x)", before=before)


def test_integers_stay_integers() -> None:
    signature = "(x: float[B, 4], n: int[B, 4])"
    assert output_type("return n * 2 + 1", signature) == "i64[B, 4]"
    assert output_type("return n / 2", signature) == "f32[B, 4]"
    for body in ("return n * 0.5", "return n + x", "return relu(concat(n, x, over=0))"):
        with pytest.raises(SpecError):
            program(body, signature)


# --- several files ------------------------------------------------------------------------------------------------------------------


def test_definitions_of_other_files_are_imported_by_name(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "blocks.dl").write_text(
        "fn double(x) = 2 * x\nmodule Block(n: int)(x: float[B, D]) { return x -> Linear(n) -> double }"
    )
    (tmp_path / "net.dl").write_text(
        "from parts.blocks import Block as B1, double\nimport parts.blocks\n"
        "model M()(x: float[B, 4]) { return x -> B1(3) -> double -> blocks.Block(2) }"
    )
    compiled = compile_graph(tmp_path / "net.dl")
    assert list(compiled.parameters()) == [
        "block.linear.weight",
        "block.linear.bias",
        "block_1.linear.weight",
        "block_1.linear.bias",
    ]


def test_files_that_import_each_other_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.dl").write_text("from b import B\nmodule A()(x: float[N]) { return x -> B }")
    (tmp_path / "b.dl").write_text("from a import A\nmodule B()(x: float[N]) { return x -> A }")
    with pytest.raises(SpecError, match=r"a\.dl -> b\.dl -> a\.dl"):
        compile_graph(tmp_path / "a.dl")


def test_several_entry_points_share_the_parameters() -> None:
    text = """
    model Affine() {
      param scale: float[4] = ones
      def forward(x: float[B, 4]) -> float[B, 4] { return x * scale }
      def inverse(y: float[B, 4]) -> float[B, 4] { return y / scale }
    }
    """
    compiled = compile_graph(Source("test.dl", text))
    assert list(compiled.entries) == ["forward", "inverse"]
    assert list(compiled.parameters()) == ["scale"]
    x = np.array([[1.0, 2.0, 3.0, 4.0]])
    weights = {"scale": np.array([2.0, 4.0, 8.0, 0.5])}
    (there,) = Interpreter(weights).run(compiled.entries["forward"], {"x": x}).values()
    (back,) = Interpreter(weights).run(compiled.entries["inverse"], {"y": there}).values()
    np.testing.assert_array_equal(back, x)


# --- lists of tensors ---------------------------------------------------------------------------------------------------------------

MAPS = """
module Maps()(x: float[B, C]) -> (maps: list, total: float[B]) {
  maps = [x, concat(x, x, over=1)]
  return maps, sum(x, over=1)
}

module Twice()(maps: list) -> (maps: list) { return [2 * m for m in maps] }
"""


def test_a_result_may_be_a_list_of_tensors_and_so_may_an_input() -> None:
    made = program("maps, total = Maps()(x)\na, b = Twice()(maps)\nreturn a, b, total", before=MAPS)
    found = run(made, x=[[1.0, 2.0, 3.0, 4.0]])
    assert found["a"].tolist() == [[2, 4, 6, 8]]
    assert found["b"].tolist() == [[2, 4, 6, 8, 2, 4, 6, 8]]
    assert found["total"].tolist() == [10]


def test_a_list_is_a_member_by_its_name_and_an_output_for_each_of_its_tensors() -> None:
    made = program("return Twice()(Maps()(x).maps), Maps()(x).maps[1]", before=MAPS)
    assert list(made.main.outputs) == ["y0_0", "y0_1", "y1"]


def test_lists_of_tensors_are_counted_turned_round_and_paired() -> None:
    body = """
      maps = Maps()(x).maps
      require len(maps) == 2, "two"
      total = 0.0
      for i, (m, n) in enumerate(zip(maps, reversed(maps))) { total = total + (i + 1) * sum(m) * sum(n) }
      return total"""
    assert run(program(body, before=MAPS), x=[[1.0, 2.0, 3.0, 4.0]])["total"] == (1 + 2) * 10 * 20


# --- another function in a layer ----------------------------------------------------------------------------------------------------

RULED = """
fn doubled(x) = 2 * relu(x)

module Inner(act: fn = relu)(x: float[B, D]) -> float[B, D] { return x -> act -> relu }
"""


def test_another_function_stands_in_for_one_in_the_layer_and_in_what_it_applies() -> None:
    body = "layer net = Inner()\nlayer other = net with relu = doubled\nreturn net(x), other(x), net(x)"
    found = run(program(body, before=RULED), x=[[1.0, -1.0, 2.0, -2.0]])
    assert [found[f"y{i}"].tolist() for i in range(3)] == [[[1, 0, 2, 0]], [[4, 0, 8, 0]], [[1, 0, 2, 0]]]


def test_a_function_that_is_given_to_a_layer_is_replaced_like_one_that_it_names() -> None:
    body = "layer net = Inner(act=tanh)\nlayer other = net with tanh = doubled\nreturn other(x)"
    assert run(program(body, before=RULED), x=[[1.0, -1.0, 2.0, -2.0]])["y"].tolist() == [[2, 0, 4, 0]]


def test_the_layer_with_another_function_has_the_same_parameters() -> None:
    body = "layer net = MLP([5], out=2)\nlayer other = net with relu = doubled\nreturn net(x), other(x)"
    made = program(body, before=RULED)
    assert count_parameters(made.entries.values()) == 4 * 5 + 5 + 5 * 2 + 2


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("net with tanh = doubled", "nothing in `net` uses the function `tanh`"),
        ("net with net = doubled", "a function stands on both"),
    ],
)
def test_what_is_not_there_is_not_replaced(declared: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        program(f"layer net = Inner()\ny = net(x)\nlayer other = {declared}\nreturn y, other(x)", before=RULED)


# --- all parameters along one axis --------------------------------------------------------------------------------------------------


def test_the_numbers_of_a_set_go_along_one_axis_and_back() -> None:
    body = """
      layer net = Linear(2)
      y = net(x)
      v = flatten(net.params)
      layer twice = net with unflatten(2 * v, net.params)
      return y, v, twice(x)"""
    found = run(program(body), x=[[1.0, 2.0, 3.0, 4.0]])
    assert found["v"].shape == (10,)
    np.testing.assert_allclose(found["y2"], 2 * found["y"], rtol=1e-6)


def test_a_set_is_made_of_as_many_numbers_as_it_has() -> None:
    with pytest.raises(SpecError, match="these parameters are 10 numbers"):
        program("layer net = Linear(2)\ny = net(x)\nlayer other = net with unflatten(x[0], net.params)\nreturn y, other(x)")


def test_a_pattern_takes_a_part_of_a_set_and_the_layer_keeps_the_rest() -> None:
    body = 'layer net = MLP([3], out=2)\ny = net(x)\nlayer bent = net with 0 * net.params."**.weight"\nreturn bent(x) - net.linear_1.bias'
    (difference,) = run(program(body), x=np.ones((2, 4))).values()
    np.testing.assert_array_equal(difference, 0)


def test_a_pattern_that_means_nothing_is_an_error() -> None:
    with pytest.raises(SpecError, match="no parameter has such a name") as caught:
        program('layer net = Linear(3)\ny = net(x)\nlayer other = net with 0 * net.params."**.scale"\nreturn other(x)')
    assert caught.value.diagnostics[0].help == "there is weight, bias"
    with pytest.raises(SpecError, match="a name pattern stands after"):
        program('layer net = Linear(3)\nreturn net(x) + net."weight"')


SEVERAL = """
module Centred()(x: float[B, T, 2]) -> float[B, T, 2] {
  if training {
    require B * T > 1, "a mean of several values"
    y = x - mean(x, over=[0, 1], keepdims=true)
  } else {
    y = x
  }
  return y
}
"""


@pytest.mark.parametrize("target", ["reference", "torch", "jax", "onnx"])
def test_a_requirement_of_training_is_none_of_inference(target: str) -> None:
    spec = Source("case", SEVERAL + "model Net()(x: float[B, T, 2]) { return x -> Centred }")
    one = np.ones((1, 1, 2))
    np.testing.assert_array_equal(compiler.run(spec, {"x": one}, target=target).outputs["y"], one)
    if target == "onnx":
        return
    assert not compiler.run(spec, {"x": np.ones((2, 1, 2))}, target=target, training=True).outputs["y"].any()
    with pytest.raises((ValueError, SpecError), match="a mean of several values"):
        compiler.run(spec, {"x": one}, target=target, training=True)


def test_a_requirement_of_training_that_cannot_be_met_is_an_error_of_a_train_block() -> None:
    spec = SEVERAL + "model Net()(x: float[1, 1, 2]) { return x -> Linear(2) -> Centred }"
    one = np.ones((1, 1, 2))
    assert compiler.run(Source("case", spec), {"x": one}, target="torch").outputs["y"].shape == (1, 1, 2)
    with pytest.raises(ValueError, match="a mean of several values"):
        compiler.run(Source("case", spec), {"x": one}, target="torch", training=True)
    block = "train Fit()(x: float[1, 1, 2]) {\n  layer net = Net()\n  minimize mean(net(x)) using sgd(0.1)\n}"
    with pytest.raises(SpecError) as caught:
        compile_training(Source("case", f"{spec}\n{block}"))
    assert caught.value.diagnostics[0].message == "a requirement is not met: a mean of several values"
