"""What `.dl` text means: precedence, pipelines, new lines, definitions, comments, and the limits."""

from __future__ import annotations

import os
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from dsl import syntax
from dsl.diagnostics import SpecError
from dsl.lalr import load_tables, make_tables
from dsl.parse import PIECES, parse, parse_expression, read_source
from dsl.print_expression import print_expression
from dsl.source import Source
from dsl.syntax import (
    Argument,
    Assign,
    Binary,
    Call,
    Conditional,
    File,
    For,
    Function,
    If,
    Import,
    Literal,
    Module,
    Name,
    Pipe,
    Repeat,
    Return,
    Stage,
    Statement,
    TupleExpr,
    TypeExpr,
    Unary,
)
from grammar import DL_GRAMMAR


def file_of(text: str) -> File:
    return parse(Source("test.dl", text))


def body_of(*lines: str) -> tuple[Statement, ...]:
    definition = file_of("fn f(x) {\n" + "\n".join(lines) + "\n}\n").definitions[0]
    assert isinstance(definition, Function)
    return definition.body


def code_of(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        file_of(text)
    return caught.value.diagnostics[0].code


def test_the_grammar_has_no_conflicts() -> None:
    make_tables(DL_GRAMMAR, PIECES, strict=True)


@pytest.mark.parametrize("content", [None, "", "[]", "[[], [], [[1]], {}]", "\0"])
def test_a_cache_that_cannot_be_used_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = load_tables.__wrapped__(DL_GRAMMAR, PIECES)
    (kept,) = (tmp_path / "dslc").iterdir()
    assert load_tables.__wrapped__(DL_GRAMMAR, PIECES) == fresh
    if content is None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(kept))  # a file, in which no directory can be made
    else:
        kept.write_text(content)
    made = load_tables.__wrapped__(DL_GRAMMAR, PIECES)
    assert (made.rules, len(made.actions)) == (fresh.rules, len(fresh.actions))


# --- expressions ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bracketed"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a ** b ** c", "a ** (b ** c)"),
        ("-a ** b", "-(a ** b)"),
        ("a ** -b", "a ** (-b)"),
        ("-a @ b.T", "(-a) @ (b.T)"),
        ("not a == b", "not (a == b)"),
        ("not a and b or c", "((not a) and b) or c"),
        ("a if b else c if d else e", "a if b else (c if d else e)"),
        ("a + b -> f -> g", "(a + b) -> f -> g"),
        ("a if b else c -> f", "(a if b else c) -> f"),
        ("a not in b", "(a) not in (b)"),
        ("a[b].c(d)", "((a[b]).c)(d)"),
    ],
)
def test_precedence_is_pythons_and_an_arrow_binds_loosest(text: str, bracketed: str) -> None:
    assert parse_expression(Source("", text)) == parse_expression(Source("", bracketed))


def test_a_pipeline_is_flat_and_labels_name_its_stages() -> None:
    expr = parse_expression(Source("", "x -> conv: Conv2d(6) -> relu -> blocks: repeat(n) { Block -> relu }"))
    block = Repeat(Name("n"), (Stage(Name("Block")), Stage(Name("relu"))))
    conv = Call(Name("Conv2d"), (Argument(Literal(6)),))
    assert expr == Pipe(Name("x"), (Stage(conv, "conv"), Stage(Name("relu")), Stage(block, "blocks")))


def test_repeat_without_a_body_is_the_einops_function() -> None:
    expr = parse_expression(Source("", 'repeat(x, "b d -> b n d", n=2)'))
    assert isinstance(expr, Call)
    assert expr.function == Name("repeat")


@pytest.mark.parametrize(
    "text",
    ["x[:, 1:]", "x[..., -1]", "x[::-1]", "x[a:b:2, c]", "[a for a, (b, c) in xs if a]", "[]", "[1, 2]", "(a,)", "((a, b), c)",
     "f(x, y=1)(z)", "net(tokens: int[2, 7])", "a < b <= c", '"tab\\t \\u{1F600}"', "x + (x -> f)", "x -> (a -> b) -> m.f(2)"],
)  # fmt: skip
def test_expressions_are_printed_as_they_were_written(text: str) -> None:
    assert print_expression(parse_expression(Source("", text))) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("124_439_808", 124439808), ("1e-3", 0.001), ("1.", 1.0), ("0.5", 0.5), ("2e+10", 2e10), ("true", True), ("none", None),
     ('"a\\"b\\\\\\n"', 'a"b\\\n')],
)  # fmt: skip
def test_literals(text: str, value: object) -> None:
    expr = parse_expression(Source("", text))
    assert isinstance(expr, Literal)
    assert expr.value == value
    assert type(expr.value) is type(value)
    assert expr.text == text


