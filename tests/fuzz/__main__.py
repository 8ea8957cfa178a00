"""`python -m tests.fuzz`: many examples, in batches with processes of their own, and a folder for each finding."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dsl.ops.registry import CARDS
from tests.fuzz.examples import library
from tests.fuzz.process import one_batch

BATCH = 500
console = Console()


@click.command()
@click.option("-n", "--count", default=1000, show_default=True, help="how many examples")
@click.option("--seed", default=0, show_default=True, help="the seed of the first batch; each has the next one")
@click.option("--out", default="build/fuzz", show_default=True, type=click.Path(path_type=Path), help="where findings go")
@click.option("--table", type=click.Path(path_type=Path), help="write how often each primitive and definition was reached")
def main(count: int, seed: int, out: Path, table: Path | None) -> None:
    """Fuzz the compiler. Exit code 1 where something was found, or where a definition was never reached in 10000 examples."""
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    reached: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    findings: list[str] = []
    seconds: dict[str, float] = {}
    ran, batch, began = 0, 0, time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("fuzz", total=count)
        while ran < count:
            done, found = one_batch(min(BATCH, count - ran), seed + batch, out, lambda: progress.advance(task))
            ran, batch = ran + max(done.ran, 1), batch + 1
            reached += done.reached
            counts += done.counts
            for name, part in done.seconds.items():
                seconds[name] = seconds.get(name, 0.0) + part
            findings += found
            for line in found:
                progress.console.print(line, markup=False)
            progress.update(task, completed=ran, description=f"fuzz: {len(findings)} findings")
    report(ran, time.monotonic() - began, counts, seconds, findings)
    missing = sorted(name for name in {*CARDS, *library()} if not reached[name])
    if missing:
        console.print(f"never reached: {', '.join(missing)}", markup=False)
    if table is not None:
        table.write_text(coverage_table(ran, reached))
    sys.exit(1 if findings or (missing and ran >= 10_000) else 0)


def report(ran: int, whole: float, counts: Counter[str], seconds: dict[str, float], findings: list[str]) -> None:
    """What happened, in a few lines."""
    console.print(f"{ran} examples in {whole / 60:.1f} minutes, {whole / max(ran, 1):.2f} s each, {len(findings)} findings")
    console.print(", ".join(f"{name} {n}" for name, n in sorted(counts.items())), markup=False)
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:8]
    console.print("seconds: " + ", ".join(f"{name} {part:.0f}" for name, part in slowest), markup=False)


def coverage_table(ran: int, reached: Counter[str]) -> str:
    """How often each primitive and each definition of the library was reached, as Markdown."""
    lines = [f"Of {ran} examples, so many reached it.", "", "| primitive | examples |", "|---|---|"]
    lines += [f"| `{name}` | {reached[name]} |" for name in CARDS]
    lines += ["", "| library | examples |", "|---|---|"]
    lines += [f"| `{name}` | {reached[name]} |" for name in sorted(library())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
