"""Functions that lower to primitives: what they compute, how few primitives they take, and the errors of einops patterns."""

from __future__ import annotations

import numpy as np
import pytest

from dsl.build import Builder, checked_attributes
from dsl.dims import Dim, symbol
from dsl.ir import Graph, Value
from dsl.ops.card import AttributeValue, Example, OpError
from dsl.ops.numpy_types import array_dtype
from dsl.ops.registry import CARDS, card
from dsl.ops.sugar import SUGARS, Sugar
from dsl.types import DType, TensorType

B, T, D, H, W = (symbol(name) for name in "BTDHW")
NAMED = {sugar.name: sugar for sugar in SUGARS}


def f32(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


def counting(*shape: int) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape)


class Computing:
    """A builder whose values are arrays: each primitive is computed at once by its reference, and its name is kept."""

    float_type = DType.F32

    def __init__(self) -> None:
        self.ops: list[str] = []

    def type_of(self, value: np.ndarray, /) -> TensorType:
        dtype = array_dtype(value)
        assert dtype is not None
        return TensorType(dtype, value.shape)

    def build(self, op: str, operands: tuple[np.ndarray, ...], **attributes: AttributeValue) -> np.ndarray:
        self.ops.append(op)
        graph = Graph("Test")
        inputs = tuple(Value(graph.add("input", (), {}, (self.type_of(x),)).id) for x in operands)
        node = graph.node(Builder(graph).build(op, inputs, **attributes))
        result = card(op).reference(*operands, **node.attributes)
        assert isinstance(result, np.ndarray) and result.shape == node.type.shape
        return result


def apply(name: str, *xs: np.ndarray, **attributes: AttributeValue) -> tuple[np.ndarray, str]:
    """The result, and the primitives that it took."""
    builder = Computing()
    canonical = checked_attributes(NAMED[name], tuple(map(builder.type_of, xs)), attributes)
    return NAMED[name].lower(builder, xs, canonical), " ".join(builder.ops)


def lowered(name: str, *types: TensorType, **attributes: AttributeValue) -> tuple[str, str]:
    """The result type on operands of those types, and the primitives that it took."""
    graph = Graph("Test")
    operands = tuple(Value(graph.add("input", (), {}, (type,)).id) for type in types)
    value = NAMED[name].lower(Builder(graph), operands, checked_attributes(NAMED[name], types, attributes))
    return str(graph.type(value)), " ".join(node.op for node in graph if node.op != "input")


def message(name: str, *types: TensorType, **attributes: AttributeValue) -> str:
    with pytest.raises(OpError) as caught:
        lowered(name, *types, **attributes)
    return str(caught.value)


# --- every sugar ---


@pytest.mark.parametrize("sugar", SUGARS, ids=NAMED)
def test_a_sugar_says_all_there_is_to_say(sugar: Sugar) -> None:
    assert sugar.summary.endswith(".") and "\n" not in sugar.summary
    assert len(sugar.examples) >= 2
    assert sugar.name not in CARDS


@pytest.mark.parametrize("example", [e for s in SUGARS for e in s.examples], ids=lambda e: e.expression)
def test_an_example_is_what_it_says(example: Example) -> None:
    from dsl.compiler import evaluate_expression

    found, expected = evaluate_expression(example.expression), np.asarray(example.result)
    assert isinstance(found, np.ndarray) and found.shape == expected.shape
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64))


# --- shapes ---


def test_flatten_makes_axes_one() -> None:
    assert lowered("flatten", f32(B, 3, H, W)) == ("f32[B, 3 * H * W]", "reshape")
    assert lowered("flatten", f32(B, 3, H, W), start=0, end=1) == ("f32[3 * B, H, W]", "reshape")
    assert lowered("flatten", f32(B, 3)) == ("f32[B, 3]", "")
    assert message("flatten", f32(B, 3), start=1, end=0) == "`start` = 1 comes after `end` = 0"
    assert message("flatten", f32(3)).startswith("axis 1 of a tensor with 1 axes")


def test_flatten_of_some_axes() -> None:
    assert lowered("flatten", f32(B, T, D, 3), start=1, end=2) == ("f32[B, D * T, 3]", "reshape")
    assert lowered("flatten", f32(B, T, D), start=1, end=1) == ("f32[B, T, D]", "")
    assert lowered("flatten", f32(B, T), start=0) == ("f32[B * T]", "reshape")
    assert lowered("flatten", f32(2, 3, 4), start=-2, end=-1) == ("f32[2, 12]", "reshape")


