"""The page docs/fuzz-coverage.md: how often each primitive, each definition of the library and each oracle was reached in a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dsl.ops.registry import CARDS
from tests.fuzz.batch import Outcome
from tests.fuzz.layers import library

PAGE = """# What random specs reach

    {command}

Of {ran} examples ([how they are made](fuzzing.md)), so many reached each primitive and each definition of the library, and so many were
held against each oracle.

## Primitives

{primitives}

## Library

{library}

## Oracles

A target that refuses a spec with a diagnostic is counted as refusing. `undecided` are points at which the noise of the arithmetic is
larger than any tolerance.

{oracles}
"""
PAIRS = 4
"""How many names stand in a row."""


def coverage_page(sums: Outcome, command: str) -> str:
    """The page, as Markdown."""
    return PAGE.format(
        command=command,
        ran=f"{sums.ran:,}",
        primitives=_table(list(CARDS), sums.reached),
        library=_table(sorted(library()), sums.reached),
        oracles=_table(sorted(sums.counts), sums.counts),
    )


def _table(names: Sequence[str], counts: Counter[str]) -> str:
    cells = [f"`{name}` | {counts[name]}" for name in names]
    cells += [" | "] * (-len(cells) % PAIRS)
    rows = [cells[i : i + PAIRS] for i in range(0, len(cells), PAIRS)]
    heads = ["| | examples " * PAIRS + "|", "|---|---:" * PAIRS + "|"]
    return "\n".join([*heads, *(f"| {' | '.join(row)} |" for row in rows)])
