"""Files that were good before something happened to them: strategies of Hypothesis for damaged bytes, tokens and lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import strategies as st

from dsl.words import KEYWORDS

DEEP = 3000
"""How often a bracket is repeated to be nested too deep."""

PIECES = (
    b"\x00", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xe2\x80\xa8",
    b"\xc2\xa0", b"\x1b[2J",
    b"\x85", b"\r", b"\t", b"\x0c", b"\n\n", b" " * 5000, b'"', b"'", b"\\", b'"""', b"#", b"\\u{110000}", b"\\u{0}", b"${x}",
    b"%s", b"{0}", b"-",
    b"(" * DEEP, b"[" * DEEP, b"{" * DEEP, b"{\n" * DEEP, b"-" * DEEP, b"(" * DEEP + b")" * DEEP, b"not " * DEEP,
    b"x -> " * DEEP, b"1 + " * DEEP,
    b"1" * DEEP, b"9" * 31, b"1e999", b"1" + b"0" * 29, b"1_000", b"0x10", b"1e-400", b"a" * 100_000, b"*a", b"&a ",
    b"!!python/object/apply:os.system ",
    b"? ", b"<<: *a", b"---\n", b"...\n", b"%YAML 1.2\n", b"|\n", b">-\n",
)  # fmt: skip
"""What is put into a file: bytes that are no text, characters that hide, numbers and nesting beyond all bounds, signs of YAML."""

_TOKEN = re.compile(r"[ \t]+|\n[ \t]*|\w+|->|\.\.\.|[=!<>]=|//|\*\*|\"[^\"\n]*\"|#[^\n]*|.", re.DOTALL)

WORDS = (
    "model", "module", "fn", "train", "test", "const", "import", "from", "as", "layer", "param", "buffer", "update", "def",
    "return", "require",
    "assert", "if", "else", "for", "in", "repeat", "scan", "carry", "emit", "minimize", "metric", "true", "false", "none", "and",
    "or", "not", "while",
    "backward", "over", "limit", "using", "clip", "every", "copy", "ema", "of", "with", "decay", "training", "float", "int",
    "bool", "str", "list",
    "0", "1", "-1", "2", "7", "1_000_000", "999999999999999999999999999999", "0.0", "0.5", "1e-300", "1e300", '""',
    '"b d -> d b"', "...", "->", "**",
    "//", "%", "@", "==", "<=", ",", ":", ".", "(", ")", "[", "]", "{", "}", "=", "+", "-", "*", "/", "\n", "x", "B", "T",
    "self", "Linear", "repeat(3)",
    "Conv2d(3, 3)", "LSTM(4)", "relu", "concat", "reshape", "permute", "sum", "einsum", "grad", "range(10)", "zeros(B)",
    "x.shape", "x.T", "[0]", "[:]",
    "[::-1]", "[-1]", "over=0", "over=-9", "[1, 2]", "[[]]", "()", "map", "len", "B * B", "B // 2", "-B", "B - B", "0 * B",
)  # fmt: skip
"""Words and phrases that stand where another token stood."""


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes], pieces: Sequence[bytes] = PIECES) -> bytes:
    """One of the files after a few flipped bits, cuts, repetitions, insertions and grafts from another file."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(("flip", "set", "cut", "truncate", "repeat", "insert", "graft"))):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 60))]
            case "truncate":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 60))] * draw(st.integers(1, 50))
            case "insert":
                data[at:at] = draw(st.sampled_from(pieces))
            case _:
                other = draw(st.sampled_from(files))
                start = draw(st.integers(0, len(other)))
                data[at : at + draw(st.integers(0, 60))] = other[start : start + draw(st.integers(1, 200))]
    return bytes(data)


@st.composite
def reworded(draw: st.DrawFn, files: Sequence[str]) -> str:
    """One of the files with a few tokens deleted, doubled, exchanged or replaced by other words."""
    tokens = _TOKEN.findall(draw(st.sampled_from(files)))
    meaning = [i for i, token in enumerate(tokens) if token.strip() and token[0] != "#"]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.sampled_from(meaning))
        match draw(st.sampled_from(("replace", "borrow", "delete", "double", "exchange"))):
            case "replace":
                tokens[at] = draw(st.sampled_from(WORDS))
            case "borrow":
                tokens[at] = tokens[draw(st.sampled_from(meaning))]
            case "delete":
                tokens[at] = ""
            case "double":
                tokens[at] = f"{tokens[at]} {tokens[at]}"
            case _:
                other = draw(st.sampled_from(meaning))
                tokens[at], tokens[other] = tokens[other], tokens[at]
    return "".join(tokens)


NUMBERS = (
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "8",
    "64",
    "1000",
    "65536",
    "4294967296",
    "9223372036854775807",
    "9" * 30,
    "0.0",
    "0.5",
    "-0.5",
    "1e-300",
    "1e300",
    "true",
    "none",
    "B",
)
OPERATORS = ("+", "-", "*", "/", "//", "%", "@", "**", "==", "!=", "<", "<=")


@st.composite
def revalued(draw: st.DrawFn, files: Sequence[str]) -> str:
    """One of the files with a few numbers, names and operators replaced by others of their kind: most of them still follow the grammar."""
    tokens = _TOKEN.findall(draw(st.sampled_from(files)))
    names = sorted({token for token in tokens if token.isidentifier() and token not in KEYWORDS})
    meaning = [i for i, token in enumerate(tokens) if token in OPERATORS or token in names or token.isdecimal()]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(meaning))
        if tokens[at].isdecimal():
            tokens[at] = draw(st.sampled_from(NUMBERS))
        elif tokens[at] in OPERATORS:
            tokens[at] = draw(st.sampled_from(OPERATORS))
        else:
            tokens[at] = draw(st.sampled_from((*names, *names, *NUMBERS[-9:])))
    return "".join(tokens)


@st.composite
def reordered(draw: st.DrawFn, files: Sequence[str]) -> str:
    """One of the files with a few lines deleted, doubled, moved, or moved in or out."""
    lines = draw(st.sampled_from(files)).split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        other = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(("delete", "double", "exchange", "in", "out"))):
            case "delete":
                lines[at] = ""
            case "double":
                lines.insert(at, lines[at])
            case "exchange":
                lines[at], lines[other] = lines[other], lines[at]
            case "in":
                lines[at] = "  " + lines[at]
            case _:
                lines[at] = lines[at].removeprefix("  ")
    return "\n".join(lines)
