"""The losses of the library: worked numbers from the literature, reductions, gradients, and what happens at the ends of their ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsl.compiler import compile_graph, run
from dsl.diagnostics import SpecError
from dsl.source import Source
from tests.agreement import Agreement
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value, values

SCORES = [[3.2, 5.1, -1.7]] * 3
LABELS = [0, 1, 2]

every_target = pytest.mark.parametrize("target", TARGETS)
every_differentiating_target = pytest.mark.parametrize("target", DIFFERENTIATING)


# --- classes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("cross-entropy")
@every_target
def test_cross_entropy_of_three_classes(target: str) -> None:
    each, total, mean, by_nll = values(
        [
            'cross_entropy(x, t, reduction="none")', 'cross_entropy(x, t, reduction="sum")', "cross_entropy(x, t)",
            'nll(log_softmax(x), t, reduction="none")',
        ],
        {"x": SCORES, "t": LABELS}, target,
    )  # fmt: skip
    np.testing.assert_allclose(each, [2.040355, 0.140355, 6.940355], atol=2e-6)
    np.testing.assert_allclose(by_nll, each, atol=1e-6)
    assert total == pytest.approx(each.sum(), abs=1e-5) and mean == pytest.approx(each.mean(), abs=1e-5)


@pytest.mark.system("cross-entropy")
@every_differentiating_target
def test_the_gradient_of_cross_entropy_is_softmax_minus_onehot(target: str) -> None:
    gradient, softmax = values(
        ['grad(cross_entropy(x, t, reduction="sum"), x)', "softmax(x)"], {"x": SCORES, "t": LABELS}, target
    )
    np.testing.assert_allclose(gradient, softmax - np.eye(3), atol=1e-6)


@pytest.mark.system("cross-entropy")
@every_differentiating_target
def test_ignored_labels_have_no_loss_and_no_gradient(target: str) -> None:
    inputs = {"x": SCORES, "t": [0, -100, 2]}
    loss, gradient = values(
        ["cross_entropy(x, t, ignore_index=-100)", "grad(cross_entropy(x, t, ignore_index=-100), x)"], inputs, target
    )
    assert loss == pytest.approx((2.040355 + 6.940355) / 2, abs=1e-5)
    assert not gradient[1].any()


@pytest.mark.system("token-cross-entropy")
@every_differentiating_target
def test_padding_changes_neither_loss_nor_gradient(target: str) -> None:
    rng = np.random.default_rng(0)
    logits, tokens, mask = rng.normal(size=(2, 3, 5)), rng.integers(0, 5, (2, 3)), np.array([[1.0, 1, 1], [1, 1, 0]])
    expressions = ["token_cross_entropy(x, t, m)", "grad(token_cross_entropy(x, t, m), x)"]
    loss, gradient = values(expressions, {"x": logits, "t": tokens, "m": mask}, target)
    more = {
        "x": np.concatenate([logits, 100 * rng.normal(size=(2, 2, 5))], axis=1),
        "t": np.concatenate([tokens, rng.integers(0, 5, (2, 2))], axis=1),
        "m": np.concatenate([mask, np.zeros((2, 2))], axis=1),
    }
    padded, padded_gradient = values(expressions, more, target)
    assert padded == pytest.approx(loss, abs=1e-6)
    np.testing.assert_allclose(padded_gradient[:, :3], gradient, atol=1e-6)
    assert not padded_gradient[:, 3:].any() and not gradient[1, 2].any()


@pytest.mark.system("token-cross-entropy")
@every_target
def test_tokens_in_bits_and_the_perplexity_of_the_uniform_distribution(target: str) -> None:
    uniform = {"x": np.zeros((2, 6, 7)), "t": np.arange(12).reshape(2, 6) % 7, "m": np.ones((2, 6))}
    shifted = "x[:, :-1], t[:, 1:], m[:, 1:]"
    nats, bits, perplexity = values(
        [f"token_cross_entropy({shifted})", f"token_cross_entropy({shifted}, bits=true)", f"exp(token_cross_entropy({shifted}))"],
        uniform, target,
    )  # fmt: skip
    assert perplexity == pytest.approx(7, abs=1e-4)
    assert bits == pytest.approx(math.log2(7), abs=1e-5) and nats == pytest.approx(math.log(7), abs=1e-5)


@pytest.mark.system("hinge")
@every_target
def test_hinge_losses_of_three_classes(target: str) -> None:
    each, ranked = values(
        [
            'hinge(x, t, reduction="none")',
            'margin_ranking(x[:, 0], x[:, 1], s, margin=1.0, reduction="none")',
        ],
        {"x": SCORES, "t": LABELS, "s": [1.0, -1.0, 1.0]}, target,
    )  # fmt: skip
    np.testing.assert_allclose(each, [2.9, 0.0, 13.7], atol=1e-5)
    np.testing.assert_allclose(ranked, [2.9, 0.0, 2.9], atol=1e-5)


@pytest.mark.system("soft-cross-entropy")
@every_target
def test_soft_targets_that_are_onehot_and_weights_of_one_change_nothing(target: str) -> None:
    hard, soft, weighted, doubled = values(
        [
            "cross_entropy(x, t)",
            "soft_cross_entropy(x, one_hot(t, classes=3))",
            "soft_cross_entropy(x, one_hot(t, classes=3), weight=[1.0, 1.0, 1.0])",
            "soft_cross_entropy(x, one_hot(t, classes=3), weight=[2.0, 1.0, 1.0])",
        ],
        {"x": SCORES, "t": LABELS}, target,
    )  # fmt: skip
    assert soft == pytest.approx(hard, abs=1e-6) and weighted == pytest.approx(hard, abs=1e-6)
    assert doubled - soft == pytest.approx(2.040355 / 3, abs=1e-5)


@pytest.mark.system("soft-cross-entropy")
@every_differentiating_target
def test_the_gradient_of_softened_targets_falls_with_the_square_of_the_temperature(target: str) -> None:
    def gradient(temperature: float) -> np.ndarray:
        loss = f"soft_cross_entropy(x, z, temperature={temperature}, soften_target=true)"
        return value(f"grad({loss}, x)", {"x": [[3.2, 5.1, -1.7]], "z": [[1.0, 0.0, 2.0]]}, target, exact=True)

    np.testing.assert_allclose(gradient(2000.0) / gradient(1000.0), 1 / 4, rtol=0.01)


# --- yes or no ------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("binary-cross-entropy")
@every_target
def test_binary_cross_entropy_stays_finite_and_has_its_least_at_the_base_rate(target: str) -> None:
    far, rate, by_logits = values(
        ['bce_with_logits(z, y, reduction="none")', "bce(p, q)", "bce_with_logits(log(p / (1 - p)), q)"],
        {"z": [1000.0, -1000.0, 1000.0, -1000.0], "y": [1.0, 0, 0, 1], "p": [0.1] * 10, "q": [1.0] + [0.0] * 9}, target,
    )  # fmt: skip
    np.testing.assert_allclose(far, [0, 0, 1000, 1000])
    assert rate == pytest.approx(0.3251, abs=1e-4) and by_logits == pytest.approx(0.3251, abs=1e-4)


@pytest.mark.system("binary-cross-entropy")
@every_differentiating_target
def test_the_gradient_on_the_logit_is_the_probability_minus_the_label(target: str) -> None:
    gradient, p = values(
        ['grad(bce_with_logits(z, y, reduction="sum"), z)', "sigmoid(z)"],
        {"z": [-1000.0, -2.0, 0.5, 3.0, 1000.0], "y": [1.0, 0, 1, 0, 0]}, target,
    )  # fmt: skip
    np.testing.assert_allclose(gradient, p - np.array([1.0, 0, 1, 0, 0]), atol=1e-6)


@pytest.mark.system("focal-loss")
@every_target
def test_focal_loss_at_three_probabilities(target: str) -> None:
    logits = {"z": [math.log(p / (1 - p)) for p in (0.9, 0.5, 0.1)], "y": [1.0, 1, 1]}
    plain, balanced, gamma_0, cross_entropy = values(
        [
            'focal_loss(z, y, reduction="none")', 'focal_loss(z, y, alpha=0.25, reduction="none")',
            'focal_loss(z, y, gamma=0.0, reduction="none")', 'bce_with_logits(z, y, reduction="none")',
        ],
        logits, target,
    )  # fmt: skip
    np.testing.assert_allclose(plain, [0.00105361, 0.173287, 1.865094], rtol=2e-5)
    assert balanced[1] == pytest.approx(0.043322, abs=1e-6)
    np.testing.assert_allclose(gamma_0, cross_entropy, rtol=1e-6)


@pytest.mark.system("focal-loss")
@every_differentiating_target
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_of_focal_loss_is_finite_where_the_prediction_is_certain(gamma: float, target: str) -> None:
    gradient = value(f"grad(focal_loss(z, y, gamma={gamma}), z)", {"z": [1000.0, -1000.0, 40.0], "y": [1.0, 0.0, 1.0]}, target)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


# --- numbers --------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("mse")
@every_target
def test_the_sum_of_squares_is_n_times_the_mean_and_twice_the_half(target: str) -> None:
    inputs = {"a": [[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]], "b": [[0.0, 2.5, 4.0], [1.0, 1.0, 0.0]]}
    total, mean, each, half = values(
        ['mse(a, b, reduction="sum")', "mse(a, b)", 'mse(a, b, reduction="none")', "sum((a - b) ** 2 / 2)"], inputs, target
    )
    assert total == pytest.approx(6 * mean) and total == pytest.approx(2 * half) and total == pytest.approx(each.sum())
    assert total == pytest.approx(1 + 0.25 + 0 + 1 + 4 + 9)


@pytest.mark.system("mse")
@every_differentiating_target
def test_the_slope_of_the_absolute_error_is_the_sign_and_0_at_0(target: str) -> None:
    gradient = value('grad(mae(a, b, reduction="sum"), a)', {"a": [3.0, 1.0, -2.0], "b": [1.0, 1.0, 1.0]}, target)
    assert gradient.tolist() == [1.0, 0.0, -1.0]


UNEQUAL = [
    "mse(a, b)", "mae(a, b)", "huber(a, b)", "smooth_l1(a, b)", "bce(a, b)", "bce_with_logits(a, b)", "focal_loss(a, b)", "kl_div(a, b)",
    "soft_cross_entropy(a, b)", "margin_ranking(a, b, b)", "elbo(a, b)", "kl(a, b)",
]  # fmt: skip


@pytest.mark.system("mse")
@pytest.mark.parametrize("loss", UNEQUAL)
def test_a_column_against_a_row_is_refused_and_not_broadcast(loss: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_graph(Source("case", f"model M()(a: float[N, 1], b: float[N]) {{ return {loss} }}"))
    (problem,) = caught.value.diagnostics
    assert problem.code == "DL0310" and "must have the same shape" in problem.message


@pytest.mark.system("huber")
@every_target
def test_huber_at_three_errors(target: str) -> None:
    found = value('huber(a, b, reduction="none")', {"a": [0.5, 1.0, -2.0], "b": [0.0, 0.0, 0.0]}, target)
    np.testing.assert_allclose(found, [0.125, 0.5, 1.5], atol=1e-6)


@pytest.mark.system("huber")
@every_differentiating_target
@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber_and_its_slope_are_continuous_at_delta(delta: float, target: str) -> None:
    near = {"a": [delta - 1e-7, delta + 1e-7, -delta + 1e-7, -delta - 1e-7], "b": [0.0] * 4}
    loss, slope = values(
        [f'huber(a, b, delta={delta}, reduction="none")', f'grad(huber(a, b, delta={delta}, reduction="sum"), a)'],
        near, target, exact=True,
    )  # fmt: skip
    np.testing.assert_allclose(loss, delta**2 / 2, atol=1e-6)
    np.testing.assert_allclose(slope, [delta, delta, -delta, -delta], atol=1e-6)


# --- distributions --------------------------------------------------------------------------------------------------------------


@pytest.mark.system("kl-divergence")
@every_target
def test_kl_divergence_depends_on_the_order_and_counts_nothing_at_0(target: str) -> None:
    forward, reverse, empty, infinite, *gaussians = values(
        [
            "kl(p, q)", "kl(q, p)", "kl(z, p)", "kl(p, z)", "normal_kl(m[0], s[0])", "normal_kl(m[1], s[1])",
            'kl_div(log(q), p, reduction="sum")',
        ],
        {"p": [0.2, 0.3, 0.5], "q": [0.1, 0.6, 0.3], "z": [0.5, 0.5, 0.0], "m": [0.0, 1.0], "s": [2.0, 0.5]}, target,
    )  # fmt: skip
    assert forward == pytest.approx(0.186098, abs=1e-6) and reverse == pytest.approx(0.193326, abs=1e-6)
    assert empty == pytest.approx(0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.3), abs=1e-6)
    assert infinite == math.inf
    np.testing.assert_allclose(gaussians, [0.80685282, 0.81814718, 0.186098], atol=1e-6)


@pytest.mark.system("elbo")
@every_target
def test_the_bound_is_below_the_evidence_by_the_divergence_from_the_posterior(target: str) -> None:
    bound, sampled, evidence, gap = values(
        [
            "elbo(sum(q * log(l), over=1), kl(q, p))", "elbo(sum(q * log(l), over=1), sum(q * (log(q) - log(p)), over=1))",
            "mean(log(sum(p * l, over=1)))", "mean(kl(q, p * l / sum(p * l, over=1, keepdims=true)))",
        ],
        {"p": [[0.3, 0.7]], "l": [[0.9, 0.2]], "q": [[0.5, 0.5]]}, target,
    )  # fmt: skip
    np.testing.assert_allclose([bound, evidence, gap], [-0.944576, -0.891598, 0.052978], atol=1e-6)
    assert sampled == pytest.approx(bound, abs=1e-6) and evidence - bound == pytest.approx(gap, abs=1e-6)


@pytest.mark.system("elbo")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_bound_from_samples_comes_to_the_one_in_closed_form(target: str) -> None:
    spec = """
