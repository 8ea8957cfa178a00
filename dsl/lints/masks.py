"""Lints of masks: places compared with a length that count one too many, and masks that hide what they should show.

What a mask means is not in its type, so these go by names: an input called `length`, a condition called `mask` or `seen`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from dsl.diagnostics import Diagnostic, Label
from dsl.ir import Graph, Node, Value
from dsl.lints.place import Lint, Place, warning
from dsl.types import DType

_COUNTS = re.compile(r"(^|_)(len|length|lengths|count|counts|sizes?)(_|$)")
_SHOWS = re.compile(r"(^|_)(mask|seen|valid|inside|keep|kept|allowed|visible|present|real)(_|$)")
_ENDS = frozenset({"done", "dones", "terminal", "terminated", "ended"})
_MOVED = frozenset({"reshape", "expand", "cast", "slice"})


def counts_one_too_many(place: Place) -> Iterator[Diagnostic]:
    """Places from 0 compared with how many there are: `arange(T) <= length`."""
    places, count = place.operand(0), _input(place.graph, place.node.inputs[1])
    if places.op != "arange" or count is None or not _COUNTS.search(count) or not place.graph.type(place.node.inputs[1]).rank:
        return
    start = places.attributes.get("start")
    lets_in = {"le": 0, "eq": 0, "lt": 1}[place.name]
    if start != lets_in:
        return
    if place.name == "eq":
        message, help = (
            f"no place is `{count}`: the places of a row end at `{count} - 1`",
            f"the last one is `arange(T) == {count} - 1`",
        )
    elif start == 1:
        message, help = f"the last place before `{count}` is left out: places begin at 0", f"`arange(T) < {count}`"
    else:
        message, help = f"one place more than `{count}` is let in: places begin at 0", f"`arange(T) < {count}`"
    yield warning("DL1047", message, place.span, help=help)


def hides_what_it_should_show(place: Place) -> Iterator[Diagnostic]:
    """A mask that is true where something may be seen, given as the opposite."""
    assert place.node.target is not None
    for name, value in zip(place.node.target.graph.inputs, place.node.inputs, strict=False):
        node = place.graph.node(value)
        while node.op in _MOVED:
            node = place.graph.node(node.inputs[0])
        if not _SHOWS.search(name) or place.graph.type(value).dtype is not DType.BOOL:
            continue
        if node.op == "eq" and any(_is_number(place.graph, v) for v in node.inputs):
            message = f"`{name}` is true where something may be seen, and this is true only where it equals one number"
            yield _inverted(message, place, node, "for all but the padding use `!=`, as in `tokens != 0`")
        elif node.op == "logical_not" and _SHOWS.search(_called(place.graph, node.inputs[0])):
            message = f"`{name}` is true where something may be seen, and this is the opposite of a mask"
            yield _inverted(message, place, node, "leave the `not` out")


def empties_what_is_seen(place: Place) -> Iterator[Diagnostic]:
    """`where(seen, 0.0, x)`: what is seen becomes a number, and what is not seen is kept."""
    condition, seen, hidden = place.node.inputs
    name = _called(place.graph, condition)
    if _SHOWS.search(name) and _is_number(place.graph, seen) and not _is_number(place.graph, hidden):
        message = f"`where({name}, number, x)` keeps what the mask hides, and loses what it shows"
        yield warning("DL1048", message, place.span, help=f"where the mask is true comes first: `where({name}, x, number)`")


def goes_on_after_the_end(place: Place) -> Iterator[Diagnostic]:
    """What follows counts where the episode is over: `done * value` for `(1 - done) * value`."""
    for value in place.node.inputs:
        name = _input(place.graph, value)
        if name in _ENDS:
            message = f"`{name}` is 1 where the episode is over, and here what follows counts only there: is the mask inverted?"
            yield warning("DL1048", message, place.span, help=f"`(1 - {name}) * value`")


def _inverted(message: str, place: Place, node: Node, help: str) -> Diagnostic:
    labels = (Label(node.span, "the mask"),) if node.span != place.span else ()
    return warning("DL1048", message, place.span, labels=labels, help=help)


def _input(graph: Graph, value: Value) -> str | None:
    """The name of the input that a value is, wherever its numbers were put."""
    node = graph.node(value)
    while node.op in _MOVED:
        node = graph.node(node.inputs[0])
    return next((name for name, given in graph.inputs.items() if given.node == node.id), None)


def _called(graph: Graph, value: Value) -> str:
    """What the spec calls a value; nothing where it has no name."""
    return graph.node(value).name or _input(graph, value) or ""


def _is_number(graph: Graph, value: Value) -> bool:
    node = graph.node(value)
    constant = node.attributes.get("value")
    return node.op == "const" and isinstance(constant, np.ndarray) and constant.ndim == 0


_CALLS = (
    "call", "masked_softmax", "attention", "SelfAttention", "MultiHeadAttention", "TransformerEncoder", "TransformerDecoder",
    "TransformerEncoderLayer", "TransformerDecoderLayer", "HardAttention",
)  # fmt: skip
LINTS: Mapping[str, tuple[Lint, ...]] = {
    **dict.fromkeys(("le", "lt", "eq"), (counts_one_too_many,)),
    **dict.fromkeys(_CALLS, (hides_what_it_should_show,)),
    "where": (empties_what_is_seen,),
    "mul": (goes_on_after_the_end,),
}
