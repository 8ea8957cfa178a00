"""Indexing a tensor: slices, integers, `...`, `none` and one integer tensor, as NumPy means them."""

from __future__ import annotations

from dataclasses import dataclass, field

from dsl import syntax
from dsl.dims import Dim, Expr
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame
from dsl.elaborate.values import Tensor, describe
from dsl.source import Span
from dsl.types import DType


@dataclass(slots=True)
class _Plan:
    """What to do with each axis, in the order of the steps: slice, take, drop, insert."""

    axes: list[int] = field(default_factory=list)
    starts: list[Dim | None] = field(default_factory=list)
    stops: list[Dim | None] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    taken: list[tuple[int, Tensor, Span]] = field(default_factory=list)
    layout: list[int | None] = field(default_factory=list)


def index_tensor(context: Context, frame: Frame, value: Tensor, expression: syntax.Index) -> Tensor:
    """`value[items]`"""
    plan = _planned(context, frame, value, expression)
    apply = context.applier
    names: list[str | None] = list(value.names)
    result = value
    if plan.axes:
        attributes = {
            "axes": tuple(plan.axes),
            "starts": tuple(plan.starts),
            "stops": tuple(plan.stops),
            "steps": tuple(plan.steps),
        }
        result = apply.primitive(frame, "slice", [result], attributes, expression.span, (expression.object.span,))[0]
    for axis, index, span in plan.taken:
        result = apply.primitive(frame, "take", [result, index], {"over": axis}, span, (expression.object.span, span))[0]
    if plan.taken:
        extra = frame.type(plan.taken[0][1]).rank - 1
        names = [None] * (len(value.names) + extra)
    elif plan.dropped or None in plan.layout:
        shape = frame.type(result).shape
        kept = [axis for axis in plan.layout if axis not in plan.dropped]
        new_shape = tuple(1 if axis is None else shape[axis] for axis in kept)
        result = apply.primitive(frame, "reshape", [result], {"shape": new_shape}, expression.span)[0]
        names = [None if axis is None else value.names[axis] for axis in kept]
    return Tensor(result.value, tuple(names))


def _planned(context: Context, frame: Frame, value: Tensor, expression: syntax.Index) -> _Plan:
    plan = _Plan()
    shape = frame.type(value).shape
    used = sum(not _is_none(i) and not isinstance(i, syntax.Ellipsis) for i in expression.items)
    if used > len(shape):
        raise error(
            "DL0306", f"{used} indices for a tensor of {len(shape)} axes", expression.span, help=f"it is {frame.type(value)}"
        )
    axis = 0
    for item in expression.items:
        if isinstance(item, syntax.Ellipsis):
            skip = len(shape) - used
            plan.layout.extend(range(axis, axis + skip))
            axis += skip
        elif _is_none(item):
            plan.layout.append(None)
        else:
            plan.layout.append(axis)
            _plan_item(context, frame, plan, item, axis, shape[axis])
            axis += 1
    plan.layout.extend(range(axis, len(shape)))
    if plan.taken and (len(plan.taken) > 1 or plan.dropped or None in plan.layout):
        raise error(
            "DL0307",
            "an index tensor does not mix with other integers or index tensors",
            expression.span,
            help="index one axis at a time",
        )
    return plan


def _is_none(item: object) -> bool:
    return isinstance(item, syntax.Literal) and item.value is None


def _plan_item(context: Context, frame: Frame, plan: _Plan, item: syntax.Expr | syntax.Slice, axis: int, size: Dim) -> None:
    if isinstance(item, syntax.Slice):
        start, stop = (_bound(context, frame, b) for b in (item.start, item.stop))
        step = _bound(context, frame, item.step) if item.step is not None else 1
        if not isinstance(step, int) or step == 0:
            raise error("DL0402", "the step of a slice is an integer other than zero", item.span)
        if start is not None or stop is not None or step != 1:
            _add(plan, axis, start, stop, step)
        return
    index = not_poison(context.evaluator.single(frame, item))
    if isinstance(index, Tensor):
        if frame.type(index).dtype is DType.BOOL:
            raise error(
                "DL0307",
                "a boolean mask gives a shape that depends on the data",
                item.span,
                help="use `where(mask, x, 0)` to keep the shape",
            )
        plan.taken.append((axis, index, item.span))
        return
    if not isinstance(index, int | Expr) or isinstance(index, bool):
        raise error("DL0401", f"an index is an integer, a slice or an integer tensor, not {describe(index)}", item.span)
    if isinstance(index, int) and isinstance(size, int) and not -size <= index < size:
        raise error("DL0304", f"index {index} is out of range for an axis of size {size}", item.span)
    _add(plan, axis, index, index + 1 if index != -1 else None, 1)
    plan.dropped.append(axis)


def _add(plan: _Plan, axis: int, start: Dim | None, stop: Dim | None, step: int) -> None:
    plan.axes.append(axis)
    plan.starts.append(start)
    plan.stops.append(stop)
    plan.steps.append(step)


def _bound(context: Context, frame: Frame, expression: syntax.Expr | None) -> Dim | None:
    if expression is None:
        return None
    value = not_poison(context.evaluate(frame, expression))
    if value is not None and (not isinstance(value, int | Expr) or isinstance(value, bool)):
        raise error(
            "DL0401",
            f"the bound of a slice is an integer that is known when the graph is made, not {describe(value)}",
            expression.span,
        )
    return value
