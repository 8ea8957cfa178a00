"""JAX: every primitive computes what its card says, modules become pure functions, and the files are ones a person might have written."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backends.base import EmitOptions
from backends.jax import BACKEND
from backends.jax_rows import ROWS
from backends.reference import BACKEND as REFERENCE
from dsl.build import Builder, numpy_dtype
from dsl.compiler import compile_graph
from dsl.dims import symbol
from dsl.ir import Constraint, Graph, Initializer, Parameter, Program, Value
from dsl.ops.registry import CARDS
from dsl.source import Source
from dsl.types import DType, TensorType
from tests.op_cases import CASES, IMAGE, Case, floats, ints, one_op, program

OPTIONS = EmitOptions(source="specs/some.dl", version="0.1.0")


def emitted(graph: Graph) -> str:
    return BACKEND.emit(program(graph), OPTIONS).content.decode()


def run(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = program(graph)
    return dict(BACKEND.load(BACKEND.emit(made, OPTIONS), made, {}).run(inputs).outputs)


def test_the_matrix_is_closed() -> None:
    assert set(ROWS) == set(CARDS)
    assert {op for op, _, _ in CASES} | {"randn", "rand", "bernoulli", "categorical"} == set(CARDS)


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{op}" for i, (op, _, _) in enumerate(CASES)])
def test_a_primitive_computes_what_its_card_says(case: Case) -> None:
    op, operands, attributes = case
    graph = one_op(op, operands, attributes)
    inputs = {f"x{i}": array for i, array in enumerate(operands)}
    wanted = REFERENCE.load(None, program(graph), {}).run(inputs).outputs
    found = run(graph, inputs)
    for (name, value), want in zip(graph.outputs.items(), wanted.values(), strict=True):
        assert found[name].shape == want.shape
        assert found[name].dtype == in_jax(graph.type(value).dtype)
        # float32 against float64: a few units in the last place of the largest term, which is of size 10 here
        np.testing.assert_allclose(found[name], want, rtol=2e-5, atol=2e-5)


def in_jax(dtype: DType) -> np.dtype:
    """Without x64, JAX keeps i64 as i32."""
    return np.dtype(np.int32) if dtype is DType.I64 else numpy_dtype(dtype)


def test_every_primitive_formats_as_ruff_would(tmp_path: Path) -> None:
    for i, (op, operands, attributes) in enumerate(CASES):
        (tmp_path / f"case_{i}_{op}.py").write_text(emitted(one_op(op, operands, attributes)))
    assert_clean(tmp_path)


def assert_clean(path: Path) -> None:
    """`ruff check` and `ruff format --check` at 88 columns have nothing to say."""
    ruff = shutil.which("ruff", path=Path(sys.executable).parent) or shutil.which("ruff")
    assert ruff is not None
    for command in (["check", "--no-cache"], ["format", "--diff", "--no-cache"]):
        done = subprocess.run(
            [ruff, *command, "--isolated", "--line-length", "88", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[:3000]


# --- modules ---


def compiled(text: str, **hyper: object) -> Program:
    return compile_graph(Source("some.dl", text), hyper)


def weights_of(made: Program) -> dict[str, np.ndarray]:
    """Arbitrary values for every parameter and buffer."""
    return {name: floats(*map(int, p.type.shape)) * 0.3 + 0.5 for name, p in made.parameters().items()}  # type: ignore[arg-type]


def compare(made: Program, inputs: Mapping[str, np.ndarray], training: bool = False, entry: str = "forward") -> None:
    """Outputs and new buffers against the reference."""
    weights = weights_of(made)
    found = BACKEND.load(BACKEND.emit(made, OPTIONS), made, weights).run(inputs, training=training, entry=entry)
    wanted = REFERENCE.load(None, made, weights).run(inputs, training=training, entry=entry)
    assert found.outputs.keys() == wanted.outputs.keys()
    assert found.updates.keys() >= wanted.updates.keys()
    for name, want in (*wanted.outputs.items(), *wanted.updates.items()):
        have = found.outputs[name] if name in found.outputs else found.updates[name]
        # float32 after a few products: relative to the largest element
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.max(np.abs(want)))))


def module_of(made: Program) -> ModuleType:
    """The generated file as a module."""
    module = ModuleType("generated")
    exec(BACKEND.emit(made, OPTIONS).content.decode(), module.__dict__)
    return module


MLP_SPEC = """
model Net(hidden: int = 5)(x: float[B, 4]) -> (y: float[B, 3]) {
  require B % 2 == 0, "the batch must be even"
  return x -> fc: Linear(hidden) -> gelu_tanh -> dropout(0.5) -> out: Linear(3)
}
"""

NORM_SPEC = """
module Step(width: int)(x: float[B, C, H, W]) {
  return x + (x -> conv: Conv2d(width, kernel=3, padding=1) -> bn: BatchNorm2d -> relu)
}
model Net(copies: int = 3)(x: float[B, 2, H, W]) -> (y: float[B, 2, H, W]) {
  return x -> steps: repeat(copies) { Step(2) }
}
"""

DEEP_SPEC = """
model Net(copies: int = 100)(x: float[B, 4]) -> (y: float[B, 4]) {
  return x -> layers: repeat(copies) { Linear(4) -> tanh -> dropout(0.1) }
}
"""


def test_a_model_is_two_functions_and_reads_like_one_by_hand() -> None:
    text = BACKEND.emit(compiled(MLP_SPEC), OPTIONS).content.decode()
    assert (
        '''def apply(params, x, *, training=False, key=None):
    """The outputs of the model: y."""
    B = x.shape[0]
    if B % 2 != 0:
        raise ValueError("the batch must be even")
    if training and key is None:
        raise ValueError("random numbers are drawn here: give key=jax.random.key(seed)")
    h = jax.nn.gelu(linear(params["fc"], x), approximate=True)
    return linear(params["out"], dropout(h, 0.5, training, key))
'''
        in text
    )
    assert (
        """        "fc": {
            "weight": uniform(keys[0], (5, 4), -1.2247448713915892, 1.2247448713915892),
            "bias": jnp.zeros((5,)),
        },
