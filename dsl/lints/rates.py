"""Lints of the numbers of an optimiser: learning rates, momenta and decays that are out by orders of magnitude."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl.diagnostics import Diagnostic
from dsl.lints.place import warning
from dsl.training import Rule, Training

HIGHEST = {
    "sgd": 10.0, "adagrad": 10.0, "rmsprop": 1.0, "adam": 1.0, "adamw": 1.0, "nadam": 1.0, "adamax": 1.0, "lion": 0.1,
}  # fmt: skip
"""The learning rates above which nothing is known to learn. Rules that divide by the size of the gradient move each weight by about
the rate in every step."""

SHARE = 0.1
"""A schedule of fewer than this share of the steps of its block is over when the training has hardly begun."""


def out_of_range(training: Training) -> Iterator[Diagnostic]:
    """What is wrong with the numbers of the rules of a block."""
    for rule in [rule for objective in training.objectives for rule in objective.rules]:
        if rule.library:
            yield from _rate(rule, training)
            yield from _settings(rule)


def _rate(rule: Rule, training: Training) -> Iterator[Diagnostic]:
    highest = HIGHEST.get(rule.name)
    rates = list(_rates(rule))
    if highest is not None and any(rate > highest for rate in rates):
        message = f"a learning rate of {max(rates):g} is too high for `{rule.name}`"
        yield warning("DL1049", message, rule.span, help=f"usual are rates from 1e-5 to {highest / 10:g}")
    steps = training.hyper.get("steps")
    for node in rule.rate:
        hyper = node.target.graph.hyper if node.target is not None else {}
        length = hyper.get("steps")
        if isinstance(steps, int) and isinstance(length, int) and node.target is not None and length < SHARE * steps:
            message = f"`{node.target.graph.definition}` ends after {length} steps, and the training has {steps}"
            yield warning(
                "DL1049", message, rule.span, help="give it `steps=steps`: after its end the learning rate no longer changes"
            )


def _settings(rule: Rule) -> Iterator[Diagnostic]:
    momentum, decay, betas = (rule.settings.get(name) for name in ("momentum", "weight_decay", "betas"))
    if isinstance(momentum, int | float) and momentum >= 1:
        message = f"a momentum of {momentum:g} adds up all gradients for ever, or more: it is below 1"
        yield warning("DL1049", message, rule.span, help="usual is 0.9")
    if isinstance(decay, int | float) and decay > 1:
        message = f"a weight decay of {decay:g} leaves nothing but the decay to be learned"
        yield warning("DL1049", message, rule.span, help="usual are decays from 1e-5 to 0.1")
    if isinstance(betas, tuple) and len(betas) == 2:
        first, second = betas
        if isinstance(first, int | float) and isinstance(second, int | float) and first > second:
            message = f"the betas are {first:g} and {second:g}: the average of the squares is the slower one of the two"
            yield warning("DL1049", message, rule.span, help=f"the order is `betas=[{second:g}, {first:g}]`")


def _rates(rule: Rule) -> Iterator[float]:
    """The rates that a rule has at some time, as far as they are numbers: itself, or the peak of its schedule."""
    graph = rule.rate
    node = graph.node(graph.outputs["lr"])
    value = node.attributes.get("value")
    if node.op == "const" and isinstance(value, np.ndarray):
        yield float(value)
    for node in graph:
        hyper = node.target.graph.hyper if node.target is not None else {}
        yield from (float(rate) for name in ("rate", "peak", "high") if isinstance(rate := hyper.get(name), int | float))
