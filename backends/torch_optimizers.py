"""Which update rules of the library torch.optim has, and how they are spelled there.

A rule is here only if torch computes the same formula, up to rounding, for all settings for which a text is given; tests run both. What
has no text is written out by the emitter. `{parameters}` and `{rate}` stand for the parameters and the learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping

from backends.writer import quoted
from dsl.ir import StaticValue

Settings = Mapping[str, StaticValue]

CLASSES = {
    "sgd": "SGD",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
    "adadelta": "Adadelta",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "NAdam",
    "adamax": "Adamax",
}
"""The class in torch.optim for each rule; its arguments have the names of the rule's settings."""

SAID_EVEN_IF_ZERO = {"adamw": "weight_decay"}
"""Settings whose default in torch is not zero, so that zero has to be written."""

LBFGS_DEFAULTS: Settings = {
    "max_iter": 20, "max_eval": None, "tolerance_grad": 1e-7, "tolerance_change": 1e-9, "history_size": 100,
}  # fmt: skip
"""Settings of torch.optim.LBFGS that are not written where they are these; there is no line search where none is written."""


def spelled(rule: str, settings: Settings) -> str | None:
    """The optimiser of torch for a rule of the library with all its settings but `lr`; None where torch has another formula or none."""
    if rule == "lbfgs":
        said = {n: v for n, v in settings.items() if n != "line_search" and v != LBFGS_DEFAULTS[n]}
        search = {"line_search_fn": "strong_wolfe"} if settings["line_search"] else {}
        return _call("LBFGS", {**said, **search})
    if rule not in CLASSES or settings.get("centered"):  # torch takes the root of a variance that rounding may make negative
        return None
    if settings.get("eps_root") or not settings.get("corrected", True):  # torch has neither
        return None
    said = {n: v for n, v in settings.items() if (n != "corrected" and v) or SAID_EVEN_IF_ZERO.get(rule) == n or n == "eps"}
    return _call(CLASSES[rule], said)


def _call(name: str, said: Settings) -> str:
    arguments = ", ".join(["{parameters}", "lr={rate}", *(f"{name}={_text(value)}" for name, value in said.items())])
    return f"torch.optim.{name}({arguments})"


def _text(value: object) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)
