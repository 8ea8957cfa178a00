"""Primitives that rearrange elements: against NumPy, the algebra of sizes, canonical attributes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from dsl.build import Builder
from dsl.dims import Dim, Expr, evaluate, format_dim, symbol
from dsl.ir import Graph, Node, Value
from dsl.ops.card import AttributeValue, OpError
from dsl.ops.inference import canonical_axes, canonical_axis, within
from dsl.ops.registry import card
from dsl.ops.sizes import dim, dims, distinct_axes, exact_quotient, integer, integers, per_axis, size, sizes
from dsl.types import DType, TensorType

B, T, D, H, W = (symbol(name) for name in "BTDHW")


def f32(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


def counting(*shape: int) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape)


def built(name: str, *types: TensorType, **attributes: AttributeValue) -> Node:
    """The node of a primitive on operands of those types."""
    graph = Graph("Test")
    operands = tuple(Value(graph.add("input", (), {}, (type,)).id) for type in types)
    return graph.node(Builder(graph).build(name, operands, **attributes))


def shape_of(name: str, *types: TensorType, **attributes: AttributeValue) -> list[str]:
    return [format_dim(d) for d in built(name, *types, **attributes).type.shape]


def apply_all(name: str, *xs: np.ndarray, **attributes: AttributeValue) -> tuple[np.ndarray, ...]:
    """The reference's results, which must have the shapes that `infer` says."""
    node = built(name, *(f32(*x.shape) for x in xs), **attributes)
    found = card(name).reference(*xs, **node.attributes)
    results = found if isinstance(found, tuple) else (found,)
    assert [r.shape for r in results] == [t.shape for t in node.types]
    return results


def apply(name: str, *xs: np.ndarray, **attributes: AttributeValue) -> np.ndarray:
    (result,) = apply_all(name, *xs, **attributes)
    return result


def message(name: str, *types: TensorType, **attributes: AttributeValue) -> str:
    """Argument to blame, and what is said."""
    with pytest.raises(OpError) as caught:
        built(name, *types, **attributes)
    return f"{caught.value.argument}: {caught.value}"


# --- reshape ---


def test_reshape_solves_minus_one() -> None:
    assert apply("reshape", counting(2, 6), shape=(3, -1)).tolist() == counting(3, 4).tolist()
    assert shape_of("reshape", f32(B, T, D), shape=(-1, D)) == ["B * T", "D"]
    assert shape_of("reshape", f32(B, H * W, 64), shape=(B, -1, 8, 8)) == ["B", "H * W", "8", "8"]
    assert shape_of("reshape", f32(B, 2 * T - 1, D), shape=(-1, 2 * T - 1)) == ["B * D", "2 * T - 1"]
    assert built("reshape", f32(B, 12), shape=(B, 3, -1)).attributes["shape"] == (B, 3, 4)