def test_spans_cover_brackets_and_know_lines_and_columns() -> None:
    (statement,) = body_of("  y = (a + b) * c")
    assert isinstance(statement, Assign)
    assert isinstance(statement.value, Binary)
    assert statement.value.span.text == "(a + b) * c"
    assert statement.value.left.span.text == "(a + b)"
    assert (statement.span.line, statement.span.column) == (2, 3)


# --- lines ------------------------------------------------------------------------------------------------------------------------


def test_a_line_that_begins_with_an_arrow_continues_the_statement_above_even_across_comments() -> None:
    assert body_of("  y = x", "", "    # why", "    -> f -> g", "", "  return y") == body_of("  y = x -> f -> g", "  return y")


def test_new_lines_mean_nothing_inside_brackets_and_repeats() -> None:
    broken = body_of("  y = f(", "    a,", "    b", "  )[", "  1] -> repeat(2) {", "    g", "    -> h", "  }")
    assert broken == body_of("  y = f(a, b)[1] -> repeat(2) { g -> h }")


def test_blocks_may_stand_on_one_line() -> None:
    assert body_of("  if flip { a, b = b, a } else { return x }") == body_of(
        "  if flip {", "    a, b = b, a", "  } else {", "    return x", "  }"
    )


def test_the_second_bracket_of_a_model_may_stand_on_its_own_line() -> None:
    one = file_of("model M(a: int)(x: float[B]) -> float[B] { return x }")
    assert file_of("model M(a: int)\n       (x: float[B])\n  -> float[B] {\n  return x\n}\n") == one


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "\t\n  # a\r\n"])
def test_a_file_may_define_nothing(text: str) -> None:
    assert file_of(text).definitions == ()


def test_carriage_returns_tabs_and_a_missing_final_newline_change_nothing() -> None:
    text = "fn f(x) {\n  y = x\n  return y\n}"
    assert file_of(text.replace("\n", "\r\n").replace("  ", "\t")) == file_of(text + "\n")


# --- definitions ------------------------------------------------------------------------------------------------------------------


def test_the_short_form_of_a_module_has_one_entry_named_forward() -> None:
    (module,) = file_of(
        "module M(n: int = 2, act: fn = relu)(x: float[..., n], i: int[]) -> (y: float[n], int[]) { return x, i }"
    ).definitions
    assert isinstance(module, Module)
    assert module.short
    assert [entry.name for entry in module.entries] == ["forward"]
    assert module.parameters[1].type == TypeExpr("fn")
    assert module.entries[0].inputs[1].type == TypeExpr("int", ())
    assert [output.name for output in module.entries[0].outputs] == ["y", None]


def test_the_long_form_has_statements_and_entries() -> None:
    text = "module M {\n  layer net = MLP(2)\n\n  def a(x: float[B]) { return net(x) }\n  def b(x: float[B]) -> float[B] { return -x }\n}\n"
    (module,) = file_of(text).definitions
    assert isinstance(module, Module)
    assert not module.short
    assert len(module.body) == 1
    assert [entry.name for entry in module.entries] == ["a", "b"]


def test_functions_constants_imports_and_tests() -> None:
    short, long, const, one, other, test = file_of(
        "fn f(x, over: int = -1) = x, over\n"
        "fn g(x) { return f(x) }\n"
        "const K = [1, 2]\n"
        "from a.b import C as D, e\n"
        "import a.b as c\n"
        'test "it \\"works\\"" {\n  assert K == [1, 2], "no"\n}\n'
    ).definitions
    assert isinstance(short, Function)
    assert short.body == (Return((Name("x"), Name("over"))),)
    assert isinstance(long, Function)
    assert not long.short
    assert const == file_of("const K = [1,2,]").definitions[0]
    assert isinstance(one, Import)
    assert [(name.name, name.alias) for name in one.names] == [("C", "D"), ("e", None)]
    assert isinstance(other, Import)
    assert (other.path, other.alias, other.names) == ("a.b", "c", ())
    assert isinstance(test, syntax.Test)
    assert test.title == 'it "works"'


