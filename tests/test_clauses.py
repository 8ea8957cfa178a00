"""Statements with clauses, of loops, trainings and layers: what they mean, words that stay names, canonical lines."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from dsl.diagnostics import SpecError
from dsl.dump_yaml import dump_yaml
from dsl.load_yaml import load_yaml
from dsl.parse import parse
from dsl.printer import print_file
from dsl.source import Source
from dsl.syntax import (
    Argument,
    Assign,
    Backward,
    Call,
    Carry,
    CopyOf,
    Emit,
    Expr,
    File,
    Function,
    LayerDecl,
    ListExpr,
    Literal,
    Member,
    Metric,
    Minimize,
    Name,
    NamePattern,
    Parameter,
    Return,
    Rule,
    Scan,
    Statement,
    Train,
    TupleExpr,
    TuplePattern,
    TypeExpr,
    While,
    With,
    WithFunction,
)
from dsl.words import CONTEXTUAL
from tests.test_printer import random_expression


def file_of(text: str) -> File:
    return parse(Source("test.dl", text))


def body_of(*lines: str) -> tuple[Statement, ...]:
    (definition,) = file_of("fn f(x) {\n" + "\n".join(lines) + "\n}\n").definitions
    assert isinstance(definition, Function)
    return definition.body


def formatted(text: str) -> str:
    return print_file(file_of(text))


# --- what they mean ---------------------------------------------------------------------------------------------------------------


def test_a_scan_has_tensors_an_axis_options_and_what_it_carries() -> None:
    (scan,) = body_of("  scan x_t, m_t in x, mask over T reverse=true length=n carry h = a, c = b { emit hs = h }")
    carries = (Carry("h", Name("a")), Carry("c", Name("b")))
    options = (Argument(Literal(True), "reverse"), Argument(Name("n"), "length"))
    pattern, source = TuplePattern((Name("x_t"), Name("m_t"))), TupleExpr((Name("x"), Name("mask")))
    assert scan == Scan(pattern, source, Name("T"), options, carries, (Emit("hs", Name("h")),))


def test_a_scan_may_count_and_carry_nothing() -> None:
    (scan,) = body_of("  scan i in range(n) { }")
    assert scan == Scan(Name("i"), Call(Name("range"), (Argument(Name("n")),)), None, (), (), ())


def test_a_while_has_a_limit() -> None:
    (loop,) = body_of("  while going carry x = a, y = b limit 10 {", "    x = y", "  }")
    assert loop == While(
        Name("going"), (Carry("x", Name("a")), Carry("y", Name("b"))), Literal(10), (Assign(Name("x"), Name("y")),)
    )


def test_an_objective_has_rules_for_patterns_of_names() -> None:
    one, two, three = body_of(
        "  minimize loss using sgd",
        '  minimize d = loss over D, lm."**.weight" using sgd clip 1.0 every 2',
        '  minimize loss using sgd for "**.bias", adam for ["a", lm."b"], lion clip_value 0.5',
    )
    sgd = Rule(Name("sgd"))
    assert one == Minimize(Name("loss"), None, (), (sgd,))
    pattern = NamePattern(Name("lm"), "**.weight")
    assert two == Minimize(Name("loss"), "d", (Name("D"), pattern), (sgd,), Literal(1.0), "norm", Literal(2))
    rules = (
        Rule(Name("sgd"), (Literal("**.bias"),)),
        Rule(Name("adam"), (Literal("a"), NamePattern(Name("lm"), "b"))),
        Rule(Name("lion")),
    )
    assert three == Minimize(Name("loss"), None, (), rules, Literal(0.5), "value")


def test_a_layer_may_follow_another_or_have_other_parameters() -> None:
    copy, ema, fast, own = body_of(
        "  layer a = copy of q every 500", "  layer b = ema of q decay 0.9", "  layer c = q with q.params", "  layer d = q(copy)"
    )
    assert copy == LayerDecl("a", CopyOf("copy", Name("q"), Literal(500)))
    assert ema == LayerDecl("b", CopyOf("ema", Name("q"), Literal(0.9)))
    assert fast == LayerDecl("c", With(Name("q"), Member(Name("q"), "params")))
    assert own == LayerDecl("d", Call(Name("q"), (Argument(Name("copy")),)))


@pytest.mark.parametrize(
    "text",
    ["fn f(x) = x backward(g) = g, x", "fn f(x) = x\n\nbackward(g) = (g, x)", "fn f(x) = x\n  # why\n  backward ( g, ) = g, x\n"],
)
def test_a_function_may_have_its_own_gradient(text: str) -> None:
    body = (Return((Name("g"), Name("x"))),)
    backward = Backward(("g",), body)
    assert file_of(text).definitions == (Function("f", (Parameter("x"),), (Return((Name("x"),)),), True, backward),)


def test_the_gradient_may_be_statements() -> None:
    one, two = file_of(
        "fn f(x) { return x } backward(g, h) { return h }\nfn f(x) {\n return x\n}\nbackward(g, h) {\n return h\n}"
    ).definitions
    assert one == two
    assert isinstance(one, Function)
    assert one.backward == Backward(("g", "h"), (Return((Name("h"),)),), False)


def test_a_training_has_hyper_parameters_and_inputs() -> None:
    (train,) = file_of("train T(n: int = 2)\n       (x: float[B], y: int[B]) {\n  metric m = x\n}").definitions
    assert isinstance(train, Train)
    assert [p.name for p in (*train.parameters, *train.inputs)] == ["n", "x", "y"]
    assert train.body == (Metric("m", Name("x")),)
    assert train.name_span.text == "T"


@pytest.mark.parametrize("text", ["train T()(x: float) { }", "train T()(x: float[B] = 1) { }", "train T(n)(x: float[B]) { }"])
def test_the_head_of_a_training_is_that_of_a_model(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        file_of(text)
    assert caught.value.diagnostics[0].code == "DL0113"


# --- words that are names everywhere else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", sorted({*CONTEXTUAL, "copy", "ema", "reverse", "length", "state", "input"}))
def test_a_word_of_one_place_is_a_name_everywhere_else(word: str) -> None:
    text = """\
