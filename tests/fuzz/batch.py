"""A number of examples from one seed, until the first finding, which is shrunk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from tests.fuzz.bytes import same_elsewhere
from tests.fuzz.examples import Example, examples, judge
from tests.fuzz.oracles import Finding, Tally
from tests.fuzz.scope import CheckerFailed

RECOMPILED = 25
"""How many specs of a batch are compiled again in another process."""


SHRINKS = 120
"""How many smaller specs are tried. Each costs as much as the first."""


@dataclass(slots=True)
class Outcome:
    """What came of a batch: how many examples ran, what they reached, and the finding with its example, shrunk."""

    ran: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    finding: Finding | None = None
    example: Example | None = None
    specs: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count what came of another batch as well."""
        self.ran += other.ran
        self.reached += other.reached
        self.counts += other.counts
        for name, part in other.seconds.items():
            self.seconds[name] += part


def run_batch(count: int, seed_: int, *, trail: Path | None = None, before: Callable[[bool], None] = lambda _: None) -> Outcome:
    """Run examples. `trail` holds the example under way, should the process die of it; `before` is called
    before each: with True, or with False for a smaller one of what was found."""
    outcome = Outcome()
    tally = Tally(outcome.counts, outcome.seconds)
    shrunk = 0

    @seed(seed_)
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink], print_blob=False, report_multiple_bugs=False,
    )  # fmt: skip
    @given(examples())
    def run(example: Example) -> None:
        nonlocal shrunk
        shrinking = outcome.finding is not None
        if shrinking and example == outcome.example:
            raise outcome.finding  # type: ignore[misc]
        shrunk += shrinking
        if shrunk > SHRINKS:
            return
        outcome.ran += not shrinking
        before(not shrinking)
        if trail is not None:
            trail.write_text(f"# {example.oracles}\n{example.spec}")
        try:
            judged = judge(example, tally, outcome.reached, only=outcome.finding.oracle if outcome.finding is not None else None)
        except Finding as found:
            outcome.finding, outcome.example = found, example
            raise
        outcome.specs += [example.spec] * judged

    try:
        run()
        elsewhere = outcome.specs[:: max(1, len(outcome.specs) // RECOMPILED)]
        with tally.timing("bytes"):
            same_elsewhere(elsewhere)
        tally.counts["bytes"] += len(elsewhere)
    except Finding as found:
        outcome.finding = found
        outcome.example = outcome.example or Example(found.spec, (), 1)
    except Flaky:  # shrinking ended at SHRINKS, with another spec than the last that failed
        if outcome.finding is None:
            raise
    except CheckerFailed as failed:
        outcome.finding = Finding("check", f"{type(failed.__cause__).__name__}: {failed.__cause__}", str(failed.args[0]))
        outcome.example = Example(outcome.finding.spec, (), 1)
    return outcome
