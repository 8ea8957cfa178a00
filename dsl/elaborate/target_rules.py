"""Update rules that only a target has: the elaborator knows their names and settings, and no formula.

Such a rule computes the loss again and again within one step, so it is no function of one gradient. What it minimises must be the same each
time: draws are made before the step or not at all, and no buffer changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.elaborate.context import error
from dsl.elaborate.values import describe
from dsl.ir import Graph, Node, StaticValue, Value
from dsl.ops.registry import CARDS
from dsl.source import Span
from dsl.training import Rule


@dataclass(frozen=True, slots=True)
class Setting:
    """A static argument of a rule: its default, and what it is: a "bool", an "int" from `low` or a "float" from `low`. One whose default
    is none may be none."""

    default: StaticValue
    kind: str
    low: int = 0

    def checked(self, name: str, value: object, span: Span) -> StaticValue:
        """The value, if it is one of these."""
        if value is None and self.default is None:
            return None
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise error("DL0401", f"`{name}` is true or false, not {describe(value)}", span)
            return value
        words, types = ("an integer", int) if self.kind == "int" else ("a number", (int, float))
        if isinstance(value, bool) or not isinstance(value, types):
            raise error("DL0401", f"`{name}` is {words}, not {describe(value)}", span)
        assert isinstance(value, int | float)
        if not value >= self.low:
            raise error("DL0402", f"`{name}` is at least {self.low}, not {value:g}", span)
        return value if self.kind == "int" else float(value)


@dataclass(frozen=True, slots=True)
class TargetRule:
    """A rule that a target has and the language has not: the learning rate where none is given, the settings beside it in order."""

    name: str
    rate: float
    settings: Mapping[str, Setting]


LBFGS = TargetRule(
    "lbfgs",
    1.0,
    {
        "max_iter": Setting(20, "int", 1),
        "max_eval": Setting(None, "int", 1),
        "tolerance_grad": Setting(1e-7, "float"),
        "tolerance_change": Setting(1e-9, "float"),
        "history_size": Setting(100, "int", 1),
        "line_search": Setting(True, "bool"),
    },
)

TARGET_RULES = {LBFGS.name: LBFGS}
"""By name."""


def check_alone(statement: syntax.Minimize, rules: Sequence[Rule]) -> None:
    """Raise SpecError where a rule that only a target has shares its objective, or is to have less than the gradient itself."""
    for rule, written in zip(rules, statement.rules, strict=True):
        if rule.update is not None:
            continue
        if len(rules) > 1 or written.patterns:
            message = f"`{rule.name}` moves all parameters of its objective together, and cannot be the rule of a group"
            help = "`over` says what the objective is over; a second `minimize` has a rule of its own"
            raise error("DL0538", message, written.span, help=help)
        if statement.clip is not None:
            message = f"`{rule.name}` compares losses along the gradient, which a bound would make another one"
            help = "leave the bound out, or use another optimiser"
            raise error("DL0538", message, statement.clip.span, help=help)


def check_same_loss(rule: str, graph: Graph, loss: Value, asked: Span) -> None:
    """Raise SpecError unless the loss is the same whenever it is computed within one step."""
    found = [_draws(rule, node, asked) for node in _drawn(graph, loss)]
    found += [_changes(rule, path, node, asked) for node, path in _updated(graph, loss)]
    if found:
        raise SpecError(found)


def _drawn(graph: Graph, loss: Value) -> Iterator[Node]:
    """The draws that the loss makes anew: all but those outside of layers that depend on nothing, which are made once a step."""
    for node in _behind(graph, loss):
        if node.target is not None:
            yield from (n for g in node.target.graph.callees() for n in g if _is_random(n))
        elif _is_random(node) and node.inputs:
            yield node


def _updated(graph: Graph, loss: Value) -> Iterator[tuple[Node, str]]:
    """The applications behind the loss that change buffers, with a buffer of each."""
    for node in _behind(graph, loss):
        if node.target is not None:
            path = next((path for g in node.target.graph.callees() for path in g.updates), None)
            if path is not None:
                yield node, path


def _behind(graph: Graph, loss: Value) -> list[Node]:
    needed = graph.ancestors(loss)
    return [node for node in graph if node.id in needed]


def _is_random(node: Node) -> bool:
    return node.op in CARDS and CARDS[node.op].random and node.attributes.get("rate") != 0


def _draws(rule: str, node: Node, asked: Span) -> Diagnostic:
    message = f"`{rule}` computes the loss several times a step, and `{node.op}` makes it another one each time"
    help = "draw outside of layers (such a draw is made once a step), apply the layer with `training=false`, or use another optimiser"
    return Diagnostic("DL0538", message, node.span, labels=(Label(asked, "minimised here"),), help=help)


def _changes(rule: str, path: str, node: Node, asked: Span) -> Diagnostic:
    message = f"`{rule}` computes the loss several times a step, and `{path}` would change each time"
    help = "use a layer without batch statistics, such as `LayerNorm`, apply it with `training=false`, or use another optimiser"
    return Diagnostic("DL0538", message, node.span, labels=(Label(asked, "minimised here"),), help=help)
