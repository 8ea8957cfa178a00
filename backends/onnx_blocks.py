"""Loops of the ONNX backend: `scan` as Scan, `while` as Loop.

The body of a loop reads what is around it by name, so captured values are no operands. onnxruntime's Scan ends the process when there is
no step at all; where that may be, a scan is a Loop that picks its slices. A random node in the body draws afresh at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnx import GraphProto, ValueInfoProto, helper

from backends.onnx_builder import Body
from backends.onnx_site import Site, bound
from backends.onnx_types import ELEMENT
from backends.onnx_values import FIRST, Tensor
from dsl.dims import Dim, dim_lower, format_dim
from dsl.ir import Graph
from dsl.types import DType, Shape, TensorType

Walk: TypeAlias = Callable[[Body, Graph, list[Tensor]], list[Tensor]]
"""Writes a block into a body, for given inputs; the outputs."""


def value_info(name: str, t: TensorType, named: bool = True) -> ValueInfoProto:
    """A name with its type; symbolic sizes unnamed in a function, where they are those of no graph."""
    return helper.make_tensor_value_info(
        name, ELEMENT[t.dtype], [d if isinstance(d, int) else format_dim(d) if named else None for d in t.shape]
    )


@dataclass(slots=True)
class Step:
    """The body of a loop, once it is written."""

    name: str
    body: Body
    inputs: list[tuple[Tensor, TensorType]]
    outputs: list[Tensor]
    types: list[TensorType]

    def reads(self) -> set[str]:
        return self.body.reads(x.name for x in self.outputs)

    def proto(self) -> GraphProto:
        b, named = self.body, self.body.constants is not None
        nodes = b.finish([x.name for x in self.outputs])
        ends = [b.final(x.name) for x in self.outputs]
        return helper.make_graph(
            nodes,
            self.name,
            [value_info(x.name, t, named) for x, t in self.inputs],
            [value_info(name, t, named) for name, t in zip(ends, self.types, strict=True)],
            value_info=[value_info(b.final(n), t, named) for n, t in b.described.items() if b.final(n) not in ends],
        )


@dataclass(slots=True)
class Loop:
    """A `scan` or `while` on its way into a body."""

    site: Site
    walk: Walk

    @property
    def graph(self) -> Graph:
        assert self.site.node.target is not None
        return self.site.node.target.graph

    @property
    def carries(self) -> int:
        return self.site.int("carries")

    def types(self, values: Sequence[str], *, outputs: bool = False) -> list[TensorType]:
        """The types of inputs or outputs of the block, in the sizes of the body around."""
        ends = self.graph.outputs if outputs else self.graph.inputs
        return [bound(self.graph.type(ends[name]), self.site.bindings) for name in values]

    def inputs(self, inner: Body, names: Sequence[str]) -> list[tuple[Tensor, TensorType]]:
        """Inputs of the loop's body for those of the block."""
        types = self.types(names)
        return [(inner.input(f"{inner.scope}{name}", t.dtype), t) for name, t in zip(names, types, strict=True)]

    def step(
        self, inner: Body, inputs: list[tuple[Tensor, TensorType]], given: list[Tensor], first: tuple[Tensor, ...] = ()
    ) -> Step:
        """The block written into `inner`, each result made there and only once; `first` are outputs before its own."""
        names = list(self.graph.outputs)
        results = [*first, *self.walk(inner, self.graph, given)]
        found: list[Tensor] = []
        for x in results:
            found.append(inner.ops("Identity", (x,), (x.dtype,), {}, unique=True)[0] if x in found or not inner.makes(x) else x)
        types = [*(TensorType(x.dtype, ()) for x in first), *self.types(names, outputs=True)]
        return Step(self.graph.definition, inner, inputs, found, types)


def while_(loop: Loop) -> tuple[Tensor, ...]:
    """Loop with the limit and the condition; the number of the step is not used."""
    s, b, n = loop.site, loop.site.body, loop.carries
    inner = b.within()
    number, going = inner.input("step", DType.I64), inner.input("going", DType.BOOL)
    scalars = [(number, TensorType(DType.I64, ())), (going, TensorType(DType.BOOL, ()))]
    carried = loop.inputs(inner, list(loop.graph.inputs)[:n])
    step = loop.step(inner, [*scalars, *carried], [*(x for x, _ in carried), *s.xs[1 + n :]])
    return b.loop("Loop", [b.size(s.dim("limit")), *s.xs[: 1 + n]], step, [x.dtype for x in step.outputs[1:]])


