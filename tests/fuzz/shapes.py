"""Reshaping, joining, slicing and indexing."""

from __future__ import annotations

from collections.abc import Callable

from dsl.types import DType
from tests.fuzz.elementwise import family
from tests.fuzz.scope import Drawer, Expression, Kind, Scope, Size, Tensor


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
    for i, d in enumerate(shape):
        if f"require {d} % 2 == 0" in " ".join(scope.facts):
            options += [f"[{', '.join(map(str, [*shape[:i], f'{d} // 2', 2, *shape[i + 1 :]]))}]"] * 3
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
        t for t in scope.tensors if family(t.kind) == family(x.kind) and t.kind.rank == x.kind.rank
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
    options = [":", "::2", "::-1", "1:", ":-1", "::-2", "-1:", ":1", "0:0", "0:0", "5:2", "1:100"]
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
        return _below(found[-1].name, size)
    made = scope.fresh(DType.I64, shape if shape is not None else [scope.size() for _ in range(scope.number(0, 2))])
    return made.name if made in scope.inputs else _below(made.name, size)


def _below(name: str, size: Size) -> str:
    return f"({name} % {size if isinstance(size, int) else f'({size})'})"


def indexed(scope: Scope, wanted: Callable[[Kind], bool] = lambda _: True) -> tuple[Tensor, int]:
    """A tensor and an axis of it that has elements, whatever the sizes."""
    x = scope.some(lambda k: wanted(k) and any(map(has_elements, k.shape)), rank=(1, 3))
    axes = [i for i, d in enumerate(x.kind.shape) if has_elements(d)]
    return x, scope.random.choice(axes)


def has_elements(size: Size) -> bool:
    """Whether a size cannot be 0, as far as its text says."""
    return size > 0 if isinstance(size, int) else size.isidentifier() or (" + " in size and "-" not in size)


def gather(scope: Scope) -> Expression:
    x, axis = indexed(scope)
    shape = x.kind.shape
    if scope.chance(2):
        index = index_of(scope, shape[axis], (*shape[:axis], *shape[axis + 1 :]))
    else:
        index = index_of(scope, shape[axis], (*shape[:axis], scope.number(1, 4), *shape[axis + 1 :]))
    return Expression(f"gather({x.name}, {index}, over={axis - x.kind.rank if scope.chance(2) else axis})", x.scale)


def take(scope: Scope) -> Expression:
    x, axis = indexed(scope)
    index = index_of(scope, x.kind.shape[axis])
    if scope.chance(2):
        return Expression(f"{x.name}[{''.join(':, ' for _ in range(axis))}{index}]", x.scale)
    return Expression(f"take({x.name}, {index}, over={axis - x.kind.rank if scope.chance(2) else axis})", x.scale)


def scatter_add(scope: Scope) -> Expression:
    x, axis = indexed(scope, lambda k: k.dtype is not DType.BOOL)
    shape = (*x.kind.shape[:axis], scope.number(1, 4), *x.kind.shape[axis + 1 :])
    updates = scope.fresh(x.kind.dtype, shape)
    return Expression(
        f"scatter_add({x.name}, {index_of(scope, x.kind.shape[axis], shape)}, {updates.name}, over={axis})", x.scale * 3
    )


def one_hot(scope: Scope) -> Expression:
    n = scope.number(1, 5)
    dtype = scope.one_of("", ", dtype=int", ", dtype=bool", ", dtype=i8")
    return Expression(f"one_hot({index_of(scope, n)}, {n}{dtype})", 1.0)
