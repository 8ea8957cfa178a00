"""`train` blocks: what `minimize`, `metric` and followed layers mean, from the statements to a Training."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.differentiable import obstacles, reached
from dsl.dims import symbol
from dsl.elaborate.arguments import function_signature
from dsl.elaborate.blocks import symbols_of_nodes
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame, tensor
from dsl.elaborate.instantiate import Callee, plain_static
from dsl.elaborate.target_rules import TargetRule, check_alone, check_same_loss
from dsl.elaborate.values import Function, Instance, ParameterSet, Tensor, describe, is_static
from dsl.ir import Graph, Node, Program, StaticValue, Value, owned
from dsl.ops.registry import CARDS
from dsl.source import Span
from dsl.training import Clip, Follower, Objective, Plateau, Rule, Training
from dsl.types import TensorType

PLATEAU = "reduce_on_plateau"

_GLOB = {"**.": r"(?:.*\.)?", "**": ".*", "*": "[^.]*"}


@dataclass(frozen=True, slots=True)
class Minimized:
    """A `minimize` as it was found; which parameters it means is known when the whole block has been seen."""

    name: str
    loss: Tensor
    statement: syntax.Minimize
    over: tuple[Chosen, ...]
    rules: tuple[tuple[Rule, tuple[Chosen, ...]], ...]
    clip: Clip | None
    every: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Parameters that are meant: those that match `pattern` below `prefix`, as written at `span`."""

    prefix: str
    pattern: str
    span: Span

    def matches(self, path: str) -> bool:
        """Whether the parameter at `path` is meant. `*` stands for anything within a part of a name, `**` for any number of parts."""
        wanted = self.prefix + self.pattern
        parts = [_GLOB.get(p, re.escape(p)) for p in re.split(r"(\*\*\.|\*\*|\*)", wanted)]
        return re.fullmatch("".join(parts), path) is not None


@dataclass(slots=True, eq=False)
class TrainingParts:
    """What the statements of a `train` block have declared so far."""

    minimized: list[Minimized] = field(default_factory=list)
    metrics: dict[str, tuple[Tensor, int, Span]] = field(default_factory=dict)
    followers: list[Follower] = field(default_factory=list)


