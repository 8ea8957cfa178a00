"""Nodes of one ONNX graph or function: names, constants, sizes at run time, common subexpressions.

Values are `Tensor`s: a name and an element type. Identical nodes are made once, casts appear where onnxruntime has no kernel, and what
nothing reads is dropped at the end. The body of a loop is a `Body` within another: it reads all that stands around it, and what does not
change from step to step is computed there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from onnx import NodeProto, TensorProto, helper

from backends.onnx_types import ELEMENT, Refused, computed_in, tensor
from backends.onnx_values import Attribute, Source, Step, Subgraph, Tensor, Weight, composed, constant_name, lowest
from dsl.dims import Dim, DimTree, dim_tree
from dsl.types import DType, Shape, TensorType


@dataclass(slots=True)
class Body:
    """The nodes of the main graph, of a function, or of a loop in one of them (`outer`). `constants` is None where constants have to be
    nodes.

    `replaced` holds parameters by full name that a call gives another value, `shapes` shapes around Reshape nodes, `runs` tensors that
    count upwards, from where to where, `described` the types of results that ONNX's own inference cannot tell, `matrices` products of
    two matrices, `biased` sums of a matrix and a vector.
    """

    opset: int
    constants: dict[str, TensorProto] | None
    scope: str = ""
    steps: list[Step] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    weights: dict[Weight, DType] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    runs: dict[str, tuple[Dim, Dim]] = field(default_factory=dict)
    matrices: set[str] = field(default_factory=set)
    biased: dict[str, tuple[str, str]] = field(default_factory=dict)
    described: dict[str, TensorType] = field(default_factory=dict)
    replaced: dict[str, Tensor] = field(default_factory=dict)
    outer: Body | None = None
    seed: int = 0
    _draws: int = 0
    _counts: dict[str, int] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _renamed: dict[str, str] = field(default_factory=dict)
    _forced: set[str] = field(default_factory=set)
    _made: dict[object, tuple[Tensor, ...]] = field(default_factory=dict)
    _by_output: dict[str, Step] = field(default_factory=dict)
    _known: dict[str, np.ndarray] = field(default_factory=dict)
    _inputs: set[str] = field(default_factory=set)

    # --- bodies of loops ---

    def within(self) -> Body:
        """A body that is one step of a loop here. Names, sizes and parameters are common to both."""
        return Body(
            self.opset, self.constants, self.scope, sources=self.sources, weights=self.weights, shapes=self.shapes, runs=self.runs,
            matrices=self.matrices, biased=self.biased, replaced=dict(self.replaced), outer=self, _counts=self._counts,
            _taken=self._taken, _renamed=self._renamed, _forced=self._forced, _known=self._known,
        )  # fmt: skip

    def input(self, name: str, dtype: DType) -> Tensor:
        """What a loop passes to its body at each step."""
        made = Tensor(self.reserve(name), dtype)
        self._inputs.add(made.name)
        return made

    def makes(self, x: Tensor) -> bool:
        """Whether a node of this very body gives `x`."""
        return x.name in self._by_output

    def _own(self, x: Tensor | None) -> bool:
        """Whether `x` may differ from step to step of this body."""
        return x is not None and (x.name in self._inputs or x.name in self._by_output)

    def reads(self, outputs: Iterable[str]) -> set[str]:
        """What the nodes that lead to `outputs` take from around this body, under the names of making."""
        kept = self._needed(set(outputs))
        return {n for step in kept for n in step.reads()} - self._inputs - self._by_output.keys()

    def next_seed(self) -> float:
        """The seed of one random node: another for each, the same in every compilation. Single precision holds it exactly."""
        if self.outer is not None:
            return self.outer.next_seed()
        self._draws += 1
        return float(np.random.SeedSequence((self.seed, self._draws)).generate_state(1)[0] >> 8)

    # --- names ---

    def reserve(self, name: str) -> str:
        """`name`, or with a number where it is taken."""
        found = name
        while found in self._taken:
            self._counts[name] = n = self._counts.get(name, 0) + 1
            found = f"{name}_{n}"
        self._taken.add(found)
        return found

    def keep_free(self, path: str) -> None:
        """Leave the names of a parameter and its transpose to it."""
        self._taken.update((path, Weight((path,), True).name))

    def name(self, value: Tensor, name: str) -> None:
        """Give the result of a node a readable name, once."""
        if self._step(value.name) is not None and value.name not in self._renamed:
            self._renamed[value.name] = self.reserve(name)

    def force_name(self, value: Tensor, name: str) -> bool:
        """Give `value` exactly this name, reserved before; False where it is no node's result or has such a name already."""
        if value.name not in self._by_output or value.name in self._forced:
            return False
        self._forced.add(value.name)
        self._renamed[value.name] = name
        return True

    # --- nodes ---

    def op(self, op: str, *inputs: Tensor | None, dtype: DType | None = None, **attributes: Attribute) -> Tensor:
        """One node with one result, in the element type of the first operand unless `dtype` says another."""
        return self.ops(op, inputs, (dtype,), attributes)[0]

    def ops(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        dtypes: Sequence[DType | None],
        attributes: Mapping[str, Attribute],
        unique: bool = False,
    ) -> tuple[Tensor, ...]:
        """One node with a result for each of `dtypes`. `unique` keeps equal nodes apart, and where they are (random draws)."""
        if self.outer is not None and not unique and not any(map(self._own, inputs)):
            return self.outer.ops(op, inputs, dtypes, attributes)
        leading = inputs[1 if op == "Where" else 0] if inputs else None
        own = leading.dtype if leading is not None else None
        wide = computed_in(op, own) if own is not None else None
        if wide is not own and wide is not None:
            conditions = 1 if op == "Where" else 0
            widened = [self.cast(x, wide) if x is not None and x.dtype is own else x for x in inputs[conditions:]]
            inputs = [*inputs[:conditions], *widened]
        kept = {k: v for k, v in attributes.items() if v is not None}
        if op == "Transpose" and (before := self.before(inputs[0], "Transpose")):
            x, order = Tensor(before.inputs[0], cast(Tensor, inputs[0]).dtype), composed(before, kept)
            return (self.transpose(x, order),)
        key = (op, tuple(inputs), tuple(dtypes), repr(sorted(kept.items())))
        if not unique and key in self._made:
            return self._made[key]
        results = self._append(op, inputs, [d or wide or DType.F32 for d in dtypes], kept)
        if wide is not own and own is not None:
            results = tuple(self.cast(r, own) if d is None else r for r, d in zip(results, dtypes, strict=True))
        if not unique:
            self._made[key] = results
        return results

    def _append(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        dtypes: Sequence[DType],
        attributes: Mapping[str, Attribute],
        domain: str = "",
        loop: Subgraph | None = None,
    ) -> tuple[Tensor, ...]:
        results = tuple(Tensor(self.reserve(f"{self.scope}{op.lower()}"), d) for d in dtypes)
        step = Step(op, [x.name if x else "" for x in inputs], [r.name for r in results], dict(attributes), domain, loop)
        self.steps.append(step)
        for r in results:
            self._by_output[r.name] = step
        return results

    def call(self, function: str, domain: str, inputs: Sequence[Tensor], dtypes: Sequence[DType]) -> tuple[Tensor, ...]:
        """Apply a local function."""
        return self._append(function, inputs, dtypes, {}, domain)

    def loop(
        self, op: str, inputs: Sequence[Tensor | None], body: Subgraph, dtypes: Sequence[DType], **attributes: Attribute
    ) -> tuple[Tensor, ...]:
        """A Scan or Loop over a body that was made `within` this one."""
        return self._append(op, inputs, dtypes, {k: v for k, v in attributes.items() if v is not None}, loop=body)

    def _step(self, name: str) -> Step | None:
        """The node that makes a result, here or around."""
        return self._by_output.get(name) or (self.outer._step(name) if self.outer is not None else None)

    def before(self, x: Tensor | None, op: str) -> Step | None:
        """The node that makes `x`, if it is of that kind."""
        step = self._step(x.name) if x is not None else None
        return step if step is not None and step.op == op and not step.domain else None

    def cast(self, x: Tensor, dtype: DType) -> Tensor:
        return x if x.dtype is dtype else self.op("Cast", x, dtype=dtype, to=int(ELEMENT[dtype]))

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """The axes in another order; a matrix that is a parameter is asked for transposed."""
        weight = self.weight_of(x) if list(order) == [1, 0] else None
        if weight is not None:
            return self.weight(weight._replace(transposed=True), x.dtype)
        return x if list(order) == sorted(order) else self.op("Transpose", x, perm=list(order))

    # --- constants and weights ---

    def const(self, value: np.ndarray | float | int | bool | Sequence[int], dtype: DType = DType.I64) -> Tensor:
        """A constant: an initializer of the main graph, a Constant node of a function."""
        if self.outer is not None:
            return self.outer.const(value, dtype)
        array = np.asarray(value)
        proto = tensor("", array, dtype)
        key = ("const", dtype, array.shape, proto.raw_data)
        if key in self._made:
            return self._made[key][0]
        if self.constants is not None:
            proto.name = self.reserve(constant_name(array, dtype))
            self.constants[proto.name] = proto
            made = Tensor(proto.name, dtype)
        else:
            scope, self.scope = self.scope, ""
            made = self._append("Constant", (), (dtype,), {"value": proto})[0]
            self.name(made, constant_name(array, dtype))
            self.scope = scope
        self._made[key] = (made,)
        self._known[made.name] = array
        return made

    def known(self, x: Tensor) -> np.ndarray | None:
        """The value of a constant."""
        return self._known.get(x.name)

    def weight(self, weight: Weight, dtype: DType) -> Tensor:
        """A parameter, or what is made of it; the model makes an initializer of it, a function an input."""
        if any(path in self.replaced for path in weight.paths):
            return self._made_of(weight, dtype)
        if weight not in self.weights:
            self.weights[weight] = dtype
            self._taken.add(weight.name)
        return Tensor(weight.name, dtype)

    def _made_of(self, weight: Weight, dtype: DType) -> Tensor:
        """The same of values that a call gives in place of parameters."""
        if weight.gates is not None:
            raise Refused("its parameters are computed")
        parts = [self.replaced.get(path) or self.weight(Weight((path,)), dtype) for path in weight.paths]
        if weight.scale != 1.0:
            parts[0] = self.op("Mul", parts[0], self.number(weight.scale, dtype))
        whole = parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)
        return self.op("Transpose", whole, perm=[1, 0]) if weight.transposed else whole

    def weight_of(self, x: Tensor) -> Weight | None:
        """The parameter that `x` is."""
        weight = Weight((x.name,))
        return weight if weight in self.weights else None

    # --- sizes ---

    def dim(self, d: Dim) -> Tensor:
        """A size at run time: i64, one element."""
        return self.const([d]) if isinstance(d, int) else self._dim(dim_tree(d))

    def size(self, d: Dim) -> Tensor:
        """A size at run time: i64, no axes."""
        return self.const(d) if isinstance(d, int) else self.op("Squeeze", self.dim(d), self.const([0]))

    def _dim(self, tree: DimTree) -> Tensor:
        match tree:
            case ("const", int(n)):
                return self.const([n])
            case ("symbol", str(name)):
                source = self.sources[name]
                return self._shape(source.name, source.axis, source.axis + 1)
            case ("add", list(parts)):
                return self._sum(parts)
            case ("mul", list(parts)):
                return self._fold("Mul", parts)
            case ("max" | "min" as kind, list(parts)):
                return self._fold(kind.capitalize(), parts)
            case ("floordiv", tuple(a), tuple(b)):
                top, bottom = self._dim(a), self._dim(b)
                least = lowest(a)
                if least is None or least < 0:
                    top = self.op("Sub", top, self.op("Mod", top, bottom))
                return self.op("Div", top, bottom)
            case _:
                raise Refused(f"a size of the form {tree[0]} has no spelling")

    def _fold(self, op: str, parts: Sequence[DimTree]) -> Tensor:
        total = self._dim(parts[0])
        for part in parts[1:]:
            total = self.op(op, total, self._dim(part))
        return total

    def _sum(self, parts: Sequence[DimTree]) -> Tensor:
        total = self._dim(parts[0])
        for part in parts[1:]:
            match part:
                case ("const", int(n)) if n < 0:
                    total = self.op("Sub", total, self.const([-n]))
                case ("mul", [("const", -1), *rest]):
                    total = self.op("Sub", total, self._fold("Mul", cast("list[DimTree]", rest)))
                case _:
                    total = self.op("Add", total, self._dim(part))
        return total

    def _shape(self, name: str, start: int, end: int) -> Tensor:
        return self.ops("Shape", (Tensor(name, DType.I64),), (DType.I64,), {"start": start, "end": end})[0]

    def shape(self, dims: Sequence[Dim]) -> Tensor:
        """Sizes as a tensor: i64, one axis."""
        if all(isinstance(d, int) for d in dims):
            return self.const(np.asarray(dims, dtype=np.int64))
        pieces: list[Tensor] = []
        i = 0
        while i < len(dims):
            j = i + 1
            if isinstance(dims[i], int):
                while j < len(dims) and isinstance(dims[j], int):
                    j += 1
                pieces.append(self.const(np.asarray(dims[i:j], dtype=np.int64)))
            else:
                first = self._source(dims[i])
                while first and j < len(dims) and self._source(dims[j]) == Source(first.name, first.axis + j - i):
                    j += 1
                pieces.append(self._shape(first.name, first.axis, first.axis + j - i) if first else self.dim(dims[i]))
            i = j
        return pieces[0] if len(pieces) == 1 else self.op("Concat", *pieces, axis=0)

    def _source(self, d: Dim) -> Source | None:
        tree = dim_tree(d)
        return self.sources[str(tree[1])] if tree[0] == "symbol" else None

    def bind(self, x: Tensor, shape: Sequence[Dim]) -> None:
        """Let symbolic sizes be read off an input."""
        for axis, d in enumerate(shape):
            tree = dim_tree(d)
            if tree[0] == "symbol":
                self.sources.setdefault(str(tree[1]), Source(x.name, axis))

    # --- small idioms ---

    def reduce(self, op: str, x: Tensor, axes: Sequence[int], keepdims: bool, dtype: DType | None = None) -> Tensor:
        """A reduction over static axes. A scalar, which has none, is reduced as one element."""
        if not axes:
            x, axes, keepdims = self.unsqueeze(x, 0), (0,), False
        if op == "ReduceSum" or self.opset >= 18:
            return self.op(op, x, self.const(list(axes)), dtype=dtype, keepdims=int(keepdims))
        return self.op(op, x, dtype=dtype, axes=list(axes), keepdims=int(keepdims))

    def unsqueeze(self, x: Tensor, *axes: int) -> Tensor:
        before = self.before(x, "Squeeze")
        if before is not None and before.inputs[1] == self.const(list(axes)).name:
            return Tensor(before.inputs[0], x.dtype)
        return self.op("Unsqueeze", x, self.const(list(axes)))

    def squeeze(self, x: Tensor, *axes: int) -> Tensor:
        return self.op("Squeeze", x, self.const(list(axes)))

    def slice(self, x: Tensor, starts: Tensor, ends: Tensor, axes: Sequence[int], steps: Sequence[int] | None = None) -> Tensor:
        strides = self.const(list(steps)) if steps is not None and set(steps) != {1} else None
        return self.op("Slice", x, starts, ends, self.const(list(axes)), *([strides] if strides else []))

    def number(self, value: float, dtype: DType) -> Tensor:
        """A scalar constant in any element type."""
        if dtype is DType.BF16 or dtype.is_float:
            return self.const(np.asarray(value, np.float64), dtype)
        return self.const(np.asarray(int(value), np.int64), dtype)

    def count_to(self, stop: Tensor, dtype: DType = DType.I64) -> Tensor:
        """0, 1, ... below a scalar i64."""
        return self.cast(self.op("Range", self.const(0), stop, self.const(1)), dtype)

    # --- the end ---

    def finish(self, outputs: Iterable[str]) -> list[NodeProto]:
        """The nodes that the outputs need, with their final names."""
        wanted = set(outputs)
        kept = self._needed(wanted)
        uses = Counter(name for step in kept for name in step.reads())
        fused = False
        for step in kept:
            if step.outputs[0] in self.biased:
                fused = self._fuse_bias(step, uses, wanted) or fused
        if fused:
            kept = self._needed(wanted)
        protos = []
        for step in kept:
            outs = [self.final(o) for o in step.outputs]
            inputs = [self.final(i) for i in step.inputs]
            proto = NodeProto(op_type=step.op, input=inputs, output=outs, name=outs[0], domain=step.domain)
            whole = step.attributes if step.loop is None else {**step.attributes, "body": step.loop.proto()}
            proto.attribute.extend(helper.make_attribute(k, v) for k, v in sorted(whole.items()))
            protos.append(proto)
        if self.outer is None:
            self._prune({name for step in kept for name in step.reads()} | wanted)
        return protos

    def _needed(self, wanted: set[str]) -> list[Step]:
        """The nodes that lead to the results wanted, in order."""
        needed, kept = set(wanted), []
        for step in reversed(self.steps):
            if any(o in needed for o in step.outputs):
                needed.update(step.reads())
                kept.append(step)
        return kept[::-1]

    def _fuse_bias(self, add: Step, uses: Mapping[str, int], wanted: set[str]) -> bool:
        """Make Gemm of the sum of a product of matrices and a vector, if nothing else reads the product."""
        product, bias = self.biased[add.outputs[0]]
        before = self._by_output.get(product)
        if before is None or before.op != "MatMul" or product not in self.matrices or uses[product] != 1 or product in wanted:
            return False
        a, b = before.inputs
        add.op, add.inputs, add.attributes = "Gemm", [a, b, bias], {}
        weight = next((w for w in self.weights if w.transposed and w.name == b and len(w.paths) == 1), None)
        if weight is not None:
            plain = self.weight(weight._replace(transposed=False), self.weights[weight])
            add.inputs[1], add.attributes = plain.name, {"transB": 1}
        return True

    def _prune(self, used: set[str]) -> None:
        self.weights = {w: d for w, d in self.weights.items() if w.name in used}
        if self.constants is not None:
            for name in [n for n in self.constants if n not in used]:
                del self.constants[name]

    def final(self, name: str) -> str:
        return self._renamed.get(name, name)
