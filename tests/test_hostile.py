"""What a hostile user, or a careless one, hands to the command line: a short answer, the right exit code, and no file touched."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dsl import cli
from dsl.compiler import compile_graph
from dsl.source import Source
from dsl.verification.compare import verify
from tests.full_disk import largest_file

TINY = """model Tiny(width: int = 2)(x: float[B, 3]) -> (y: float[B, width]) {
  require B < 10, "at most 9"
  return x -> fc: Linear(width)
}
"""

Dslc = Callable[..., tuple[int, str]]


@pytest.fixture
def dslc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Dslc:
    """Runs a command line beside `tiny.dl` and gives its exit code and standard error; whatever happens, the spec stays as it was."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.dl").write_text(TINY)

    def run(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        start = time.process_time()
        code = cli.run(list(arguments))
        assert time.process_time() - start < 20, "nothing explodes"
        sys.stdout.flush()
        error = capfd.readouterr().err
        assert "Traceback" not in error and "internal error" not in error
        assert Path("tiny.dl").read_text() == TINY
        assert not [name for name in os.listdir() if name.endswith(".tmp")]
        return code, error

    return run


def net(body: str, inputs: str = "x: float[B, 3]") -> str:
    return f"model Net()({inputs}) {{\n{body}\n}}\n"


def checked(dslc: Dslc, text: str, name: str = "net.dl") -> tuple[int, str]:
    Path(name).write_bytes(text.encode())
    return dslc("check", name)


# --- size ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("# x\n" * 2_500_000, 4, "error[DL0005]: `net.dl` is larger than 2 MB, the limit for a spec"),
        (net("  return " + "(" * 10_000 + "x" + ")" * 10_000), 1, "error[DL0601]: nested deeper than 200 levels"),
        (net("  return " + "-" * 10_000 + "x"), 1, "error[DL0601]: nested deeper than 200 levels"),
        (net("  if true {\n" * 3000 + "  }\n" * 3000 + "  return x"), 1, "error[DL0601]: nested deeper than 200 levels"),
        (net("  return x -> repeat(1_000_000_000) { Linear(3) }"), 1, "error[DL0603]: `repeat` makes 0 to 1000000 copies"),
        (net("  a = [1, 2]\n" + "  a = a + a\n" * 60 + "  return x"), 1, "error[DL0411]: a list of 1048576 items is too long"),
        (net('  a = "ab"\n' + "  a = a + a\n" * 60 + "  return x"), 1, "a string of 1048576 characters is too long"),
        (net("  a = 9 ** 9 ** 9 ** 9\n  return x -> Linear(a)"), 1, "error[DL0411]: the number is too large"),
        (net("  return " + "a" * 1_000_000), 1, "error[DL0201]"),
        (
            net("  for i in range(1000) { for j in range(1000) { a = i } }\n  return x"),
            1,
            "have more than 200,000 rounds together",
        ),
    ],
    ids=["10 MB", "brackets", "signs", "blocks", "repeat", "list", "string", "powers", "name", "loops"],
)
def test_a_spec_that_is_too_much(dslc: Dslc, text: str, code: int, message: str) -> None:
    found = checked(dslc, text)
    assert found[0] == code and message in found[1]


def test_modules_that_double_thirty_times(dslc: Dslc) -> None:
    text = "module M0()(x: float[B, 3]) { return x -> Linear(3) }\n"
    text += "".join(f"module M{i}()(x: float[B, 3]) {{ return x -> M{i - 1} -> M{i - 1} }}\n" for i in range(1, 31))
    code, error = checked(dslc, text + net("  return x -> M30"))
    assert code == 1
    assert "`Net` has 2,147,483,648 parameters and buffers, more than the limit of 2,000,000 tensors" in error


def test_thousands_of_errors_are_a_hundred(dslc: Dslc) -> None:
    code, error = checked(dslc, net("\n".join(f"  y{i} = foo{i}(x)" for i in range(5000)) + "\n  return x"))
    assert code == 1 and error.endswith("\n100 errors\n")
    code, error = checked(dslc, "model N( {\n" * 500)
    assert code == 1 and error.endswith("\n\n400 more are not shown\n\n500 errors\n")


def test_line_ends_of_old(dslc: Dslc) -> None:
    code, error = checked(dslc, net("  return x").replace("\n", "\r"))
    assert code == 1
    assert "U+000D CARRIAGE RETURN has no meaning here" in error and "help: save it with line ends that are LF or CRLF" in error


def test_the_marks_of_windows_are_fine(dslc: Dslc) -> None:
    assert checked(dslc, "\ufeff" + net("\treturn x -> Linear(2)").replace("\n", "\r\n").rstrip())[0] == 0


