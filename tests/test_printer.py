"""Canonical printing, and its laws: `parse(print(tree)) == tree`, printing again changes nothing, no comment is lost."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dsl.parse import parse, parse_expression
from dsl.print_expression import print_expression
from dsl.printer import print_file
from dsl.source import Source
from dsl.syntax import (
    Argument,
    Binary,
    Call,
    Comparison,
    Comprehension,
    Conditional,
    Ellipsis,
    Expr,
    Index,
    ListExpr,
    Literal,
    Member,
    Name,
    Pipe,
    Repeat,
    Slice,
    Stage,
    TupleExpr,
    TuplePattern,
    Unary,
)

ROOT = Path(__file__).parents[1]
SPECS = sorted([*ROOT.glob("dsl/lib/*.dl"), *ROOT.glob("specs/**/*.dl")])


def formatted(text: str) -> str:
    return print_file(parse(Source("test.dl", text)))


UNTIDY = """

# One block.
module Block ( heads:int , rate :float=0.1)( x:float[B,T,4*D] )->(y:float[B,T,D],) {


  # residual

  x = (x + ((x -> norm:LayerNorm -> f( 1e-3 ,key = 1 if a else - 2 , ))))   # sum
  a,b=(b, a)


  if ( not a ) { b = [ 1,2 ][ 0 :1] } else { if c { b = "\\u{E9}" } }
  return  x
}
fn f ( x , y = 2 ) = x ** - y"""

TIDY = """\
# One block.
module Block(heads: int, rate: float = 0.1)(x: float[B, T, 4 * D]) -> (y: float[B, T, D]) {
  # residual

  x = x + (x -> norm: LayerNorm -> f(1e-3, key=1 if a else -2))  # sum
  a, b = b, a

  if not a {
    b = [1, 2][0:1]
  } else if c {
    b = "\\u{E9}"
  }
  return x
}

fn f(x, y=2) = x ** -y
"""


def test_canonical_form() -> None:
    assert formatted(UNTIDY) == TIDY


def test_long_lines_are_broken_before_arrows_and_inside_brackets() -> None:
    stages = " -> ".join(f"conv{i}: Conv2d({i}, kernel=3, padding=1)" for i in range(1, 6))
    names = ", ".join(f"argument_{i}=value_{i}" for i in range(10))
    assert (
        formatted(f"fn f(x) {{\n  y = x -> {stages}\n  z = concat({names})\n  return y -> g({names})\n}}")
        == """\
fn f(x) {
  y = x -> conv1: Conv2d(1, kernel=3, padding=1) -> conv2: Conv2d(2, kernel=3, padding=1)
    -> conv3: Conv2d(3, kernel=3, padding=1) -> conv4: Conv2d(4, kernel=3, padding=1)
    -> conv5: Conv2d(5, kernel=3, padding=1)
  z = concat(
    argument_0=value_0, argument_1=value_1, argument_2=value_2, argument_3=value_3, argument_4=value_4,
    argument_5=value_5, argument_6=value_6, argument_7=value_7, argument_8=value_8, argument_9=value_9
  )
  return y
    -> g(
      argument_0=value_0, argument_1=value_1, argument_2=value_2, argument_3=value_3, argument_4=value_4,
      argument_5=value_5, argument_6=value_6, argument_7=value_7, argument_8=value_8, argument_9=value_9
    )
}
"""
    )


def test_the_lines_that_the_author_begins_in_a_pipeline_are_kept() -> None:
    text = """\
fn f(x) {
  y = x
    -> relu -> tanh
    -> flatten
  return y
}
"""
    assert formatted(text) == text
    assert formatted(text.replace("\n    -> flatten", "   ->   flatten")) == text.replace("\n    -> flatten", " -> flatten")


def test_the_second_bracket_of_a_model_moves_below_the_first() -> None:
    parameters = ", ".join(f"parameter_{i}: int = {i}" for i in range(5))
    assert (
        formatted(f"model Long({parameters})(tokens: int[B, T]) {{ return tokens }}")
        == f"""\
model Long({parameters})
          (tokens: int[B, T]) {{
  return tokens
}}
"""
    )


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_laws_on_every_spec(path: Path) -> None:
    file = parse(Source(path.name, path.read_text(encoding="utf-8")))
    printed = print_file(file)
    again = parse(Source(path.name, printed))
    assert again == file
    assert repr(again) == repr(file)
    assert print_file(again) == printed


# --- comments ---------------------------------------------------------------------------------------------------------------------

COMMENTED = """\
# c1

