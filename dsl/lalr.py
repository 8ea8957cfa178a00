"""The LALR(1) automaton that lark makes of grammar/dl.lark, driven by a loop of our own.

The loop calls one function for each rule that makes a node, and takes chains of rules that make none (`sum: product: factor: ...`) in
one step, which makes it several times faster than lark's own. The tables are plain numbers and names; making them takes longer than
parsing most specs, so they are kept as JSON in the user's cache directory, if that can be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeAlias

from dsl.tokens import Token

END = "$END"

Value: TypeAlias = object
Callback: TypeAlias = Callable[[list[Value]], Value]


class Rule(NamedTuple):
    """`origin: ...` of `size` symbols. `callback` is the name of the builder's method, empty for a rule that only passes its children on;
    `inline` are the positions of the children that are lists to be taken apart."""

    origin: str
    size: int
    callback: str
    inline: tuple[int, ...]
    passes: bool


class Tables(NamedTuple):
    """For each state, what to do on each terminal (`n >= 0`: shift and go to state n; `n < 0`: reduce by rule `~n`) and where to go after
    reducing to each rule."""

    actions: list[dict[str, int]]
    gotos: list[dict[str, int]]
    rules: list[Rule]
    starts: dict[str, tuple[int, int]]


class UnexpectedToken(Exception):
    """`words[index]`, or the end of the input, does not fit; `expected` are the terminals that would."""

    def __init__(self, index: int, expected: set[str]) -> None:
        super().__init__(index)
        self.index = index
        self.expected = expected


Reduction: TypeAlias = tuple[int, str, Callback | None]
"""How many values a rule takes, what it makes of them, and how; None for a rule of one symbol that passes it on."""


class Automaton:
    """The tables with the functions that make nodes."""

    def __init__(self, tables: Tables, callbacks: list[Callback]) -> None:
        self.tables = tables
        units = [rule.passes and rule.size == 1 for rule in tables.rules]
        reductions: list[Reduction] = [
            (rule.size, rule.origin, None if unit else callback)
            for rule, unit, callback in zip(tables.rules, units, callbacks, strict=True)
        ]
        self._actions: list[dict[str, int | Reduction]] = [
            {kind: action if action >= 0 else reductions[~action] for kind, action in row.items()} for row in tables.actions
        ]
        self._shortcuts: dict[tuple[int, int, str], int] = {}

    def parse(self, words: Sequence[Token], start: str) -> Value:
        """What the callbacks make of the words by the rule `start`."""
        actions, shortcuts, gotos = self._actions, self._shortcuts, self.tables.gotos
        first, last = self.tables.starts[start]
        states = [first]
        values: list[Value] = []
        end = Token(END, "", words[-1].source, words[-1].end, words[-1].end)
        for word in (*words, end):
            kind = word.type
            while True:
                action = actions[states[-1]].get(kind)
                if action.__class__ is int:
                    states.append(action)
                    values.append(word)
                    break
                if action is None:
                    index = next((i for i, other in enumerate(words) if other is word), len(words))
                    raise UnexpectedToken(index, self._accepted(states))
                size, origin, callback = action  # type: ignore[misc]
                if callback is None:
                    key = (states[-2], states[-1], kind)
                elif size == 1:
                    values[-1] = callback([values[-1]])
                    below = states[-2]
                    key = (below, gotos[below][origin], kind)
                elif size:
                    children = values[-size:]
                    del values[-size:]
                    del states[-size:]
                    values.append(callback(children))
                    below = states[-1]
                    states.append(below)
                    key = (below, gotos[below][origin], kind)
                else:
                    values.append(callback([]))
                    below = states[-1]
                    states.append(below)
                    key = (below, gotos[below][origin], kind)
                target = shortcuts.get(key)
                states[-1] = target = self._shortcut(key) if target is None else target
                if target == last and word is end:
                    break
        return values[-1]

    def _shortcut(self, key: tuple[int, int, str]) -> int:
        """The state after all reductions by rules of one symbol that only pass it on."""
        below, state, kind = key
        while True:
            action = self._actions[state].get(kind)
            if not isinstance(action, tuple) or action[2] is not None:
                break
            state = self.tables.gotos[below][action[1]]
            if kind == END and (below, state) in self.tables.starts.values():
                break
        self._shortcuts[key] = state
        return state

    def _accepted(self, states: list[int]) -> set[str]:
        return {kind for kind in self.tables.actions[states[-1]] if self._accepts(list(states), kind)}

    def _accepts(self, states: list[int], kind: str) -> bool:
        ends = {last for _, last in self.tables.starts.values()}
        while True:
            action = self.tables.actions[states[-1]].get(kind)
            if action is None:
                return False
            if action >= 0:
                return True
            rule = self.tables.rules[~action]
            if rule.size:
                del states[-rule.size :]
            states.append(self.tables.gotos[states[-1]][rule.origin])
            if kind == END and states[-1] in ends:
                return True


def automaton(grammar: str, starts: tuple[str, ...], builder: object) -> Automaton:
    """The automaton of a grammar, with the builder's method of a rule's name (or alias) for each rule."""
    tables = load_tables(grammar, starts)
    return Automaton(tables, [_callback(rule, builder) for rule in tables.rules])


def _callback(rule: Rule, builder: object) -> Callback:
    make: Callback = getattr(builder, rule.callback) if rule.callback else list
    inline = rule.inline
    if not inline and rule.passes and rule.size == 1:
        return lambda children: children[0]
    if not inline:
        return make

    def flatten(children: list[Value]) -> Value:
        flat: list[Value] = []
        for position, child in enumerate(children):
            if position not in inline:
                flat.append(child)
            elif isinstance(child, list):
                flat = child if not flat else flat + child
        return flat[0] if rule.passes and len(flat) == 1 else make(flat)

    return flatten if rule.callback or rule.passes else _grow(inline)


def _grow(inline: tuple[int, ...]) -> Callback:
    """A list of unknown length grows at its end, in place."""

    def grow(children: list[Value]) -> Value:
        grown: list[Value] = []
        for position, child in enumerate(children):
            if position not in inline:
                grown.append(child)
            elif isinstance(child, list):
                if grown:
                    grown.extend(child)
                else:
                    grown = child
        return grown

    return grow


# --- the tables -------------------------------------------------------------------------------------------------------------------


@cache
def load_tables(grammar: str, starts: tuple[str, ...]) -> Tables:
    """The tables from the cache, or made anew."""
    key = hashlib.sha256("\0".join((_lark_version(), grammar, *starts)).encode()).hexdigest()[:24]
    place = _cache_directory() / f"grammar-{key}.json"
    try:
        return _from_json(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        tables = make_tables(grammar, starts)
        _keep(place, tables)
        return tables


def _lark_version() -> str:
    """The text that names lark's version: reading it takes a hundredth of the time that importing lark takes."""
    found = find_spec("lark")
    return Path(found.origin).read_text(encoding="utf-8") if found is not None and found.origin is not None else ""