# --- what is no file ----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "pipe.npy"],
        ["run", "tiny.dl", "--inputs", "x=[[1, 2, 3]]", "--weights", "pipe.npy"],
        ["run", "tiny.dl", "--inputs", "pipe.npy"],
        ["run", "tiny.dl", "--inputs", "x=pipe.png"],
        ["compile", "tiny.dl", "-b", "jax", "-o", "pipe.npy"],
    ],
)
def test_nobody_waits_for_a_pipe(dslc: Dslc, arguments: list[str]) -> None:
    for name in ("pipe.npy", "pipe.png"):
        os.mkfifo(name)
    code, error = dslc(*arguments)
    assert code == 4 and "a pipe" in error


def test_standard_input_that_is_closed(dslc: Dslc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert dslc("check", "-") == (4, "error[DL0001]: cannot read `standard input`: it is closed\n\n1 error\n")


# --- outputs ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("a\0b", "a name has no NUL byte in it"),
        ("new/", "it is the name of a directory"),
        ("a" * 300, "file name too long"),
        ("tiny.dl/x", "there is no directory"),
        (".", "it is a directory"),
    ],
)
def test_an_output_that_cannot_be(dslc: Dslc, output: str, reason: str) -> None:
    for command in (["init", "tiny.dl"], ["compile", "tiny.dl", "-b", "jax"], ["convert", "tiny.dl"]):
        code, error = dslc(*command, "-o", output)
        assert code == 4 and "error[DL0011]: cannot write" in error and reason in error
    assert os.listdir() == ["tiny.dl"]


def test_what_is_read_is_never_written(dslc: Dslc) -> None:
    assert dslc("init", "tiny.dl", "-o", "w.safetensors")[0] == 0
    before = Path("w.safetensors").read_bytes()
    given = ["--weights", "w.safetensors"]
    for command, output in [
        (["init", "tiny.dl"], "tiny.dl"),
        (["compile", "tiny.dl", "-b", "onnx"], "tiny.dl"),
        (["compile", "tiny.dl", "-b", "onnx", *given], "w.safetensors"),
        (["run", "tiny.dl", "--inputs", "x=[[1, 2, 3]]"], "tiny.dl"),
        (["run", "tiny.dl", "--inputs", "x=[[1, 2, 3]]", *given], "./w.safetensors"),
    ]:
        code, error = dslc(*command, "-o", output)
        assert code == 4 and f"error[DL0012]: the output `{output}` is the input" in error
    assert Path("w.safetensors").read_bytes() == before


def test_init_needs_a_place(dslc: Dslc) -> None:
    code, error = dslc("init", "tiny.dl")
    assert code == 2 and "Missing option '-o'" in error


def test_a_full_disk_while_weights_are_written(dslc: Dslc) -> None:
    Path("w.safetensors").write_bytes(b"old")
    with largest_file(5000):
        code, error = dslc("init", "tiny.dl", "-o", "w.safetensors", "--set", "width=1000")
    assert code == 4 and "error[DL0011]: cannot write `w.safetensors`" in error and Path("w.safetensors").read_bytes() == b"old"
    assert sorted(os.listdir()) == ["tiny.dl", "w.safetensors"]


# --- data ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["x=" + "[" * 20_000], 2, "it is nested too deep"),
        (["x=" + "9" * 5000], 2, "999...` is no array of numbers: a number is too long"),
        (["x=[[1, 2, 3]]", "x=[[1, 2, 3]]"], 2, "the input `x` is given twice"),
        (["x=[[1, 2, 3]]", "z=1"], 2, "the model has no input `z`"),
        ([], 2, "no value for `x`"),
        (["x=[]"], 1, "the input `x` is f32[B, 3], and [0] is given"),
        (["x=" + json.dumps([[1, 2, 3]] * 10)], 1, "a requirement is not met: at most 9"),
        (["objects.npy"], 4, "it holds Python objects, which are refused"),
        (["x=tiny.dl"], 2, "`tiny.dl` is no input"),
    ],
)
def test_inputs_that_are_none(dslc: Dslc, given: list[str], code: int, message: str) -> None:
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    found = dslc("run", "tiny.dl", *(part for text in given for part in ("--inputs", text)))
    assert found[0] == code and message in found[1] and len(found[1]) < 500


