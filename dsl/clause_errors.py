"""What to say where the clauses of a loop, of a training or of a layer do not fit: which are missing, and in which order they stand."""

from __future__ import annotations

from dsl.diagnostics import Diagnostic
from dsl.source import Span
from dsl.tokens import Token
from dsl.words import CLAUSES, FOLLOWERS

_SHAPES = {
    "SCAN": "scan x_t in x over T reverse=true length=n carry h = start { ... }",
    "WHILE": "while going carry x = start limit 100 { ... }",
    "MINIMIZE": "minimize loss over A, B using adam(1e-3) for PATTERN, sgd(0.1) clip 1.0 every 2",
}
"""The first word of a statement and all its clauses in their order."""

_CLAUSES = {word: CLAUSES[word] | {"carry" if word != "MINIMIZE" else "for"} for word in _SHAPES}


def clause_expected(before: Token | None, expected: set[str]) -> str | None:
    """What was expected after a word, where it is a clause."""
    after = "" if before is None else f" after `{before.value}`"
    if "USING" in expected:
        return f"expected `using` and an optimizer{after}"
    if {"CARRY", "LBRACE"} <= expected:
        return f"expected `carry` or `{{`{after}"
    if before is not None and before.type == "FOR" and "LSQB" in expected:
        return 'expected the parameters that the optimizer is for: `for "**.bias"`, several in brackets'
    return None


def clause_error(found: Token, words: list[Token], place: int, expected: set[str]) -> Diagnostic | None:
    """The diagnostic for a word in the head of a statement with clauses, if more can be said than what was expected."""
    before = words[place - 1]
    first = words[statement_start(words, place)]
    if words[0].type == "TRAIN":
        head = _train_head(found, words, expected)
        if head is not None:
            return head
    shape = _SHAPES.get(first.type)
    if shape is not None and "IN" not in expected and found.value in _CLAUSES[first.type]:
        message = f"`{found.value}` does not fit here: the clauses of `{first.value}` have an order, and each stands once"
        return Diagnostic("DL0101", message, found.span, help=f"write `{shape}`")
    if first.type == "WHILE" and expected & {"CARRY", "LIMIT"} and found.type in ("LBRACE", "_NEWLINE"):
        missing = "says what it carries" if "CARRY" in expected else "has a limit"
        after = Span(before.source, before.end, before.end)
        return Diagnostic("DL0101", f"a `while` {missing}", after, help=f"write `{shape}`")
    if found.value == "over" and first.type == "FOR":
        fix = f"a loop over a dimension is a `scan`: `{_SHAPES['SCAN']}`"
        return Diagnostic("DL0101", "`for` runs at compile time, over a list", found.span, help=fix)
    if "USING" in expected and found.type == "COMMA":
        return Diagnostic(
            "DL0101", "expected `using` before the optimizer", found.span, help="write `minimize loss using adam(1e-3)`"
        )
    if first.value == "maximize" and before is first:
        return Diagnostic("DL0101", "there is no `maximize`", first.span, help="write `minimize -value using ...`")
    if found.value == "backward":
        return Diagnostic("DL0101", "`backward` belongs to a function: `fn f(x) = y backward(g) = dx`", found.span)
    return _layer(found, before, first)


def _layer(found: Token, before: Token, first: Token) -> Diagnostic | None:
    """Copies and other parameters are declared with `layer`."""
    if first.type == "LAYER":
        if before.value in FOLLOWERS and before.type == "NAME" and found.type == "NAME":
            rest = "every 500" if before.value == "copy" else "decay 0.999"
            after = Span(before.source, before.end, before.end)
            fix = f"write `{before.value} of {found.value} {rest}`"
            return Diagnostic("DL0101", f"expected `of` after `{before.value}`", after, help=fix)
    elif first.type != "NAME":
        return None
    elif found.value == "with":
        fix = f"write `layer {first.value} = ...`"
        return Diagnostic("DL0101", "a layer `with` other parameters is declared by `layer`", found.span, help=fix)
    elif found.value == "of" and before.value in FOLLOWERS:
        fix = f"write `layer {first.value} = {before.value} of ...`"
        return Diagnostic("DL0101", "a layer that follows another is declared by `layer`", before.span, help=fix)
    return None


def _train_head(found: Token, words: list[Token], expected: set[str]) -> Diagnostic | None:
    if expected == {"LPAR"} and len(words) > 1 and words[1].type == "NAME":
        message = "a `train` has two brackets, hyper-parameters and inputs"
        return Diagnostic("DL0101", message, found.span, help=f"write `train {words[1].value}(steps: int)(x: float[B, D]) {{`")
    if expected == {"LBRACE"} and found.type == "ARROW":
        return Diagnostic(
            "DL0101", "a `train` has no results", found.span, help="what it reports are metrics: `metric name = value`"
        )
    return None


def statement_start(words: list[Token], place: int) -> int:
    """Where the statement with the word before `place` begins."""
    depth = 0
    while place > 0:
        kind = words[place - 1].type
        if kind in ("RPAR", "RSQB", "RBRACE"):
            depth += 1
        elif depth and kind in ("LPAR", "LSQB", "LBRACE", "_REPEAT_OPEN"):
            depth -= 1
        elif not depth and kind in ("_NEWLINE", "LBRACE"):
            break
        place -= 1
    return min(place, len(words) - 1)
