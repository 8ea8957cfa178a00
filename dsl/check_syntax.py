"""What the grammar leaves open in declarations, loops and objectives, and both forms of a spec check."""

from __future__ import annotations

from dsl.diagnostics import Diagnostic, Label, SpecError, did_you_mean
from dsl.source import Span
from dsl.syntax import Argument, Carry, Entry, Expr, ListExpr, Literal, NamePattern, Parameter, Rule


def check_hyper_parameters(parameters: tuple[Parameter, ...]) -> None:
    """Each hyper-parameter of a module has a type."""
    for parameter in parameters:
        if parameter.type is None:
            message = f"the hyper-parameter `{parameter.name}` has no type"
            fix = f"write `{parameter.name}: int`, or float, bool, str, list, fn, layer, dtype"
            raise SpecError(Diagnostic("DL0113", message, parameter.span, help=fix))


def check_inputs(inputs: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """The inputs of an entry point have shapes, or are lists of tensors, and have no defaults."""
    for parameter in inputs:
        if parameter.type is None or (parameter.type.dims is None and not parameter.type.is_list):
            raise SpecError(_input_without_type(parameter))
        if parameter.default is not None and not _is_none(parameter.default):
            raise SpecError(_input_with_default(parameter))
    return inputs


def check_entries(entries: tuple[Entry, ...]) -> None:
    """Entry points have different names."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.name, entry)
        if first is not entry:
            label = Label(first.name_span, "first here")
            raise SpecError(
                Diagnostic("DL0113", f"the entry point `{entry.name}` stands twice", entry.name_span, labels=(label,))
            )


SCAN_OPTIONS = ("reverse", "length")


def check_loop(carries: tuple[Carry, ...], options: tuple[Argument, ...] = ()) -> None:
    """A loop carries different names, and each option of a scan is known and stands once."""
    for option in options:
        if option.name not in SCAN_OPTIONS:
            near = did_you_mean(str(option.name), SCAN_OPTIONS)
            fix = f"did you mean `{near}`?" if near else "the options are `reverse=true` and `length=lengths`"
            raise SpecError(Diagnostic("DL0203", f"a scan has no option `{option.name}`", option.span, help=fix))
    _once([(str(option.name), option.span) for option in options])
    _once([(carry.name, carry.span) for carry in carries])


def _once(named: list[tuple[str, Span]]) -> None:
    first: dict[str, Span] = {}
    for name, span in named:
        if name in first:
            raise SpecError(Diagnostic("DL0206", f"`{name}` stands twice", span, labels=(Label(first[name], "first here"),)))
        first[name] = span


def no_entry(kind: str, name: str, span: Span, has_parameters: bool) -> Diagnostic:
    """A module without inputs."""
    brackets = "(...)" if has_parameters else "()"
    fix = f"write the inputs in a second bracket, `{kind} {name}{brackets}(x: float[B, D])`, or a `def forward(...)` inside"
    return Diagnostic("DL0113", f"the {kind} `{name}` has no entry point", span, help=fix)


def make_rule(optimizer: Expr, patterns: tuple[Expr, ...] | None, place: Span, span: Span) -> Rule:
    """A rule for some parameters, or for the rest (no patterns); `place` is where the patterns stand."""
    if isinstance(optimizer, Literal | NamePattern | ListExpr):
        raise SpecError(_not_an_optimizer(optimizer))
    if patterns is not None and not patterns:
        raise SpecError(_no_patterns(place))
    return Rule(optimizer, patterns or (), span)


# --- messages ---------------------------------------------------------------------------------------------------------------------


def _is_none(expression: Expr) -> bool:
    return isinstance(expression, Literal) and expression.value is None


def _input_without_type(parameter: Parameter) -> Diagnostic:
    kind = parameter.type.name if parameter.type else "float"
    fix = f"write `{parameter.name}: {kind}[B, D]`, or `{kind}[]` for a scalar"
    return Diagnostic("DL0113", f"the input `{parameter.name}` has no shape", parameter.span, help=fix)


def _input_with_default(parameter: Parameter) -> Diagnostic:
    message = f"the input `{parameter.name}` is a tensor and cannot have a default other than none"
    return Diagnostic("DL0113", message, parameter.span, help="hyper-parameters, which can, stand in the first bracket")


def _not_an_optimizer(expr: Expr) -> Diagnostic:
    fix = 'several patterns of one optimizer stand in brackets: `for ["**.bias", "**.scale"]`'
    return Diagnostic("DL0101", "expected an optimizer, such as `adam(1e-3)`", expr.span, help=fix)


def _no_patterns(span: Span) -> Diagnostic:
    fix = 'write `for "**.bias"`, or leave `for` out: a rule without it is for the rest'
    return Diagnostic("DL0101", "expected the parameters that the rule is for", span, help=fix)
