"""How to apply each primitive: operands and attributes that are well-typed more often than not, and where its value is defined.

What the card says is taken from it (which element types, whether operands broadcast); the rest stands here, one function for each
primitive or group of like ones, in `EXPRESSIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from dsl.ops.card import Accepts, Operand
from dsl.ops.registry import CARDS
from dsl.types import DType
from tests.fuzz.scope import Expression, Kind, Scope, Size, Tensor, between_integers, positive, small, word

Drawer = Callable[[Scope], Expression]

FLOATS = (DType.F32, DType.F32, DType.F32, DType.F32, DType.F64, DType.F16, DType.BF16)
INTS = (DType.I64, DType.I64, DType.I32, DType.I8, DType.U8)

SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floor_divide": "//", "remainder": "%", "pow": "**", "matmul": "@",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "logical_and": "and", "logical_or": "or",
}  # fmt: skip


# --- element by element ---


def operand(scope: Scope, accepts: Accepts) -> Tensor:
    """A tensor that the operand of a card accepts."""
    dtype = {Accepts.INT: DType.I64, Accepts.BOOL: DType.BOOL}.get(accepts, DType.F32)
    return scope.some(lambda k: accepts.admits(k.dtype), dtype=dtype)


def partner(scope: Scope, of: Tensor) -> Tensor | str:
    """What goes with a tensor by broadcasting: another of its shape or of a part of it, or a number."""
    kind = of.kind
    like = [t for t in scope.tensors if _family(t.kind) == _family(kind) and _broadcasts(t.kind.shape, kind.shape)]
    how = scope.number(0, 5)
    if how == 0 and kind.dtype is not DType.BOOL:
        return scope.one_of("2", "3", "-1") if kind.dtype.is_int else scope.one_of("0.5", "2", "-1.5")
    if how == 1 and kind.rank:
        axis = scope.number(0, kind.rank - 1)
        shape: list[Size] = [1 if i == axis else d for i, d in enumerate(kind.shape)]
        return scope.fresh(kind.dtype, shape if scope.chance(2) else kind.shape[axis:])
    if like and how > 1:
        return like[-1 - scope.number(0, min(len(like), 6) - 1)]
    return scope.fresh(kind.dtype, kind.shape)


def _family(kind: Kind) -> str:
    return "float" if kind.dtype.is_float else "int" if kind.dtype.is_int else "bool"


def _broadcasts(shape: tuple[Size, ...], to: tuple[Size, ...]) -> bool:
    pairs = list(zip(reversed(shape), reversed(to), strict=False))
    return all(a == b or a == 1 or b == 1 for a, b in pairs)


def binary(name: str) -> Drawer:
    accepts = CARDS[name].operands[0].accepts

    def draw(scope: Scope) -> Expression:
        a = operand(scope, accepts)
        b = partner(scope, a)
        left = small(a, 6)
        right = b if isinstance(b, str) else small(b, 6)
        if name == "pow":
            left, right = _power(scope, a, right)
        if name in ("div", "floor_divide", "remainder"):
            left, right = _division(name, a, b, left, right)
        swapped = scope.chance(4) and name not in ("pow", "div", "floor_divide", "remainder")
        left, right = (right, left) if swapped else (left, right)
        text = f"{left} {SIGNS[name]} {right}" if name in SIGNS and not scope.chance(6) else f"{name}({left}, {right})"
        return Expression(text, 36.0 if name in ("mul", "pow") else 12.0)

    return draw


def _power(scope: Scope, a: Tensor, right: str) -> tuple[str, str]:
    if a.kind.dtype.is_int:
        return small(a, 4), scope.one_of("2", "3", "0", "1")
    if scope.chance(2):
        return small(a, 3), scope.one_of("2", "3", "2.0", "1", "0")
    return positive(a), scope.one_of("0.5", "-1", "-0.5", "1.7", f"tanh({right})" if right[0] in "vxt" else "2.5")


def _division(name: str, a: Tensor, b: Tensor | str, left: str, right: str) -> tuple[str, str]:
    """No division by what may be 0, and no floor of what may be an integer by rounding."""
    if isinstance(b, Tensor):
        right = f"(abs({right}) + {1 if b.kind.dtype.is_int else 0.7})"
    if name != "div" and a.kind.dtype.is_float:
        left = between_integers(a)
    return left, right


UNARY_OPERANDS: dict[str, Callable[[Tensor], str]] = {
    "log": positive, "log1p": positive, "sqrt": positive, "rsqrt": positive, "exp": lambda t: small(t, 3),
    "expm1": lambda t: small(t, 3), "floor": between_integers, "ceil": between_integers, "round": between_integers,
}  # fmt: skip


def unary(name: str) -> Drawer:
    card = CARDS[name]
    prepared = UNARY_OPERANDS.get(name, small)

    def draw(scope: Scope) -> Expression:
        x = operand(scope, card.operands[0].accepts)
        text = prepared(x)
        if name == "neg" and scope.chance(2):
            return Expression(f"-{text}")
        return Expression(
            f"{name}({text})", 21.0 if name.startswith("exp") else 12.0, name in ("exp", "softplus", "sqrt", "rsqrt")
        )

    return draw


def clip(scope: Scope) -> Expression:
    x = operand(scope, Accepts.NUMBER)
    bounds = (
        ("low=-1, high=2", "-1, 1", "high=1", "low=0")
        if x.kind.dtype.is_int
        else ("low=-0.5", "-0.5, 0.7", "high=0.3", "low=-1e30")
    )
    return Expression(f"clip({x.name}, {scope.one_of(*bounds)})", x.scale)


def where(scope: Scope) -> Expression:
    a = scope.some()
    b = partner(scope, a)
    right = b if isinstance(b, str) else b.name
    conditions = [t.name for t in scope.tensors if t.kind.dtype is DType.BOOL and _broadcasts(t.kind.shape, a.kind.shape)]
    if conditions and scope.chance(2):
        condition = conditions[-1]
    elif a.kind.dtype is DType.BOOL:
        condition = f"{a.name} == {right}"
    else:
        condition = f"{small(a)} > 0.3" if a.kind.dtype.is_float else f"{a.name} > 1"
    left, right = (a.name, right) if scope.chance(2) else (right, a.name)
    return Expression(f"where({condition}, {left}, {right})", 8.0 if a.scale <= 8 else a.scale)


def cast(scope: Scope) -> Expression:
    x = scope.some()
    dtype = scope.one_of("float", "int", "f16", "bf16", "f64", "i8", "u8", "i32", "bool")
    text = small(x)
    if x.kind.dtype.is_float and dtype in ("int", "i8", "i32"):
        text = between_integers(x)
    elif x.kind.dtype.is_float and dtype == "u8":
        text = f"abs({between_integers(x)})"
    elif x.kind.dtype.is_float and dtype == "bool":
        text = f"relu({text} - 0.4)"
    elif x.kind.dtype.is_int and dtype == "u8":
        text = f"abs({text})"
    return Expression(f"cast({text}, {dtype})", 16.0)


# --- reductions ---


def over(scope: Scope, x: Tensor) -> str:
    """The argument of a reduction: all axes, one or several of them, an axis by its name."""
    rank = x.kind.rank
    how = scope.number(0, 4) if rank else 0
    keep = ", keepdims=true" if scope.chance(3) else ""
    if how == 0:
        return keep
    named = [d for d in x.kind.shape if isinstance(d, str) and d.isidentifier() and x.kind.shape.count(d) == 1]
    if how == 1 and named:
        return f", over={named[0]}{keep}"
    if how == 2 and rank > 1:
        first = scope.number(0, rank - 2)
        return f", over=[{first}, {scope.number(first + 1, rank - 1) - (rank if scope.chance(2) else 0)}]{keep}"
    return f", over={scope.axis(x)}{keep}"


def reduction(name: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        x = operand(scope, CARDS[name].operands[0].accepts)
        more = {"var": ", correction=1", "norm": scope.one_of(", p=1", ", p=3", ", p=2.0")}.get(name, "")
        text = f"tanh({x.name})" if name == "prod" and x.kind.dtype.is_float else small(x, 8)
        if name == "norm":
            text = positive(x)
        return Expression(
            f"{name}({text}{over(scope, x)}{more if scope.chance(3) else ''})", 60.0 if name in ("sum", "norm") else 12.0
        )

    return draw


def along(name: str, *attributes: str) -> Drawer:
    """Primitives over one axis of any tensor of numbers."""

    def draw(scope: Scope) -> Expression:
        x = scope.some(lambda k: CARDS[name].operands[0].accepts.admits(k.dtype), rank=(1, 5))
        more = "".join(f", {a}" for a in attributes if scope.chance(2))
        return Expression(f"{name}({small(x, 8)}, over={scope.axis(x)}{more})", 30.0)

    return draw


def topk(scope: Scope) -> Expression:
    x = scope.some(lambda k: k.dtype is not DType.BOOL, rank=(1, 4))
    axis = scope.axis(x)
    size = x.kind.shape[axis]
    k = scope.number(1, size) if isinstance(size, int) and size > 0 else scope.one_of("1", f"{size}")
    return Expression(f"topk({x.name}, {k}, over={axis}{scope.one_of('', ', largest=false')})")


# --- products and matrices ---


def matmul(scope: Scope) -> Expression:
    a = scope.some(lambda k: k.dtype is not DType.BOOL, rank=(1, 4))
    inner, n = a.kind.shape[-1], scope.size()
    fits = [
        t
        for t in scope.tensors
        if _family(t.kind) == _family(a.kind) and t.kind.rank and t.kind.shape[max(-2, -t.kind.rank)] == inner
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
    return Expression(f"rfft({small(x)}, over={scope.axis(x)})", 30.0)


def irfft(scope: Scope) -> Expression:
    x = scope.floating(1, 3)
    axis = scope.axis(x)
    size = x.kind.shape[axis]
    n = 2 * (size - 1) + scope.number(0, 1) if isinstance(size, int) else 4
    return Expression(f"irfft({small(x)}, {small(x, 2)}, {max(n, 1)}, over={axis})", 20.0)


# --- windows ---


def feature_map(scope: Scope, rank: int) -> Tensor:
    """A map of `rank` spatial axes; its sizes are large enough for the kernels here."""
    found = [
        t for t in scope.tensors if t.kind.dtype is DType.F32 and t.kind.rank == rank + 2 and isinstance(t.kind.shape[1], int)
    ]
    if found and scope.chance(2):
        return found[-1]
    sizes: list[Size] = [scope.number(3, 7) for _ in range(rank)]
    if scope.chance(3) and scope.symbols:
        sizes[-1] = f"{scope.symbols[-1]} + 4"
        if scope.symbols[-1] not in {d for t in scope.inputs for d in t.kind.shape}:
            sizes[-1] = 6
    return scope.fresh(DType.F32, [scope.one_of("1", "2") if not scope.symbols else scope.symbols[0], scope.number(1, 4), *sizes])


def each(scope: Scope, rank: int, low: int, high: int) -> str:
    """One number for all spatial axes, or one each."""
    if scope.chance(2):
        return str(scope.number(low, high))
    return f"[{', '.join(str(scope.number(low, high)) for _ in range(rank))}]"


def padding(scope: Scope, rank: int, most: int = 2) -> str:
    if scope.chance(3):
        pairs = ", ".join(f"[{scope.number(0, most)}, {scope.number(0, most)}]" for _ in range(rank))
        return f"[{pairs}]"
    return each(scope, rank, 0, most)


def conv(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    channels = int(x.kind.shape[1])
    groups = scope.draw_divisor(channels)
    kernel = [scope.number(1, 3) for _ in range(rank)]
    weight = scope.fresh(DType.F32, [groups * scope.number(1, 2), channels // groups, *kernel])
    pad = scope.one_of('"same"', '"valid"') if scope.chance(4) else padding(scope, rank)
    attributes = f"stride={each(scope, rank, 1, 4)}, padding={pad}, dilation={each(scope, rank, 1, 2)}, groups={groups}"
    return Expression(f"conv({small(x)}, {weight.name}, {attributes})", 60.0)


def conv_transpose(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    channels = int(x.kind.shape[1])
    groups = scope.draw_divisor(channels)
    kernel = [scope.number(1, 3) for _ in range(rank)]
    weight = scope.fresh(DType.F32, [channels, scope.number(1, 2), *kernel])
    stride = scope.number(1, 3)
    more = f", output_padding={stride - 1}" if scope.chance(3) else ""
    attributes = f"stride={stride}, padding={padding(scope, rank, 1)}, dilation={each(scope, rank, 1, 2)}, groups={groups}{more}"
    return Expression(f"conv_transpose({small(x)}, {weight.name}, {attributes})", 60.0)


def pool(name: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        rank = scope.number(1, 3)
        x = feature_map(scope, rank)
        parts = [f"kernel={each(scope, rank, 1, 3)}"]
        parts += [f"stride={each(scope, rank, 1, 4)}"] * (not scope.chance(3))
        parts += [f"padding={padding(scope, rank, 1)}"] * scope.chance(2)
        parts += ["ceil_mode=true"] * scope.chance(3)
        if name == "max_pool":
            parts += [f"dilation={each(scope, rank, 1, 2)}"] * scope.chance(3)
        else:
            parts += ["count_include_pad=false"] * scope.chance(3)
        return Expression(f"{name}({x.name}, {', '.join(parts)})", x.scale)

    return draw


def adaptive_avg_pool(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    return Expression(f"adaptive_avg_pool({x.name}, size={each(scope, rank, 1, 5)})", x.scale)


def interpolate(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    how = f"size={each(scope, rank, 1, 9)}" if scope.chance(2) else f"scale={scope.one_of('2', '3', '0.5', '1.5', '1.7', '1')}"
    mode = scope.one_of("", ', mode="bilinear"', ', mode="bilinear", align_corners=true')
    return Expression(f"interpolate({x.name}, {how}{mode})", x.scale)


# --- shapes ---


def product(sizes: tuple[Size, ...]) -> str:
    return " * ".join(f"({d})" if isinstance(d, str) and not d.isidentifier() else str(d) for d in sizes) or "1"


def reshape(scope: Scope) -> Expression:
    x = scope.some()
    shape = x.kind.shape
    cut = scope.number(0, x.kind.rank)
    options = [
        f"[{product(shape)}]", "[-1]", f"[{product(shape[:cut])}, {product(shape[cut:])}]", f"[{product(shape[:cut])}, -1]",
        f"[{product(shape[cut:])}, {product(shape[:cut])}]", f"[1, {', '.join(map(str, shape))}]" if shape else "[1, 1]",
    ]  # fmt: skip
    if shape and isinstance(shape[-1], int) and shape[-1] % 2 == 0:
        options.append(f"[{', '.join(map(str, [*shape[:-1], 2, shape[-1] // 2]))}]")
    return Expression(f"reshape({x.name}, {scope.one_of(*options)})", x.scale)


def permute(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 5))
    order = scope.permutation(x.kind.rank)
    return Expression(f"permute({x.name}, {[i - x.kind.rank if scope.chance(5) else i for i in order]})", x.scale)


def expand(scope: Scope) -> Expression:
    x = scope.some(lambda k: 1 in k.shape or k.rank < 3)
    shape: list[Size] = [scope.size() if d == 1 else d for d in x.kind.shape]
    shape = [scope.size(), *shape] if scope.chance(2) else shape
    return Expression(f"expand({x.name}, [{', '.join(map(str, shape))}])", x.scale)


def pad(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    mode = scope.one_of("", ', mode="edge"', ', mode="reflect"', ", value=1.5" if x.kind.dtype.is_float else "")
    widths = ", ".join(f"[{scope.number(0, 2)}, {scope.number(0, 1)}]" for _ in x.kind.shape)
    return Expression(f"pad({x.name}, [{widths}]{mode})", x.scale)


def flip(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    axes = f"[0, {x.kind.rank - 1}]" if x.kind.rank > 1 and scope.chance(3) else str(scope.axis(x))
    return Expression(f"flip({x.name}, over={axes})", x.scale)


def roll(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    return Expression(f"roll({x.name}, {scope.number(-7, 7)}, over={scope.axis(x)})", x.scale)


def tile(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 3))
    return Expression(f"tile({x.name}, {[scope.number(1, 2) for _ in x.kind.shape]})", x.scale)


def concat(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    axis = scope.number(0, x.kind.rank - 1)
    fits = [
        t for t in scope.tensors if _family(t.kind) == _family(x.kind) and t.kind.rank == x.kind.rank
        and all(a == b or i == axis for i, (a, b) in enumerate(zip(t.kind.shape, x.kind.shape, strict=True)))
    ]  # fmt: skip
    others = [fits[scope.number(0, len(fits) - 1)] for _ in range(scope.number(0, 2))]
    written = axis - x.kind.rank if scope.chance(2) else axis
    return Expression(f"concat({', '.join(t.name for t in (x, *others))}, over={written})", max(t.scale for t in (x, *others)))


def stack(scope: Scope) -> Expression:
    x = scope.some(rank=(0, 3))
    fits = [t for t in scope.tensors if t.kind == x.kind]
    others = [fits[scope.number(0, len(fits) - 1)] for _ in range(scope.number(0, 2))]
    return Expression(
        f"stack({', '.join(t.name for t in (x, *others))}, over={scope.number(-x.kind.rank - 1, x.kind.rank)})",
        max(t.scale for t in (x, *others)),
    )


def slices(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    items = [_item(scope, d) for d in x.kind.shape[: scope.number(1, x.kind.rank)]]
    if scope.chance(5):
        items.insert(scope.number(0, len(items)), "none")
    text = ", ".join(["...", items[-1]] if scope.chance(4) else items)
    return Expression(f"{x.name}[{text}]", x.scale)


def _item(scope: Scope, size: Size) -> str:
    most = size if isinstance(size, int) else 1
    options = [":", "::2", "::-1", "1:", ":-1", "::-2", "-1:", ":1", "0:0", "1:100"]
    if most > 0:
        options += [str(scope.number(-most, most - 1))] * 2
    if most > 2:
        options += ["1:-1", "-2::-1", "2:0:-1", "1::2"]
    if isinstance(size, str):
        options += [f":{size}", f"({size}) // 2:", f":({size} + 1) // 2"]
    return scope.one_of(*options)


def split(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    axis = scope.axis(x)
    size = x.kind.shape[axis]
    if isinstance(size, int) and size > 1:
        first = scope.number(0, size)
        sizes = scope.one_of(f"[{first}, {size - first}]", str(size), f"[1, {size - 1}]")
    else:
        sizes = f"[1, {size} - 1]"
    return Expression(f"split({x.name}, {sizes}, over={axis})", x.scale)


def triangle(name: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        x = scope.some(rank=(2, 4))
        return Expression(f"{name}({x.name}, {scope.number(-3, 3)})", x.scale)

    return draw


# --- indices ---


def index_of(scope: Scope, size: Size, shape: tuple[Size, ...] | None = None) -> str:
    """An integer tensor whose elements are below `size`."""
    found = [t for t in scope.tensors if t.kind.dtype in (DType.I64, DType.I32) and t not in scope.inputs]
    found = [t for t in found if t.kind.shape == shape or (shape is None and t.kind.rank < 3)]
    if found and scope.chance(2):
        return f"({found[-1].name} % {size if isinstance(size, int) else f'({size})'})"
    return scope.fresh(DType.I64, shape if shape is not None else [scope.size() for _ in range(scope.number(0, 2))]).name


def gather(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 3))
    axis = scope.number(0, x.kind.rank - 1)
    shape = x.kind.shape
    if scope.chance(2):
        index = index_of(scope, shape[axis], (*shape[:axis], *shape[axis + 1 :]))
    else:
        index = index_of(scope, shape[axis], (*shape[:axis], scope.number(1, 4), *shape[axis + 1 :]))
    return Expression(f"gather({x.name}, {index}, over={axis - x.kind.rank if scope.chance(2) else axis})", x.scale)


def take(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 3))
    axis = scope.number(0, x.kind.rank - 1)
    index = index_of(scope, x.kind.shape[axis])
    if scope.chance(2):
        return Expression(f"{x.name}[{''.join(':, ' for _ in range(axis))}{index}]", x.scale)
    return Expression(f"take({x.name}, {index}, over={axis - x.kind.rank if scope.chance(2) else axis})", x.scale)


def scatter_add(scope: Scope) -> Expression:
    x = scope.some(lambda k: k.dtype is not DType.BOOL, rank=(1, 3))
    axis = scope.number(0, x.kind.rank - 1)
    shape = (*x.kind.shape[:axis], scope.number(1, 4), *x.kind.shape[axis + 1 :])
    updates = scope.fresh(x.kind.dtype, shape)
    return Expression(
        f"scatter_add({x.name}, {index_of(scope, x.kind.shape[axis], shape)}, {updates.name}, over={axis})", x.scale * 3
    )


def one_hot(scope: Scope) -> Expression:
    n = scope.number(1, 5)
    dtype = scope.one_of("", ", dtype=int", ", dtype=bool", ", dtype=i8")
    return Expression(f"one_hot({index_of(scope, n)}, {n}{dtype})", 1.0)


# --- creation, random numbers, control ---


def arange(scope: Scope) -> Expression:
    size = scope.size()
    options = (f"{size}", f"1, {size} + 1", f"{size}, 0, -1", f"0, 2 * {size}, 2", f"{size}, dtype=float", "5, 5", "-1, 4")
    return Expression(f"arange({scope.one_of(*options)})", 8.0)


def creation(*texts: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        return Expression(scope.one_of(*texts).replace("SIZE", str(scope.size())).replace("TO", str(scope.size())))

    return draw


def like(text: str) -> Drawer:
    """An expression with X for a floating tensor."""

    def draw(scope: Scope) -> Expression:
        return Expression(text.replace("X", small(scope.floating(1, 4))).replace("P", f"{scope.number(1, 9) / 10}"), 8.0)

    return draw


def if_training(scope: Scope) -> Expression:
    x = scope.some()
    fits = [t for t in scope.tensors if t.kind == x.kind]
    other = fits[scope.number(0, len(fits) - 1)]
    return Expression(f"{x.name} if training else {other.name}", max(x.scale, other.scale))


def size(scope: Scope) -> Expression:
    if not scope.symbols:
        return creation("full([], SIZE, dtype=int)")(scope)
    symbol = scope.draw_symbol()
    return Expression(f"size({symbol}) * 2" if scope.chance(2) else f"{symbol} * {small(scope.some())}", 30.0)


def const(scope: Scope) -> Expression:
    x = scope.floating(0, 3)
    return Expression(f"{small(x)} * {scope.one_of('[0.5, -1.0]', '[[1.0], [2.0]]', '[1.5]', '[0.0, 2.0, -1.0]', '3.25')}", 12.0)


# --- what the language makes of them ---


def sugar(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    rank = x.kind.rank
    names = " ".join("abcde"[:rank])
    options = [
        f"flatten({x.name}, start={scope.number(0, rank - 1)})", f"unsqueeze({x.name}, {scope.number(-rank - 1, rank)})",
        f"transpose({x.name}, {scope.axis(x)}, {scope.axis(x)})", f"zeros_like({x.name})", f"ones_like({x.name})",
        f'rearrange({x.name}, "{names} -> {" ".join(reversed("abcde"[:rank]))}")', f'rearrange({x.name}, "{names} -> ({names})")',
        f'repeat({x.name}, "{names} -> {names} r", r=2)', f'repeat({x.name}, "{names} -> (r a) {" ".join("abcde"[1:rank])}", r=2)',
    ]  # fmt: skip
    options += [f"{x.name}.T"] * (rank > 1) + [f"squeeze({x.name}, {i})" for i, d in enumerate(x.kind.shape) if d == 1]
    if x.kind.dtype.is_float:
        options.append(f'reduce({small(x)}, "{names} -> a", "{scope.one_of("sum", "mean", "max", "min")}")')
    return Expression(scope.one_of(*options), x.scale * 2)


def gradient(scope: Scope) -> Expression:
    x = scope.some(lambda k: k.dtype is DType.F32)
    inner = scope.one_of("sin(X) * X", "exp(0.3 * X)", "X ** 3", "sigmoid(X) * cos(X)", "tanh(X) ** 2").replace("X", x.name)
    return Expression(f"grad(sum({inner}), {x.name})" if x.scale <= 4 else f"tanh({x.name})", 30.0)


def _is_binary(operands: tuple[Operand, ...]) -> bool:
    return [o.name for o in operands] == ["a", "b"]


EXPRESSIONS: dict[str, Drawer] = {
    **{n: binary(n) for n, c in CARDS.items() if c.elementwise and c.broadcasts and _is_binary(c.operands)},
    **{n: unary(n) for n, c in CARDS.items() if c.family == "elementwise" and len(c.operands) == 1 and not c.attributes},
    **{n: reduction(n) for n in ("sum", "mean", "prod", "max", "min", "any", "all", "logsumexp", "var", "norm")},
    **{n: along(n, "keepdims=true") for n in ("argmax", "argmin")},
    **{n: along(n, "descending=true") for n in ("sort", "argsort")},
    **{n: decomposition(n) for n in ("cholesky", "eigh", "triangular_solve", "svd", "qr", "inverse", "slogdet")},
    **{n: pool(n) for n in ("max_pool", "avg_pool")},
    **{n: triangle(n) for n in ("tril", "triu")},
    "cumsum": along("cumsum"), "clip": clip, "where": where, "cast": cast, "topk": topk, "matmul": matmul, "einsum": einsum,
    "rfft": rfft, "irfft": irfft, "conv": conv, "conv_transpose": conv_transpose, "adaptive_avg_pool": adaptive_avg_pool,
    "interpolate": interpolate, "reshape": reshape, "permute": permute, "expand": expand, "pad": pad, "flip": flip, "roll": roll,
    "tile": tile, "concat": concat, "stack": stack, "slice": slices, "split": split, "gather": gather, "take": take,
    "scatter_add": scatter_add, "one_hot": one_hot, "arange": arange, "size": size, "const": const, "sugar": sugar,
    "if_training": if_training, "grad": gradient,
    "linspace": creation("linspace(0, 1, SIZE)", "linspace(2, -3, SIZE)", "linspace(-1.0, 1.0, 5)"),
    "eye": creation("eye(SIZE)", "eye(SIZE, TO)", "eye(SIZE, TO, dtype=int)"),
    "full": creation("full([SIZE, TO], 2.5)", "zeros(SIZE)", "ones(SIZE, TO, dtype=i32)", "full([TO], true, dtype=bool)", "zeros(0, 2)"),
    "randn": creation("randn(SIZE, TO)", "randn(TO)"), "rand": creation("rand(SIZE, TO)", "rand()"),
    "bernoulli": like("bernoulli(sigmoid(X))"), "categorical": like("categorical(X)"), "dropout": like("dropout(X, P)"),
    "stop_gradient": like("stop_gradient(X) * 2.0"),
}  # fmt: skip
"""A drawer for each primitive, and two more: `sugar`, what the language lowers to them, and `grad`."""


def any_dtype(scope: Scope) -> DType:
    """The element type of an input: mostly the model's."""
    how = scope.number(0, 9)
    if how < 6:
        return DType.F32
    return (
        FLOATS[scope.number(0, len(FLOATS) - 1)] if how < 7 else INTS[scope.number(0, len(INTS) - 1)] if how < 9 else DType.BOOL
    )


__all__ = ["EXPRESSIONS", "any_dtype", "word"]
