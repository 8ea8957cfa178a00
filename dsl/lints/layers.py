"""Lints of how layers follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl.diagnostics import Diagnostic, Label
from dsl.dims import Dim
from dsl.ir import Node, Value
from dsl.lints.facts import BATCH_NORMS, MAPS, RECTIFIED, SOLE, SYMMETRIC, Fact, of_kind, operator
from dsl.lints.place import Lint, Place, warning

_PLAIN = ("Linear", "Conv1d", "Conv2d", "Conv3d")
_BETWEEN = frozenset(
    {"relu", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "elu", "leaky_relu", "softplus", "dropout", "slice"}
)
"""What may stand between two applications of one layer that makes no other value of them."""


def two_linear_maps(place: Place) -> Iterator[Diagnostic]:
    """A linear map of a linear map, which is one. One that is narrower in the middle than at both ends has fewer parameters on purpose."""
    fact = of_kind(place.operands[0], SOLE)
    if fact is None or (fact.span == place.span and place.caller is not None):
        return
    inner, outer = place.shape(0)[_features(place)], place.node.type.shape[_features(place)]
    if _narrower(inner, fact, outer) or _grouped(place.node) or _grouped(_maker(place)):
        return
    what = "convolution" if place.name.startswith("Conv") else "linear map"
    labels = (Label(fact.span, "the first"),) if fact.span != place.span else ()
    message = f"a {what} directly after a linear map: the two are one without an activation between them"
    help = "put an activation between them, such as `relu`, or leave one of them out"
    yield warning("DL1020", message, place.span, labels=labels, help=help)


def copies_of_a_map(place: Place) -> Iterator[Diagnostic]:
    """Copies of a linear map, one after the other."""
    call = place.node.target
    if call is not None and call.graph.library and call.graph.definition in _PLAIN and (call.count or 0) > 1:
        message = "copies of a linear map in a row are one linear map: there is no activation between them"
        yield warning("DL1020", message, place.span, help=f"`repeat({call.count}) {{ {call.graph.definition}(...) -> relu }}`")


def _features(place: Place) -> int:
    return 1 if place.name.startswith("Conv") else -1


def _narrower(inner: Dim, first: Fact, outer: Dim) -> bool:
    """Whether what is between two maps is narrower than what goes in and what comes out."""
    return isinstance(inner, int) and isinstance(outer, int) and first.width is not None and inner < min(first.width, outer)


def _grouped(node: Node | None) -> bool:
    """Whether a convolution is one of groups of channels, which another one mixes."""
    return node is not None and node.target is not None and node.target.graph.hyper.get("groups", 1) != 1


def _maker(place: Place) -> Node | None:
    """The layer whose result the node is given, where it is in the same graph."""
    node = place.operand(0)
    while node.op in ("dropout", "reshape", "permute") or operator(node) in BATCH_NORMS:
        node = place.graph.node(node.inputs[0])
    return node if operator(node) in MAPS else None


def rectified_twice(place: Place) -> Iterator[Diagnostic]:
    """A relu of a relu."""
    fact = of_kind(place.operands[0], RECTIFIED)
    if fact is not None:
        labels = (Label(fact.span, "the first"),) if fact.span != place.span else ()
        help = "leave one of them out; a layer may be missing between them"
        yield warning("DL1021", "a `relu` of a `relu` changes nothing", place.span, labels=labels, help=help)


def same_layer_again(place: Place) -> Iterator[Diagnostic]:
    """A layer that is applied to its own result, with nothing else in between."""
    call = place.node.target
    if call is None or call.child is None or not place.node.inputs or place.node.op != "call" or place.caller is not None:
        return
    before = _applied_before(place, place.node.inputs[0])
    if (
        before is None
        or before.target is None
        or before.target.child != call.child
        or before.target.graph.entry != call.graph.entry
    ):
        return
    labels = (Label(before.span, "the first time"),) if before.span != place.span else ()
    message = f"`{call.child}` is applied to its own result: both times with the same parameters"
    help = "declare a second layer, or make copies with `repeat(n) { ... }`; a recurrence is a `scan`"
    yield warning("DL1023", message, place.span, labels=labels, help=help)


def _applied_before(place: Place, value: Value) -> Node | None:
    """The layer that a value comes from, through activations alone."""
    node = place.graph.node(value)
    while operator(node) in _BETWEEN:
        node = place.graph.node(node.inputs[0])
    return node if node.op == "call" and node.target is not None and node.target.child is not None else None


def alike_units(place: Place) -> Iterator[Diagnostic]:
    """A layer after one whose units all begin alike."""
    fact = of_kind(place.operands[0], SYMMETRIC)
    if fact is not None and fact.span != place.span:
        message = "the units of the layer before this one begin alike and stay alike: their weights are one constant"
        labels = (Label(fact.span, "its weights begin as a constant, such as zero"),)
        help = "begin with different weights, such as `init=kaiming_uniform`"
        yield warning("DL1024", message, place.span, labels=labels, help=help)


def drops_nearly_all(place: Place) -> Iterator[Diagnostic]:
    """A dropout of nine tenths and more."""
    rate = place.node.attributes.get("rate")
    if isinstance(rate, float) and rate >= 0.9:
        help = "`rate` is the share that is dropped, not the share that is kept"
        yield warning("DL1025", f"`dropout` with the rate {rate:g} keeps almost nothing", place.span, help=help)


def with_itself(place: Place) -> Iterator[Diagnostic]:
    """A value combined with itself, to nothing or to twice of it."""
    first = place.node.inputs[0]
    if any(value != first for value in place.node.inputs) or len(place.node.inputs) < 2 or place.graph.node(first).op == "const":
        return
    shown = {"add": "twice the value", "sub": "0", "div": "1", "concat": "the value twice"}.get(place.name, "the value itself")
    help = "one of the two was meant to be another value; write `2 * x` for twice the value"
    yield warning("DL1026", f"`{place.name}` of a value with itself is {shown}", place.span, help=help)


LINTS: Mapping[str, tuple[Lint, ...]] = {
    **dict.fromkeys(MAPS, (alike_units,)),
    **dict.fromkeys(_PLAIN, (two_linear_maps, alike_units)),
    "repeat": (copies_of_a_map,),
    "relu": (rectified_twice,),
    "dropout": (drops_nearly_all,),
    **dict.fromkeys(("add", "sub", "div", "maximum", "minimum", "concat"), (with_itself,)),
}
ALWAYS: tuple[Lint, ...] = (same_layer_again,)
"""Lints of every node that applies a layer."""
