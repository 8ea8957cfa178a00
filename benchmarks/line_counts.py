"""docs/line-counts.md: the lines of specs against those of public implementations of the same models, listed in line_counts.toml.

`python benchmarks/line_counts.py` writes the page; specs are counted as they are. With `--references FOLDER` (checkouts as OWNER/NAME) the
lines of the implementations are counted again and compared with what line_counts.toml says.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from backends.torch_layers import FUNCTIONS, LAYERS
from dsl.commands.gallery import code_lines
from dsl.compiler import load
from dsl.elaborate.program import models
from dsl.loader import Unit, library_definition

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs" / "line-counts.md"
LONG = 60

RECURRENT = frozenset(
    {"RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "StackedRNN", "StackedLSTM", "StackedGRU", "Bidirectional"}
)
"""Layers that torch.nn has, and whose bodies are emitted all the same: its own have no lengths."""


@dataclass(frozen=True, slots=True)
class Row:
    """A model as a spec and as a public implementation. The fields are told in line_counts.toml."""

    spec: str
    repo: str
    commit: str
    parts: dict[str, list[str]]
    lines: int
    models: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    note: str = ""


def rows() -> list[Row]:
    read = tomllib.loads(TABLE.read_text(encoding="utf-8"))["row"]
    return [Row(**{**r, "models": tuple(r.get("models", ())), "apart": tuple(r.get("apart", ()))}) for r in read]


# --- specs ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a model: its own and what it imports, and with those of the library that PyTorch has no word for."""

    own: int
    with_library: int


def model_lines(row: Row) -> Lines:
    """What the models of a row are made of, each definition once."""
    unit, _ = load(ROOT / "specs" / row.spec)
    names = row.models or tuple(models(unit))[:1]
    counts = {True: 0, False: 0}
    for library, lines in _reached(unit, names, {*row.apart}, set()):
        counts[library] += lines
    return Lines(counts[False], counts[False] + counts[True])


def _reached(unit: Unit, names: tuple[str, ...], apart: set[str], seen: set[tuple[bool, str]]) -> Iterator[tuple[bool, int]]:
    """The definitions that names stand for and all they mention: whether of the library, and how many lines each."""
    for name in names:
        definition, home = unit.names.get(name) or library_definition(name) or (None, unit)
        if definition is None or name in apart:
            continue
        if (home.library, name) in seen or (home.library and _has_word(name, home)):
            continue
        seen.add((home.library, name))
        code = [line for line in _without_comments(definition.span.text).split("\n") if line.strip()]
        yield home.library, len(code)
        mentioned = re.findall(r"(?<![\w.])([A-Za-z_]\w*)(?!\w)(?! *[:=](?!=))", "\n".join(code))
        yield from _reached(home, tuple(dict.fromkeys(mentioned)), apart, seen)


def _has_word(name: str, home: Unit) -> bool:
    """Whether PyTorch has it: layers, functions and initialisers."""
    return (
        name in LAYERS or name in FUNCTIONS or name in RECURRENT or (home.path is not None and home.path.name == "initializer.dl")
    )


def _without_comments(text: str) -> str:
    return re.sub(r'"[^"\n]*"|#[^\n]*', lambda m: "" if m[0].startswith("#") else '""', text)


# --- implementations ------------------------------------------------------------------------------------------------------------------


def reference_lines(row: Row, folder: Path) -> int:
    """The lines of the implementation of a row in a folder of checkouts."""
    total = 0
    for path, names in row.parts.items():
        text = (folder / row.repo / path).read_text(encoding="utf-8")
        texts = _cells(text) if path.endswith(".ipynb") else [text]
        for name in names:
            total += max(_named_lines(one, name) for one in texts)
    return total


def _cells(notebook: str) -> list[str]:
    cells = [c for c in json.loads(notebook)["cells"] if c["cell_type"] == "code"]
    return [text for c in cells if not re.search(r"^[!%]", text := "".join(c["source"]), re.MULTILINE)]


def _named_lines(text: str, name: str) -> int:
    """Lines with code of a class, a method `Class.method`, a function, or of lines `40-60`."""
    with_code = _lines_with_code(text)
    if match := re.fullmatch(r"(\d+)-(\d+)", name):
        return len(with_code & set(range(int(match[1]), int(match[2]) + 1)))
    tree: ast.AST = ast.parse(text)
    for part in name.split("."):
        inside = [n for n in getattr(tree, "body", []) if getattr(n, "name", None) == part]
        if not inside:
            return 0
        tree = inside[-1]
    assert isinstance(tree, ast.ClassDef | ast.FunctionDef)
    documented = [
        n.body[0] for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(n) is not None
    ]
    doc = {line for d in documented for line in range(d.lineno, (d.end_lineno or d.lineno) + 1)}
    first = min([tree.lineno, *(d.lineno for d in tree.decorator_list)])
    return len(with_code & set(range(first, (tree.end_lineno or first) + 1)) - doc)