def test_reshape_proves_that_symbolic_sizes_fit() -> None:
    assert shape_of("reshape", f32(B, T, D), shape=(B * T, D)) == ["B * T", "D"]
    even = symbol("N", multiple=2)
    assert shape_of("reshape", f32(even, 3), shape=(even // 2, 6)) == ["N // 2", "6"]
    assert shape_of("reshape", f32(even, 3), shape=(-1, 6)) == ["N // 2", "6"]


def test_reshape_of_nothing_and_of_a_scalar() -> None:
    assert apply("reshape", counting(0, 4), shape=(2, 0)).shape == (2, 0)
    assert apply("reshape", counting(0, 4), shape=(2, -1)).shape == (2, 0)
    assert apply("reshape", counting(1), shape=()).shape == ()
    assert apply("reshape", np.asarray(2.0), shape=(1, -1)).shape == (1, 1)
    assert message("reshape", f32(0, 4), shape=(0, -1)).endswith("is not proved to be a multiple of 0")
    assert message("reshape", f32(0, 4), shape=(2, 3)).endswith("0 * 4 = 0 against 2 * 3 = 6")
    assert message("reshape", f32(2), shape=(0,)).endswith("2 against 0")


def test_reshape_shows_the_products_of_both_sides() -> None:
    assert message("reshape", f32(2, 6), shape=(5, 3)) == (
        "shape: x is f32[2, 6] and does not fill the shape [5, 3]: 2 * 6 = 12 against 5 * 3 = 15"
    )
    assert message("reshape", f32(2, 6), shape=(5, -1)) == (
        "shape: x is f32[2, 6] and does not fill the shape [5, -1]: 2 * 6 = 12 is not proved to be a multiple of 5"
    )
    assert message("reshape", f32(B, T, 6), shape=(B, T, 2, 2)).endswith("B * T * 6 against B * T * 2 * 2")
    assert message("reshape", f32(B, T), shape=(B, 2, -1)).endswith("B * T is not proved to be a multiple of B * 2")
    assert message("reshape", f32(B, T), shape=(-1, -1)) == (
        "shape: `shape` [-1, -1] has -1 2 times; only one size can be found from the others"
    )
    assert message("reshape", f32(6), shape=(-2, -3)) == "shape: a size cannot be negative: -2"


# --- permute, expand ---


def test_permute_is_numpys_transpose() -> None:
    x = counting(2, 3, 4)
    for order in ((0, 2, 1), (2, 0, 1), (-1, 0, 1)):
        np.testing.assert_array_equal(apply("permute", x, order=order), x.transpose(order))
    assert message("permute", f32(2, 3, 4), order=(0, 1)) == "order: `order` [0, 1] must list each of the 3 axes of x once"
    assert message("permute", f32(2, 3), order=(0, 0)).startswith("order: ")
    assert message("permute", f32(2, 3), order=(0, 2)).startswith("order: axis 2")


def test_expand_stretches_ones_and_adds_axes_in_front() -> None:
    x = counting(3, 1)
    np.testing.assert_array_equal(apply("expand", x, shape=(2, -1, 4)), np.broadcast_to(x, (2, 3, 4)))
    assert shape_of("expand", f32(1, D), shape=(B, T, D)) == ["B", "T", "D"]
    assert message("expand", f32(3, 2), shape=(3, 4)) == (
        "shape: axis 1 of x, which is f32[3, 2], cannot become 4: only size 1 is stretched"
    )
    assert message("expand", f32(3, 2), shape=(2,)) == "shape: `shape` [2] has fewer axes than x, which is f32[3, 2]"
    assert message("expand", f32(1), shape=(-2,)) == "shape: a size cannot be negative: -2"
    assert shape_of("expand", f32(1), shape=(0, 0)) == ["0", "0"]
    assert shape_of("expand", f32(B, 3), shape=(-1, -1)) == ["B", "3"]
    assert shape_of("expand", f32(), shape=(2,)) == ["2"]
    assert message("expand", f32(3), shape=(-1, 3)) == "shape: axis 0 of `shape` [-1, 3] is new, so that -1 does not say its size"


# --- concat, stack, split ---


def test_concat_joins_along_an_axis() -> None:
    a, b = counting(2, 3), counting(2, 1)
    np.testing.assert_array_equal(apply("concat", a, b, a, over=-1), np.concatenate([a, b, a], -1))
    assert shape_of("concat", f32(B, T, D), f32(B, 1, D), over=1) == ["B", "T + 1", "D"]
    assert message("concat", f32(2, 3), f32(4, 3), over=1) == (
        "xs: tensor 1 is f32[2, 3] and tensor 2 is f32[4, 3]: 2 against 4 in axis 0, and only axis 1 is joined"
    )
    assert message("concat", f32(2, 3), f32(3), over=0).endswith("all must have the same number of axes")
    assert message("concat", f32(2), TensorType(DType.F16, (2,)), over=0) == "xs: tensor 1 is f32[2] and tensor 2 is f16[2]"
    assert message("concat", f32(2), f32(2), over=1).startswith("over: axis 1")


def test_stack_adds_an_axis() -> None:
    a, b = counting(2, 3), -counting(2, 3)
    for over in (0, 1, 2, -1, -3):
        np.testing.assert_array_equal(apply("stack", a, b, over=over), np.stack([a, b], over))
    assert shape_of("stack", f32(B, T), f32(B, T), f32(B, T), over=-1) == ["B", "T", "3"]
    assert (
        message("stack", f32(2), f32(3), over=0) == "xs: tensor 1 is f32[2] and tensor 2 is f32[3]: all must have the same shape"
    )


def test_joining_needs_tensors_of_one_type() -> None:
    assert message("concat", over=0) == "xs: `concat` needs at least one tensor"
    assert message("stack", over=0) == "xs: `stack` needs at least one tensor"
    assert message("stack", f32(2), TensorType(DType.F16, (2,)), over=0) == "xs: tensor 1 is f32[2] and tensor 2 is f16[2]"
    assert message("stack", f32(2), f32(2, 1), over=0).endswith("all must have the same shape")
    assert message("stack", f32(2), f32(2), over=2).startswith("over: axis 2")
    assert message("concat", f32(2, 3), f32(2, 3), f32(2, 4), over=0).startswith(
        "xs: tensor 1 is f32[2, 3] and tensor 3 is f32[2, 4]"
    )


def test_split_into_equal_parts_or_given_sizes() -> None:
    x = counting(2, 6)
    assert [p.tolist() for p in apply_all("split", x, sizes=3, over=1)] == [p.tolist() for p in np.split(x, 3, 1)]
    assert [p.shape for p in apply_all("split", x, sizes=(1, 3, 2), over=-1)] == [(2, 1), (2, 3), (2, 2)]
    assert [str(t) for t in built("split", f32(B, 4 * D), sizes=4, over=-1).types] == ["f32[B, D]"] * 4
    assert [str(t) for t in built("split", f32(B, T), sizes=(1, T - 1), over=1).types] == ["f32[B, 1]", "f32[B, T - 1]"]


def test_split_refuses_parts_that_do_not_add_up() -> None:
    assert message("split", f32(2, 5), sizes=2, over=1) == (
        "sizes: axis 1 of x, which is f32[2, 5], is not proved to be a multiple of 2: it is 5"
    )
    assert message("split", f32(B, T), sizes=2, over=1).endswith("is not proved to be a multiple of 2: it is T")
    assert message("split", f32(2, 5), sizes=(2, 2), over=1) == (
        "sizes: x is f32[2, 5] and the parts [2, 2] do not add up to it: 4 against 5 in axis 1"
    )
    assert message("split", f32(2, 5), sizes=(), over=1).endswith("do not add up to it: 0 against 5 in axis 1")
    assert message("split", f32(0), sizes=(), over=0).endswith("do not add up to it: 0 against 0 in axis 0")
    assert [p.shape for p in apply_all("split", counting(2, 3), sizes=(3, 0), over=1)] == [(2, 3), (2, 0)]
    assert message("split", f32(2, 5), sizes=0, over=1) == "sizes: `sizes` must be at least 1, not 0"
    assert message("split", f32(2, 5), sizes=(7, -2), over=1) == "sizes: a part cannot be negative: -2"


# --- slice ---

BOUNDS = (None, 0, 1, 2, 4, 5, 9, -1, -2, -5, -9)


@pytest.mark.parametrize("step", [1, 2, 3, -1, -2])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_slice_is_pythons_for_constant_and_symbolic_sizes(size: int, step: int) -> None:
    x = counting(size)
    for start, stop in product(BOUNDS, BOUNDS):
        expected = x[start:stop:step]
        found = apply("slice", x, axes=0, starts=(start,), stops=(stop,), steps=step)
        np.testing.assert_array_equal(found, expected, err_msg=f"{start}:{stop}:{step} of {size}")
        if step > 0:
            node = built("slice", f32(T), axes=0, starts=(start,), stops=(stop,), steps=step)
            assert evaluate(node.type.shape[0], {"T": size}) == len(expected), f"{start}:{stop}:{step} of T = {size}"
            first, last = (at(node.attributes[name], size) for name in ("starts", "stops"))
            np.testing.assert_array_equal(x[first:last:step], expected)
            assert 0 <= first <= size and 0 <= last <= size


def at(bound: AttributeValue, size: int) -> int:
    """The value of a canonical bound of one axis where T has that size."""
    assert isinstance(bound, tuple)
    (value,) = bound
    assert isinstance(value, int | Expr)
    return evaluate(value, {"T": size})


def test_slices_of_symbolic_sizes_read_as_a_person_would_write_them() -> None:
    def size(start: Dim | None, stop: Dim | None, step: int = 1) -> str:
        return shape_of("slice", f32(B, T), axes=1, starts=(start,), stops=(stop,), steps=step)[1]

    assert size(None, -1) == "T - 1"
    assert size(1, None) == "T - 1"
    assert size(2, None) == "max(T - 2, 0)"
    assert size(None, 5) == "min(T, 5)"
    assert size(-2, None) == "min(T, 2)"
    assert size(None, None, 2) == "(T + 1) // 2"
    assert size(None, None, -1) == "T"
    assert size(None, T - 1) == "T - 1"
    assert size(0, 1) == "1"
    assert size(None, T // 2) == "T // 2"
    assert size(T // 2, None) == "T - (T // 2)"
    assert size(-3, -1) == "min(T - 1, 2)"
    assert size(3, 5) == "max(min(T, 5) - 3, 0)"


def test_slice_orders_axes_and_fills_bounds() -> None:
    node = built("slice", f32(4, 5, 6), axes=(2, 0), starts=(1, None), stops=(None, -1), steps=(2, 1))
    assert node.attributes == {"axes": (0, 2), "starts": (0, 1), "stops": (3, 6), "steps": (1, 2)}
    assert built("slice", f32(4), axes=0, steps=-1).attributes["stops"] == (None,)


def test_slice_refuses_what_it_cannot_tell() -> None:
    assert message("slice", f32(B, T), axes=1, starts=(T - 3,)) == (
        "starts: cannot tell whether the start T - 3 of the slice is negative, which would count from the end"
    )
    assert message("slice", f32(T), axes=0, stops=(-2,), steps=-1).startswith("stops: cannot tell")
    assert message("slice", f32(T), axes=0, steps=0) == "steps: the step of a slice cannot be 0"
    assert message("slice", f32(T), axes=0, starts=(0, 1)) == "starts: `starts` has 2 entries for 1 axes"
    assert message("slice", f32(T), axes=0, stops=(0, 1)) == "stops: `stops` has 2 entries for 1 axes"
    assert message("slice", f32(T), axes=0, steps=(1, 1)) == "steps: `steps` has 2 entries for 1 axes"
    assert message("slice", f32(T, T), axes=(0, -2)).startswith("axes: ")
    assert message("slice", f32(T), axes=0, starts=(-2,), steps=-1).startswith("starts: cannot tell")
    assert message("slice", f32(T), axes=0, stops=(T - 3,)).startswith("stops: cannot tell whether the stop T - 3 of the slice")
    assert message("slice", f32(T), axes=1).startswith("axes: axis 1")


def test_a_backward_slice_stays_within_the_axis() -> None:
    def cut(start: Dim | None, stop: Dim | None, size: Dim = 5) -> tuple[AttributeValue, AttributeValue, str]:
        node = built("slice", f32(size), axes=0, starts=(start,), stops=(stop,), steps=-1)
        return node.attributes["starts"], node.attributes["stops"], format_dim(node.type.shape[0])

    assert cut(None, None) == ((4,), (None,), "5")
    assert cut(9, 1) == ((4,), (1,), "3")
    assert cut(3, 9) == ((3,), (4,), "0")
    assert cut(-9, None) == ((0,), (0,), "0")
    assert cut(3, -9) == ((3,), (None,), "4")
    assert cut(-1, -3) == ((4,), (2,), "2")
    assert cut(T - 1, None, T) == ((T - 1,), (None,), "T")


# --- pad, flip, roll, tile ---


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad_is_numpys(mode: str) -> None:
    x = counting(3, 4)
    widths = ((2, 0), (1, 3))
    np.testing.assert_array_equal(apply("pad", x, widths=widths, mode=mode), np.pad(x, widths, mode))  # type: ignore[call-overload]


def test_pad_with_a_value_and_a_symbolic_size() -> None:
    assert apply("pad", counting(2), widths=((1, 0),), value=-np.inf).tolist() == [-np.inf, 0.0, 1.0]
    assert shape_of("pad", f32(B, T), widths=(0, (1, 2))) == ["B", "T + 3"]
    whole = built("pad", TensorType(DType.I64, (2,)), widths=((1, 0),))
    assert whole.attributes["value"] == 0 and isinstance(whole.attributes["value"], int)


def test_pad_refuses_what_has_no_meaning() -> None:
    assert message("pad", f32(2, 3), widths=((0, 0), (-1, 0))) == "widths: `widths` must be at least 0, not -1"
    assert message("pad", f32(2, 3), widths=((1, 1),)) == "widths: `widths` has 1 entries, and x, which is f32[2, 3], has 2 axes"
    assert message("pad", f32(3), widths=((3, 0),), mode="reflect") == (
        'widths: mode "reflect" cannot add 3 places to axis 0 of size 3'
    )
    assert message("pad", f32(0), widths=((1, 0),), mode="edge") == 'widths: mode "edge" cannot add 1 places to axis 0 of size 0'
    assert message("pad", TensorType(DType.I64, (2,)), widths=((1, 0),), value=0.5) == (
        "value: `value` 0.5 is not an element of x, which is i64[2]"
    )
    assert shape_of("pad", f32(3), widths=((2, 2),), mode="reflect") == ["7"]
    assert shape_of("pad", f32(1), widths=((2, 5),), mode="edge") == ["8"]
    assert shape_of("pad", f32(0), widths=((1, 0),)) == ["1"]
    assert message("pad", f32(2), widths=((1, 0, 1),)) == "widths: `widths` needs a [low, high] pair for each axis, not [1, 0, 1]"
    assert message("pad", f32(2), widths=((1, 0),), value="a") == 'value: `value` must be a number, not "a"'
    assert message("pad", f32(2), widths=((1, 0),), value=None) == "value: `value` must be a number, not none"
    assert message("pad", f32(2), widths=(("a", 0),)) == 'widths: `widths` must be a constant integer, not "a"'


def test_flip_roll_and_tile_are_numpys() -> None:
    x = counting(2, 3)
    np.testing.assert_array_equal(apply("flip", x, over=(-1, 0)), np.flip(x))
    np.testing.assert_array_equal(apply("roll", x, shift=(1, -2), over=(1, 0)), np.roll(x, (1, -2), (1, 0)))
    np.testing.assert_array_equal(apply("roll", x, shift=7, over=1), np.roll(x, 7, 1))
    np.testing.assert_array_equal(apply("tile", x, repeats=(2, 1)), np.tile(x, (2, 1)))
    assert shape_of("tile", f32(B, T), repeats=(1, 3)) == ["B", "3 * T"]


def test_flip_roll_and_tile_refuse_what_has_no_meaning() -> None:
    assert message("flip", f32(2, 3), over=2).startswith("over: axis 2")
    assert message("roll", f32(2, 3), shift=(1, 2), over=1) == "shift: `shift` has 2 numbers for 1 axes"
    assert message("tile", f32(2, 3), repeats=2) == "repeats: `repeats` has 1 numbers, and x, which is f32[2, 3], has 2 axes"
    assert message("roll", f32(2, 3), shift=1, over=2).startswith("over: axis 2")
    assert message("flip", f32(2, 3), over=(0, -2)).startswith("over: ")
    assert message("tile", f32(2), repeats=0).startswith("repeats: ")


# --- attributes as rules read them ---


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(OpError) as caught:
        call()
    return f"{caught.value.code} {caught.value.argument}: {caught.value}"


def test_numbers_and_sizes_are_read_with_their_bounds() -> None:
    assert integer(0, "n", 0) == 0 and integer(-3, "n") == -3
    assert refusal(lambda: integer(-1, "n", 0)) == "DL0402 n: `n` must be at least 0, not -1"
    assert refusal(lambda: integer(True, "n")) == "DL0402 n: `n` must be a constant integer, not true"
    assert refusal(lambda: integers((1, T), "n")) == "DL0402 n: `n` must be a constant integer, not T"
    assert integers(2, "n") == (2,) and dims(T, "n") == (T,) and sizes((1, T), "n") == (1, T)
    assert dim(-1, "n") == -1 and size(1, "n") == 1
    assert refusal(lambda: size(0, "n")) == "DL0402 n: `n` must be at least 1, not 0"
    assert refusal(lambda: sizes((2, 0), "n")) == "DL0402 n: `n` must be at least 1, not 0"
    assert per_axis(2, "n", 3, 1) == (2, 2, 2) and per_axis((2, 1), "n", 2, 1) == (2, 1)
    assert refusal(lambda: per_axis((2,), "n", 2, 1)) == "DL0402 n: `n` has 1 numbers for 2 spatial axes"
    assert refusal(lambda: per_axis(0, "n", 2, 1)) == "DL0402 n: `n` must be at least 1, not 0"


def test_axes_are_read_within_the_rank() -> None:
    assert [within(axis, 3) for axis in (-3, -1, 0, 2)] == [0, 2, 0, 2]
    for axis in (3, -4, True, "x", None, 1.0):
        assert refusal(lambda: within(axis, 3, "a")).startswith("DL0304 a: axis ")  # noqa: B023
    assert refusal(lambda: within(0, 0)).endswith("it has none: it is a scalar")
    assert refusal(lambda: within(2, 2)).endswith("axis 2 of a tensor with 2 axes; it has -2 to 1")
    assert distinct_axes((1, -2), 2, "a") == (1, 0) and distinct_axes(1, 2, "a") == (1,)
    assert refusal(lambda: distinct_axes((1, -1), 2, "a")) == "DL0304 a: `a` lists an axis twice: [1, 1]"
    assert canonical_axes((f32(2, 3),), {"over": (-1, 0)}) == {"over": (0, 1)}
    assert canonical_axes((f32(2, 3),), {"over": -1}) == {"over": (1,)}
    assert canonical_axes((f32(2, 3),), {}) == {"over": (0, 1)}
    assert refusal(lambda: canonical_axes((f32(2, 3),), {"over": (1, -1)})) == "DL0304 over: `over` lists an axis twice: 1, 1"
    assert canonical_axis((f32(2, 3),), {}) == {"over": 1}


def test_quotients_of_sizes_are_whole_or_none() -> None:
    assert exact_quotient((6, T), (3,)) == 2 * T
    assert exact_quotient((6, T), (T, 4)) is None
    assert exact_quotient((4, 9, T), (6, 3)) == 2 * T
    assert exact_quotient((T, D), (D, T)) == 1
    assert exact_quotient((), ()) == 1
    assert exact_quotient((0, 4), (0,)) is None
    assert exact_quotient((0, 4), (4,)) == 0
    assert exact_quotient((2 * T,), (4,)) is None
