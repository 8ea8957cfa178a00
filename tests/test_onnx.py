"""ONNX: every primitive against its card at several opsets, models as functions and inlined, names, sizes, node counts, refusals."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state

from backends import onnx as backend_module
from backends.base import Artifact, EmitOptions, Unsupported
from backends.onnx import BACKEND
from backends.onnx_rows import ROWS
from backends.onnx_types import ELEMENT, KERNELS
from backends.reference import Interpreter
from dsl.build import Builder
from dsl.compiler import compile_graph
from dsl.data_files import data_name
from dsl.diagnostics import InternalError, SpecError
from dsl.dims import evaluate, symbol, symbols_of
from dsl.elaborate.program import evaluate_text
from dsl.ir import Graph, Program, Value
from dsl.lower import lower
from dsl.ops.card import Example
from dsl.ops.numpy_types import array_dtype
from dsl.ops.registry import CARDS
from dsl.source import Source
from dsl.types import DType, TensorType

Arrays = Mapping[str, np.ndarray]
NAN, INF = float("nan"), float("inf")
F16, F32, F64 = np.float16, np.float32, np.float64
FLOATS = (F32, F64, F16)
REFUSED = {name for name, row in ROWS.items() if isinstance(row, Unsupported)}
INTEGERS = (np.int8, np.uint8, np.int32, np.int64)


# --- running ----------------------------------------------------------------------------------------------------------------------


def checked(artifact: Artifact) -> onnx.ModelProto:
    """The model, after the checker and strict shape inference have read it."""
    model = onnx.load_from_string(artifact.content)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return model


def values(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a moderate size, variances positive."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, parameter in program.parameters().items():
        shape = parameter.type.shape
        assert all(isinstance(d, int) for d in shape)
        array = rng.standard_normal([int(str(d)) for d in shape]) / 2
        found[name] = (np.abs(array) + 0.5 if "var" in name else array).astype(F32)
    return found


def feed(graph: Graph, sizes: Mapping[str, int], high: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    found: dict[str, np.ndarray] = {}
    for name, value in graph.inputs.items():
        t = graph.type(value)
        shape = tuple(evaluate(d, sizes) for d in t.shape)
        if t.dtype is DType.BOOL:
            found[name] = rng.random(shape) < 0.7
        elif t.dtype.is_int:
            found[name] = rng.integers(0, high, shape)
        else:
            found[name] = rng.standard_normal(shape).astype(F32)
    return found


def close(found: Arrays, wanted: Arrays, tolerance: float = 1e-5) -> None:
    assert list(found) == list(wanted)
    for name, want in wanted.items():
        assert found[name].shape == want.shape
        np.testing.assert_allclose(found[name].astype(F64), want.astype(F64), rtol=tolerance, atol=tolerance)


def model_of(text: str) -> Program:
    return compile_graph(Source("model.dl", text))


def emitted(program: Program, weights: Arrays | None = None, opset: int | None = None, inline: bool = False) -> onnx.ModelProto:
    """The compiled model, passes included."""
    made = lower(
        program, BACKEND, EmitOptions(opset=opset, inline=inline), weights=values(program) if weights is None else weights
    )
    return checked(made.artifact)


def agrees(
    program: Program, sizes: Mapping[str, int], opset: int | None = None, inline: bool = False, tolerance: float = 1e-5
) -> None:
    """The model as compiled computes what the reference does."""
    weights, inputs = values(program), feed(program.main, sizes)
    made = lower(program, BACKEND, EmitOptions(opset=opset, inline=inline), weights=weights)
    checked(made.artifact)
    assert made.weights is not None
    found = BACKEND.load(made.artifact, made.program, made.weights).run(inputs).outputs
    close(found, Interpreter(weights).run(program.main, inputs), tolerance)


def applied(name: str, arrays: tuple[np.ndarray, ...], symbolic: bool = False, **attributes: Any) -> Graph:
    """A graph of one primitive on inputs like `arrays`, sizes above 1 symbolic if asked for."""
    graph = Graph("Op", kind="model")
    operands = []
    for i, array in enumerate(arrays):
        dtype = array_dtype(array)
        assert dtype is not None
        shape = tuple(symbol(f"S{n}") if symbolic and n > 1 else n for n in array.shape)
        value = Value(graph.add("input", (), {"name": f"x{i}"}, (TensorType(dtype, shape),)).id)
        graph.inputs[f"x{i}"] = value
        operands.append(value)
    results = Builder(graph).build_all(name, tuple(operands), attributes)
    graph.outputs = {f"y{i}": v for i, v in enumerate(results)}
    return graph


def check(
    name: str, *operands: object, opsets: tuple[int, ...] = (17, 20, 26), tolerance: float = 1e-5, **attributes: Any
) -> None:
    """The primitive on onnxruntime gives what its card's reference gives."""
    arrays = tuple(np.asarray(x) for x in operands)
    graph = applied(name, arrays, **attributes)
    inputs = {f"x{i}": array for i, array in enumerate(arrays)}
    wanted = Interpreter({}).run(graph, inputs)
    if any(a.dtype == F16 for a in arrays):
        tolerance = 1e-2
    for opset in opsets:
        program = Program("op", {"forward": graph})
        artifact = BACKEND.emit(program, EmitOptions(opset=opset), {})
        checked(artifact)
        close(BACKEND.load(artifact, program, {}).run(inputs).outputs, wanted, tolerance)


def normal(*shape: int, dtype: type = F32) -> np.ndarray:
    rng = np.random.default_rng(len(shape) + sum(shape))
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0 if dtype is np.uint8 else -5, 6, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


# --- the matrix of primitives ------------------------------------------------------------------------------------------------------


def test_every_primitive_has_a_row_or_a_refusal() -> None:
    assert ROWS.keys() == CARDS.keys()
    assert all(callable(row) or isinstance(row, Unsupported) for row in ROWS.values())


def test_the_table_of_kernels_is_that_of_onnxruntime() -> None:
    """Where the table says that onnxruntime computes an operator in a type, its CPU has a kernel that does."""
    names = {"T", "T1", "V", "T3"}
    there: set[tuple[str, str]] = set()
    for kernel in onnxruntime_pybind11_state.get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider" and kernel.domain == "":
            for variable, types in kernel.type_constraints.items():
                if variable in names:
                    there.update((kernel.op_name, t) for t in types)
    spelled = {
        DType.F64: "double",
        DType.I8: "int8",
        DType.U8: "uint8",
        DType.I32: "int32",
        DType.I64: "int64",
        DType.BOOL: "bool",
    }
    for op, dtypes in KERNELS.items():
        for dtype in dtypes & spelled.keys():
            if not op.startswith("Random"):
                assert (op, f"tensor({spelled[dtype]})") in there, f"{op} of {dtype}"


