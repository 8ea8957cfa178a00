"""Lints of the order of axes: parts put together in one order and taken apart in another, layers that take the batch first, weights
that sum to 1 along one axis and are summed along another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import mul

from dsl.diagnostics import Diagnostic, Label
from dsl.dims import Dim, dims_equal, format_dim
from dsl.ir import Graph, Node, Value
from dsl.lints.facts import LOG_PROBABILITIES, PROBABILITIES, axis_of, of_kind, operator
from dsl.lints.place import Lint, Place, warning

Sizes = tuple[Dim, ...]


def taken_apart_in_another_order(place: Place) -> Iterator[Diagnostic]:
    """An axis that was made of two, and is split into the same two the other way round."""
    for old, new in _segments(place.shape(0), place.node.type.shape):
        if len(old) != 1 or len(new) != 2 or dims_equal(new[0], new[1]):
            continue
        joined = [(node, parts) for node, parts in _joined(place.graph) if len(parts) == 2 and node.id < place.node.id]
        if any(_same(parts, new) for _, parts in joined):
            continue
        first = next((node for node, parts in joined if _same(parts[::-1], new)), None)
        if first is not None:
            a, b = map(format_dim, new)
            message = f"this axis is taken apart in the order {a}, {b}, and was put together in the order {b}, {a}"
            labels = (Label(first.span, "put together here"),)
            yield warning("DL1044", message, place.span, labels=labels, help="a pattern has the same order on the way in and out")


def columns_before_rows(place: Place) -> Iterator[Diagnostic]:
    """The places of a map in one row, column by column, where everything else counts them row by row."""
    node, graph = place.operand(0), place.graph
    if node.op != "permute" or not _is_map(graph, node.inputs[0]) or graph.type(node.inputs[0]).rank != 4:
        return
    order, start = node.attributes["order"], 0
    assert isinstance(order, tuple)
    for old, new in reversed(list(_segments(place.shape(0), place.node.type.shape))):
        if len(old) == 2 and len(new) == 1 and order[start : start + 2] == (3, 2):
            message = "the places of this map are put in a row as (w h), column by column"
            yield warning("DL1044", message, place.span, help="`(h w)` is the order of a picture, of `flatten` and of `reshape`")
        start += len(old)


def batch_not_first(place: Place) -> Iterator[Diagnostic]:
    """A recurrent or attentional layer that is given sequences with the time first."""
    shape = place.shape(0)
    if len(shape) == 3 and place.is_batch(shape[1]) and not place.is_batch(shape[0]):
        message = f"`{place.name}` takes float[B, T, D], the batch first, and is given [{_listed(shape)}]"
        yield warning("DL1045", message, place.span, help="the examples would be its steps: leave out the transposition")


def rolls_examples(place: Place) -> Iterator[Diagnostic]:
    """A shift or a running sum from example to example."""
    over = place.node.attributes.get("over")
    axes = over if isinstance(over, tuple) else (over,)
    shape = place.shape(0)
    if any(isinstance(axis, int) and place.is_batch(shape[axis]) for axis in axes) and len(shape) > 1:
        message = f"`{place.name}` goes along the axis of the batch, from one example to the next"
        yield warning("DL1045", message, place.span, help="give the axis of time, or of the features, with `over`")


def weighs_along_another_axis(place: Place) -> Iterator[Diagnostic]:
    """A product that sums weights along an axis along which they do not sum to 1."""
    for index, facts in enumerate(place.operands[:2]):
        fact = of_kind(facts, PROBABILITIES)
        rank = len(place.shape(index))
        summed = rank - 1 if index == 0 or rank == 1 else rank - 2
        if fact is None or fact.axis is None or rank < 2 or fact.axis == summed or fact.axis < rank - 2:
            continue
        message = f"these weights sum to 1 along axis {fact.axis}, and the product sums them along axis {summed}"
        labels = (Label(fact.span, "the softmax"),) if fact.span != place.span else ()
        help = "attention weights sum to 1 over the keys: `softmax(q @ k.T, over=-1) @ v`"
        yield warning("DL1046", message, place.span, labels=labels, help=help)


def distributions_along_two_axes(place: Place) -> Iterator[Diagnostic]:
    """Two distributions that are compared, or logarithms that are summed, along different axes."""
    if place.name == "kl_div":
        a, b = of_kind(place.operands[0], LOG_PROBABILITIES), of_kind(place.operands[1], PROBABILITIES)
        if a is None or b is None or a.axis is None or b.axis is None or a.axis == b.axis:
            return
        message = f"one distribution is along axis {a.axis}, the other along axis {b.axis}"
        labels = (Label(a.span, f"over axis {a.axis}"), Label(b.span, f"over axis {b.axis}"))
        yield warning("DL1046", message, place.span, labels=labels, help="give both the axis of the classes with `over`")
        return
    over = place.node.attributes.get("over")
    for node in _summands(place.graph, place.node.inputs[0]):
        axis = axis_of(node) if operator(node) == "log_softmax" else None
        if axis is not None and over != (axis,):
            message = f"`log_softmax` is over axis {axis}, and its exponentials are summed over another axis"
            yield warning(
                "DL1046", message, place.span, labels=(Label(node.span, f"over axis {axis}"),), help="give both one `over`"
            )


def over_places(place: Place) -> Iterator[Diagnostic]:
    """A softmax along a row of pixels of a map: the classes of a map are its axis 1."""
    shape = place.shape(0)
    axis = axis_of(place.node)
    if len(shape) == 4 and axis in (2, 3) and _is_map(place.graph, place.node.inputs[0]):
        message = f"`{place.name}` of a map goes along axis {axis}, a row or column of its places"
        yield warning("DL1013", message, place.span, help="the channels, or classes, of a map are `over=1`")


# --- sizes --------------------------------------------------------------------------------------------------------------------------


def _product(sizes: Sequence[Dim]) -> Dim:
    return reduce(mul, sizes, 1)


def _same(a: Sizes, b: Sizes) -> bool:
    return len(a) == len(b) and all(dims_equal(x, y) for x, y in zip(a, b, strict=True))


def _segments(old: Sizes, new: Sizes) -> Iterator[tuple[Sizes, Sizes]]:
    """The axes before and after a reshape, in groups that have the same number of elements."""
    end, last = len(old), len(new)
    for i in range(len(old) - 1, -1, -1):
        for j in range(last - 1, -1, -1):
            if dims_equal(_product(old[i:end]), _product(new[j:last])):
                yield old[i:end], new[j:last]
                end, last = i, j
                break


def _joined(graph: Graph) -> Iterator[tuple[Node, Sizes]]:
    """The reshapes that make one axis of several, with the sizes of these."""
    for node in graph:
        if node.op == "reshape":
            for old, new in _segments(graph.type(node.inputs[0]).shape, node.type.shape):
                if len(new) == 1 and len(old) > 1:
                    yield node, old


def _listed(sizes: Sizes) -> str:
    return ", ".join(map(format_dim, sizes))


# --- where values come from -----------------------------------------------------------------------------------------------------------


def _summands(graph: Graph, value: Value) -> Iterator[Node]:
    node = graph.node(value)
    if node.op == "add":
        for operand in node.inputs:
            yield from _summands(graph, operand)
    else:
        yield node


def _is_map(graph: Graph, value: Value) -> bool:
    """Whether a convolution made a value, elementwise steps aside."""
    node = graph.node(value)
    if node.op in ("add", "mul", "relu"):
        return any(_is_map(graph, operand) for operand in node.inputs)
    if node.op != "call" or node.target is None:
        return node.op in ("conv", "conv_transpose")
    callee = node.target.graph
    if callee.library:
        return callee.definition.startswith("Conv")
    return _is_map(callee, list(callee.outputs.values())[value.index])


_SEQUENTIAL = (
    "RNN", "LSTM", "GRU", "StackedRNN", "StackedLSTM", "StackedGRU", "Bidirectional", "SelfAttention", "MultiHeadAttention",
    "TransformerEncoder", "TransformerEncoderLayer", "TransformerDecoder", "TransformerDecoderLayer",
)  # fmt: skip
LINTS: Mapping[str, tuple[Lint, ...]] = {
    "reshape": (taken_apart_in_another_order, columns_before_rows),
    **dict.fromkeys(_SEQUENTIAL, (batch_not_first,)),
    **dict.fromkeys(("roll", "cumsum"), (rolls_examples,)),
    "matmul": (weighs_along_another_axis,),
    **dict.fromkeys(("kl_div", "logsumexp"), (distributions_along_two_axes,)),
    **dict.fromkeys(("softmax", "log_softmax"), (over_places,)),
}