def scan(loop: Loop) -> tuple[Tensor, ...]:
    """Scan; Loop where the count may be 0; neither where it is."""
    count = loop.site.dim("count")
    if count == 0:
        return _nothing(loop)
    return _scan(loop, count) if (dim_lower(count) or 0) > 0 else _counted(loop, count)


def _nothing(loop: Loop) -> tuple[Tensor, ...]:
    """No step: the first carries, and stacks of nothing."""
    s, n = loop.site, loop.carries
    stacks = [bound(t, s.bindings) for t in s.node.types[n:]]
    return (*s.xs[:n], *(s.body.op("Expand", s.body.number(0, t.dtype), s.body.shape(t.shape)) for t in stacks))


def _counts(loop: Loop) -> str | None:
    """The input of the block for the number of the step, if it is read."""
    names = list(loop.graph.inputs)
    if not loop.site.flag("counter"):
        return None
    value = loop.graph.inputs[names[0]]
    read = value in loop.graph.returned() or any(value in node.inputs for node in loop.graph)
    return names[0] if read else None


def _block_inputs(loop: Loop) -> tuple[list[str], list[str]]:
    """The names of the block's carries and of its slices."""
    names = list(loop.graph.inputs)[int(loop.site.flag("counter")) :]
    return names[: loop.carries], names[loop.carries : loop.carries + len(loop.site.ints("axes"))]


def _scan(loop: Loop, count: Dim) -> tuple[Tensor, ...]:
    """The number of the step is a slice of 0, 1, ...: so is the count, where nothing else is sliced."""
    s, b, n, axes = loop.site, loop.site.body, loop.carries, list(loop.site.ints("axes"))
    carries, slices = _block_inputs(loop)
    inner, scanned, counter = b.within(), list(s.xs[n : n + len(axes)]), _counts(loop)
    inputs = loop.inputs(inner, [*carries, *slices])
    given = [x for x, _ in inputs] + list(s.xs[n + len(axes) :])
    if counter is not None or not scanned:
        number = inner.input(f"{inner.scope}{counter or 'step'}", DType.I64)
        inputs.append((number, TensorType(DType.I64, ())))
        scanned.append(b.count_to(b.size(count)))
        axes.append(0)
        given = [number, *given] if s.flag("counter") else given
    elif s.flag("counter"):
        given = [b.const(0), *given]
    step = loop.step(inner, inputs, given)
    emitted, back = list(s.ints("emit_axes")), s.flag("reverse")
    return b.loop(
        "Scan", [*s.xs[:n], *scanned], step, [x.dtype for x in step.outputs], num_scan_inputs=len(axes),
        scan_input_axes=axes if any(axes) else None, scan_input_directions=[1] * len(axes) if back else None,
        scan_output_axes=emitted if any(emitted) else None, scan_output_directions=[1] * len(emitted) if back and emitted else None,
    )  # fmt: skip


def _counted(loop: Loop, count: Dim) -> tuple[Tensor, ...]:
    """Loop, which stacks along the first axis, forgets the other sizes over no step, and does not go backwards."""
    s, b, n, axes = loop.site, loop.site.body, loop.carries, loop.site.ints("axes")
    carries, _ = _block_inputs(loop)
    inner, size, back = b.within(), b.size(count), s.flag("reverse")
    number, going = inner.input("step", DType.I64), inner.input("going", DType.BOOL)
    place = inner.op("Sub", b.op("Sub", size, b.const(1)), number) if back else number
    carried = loop.inputs(inner, carries)
    picked = [inner.op("Gather", x, place, axis=axis) for x, axis in zip(s.xs[n : n + len(axes)], axes, strict=True)]
    given = [*([place] if s.flag("counter") else []), *(x for x, _ in carried), *picked, *s.xs[n + len(axes) :]]
    scalars = [(number, TensorType(DType.I64, ())), (going, TensorType(DType.BOOL, ()))]
    step = loop.step(inner, [*scalars, *carried], given, (going,))
    results = b.loop("Loop", [size, None, *s.xs[:n]], step, [x.dtype for x in step.outputs[1:]])
    stacks = [
        _placed(b, x, t.shape, axis, count, back)
        for x, t, axis in zip(results[n:], step.types[1 + n :], s.ints("emit_axes"), strict=True)
    ]
    return (*results[:n], *stacks)


def _placed(b: Body, x: Tensor, each: Shape, axis: int, count: Dim, back: bool) -> Tensor:
    """A stack [count, *each] in its order, with the new axis in its place."""
    if any(not isinstance(d, int) for d in each):
        x = b.op("Reshape", x, b.shape((count, *each)), allowzero=1)
    if back:
        x = b.slice(x, b.const([-1]), b.const([FIRST]), [0], [-1])
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(each) + 1)]
    return b.transpose(x, order)