fn f(WORD, x) {
  WORD = 3
  WORD, y = x, WORD
  y = x -> WORD -> WORD: Linear(WORD) -> WORD(WORD=WORD, over=1) -> clip(WORD)
  layer WORD = WORD
  WORD = 2
  layer WORD = copy of WORD every WORD
  WORD = WORD + x.WORD[WORD]
  layer WORD = ema of WORD decay WORD
  WORD = 2
  layer WORD = WORD with WORD
  WORD = 2
  scan WORD in WORD over WORD reverse=WORD length=WORD carry WORD = WORD {
    WORD = WORD
    emit WORD = WORD
  }
  WORD = WORD if WORD else WORD
  while WORD carry WORD = WORD limit WORD {
    WORD = WORD
  }
  WORD, x = x, [WORD for WORD in WORD]
  minimize WORD = WORD over WORD, WORD."**" using WORD for WORD, WORD
  minimize WORD using WORD clip WORD every WORD
  WORD = 2
  minimize WORD using WORD clip_value WORD
  metric WORD = WORD
  return WORD
}

fn WORD(WORD) = WORD
  backward(WORD) = WORD(WORD)
""".replace("WORD", word)
    file = file_of(text)
    assert formatted(text) == text
    assert load_yaml(Source("test.yaml", dump_yaml(file))) == file


# --- lines ------------------------------------------------------------------------------------------------------------------------


def test_a_clause_may_begin_a_line_and_so_may_what_follows_a_comma_in_it() -> None:
    broken = body_of(
        "  scan a, b in x,", "    y over T", "  carry h = 0,", "    # why", "    c = 1 {", "  }",
        "  while a", "    carry b = 0", "    limit 3 { }",
        "  minimize loss", "    over A,", "      B", "    using sgd,", "    adam", "    clip 1", "    every 2",
        "  layer fast = net", "    with p",
    )  # fmt: skip
    assert broken == body_of(
        "  scan a, b in x, y over T carry h = 0, c = 1 { }",
        "  while a carry b = 0 limit 3 { }",
        "  minimize loss over A, B using sgd, adam clip 1 every 2",
        "  layer fast = net with p",
    )


def test_long_heads_are_broken_before_clauses() -> None:
    text = """\