"""
        in text
    )
    assert "np." not in text.replace("jnp.", "")


def test_constraints_and_missing_keys_are_clear_errors() -> None:
    module = module_of(compiled(MLP_SPEC))
    params = module.init(jax.random.key(0))
    with pytest.raises(ValueError, match="the batch must be even"):
        module.apply(params, jnp.ones((3, 4)))
    with pytest.raises(ValueError, match="give key="):
        module.apply(params, jnp.ones((2, 4)), training=True)


def test_dropout_is_deterministic_in_its_key() -> None:
    module = module_of(compiled(MLP_SPEC))
    params, x = module.init(jax.random.key(0)), jnp.ones((2, 4))
    first, again, other = (module.apply(params, x, training=True, key=jax.random.key(seed)) for seed in (1, 1, 2))
    assert jnp.array_equal(first, again)
    assert not jnp.array_equal(first, other)


@pytest.mark.parametrize("copies", [1, 3, 20], ids=["one", "loop", "scan"])
@pytest.mark.parametrize("training", [False, True])
def test_repeats_with_state_agree_with_the_reference(copies: int, training: bool) -> None:
    compare(compiled(NORM_SPEC, copies=copies), {"x": floats(2, 2, 5, 5)}, training)


@pytest.mark.parametrize("copies", [1, 5, 30])
def test_names_go_into_the_nested_form_and_back(copies: int) -> None:
    made = compiled(NORM_SPEC, copies=copies)
    weights = weights_of(made)
    module = module_of(made)
    params, state = module.from_named(weights)
    back = module.to_named(params, state)
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)
    made_params, made_state = module.init(jax.random.key(0))
    assert jax.tree.map(jnp.shape, (params, state)) == jax.tree.map(jnp.shape, (made_params, made_state))


def test_wrong_tensors_are_refused() -> None:
    made = compiled(MLP_SPEC)
    weights, module = weights_of(made), module_of(made)
    with pytest.raises(ValueError, match=r"'out.bias' has shape \(4,\), not \(3,\)"):
        module.from_named({**weights, "out.bias": floats(4)})
    del weights["fc.weight"]
    with pytest.raises(ValueError, match=r"there is no tensor 'fc.weight'"):
        module.from_named(weights)


def test_a_long_repeat_is_one_scan_whatever_its_length() -> None:
    sizes = []
    for copies in (100, 1000):
        module = module_of(compiled(DEEP_SPEC, copies=copies))
        params = jax.eval_shape(module.init, jax.random.key(0))
        traced = jax.make_jaxpr(lambda p, module=module: module.apply(p, jnp.ones((2, 4))))(params)
        sizes.append(len(traced.eqns))
    assert sizes[0] == sizes[1] < 10


def test_copies_in_a_scan_begin_and_draw_differently() -> None:
    module = module_of(compiled(DEEP_SPEC))
    params = module.init(jax.random.key(0))
    weight = params["layers"]["0:100"]["linear"]["weight"]
    assert weight.shape == (100, 4, 4)
    assert not jnp.array_equal(weight[0], weight[1])
    assert jnp.isfinite(module.apply(params, jnp.ones((2, 4)), training=True, key=jax.random.key(1))).all()


@pytest.mark.parametrize("copies", [3, 20])
def test_gradients_flow_through_repeats_and_state(copies: int) -> None:
    module = module_of(compiled(NORM_SPEC, copies=copies))
    params, state = module.init(jax.random.key(0))

    @jax.jit
    def loss(params: object) -> jax.Array:
        y, _ = module.apply(params, state, jnp.asarray(floats(2, 2, 5, 5)), training=True)
        return jnp.sum(y * y)

    gradients = jax.grad(loss)(params)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradients))
    assert any(bool((g != 0).any()) for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("op", "at", "expected"),
    [("abs", 0.0, 0.0), ("relu", 0.0, 0.0), ("pow", 0.0, 0.0), ("softplus", 1000.0, 1.0), ("sigmoid", -1000.0, 0.0)],
)
def test_gradients_at_the_edges_are_those_of_the_cards(op: str, at: float, expected: float) -> None:
    graph = Graph("Model", kind="model")
    x = Value(graph.add("input", (), {"name": "x"}, (TensorType(DType.F32, ()),)).id)
    graph.inputs["x"] = x
    builder = Builder(graph)
    graph.outputs["y"] = builder.build(op, (x, builder.scalar(2.0, DType.F32)) if op == "pow" else (x,))
    module = module_of(program(graph))
    assert jax.grad(lambda v: module.apply({}, v))(at) == expected


def test_max_pool_has_a_gradient_with_and_without_dilation() -> None:
    for dilation in (1, 2):
        module = module_of(program(one_op("max_pool", (IMAGE,), {"kernel": 2, "stride": 1, "dilation": dilation})))
        gradient = jax.grad(lambda x, module=module: module.apply({}, x).sum())(jnp.asarray(IMAGE))
        assert float(gradient.sum()) == pytest.approx(2 * 4 * (7 - dilation) * (6 - dilation))


@pytest.mark.parametrize("op", ["randn", "rand"])
def test_draws_need_a_key_in_both_modes(op: str) -> None:
    module = module_of(program(one_op(op, (), {"shape": (1000,)})))
    with pytest.raises(ValueError, match="give key="):
        module.apply({})
    drawn = module.apply({}, key=jax.random.key(3))
    mean, std = (0.0, 1.0) if op == "randn" else (0.5, 12**-0.5)
    assert abs(float(drawn.mean()) - mean) < 0.1  # three standard errors of a thousand draws
    assert abs(float(drawn.std()) - std) < 0.1


def test_draws_follow_their_probabilities() -> None:
    module = module_of(program(one_op("bernoulli", (np.full(2000, 0.3, np.float32),), {})))
    drawn = module.apply({}, jnp.full(2000, 0.3), key=jax.random.key(0))
    assert drawn.dtype == jnp.float32
    assert abs(float(drawn.mean()) - 0.3) < 0.04
    logits = np.log(np.array([0.2, 0.8], np.float32)) * np.ones((2000, 1), np.float32)
    module = module_of(program(one_op("categorical", (logits,), {})))
    assert abs(float(module.apply({}, jnp.asarray(logits), key=jax.random.key(0)).mean()) - 0.8) < 0.04


def test_float64_is_computed_where_the_spec_asks_for_it() -> None:
    graph = one_op("exp", (np.array([1.0]),), {})
    assert run(graph, {"x0": np.array([1.0])})["y0"] == pytest.approx(np.exp(1.0), rel=1e-15)
    assert jnp.zeros(()).dtype == jnp.float32  # and only there


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
def test_half_precision_stays_half(dtype: DType) -> None:
    graph = Graph("Model", kind="model")
    x = Value(graph.add("input", (), {"name": "x"}, (TensorType(dtype, (4,)),)).id)
    graph.inputs["x"] = x
    builder = Builder(graph)
    half = builder.build("mul", (x, builder.scalar(0.5, dtype)))
    graph.outputs["y"] = builder.build("softplus", (builder.build("dropout", (half,), rate=0.5),))
    module = module_of(program(graph))
    value = jnp.ones(4, dtype=module.jnp.float16 if dtype is DType.F16 else module.jnp.bfloat16)
    assert module.apply({}, value).dtype == value.dtype
    assert module.apply({}, value, training=True, key=jax.random.key(0)).dtype == value.dtype


@pytest.mark.parametrize(
    ("kind", "arguments", "shape"),
    [
        ("constant", {"value": 0.25}, (3,)),
        ("normal", {"mean": 1.0, "std": 0.5}, (60, 50)),
        ("truncated_normal", {"mean": 0.0, "std": 1.0, "low": -0.5, "high": 2.0}, (60, 50)),
        ("uniform", {"low": -0.1, "high": 0.3}, (60, 50)),
        ("orthogonal", {"gain": 2.0}, (6, 2, 2)),
        ("identity", {"gain": 3.0}, (4, 4)),
    ],
)
def test_initial_values_have_their_distribution(kind: str, arguments: dict[str, float], shape: tuple[int, ...]) -> None:
    graph = Graph("Model", kind="model")
    type_ = TensorType(DType.F32, shape)
    graph.parameters["p"] = Parameter("p", type_, Initializer(kind, arguments), True)
    graph.outputs["y"] = Value(graph.add("param", (), {"path": "p"}, (type_,)).id)
    value = np.asarray(module_of(program(graph)).init(jax.random.key(0))["p"])
    assert value.shape == shape
    match kind:
        case "constant":
            assert (value == 0.25).all()
        case "normal":
            assert abs(value.mean() - 1.0) < 0.05
            assert abs(value.std() - 0.5) < 0.05
        case "truncated_normal":
            assert -0.5 <= value.min() < -0.45
            assert 1.8 < value.max() <= 2.0
        case "uniform":
            assert -0.1 <= value.min() < -0.09
            assert 0.29 < value.max() <= 0.3
        case "orthogonal":
            flat = value.reshape(6, 4)
            np.testing.assert_allclose(flat.T @ flat, 4 * np.eye(4), atol=1e-5)  # float32 QR
        case _:
            np.testing.assert_array_equal(value, 3 * np.eye(4))


HOSTILE = 'x"""\n__import__("os").system("touch owned")\n\\'