@pytest.mark.parametrize(
    ("name", "example"),
    [
        (card.name, e)
        for card in CARDS.values()
        for e in card.examples
        if card.name not in (*REFUSED, "const", "dropout", "if_training")
    ],
    ids=lambda x: x.expression if isinstance(x, Example) else None,
)
def test_examples_of_the_cards(name: str, example: Example) -> None:
    graph, results = evaluate_text(example.expression)
    closed = graph.copy()
    closed.outputs = {f"y{i}": v for i, v in enumerate(results)}
    program = Program("example", {"forward": closed})
    artifact = BACKEND.emit(program, EmitOptions(), {})
    checked(artifact)
    found = BACKEND.load(artifact, program, {}).run({}).outputs
    wanted = example.result if isinstance(example.result, tuple) else (example.result,)
    for value, want in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(value.astype(F64), np.asarray(want, F64), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_arithmetic(dtype: type) -> None:
    a, b = normal(2, 3, dtype=dtype), normal(3, dtype=dtype)
    b[b == 0] = 3
    for name in ("add", "sub", "mul", "div", "maximum", "minimum", "floor_divide", "remainder"):
        check(name, a, b, opsets=(20,))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        check(name, a, b, opsets=(17,))
    check("pow", np.abs(a), np.asarray([0, 1, 2], dtype), opsets=(20,))
    check("where", a > 0, a, b, opsets=(20,))
    check("clip", a, low=-1 if dtype is not np.uint8 else 1, high=2, opsets=(20,))


def test_division_rounds_down() -> None:
    for dtype in (np.int64, F32):
        signs = np.asarray([7, -7, 7, -7], dtype), np.asarray([2, 2, -2, -2], dtype)
        check("floor_divide", *signs)
        check("remainder", *signs)
    check("remainder", np.asarray([-0.25], F32), np.asarray([1.0], F32), opsets=(20,))
    check("floor_divide", np.asarray([1.0], F32), np.asarray([0.1], F32))
    check("floor_divide", np.asarray([1.0], F32), np.asarray([0.0], F32))
    check("remainder", np.asarray([-1.0, 3.0], F32), np.asarray([INF, INF], F32))


@pytest.mark.parametrize("dtype", FLOATS)
def test_functions_of_one_tensor(dtype: type) -> None:
    x = np.abs(normal(3, 4, dtype=dtype)) + dtype(0.1)
    for name in ("log", "log1p", "sqrt", "rsqrt"):
        check(name, x, opsets=(20,))
    names = ("neg", "abs", "sign", "exp", "expm1", "sin", "cos", "tanh", "sigmoid", "relu", "softplus", "floor", "ceil", "round")
    for name in (*names, "isnan"):
        check(name, normal(3, 4, dtype=dtype), opsets=(20,))
    if dtype is not F64:
        check("erf", normal(5, dtype=dtype))


def test_functions_of_integers_and_small_numbers() -> None:
    for dtype in INTEGERS:
        for name in ("neg", "abs", "sign", "relu"):
            check(name, normal(5, dtype=dtype), opsets=(20,))
    small = np.asarray([1e-8, 1e-20, 0.0, 1e-4, -0.5, INF], F32)
    check("log1p", small, tolerance=1e-7)
    check("expm1", np.append(small, F32(-INF)), tolerance=1e-7)
    check("round", np.asarray([0.5, 1.5, 2.5, -0.5], F32))


@pytest.mark.parametrize("name", ["maximum", "minimum", "max", "min", "relu", "sign", "clip"])
def test_nan_wins(name: str) -> None:
    x = np.asarray([[1, NAN, 3], [INF, 1, 2], [-INF, -INF, -INF]], F32)
    given: dict[str, dict[str, Any]] = {"max": {"over": 1}, "min": {"over": 1}, "clip": {"low": 0.0}}
    check(name, *((x, x[::-1]) if name in ("maximum", "minimum") else (x,)), **given.get(name, {}))


def test_casts() -> None:
    dtypes = [d for d in DType if d is not DType.BF16]
    for array in (np.asarray([0, 1, 2.75], F32), np.asarray([0, 1, 2]), np.asarray([True, False])):
        for dtype in dtypes:
            check("cast", array, dtype=dtype, opsets=(20,))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_reductions(dtype: type) -> None:
    x = normal(2, 3, 4, dtype=dtype)
    for name in ("sum", "mean", "prod", "max", "min"):
        check(name, x, over=(0, 2))
        check(name, x, over=1, keepdims=True, opsets=(17,))
        check(name, x[0, 0, 0], opsets=(20,))
    for name in ("argmax", "argmin"):
        check(name, x, over=1)
    check("cumsum", x, over=1)


def test_reductions_of_floats() -> None:
    for dtype in FLOATS:
        for name in ("var", "logsumexp", "norm"):
            check(name, normal(2, 3, 4, dtype=dtype), over=(1, 2))
    check("var", normal(2, 3), over=1, correction=1)
    check("var", normal(2, 3), over=1, correction=1, symbolic=True)
    for p in (1.0, 3.0, 0.5, INF):
        check("norm", normal(2, 3), p=p, over=1)
    check("logsumexp", np.asarray([[-INF, -INF], [1000.0, 1000.0]], F32), over=1)


def test_reductions_of_bytes_and_of_one_number() -> None:
    for name in ("sum", "prod", "max", "min", "argmax"):
        check(name, np.asarray([200, 100, 3], np.uint8), over=0, opsets=(20,))
    check("log1p", np.asarray(0.5, F64), opsets=(20,))
    check("mul", np.asarray(2.0, F64), np.asarray(3.0, F64), opsets=(20,))
    check("mul", normal(2, 3, dtype=F64), np.asarray(3.0, F64), opsets=(20,))
    check("div", np.asarray(3.0, F64), normal(4, dtype=F64) + 5, opsets=(20,))
    check("clip", np.asarray([-3.0, 3.0], F32), low=-1.0)
    check("clip", np.asarray([-INF, INF], F32), high=1.0)
    check("clip", np.asarray([-INF, INF], F32), low=1.0)
    check("var", normal(3, 4), over=(0, 1), correction=2)
    check("norm", normal(3, 4), p=2.0, over=0, keepdims=True)


def test_reductions_of_nothing() -> None:
    empty = np.zeros((2, 0, 3), F32)
    for name in ("sum", "mean", "prod", "logsumexp", "norm"):
        check(name, empty, over=1, opsets=(20,))
        check(name, empty, over=0, opsets=(20,))
    check("norm", empty, p=INF, over=1, opsets=(20,))
    for name in ("any", "all"):
        check(name, np.zeros((2, 0), bool), over=1)
        check(name, np.asarray([[True, False], [True, True]]), over=1)


def test_products() -> None:
    for a, b in (((2, 3), (3, 4)), ((3,), (3,)), ((2, 5, 2, 3), (5, 3, 4)), ((3,), (5, 3, 2)), ((2, 3), (3,))):
        check("matmul", normal(*a), normal(*b), opsets=(20,))
        check("matmul", normal(*a, dtype=np.int8), normal(*b, dtype=np.int64), opsets=(20,))
    check("einsum", normal(2, 3, 4), normal(2, 5, 4), pattern="b i d, b j d -> b i j")
    check("einsum", normal(3, 3), pattern="ii->i")
    check("einsum", normal(2, 3), normal(4, 3, 5), normal(2, 5), pattern="b i, o i j, b j -> b o", symbolic=True)


@pytest.mark.parametrize("dtype", list(DType), ids=str)
def test_creation(dtype: DType) -> None:
    if dtype is DType.BF16:
        check("full", shape=(2, 3), value=1, dtype=dtype)
        return
    check("full", shape=(2, 3), value=1, dtype=dtype, opsets=(20,))
    check("one_hot", np.asarray([[2, 0, 1]]), classes=3, dtype=dtype, opsets=(20,))
    check("eye", n=2, m=3, dtype=dtype, opsets=(20,))
    if dtype is not DType.BOOL:
        check("arange", start=5, stop=0, step=-2, dtype=dtype if dtype is not DType.U8 else DType.I32, opsets=(20,))


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("dtype", [F32, np.int8, np.bool_])
def test_shape_operations(dtype: type, symbolic: bool) -> None:
    x = (normal(2, 3, 4) > 0) if dtype is np.bool_ else normal(2, 3, 4, dtype=dtype)

    def same(name: str, *operands: object, **attributes: Any) -> None:
        check(name, *operands, symbolic=symbolic, opsets=(20,), **attributes)

    same("permute", x, order=(2, 0, 1))
    same("concat", x, x, over=1)
    same("stack", x, x, over=3)
    same("slice", x, axes=(1, 2), starts=(None, None), stops=(None, None), steps=(-1, -2))
    same("slice", x, axes=(2,), starts=(1,), stops=(100,), steps=(1,))
    same("slice", x, axes=(2,), starts=(None,), stops=(-1,), steps=(1,))
    same("pad", x, widths=((1, 0), (0, 2), (1, 1)), value=1)
    same("pad", x, widths=((0, 0), (2, 0), (1, 1)), mode="edge")
    same("flip", x, over=(0, 2))
    same("roll", x, shift=(1, -5), over=(0, 2))
    same("tile", x, repeats=(1, 2, 3))
    same("tril", x)
    same("triu", x, diagonal=1)
    index = np.random.default_rng(0).integers(0, 3, (2, 3, 4))
    same("gather", x, index, over=1)
    same("gather", x, index[:, 0].astype(np.int32), over=1)
    if dtype is not np.bool_:
        same("scatter_add", x, index, np.ones_like(x), over=1)
        same("sort", x, over=1)
        same("argsort", x, over=2, descending=True)


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_matrices_and_signals(dtype: type, symbolic: bool) -> None:
    square = normal(2, 4, 4, dtype=dtype) + 3 * np.eye(4, dtype=dtype)
    for below in (False, True):
        for transposed in (False, True):
            for matrix, right in ((square, normal(4, 3, dtype=dtype)), (square[0], normal(2, 4, 4, dtype=dtype))):
                check("triangular_solve", matrix, right, lower=below, transposed=transposed, symbolic=symbolic)
    if dtype is F32:
        check("slogdet", square, symbolic=symbolic)
    for n, x in ((4, square), (5, normal(5, dtype=dtype)), (5, normal(3, 5, dtype=dtype)), (5, normal(3, 5, 2, dtype=dtype))):
        over = min(x.ndim - 1, 1)
        check("rfft", x, over=over, symbolic=symbolic)
        half = np.take(x, range(n // 2 + 1), over)
        check("irfft", half, half * half, n=n, over=over)


def test_no_operator_factors_a_matrix() -> None:
    assert {"cholesky", "eigh", "svd", "qr", "inverse"} == REFUSED
    program = model_of("model M()(x: float[3, 3]) { return cholesky(x) }")
    with pytest.raises(SpecError, match=r"the backend `onnx` cannot express `cholesky`: ONNX has no operator") as caught:
        lower(program, BACKEND, EmitOptions(), weights={})
    assert caught.value.diagnostics[0].help is not None and "`torch`" in caught.value.diagnostics[0].help


def test_shapes_that_are_written_out() -> None:
    check("reshape", normal(2, 6), shape=(3, -1))
    check("reshape", normal(0, 6), shape=(0, 3, 2))
    check("reshape", normal(0, 6), shape=(symbol("S6"), 0), symbolic=True, opsets=(20,))
    check("expand", normal(2, 1), shape=(3, -1, 4), symbolic=True)
    check("split", normal(2, 6), sizes=(1, 5), over=1)
    check("pad", normal(2, 3), widths=((0, 0), (2, 1)), mode="reflect")
    check("take", normal(2, 3), np.asarray([[1, 0]], np.int8), over=1)


def operators(name: str, *operands: np.ndarray, **attributes: Any) -> list[str]:
    """The operators that a primitive becomes, apart from constants."""
    program = Program("op", {"forward": applied(name, operands, **attributes)})
    return [node.op_type for node in checked(BACKEND.emit(program, EmitOptions(opset=20), {})).graph.node]


def test_what_changes_nothing_is_no_operator() -> None:
    x = normal(2, 3)
    unchanged: dict[str, dict[str, Any]] = {
        "reshape": {"shape": (2, 3)}, "expand": {"shape": (2, 3)}, "concat": {"over": 1}, "split": {"sizes": (3,), "over": 1},
        "slice": {"axes": (0, 1), "starts": (0, None), "stops": (None, 3)}, "pad": {"widths": ((0, 0), (0, 0))},
        "roll": {"shift": (2, -3), "over": (0, 1)}, "tile": {"repeats": (1, 1)}, "flip": {"over": ()}, "permute": {"order": (0, 1)},
        "stop_gradient": {}, "cast": {"dtype": DType.F32},
    }  # fmt: skip
    for name, given in unchanged.items():
        assert operators(name, x, **given) == ["Identity"], name
    assert operators("roll", x, shift=(0,), over=(0,), symbolic=True) == ["Identity"]
    assert operators("slice", x, axes=(1,), starts=(0,), stops=(None,), symbolic=True) == ["Identity"]
    assert operators("expand", x, shape=(-1, -1), symbolic=True) == ["Identity"]
    assert operators("expand", x, shape=(1, 2, 3)) == ["Expand"]
    assert operators("interpolate", normal(1, 2, 7, 6, dtype=F64), size=(7, 5)) == ["Gather"]
    assert operators("roll", x, shift=(3, 1), over=(0, 1)) == ["Slice", "Slice", "Concat"] * 2


def test_rows_take_the_shortest_way() -> None:
    x, whole = normal(2, 3), np.asarray([1, 0])
    assert operators("adaptive_avg_pool", normal(1, 2, 7, 5), size=(3, 4)) == ["Transpose", "MatMul", "MatMul"]
    assert operators("adaptive_avg_pool", normal(1, 2, 4, 5), size=(2, 5)) == ["AveragePool"]
    assert operators("adaptive_avg_pool", normal(1, 2, 4, 5), size=1) == ["GlobalAveragePool"]
    assert operators("roll", normal(5), shift=(1,), over=(0,), symbolic=True) == ["Slice", "Slice", "Concat"]
    assert operators("roll", normal(5), shift=(2,), over=(0,), symbolic=True) == ["Shape", "Mod", "Slice", "Slice", "Concat"]
    assert operators("reshape", normal(5), shape=(symbol("S5"), 1), symbolic=True) == ["Reshape"]
    assert operators("roll", np.zeros((0, 3)), shift=(1,), over=(0,)) == ["Identity"]
    assert operators("var", x, over=1) == ["ReduceMean", "Sub", "Mul", "ReduceMean"]
    assert operators("norm", x, over=1) == ["ReduceL2"]
    assert operators("interpolate", normal(1, 2, 3), scale=2) == ["Resize"]
    assert operators("stack", x, over=0) == ["Unsqueeze"]
    assert operators("one_hot", whole, classes=3) == ["OneHot"]
    assert operators("one_hot", whole, classes=3, dtype=DType.F16) == ["Unsqueeze", "Equal", "Cast"]
    assert operators("take", x, whole.astype(np.int32), over=1) == operators("take", x, whole, over=1) == ["Gather"]
    assert operators("matmul", x, normal(3, 4)) == ["MatMul"]
    assert operators("matmul", x, normal(3)) == ["Unsqueeze", "MatMul", "Squeeze"]
    assert operators("mul", np.asarray(2.0), np.asarray(3.0)) == ["Mul"]
    for shift in (1, -1, 2, -7):
        check("roll", normal(5), shift=(shift,), over=(0,), symbolic=True, opsets=(20,))
    check("conv_transpose", normal(1, 2, 5, 5), normal(2, 3, 3, 3), dilation=(3, 1), output_padding=(2, 0), opsets=(20,))
    for padding in (((0, 1),), ((1, 3),), 0):
        check("conv_transpose", normal(1, 2, 5), normal(2, 3, 3), dilation=3, output_padding=2, padding=padding, opsets=(20,))


def test_simple_sizes_are_spelled_as_slices_clamp_them() -> None:
    """`x[:, 1:]`, `x[:, :-1]` and `x[:, -2:]` of a symbolic size need no arithmetic."""
    x = normal(2, 6)
    for start, stop in ((1, None), (None, -1), (-2, None), (None, 4), (None, -6)):
        given: dict[str, Any] = {"axes": (1,), "starts": (start,), "stops": (stop,), "symbolic": True}
        check("slice", x, opsets=(20,), **given)
    assert operators("slice", x, axes=(1,), starts=(1,), stops=(None,), symbolic=True) == ["Slice"]
    assert operators("slice", x, axes=(1,), starts=(None,), stops=(-1,), symbolic=True) == ["Slice"]
    assert operators("slice", x, axes=(1,), starts=(None,), stops=(4,), symbolic=True) == ["Slice"]


def test_order_among_equals() -> None:
    x = np.asarray([3, 1, 3, 1, 2, 3], F32)
    check("topk", x, k=4)
    check("topk", x, k=4, largest=False)
    check("argsort", x)
    check("argsort", x, descending=True)
    check("argmax", x, over=0)
    check("sort", np.asarray([3, NAN, 1, 2], F32))


@pytest.mark.parametrize("spatial", [(7,), (7, 6), (5, 6, 7)], ids=["1d", "2d", "3d"])
def test_convolution(spatial: tuple[int, ...]) -> None:
    x, n = normal(2, 4, *spatial), len(spatial)
    for given in ({}, {"stride": 2, "padding": 1}, {"padding": "same"}, {"dilation": 2}, {"padding": ((1, 0),) * n}):
        check("conv", x, normal(6, 4, *(3, 2, 3)[:n]), opsets=(20,), **given)
    check("conv", x, normal(6, 2, *(3,) * n), groups=2)
    for given in ({}, {"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 3, "output_padding": 2}):
        check("conv_transpose", x, normal(4, 3, *(3, 2, 3)[:n]), opsets=(20,), tolerance=1e-4, **given)
    check("conv_transpose", x, normal(4, 3, *(3,) * n), groups=2, padding=1, tolerance=1e-4)


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("ceil", [False, True], ids=["floor", "ceil"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 3, 0), (2, 2, 1)])
def test_pooling(kernel: int, stride: int, padding: int, ceil: bool, symbolic: bool) -> None:
    given = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil, "symbolic": symbolic}
    for x in (normal(2, 3, 7), normal(2, 3, 8, 7)):
        check("max_pool", x, opsets=(17, 20), **given)
        check("avg_pool", x, opsets=(17, 20), **given)
        check("avg_pool", x, opsets=(17, 20), count_include_pad=False, **given)


def test_resizing() -> None:
    x = normal(2, 3, 7, 6)
    for size in (1, 3, (7, 2)):
        check("adaptive_avg_pool", x, size=size)
        check("adaptive_avg_pool", x, size=size, symbolic=True)
    for size in (1, (7, 2), 2):
        check("adaptive_avg_pool", x.astype(F64), size=size, opsets=(20,))
    for given in ({"scale": 2}, {"scale": 0.5}, {"scale": 1.5}, {"size": (4, 9)}, {"scale": 0.7}):
        check("interpolate", x, **given)
        check("interpolate", x.astype(F64), opsets=(20,), **given)
        for align in (False, True):
            check("interpolate", x, mode="bilinear", align_corners=align, **given)
    check("interpolate", np.arange(42, dtype=F32).reshape(1, 1, 2, 21), size=(1, 3), opsets=(20,))  # in f32 1 / (1 / 7) < 7
    check("interpolate", normal(1, 1, 6), scale=1.1, opsets=(20,))
    for given in ({"scale": 2}, {"size": (4, 9)}):
        check("interpolate", x, symbolic=True, **given)
        check("interpolate", x, mode="bilinear", symbolic=True, **given)


def test_windows_that_start_behind_the_end_are_cut_off() -> None:
    """ONNX would count them; what they would see is taken off the operand."""
    for size, kernel, stride, padding in ((4, 1, 5, 0), (9, 2, 5, 0), (5, 1, 4, 0), (4, 2, 5, ((0, 1),)), (7, 3, 4, ((1, 0),))):
        for name in ("max_pool", "avg_pool"):
            check(name, normal(1, 2, size), kernel=kernel, stride=stride, padding=padding, ceil_mode=True, opsets=(20,))
    check("max_pool", normal(1, 2, 4, 7), kernel=(1, 3), stride=(5, 2), ceil_mode=True, opsets=(20,))
    low = ((1, 0), (0, 0))
    check("max_pool", normal(1, 2, 7, 5), kernel=(3, 2), stride=(4, 2), padding=low, ceil_mode=True, opsets=(20,))


def test_maps_along_an_axis_before_the_last_two() -> None:
    check("adaptive_avg_pool", normal(1, 2, 5, 4, 3), size=(2, 3, 2), opsets=(20,))
    check("adaptive_avg_pool", normal(1, 2, 6, 5), size=(3, 5), opsets=(20,))
    check("adaptive_avg_pool", normal(1, 2, 6, 4, dtype=F64), size=(3, 2), opsets=(20,))


def test_resizing_in_f64_needs_constant_sizes() -> None:
    program = model_of('model M()(x: float[1, 1, H, 4]) { return interpolate(cast(x, f64), scale=2, mode="bilinear") }')
    with pytest.raises(SpecError, match="onnxruntime has no f64 kernel of Resize"):
        lower(program, BACKEND, EmitOptions(), weights={})


# --- layers and models -------------------------------------------------------------------------------------------------------------

NORMS = """
model N()(x: float[B, 6, H, W], z: float[B, T, 6]) {
  a = x -> BatchNorm2d(affine=false, eps=0.001)
  b = x -> GroupNorm(3) -> PReLU(shared=false)
  c = x -> InstanceNorm(affine=true)
  d = z -> LayerNorm(bias=false) -> gelu -> RMSNorm
  e = x -> Conv2d(4, 3, padding="same", groups=2) -> ConvTranspose2d(4, 3, stride=2, padding=1, output_padding=1)
  f = z -> Linear(5, bias=false) -> gelu_tanh -> softmax(over=1)
  g = z -> elu(0.5) -> leaky_relu(0.2) -> log_softmax -> selu -> celu(0.7) -> mish -> hard_swish -> hard_sigmoid
  return a, b, c, d, e, f, g
}
"""


@pytest.mark.parametrize(("opset", "inline"), [(17, False), (20, True), (21, False), (23, True), (26, False)])
def test_library_layers(opset: int, inline: bool) -> None:
    agrees(model_of(NORMS), {"B": 2, "H": 4, "W": 6, "T": 3}, opset, inline)


@pytest.mark.parametrize(
    "layer",
    [
        "LayerNorm(affine=false)", "RMSNorm(affine=false)", "ConvTranspose1d(3, 3, dilation=3, output_padding=2)",
        "ConvTranspose1d(3, 3, dilation=3, output_padding=2, bias=false)", "LayerNorm(eps=0.5)", "InstanceNorm",
        "GroupNorm(2, affine=false)", "BatchNorm1d(eps=0.5)", "transpose(1, 2) -> InstanceNorm",
        "transpose(1, 2) -> GroupNorm(1, affine=false)",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("signature", "sizes"), [("B, 4, T", {"B": 2, "T": 3}), ("2, 4, 5", {})], ids=["symbolic", "static"])
def test_layers_without_parameters_or_with_symbolic_sizes(layer: str, signature: str, sizes: dict[str, int]) -> None:
    if signature != "2, 4, 5" and layer == "LayerNorm(eps=0.5)":
        signature = "B, T, 4"
    if signature == "B, 4, T" and "GroupNorm(1" in layer:
        layer = "GroupNorm(1, affine=false)"
    for opset in (20, 23):
        agrees(model_of(f"model M()(x: float[{signature}]) {{ return x -> {layer} }}"), sizes, opset)


HEADS, SIZED = (f"transpose(reshape(x, [B, T, {heads}, 4]), 1, 2)" for heads in (2, "T"))
SPELLED: list[tuple[str, str, int, list[str]]] = [
    ("x -> Linear(5)", "x: float[B, 4]", 20, ["Gemm"]),
    ("x -> Linear(5)", "x: float[B, T, 4]", 20, ["MatMul", "Add"]),
    ("b + x @ w", "x: float[B, 4], w: float[4, 3], b: float[3]", 20, ["Gemm"]),
    ("x @ w + b", "x: int[B, 4], w: int[4, 3], b: int[3]", 20, ["MatMul", "Add"]),
    ("x // -1.0", "x: float[B, 4]", 20, ["Mod", "Mul", "Less", "Add", "Where", "Sub", "Div", "Round"]),
    ("arange(T, 9)", "x: float[T]", 20, ["Shape", "Squeeze", "Range"]),
    ("x -> ConvTranspose2d(3, 3, dilation=(3, 1), output_padding=(2, 0))", "x: float[B, 2, 4, T]", 20, ["ConvTranspose2d"]),
    ("x -> BatchNorm1d", "x: float[B, 4, T]", 20, ["BatchNormalization"]),
    ("x -> LayerNorm", "x: float[B, T, 4]", 20, ["LayerNormalization"]),
    ("x -> RMSNorm", "x: float[B, T, 4]", 23, ["RMSNormalization"]),
    ("x -> RMSNorm", "x: float[B, T, 4]", 22, ["RMSNorm"]),  # a function
    ("x -> InstanceNorm", "x: float[B, 4, T]", 20, ["InstanceNormalization"]),
    ("x -> GroupNorm(1, affine=false)", "x: float[B, T, 4]", 21, ["GroupNorm"]),  # a function: channels are counted when it runs
    ("x -> GroupNorm(2)", "x: float[B, 4, T]", 21, ["GroupNormalization"]),
    ("celu(x, 0.7)", "x: float[B, 4]", 20, ["Celu"]),
    ("gelu(x)", "x: float[B, 4]", 20, ["Gelu"]),
    ("gelu(x)", "x: float[B, 4]", 17, ["Mul", "Mul", "Erf", "Add", "Mul"]),
    ("mish(x)", "x: float[B, 4]", 18, ["Mish"]),
    ("mish(x)", "x: float[B, 4]", 17, ["Softplus", "Tanh", "Mul"]),
    ("Embedding(5, 4)(cast(x, int))", "x: float[B, T]", 17, ["Cast", "Gather"]),
    ("Embedding(5, 4)(arange(3)) + x", "x: float[B, 3, 4]", 17, ["Gather", "Add"]),
    ("Embedding(9, 4)(arange(T)) + x", "x: float[B, T, 4]", 17, ["Shape", "Slice", "Add"]),
    ("table[arange(T)] + x", "x: float[T], table: float[9]", 17, ["Shape", "Slice", "Add"]),
    ("attention(x, k, k)", "x: float[2, 3, 4, 5], k: float[2, 3, 6, 5]", 23, ["Attention"]),
    ("attention(x, k, k)", "x: float[2, 3, 4, 5], k: float[2, 3, 6, 5]", 22, ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]),
    ("attention(x, x, x)", "x: float[3, 4, 5]", 23, ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]),
    ("attention(x, k, k)", "x: float[2, 3, 4, 5], k: float[2, 1, 6, 5]", 23, ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]),
    ("attention(x, k, k, mask=m)", "x: float[2, 3, 4, 5], k: float[2, 3, 6, 5], m: bool[4, 1]", 23, ["Expand", "Attention"]),
    ("attention(x, k, k, mask=m)", "x: float[2, 3, 1, 5], k: float[2, 3, 6, 5], m: bool[6]", 23, ["Unsqueeze", "Attention"]),
    ("attention(x, k, k)", "x: float[2, 3, 4, 5], k: float[1, 3, 6, 5]", 23, ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]),
    ("attention(x, x, v)", "x: float[2, 2, 2, 5], v: float[2, 2, 5]", 23, ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]),
    ("attention(x, k, k, mask=m)", "x: float[2, 3, 4, 5], k: float[2, 3, 6, 5], m: bool[2, 1, 4, 6]", 23, ["Attention"]),
    ("attention(x, k, x)", "x: float[2, 2, 2, 5], k: float[2, 2, 5]", 23, ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]),
    (f"attention({HEADS}, {HEADS}, {HEADS})", "x: float[B, T, 8]", 23, ["Attention", "Reshape", "Transpose"]),
    (f'rearrange(attention({HEADS}, {HEADS}, {HEADS}), "b h t d -> b t (h d)")', "x: float[B, T, 8]", 23, ["Attention"]),
    (f"attention({SIZED}, {SIZED}, {SIZED})", "x: float[B, T, 4 * T]", 23, ["Reshape", "Transpose", "Attention"]),
    (f"attention({HEADS}, {HEADS}, {HEADS} * 2)", "x: float[B, T, 8]", 23, ["Reshape", "Transpose", "Mul", "Attention"]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "inputs", "opset", "expected"), SPELLED, ids=lambda v: str(v)[:30])
