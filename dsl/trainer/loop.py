"""The loop of a training: batches in the order of the seed, reports, validation, checkpoints.

All that is random is a function of the seed and the number of the step, so that a training that was interrupted goes on to the same
numbers. Losses are read some steps after they were computed, so that the device never waits for the host.
"""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from backends.base import Number, TrainingSession
from dsl.data.dataset import Dataset
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.trainer.checkpoint import Checkpoints, Memory, compare, no_checkpoint
from dsl.trainer.curves import VALIDATION, Curves, draw, tensorboard
from dsl.trainer.describe import described
from dsl.trainer.failure import NotFinite, explain
from dsl.trainer.job import Job, batches_from
from dsl.trainer.plateaus import Plateaus
from dsl.trainer.settings import Outcome, Progress, Reporter, Settings

READ_EVERY = 0.25
"""Seconds between two readings of losses."""

LAST = 20
"""Steps whose mean is what a training ends with."""

MOST_PENDING = 256
"""Steps whose losses are read together at most."""

LEAST_BETWEEN = 50
"""Steps between two validations, and two checkpoints, unless the user asks for fewer: an epoch of little data is short."""


def train(job: Job, settings: Settings, reporter: Reporter) -> Outcome:
    """Train from the beginning or from the last checkpoint to the last step, or until it is interrupted."""
    checkpoints = Checkpoints(settings.out, job.training.program, job.training.updated)
    if settings.resume:
        checkpoints.pointer()  # where there is no training no folder is made for one
    with checkpoints.alone():
        return _Loop(job, settings, checkpoints, reporter).run()


class _Loop:
    def __init__(self, job: Job, settings: Settings, checkpoints: Checkpoints, reporter: Reporter) -> None:
        self.job = job
        self.reporter = reporter
        self.checkpoints = checkpoints
        self.described = described(job.training, job.data, settings, job.backend)
        self.best: tuple[int, float] | None = None
        self.done = 0
        seed = settings.seed
        if settings.resume:
            memory = self.checkpoints.memory()
            compare(memory, self.described, None if settings.seed < 0 else seed, settings.out)
            seed, self.done, self.best = memory.seed, memory.step, memory.best
        else:
            seed = max(seed, 0)
        self.settings = replace(settings, seed=seed)
        self.first = self.done
        self.per_epoch = job.data.batch_count(settings.batch)
        self.every_validation = settings.every_validation or _epochs(self.per_epoch)
        self.watched = watched(job, settings)
        self.since: list[Mapping[str, float]] = []
        self.session = job.begin(job.weights(seed), seed)
        self.plateaus = Plateaus(job.training)
        self.curves = Curves(settings.out, job.names, validation=job.held_out is not None)
        if settings.resume:
            weights, moments = self.checkpoints.tensors()
            try:
                self.session.restore(weights, moments)
            except (KeyError, ValueError) as error:
                raise no_checkpoint(f"the optimisers in the checkpoint in `{settings.out}` are others: {error}") from None
            self.plateaus.restore(memory.plateaus or {}, self.session)
            self.since += self.curves.resume(self.done, since=self.done - self.done % self.every_validation)
        else:
            self.checkpoints.prepare()
            self.curves.begin()
        self.writer = tensorboard(settings.out) if settings.tensorboard else None
        self.pending: list[tuple[int, Mapping[str, Number]]] = []
        self.saved = self.done
        self.recent: deque[Mapping[str, float]] = deque(maxlen=LAST)
        self.values: dict[str, float] = {}

    def run(self) -> Outcome:
        try:
            return self._run()
        finally:
            self.reporter.finished()

    def _run(self) -> Outcome:
        settings = self.settings
        every_validation = self.every_validation
        every_save = settings.every_save or every_validation
        self.reporter.started(self.done, settings.steps)
        if self.done >= settings.steps:
            self.reporter.noted(f"nothing is left to do: {self.done} steps are done")
        elif self._lost_patience():
            self.reporter.noted(f"nothing is left to do: {self._patience_lost()}")
        interrupted = False
        started, counted = time.perf_counter(), self.done
        read = started
        with _interrupts() as asked:
            batches = batches_from(self.job.data, settings, self.done, self.per_epoch)
            while self.done < settings.steps and not self._lost_patience():
                batch = next(batches)
                self.pending.append((self.done, self.session.step(self.done, batch)))
                self.done += 1
                now = time.perf_counter()
                validating = self.done % every_validation == 0 or self.done == settings.steps
                saving = self.done % every_save == 0
                interrupted = bool(asked)
                if validating or saving or interrupted or now - read > READ_EVERY or len(self.pending) >= MOST_PENDING:
                    self._read()
                    now = read = time.perf_counter()
                    speed = (self.done - counted) / max(now - started, 1e-9)
                    if counted == self.first:  # what comes before the second reading is compilation
                        started, counted = now, self.done
                    left = (settings.steps - self.done) / speed
                    self.reporter.went_on(Progress(self.done, settings.steps, self.values, speed * settings.batch, left))
                better = self._evaluate(regular=self.done % every_validation == 0) if validating else False
                if saving or better or interrupted:
                    self._save(best=better)
                if interrupted:
                    break
                if self._lost_patience():
                    self.reporter.noted(self._patience_lost())
        self._end()
        return Outcome(self.done, self._ordered(mean_of(list(self.recent))), self.best, interrupted)

    def _end(self) -> None:
        if self.saved != self.done:
            self._save(best=False)
        if self.writer is not None:
            self.writer.close()
        draw(self.settings.out)

    # --- what came out ---

    def _read(self) -> None:
        """Read the losses that are pending. SpecError where one is not finite."""
        rows = [(step, {name: float(value) for name, value in found.items()}) for step, found in self.pending]
        self.pending = []
        for step, values in rows:
            wrong = [name for name, value in values.items() if not math.isfinite(value)]
            if wrong:
                self.curves.write()
                raise explain(NotFinite(step, wrong[0], values[wrong[0]]), self.job, self.settings, self.checkpoints, self.saved)
            self.curves.add(step + 1, values)
            if self.writer is not None:
                for name, value in values.items():
                    self.writer.add_scalar(name, value, step + 1)
        if rows:
            self.since += [values for _, values in rows]
            self.recent.extend(values for _, values in rows)
            self.values = self._ordered(mean_of([values for _, values in rows]))

    def _ordered(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: values[name] for name in self.job.names if name in values}

    def _evaluate(self, *, regular: bool) -> bool:
        """Validate where something is held out; whether it is better than ever. Plateaus see the loss either way, unless it is only the
        end of this run that asks for it."""
        values = mean_of(self.since)
        if regular:
            self.since = []
        better = False
        if self.job.held_out is not None:
            values = self._ordered(evaluate(self.session, self.job.held_out, self.settings.batch))
            self.curves.add(self.done, values, VALIDATION)
            if self.writer is not None:
                for name, value in values.items():
                    self.writer.add_scalar(f"{VALIDATION}{name}", value, self.done)
            seen = values.get(self.watched, math.nan)
            better = math.isfinite(seen) and (self.best is None or self._is_better(seen, self.best[1]))
            if better:
                self.best = (self.done, seen)
            self.reporter.evaluated(self.done, values, best=better)
        if regular:
            for key in self.plateaus.see(self.done, values, self.session):
                factor = self.plateaus.watched[key].factor
                self.reporter.noted(f"step {self.done}: the learning rate of {key} is {factor:g} of what it was")
        return better

    def _is_better(self, value: float, best: float) -> bool:
        return value > best if self.settings.highest else value < best

    def _lost_patience(self) -> bool:
        """Whether as many validations as the user waits for have come to nothing since the best one."""
        since = self.done - (self.best[0] if self.best is not None else 0)
        whole = self.done % self.every_validation == 0
        return 0 < self.settings.patience <= since // self.every_validation and whole and self.job.held_out is not None

    def _patience_lost(self) -> str:
        times = "1 validation" if self.settings.patience == 1 else f"{self.settings.patience} validations"
        best = f"than in step {self.best[0]}" if self.best is not None else "than nothing"
        return f"stopped after step {self.done}: in {times} `{self.watched}` was not better {best}"

    def _save(self, *, best: bool) -> None:
        self.curves.write()
        memory = Memory(self.done, self.settings.seed, self.described, self.best, self.plateaus.state())
        only = best or self.job.held_out is None or not self.watched
        self.checkpoints.save(memory, self.session.weights(), self.session.moments(), best=only)
        self.saved = self.done


