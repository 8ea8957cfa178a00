"""What the commands print: diagnostics on standard error, JSON and text on standard output or in a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence

import click

from dsl.diagnostics import Diagnostic, printable, render
from dsl.files import write_atomically

MOST_SHOWN = 100
"""How many findings are printed; `--json` gives all."""


def wants_colour(stream: object = None) -> bool:
    """Whether to colour what goes to `stream` (standard error by default)."""
    chosen = sys.stderr if stream is None else stream
    is_terminal = getattr(chosen, "isatty", lambda: False)()
    return bool(is_terminal) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def report(diagnostics: Sequence[Diagnostic]) -> None:
    """All diagnostics on standard error, errors first, and how many there were."""
    if not diagnostics:
        return
    colour = wants_colour()
    ordered = sorted(diagnostics, key=lambda d: d.severity != "error")
    for diagnostic in ordered[:MOST_SHOWN]:
        click.echo(render(diagnostic, colour=colour) + "\n", err=True, color=colour)
    if len(ordered) > MOST_SHOWN:
        click.echo(f"{len(ordered) - MOST_SHOWN:,} more are not shown\n", err=True)
    click.echo(tally(diagnostics), err=True)


def tally(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`."""
    severities = [d.severity for d in diagnostics]
    counts = [(severities.count(kind), kind) for kind in ("error", "warning")]
    return ", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for n, kind in counts if n)


def tell(text: str, *, err: bool = False) -> None:
    """A line with names in it that are not ours: what would change how a terminal shows it is written out."""
    click.echo(printable(text), err=err)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    write_text("-", json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: str, text: str, *, inputs: Iterable[str] = ()) -> None:
    """Text to a file, wholly or not at all, or to standard output for `-`."""
    write_atomically(path, text.encode(errors="backslashreplace"), inputs=inputs)  # names of files need not be text
