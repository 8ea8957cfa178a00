"""`dslc train`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from dsl.commands.options import FLOATS, device_option, dimension_sizes, json_option, settings_of, spec_argument
from dsl.commands.progress import reporter, shown
from dsl.commands.terminal import report, tell
from dsl.ir import Program
from dsl.training import Training

INTERRUPTED = 130
BATCH = 64


@click.command("train")
@spec_argument
@click.argument("name", metavar="[BLOCK]", required=False)
@click.option("-b", "--backend", default="torch", show_default=True, metavar="NAME", help="torch or jax.")
@click.option("--data", required=True, metavar="DATA", help="A file, a folder, NAME=FILE,..., or digits, iris, mnist5k, stdlib.")
@click.option(
    "--size", "sizes", multiple=True, metavar="DIM=N", help="A symbolic dimension, such as the window of a text; repeatable."
)
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="How many steps; the block's hyper-parameter `steps` too.")
@click.option("--epochs", metavar="N", type=click.IntRange(min=1), help="How often to go through the data, instead.")
@click.option("--batch", metavar="N", type=click.IntRange(min=1), default=BATCH, show_default=True, help="Examples a step.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Seed of weights, order and draws; 0 by default.")
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, callback=settings_of, help="A hyper-parameter; repeatable."
)
@click.option(
    "--measure",
    metavar="NAME=EXPRESSION",
    multiple=True,
    callback=settings_of,
    help="A hyper-parameter by what the data says, such as `center=mean(y)`; repeatable.",
)
@click.option("--dtype", type=click.Choice(list(FLOATS)), default="f32", show_default=True, help="What `float` means.")
@click.option(
    "--weights",
    multiple=True,
    metavar="[LAYER=]FILE[:LAYER]",
    help="Weights of the block to begin with, or of a layer of it: `net.encoder=lm.safetensors:lm.encoder`; repeatable. "
    "What none is for begins with initial ones.",
)
@click.option("--validation", metavar="SHARE", type=float, default=0.0, help="Share of the data to hold out, such as 0.1.")
@click.option(
    "--every-validation",
    metavar="N",
    type=click.IntRange(min=1),
    help="Steps between validations; an epoch by default, or as many as make 50 steps.",
)
@click.option(
    "--every-save", metavar="N", type=click.IntRange(min=1), help="Steps between checkpoints; as validation by default."
)
@click.option(
    "--patience",
    metavar="N",
    type=click.IntRange(min=1),
    help="End after N validations in a row that are not better than the best.",
)
@click.option("--watch", metavar="NAME", default="", help="What is best where it is lowest: the first loss by default.")
@click.option("--highest", is_flag=True, help="What is watched is best where it is highest, as an accuracy.")
@click.option("-o", "--out", metavar="DIR", help="The folder of the training; `runs/BLOCK` by default.")
@click.option("--resume", is_flag=True, help="Go on with the training in that folder.")
@click.option("--amp", type=click.Choice(["bf16"]), help="Products in bf16, parameters in f32.")
@click.option("--accumulate", metavar="N", type=click.IntRange(min=1), default=1, help="Take each batch in N parts.")
@click.option("--tensorboard", is_flag=True, help="Write for TensorBoard as well.")
@device_option
@json_option
def train_command(
    spec: str,
    name: str | None,
    backend: str,
    data: str,
    sizes: tuple[str, ...],
    steps: int | None,
    epochs: int | None,
    batch: int,
    seed: int | None,
    settings: dict[str, str],
    measure: dict[str, str],
    dtype: str,
    weights: tuple[str, ...],
    validation: float,
    every_validation: int | None,
    every_save: int | None,
    patience: int | None,
    watch: str,
    highest: bool,
    out: str | None,
    resume: bool,
    amp: str | None,
    accumulate: int,
    tensorboard: bool,
    device: str,
    as_json: bool,
) -> int:
    """Train the BLOCK of SPEC, the first `train` block by default.

    \b
    dslc train lenet.dl --data mnist5k --epochs 5 --validation 0.1
    dslc train gpt2.dl Pretrain --backend jax --data stdlib --size T=129 --steps 2000 --batch 16
    dslc train net.dl --data image=x.npy,label=table.csv:kind --steps 500 --out runs/first
    dslc train net.dl --data image=x.npy,label=table.csv:kind --steps 500 --out runs/first --resume
    dslc train net.dl --data iris --epochs 1000 --validation 0.2 --patience 10 --watch accuracy --highest
    dslc train ulmfit.dl Classify --data reviews.npz --weights net.encoder=runs/FineTune/weights.safetensors:lm.encoder

    The folder gets weights.safetensors (the best, or the last where nothing is held out), checkpoints, curves.csv and curves.png.
    Ctrl-C and SIGTERM save and end with code 130; `--resume` then goes on to the numbers of a training that was never interrupted.
    """
    from backends.base import TrainOptions
    from dsl.compiler import compile_training
    from dsl.lower import training_backend
    from dsl.target import backend as find_backend
    from dsl.trainer.loop import train
    from dsl.trainer.measure import measured, written
    from dsl.trainer.prepare import Length, open_batches, prepare, steps_of
    from dsl.trainer.settings import Settings
    from dsl.weight_parts import weights_from

    if steps is not None and epochs is not None:
        raise click.UsageError("give `--steps` or `--epochs`, not both")
    if (patience or watch or highest) and not validation:
        raise click.UsageError(
            "`--patience`, `--watch` and `--highest` are about data that is held out: give `--validation SHARE`"
        )
    found = find_backend(backend)

    statistics: dict[str, object] = {}

    def compiled(more: Mapping[str, object]) -> Training:
        training, warnings = compile_training(spec, {**settings, **statistics, **more}, name=name, float_type=FLOATS[dtype])
        if not more:
            report(warnings)
        return training

    def begin(program: Program, seed: int) -> Mapping[str, np.ndarray]:
        return weights_from(weights, program, seed, training.updated)

    training = compiled({})
    how = TrainOptions(amp, accumulate)
    training_backend(training, found, how)
    opened = open_batches(training, data, dimension_sizes(sizes), validation)
    if measure:
        statistics |= measured(training, opened[0], measure)
        training = compiled(statistics)
        if not as_json:
            tell(f"measured {', '.join(f'{n}={written(v)}' for n, v in statistics.items())}", err=True)
    training, count = steps_of(compiled, training, Length(steps, epochs), opened[0].batch_count(batch))
    place = Path(out) if out is not None else Path("runs") / training.name
    job = prepare(training, found, opened, how, batch=batch, device=device, source=Path(spec).name, weights=begin)
    wanted = Settings(
        place,
        count,
        batch,
        -1 if seed is None else seed,
        validation,
        every_validation,
        every_save,
        resume,
        device,
        tensorboard,
        data,
        patience or 0,
        watch,
        highest,
    )
    outcome = train(job, wanted, reporter(as_json=as_json, terminal=sys.stdout.isatty()))
    if not as_json:
        best = f"; the best validation was in step {outcome.best[0]}: {outcome.best[1]:.4g}" if outcome.best else ""
        last = f": {shown(outcome.values)}" if outcome.values else ""
        tell(f"wrote {place}/weights.safetensors after step {outcome.step}{last}{best}", err=True)
    if outcome.interrupted:
        click.echo(f"interrupted in step {outcome.step} of {count}; `--resume` goes on", err=True)
        return INTERRUPTED
    return 0
