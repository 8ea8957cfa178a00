"""Initial values are the same for a seed whatever else is in the model; weight files are loaded whole or refused with reasons."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from dsl.diagnostics import SpecError
from dsl.initial_values import initial_value
from dsl.ir import Graph, Initializer, Parameter, Program
from dsl.types import DType, TensorType
from dsl.weight_parts import weights_from
from dsl.weights import initial_weights, load_weights, save_weights
from tests.full_disk import largest_file


def parameter(kind: str, shape: tuple[int, ...], dtype: DType = DType.F32, **numbers: float) -> Parameter:
    return Parameter("p", TensorType(dtype, shape), Initializer(kind, numbers), trained=True)


def program(parameters: Mapping[str, Parameter]) -> Program:
    graph = Graph("Net", kind="model")
    graph.parameters.update(parameters)
    return Program("Net", {"forward": graph})


NET = program({
    "fc.weight": parameter("normal", (3, 4), mean=0.0, std=1.0),
    "fc.bias": parameter("constant", (3,), value=0.0),
    "half": parameter("uniform", (2, 2), DType.BF16, low=-1.0, high=1.0),
    "count": parameter("constant", (), DType.I64, value=7.0),
})  # fmt: skip


def drawn(kind: str, shape: tuple[int, ...], **numbers: float) -> np.ndarray:
    return initial_value("p", parameter(kind, shape, DType.F64, **numbers), seed=0)


# --- initial values -------------------------------------------------------------------------------------------------------------


def test_values_depend_on_the_seed_and_the_name_only() -> None:
    fewer = program({"fc.weight": NET.parameters()["fc.weight"]})
    assert np.array_equal(initial_weights(NET)["fc.weight"], initial_weights(fewer)["fc.weight"])
    assert not np.array_equal(initial_weights(NET)["fc.weight"], initial_weights(NET, seed=1)["fc.weight"])


def test_values_never_change_between_versions() -> None:
    values = initial_weights(NET)["fc.weight"].ravel()[:3]
    assert values.tolist() == pytest.approx([1.4503810405731201, 0.6528087258338928, -0.6723545789718628], rel=1e-6)


def test_values_have_the_type_of_the_parameter() -> None:
    weights = initial_weights(NET)
    assert {n: (a.dtype.name, a.shape) for n, a in weights.items()} == {
        "fc.weight": ("float32", (3, 4)), "fc.bias": ("float32", (3,)), "half": ("float32", (2, 2)), "count": ("int64", ()),
    }  # fmt: skip
    assert weights["count"] == 7
    assert not np.any(weights["half"].view(np.uint32) & 0xFFFF), "bf16 has the upper half of the bits of float32"


def test_normal_and_uniform_values() -> None:
    normal = drawn("normal", (100, 100), mean=3.0, std=0.5)
    assert normal.mean() == pytest.approx(3.0, abs=0.02)
    assert normal.std() == pytest.approx(0.5, abs=0.02)
    uniform = drawn("uniform", (100, 100), low=-2.0, high=6.0)
    assert (uniform.min() >= -2, uniform.max() < 6) == (True, True)
    assert uniform.mean() == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "mean"), [(-2, 2, 0.0), (-0.1, 0.3, 0.0997), (1, 9, 1.5251), (-40, -8, -8.1213), (30, 99, 30.0333)]
)
def test_a_truncated_normal_stays_within_its_bounds(low: float, high: float, mean: float) -> None:
    """The bounds are values, not numbers of deviations; the means are those of the distribution."""
    values = drawn("truncated_normal", (20_000,), mean=0.0, std=1.0, low=low, high=high)
    assert (values.min() >= low, values.max() <= high) == (True, True)
    assert values.mean() == pytest.approx(mean, abs=0.02)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 2, 5)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    matrix = drawn("orthogonal", shape, gain=2.0).reshape(shape[0], -1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    assert np.allclose(matrix @ matrix.T, 4 * np.eye(len(matrix)))


def test_the_identity() -> None:
    assert np.array_equal(drawn("identity", (2, 3), gain=0.5), [[0.5, 0, 0], [0, 0.5, 0]])


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        (parameter("orthogonal", (3,), gain=1.0), "needs two axes or more"),
        (parameter("identity", (3, 3, 3), gain=1.0), "makes a matrix"),
        (parameter("normal", (3,), DType.I64, mean=0.0, std=1.0), "draws fractions"),
        (parameter("truncated_normal", (3,), mean=0.0, std=1.0, low=2.0, high=1.0), "low below high"),
    ],
)
def test_initialisers_that_have_no_meaning(wrong: Parameter, because: str) -> None:
    with pytest.raises(SpecError, match=because):
        initial_value("p", wrong, seed=0)


def test_more_than_the_memory_is_refused_before_anything_is_made() -> None:
    huge = program({"w": parameter("normal", (10**9, 10**9), mean=0.0, std=1.0)})
    with pytest.raises(SpecError, match=r"1,000,000,000,000,000,000 parameters: 4,000,000,000,000,000,000 bytes") as error:
        initial_weights(huge)
    assert error.value.exit_code == 4


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    weights = initial_weights(NET)
    save_weights(tmp_path / "w.safetensors", weights, NET, metadata={"seed": "0"})
    loaded = load_weights(tmp_path / "w.safetensors", NET)
    assert list(loaded) == list(NET.parameters())
    for name, array in weights.items():
        assert loaded[name].dtype == array.dtype
        assert np.array_equal(loaded[name], array)


def test_bf16_is_two_bytes_in_the_file(tmp_path: Path) -> None:
    only = program({"half": NET.parameters()["half"]})
    save_weights(tmp_path / "w.safetensors", initial_weights(only), only)
    data = (tmp_path / "w.safetensors").read_bytes()
    assert b'"dtype":"BF16"' in data
    assert b'"data_offsets":[0,8]' in data


def test_loaded_arrays_may_be_changed_without_touching_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, initial_weights(NET), NET)
    before = path.read_bytes()
    load_weights(path, NET)["fc.weight"][:] = 0
    assert path.read_bytes() == before


def test_npz_is_read(tmp_path: Path) -> None:
    only = program({"bias": NET.parameters()["fc.bias"]})
    np.savez(tmp_path / "w.npz", bias=np.array([1, 2, 3], np.float32))
    assert load_weights(tmp_path / "w.npz", only)["bias"].tolist() == [1, 2, 3]


def test_everything_that_does_not_fit_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = initial_weights(NET)
    weights["fc.wieght"] = weights.pop("fc.weight")
    weights["fc.bias"] = np.zeros(5, np.float32)
    weights["count"] = np.zeros((), np.int32)
    save_weights(path, weights, NET)
    with pytest.raises(SpecError) as error:
        load_weights(path, NET)
    found = {d.code: (d.message, d.notes) for d in error.value.diagnostics}
    assert found == {
        "DL0804": (f"`{path}` lacks a tensor of the model", ("`fc.weight` (f32[3, 4]); the nearest is `fc.wieght`",)),
        "DL0805": (f"`{path}` has a tensor that the model lacks", ("`fc.wieght` (f32[3, 4]); the nearest is `fc.weight`",)),
        "DL0806": (
            f"`{path}` has a tensor of another shape than the model",
            ("`fc.bias` is f32[5] in the file and f32[3] in the model",),
        ),
        "DL0807": (
            f"`{path}` has a tensor of another element type than the model",
            ("`count` is i32 in the file and i64 in the model",),
        ),
    }


def test_the_counter_of_pytorchs_batch_norm_is_no_tensor_of_the_model(tmp_path: Path) -> None:
    zeros = parameter("constant", (2,), value=0.0)
    net = program({"bn.running_mean": zeros, "bn.running_var": zeros})
    given = {"bn.running_mean": np.zeros(2, "f"), "bn.running_var": np.ones(2, "f")}
    save_weights(tmp_path / "w.safetensors", {**given, "bn.num_batches_tracked": np.array(5)})
    assert set(load_weights(tmp_path / "w.safetensors", net)) == set(given)
    save_weights(tmp_path / "w.safetensors", {**given, "other.num_batches_tracked": np.array(5)})
    with pytest.raises(SpecError, match="DL0805"):
        load_weights(tmp_path / "w.safetensors", net)


def test_nan_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    weights = initial_weights(NET)
    weights["fc.bias"][1] = np.nan
    save_weights(tmp_path / "w.safetensors", weights, NET)
    with pytest.raises(SpecError, match="NaN in a tensor") as error:
        load_weights(tmp_path / "w.safetensors", NET)
    assert error.value.diagnostics[0].notes == ("`fc.bias`",)
    assert np.isnan(load_weights(tmp_path / "w.safetensors", NET, allow_nan=True)["fc.bias"][1])


def valid(path: Path) -> bytes:
    save_weights(path, initial_weights(NET), NET)
    return path.read_bytes()


OVERLAP = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}'


@pytest.mark.parametrize("case", ["empty", "text", "huge header", "truncated", "overlap", "trailing bytes"])
def test_a_damaged_file_is_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "w.safetensors"
    whole = valid(path)
    damaged = {
        "empty": b"",
        "text": b"no weights at all, only text",
        "huge header": struct.pack("<Q", 2**62) + b"{}",
        "truncated": whole[:-3],
        "overlap": struct.pack("<Q", len(OVERLAP)) + OVERLAP + bytes(6),
        "trailing bytes": whole + b"more",
    }
    path.write_bytes(damaged[case])
    with pytest.raises(SpecError, match="is no weight file") as error:
        load_weights(path, NET)
    assert error.value.diagnostics[0].code == "DL0803"


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"fc.weight": [1.0]}))
    with pytest.raises(SpecError, match="pickle") as error:
        load_weights(path, NET)
    assert "safetensors.torch.save_file" in (error.value.diagnostics[0].help or "")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    with pytest.raises(SpecError, match="pickle"):
        load_weights(path, NET)


def test_an_npz_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    with pytest.raises(SpecError, match="pickle"):
        load_weights(tmp_path / "w.npz", NET)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file") as error:
        load_weights(tmp_path / "absent.safetensors", NET)
    assert error.value.exit_code == 4


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    before = valid(path)
    with largest_file(100), pytest.raises(SpecError, match="cannot write") as error:
        save_weights(path, initial_weights(NET), NET)
    assert error.value.exit_code == 4
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_a_part_of_a_file_is_named_after_a_colon(tmp_path: Path) -> None:
    """The weights of a training have the layer of the block before them."""
    weights = initial_weights(NET)
    path = tmp_path / "training.safetensors"
    inside = program({f"net.{name}": parameter for name, parameter in NET.parameters().items()})
    save_weights(path, {**{f"net.{name}": value for name, value in weights.items()}, "other.w": np.zeros(1, np.float32)}, inside)
    found = load_weights(f"{path}:net", NET)
    assert all(np.array_equal(found[name], load_weights(path_of(tmp_path, weights), NET)[name]) for name in weights)
    with pytest.raises(SpecError) as caught:
        load_weights(path, NET)
    assert caught.value.diagnostics[0].help == f"`{path}:net` is the part of the file that has all of them"
    strange = tmp_path / "a:net"
    save_weights(strange, weights, NET)
    assert set(load_weights(strange, NET)) == set(weights)


def path_of(folder: Path, weights: Mapping[str, np.ndarray]) -> Path:
    save_weights(folder / "plain.safetensors", weights, NET)
    return folder / "plain.safetensors"


# --- parts ----------------------------------------------------------------------------------------------------------------------

TWO = program(
    {f"{layer}.{name}": p for layer in ("encoder", "decoder") for name, p in NET.parameters().items() if name.startswith("fc.")}
)


def test_a_layer_gets_the_weights_of_another_and_the_rest_is_as_at_first(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    save_weights(path, {f"lm.{n}": w + 1 for n, w in initial_weights(TWO).items()})
    found = weights_from([f"encoder={path}:lm.encoder"], TWO)
    for name, before in initial_weights(TWO).items():
        assert np.array_equal(found[name], before + 1 if name.startswith("encoder.") else before), name


def test_every_layer_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, {"a.weight": np.full((3, 4), 2, np.float32), "a.bias": np.full(3, 3, np.float32)})
    found = weights_from([f"encoder.fc={path}:a", f"decoder.fc={path}:a"], TWO)
    assert {float(w.mean()) for n, w in found.items() if n.endswith("weight")} == {2.0}
    assert {float(w.mean()) for n, w in found.items() if n.endswith("bias")} == {3.0}


def test_a_file_whose_name_has_an_equals_sign_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = initial_weights(TWO, seed=1)
    save_weights("seed=1", weights, TWO)
    assert all(np.array_equal(weights[name], found) for name, found in weights_from(["seed=1"], TWO).items())


@pytest.mark.parametrize(
    ("sources", "message", "help", "exit_code"),
    [
        (["encoder=W:model.encodr"], "`W` has no layer `model.encodr`", "did you mean `model.encoder`?", 1),
        (["encoder=W:x"], "`W` has no layer `x`", "there is `model`, `model.decoder`, `model.encoder`, `model.decoder.fc`, ", 1),
        (["enkoder=W:model.encoder"], "what is trained has no layer `enkoder`", "did you mean `encoder`?", 2),
        (["encoder=W"], "`W` lacks 2 tensors of the layer `encoder`", "`W:model.encoder` is the part of the file", 1),
        (["decoder=W:model.decoder"], "`W:model.decoder` has a tensor of another shape than the layer `decoder`", None, 1),
        (["encoder=W:model.encoder", "encoder.fc=W:model.encoder.fc"], "are both for `encoder.fc.weight`", "one `--weights`", 2),
        (["W:model", "encoder=W:model.encoder"], "are both for `encoder.fc.weight`", "one `--weights` for each layer", 2),
    ],
)  # fmt: skip
def test_what_is_said_about_parts_that_do_not_fit(
    sources: list[str], message: str, help: str | None, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights("W", {f"model.{n}": w[:2] if n == "decoder.fc.bias" else w for n, w in initial_weights(TWO).items()})
    with pytest.raises(SpecError) as error:
        weights_from(sources, TWO)
    first = error.value.diagnostics[0]
    assert message in first.message
    assert (help or "") in (first.help or "")
    assert error.value.exit_code == exit_code


@pytest.mark.parametrize("metadata", [None, {"made by": "dslc"}])
def test_the_bytes_are_those_of_the_library(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    """dslc writes safetensors itself, because the library leaves a temporary file where a process is killed while it writes."""
    kinds = ("bool", "u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "f8", "i8", "u8")
    arrays = {f"{place}.{kind}": np.arange(3).astype(kind) for place in ("b", "a") for kind in kinds}
    arrays |= {"\u00e9": np.full((), 3, np.float32), "empty": np.zeros((0, 3), np.float32)}
    save_weights(tmp_path / "a.safetensors", arrays, metadata=metadata)
    assert (tmp_path / "a.safetensors").read_bytes() == safetensors.numpy.save(arrays, metadata=metadata)
