"""`dslc ops`."""

from __future__ import annotations

import textwrap

import click

from dsl.commands.options import json_option, output_option
from dsl.commands.terminal import print_json, write_text
from dsl.describe_library import Definition, described_library, library_section
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.ops.describe import Described, described_functions, markdown_page


@click.command("ops")
@click.argument("name", required=False)
@json_option
@click.option("--markdown", is_flag=True, help="All of them as the page docs/ops.md.")
@output_option("Where to, for `--markdown`.")
def ops_command(name: str | None, as_json: bool, markdown: bool, output: str) -> None:
    """List the functions and layers of the language, or describe NAME.

    \b
    dslc ops
    dslc ops conv
    dslc ops LSTM
    """
    if markdown:
        write_text(output, f"{markdown_page()}\n{library_section()}")
        return
    known: dict[str, Described | Definition] = {**described_library(), **described_functions()}
    if name is not None and name not in known:
        near = did_you_mean(name, known)
        raise SpecError(
            Diagnostic(
                "DL0722", f"there is no function `{name}`", help=f"did you mean `{near}`?" if near else "`dslc ops` lists them"
            ),
            exit_code=2,
        )
    if as_json:
        print_json([known[name].as_json()] if name is not None else [d.as_json() for d in known.values()])
    elif name is not None:
        click.echo(_page(known[name]))
    else:
        click.echo(f"{_index(described_functions())}\n\n{_library(described_library())}")


def _index(known: dict[str, Described]) -> str:
    width = max(map(len, known))
    lines: list[str] = []
    family = ""
    for name, one in known.items():
        if one.family != family:
            family = one.family
            lines.append(f"\n{family}" if lines else family)
        lines.append(f"  {name:<{width}}  {one.summary}")
    return "\n".join(lines)


def _library(known: dict[str, Definition]) -> str:
    """The names of the library, a paragraph for each of its files."""
    families: dict[str, list[str]] = {}
    for one in known.values():
        families.setdefault(one.family, []).append(one.name)
    indent = "  "
    lines = ["library"]
    for family, names in families.items():
        lines += [
            "",
            f"{indent}{family}",
            textwrap.fill(", ".join(names), 100, initial_indent=2 * indent, subsequent_indent=2 * indent),
        ]
    return "\n".join(lines)


def _page(one: Described | Definition) -> str:
    if isinstance(one, Definition):
        return f"{one.signature}\n\n{one.summary}\n\n{one.text}"
    parts = [one.signature, "", one.summary]
    if one.notes:
        parts += ["", one.notes]
    if one.arguments:
        width = max(len(a.name) for a in one.arguments)
        parts += ["", *(f"  {a.name:<{width}}  {a.description}" for a in one.arguments)]
    parts += ["", *(f"  {example}" for example in one.examples)]
    return "\n".join(parts)
