"""`dslc fmt` and `dslc convert`."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from dsl.commands.options import output_option, spec_argument, specs_argument
from dsl.commands.terminal import tell, write_text
from dsl.diagnostics import SpecError

YAML = (".yaml", ".yml")


@click.command("fmt")
@specs_argument
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when something would change.")
@click.option("--diff", is_flag=True, help="Change nothing; print what would change.")
def fmt_command(specs: tuple[str, ...], check: bool, diff: bool) -> int:
    """Rewrite SPEC in the one canonical form. `-` is standard input to standard output.

    \b
    dslc fmt lenet.dl
    dslc fmt --check specs/*/*.dl
    dslc fmt --diff lenet.dl
    """
    from dsl.compiler import format_source
    from dsl.read_source import read_source

    different = 0
    problems: list[SpecError] = []
    for spec in specs:
        try:
            source = read_source(spec)
            text = format_source(source)
        except SpecError as error:
            problems.append(error)
            continue
        if spec == "-" and not (check or diff):
            write_text("-", text)
            continue
        if text == source.text:
            continue
        different += 1
        if diff:
            click.echo("".join(_diff(source.name, source.text, text)), nl=False)
        elif check:
            tell(f"would change {spec}")
        else:
            write_text(spec, text)
            tell(f"formatted {spec}", err=True)
    if problems:
        raise SpecError([d for p in problems for d in p.diagnostics], exit_code=max(p.exit_code for p in problems))
    return 1 if different and (check or diff) else 0


def _diff(name: str, old: str, new: str) -> list[str]:
    return list(difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), name, f"{name} (formatted)"))


@click.command("convert")
@spec_argument
@output_option("Where to; its suffix says which form.")
@click.option("--to", type=click.Choice(["dl", "yaml"]), help="Which form; by default the one that SPEC has not.")
def convert_command(spec: str, output: str, to: str | None) -> None:
    """Turn SPEC from .dl into .yaml, or back, without loss.

    \b
    dslc convert lenet.dl -o lenet.yaml
    dslc convert lenet.yaml
    """
    from dsl.compiler import convert

    form = to if to is not None else _form(spec, output)
    write_text(output, convert(spec, form), inputs=[] if spec == "-" else [spec])


def _form(spec: str, output: str) -> str:
    suffix = Path(output).suffix.lower()
    if suffix in (*YAML, ".dl"):
        return "yaml" if suffix in YAML else "dl"
    return "dl" if Path(spec).suffix.lower() in YAML else "yaml"
