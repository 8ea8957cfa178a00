"""Lints of axes: what goes from example to example, and what a reshape puts in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from dsl.diagnostics import Diagnostic, Label
from dsl.dims import Dim, evaluate, format_dim, symbols_of
from dsl.ir import Value
from dsl.lints.facts import BATCH_STATISTIC, DRAWN, HIDDEN, MASKED, NAMED_AXIS, PROBABILITIES, number, of_kind
from dsl.lints.place import Lint, Place, warning

_PRIMES = (10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079, 10091, 10093)
"""Sizes that symbolic dimensions are given in turn: what divides for these divides for all."""


SMALL = 8
"""Up to which size the odd row of a map may be left out by a pool: of 28 columns the second pool leaves 7, the third 3."""


def reordered(place: Place) -> Iterator[Diagnostic]:
    """A reshape that takes numbers of one axis for those of another, where axes were to be exchanged."""
    before = [d for d in place.shape(0) if d != 1]
    after = [d for d in place.node.type.shape if d != 1]
    if len(before) < 2 or len(after) < 2 or before == after or any(w in place.node.span.text for w in _PATTERNS):
        return
    sizes = _numbers(before, after)
    if sizes is None or not (_mixes(*sizes) or _exchanges(*sizes)):
        return
    shown = f"[{', '.join(map(format_dim, place.shape(0)))}] to [{', '.join(map(format_dim, place.node.type.shape))}]"
    message = f"this reshape from {shown} mixes axes: it keeps the order of the numbers, and exchanges no axes"
    help = "use `transpose`, or `rearrange` with the names of the axes, where axes change places"
    yield warning("DL1030", message, place.span, help=help)


_PATTERNS = ("rearrange(", "reduce(", "repeat(", "einsum(")


def _numbers(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[list[int], list[int]] | None:
    """The sizes with a prime for each symbolic dimension, if they still fill each other."""
    names = dict.fromkeys(name for d in (*before, *after) if not isinstance(d, int) for name in symbols_of(d))
    if len(names) > len(_PRIMES):
        return None
    known = dict(zip(names, _PRIMES, strict=False))
    old, new = ([d if isinstance(d, int) else evaluate(d, known) for d in sizes] for sizes in (before, after))
    return (old, new) if prod(old) == prod(new) else None


def _mixes(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether an axis of the new shape begins inside one of the old: neither stride is a multiple of the other."""
    strides = [[prod(sizes[i:]) for i in range(1, len(sizes))] for sizes in (old, new)]
    return any(a % b and b % a for a in strides[0] for b in strides[1])