def test_layers_are_the_operators_that_onnx_has_for_them(expression: str, inputs: str, opset: int, expected: list[str]) -> None:
    program = model_of(f"model M()({inputs}) {{ return {expression} }}")
    assert [node.op_type for node in emitted(program, opset=opset).graph.node] == expected
    agrees(program, {"B": 2, "T": 3}, opset)


ATTENTION = """
module FusedAttention(heads: int)(x: float[B, T, D]) -> float[B, T, D] {
  q, k, v = x -> c_attn: Linear(3 * D) -> split(3, over=-1)
  q = rearrange(q, "b t (h d) -> b h t d", h=heads)
  k = rearrange(k, "b t (h d) -> b h t d", h=heads)
  v = rearrange(v, "b t (h d) -> b h t d", h=heads)
  y = attention(q, k, v, causal=true)
  return y -> rearrange("b h t d -> b t (h d)") -> c_proj: Linear(D)
}
model Q()(x: float[B, T, 8], m: bool[B, 1, 1, T]) {
  a = SelfAttention(2)(x, mask=m)
  b = SelfAttention(2, causal=true, bias=false)(x, mask=m)
  c = SelfAttention(4, kv_heads=2, causal=true)(x)
  d = MultiHeadAttention(2)(x, x[:, 1:], x[:, 1:])
  e = FusedAttention(2)(x)
  return a, b, c, d, e
}
"""


