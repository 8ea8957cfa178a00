"""What a spec, its name, or a file beside it would do if its text got out of its place: into code, pages, terminals, other folders."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dsl import cli

ROOT = Path(__file__).parents[1]
SPEC = "model Net()(x: float[B, 3]) -> (y: float[B, 2]) {\n  return x -> Linear(2)\n}\n"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

NAMES = {
    "python": 'a"""\nimport os\nos.system("touch pwned")\n""".dl',
    "backslash": "a\\.dl",
    "shell": "$(touch pwned).dl",
    "html": "<img src=x onerror=alert(1)>.dl",
    "markdown": "a](javascript:alert(1)) [b.dl",
    "escape": "a\x1b[2J\x1b]0;title\x07.dl",
    "bidi": "a\u202eld.exe.dl",
    "lines": "a\r\nb.dl",
    "no text": os.fsdecode(b"a\xff.dl"),
}

Dslc = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dslc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Dslc:
    """Runs a command line in an empty folder: its exit code, output and errors. A file `pwned` would be a shell or a Python at work."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        out, error = capfd.readouterr()
        assert "internal error" not in error and "Traceback" not in error and not Path("pwned").exists()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, error

    return run


# --- names of files -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_name_of_a_file_stays_a_name(dslc: Dslc, name: str) -> None:
    Path(name).write_text(SPEC)
    Path("plain.dl").write_text(SPEC)
    for target in ("torch", "jax"):
        assert dslc("compile", "plain.dl", "-b", target, "-o", "plain.py")[0] == 0
        code, _, error = dslc("compile", name, "-b", target, "-o", "net.py")
        assert code == 0 and not CONTROL.search(error)
        assert same_code(Path("net.py").read_text(encoding="utf-8"), Path("plain.py").read_text(encoding="utf-8"))
    code, out, error = dslc("check", name)
    assert code == 0 and not CONTROL.search(out + error)
    code, _, error = dslc("check", f"no{name}")
    assert code == 4 and not CONTROL.search(error)


def same_code(one: str, other: str) -> bool:
    """The same but for the docstring of the module, which names the spec."""
    return [ast.dump(node) for node in ast.parse(one).body[1:]] == [ast.dump(node) for node in ast.parse(other).body[1:]]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_name_of_a_file_in_an_onnx_file(dslc: Dslc, name: str) -> None:
    import onnx

    Path(name).write_text(SPEC)
    assert dslc("compile", name, "-b", "onnx", "-o", "net.onnx")[0] == 0
    model = onnx.load("net.onnx")
    assert {entry.key for entry in model.metadata_props} == {"model", "entry", "spec"}
    assert not any(CONTROL.search(entry.value) for entry in model.metadata_props)


def test_texts_of_a_spec_in_generated_files(dslc: Dslc) -> None:
    """What a requirement says is metadata of an ONNX file, and an error of a Python program: neither has a sign that a terminal obeys."""
    import onnx

    message = 'require B < 10, "a\\u{1B}[2J\\u{202E}\\u{0}\\n\\"\\"\\" + pwn()"'
    Path("net.dl").write_text('# A note """ \\\n' + SPEC.replace("  return", f"  {message}\n  return"))
    assert dslc("compile", "net.dl", "-b", "onnx", "-o", "net.onnx")[0] == 0
    texts = {entry.key: entry.value for entry in onnx.load("net.onnx").metadata_props}
    assert texts["require"] == 'B < 10 (a\\u{1B}[2J\\u{202E}\\u{0} """ + pwn())'
    for target in ("torch", "jax"):
        assert dslc("compile", "net.dl", "-b", target, "-o", "net.py")[0] == 0
        code = Path("net.py").read_text()
        strings = [n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert any("pwn()" in text for text in strings) and not any(CONTROL.search(text) for text in (code, *strings))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_name_of_a_file_in_a_picture(dslc: Dslc, name: str) -> None:
    Path(name).write_text(SPEC)
    for form in ("html", "svg", "dot", "mermaid"):
        code, page, _ = dslc("show", "--graph", form, name)
        assert code == 0 and not CONTROL.search(page) and "onerror" not in page and "pwned" not in page


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_name_of_a_file_on_a_page(dslc: Dslc, name: str) -> None:
    Path(name).write_text(SPEC)
    code, page, _ = dslc("show", "--markdown", name)
    assert code == 0 and not CONTROL.search(page)
    assert not re.search(r"(?<!\\)<img", page) and not re.search(r"(?<!\\)\]\(javascript", page)


# --- texts in a spec ------------------------------------------------------------------------------------------------------------------


def test_a_comment_on_a_page(dslc: Dslc) -> None:
    """Also after a backtick that is never closed, which quotes nothing."""
    Path("net.dl").write_text("# <script>alert(1)</script> [a](javascript:x) ` <img src=x>\n# `<b>` is code\n" + SPEC)
    _, page, _ = dslc("show", "--markdown", "net.dl")
    assert not re.search(r"(?<![\\`])<(script|img|b)\b", page) and "](javascript" not in page.replace(r"\](", "")
    assert "`<b>`" in page


@pytest.mark.parametrize("form", ["html", "svg", "dot", "mermaid"])
def test_texts_in_a_picture(dslc: Dslc, form: str) -> None:
    """Pictures show names and sizes, which cannot hold signs of the form; the strings of a spec are not shown."""
    hostile = '<script>alert(1)</script>\\"];--></svg>'
    Path("net.dl").write_text(SPEC.replace("  return", f'  require B > 0, "{hostile}"\n  return'))
    code, page, _ = dslc("show", "--graph", form, "net.dl")
    assert code == 0 and "<script" not in page and "alert" not in page


def test_escapes_that_a_spec_spells(dslc: Dslc) -> None:
    """`\\u{1B}` in a string is the escape character, which no message writes to a terminal."""
    text = SPEC + 'test "a\\u{1B}[2J" {\n  assert 1 == 2, "b\\u{1B}]0;c\\u{7}"\n}\n'
    Path("net.dl").write_text(text.replace("  return", '  require 3 < 2, "d\\u{202E}\\u{1B}[31m"\n  return'))
    for command in ("check", "test"):
        code, out, error = dslc(command, "net.dl")
        assert code == 1 and not CONTROL.search(out + error)


@pytest.mark.parametrize("text", ["\x1b[2J", "n\x1b[2J=1", "n=\x1b[2J", "n=\u202e", os.fsdecode(b"n=\xff")])
def test_escapes_on_the_command_line(dslc: Dslc, text: str) -> None:
    Path("net.dl").write_text(SPEC)
    code, out, error = dslc("check", "net.dl", "--set", text)
    assert code in (1, 2) and error and not CONTROL.search(out + error)


# --- other folders --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "..secret",
        ".secret",
        "/etc/passwd",
        "secret.",
        "a..b",
        "a/b",
        "a\\b",
        '"../secret"',
        "__init__",
        "secret.dl",
        "~",
    ],
)
def test_imports_stay_where_they_are_looked_for(dslc: Dslc, path: str, tmp_path: Path) -> None:
    Path("inner").mkdir()
    Path("secret.dl").write_text("fn secret(x) = x\n")
    Path("inner/net.dl").write_text(f"from {path} import secret\n{SPEC}")
    code, _, error = dslc("check", "inner/net.dl")
    assert code == 1 and "error[DL" in error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_an_import_that_is_no_file(dslc: Dslc) -> None:
    os.mkfifo("pipe.dl")
    Path("zero.dl").symlink_to("/dev/zero")
    Path("loop.dl").symlink_to("loop.dl")
    Path("folder.dl").mkdir()
    for name in ("pipe", "zero", "loop", "folder"):
        Path("net.dl").write_text(f"import {name}\n{SPEC}")
        code, _, error = dslc("check", "net.dl")
        assert code == 1 and "DL0210" in error