def _exchanges(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether the new sizes are the old ones, some of them merged with their neighbours, in another order."""
    if len(set(old)) < len(old) and sorted(old) != sorted(new):
        return False
    return not _merged(old, new) and _merged_in_another_order(old, new)


def _merged(old: Sequence[int], new: Sequence[int]) -> bool:
    strides = {prod(old[i:]) for i in range(len(old))}
    return all(prod(new[i:]) in strides for i in range(len(new)))


def _merged_in_another_order(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether `new` are products of runs of `old` that follow each other in another order."""
    if not old or not new:
        return not old and not new
    for start in range(len(old)):
        for stop in range(start + 1, len(old) + 1):
            if prod(old[start:stop]) == new[0] and _merged_in_another_order([*old[:start], *old[stop:]], new[1:]):
                return True
    return False


def among_examples(place: Place) -> Iterator[Diagnostic]:
    """Each example is put in relation to a statistic of its batch."""
    facts = [of_kind(g, BATCH_STATISTIC) for g in place.operands]
    fact = next((f for f in facts if f is not None), None)
    if fact is None or all(f is not None for f in facts):
        return
    other = place.shape(facts.index(None))
    if not other or not place.is_batch(other[0]) or len(other) < 2:
        return
    message = "each example is combined with a statistic over the examples of its batch: what one gives depends on the others"
    labels = (Label(fact.span, "this goes over the axis of the examples"),) if fact.span != place.span else ()
    help = "give the axis of the numbers of one example with `over`, such as -1; `BatchNorm1d` knows running statistics"
    yield warning("DL1031", message, place.span, labels=labels, help=help)


def outer_product(place: Place) -> Iterator[Diagnostic]:
    """`[B, 1]` meets `[B]`, and each row all others."""
    if len(place.node.inputs) < 2:
        return
    shapes = [place.shape(0), place.shape(1)]
    high = 0 if len(shapes[0]) > len(shapes[1]) else 1
    column, row = shapes[high], shapes[1 - high]
    if len(row) != 1 or len(column) != 2 or column[1] != 1 or column[0] != row[0] or isinstance(row[0], int):
        return
    if _opened(place, place.node.inputs[high]):
        return
    size = format_dim(row[0])
    message = f"[{size}, 1] and [{size}] broadcast to [{size}, {size}]: each row meets all others"
    help = "`squeeze(x, 1)` the column first; where all pairs are meant, write `a[:, none]` and `b[none, :]`"
    yield warning("DL1032", message, place.span, help=help)


def _opened(place: Place, value: Value) -> bool:
    """Whether the axis of one element was opened on purpose."""
    node = place.graph.node(value)
    while node.op in ("cast", "neg", "stop_gradient"):
        node = place.graph.node(node.inputs[0])
    return node.op == "reshape" and len(place.graph.type(node.inputs[0]).shape) < 2


def loses_the_last(place: Place) -> Iterator[Diagnostic]:
    """A window that does not reach the last rows or columns of a map of known size. Pools leave out the odd row
    of a small map by custom."""
    call = place.node.target
    node = next((n for n in call.graph if n.op == "conv"), None) if call is not None else place.node
    if node is None or node.attributes.get("ceil_mode"):
        return
    attributes = node.attributes
    window = attributes.get("kernel") or (call.graph.type(node.inputs[1]).shape[2:] if call is not None else place.shape(1)[2:])
    stride, padding, dilation = (attributes.get(k) for k in ("stride", "padding", "dilation"))
    sizes = place.shape(0)[2:]
    if not (isinstance(window, tuple) and isinstance(stride, tuple) and isinstance(padding, tuple)):
        return
    for i, size in enumerate(sizes):
        reach = dilation[i] if isinstance(dilation, tuple) else 1
        kernel, step, pads = window[i], stride[i], padding[i]
        if not (isinstance(size, int) and isinstance(kernel, int) and isinstance(step, int) and isinstance(reach, int)):
            continue
        if not isinstance(pads, tuple) or kernel < step or (kernel == step and node.op != "conv" and size <= SMALL):
            continue
        low, high = pads
        assert isinstance(low, int) and isinstance(high, int)
        lost = (size + low + high - (reach * (kernel - 1) + 1)) % step - high
        if lost > 0:
            rest = f"{lost} of {size} rows or columns" if lost > 1 else f"row or column of {size}"
            message = f"the last {rest} never counts: windows of {kernel} in steps of {step} end before it"
            help = "choose a padding, a size or `ceil_mode=true` with which the windows reach the end"
            yield warning("DL1033", message, place.span, help=help)
            return


def one_draw_for_all(place: Place) -> Iterator[Diagnostic]:
    """Noise that is the same for all examples."""
    drawn = [of_kind(g, DRAWN) for g in place.operands]
    fact = next((f for f in drawn if f is not None), None)
    if fact is None or all(f is not None for f in drawn):
        return
    noise, other = place.shape(drawn.index(fact)), place.shape(drawn.index(None))
    if noise and len(other) > len(noise) and place.is_batch(other[0]):
        message = "the same draw is used for all examples of the batch"
        labels = (Label(fact.span, "drawn without the axis of the examples"),) if fact.span != place.span else ()
        help = f"draw one for each: `randn({', '.join(map(format_dim, other))})`, or of size 1 along the axes that share it"
        yield warning("DL1034", message, place.span, labels=labels, help=help)


def masked_by_zero(place: Place) -> Iterator[Diagnostic]:
    """Scores of 0 before a softmax, where weights of 0 are meant."""
    fact = of_kind(place.operands[0], MASKED)
    if fact is not None:
        labels = (Label(fact.span, "the mask makes these scores 0"),) if fact.span != place.span else ()
        message = f"`{place.name}` of scores that a mask has set to 0: exp(0) is 1, so what is hidden is weighed all the same"
        help = "`where(mask, scores, -1e30)` hides them"
        yield warning("DL1035", message, place.span, labels=labels, help=help)


def weights_cut(place: Place) -> Iterator[Diagnostic]:
    """Weights of a softmax of which some are set to 0 afterwards."""
    if len(place.node.inputs) != 3 or number(place.graph, place.node.inputs[2]) != 0:
        return
    fact = of_kind(place.operands[1], PROBABILITIES)
    if fact is not None and of_kind(place.operands[1], HIDDEN) is None:
        labels = (Label(fact.span, "over all of them"),) if fact.span != place.span else ()
        message = "a mask after the softmax: what is left does not sum to 1"
        help = "hide the scores before it: `masked_softmax(scores, mask)`"
        yield warning("DL1035", message, place.span, labels=labels, help=help)


def goes_over_examples(place: Place) -> Iterator[Diagnostic]:
    """A function of the library that goes from example to example, by the number of the axis."""
    axis = place.node.target.graph.hyper.get("over") if place.node.target is not None else None
    shape = place.shape(0)
    if not isinstance(axis, int) or len(shape) < 2 or NAMED_AXIS.search(place.span.text):
        return
    if place.is_batch(shape[axis % len(shape)]) and sum(place.is_batch(s) for s in shape) == 1:
        help = "each example is for itself: give the axis of its numbers with `over`, such as -1"
        yield warning("DL1031", f"`{place.name}` goes over the examples of the batch", place.span, help=help)


_PAIRS = ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge")
LINTS: Mapping[str, tuple[Lint, ...]] = {
    "reshape": (reordered,),
    **dict.fromkeys(_PAIRS, (outer_product, among_examples, one_draw_for_all)),
    **dict.fromkeys(("logical_and", "logical_or"), (one_draw_for_all,)),
    **dict.fromkeys(("conv", "Conv1d", "Conv2d", "Conv3d", "max_pool", "avg_pool"), (loses_the_last,)),
    **dict.fromkeys(("softmax", "log_softmax"), (masked_by_zero,)),
    **dict.fromkeys(("normalize", "masked_softmax", "glu", "cosine_similarity"), (goes_over_examples,)),
    "where": (weights_cut,),
}
