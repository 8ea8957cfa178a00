"""`dslc verify --gradients`: what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from dsl.commands.terminal import print_json, report

if TYPE_CHECKING:
    import numpy as np

    from dsl.ir import Program
    from dsl.verification.gradient_report import GradientReport


def gradients_command(
    exact: Program,
    program: Program,
    backends: Sequence[str] | None,
    *,
    seed: int,
    sizes: int | Sequence[Mapping[str, int]],
    weights: Mapping[str, np.ndarray] | None,
    device: str,
    as_json: bool,
    loss: bool = False,
) -> int:
    """Compare the gradients of a program, print what was found, and give the exit code."""
    from dsl.verification.gradients import verify_gradients

    found = verify_gradients(exact, program, backends, loss=loss, seed=seed, sizes=sizes, weights=weights, device=device)
    if as_json:
        print_json(as_plain(found))
    else:
        _print_table(found)
        for refusal in found.refusals:
            click.echo(f"{refusal.backend} was left out: {refusal.diagnostics[0].message}", err=True)
        for remark in found.remarks:
            click.echo(f"left out: {remark}", err=True)
        report(found.diagnostics)
    return 0 if found.ok else 1


def _print_table(found: GradientReport) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("gradients of", "against", "dtype", "entry", "mode", "sizes", "worst tensor"):
        table.add_column(title, overflow="fold")
    for title in ("error", "allowed"):
        table.add_column(title, justify="right")
    table.add_column("")
    for row in found.rows:
        verdict = "ok" if row.ok else "DIFFERS"
        sizes = " ".join(f"{name}={size}" for name, size in row.sizes.items())
        cells = (row.backend, row.against, row.dtype, row.entry, row.mode, sizes, row.tensor)
        table.add_row(*cells, f"{row.error:.2g}", f"{row.tolerance:.2g}", f"{verdict} ({row.note})" if row.note else verdict)
    Console(highlight=False, soft_wrap=True).print(table)
    failed = sum(not row.ok for row in found.rows)
    if not found.rows:
        click.echo("nothing was compared")
    else:
        click.echo(f"{failed} of {len(found.rows)} comparisons differ" if failed else f"all {len(found.rows)} comparisons agree")


def as_plain(found: GradientReport) -> dict[str, object]:
    """The report for `--json`."""
    rows = [
        {
            "backend": r.backend,
            "against": r.against,
            "dtype": r.dtype,
            "entry": r.entry,
            "mode": r.mode,
            "sizes": dict(r.sizes),
            "tensor": r.tensor,
            "error": r.error if r.error != float("inf") else "inf",
            "tolerance": r.tolerance,
            "ok": r.ok,
            "note": r.note,
        }
        for r in found.rows
    ]
    refusals = [{"backend": r.backend, "diagnostics": [d.as_json() for d in r.diagnostics]} for r in found.refusals]
    return {
        "ok": found.ok,
        "rows": rows,
        "refusals": refusals,
        "remarks": list(found.remarks),
        "diagnostics": [d.as_json() for d in found.diagnostics],
    }
