"""Recurrent layers of the library as the fused loops of nn.RNN, nn.LSTM and nn.GRU, on parameters with the spec's names."""

from __future__ import annotations

from backends.python import Body
from backends.torch_names import owned_text
from backends.writer import Expression, Line, call, index, method, sequence
from dsl.ir import Graph, Node

_STATES = {"RNN": ("h",), "LSTM": ("h", "c"), "GRU": ("h",)}


def activation(graph: Graph) -> str | None:
    """The activation of an RNN or RNNCell, where PyTorch has one of that kind."""
    applied = [node.op for node in _every_step(graph) if node.op in ("tanh", "relu") or node.op == "call"]
    return applied[0] if len(applied) == 1 and applied[0] == graph.hyper["act"] else None


def _every_step(graph: Graph) -> list[Node]:
    blocks = [node.target.graph for node in graph if node.op == "scan" and node.target is not None]
    return [node for found in (blocks or [graph]) for node in found]


def is_fused(graph: Graph) -> bool:
    """Whether PyTorch has the layer as one operation."""
    if not graph.library or graph.definition not in _STATES or graph.entry != "forward" or "length" in graph.inputs:
        return False
    return graph.definition != "RNN" or activation(graph) is not None


def write_fused(body: Body) -> None:
    """The statements of the layer: `hs, h, c = torch.lstm(x, (h0, c0), weights, ...)`, and what it returns."""
    graph = body.graph
    states = _STATES[graph.definition]
    function = f"torch.rnn_{activation(graph)}" if graph.definition == "RNN" else f"torch.{graph.definition.lower()}"
    x = Expression(body.argument("x"))
    weight = owned_text("weight_hh", trained=True)
    names = [name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if name in graph.parameters]
    given = [owned_text(name, trained=True) for name in names]
    if names[-1] == "bias_ih":
        given.append(body.let("bias_hh", call("torch.zeros_like", given[-1])).text)
    starts = [f"{name}0" for name in states]
    zeros = Expression("")
    if any(name not in graph.inputs for name in starts):
        zeros = body.let("zeros", method(x, "new_zeros", "1", f"{x}.shape[0]", f"{weight}.shape[1]"))
    begun = [method(Expression(body.argument(n)), "unsqueeze", "0") if n in graph.inputs else zeros for n in starts]
    weights = body.let("weights", sequence(given, "[]"))
    reverse = graph.hyper["reverse"] is True
    results = [body.let_name(name) for name in ("hs", *states)]
    made = call(
        function, method(x, "flip", "1") if reverse else x, sequence(begun) if len(begun) > 1 else begun[0], weights,
        has_biases=str(len(given) == 4), num_layers="1", dropout="0.0", train="torch.is_grad_enabled()", bidirectional="False",
        batch_first="True",
    )  # fmt: skip
    body.statement(f"{', '.join(results)} = ", made)
    hs = Expression(results[0])
    found = {"hs": method(hs, "flip", "1") if reverse else hs}
    found |= {name: index(Expression(variable), "0") for name, variable in zip(states, results[1:], strict=True)}
    body.lines.append(Line(body.indent, f"return {', '.join(found[name].text for name in graph.outputs)}"))
