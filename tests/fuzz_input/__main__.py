"""`make fuzz-input N=10000`: every target at length. Each finding is shrunk and kept as a folder with its files and command line.

A fault is found once: the search goes on for others.
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz_input.cases import Case, Cases
from tests.fuzz_input.oracle import problem, write_files
from tests.fuzz_input.targets import TARGETS, TRAININGS
from tests.fuzz_input.trainings import training_sandbox
from tests.sandbox import READERS, WARM, Sandbox

QUIET = settings(
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


class Found(AssertionError):
    """A fault that was not known."""


class Search:
    """One target: examples until there are enough of them, over and over where a fault is found."""

    def __init__(self, name: str, cases: Cases, sandbox: Sandbox, findings: Path) -> None:
        self.name = name
        self.cases = cases
        self.sandbox = sandbox
        self.findings = findings
        self.known: set[str] = set()
        self.count = 0
        self.repeats: Counter[str] = Counter()

    def run(self, examples: int, first_seed: int) -> None:
        """Try so many examples; print how it goes."""
        start = time.monotonic()
        attempt = 0
        while self.count < examples:
            self._round(examples - self.count, first_seed + attempt)
            attempt += 1
        seconds = time.monotonic() - start
        print(f"{self.name}: {self.count} examples in {seconds:.0f} s, {len(self.known)} findings", flush=True)

    def _round(self, examples: int, number: int) -> None:
        smallest: list[Case] = []

        @seed(number)
        @settings(QUIET, max_examples=examples)
        @given(self.cases)
        def search(case: Case) -> None:
            self.count += 1
            if self.count % 2000 == 0:
                print(f"{self.name}: {self.count} ...", flush=True)
            found = problem(self.sandbox, case)
            if found is None or found in self.known:
                self.repeats[found or ""] += 1
                return
            if smallest and found != self._last:
                return
            self._last = found
            smallest[:] = [case]
            raise Found(found)

        try:
            search()
        except Found:
            self._keep(self._last, smallest[0])

    _last = ""

    def _keep(self, fault: str, case: Case) -> None:
        self.known.add(fault)
        place = self.findings / f"{self.name}-{len(self.known)}"
        place.mkdir(parents=True, exist_ok=True)
        write_files(place, case)
        (place / "command").write_text(f"# {fault}\ndslc {shlex.join(case.arguments)}\n", errors="surrogateescape")
        print(f"{self.name}: FOUND {fault}: {place}", flush=True)


def _sandbox() -> Sandbox:
    return Sandbox(*WARM, modules=READERS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz-input")
    parser.add_argument("-n", type=int, default=1000, help="examples of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz-input"), help="the folder for findings")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all by default")
    options = parser.parse_args()
    found = 0
    wanted = options.targets or list(TARGETS)
    for started, names in ((_sandbox, set(TARGETS) - set(TRAININGS)), (training_sandbox, set(TRAININGS))):
        if not names & set(wanted):
            continue
        with started() as sandbox:
            for name in (name for name in wanted if name in names):
                search = Search(name, TARGETS[name](), sandbox, options.findings)
                search.run(options.n, options.seed)
                found += len(search.known)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