def test_text_of_a_spec_never_becomes_code() -> None:
    graph = Graph(HOSTILE, kind="model")
    graph.doc = HOSTILE
    type_ = TensorType(DType.F32, (symbol(HOSTILE),))
    x = Value(graph.add("input", (), {"name": HOSTILE}, (type_,)).id)
    graph.inputs[HOSTILE] = x
    graph.constraints.append(Constraint(symbol(HOSTILE), "<=", 9, HOSTILE))
    parameter = TensorType(DType.F32, ())
    graph.parameters[HOSTILE] = Parameter(HOSTILE, parameter, Initializer("constant", {"value": 2.0}), True)
    p = Value(graph.add("param", (), {"path": HOSTILE}, (parameter,)).id)
    graph.outputs[HOSTILE] = Builder(graph).build("mul", (x, p))
    made = Program(HOSTILE, {"forward": graph, HOSTILE: graph})
    text = BACKEND.emit(made, EmitOptions(source=HOSTILE, version=HOSTILE)).content.decode()
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    assert "__import__" not in called
    imported = {ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)}
    assert imported == {"import jax", "import jax.numpy as jnp"}


@pytest.mark.parametrize("name", ["params", "key", "jax", "linear", "class", "training", "print"])
def test_names_of_a_spec_do_not_collide_with_those_of_the_file(name: str) -> None:
    graph = Graph(name, kind="model")
    x = Value(graph.add("input", (), {"name": name}, (TensorType(DType.F32, (2,)),)).id)
    graph.inputs[name] = x
    graph.outputs[name] = Builder(graph).build("dropout", (x,), rate=0.5)
    np.testing.assert_array_equal(run(graph, {name: np.ones(2, np.float32)})[name], [1.0, 1.0])


