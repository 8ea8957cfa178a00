"""What to say where the parser meets a word that does not fit: one sentence on what was expected, never a list of terminals."""

from __future__ import annotations

from dsl.clause_errors import clause_error, clause_expected
from dsl.diagnostics import Diagnostic
from dsl.lalr import UnexpectedToken
from dsl.source import Span
from dsl.tokens import Token
from dsl.words import KEYWORDS

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
    "_REPEAT_OPEN": "expected the stages to repeat: `repeat(12) { Block(8) }`",
    "ELSE": "expected `{` or `if` after `else`",
}

_SPELLING = {
    "COMMA": ",", "COLON": ":", "EQUAL": "=", "LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "LBRACE": "{", "RBRACE": "}",
    "_REPEAT_OPEN": "{", "ARROW": "->", "IN": "in", "ELSE": "else", "IMPORT": "import", "DOT": ".", "AS": "as", "IF": "if",
    "CARRY": "carry", "LIMIT": "limit", "OVER": "over", "USING": "using", "EVERY": "every", "DECAY": "decay", "WITH": "with",
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
    if before is None:
        return Diagnostic("DL0101", _sentence(None, expected), words[0].span, _found(found))
    after = Span(before.source, before.end, before.end)
    if found is None or found.type == "_NEWLINE" or (found.type == "RBRACE" and _on_different_lines(before, found)):
        return Diagnostic("DL0102", _sentence(before, expected), after)
    if "_NEWLINE" in expected or "$END" in expected:
        return Diagnostic("DL0102", "expected the end of the statement", after, help=_why_not_ended(found, words, place))
    fix = "to compare, write `==`" if found.type == "EQUAL" and "EQUAL_TO" in expected else None
    return Diagnostic("DL0101", _sentence(before, expected), found.span, _found(found), help=fix)


def _on_different_lines(first: Token, second: Token) -> bool:
    return "\n" in first.source.text[first.end : second.start]


def _found(found: Token | None) -> str:
    if found is None or found.type == "_NEWLINE":
        return ""
    if found.value in KEYWORDS:
        return f"`{found.value}` is a reserved word"
    return f"not `{found.value}`" if len(found.value) < 30 else ""


# --- mistakes that are worth a sentence of their own --------------------------------------------------------------------------------


def _special(found: Token, before: Token | None, words: list[Token], place: int, expected: set[str]) -> Diagnostic | None:
    if before is None:
        message = "expected a definition: `model`, `module`, `fn`, `const`, `train`, `test`, `from` or `import`"
        return Diagnostic("DL0101", message, found.span, _found(found)) if expected >= _DEFINITIONS else None
    clause = clause_error(found, words, place, expected)
    if clause is not None:
        return clause
    if found.value in KEYWORDS and expected == {"NAME"}:
        message = f"`{found.value}` is a reserved word and cannot be a name"
        return Diagnostic("DL0109", message, found.span, help="choose another name")
    if found.type == "ELSE" and before.type == "_NEWLINE" and words[place - 2].type == "RBRACE":
        return Diagnostic("DL0101", "`else` stands on the line of the `}` before it", found.span, help="write `} else {`")
    if found.type == "DOT" and place + 1 < len(words) and words[place + 1].type == "INTEGER" and "INTEGER" in expected:
        number = Span(found.source, found.start, words[place + 1].end)
        return Diagnostic("DL0108", f"`{number.text}` is not a number", number, help=f"write `0{number.text}`")
    if found.type == "ARROW" and expected == {"LPAR", "LBRACE"}:
        head = f"{words[0].value} {words[1].value}"
        message = f"expected the inputs of the {words[0].value} in a second bracket before `->`"
        return Diagnostic("DL0101", message, found.span, help=f"write `{head}()(x: float[B, D]) -> ...`")
    if "EQUAL" in expected and found.type != "EQUAL" and _begins_statement(words, place):
        return _no_assignment(found, before, words, place)
    return None


def _begins_statement(words: list[Token], place: int) -> bool:
    """Whether nothing but names stands between the beginning of the statement and `place`."""
    start = place - 1
    while start > 0 and words[start].type in ("NAME", "COMMA"):
        start -= 1
    return words[start].type in ("_NEWLINE", "LBRACE") and start < place - 1


def _no_assignment(found: Token, before: Token, words: list[Token], place: int) -> Diagnostic:
    if place + 1 < len(words) and words[place + 1].type == "EQUAL" and words[place + 1].start == found.end:
        fix = f"write `{before.value} = {before.value} {found.value} ...`"
        return Diagnostic("DL0101", f"there is no `{found.value}=`", Span(found.source, found.start, found.end + 1), help=fix)
    after = Span(before.source, before.end, before.end)
    if found.type == "LSQB":
        return Diagnostic(
            "DL0101", "a tensor cannot be changed in place", found.span, help="bind a name to a new tensor: `y = where(...)`"
        )
    fix = "give the value a name, `y = ...`, or `return` it"
    return Diagnostic("DL0101", "expected `=`: an expression alone does nothing", after, help=fix)


def _why_not_ended(found: Token, words: list[Token], place: int) -> str:
    if found.type == "EQUAL":
        return "to compare, write `==`"
    if found.type == "LBRACE":
        return "only `if`, `else`, `for`, `scan`, `while`, `repeat(...)` and definitions have a body in braces"
    if _in_pipeline(words, place):
        return "a pipeline binds loosest: put it in brackets, `(x -> f) + y`"
    return "a new line starts the next statement"


_OPERATORS = frozenset("PLUS MINUS STAR SLASH AT POWER FLOOR_DIVIDE PERCENT IF AND OR EQUAL_TO NOT_EQUAL".split())  # noqa: SIM905


def _in_pipeline(words: list[Token], place: int) -> bool:
    if words[place].type not in _OPERATORS:
        return False
    while place > 0 and words[place - 1].type not in ("_NEWLINE", "LBRACE"):
        place -= 1
        if words[place].type == "ARROW":
            return True
    return False


# --- what would fit -----------------------------------------------------------------------------------------------------------------

_SPELLED = (
    "CARRY",
    "LIMIT",
    "USING",
    "EVERY",
    "DECAY",
    "LBRACE",
    "_REPEAT_OPEN",
    "IMPORT",
    "EQUAL",
    "COLON",
    "IN",
    "ELSE",
    "LPAR",
    "COMMA",
    "ARROW",
)


def _sentence(before: Token | None, expected: set[str]) -> str:
    """What was expected after a word."""
    wanted_clause = clause_expected(before, expected)
    if wanted_clause is not None:
        return wanted_clause
    if before is not None and before.type in _AFTER and expected & (_EXPRESSION | {"LBRACE"}):
        return _AFTER[before.type]
    after = "" if before is None or before.type == "_NEWLINE" or len(before.value) > 30 else f" after `{before.value}`"
    if expected >= _STATEMENTS:
        return "expected a statement"
    if expected >= _EXPRESSION:
        return f"expected an expression{after}"
    if expected == {"NAME"}:
        return f"expected a name{after}"
    if {"NAME", "LAYER", "FN"} <= expected:
        return f"expected a type{after}, such as `int` or `float[B, D]`"
    for closing in ("RPAR", "RSQB"):
        if closing in expected:
            return f"expected {'`,` or ' if 'COMMA' in expected else ''}`{_SPELLING[closing]}`{after}"
    if "NAME" in expected:
        return f"expected a name{after}"
    complete = "PLUS" in expected or "LBRACE" in expected  # an expression that may go on, as any may: not worth saying
    wanted = [kind for kind in _SPELLED if kind in expected and not (complete and kind in ("LPAR", "IN", "ARROW"))]
    if wanted:
        return f"expected {' or '.join(f'`{_SPELLING[kind]}`' for kind in wanted[:2])}{after}"
    return f"this word does not fit{after}"
