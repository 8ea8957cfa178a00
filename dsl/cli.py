"""`dslc`: the commands, and what becomes of errors. Each command is a file of `dsl/commands`, imported when it is used."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

import click

COMMANDS = {
    "compile": "compile",
    "check": "check",
    "fmt": "source",
    "convert": "source",
    "show": "show",
    "run": "run",
    "attribute": "attribute",
    "train": "train",
    "schedule": "schedule",
    "doctor": "doctor",
    "verify": "verify",
    "init": "init",
    "test": "check",
    "ops": "ops",
    "explain": "explain",
    "targets": "targets",
}
"""Each command and the file of `dsl/commands` that has it."""

SUMMARIES = {
    "compile": "Compile a spec to PyTorch, JAX or ONNX.",
    "check": "Prove that specs are well-formed and their shapes fit.",
    "fmt": "Print specs in the one canonical form.",
    "convert": "Turn .dl into .yaml, and back.",
    "show": "Show the layers of a model: types, parameters, cost; or draw it.",
    "run": "Run a model on given inputs.",
    "attribute": "Show what of an input speaks for an output.",
    "train": "Train a model on data.",
    "schedule": "Print the learning rates of a train block.",
    "doctor": "Examine a train block before training.",
    "verify": "Prove that the backends compute the same.",
    "init": "Write the initial weights of a model.",
    "test": "Run the test blocks of specs.",
    "ops": "List the primitives, or describe one.",
    "explain": "Tell the long story of an error code.",
    "targets": "List the backends and what they need.",
}

CANNOT_WRITE = 4
BUG = 70
INTERRUPTED = 130


class Commands(click.Group):
    """A group that imports a command when it is asked for, so that `dslc --help` and `dslc explain` are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"dsl.commands.{COMMANDS[cmd_name]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        from dsl.diagnostics import did_you_mean

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = did_you_mean(args[0], COMMANDS)
            hint = f" Did you mean `{near}`?" if near else " `dslc --help` lists them."
            ctx.fail(f"there is no command `{args[0]}`.{hint}")
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from dsl.version import version

        click.echo(f"dslc {version()}")
        ctx.exit()


@click.group(
    cls=Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Print the version.")
def cli() -> None:
    """dslc compiles specs of neural networks (.dl, .yaml) to PyTorch, JAX and ONNX, and proves the results equal.

    \b
    dslc check specs/cnn/lenet.dl
    dslc compile specs/cnn/lenet.dl --backend torch -o lenet.py
    dslc verify specs/cnn/lenet.dl

    Exit codes: 0 all is well; 1 the spec or the data is wrong; 2 the command line is wrong; 3 a backend is missing or too old;
    4 a file cannot be read or written; 70 a bug in dslc; 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the command: runs it and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text, and a terminal need not know all characters
            stream.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is half-written is removed
    try:
        code = run(arguments)
    except KeyboardInterrupt:  # it came while an error was told
        code = INTERRUPTED
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence()
    except OSError as error:
        code = _cannot_write(error)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and give its exit code; no exception leaves this function."""
    from dsl.diagnostics import SpecError

    try:
        result = cli.main(args=arguments, prog_name="dslc", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except SpecError as error:
        from dsl.commands.terminal import report

        report(error.diagnostics)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.format_message(), err=True)
        return 2
    except click.ClickException as wrong:
        _show(wrong)
        return wrong.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        _silence()
        return 0
    except OSError as error:
        return _cannot_write(error)
    except MemoryError:
        click.echo("error: out of memory", err=True)
        return CANNOT_WRITE
    except Exception as bug:  # the last resort, which keeps tracebacks from people who cannot use them
        if os.environ.get("DSLC_TRACEBACK") == "1":
            raise
        _report_bug(bug)
        return BUG


def _show(wrong: click.ClickException) -> None:
    """Say what is wrong with the command line, whose words may hold anything."""
    from dsl.diagnostics import printable

    text = io.StringIO()
    wrong.show(text)
    for line in text.getvalue().splitlines():
        click.echo(printable(line), err=True)


def _silence() -> None:
    """Send what is still to come on standard output nowhere: its reader has gone."""
    from dsl.files import silence_stdout

    silence_stdout()


def _cannot_write(error: OSError) -> int:
    """Say that the system refused, as when the disk behind standard output is full."""
    _silence()
    place = f" `{error.filename}`" if error.filename else ""
    click.echo(f"error: cannot read or write{place}: {(error.strerror or str(error)).lower()}", err=True)
    return CANNOT_WRITE


def _report_bug(bug: Exception) -> None:
    frame = bug.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" ({os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno})" if frame is not None else ""
    click.echo(f"internal error: {type(bug).__name__}: {bug}{place}", err=True)
    click.echo(
        "This is a bug in dslc, whatever the input. DSLC_TRACEBACK=1 shows where; please report it with the spec.", err=True
    )


if __name__ == "__main__":
    main()
