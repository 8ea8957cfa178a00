"""`dslc targets`."""

from __future__ import annotations

import click

from dsl.commands.options import json_option
from dsl.commands.terminal import print_json
from dsl.target import Package, targets


@click.command("targets")
@json_option
def targets_command(as_json: bool) -> None:
    """List the backends, what each needs, and whether it is here.

    \b
    dslc targets
    """
    found = targets()
    if as_json:
        print_json([
            {
                "name": t.name,
                "summary": t.summary,
                "installed": t.installed,
                "trains": t.training,
                "packages": [{"name": p.name, "installed": p.installed, "oldest": p.oldest} for p in t.packages],
            }
            for t in found
        ])  # fmt: skip
        return
    width = max(len(t.name) for t in found)
    for t in found:
        click.echo(f"{t.name:<{width}}  {t.summary}")
        click.echo(f"{'':<{width}}  {'ready' if t.installed else 'not ready'}: {', '.join(map(_described, t.packages))}")


def _described(package: Package) -> str:
    if package.installed is None:
        return f"{package.name} is not installed"
    return f"{package.name} {package.installed}" + ("" if package.works else f", older than {package.oldest}")
