"""A batch in a process of its own: caches of compiled programs go with it, and a target that aborts takes no more than it along."""

from __future__ import annotations

import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.batch import Outcome, run_batch
from tests.fuzz.finding import write_dead, write_finding
from tests.fuzz.oracles import Finding


def work(connection: Connection, count: int, seed: int, out: str) -> None:
    """A batch in a process of its own: its outcome by the connection, a True for each example before."""
    warnings.simplefilter("ignore")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = run_batch(count, seed, trail=folder / "under_way.dl", after=lambda: connection.send(True))
    if outcome.finding is not None and outcome.example is not None:
        where = write_finding(outcome.finding, folder, outcome.example.oracles, outcome.example.sizes)
        connection.send(f"{where}: {outcome.finding}")
    connection.send((outcome.ran, outcome.reached, outcome.counts, dict(outcome.seconds)))
    connection.close()


def one_batch(count: int, seed: int, out: Path, step: Callable[[], None]) -> tuple[Outcome, list[str]]:
    """The outcome of a batch, and a line for each finding; a process that dies is one."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sending, count, seed, str(out)))
    process.start()
    sending.close()
    outcome, findings = Outcome(), []
    try:
        while True:
            match receiving.recv():
                case True:
                    outcome.ran += 1
                    step()
                case str(line):
                    findings.append(line)
                case (int(ran), Counter() as reached, Counter() as counts, dict(seconds)):
                    outcome = Outcome(ran, reached, counts, seconds)
    except EOFError:
        process.join()
    if process.exitcode != 0:
        trail = out / "under_way.dl"
        spec = trail.read_text() if trail.exists() else ""
        died = Finding("process", f"ended with exit code {process.exitcode}", spec)
        findings.append(f"{write_dead(died, out)}: {died}")
    return outcome, findings
