"""The rows of PyTorch that rearrange elements: reshape in its many forms, slices, joins, padding."""

from __future__ import annotations

from backends.python import Body, Emit, Rows
from backends.torch_tensors import axis_text, one_axis, placed, tensors, types
from backends.writer import Expression, attribute, binary, call, index, method, quoted, sequence, slice_text
from dsl.dims import Dim, Expr, dims_equal
from dsl.ir import Node
from dsl.ops.card import AttributeValue
from dsl.ops.sizes import dim_tuple, int_tuple, pair_tuple, product

Operands = list[Expression]
Shape = tuple[Dim, ...]


def equal(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(map(dims_equal, a, b))


def _reshape(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    before, after = types(body, node)[0].shape, dim_tuple(node.attributes, "shape")
    if equal(before, after):
        return x
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    return (
        _without(x, old, new, head, len(before))
        or _with(x, old, new, head, len(after))
        or _flattened(x, old, new, head, tail)
        or _unflattened(body, x, old, new, head, tail)
        or method(x, "reshape", *_sizes(body, before, after))
    )


def _common(a: Shape, b: Shape) -> int:
    """How many sizes at the beginning are equal."""
    count = 0
    while count < min(len(a), len(b)) and dims_equal(a[count], b[count]):
        count += 1
    return count


def _without(x: Expression, old: Shape, new: Shape, head: int, rank: int) -> Expression | None:
    return method(x, "squeeze", one_axis(head, rank)) if old == (1,) and not new else None


def _with(x: Expression, old: Shape, new: Shape, head: int, rank: int) -> Expression | None:
    return method(x, "unsqueeze", one_axis(head, rank)) if new == (1,) and not old else None


def _flattened(x: Expression, old: Shape, new: Shape, head: int, tail: int) -> Expression | None:
    if len(new) != 1 or len(old) < 2:
        return None
    ends = [] if tail == 0 else [str(head + len(old) - 1)]
    return method(x, "flatten", *([str(head)] if head or ends else []), *ends)


def _unflattened(body: Body, x: Expression, old: Shape, new: Shape, head: int, tail: int) -> Expression | None:
    """`x.unflatten(axis, sizes)`, where sizes are numbers: else a reshape reads better."""
    if len(old) != 1 or len(new) < 2 or head + tail == 0 or any(isinstance(d, Expr) for d in new):
        return None
    return method(x, "unflatten", "-1" if tail == 0 else str(head), sequence(body.dim(d) for d in new))


def _sizes(body: Body, before: Shape, after: Shape) -> list[Expression]:
    """The sizes; -1 in place of the one that is a lengthy expression."""
    texts = [body.dim(d) for d in after]
    lengthy = [i for i, d in enumerate(after) if isinstance(d, Expr) and not texts[i].simple]
    if len(lengthy) == 1 and not dims_equal(product(d for i, d in enumerate(after) if i != lengthy[0]), 0):
        texts[lengthy[0]] = Expression("-1")
    if not texts:
        return [Expression("()")]
    return texts


def _permute(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    order = int_tuple(node.attributes, "order")
    moved = [i for i, a in enumerate(order) if a != i]
    if not moved:
        return x
    if order == (1, 0):
        return attribute(x, "T")
    if len(moved) == 2:
        last = moved[1] == len(order) - 1 and moved[0] == len(order) - 2
        return method(x, "transpose", *(("-2", "-1") if last else map(str, moved)))
    return method(x, "permute", *map(str, order))


def _expand(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    before, after = types(body, node)[0].shape, dim_tuple(node.attributes, "shape")
    offset = len(after) - len(before)
    kept = [i >= offset and dims_equal(d, before[i - offset]) for i, d in enumerate(after)]
    return method(x, "expand", *("-1" if k else body.dim(d) for k, d in zip(kept, after, strict=True)))


def _joined(function: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        parts = sequence(tensors(body, node, xs), "[]")
        return call(function, parts, dim=axis_text(node.attributes, node.type.rank))

    return row


def _slice(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    shape = types(body, node)[0].shape
    stops = node.attributes["stops"]
    assert isinstance(stops, tuple)
    cuts = zip(
        int_tuple(node.attributes, "axes"), dim_tuple(node.attributes, "starts"), stops, int_tuple(node.attributes, "steps"),
        strict=True,
    )  # fmt: skip
    subscripts: dict[int, str] = {}
    for a, start, stop, step in cuts:
        last = stop if isinstance(stop, int | Expr) else None
        if step < 0:
            x = method(x, "flip", str(a))
            start, last = shape[a] - 1 - start, None if last is None else shape[a] - 1 - last
        subscripts[a] = _cut(body, start, last, abs(step) if step < 0 else step, shape[a])
    if all(text == ":" for text in subscripts.values()):
        return x
    leading = (subscripts.get(a, ":") for a in range(max(subscripts) + 1))
    return index(x, *leading)


def _cut(body: Body, start: Dim, stop: Dim | None, step: int, size: Dim) -> str:
    """`start:stop:step`, counted from the end where that is shorter."""
    first = "" if start == 0 else _from_end(start, size) or body.dim(start).text
    last = "" if stop is None or dims_equal(stop, size) else _from_end(stop, size) or body.dim(stop).text
    return slice_text(first, last, "" if step == 1 else str(body.static(step)))


def _from_end(bound: Dim, size: Dim) -> str | None:
    behind = bound - size
    return str(behind) if isinstance(size, Expr) and isinstance(behind, int) and behind < 0 else None


def _split(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    sizes, over = dim_tuple(node.attributes, "sizes"), axis_text(node.attributes, types(body, node)[0].rank)
    if all(dims_equal(d, sizes[0]) for d in sizes):
        return method(x, "chunk", str(len(sizes)), dim=over)
    return method(x, "split", sequence(map(body.dim, sizes)), dim=over)


def _pad(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    widths, mode = pair_tuple(node.attributes, "widths"), node.attributes["mode"]
    first = next((i for i, pair in enumerate(widths) if pair != (0, 0)), None)
    if first is None:
        return x
    if mode == "constant":
        value = node.attributes["value"]
        filling = None if value == 0 else body.static(value)
        return call("F.pad", x, _reversed(body, widths[first:]), value=filling)
    count = max(len(widths) - first, len(widths) - 2)
    if count <= 3 and count < len(widths) and node.type.dtype.is_float:
        return call("F.pad", x, _reversed(body, widths[-count:]), mode=quoted("reflect" if mode == "reflect" else "replicate"))
    return _padded_by_index(body, node, widths, mode)


def _reversed(body: Body, widths: tuple[tuple[int, int], ...]) -> Expression:
    return sequence(body.number(w) for pair in reversed(widths) for w in pair)


def _padded_by_index(body: Body, node: Node, widths: tuple[tuple[int, int], ...], mode: AttributeValue) -> Expression:
    """Where F.pad does not reach: each axis by the places that its elements come from."""
    shape, x = types(body, node)[0].shape, body.named(node, 0)
    for a, (low, high) in enumerate(widths):
        if (low, high) == (0, 0):
            continue
        last = body.dim(shape[a] - 1)
        places = call("torch.arange", body.number(-low), body.dim(shape[a] + high), device=placed(body))
        if mode == "edge":
            places = method(places, "clamp", "0", last)
        else:
            mirrored = binary(last, "-", method(places, "abs"))
            places = binary(last, "-", method(mirrored, "abs"))
        x = method(x, "index_select", str(a), body.let("places", places))
    return x


def _flip(body: Body, node: Node, xs: Operands) -> Expression:
    over = node.attributes["over"]
    (x,) = tensors(body, node, xs)
    return method(x, "flip", body.static(over[0] if isinstance(over, tuple) and len(over) == 1 else over))


def _roll(body: Body, node: Node, xs: Operands) -> Expression:
    shift, over = node.attributes["shift"], int_tuple(node.attributes, "over")
    assert isinstance(shift, tuple)
    shifts = shift[0] if len(shift) == 1 else shift
    (x,) = tensors(body, node, xs)
    return method(x, "roll", body.static(shifts), body.static(over[0] if len(over) == 1 else over))


def _tile(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    return method(x, "tile", *(body.dim(d) for d in dim_tuple(node.attributes, "repeats")))


SHAPE_ROWS: Rows = {
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "concat": _joined("torch.cat"),
    "stack": _joined("torch.stack"),
    "slice": _slice,
    "split": _split,
    "pad": _pad,
    "flip": _flip,
    "roll": _roll,
    "tile": _tile,
}
