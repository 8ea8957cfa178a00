"""From a unit to a program: the model that was asked for, on its declared inputs; and the `test` blocks of a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.elaborate.agreement import check_model
from dsl.elaborate.apply import Applier
from dsl.elaborate.arguments import check_static, module_signature
from dsl.elaborate.binding import Binder
from dsl.elaborate.context import Context, error
from dsl.elaborate.evaluate import Evaluator
from dsl.elaborate.execute import Executor, static_frame
from dsl.elaborate.frame import Frame
from dsl.elaborate.functions import FunctionCaller
from dsl.elaborate.gradients import Gradients
from dsl.elaborate.instantiate import Instantiator
from dsl.elaborate.loops import Loops
from dsl.elaborate.objectives import Objectives
from dsl.elaborate.operators import Operators
from dsl.elaborate.repeats import Repeater
from dsl.elaborate.roots import Roots
from dsl.elaborate.suspects import warn_declarations
from dsl.elaborate.tensors import Tensors
from dsl.elaborate.updates import Updates
from dsl.elaborate.values import Condition, Layer, LayerType, Tensor, describe
from dsl.garbage import collector_paused
from dsl.ir import Graph, Program, Value, count_parameters, count_tensors
from dsl.limits import limits, raising
from dsl.loader import Unit
from dsl.parse import parse_expression
from dsl.source import Source, Span
from dsl.training import Training
from dsl.types import DType

MOST_PARAMETERS = 200_000_000_000
"""How many parameters a model may have unless `--max-parameters` says otherwise."""


def new_context(float_type: DType = DType.F32) -> Context:
    """A context with its parts."""
    context = Context(float_type)
    context.operators = Operators(context)
    context.tensors = Tensors(context)
    context.evaluator = Evaluator(context)
    context.binder = Binder(context)
    context.applier = Applier(context)
    context.executor = Executor(context)
    context.instantiator = Instantiator(context)
    context.repeats = Repeater(context)
    context.functions = FunctionCaller(context)
    context.roots = Roots(context)
    context.loops = Loops(context)
    context.gradients = Gradients(context)
    context.objectives = Objectives(context)
    context.updates = Updates(context)
    return context


@dataclass(frozen=True, slots=True)
class Elaborated:
    """A program and what the compiler has to say about it; `others` are what else of its file was elaborated to be checked."""

    program: Program
    warnings: tuple[Diagnostic, ...]
    others: tuple[Program | Training, ...] = ()


def models(unit: Unit) -> dict[str, syntax.Module]:
    """The models and modules that the file itself defines, models first."""
    own = [d for d in unit.file.definitions if isinstance(d, syntax.Module)]
    return {d.name: d for d in sorted(own, key=lambda d: d.kind != "model")}


@collector_paused()
def elaborate(
    unit: Unit,
    *,
    model: str | None = None,
    settings: Mapping[str, object] | None = None,
    float_type: DType = DType.F32,
    max_parameters: int = MOST_PARAMETERS,
) -> Elaborated:
    """The program of one model of the file: the one called `model`, else the first. `settings` are its hyper-parameters; text is read
    as an expression of the language."""
    context = new_context(float_type)
    definition = chosen(unit, model)
    layer = Layer(LayerType(definition, unit), _settings(context, unit, definition, settings or {}), definition.name_span)
    entries: dict[str, Graph] = {}
    errors: list[Diagnostic] = []
    for entry in definition.entries:
        try:
            entries[entry.name] = context.roots.root(layer, entry.name)
        except SpecError as problem:
            errors.extend(problem.diagnostics)
    if not errors:
        check_model(list(entries.values()))
    others, found = _others(context, unit, definition)
    errors.extend(found)
    if errors:
        raise SpecError(unique(errors))
    _warn_unused(context, unit)
    count = count_parameters(entries.values())
    if count > max_parameters:
        raise error(
            "DL0605",
            f"`{definition.name}` has {count:,} parameters ({count * context.float_type.bytes:,} bytes)",
            definition.name_span,
            help=f"the limit is {max_parameters:,}; `--max-parameters` sets it",
        )
    tensors = count_tensors(entries.values())
    most = limits().tensors
    if tensors > most:
        message = f"`{definition.name}` has {tensors:,} parameters and buffers, more than the limit of {most:,} tensors"
        raise error("DL0602", message, definition.name_span, help=raising("tensors"))
    return Elaborated(Program(definition.name, entries), unique(context.warnings), tuple(others))


def trainings(unit: Unit) -> dict[str, syntax.Train]:
    """The `train` blocks of a file."""
    return {d.name: d for d in unit.file.definitions if isinstance(d, syntax.Train)}


@collector_paused()
def elaborate_training(
    unit: Unit,
    *,
    name: str | None = None,
    settings: Mapping[str, object] | None = None,
    float_type: DType = DType.F32,
) -> tuple[Training, tuple[Diagnostic, ...]]:
    """The training of one `train` block of the file, the one called `name`, else the first, and what the compiler has to say about it."""
    context = new_context(float_type)
    definition = chosen_training(unit, name)
    training = context.roots.training(definition, unit, _settings(context, unit, definition, settings or {}))
    warn_declarations(context, unit.file)
    return training, unique(context.warnings)


def chosen_training(unit: Unit, name: str | None) -> syntax.Train:
    """The block to train; SpecError when there is none."""
    known = trainings(unit)
    source = unit.file.source
    if name is not None and name not in known:
        near = did_you_mean(name, known)
        help = f"did you mean `{near}`?" if near else f"it has {', '.join(known) or 'none'}"
        raise SpecError(Diagnostic("DL0218", f"{source.name} has no `train` block `{name}`", help=help), exit_code=2)
    if not known:
        help = "the smallest one is `train Fit()(x: float[B, 4], y: float[B, 1]) { ... minimize loss using adam(1e-3) }`"
        raise SpecError(Diagnostic("DL0219", f"no `train` block in {source.name}", Span(source, 0, 0), help=help))
    return known[name] if name is not None else next(iter(known.values()))


def _warn_unused(context: Context, unit: Unit) -> None:
    """Warn of what the file declares and nothing uses: of modules and functions, because nothing has looked into them."""
    warn_declarations(context, unit.file)
    if not any(d.kind == "model" for d in models(unit).values()):
        return
    words = Counter(re.findall(r"\w+", unit.file.source.text))
    for d in unit.file.definitions:
        unchecked = isinstance(d, syntax.Function) or (isinstance(d, syntax.Module) and d.kind == "module")
        if isinstance(d, syntax.Function | syntax.Module) and unchecked and words[d.name] == 1:
            context.warn("DL1005", f"nothing in this file uses `{d.name}`, so only its syntax is checked", d.name_span)


def _others(context: Context, unit: Unit, main: syntax.Module) -> tuple[list[Program | Training], list[Diagnostic]]:
    """The models of the file that were not asked for, as far as their defaults and declared inputs show them, and what is wrong there."""
    errors: list[Diagnostic] = []
    others: list[Program | Training] = []
    for definition in models(unit).values():
        if definition is main or definition.kind != "model" or any(p.default is None for p in definition.parameters):
            continue
        try:
            given = context.instantiator.hyper(static_frame(unit, context), LayerType(definition, unit), (), definition.name_span)
            layer = Layer(LayerType(definition, unit), given, definition.name_span)
            program = Program(definition.name, {e.name: context.roots.root(layer, e.name) for e in definition.entries})
            check_model(list(program.entries.values()))
            others.append(program)
        except SpecError as problem:
            errors.extend(problem.diagnostics)
    for block in trainings(unit).values():
        if any(p.default is None for p in block.parameters):
            continue
        try:
            others.append(context.roots.training(block, unit, _settings(context, unit, block, {})))
        except SpecError as problem:
            errors.extend(problem.diagnostics)
    return others, errors


def unique(diagnostics: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each finding once: an error inside a module that is used twice is one error."""
    found: dict[object, Diagnostic] = {}
    for d in diagnostics:
        found.setdefault((d.code, d.message, id(d.span.source), d.span.start, d.span.end), d)
    return tuple(found.values())


