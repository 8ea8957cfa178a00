"""The clauses of loops and objectives as words to be laid out on lines: a break may stand before each, and after a comma."""

from __future__ import annotations

from collections.abc import Sequence

from dsl.print_expression import (
    WIDTH,
    layout,
    print_before_brace,
    print_expression,
    print_pattern,
    print_value,
)
from dsl.syntax import Carry, Expr, ListExpr, Minimize, Rule, Scan, TupleExpr, While


def loop_words(node: Scan | While) -> list[str]:
    """The head of a loop with its brace."""
    if isinstance(node, Scan):
        words, last = [*_scan_words(node), *_carried(node.carries)], _last_of_scan(node)
    else:
        words = [f"while {print_expression(node.condition)}", *_carried(node.carries), f"limit {print_expression(node.limit)}"]
        last = node.limit
    words[-1] = f"{words[-1].removesuffix(print_expression(last))}{print_before_brace(last)} {{"
    return words


def objective_words(node: Minimize, indent: int) -> list[str]:
    """All of a `minimize` that begins at the column `indent`."""
    inner = indent + 2
    name = "" if node.name is None else f"{node.name} = "
    words = [f"minimize {name}{print_expression(node.loss)}"]
    if indent + len(words[0]) > WIDTH and not isinstance(node.loss, TupleExpr):
        head = f"minimize {name}"
        words = [head + layout(node.loss, indent, indent + len(head))]
    over = _listed("over ", [print_expression(target) for target in node.over])
    together = " ".join(over)
    words += [together] if over and inner + len(together) <= WIDTH else over
    words += _listed("using ", [print_rule(rule, inner) for rule in node.rules])
    if node.clip is not None:
        words.append(f"{'clip' if node.clip_kind == 'norm' else 'clip_value'} {print_expression(node.clip)}")
    if node.every is not None:
        words.append(f"every {print_expression(node.every)}")
    return words


def print_rule(rule: Rule, indent: int = 0) -> str:
    """`adam(1e-3) for "**.bias"`; where that is too long for a line indented by `indent`, the optimizer is broken inside its brackets."""
    alone = len(rule.patterns) == 1 and not isinstance(rule.patterns[0], ListExpr)
    patterns = rule.patterns[0] if alone else ListExpr(rule.patterns)
    scope = f" for {print_expression(patterns)}" if rule.patterns else ""
    flat = print_expression(rule.optimizer)
    before = indent + len("using ")
    if before + len(flat) + len(scope) < WIDTH or isinstance(rule.optimizer, TupleExpr):
        return flat + scope
    return layout(rule.optimizer, indent, WIDTH) + scope


def lay_out(words: Sequence[str], indent: int, inner: int) -> str:
    """The words on lines as full as they fit, from the column `indent`, the later ones from `inner`; what does not fit on one line breaks
    before `carry`."""
    lines = [words[0]]
    column = indent + _last_line(words[0])
    fits = indent + len(" ".join(words)) <= WIDTH
    for word in words[1:]:
        broken = "\n" in word
        if column + 1 + len(word.split("\n", 1)[0]) <= WIDTH and not broken and (fits or not word.startswith("carry ")):
            lines[-1] += f" {word}"
            column += 1 + len(word)
        else:
            lines.append(" " * inner + word)
            column = _last_line(word) + (0 if broken else inner)
    return "\n".join(lines)


def _last_line(text: str) -> int:
    return len(text.rsplit("\n", 1)[-1])


def _scan_words(node: Scan) -> list[str]:
    """The head of a scan up to what it carries. An option begins no line: there it would be an assignment."""
    words = [f"scan {print_pattern(node.pattern)} in {print_value(node.source)}"]
    if node.over is not None:
        words.append(f"over {print_expression(node.over)}")
    words[-1] += "".join(f" {option.name}={print_expression(option.value)}" for option in node.options)
    return words


def _last_of_scan(node: Scan) -> Expr:
    """The expression at the end of its head."""
    if node.carries:
        return node.carries[-1].value
    if node.options:
        return node.options[-1].value
    if node.over is not None:
        return node.over
    match node.source:
        case TupleExpr(items=(_, *_, last)):  # open, without brackets of its own
            return last
        case source:
            return source


def _carried(carries: Sequence[Carry]) -> list[str]:
    return _listed("carry ", [f"{carry.name} = {print_expression(carry.value)}" for carry in carries])


def _listed(head: str, items: Sequence[str]) -> list[str]:
    """The items of a list, each but the last with its comma, the first after `head`."""
    words = [f"{item}," for item in items[:-1]] + list(items[-1:])
    return [head + words[0], *words[1:]] if words else []
