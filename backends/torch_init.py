"""Initial values as calls of `torch.nn.init`, by the name of the scheme where the numbers are one's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backends.torch_tensors import DTYPES
from dsl.ir import Graph, Parameter
from dsl.types import DType

Named = tuple[tuple[str, float | str], ...]


@dataclass(frozen=True, slots=True)
class InitCall:
    """`nn.init.function(parameter, keyword=value)`; a keyword that is empty is given by position."""

    function: str
    arguments: Named = ()


_FAN_IN = InitCall("kaiming_uniform_", (("a", "math.sqrt(5)"),))
"""What layers of torch.nn begin with."""


def scheme_of(graph: Graph) -> str:
    """The scheme that a layer of the library was given, by its name in the language; a recurrent layer has one range for all it owns."""
    if "weight_hh" in graph.parameters:
        return "uniform"
    return str(graph.hyper.get("init", ""))


def init_call(parameter: Parameter, scheme: str = "") -> InitCall:
    """How `parameter` begins; `scheme` is the library's name of it, where numbers are those of several."""
    numbers = parameter.initial.arguments
    shape = tuple(int(d) for d in parameter.type.shape if isinstance(d, int))
    match parameter.initial.kind:
        case "constant":
            return _constant(numbers["value"])
        case "values":
            return _values(parameter, math.prod(shape), len(shape))
        case "uniform":
            return _uniform(numbers["low"], numbers["high"], shape, scheme)
        case "normal":
            return _normal(numbers["mean"], numbers["std"], shape, scheme)
        case "truncated_normal":
            named = (("mean", 0.0), ("std", 1.0), ("a", -2.0), ("b", 2.0))
            values = (numbers["mean"], numbers["std"], numbers["low"], numbers["high"])
            return InitCall("trunc_normal_", _unless_default(named, values))
        case "orthogonal":
            return InitCall("orthogonal_", _unless_default((("gain", 1.0),), (numbers["gain"],)))
        case _:
            return InitCall("eye_") if numbers["gain"] == 1 else InitCall("identity", (("", numbers["gain"]),))


def _unless_default(named: Named, values: tuple[float, ...]) -> Named:
    return tuple((name, value) for (name, default), value in zip(named, values, strict=True) if value != default)


def _constant(value: float) -> InitCall:
    if value in (0, 1):
        return InitCall("zeros_" if value == 0 else "ones_")
    return InitCall("constant_", (("", value),))


def _values(parameter: Parameter, size: int, rank: int) -> InitCall:
    """Numbers that are written out, each of which fills an equal share."""
    values, dtype = parameter.initial.values, parameter.type.dtype
    numbers = tuple(("", v if dtype.is_float else int(v)) for v in values)
    kind = () if dtype is DType.F32 else (("dtype", DTYPES[dtype]),)
    return InitCall("values", (*numbers, ("repeat", size // len(values)), ("rank", rank), *kind))


def _fans(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """What torch takes for fan_in and fan_out."""
    if len(shape) < 2 or 0 in shape:
        return None
    places = math.prod(shape[2:])
    return shape[1] * places, shape[0] * places


def _known(size: float, schemes: Sequence[tuple[str, float, InitCall]], wanted: str) -> InitCall | None:
    """The scheme of that size: the one that is wanted, or the first."""
    found = {name: call for name, expected, call in reversed(schemes) if math.isclose(size, expected, rel_tol=1e-9)}
    return found.get(wanted) or next(iter(reversed(found.values())), None)


def _uniform(low: float, high: float, shape: tuple[int, ...], wanted: str) -> InitCall:
    fans = _fans(shape)
    found = None
    if fans is not None and low == -high and wanted != "uniform":
        schemes = (
            ("xavier_uniform", math.sqrt(6 / sum(fans)), InitCall("xavier_uniform_")),
            ("kaiming_uniform", math.sqrt(6 / fans[0]), InitCall("kaiming_uniform_")),
            ("lecun_uniform", math.sqrt(3 / fans[0]), InitCall("kaiming_uniform_", (("nonlinearity", "linear"),))),
            ("kaiming_uniform", math.sqrt(6 / fans[1]), InitCall("kaiming_uniform_", (("mode", "fan_out"),))),
            ("fan_in_uniform", math.sqrt(1 / fans[0]), _FAN_IN),
        )
        found = _known(high, schemes, wanted)
    return found or InitCall("uniform_", (("", low), ("", high)))


def _normal(mean: float, std: float, shape: tuple[int, ...], wanted: str) -> InitCall:
    fans = _fans(shape)
    found = None
    if fans is not None and mean == 0:
        schemes = (
            ("kaiming_normal", math.sqrt(2 / fans[0]), InitCall("kaiming_normal_")),
            ("kaiming_normal_out", math.sqrt(2 / fans[1]), InitCall("kaiming_normal_", (("mode", "fan_out"),))),
            ("xavier_normal", math.sqrt(2 / sum(fans)), InitCall("xavier_normal_")),
            ("lecun_normal", math.sqrt(1 / fans[0]), InitCall("kaiming_normal_", (("nonlinearity", "linear"),))),
        )
        found = _known(std, schemes, wanted)
    return found or InitCall("normal_", _unless_default((("mean", 0.0), ("std", 1.0)), (mean, std)))


_NORMS = {
    "weight": InitCall("ones_"),
    "bias": InitCall("zeros_"),
    "running_mean": InitCall("zeros_"),
    "running_var": InitCall("ones_"),
}


def begins_by_itself(graph: Graph, name: str) -> bool:
    """Whether the parameter `name` of a layer of torch.nn begins so without being told."""
    definition, wanted = graph.definition, init_call(graph.parameters[name], scheme_of(graph))
    if definition == "Embedding":
        return wanted == InitCall("normal_")
    if definition == "PReLU":
        return True
    if definition.endswith("Cell"):
        return _recurrent(graph, name)
    if "Norm" in definition:
        return wanted == _NORMS[name]
    return name == "weight" and definition != "Bilinear" and wanted == _FAN_IN


def _recurrent(graph: Graph, name: str) -> bool:
    """Whether a parameter of a cell is uniform in +-1 / sqrt(hidden)."""
    initial, hidden = graph.parameters[name].initial, graph.parameters["weight_hh"].type.shape[1]
    if initial.kind != "uniform" or not isinstance(hidden, int):
        return False
    bound = 1 / math.sqrt(hidden)
    return math.isclose(initial.arguments["high"], bound) and math.isclose(initial.arguments["low"], -bound)