model Bound()(x: float[N], m: float[], s: float[]) {
  z = normal_sample(m + zeros(N), s + zeros(N))
  likelihood = normal_log_prob(x, z, 1.0)
  closed = elbo(likelihood, normal_kl(m + zeros(N), s + zeros(N)))
  sampled = elbo(likelihood, normal_log_prob(z, m, s) - normal_log_prob(z))
  return closed, sampled
}
"""
    inputs = {"x": np.full(100_000, 0.3), "m": np.array(0.5), "s": np.array(0.8)}
    found = run(Source("case", spec), inputs, target=target, seed=0).outputs
    assert found["sampled"] == pytest.approx(float(found["closed"]), abs=0.01)


@pytest.mark.system("mmd")
@every_target
def test_mmd_is_0_between_equal_batches_and_symmetric(target: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    same, points, forward, backward = values(
        ["mmd(x, x)", "mmd(a, b)", "mmd(x, y)", "mmd(y, x)"], {"x": x, "y": y, "a": [[0.0]], "b": [[1.0]]}, target
    )
    assert same == pytest.approx(0, abs=1e-6) and points == pytest.approx(0.786939, abs=1e-6)
    assert forward == pytest.approx(backward, abs=1e-6) and forward > 0


# --- verification ---------------------------------------------------------------------------------------------------------------

CASES = {
    "cross-entropy": ("x: float[B, 5], t: int[B]", "cross_entropy(x, t), nll(log_softmax(x), t, label_smoothing=0.1)"),
    "mse": ("a: float[B, 3], b: float[B, 3]", 'mse(a, b), mse(a, b, reduction="sum"), mae(a, b)'),
    "binary-cross-entropy": ("z: float[B], y: float[B]", "bce_with_logits(z, sigmoid(y)), bce(sigmoid(z), sigmoid(y))"),
    "token-cross-entropy": ("x: float[B, 4, 5], t: int[B, 4], m: float[B, 4]", "token_cross_entropy(x, t, exp(m), bits=true)"),
    "huber": ("a: float[B, 3], b: float[B, 3]", "huber(a, b, delta=0.7), smooth_l1(a, b)"),
    "hinge": ("x: float[B, 5], t: int[B], z: float[B], y: float[B]", "hinge(x, t), margin_ranking(z, y, sign(z), margin=0.1)"),
    "kl-divergence": (
        "x: float[B, 3], y: float[B, 3]",
        "kl(softmax(x), softmax(y)), normal_kl(x, exp(y)), kl_div(log_softmax(x), softmax(y))",
    ),
    "elbo": ("x: float[B, 3], m: float[B, 3]", "elbo(normal_log_prob(x[:, 0]), diagonal_normal_kl(m, exp(x)), beta=4.0)"),
    "focal-loss": ("z: float[B], y: float[B]", "focal_loss(z, sigmoid(y)), focal_loss(z, sigmoid(y), gamma=0.5, alpha=0.25)"),
    "soft-cross-entropy": (
        "x: float[B, 4], y: float[B, 4]",
        "soft_cross_entropy(x, softmax(y), weight=[1.0, 0.5, 2.0, 1.0]), "
        "soft_cross_entropy(x, y, temperature=3.0, soften_target=true)",
    ),
    "mmd": ("x: float[B, 3], y: float[C, 3]", "mmd(x, y, bandwidth=2.0)"),
}


@pytest.mark.verification
@pytest.mark.parametrize(
    ("inputs", "losses"), [pytest.param(*case, id=name, marks=pytest.mark.system(name)) for name, case in CASES.items()]
)
def test_targets_agree(inputs: str, losses: str, agrees: Agreement) -> None:
    agrees(f"model M()({inputs}) {{ return {losses} }}", sizes=[{"B": 3, **({"C": 2} if "C" in inputs else {})}])
