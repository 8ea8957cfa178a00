"""`dslc run`."""

from __future__ import annotations

import io

import click
import numpy as np

from dsl.commands.options import FLOATS, device_option, model_options, spec_argument, weight_options
from dsl.commands.terminal import report


@click.command("run")
@spec_argument
@click.option("-i", "--inputs", metavar="a.npz|NAME=FILE", multiple=True, help="Inputs: .npz, .npy, a picture, or NAME=[[1, 2]].")
@click.option("-b", "--backend", default="reference", show_default=True, metavar="NAME", help="What computes.")
@click.option("-o", "--output", metavar="FILE.npz", help="Write the outputs; without it they are summed up on the terminal.")
@model_options
@weight_options
@click.option("--entry", metavar="NAME", help="Which entry point; the first one by default.")
@click.option("--training", is_flag=True, help="In training mode: batch statistics, dropout.")
@device_option
def run_command(
    spec: str,
    inputs: tuple[str, ...],
    backend: str,
    output: str | None,
    model: str | None,
    settings: dict[str, str],
    dtype: str,
    max_parameters: int,
    weights: str | None,
    seed: int,
    entry: str | None,
    training: bool,
    device: str,
) -> None:
    """Run SPEC on inputs, with given or initial weights.

    \b
    dslc run lenet.dl --inputs image=digit.png --weights lenet.safetensors
    dslc run gpt2.dl --inputs 'tokens=[[1, 2, 3]]' --backend torch -o logits.npz
    """
    from dsl.compiler import elaborated, run_program
    from dsl.files import write_atomically
    from dsl.inputs import read_inputs
    from dsl.lower import only_entry

    made = elaborated(spec, settings, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
    report(made.warnings)
    program = made.program if entry is None else only_entry(made.program, entry)
    given = read_inputs(inputs, program.main)
    result = run_program(
        made.program, given, target=backend, entry=entry, weights=weights, seed=seed, training=training, device=device
    )
    if output is None:
        for name, value in result.outputs.items():
            click.echo(summary(name, np.asarray(value)))
        return
    buffer = io.BytesIO()
    arrays = {name: np.asarray(value) for name, value in {**result.outputs, **result.updates}.items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    read = [text.partition("=")[2] or text for text in inputs]
    write_atomically(
        output, buffer.getvalue(), inputs=[*read, *(name for name in (spec, weights) if name is not None and name != "-")]
    )


def summary(name: str, value: np.ndarray) -> str:
    """An array in a line: all of it where it is small."""
    head = f"{name}: {value.dtype}[{', '.join(map(str, value.shape))}]"
    if value.size == 0:
        return head
    if value.size <= 16:
        return f"{head} = {np.array2string(value, precision=6, separator=', ')}"
    numbers = value.astype(np.float64)
    return f"{head}  mean {numbers.mean():.6g}, from {numbers.min():.6g} to {numbers.max():.6g}"