train Long()(x: float[B, T]) {
  layer another_network = the_network_of_the_outer_loop
    with the_network_of_the_outer_loop.params - inner_rate * grad(support, the_network_of_the_outer_loop.params)
  scan x_t in x over T reverse=true carry h = zeros(B, hidden_units), c = zeros(B, hidden_units), n = zeros(B) {
    emit hs = h
  }
  scan first_t, second_t in first_sequence_of_tokens, second_sequence_of_tokens over T reverse=true length=lengths
      carry h = zeros(B, hidden_units) {
    emit hs = h
  }
  while not finished and count < most
      carry tokens = start_of(prompt), state = zeros(B, hidden_units), longest = 0, shortest = 0 limit 1000 {
    count = count + 1
  }
  minimize discriminator_loss = mean(softplus(-discriminator(real)) + softplus(discriminator(fake)))
    over discriminator, head."**.weight" using adam(2e-4, betas=[0.5, 0.999]) for "**.bias", sgd(0.1, momentum=0.9)
    clip 1.0 every 2
  minimize loss
    using adamw(
      warmup_cosine(3e-4, warmup=100, steps=steps), betas=[0.9, 0.999], weight_decay=0.1, epsilon=1e-8, nesterov=true
    ) for "**.weight" clip 1.0
}
"""
    assert formatted(text) == text
    assert (
        formatted(text.replace("\n      carry", " carry").replace("\n    clip", " clip").replace("\n    with", " with")) == text
    )


def test_the_brace_after_a_repeat_in_brackets_is_that_of_the_block() -> None:
    text = 'fn f(x) {\n  scan t in (repeat(x, "b -> n b", n=2)) {\n    emit y = t\n  }\n  return y\n}\n'
    assert formatted(text) == text


COMMENTED = """\
# a
fn f(x) = x  # b
  # c
  backward(g) = g  # d
fn h(x) {  # e
  return x
  # f
}  # g
# h
backward(g) {  # i
  return g  # j
  # k
}
train T()(x: float[B]) {  # l
  scan a in x over B  # m
    # n
    carry h = 0,  # o
    c = 1 {  # p
    # q
    while a carry b = 0 limit 3 { b = b }  # r
    # s
  }  # t
  minimize x  # u
    using sgd  # v
  # w
  metric m = x  # x
  # y
}
"""


def test_no_comment_is_lost() -> None:
    printed = formatted(COMMENTED)
    assert sorted(re.findall(r"# (\w)$", printed, re.MULTILINE)) == sorted(re.findall(r"# (\w)$", COMMENTED, re.MULTILINE))
    assert formatted(printed) == printed


# --- random trees -----------------------------------------------------------------------------------------------------------------

NAMES = ("over", "every", "with", "of", "limit", "using", "clip", "copy", "while", "x")


def random_statement(rng: random.Random, depth: int) -> Statement:
    """A statement with clauses, of random expressions."""

    def value() -> Expr:
        expr = random_expression(rng, rng.randint(1, 6))
        return Name(rng.choice(NAMES)) if rng.random() < 0.4 else expr

    def maybe() -> Expr | None:
        return value() if rng.random() < 0.5 else None

    def name() -> str:
        return rng.choice(NAMES)

    def some(least: int = 1) -> tuple[Expr, ...]:
        return tuple(value() for _ in range(rng.randint(least, 3)))

    def carries(least: int) -> tuple[Carry, ...]:
        return tuple(Carry(each, value()) for each in rng.sample(NAMES, rng.randint(least, 3)))

    def body() -> tuple[Statement, ...]:
        return tuple(random_statement(rng, depth - 1) for _ in range(rng.randint(0, 2))) if depth else ()

    def rule() -> Rule:
        optimizer = value()
        named = not isinstance(optimizer, Literal | ListExpr)
        return Rule(optimizer if named else Name("sgd"), some(0))

    def scan() -> Scan:
        options = tuple(Argument(value(), option) for option in ("reverse", "length") if rng.random() < 0.5)
        return Scan(Name(name()), value(), maybe(), options, carries(0), body())

    def objective() -> Minimize:
        rules = tuple(rule() for _ in range(rng.randint(1, 2)))
        clip = maybe()
        kind = "norm" if clip is None else rng.choice(["norm", "value"])
        return Minimize(value(), rng.choice([None, name()]), some(0), rules, clip, kind, maybe())

    followed: tuple[Callable[[], Expr], ...] = (
        lambda: CopyOf(rng.choice(["copy", "ema"]), value(), value()),
        lambda: With(value(), value()),
        lambda: WithFunction(value(), Name("relu"), value()),
        lambda: NamePattern(value(), "**"),
        value,
    )
    kinds: tuple[Callable[[], Statement], ...] = (
        scan,
        objective,
        lambda: While(value(), carries(1), value(), body()),
        lambda: Emit(name(), value()),
        lambda: Metric(name(), value()),
        lambda: LayerDecl(name(), rng.choice(followed)()),
        lambda: Assign(Name(name()), value()),
    )
    return rng.choice(kinds)()


@pytest.mark.parametrize("seed", range(10))
def test_any_statement_survives_printing_and_parsing_in_both_forms(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        body = tuple(random_statement(rng, 2) for _ in range(4))
        parameter = Parameter("x", TypeExpr("float", ()))
        file = File((Train("T", (), (parameter,), body),), Source("", ""))
        text = print_file(file)
        again = file_of(text)
        assert again == file, text
        assert print_file(again) == text
        assert load_yaml(Source("test.yaml", dump_yaml(file))) == file, text