def test_transpose_swaps_two_axes() -> None:
    assert lowered("transpose", f32(B, T, D), a=1, b=-1) == ("f32[B, D, T]", "permute")
    assert lowered("transpose", f32(B, T), a=1, b=1) == ("f32[B, T]", "")
    assert lowered("matrix_transpose", f32(B, T, D)) == ("f32[B, D, T]", "permute")
    assert message("matrix_transpose", f32(D)) == "x is f32[D], and only a tensor with at least 2 axes can be transposed"


def test_squeeze_and_unsqueeze() -> None:
    assert lowered("squeeze", f32(B, 1, D, 1), over=(1, -1)) == ("f32[B, D]", "reshape")
    assert lowered("unsqueeze", f32(B, D), over=1) == ("f32[B, 1, D]", "reshape")
    assert lowered("unsqueeze", f32(B, D), over=(0, -1)) == ("f32[1, B, D, 1]", "reshape")
    assert message("squeeze", f32(B, T), over=1) == "axis 1 of x, which is f32[B, T], is T and not 1"
    assert message("unsqueeze", f32(B), over=3).startswith("axis 3")


# --- constant tensors ---


def test_zeros_and_ones_have_the_models_floating_type() -> None:
    assert lowered("zeros", shape=(B, 3)) == ("f32[B, 3]", "full")
    assert lowered("ones", shape=(), dtype=DType.BOOL) == ("bool[]", "full")
    half = Graph("Test")
    value = NAMED["zeros"].lower(Builder(half, DType.F16), (), {"shape": (2,), "dtype": None})
    assert str(half.type(value)) == "f16[2]"


def test_like_takes_shape_and_dtype_of_its_operand() -> None:
    assert lowered("zeros_like", TensorType(DType.I64, (B, 2))) == ("i64[B, 2]", "full")
    assert lowered("ones_like", f32(B), dtype=DType.I32) == ("i32[B]", "full")
    assert apply("full_like", counting(2), value=0.5)[0].tolist() == [0.5, 0.5]
    assert message("full_like", TensorType(DType.I64, (2,)), value=0.5).startswith("value is 0.5 and dtype is i64")


# --- rearrange ---

X = counting(2, 3, 4, 6)
SPLIT = X.reshape(2, 3, 2, 2, 6)

REARRANGED: list[tuple[str, dict[str, AttributeValue], np.ndarray, str]] = [
    ("a b c d -> a b c d", {}, X, ""),
    ("a b c d -> d b a c", {}, X.transpose(3, 1, 0, 2), "permute"),
    ("a b c d -> a (b c) d", {}, X.reshape(2, 12, 6), "reshape"),
    ("a b c d -> (a b c d)", {}, X.reshape(-1), "reshape"),
    ("a b c d -> b (a c) d", {}, X.transpose(1, 0, 2, 3).reshape(3, 8, 6), "permute reshape"),
    ("a b c (h k) -> a b h c k", {"h": 2}, X.reshape(2, 3, 4, 2, 3).transpose(0, 1, 3, 2, 4), "reshape permute"),
    ("a b (h k) d -> (a k) h b d", {"k": 2}, SPLIT.transpose(0, 3, 2, 1, 4).reshape(4, 2, 3, 6), "reshape permute reshape"),
    ("a b c (h k) -> a (b c) h k", {"h": 3}, X.reshape(2, 12, 3, 2), "reshape"),
    ("a ... -> ... a", {}, X.transpose(1, 2, 3, 0), "permute"),
    ("... c d -> ... (c d)", {}, X.reshape(2, 3, 24), "reshape"),
    ("a ... d -> a (...) d", {}, X.reshape(2, 12, 6), "reshape"),
    ("a ... -> (... a)", {}, X.transpose(1, 2, 3, 0).reshape(-1), "permute reshape"),
    ("a b c d -> a 1 b c () d", {}, X.reshape(2, 1, 3, 4, 1, 6), "reshape"),
    ("a b c d -> d 1 c b a", {}, X.transpose(3, 2, 1, 0).reshape(6, 1, 4, 3, 2), "permute reshape"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "sizes", "expected", "ops"), REARRANGED, ids=[r[0] for r in REARRANGED])
