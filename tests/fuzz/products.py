"""Products of matrices, decompositions of well-conditioned ones, and Fourier transforms."""

from __future__ import annotations

from dsl.types import DType
from tests.fuzz.elementwise import family
from tests.fuzz.scope import Drawer, Expression, Scope, Size, small


def matmul(scope: Scope) -> Expression:
    a = scope.some(lambda k: k.dtype is not DType.BOOL, rank=(1, 4))
    inner, n = a.kind.shape[-1], scope.size()
    fits = [
        t
        for t in scope.tensors
        if family(t.kind) == family(a.kind) and t.kind.rank and t.kind.shape[max(-2, -t.kind.rank)] == inner
    ]
    if fits and scope.chance(2):
        return Expression(f"{small(a)} @ {small(fits[-1])}", 50.0)
    shapes: list[list[Size]] = [[inner], [inner, n], [1, inner, n]]
    if a.kind.rank > 2:
        shapes.append([*a.kind.shape[:-2], inner, n])
    b = scope.fresh(a.kind.dtype, shapes[scope.number(0, len(shapes) - 1)])
    if scope.chance(4) and a.kind.rank > 1 and b.kind.rank > 1:
        return Expression(f"{b.name}.T @ {small(a)}.T" if small(a) == a.name else f"{small(a)} @ {b.name}", 50.0)
    return Expression(f"{small(a)} @ {b.name}", 50.0)


def einsum(scope: Scope) -> Expression:
    a = scope.some(lambda k: k.dtype is not DType.BOOL, rank=(1, 3))
    letters = ["b", "i", "j"][: a.kind.rank]
    first = " ".join(letters)
    if scope.chance(3):
        result = " ".join(reversed(letters[scope.number(0, a.kind.rank - 1) :]))
        return Expression(f'einsum({small(a)}, pattern="{first} -> {result}")', 30.0)
    b = scope.fresh(a.kind.dtype, [a.kind.shape[-1], scope.size()])
    result = scope.one_of(" ".join([*letters[:-1], "k"]), f"k {first}", f"{letters[-1]} k", "k")
    if scope.chance(4):
        return Expression(
            f'einsum({small(a)}, {small(a)}, {b.name}, pattern="{first}, {first}, {letters[-1]} k -> {result}")', 50.0
        )
    return Expression(f'einsum({small(a)}, {b.name}, pattern="{first}, {letters[-1]} k -> {result}")', 50.0)


def square(scope: Scope) -> tuple[str, Size]:
    """A well-conditioned square matrix, or a batch of them."""
    found = [t for t in scope.tensors if t.kind.dtype.is_float and t.kind.rank > 1 and t.kind.shape[-1] == t.kind.shape[-2]]
    n = scope.number(1, 3)
    x = found[-1] if found and scope.chance(2) else scope.fresh(DType.F32, [n, n] if scope.chance(2) else [scope.size(), n, n])
    return f"0.3 * {small(x, 3)}", x.kind.shape[-1]


def decomposition(name: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        x, n = square(scope)
        match name:
            case "cholesky":
                return Expression(f"cholesky(({x}) @ transpose({x}, -1, -2) + eye({n}))")
            case "eigh":
                ramp = f"cast(arange({n}), float)"
                return Expression(f"eigh(0.2 * ({x} + transpose({x}, -1, -2)) + eye({n}) * {ramp})")
            case "triangular_solve":
                b = scope.fresh(DType.F32, [n, scope.number(1, 3)])
                how = scope.one_of("", ", lower=false", ", transposed=true", ", lower=false, transposed=true")
                return Expression(f"triangular_solve({x} + 2 * eye({n}), {b.name}{how})")
            case "svd" | "qr":
                return Expression(f"{name}(0.3 * ({x}) + eye({n}) * (cast(arange({n}), float) + 1))")
            case _:
                return Expression(f"{name}({x} + 3 * eye({n}))")

    return draw


def rfft(scope: Scope) -> Expression:
    x = scope.floating(1, 3)
    axes = [i for i, d in enumerate(x.kind.shape) if isinstance(d, int) and d]
    if not axes:
        x, axes = scope.fresh(DType.F32, [scope.size(), scope.number(1, 6)]), [1]
    return Expression(f"rfft({small(x)}, over={axes[-1]})", 30.0)


def irfft(scope: Scope) -> Expression:
    x = scope.floating(1, 3)
    axis = scope.axis(x)
    size = x.kind.shape[axis]
    n = 2 * (size - 1) + scope.number(0, 1) if isinstance(size, int) else 4
    return Expression(f"irfft({small(x)}, {small(x, 2)}, {max(n, 1)}, over={axis})", 20.0)
