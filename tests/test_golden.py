"""Generated code as its readers see it: `pytest --update-golden` writes the files in tests/golden again, and a diff shows what changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsl.compiler import compile_program, compile_spec

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"

CASES = {
    "resnet50_torch.py": ("cnn/resnet.dl", "ResNet50", "torch"),
    "resnet50_jax.py": ("cnn/resnet.dl", "ResNet50", "jax"),
    "gpt2_torch.py": ("language/gpt2.dl", "GPT2", "torch"),
    "gpt2_jax.py": ("language/gpt2.dl", "GPT2", "jax"),
    "coupling_torch.py": ("examples/tour.dl", "Coupling", "torch"),
    "tour_vqvae_jax.py": ("examples/tour.dl", "VQVAE", "jax"),
    "hello_torch.py": ("recurrent/hello.dl", "Hello", "torch"),
    "hello_jax.py": ("recurrent/hello.dl", "Hello", "jax"),
}
DRAWN = (
    ("flow/glow.dl", "Glow"),
    ("linear/gaussian_density.dl", "Gaussian"),
    ("autoencoder/vqvae.dl", "VQVAE"),
    ("mlp/linear_stack.dl", "LinearStack"),
    ("recurrent/sequence_label.dl", "Tagger"),
    ("cnn/googlenet.dl", "GoogLeNet"),
    ("autoencoder/conv_autoencoder.dl", "ConvAutoencoder"),
    ("attention/lstm_decoder.dl", "LSTMDecoder"),
    ("attention/bahdanau.dl", "Bahdanau"),
    ("cnn/video_cnn.dl", "SlowFusion"),
)
"""Ten specs, drawn from all by `random.Random(4).sample`: what is written for them should read well too."""
CASES |= {f"{spec.split('/')[1][:-3]}_{target}.py": (spec, model, target) for spec, model in DRAWN for target in ("torch", "jax")}
TRAININGS = {
    "gan_train_torch.py": ("examples/tour.dl", "GAN", "torch"),
    "dqn_train_torch.py": ("examples/tour.dl", "DQN", "torch"),
    "pretrain_train_jax.py": ("examples/tour.dl", "Pretrain", "jax"),
    "maml_train_jax.py": ("examples/tour.dl", "MAML", "jax"),
}
HYPER: dict[str, dict[str, object]] = {"Coupling": {"hidden": 64}, "Glow": {"scales": 2, "depth": 2}}


@pytest.mark.parametrize("name", CASES)
def test_generated_code_is_the_golden_one(name: str, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    spec, model, target = CASES[name]
    monkeypatch.chdir(ROOT)
    made = compile_spec(f"specs/{spec}", target, HYPER.get(model, {}), model=model)
    compare(name, made.artifact.content.decode(), update_golden)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_generated_training_is_the_golden_one(name: str, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    spec, block, target = TRAININGS[name]
    monkeypatch.chdir(ROOT)
    made = compile_program(f"specs/{spec}", target, name=block)
    compare(name, made.artifact.content.decode(), update_golden)


def compare(name: str, text: str, update: bool) -> None:
    if update:
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()
