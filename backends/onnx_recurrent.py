"""RNN, LSTM and GRU of the library as the operators of ONNX, which count steps along the first axis and name the gates in another order.

Gates are put in ONNX's order when the weights are stored. A call with lengths keeps the library's scan: onnxruntime takes none that are 0
or beyond the last step.
"""

from __future__ import annotations

from backends.onnx_layers import Layer, LayerRow
from backends.onnx_types import computed_in
from backends.onnx_values import Attribute, Gates, Tensor, Weight

_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}


def _states(layer: Layer, op: str, order: tuple[int, ...], **attributes: Attribute) -> tuple[Tensor, ...] | None:
    """The operator with the states before the first step, if given; the states of all steps and the last ones."""
    b, hyper, given = layer.body, layer.graph.hyper, dict(zip(layer.graph.inputs, layer.xs, strict=True))
    if "length" in given:
        return None
    computed_in(op, layer.x.dtype)
    biases = tuple(name for name in ("bias_ih", "bias_hh") if name in layer.graph.parameters)
    bias = _stored(layer, biases, Gates(order, padded=len(biases) == 1)) if biases else None
    first = [b.unsqueeze(given[name], 0) if name in given else None for name in ("h0", "c0")]
    operands = [
        b.transpose(given["x"], (1, 0, 2)), _stored(layer, ("weight_ih",), Gates(order)),
        _stored(layer, ("weight_hh",), Gates(order)), bias, None, *first,
    ]  # fmt: skip
    while operands[-1] is None:
        operands.pop()
    attributes["direction"] = "reverse" if hyper["reverse"] else None
    count = len(layer.graph.outputs)
    hs, *last = b.ops(op, operands, (None,) * count, {"hidden_size": hyper["hidden"], **attributes})
    return (b.transpose(b.squeeze(hs, 1), (1, 0, 2)), *(b.squeeze(x, 0) for x in last))


def _stored(layer: Layer, names: tuple[str, ...], gates: Gates) -> Tensor:
    return layer.body.weight(Weight(tuple(layer.prefix + name for name in names), gates=gates), layer.x.dtype)


def _rnn(layer: Layer) -> tuple[Tensor, ...] | None:
    """For the activations that ONNX has."""
    activation = _ACTIVATIONS.get(str(layer.graph.hyper["act"]))
    return None if activation is None else _states(layer, "RNN", (0,), activations=[activation])


def _lstm(layer: Layer) -> tuple[Tensor, ...] | None:
    """From i f g o to i o f c, as ONNX calls them."""
    return _states(layer, "LSTM", (0, 3, 1, 2))


def _gru(layer: Layer) -> tuple[Tensor, ...] | None:
    """From r z n to z r h."""
    return _states(layer, "GRU", (1, 0, 2), linear_before_reset=1)


RECURRENT: dict[str, LayerRow] = {"RNN": _rnn, "LSTM": _lstm, "GRU": _gru}
