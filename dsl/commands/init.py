"""`dslc init`."""

from __future__ import annotations

import click

from dsl.commands.options import FLOATS, model_options, output_option, spec_argument
from dsl.commands.terminal import report


@click.command("init")
@spec_argument
@output_option("The safetensors file to write.", required=True)
@model_options
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the values.")
def init_command(
    spec: str, output: str, model: str | None, settings: dict[str, str], dtype: str, max_parameters: int, seed: int
) -> None:
    """Write the initial weights of SPEC: the same for a seed on every machine, and for every backend.

    \b
    dslc init lenet.dl -o lenet.safetensors --seed 7
    """
    from dsl.compiler import elaborated
    from dsl.initial_values import initial_weights
    from dsl.ir import count_parameters
    from dsl.weights import save_weights

    made = elaborated(spec, settings, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
    report(made.warnings)
    weights = initial_weights(made.program, seed)
    save_weights(output, weights, made.program, inputs=[] if spec == "-" else [spec])
    count = count_parameters(made.program.entries.values())
    click.echo(f"wrote {output}: {len(weights)} tensors, {count:,} parameters", err=True)
