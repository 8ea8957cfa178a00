"""`dslc attribute`."""

from __future__ import annotations

import io

import click
import numpy as np

from dsl.commands.options import FLOATS, device_option, model_options, spec_argument, weight_options

RULES = ("saliency", "deconvnet", "guided")


@click.command("attribute")
@click.argument("rule", type=click.Choice(RULES))
@spec_argument
@click.option("-i", "--inputs", metavar="a.npz|NAME=FILE", multiple=True, help="Inputs: .npz, .npy, a picture, or NAME=[[1, 2]].")
@click.option("--input", "of", metavar="NAME", help="Which input to explain; the first floating one by default.")
@click.option("--output-name", metavar="NAME", help="Which output speaks; the first one by default.")
@click.option("--index", metavar="N", type=int, help="Which entry of its last axis; the largest of each example by default.")
@click.option("-b", "--backend", default="reference", show_default=True, metavar="NAME", help="What computes.")
@click.option("-o", "--output", metavar="FILE.npz", help="Write the output and the attribution; without it they are summed up.")
@model_options
@weight_options
@device_option
def attribute_command(
    rule: str,
    spec: str,
    inputs: tuple[str, ...],
    of: str | None,
    output_name: str | None,
    index: int | None,
    backend: str,
    output: str | None,
    model: str | None,
    settings: dict[str, str],
    dtype: str,
    max_parameters: int,
    weights: str | None,
    seed: int,
    device: str,
) -> None:
    """Show what of an input speaks for an output of SPEC: the gradient of a score with respect to the input.

    RULE says what becomes of the gradient at a relu: `saliency` leaves it as it is, `deconvnet` lets through what is positive, `guided`
    what is positive where the input was, too. The model and its weights stay as they are.

    \b
    dslc attribute saliency lenet.dl --inputs image=digit.png --weights lenet.safetensors
    dslc attribute guided vgg.dl -i image=cat.png --index 281 -b torch -o cat.npz
    """
    from dsl.attribution import Question, attributed
    from dsl.commands.run import summary
    from dsl.compiler import run_program
    from dsl.files import write_atomically
    from dsl.inputs import read_inputs
    from dsl.lower import weights_of

    if spec == "-":
        raise click.UsageError("the model is imported, so it has to be a file")
    question = Question(rule, of, output_name, index)
    made, explained = attributed(spec, question, settings, model=model, float_type=FLOATS[dtype], max_parameters=max_parameters)
    values = {f"net.{name}": value for name, value in weights_of(explained, weights, seed).items()}
    given = read_inputs(inputs, made.program.main)
    result = run_program(made.program, given, target=backend, weights=values, device=device)
    arrays = {name: np.asarray(value) for name, value in result.outputs.items()}
    if output is None:
        for name, value in arrays.items():
            click.echo(summary(name, value))
        return
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    read = [text.partition("=")[2] or text for text in inputs]
    write_atomically(output, buffer.getvalue(), inputs=[*read, spec, *([weights] if weights is not None else [])])
