"""What stands after `using`: an update rule with its settings, and a learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsl import syntax
from dsl.build import Builder
from dsl.dims import symbol
from dsl.elaborate.arguments import function_signature
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame, tensor
from dsl.elaborate.instantiate import Callee, plain_static
from dsl.elaborate.target_rules import TargetRule
from dsl.elaborate.values import Function, Instance, Tensor, describe, is_static
from dsl.ir import Graph, StaticValue, Value
from dsl.source import Span
from dsl.training import Plateau, Rule
from dsl.types import TensorType

PLATEAU = "reduce_on_plateau"


class Rules:
    def __init__(self, context: Context) -> None:
        self.context = context

    def rule(self, frame: Frame, written: syntax.Rule) -> Rule:
        expression = written.optimizer
        call = expression if isinstance(expression, syntax.Call) else syntax.Call(expression, (), expression.span)
        function = not_poison(self.context.evaluate(frame, call.function))
        if isinstance(function, TargetRule):
            return self._target_rule(frame, function, call, written.span)
        if not isinstance(function, Function):
            raise error("DL0535", f"an optimiser is needed after `using`, and this is {describe(function)}", call.function.span)
        definition = function.definition
        names = [p.name for p in definition.parameters]
        if names[:2] != ["p", "g"] or "step" not in names or "lr" not in names or names.index("lr") != names.index("step") + 1:
            raise error(
                "DL0535", f"`{definition.name}` is no optimiser: it is `{function_signature(definition)}`", call.function.span,
                help="an optimiser is `fn rule(p, g, STATE, step, lr = ..., SETTINGS)`, and returns the new p and the new state",
            )  # fmt: skip
        declared = tuple(names[2 : names.index("step")])
        settings, rate, plateau = self._settings(frame, function, call, names[names.index("lr") :])
        update, state = _without_idle(self._update(frame, function, declared, settings, written.span), declared)
        library = function.unit.library
        plain = {n: plain_static(v) for n, v in settings.items()}
        return Rule(definition.name, library, plain, state, update, rate, (), plateau, written.span)

    def _target_rule(self, frame: Frame, rule: TargetRule, call: syntax.Call, span: Span) -> Rule:
        """A rule that only a target has."""
        written = _written(rule.name, call, ["lr", *rule.settings])
        rate = written["lr"].value if "lr" in written else syntax.Literal(rule.rate, f"{rule.rate}", call.span)
        settings: dict[str, StaticValue] = {}
        for name, setting in rule.settings.items():
            settings[name] = setting.default
            if name in written:
                given = written[name].value
                value = not_poison(self.context.evaluator.single(frame, given))
                settings[name] = setting.checked(name, value, given.span)
        graph, plateau = self._rate(frame, rate)
        return Rule(rule.name, True, settings, (), None, graph, (), plateau, span)

    def _settings(
        self, frame: Frame, function: Function, call: syntax.Call, names: Sequence[str]
    ) -> tuple[dict[str, object], Graph, Plateau | None]:
        """The settings of a rule by name, those left out by their defaults, and its learning rate as a graph of the step."""
        definition = function.definition
        written = _written(definition.name, call, names)
        scope = Frame(frame.graph, frame.builder, function.unit)
        settings: dict[str, object] = {}
        rate: tuple[Graph, Plateau | None] | None = None
        for parameter in definition.parameters:
            if parameter.name not in names:
                continue
            if parameter.name in written:
                given = written[parameter.name].value
                if parameter.name == "lr":
                    rate = self._rate(frame, given)
                    continue
                value = not_poison(self.context.evaluator.single(frame, given))
                if not is_static(value):
                    raise error(
                        "DL0404", f"`{parameter.name}` is known before the training, and this is {describe(value)}", given.span
                    )
            elif parameter.default is None:
                raise error("DL0203", f"`{definition.name}` needs `{parameter.name}`", call.span)
            elif parameter.name == "lr":
                rate = self._rate(scope, parameter.default)
                continue
            else:
                value = self.context.evaluator.single(scope, parameter.default)
            settings[parameter.name] = value
        assert rate is not None
        return settings, *rate

    def _rate(self, frame: Frame, expression: syntax.Expr) -> tuple[Graph, Plateau | None]:
        """The learning rate as a function of the number of updates done before."""
        graph = Graph("learning_rate", kind="fn", span=expression.span)
        inner = Frame(graph, Builder(graph, self.context.float_type), frame.unit, depth=frame.depth + 1)
        for name, binding in frame.names.items():
            if is_static(binding.value) and not isinstance(binding.value, Instance):
                inner.bind(name, binding.value, binding.span)
                binding.read = True
        node = graph.add("input", (), {"name": "step"}, (TensorType(self.context.float_type, ()),), spans=(expression.span,))
        graph.inputs["step"] = Value(node.id)
        steps = tensor(Value(node.id), 0)
        inner.step = lambda: steps
        inner.bind("step", steps, expression.span)
        plateau = None
        match expression:
            case syntax.Call(syntax.Name(function)) if function == PLATEAU:
                plateau = self._plateau(inner, expression)
                expression = expression.arguments[0].value
        value = not_poison(self.context.evaluator.single(inner, expression))
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not value > 0:
                raise error("DL0402", f"a learning rate is above 0, not {value:g}", expression.span)
            value = float(value)
        result = self.context.tensors.as_tensor(inner, value, expression.span)
        type_ = inner.type(result)
        if type_.rank or not type_.dtype.is_float:
            raise error("DL0533", f"a learning rate is a floating scalar, and this is {type_}", expression.span)
        graph.outputs["lr"] = result.value
        return graph, plateau

    def _plateau(self, frame: Frame, call: syntax.Call) -> Plateau:
        """`reduce_on_plateau(lr, factor=0.1, patience=10, ...)`: the host lowers the rate when the loss no longer falls."""
        if not call.arguments or call.arguments[0].name not in (None, "lr"):
            raise error("DL0203", f"`{PLATEAU}` takes the learning rate first", call.span)
        values: dict[str, float] = {}
        known = ("factor", "patience", "threshold", "cooldown", "minimum")
        for i, argument in enumerate(call.arguments[1:]):
            name = argument.name or (known[i] if i < len(known) else "")
            if name not in known or name in values:
                raise error("DL0203", f"`{PLATEAU}` has no setting `{name}`", argument.span, help=f"it has {', '.join(known)}")
            values[name] = number(self.context, frame, argument.value, f"`{name}`")
        plateau = Plateau(
            values.get("factor", 0.1), int(values.get("patience", 10)), values.get("threshold", 1e-4),
            int(values.get("cooldown", 0)), values.get("minimum", 0.0),
        )  # fmt: skip
        if not 0 < plateau.factor < 1:
            raise error("DL0402", f"`factor` is between 0 and 1, not {plateau.factor:g}", call.span)
        return plateau

    def _update(
        self, frame: Frame, function: Function, state: Sequence[str], settings: Mapping[str, object], span: Span
    ) -> Graph:
        """The graph of a rule on a tensor of one axis."""
        graph = Graph("update", kind="fn", span=span)
        inner = Frame(graph, Builder(graph, self.context.float_type), frame.unit, depth=frame.depth + 1)
        scalar = TensorType(self.context.float_type, ())
        whole = TensorType(self.context.float_type, (symbol("n"),))
        tensors: dict[str, Tensor] = {}
        for name in ("p", "g", *state, "step", "lr"):
            type_ = scalar if name in ("step", "lr") else whole
            node = graph.add("input", (), {"name": name}, (type_,), spans=(span,))
            graph.inputs[name] = Value(node.id)
            tensors[name] = tensor(Value(node.id), type_.rank)
        callee = Callee(function.definition, None, settings, tensors, dict.fromkeys(tensors, span))
        made, _ = self.context.instantiator.graph_for(inner, function.unit, callee, span)
        outputs = list(made.outputs.values())
        if len(outputs) != 1 + len(state):
            raise error(
                "DL0535", f"`{function.definition.name}` returns {len(outputs)} of {1 + len(state)} tensors", span,
                help="an optimiser returns the new p, then the new state in order",
            )  # fmt: skip
        for value in outputs:
            if made.type(value).rank != 1 or not made.type(value).dtype.is_float:
                raise error("DL0535", f"`{function.definition.name}` returns {made.type(value)}, where p is {whole}", span)
        return made


def number(context: Context, frame: Frame, expression: syntax.Expr, what: str) -> float:
    value = not_poison(context.evaluator.single(frame, expression))
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise error("DL0401", f"{what} is a number, not {describe(value)}", expression.span)
    return float(value)


def _written(rule: str, call: syntax.Call, names: Sequence[str]) -> dict[str, syntax.Argument]:
    """The settings of a rule that are written, by name."""
    written: dict[str, syntax.Argument] = {}
    for i, argument in enumerate(call.arguments):
        if argument.name is None and i >= len(names):
            raise error("DL0203", f"`{rule}` takes {len(names)} settings", argument.span)
        name = argument.name or names[i]
        if name not in names:
            help = f"it has {', '.join(f'`{n}`' for n in names)}"
            raise error("DL0203", f"`{rule}` has no setting `{name}`", argument.span, help=help)
        if name in written:
            raise error("DL0205", f"`{name}` is given twice", argument.span)
        written[name] = argument
    return written


def _without_idle(update: Graph, state: Sequence[str]) -> tuple[Graph, tuple[str, ...]]:
    """A rule without the state that its settings leave unused (the momentum of a descent that has none), and the state that is left."""
    results = dict(zip(state, list(update.outputs.items())[1:], strict=True))
    idle: list[str] = []
    for name, (_, value) in results.items():
        read = any(update.inputs[name] in node.inputs for node in update)
        if value == update.inputs[name] and not read:
            idle.append(name)
    if not idle:
        return update, tuple(state)
    result = update.copy()
    for name in idle:
        del result.outputs[results[name][0]]
        result.remove([result.node(result.inputs.pop(name))])
    return result, tuple(name for name in state if name not in idle)
