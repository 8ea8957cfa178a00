"""`dslc show`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from dsl.commands.options import FLOATS, json_option, model_options, output_option, specs_argument
from dsl.commands.terminal import print_json, report, wants_colour, write_text
from dsl.diagnostics import Diagnostic, SpecError
from dsl.dims import Dim, format_dim, substitute, symbols_of
from dsl.ir import Program
from dsl.summary import Row, Summary
from dsl.types import TensorType

if TYPE_CHECKING:
    from rich.console import Console

GRAPHS = ("mermaid", "dot", "svg", "html")


@click.command("show")
@specs_argument
@model_options
@click.option("--entry", metavar="NAME", help="Which entry point; the first one by default.")
@click.option("--size", "sizes", metavar="DIM=N", multiple=True, help="Put a number for a symbolic dimension; repeatable.")
@click.option("--depth", metavar="N", type=click.IntRange(min=1), help="Show layers within layers down to this depth.")
@click.option("--graph", type=click.Choice(GRAPHS), help="Draw the data flow instead.")
@click.option("--markdown", is_flag=True, help="A page: what the specs say of themselves, pictures, layers.")
@output_option("Where to, for `--graph` and `--markdown`.")
@json_option
def show_command(
    specs: tuple[str, ...],
    model: str | None,
    settings: dict[str, str],
    dtype: str,
    max_parameters: int,
    entry: str | None,
    sizes: tuple[str, ...],
    depth: int | None,
    graph: str | None,
    markdown: bool,
    output: str,
    as_json: bool,
) -> None:
    """Show the layers of a spec: types of their results, parameters, floating-point operations of one inference.

    A multiply-add counts two operations, an elementwise operation one an element. Shared parameters count once.

    \b
    dslc show resnet.dl --size B=1 --size H=224 --size W=224
    dslc show gpt2.dl --graph html -o gpt2.html
    dslc show gpt2.dl --graph mermaid
    """
    from dsl.compiler import elaborated
    from dsl.lower import only_entry
    from dsl.summary import summarize

    def read(spec: str) -> Program:
        made = elaborated(spec, settings, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
        report(made.warnings)
        return made.program if entry is None else only_entry(made.program, entry)

    if markdown:
        if "-" in specs:
            raise click.UsageError("--markdown shows files")
        write_text(output, _page([(spec, read(spec)) for spec in specs], sizes, depth, output), inputs=specs)
        return
    if len(specs) > 1:
        raise click.UsageError("one spec at a time, but for --markdown")
    spec = specs[0]
    program = read(spec)
    if graph is not None:
        from dsl.draw import draw

        write_text(output, draw(program, graph, 1 if depth is None else depth), inputs=[] if spec == "-" else [spec])
        return
    summary = summarize(program)
    values = _values(sizes, summary)
    rows = [row for row in summary.rows if depth is None or row.depth < depth]
    if as_json:
        print_json(_as_json(summary, rows, values))
    else:
        _print_table(summary, rows, values)


def _page(read: list[tuple[str, Program]], sizes: tuple[str, ...], depth: int | None, output: str) -> str:
    """The specs as Markdown, with as many levels as fit or as many as asked."""
    from dsl.commands.gallery import Shown, block_rows, page
    from dsl.summary import summarize

    shown = []
    for spec, program in read:
        summary = summarize(program)
        rows = block_rows(summary.rows) if depth is None else [row for row in summary.rows if row.depth < depth]
        shown.append(Shown(spec, program, _table_text(summary, rows, _values(sizes, summary))))
    return "".join(f"{line}\n" for line in page(shown, output))


def _values(texts: tuple[str, ...], summary: Summary) -> dict[str, Dim]:
    known = {name for t in summary.inputs.values() for d in t.shape for name in symbols_of(d)}
    found: dict[str, Dim] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            listed = ", ".join(f"`{n}`" for n in sorted(known)) or "none"
            raise SpecError(
                Diagnostic(
                    "DL0823", f"the model has no symbolic dimension `{name}`", help=f"the symbolic dimensions are {listed}"
                ),
                exit_code=2,
            )
        if not value.isdecimal() or int(value) < 1:
            raise click.BadParameter(f"`{text}` is not DIM=N", param_hint="--size")
        found[name] = int(value)
    return found


def _type(type_: TensorType, values: Mapping[str, Dim]) -> str:
    return str(type_.with_shape(tuple(substitute(d, values) for d in type_.shape)))


def _table_text(summary: Summary, rows: list[Row], values: Mapping[str, Dim]) -> str:
    """The table as text without colours."""
    import io

    from rich.console import Console

    text = io.StringIO()
    _print_on(Console(file=text, highlight=False, no_color=True, width=160), summary, rows, values)
    return text.getvalue()


def _print_table(summary: Summary, rows: list[Row], values: Mapping[str, Dim]) -> None:
    import sys

    from rich.console import Console

    console = Console(highlight=False, no_color=not wants_colour(sys.stdout), width=None if sys.stdout.isatty() else 160)
    _print_on(console, summary, rows, values)


def _print_on(console: Console, summary: Summary, rows: list[Row], values: Mapping[str, Dim]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("layer", "definition", "result"):
        table.add_column(title, overflow="fold")
    for title in ("parameters", "bytes", "FLOPs"):
        table.add_column(title, justify="right", overflow="fold")
    for row in rows:
        name = (
            "  " * row.depth + row.path.rpartition(".")[2]
            if not _is_copies(row.path)
            else "  " * row.depth + _copies_name(row.path)
        )
        outputs = ", ".join(_type(t, values) for t in row.outputs)
        parameters = "shared" if row.shared else f"{row.parameters:,}"
        table.add_row(
            name,
            row.definition,
            outputs,
            parameters,
            "" if row.shared else short(row.bytes),
            flops(substitute(row.flops, values)),
        )
    inputs = ", ".join(f"{n}: {_type(t, values)}" for n, t in summary.inputs.items())
    outputs = ", ".join(f"{n}: {_type(t, values)}" for n, t in summary.outputs.items())
    console.print(f"{summary.model}.{summary.entry}({inputs}) -> ({outputs})\n", markup=False, soft_wrap=True)
    console.print(table)
    buffers = f" and {summary.buffers:,} in buffers" if summary.buffers else ""
    console.print(f"\n{summary.parameters:,} parameters{buffers}, {short(summary.bytes)} bytes", soft_wrap=True)
    console.print(f"{flops(substitute(summary.flops, values))} FLOPs (a multiply-add is two)", soft_wrap=True)


def _is_copies(path: str) -> bool:
    return re.search(r"\.\d+(-\d+)?$", path) is not None


def _copies_name(path: str) -> str:
    return ".".join(path.split(".")[-2:])


def short(number: float) -> str:
    """A number of three digits with its unit: 4.1 G."""
    for factor, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:g}"


def flops(count: Dim) -> str:
    """A cost, short: numbers of three digits, a formula of symbolic dimensions with its large numbers rounded."""
    if isinstance(count, int):
        return short(count)
    text = re.sub(r"\b(\w+) \* \1\b", r"\1 ** 2", format_dim(count))
    if text.count("//") > 3:
        return "needs --size"
    return re.sub(r"\b\d{4,}\b", lambda m: short(int(m[0])).replace(" ", ""), text)


def _number(count: Dim) -> int | str:
    return count if isinstance(count, int) else format_dim(count)


def _as_json(summary: Summary, rows: list[Row], values: Mapping[str, Dim]) -> dict[str, object]:
    return {
        "model": summary.model,
        "entry": summary.entry,
        "inputs": {n: _type(t, values) for n, t in summary.inputs.items()},
        "outputs": {n: _type(t, values) for n, t in summary.outputs.items()},
        "parameters": summary.parameters,
        "buffers": summary.buffers,
        "bytes": summary.bytes,
        "flops": _number(substitute(summary.flops, values)),
        "layers": [
            {
                "path": r.path,
                "definition": r.definition,
                "copies": r.copies,
                "outputs": [_type(t, values) for t in r.outputs],
                "parameters": r.parameters,
                "bytes": r.bytes,
                "flops": _number(substitute(r.flops, values)),
                "shared": r.shared,
            }
            for r in rows
        ],
    }
