"""`dslc schedule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from dsl.commands.options import json_option, settings_of, spec_argument
from dsl.commands.terminal import print_json, report
from dsl.training import Rule, Training

SHOWN = 11
"""At how many steps the rates are shown unless `--at` says which."""

BEYOND = 10
"""How many trainings long a schedule is followed, to see whether it changes after the end."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The learning rate of one rule of an objective at some steps, and the first step after the end at which a rate that has come to rest
    changes again, if one is found."""

    objective: str
    rule: Rule
    values: Mapping[int, float]
    late: int | None


@click.command("schedule")
@spec_argument
@click.argument("block", required=False)
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="How many steps; the block's own `steps` by default.")
@click.option("--at", metavar="N,N,...", help="The steps to show; some of them by default.")
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, callback=settings_of, help="A hyper-parameter; repeatable."
)
@json_option
def schedule_command(
    spec: str, block: str | None, steps: int | None, at: str | None, settings: dict[str, str], as_json: bool
) -> None:
    """Print the learning rates of the BLOCK of SPEC, the first `train` block by default, before any training.

    A rate that no longer changes when the training ends, and would have changed after it, is reported.

    \b
    dslc schedule gpt2.dl
    dslc schedule gpt2.dl --set steps=5000 --at 0,100,1000,5000
    """
    from dsl.compiler import compile_training
    from dsl.types import DType

    training, warnings = compile_training(spec, settings, name=block, float_type=DType.F64)
    if not as_json:
        report(warnings)
    length = steps if steps is not None else training.hyper.get("steps")
    if not isinstance(length, int):
        raise click.UsageError("the block has no hyper-parameter `steps`: say how many with --steps")
    shown = _steps(at) if at is not None else sorted({round(i * length / (SHOWN - 1)) for i in range(SHOWN)})
    found = _rates(training, length, shown)
    if as_json:
        print_json([{"objective": r.objective, "rule": r.rule.name, "parameters": list(r.rule.parameters),
                     "rates": {str(n): v for n, v in r.values.items()}, "changes_after_the_end": r.late} for r in found])  # fmt: skip
        return
    _print_table(found, shown)
    for r in found:
        if r.late is not None:
            click.echo(
                f"{r.objective}: the rate of `{r.rule.name}` changes at step {r.late}, after the end at {length}", err=True
            )


def _steps(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"`{text}` is not N,N,...", param_hint="--at")
    return [int(part) for part in parts]


def _rates(training: Training, length: int, shown: Sequence[int]) -> list[Rates]:
    return [
        Rates(objective.name, rule, {n: rate(rule, n) for n in shown}, _late(rule, length))
        for objective in training.objectives
        for rule in objective.rules
    ]


def rate(rule: Rule, updates: int) -> float:
    """The learning rate of a rule after so many updates."""
    import numpy as np

    from backends.reference import Interpreter

    (found,) = Interpreter({}).run(rule.rate, {name: np.asarray(float(updates)) for name in rule.rate.inputs}).values()
    return float(found)


def _late(rule: Rule, length: int) -> int | None:
    """The first of some steps after the end at which a rate differs that was the same in the last tenth of the training."""
    last = rate(rule, length)
    if any(rate(rule, n) != last for n in {length - 1, length - length // 20, length - length // 10}):
        return None
    apart = next((n for n in range(length, BEYOND * length + 1, max(length // 10, 1)) if rate(rule, n) != last), None)
    if apart is None:
        return None
    low, high = length, apart
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rate(rule, middle) == last else (low, middle)
    return high


def _print_table(found: Sequence[Rates], shown: Sequence[int]) -> None:
    import sys

    from rich.console import Console
    from rich.table import Table

    from dsl.commands.terminal import wants_colour

    table = Table(box=None, pad_edge=False)
    table.add_column("step", justify="right")
    for r in found:
        several = sum(other.objective == r.objective for other in found) > 1
        table.add_column(f"{r.objective}: {r.rule.name}" + (f" {r.rule.parameters[0]}..." if several else ""), justify="right")
    for n in shown:
        table.add_row(str(n), *(f"{r.values[n]:.6g}" for r in found))
    Console(highlight=False, no_color=not wants_colour(sys.stdout)).print(table)
