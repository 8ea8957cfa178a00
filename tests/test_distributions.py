"""The distributions of the library (dsl/lib/distribution.dl) are those of torch.distributions, in float64, by the reference.

Samples are compared by their moments: with n independent draws of standard deviation s, their mean is within 5 s / sqrt(n) of the true one
but for one seed in two million, and the seed is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import pytest
import torch
from torch import distributions as td
from torch.nn import functional as F

from backends.reference import Interpreter
from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.source import Source
from dsl.types import DType

Tensors = Mapping[str, torch.Tensor]


class Distribution(Protocol):
    """What torch.distributions has, which is not typed."""

    def log_prob(self, x: torch.Tensor) -> torch.Tensor: ...

    def entropy(self) -> torch.Tensor: ...


KINDS: Mapping[str, Callable[..., Distribution]] = vars(td)
kl_divergence: Callable[[Distribution, Distribution], torch.Tensor] = vars(td)["kl_divergence"]

RNG = torch.Generator().manual_seed(11)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=RNG, dtype=torch.float64)


def computed(expression: str, tensors: Tensors) -> np.ndarray:
    """The value of an expression on named tensors."""
    kinds = {torch.float64: "float", torch.int64: "int"}
    inputs = ", ".join(f"{n}: {kinds[v.dtype]}[{', '.join(map(str, v.shape))}]" for n, v in tensors.items())
    graph = compile_graph(Source("case", f"model Case()({inputs}) {{ return {expression} }}"), float_type=DType.F64).main
    (value,) = Interpreter({}).run(graph, {n: v.numpy() for n, v in tensors.items()}).values()
    return value


A, C = 3 * draw(4, 5), 3 * draw(4, 5)
S, U = draw(4, 5).exp(), draw(4, 5).exp()
X, BITS, CLASSES = draw(4, 5), (draw(4, 5) > 0).double(), torch.tensor([0, 4, 2, 2])
ALL = {"a": A, "c": C, "s": S, "u": U, "x": X, "bits": BITS, "k": CLASSES}
EXTREME = torch.tensor([[-800.0, -40.0, 0.0, 40.0, 800.0]], dtype=torch.float64)


def bernoulli(logits: torch.Tensor) -> Distribution:
    return KINDS["Bernoulli"](logits=logits)


def categorical(logits: torch.Tensor) -> Distribution:
    return KINDS["Categorical"](logits=logits)


def normal(mean: torch.Tensor, std: torch.Tensor | float) -> Distribution:
    return KINDS["Normal"](mean, std)


def diagonal(mean: torch.Tensor, std: torch.Tensor) -> Distribution:
    return KINDS["Independent"](normal(mean, std), 1)


CASES: list[tuple[str, torch.Tensor]] = [
    ("bernoulli_log_prob(bits, a)", bernoulli(A).log_prob(BITS)),
    ("bernoulli_entropy(a)", bernoulli(A).entropy()),
    ("bernoulli_kl(a, c)", kl_divergence(bernoulli(A), bernoulli(C))),
    ("categorical_log_prob(k, a)", categorical(A).log_prob(CLASSES)),
    ("categorical_entropy(a)", categorical(A).entropy()),
    ("categorical_kl(a, c)", kl_divergence(categorical(A), categorical(C))),
    ("normal_log_prob(x, a, s)", normal(A, S).log_prob(X)),
    ("normal_log_prob(x)", normal(0.0 * A, torch.ones_like(S)).log_prob(X)),
    ("normal_log_prob(x, a, 2.5)", normal(A, 2.5).log_prob(X)),
    ("normal_entropy(s)", normal(A, S).entropy()),
    ("normal_kl(a, s, c, u)", kl_divergence(normal(A, S), normal(C, U))),
    ("normal_kl(a, s)", kl_divergence(normal(A, S), normal(0 * A, 1 + 0 * S))),
    ("diagonal_normal_log_prob(x, a, s)", diagonal(A, S).log_prob(X)),
    ("diagonal_normal_entropy(s)", diagonal(A, S).entropy()),
    ("diagonal_normal_kl(a, s, c, u)", kl_divergence(diagonal(A, S), diagonal(C, U))),
    ("diagonal_normal_kl(a, s)", kl_divergence(diagonal(A, S), diagonal(0 * A, 1 + 0 * S))),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "wanted"), CASES, ids=[e for e, _ in CASES])
def test_a_density_is_that_of_torch(expression: str, wanted: torch.Tensor) -> None:
    np.testing.assert_allclose(computed(expression, ALL), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "expression",
    [
        "bernoulli_log_prob(0 * v, v)", "bernoulli_log_prob(0 * v + 1, v)", "bernoulli_entropy(v)", "bernoulli_kl(v, 0.5 * v)",
        "bernoulli_kl(v, -v)", "categorical_entropy(v)", "categorical_kl(v, -v)", "categorical_log_prob([0], v)",
    ],
)  # fmt: skip
def test_extreme_logits_are_finite(expression: str) -> None:
    assert np.isfinite(computed(expression, {"v": EXTREME})).all()


def logistic_mixture(logits: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> Distribution:
    uniform = KINDS["Uniform"](torch.zeros_like(mean), torch.ones_like(mean))
    logit, affine = vars(td)["SigmoidTransform"]().inv, vars(td)["AffineTransform"](mean, log_scale.exp())
    return KINDS["MixtureSameFamily"](categorical(logits), KINDS["TransformedDistribution"](uniform, [logit, affine]))


MIX = {"w": draw(4, 3), "m": draw(4, 3) * 0.4, "z": draw(4, 3) * 0.5 - 2}


def test_a_mixture_of_logistics_is_that_of_torch() -> None:
    place = draw(4)
    wanted = logistic_mixture(MIX["w"], MIX["m"], MIX["z"]).log_prob(place)
    found = computed("logistic_mixture_log_prob(v, w, m, z)", {"v": place, **MIX})
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_the_probabilities_of_all_levels_are_differences_of_the_distribution() -> None:
    """From the sigmoids themselves, where they do not cancel; and together 1."""
    levels = torch.linspace(-1, 1, 9, dtype=torch.float64)
    w, m, z = (v[:1].expand(9, 3) for v in MIX.values())
    found = np.exp(computed("discretized_logistic_mixture_log_prob(v, w, m, z, levels=9)", {"v": levels, "w": w, "m": m, "z": z}))
    edges = torch.cat([torch.tensor([-torch.inf]), (levels[1:] + levels[:-1]) / 2, torch.tensor([torch.inf])])
    below = torch.sigmoid((edges[:, None] - m[:1]) * torch.exp(-z[:1]))
    wanted = ((below[1:] - below[:-1]) * F.softmax(w, -1)).sum(-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_levels_far_from_every_component_have_finite_logarithms() -> None:
    tensors = {"v": torch.tensor([0.5], dtype=torch.float64), "m": torch.zeros(1, 1, dtype=torch.float64)}
    found = computed("discretized_logistic_mixture_log_prob(v, m, m - 0.9, m - 6.0)", tensors)
    assert np.isfinite(found).all() and found[0] < -500


# --- samples ----------------------------------------------------------------------------------------------------------------------

N = 20_000


def samples(expression: str) -> np.ndarray:
    """N draws: the parameters are repeated along the first axis."""
    tensors = {"p": A[0].expand(N, 5), "d": S[0].expand(N, 5), **{n: v[0].expand(N, 3) for n, v in MIX.items()}}
    return computed(expression, tensors)


def near(found: np.ndarray, mean: torch.Tensor, std: torch.Tensor) -> None:
    assert (np.abs(found.mean(0) - mean.numpy()) <= 5 * std.numpy() / np.sqrt(N)).all()


@pytest.mark.parametrize("name", ["normal", "diagonal_normal"])
def test_samples_of_a_normal(name: str) -> None:
    found = samples(f"{name}_sample(p, d)")
    near(found, A[0], S[0])
    squares = (found - A[0].numpy()) ** 2
    near(squares, S[0] ** 2, np.sqrt(2) * S[0] ** 2)


def test_samples_of_a_bernoulli() -> None:
    found, p = samples("bernoulli_sample(0.3 * p)"), torch.sigmoid(0.3 * A[0])
    assert set(np.unique(found)) == {0.0, 1.0}
    near(found, p, torch.sqrt(p * (1 - p)))


def test_samples_of_a_categorical() -> None:
    p = F.softmax(0.3 * A[0], -1)
    near(np.eye(5)[samples("categorical_sample(0.3 * p)")], p, torch.sqrt(p * (1 - p)))


def test_samples_of_a_mixture_of_logistics() -> None:
    w, mean, scale = F.softmax(MIX["w"][0], -1), MIX["m"][0], MIX["z"][0].exp()
    second = (w * (mean**2 + scale**2 * np.pi**2 / 3)).sum()
    near(samples("logistic_mixture_sample(w, m, z)"), (w * mean).sum(), torch.sqrt(second - (w * mean).sum() ** 2))


def test_discretized_samples_have_the_probabilities_of_their_levels() -> None:
    found = samples("discretized_logistic_mixture_sample(w, m, z, levels=9)")
    levels = torch.linspace(-1, 1, 9, dtype=torch.float64)
    parameters = {n: v[:1].expand(9, 3) for n, v in MIX.items()}
    p = torch.tensor(np.exp(computed("discretized_logistic_mixture_log_prob(v, w, m, z, levels=9)", {"v": levels, **parameters})))
    near(np.isclose(found[:, None], levels.numpy()).astype(float), p, torch.sqrt(p * (1 - p)))


def test_gumbel_softmax_is_a_relaxed_categorical() -> None:
    p = F.softmax(0.3 * A[0], -1)
    hard = samples("gumbel_softmax(0.3 * p, 0.5, hard=true)")
    assert set(np.unique(hard)) == {0.0, 1.0} and (hard.sum(-1) == 1).all()
    near(hard, p, torch.sqrt(p * (1 - p)))
    soft = samples("gumbel_softmax(0.3 * p, 0.5)")
    np.testing.assert_allclose(soft.sum(-1), 1)
    near(np.eye(5)[soft.argmax(-1)], p, torch.sqrt(p * (1 - p)))


# --- gradients --------------------------------------------------------------------------------------------------------------------


def test_values_with_another_gradient() -> None:
    text = """
    model Case()(x: float[3]) {
      through = grad(sum(straight_through(round(x), x ** 2)), x)
      against = grad(sum(gradient_reversal(x ** 2, 0.5)), x)
      score = grad(score_function(2 * x, exp(x)), x)
      return through, against, score, straight_through(round(x), x ** 2), gradient_reversal(x, 3.0)
    }
    """
    graph = compile_graph(Source("case", text), float_type=DType.F64).main
    x = np.array([0.3, -1.2, 2.7])
    through, against, score, hard, same = Interpreter({}).run(graph, {"x": x}).values()
    np.testing.assert_allclose(through, 2 * x)
    np.testing.assert_allclose(against, -0.5 * 2 * x)
    np.testing.assert_allclose(score, 2 * np.exp(x) / 3)
    np.testing.assert_array_equal(hard, np.round(x))
    np.testing.assert_array_equal(same, x)


@pytest.mark.parametrize("draw", ["bernoulli_sample(w)", "cast(categorical_sample(w), float)"])
def test_a_gradient_through_a_discrete_draw_is_refused(draw: str) -> None:
    text = f"model Case()(w: float[2, 3]) {{ return grad(sum({draw}), w) }}"
    with pytest.raises(SpecError, match="no gradient"):
        compile_graph(Source("case", text))
