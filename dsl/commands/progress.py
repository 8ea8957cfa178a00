"""What a terminal, a log or a program sees of a training that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from dsl.trainer.settings import Progress, Reporter

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LINES = 20
"""How many lines a log gets of one training."""


def reporter(*, as_json: bool, terminal: bool) -> Reporter:
    """The one that fits where the output goes."""
    return JsonLines() if as_json else ProgressBar() if terminal else Lines()


def shown(values: Mapping[str, float]) -> str:
    """`loss 0.1234  accuracy 0.98`."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Lines:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._next = 0
        self._every = 1

    def started(self, step: int, steps: int) -> None:
        self._every = max(1, steps // LINES)
        self._next = step + 1

    def went_on(self, progress: Progress) -> None:
        if progress.step < self._next and progress.step != progress.steps:
            return
        self._next = progress.step - progress.step % self._every + self._every
        speed = f"{progress.rate:,.0f} examples/s  {clock(progress.left)} left"
        click.echo(f"step {progress.step}/{progress.steps}  {shown(progress.values)}  {speed}")

    def evaluated(self, step: int, values: Mapping[str, float], *, best: bool) -> None:
        click.echo(f"step {step}  validation: {shown(values)}{'  (best)' if best else ''}")

    def noted(self, text: str) -> None:
        click.echo(text)

    def finished(self) -> None:
        pass


class ProgressBar:
    """A bar that moves, on a terminal."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._validation = ""

    def started(self, step: int, steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[values]}"), TextColumn("{task.fields[speed]}"))
        self._bar = Progress(*columns)
        self._task = self._bar.add_task("", total=steps, completed=step, values="", speed="")
        self._bar.start()

    def went_on(self, progress: Progress) -> None:
        if self._bar is not None:
            speed = f"{progress.rate:,.0f} examples/s  {clock(progress.left)} left"
            self._bar.update(self._task, completed=progress.step, values=shown(progress.values) + self._validation, speed=speed)

    def evaluated(self, step: int, values: Mapping[str, float], *, best: bool) -> None:
        first = next(iter(values.items()))
        self._validation = f"  (validation {first[0]} {first[1]:.4g})"

    def noted(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)

    def finished(self) -> None:
        if self._bar is not None:
            self._bar.stop()


class JsonLines:
    """One object a line, for programs."""

    def _print(self, kind: str, **fields: object) -> None:
        click.echo(json.dumps({"event": kind, **fields}))

    def started(self, step: int, steps: int) -> None:
        self._print("started", step=step, steps=steps)

    def went_on(self, progress: Progress) -> None:
        self._print(
            "progress", step=progress.step, steps=progress.steps, values=dict(progress.values), examples_per_second=progress.rate,
            seconds_left=progress.left,
        )  # fmt: skip

    def evaluated(self, step: int, values: Mapping[str, float], *, best: bool) -> None:
        self._print("validation", step=step, values=dict(values), best=best)

    def noted(self, text: str) -> None:
        self._print("note", text=text)

    def finished(self) -> None:
        self._print("finished")