class Objectives:
    def __init__(self, context: Context) -> None:
        self.context = context

    # --- statements ---

    def _parts(self, frame: Frame, what: str, span: Span) -> TrainingParts:
        if frame.training is None:
            raise error("DL0529", f"`{what}` stands in a `train` block, not inside a model or a loop", span)
        return frame.training

    def minimize(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Minimize)
        parts = self._parts(frame, "minimize", statement.span)
        loss = self._scalar(frame, statement.loss, "a loss")
        name = statement.name or (statement.loss.id if isinstance(statement.loss, syntax.Name) else "loss")
        taken = {m.name for m in parts.minimized}
        if name in taken and statement.name is None and not isinstance(statement.loss, syntax.Name):
            name = next(f"loss_{i}" for i in range(1, len(taken) + 2) if f"loss_{i}" not in taken)
        if name in taken or name in parts.metrics:
            raise error(
                "DL0206", f"two objectives are called `{name}`", statement.span, help="`minimize name = ...` gives one a name"
            )
        if statement.name is not None:
            frame.graph.set_name(loss.value, name)
            frame.bind(name, loss, statement.span)
        over = tuple(self._chosen(frame, e) for e in statement.over)
        rules = tuple((self._rule(frame, r), tuple(self._chosen(frame, p) for p in r.patterns)) for r in statement.rules)
        clip = None
        if statement.clip is not None:
            clip = Clip(statement.clip_kind, self._positive(frame, statement.clip, "`clip`"))
        check_alone(statement, [rule for rule, _ in rules])
        every = self._count(frame, statement.every, "`every`") if statement.every is not None else 1
        parts.minimized.append(Minimized(name, loss, statement, over, rules, clip, every))

    def metric(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Metric)
        parts = self._parts(frame, "metric", statement.span)
        if statement.name in parts.metrics or any(m.name == statement.name for m in parts.minimized):
            raise error("DL0206", f"there is a metric or an objective `{statement.name}` already", statement.name_span)
        value = self._scalar(frame, statement.value, "a metric")
        frame.graph.set_name(value.value, statement.name)
        parts.metrics[statement.name] = (value, max(len(parts.minimized) - 1, 0), statement.name_span)

    def follow(self, frame: Frame, value: syntax.CopyOf, source: str, statement: syntax.LayerDecl) -> None:
        """Note that a layer follows another: `copy of source every n`, `ema of source decay d`."""
        assert frame.training is not None
        if value.kind == "copy":
            every = self._count(frame, value.amount, "`every`")
            frame.training.followers.append(Follower(statement.name, source, every=every))
            return
        decay = self._number(frame, value.amount, "`decay`")
        if not 0 <= decay < 1:
            raise error("DL0402", f"`decay` is at least 0 and below 1, not {decay:g}", value.amount.span)
        frame.training.followers.append(Follower(statement.name, source, decay=decay))

    def _scalar(self, frame: Frame, expression: syntax.Expr, what: str) -> Tensor:
        value = not_poison(self.context.evaluator.single(frame, expression))
        if not isinstance(value, Tensor):
            raise error("DL0533", f"{what} is a scalar tensor, and this is {describe(value)}", expression.span)
        type_ = frame.type(value)
        if type_.rank or not type_.dtype.is_float:
            help = "take its `mean`" if type_.rank else "`cast` it to float"
            raise error("DL0533", f"{what} is a floating scalar, and this is {type_}", expression.span, help=help)
        return value

    def _number(self, frame: Frame, expression: syntax.Expr, what: str) -> float:
        value = not_poison(self.context.evaluator.single(frame, expression))
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise error("DL0401", f"{what} is a number, not {describe(value)}", expression.span)
        return float(value)

    def _positive(self, frame: Frame, expression: syntax.Expr, what: str) -> float:
        value = self._number(frame, expression, what)
        if not value > 0:
            raise error("DL0402", f"{what} is above 0, not {value:g}", expression.span)
        return value

    def _count(self, frame: Frame, expression: syntax.Expr, what: str) -> int:
        value = not_poison(self.context.evaluator.single(frame, expression))
        if not isinstance(value, int) or isinstance(value, bool):
            raise error("DL0401", f"{what} is an integer, not {describe(value)}", expression.span)
        if value < 1:
            raise error("DL0402", f"{what} is at least 1, not {value}", expression.span)
        return value

    # --- which parameters ---

    def _chosen(self, frame: Frame, expression: syntax.Expr) -> Chosen:
        match expression:
            case syntax.Literal(str(pattern)):
                return Chosen("", pattern, expression.span)
            case syntax.NamePattern():
                if expression.object is None:
                    return Chosen("", expression.pattern, expression.span)
                return Chosen(f"{self._layer(frame, expression.object).name}.", expression.pattern, expression.span)
        value = not_poison(self.context.evaluate(frame, expression))
        if isinstance(value, Instance):
            value.used = True
            return Chosen(f"{self._layer(frame, expression).name}.", "**", expression.span)
        if isinstance(value, Tensor) and frame.graph.node(value.value).op == "param":
            return Chosen("", str(frame.graph.node(value.value).attributes["path"]), expression.span)
        if isinstance(value, ParameterSet):
            raise error("DL0534", "name the layer itself", expression.span, help="`over net`, not `over net.params`")
        raise error(
            "DL0534", f"an objective is over layers, parameters or name patterns, not {describe(value)}", expression.span,
            help='`over net`, or `over net."**.weight"`',
        )  # fmt: skip

    def _layer(self, frame: Frame, expression: syntax.Expr) -> Instance:
        value = not_poison(self.context.evaluate(frame, expression))
        if not isinstance(value, Instance):
            raise error("DL0534", f"a layer is needed here, and this is {describe(value)}", expression.span)
        followed = next((f for f in (frame.training.followers if frame.training else ()) if f.layer == value.name), None)
        if followed is not None:
            raise error("DL0534", f"`{followed.layer}` follows `{followed.source}`, and is never trained", expression.span)
        if value.given is not None:
            raise error("DL0534", "this layer has no parameters of its own: it is another one `with` others", expression.span)
        return value

    # --- rules ---

    def _rule(self, frame: Frame, written: syntax.Rule) -> Rule:
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
        inner.step = tensor(Value(node.id), 0)
        inner.bind("step", inner.step, expression.span)
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
            values[name] = self._number(frame, argument.value, f"`{name}`")
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

    # --- the whole block ---

    def training(self, frame: Frame, definition: syntax.Train) -> Training:
        """The Training of a block whose statements have been executed in `frame`."""
        parts = frame.training
        assert parts is not None
        if not parts.minimized:
            help = "`minimize loss using adam(1e-3)`"
            raise error("DL0536", f"`{definition.name}` minimises nothing", definition.name_span, help=help)
        graph = frame.graph
        followed = tuple(f"{f.layer}." for f in parts.followers)
        everything = [n for n, p in owned(graph) if p.trained and not n.startswith(followed or ("\0",))]
        everything = list(dict.fromkeys(everything))
        taken: dict[str, Span] = {}
        objectives = [self._objective(graph, m, everything, taken) for m in parts.minimized]
        shared = self._shared_draws(graph, parts)
        entries: dict[str, Graph] = {}
        metrics: dict[str, str] = {}
        for i, minimized in enumerate(parts.minimized):
            outputs = {minimized.name: minimized.loss.value}
            for name, (value, at, _) in parts.metrics.items():
                if at == i:
                    outputs[name] = value.value
                    metrics[name] = minimized.name
            entries[minimized.name] = entry_graph(graph, minimized.name, outputs, shared)
        draws = entry_graph(graph, "draws", {name: v for v, name in shared.items()}, {}) if shared else None
        untrained = tuple(n for n in everything if n not in taken)
        if untrained:
            shown = ", ".join(f"`{n}`" for n in untrained[:6]) + (f" and {len(untrained) - 6} more" if len(untrained) > 6 else "")
            self.context.warn("DL1006", f"no objective changes {shown}", definition.name_span)
        inputs = {name: graph.type(value) for name, value in graph.inputs.items()}
        return Training(
            definition.name, Program(definition.name, entries), inputs, tuple(objectives), metrics, tuple(parts.followers),
            untrained, dict(graph.hyper), draws, definition.comments.documentation,
        )  # fmt: skip

    def _objective(self, graph: Graph, minimized: Minimized, everything: Sequence[str], taken: dict[str, Span]) -> Objective:
        statement = minimized.statement
        found = reached(graph, minimized.loss.value)
        selected = [n for n in everything if not minimized.over or any(c.matches(n) for c in minimized.over)]
        self._check_chosen([[c] for c in minimized.over], everything)
        trained = [n for n in selected if n in found]
        obstructed = obstacles(graph, minimized.loss.value, set(selected), set())
        if obstructed:
            raise SpecError([_no_gradient(n.op, n.span, statement.span) for n in obstructed])
        own = next((rule for rule, _ in minimized.rules if rule.update is None), None)
        if own is not None:
            check_same_loss(own.name, graph, minimized.loss.value, own.span)
        if not trained:
            message = f"no parameter changes `{minimized.name}`" if selected else "this objective is over no parameter"
            raise error("DL0534", message, statement.span, help="gradients stop at `stop_gradient`, comparisons and integers")
        clash = next((n for n in trained if n in taken), None)
        if clash is not None:
            labels = (Label(taken[clash], "this one has it as well"),)
            message = f"two objectives change `{clash}`"
            help = "say with `over` which layers each is for"
            raise SpecError(Diagnostic("DL0534", message, statement.span, labels=labels, help=help))
        taken.update(dict.fromkeys(trained, statement.span))
        unreached = [n for n in selected if n not in found]
        if minimized.over and unreached:
            shown = ", ".join(f"`{n}`" for n in unreached[:6]) + (" ..." if len(unreached) > 6 else "")
            self.context.warn("DL1007", f"`{minimized.name}` does not depend on {shown}", statement.span)
        return Objective(
            minimized.name, minimized.name, self._grouped(minimized, trained), minimized.clip, minimized.every, statement.span
        )

    def _check_chosen(self, groups: Sequence[Sequence[Chosen]], among: Sequence[str]) -> None:
        """Each of the choices means something, and no two groups of them mean the same parameter."""
        first: dict[str, tuple[int, Chosen]] = {}
        for i, choice in ((i, choice) for i, group in enumerate(groups) for choice in group):
            found = [n for n in among if choice.matches(n)]
            if not found:
                raise error("DL0534", "no parameter has such a name", choice.span, help=f"there is {', '.join(among[:8])}")
            for name in found:
                group, other = first.setdefault(name, (i, choice))
                if group != i:
                    labels = (Label(other.span, "this means it as well"),)
                    raise SpecError(Diagnostic("DL0534", f"`{name}` is meant twice", choice.span, labels=labels))

    def _grouped(self, minimized: Minimized, trained: Sequence[str]) -> tuple[Rule, ...]:
        """The rules of an objective with the parameters of each; a rule without a pattern takes the rest."""
        patterns = [c for _, chosen in minimized.rules for c in chosen]
        self._check_chosen([chosen for _, chosen in minimized.rules], trained)
        rest = [n for n in trained if not any(c.matches(n) for c in patterns)]
        rules: list[Rule] = []
        for rule, chosen in minimized.rules:
            names = [n for n in trained if any(c.matches(n) for c in chosen)] if chosen else rest
            if not chosen:
                rest = []
            if not names:
                raise error("DL0534", "no parameter is left for this optimiser", rule.span, help="the last one takes the rest")
            rules.append(replace(rule, parameters=tuple(names)))
        if rest:
            raise error("DL0534", f"no optimiser is for `{rest[0]}`", minimized.statement.span, help="add one without `for`")
        return tuple(rules)

    # --- draws that several objectives read ---

    def _shared_draws(self, graph: Graph, parts: TrainingParts) -> dict[Value, str]:
        """The draws outside of any layer that more than one objective or metric reads, or one that is computed several times a step, with
        a name for each."""
        readers: dict[int, int] = {}
        repeated = {m.loss.value for m in parts.minimized if any(rule.update is None for rule, _ in m.rules)}
        roots = [m.loss.value for m in parts.minimized] + [t.value for t, _, _ in parts.metrics.values()]
        for root in dict.fromkeys(roots):
            for node_id in graph.ancestors(root):
                readers[node_id] = readers.get(node_id, 0) + (2 if root in repeated else 1)
        shared: dict[Value, str] = {}
        for node in graph:
            if readers.get(node.id, 0) > 1 and node.op in CARDS and CARDS[node.op].random and not node.inputs:
                name = node.name or f"draw_{len(shared)}"
                while name in graph.inputs or name in shared.values():
                    name += "_"
                shared[Value(node.id)] = name
        return shared


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