def test_output_is_deterministic() -> None:
    texts = {BACKEND.emit(compiled(NORM_SPEC, copies=20), OPTIONS).content for _ in range(2)}
    assert len(texts) == 1


SPECS = Path(__file__).parent.parent / "specs"


@pytest.mark.parametrize("path", ["cnn/resnet.dl", "language/gpt2.dl", "vision/vit.dl", "cnn/densenet.dl"])
def test_generated_models_are_formatted_and_clean(path: str, tmp_path: Path) -> None:
    text = BACKEND.emit(compile_graph(SPECS / path), OPTIONS).content.decode()
    (tmp_path / "model.py").write_text(text)
    assert_clean(tmp_path)


@pytest.mark.parametrize(
    ("path", "hyper", "inputs"),
    [
        ("mlp/mlp.dl", {}, {"x": (2, 784)}),
        ("cnn/lenet.dl", {}, {"image": (1, 1, 28, 28)}),
        ("language/gpt2.dl", {"layers": 18, "width": 16, "heads": 2, "vocab": 20}, {"tokens": (2, 6)}),
    ],
)
def test_models_agree_with_the_reference(path: str, hyper: dict[str, object], inputs: dict[str, tuple[int, ...]]) -> None:
    made = compile_graph(SPECS / path, hyper)
    graph = made.main
    floating = {name: graph.type(value).dtype.is_float for name, value in graph.inputs.items()}
    compare(made, {name: floats(*inputs[name]) if floating[name] else ints(9, *inputs[name]) for name in graph.inputs})


