"""Batches in processes of their own, several at once: caches of compiled programs go with a process, and a target that aborts takes no
more than its batch along.

A batch ends at its first finding. What is left of it then begins again with a seed of its own, so that as many examples run as were
asked for, and the same ones whatever the number of processes.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from tests.fuzz.batch import Outcome, run_batch
from tests.fuzz.finding import write_dead, write_finding
from tests.fuzz.oracles import Finding

BATCH = 500
AGAIN = 1_000_000
"""How much further on the seed is of what a finding left of a batch."""

SILENCE = 300.0
"""After so many seconds without a word, a batch is taken to hang. A batch speaks at each example, and at each smaller one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """So many examples from a seed."""

    count: int
    seed: int


def batches(count: int, seed: int) -> list[Batch]:
    """The batches that make up `count` examples, each with the next seed."""
    return [Batch(min(BATCH, count - begun), seed + i) for i, begun in enumerate(range(0, count, BATCH))]


def work(connection: Connection, batch: Batch, out: str, trail: str) -> None:
    """A batch, in its process: what happens goes by the connection. True is an example begun, False a smaller one of a finding."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    warnings.simplefilter("ignore")
    outcome = run_batch(batch.count, batch.seed, trail=Path(trail), before=connection.send)
    if outcome.finding is not None and outcome.example is not None:
        where = write_finding(outcome.finding, Path(out), outcome.example.oracles, outcome.example.sizes)
        connection.send(f"{where}: {outcome.finding}")
    connection.send((outcome.ran, outcome.reached, outcome.counts, dict(outcome.seconds)))
    connection.close()


@dataclass(slots=True)
class Running:
    """A batch under way. `trail` holds the example that it is at."""

    batch: Batch
    out: Path
    trail: Path
    process: SpawnProcess
    connection: Connection
    outcome: Outcome = field(default_factory=Outcome)
    findings: list[str] = field(default_factory=list)
    heard: float = field(default_factory=time.monotonic)

    @classmethod
    def started(cls, batch: Batch, out: Path) -> Running:
        """The batch in a new process."""
        context = multiprocessing.get_context("spawn")
        receiving, sending = context.Pipe(duplex=False)
        trail = out / f"under_way-{batch.seed}.dl"
        process = context.Process(target=work, args=(sending, batch, str(out), str(trail)))
        process.start()
        sending.close()
        return cls(batch, out, trail, process, receiving)

    def listen(self, step: Callable[[], None]) -> bool:
        """Take the next thing that the process says; False where it has ended. One that dies is a finding."""
        self.heard = time.monotonic()
        try:
            said = self.connection.recv()
        except EOFError:
            self._ended()
            return False
        match said:
            case bool(begun):
                if begun:
                    self.outcome.ran += 1
                    step()
            case str(line):
                self.findings.append(line)
            case (int(ran), Counter() as reached, Counter() as counts, dict(seconds)):
                self.outcome = Outcome(ran, reached, counts, seconds)
        return True

    def _ended(self) -> None:
        self.process.join()
        if self.process.exitcode != 0:
            spec = self.trail.read_text() if self.trail.exists() else ""
            died = Finding("process", f"ended with exit code {self.process.exitcode}", spec)
            self.findings.append(f"{write_dead(died, self.out)}: {died}")
        self.trail.unlink(missing_ok=True)

    def left(self) -> Batch | None:
        """What a finding left of the batch; None where all ran, or none, as where the process cannot begin."""
        count = self.batch.count - self.outcome.ran
        return Batch(count, self.batch.seed + AGAIN) if count > 0 and self.outcome.ran else None

    def end(self) -> None:
        """End the process: it hangs, or nobody waits for it."""
        self.process.kill()


def run_batches(planned: list[Batch], out: Path, jobs: int, step: Callable[[], None]) -> Generator[tuple[Outcome, list[str]]]:
    """The outcome of each batch as it ends, and a line for each finding; `jobs` run at once, and `step` is called for each example.
    Nothing runs on where the caller stops."""
    out.mkdir(parents=True, exist_ok=True)
    waiting = deque(planned)
    running: dict[Connection, Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                started = Running.started(waiting.popleft(), out)
                running[started.connection] = started
            for connection in wait(list(running), timeout=SILENCE / 10):
                assert isinstance(connection, Connection)
                if not running[connection].listen(step):
                    done = running.pop(connection)
                    left = done.left()
                    waiting.extendleft([left] if left is not None else [])
                    yield done.outcome, done.findings
            for each in running.values():
                if time.monotonic() - each.heard > SILENCE:
                    each.end()
    finally:
        for each in running.values():
            each.end()
            each.process.join()
            each.trail.unlink(missing_ok=True)
