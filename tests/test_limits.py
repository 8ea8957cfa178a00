"""Each limit has an error that names the option that raises it, and the option does."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest

from dsl import cli
from dsl.limits import HIGHEST, STANDARD, limited, limits, names


def net(body: str, before: str = "") -> str:
    return f"{before}model Net()(x: float[B, 3]) {{\n{body}\n}}\n"


def chain(length: int) -> str:
    """Modules inside one another."""
    first = "module M0()(x: float[B, 3]) { return x -> Linear(3) }\n"
    return first + "".join(f"module M{i}()(x: float[B, 3]) {{ return x -> M{i - 1} }}\n" for i in range(1, length))


LOOP = "  for i in range(30) { x = x + 1.0 }\n  return x"

CASES = {
    "bytes": (net("  return x") + "#" * 3_000_000, "DL0005", None, 4_000_000),
    "nesting": (net("  return " + "(" * 400 + "x" + ")" * 400), "DL0601", None, 1000),
    "modules": (net("  return x -> M99", chain(100)), "DL0604", None, 150),
    "nodes": (net(LOOP), "DL0602", 10, 1000),
    "rounds": (net(LOOP), "DL0602", 20, 30),
    "copies": (net("  return x -> repeat(2_000_000) { relu }"), "DL0603", None, 2_000_000),
    "tensors": (net("  return x -> repeat(30) { Linear(3) }"), "DL0602", 59, 60),
}
"""For each limit a spec that is beyond it, the code of the error, the lower limit that it is beyond (None: the standard one), and a limit
that it keeps."""


def check(text: str, *options: str) -> int:
    Path("net.dl").write_text(text)
    return cli.run(["check", "net.dl", *options])


@pytest.mark.parametrize("name", names())
def test_the_error_names_the_option_and_the_option_raises_the_limit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text, code, lower, enough = CASES[name]
    options = [] if lower is None else ["--limit", f"{name}={lower}"]
    assert check(text, *options) in (1, 4)
    error = capsys.readouterr().err
    assert f"error[{code}]" in error and f"`--limit {name}=N` raises the limit" in error
    assert check(text, "--limit", f"{name}={enough}") == 0, capsys.readouterr().err
    assert limits() == STANDARD and sys.getrecursionlimit() < 5000


@pytest.mark.parametrize(
    "option",
    ["nodes", "nodes=", "nodes=0", "nodes=-1", "nodes=1e3", "knots=3", "nesting=1001", "modules=301", "nodes=" + "9" * 30],
)
def test_limits_that_are_none(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(net("  return x"), "--limit", option) == 2


def test_at_the_highest_limits_nothing_overflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raised = [f"{name}={highest}" for name, highest in HIGHEST.items()]
    options = [part for text in raised for part in ("--limit", text)]
    for opening, closing in (("(", ")"), ("-", ""), ("relu(", ")"), ("x + (", ")")):
        assert check(net("  return " + opening * 450 + "x" + closing * 450), *options) == 0
        assert check(net("  return " + opening * 5000 + "x" + closing * 5000), *options) == 1
    assert check(net("  return x -> M290", chain(291)), *options) == 0


def test_limits_for_python() -> None:
    with limited(nodes=5, nesting=400):
        assert limits().nodes == 5 and limits().nesting == 400 and limits().copies == STANDARD.copies
    assert limits() == STANDARD


NEEDED = {
    "compile": ["-b", "torch"],
    "check": [],
    "fmt": [],
    "convert": [],
    "show": [],
    "run": ["--inputs", "x=[[1, 2, 3]]"],
    "attribute": ["--inputs", "x=[[1, 2, 3]]"],
    "train": ["--data", "x.npz"],
    "schedule": [],
    "doctor": [],
    "verify": [],
    "init": ["-o", "w.safetensors"],
    "test": [],
}
"""For each command that reads a spec what else it has to be given."""


def test_every_command_that_reads_a_spec_has_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(net("  return x -> Linear(2)"))
    context = click.Context(cli.cli)
    for name in cli.COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert (name in NEEDED) == any(p.name in ("spec", "specs") for p in command.params)
        if name in NEEDED:
            first = ["saliency"] if name == "attribute" else []
            assert cli.run([name, *first, "net.dl", *NEEDED[name], "--limit", "bytes=50"]) in (1, 4), name
            assert "error[DL0005]" in capsys.readouterr().err, name


@pytest.mark.parametrize("command", [["fmt"], ["convert"], ["convert", "--to", "dl"], ["test"], ["show"]])
def test_what_the_highest_limits_let_through_is_printed(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    deep = (
        net("  return " + "relu(" * 450 + "x" + ")" * 450)
        + 'test "it" { assert '
        + "(1 + " * 450
        + "1"
        + ")" * 450
        + " == 451 }\n"
    )
    Path("net.dl").write_text(deep)
    assert cli.run([*command, "net.dl"]) == 1
    assert cli.run([*command, "net.dl", "--limit", f"nesting={HIGHEST['nesting']}"]) == 0