def chosen(unit: Unit, name: str | None) -> syntax.Module:
    """The definition to compile; SpecError when there is none."""
    known = models(unit)
    source = unit.file.source
    if name is not None and name not in known:
        near = did_you_mean(name, known)
        help = f"did you mean `{near}`?" if near else f"it defines {', '.join(known) or 'no model'}"
        raise SpecError(Diagnostic("DL0214", f"{source.name} has no model `{name}`", help=help), exit_code=2)
    if not known:
        raise SpecError(
            Diagnostic(
                "DL0215",
                f"no model in {source.name}",
                Span(source, 0, 0),
                help="the smallest one is `model Net()(x: float[B, 4]) -> float[B, 2] { return x -> Linear(2) }`",
            )
        )
    return known[name] if name is not None else next(iter(known.values()))


def _settings(
    context: Context, unit: Unit, definition: syntax.Module | syntax.Train, settings: Mapping[str, object]
) -> dict[str, object]:
    known = {p.name: p for p in definition.parameters}
    scope = static_frame(unit, context)
    values: dict[str, object] = {}
    for name, given in settings.items():
        if name not in known:
            near = did_you_mean(name, known)
            help = f"did you mean `{near}`?" if near else f"it is `{module_signature(definition)}`"
            raise SpecError(Diagnostic("DL0216", f"`{definition.name}` has no hyper-parameter `{name}`", help=help), exit_code=2)
        values[name] = _setting(context, scope, known[name], given, definition.name)
    missing = [p.name for p in definition.parameters if p.default is None and p.name not in values]
    if missing:
        raise SpecError(
            Diagnostic(
                "DL0217",
                f"`{definition.name}` needs a value for {', '.join(f'`{m}`' for m in missing)}",
                definition.name_span,
                help=f"set it from outside: `--set {missing[0]}=...`",
            )
        )
    ordered: dict[str, object] = {}
    for parameter in definition.parameters:
        if parameter.name not in values:
            assert parameter.default is not None
            value = context.evaluator.single(scope, parameter.default)
            values[parameter.name] = check_static(parameter, value, parameter.default.span, definition.name)
        ordered[parameter.name] = values[parameter.name]
        scope.bind(parameter.name, values[parameter.name], parameter.span)
    return ordered


