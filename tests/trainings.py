"""`train` blocks and data for them, for the tests of what is made of trainings."""

from __future__ import annotations

import numpy as np

from dsl.compiler import compile_training
from dsl.initial_values import initial_weights
from dsl.source import Source
from dsl.trainer.prepare import with_followers
from dsl.training import Training

NET = """
module Net(hidden: int = 16, rate: float = 0.0)(x: float[B, D]) -> float[B, 3] {
  h = x -> fc: Linear(hidden, bias=false) -> norm: BatchNorm1d -> relu
  h = h if rate == 0 else dropout(h, rate)
  return h -> head: Linear(3)
}

fn walk(p, g, m, step, lr = 0.1, decay: float = 0.5) {
  m = decay * m + g
  return p - lr * m / sqrt(step), m
}
"""

BLOCKS = {
    "Plain": """
train Plain()(x: float[B, 4], label: int[B]) {
  layer net = Net()
  logits = net(x)
  loss = cross_entropy(logits, label)
  minimize loss using adam(0.01)
  metric accuracy = mean(cast(argmax(logits, over=-1) == label, float))
}
""",
    "Scheduled": """
train Scheduled(steps: int = 50)(x: float[B, 4], label: int[B]) {
  layer net = Net()
  minimize loss = cross_entropy(net(x), label) using adamw(warmup_cosine(0.03, warmup=5, steps=steps), weight_decay=0.1) clip 0.5
}
""",
    "Grouped": """
train Grouped()(x: float[B, 4], label: int[B]) {
  layer net = Net()
  minimize loss = cross_entropy(net(x), label) using sgd(0.05, momentum=0.9) for ["**.bias"], lion(0.003) clip_value 0.05
}
""",
    "Own": """
train Own()(x: float[B, 4], label: int[B]) {
  layer net = Net()
  minimize loss = cross_entropy(net(x), label) using walk(0.05)
}
""",
    "Two": """
train Two()(x: float[B, 4], label: int[B]) {
  layer net = Net()
  layer other = MLP([8], out=3)
  layer slow = ema of net decay 0.9
  layer old = copy of other every 3
  minimize first = cross_entropy(net(x), label) over net using rmsprop(0.003)
  minimize second = mse(other(x), stop_gradient(net(x))) + 0.1 * mse(other(x), old(x)) over other using adagrad(0.05) every 2
  metric apart = mse(slow(x), stop_gradient(net(x)))
}
""",
    "Shared": """
train Shared()(x: float[B, 4], label: int[B]) {
  layer body = MLP([8], out=6)
  layer head = Linear(3)
  layer guess = Linear(4)
  minimize loss = cross_entropy(head(body(x)), label) over body, head using adam(0.01)
  minimize error = mse(guess(body(x)), x) over body, guess using sgd(0.05, momentum=0.9) clip 1.0 every 2
}
""",
    "Drawing": """
train Drawing()(x: float[B, 4], label: int[B]) {
  layer net = Net(rate=0.5)
  layer other = MLP([8], out=4)
  noise = randn(B, 4)
  minimize first = cross_entropy(net(x + 0.1 * noise), label) over net using adam(0.01)
  minimize second = mse(other(x + noise), x) over other using adam(0.01)
}
""",
    "Updating": """
train Updating(steps: int = 50)(x: float[B, 4], label: int[B]) {
  layer net = Net()
  buffer centre: float[4] = zeros
  buffer before: float[4] = zeros
  param shift: float[4] = zeros
  update centre = centre + (mean(x, over=B) - centre) / (step + 1)
  update before = centre
  near = linear_decay(1.0, steps=steps)
  minimize loss = cross_entropy(net(x - centre + shift), label) + near * mean((before - centre) ** 2) using adam(0.01)
  update shift = clip(shift, low=-0.01, high=0.01)
  update net.params = clip(net.params, low=-0.5, high=0.5)
}
""",
    "Counting": """
train Counting()(x: float[B, 4], label: int[B]) {
  buffer means: float[3, 4] = normal(std=0.1)
  buffer seen: float[3] = zeros
  chosen = one_hot(label, classes=3)
  count = seen + sum(chosen, over=B)
  update seen = count
  update means = where(count[:, none] > 0, (means * seen[:, none] + chosen.T @ x) / maximum(count, 1.0)[:, none], means)
  metric error = mean((x - means[label]) ** 2)
}
""",
    "Waiting": """
train Waiting()(x: float[B, 4], label: int[B]) {
  layer net = Net()
  minimize loss = cross_entropy(net(x), label) using sgd(reduce_on_plateau(0.05, factor=0.5, patience=1))
}
""",
}


def training(name: str) -> Training:
    """One of BLOCKS."""
    return compile_training(Source(f"{name}.dl", f"{NET}\n{BLOCKS[name]}"))[0]


def begin(block: Training, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights that the block begins with."""
    return dict(with_followers(block, initial_weights(block.program, seed)))


def batches(count: int, size: int = 32) -> list[dict[str, np.ndarray]]:
    """Points of three overlapping clouds, and which."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(3, 4))
    found: list[dict[str, np.ndarray]] = []
    for _ in range(count):
        label = rng.integers(3, size=size)
        found.append({"x": (centres[label] + 0.3 * rng.normal(size=(size, 4))).astype(np.float32), "label": label})
    return found
