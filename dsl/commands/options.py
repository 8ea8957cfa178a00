"""The options that several commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from dsl.elaborate.program import MOST_PARAMETERS
from dsl.limits import HIGHEST, limited, names
from dsl.types import DType

Command = TypeVar("Command", bound=Callable[..., object])

FLOATS = {dtype.value: dtype for dtype in (DType.F32, DType.F64, DType.BF16, DType.F16)}


def spec_argument(command: Command) -> Command:
    """SPEC, and `--limit`, which holds for whatever reads a spec."""
    return click.argument("spec", metavar="SPEC")(_limit_option(command))


def specs_argument(command: Command) -> Command:
    """SPEC..., and `--limit`."""
    return click.argument("specs", metavar="SPEC...", nargs=-1, required=True)(_limit_option(command))


def _limit_option(command: Command) -> Command:
    return click.option(
        "--limit", metavar="NAME=N", multiple=True, callback=_limit, expose_value=False,
        help=f"Raise or lower a limit: {', '.join(names())}; repeatable.",
    )(command)  # fmt: skip


def model_options(command: Command) -> Command:
    """`--model`, `--set`, `--dtype` and `--max-parameters`: which program of a spec is meant."""
    for option in (
        click.option(
            "--max-parameters", metavar="N", type=click.IntRange(min=1), default=MOST_PARAMETERS, show_default=True,
            help="Refuse models with more parameters.",
        ),
        click.option("--dtype", type=click.Choice(list(FLOATS)), default="f32", show_default=True, help="What `float` means."),
        click.option(
            "--set", "settings", metavar="NAME=VALUE", multiple=True, callback=settings_of,
            help="A hyper-parameter of the model; repeatable.",
        ),
        click.option("--model", metavar="NAME", help="Which model of the file, or `train` block; the first model by default."),
    ):  # fmt: skip
        command = option(command)
    return command


def weight_options(command: Command) -> Command:
    """`--weights` and `--seed`."""
    for option in (
        click.option(
            "--seed",
            metavar="N",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Seed of the initial weights, and of an ONNX file's random operators.",
        ),
        click.option(
            "--weights", metavar="FILE", help="Weights (.safetensors, .npz), or FILE:LAYER of them; initial ones by default."
        ),
    ):
        command = option(command)
    return command


def device_option(command: Command) -> Command:
    return click.option("--device", default="cpu", show_default=True, metavar="NAME", help="Where to compute: cpu or cuda.")(
        command
    )


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="JSON, for tools.")(command)


def output_option(help: str, *, required: bool = False) -> Callable[[Command], Command]:
    if required:
        return click.option("-o", "--output", metavar="FILE", required=True, help=help)
    return click.option("-o", "--output", metavar="FILE", default="-", help=help)


def settings_of(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` texts as a dict."""
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip()
        if not separator or not name:
            raise click.BadParameter(f"`{text}` is not NAME=VALUE")
        if name in found:
            raise click.BadParameter(f"`{name}` is set twice")
        found[name] = value.strip()
    return found


def _limit(context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> None:
    """Have other limits hold until the command ends."""
    wanted: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names():
            raise click.BadParameter(f"there is no limit `{name}`; there is {', '.join(names())}")
        if not value.isdecimal() or len(value) > 12 or not 1 <= int(value) <= HIGHEST.get(name, 10**12):
            raise click.BadParameter(f"`{text}`: `{name}` is a number from 1 to {HIGHEST.get(name, 10**12)}")
        wanted[name] = int(value)
    context.with_resource(limited(**wanted))


def dimension_sizes(texts: tuple[str, ...]) -> dict[str, int]:
    """The sizes of symbolic dimensions that were given as DIM=N."""
    found: dict[str, int] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.strip().isidentifier() or not value.strip().isdecimal() or int(value) < 1:
            raise click.BadParameter(f"`{text}` is not DIM=N", param_hint="--size")
        if name.strip() in found:
            raise click.BadParameter(f"`{name.strip()}` is given twice", param_hint="--size")
        found[name.strip()] = int(value)
    return found