def make_tables(grammar: str, starts: tuple[str, ...], *, strict: bool = False) -> Tables:
    """Let lark make the tables; with `strict` it refuses any conflict in the grammar."""
    import lark
    from lark.lexer import Lexer
    from lark.lexer import Token as LarkToken
    from lark.parsers.lalr_analysis import Shift

    class NoLexer(Lexer):
        """Words come from dsl/tokens.py."""

        def __init__(self, lexer_conf: object) -> None:
            pass

        def lex(self, lexer_state: object, parser_state: object) -> Iterator[LarkToken]:
            return iter(())

    compiled = lark.Lark(
        grammar, parser="lalr", lexer=NoLexer, start=list(starts), keep_all_tokens=True, maybe_placeholders=False, strict=strict
    )
    table = compiled.parser.parser._parse_table
    numbers = {rule: number for number, rule in enumerate(compiled.rules)}
    states = {state: number for number, state in enumerate(table.states)}
    actions: list[dict[str, int]] = [{} for _ in states]
    gotos: list[dict[str, int]] = [{} for _ in states]
    rules: list[Rule] = []
    for state, row in table.states.items():
        for symbol, (action, target) in row.items():
            number = states[target] if action is Shift else ~numbers[target]
            (actions if symbol.isupper() or symbol == END else gotos)[states[state]][str(symbol)] = number
    for rule in compiled.rules:
        origin = str(rule.origin.name)
        helper = origin.startswith("_")
        inline = tuple(i for i, symbol in enumerate(rule.expansion) if not symbol.is_term and symbol.name.startswith("_"))
        callback = "" if helper else str(rule.alias or origin)
        passes = not helper and rule.options.expand1 and not rule.alias
        rules.append(Rule(origin, len(rule.expansion), "" if passes and len(rule.expansion) == 1 else callback, inline, passes))
    ends = {start: (states[table.start_states[start]], states[table.end_states[start]]) for start in starts}
    return Tables(actions, gotos, rules, ends)


def _from_json(text: str) -> Tables:
    actions, gotos, rules, starts = json.loads(text)
    made = [Rule(origin, size, callback, tuple(inline), passes) for origin, size, callback, inline, passes in rules]
    return Tables(actions, gotos, made, {start: (first, last) for start, (first, last) in starts.items()})


def _keep(place: Path, tables: Tables) -> None:
    """Write the cache whole or not at all; without it the next run is as slow as this one."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=".grammar-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(tables, file, separators=(",", ":"))
        os.replace(temporary, place)
    except OSError:
        return


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "dslc"
    try:
        return Path.home() / ".cache" / "dslc"
    except RuntimeError:  # no home directory
        return Path(os.devnull) / "dslc"