def _lines_with_code(text: str) -> set[int]:
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {line for t in tokens if t.type not in ignored for line in range(t.start[0], t.end[0] + 1)}


# --- page -----------------------------------------------------------------------------------------------------------------------------

HEAD = """# Line counts

How long specs are, and how long the same models are in public implementations. Made by `make docs` (`benchmarks/line_counts.py`):
specs are counted as they are, implementations once, at the commit that the table links to.

Counted is what defines the model: layers and what is done with them, without comments, docstrings, empty lines, imports, tests,
training and data. Of a spec these are the model and all that it mentions in its file or imports from other specs; of an
implementation the named classes and functions of those files, without loading of checkpoints and the like where it can be told
apart. The models are the same in kind, not always in every detail: notes say where one side does more. Where several
implementations were at hand, a short and well-known one was taken.

`lines` stands on the library of the language, as an implementation stands on `torch.nn`. Some names of this library have no
counterpart there, such as `SelfAttention`: `with library` adds the lines of those that the model uses, as if the spec had to
define them.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    files = {p.relative_to(ROOT / "specs").as_posix(): code_lines(p) for p in sorted((ROOT / "specs").glob("*/*.dl"))}
    sizes = {name: n for name, n in files.items() if not name.startswith("examples/")}
    found = sorted(((r, model_lines(r)) for r in rows()), key=lambda one: -one[0].lines / one[1].own)
    factors = [r.lines / n.own for r, n in found]
    full = [r.lines / n.with_library for r, n in found]
    yield from HEAD.splitlines()
    yield ""
    yield "| | |"
    yield "|---|--:|"
    yield f"| specs | {len(sizes)} |"
    yield f"| lines of a spec, all its models together: median | {median(sizes.values()):g} |"
    yield f"| specs of at most 40 lines | {sum(n <= 40 for n in sizes.values())} |"
    yield f"| models compared | {len(found)} |"
    yield f"| factor, median | {median(factors):.1f} |"
    yield f"| factor with library, median | {median(full):.1f} |"
    yield f"| models with a factor of 3 or more | {sum(f >= 3 for f in factors)} |"
    yield ""
    yield from _comparison([one for one in found if one[0].lines >= 3 * one[1].own], "## A factor of 3 or more")
    yield from _comparison([one for one in found if one[0].lines < 3 * one[1].own], "## Less than 3")
    yield from _longest(sizes)


def _comparison(found: list[tuple[Row, Lines]], title: str) -> Iterator[str]:
    yield title
    yield ""
    yield "| spec | lines | with library | implementation | lines | factor | with library | note |"
    yield "|---|--:|--:|---|--:|--:|--:|---|"
    for row, n in found:
        name = f"[{row.spec.removesuffix('.dl')}](../specs/{row.spec})" + (f" {' '.join(row.models)}" if row.models else "")
        parts = "; ".join(f"{path}: {', '.join(names)}" for path, names in row.parts.items())
        link = f"https://github.com/{row.repo}/blob/{row.commit}/{next(iter(row.parts)).replace(' ', '%20')}"
        where = f'[{row.repo}]({link} "{parts}") {row.commit[:7]}'
        factors = f"{row.lines / n.own:.1f} | {row.lines / n.with_library:.1f}"
        yield f"| {name} | {n.own} | {n.with_library} | {where} | {row.lines} | {factors} | {row.note} |"
    yield ""


def _longest(sizes: dict[str, int]) -> Iterator[str]:
    yield "## The longest specs"
    yield ""
    long = [name for name, n in sizes.items() if n > LONG]
    yield f"Over {LONG} lines: {', '.join(long) or 'none'}. The ten longest, with all their models:"
    yield ""
    yield "| spec | lines |"
    yield "|---|--:|"
    for name, n in sorted(sizes.items(), key=lambda item: -item[1])[:10]:
        yield f"| [{name.removesuffix('.dl')}](../specs/{name}) | {n} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--references", metavar="FOLDER", type=Path, help="count the implementations again, in checkouts as OWNER/NAME"
    )
    folder = parser.parse_args().references
    if folder is None:
        PAGE.write_text("".join(f"{line}\n" for line in page()), encoding="utf-8")
        return 0
    differing = [(r, n) for r in rows() if (n := reference_lines(r, folder)) != r.lines]
    for row, n in differing:
        print(f"{row.spec}: {n} lines in {row.repo}, not {row.lines}", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