@pytest.mark.parametrize(("opset", "inline"), [(17, True), (20, False), (23, True), (24, False)])
def test_attention(opset: int, inline: bool) -> None:
    agrees(model_of(ATTENTION), {"B": 3, "T": 5}, opset, inline)


def test_self_attention_is_one_operator_where_there_is_one() -> None:
    program = model_of("model M()(x: float[B, T, 8], m: bool[T, T]) { return SelfAttention(2)(x, mask=m) }")
    inside = [n.op_type for n in emitted(program, opset=23).functions[0].node]
    assert inside == ["MatMul", "Add", "Constant", "Split", "Attention", "MatMul", "Add"]
    split = emitted(program, opset=22)
    names = ("q_k_v.weight.T", "q_k_v.bias", "out.weight.T", "out.bias")
    assert {t.name for t in split.graph.initializer} == {f"self_attention.{name}" for name in names}
    (function,) = split.functions
    assert Counter(n.op_type for n in function.node) == {
        "MatMul": 4, "Add": 2, "Constant": 5, "Split": 1, "Reshape": 4, "Transpose": 4, "Where": 2, "Softmax": 1,
    }  # fmt: skip


def test_a_query_that_may_attend_to_nothing_gets_zero() -> None:
    program = model_of("model Q()(q: float[1, 2, 3, 4], m: bool[3, 3]) { return attention(q, q, q, mask=m) }")
    mask = np.asarray([[1, 0, 0], [0, 0, 0], [1, 1, 1]], bool)
    for opset in (20, 23):
        made = lower(program, BACKEND, EmitOptions(opset=opset), weights={})
        (y,) = BACKEND.load(made.artifact, made.program, {}).run({"q": normal(1, 2, 3, 4), "m": mask}).outputs.values()
        assert np.all(y[:, :, 1] == 0) and not np.any(np.isnan(y))