def safetensors(shape: list[int], offsets: list[int], size: int) -> bytes:
    tensors = {
        "fc.weight": {"dtype": "F32", "shape": shape, "data_offsets": offsets},
        "fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
    }
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 10_000) + b"[" * 10_000,
        safetensors([2, 3], [0, 24], 28),
        safetensors([2**40, 2**40], [0, 24], 32),
        safetensors([2, 3], [8, 32], 32),
        safetensors([-2, -3], [0, 24], 32),
    ],
    ids=["empty", "huge header", "deep header", "truncated", "huge shape", "overlap", "negative shape"],
)
def test_weights_that_lie(dslc: Dslc, data: bytes) -> None:
    Path("w.safetensors").write_bytes(data)
    code, error = dslc("compile", "tiny.dl", "-b", "onnx", "-o", "m.onnx", "--weights", "w.safetensors")
    assert code == 1 and "error[DL0803]: `w.safetensors` is no weight file" in error
    assert not Path("m.onnx").exists()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ("(2147483648,)", "it says that it has float32[2147483648], and ends before"),
        ("(18446744073709551616,)", "ends before"),
        ("(18446744073709551616, 0)", "ends before"),
        ("(-1, -3)", "ends before"),
        ("(3,), 'a': 1", "Header does not contain the correct keys"),
        ("(" * 200, "it has no header"),
    ],
    ids=["2 GB", "beyond 64 bits", "beyond 64 bits and empty", "negative", "more keys", "deep"],
)
def test_an_array_that_lies_is_read_nowhere(dslc: Dslc, shape: str, reason: str) -> None:
    """Nothing is allocated for what is not there."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(12)
    Path("a.npy").write_bytes(data)
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    for given in ("x=a.npy", "a.npz"):
        code, error = dslc("run", "tiny.dl", "--inputs", given)
        assert code == 4 and "error[DL0822]: cannot read" in error and (reason in error or shape.startswith("(((")), error
    code, error = dslc("run", "tiny.dl", "--inputs", "x=[[1, 2, 3]]", "--weights", "a.npz")
    assert code == 1 and "error[DL0803]" in error


def test_an_input_in_a_damaged_archive(dslc: Dslc) -> None:
    Path("a.npy").write_bytes(b"PK\x03\x04")
    assert dslc("run", "tiny.dl", "--inputs", "x=a.npy")[0] == 4
    np.savez_compressed("a.npz", allow_pickle=False, x=np.random.default_rng(0).random((2, 3)))
    data = bytearray(Path("a.npz").read_bytes())
    data[60:80] = b"\xff" * 20
    Path("a.npz").write_bytes(data)
    code, error = dslc("run", "tiny.dl", "--inputs", "a.npz")
    assert code == 4 and "error[DL0822]: cannot read `a.npz`" in error


def test_weights_in_a_damaged_archive(dslc: Dslc) -> None:
    np.savez_compressed(
        "w.npz", allow_pickle=False, **{"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.ones(2, np.float32)}
    )
    data = bytearray(Path("w.npz").read_bytes())
    with zipfile.ZipFile("w.npz") as archive:
        start = archive.infolist()[0].header_offset
    data[start + 60 : start + 70] = b"\xff" * 10
    Path("w.npz").write_bytes(data)
    code, error = dslc("run", "tiny.dl", "--inputs", "x=[[1, 2, 3]]", "--weights", "w.npz")
    assert code == 1 and "DL0803" in error


# --- names --------------------------------------------------------------------------------------------------------------------------

NAMES = '''# doc """ \\\\ """ + __import__("os")
module nn(weight: int = 3, torch: str = "a\\"b\\n")(self: float[super, F]) -> (params: float[super, weight]) {
  # """ \\N{x}
  require weight > 0, "q\\"\\"\\" \\\\ \\n {weight} %d"
  param forward: float[weight] = zeros
  buffer training_: float[weight] = ones
  jnp = self -> Linear: Linear(weight)
  eval = jnp + forward * training_
  return eval
}
fn jax(lambda, np) = lambda * 2 + np
fn _f(x) = exp(x)
module Module(int: int = 1)(float: float[nn_, jnp]) { return float -> Sequential: nn(int, torch="x") -> _f }
model Net(range: int = 2, self: int = 3)(x: float[B, self], params: float[B, self], key: float[B, range]) {
  training_ = x -> A: nn(range) -> a: Module(1)
  len = jax(params, x) -> repeat(2) { nn(self) } -> nn: nn(1)
  shape = key -> dtype: nn(range)
  layer cls = nn(1)
  rng = cls(x) + cls(params)
  return training_, shape, len + rng
}
'''


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_names_of_hosts_as_parameters_dimensions_and_definitions(backend: str) -> None:
    report = verify(compile_graph(Source("names.dl", NAMES)), [backend], sizes=1)
    assert report.ok and report.rows, [d.message for d in report.diagnostics]


# --- the process --------------------------------------------------------------------------------------------------------------------


def test_no_environment_at_all(tmp_path: Path) -> None:
    (tmp_path / "tiny.dl").write_text(TINY)
    root = Path(__file__).parents[1]
    line = [sys.executable, "-m", "dsl.cli", "check", str(tmp_path / "tiny.dl")]
    ran = subprocess.run(line, capture_output=True, text=True, env={}, cwd=root, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
