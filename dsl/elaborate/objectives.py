"""`train` blocks: what `minimize`, `metric` and followed layers mean, from the statements to a Training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.differentiable import obstacles, reached
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.entry_graphs import entry_graph
from dsl.elaborate.frame import Frame
from dsl.elaborate.gradients import no_gradient
from dsl.elaborate.patterns import matches
from dsl.elaborate.rules import Rules, number
from dsl.elaborate.target_rules import check_alone, check_same_loss
from dsl.elaborate.updates import Updated, turns_of
from dsl.elaborate.values import Instance, ParameterSet, Tensor, describe
from dsl.ir import Graph, Node, Program, Value, owned
from dsl.ops.registry import CARDS
from dsl.source import Span
from dsl.training import Clip, Follower, Objective, Rule, Training


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
        """Whether the parameter at `path` is meant."""
        return matches(self.prefix + self.pattern, path)


@dataclass(slots=True, eq=False)
class TrainingParts:
    """What the statements of a `train` block have declared so far; `counter` is the number of steps done."""

    minimized: list[Minimized] = field(default_factory=list)
    updates: list[Updated] = field(default_factory=list)
    counter: Value | None = None
    metrics: dict[str, tuple[Tensor, int, Span]] = field(default_factory=dict)
    followers: list[Follower] = field(default_factory=list)


class Objectives:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.rules = Rules(context)

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
        rules = tuple((self.rules.rule(frame, r), tuple(self._chosen(frame, p) for p in r.patterns)) for r in statement.rules)
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
        decay = number(self.context, frame, value.amount, "`decay`")
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

    def _positive(self, frame: Frame, expression: syntax.Expr, what: str) -> float:
        value = number(self.context, frame, expression, what)
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

    # --- the whole block ---

    def training(self, frame: Frame, definition: syntax.Train) -> Training:
        """The Training of a block whose statements have been executed in `frame`."""
        parts = frame.training
        assert parts is not None
        if not parts.minimized and not parts.updates:
            help = "`minimize loss using adam(1e-3)`, or `update NAME = ...` of a buffer or a parameter"
            raise error("DL0536", f"`{definition.name}` minimises and updates nothing", definition.name_span, help=help)
        graph = frame.graph
        roots = [m.loss.value for m in parts.minimized] + [t.value for t, _, _ in parts.metrics.values()]
        roots += [u.value.value for u in parts.updates]
        parts.updates += self.context.updates.counted(frame, roots, len(parts.minimized))
        updates = turns_of(
            graph, parts.updates, {**dict.fromkeys(m.name for m in parts.minimized), **parts.metrics, "draws": None}
        )
        followed = tuple(f"{f.layer}." for f in parts.followers)
        everything = [n for n, p in owned(graph) if p.trained and not n.startswith(followed or ("\0",))]
        everything = list(dict.fromkeys(everything))
        taken: dict[str, Minimized] = {}
        objectives = [self._objective(graph, m, everything, taken) for m in parts.minimized]
        shared = self._shared_draws(graph, parts, [list(outputs.values()) for _, outputs in updates])
        entries: dict[str, Graph] = {}
        metrics: dict[str, str] = {}
        for i, minimized in enumerate(parts.minimized):
            outputs = {minimized.name: minimized.loss.value}
            for name, (value, at, _) in parts.metrics.items():
                if at == i:
                    outputs[name] = value.value
                    metrics[name] = minimized.name
            entries[minimized.name] = entry_graph(graph, minimized.name, outputs, shared)
        for update, outputs in updates:
            reported = {} if parts.minimized else {name: value.value for name, (value, _, _) in parts.metrics.items()}
            metrics |= dict.fromkeys(reported, update.entry)
            entries[update.entry] = entry_graph(graph, update.entry, {**reported, **outputs}, shared, update.assigned)
        draws = entry_graph(graph, "draws", {name: v for v, name in shared.items()}, {}) if shared else None
        untrained = tuple(n for n in everything if n not in taken)
        self._warn_untrained([n for n in untrained if all(n != u.path for u in parts.updates)], definition)
        inputs = {name: graph.type(value) for name, value in graph.inputs.items()}
        return Training(
            definition.name, Program(definition.name, entries), inputs, tuple(objectives), metrics, tuple(parts.followers),
            untrained, dict(graph.hyper), draws, definition.comments.documentation, tuple(update for update, _ in updates),
        )  # fmt: skip

    def _warn_untrained(self, names: Sequence[str], definition: syntax.Train) -> None:
        if names:
            shown = ", ".join(f"`{n}`" for n in names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
            self.context.warn("DL1006", f"no objective changes {shown}", definition.name_span)

    def _objective(self, graph: Graph, minimized: Minimized, everything: Sequence[str], taken: dict[str, Minimized]) -> Objective:
        statement = minimized.statement
        found = reached(graph, minimized.loss.value)
        selected = [n for n in everything if not minimized.over or any(c.matches(n) for c in minimized.over)]
        self._check_chosen([[c] for c in minimized.over], everything)
        trained = [n for n in selected if n in found]
        obstructed = obstacles(graph, minimized.loss.value, set(selected), set())
        if obstructed:
            raise SpecError([no_gradient(n, Label(statement.span, "minimised here")) for n in obstructed])
        own = next((rule for rule, _ in minimized.rules if rule.update is None), None)
        if own is not None:
            check_same_loss(own.name, graph, minimized.loss.value, own.span)
        if not trained:
            message = (
                f"no gradient of `{minimized.name}` reaches a parameter" if selected else "this objective is over no parameter"
            )
            raise error("DL0534", message, statement.span, help="gradients stop at `stop_gradient`, comparisons and integers")
        clash = next((n for n in trained if n in taken and not (minimized.over and taken[n].over)), None)
        if clash is not None:
            labels = (Label(taken[clash].statement.span, "this one has it as well"),)
            message = f"two objectives change `{clash}`"
            help = "say with `over` which layers each is for; both may name the same"
            raise SpecError(Diagnostic("DL0534", message, statement.span, labels=labels, help=help))
        taken.update(dict.fromkeys(trained, minimized))
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

    def _shared_draws(self, graph: Graph, parts: TrainingParts, updates: Sequence[Sequence[Value]]) -> dict[Value, str]:
        """The draws outside of any layer, and from no parameter, that more than one objective, metric or update reads, or one that is
        computed several times a step, with a name for each. Updates that take place together are one, with their metrics."""
        readers: dict[int, int] = {}
        repeated = {m.loss.value for m in parts.minimized if any(rule.update is None for rule, _ in m.rules)}
        metrics = [t.value for t, _, _ in parts.metrics.values()]
        alone = [m.loss.value for m in parts.minimized] + (metrics if parts.minimized else [])
        together = [[*values, *(() if parts.minimized else metrics)] for values in updates]
        for roots in (*([root] for root in dict.fromkeys(alone)), *together):
            for node_id in {i for root in roots for i in graph.ancestors(root)}:
                readers[node_id] = readers.get(node_id, 0) + (2 if repeated.intersection(roots) else 1)
        shared: dict[Value, str] = {}
        for node in graph:
            behind = (graph.node(i) for i in graph.ancestors(Value(node.id)))
            if readers.get(node.id, 0) > 1 and _draws(node) and not any(_owns(n) for n in behind):
                name = node.name or f"draw_{len(shared)}"
                while name in graph.inputs or name in shared.values():
                    name += "_"
                shared[Value(node.id)] = name
        return shared


def _draws(node: Node) -> bool:
    """Whether the one result of a node is drawn: by a primitive, or in a function or a loop."""
    if node.target is None:
        return node.op in CARDS and CARDS[node.op].random
    drawn = any(n.op in CARDS and CARDS[n.op].random for graph in node.target.graph.callees() for n in graph)
    return drawn and len(node.types) == 1


def _owns(node: Node) -> bool:
    """Whether a node reads a parameter or a buffer, or applies a layer."""
    if node.target is None:
        return node.op in ("param", "buffer")
    block = node.target.graph if node.target.graph.kind == "block" else ()
    return node.target.child is not None or any(_owns(n) for n in block)
