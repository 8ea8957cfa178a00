"""`dslc compile`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from dsl.commands.options import FLOATS, model_options, spec_argument, weight_options
from dsl.commands.terminal import report, tell
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Program


@click.command("compile")
@spec_argument
@click.option("-b", "--backend", required=True, metavar="NAME", help="torch, jax, onnx, or another that `dslc targets` lists.")
@click.option("-o", "--output", metavar="FILE", help="Where to; `-` is standard output, which is the default for source code.")
@model_options
@weight_options
@click.option("--train", "training", is_flag=True, help="A training program: of the first `train` block, or of `--model`.")
@click.option("--amp", type=click.Choice(["bf16"]), help="With --train: products in bf16.")
@click.option("--accumulate", metavar="N", type=click.IntRange(min=1), default=1, help="With --train: each batch in N parts.")
@click.option("--entry", metavar="NAME", help="One entry point only, such as `inverse`.")
@click.option("--opset", metavar="N", type=int, help="The ONNX opset.")
@click.option("--inline", is_flag=True, help="ONNX without functions, for runtimes that dislike them.")
@click.option("--disable", metavar="PASS", multiple=True, help="Leave out a pass; repeatable.")
@click.option("--print-after", metavar="PASS|all", help="Print the program after a pass, on standard error.")
def compile_command(
    spec: str,
    backend: str,
    output: str | None,
    model: str | None,
    settings: dict[str, str],
    dtype: str,
    max_parameters: int,
    weights: str | None,
    seed: int,
    training: bool,
    amp: str | None,
    accumulate: int,
    entry: str | None,
    opset: int | None,
    inline: bool,
    disable: tuple[str, ...],
    print_after: str | None,
) -> None:
    """Compile SPEC to a target.

    \b
    dslc compile lenet.dl --backend torch                        source code on standard output
    dslc compile lenet.dl --backend onnx -o lenet.onnx --weights lenet.safetensors
    dslc compile resnet.dl -b jax -o resnet.py --model ResNet --set depths=[3,4,6,3]
    dslc compile gpt2.dl -b torch --train -o pretrain.py         a training loop to keep, and to change
    """
    from backends.base import TrainOptions
    from dsl.compiler import compile_program, compile_spec
    from dsl.data_files import write_with_data
    from dsl.files import write_atomically
    from dsl.target import backend as find_backend
    from dsl.weights import file_and_layer

    if weights is not None and (training or find_backend(backend).training):
        raise SpecError(
            Diagnostic(
                "DL0709",
                f"what `{backend}` writes is source code, which carries no weights",
                help="leave `--weights` out; the generated code loads the file",
            ),
            exit_code=2,
        )
    if training:
        program = compile_program(
            spec, backend, settings, name=model, float_type=FLOATS[dtype], how=TrainOptions(amp, accumulate), disabled=disable
        )
        report(program.warnings)
        write_atomically(output or "-", program.artifact.content, inputs=[] if spec == "-" else [spec])
        return
    if amp is not None or accumulate != 1:
        raise click.UsageError("`--amp` and `--accumulate` go with `--train`")
    made = compile_spec(
        spec, backend, settings, model=model, entry=entry, float_type=FLOATS[dtype], max_parameters=max_parameters, weights=weights,
        seed=seed, opset=opset, inline=inline, disabled=disable, after=_printer(print_after),
        output=Path(output or _default_output(spec, ".onnx")).name,
    )  # fmt: skip
    report(made.warnings)
    place = output if output is not None else _default_output(spec, made.artifact.suffix)
    if place == "-" and made.artifact.beside:
        raise SpecError(
            Diagnostic("DL0710", "this model needs a second file for its weights; name a file with `-o`"), exit_code=2
        )
    read = [spec] if spec != "-" else []
    read += [str(file_and_layer(weights)[0])] if weights is not None else []
    write_with_data(place, made.artifact.content, made.artifact.beside, inputs=read)
    if place != "-":
        tell(f"wrote {', '.join([place, *(str(Path(place).parent / name) for name in made.artifact.beside)])}", err=True)


def _default_output(spec: str, suffix: str) -> str:
    """Source code goes to standard output; a binary file beside nothing but its spec's name."""
    return "-" if suffix == ".py" or spec == "-" else Path(spec).stem + suffix


def _printer(wanted: str | None) -> Callable[[str, Program], None] | None:
    if wanted is None:
        return None
    from dsl.passes.pipeline import NAMES

    if wanted != "all" and wanted not in NAMES:
        raise click.BadParameter(f"there is no pass `{wanted}`; there is {', '.join(NAMES)}", param_hint="--print-after")

    def show(name: str, program: Program) -> None:
        if wanted in (name, "all"):
            from dsl.print_graph import print_program

            click.echo(f"# after {name}\n{print_program(program)}", err=True)

    return show