def _setting(context: Context, scope: Frame, parameter: syntax.Parameter, given: object, owner: str) -> object:
    span = parameter.span
    value = _as_tuple(given)
    wants_text = parameter.type is not None and parameter.type.name == "str"
    if isinstance(given, str) and not (wants_text and not given.startswith('"')):
        source = Source(f"--set {parameter.name}", given)
        span = Span(source, 0, len(given))
        value = context.evaluator.single(scope, parse_expression(source))
    return check_static(parameter, value, span, owner)


def _as_tuple(value: object) -> object:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list | tuple) else value


# --- test blocks ------------------------------------------------------------------------------------------------------------------

Compute = Callable[[Graph, Value], object]
"""The value of a tensor of a graph without inputs, for asserts on numbers."""


def run_tests(unit: Unit, compute: Compute, float_type: DType = DType.F32) -> list[tuple[str, tuple[Diagnostic, ...]]]:
    """Run the `test` blocks of a file: each title with what is wrong, nothing when it passed."""
    results: list[tuple[str, tuple[Diagnostic, ...]]] = []
    for test in unit.file.definitions:
        if isinstance(test, syntax.Test):
            context = new_context(float_type)
            graph = Graph(test.title, kind="test", span=test.span)
            frame = Frame(graph, Builder(graph, float_type), unit, in_test=True)
            results.append((test.title, unique(_run_test(context, frame, test, compute))))
    return results


def _run_test(context: Context, frame: Frame, test: syntax.Test, compute: Compute) -> list[Diagnostic]:
    problems: list[Diagnostic] = []
    for statement in test.body:
        try:
            if isinstance(statement, syntax.Assert):
                problems.extend(_check_assert(context, frame, statement, compute))
            else:
                context.execute(frame, [statement])
        except SpecError as problem:
            problems.extend(problem.diagnostics)
    return problems


def _check_assert(context: Context, frame: Frame, statement: syntax.Assert, compute: Compute) -> list[Diagnostic]:
    condition = statement.condition
    value = context.evaluator.single(frame, condition)
    if isinstance(value, Tensor):
        nodes = [frame.graph.node(i) for i in frame.graph.ancestors(value.value)]
        if any(n.op in ("input", "param", "buffer") or (n.target is not None and n.target.child is not None) for n in nodes):
            return [
                Diagnostic("DL0521", "this depends on an example input or on parameters, which have no values", condition.span)
            ]
        if frame.type(value).rank:
            return [
                Diagnostic(
                    "DL0404",
                    f"an assert is true or false, not {frame.type(value)}",
                    condition.span,
                    help="`all(...)` or `any(...)` of it",
                )
            ]
        value = bool(compute(frame.graph, value.value))
    if value is True:
        return []
    if isinstance(value, Condition):
        return [Diagnostic("DL0412", "this depends on a symbolic dimension and cannot be decided", condition.span)]
    if value is not False:
        return [Diagnostic("DL0404", f"an assert is true or false, not {describe(value)}", condition.span)]
    notes: tuple[str, ...] = ()
    if isinstance(condition, syntax.Comparison):
        notes = tuple(
            f"`{' '.join(e.span.text.split())}` is {_found(context, frame, e, compute)}"
            for e in condition.operands
            if not isinstance(e, syntax.Literal | syntax.ListExpr)
        )
    message = ""
    if statement.message is not None:
        given = context.evaluate(frame, statement.message)
        message = f": {given}"
    return [Diagnostic("DL0520", f"the assertion does not hold{message}", condition.span, notes=notes)]


def _found(context: Context, frame: Frame, expression: syntax.Expr, compute: Compute) -> str:
    value = context.evaluator.single(frame, expression)
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, Tensor) and not frame.type(value).rank:
        return str(compute(frame.graph, value.value))
    return str(frame.type(value)) if isinstance(value, Tensor) else str(value)


def evaluate_text(text: str, float_type: DType = DType.F32) -> tuple[Graph, tuple[Value, ...]]:
    """A graph for an expression without inputs, and its results: for the examples of the cards."""
    context = new_context(float_type)
    source = Source("<expression>", text)
    unit = Unit(syntax.File((), source), None)
    graph = Graph("expression", kind="test")
    frame = Frame(graph, Builder(graph, float_type), unit, in_test=True)
    value = context.evaluate(frame, parse_expression(source))
    parts = value if isinstance(value, tuple) and any(isinstance(v, Tensor) for v in value) else (value,)
    tensors = [context.tensors.as_tensor(frame, p, Span(source, 0, len(text))) for p in parts]
    return graph, tuple(t.value for t in tensors)
