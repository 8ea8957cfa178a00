"""The curves of a training: a CSV file with a row a step, a picture of it, TensorBoard where it is wanted."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, cast

from dsl.diagnostics import Diagnostic, SpecError
from dsl.files import cannot_write, write_atomically

TABLE = "curves.csv"
PICTURE = "curves.png"
VALIDATION = "validation "
"""Before the names of what was computed on the data held out."""

Row = dict[str, float]


class Curves:
    """Rows by step, appended to `curves.csv` when a checkpoint is made. A step that was done again after a crash has one row."""

    def __init__(self, folder: Path, names: Sequence[str], *, validation: bool) -> None:
        self.path = folder / TABLE
        self.columns = ["step", *names, *([f"{VALIDATION}{n}" for n in names] if validation else [])]
        self._rows: dict[int, Row] = {}

    def begin(self) -> None:
        """No rows."""
        write_atomically(self.path, self._text([self.columns]).encode())

    def resume(self, step: int, since: int) -> list[Row]:
        """Keep the rows up to a step; the losses and metrics of those after the step `since`."""
        rows = [row for row in read_rows(self.path) if row["step"] <= step]
        write_atomically(self.path, (self._text([self.columns]) + self._text(self._cells(row) for row in rows)).encode())
        later = [row for row in rows if row["step"] > since]
        return [{n: v for n, v in row.items() if n != "step" and not n.startswith(VALIDATION)} for row in later]

    def add(self, step: int, values: Mapping[str, float], prefix: str = "") -> None:
        self._rows.setdefault(step, {}).update({f"{prefix}{name}": value for name, value in values.items()})

    def write(self) -> None:
        """Append what is new, and have the disk hold it."""
        text = self._text(self._cells({"step": step, **row}) for step, row in self._rows.items())
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, (error.strerror or str(error)).lower()) from None
        self._rows = {}

    def _cells(self, row: Mapping[str, float]) -> list[str]:
        return [str(int(row["step"])), *(repr(row[c]) if c in row else "" for c in self.columns[1:])]

    def _text(self, rows: object) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(cast("list[list[str]]", rows))
        return buffer.getvalue()


def read_rows(path: Path) -> list[Row]:
    """The rows of a `curves.csv`; a last line that was cut off is left out, and what follows a damaged one."""
    if not path.exists():
        return []
    rows: list[Row] = []
    whole, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    table = csv.DictReader(io.StringIO(whole, newline=""))
    with suppress(KeyError, TypeError, ValueError, OverflowError, csv.Error):  # what comes after a damaged line is left out
        for cells in table:
            row = {name: float(cell) for name, cell in cells.items() if cell}
            rows.append({**row, "step": int(row["step"])})
    return rows


# --- pictures -----------------------------------------------------------------------------------------------------------------------


def draw(folder: Path) -> Path | None:
    """`curves.png` from `curves.csv`; None where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return None
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    rows = read_rows(folder / TABLE)
    names = list(dict.fromkeys(n.removeprefix(VALIDATION) for row in rows for n in row if n != "step"))
    if not names:
        return None
    figure = Figure(figsize=(7, 2.6 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 1, squeeze=False)
    for axis, name in zip(axes[:, 0], names, strict=True):
        for column, style in ((name, {"linewidth": 1}), (f"{VALIDATION}{name}", {"marker": "o", "markersize": 3})):
            points = [(row["step"], row[column]) for row in rows if column in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=column, **style)
        axis.set_ylabel(name)
        axis.legend()
    axes[-1, 0].set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(folder / PICTURE, buffer.getvalue())
    return folder / PICTURE


class Writer(Protocol):
    def add_scalar(self, name: str, value: float, step: int) -> None: ...
    def close(self) -> None: ...


def tensorboard(folder: Path) -> Writer:
    """Where TensorBoard reads from: `OUT/tensorboard`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise SpecError(
            Diagnostic(
                "DL0708", "TensorBoard needs the packages `torch` and `tensorboard`", help="pip install 'dslc[tensorboard]'"
            ),
            3,
        ) from None
    return cast("Writer", SummaryWriter(str(folder / "tensorboard")))
