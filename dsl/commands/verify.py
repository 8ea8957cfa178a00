"""`dslc verify`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

import click

from dsl.commands.options import FLOATS, device_option, json_option, model_options, spec_argument, weight_options
from dsl.commands.terminal import print_json, report
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.ir import Program
from dsl.types import DType

if TYPE_CHECKING:
    from dsl.verification.report import Report, Row


@click.command("verify")
@spec_argument
@click.option("-b", "--backend", "backends", multiple=True, metavar="NAME", help="Repeatable; all that are installed by default.")
@click.option("--size", "sizes", multiple=True, metavar="DIM=N,N...", help="Sizes of a symbolic dimension; repeatable.")
@click.option("--gradients", is_flag=True, help="Compare gradients: the targets, and central differences in float64.")
@click.option("--train", metavar="BLOCK", help="With --gradients: compare those of the losses of a `train` block instead.")
@model_options
@weight_options
@device_option
@json_option
def verify_command(
    spec: str,
    backends: tuple[str, ...],
    sizes: tuple[str, ...],
    gradients: bool,
    train: str | None,
    model: str | None,
    settings: dict[str, str],
    dtype: str,
    max_parameters: int,
    weights: str | None,
    seed: int,
    device: str,
    as_json: bool,
) -> int:
    """Prove that the backends compute what SPEC means: the same weights and inputs in each, against the NumPy reference, at several
    sizes of every symbolic dimension. A failure names the first operation that differs.

    \b
    dslc verify lenet.dl
    dslc verify gpt2.dl --set layers=2 --set width=64 --backend torch --size T=5,7,9
    dslc verify lenet.dl --gradients
    dslc verify vae.dl --gradients --train ELBO
    """
    from dsl.commands.verify_gradients import gradients_command
    from dsl.compiler import compile_training, elaborated
    from dsl.lower import weights_of
    from dsl.verification.compare import verify

    if train is not None:
        if not gradients:
            raise click.UsageError("--train goes with --gradients")
        wide, _ = compile_training(spec, settings, name=train, float_type=DType.F64)
        shipped, _ = compile_training(spec, settings, name=train, float_type=FLOATS[dtype])
        if not shipped.objectives:
            message = f"`{shipped.name}` minimises nothing, so it has no gradients"
            raise SpecError(
                Diagnostic("DL0536", message, help="without `--gradients` and `--train`, `dslc verify` compares the models")
            )
        owned = shipped.losses.parameters()
        given = weights_of(shipped.program, weights, updated=shipped.updated) if weights is not None else None
        return gradients_command(
            wide.losses,
            shipped.losses,
            list(backends) or None,
            seed=seed,
            sizes=_assignments(sizes, shipped.losses, seed) if sizes else 1,
            weights={name: given[name] for name in owned} if given is not None else None,
            device=device,
            as_json=as_json,
            loss=True,
        )
    made = elaborated(spec, settings, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
    if not as_json:
        report(made.warnings)
    if gradients:
        exact = elaborated(spec, settings, model=model, float_type=DType.F64, max_parameters=max_parameters)
        return gradients_command(
            exact.program,
            made.program,
            list(backends) or None,
            seed=seed,
            sizes=_assignments(sizes, made.program, seed) if sizes else 1,
            weights=weights_of(made.program, weights) if weights is not None else None,
            device=device,
            as_json=as_json,
        )
    found = verify(
        made.program,
        list(backends) or None,
        seed=seed,
        sizes=_assignments(sizes, made.program, seed),
        weights=weights_of(made.program, weights) if weights is not None else None,
        device=device,
    )
    if as_json:
        print_json(_as_json(found))
    else:
        _print_table(found)
        for refusal in found.refusals:
            click.echo(f"{refusal.backend} was left out: {refusal.diagnostics[0].message}", err=True)
        report(found.diagnostics)
    return 0 if found.ok else 1


def _assignments(texts: tuple[str, ...], program: Program, seed: int) -> int | list[Mapping[str, int]]:
    """How many sizes to try, or which: every combination of the given ones, the other dimensions chosen."""
    if not texts:
        return 3
    from dsl.verification.sizes import choose_sizes

    chosen = choose_sizes(program.main, 3, seed)
    given: dict[str, list[int]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if name not in chosen[0]:
            near = did_you_mean(name, chosen[0])
            known = ", ".join(f"`{n}`" for n in chosen[0]) or "none"
            help = f"did you mean `{near}`?" if near else f"the symbolic dimensions are {known}"
            raise SpecError(Diagnostic("DL0823", f"the model has no symbolic dimension `{name}`", help=help), exit_code=2)
        given[name] = [_size(text, value) for value in values.split(",")]
    combinations = [dict(zip(given, values, strict=True)) for values in product(*given.values())]
    return [{**chosen[i % len(chosen)], **combination} for i, combination in enumerate(combinations)]


def _size(text: str, value: str) -> int:
    if not value.strip().isdecimal() or int(value) < 1:
        raise click.BadParameter(f"`{text}` is not DIM=N,N...", param_hint="--size")
    return int(value)


def _sizes(row: Row) -> str:
    return " ".join(f"{name}={size}" for name, size in row.sizes.items())


def _print_table(found: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("backend", "entry", "mode", "sizes", "worst output"):
        table.add_column(title, overflow="fold")
    for title in ("error", "allowed"):
        table.add_column(title, justify="right")
    table.add_column("")
    for row in found.rows:
        verdict = "ok" if row.ok else "DIFFERS"
        cells = (row.backend, row.entry, row.mode, _sizes(row), row.output, f"{row.error:.2g}", f"{row.tolerance:.2g}")
        table.add_row(*cells, f"{verdict} ({row.note})" if row.note else verdict)
    Console(highlight=False, soft_wrap=True).print(table)
    failed = sum(not row.ok for row in found.rows)
    if not found.rows:
        click.echo("nothing was compared")
    else:
        click.echo(f"{failed} of {len(found.rows)} comparisons differ" if failed else f"all {len(found.rows)} comparisons agree")


def _as_json(found: Report) -> dict[str, object]:
    rows = [
        {
            "backend": r.backend,
            "entry": r.entry,
            "mode": r.mode,
            "sizes": dict(r.sizes),
            "output": r.output,
            "error": r.error if r.error != float("inf") else "inf",
            "tolerance": r.tolerance,
            "ok": r.ok,
            "note": r.note,
        }
        for r in found.rows
    ]
    refusals = [{"backend": r.backend, "diagnostics": [d.as_json() for d in r.diagnostics]} for r in found.refusals]
    return {"ok": found.ok, "rows": rows, "refusals": refusals, "diagnostics": [d.as_json() for d in found.diagnostics]}