# --- trees of parameters ---

FLOW = """
model Flow(hidden: int = 5) {
  layer net = MLP([hidden], out=2)
  def forward(x: float[B, 2]) -> (y: float[B, 2], size: float[B]) {
    s = tanh(net(x))
    return x * 2.0 + s, sum(s, over=-1)
  }
  def inverse(y: float[B, 2]) -> float[B, 2] { return y / 2.0 - net(y) }
}
"""

FIRST_DIFFERS = """
module Step(width: int)(x: float[B, C]) {
  return x -> fc: Linear(width) -> bn: BatchNorm1d -> tanh -> dropout(0.0)
}
model Net(copies: int = 30)(x: float[B, 4]) -> (y: float[B, 8]) {
  return x -> steps: repeat(copies) { Step(8) }
}
"""

NESTED = """
module Inner(copies: int)(x: float[B, 4]) { return x -> fs: repeat(copies) { Linear(4) -> tanh } }
model Net(outer: int = 20, inner: int = 18)(x: float[B, 4]) -> (y: float[B, 4]) {
  return x -> layers: repeat(outer) { Inner(inner) }
}
"""

SHARED_KERNEL = """
model Net()(x: float[B, 2, 8, 8]) -> (y: float[B, 3, 8, 8], kernel: float[3, 2, 3, 3]) {
  layer c = Conv2d(3, kernel=3, padding=1, bias=false, init=orthogonal)
  return c(x), c.weight * 2.0
}
"""


def test_entry_points_share_their_parameters() -> None:
    made = compiled(FLOW)
    compare(made, {"x": floats(3, 2)})
    compare(made, {"y": floats(3, 2)}, entry="inverse")


@pytest.mark.parametrize("copies", [1, 2, 17, 18, 30])
def test_a_repeat_whose_first_copy_differs(copies: int) -> None:
    compare(compiled(FIRST_DIFFERS, copies=copies), {"x": floats(3, 4)}, training=True)


@pytest.mark.parametrize(("outer", "inner"), [(20, 18), (20, 3), (3, 20), (2, 1)])
def test_repeats_in_repeats(outer: int, inner: int) -> None:
    made = compiled(NESTED, outer=outer, inner=inner)
    compare(made, {"x": floats(3, 4)})
    weights, module = weights_of(made), module_of(made)
    back = module.to_named(module.from_named(weights))
    assert {name: back[name].tolist() for name in weights} == {name: array.tolist() for name, array in weights.items()}


def test_the_weight_of_a_convolution_has_the_layout_of_the_spec_where_the_spec_reads_it() -> None:
    made = compiled(SHARED_KERNEL)
    compare(made, {"x": floats(2, 2, 8, 8)})
    assert module_of(made).init(jax.random.key(0))["c"]["weight.hwio"].shape == (3, 3, 2, 3)


def test_modules_that_differ_in_a_number_share_a_function() -> None:
    text = BACKEND.emit(compile_graph(SPECS / "cnn/resnet.dl", {}, model="ResNet50"), OPTIONS).content.decode()
    assert text.count("def conv_norm2d(params, state, x, training, stride, size):") == 1
    assert "def conv_norm2d_1" not in text
