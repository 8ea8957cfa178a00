"""The command line: what each command prints, writes and exits with; and that nothing a user does shows a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dsl import cli

ROOT = Path(__file__).parents[1]
LENET = str(ROOT / "specs" / "cnn" / "lenet.dl")
TINY = "model Tiny(width: int = 2)(x: float[B, 3]) -> (y: float[B, width]) {\n  return x -> fc: Linear(width)\n}\n"
WRONG = "model Net()(x: float[B, 3]) {\n  y = relu(x)\n  return x -> Liner(3)\n}\n"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Dslc = Callable[..., Ran]


@pytest.fixture
def dslc(capfd: pytest.CaptureFixture[str]) -> Dslc:
    def run(*arguments: str | Path) -> Ran:
        capfd.readouterr()
        code = cli.run([str(a) for a in arguments])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.dl"
    path.write_text(TINY)
    return path


def command(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "dsl.cli", *arguments]
    return subprocess.run(line, input=text, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


# --- every command ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_has_an_example(dslc: Dslc, name: str) -> None:
    ran = dslc(name, "--help")
    assert ran.code == 0
    assert f"\n  dslc {name}" in ran.out or f"| dslc {name}" in ran.out


def test_the_list_of_commands(dslc: Dslc) -> None:
    ran = dslc("--help")
    assert ran.code == 0 and all(f"  {name} " in ran.out for name in cli.COMMANDS)
    assert set(cli.SUMMARIES) == set(cli.COMMANDS)


def test_version(dslc: Dslc) -> None:
    assert dslc("--version").out.startswith("dslc ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["chek", "x.dl"],
        ["check"],
        ["compile", LENET],
        ["check", LENET, "--dtype", "f12"],
        ["check", LENET, "--set", "classes"],
        ["check", LENET, "--set", "clases=3"],
        ["check", LENET, "--model", "Lenet"],
        ["compile", LENET, "--backend", "onxx"],
        ["compile", LENET, "--backend", "jax", "--disable", "prun"],
        ["compile", LENET, "--backend", "jax", "--entry", "backward"],
        ["compile", LENET, "--backend", "jax", "--weights", "w.safetensors"],
        ["compile", LENET, "--backend", "jax", "--print-after", "nothing"],
        ["run", LENET],
        ["run", LENET, "--inputs", "picture=x.npy"],
        ["run", LENET, "--inputs", "image=abc"],
        ["run", LENET, "--inputs", "image=[[[["],
        ["show", LENET, "--size", "Q=3"],
        ["verify", LENET, "--size", "Q=3"],
        ["explain", "DL9999"],
        ["ops", "convv"],
    ],
)
def test_a_wrong_command_line_is_2(dslc: Dslc, arguments: list[str]) -> None:
    ran = dslc(*arguments)
    assert ran.code == 2
    assert ran.out == "" and ran.err.strip()


# --- check ------------------------------------------------------------------------------------------------------------------------


def test_check_says_what_it_checked(dslc: Dslc, tiny: Path) -> None:
    assert dslc("check", tiny) == Ran(0, f"{tiny}: Tiny, 8 parameters\n", "")
    assert dslc("check", tiny, "--set", "width=5").out == f"{tiny}: Tiny, 20 parameters\n"


def test_check_shows_what_is_wrong_and_counts_it(dslc: Dslc, tmp_path: Path) -> None:
    path = tmp_path / "wrong.dl"
    path.write_text(WRONG)
    ran = dslc("check", path, LENET)
    assert ran.code == 1
    assert "error[DL0201]: `Liner` is not defined" in ran.err and ran.err.endswith("\n1 error\n")
    assert ran.out.endswith("LeNet, 61,706 parameters\n"), "the other file is checked all the same"


def test_check_as_json(dslc: Dslc, tmp_path: Path) -> None:
    path = tmp_path / "wrong.dl"
    path.write_text(WRONG)
    ran = dslc("check", path, "--json")
    answer = json.loads(ran.out)
    assert ran.code == 1 and ran.err == ""
    assert answer["specs"] == [{"spec": str(path), "ok": False}]
    (diagnostic,) = answer["diagnostics"]
    assert (diagnostic["code"], diagnostic["line"], diagnostic["column"]) == ("DL0201", 3, 15)


def test_a_file_that_is_not_there_is_4(dslc: Dslc, tmp_path: Path) -> None:
    ran = dslc("check", tmp_path / "nothing.dl")
    assert ran.code == 4 and "DL0001" in ran.err
    assert dslc("check", tmp_path).code == 4


def test_tests_of_a_spec(dslc: Dslc, tmp_path: Path) -> None:
    path = tmp_path / "tested.dl"
    path.write_text(TINY + '\ntest "right" {\n  assert Tiny().parameter_count == 8\n}\n')
    assert dslc("test", path) == Ran(0, f"ok  {path}: right\n1 of 1 tests passed\n", "")
    path.write_text(TINY + '\ntest "wrong" {\n  assert Tiny().parameter_count == 9\n}\n')
    ran = dslc("test", path)
    assert ran.code == 1 and "FAILED" in ran.out and "is 8" in ran.err
    assert json.loads(dslc("test", path, "--json").out)[0]["ok"] is False


# --- text in, text out --------------------------------------------------------------------------------------------------------------


def test_fmt_rewrites_checks_and_shows(dslc: Dslc, tmp_path: Path) -> None:
    path = tmp_path / "ugly.dl"
    path.write_text("model   Net()( x:float[B,3] ){return x->relu}\n")
    assert dslc("fmt", "--check", path).code == 1
    diff = dslc("fmt", "--diff", path)
    assert diff.code == 1 and "-model   Net()( x:float[B,3] )" in diff.out
    assert "Net()( x" in path.read_text(), "neither changes the file"
    assert dslc("fmt", path).code == 0
    assert "x -> relu" in path.read_text()
    assert dslc("fmt", "--check", path).code == 0


def test_fmt_leaves_a_broken_file_alone(dslc: Dslc, tmp_path: Path) -> None:
    path = tmp_path / "broken.dl"
    path.write_text("model Net( {\n")
    assert dslc("fmt", path).code == 1
    assert path.read_text() == "model Net( {\n"


def test_convert_there_and_back(dslc: Dslc, tiny: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "tiny.yaml", tmp_path / "back.dl"
    assert dslc("convert", tiny, "-o", there).code == 0
    assert dslc("convert", there, "-o", back).code == 0
    assert back.read_text() == TINY
    assert dslc("check", there).out == f"{there}: Tiny, 8 parameters\n"
    assert dslc("convert", tiny).out == there.read_text()
    assert dslc("convert", tiny, "-o", tiny).code == 4, "the input is never the output"


# --- compile, init, run -----------------------------------------------------------------------------------------------------------


def test_compile_to_source_on_standard_output(dslc: Dslc, tiny: Path) -> None:
    ran = dslc("compile", tiny, "--backend", "jax")
    assert ran.code == 0 and ran.err == ""
    compile(ran.out, "tiny.py", "exec")
    assert str(tiny.parent) not in ran.out, "where the spec was is nobody's business"
    assert ran == dslc("compile", tiny, "--backend", "jax"), "the same spec gives the same code"


def test_compile_to_a_file_with_given_weights(dslc: Dslc, tiny: Path, tmp_path: Path) -> None:
    weights, model = tmp_path / "w.safetensors", tmp_path / "tiny.onnx"
    assert dslc("init", tiny, "-o", weights, "--seed", 7).code == 0
    ran = dslc("compile", tiny, "-b", "onnx", "-o", model, "--weights", weights)
    assert ran == Ran(0, "", f"wrote {model}\n")
    assert dslc("compile", tiny, "-b", "onnx", "-o", tmp_path / "same.onnx", "--seed", 7).code == 0
    assert (tmp_path / "same.onnx").read_bytes() == model.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["same.onnx", "tiny.dl", "tiny.onnx", "w.safetensors"]


def test_a_failed_compile_leaves_the_old_file(dslc: Dslc, tmp_path: Path) -> None:
    spec, model = tmp_path / "wrong.dl", tmp_path / "model.py"
    spec.write_text(WRONG)
    model.write_text("old")
    assert dslc("compile", spec, "-b", "jax", "-o", model).code == 1
    assert model.read_text() == "old"
    assert dslc("compile", LENET, "-b", "jax", "-o", tmp_path / "no" / "where.py").code == 4


def test_print_after_a_pass(dslc: Dslc, tiny: Path) -> None:
    ran = dslc("compile", tiny, "-b", "jax", "--print-after", "prune")
    assert ran.err.startswith("# after prune\n") and "Linear" in ran.err
    assert dslc("compile", tiny, "-b", "jax", "--print-after", "all", "--disable", "prune").err.count("# after") >= 3


def test_too_many_parameters(dslc: Dslc, tiny: Path) -> None:
    ran = dslc("check", tiny, "--max-parameters", 7)
    assert ran.code == 1 and "DL0605" in ran.err


@pytest.mark.parametrize("backend", ["reference", "onnx"])
def test_run_with_weights(dslc: Dslc, tiny: Path, tmp_path: Path, backend: str) -> None:
    weights, out = tmp_path / "w.npz", tmp_path / "y.npz"
    given = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.array([0, 1], np.float32)}
    np.savez(weights, allow_pickle=False, **given)
    arguments = ["run", tiny, "--weights", weights, "--inputs", "x=[[1, 2, 3]]", "--backend", backend]
    assert dslc(*arguments).out.replace(" ", "").startswith("y:float") and "6" in dslc(*arguments).out
    assert dslc(*arguments, "-o", out).code == 0
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["y"], [[6.0, 7.0]])


def test_run_on_a_picture(dslc: Dslc, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    picture = tmp_path / "digit.png"
    image.fromarray(np.full((28, 28), 128, np.uint8)).save(picture)
    ran = dslc("run", LENET, "--inputs", picture)
    assert ran.code == 0 and ran.out.startswith("logits: float64[1, 10]")
    picture.write_bytes(b"\x89PNG broken")
    assert dslc("run", LENET, "--inputs", picture).code == 4


@pytest.mark.parametrize(
    ("value", "what"),
    [("[[1, 2]]", "DL0802"), ("[1, 2, 3]", "DL0802"), ('[["a", "b", "c"]]', "DL0821"), ("[[1], [1, 2]]", "DL0821")],
)
def test_inputs_that_do_not_fit(dslc: Dslc, tiny: Path, value: str, what: str) -> None:
    ran = dslc("run", tiny, "--inputs", f"x={value}")
    assert ran.code in (1, 2) and what in ran.err


def test_verify(dslc: Dslc, tiny: Path) -> None:
    ran = dslc("verify", tiny, "--backend", "onnx", "--size", "B=2,5")
    assert ran.code == 0 and ran.out.endswith("all 2 comparisons agree\n")
    answer = json.loads(dslc("verify", tiny, "-b", "onnx", "--json").out)
    assert answer["ok"] and {row["backend"] for row in answer["rows"]} == {"onnx"}


# --- looking things up ------------------------------------------------------------------------------------------------------------


def test_show(dslc: Dslc, tiny: Path) -> None:
    table = dslc("show", tiny).out
    assert "Tiny.forward(x: f32[B, 3]) -> (y: f32[B, 2])" in table and "8 parameters" in table
    answer = json.loads(dslc("show", tiny, "--json", "--size", "B=10").out)
    assert answer["parameters"] == 8 and answer["flops"] == 10 * (2 * 3 * 2 + 2)
    assert answer["layers"][0]["outputs"] == ["f32[10, 2]"]


@pytest.mark.parametrize(
    ("form", "start"), [("mermaid", "flowchart"), ("dot", "digraph"), ("svg", "<svg"), ("html", "<!doctype html>")]
)
def test_pictures(dslc: Dslc, tiny: Path, form: str, start: str) -> None:
    ran = dslc("show", tiny, "--graph", form)
    assert ran.code == 0 and ran.out.startswith(start) and "fc: Linear" in ran.out
    assert "http" not in ran.out.replace("http://www.w3.org/2000/svg", ""), "nothing is fetched"


def test_ops_explain_targets(dslc: Dslc) -> None:
    assert "conv(x, weight, stride=1" in dslc("ops", "conv").out
    assert json.loads(dslc("ops", "relu", "--json").out)[0]["name"] == "relu"
    assert "LSTM(hidden: int" in dslc("ops", "LSTM").out and "scan input in inputs" in dslc("ops", "LSTM").out
    assert {"relu", "softmax", "adamw", "LSTM"} <= {one["name"] for one in json.loads(dslc("ops", "--json").out)}
    assert dslc("explain", "dl0301").out.startswith("DL0301: shapes do not match")
    assert {t["name"] for t in json.loads(dslc("targets", "--json").out)} >= {"reference", "torch", "jax", "onnx"}


def test_the_page_of_ops_is_up_to_date(dslc: Dslc, update_golden: bool) -> None:
    path = ROOT / "docs" / "ops.md"
    page = dslc("ops", "--markdown").out
    if update_golden:
        path.write_text(page, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page, "run `dslc ops --markdown -o docs/ops.md`"


# --- as a process -----------------------------------------------------------------------------------------------------------------


def test_standard_input_and_output() -> None:
    ran = command("check", "-", text=TINY)
    assert (ran.returncode, ran.stdout) == (0, "-: Tiny, 8 parameters\n")
    assert command("fmt", "-", text=TINY).stdout == TINY
    assert "<stdin>:3:15" in command("check", "-", text=WRONG).stderr


def test_no_colour_in_a_pipe() -> None:
    assert "\x1b" not in command("check", "-", text=WRONG).stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f'{sys.executable} -m dsl.cli ops --markdown | head -1; exit "${{PIPESTATUS[0]}}"'
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is one of Linux")
@pytest.mark.parametrize("arguments", ["check " + LENET, "ops", "show " + LENET, "compile -b jax " + LENET, "explain", "--help"])
def test_a_full_disk_behind_standard_output_is_4(arguments: str) -> None:
    script = f"{sys.executable} -m dsl.cli {arguments} > /dev/full"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ran.returncode == 4
    assert "no space left on device" in ran.stderr and "Traceback" not in ran.stderr and "bug" not in ran.stderr


def test_closed_standard_streams() -> None:
    script = f"{sys.executable} -m dsl.cli check {LENET} >&- && {sys.executable} -m dsl.cli check {LENET} 2>&-"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_interrupt_is_130(dslc: Dslc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dsl.compiler.elaborated", interrupted)
    ran = dslc("check", tiny)
    assert (ran.code, ran.out, ran.err.strip()) == (130, "", "interrupted")


def test_a_bug_of_ours_is_70_without_a_traceback(dslc: Dslc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("invariant")

    monkeypatch.setattr("dsl.compiler.elaborated", broken)
    ran = dslc("check", tiny)
    assert ran.code == 70
    assert "ZeroDivisionError: invariant (test_cli.py:" in ran.err and "bug in dslc" in ran.err and "Traceback" not in ran.err
    monkeypatch.setenv("DSLC_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        dslc("check", tiny)


@pytest.mark.parametrize("arguments", [["check", LENET], ["fmt", "--check", LENET], ["show", LENET], ["explain", "DL0301"]])
def test_no_framework_is_imported(arguments: list[str]) -> None:
    heavy = "{'torch', 'jax', 'onnx', 'onnxruntime', 'safetensors', 'PIL'}"
    script = f"import sys; from dsl import cli; cli.run({arguments!r}); sys.exit(bool({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert ran.returncode == 0