# c2
model M(  # c3
  a: int,  # c4
  # c5
  b: int
)(x: float[B])  -> float[B] {  # c6
  # c7
  h = x  # c8
    # c9
    -> f(  # c10
      1,  # c11
      # c12
      2
    )  # c13
    -> repeat(2) {  # c14
      g  # c15
      # c16
    }  # c17
  # c18

  # c19
  if a {  # c20
    # c21
  } else if b {  # c22
    y = x  # c23
    # c24
  } else {  # c25
    # c26
    y = [  # c27
      1
    ]
    # c28
  }  # c29
  for i in [1, 2] { y = x }  # c30
  # c31
  return y  # c32

  # c33
}  # c34
# c35
fn f(x) = x  # c36
from a import (  # c37
  b,  # c38
  c
)
# c39
test "t" {
  # c40
}

# c41
"""


def test_no_comment_is_lost_wherever_it_stands() -> None:
    printed = formatted(COMMENTED)
    assert sorted(re.findall(r"# (c\d+)", printed)) == sorted(re.findall(r"# (c\d+)", COMMENTED))
    assert formatted(printed) == printed


def test_a_comment_at_the_end_of_each_word_survives() -> None:
    text = "model M(a: int)(x: float[B]) {\n  if a { y = x -> l: F(2, k=[1]) -> repeat(2) { G } } else { y, z = (x, a) }\n  return y\n}\n"
    for match in re.finditer(r"[\w.\"]+|->|[^\s\w]", text):
        commented = f"{text[: match.end()]}  # here\n{text[match.end() :]}"
        if match.end() < len(text) - 1 and not _may_break(text, match.end()):
            continue
        printed = formatted(commented)
        assert printed.count("# here") == 1, commented
        assert formatted(printed) == printed


def _may_break(text: str, end: int) -> bool:
    """Whether a new line may stand here without ending a statement."""
    before, after = text[:end], text[end:].lstrip()
    depth = before.count("(") + before.count("[") - before.count(")") - before.count("]")
    in_repeat = "repeat" in before and before.count("{") - before.count("}") > 2
    return depth > 0 or in_repeat or after.startswith(("->", "}")) or before.endswith(("{", ")(")) or text[end] == "\n"


# --- random trees -----------------------------------------------------------------------------------------------------------------

OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "@", "and", "or")
LITERALS = (0, 7, 10**20, 0.1, 1e-30, 1e22, 5e-324, True, False, None, "", 'a"b', "\\ \n\t\u00e9 \u202e \U0001f600", "#")


def random_expression(rng: random.Random, size: int) -> Expr:
    """An expression of about `size` nodes, any kind inside any other."""
    if size <= 1:
        return Name(rng.choice("abcx")) if rng.random() < 0.6 else Literal(rng.choice(LITERALS))

    def inner() -> Expr:
        return random_expression(rng, size // rng.randint(2, 4))

    def some(low: int = 1) -> tuple[Expr, ...]:
        return tuple(inner() for _ in range(rng.randint(low, 3)))

    def optional() -> Expr | None:
        return inner() if rng.random() < 0.5 else None

    def stages() -> tuple[Stage, ...]:
        targets = [expr for expr in some(3) if not isinstance(expr, Literal | ListExpr | Comprehension)]
        return tuple(Stage(target, rng.choice([None, "label"])) for target in targets or [Name("f")])

    pattern = Name("i") if rng.random() < 0.5 else TuplePattern((Name("i"), TuplePattern((Name("j"), Name("k")))))
    kinds: tuple[Callable[[], Expr], ...] = (
        lambda: Binary(rng.choice(OPERATORS), inner(), inner()),
        lambda: Unary(rng.choice(["-", "+", "not"]), inner()),
        lambda: Comparison((inner(), inner(), inner()), (rng.choice(["==", "<", ">="]), rng.choice(["in", "not in"]))),
        lambda: Conditional(inner(), inner(), inner()),
        lambda: Call(inner(), tuple(Argument(value, rng.choice([None, "key"])) for value in some(0))),
        lambda: Member(inner(), "T"),
        lambda: Index(inner(), (*some(), Slice(optional(), optional(), optional()), Ellipsis())),
        lambda: ListExpr(some(0)),
        lambda: TupleExpr(some()),
        lambda: Comprehension(inner(), pattern, inner(), optional()),
        lambda: Pipe(inner(), stages()),
        lambda: Repeat(inner(), stages()),
    )
    return rng.choice(kinds)()


@pytest.mark.parametrize("seed", range(10))
def test_any_expression_survives_printing_and_parsing(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        expr = random_expression(rng, rng.randint(1, 30))
        text = print_expression(expr)
        again = parse_expression(Source("", text))
        assert again == expr, text
        assert print_expression(again) == text
