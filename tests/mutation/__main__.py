"""`python -m tests.mutation`: mutate, run, and write docs/mutants.md."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

from tests.mutation.mutators import Mutant
from tests.mutation.page import written_page
from tests.mutation.reach import Reach, read_reach, record, together
from tests.mutation.subjects import PATHS, ROOT, TESTS, own_tests, rules, same_program, sample
from tests.mutation.trial import Verdict, exchangeable, in_child, try_collected, try_from_the_start, warm_up

FOLDER = ROOT / "build" / "mutants"
BUDGETS = 4.0, 24.0
"""Seconds of tests for one mutant: those that come first, and all."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every mutant, in place of a sample")
    parser.add_argument("--share", type=float, default=0.06, help="the part of each file's mutants that is drawn")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--file", action="append", help="only this file; repeatable")
    parser.add_argument("--again", action="store_true", help="keep the verdicts of earlier runs, and try again who survived")
    parser.add_argument("--keep", action="store_true", help="keep the verdicts of earlier runs, and try only new ones")
    parser.add_argument("--fresh", action="store_true", help="measure anew what the tests reach, though their files are the same")
    parser.add_argument("--list", action="store_true", help="only say how many mutants there are")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "mutants.md")
    return parser.parse_args()


def drawn(chosen: argparse.Namespace) -> list[Mutant]:
    found: list[Mutant] = []
    for path in PATHS:
        if not chosen.file or path in chosen.file:
            there = rules(path)
            found += there if chosen.all else sample(there, max(6, round(len(there) * chosen.share)), chosen.seed)
    return found


def _settled(mutant: Mutant, verdicts: Mapping[str, Verdict], chosen: argparse.Namespace) -> bool:
    """Whether there is nothing to try: its verdict is known, or equivalent.toml says that it means the same."""
    known = verdicts.get(mutant.key)
    return same_program(mutant) is not None or (known is not None and (chosen.keep or (chosen.again and known.killed)))


def reached(fresh: bool) -> Reach:
    """Which test reaches what, measured for each file of tests where it has changed."""
    parts = []
    for test in TESTS:
        state = hashlib.sha1((ROOT / test).read_bytes()).hexdigest()[:12]
        out = FOLDER / f"{Path(test).stem}-{state}.json"
        if fresh or not out.exists():
            print(f"measuring what {test} reaches ...", flush=True)
            in_child(lambda: record(ROOT, PATHS, [test], out), FOLDER / "reach.log", 1800)  # noqa: B023
        parts.append(read_reach(out))
    return together(parts)


def witnesses(mutant: Mutant, reach: Reach) -> list[str]:
    """The tests for a mutant: the likeliest first, then others that reach it."""
    return list(dict.fromkeys(test for budget in BUDGETS for test in reach.of(mutant, own_tests(mutant), budget)))


def main() -> None:
    chosen = options()
    if chosen.list:
        for path in PATHS:
            print(f"{len(rules(path)):6} {path}")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = FOLDER / "verdicts.json"
    verdicts = {k: Verdict(**v) for k, v in json.loads(results.read_text()).items()} if results.exists() else {}
    warm_up()
    reach = reached(chosen.fresh)
    found = drawn(chosen)
    work = [(m, witnesses(m, reach)) for m in found if not _settled(m, verdicts, chosen)]
    began = time.monotonic()

    def said(mutant: Mutant, verdict: Verdict) -> None:
        verdicts[mutant.key] = verdict
        results.write_text(json.dumps({k: asdict(v) for k, v in verdicts.items()}, indent=0))
        end = f"killed by {verdict.by}" if verdict.killed else f"SURVIVED {verdict.tests} tests"
        print(f"{time.monotonic() - began:.0f} s {mutant.path}:{mutant.line} {mutant.change}: {end}", flush=True)

    early = {m.key for m, tests in work if tests and (reach.at_import(m) or not exchangeable(ROOT, m))}
    print(f"{len(found)} mutants, {len(work)} to try, {len(early)} of them from the start", flush=True)
    for mutant, tests in work:
        if not tests:
            said(mutant, Verdict(False, "", 0))
        elif mutant.key in early:
            said(mutant, try_from_the_start(ROOT, mutant, tests, FOLDER))
    try_collected(ROOT, [(m, tests) for m, tests in work if tests and m.key not in early], TESTS, FOLDER, said)
    tried = [(m, verdicts[m.key]) for m in found if same_program(m) is None]
    chosen.page.write_text(written_page(tried, found, chosen.seed))
    survived = sum(not verdict.killed for _, verdict in tried)
    print(f"{survived} of {len(found)} survived; {chosen.page}")


main()
