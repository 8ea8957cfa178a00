"""`dslc init`."""

from __future__ import annotations

import click
import numpy as np

from dsl.commands.options import FLOATS, model_options, output_option, settings_of, spec_argument
from dsl.commands.terminal import report, tell
from dsl.ir import Program


@click.command("init")
@spec_argument
@output_option("The safetensors file to write.", required=True)
@model_options
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the values.")
@click.option("--grow", metavar="FILE", help="Weights of the same network with fewer units, to go on from.")
@click.option(
    "--small",
    "smaller",
    metavar="NAME=VALUE",
    multiple=True,
    callback=settings_of,
    help="What FILE was made with, where it differs from the larger network; repeatable.",
)
def init_command(
    spec: str,
    output: str,
    model: str | None,
    settings: dict[str, str],
    dtype: str,
    max_parameters: int,
    seed: int,
    grow: str | None,
    smaller: dict[str, str],
) -> None:
    """Write the initial weights of SPEC: the same for a seed on every machine, and for every backend.

    \b
    dslc init lenet.dl -o lenet.safetensors --seed 7
    dslc init net.dl --set width=64 --grow small.safetensors --small width=32 -o large.safetensors

    With `--grow` the larger network computes what the smaller one did: new units have outgoing weights of 0. That is tried.
    """
    from dsl.compiler import elaborated
    from dsl.grow import grown_weights
    from dsl.initial_values import initial_weights
    from dsl.ir import count_parameters
    from dsl.weights import save_weights

    if (grow is None) != (not smaller):
        raise click.UsageError("`--grow FILE` and `--small NAME=VALUE` belong together")

    def grown(large: Program) -> dict[str, np.ndarray]:
        before = elaborated(spec, {**settings, **smaller}, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
        return grown_weights(str(grow), before.program, large, seed)

    made = elaborated(spec, settings, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
    report(made.warnings)
    weights = initial_weights(made.program, seed) if grow is None else grown(made.program)
    save_weights(output, weights, made.program, inputs=[*([] if spec == "-" else [spec]), *([] if grow is None else [grow])])
    count = count_parameters(made.program.entries.values())
    tell(f"wrote {output}: {len(weights)} tensors, {count:,} parameters", err=True)
