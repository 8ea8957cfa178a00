"""`dslc doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dsl.commands.options import dimension_sizes, json_option, settings_of, spec_argument
from dsl.commands.terminal import print_json, report
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean, printable
from dsl.source import NOWHERE

if TYPE_CHECKING:
    from dsl.doctor.finding import Finding, Report

MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED", "skipped": "skipped"}


@click.command("doctor")
@spec_argument
@click.argument("name", metavar="[BLOCK]", required=False)
@click.option("--data", metavar="DATA", help="As for `dslc train`; rows are made up without it.")
@click.option("--batch", metavar="N", type=click.IntRange(min=1), default=32, show_default=True, help="Rows to look at.")
@click.option(
    "--size", "sizes", multiple=True, metavar="DIM=N", help="A symbolic dimension, such as the window of a text; repeatable."
)
@click.option("--check", "checks", multiple=True, metavar="NAME", help="This check only; repeatable.")
@click.option("--steps", metavar="N", type=click.IntRange(min=1), default=300, show_default=True, help="Steps to learn by heart.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of weights and rows.")
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, callback=settings_of, help="A hyper-parameter; repeatable."
)
@click.option("--layers", is_flag=True, help="Show the scale of each layer as well.")
@json_option
def doctor_command(
    spec: str,
    name: str | None,
    data: str | None,
    batch: int,
    sizes: tuple[str, ...],
    checks: tuple[str, ...],
    steps: int,
    seed: int,
    settings: dict[str, str],
    layers: bool,
    as_json: bool,
) -> int:
    """Examine the BLOCK of SPEC, the first `train` block by default, before anybody waits for a training.

    \b
    dslc doctor lenet.dl --data mnist5k
    dslc doctor gpt2.dl Pretrain --size T=33 --check overfit --check scale --layers

    \b
    initial-loss  the loss begins at chance: ln n for n classes, the variance of the target for squares
    inputs        every input changes a loss
    batch         no example sees another, batch statistics in training excepted
    units         no layer has mostly dead or saturated units
    scale         outputs and gradients are of one scale in all layers
    gradients     every parameter has a gradient
    overfit       a few rows can be learned by heart
    baseline      after that, predictions from an example's own input are better than those from another's

    Ends with code 1 where a check failed.
    """
    from dsl.compiler import compile_training
    from dsl.doctor.examine import CHECKS, examine

    for check in checks:
        if check not in CHECKS:
            near = did_you_mean(check, CHECKS)
            help = f"did you mean `{near}`?" if near else f"the checks are {', '.join(CHECKS)}"
            raise SpecError(Diagnostic("DL0848", f"there is no check `{check}`", help=help), exit_code=2)
    training, warnings = compile_training(spec, settings, name=name)
    if not as_json:
        report(warnings)
    found = examine(training, data=data, sizes=dimension_sizes(sizes), batch=batch, seed=seed, steps=steps, checks=checks)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found, layers=layers)
    return 0 if found.ok else 1


def _print(found: Report, *, layers: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for title in ("check", "", "what was found", "seen"):
        table.add_column(title, overflow="fold", no_wrap=title in ("check", ""))
    for finding in found.findings:
        cells = (finding.check, MARKS[finding.status.value], finding.message, finding.seen)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)
    for finding in found.findings:
        if finding.status.value in ("warning", "failed"):
            click.echo(_at_length(finding))
    if layers:
        _print_layers(console, found)
    counts = [sum(f.status.value == status for f in found.findings) for status in ("failed", "warning", "skipped")]
    said = [f"{n} {word}" for n, word in zip(counts, ("failed", "warned", "skipped"), strict=True) if n]
    rows = "rows that were made up" if found.data is None else f"rows of {printable(found.data)}"
    click.echo(f"{found.training}, on {rows}: {', '.join(said) if said else 'sound'}")


def _at_length(finding: Finding) -> str:
    """What was expected instead, and where."""
    place = str(finding.span) if finding.span.source is not NOWHERE.source else ""
    lines = [f"{finding.status.value}: {finding.check}: {finding.message}", f"  --> {place}" if place else ""]
    if place:
        lines.append(f"  | {finding.span.source.line(finding.span.line).strip()}")
    lines.append(f"  = seen: {finding.seen}; expected: {finding.expected}" if finding.expected else "")
    return "\n" + "\n".join(printable(line) for line in lines if line)


def _print_layers(console: object, found: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert isinstance(console, Console)
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    table.add_column("output (root mean square)", justify="right")
    table.add_column("gradient of its weights (norm)", justify="right")
    for row in found.scales:
        table.add_row(Text(printable(row.layer)), f"{row.output:.3g}", "" if row.gradient is None else f"{row.gradient:.3g}")
    console.print(table)


def _as_json(found: Report) -> dict[str, object]:
    from dsl.doctor.finding import json_number

    return {
        "ok": found.ok,
        "training": found.training,
        "data": found.data,
        "findings": [f.as_json() for f in found.findings],
        "layers": [
            {
                "layer": s.layer,
                "output": json_number(s.output),
                "gradient": None if s.gradient is None else json_number(s.gradient),
            }
            for s in found.scales
        ],
    }
