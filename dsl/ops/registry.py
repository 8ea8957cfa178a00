"""The registry of primitives: the cards of all families, by name."""

from __future__ import annotations

from dsl.ops import control, conv, create, elementwise, fourier, index, linear, matrix, parts, pool, random, reduce, shape
from dsl.ops.card import Card

_FAMILIES: tuple[tuple[str, tuple[Card, ...]], ...] = (
    ("elementwise", elementwise.CARDS),
    ("reduce", reduce.CARDS),
    ("linear", linear.CARDS),
    ("matrix", matrix.CARDS),
    ("fourier", fourier.CARDS),
    ("conv", (*conv.CARDS, *pool.CARDS)),
    ("shape", (*shape.CARDS, *parts.CARDS)),
    ("index", index.CARDS),
    ("create", create.CARDS),
    ("random", random.CARDS),
    ("control", control.CARDS),
)

CARDS: dict[str, Card] = {card.name: card for _, cards in _FAMILIES for card in cards}


def card(name: str) -> Card:
    """The card of that name; KeyError when there is no such primitive."""
    return CARDS[name]


def families() -> dict[str, tuple[Card, ...]]:
    """The cards by family, in the order of the documentation."""
    return dict(_FAMILIES)
