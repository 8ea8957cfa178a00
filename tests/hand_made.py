"""Graphs made by hand, for tests of what the compiler does with them."""

from __future__ import annotations

from dsl.build import Builder
from dsl.dims import Dim, symbol
from dsl.ir import Call, Graph, Initializer, Parameter, Value
from dsl.ops.card import AttributeValue
from dsl.types import DType, TensorType

T = symbol("T")
SCALAR = TensorType(DType.F32, ())


def tensor(*shape: Dim, dtype: DType = DType.F32) -> TensorType:
    return TensorType(dtype, shape)


class Made(Builder):
    """A graph that is made by hand."""

    def __init__(self, kind: str = "model", **inputs: TensorType) -> None:
        super().__init__(Graph("made", kind=kind), DType.F32)
        for name, type_ in inputs.items():
            self.graph.inputs[name] = Value(self.graph.add("input", (), {"name": name}, (type_,)).id)

    def __getitem__(self, name: str) -> Value:
        return self.graph.inputs[name]

    def op(self, name: str, *operands: Value, **attributes: AttributeValue) -> Value:
        return self.build(name, operands, **attributes)

    def param(self, name: str, type_: TensorType) -> Value:
        self.graph.parameters[name] = Parameter(name, type_, Initializer("normal", {"std": 1.0}), trained=True)
        return self.read(name, type_)

    def read(self, path: str, type_: TensorType) -> Value:
        return Value(self.graph.add("param", (), {"path": path}, (type_,)).id)

    def block(
        self, op: str, inside: Graph, *operands: Value, types: tuple[TensorType, ...], **attributes: AttributeValue
    ) -> Value:
        target = Call(inside, None, {})
        return Value(self.graph.add(op, operands, attributes, types, target=target).id)

    def gives(self, **outputs: Value) -> Graph:
        self.graph.outputs.update(outputs)
        self.graph.verify()
        return self.graph


def scan_attributes(**changed: AttributeValue) -> dict[str, AttributeValue]:
    return {"carries": 1, "axes": (0,), "emit_axes": (0,), "count": T, "reverse": False, "counter": False, **changed}


def running_sum(**changed: AttributeValue) -> Graph:
    """A scan over the first axis that carries a sum and emits it."""
    step = Made("block", total=tensor(3), x=tensor(3))
    total = step.op("add", step["total"], step["x"])
    inside = step.gives(total=total, sums=total)
    made = Made(x=tensor(T, 3), start=tensor(3))
    scan = made.block("scan", inside, made["start"], made["x"], types=(tensor(3), tensor(T, 3)), **scan_attributes(**changed))
    return made.gives(last=scan, sums=Value(scan.node, 1))
