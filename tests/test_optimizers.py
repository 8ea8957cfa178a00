"""The update rules and learning rates of the library (dsl/lib/optimizer.dl, schedule.dl) are those of torch.optim and optax.

A rule is computed by the reference in float64, update after update on a small quadratic, beside the target's own. What a target's table
spells (backends/torch_optimizers.py, backends/jax_optimizers.py) has to be the same formula, so each spelling is run as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from backends import jax_optimizers, torch_optimizers
from backends.reference import Interpreter
from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.ir import Graph, StaticValue
from dsl.loader import library_definition, library_index
from dsl.source import Source
from dsl.syntax import Function
from dsl.types import DType

Settings = Mapping[str, StaticValue]

STEPS = 25
START = np.array([1.0, -2.0, 0.5, 3.0])
CURVATURE = np.array([0.5, 2.0, 1.0, 0.1])


def gradient(p: np.ndarray) -> np.ndarray:
    """Of a quadratic with different curvatures, and its minimum not at 0."""
    return CURVATURE * (p - 0.25)


def state_of(rule: str) -> list[str]:
    """What a rule keeps for each parameter: its arguments between `g` and `step`."""
    found = library_definition(rule)
    assert found is not None and isinstance(found[0], Function)
    names = [p.name for p in found[0].parameters]
    assert names[:2] == ["p", "g"] and names[names.index("step") + 1] == "lr"
    return names[2 : names.index("step")]


def text_of(value: StaticValue) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)


def graph_of(rule: str, settings: Settings, *, rate_given: bool = True) -> Graph:
    """The rule as a graph of p, g, the state, step and lr."""
    state = state_of(rule)
    inputs = ", ".join([*(f"{name}: float[N]" for name in ["p", "g", *state]), "step: float[]", "lr: float[]"])
    given = ", ".join(
        ["p", "g", *state, "step", *(["lr"] if rate_given else []), *(f"{n}={text_of(v)}" for n, v in settings.items())]
    )
    text = f"model Case()({inputs}) {{ return {rule}({given}) }}"
    return compile_graph(Source("case", text), float_type=DType.F64).entries["forward"]


def trace(rule: str, settings: Settings, rate: Callable[[int], float]) -> np.ndarray:
    """The parameter after each update, by the language."""
    graph, state = graph_of(rule, settings), state_of(rule)
    p, kept, found = START, {name: np.zeros_like(START) for name in state}, []
    for step in range(STEPS):
        feed = {"p": p, "g": gradient(p), **kept, "step": np.float64(step + 1), "lr": np.float64(rate(step))}
        p, *new = Interpreter({}).run(graph, {n: np.asarray(v) for n, v in feed.items()}).values()
        kept = dict(zip(state, new, strict=True))
        found.append(p)
    return np.stack(found)


def torch_trace(make: Callable[[list[torch.Tensor]], torch.optim.Optimizer], rate: Callable[[int], float]) -> np.ndarray:
    """The parameter after each update, by torch."""
    p, found = torch.tensor(START, requires_grad=True), []
    optimizer = make([p])
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate(step)
        p.grad = torch.tensor(gradient(p.detach().numpy()))
        optimizer.step()
        found.append(p.detach().numpy().copy())
    return np.stack(found)


def optax_trace(optimizer: optax.GradientTransformation) -> np.ndarray:
    """The parameter after each update, by optax."""
    p, found = jnp.asarray(START), []
    state = optimizer.init(p)
    for _ in range(STEPS):
        updates, state = optimizer.update(jnp.asarray(gradient(np.asarray(p))), state, p)
        p = jnp.asarray(optax.apply_updates(p, updates))
        found.append(np.asarray(p))
    return np.stack(found)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """In torch as well: its optimisers keep numbers of their own in the default type."""
    torch.set_default_dtype(torch.float64)
    with jax.enable_x64(True):
        yield
    torch.set_default_dtype(torch.float32)


def falling(step: int) -> float:
    return 0.05 * 0.9**step


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


# --- rules ------------------------------------------------------------------------------------------------------------------------

CASES: list[tuple[str, Settings]] = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("sgd", {"momentum": 0.8, "dampening": 0.3}),
    ("sgd", {"weight_decay": 0.1}),
    ("adagrad", {}),
    ("adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "eps": 0.01}),
    ("rmsprop", {}),
    ("rmsprop", {"alpha": 0.9, "eps": 0.01, "weight_decay": 0.1}),
    ("rmsprop", {"momentum": 0.9}),
    ("rmsprop", {"momentum": 0.5, "centered": True, "eps": 1e-3}),
    ("rmsprop", {"centered": True}),
    ("adadelta", {}),
    ("adadelta", {"rho": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    ("adam", {}),
    ("adam", {"betas": (0.5, 0.99), "eps": 0.01, "weight_decay": 0.1}),
    ("adam", {"betas": (0.0, 0.9)}),
    ("adamw", {}),
    ("adamw", {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("adamw", {"weight_decay": 0.0}),
    ("nadam", {}),
    ("nadam", {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.02}),
    ("adamax", {}),
    ("adamax", {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("lion", {}),
    ("lion", {"betas": (0.8, 0.95), "weight_decay": 0.1}),
]
IDS = [f"{rule} {' '.join(settings)}".strip() for rule, settings in CASES]
TORCH = {
    "sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop, "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam, "adamax": torch.optim.Adamax,
}  # fmt: skip


@pytest.mark.parametrize(("rule", "settings"), [c for c in CASES if c[0] in TORCH], ids=[i for i in IDS if i.split()[0] in TORCH])
def test_a_rule_is_that_of_torch(rule: str, settings: Settings) -> None:
    optimizer = TORCH[rule]
    same(trace(rule, settings, falling), torch_trace(lambda p: optimizer(p, **settings), falling))


@pytest.mark.parametrize("rule", sorted(TORCH))
def test_defaults_are_those_of_torch(rule: str) -> None:
    default = TORCH[rule]([torch.zeros(1)]).param_groups[0]["lr"]
    found = library_definition(rule)
    assert found is not None and isinstance(found[0], Function)
    written = next(p.default for p in found[0].parameters if p.name == "lr")
    assert written is not None and float(written.span.text) == default


def test_the_page_gives_the_settings_and_their_defaults() -> None:
    """Each rule and each schedule of docs/optimizers.md, against its definition."""
    page = (Path(__file__).parents[1] / "docs" / "optimizers.md").read_text(encoding="utf-8")
    rules = dict(re.findall(r"^\| `(\w+)` \| (lr [^|]+) \|", page, re.MULTILINE))
    schedules = dict(re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", page, re.MULTILINE))
    assert set(rules) == defined_in("optimizer") - {"bias_correction", "rooted"} and set(schedules) == defined_in("schedule")
    for name, written in (rules | schedules).items():
        found = library_definition(name)
        assert found is not None and isinstance(found[0], Function)
        settings = [
            p for p in found[0].parameters if p.name not in ("p", "g", *(state_of(name) if name in rules else ()), "step")
        ]
        said = [" ".join(w.split()) for w in re.split(r", (?![^\[]*\])", written.replace("=", " "))]
        assert [w.split(" ", 1)[0] for w in said] == [p.name for p in settings]
        for one, setting in zip(said, settings, strict=True):
            default = setting.default.span.text if setting.default is not None else ""
            text = one.partition(" ")[2]
            assert text == default or float(text) == float(default), (name, one)


def defined_in(file: str) -> set[str]:
    """The names that a file of the library defines."""
    return {name for name, path in library_index().items() if path.stem == file}


def test_lion_is_that_of_its_paper() -> None:
    """Chen et al. 2023, algorithm 2, written out."""
    p, m, wanted = START, np.zeros_like(START), []
    for step in range(STEPS):
        g = gradient(p)
        update = np.sign(0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g
        p = p - falling(step) * (update + 0.1 * p)
        wanted.append(p)
    same(trace("lion", {"weight_decay": 0.1}, falling), np.stack(wanted))


def all_settings(rule: str, settings: Settings) -> Settings:
    """The settings of a rule with its defaults, as the compiler gives them to a table."""
    graph = graph_of(rule, settings)
    call = next(n for n in graph if n.target is not None)
    assert call.target is not None
    return {name: value for name, value in call.target.graph.hyper.items() if name != "lr"}


@pytest.mark.parametrize(("rule", "settings"), CASES, ids=IDS)
def test_the_word_of_torch_is_the_same_formula(rule: str, settings: Settings) -> None:
    text = torch_optimizers.spelled(rule, all_settings(rule, settings))
    if text is None:
        assert rule == "lion" or settings.get("centered")
    else:
        written = text.format(parameters="p", rate="0.05")
        same(trace(rule, settings, falling), torch_trace(lambda p: eval(written, {"torch": torch, "p": p}), falling))


@pytest.mark.parametrize(("rule", "settings"), CASES, ids=IDS)
def test_the_word_of_optax_is_the_same_formula(rule: str, settings: Settings) -> None:
    text = jax_optimizers.spelled(rule, all_settings(rule, settings))
    if text is None:
        assert rule in ("adagrad", "nadam") or settings.get("centered") or settings.get("dampening")
    else:
        optimizer = eval(text.format(rate="rate"), {"optax": optax, "rate": lambda count: 0.05 * 0.9**count})
        same(trace(rule, settings, falling), optax_trace(optimizer))


def test_what_optax_calls_the_same_and_is_not() -> None:
    """Why the table has no word for these: optax has another formula."""
    others = {
        "adagrad": optax.adagrad(falling, initial_accumulator_value=0.0, eps=1e-2),
        "nadam": optax.nadam(falling, eps=1e-2),
        "rmsprop": optax.rmsprop(falling, decay=0.99, eps=1e-2),
    }
    for rule, optimizer in others.items():
        assert np.abs(trace(rule, {"eps": 1e-2}, falling) - optax_trace(optimizer)).max() > 1e-3


def test_what_is_not_needed_stays_zero() -> None:
    graph = graph_of("rmsprop", {})
    feed = {name: np.ones(3) for name in ("p", "g", "v", "a", "b")} | {"step": np.ones(()), "lr": np.ones(())}
    _, v, a, b = Interpreter({}).run(graph, feed).values()
    assert (a == 1).all() and (b == 1).all() and (v == 1).all()


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        ("sgd", {"nesterov": True}, "nesterov needs a momentum and no dampening"),
        ("sgd", {"momentum": -0.9}, "momentum and weight_decay are not negative"),
        ("adam", {"betas": (0.9, 1.0)}, "betas are two numbers, at least 0 and below 1"),
        ("adam", {"betas": (0.9,)}, "betas are two numbers"),
        ("adamw", {"betas": (0.9,)}, "betas are two numbers"),
        ("lion", {"weight_decay": -1}, "weight_decay is not negative"),
        ("rmsprop", {"alpha": 1.5}, "alpha is at least 0 and below 1"),
    ],
)
def test_settings_that_make_no_sense(rule: str, settings: Settings, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        graph_of(rule, settings)


# --- learning rates ---------------------------------------------------------------------------------------------------------------


@cache
def rates(schedule: str) -> list[float]:
    """The rate for each number of updates done, by the language: `cosine_decay(0.1, steps=10)`."""
    name, arguments = schedule.split("(", 1)
    graph = compile_graph(
        Source("case", f"model Case()(step: float[]) {{ return {name}(step, {arguments} }}"), float_type=DType.F64
    ).entries["forward"]
    return [float(next(iter(Interpreter({}).run(graph, {"step": np.asarray(float(i))}).values()))) for i in range(STEPS)]


def torch_rates(make: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler], rate: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)
    scheduler, found = make(optimizer), []
    for _ in range(STEPS):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


S = torch.optim.lr_scheduler
TORCH_RATES: list[tuple[str, Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler], int]] = [
    ("constant_rate(0.1)", lambda o: S.ConstantLR(o, 1.0), STEPS),
    ("step_decay(0.1, 4)", lambda o: S.StepLR(o, 4), STEPS),
    ("step_decay(0.1, every=3, factor=0.5)", lambda o: S.StepLR(o, 3, 0.5), STEPS),
    ("multistep_decay(0.1, [4, 9])", lambda o: S.MultiStepLR(o, [4, 9]), STEPS),
    ("exponential_decay(0.1, 0.9)", lambda o: S.ExponentialLR(o, 0.9), STEPS),
    ("cosine_decay(0.1, 20)", lambda o: S.CosineAnnealingLR(o, 20), 21),
    ("cosine_decay(0.1, 20, end=0.01)", lambda o: S.CosineAnnealingLR(o, 20, 0.01), 21),
    ("linear_decay(0.1, 15, end=0.02)", lambda o: S.LinearLR(o, 1.0, 0.2, 15), STEPS),
    ("polynomial_decay(0.1, 20, power=2)", lambda o: S.PolynomialLR(o, 20, 2.0), STEPS),
    ("one_cycle(0.1, 25)", lambda o: S.OneCycleLR(o, 0.1, total_steps=25), 25),
    (
        "one_cycle(0.1, 25, rise=0.5, start_factor=5, final_factor=100)",
        lambda o: S.OneCycleLR(o, 0.1, total_steps=25, pct_start=0.5, div_factor=5, final_div_factor=100),
        25,
    ),
    ("cosine_restarts(0.1, 6)", lambda o: S.CosineAnnealingWarmRestarts(o, 6), STEPS),
    ("cosine_restarts(0.1, 3, growth=2, end=0.01)", lambda o: S.CosineAnnealingWarmRestarts(o, 3, 2, 0.01), STEPS),
    ("linear_warmup(0.1, 10, start=0.01)", lambda o: S.LinearLR(o, 0.1, 1.0, 10), STEPS),
]


@pytest.mark.parametrize(("schedule", "make", "count"), TORCH_RATES, ids=[s for s, _, _ in TORCH_RATES])
def test_a_rate_is_that_of_torch(
    schedule: str, make: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler], count: int
) -> None:
    assert rates(schedule)[:count] == pytest.approx(torch_rates(make, 0.1)[:count], rel=1e-9, abs=1e-12)


OPTAX_RATES: list[tuple[str, Callable[[int], object]]] = [
    ("constant_rate(0.1)", optax.constant_schedule(0.1)),
    ("step_decay(0.1, 4)", optax.exponential_decay(0.1, 4, 0.1, staircase=True)),
    ("multistep_decay(0.1, [4, 9], factor=0.5)", optax.piecewise_constant_schedule(0.1, {4: 0.5, 9: 0.5})),
    ("exponential_decay(0.1, 0.5, every=7)", optax.exponential_decay(0.1, 7, 0.5)),
    ("cosine_decay(0.1, 20, end=0.01)", optax.cosine_decay_schedule(0.1, 20, 0.1)),
    ("linear_decay(0.1, 15, end=0.02)", optax.linear_schedule(0.1, 0.02, 15)),
    ("polynomial_decay(0.1, 20, power=1.5, end=0.01)", optax.polynomial_schedule(0.1, 0.01, 1.5, 20)),
    ("linear_warmup(0.1, 10, start=0.01)", optax.warmup_constant_schedule(0.01, 0.1, 10)),
    ("warmup_cosine(0.1, warmup=5, steps=20)", optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 20)),
    ("warmup_cosine(0.1, 5, 20, start=0.02, end=0.01)", optax.warmup_cosine_decay_schedule(0.02, 0.1, 5, 20, 0.01)),
    (
        "warmup_linear(0.1, 5, 20, end=0.01)",
        optax.join_schedules([optax.linear_schedule(0.0, 0.1, 5), optax.linear_schedule(0.1, 0.01, 15)], [5]),
    ),
]


@pytest.mark.parametrize(("schedule", "wanted"), OPTAX_RATES, ids=[s for s, _ in OPTAX_RATES])
def test_a_rate_is_that_of_optax(schedule: str, wanted: Callable[[int], object]) -> None:
    assert rates(schedule) == pytest.approx([float(np.asarray(wanted(i))) for i in range(STEPS)], rel=1e-6, abs=1e-9)


def test_inverse_sqrt_is_noam() -> None:
    """Vaswani et al. 2017, equation 3: width^-0.5 min(t^-0.5, t warmup^-1.5)."""
    wanted = [64**-0.5 * min(t**-0.5, t * 8**-1.5) for t in range(1, STEPS + 1)]
    assert rates(f"inverse_sqrt({1 / math.sqrt(64 * 8)}, 8)") == pytest.approx(wanted, rel=1e-9)
