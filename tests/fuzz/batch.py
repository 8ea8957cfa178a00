"""A number of examples from one seed, until the first finding, which is shrunk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.bytes import same_elsewhere
from tests.fuzz.examples import Example, examples, judge
from tests.fuzz.oracles import Finding, Tally
from tests.fuzz.scope import CheckerFailed
from tests.fuzz.shrink import shrink

RECOMPILED = 25
"""How many specs of a batch are compiled again in another process."""


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

    def judged(example: Example, tally: Tally, reached: Counter[str], only: str | None = None) -> bool:
        before(only is None)
        if trail is not None:
            trail.write_text(f"# {example.oracles}\n{example.spec}")
        return judge(example, tally, reached, only=only)

    @seed(seed_)
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate], print_blob=False, report_multiple_bugs=False,
    )  # fmt: skip
    @given(examples())
    def run(example: Example) -> None:
        if outcome.finding is not None:
            raise outcome.finding  # Hypothesis asks for it once more
        outcome.ran += 1
        try:
            outcome.specs += [example.spec] * judged(example, tally, outcome.reached)
        except Finding as found:
            outcome.finding, outcome.example = found, example
            raise

    try:
        run()
        elsewhere = outcome.specs[:: max(1, len(outcome.specs) // RECOMPILED)]
        with tally.timing("bytes"):
            same_elsewhere(elsewhere)
        tally.counts["bytes"] += len(elsewhere)
    except Finding as found:
        outcome.finding = found
        if outcome.example is None:
            outcome.example = Example(found.spec, (), 1)
        else:
            _shrink(outcome, lambda example, oracle: judged(example, Tally(), Counter(), oracle))
    except CheckerFailed as failed:
        outcome.finding = Finding("check", f"{type(failed.__cause__).__name__}: {failed.__cause__}", str(failed.args[0]))
        outcome.example = Example(outcome.finding.spec, (), 1)
    return outcome


def _shrink(outcome: Outcome, judged: Callable[[Example, str], bool]) -> None:
    """Put what is left of the example and its finding in their place."""
    first, example = outcome.finding, outcome.example
    assert first is not None and example is not None

    def same(spec: str) -> bool:
        try:
            judged(replace(example, spec=spec), first.oracle)
        except Finding as found:
            if (found.oracle, found.kind) == (first.oracle, first.kind):
                outcome.finding, outcome.example = found, replace(example, spec=spec)
                return True
        return False

    shrink(example.spec, same)