def _no_gradient(op: str, span: Span, asked: Span) -> Diagnostic:
    labels = (Label(asked, "minimised here"),)
    if op == "while":
        help = "use `scan`, which has one, or `stop_gradient` of its result"
        return Diagnostic("DL0532", "a `while` has no gradient", span, labels=labels, help=help)
    help = "stop it with `stop_gradient`, use a straight-through estimator, or `score_function(log_prob, reward)`"
    return Diagnostic("DL0532", f"the draw `{op}` has no gradient", span, labels=labels, help=help)


def entry_graph(graph: Graph, name: str, outputs: Mapping[str, Value], given: Mapping[Value, str]) -> Graph:
    """What of a block computes `outputs`: an entry point of its own. The values in `given` are inputs of it."""
    result = graph.copy()
    result.entry, result.kind = name, "train"
    for value, wanted in given.items():
        node = result.node(value)
        result.replace_node(replace(node, op="input", inputs=(), attributes={"name": wanted}, name=None))
        result.inputs[wanted] = value
    result.outputs, result.updates = dict(outputs), {}
    needed = {i for value in outputs.values() for i in result.ancestors(value)}
    needed |= {value.node for value in _binding(result, needed)}
    result.remove([n for n in list(result) if n.id not in needed])
    result.inputs = {n: v for n, v in result.inputs.items() if v.node in needed}
    applied = {n.target.child for n in result.layers() if n.target is not None}
    result.children = {n: None for n in result.children if n in applied}
    read = {str(n.attributes["path"]) for n in _nodes(result) if n.op in ("param", "buffer")}
    result.parameters = {n: p for n, p in result.parameters.items() if n in read}
    return result


def _binding(graph: Graph, needed: Container[int]) -> list[Value]:
    """The inputs that are needed for nothing but a size that they bind."""
    nodes = [n for n in graph if n.id in needed]
    known = {str(d) for n in nodes if n.op == "input" for d in n.type.shape}
    found: list[Value] = []
    for name in symbols_of_nodes(nodes):
        if name not in known:
            binding = next((v for v in graph.inputs.values() if name in map(str, graph.type(v).shape)), None)
            if binding is not None:
                known |= {str(d) for d in graph.type(binding).shape}
                found.append(binding)
    return found


def _nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of its blocks."""
    for node in graph:
        yield node
        if node.target is not None and node.target.graph.kind == "block":
            yield from _nodes(node.target.graph)