def test_however_low_the_scores_the_future_is_hidden() -> None:
    program = model_of("model M()(x: float[B, T, 1]) { return SelfAttention(1, causal=true, bias=false)(x) }")
    weights = {f"self_attention.{name}.weight": np.full((1, 1), w, F32) for name, w in zip("qkv", (-1, 1, 1), strict=True)}
    weights["self_attention.out.weight"] = np.ones((1, 1), F32)
    for opset in (22, 23):
        made = lower(program, BACKEND, EmitOptions(opset=opset), weights=weights)
        (y,) = BACKEND.load(made.artifact, made.program, weights).run({"x": np.asarray([[[500], [1000]]], F32)}).outputs.values()
        np.testing.assert_allclose(y.ravel(), [500, 500])


SIZES = """
model Sizes()(x: float[B, T, 8]) {
  require T <= 16, "too long"
  a = x[:, :3]
  b = x[:, 1:]
  c = rearrange(x, "b t (h d) -> (b h) t d", h=2)
  d = sum(x, over=1) / T
  e = eye(T) + cast(arange(T), float)
  f = reshape(x, [B * T, 8])
  g = cast(arange((T + 1) // 2 + T * B - 1), float) + (T - 4) // 3
  return a, b, c, d, e, f, g
}
"""


def test_sizes_are_read_when_the_model_runs() -> None:
    program = model_of(SIZES)
    for batch, length in ((1, 2), (2, 5)):
        agrees(program, {"B": batch, "T": length})
    model = emitted(program)
    dims = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert dims["x"] == ["B", "T", 8]
    assert dims["a"] == ["B", "min(T, 3)", 8]
    assert dims["b"] == ["B", "T - 1", 8]
    assert dims["c"] == ["2 * B", "T", 4]
    assert dims["f"] == ["B * T", 8]
    assert {p.key: p.value for p in model.metadata_props}["require"] == "T <= 16 (too long)"


