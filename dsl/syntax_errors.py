"""What to say where the parser meets a word that does not fit: one sentence on what was expected, never a list of terminals."""

from __future__ import annotations

from dsl.diagnostics import Diagnostic
from dsl.lalr import UnexpectedToken
from dsl.source import Span
from dsl.tokens import KEYWORDS, NOT_AVAILABLE, Token

_EXPRESSION = {"NAME", "INTEGER", "STRING", "LPAR", "LSQB"}
_STATEMENTS = {"LAYER", "PARAM", "RETURN", "REQUIRE"}
_DEFINITIONS = {"MODEL", "MODULE", "FN", "CONST"}

_AFTER = {
    "ARROW": "expected a stage after `->`: a layer or function to apply, such as `relu` or `Linear(10)`",
    "MODEL": "expected the name of the model",
    "MODULE": "expected the name of the module",
    "FN": "expected the name of the function",
    "DEF": "expected the name of the entry point",
    "CONST": "expected the name of the constant",
    "LAYER": "expected the name of the layer",
    "PARAM": "expected the name of the parameter",
    "BUFFER": "expected the name of the buffer",
    "UPDATE": "expected the name of a buffer",
    "TEST": "expected the title of the test, a string",
    "FROM": "expected a file, as words joined with dots: `from language.blocks import Block`",
    "IMPORT": "expected the name to import",
    "AS": "expected a name",
    "DOT": "expected a name after `.`",
    "FOR": "expected a name, or names: `for i, width in enumerate(widths) { ... }`",
    "ELSE": "expected `{` or `if` after `else`",
}

_SPELLING = {
    "COMMA": ",", "COLON": ":", "EQUAL": "=", "LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "LBRACE": "{", "RBRACE": "}",
    "_REPEAT_OPEN": "{", "ARROW": "->", "IN": "in", "ELSE": "else", "IMPORT": "import", "DOT": ".", "AS": "as", "IF": "if",
}  # fmt: skip


def describe(error: UnexpectedToken, words: list[Token]) -> Diagnostic:
    """The diagnostic for an unexpected word among the words of a definition."""
    place, expected = error.index, error.expected
    found = words[place] if place < len(words) else None
    before = words[place - 1] if place else None
    if found is not None:
        special = _special(found, before, words, place, expected)
        if special is not None:
            return special
    at_end = found is None or found.type == "_NEWLINE"
    if before is not None and (at_end or "_NEWLINE" in expected or "$END" in expected):
        after = Span(before.source, before.end, before.end)
        if at_end:
            return Diagnostic("DL0102", _sentence(before, expected), after)
        assert found is not None
        return Diagnostic("DL0102", "expected the end of the statement", after, help=_why_not_ended(found, words, place))
    return Diagnostic("DL0101", _sentence(before, expected), words[min(place, len(words) - 1)].span, _found(found))


def _found(found: Token | None) -> str:
    if found is None or found.type == "_NEWLINE":
        return ""
    if found.value in KEYWORDS:
        return f"`{found.value}` is a reserved word"
    return f"not `{found.value}`" if len(found.value) < 30 else ""


def _special(found: Token, before: Token | None, words: list[Token], place: int, expected: set[str]) -> Diagnostic | None:
    """Messages for mistakes that are worth a sentence of their own."""
    unavailable = next((word for word in (found, before) if word is not None and word.value in NOT_AVAILABLE), None)
    if unavailable is not None and unavailable.type != "STRING":
        return Diagnostic("DL0110", f"`{unavailable.value}` is not available in this version", unavailable.span)
    if found.value in KEYWORDS and expected == {"NAME"}:
        message = f"`{found.value}` is a reserved word and cannot be a name"
        return Diagnostic("DL0109", message, found.span, help="choose another name")
    if found.type == "ELSE" and before is not None and place and words[place - 2 : place - 1] and before.type == "_NEWLINE":
        return Diagnostic("DL0101", "`else` stands on the line of the `}` before it", found.span, help="write `} else {`")
    if place == 0:
        message = "expected a definition: `model`, `module`, `fn`, `const`, `test`, `from` or `import`"
        return Diagnostic("DL0101", message, found.span, _found(found))
    assert before is not None
    if before.type in ("NAME", "RPAR", "RSQB", "COMMA") and "EQUAL" in expected and _begins_statement(words, place):
        if found.type != "EQUAL":
            fix = "give the value a name, `y = ...`, or `return` it"
            return Diagnostic("DL0101", "expected `=`: an expression alone does nothing", found.span, _found(found), help=fix)
    return None


def _begins_statement(words: list[Token], place: int) -> bool:
    start = place - 1
    while start > 0 and words[start].type in ("NAME", "COMMA"):
        start -= 1
    return words[start].type in ("_NEWLINE", "LBRACE")


def _why_not_ended(found: Token, words: list[Token], place: int) -> str:
    if found.type == "EQUAL":
        return "`=` binds one name or several, `a, b = ...`; to compare, write `==`"
    if found.type == "LBRACE":
        return "only `if`, `else`, `for`, `repeat(...)` and definitions have a body in braces"
    if _in_pipeline(words, place):
        return "a pipeline binds loosest: put it in brackets, `(x -> f) + y`"
    return "a new line starts the next statement"


def _in_pipeline(words: list[Token], place: int) -> bool:
    operators = {"PLUS", "MINUS", "STAR", "SLASH", "AT", "POWER", "FLOOR_DIVIDE", "PERCENT", "IF", "AND", "OR", "EQUAL_TO", "NOT_EQUAL"}
    if words[place].type not in operators:
        return False
    while place > 0 and words[place - 1].type not in ("_NEWLINE", "LBRACE"):
        place -= 1
        if words[place].type == "ARROW":
            return True
    return False


def _sentence(before: Token | None, expected: set[str]) -> str:
    if before is not None and before.type in _AFTER and expected & (_EXPRESSION | {"LBRACE"}):
        return _AFTER[before.type]
    after = "" if before is None or before.type == "_NEWLINE" else f" after `{before.value}`" if len(before.value) < 30 else ""
    if expected >= _STATEMENTS:
        return "expected a statement"
    if expected >= _DEFINITIONS:
        return "expected a definition"
    if expected >= _EXPRESSION:
        return f"expected an expression{after}"
    if expected == {"NAME"}:
        return f"expected a name{after}"
    if {"NAME", "LAYER", "FN"} <= expected:
        return f"expected a type{after}, such as `int` or `float[B, D]`"
    spelled = [f"`{_SPELLING[kind]}`" for kind in ("EQUAL", "COLON", "LBRACE", "_REPEAT_OPEN", "IN", "IMPORT", "ELSE", "LPAR", "COMMA", "RPAR", "RSQB",
                                                   "ARROW") if kind in expected]  # fmt: skip
    if spelled:
        return f"expected {' or '.join(spelled[:3])}{after}"
    if "NAME" in expected:
        return f"expected a name{after}"
    return f"this word does not fit{after}"
