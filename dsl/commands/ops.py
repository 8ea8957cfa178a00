"""`dslc ops`."""

from __future__ import annotations

import click

from dsl.commands.options import json_option, output_option
from dsl.commands.terminal import print_json, write_text
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.ops.describe import Described, described_functions, markdown_page


@click.command("ops")
@click.argument("name", required=False)
@json_option
@click.option("--markdown", is_flag=True, help="All of them as the page docs/ops.md.")
@output_option("Where to, for `--markdown`.")
def ops_command(name: str | None, as_json: bool, markdown: bool, output: str) -> None:
    """List the functions that the language is built on, or describe NAME.

    \b
    dslc ops
    dslc ops conv
    """
    if markdown:
        write_text(output, markdown_page())
        return
    known = described_functions()
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
        click.echo(_index(known))


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


def _page(one: Described) -> str:
    parts = [one.signature, "", one.summary]
    if one.notes:
        parts += ["", one.notes]
    if one.arguments:
        width = max(len(a.name) for a in one.arguments)
        parts += ["", *(f"  {a.name:<{width}}  {a.description}" for a in one.arguments)]
    parts += ["", *(f"  {example}" for example in one.examples)]
    return "\n".join(parts)
