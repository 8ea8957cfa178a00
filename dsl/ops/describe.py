"""The cards for people: one description of each function, for `dslc ops` and docs/ops.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dsl.ops.card import REQUIRED, Accepts, Attribute, Card, Operand, shown
from dsl.ops.registry import families
from dsl.ops.sugar import SUGARS, Sugar


@dataclass(frozen=True, slots=True)
class Argument:
    """An operand or attribute in words."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Described:
    """What there is to say of one function. `primitive` is false for those that lower to others."""

    name: str
    family: str
    signature: str
    summary: str
    notes: str
    arguments: tuple[Argument, ...]
    examples: tuple[str, ...]
    primitive: bool

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "family": self.family,
            "signature": self.signature,
            "summary": self.summary,
            "notes": self.notes,
            "arguments": [{"name": a.name, "description": a.description} for a in self.arguments],
            "examples": list(self.examples),
            "primitive": self.primitive,
        }


def described_functions() -> dict[str, Described]:
    """Every primitive and every function that lowers to primitives, by name, family by family."""
    found: dict[str, Described] = {}
    for family, cards in families().items():
        for card in cards:
            found[card.name] = _described(card, primitive=True)
        for sugar in SUGARS:
            if sugar.family == family and sugar.name not in found:
                found[sugar.name] = _described(sugar, primitive=False)
    for sugar in SUGARS:
        found.setdefault(sugar.name, _described(sugar, primitive=False))
    return found


def _described(one: Card | Sugar, *, primitive: bool) -> Described:
    return Described(
        one.name,
        one.family,
        _signature(one),
        one.summary,
        one.notes,
        (*(Argument(o.name, _operand(o)) for o in one.operands), *(Argument(a.name, _attribute(a)) for a in one.attributes)),
        tuple(f"{e.expression}  is  {_result(e.result)}" for e in one.examples),
        primitive,
    )


def _signature(one: Card | Sugar) -> str:
    if isinstance(one, Card):
        return one.signature
    parts = [f"*{o.name}" if o.variadic else o.name for o in one.operands]
    parts += [a.name if a.default is REQUIRED else f"{a.name}={shown(a.default)}" for a in one.attributes]
    return f"{one.name}({', '.join([*parts, *(['**sizes'] if one.extra_sizes else [])])})"


def _operand(operand: Operand) -> str:
    kind = "tensors" if operand.variadic else "a tensor"
    of = "" if operand.accepts is Accepts.ANY else f" ({operand.accepts.value})"
    return f"{kind}{of}{', or none' if operand.optional else ''}"


def _attribute(argument: Attribute) -> str:
    words = argument.form.value
    if argument.choices:
        words = " or ".join(f'"{choice}"' for choice in argument.choices)
    if argument.low is not None and argument.high is not None:
        words += f", from {argument.low:g} to {argument.high:g}"
    elif argument.low is not None:
        words += f", at least {argument.low:g}"
    elif argument.high is not None:
        words += f", at most {argument.high:g}"
    return words if argument.default is REQUIRED else f"{words}; {shown(argument.default)} by default"


def _result(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(_result, value))}]"
        case tuple():
            return f"({', '.join(map(_result, value))})"
        case _:
            return str(value)


def markdown_page() -> str:
    """docs/ops.md."""
    parts = [
        "# Functions\n",
        "What the language is built on, made from the cards in `dsl/ops` by `dslc ops --markdown`. Layers and further functions are",
        "written in the language itself, in `dsl/lib`. A function marked *short form* lowers to others, so no backend knows it.\n",
    ]
    family = ""
    for one in described_functions().values():
        if one.family != family:
            family = one.family
            parts.append(f"## {family.capitalize()}\n")
        parts.extend(_section(one))
    return "\n".join(parts)


def _section(one: Described) -> Iterable[str]:
    yield f"### {one.name}\n"
    yield f"`{one.signature}`{'' if one.primitive else ' (*short form*)'}\n"
    yield f"{one.summary}{' ' + one.notes if one.notes else ''}\n"
    if one.arguments:
        yield from (f"- `{a.name}`: {a.description}" for a in one.arguments)
        yield ""
    yield "```"
    yield from one.examples
    yield "```\n"
