"""The cards: complete, true to their examples, and consistent: what `infer` promises is what `reference` returns."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from dsl.build import canonical_attributes
from dsl.dims import format_dim, symbol
from dsl.ops.card import AttributeValue, Card, Example, OpError
from dsl.ops.numpy_types import array_dtype, computed
from dsl.ops.registry import CARDS, card, families
from dsl.types import DType, TensorType

INF, NAN = math.inf, math.nan
EXAMPLES = [(card, example) for card in CARDS.values() for example in card.examples]


def type_of(array: np.ndarray) -> TensorType:
    dtype = array_dtype(array)
    assert dtype is not None
    return TensorType(dtype, array.shape)


def infer(name: str, *types: TensorType, **attributes: AttributeValue) -> tuple[TensorType, ...]:
    """The result types of a primitive, with attributes as a spec would give them."""
    found = card(name)
    inferred = found.infer(types, canonical_attributes(found, types, attributes))
    return inferred if isinstance(inferred, tuple) else (inferred,)


def apply_all(name: str, *operands: object, **attributes: AttributeValue) -> tuple[np.ndarray, ...]:
    """The results of a primitive by its reference, which must be of the types that it infers."""
    found = card(name)
    arrays = [np.asarray(x) for x in operands]
    types = tuple(type_of(x) for x in arrays)
    canonical = canonical_attributes(found, types, attributes)
    rng = {"rng": np.random.default_rng(0)} if found.random else {}
    results = found.reference(*arrays, **canonical, **rng)
    results = results if isinstance(results, tuple) else (results,)
    for result, expected in zip(results, infer(name, *types, **attributes), strict=True):
        assert (result.dtype, result.shape) == (computed(expected.dtype), expected.shape), found.signature
    return results


def apply(name: str, *operands: object, **attributes: AttributeValue) -> np.ndarray:
    return apply_all(name, *operands, **attributes)[0]


def floats(*shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(sum(shape)).standard_normal(shape))


# --- every card ---


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_says_all_there_is_to_say(card: Card) -> None:
    assert card in families()[card.family]
    assert card.summary.endswith(".") and "\n" not in card.summary
    assert len(card.examples) >= 2
    assert card.signature.startswith(f"{card.name}(")
    names = [operand.name for operand in card.operands] + [attribute.name for attribute in card.attributes]
    assert len(set(names)) == len(names)
    assert all(card.argument(name) for name in names)


def test_what_jumps_has_no_derivative() -> None:
    none = {"floor_divide", "floor", "argmax", "eq", "logical_not", "one_hot"}
    assert {name for name in (*none, "add", "remainder", "abs", "max", "where") if not card(name).differentiable} == none


def test_names_are_unique() -> None:
    assert sum(len(cards) for cards in families().values()) == len(CARDS)


@pytest.mark.parametrize(("card", "example"), EXAMPLES, ids=[e.expression for _, e in EXAMPLES])
def test_an_example_is_what_it_says(card: Card, example: Example) -> None:
    from dsl.compiler import evaluate_expression

    found, expected = evaluate_expression(example.expression), np.asarray(example.result)
    assert isinstance(found, np.ndarray)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=1e-6, atol=1e-6)


# --- conventions, where libraries differ ---

CONVENTIONS: list[tuple[str, tuple[object, ...], dict[str, AttributeValue], object]] = [
    # Integers.
    ("floor_divide", ([7, -7, 7, -7], [2, 2, -2, -2]), {}, [3, -4, -4, 3]),
    ("remainder", ([7, -7, 7, -7], [3, 3, -3, -3]), {}, [1, 2, -2, -1]),
    ("remainder", ([5.5, -5.5], [2.0, 2.0]), {}, [1.5, 0.5]),
    ("div", ([1, 3], [2, 2]), {}, [0.5, 1.5]),
    ("div", ([1.0, -1.0, 0.0], 0.0), {}, [INF, -INF, NAN]),
    ("mul", ([True, False], [3, 4]), {}, [3, 0]),
    ("mean", ([1, 2],), {}, 1.5),
    ("mean", ([True, False, True, True],), {}, 0.75),
    ("sum", ([True, False, True],), {}, 2),
    ("cumsum", ([True, False, True],), {"over": 0}, [1, 1, 2]),
    ("pow", (0.0, 0.0), {}, 1.0),
    ("pow", (-8.0, 1 / 3), {}, NAN),
    # Rounding.
    ("round", ([0.5, 1.5, 2.5, -0.5, -1.5],), {}, [0.0, 2.0, 2.0, -0.0, -2.0]),
    ("cast", ([1.9, -1.9, 0.0],), {"dtype": DType.I32}, [1, -1, 0]),
    ("cast", ([0.5, 0.0, -2.0],), {"dtype": DType.BOOL}, [True, False, True]),
    # Not numbers, zeros, infinities.
    ("maximum", ([NAN, 1.0], [1.0, NAN]), {}, [NAN, NAN]),
    ("minimum", ([NAN, 1.0], [1.0, NAN]), {}, [NAN, NAN]),
    ("max", ([1.0, NAN],), {}, NAN),
    ("eq", (NAN, NAN), {}, False),
    ("lt", (NAN, 1.0), {}, False),
    ("isnan", ([NAN, INF, 0.0],), {}, [True, False, False]),
    ("sign", ([-0.0, 0.0, NAN, -INF],), {}, [0.0, 0.0, NAN, -1.0]),
    ("clip", ([NAN, 5.0],), {"low": 0.0, "high": 1.0}, [NAN, 1.0]),
    ("clip", ([0.0, 5.0],), {"low": 1.0, "high": 1.0}, [1.0, 1.0]),
    ("einsum", ([1.0, 2.0], [3.0, 4.0]), {"pattern": "... i, ... i -> ..."}, 11.0),
    ("einsum", ([[1.0, 2.0]],), {"pattern": "_ i -> _"}, [3.0]),
    ("eq", ([True, False], [False, False]), {}, [False, True]),
    ("rsqrt", ([0.0, 4.0, -1.0],), {}, [INF, 0.5, NAN]),
    ("log", ([0.0, -1.0],), {}, [-INF, NAN]),
    ("sigmoid", ([-1000.0, 1000.0, NAN],), {}, [0.0, 1.0, NAN]),
    ("softplus", ([-1000.0, 30.0, 1000.0],), {}, [0.0, 30.0 + math.log1p(math.exp(-30)), 1000.0]),
    ("logsumexp", ([-INF, -INF],), {}, -INF),
    ("logsumexp", ([INF, 0.0],), {}, INF),
    ("logsumexp", ([1000.0, 1000.0],), {}, 1000 + math.log(2)),
    ("norm", ([0.0, 0.0],), {}, 0.0),
    ("norm", ([3.0, -4.0],), {"p": INF}, 4.0),
    ("norm", ([[1.0, -2.0], [3.0, 4.0]],), {"p": 1.0}, 10.0),
    # Ties.
    ("argmax", ([1.0, 3.0, 3.0],), {"over": 0}, 1),
    ("argmin", ([2, 1, 1],), {"over": 0}, 1),
    ("argsort", ([1, 0, 1, 0],), {}, [1, 3, 0, 2]),
    ("argsort", ([1, 0, 1, 0],), {"descending": True}, [0, 2, 1, 3]),
    ("sort", ([2.0, NAN, 1.0],), {}, [1.0, 2.0, NAN]),
    # The normaliser of the variance.
    ("var", ([1.0, 3.0],), {}, 1.0),
    ("var", ([1.0, 3.0],), {"correction": 1}, 2.0),
    # Empty tensors.
    ("sum", (np.zeros((0, 2)),), {"over": 0}, [0.0, 0.0]),
    ("prod", (np.zeros((0,)),), {}, 1.0),
    ("arange", (), {"start": 5, "stop": 2}, []),
    # Making.
    ("arange", (), {"start": 3}, [0, 1, 2]),
    ("arange", (), {"stop": 3}, [0, 1, 2]),
    ("arange", (), {"start": 1, "stop": 6, "step": 2}, [1, 3, 5]),
    ("arange", (), {"start": 0, "stop": 5, "step": -1}, []),
    ("arange", (), {"start": 5, "stop": 0, "step": -2}, [5, 3, 1]),
    ("linspace", (), {"start": 2.0, "stop": 9.0, "count": 1}, [2.0]),
    ("eye", (), {"n": 2, "m": 3}, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    ("full", (), {"shape": (2,), "value": True, "dtype": DType.BOOL}, [True, True]),
    ("one_hot", ([1, 0],), {"classes": 3, "dtype": DType.I64}, [[0, 1, 0], [1, 0, 0]]),
    ("dropout", ([1.0, 2.0],), {"rate": 0.9}, [1.0, 2.0]),
    ("if_training", ([1.0], [2.0]), {}, [2.0]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "operands", "attributes", "expected"), CONVENTIONS, ids=lambda v: str(v)[:40])
def test_conventions(name: str, operands: tuple[object, ...], attributes: dict[str, AttributeValue], expected: object) -> None:
    np.testing.assert_allclose(apply(name, *operands, **attributes), np.asarray(expected), rtol=1e-15)


def test_topk_orders_ties_by_index() -> None:
    values, indices = apply_all("topk", [[4, 9, 4, 9]], k=3)
    assert values.tolist() == [[9, 9, 4]]
    assert indices.tolist() == [[1, 3, 0]]
    values, indices = apply_all("topk", [[4, 9, 4, 9]], k=1, largest=False)
    assert (values.tolist(), indices.tolist()) == ([[4]], [[0]])


def test_dropout_scales_what_it_keeps() -> None:
    x = np.ones(10_000)
    y = card("dropout").reference(x, rate=0.25, rng=np.random.default_rng(1), training=True)
    assert isinstance(y, np.ndarray)
    assert set(y.tolist()) == {0.0, 1 / 0.75}
    assert abs(float(y.mean()) - 1.0) < 0.02


def test_random_draws_have_their_distributions() -> None:
    count = 20_000
    assert abs(apply("randn", shape=(count,)).var() - 1.0) < 0.05
    assert abs(apply("rand", shape=(count,)).mean() - 0.5) < 0.02
    assert abs(apply("bernoulli", np.full(count, 0.3)).mean() - 0.3) < 0.02
    drawn = apply("categorical", np.log(np.broadcast_to([0.2, 0.3, 0.5], (count, 3))))
    assert np.abs(np.bincount(drawn) / count - [0.2, 0.3, 0.5]).max() < 0.02


# --- against PyTorch, in float64 ---

X = floats(3, 4)
POSITIVE = np.abs(X) + 0.1
SAME_AS_TORCH: list[tuple[str, np.ndarray, object]] = [
    *((name, X, getattr(torch, name)) for name in ("neg", "abs", "sign", "exp", "expm1", "sin", "cos", "tanh", "sigmoid", "erf")),
    *((name, X, getattr(torch, name)) for name in ("relu", "floor", "ceil", "round", "isnan")),
    *((name, POSITIVE, getattr(torch, name)) for name in ("log", "log1p", "sqrt", "rsqrt")),
    ("softplus", X, torch.nn.functional.softplus),
    ("tril", X, torch.tril),
    ("triu", X, torch.triu),
    ("max", X, torch.max),
    ("prod", X, torch.prod),
]


@pytest.mark.parametrize(("name", "x", "function"), SAME_AS_TORCH, ids=[row[0] for row in SAME_AS_TORCH])
def test_functions_are_those_of_torch(name: str, x: np.ndarray, function: object) -> None:
    assert callable(function)
    np.testing.assert_allclose(apply(name, x), function(torch.from_numpy(x)).numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("over", [0, 1, (0, 2), None], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_are_those_of_torch(over: int | tuple[int, ...] | None, keepdims: bool) -> None:
    x = floats(2, 3, 4)
    axes = tuple(range(3)) if over is None else over
    expected = {
        "sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin, "logsumexp": torch.logsumexp,
        "norm": torch.linalg.vector_norm,
    }  # fmt: skip
    for name, function in expected.items():
        wanted = function(torch.from_numpy(x), dim=axes, keepdim=keepdims)
        np.testing.assert_allclose(apply(name, x, over=over, keepdims=keepdims), wanted.numpy(), rtol=1e-12)
    variance = torch.var(torch.from_numpy(x), dim=axes, keepdim=keepdims, correction=1)
    np.testing.assert_allclose(apply("var", x, over=over, keepdims=keepdims, correction=1), variance.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((3,), (2, 3, 4))],
    ids=str,
)
def test_matmul_is_that_of_torch(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = floats(*a), floats(*b)
    np.testing.assert_allclose(apply("matmul", x, y), torch.matmul(torch.from_numpy(x), torch.from_numpy(y)).numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("pattern", "compact", "shapes"),
    [
        ("b i d, b j d -> b i j", "bid,bjd->bij", [(2, 3, 4), (2, 5, 4)]),
        ("bid,bjd->bij", "bid,bjd->bij", [(2, 3, 4), (2, 5, 4)]),
        ("batch time dim, dim -> batch time", "btd,d->bt", [(2, 3, 4), (4,)]),
        ("head hidden, hidden -> head", "hi,i->h", [(2, 3), (3,)]),
        ("... i j -> ... j i", "...ij->...ji", [(2, 3, 4)]),
        ("...i,...i->...", "...i,...i->...", [(5, 1, 3), (4, 3)]),
        ("ii->", "ii->", [(3, 3)]),
        ("i,j,k->ijk", "i,j,k->ijk", [(2,), (3,), (4,)]),
    ],
)
def test_einsum_patterns(pattern: str, compact: str, shapes: list[tuple[int, ...]]) -> None:
    xs = [floats(*shape) for shape in shapes]
    assert canonical_attributes(card("einsum"), tuple(map(type_of, xs)), {"pattern": pattern})["pattern"] == compact
    expected = torch.einsum(compact, *map(torch.from_numpy, xs))
    np.testing.assert_allclose(apply("einsum", *xs, pattern=pattern), expected.numpy(), rtol=1e-12)


def test_gather_and_scatter_add_are_those_of_torch() -> None:
    x, updates = floats(3, 4), floats(3, 5)
    index = np.random.default_rng(0).integers(0, 4, (3, 5))
    tensors = [torch.from_numpy(array) for array in (x, index, updates)]
    np.testing.assert_array_equal(apply("gather", x, index, over=1), torch.gather(tensors[0], 1, tensors[1]).numpy())
    np.testing.assert_allclose(
        apply("scatter_add", x, index, updates, over=1), tensors[0].scatter_add(1, *tensors[1:]).numpy(), rtol=1e-12
    )
    np.testing.assert_array_equal(apply("gather", x, index[:, 0], over=1), x[np.arange(3), index[:, 0]])
    np.testing.assert_array_equal(apply("take", x, index, over=1), x[:, index])


@pytest.mark.parametrize("descending", [False, True])
def test_sorting_is_that_of_torch_when_stable(descending: bool) -> None:
    x = np.random.default_rng(0).integers(0, 3, (4, 9))
    for over in (0, 1):
        values, indices = torch.sort(torch.from_numpy(x), dim=over, descending=descending, stable=True)
        np.testing.assert_array_equal(apply("sort", x, over=over, descending=descending), values.numpy())
        np.testing.assert_array_equal(apply("argsort", x, over=over, descending=descending), indices.numpy())


# --- types ---

F32, I64 = DType.F32, DType.I64
H, N = symbol("H", multiple=2), symbol("N")

ARRAYS = {
    DType.F64: floats(2, 3), DType.I64: np.arange(1, 7).reshape(2, 3), DType.I32: np.ones((1, 3), np.int32),
    DType.I8: np.ones(3, np.int8), DType.U8: np.ones((2, 1), np.uint8), DType.BOOL: np.array([True, False, True]),
}  # fmt: skip
BINARY = [card for card in families()["elementwise"] if card.broadcasts and len(card.operands) == 2]


@pytest.mark.parametrize("card", BINARY, ids=[card.name for card in BINARY])
def test_references_promote_and_broadcast_as_inferred(card: Card) -> None:
    """`apply` compares; a pair that has no meaning must be refused when it is typed."""
    agreed, codes = 0, set()
    for a, b in itertools.product(ARRAYS, ARRAYS):
        if not (card.operands[0].accepts.admits(a) and card.operands[1].accepts.admits(b)):
            continue
        try:
            infer(card.name, type_of(ARRAYS[a]), type_of(ARRAYS[b]))
        except OpError as refused:
            codes.add(refused.code)
            continue
        apply(card.name, ARRAYS[a], ARRAYS[b])
        agreed += 1
    assert agreed
    assert codes <= {"DL0403"}


SYMBOLIC: list[tuple[str, tuple[TensorType, ...], dict[str, AttributeValue], str]] = [
    ("add", (TensorType(F32, (N, 1, H)), TensorType(F32, (3, H))), {}, "f32[N, 3, H]"),
    ("eq", (TensorType(F32, (N,)), TensorType(F32, (1,))), {}, "bool[N]"),
    ("div", (TensorType(I64, (N,)), TensorType(I64, ())), {}, "f32[N]"),
    ("matmul", (TensorType(F32, (N, 5, H)), TensorType(F32, (H, 7))), {}, "f32[N, 5, 7]"),
    ("matmul", (TensorType(F32, (2, H // 2 * 2)), TensorType(F32, (H,))), {}, "f32[2]"),
    ("einsum", (TensorType(F32, (N, H)), TensorType(F32, (H, 4))), {"pattern": "n h, h k -> k n"}, "f32[4, N]"),
    ("mean", (TensorType(F32, (N, 3, H)),), {"over": (0, 2), "keepdims": True}, "f32[1, 3, 1]"),
    ("mean", (TensorType(I64, (N, H)),), {"over": 1}, "f32[N]"),
    ("argmax", (TensorType(F32, (N, H)),), {"over": -1}, "i64[N]"),
    ("take", (TensorType(F32, (H, 8)), TensorType(I64, (N, 2))), {}, "f32[N, 2, 8]"),
    ("gather", (TensorType(F32, (N, H)), TensorType(I64, (N,))), {"over": 1}, "f32[N]"),
    ("one_hot", (TensorType(I64, (N,)),), {"classes": H}, "f32[N, H]"),
    ("topk", (TensorType(F32, (N, H)),), {"k": 2}, "f32[N, 2]"),
    ("arange", (), {"start": N}, "i64[N]"),
    ("arange", (), {"start": 0, "stop": H, "step": 2}, "i64[H // 2]"),
    ("arange", (), {"start": 2, "stop": N}, "i64[max(N - 2, 0)]"),
    ("arange", (), {"start": N, "stop": 0, "step": -2}, "i64[(N + 1) // 2]"),
    ("eye", (), {"n": N}, "f32[N, N]"),
    ("eye", (), {"n": N, "m": 3}, "f32[N, 3]"),
    ("linspace", (), {"start": 0.0, "stop": 1.0, "count": N}, "f32[N]"),
    ("full", (), {"shape": N, "value": 1}, "f32[N]"),
    ("svd", (TensorType(F32, (N, 5, 3)),), {}, "f32[N, 5, 3]"),
    ("rfft", (TensorType(F32, (N, H, 3)),), {"over": 1}, "f32[N, H // 2 + 1, 3]"),
    ("irfft", (TensorType(F32, (N, H + 1)), TensorType(F32, (N, H + 1))), {"n": 2 * H}, "f32[N, 2 * H]"),
    ("triangular_solve", (TensorType(F32, (N, 1, 3, 3)), TensorType(F32, (2, 3, H))), {}, "f32[N, 2, 3, H]"),
    ("einsum", (TensorType(F32, (N, 1, H)), TensorType(F32, (3, H))), {"pattern": "...h,...h->h..."}, "f32[H, N, 3]"),
    ("gather", (TensorType(F32, (N, 4, H)), TensorType(I64, (N, H))), {"over": 1}, "f32[N, H]"),
    ("gather", (TensorType(F32, (N, H, 4)), TensorType(I64, (N, 7, 4))), {"over": 1}, "f32[N, 7, 4]"),
    ("if_training", (TensorType(F32, (N,)), TensorType(F32, (N,))), {}, "f32[N]"),
    ("full", (), {"shape": (N, 2), "value": 0.0}, "f32[N, 2]"),
    ("randn", (), {"shape": (N, H), "dtype": DType.F64}, "f64[N, H]"),
    ("categorical", (TensorType(F32, (N, 4)),), {}, "i64[N]"),
    ("size", (), {"dim": N}, "i64[]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "types", "attributes", "expected"), SYMBOLIC, ids=lambda v: str(v)[:40])
def test_symbolic_shapes(name: str, types: tuple[TensorType, ...], attributes: dict[str, AttributeValue], expected: str) -> None:
    assert str(infer(name, *types, **attributes)[0]) == expected


def vector(*shape: int, dtype: DType = F32) -> TensorType:
    return TensorType(dtype, shape)


REFUSED: list[tuple[str, tuple[TensorType, ...], dict[str, AttributeValue], str, str]] = [
    ("add", (vector(2, 128), vector(64)), {}, "b", "128 against 64 in axis 1"),
    ("add", (TensorType(F32, (N,)), TensorType(F32, (H,))), {}, "b", f"{format_dim(N)} against {format_dim(H)} in axis 0"),
    ("add", (vector(2), vector(2, dtype=I64)), {}, "b", "f32 and i64 do not mix"),
    ("add", (vector(2, dtype=DType.BOOL), vector(2, dtype=DType.BOOL)), {}, "b", "no arithmetic"),
    ("lt", (vector(2, dtype=DType.BOOL), vector(2, dtype=DType.BOOL)), {}, "b", "no arithmetic"),
    ("where", (vector(3, dtype=DType.BOOL), vector(2), vector(3)), {}, "b", "a is f32[2] and b is f32[3]"),
    ("where", (vector(3, dtype=DType.BOOL), vector(2), vector(2)), {}, "condition", "a with b is f32[2] and condition is bool[3]"),
    ("matmul", (vector(64, 784), vector(256, 784)), {}, "b", "last axis of a is 784, and b has 256 rows"),
    ("stack", (vector(2, 3), vector(2, 4)), {"over": 0}, "xs", "tensor 2 is f32[2, 4]: all must have the same shape"),
    ("matmul", (vector(2), vector()), {}, "b", "a scalar"),
    ("einsum", (vector(2, 3), vector(4)), {"pattern": "ij,j->i"}, "xs", "axis `j` is 4, and `j` was 3"),
    ("einsum", (vector(2, 3),), {"pattern": "ijk->i"}, "xs", "gives it 3 axes"),
    ("einsum", (vector(2, 3),), {"pattern": "ij"}, "pattern", "needs one `->`"),
    ("einsum", (vector(2, 3),), {"pattern": "ij->ik"}, "pattern", "`k` in the result and in no operand"),
    ("einsum", (vector(2, 3),), {"pattern": "i1->i"}, "pattern", "`1` is not an axis name"),
    ("einsum", (vector(2, 3),), {"pattern": "ij,jk->ik"}, "pattern", "2 operands, and 1 tensors"),
    ("sum", (vector(2, 3),), {"over": 2}, "over", "axis 2"),
    ("sum", (vector(2, 3),), {"over": ()}, "over", "lists no axis"),
    ("max", (vector(0, 3),), {"over": 0}, "over", "size 0"),
    ("argmax", (vector(0, 3),), {"over": 0}, "over", "size 0"),
    ("var", (vector(1, 3),), {"over": 0, "correction": 1}, "correction", "divided by 1 - 1"),
    ("norm", (vector(3),), {"p": 0.0}, "p", "above 0"),
    ("clip", (vector(3),), {"low": 2.0, "high": 1.0}, "low", "2 > 1"),
    ("clip", (vector(3),), {}, "low", "neither"),
    ("clip", (vector(3, dtype=I64),), {"low": 0.5}, "low", "0.5, and x is i64"),
    ("gather", (vector(3, 4), vector(2, dtype=I64)), {"over": 1}, "index", "2 against 3"),
    ("gather", (vector(3, 4), vector(dtype=I64)), {"over": 1}, "index", "2 axes, or 1"),
    ("scatter_add", (vector(3, 4), vector(3, 2, dtype=I64), vector(3, 1)), {"over": 1}, "updates", "1 against 2"),
    ("scatter_add", (vector(4, dtype=I64), vector(2, dtype=I64), vector(2)), {"over": 0}, "updates", "x is i64[4] and updates is f32[2]"),
    ("topk", (vector(3, 4),), {"k": 5}, "k", "5 is more than 4"),
    ("tril", (vector(3),), {}, "x", "two axes"),
    ("arange", (), {"start": 0, "stop": 3, "step": 0}, "step", "never arrive"),
    ("linspace", (), {"start": 0.0, "stop": 1.0, "count": 3, "dtype": I64}, "dtype", "i64"),
    ("full", (), {"shape": (2,), "value": 0.5, "dtype": I64}, "value", "0.5"),
    ("full", (), {"shape": (-1,), "value": 0.5}, "shape", "negative: -1"),
    ("randn", (), {"shape": (2,), "dtype": I64}, "dtype", "i64"),
    ("dropout", (vector(3),), {"rate": 1.0}, "rate", "drop everything"),
    ("dropout", (vector(3),), {"rate": 1.5}, "rate", "1.5"),
    ("if_training", (vector(3), vector(1)), {}, "b", "axis 0: 3 against 1"),
    ("if_training", (vector(3), vector(3, dtype=I64)), {}, "b", "the element types differ"),
    ("if_training", (vector(3), vector(3, 1)), {}, "b", "1 axes against 2"),
    ("size", (), {"dim": N, "dtype": DType.BOOL}, "dtype", "a size is a number, not bool"),
    ("arange", (), {}, "stop", "no end is given"),
    ("arange", (), {"start": 3, "dtype": DType.BOOL}, "dtype", "bool cannot count"),
    ("full", (), {"shape": (2,), "value": "a"}, "value", "must be a number, true or false, and is a"),
    ("full", (), {"shape": (2,), "value": 2, "dtype": DType.BOOL}, "value", "value is 2 and dtype is bool"),
    ("const", (), {"value": np.array(["a"])}, "value", "no element type for <U1"),
    ("einsum", (vector(2, 3),), {"pattern": "...i...->i"}, "pattern", "has `...` twice"),
    ("einsum", (vector(2, 3),), {"pattern": "ij->ii"}, "pattern", "has the axis `i` twice in the result"),
    ("einsum", (vector(2, 3),), {"pattern": "ij->i->j"}, "pattern", "needs one `->`"),
    ("einsum", (vector(2, 3),), {"pattern": f"{' '.join(f'a{i}' for i in range(53))} -> a0"}, "pattern", "more than 52 axes"),
    ("einsum", (vector(2, 3), vector(4, 3)), {"pattern": "...i,...i->..."}, "xs", "operand 2 is f32[4, 3]: 2 against 4"),
    ("einsum", (vector(3),), {"pattern": "...ij->i"}, "xs", "operand 1 is f32[3], and the pattern gives it 3 axes: ... i j"),
    ("einsum", (vector(2, dtype=DType.BOOL),), {"pattern": "i->"}, "xs", "bool has no arithmetic"),
    ("einsum", (vector(2), vector(2, dtype=I64)), {"pattern": "i,i->"}, "xs", "do not mix"),
    ("matmul", (vector(), vector(2)), {}, "a", "a is f32[], a scalar"),
    ("matmul", (vector(2, 3, 4), vector(5, 4, 3)), {}, "b", "2 against 5 in axis 0 of the leading axes"),
    ("sum", (vector(2, 3),), {"over": (0, -2)}, "over", "an axis is named twice in `over`"),
    ("rfft", (vector(0, 3),), {"over": 0}, "over", "axis 0 of f32[0, 3] has size 0"),
    ("irfft", (vector(3), vector(3, 1)), {"n": 4}, "imaginary", "the two have one shape"),
    ("irfft", (vector(3), vector(3, dtype=DType.F64)), {"n": 4}, "imaginary", "real is f32[3] and imaginary is f64[3]"),
    ("irfft", (vector(3, dtype=DType.F16), vector(3)), {"n": 4}, "real", "it is computed in f32 or f64"),
    ("irfft", (vector(3), vector(4)), {"n": 4}, "imaginary", "axis 0: 4 against 3"),
    ("irfft", (vector(3), vector(3)), {"n": 6}, "n", "a signal of 6 has n // 2 + 1 frequencies, and axis 0 of f32[3] has others: 3"),
    ("irfft", (vector(3), vector(3)), {"n": 0}, "n", "at least 1, not 0"),
    ("scatter_add", (vector(3, 4), vector(3, dtype=I64), vector(3)), {"over": 1}, "index", "2 axes against 1"),
    ("scatter_add", (vector(3, 4), vector(3, 2, dtype=I64), vector(3)), {"over": 1}, "updates", "2 axes against 1"),
    ("scatter_add", (vector(3, dtype=DType.I32), vector(2, dtype=I64), vector(2, dtype=I64)), {"over": 0}, "updates", "not fit"),
    ("scatter_add", (vector(3, 4), vector(5, 2, dtype=I64), vector(5, 2)), {"over": 1}, "index", "axis 0 of x differs: 5 against 3"),
    ("cholesky", (vector(2, 2, dtype=DType.F16),), {}, "x", "it is computed in f32 or f64"),
    ("svd", (vector(2),), {}, "x", "a matrix has two axes or more, and it has 1"),
    ("slogdet", (vector(2, 3),), {}, "x", "its last axes differ: 2 against 3"),
    ("inverse", (vector(2, 3),), {}, "x", "its last axes differ: 2 against 3"),
    ("eigh", (vector(2, 3),), {}, "x", "its last axes differ: 2 against 3"),
    ("qr", (vector(2, 3),), {}, "x", "at least as many rows as columns, and has 2 and 3"),
    ("qr", (TensorType(F32, (N, 3)),), {}, "x", "at least as many rows as columns, and has N and 3"),
    ("triangular_solve", (vector(3, 3), vector(2, 1)), {}, "b", "b has 2 rows, and a takes 3"),
    ("triangular_solve", (vector(2, 3, 3), vector(4, 3, 1)), {}, "b", "2 against 4 in axis 0 of the leading axes"),
    ("triangular_solve", (vector(3, 3), vector(3)), {}, "b", "a matrix has two axes or more"),
    ("triangular_solve", (vector(3, 2), vector(3, 1)), {}, "a", "its last axes differ: 3 against 2"),
    ("triangular_solve", (vector(3, 3), vector(3, 1, dtype=DType.F64)), {}, "b", "a is f32[3, 3] and b is f64[3, 1]"),
    ("categorical", (vector(),), {}, "logits", "it needs an axis of classes"),
    ("categorical", (vector(2, 0),), {}, "logits", "no class to choose"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "types", "attributes", "argument", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_refusals_name_the_argument_and_show_the_numbers(
    name: str, types: tuple[TensorType, ...], attributes: dict[str, AttributeValue], argument: str, message: str
) -> None:
    with pytest.raises(OpError) as caught:
        infer(name, *types, **attributes)
    assert message in str(caught.value)
    assert caught.value.argument == argument


def test_a_transposition_is_suggested() -> None:
    def help(a: TensorType, b: TensorType) -> str | None:
        with pytest.raises(OpError) as caught:
            infer("matmul", a, b)
        return caught.value.help

    assert help(vector(64, 784), vector(256, 784)) == "with b transposed it fits: `a @ b.T`"
    assert help(vector(784, 64), vector(784, 256)) == "with a transposed it fits: `a.T @ b`"
    assert help(vector(784, 64), vector(784)) == "with a transposed it fits: `a.T @ b`"
    assert help(vector(2, 3), vector(4, 5)) is None
    assert help(vector(3), vector(4)) is None
    assert help(vector(2), vector(3, 2)) == "with b transposed it fits: `a @ b.T`"
