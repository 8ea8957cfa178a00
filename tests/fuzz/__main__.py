"""`python -m tests.fuzz`: many examples, in batches with processes of their own, and a folder for each finding."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dsl.ops.registry import CARDS
from tests.fuzz.batch import Outcome
from tests.fuzz.coverage import coverage_page
from tests.fuzz.examples import library
from tests.fuzz.process import batches, run_batches

JOBS = min(4, os.cpu_count() or 1)
console = Console()


@click.command()
@click.option("-n", "--count", default=1000, show_default=True, help="how many examples")
@click.option("--seed", default=0, show_default=True, help="the seed of the first batch; each has the next one")
@click.option("--out", default="build/fuzz", show_default=True, type=click.Path(path_type=Path), help="where findings go")
@click.option("--table", type=click.Path(path_type=Path), help="a page of how often each primitive and definition was reached")
@click.option("--jobs", default=JOBS, show_default=True, type=click.IntRange(1), help="how many batches run at once")
def main(count: int, seed: int, out: Path, table: Path | None, jobs: int) -> None:
    """Fuzz the compiler. Exit code 1 where something was found, where not all examples ran, or where a definition was never reached
    in 10000 of them; 130 where it was interrupted. What runs depends on the seed, and not on the number of jobs."""
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    sums, findings, began = Outcome(), list[str](), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    interrupted = False
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell has its background processes ignore the first
        signal.signal(number, signal.default_int_handler)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("fuzz", total=count)
        try:
            with closing(run_batches(batches(count, seed), out, jobs, lambda: progress.advance(task))) as outcomes:
                for outcome, found in outcomes:
                    sums.add(outcome)
                    findings += found
                    for line in found:
                        progress.console.print(line, markup=False, soft_wrap=True)
                    progress.update(task, description=f"fuzz: {len(findings)} findings")
                    if not console.is_terminal:
                        console.print(f"{sums.ran} of {count} examples, {len(findings)} findings")
        except KeyboardInterrupt:
            interrupted = True
    report(count, time.monotonic() - began, sums, findings)
    missing = sorted(name for name in {*CARDS, *library()} if not sums.reached[name])
    if missing and sums.ran >= 1000:
        console.print(f"never reached: {', '.join(missing)}", markup=False)
    if table is not None:
        table.write_text(coverage_page(sums, f"python -m tests.fuzz --count {count} --seed {seed} --table {table}"))
    if interrupted:
        sys.exit(130)
    sys.exit(1 if findings or sums.ran < count or (missing and count >= 10_000) else 0)


def report(count: int, whole: float, sums: Outcome, findings: list[str]) -> None:
    """What happened, in a few lines."""
    judged = sums.counts["text"]
    console.print(
        f"{sums.ran} of {count} examples ran, {judged} were judged, in {whole / 60:.1f} minutes; {len(findings)} findings"
    )
    console.print(", ".join(f"{name} {n}" for name, n in sorted(sums.counts.items())), markup=False)
    slowest = sorted(sums.seconds.items(), key=lambda item: -item[1])[:8]
    console.print("seconds: " + ", ".join(f"{name} {part:.0f}" for name, part in slowest), markup=False)


if __name__ == "__main__":
    main()