def test_modules_are_functions_and_weights_have_their_names() -> None:
    text = """
module Block()(x: float[B, D]) -> float[B, D] { return x + (x -> fc: Linear(D) -> tanh) }
model M()(x: float[B, 4]) -> (y: float[B, 4]) {
  h = x -> blocks: repeat(3) { Block() }
  y = h -> head: Linear(4)
  return y
}
"""
    model = emitted(model_of(text))
    assert [f.name for f in model.functions] == ["Block"]
    assert Counter(n.op_type for n in model.graph.node) == {"Block": 3, "Gemm": 1}
    assert [n.name for n in model.graph.node] == ["blocks.0", "blocks.1", "h", "y"]
    names = {t.name for t in model.graph.initializer}
    assert names == {f"blocks.{i}.fc.{p}" for i in range(3) for p in ("weight", "bias")} | {"head.weight", "head.bias"}
    assert emitted(model_of(text), inline=True).functions == []


def test_a_weight_is_stored_once() -> None:
    text = """
model Tied()(tokens: int[B, T]) -> (logits: float[B, T, 10]) {
  layer wte = Embedding(10, 4)
  return Linear(4)(wte(tokens)) @ wte.weight.T
}
"""
    program = model_of(text)
    model = emitted(program)
    weights = values(program)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert stored.keys() == {"wte.weight", "linear.weight.T", "linear.bias"}
    np.testing.assert_array_equal(stored["linear.weight.T"], weights["linear.weight"].T)
    agrees(program, {"B": 2, "T": 3})


