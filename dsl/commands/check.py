"""`dslc check` and `dslc test`."""

from __future__ import annotations

import click

from dsl.commands.options import FLOATS, json_option, model_options, specs_argument
from dsl.commands.terminal import print_json, report, tell
from dsl.diagnostics import Diagnostic, SpecError


@click.command("check")
@specs_argument
@model_options
@json_option
def check_command(
    specs: tuple[str, ...], model: str | None, settings: dict[str, str], dtype: str, max_parameters: int, as_json: bool
) -> int:
    """Prove that SPEC is well-formed and its shapes fit, for every size of its symbolic dimensions. Nothing is computed.

    \b
    dslc check lenet.dl
    dslc check specs/*/*.dl
    cat lenet.dl | dslc check - --json
    """
    from dsl.compiler import elaborated
    from dsl.ir import count_parameters

    findings: list[Diagnostic] = []
    checked: list[dict[str, object]] = []
    lines: list[str] = []
    code = 0
    for spec in specs:
        try:
            made = elaborated(spec, settings, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
        except SpecError as error:
            findings.extend(error.diagnostics)
            code = max(code, error.exit_code)
            checked.append({"spec": spec, "ok": False})
            continue
        findings.extend(made.warnings)
        count = count_parameters(made.program.entries.values())
        checked.append({"spec": spec, "ok": True, "model": made.program.name, "parameters": count})
        lines.append(f"{spec}: {made.program.name}, {count:,} parameters")
    if as_json:
        print_json({"specs": checked, "diagnostics": [d.as_json() for d in findings]})
        return code
    report(findings)
    for line in lines:
        tell(line)
    return code


@click.command("test")
@specs_argument
@json_option
def test_command(specs: tuple[str, ...], as_json: bool) -> int:
    """Run the `test` blocks of SPEC.

    \b
    dslc test specs/language/gpt2.dl
    """
    from dsl.compiler import test_blocks

    results: list[dict[str, object]] = []
    failures: list[Diagnostic] = []
    for spec in specs:
        for title, problems in test_blocks(spec):
            results.append({"spec": spec, "title": title, "ok": not problems, "diagnostics": [d.as_json() for d in problems]})
            failures.extend(problems)
            if not as_json:
                tell(f"{'ok' if not problems else 'FAILED'}  {spec}: {title}")
    passed = sum(bool(r["ok"]) for r in results)
    if as_json:
        print_json(results)
    else:
        report(failures)
        click.echo(f"{passed} of {len(results)} tests passed" if results else "no tests")
    return 0 if passed == len(results) else 1
