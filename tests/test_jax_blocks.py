"""Loops, gradients as values and gradients of the spec's own in JAX: the reference's numbers, and text that a person would write."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backends.base import EmitOptions
from backends.jax import BACKEND
from backends.reference import BACKEND as REFERENCE
from dsl.compiler import compile_graph
from dsl.ir import Program
from dsl.source import Source
from dsl.types import DType
from tests.op_cases import floats
from tests.test_jax import assert_clean
from tests.test_torch_blocks import LSTM, SPECS, UNTIL, inputs_of


def compiled(text: str, float_type: DType = DType.F32) -> Program:
    return compile_graph(Source("net.dl", text), float_type=float_type)


def text_of(made: Program) -> str:
    return BACKEND.emit(made, EmitOptions()).content.decode()


def module_of(made: Program) -> Any:
    module = ModuleType("made")
    exec(compile(text_of(made), "<made>", "exec"), module.__dict__)
    return module


def compare(made: Program, inputs: Mapping[str, np.ndarray], *, training: bool = False, tolerance: float = 1e-5) -> None:
    """Outputs against the reference, with arbitrary weights."""
    shapes = {name: tuple(int(str(d)) for d in p.type.shape) for name, p in made.parameters().items()}
    weights = {name: (floats(*shape) * 0.3 + 0.5).astype(np.float32) for name, shape in shapes.items()}
    found = BACKEND.load(BACKEND.emit(made, EmitOptions()), made, weights).run(inputs, training=training).outputs
    wanted = REFERENCE.load(None, made, weights).run(inputs, training=training).outputs
    for name, want in wanted.items():
        size = max(1.0, float(np.max(np.abs(want), initial=0.0)))
        np.testing.assert_allclose(found[name], want, rtol=10 * tolerance, atol=tolerance * size, err_msg=name)


@pytest.mark.parametrize("name", SPECS)
def test_blocks_compute_what_the_reference_does(name: str) -> None:
    made = compiled(SPECS[name])
    compare(made, inputs_of(made, B=2, T=5, S=2))


def test_blocks_are_formatted(tmp_path: Path) -> None:
    for name, spec in SPECS.items():
        (tmp_path / f"{name}.py").write_text(text_of(compiled(spec)))
    (tmp_path / "long.py").write_text(text_of(compiled(many_carries())))
    assert_clean(tmp_path)


def many_carries() -> str:
    """Loops whose tuples do not fit on a line, and a function whose calls do not."""
    carries, emits = [f"carry_with_a_name_{i}" for i in range(9)], [f"emitted_value_{i}" for i in range(7)]
    body = "\n".join(f"{c} = {c} * 2 + tanh(x_t)" for c in carries)
    return f"""
fn product(first_of_two_arguments: float[B], second_of_two_arguments: float[B]) = first_of_two_arguments * second_of_two_arguments
  backward(gradient) = gradient * second_of_two_arguments, gradient * first_of_two_arguments