def watched(job: Job, settings: Settings) -> str:
    """The loss or metric whose best validation counts, empty where there is none. SpecError where the block lacks what is asked for."""
    name = settings.watch or next((o.name for o in job.training.objectives), "")
    if (settings.watch or settings.patience) and name not in job.names:
        near = did_you_mean(name, job.names)
        help = (
            f"did you mean `{near}`?" if near else f"its losses and metrics: {', '.join(f'`{n}`' for n in job.names) or 'none'}"
        )
        raise SpecError(
            Diagnostic("DL0849", f"`{job.training.name}` has no loss or metric `{name}` to watch", help=help), exit_code=2
        )
    return name


def evaluate(session: TrainingSession, data: Dataset, batch: int) -> dict[str, float]:
    """The losses and metrics in inference mode: the mean over all rows."""
    totals: dict[str, float] = {}
    rows = 0
    size = min(batch, data.rows)
    for given in data.batches(size, seed=0, epoch=0, shuffle=False, drop_last=False):
        count = len(next(iter(given.values())))
        rows += count
        for name, value in session.evaluate(given).items():
            totals[name] = totals.get(name, 0.0) + count * float(value)
    return {name: total / rows for name, total in totals.items()}


def mean_of(rows: list[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each value over the steps that have it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _epochs(per_epoch: int) -> int:
    """The steps of an epoch, or of as many whole ones as it takes to be worth a validation."""
    return per_epoch * -(-LEAST_BETWEEN // per_epoch) if per_epoch else 1


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that Ctrl-C and SIGTERM fill: the step that is running is finished and saved. A second one interrupts at once."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals do not come here
        yield asked
        return
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
