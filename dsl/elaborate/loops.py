"""`scan` and `while`: loops that run with the data, each one node with a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.dims import Dim, Expr, dim_le, dims_equal, format_dim
from dsl.elaborate.axes import names_dimension, resolve_axis
from dsl.elaborate.blocks import Block, block_call, open_block
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame, require
from dsl.elaborate.values import Instance, Tensor, describe
from dsl.ir import Constraint, Value
from dsl.source import Span
from dsl.types import DType, TensorType


@dataclass(frozen=True, slots=True)
class Source:
    """What a scan goes over: the slices of a tensor along an axis, or numbers from `start` on."""

    name: str
    span: Span
    count: Dim
    tensor: Tensor | None = None
    axis: int = 0
    start: Dim = 0


class Loops:
    def __init__(self, context: Context) -> None:
        self.context = context

    # --- scan ---

    def scan(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Scan)
        sources = self._sources(frame, statement)
        count = self._count(frame, sources)
        options = self._options(frame, statement)
        starts = self._starts(frame, statement.carries)
        block = open_block(self.context, frame, "scan", statement.span)
        block.frame.emits = {}
        counter = block.input("t", TensorType(DType.I64, ()), (), statement.span)
        carries = self._enter_carries(frame, block, statement.carries, starts)
        scanned = [s for s in sources if s.tensor is not None]
        for source in sources:
            self._enter_source(frame, block, source, counter)
        length = self._length(frame, block, options.get("length"))
        self._run(block, statement.body, statement.span)
        results = [self._carried(block, c, old) for c, old in zip(statement.carries, carries, strict=True)]
        emits = dict(block.frame.emits)
        if length is not None:
            alive = self._alive(block, counter, *length)
            results = [
                self._kept(block, alive, new, old, length[1], c.span)
                for new, old, c in zip(results, carries, statement.carries, strict=True)
            ]
            emits = {n: (self._kept(block, alive, t, None, length[1], span), span) for n, (t, span) in emits.items()}
        if not results and not emits:
            raise error(
                "DL0525", "this `scan` carries nothing and emits nothing", statement.span, help="`emit ys = y`, or `carry`"
            )
        for carry, new in zip(statement.carries, results, strict=True):
            block.graph.outputs[carry.name] = new.value
        for name, (emitted, _) in emits.items():
            if name in block.graph.outputs:
                raise error("DL0206", f"`{name}` is carried and emitted", emits[name][1], help="give one of them another name")
            block.graph.outputs[name] = emitted.value
        tensors = [t for t, _ in emits.values()]
        spans = [c.span for c in statement.carries] + [span for _, span in emits.values()]
        if not block.drop_unread(counter):
            self._rename(block, counter, next((s.name for s in sources if s.tensor is None), "t"))
        reverse = bool(options.get("reverse", (False, statement.span))[0])
        self._scan_node(frame, block, starts, scanned, (results, tensors), count, spans, reverse=reverse)

    def _scan_node(
        self,
        frame: Frame,
        block: Block,
        starts: Sequence[Tensor],
        scanned: Sequence[Source],
        ends: tuple[Sequence[Tensor], Sequence[Tensor]],
        count: Dim,
        spans: Sequence[Span],
        *,
        reverse: bool,
    ) -> None:
        """The node of a scan whose block is complete, with its results bound. `ends` are what a step carries on, and what it emits."""
        results, emits = ends
        axis = scanned[0].axis if scanned else 0
        emit_axes = tuple(min(axis, len(t.names)) for t in emits)
        types = [block.frame.type(t) for t in results]
        for emitted, at in zip(emits, emit_axes, strict=True):
            shape = block.frame.type(emitted).shape
            types.append(block.frame.type(emitted).with_shape((*shape[:at], count, *shape[at:])))
        operands = [*starts, *(s.tensor for s in scanned if s.tensor is not None), *block.outer()]
        node = frame.graph.add(
            "scan",
            tuple(t.value for t in operands),
            {
                "carries": len(results), "axes": tuple(s.axis for s in scanned), "emit_axes": emit_axes, "count": count,
                "reverse": reverse, "counter": len(block.graph.inputs) > len(operands),
            },
            tuple(types),
            spans=(block.graph.span,),
            target=block_call(block.graph),
        )  # fmt: skip
        names = [t.names for t in results]
        along = scanned[0].tensor.names[axis] if scanned and scanned[0].tensor is not None else None
        names += [(*t.names[:at], along, *t.names[at:]) for t, at in zip(emits, emit_axes, strict=True)]
        for i, (name, axes, span) in enumerate(zip(block.graph.outputs, names, spans, strict=True)):
            frame.graph.set_name(Value(node.id, i), name)
            frame.bind(name, Tensor(Value(node.id, i), axes), span)

    def _sources(self, frame: Frame, statement: syntax.Scan) -> list[Source]:
        listed = statement.source.items if isinstance(statement.source, syntax.TupleExpr) else (statement.source,)
        patterns = statement.pattern.items if isinstance(statement.pattern, syntax.TuplePattern) else (statement.pattern,)
        if len(patterns) != len(listed):
            raise error(
                "DL0418", f"{len(listed)} tensors or ranges are scanned, and {len(patterns)} of their slices named",
                statement.source.span,
                help="one name for each: `scan a, b in x, y over T`",
            )  # fmt: skip
        sources = []
        for pattern, expression in zip(patterns, listed, strict=True):
            if not isinstance(pattern, syntax.Name):
                raise error("DL0418", "each slice of a `scan` is one tensor, bound to one name", pattern.span)
            sources.append(self._source(frame, statement, pattern, expression))
        return sources

    def _source(self, frame: Frame, statement: syntax.Scan, name: syntax.Name, expression: syntax.Expr) -> Source:
        if (
            isinstance(expression, syntax.Call)
            and isinstance(expression.function, syntax.Name)
            and expression.function.id == "range"
        ):
            bounds = [self._size(frame, a.value, "a bound of `range`") for a in expression.arguments]
            if not 1 <= len(bounds) <= 2:
                raise error("DL0203", "in a `scan`, `range` takes its end, or its start and its end", expression.span)
            start, stop = bounds if len(bounds) == 2 else (0, bounds[0])
            return Source(name.id, name.span, stop - start, None, 0, start)
        value = not_poison(self.context.evaluator.single(frame, expression))
        if not isinstance(value, Tensor):
            raise error(
                "DL0526", f"`scan` goes over a tensor or a `range`, not {describe(value)}", expression.span,
                help="`for` goes over what is known when the graph is made",
            )  # fmt: skip
        axis = self._axis(frame, statement, value, expression.span)
        return Source(name.id, name.span, frame.type(value).shape[axis], value, axis)

    def _axis(self, frame: Frame, statement: syntax.Scan, value: Tensor, span: Span) -> int:
        over = statement.over
        if over is None:
            raise error(
                "DL0526", "this `scan` does not say over which dimension it goes", span, help="`scan x_t in x over T ...`"
            )
        if isinstance(over, syntax.Name) and names_dimension(frame, over):
            return resolve_axis(frame, value, over)
        axis = self.context.evaluator.single(frame, over)
        rank = frame.type(value).rank
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise error("DL0401", f"`over` is a dimension or the index of an axis, not {describe(axis)}", over.span)
        if not -rank <= axis < rank:
            raise error("DL0304", f"axis {axis} does not exist in {frame.type(value)}", over.span)
        return axis % rank

    def _size(self, frame: Frame, expression: syntax.Expr, what: str) -> Dim:
        value = not_poison(self.context.evaluator.single(frame, expression))
        if not isinstance(value, int | Expr) or isinstance(value, bool):
            help = "`while CONDITION carry ... limit N` runs as long as the data say" if isinstance(value, Tensor) else None
            raise error("DL0401", f"{what} is an integer or a size, not {describe(value)}", expression.span, help=help)
        return value

    def _count(self, frame: Frame, sources: Sequence[Source]) -> Dim:
        count = sources[0].count
        for other in sources[1:]:
            if not dims_equal(count, other.count):
                labels = (Label(sources[0].span, f"{format_dim(count)} steps"),)
                message = "the things that a `scan` goes over have one length"
                raise SpecError(Diagnostic("DL0301", message, other.span, text=f"{format_dim(other.count)} steps", labels=labels))
        enough = dim_le(0, count)
        if enough is False:
            raise error("DL0402", f"a `scan` has at least 0 steps, not {format_dim(count)}", sources[0].span)
        if enough is None:
            message = f"a `scan` has at least 0 steps: {format_dim(count)}"
            require(frame, Constraint(count, ">=", 0, message, sources[0].span))
        return count

    def _options(self, frame: Frame, statement: syntax.Scan) -> dict[str, tuple[object, Span]]:
        found: dict[str, tuple[object, Span]] = {}
        for option in statement.options:
            assert option.name is not None
            found[option.name] = (not_poison(self.context.evaluator.single(frame, option.value)), option.value.span)
        reverse = found.get("reverse")
        if reverse is not None and not isinstance(reverse[0], bool):
            raise error("DL0401", f"`reverse` is true or false, not {describe(reverse[0])}", reverse[1])
        return found

    def _starts(self, frame: Frame, carries: Sequence[syntax.Carry]) -> list[Tensor]:
        starts = []
        for carry in carries:
            value = not_poison(self.context.evaluator.single(frame, carry.value))
            starts.append(self.context.tensors.as_tensor(frame, value, carry.value.span))
        return starts

    def _enter_carries(
        self, frame: Frame, block: Block, carries: Sequence[syntax.Carry], starts: Sequence[Tensor]
    ) -> list[Tensor]:
        inside = []
        for carry, start in zip(carries, starts, strict=True):
            entered = block.input(carry.name, frame.type(start), start.names, carry.span)
            block.frame.bind(carry.name, entered, carry.span)
            inside.append(entered)
        return inside

    def _enter_source(self, frame: Frame, block: Block, source: Source, counter: Tensor) -> None:
        if source.tensor is None:
            value = counter
            if not (isinstance(source.start, int) and source.start == 0):
                value = self.context.operators.primitive(block.frame, "add", [counter, source.start], source.span)
        else:
            type_ = frame.type(source.tensor)
            shape = (*type_.shape[: source.axis], *type_.shape[source.axis + 1 :])
            names = (*source.tensor.names[: source.axis], *source.tensor.names[source.axis + 1 :])
            value = block.input(source.name, type_.with_shape(shape), names, source.span)
        block.frame.bind(source.name, value, source.span)

    def _run(self, block: Block, body: Sequence[syntax.Statement], span: Span) -> None:
        self.context.execute(block.frame, body)
        carried = set(block.graph.inputs)
        for name, binding in block.frame.names.items():
            unread = binding.watched and not binding.read and name not in carried and not name.startswith("_")
            if unread and not block.frame.unit.library:
                self.context.warn("DL1001", f"`{name}` is never used", binding.span, help=f"call it `_{name}` if that is meant")
        self._warn_unread(block)
        for name, binding in block.frame.names.items():
            if binding.watched and name not in carried and block.frame.parent is not None:
                block.frame.parent.inside[name] = binding.span
        if block.frame.returned is not None:
            raise error("DL0512", "`return` stands outside a loop", span, help="carry or emit what is needed after it")

    def _warn_unread(self, block: Block) -> None:
        """Warn of what a loop is given step by step and does not look at, and of its layers that it does not apply."""
        for name, binding in block.frame.names.items():
            applied = binding.read or (isinstance(binding.value, Instance) and binding.value.used and binding.value.given is None)
            if isinstance(binding.value, Instance) and not applied and not block.frame.unit.library:
                self.context.warn("DL1003", f"the layer `{name}` is never applied", binding.span)
        for name, value in block.graph.inputs.items():
            given = block.frame.names.get(name)
            if given is None or given.read or name.startswith("_") or block.frame.unit.library:
                continue
            if isinstance(given.value, Tensor) and given.value.value == value:
                self.context.warn("DL1001", f"`{name}` is never used", given.span, help=f"call it `_{name}` if that is meant")

    def _carried(self, block: Block, carry: syntax.Carry, old: Tensor) -> Tensor:
        """The value of a carried name at the end of a step, which has the type of its start."""
        binding = block.frame.names[carry.name]
        type_ = block.frame.type(old)
        new = self.context.tensors.as_tensor(block.frame, not_poison(binding.value), binding.span, type_)
        found = block.frame.type(new)
        same = found.rank == type_.rank and all(dims_equal(a, b) for a, b in zip(found.shape, type_.shape, strict=True))
        if found.dtype is not type_.dtype or not same:
            raise SpecError(
                Diagnostic(
                    "DL0312", f"the carry `{carry.name}` changes its type", binding.span,
                    text=f"{found} after a step",
                    labels=(Label(carry.span, f"{type_} at the start"),),
                    help=f"start from a tensor of this type: `carry {carry.name} = zeros({', '.join(map(format_dim, found.shape))})`"
                    if found.dtype is type_.dtype else f"`cast` one of them: {type_.dtype} against {found.dtype}",
                )
            )  # fmt: skip
        if new.value == old.value and binding.read and not block.frame.unit.library:
            message = f"the carry `{carry.name}` never changes: each step has the value of the first"
            self.context.warn(
                "DL1042", message, carry.span, help=f"bind the new value to `{carry.name}`, or leave it out of `carry`"
            )
        block.frame.graph.set_name(new.value, carry.name)
        return new

    # --- lengths ---

    def _length(self, frame: Frame, block: Block, option: tuple[object, Span] | None) -> tuple[Tensor, Span] | None:
        if option is None or option[0] is None:
            return None
        value, span = option
        outer = self.context.tensors.as_tensor(frame, value, span)
        type_ = frame.type(outer)
        if not type_.dtype.is_int or type_.rank > 1:
            raise error("DL0403", f"`length` is an int[B], or one int for all, not {type_}", span)
        assert block.frame.translate is not None
        inner = block.frame.translate(outer)
        assert isinstance(inner, Tensor)
        return inner, span

    def _alive(self, block: Block, counter: Tensor, length: Tensor, span: Span) -> Tensor:
        """Which rows of the batch have this step."""
        if block.frame.type(length).dtype is not DType.I64:
            length = self.context.applier.primitive(block.frame, "cast", [length], {"dtype": DType.I64}, span)[0]
        return self.context.operators.primitive(block.frame, "lt", [counter, length], span)

    def _kept(self, block: Block, alive: Tensor, new: Tensor, old: Tensor | None, span: Span, place: Span) -> Tensor:
        """`new` in the rows that have this step, else `old` (zero where there is none)."""
        type_, rows = block.frame.type(new), block.frame.type(alive)
        if rows.rank:
            if not type_.rank or not dims_equal(type_.shape[0], rows.shape[0]):
                message = f"with `length` as {rows.with_shape(rows.shape)}, what is carried or emitted begins with that axis"
                raise SpecError(
                    Diagnostic(
                        "DL0301", message.replace("bool", "int"), place, text=f"this is {type_}", labels=(Label(span, ""),)
                    )
                )
            shape = (rows.shape[0], *(1 for _ in type_.shape[1:]))
            alive = self.context.applier.primitive(block.frame, "reshape", [alive], {"shape": shape}, span)[0]
        other: object = old if old is not None else (False if type_.dtype is DType.BOOL else 0)
        other = self.context.tensors.as_tensor(block.frame, other, span, type_)
        return replace(self.context.operators.primitive(block.frame, "where", [alive, new, other], span), names=new.names)

    def _rename(self, block: Block, tensor: Tensor, wanted: str) -> None:
        """Give an input the name that the spec has for it, where that is free."""
        graph = block.graph
        old = next(n for n, v in graph.inputs.items() if v == tensor.value)
        if wanted == old or wanted in graph.inputs:
            return
        graph.inputs = {wanted if n == old else n: v for n, v in graph.inputs.items()}
        graph.replace_node(replace(graph.node(tensor.value), attributes={"name": wanted}))

    # --- while ---

    def repeat_while(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.While)
        limit = self._size(frame, statement.limit, "`limit`")
        if dim_le(0, limit) is False:
            raise error("DL0402", f"`limit` is at least 0, not {format_dim(limit)}", statement.limit.span)
        if not statement.carries:
            raise error("DL0525", "this `while` carries nothing", statement.span, help="`while x < 1.0 carry x = start limit 10`")
        starts = self._starts(frame, statement.carries)
        first = self._first_condition(frame, statement, starts)
        block = open_block(self.context, frame, "while", statement.span)
        carries = self._enter_carries(frame, block, statement.carries, starts)
        self._run(block, statement.body, statement.span)
        results = [self._carried(block, c, old) for c, old in zip(statement.carries, carries, strict=True)]
        for carry, new in zip(statement.carries, results, strict=True):
            block.frame.bind(carry.name, new, carry.span)
        again = self._condition(block.frame, statement.condition)
        name = "condition"
        while any(c.name == name for c in statement.carries):
            name += "_"
        block.graph.outputs[name] = again.value
        for carry, new in zip(statement.carries, results, strict=True):
            block.graph.outputs[carry.name] = new.value
        node = frame.graph.add(
            "while",
            tuple(t.value for t in (first, *starts, *block.outer())),
            {"carries": len(results), "limit": limit},
            tuple(block.frame.type(t) for t in results),
            spans=(statement.span,),
            target=block_call(block.graph),
        )
        for i, (carry, new) in enumerate(zip(statement.carries, results, strict=True)):
            frame.graph.set_name(Value(node.id, i), carry.name)
            frame.bind(carry.name, Tensor(Value(node.id, i), new.names), carry.span)

    def _first_condition(self, frame: Frame, statement: syntax.While, starts: Sequence[Tensor]) -> Tensor:
        """The condition on the initial values."""
        names, dims = dict(frame.names), dict(frame.dims)
        for carry, start in zip(statement.carries, starts, strict=True):
            frame.bind(carry.name, start, carry.span)
        try:
            return self._condition(frame, statement.condition)
        finally:
            frame.names, frame.dims = names, dims

    def _condition(self, frame: Frame, expression: syntax.Expr) -> Tensor:
        value = not_poison(self.context.evaluator.single(frame, expression))
        result = self.context.tensors.as_tensor(frame, value, expression.span)
        type_ = frame.type(result)
        if type_ != TensorType(DType.BOOL, ()):
            help = "`any(...)` or `all(...)` of it" if type_.dtype is DType.BOOL else None
            raise error("DL0404", f"the condition of a `while` is one truth value, not {type_}", expression.span, help=help)
        return result

    # --- emit ---

    def emit(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Emit)
        if frame.emits is None:
            raise error("DL0527", "`emit` stands in the body of a `scan`", statement.span)
        if frame.parent is not None and frame.mode != frame.parent.mode:
            raise error("DL0527", "`emit` stands outside `if training`", statement.span, help="bind a name in both branches")
        if statement.name in frame.emits:
            raise error("DL0206", f"`{statement.name}` is emitted twice", statement.name_span)
        value = not_poison(self.context.evaluator.single(frame, statement.value))
        emitted = self.context.tensors.as_tensor(frame, value, statement.value.span)
        frame.emits[statement.name] = (emitted, statement.name_span)