def test_rearrange(pattern: str, sizes: dict[str, AttributeValue], expected: np.ndarray, ops: str) -> None:
    found, took = apply("rearrange", X, pattern=pattern, **sizes)
    np.testing.assert_array_equal(found, expected)
    assert took == ops


def test_rearrange_drops_axes_of_size_1() -> None:
    found, ops = apply("rearrange", counting(2, 1, 3), pattern="a 1 b -> b a")
    assert found.tolist() == counting(2, 3).T.tolist() and ops == "reshape permute"
    assert message("rearrange", f32(2, 3), pattern="").startswith('pattern "": it must have one `->`')
    assert message("rearrange", f32(2, 3), pattern="a 1 -> a") == 'pattern "a 1 -> a": axis `1` is 3, and should be 1'


def test_rearrange_solves_symbolic_sizes() -> None:
    assert lowered("rearrange", f32(B, T, 8 * D), pattern="b t (h d) -> b h t d", h=8) == ("f32[B, 8, T, D]", "reshape permute")
    assert lowered("rearrange", f32(B, D, H // 4, W // 4), pattern="b d h w -> (b h w) d")[0] == "f32[B * (H // 4) * (W // 4), D]"
    flat = f32(B * (H // 4) * (W // 4), 64)
    assert lowered("rearrange", flat, pattern="(b h w) d -> b d h w", b=B, h=H // 4)[0] == "f32[B, 64, H // 4, W // 4]"


REFUSED: list[tuple[str, dict[str, AttributeValue], str]] = [
    ("a b", {}, "it must have one `->`"),
    ("a b -> a b -> b a", {}, "it must have one `->`"),
    ("a * b -> a b", {}, "`*` has no meaning in it"),
    ("(a b -> a b", {}, "a `(` without its `)`"),
    ("a b) -> a b", {}, "a `)` without its `(`"),
    ("((a) b) -> a b", {}, "parentheses cannot be nested"),
    ("a a -> a", {}, "`a` is twice on one side"),
    ("a b -> a", {}, "`b` is only on the left"),
    ("a b -> a b c", {}, "`c` is only on the right"),
    ("a b -> a b 2", {}, "`2` is only on the right"),
    ("a ... -> a", {}, "`...` is only on the left"),
    ("a b -> a b ...", {}, "`...` is only on the right"),
    ("a (...) -> a ...", {}, "`...` cannot be in parentheses on the left"),
    ("a b c -> c b a", {}, "it takes 3 axes, and x, which is f32[2, 12], has 2"),
    ("a b c ... -> c b a ...", {}, "it takes at least 3 axes, and x, which is f32[2, 12], has 2"),
    ("a (c d) -> a c d", {}, "`(c d)` is 12, which does not say `c` and `d`"),
    ("a (c d) -> a c d", {"c": 5}, "axis `(c d)` = 12 is not divisible by 5"),
    ("a (c d) -> a c d", {"c": 5, "d": 2}, "axis `(c d)` is 12, and should be 5 * 2 = 10"),
    ("a d -> d a", {"d": 5}, "axis `d` is 12, and should be 5"),
    ("a 0 -> a", {}, "an axis of size 0"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "sizes", "reason"), REFUSED, ids=[r[0] for r in REFUSED])
def test_a_pattern_without_meaning_is_refused(pattern: str, sizes: dict[str, AttributeValue], reason: str) -> None:
    assert message("rearrange", f32(2, 12), pattern=pattern, **sizes) == f'pattern "{pattern}": {reason}'


def test_sizes_given_to_a_pattern_must_be_of_its_axes() -> None:
    assert message("rearrange", f32(2, 12), pattern="a b -> b a", c=2) == 'pattern "a b -> b a" has no axis `c`'
    assert message("rearrange", f32(2, 12), pattern="a (b c) -> b a c", c=0) == "`c` must be at least 1, not 0"
    assert message("rearrange", f32(2, 12), pattern="a (b c) -> b a c", c=2.0) == "`c` must be a constant integer, not 2.0"


# --- repeat ---

Y = counting(2, 3)

REPEATED: list[tuple[str, dict[str, AttributeValue], np.ndarray, str]] = [
    ("a b -> a b", {}, Y, ""),
    ("a b -> c a b", {"c": 4}, np.broadcast_to(Y, (4, 2, 3)), "expand"),
    ("a b -> a b c", {"c": 4}, np.repeat(Y[..., None], 4, 2), "reshape expand"),
    ("a b -> a 4 b", {}, np.repeat(Y[:, None], 4, 1), "reshape expand"),
    ("a b -> (a 2) b", {}, np.repeat(Y, 2, 0), "reshape expand reshape"),
    ("a b -> (r a) b", {"r": 2}, np.tile(Y, (2, 1)), "expand reshape"),
    ("a b -> a (b r)", {"r": 2}, np.repeat(Y, 2, 1), "reshape expand reshape"),
    ("a b -> b c a", {"c": 2}, np.repeat(Y.T[:, None], 2, 1), "permute reshape expand"),
    ("... -> n ...", {"n": 2}, np.stack([Y, Y]), "expand"),
    ("a (b c) -> a b r c", {"c": 1, "r": 2}, np.repeat(Y.reshape(2, 3, 1, 1), 2, 2), "reshape expand"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "sizes", "expected", "ops"), REPEATED, ids=[r[0] for r in REPEATED])
def test_repeat(pattern: str, sizes: dict[str, AttributeValue], expected: np.ndarray, ops: str) -> None:
    found, took = apply("repeat", Y, pattern=pattern, **sizes)
    np.testing.assert_array_equal(found, expected)
    assert took == ops


def test_repeat_of_a_scalar_and_of_symbolic_sizes() -> None:
    assert apply("repeat", np.array(3.0), pattern=" -> 2")[0].tolist() == [3.0, 3.0]
    assert lowered("repeat", f32(B, D), pattern="b d -> b t d", t=T) == ("f32[B, T, D]", "reshape expand")


def test_repeat_refuses_a_new_axis_without_a_size_and_a_lost_one() -> None:
    assert message("repeat", f32(2, 3), pattern="a b -> a b c") == (
        'pattern "a b -> a b c": the size of the new axis `c` is not given'
    )
    assert message("repeat", f32(2, 3), pattern="a b -> a", c=2) == 'pattern "a b -> a": `b` is only on the left'


# --- reduce ---

REDUCED: list[tuple[str, str, dict[str, AttributeValue], np.ndarray, str]] = [
    ("a b c d -> a c", "sum", {}, X.sum((1, 3)), "sum"),
    ("a b c d ->", "mean", {}, np.asarray(X.mean()), "mean"),
    ("a b c d -> a b 1 1", "max", {}, X.max((2, 3), keepdims=True), "max"),
    ("a b c d -> a () c ()", "min", {}, X.min((1, 3), keepdims=True), "min"),
    ("a b (c 2) (d 3) -> a b c d", "max", {}, X.reshape(2, 3, 2, 2, 2, 3).max((3, 5)), "reshape max"),
    ("a b (c k) d -> a d c b", "mean", {"k": 2}, X.reshape(2, 3, 2, 2, 6).mean(3).transpose(0, 3, 2, 1), "reshape mean permute"),
    ("a ... -> ...", "prod", {}, X.prod(0), "prod"),
    ("a ... -> a", "sum", {}, X.sum((1, 2, 3)), "sum"),
    ("a b c d -> (a b)", "sum", {}, X.sum((2, 3)).reshape(6), "sum reshape"),
    ("a b c d -> a b c d", "sum", {}, X, ""),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "reduction", "sizes", "expected", "ops"), REDUCED, ids=[r[0] for r in REDUCED])
def test_reduce(pattern: str, reduction: str, sizes: dict[str, AttributeValue], expected: np.ndarray, ops: str) -> None:
    found, took = apply("reduce", X, pattern=pattern, reduction=reduction, **sizes)
    np.testing.assert_allclose(found, expected)
    assert took == ops


def test_reduce_keeps_a_group_that_it_does_not_reduce() -> None:
    found, ops = apply("reduce", counting(4, 3), pattern="(a b) c -> (a b) 1", reduction="sum", a=2)
    np.testing.assert_array_equal(found, counting(4, 3).sum(1, keepdims=True))
    assert ops.split().count("sum") == 1


def test_reduce_refuses_new_axes_and_unknown_reductions() -> None:
    assert message("reduce", f32(2, 3), pattern="a b -> a c", reduction="sum") == (
        'pattern "a b -> a c": `c` is only on the right'
    )
    assert message("reduce", f32(2, 3), pattern="a b -> a", reduction="median").startswith("`reduction` is one of sum, mean")
