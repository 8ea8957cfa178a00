"""Static arguments: checked against declared types, and signatures as messages show them."""

from __future__ import annotations

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError, did_you_mean
from dsl.dims import Expr
from dsl.elaborate.values import (
    Layer,
    LayerType,
    describe,
)
from dsl.source import Span
from dsl.types import DType

STATIC_TYPES = ("int", "float", "bool", "str", "list", "ints", "fn", "layer", "dtype", "any")
"""What a static argument may be declared as."""


def check_static(parameter: syntax.Parameter, value: object, span: Span, owner: str) -> object:
    """A static argument checked against the declared type of the parameter."""
    declared = parameter.type.name if parameter.type is not None else None
    if value is None and isinstance(parameter.default, syntax.Literal) and parameter.default.value is None:
        return None
    fits = True
    match declared:
        case "int":
            fits = (isinstance(value, int) and not isinstance(value, bool)) or isinstance(value, Expr)
        case "float":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            value = float(value) if fits else value  # type: ignore[arg-type]
        case "bool":
            fits = isinstance(value, bool)
        case "str":
            fits = isinstance(value, str)
        case "list":
            fits = isinstance(value, tuple)
        case "ints":
            fits = all(isinstance(v, int) and not isinstance(v, bool) for v in (value if isinstance(value, tuple) else (value,)))
        case "fn":
            fits = not isinstance(value, LayerType | Layer | tuple | str | int | float | None)
        case "layer":
            fits = isinstance(value, LayerType | Layer)
        case "dtype":
            fits = isinstance(value, DType)
        case "any" | None:
            fits = True
        case unknown:
            assert parameter.type is not None
            near = did_you_mean(unknown, STATIC_TYPES)
            help = f"did you mean `{near}`?" if near else f"the types are {', '.join(STATIC_TYPES)}; a tensor's has brackets"
            message = f"there is no type `{unknown}` of hyper-parameters"
            raise SpecError(Diagnostic("DL0423", message, parameter.type.span, help=help))
    if not fits:
        raise SpecError(
            Diagnostic(
                "DL0401",
                f"`{parameter.name}` of `{owner}` is {_kind(declared)}, not {describe(value)}",
                span,
                labels=(Label(parameter.span, "declared here"),),
            )
        )
    return value


def _kind(declared: str | None) -> str:
    words = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a string", "list": "a list", "fn": "a function",
             "ints": "an integer or a list of integers", "layer": "a layer", "dtype": "a dtype"}  # fmt: skip
    return words.get(declared or "", f"a {declared}")


def module_signature(definition: syntax.Module | syntax.Train) -> str:
    return f"{definition.name}({', '.join(_parameter(p) for p in definition.parameters)})"


def function_signature(definition: syntax.Function) -> str:
    return f"{definition.name}({', '.join(_parameter(p) for p in definition.parameters)})"


def _parameter(p: syntax.Parameter) -> str:
    shown = p.default.span.text if p.default is not None else ""
    return f"{p.name}={shown}" if p.default is not None else p.name