def test_links_as_outputs(dslc: Dslc) -> None:
    """A link is followed to a file, and replaced by none; what it leads to that is no file is refused."""
    Path("net.dl").write_text(SPEC)
    Path("there").mkdir()
    for name, target in (
        ("new", "there/new.py"),
        ("loop", "loop"),
        ("folder", "there"),
        ("away", "missing/net.py"),
        ("spec", "net.dl"),
    ):
        Path(name).symlink_to(target)
    assert dslc("compile", "net.dl", "-b", "torch", "-o", "new")[0] == 0
    assert Path("new").is_symlink() and Path("there/new.py").is_file()
    for name in ("loop", "folder", "away", "spec"):
        code, _, error = dslc("compile", "net.dl", "-b", "torch", "-o", name)
        assert code == 4 and re.search(r"error\[DL001[12]\]", error), name
        assert Path(name).is_symlink()
    assert Path("net.dl").read_text() == SPEC and os.listdir("there") == ["new.py"]


def test_weights_beside_a_model_are_in_its_folder(dslc: Dslc, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    import backends.onnx

    monkeypatch.setattr(backends.onnx, "EXTERNAL_ABOVE", 0)
    Path("net.dl").write_text(SPEC.replace("2", "2000"))
    Path("out").mkdir()
    assert dslc("compile", "net.dl", "-b", "onnx", "-o", "out/net.onnx")[0] == 0
    model = onnx.load("out/net.onnx", load_external_data=False)
    locations = {e.value for tensor in model.graph.initializer for e in tensor.external_data if e.key == "location"}
    assert locations and all(location in os.listdir("out") for location in locations)


@pytest.mark.parametrize("command", ["check", "run", "verify", "init", "show", "convert"])
def test_an_onnx_file_is_no_spec(dslc: Dslc, command: str) -> None:
    """dslc writes ONNX files and reads none, so that what they refer to is never opened."""
    import onnx
    from onnx import TensorProto, helper

    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], [tensor])), "net.onnx")
    more = ["-o", "w.safetensors"] if command == "init" else ["--to", "yaml"] if command == "convert" else []
    code, _, error = dslc(command, "net.onnx", *more)
    assert code in (1, 2, 4) and "passwd" not in error


def test_nothing_runs_what_it_reads() -> None:
    """No evaluation of text as Python and no pickle in the compiler: what a backend has generated is what is executed, and only that."""
    for path in [*(ROOT / "dsl").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]:
        package = path.relative_to(ROOT).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                risky = node.func.id in ("eval", "exec", "__import__")
                assert not risky or (node.func.id, package) == ("exec", "backends"), f"{path}:{node.lineno}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not {"pickle", "marshal", "shelve", "dill"} & set(modules), f"{path}:{node.lineno}"
