"""The words of the language: operators, reserved words, and the words that have a meaning in one kind of statement only."""

from __future__ import annotations

import re

OPERATORS = {
    "->": "ARROW", "...": "ELLIPSIS", "==": "EQUAL_TO", "!=": "NOT_EQUAL", "<=": "AT_MOST", ">=": "AT_LEAST", "//": "FLOOR_DIVIDE",
    "**": "POWER", "<": "LESSTHAN", ">": "MORETHAN", "=": "EQUAL", "+": "PLUS", "-": "MINUS", "*": "STAR", "/": "SLASH", "%": "PERCENT",
    "@": "AT", ",": "COMMA", ":": "COLON", ".": "DOT", "(": "LPAR", ")": "RPAR", "[": "LSQB", "]": "RSQB", "{": "LBRACE", "}": "RBRACE",
}  # fmt: skip

KEYWORDS = frozenset(
    "model module fn train test const import from as layer param buffer update def return require assert if else for in repeat "  # noqa: SIM905
    "scan carry emit minimize metric true false none and or not".split()
)
"""Words that cannot be names."""

DEFINITIONS = frozenset({"model", "module", "fn", "const", "from", "import", "test", "train"})
"""Words that begin a definition."""

NO_CLAUSES: frozenset[str] = frozenset()
LAYER_CLAUSES = frozenset({"of", "with", "every", "decay"})
CLAUSES = {
    "SCAN": frozenset({"over"}),
    "WHILE": frozenset({"limit"}),
    "MINIMIZE": frozenset({"over", "using", "clip", "clip_value", "every"}),
    "LAYER": LAYER_CLAUSES,
}
"""For the first word of a statement, the words that begin its clauses. They are names everywhere else."""

CONTEXTUAL = frozenset({"while", "backward", *(word for clauses in CLAUSES.values() for word in clauses)})
"""Words of which the place says whether they are names."""

FOLLOWERS = ("copy", "ema")
"""What may stand before `of`."""

ENDS_OPERAND = frozenset({"NAME", "INTEGER", "FLOAT", "STRING", "TRUE", "FALSE", "NONE", "RPAR", "RSQB", "RBRACE"})
"""After one of these no operand can stand: a contextual word is no name there."""

CONTINUES_LINE = frozenset(
    {"ARROW", "CARRY", "BACKWARD", "OVER", "USING", "CLIP", "CLIP_VALUE", "EVERY", "LIMIT", "WITH", "DECAY"}
)
"""Words that go on with the statement of the line before."""

BEGINS_CONDITION = re.compile(r"[ \t]*(?:[A-Za-z_(0-9\"]|[-+](?!=))|[ \t]+\[")
"""What follows a `while` that is no name."""
BINDS_NAME = re.compile(r"[ \t]*(?:=(?!=)|,|:)")
"""What follows a name at the beginning of a line that is bound there."""
