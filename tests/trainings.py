"""Trainings put together by hand from compiled programs, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dsl.compiler import compile_graph
from dsl.ir import Graph, StaticValue
from dsl.source import Source
from dsl.training import Clip, Follower, Objective, Rule, Training

ROOT = Path(__file__).parents[1]

RULES = """
model SGD()(p: float[N], g: float[N], step: float[], lr: float[]) -> (p2: float[N]) {
  return p - lr * g
}

model Momentum(momentum: float = 0.9)(p: float[N], g: float[N], m: float[N], step: float[], lr: float[]) {
  m = momentum * m + g
  return p - lr * m, m
}

model Adam(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8)
          (p: float[N], g: float[N], m: float[N], v: float[N], step: float[], lr: float[]) {
  m = beta1 * m + (1 - beta1) * g
  v = beta2 * v + (1 - beta2) * g ** 2
  first = m / (1 - beta1 ** step)
  second = v / (1 - beta2 ** step)
  return p - lr * first / (sqrt(second) + eps), m, v
}

model Constant(lr: float = 0.01)(step: float[]) -> (rate: float[]) {
  return lr + 0 * step
}

model Warmup(lr: float = 0.01, warmup: int = 10)(step: float[]) -> (rate: float[]) {
  return lr * minimum(1.0, (step + 1) / warmup)
}
"""

CLASSIFIER = """
module Net(hidden: int = 32, rate: float = 0.0)(x: float[B, D]) -> float[B, 10] {
  return x -> fc: Linear(hidden) -> relu -> dropout(rate) -> head: Linear(10)
}

model Classify(hidden: int = 32, rate: float = 0.0) {
  layer net = Net(hidden, rate)

  def loss(image: float[B, 64], label: int[B]) -> (loss: float[], accuracy: float[]) {
    logits = net(image)
    return cross_entropy(logits, label), mean(cast(argmax(logits, over=-1) == label, f32))
  }
}
"""

GAN = """
module Generator(hidden: int = 16)(z: float[B, L]) -> float[B, 2] {
  return z -> Linear(hidden) -> relu -> Linear(2)
}

module Critic(hidden: int = 16)(x: float[B, 2]) -> float[B] {
  return x -> Linear(hidden) -> leaky_relu(0.2) -> Linear(1) -> squeeze(1)
}

model GAN(latent: int = 4) {
  layer G = Generator()
  layer D = Critic()
  layer average = Generator()

  def draws(real: float[B, 2]) -> (noise: float[B, latent]) {
    return randn(B, latent)
  }

  def d_loss(real: float[B, 2], noise: float[B, latent]) -> (d_loss: float[]) {
    fake = G(noise)
    return mean(softplus(-D(real)) + softplus(D(stop_gradient(fake))))
  }

  def g_loss(noise: float[B, latent]) -> (g_loss: float[]) {
    return mean(softplus(-D(G(noise))))
  }

  def sample(noise: float[B, latent]) -> (y: float[B, 2]) {
    return average(noise)
  }
}
"""


def graph(model: str, hyper: Mapping[str, object] | None = None) -> Graph:
    """One of RULES as a function."""
    found = compile_graph(Source("rules.dl", RULES), hyper, model=model).main
    found.kind = "fn"
    return found


def rule(name: str, parameters: Sequence[str], *, rate: Graph | None = None, **settings: StaticValue) -> Rule:
    """A rule of RULES for some parameters; the learning rate is 0.01 unless `rate` says otherwise."""
    model = {"sgd": "SGD", "momentum": "Momentum", "adam": "Adam"}[name]
    state = {"sgd": (), "momentum": ("m",), "adam": ("m", "v")}[name]
    return Rule(name, False, settings, state, graph(model), rate or graph("Constant"), tuple(parameters))


def classifier(name: str = "adam", *, rate: Graph | None = None, clip: Clip | None = None, **hyper: object) -> Training:
    """A linear-relu-linear classifier of 64 numbers with one objective."""
    program = compile_graph(Source("classify.dl", CLASSIFIER), hyper)
    objective = Objective("loss", "loss", (rule(name, list(program.parameters()), rate=rate),), clip)
    inputs = {n: program.main.type(v) for n, v in program.main.inputs.items()}
    return Training("Classify", program, inputs, (objective,), {"accuracy": "loss"}, (), (), {})


def gan() -> Training:
    """Two objectives, each over one layer, a draw that both read, and a moving average of the generator."""
    program = compile_graph(Source("gan.dl", GAN))
    names = list(program.parameters())
    objectives = (
        Objective("d_loss", "d_loss", (rule("adam", [n for n in names if n.startswith("D.")]),)),
        Objective("g_loss", "g_loss", (rule("momentum", [n for n in names if n.startswith("G.")]),), every=2),
    )
    real = program.entries["d_loss"]
    inputs = {"real": real.type(real.inputs["real"])}
    followers = (Follower("average", "G", decay=0.9),)
    return Training("GAN", program, inputs, objectives, {}, followers, (), {}, program.entries["draws"])
