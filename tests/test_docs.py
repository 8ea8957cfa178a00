"""The docs are true: their specs compile, their errors are what the compiler says, their commands run.

A block marked `dl` or `yaml` compiles, and its tests pass. One marked `dl error` fails with the messages in the `text` block after it;
`pytest --update-golden tests/test_docs.py` writes those anew. Lines that begin with `$ dslc` in a `console` block of the README, or of
the page about training, run in a folder with the first spec of the page, and what follows them is in the output.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from dsl import compiler
from dsl.diagnostics import SpecError, render
from dsl.source import Source
from dsl.syntax import Module, Train

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/language.md", "docs/optimizers.md", "docs/training.md")
_FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its kind, what is in it, and where that begins and ends."""

    page: str
    kind: str
    text: str
    start: int
    end: int
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, m["kind"].strip(), m["text"], m.start("text"), m.end("text"), text.count("\n", 0, m.start()) + 1)
        for m in _FENCE.finditer(text)
    ]


def of_kind(kind: str) -> list[Block]:
    return [b for page in PAGES for b in blocks(page) if b.kind == kind]


def compile_all(block: Block) -> None:
    """Compile each model of a block, and run its tests; SpecError with what is wrong."""
    source = Source("net.dl", block.text)
    unit, _ = compiler.load(source)
    for definition in unit.file.definitions:
        if isinstance(definition, Module) and definition.kind == "model":
            compiler.compile_graph(source, model=definition.name)
        elif isinstance(definition, Train):
            compiler.compile_training(source, name=definition.name)
    problems = [d for _, found in compiler.test_blocks(source) for d in found]
    if problems:
        raise SpecError(problems)


@pytest.mark.parametrize("block", of_kind("dl"), ids=str)
def test_a_spec_compiles(block: Block) -> None:
    compile_all(block)


@pytest.mark.parametrize("block", of_kind("yaml"), ids=str)
def test_a_yaml_spec_compiles(block: Block, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(block.text)
    compiler.compile_graph(tmp_path / "net.yaml")


@pytest.mark.parametrize("page", PAGES)
def test_an_error_is_as_shown(page: str, update_golden: bool) -> None:
    found = blocks(page)
    text = (ROOT / page).read_text(encoding="utf-8")
    wrong = []
    for block, shown in reversed(list(pairwise(found))):
        if block.kind != "dl error":
            continue
        assert shown.kind == "text", f"{block} has no `text` block after it"
        said = messages(block)
        if said != shown.text:
            wrong.append(f"{block}\n{said}")
            text = text[: shown.start] + said + text[shown.end :]
    if update_golden:
        (ROOT / page).write_text(text, encoding="utf-8")
    else:
        assert wrong == []


def messages(block: Block) -> str:
    """What the compiler says of a spec that is wrong."""
    with pytest.raises(SpecError) as caught:
        compile_all(block)
    return "\n\n".join(render(d) for d in caught.value.diagnostics) + "\n"


@pytest.mark.parametrize(
    ("page", "name"),
    [("README.md", "classify.dl"), pytest.param("docs/training.md", "flowers.dl", marks=pytest.mark.slow)],  # trainings
)
def test_the_commands_of_a_page_run(page: str, name: str, tmp_path: Path) -> None:
    spec = next(b for b in blocks(page) if b.kind == "dl")
    (tmp_path / name).write_text(spec.text)
    ran = 0
    for console in (b for b in blocks(page) if b.kind == "console"):
        for command, expected in commands(console.text):
            finished = subprocess.run(
                [sys.executable, "-m", "dsl.cli", *shlex.split(command)], cwd=tmp_path, capture_output=True, text=True,
                env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            assert finished.returncode == 0, f"dslc {command}\n{finished.stdout}{finished.stderr}"
            assert expected in finished.stdout + finished.stderr
            ran += 1
    assert ran > 0


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = blocks("README.md")
    (tmp_path / "classify.dl").write_text(next(b.text for b in found if b.kind == "dl"))
    monkeypatch.chdir(tmp_path)
    for block in (b for b in found if b.kind == "python"):
        exec(compile(block.text, str(block), "exec"), {})
        assert "def apply(params, tokens" in capsys.readouterr().out


def test_the_error_of_the_readme_is_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    found = blocks("README.md")
    spec = next(b.text for b in found if b.kind == "dl")
    shown = next(b for b in found if b.kind == "text")
    (tmp_path / "classify.dl").write_text(spec.replace("proj: Linear(D)", "proj: Linear(2 * D)"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        compiler.compile_graph("classify.dl")
    said = "".join(f"{render(d)}\n" for d in caught.value.diagnostics)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if update_golden:
        (ROOT / "README.md").write_text(text[: shown.start] + said + text[shown.end :], encoding="utf-8")
    else:
        assert said == shown.text


def commands(text: str) -> list[tuple[str, str]]:
    """The `dslc` commands of a console block, each with the output shown for it."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        if command.startswith("dslc "):
            found.append((command.removeprefix("dslc "), output))
    return found


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "docs/robustness.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Relative links of a page are files, and their anchors are headings."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", text):
        if target and "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
    headings = {re.sub(r"[^\w -]", "", h.lower()).strip().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in headings, f"{page} links to #{anchor}"


def test_the_map_of_the_readme_is_true() -> None:
    """Every path that the README names is there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) > 5
    for folder, description in rows:
        assert (ROOT / folder).is_dir(), folder
        for name in re.findall(r"`([\w/.]+\.(?:py|dl))`", description):
            assert (ROOT / folder / name).exists() or (ROOT / name).exists(), f"{folder} has no {name}"


def test_the_tests_that_the_page_of_faults_names_are_there() -> None:
    """docs/robustness.md: each name in a row stands in the file that was linked last before it."""
    text = (ROOT / "docs/robustness.md").read_text(encoding="utf-8")
    names = 0
    for row in (line for line in text.splitlines() if line.startswith("| ") and "tests/" in line):
        file = ""
        for path, name in re.findall(r"\]\(\.\./(tests/\w+\.py)\)|`(test_\w+)`", row):
            file = path or file
            names += bool(name)
            assert path or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{name} is not in {file}"
    assert names > 40