model Net()(x: float[B, T], y: float[B]) {{
  scan x_t in x over T carry {", ".join(f"{c} = y" for c in carries)} {{
    {body}
    {chr(10).join(f"emit {e} = {c} + 1" for e, c in zip(emits, carries, strict=False))}
  }}
  while sum({carries[0]}) < 1 carry {", ".join(f"{c} = {c}" for c in carries)} limit 3 {{
    {body.replace("x_t", "y")}
  }}
  return {", ".join(carries)}, {", ".join(emits)}, product(y, y)
}}
"""


@pytest.mark.parametrize("name", ["lstm", "looped_layers"])
def test_a_sequence_may_have_no_steps(name: str) -> None:
    made = compiled(SPECS[name])
    compare(made, inputs_of(made, B=2, T=0))


def test_carries_keep_their_types_in_half_and_double_precision() -> None:
    inputs = inputs_of(compiled(LSTM), B=2, T=3)
    compare(compiled(LSTM, DType.BF16), inputs, tolerance=0.05)
    compare(compiled(LSTM, DType.F64), {"x": inputs["x"].astype(np.float64)}, tolerance=1e-9)


# --- loops ---


def test_a_scan_is_one_of_lax() -> None:
    assert """
    def step(carry, x_t):
        h, c = carry
        h = linear(params["gates"], jnp.concatenate([x_t, h], axis=-1))
        i, f, g, o = jnp.split(h, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    h = jnp.zeros((B, hidden), jnp.float32)
    c = jnp.zeros((B, hidden), jnp.float32)
    (h, c), hs = lax.scan(step, (h, c), x.swapaxes(0, 1))
    hs = hs.swapaxes(0, 1)
    return hs, h, c
""" in text_of(compiled(LSTM))


def test_the_program_does_not_grow_with_the_length() -> None:
    module = module_of(compiled(LSTM))
    params = module.init(jax.random.key(0))

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return sum(jnp.sum(y) for y in module.apply(params, x))  # type: ignore[return-value]

    def size(length: int) -> int:
        return len(str(jax.make_jaxpr(jax.grad(loss))(params, jnp.ones((2, length, 3)))).splitlines())

    assert size(3) == size(3000)


def test_gradients_through_a_scan_are_those_of_the_loop_written_out() -> None:
    module = module_of(
        compiled("model Net()(x: float[B, T, 3], a: float[B, 3]) {" + STEPS + "  return sum(hs * unsqueeze(h, 1))\n}")
    )
    x, a = jnp.asarray(floats(2, 5, 3)), jnp.asarray(floats(2, 3))

    def by_hand(x: jax.Array, h: jax.Array) -> jax.Array:
        hs = []
        for t in range(5):
            h = jnp.tanh(h * x[:, t])
            hs.append(h)
        return jnp.sum(jnp.stack(hs, 1) * h[:, None])

    found = jax.jit(jax.grad(lambda x, a: module.apply({}, x, a), (0, 1)))(x, a)
    for have, want in zip(found, jax.grad(by_hand, (0, 1))(x, a), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


STEPS = """
  scan x_t in x over T carry h = a {
    h = tanh(h * x_t)
    emit hs = h
  }
"""


def test_a_while_is_one_of_lax() -> None:
    text = text_of(compiled(UNTIL))
    assert "    def step(carry):\n        _, count, x, steps = carry\n" in text
    assert "        lambda carry: carry[0] & (carry[1] < 20),\n        step,\n" in text


def test_loops_are_batched_by_vmap() -> None:
    module = module_of(compiled(UNTIL))
    x, rates = jnp.asarray(floats(2, 3)), jnp.array([1.2, 1.5, 3.0])
    together = jax.vmap(lambda rate: module.apply({}, x, rate))(rates)
    for i, rate in enumerate(rates):
        for found, wanted in zip(together, module.apply({}, x, rate), strict=True):
            np.testing.assert_allclose(found[i], wanted, rtol=1e-6)


# --- draws and state ---

DRAWS = """
model Net()(x: float[B, T, 64]) {
  scan x_t in x over T carry h = zeros(B, 64) {
    h = dropout(x_t, 0.5)
    emit hs = h
    emit noise = randn(64)
  }
  while any(h > 100) or sum(h) < 1e6 carry h = h limit 3 { h = h + rand(B, 64) + rand(B, 64) * 10 }
  scan i in range(4) { emit more = dropout(x[:, 0], 0.5) }
  return hs, noise, h, more
}
"""


def test_draws_are_fresh_at_each_step_and_the_same_for_the_same_key() -> None:
    module = module_of(compiled(DRAWS))
    x = jnp.ones((2, 3, 64))
    run = jax.jit(lambda key: module.apply({}, x, training=True, key=key))
    hs, noise, h, more = run(jax.random.key(0))
    for found in (jnp.moveaxis(hs, 1, 0), noise, more):
        assert not np.array_equal(found[0], found[1])
    assert float(jnp.max(h)) < 2 + 33
    assert len(np.unique(h)) == h.size
    for first, second in zip((hs, noise, h, more), run(jax.random.key(0)), strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(noise, run(jax.random.key(1))[1])


def test_dropout_in_a_loop_asks_for_no_key_in_inference() -> None:
    made = compiled(
        "model Net()(x: float[T, 4]) { scan x_t in x over T { emit hs = dropout(dropout(x_t, 0.5), 0.1) }\n return hs }"
    )
    x = jnp.asarray(floats(3, 4))
    np.testing.assert_array_equal(module_of(made).apply({}, x), x)
    with pytest.raises(ValueError, match="key"):
        module_of(made).apply({}, x, training=True)


def test_a_loop_reads_buffers_and_changes_none() -> None:
    made = compiled(
        """
module Scaled()(x: float[B, 2]) -> float[B, 2] {
  buffer scale: float[2] = ones
  return x * scale
}
model Net()(x: float[B, T, 2]) {
  buffer seen: float[] = zeros
  layer scaled = Scaled()
  scan x_t in x over T carry h = zeros(B, 2) { h = h + scaled(x_t) -> repeat(2) { Scaled } -> repeat(17) { Scaled } }
  update seen = seen + 1
  return h
}
"""
    )
    compare(made, inputs_of(made, B=2, T=3))
    module = module_of(made)
    params, state = module.init(jax.random.key(0))
    h, state = module.apply(params, state, jnp.ones((2, 3, 2)), training=True)
    np.testing.assert_array_equal(h, jnp.full((2, 2), 3.0))
    assert float(state["seen"]) == 1


# --- gradients as values ---

TREES = """
module Deep()(x: float[B, 6]) -> float[B] {
  h = x -> Linear(4) -> repeat(2) { Linear(4) -> tanh } -> repeat(17) { Linear(4, bias=false) -> repeat(2) { RMSNorm } } -> Linear(1)
  return h[:, 0]
}
module Filters()(x: float[B, 2, 5, 5]) -> float[B] { return mean(x -> Conv2d(3, 3) -> relu, over=(1, 2, 3)) }
model Net()(x: float[B, 6], y: float[B], image: float[B, 2, 5, 5]) {
  layer deep = Deep()
  layer filters = Filters()
  loss = mean((deep(x) - y) ** 2)
  layer fast = deep with deep.params - 0.1 * grad(loss, deep.params)
  other = mean((filters(image) - y) ** 2)
  layer faster = filters with filters.params - 0.1 * grad(other, filters.params)
  return fast(x), faster(image)
}
"""


def test_parameters_are_replaced_wherever_they_are_kept() -> None:
    """Convolutions keep theirs as [*kernel, in, out], long repeats stacked: the names are those of the spec all the same."""
    module = module_of(compiled(TREES))
    params = module.init(jax.random.key(0))
    x, y, image = (jnp.asarray(floats(*shape)) for shape in ((3, 6), (3,), (3, 2, 5, 5)))

    @partial(jax.jit, static_argnums=0)
    def after(function: Any, part: Any, x: jax.Array) -> jax.Array:
        slope = jax.grad(lambda p: jnp.mean((function(p, x) - y) ** 2))(part)
        return function(jax.tree.map(lambda a, b: a - 0.1 * b, part, slope), x)  # type: ignore[no-any-return]

    fast, faster = jax.jit(module.apply)(params, x, y, image)
    np.testing.assert_allclose(fast, after(module.deep, params["deep"], x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(faster, after(module.filters, params["filters"], image), rtol=1e-4, atol=1e-5)


def test_a_gradient_is_that_of_a_function_inside() -> None:
    made = compiled("model Net()(x: float[B], y: float[B]) { loss = sum(x ** 2 * y)\n a, b = grad(loss, (x, y))\n return a, b }")
    assert """
    def loss_of(x, y):
        loss = jnp.sum(x**2 * y)
        return loss

    a, b = jax.grad(loss_of, argnums=(0, 1))(x, y)
    return a, b
""" in text_of(made)


# --- gradients of the spec's own ---

REVERSAL = """
fn reversal(x: float[...]) = x backward(g) = -0.5 * g
fn cube(x: float[B], n: int[B]) = x ** 3, x backward(a, b) = 3 * x ** 2 * a + b * cast(n, float)
fn cube_forward(x: float[B]) = x + 1
model Net()(x: float[B], n: int[B]) {
  y, z = cube(reversal(x), n)
  return y + z * cube_forward(x)
}
"""


def test_a_gradient_of_the_specs_own_is_a_custom_vjp() -> None:
    text = text_of(compiled(REVERSAL))
    assert (
        """
@jax.custom_vjp
def reversal(x):
    return x


def reversal_forward(x):
    return reversal(x), None


def reversal_backward(_, g):
    return (-0.5 * g,)


reversal.defvjp(reversal_forward, reversal_backward)
"""
        in text
    )


def test_a_gradient_of_the_specs_own_is_differentiated_again() -> None:
    module = module_of(compiled(REVERSAL))
    x, n = jnp.array([1.0, 2.0]), jnp.array([5, 7])

    def slope(x: jax.Array) -> jax.Array:
        slope: jax.Array = jax.grad(lambda x: jnp.sum(module.apply({}, x, n)))(x)
        return slope

    # of x^3 + z (x + 1) at z = x, where the first and second x count -0.5 and z counts n times that
    np.testing.assert_allclose(slope(x), -0.5 * (3 * x**2 + (x + 1) * n) + x, rtol=1e-6)
    again = jax.grad(lambda x: jnp.sum(slope(x)))(x)
    np.testing.assert_allclose(again, -0.5 * (-0.5 * 6 * x + n) - 0.5 * n, rtol=1e-6)


def test_the_mode_is_no_argument_to_differentiate_by() -> None:
    made = compiled(
        """
fn scaled(x: float[B], n: int[B]) {
  if training { y = dropout(2 * x, 0.0) } else { y = x }
  return y
} backward(g) {
  if training { h = 3 * g } else { h = g }
  return h
}
model Net()(x: float[B], n: int[B]) {
  scan i in range(2) carry h = x { h = scaled(h, n) }
  return h
}
"""
    )
    module = module_of(made)
    x, n = jnp.ones(3), jnp.ones(3, int)
    key = jax.random.key(0)
    slope = jax.jit(jax.grad(lambda x, t: jnp.sum(module.apply({}, x, n, training=t, key=key))), static_argnums=1)
    np.testing.assert_allclose(slope(x, True), 9 * jnp.ones(3))
    np.testing.assert_allclose(slope(x, False), jnp.ones(3))


# --- names ---


def test_a_variable_does_not_hide_the_function_of_a_layer() -> None:
    made = compiled(
        "module H()(x: float[B, 3]) { return Linear(3)(x) }\nmodel Net()(x: float[B, 3]) { h = tanh(x)\n return H()(h) + h }"
    )
    compare(made, inputs_of(made, B=2))


def test_names_of_jax_are_no_names_in_a_loop() -> None:
    made = compiled(
        """
model Net()(jnp: float[T, 3], params: float[3], step: float[3]) {
  scan lax in jnp over T carry key = params, carry_ = step, xs = step {
    key, carry_, xs = carry_ * lax, xs + step, tanh(key) + mean(jnp)
    emit jax = key
  }
  while sum(xs) < 3.0 carry count = key, going = xs limit 4 { count, going = going + step, count }
  slope = grad(sum(jax * params), params)
  return key, jax, count, going, slope
}
"""
    )
    compare(made, inputs_of(made, T=3))
