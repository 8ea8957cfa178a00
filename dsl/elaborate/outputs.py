"""What an entry point returns: names for its outputs, checked against the types that it declares."""

from __future__ import annotations

from collections.abc import Sequence

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.dims import Dim, Expr, dims_equal, format_dim
from dsl.elaborate.context import Context, error
from dsl.elaborate.frame import Frame
from dsl.elaborate.values import Tensor, describe, is_static
from dsl.source import Span


def named_outputs(context: Context, frame: Frame, declared: Sequence[syntax.Output]) -> None:
    """Set the outputs of the frame's graph from what it returned."""
    returned = frame.returned or []
    if len(declared) == 1 and declared[0].type.is_list and len(returned) > 1:
        returned = [(None, tuple(value for _, value, _ in returned), returned[0][2])]
    if declared and len(declared) != len(returned):
        where = returned[0][2] if returned else frame.graph.span
        raise SpecError(
            Diagnostic(
                "DL0519",
                f"{len(declared)} output{'s are' if len(declared) != 1 else ' is'} declared, and {len(returned)} returned",
                where,
                labels=(Label(declared[0].span, "declared here"),),
            )
        )
    for i, (name, value, span) in enumerate(returned):
        output = declared[i] if declared else None
        wanted = (output.name if output is not None else None) or name or ("y" if len(returned) == 1 else f"y{i}")
        if isinstance(value, tuple) and (not is_static(value) or (output is not None and output.type.is_list)):
            _list_output(context, frame, wanted, value, output, span)
            continue
        result = context.tensors.as_tensor(frame, value, span) if not isinstance(value, Tensor) else value
        if output is not None and output.type.is_list:
            labels = (Label(output.type.span, "declared here"),)
            raise SpecError(
                Diagnostic("DL0404", "the output is declared a list of tensors, and this is a tensor", span, labels=labels)
            )
        if output is not None:
            check_output(context, frame, result, output, span)
        free = wanted
        while free in frame.graph.outputs:
            free += "_"
        frame.graph.outputs[free] = result.value
        frame.graph.axis_names[free] = output_names(output, result)
    for name, value in frame.graph.inputs.items():
        binding = next((b for b in frame.names.values() if isinstance(b.value, Tensor) and b.value.value == value), None)
        if binding is not None and isinstance(binding.value, Tensor) and name not in frame.graph.outputs:
            frame.graph.axis_names[name] = binding.value.names


def _list_output(
    context: Context, frame: Frame, name: str, values: Sequence[object], output: syntax.Output | None, span: Span
) -> None:
    """A result that is a list: an output for each of its tensors, numbered from 0."""
    if output is not None and not output.type.is_list:
        labels = (Label(output.type.span, "declared here"),)
        message = f"the output is declared a tensor, and this is {describe(values)}"
        raise SpecError(Diagnostic("DL0404", message, span, labels=labels, help="a list of tensors is declared `list`"))
    names: list[str] = []
    for i, value in enumerate(values):
        result = context.tensors.as_tensor(frame, value, span)
        free = f"{name}_{i}"
        while free in frame.graph.outputs:
            free += "_"
        names.append(free)
        frame.graph.outputs[free] = result.value
        frame.graph.axis_names[free] = result.names
    frame.graph.lists[name] = tuple(names)


def output_names(output: syntax.Output | None, result: Tensor) -> tuple[str | None, ...]:
    if output is None or output.type.dims is None or any(isinstance(d, syntax.Ellipsis) for d in output.type.dims):
        return result.names
    return tuple(d.id if isinstance(d, syntax.Name) else n for d, n in zip(output.type.dims, result.names, strict=True))


def check_output(context: Context, frame: Frame, result: Tensor, output: syntax.Output, span: Span) -> None:
    """The declared type of an output against the type that it has; a name that nothing binds is bound by it."""
    type_ = frame.type(result)
    wanted = output.type.name
    dtype = type_.dtype
    if not (dtype.is_float if wanted == "float" else dtype.is_int if wanted == "int" else str(dtype) == wanted):
        raise SpecError(
            Diagnostic(
                "DL0403",
                f"the output is declared {wanted}, and this is {dtype}",
                span,
                labels=(Label(output.type.span, "declared here"),),
            )
        )
    for pattern, size, axis in pairs(output, result, type_.shape, span):
        if isinstance(pattern, syntax.Name) and frame.lookup(pattern.id) is None:
            frame.bind_dim(pattern.id, size, pattern.span)
            continue
        declared = context.evaluate(frame, pattern)
        if not isinstance(declared, int | Expr) or isinstance(declared, bool):
            raise error("DL0417", f"a size in a type is an integer, not {describe(declared)}", pattern.span)
        if not dims_equal(declared, size):
            shown = pattern.span.text
            raise SpecError(
                Diagnostic(
                    "DL0301",
                    "the output has not the declared shape",
                    span,
                    text=f"this is {type_}",
                    labels=(Label(output.type.span, f"axis {axis} is declared {shown}" + _value(shown, declared)),),
                    notes=(f"{format_dim(size)} against {format_dim(declared)} in axis {axis}",),
                )
            )


def _value(shown: str, size: Dim) -> str:
    return f", which is {format_dim(size)}" if shown != format_dim(size) else ""


def pairs(output: syntax.Output, result: Tensor, shape: Sequence[Dim], span: Span) -> list[tuple[syntax.Expr, Dim, int]]:
    """Each declared size with the size that the result has there."""
    dims = output.type.dims
    if dims is None:
        raise error("DL0419", "the type of an output has brackets", output.type.span, help=f"a scalar is `{output.type.name}[]`")
    dots = [i for i, d in enumerate(dims) if isinstance(d, syntax.Ellipsis)]
    if len(shape) < len(dims) - len(dots) or (not dots and len(shape) != len(dims)):
        raise SpecError(
            Diagnostic(
                "DL0302",
                f"the output is declared with {len(dims)} axes, and this has {len(shape)}",
                span,
                text=f"this is [{', '.join(map(format_dim, shape))}]",
                labels=(Label(output.type.span, "declared here"),),
            )
        )
    if not dots:
        return [(d, size, i) for i, (d, size) in enumerate(zip(dims, shape, strict=True)) if not isinstance(d, syntax.Ellipsis)]
    after = len(dims) - dots[0] - 1
    found = [(d, shape[i], i) for i, d in enumerate(dims[: dots[0]]) if not isinstance(d, syntax.Ellipsis)]
    offset = len(shape) - after
    found += [(d, shape[offset + i], offset + i) for i, d in enumerate(dims[dots[0] + 1 :]) if not isinstance(d, syntax.Ellipsis)]
    return found
