"""RNN, LSTM and GRU of the library and stacks of them as the operators of ONNX, which count steps along the first axis and name the gates
in another order.

Gates are put in ONNX's order when the weights are stored. A call with lengths keeps the library's scan: onnxruntime takes none that are 0
or beyond the last step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from backends.onnx_layers import Layer, LayerRow
from backends.onnx_shapes import reshaped
from backends.onnx_types import Refused
from backends.onnx_values import Attribute, Gates, Tensor, Weight

_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
"""Those that ONNX's RNN has."""


@dataclass(frozen=True, slots=True)
class Cell:
    """An operator: which of the library's gates is its first, second, ..., and what it carries from step to step."""

    op: str
    order: tuple[int, ...]
    carries: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def run(
        self, layer: Layer, x: Tensor, owners: Sequence[str], first: Sequence[Tensor | None], direction: str | None
    ) -> list[Tensor]:
        """The operator on x [T, B, D], with the parameters of each direction's owner: [T, directions, B, hidden], and the last of each
        carry [directions, B, hidden]."""
        b, hyper = layer.body, layer.graph.hyper
        biases = ("bias_ih", "bias_hh")[: cast(int, hyper["biases"])]
        operands = [x, *(self._stored(layer, owners, (name,)) for name in ("weight_ih", "weight_hh"))]
        inputs = [*operands, self._stored(layer, owners, biases) if biases else None, None, *first]
        while inputs[-1] is None:
            inputs.pop()
        attributes: dict[str, Attribute] = {"hidden_size": cast(int, hyper["hidden"]), "direction": direction, **self.attributes}
        if self.op == "RNN":
            attributes["activations"] = [_activation(str(hyper["act"]))] * len(owners)
        return list(b.ops(self.op, inputs, (None,) * (1 + len(self.carries)), attributes))

    def _stored(self, layer: Layer, owners: Sequence[str], names: tuple[str, ...]) -> Tensor:
        paths = tuple(f"{layer.prefix}{owner}{name}" for owner in owners for name in names)
        gates = Gates(self.order, len(owners), padded=names == ("bias_ih",))
        return layer.body.weight(Weight(paths, gates=gates), layer.x.dtype)


def _activation(name: str) -> str:
    if name not in _ACTIVATIONS:
        raise Refused(f"ONNX has no RNN with {name}")
    return _ACTIVATIONS[name]


_CELLS = {
    "RNN": Cell("RNN", (0,), ("h",)),
    "LSTM": Cell("LSTM", (0, 3, 1, 2), ("h", "c")),
    "GRU": Cell("GRU", (1, 0, 2), ("h",), {"linear_before_reset": 1}),
}
"""LSTM: from i f g o to i o f c, as ONNX calls them; GRU: from r z n to z r h."""


def _inputs(layer: Layer) -> dict[str, Tensor]:
    given = dict(zip(layer.graph.inputs, layer.xs, strict=True))
    if "length" in given:
        raise Refused("onnxruntime takes no lengths of 0 or beyond the last step")
    return given


def _single(cell: Cell) -> LayerRow:
    """One layer in one direction."""

    def row(layer: Layer) -> tuple[Tensor, ...]:
        b, given = layer.body, _inputs(layer)
        first = [b.unsqueeze(given[f"{c}0"], 0) if f"{c}0" in given else None for c in cell.carries]
        direction = "reverse" if layer.graph.hyper["reverse"] else None
        hs, *last = cell.run(layer, b.transpose(given["x"], (1, 0, 2)), [""], first, direction)
        return (b.transpose(b.squeeze(hs, 1), (1, 0, 2)), *(b.squeeze(x, 0) for x in last))

    return row


def _stacked(cell: Cell) -> LayerRow:
    """Several layers, each of one direction or of both; the carries of all layers one after the other, as the library has them."""

    def row(layer: Layer) -> tuple[Tensor, ...]:
        b, hyper, given = layer.body, layer.graph.hyper, _inputs(layer)
        count, hidden, both = cast(int, hyper["layers"]), cast(int, hyper["hidden"]), hyper["bidirectional"] is True
        first = [_parts(layer, given.get(f"{c}0"), count, 2 if both else 1) for c in cell.carries]
        (batch, steps, _), x = layer.types[0].shape, b.transpose(given["x"], (1, 0, 2))
        last: list[list[Tensor]] = []
        for k in range(count):
            owners = [f"{name}_{k}." if k else f"{name}." for name in (("fore", "back") if both else ("fore",))]
            hs, *carries = cell.run(layer, x, owners, [part[k] for part in first], "bidirectional" if both else None)
            last.append(carries)
            if both:
                x = reshaped(b, b.transpose(hs, (0, 2, 1, 3)), (steps, batch, 2, hidden), (steps, batch, 2 * hidden))
            else:
                x = b.squeeze(hs, 1)
        ends = [layers[0] if count == 1 else b.op("Concat", *layers, axis=0) for layers in zip(*last, strict=True)]
        return (b.transpose(x, (1, 0, 2)), *ends)

    return row


def _parts(layer: Layer, carry: Tensor | None, count: int, directions: int) -> Sequence[Tensor | None]:
    """The carry before the first step for each layer."""
    if carry is None or count == 1:
        return [carry] * count
    return layer.body.ops("Split", (carry, layer.body.const([directions] * count)), (carry.dtype,) * count, {"axis": 0})


RECURRENT: dict[str, LayerRow] = {name: _single(cell) for name, cell in _CELLS.items()}
"""Layers that become one operator in the body of their caller."""

STACKS: dict[str, LayerRow] = {f"Stacked{name}": _stacked(cell) for name, cell in _CELLS.items()}
"""Layers that stay functions, of one operator a layer."""
