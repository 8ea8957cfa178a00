"""Random derivations of grammar/dl.lark: texts that are well-formed and mean nothing.

Each rule is expanded by one of its productions, drawn freely until the budget is spent, and then by the one that ends soonest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from hypothesis import strategies as st
from lark import Lark
from lark.grammar import NonTerminal, Symbol

from grammar import DL_GRAMMAR
from tests.fuzz_input.mutations import WORDS

BUDGET = 60
"""How many symbols are expanded freely."""

NAMES = (
    "x", "y", "B", "T", "D", "n", "h", "Net", "Block", "Linear", "Conv2d", "LSTM", "BatchNorm", "Dropout", "Embedding", "relu",
    "softmax", "concat", "sum",
    "mean", "reshape", "permute", "matmul", "einsum", "where", "cast", "zeros", "arange", "pad", "split", "topk", "max", "conv",
    "grad", "range", "len",
    "float", "int", "bool", "str", "ints", "list", "dtype", "any", "training", "params", "forward", "self", "adam", "sgd",
    "normal", "over", "shape",
    "f16", "i64", "out", "size", "enumerate", "zip", "min", "abs", "norm", "sort", "one_hot", "rearrange", "copy", "of", "every",
    "with", "language", "cnn",
)  # fmt: skip

SPELLED: Mapping[str, Sequence[str]] = {
    "NAME": NAMES,
    "INTEGER": ("0", "1", "2", "3", "7", "64", "1_000", "4294967296", "9223372036854775808", "9" * 30),
    "FLOAT": ("0.0", "0.5", "1.0", "1e-3", "1e300", "1e-320", "3.0"),
    "STRING": ('""', '"mean"', '"same"', '"b d -> d b"', '"**.bias"', '"\\n\\u{1F600}"', '"(a b) -> a b"', '"b i, i d -> b d"'),
    "_NEWLINE": ("\n",),
    "_REPEAT_OPEN": ("{",),
}
"""Spellings of the terminals that are not one word each."""

HEADS = (
    "model Net(n: int = 3)(x: float[B, T, 4], y: int[B]) -> (out: float[B, 4]) {\n",
    "model Net()(x: float[B, 3, 8, 8]) {\n",
    "module Block(n: int)(x: float[..., D]) {\n",
    "train Fit(steps: int = 10)(x: float[B, 4], y: int[B]) {\n",
    'test "it" {\n',
    "fn f(x, y=2) {\n",
)
"""Heads in which derived statements meet tensors and symbols."""


@cache
def _grammar() -> Lark:
    return Lark(DL_GRAMMAR, parser="lalr", start=["definition", "block", "expression", "value", "type"], keep_all_tokens=True)


@cache
def _productions() -> Mapping[str, Sequence[Sequence[Symbol]]]:
    found: dict[str, list[Sequence[Symbol]]] = {}
    for rule in _grammar().rules:
        found.setdefault(rule.origin.name, []).append(rule.expansion)
    return found


@cache
def _depths() -> Mapping[str, int]:
    """How many levels the shallowest derivation of a rule has."""
    depths: dict[str, int] = {}
    while len(depths) < len(_productions()):
        for name, choices in _productions().items():
            known = [_depth_of(choice, depths) for choice in choices if all(_known(s, depths) for s in choice)]
            if known and name not in depths:
                depths[name] = 1 + min(known)
    return depths


def _known(symbol: Symbol, depths: Mapping[str, int]) -> bool:
    return not isinstance(symbol, NonTerminal) or symbol.name in depths


def _depth_of(choice: Sequence[Symbol], depths: Mapping[str, int]) -> int:
    return max((depths[s.name] for s in choice if isinstance(s, NonTerminal)), default=0)


def _spellings(terminal: str) -> Sequence[str]:
    if terminal in SPELLED:
        return SPELLED[terminal]
    pattern = _grammar().get_terminal(terminal).pattern
    assert pattern.type == "str", f"{terminal} needs a spelling"
    return (str(pattern.value),)


@st.composite
def derived(draw: st.DrawFn, start: str, budget: int = BUDGET) -> str:
    """A text that follows from the rule `start`."""
    waiting: list[Symbol] = [NonTerminal(start)]
    words: list[str] = []
    while waiting:
        symbol = waiting.pop()
        if not isinstance(symbol, NonTerminal):
            words.append(draw(st.sampled_from(_spellings(symbol.name))))
            continue
        choices = _productions()[symbol.name]
        if budget <= 0:
            chosen = min(choices, key=lambda choice: _depth_of(choice, _depths()))
        else:
            chosen = choices[draw(st.integers(0, len(choices) - 1))] if len(choices) > 1 else choices[0]
        budget -= 1
        waiting.extend(reversed(chosen))
    return " ".join(words).replace("\n ", "\n")


@st.composite
def nonsense(draw: st.DrawFn) -> str:
    """A file of derived definitions, or of derived statements in heads with inputs."""
    parts = [
        draw(derived("definition"))
        if draw(st.booleans())
        else draw(st.sampled_from(HEADS)) + "\n".join(draw(st.lists(_statement(), max_size=5))) + "\n}"
        for _ in range(draw(st.integers(1, 3)))
    ]
    return "\n".join(parts) + "\n"


def _statement() -> st.SearchStrategy[str]:
    expression = derived("expression", 25)
    return st.one_of(
        derived("_statement", 30),
        st.builds(lambda name, value: f"{name} = {value}", st.sampled_from(NAMES), expression),
        expression.map(lambda value: f"return {value}"),
        st.builds(lambda value, stage: f"x = x -> {value}({stage})", st.sampled_from(NAMES), st.sampled_from(WORDS)),
    )