def test_a_bias_after_a_product_of_matrices_is_one_gemm() -> None:
    text = """
model M()(x: float[B, 4], w: float[4, 3]) {
  param weight: float[3, 4] = normal(std=1)
  param bias: float[3] = zeros
  product = x @ w
  return x @ weight.T + bias, bias + product, product
}
"""
    program = model_of(text)
    assert sorted(n.op_type for n in emitted(program).graph.node) == ["Add", "Gemm", "MatMul"]
    agrees(program, {"B": 2})


def test_parameters_may_be_called_like_operators() -> None:
    text = (
        "model M()(x: float[B, 4]) -> (tanh: float[B, 4]) { y = exp(x) + 1.0; param exp: float[4] = ones; return tanh(y * exp) }"
    )
    program = model_of(text.replace("; ", "\n"))
    assert [t.name for t in emitted(program).graph.initializer if t.dims] == ["exp"]
    agrees(program, {"B": 2})


def test_the_same_bytes_each_time() -> None:
    program = model_of(NORMS)
    weights = values(program)
    first, second = (lower(program, BACKEND, EmitOptions(), weights=weights).artifact.content for _ in range(2))
    assert first == second


def test_many_repeats_are_calls_of_one_function() -> None:
    text = """
module Cell()(x: float[B, 8]) -> float[B, 8] { return x + (x -> Linear(8) -> tanh) }
model Deep(n: int = 10)(x: float[B, 8]) -> float[B, 8] { return x -> repeat(n) { Cell() } }
"""
    program = compile_graph(Source("deep.dl", text), {"n": 1000})
    model = onnx.load_from_string(BACKEND.emit(program, EmitOptions(), values(program)).content)
    assert (len(model.graph.node), len(model.functions)) == (1000, 1)


# --- node counts: no more than a graph written by hand --------------------------------------------------------------------------------


def count(path: str, hyper: Mapping[str, object], opset: int = 20, model: str | None = None) -> int:
    program = compile_graph(f"specs/{path}", hyper, model=model)
    return len(emitted(program, opset=opset, inline=True).graph.node)


def test_node_counts() -> None:
    assert count("mlp/mlp.dl", {"widths": [256, 256]}) == 5
    assert count("cnn/resnet.dl", {"widths": [4, 8, 8, 16]}, model="ResNet50") <= 122
    small = {"layers": 12, "width": 24, "vocab": 30, "context": 16}
    assert count("language/gpt2.dl", small) <= 329
    assert count("language/gpt2.dl", small, opset=23) <= 187


# --- random draws ---------------------------------------------------------------------------------------------------------------------


def test_random_draws() -> None:
    text = """
module Noisy()(x: float[B, 500]) -> float[B, 500] { return randn(B, 500) }
model R()(x: float[B, 500]) {
  p = bernoulli(x * 0 + 0.25)
  u = rand(B, 500)
  c = categorical(concat(x * 0, x * 0 + 50.0, over=1))
  return Noisy()(x), Noisy()(x), p, u, c
}
"""
    program = model_of(text)
    made = lower(program, BACKEND, EmitOptions(), weights={})
    first, second, p, u, c = BACKEND.load(made.artifact, made.program, {}).run({"x": np.ones((4, 500), F32)}).outputs.values()
    assert abs(first.mean()) < 0.1 and abs(first.std() - 1) < 0.1
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
    assert set(np.unique(p)) == {0.0, 1.0} and abs(p.mean() - 0.25) < 0.05
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.05
    assert c.dtype == np.int64 and np.all(c >= 500)