def test_statements() -> None:
    statements = body_of(
        "  layer wte = Embedding(vocab)",
        "  param w: float[n] = zeros",
        "  buffer b: int[]",
        "  update b = b + 1",
        "  require n > 0, \"positive\"",
        "  for i, (d, w) in enumerate(xs) { x = x -> A(d) }",
        "  if a { x = y } else if b { x = z } else { x = -x }",
        "  a, (b, c) = f(x) -> split(2)",
        "  x, y = y, x",
        "  return x",
    )  # fmt: skip
    kinds = ["LayerDecl", "TensorDecl", "TensorDecl", "Update", "Require", "For", "If", "Assign", "Assign", "Return"]
    assert [type(statement).__name__ for statement in statements] == kinds
    loop, choice, swap = statements[5], statements[6], statements[8]
    assert isinstance(loop, For)
    assert isinstance(choice, If)
    assert isinstance(choice.orelse[0], If)
    assert isinstance(swap, Assign)
    assert swap.value == TupleExpr((Name("y"), Name("x")))


def test_a_conditional_argument() -> None:
    expr = parse_expression(Source("", "f(stride = 1 if i == 0 else -2)"))
    assert isinstance(expr, Call)
    assert isinstance(expr.arguments[0].value, Conditional)
    assert expr.arguments[0].value.otherwise == Unary("-", Literal(2))


# --- comments ---------------------------------------------------------------------------------------------------------------------


def test_the_comment_block_directly_above_is_the_documentation() -> None:
    (definition,) = file_of("# licence\n\n# first line\n#  second\nfn f(x) = x  # beside\n").definitions
    assert definition.comments.documentation == "first line\n second"
    assert definition.comments.trailing == " beside"


# --- limits -----------------------------------------------------------------------------------------------------------------------

MANY = 10_000


@pytest.mark.parametrize(
    "expression",
    ["a + " * MANY + "a", "a ** " * MANY + "a", "-" * MANY + "a", "not " * MANY + "a", "a if b else " * MANY + "a", "x" + ".a" * MANY,
     "x" + "()" * MANY, "(" * 20_000 + ")" * 20_000, "[" * 20_000, "f(" * 150 + "x" + ")" * 150, "(x -> " * 150 + "f" + ")" * 150],
)  # fmt: skip
def test_what_is_nested_too_deep_is_refused(expression: str) -> None:
    assert code_of(f"fn f(x) = {expression}") == "DL0601"


def test_a_long_chain_of_else_if_is_refused() -> None:
    assert code_of("fn f(x) {\n  if a { }" + " else if a { }" * MANY + "\n}") == "DL0601"


@pytest.mark.parametrize(
    "expression", ["x" + " -> relu" * MANY, "f(" + "a, " * MANY + "a)", "a < " * MANY + "a", "a + " * 150 + "a"]
)
def test_what_is_long_and_flat_is_accepted(expression: str) -> None:
    assert file_of(f"fn f(x) = {expression}") == file_of(f"fn f(x) = {expression}  # again")


# --- reading files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"fn f(x) = x\n# \xff", "`{}` is not UTF-8: byte 0xFF at offset 14, line 2"),
        ("fn f(x) = x".encode("utf-16"), "`{}` is not UTF-8: it begins like UTF-16"),
        (b"\0\0", "the text has a NUL byte: it is no spec"),
        (b"# \x1b[31m", "the control character U+001B (unnamed) is not allowed"),
        ("# a \u202e b".encode(), "U+202E RIGHT-TO-LEFT OVERRIDE is refused: it makes a text look other than it reads"),
        (b"#" * (2 * 1024 * 1024 + 1), "`{}` is larger than 2 MB, the limit for a spec"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.dl"
    path.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        read_source(str(path))
    assert caught.value.diagnostics[0].message == message.format(path)


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.dl"
    path.write_bytes(b"\xef\xbb\xbffn f(x) = x")
    (definition,) = parse(read_source(str(path))).definitions
    assert (definition.span.line, definition.span.column) == (1, 1)


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in [
        (fifo, f"`{fifo}` is a pipe, not a file"),
        (tmp_path, f"`{tmp_path}` is a directory, not a file"),
        (Path("/dev/zero"), "`/dev/zero` is a device, not a file"),
        (tmp_path / "none.dl", f"cannot read `{tmp_path / 'none.dl'}`: no such file or directory"),
    ]:
        with pytest.raises(SpecError) as caught:
            read_source(str(path))
        assert caught.value.diagnostics[0].message == message
        assert caught.value.exit_code == 4


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"fn f(x) = x")))
    source = read_source("-")
    assert (source.name, source.text) == ("<stdin>", "fn f(x) = x")
