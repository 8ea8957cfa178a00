"""`dslc explain`."""

from __future__ import annotations

import textwrap

import click

from dsl.commands.options import json_option, output_option
from dsl.commands.terminal import print_json, write_text
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.error_codes import CODES


@click.command("explain")
@click.argument("code", required=False)
@json_option
@click.option("--markdown", is_flag=True, help="All codes as the page docs/errors.md.")
@output_option("Where to, for `--markdown`.")
def explain_command(code: str | None, as_json: bool, markdown: bool, output: str) -> None:
    """Tell the long story of an error code; without CODE, list them all.

    \b
    dslc explain DL0301
    """
    if markdown:
        write_text(output, page())
        return
    if code is not None and code.upper() not in CODES:
        near = did_you_mean(code.upper(), CODES)
        raise SpecError(
            Diagnostic(
                "DL0721", f"there is no code `{code}`", help=f"did you mean `{near}`?" if near else "`dslc explain` lists them"
            ),
            exit_code=2,
        )
    chosen = CODES if code is None else {code.upper(): CODES[code.upper()]}
    if as_json:
        print_json({name: {"title": entry.title, "story": entry.story} for name, entry in chosen.items()})
    elif code is None:
        for name, entry in chosen.items():
            click.echo(f"{name}  {entry.title}")
    else:
        name, entry = next(iter(chosen.items()))
        click.echo(f"{name}: {entry.title}\n\n{textwrap.fill(entry.story, 90)}")


CHAPTERS = {
    "DL00": "Files and source text",
    "DL01": "Syntax",
    "DL02": "Names, arguments, imports",
    "DL03": "Shapes",
    "DL04": "Static values, attributes, element types",
    "DL05": "Modules, parameters, buffers",
    "DL06": "Limits",
    "DL07": "Backends and targets",
    "DL08": "Weights and data",
    "DL09": "YAML",
    "DL1": "Warnings",
}


def page() -> str:
    """docs/errors.md."""
    parts = ["# Error codes\n\nMade by `dslc explain --markdown`. `dslc explain DL0301` prints one of them.\n"]
    for prefix, title in CHAPTERS.items():
        parts.append(f"## {title}\n")
        parts.extend(f"**{name}: {entry.title}.** {entry.story}\n" for name, entry in CODES.items() if name.startswith(prefix))
    return "\n".join(parts)