def test_random_draws_in_double_precision_have_its_digits() -> None:
    program = compile_graph(Source("m.dl", "model R()(x: float[9]) { return randn(9) + x }"), float_type=DType.F64)
    made = lower(program, BACKEND, EmitOptions(), weights={})
    (y,) = BACKEND.load(made.artifact, made.program, {}).run({"x": np.zeros(9)}).outputs.values()
    assert y.dtype == F64 and np.any(y != y.astype(F32))


# --- element types, files, entry points, refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("float_type", "tolerance"), [(DType.F16, 1e-2), (DType.BF16, 1e-1), (DType.F64, 1e-9)], ids=str)
def test_other_floating_types(float_type: DType, tolerance: float) -> None:
    layers = "x -> Linear(8) -> tanh -> Linear(3) -> softmax, x -> BatchNorm1d(eps=1.1), x -> LayerNorm(eps=1.1)"
    text = f"model M()(x: float[B, 4]) {{ return {layers}, linspace(0.0, 1.0, B) }}"
    program = compile_graph(Source("m.dl", text), float_type=float_type)
    agrees(program, {"B": 4}, tolerance=tolerance)
    (graph_input,) = emitted(program).graph.input
    assert graph_input.type.tensor_type.elem_type == ELEMENT[float_type]


def test_a_scalar_factor_keeps_its_digits() -> None:
    """onnxruntime would move it into the product, in single precision."""
    program = compile_graph(
        Source("m.dl", "model M()(x: float[3], w: float[3, 4]) { return (x @ w) * 0.1 }"), float_type=DType.F64
    )
    agrees(program, {}, tolerance=1e-12)


def test_large_weights_stand_beside_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "EXTERNAL_ABOVE", 1000)
    program = model_of("model Big()(x: float[B, 64]) -> float[B, 64] { return x -> Linear(64) -> Linear(64) }")
    weights, inputs = values(program), feed(program.main, {"B": 2})
    artifact = BACKEND.emit(program, EmitOptions(), weights)
    ((name, data),) = artifact.beside.items()
    assert name == data_name("Big.onnx", data) and name.encode() in artifact.content and len(artifact.content) < 5000
    (other,) = BACKEND.emit(program, EmitOptions(output="out.onnx"), weights).beside
    assert other == data_name("out.onnx", data)
    found = BACKEND.load(artifact, program, weights).run(inputs).outputs
    close(found, Interpreter(weights).run(program.main, inputs))


def test_entry_points() -> None:
    text = """
model Scale() {
  layer fc = Linear(2)
  def forward(x: float[B, 2]) -> (y: float[B, 2]) { return fc(x) }
  def inverse(y: float[B, 2]) -> (x: float[B, 2]) { return y - fc(y) }
}
"""
    program = model_of(text)
    weights = values(program)
    session = BACKEND.load(BACKEND.emit(program, EmitOptions(), weights), program, weights)
    for entry, graph in program.entries.items():
        inputs = feed(graph, {"B": 3})
        close(session.run(inputs, entry=entry).outputs, Interpreter(weights).run(graph, inputs))
    with pytest.raises(SpecError, match="no entry point `sideways` in `Scale`"):
        session.run({}, entry="sideways")


def test_what_is_refused() -> None:
    program = model_of("model M()(x: float[B, 3, 8, 8]) -> float[B, 4, 6, 6] { return x -> Conv2d(4, 3) }")
    weights = values(program)
    with pytest.raises(SpecError, match=r"DL0711.*carries its weights"):
        BACKEND.emit(program, EmitOptions())
    with pytest.raises(SpecError, match=r"no value for the parameter `conv2d.weight`"):
        BACKEND.emit(program, EmitOptions(), {})
    with pytest.raises(SpecError, match=r"opset 16 is not supported; opsets 17 to 26 are"):
        BACKEND.emit(program, EmitOptions(opset=16), weights)
    wide = compile_graph(Source("m.dl", "model M()(x: float[1, 1, 8]) { return x -> Conv1d(2, 3) }"), float_type=DType.F64)
    with pytest.raises(
        SpecError, match=r"the backend `onnx` cannot express `conv`: onnxruntime has no f64 kernel of Conv"
    ) as caught:
        BACKEND.emit(wide, EmitOptions(), values(wide))
    assert caught.value.diagnostics[0].code == "DL0705"
    with pytest.raises(SpecError, match=r"onnxruntime has no f64 kernel of Conv") as caught:
        lower(wide, BACKEND, EmitOptions(), weights=values(wide))
    assert caught.value.diagnostics[0].help is not None and "`torch`" in caught.value.diagnostics[0].help
    session = BACKEND.load(BACKEND.emit(program, EmitOptions(), weights), program, weights)
    with pytest.raises(SpecError, match=r"inference only"):
        session.run(feed(program.main, {"B": 1}), training=True)
    with pytest.raises(SpecError, match=r"does not run on `tpu`"):
        BACKEND.load(BACKEND.emit(program, EmitOptions(), weights), program, weights, device="tpu")


@pytest.mark.parametrize("draw", ["x + randn(3)", "x + rand(3)", "bernoulli(sigmoid(x))", "x + cast(categorical(x), float)"])
def test_draws_are_refused_where_onnxruntime_has_no_kernels_of_them(draw: str) -> None:
    program = model_of(f"model M()(x: float[3]) {{ return {draw} }}")
    with pytest.raises(SpecError, match=r"onnxruntime has no kernel of Random\w+Like at opset 22; `--opset 21` has one"):
        BACKEND.emit(program, EmitOptions(opset=22), {})
    BACKEND.load(BACKEND.emit(program, EmitOptions(opset=21), {}), program, {})


def test_a_graph_for_training_is_a_bug_of_ours() -> None:
    program = model_of("model M()(x: float[B, 3]) { return x -> dropout(0.5) }")
    with pytest.raises(InternalError, match="not specialised to inference"):
        BACKEND.emit(program, EmitOptions(), {})


def test_torch_is_not_imported() -> None:
    code = "import sys, backends.onnx; print([m for m in ('torch', 'jax') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_symbols_of_outputs_are_those_of_inputs() -> None:
    program = model_of("model M()(x: float[B, 3, H, W]) { return x -> Conv2d(4, 3, stride=2, padding=1) }")
    (value,) = program.main.outputs.values()
    known = {s for d in program.main.type(value).shape for s in symbols_of(d)}
    (output,) = emitted(program).graph.output
    assert [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim] == ["B", 4, "(H + 1) // 2", "(W + 1) // 2"]
    assert known == {"B", "H", "W"}
