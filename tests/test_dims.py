"""The algebra of sizes: equal things compare equal, every rewriting keeps the value, and what is not proved is not claimed."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.dims import (
    Dim,
    Expr,
    ceil_div,
    dim_le,
    dim_lower,
    dim_max,
    dim_min,
    dim_upper,
    dims_differ,
    dims_equal,
    evaluate,
    format_dim,
    multiple_of,
    substitute,
    symbol,
    symbols_of,
)

B, T, H = symbol("B"), symbol("T"), symbol("H")
H32 = symbol("H", multiple=32)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (B + T, T + B),
        ((B + 1) * (B - 1), B * B - 1),
        ((H - 1) // 2 + 1, (H + 1) // 2),
        (((H - 1) // 2 + 1 - 1) // 2 + 1, (H + 3) // 4),  # two strides of 2 are one of 4
        ((B * T) // T, B),
        ((B * T + T) // T, B + 1),
        ((2 * H + 1) // 2, H),
        ((2 * H) // 4, H // 2),
        (H32 // 2 * 2, H32),
        ((H32 - 1) // 2 + 1, H32 // 2),  # a convolution of stride 2 halves a multiple of 32 exactly
        (H32 % 32, 0),
        (T - (T - 1), 1),
        (dim_max(T, 1), T),
        (dim_min(T, T + 2), T),
        (dim_min(dim_min(T, 8), 2), dim_min(T, 2)),
        (dim_max(T, dim_max(B, 2 * T)), dim_max(B, 2 * T)),
        (ceil_div(H, 16), (H + 15) // 16),
        (B * (H // 4) * (T // 4) * 64, 64 * (T // 4) * B * (H // 4)),
    ],
)
def test_equal_sizes_compare_equal(a: Dim, b: Dim) -> None:
    assert dims_equal(a, b)
    assert hash(a) == hash(b)


@pytest.mark.parametrize(("a", "b"), [(H // 2 * 2, H), (T, B), (dim_max(T, 5), T), (H % 32, 0)])
def test_what_holds_for_some_values_only_is_not_equal(a: Dim, b: Dim) -> None:
    assert not dims_equal(a, b)
    assert not dims_differ(a, b)


def test_sizes_that_differ_for_every_value() -> None:
    assert dims_differ(T, T + 1)
    assert dims_differ(T, 0)
    assert not dims_differ(T, 1)


def test_order_is_proved_refuted_or_left_open() -> None:
    assert dim_le(T, T + 1) is True
    assert dim_le(T + 1, T) is False
    assert dim_le(1, T) is True
    assert dim_le(T, 1024) is None
    assert dim_le(T // 2, T) is True


def test_bounds() -> None:
    assert dim_lower(2 * T + 3) == 5
    assert dim_lower(3 - T) is None
    assert dim_upper(3 - T) == 2
    assert dim_lower((H + 1) // 2) == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((H - 1) // 2 + 1, "(H + 1) // 2"),
        (2 * T + 1, "2 * T + 1"),
        (T - 1, "T - 1"),
        (3 - 2 * T, "-2 * T + 3"),
        (H32 // 2, "H // 2"),
        (H % 32, "H % 32"),
        (dim_max(T - 2, 0), "max(T - 2, 0)"),
        (-H, "-H"),
        (B * T * 64, "64 * B * T"),
    ],
)
def test_sizes_are_written_as_in_a_spec(size: Dim, text: str) -> None:
    assert format_dim(size) == text


def test_substitution_of_a_caller_s_size() -> None:
    assert substitute((H - 1) // 2 + 1, {"H": 2 * T}) == T
    assert substitute(H32 // 32, {"H": 64 * T}) == 2 * T
    assert substitute(B + T, {"T": 3}) == B + 3


def test_facts() -> None:
    assert multiple_of(H32 * 2) == 64
    assert multiple_of(6 * T + 4) == 2
    assert symbols_of((H // T) + B) == ("B", "H", "T")


def test_division_by_zero_is_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        _ = T // 0


# --- every rewriting keeps the value --------------------------------------------------------------------------------------------------


def expressions(depth: int) -> st.SearchStrategy[tuple[Dim, str]]:
    """Random sizes, built twice: by the algebra, and as text that Python computes."""
    leaf = st.one_of(
        st.sampled_from([(B, "B"), (T, "T"), (H32, "H")]),
        st.integers(-7, 9).map(lambda n: (n, f"({n})")),
    )
    if depth == 0:
        return leaf
    inner = expressions(depth - 1)
    divisors = st.sampled_from([1, 2, 3, 4, 8, 32])
    return st.one_of(
        leaf,
        st.tuples(inner, inner).map(lambda p: (p[0][0] + p[1][0], f"({p[0][1]} + {p[1][1]})")),
        st.tuples(inner, inner).map(lambda p: (p[0][0] - p[1][0], f"({p[0][1]} - {p[1][1]})")),
        st.tuples(inner, inner).map(lambda p: (p[0][0] * p[1][0], f"({p[0][1]} * {p[1][1]})")),
        st.tuples(inner, divisors).map(lambda p: (p[0][0] // p[1], f"({p[0][1]} // {p[1]})")),
        st.tuples(inner, divisors).map(lambda p: (p[0][0] % p[1], f"({p[0][1]} % {p[1]})")),
        st.tuples(inner, inner).map(lambda p: (dim_max(p[0][0], p[1][0]), f"max({p[0][1]}, {p[1][1]})")),
        st.tuples(inner, inner).map(lambda p: (dim_min(p[0][0], p[1][0]), f"min({p[0][1]}, {p[1][1]})")),
    )


values = st.fixed_dictionaries({"B": st.integers(1, 9), "T": st.integers(1, 50), "H": st.integers(1, 8).map(lambda n: 32 * n)})


@settings(max_examples=300, deadline=None)
@given(expressions(3), values)
def test_the_algebra_computes_what_python_computes(pair: tuple[Dim, str], at: dict[str, int]) -> None:
    size, text = pair
    expected = eval(text, {"max": max, "min": min, **at})
    assert evaluate(size, at) == expected
    assert eval(format_dim(size), {"max": max, "min": min, **at}) == expected


@settings(max_examples=300, deadline=None)
@given(expressions(2), expressions(2), values)
def test_what_is_claimed_holds_for_every_value(a: tuple[Dim, str], b: tuple[Dim, str], at: dict[str, int]) -> None:
    left, right = evaluate(a[0], at), evaluate(b[0], at)
    if dims_equal(a[0], b[0]):
        assert left == right
    if dims_differ(a[0], b[0]):
        assert left != right
    ordered = dim_le(a[0], b[0])
    if ordered is not None:
        assert (left <= right) is ordered
    lower, upper = dim_lower(a[0]), dim_upper(a[0])
    assert lower is None or lower <= left
    assert upper is None or left <= upper
    if multiple_of(a[0]):
        assert left % multiple_of(a[0]) == 0


@settings(max_examples=200, deadline=None)
@given(expressions(2), expressions(2), values)
def test_substituting_is_evaluating_later(a: tuple[Dim, str], b: tuple[Dim, str], at: dict[str, int]) -> None:
    inner = evaluate(b[0], at)
    if inner < 1:
        return
    later = evaluate(substitute(a[0], {"T": b[0]}), at)
    if "max" not in a[1] and "min" not in a[1]:  # those were decided for sizes of at least 1, which b need not always be
        assert later == evaluate(a[0], {**at, "T": inner})


def test_ceil_div_rounds_up() -> None:
    for n in range(1, 40):
        assert evaluate(ceil_div(T, 7), {"T": n}) == ceil(n / 7)
    assert isinstance(ceil_div(T, 7), Expr)
