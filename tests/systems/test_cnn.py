"""The layers of ConvNets compute what their definitions say, on every target; and what the `test` blocks of specs/cnn cannot show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsl.compiler import compile_graph, init, run, show_spec
from dsl.source import Source
from tests.agreement import Agreement
from tests.small import SPECS
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value, values
from tests.test_learning import saved, trained

on_every_target = pytest.mark.parametrize("target", TARGETS)
where_gradients_are = pytest.mark.parametrize("target", DIFFERENTIATING)

PATCH = np.array([[200, 150, 150], [100, 50, 100], [25, 25, 10]], np.float32)[None, None]
LADDER = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
STRIPES = np.array([[1, 0, -1]] * 3, np.float32)[None, None]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def parameters(expression: str, given: str) -> dict[str, np.ndarray]:
    """The initial parameters of an expression on an input `given`, by name."""
    return dict(init(Source("test.dl", f"model M()({given}) {{ return {expression} }}")))


def maps(spec: str) -> dict[str, tuple[object, ...]]:
    """The shape of what each layer of a model gives, by the layer's path."""
    return {row.path: row.outputs[0].shape for row in show_spec(SPECS / spec).rows}


# --- convolution ------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("conv2d")
@on_every_target
def test_a_kernel_is_not_flipped_unless_one_asks_for_it(target: str) -> None:
    given = {"x": LADDER, "w": STRIPES}
    correlation, convolution = values(["conv(x, w)", "conv(x, flip(w, over=[2, 3]))"], given, target)
    assert np.all(correlation == -6)
    assert np.all(convolution == 6)


@pytest.mark.system("conv2d")
@on_every_target
@pytest.mark.parametrize(("padding", "size"), [("valid", 3), ("same", 5), ("full", 7)])
def test_padding_by_name(padding: str, size: int, target: str) -> None:
    assert value(f'Conv2d(1, 3, padding="{padding}")(x)', {"x": LADDER}, target).shape == (1, 1, size, size)


@pytest.mark.system("conv2d")
@on_every_target
def test_the_places_are_kept_in_one_and_three_dimensions_too(target: str) -> None:
    given = {"a": draw(2, 3, 7), "v": draw(2, 3, 4, 5, 6)}
    a, v = values(['Conv1d(4, 3, padding="same")(a)', 'Conv3d(4, 3, padding="same")(v)'], given, target)
    assert (a.shape, v.shape) == ((2, 4, 7), (2, 4, 4, 5, 6))


@pytest.mark.system("conv2d")
@where_gradients_are
def test_the_gradient_of_a_kernel_is_a_correlation_and_that_of_the_input_a_convolution(target: str) -> None:
    given = {"x": draw(1, 1, 6, 5), "w": draw(1, 1, 3, 2), "g": draw(1, 1, 4, 4)}
    of_kernel, correlation, of_input, convolution = values(
        [
            "grad(sum(conv(x, w) * g), w)", "conv(x, g)",
            "grad(sum(conv(x, w) * g), x)", 'conv(g, flip(w, over=[2, 3]), padding="full")',
        ],
        given, target,
    )  # fmt: skip
    np.testing.assert_allclose(of_kernel, correlation, atol=1e-5)
    np.testing.assert_allclose(of_input, convolution, atol=1e-5)


@pytest.mark.system("conv2d")
@pytest.mark.verification
def test_convolutions_with_groups_strides_and_dilation_agree(agrees: Agreement) -> None:
    agrees(
        """model M()(a: float[B, 2, L], x: float[B, 2, H, W], v: float[B, 1, 3, H, W]) {
          y = x -> Conv2d(2, [3, 2], stride=[2, 1], padding=1)
          return a -> Conv1d(2, 3, groups=2, dilation=2, padding=2), y, v -> Conv3d(2, 2, padding="same")
        }""",
        sizes=[{"B": 1, "L": 5, "H": 3, "W": 3}, {"B": 2, "L": 4, "H": 3, "W": 2}],
    )


@pytest.mark.system("transposed-conv")
@on_every_target
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(target: str) -> None:
    given = {"x": draw(2, 3, 7, 9), "y": draw(2, 4, 4, 5), "w": draw(4, 3, 3, 3)}
    expressions = ["sum(conv(x, w, stride=2, padding=1) * y)", "sum(x * conv_transpose(y, w, stride=2, padding=1))"]
    left, right = values(expressions, given, target)
    np.testing.assert_allclose(left, right, rtol=1e-5)


@pytest.mark.system("transposed-conv")
def test_kernel_4_stride_2_padding_1_doubles_every_map() -> None:
    text = (
        "model M()(x: float[B, 3, H, W]) -> float[B, 5, 2 * H, 2 * W] { return x -> ConvTranspose2d(5, 4, stride=2, padding=1) }"
    )
    assert compile_graph(Source("test.dl", text)).main.outputs


@pytest.mark.system("transposed-conv")
@pytest.mark.verification
def test_transposed_convolutions_agree(agrees: Agreement) -> None:
    agrees(
        """model M()(x: float[B, 4, H, W]) {
          y = x -> ConvTranspose2d(3, 4, stride=2, padding=1)
          return y, x -> ConvTranspose2d(2, [3, 2], stride=[2, 3], padding=[1, 0], output_padding=[1, 2], groups=2)
        }""",
        sizes=[{"B": 1, "H": 3, "W": 2}, {"B": 2, "H": 2, "W": 3}],
    )


@pytest.mark.system("im2col")
@on_every_target
def test_a_convolution_is_the_product_of_patches_and_kernels(target: str) -> None:
    given = {"x": draw(2, 3, 7, 6), "w": draw(5, 3, 3, 3)}
    rows = "unfold(x, 3, stride=2, padding=1).T @ reshape(w, [5, 27]).T"
    product, convolved = values([rows, "flatten(conv(x, w, stride=2, padding=1), start=2).T"], given, target)
    np.testing.assert_allclose(product, convolved, rtol=1e-6, atol=1e-5)


@pytest.mark.system("im2col")
@pytest.mark.verification
def test_unfold_agrees(agrees: Agreement) -> None:
    agrees(
        "model M()(x: float[B, 2, H, W]) { return unfold(x, [3, 2], stride=[2, 1], padding=[1, 0]), unfold(x, 2, dilation=[2, 1]) }",
        sizes=[{"B": 1, "H": 3, "W": 3}, {"B": 2, "H": 4, "W": 5}],
    )


@pytest.mark.system("locally-connected")
@on_every_target
def test_equal_kernels_at_every_place_are_a_convolution(target: str) -> None:
    weight, bias = draw(4, 2, 3, 3), draw(4)
    given = "model M()(x: float[2, 2, 7, 6]) { return x -> "
    x = {"x": draw(2, 2, 7, 6)}
    local = {"local.weight": np.stack([weight.reshape(4, 18)] * 12), "local.bias": np.tile(bias[:, None, None], (1, 4, 3))}
    conv = {"conv.weight": weight, "conv.bias": bias}
    how = "(4, 3, stride=2, padding=1) }"
    found = run(Source("a.dl", f"{given}local: LocallyConnected2d{how}"), x, target=target, weights=local).outputs["y"]
    wanted = run(Source("b.dl", f"{given}conv: Conv2d{how}"), x, target=target, weights=conv).outputs["y"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.system("locally-connected")
def test_each_place_has_parameters_of_its_own() -> None:
    own = parameters("LocallyConnected2d(5, 3, stride=2, padding=1)(x)", "x: float[B, 2, 7, 6]")
    assert sum(v.size for v in own.values()) == 4 * 3 * 5 * (2 * 3 * 3 + 1)


@pytest.mark.system("locally-connected")
@pytest.mark.verification
def test_locally_connected_layers_agree(agrees: Agreement) -> None:
    agrees(
        "model M()(x: float[B, 2, 5, 4]) { return x -> LocallyConnected2d(3, [3, 2], stride=[2, 1], padding=[1, 0]) }",
        sizes=[{"B": 2}],
    )


# --- pooling ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("max-pool")
@on_every_target
def test_the_largest_of_a_patch_and_its_place(target: str) -> None:
    pooled, largest, place = values(["max_pool2d(x, 3)", "max_pool2d_with_indices(x, 3)"], {"x": PATCH}, target)
    assert pooled.item() == largest.item() == 200
    assert place.item() == 0


@pytest.mark.system("max-pool")
@on_every_target
def test_places_count_row_by_row_and_never_point_into_the_padding(target: str) -> None:
    x = -LADDER[..., :4, :4] - 1  # below 0, so that a zero of the padding would win; the largest is the first
    largest, place = values("max_pool2d_with_indices(x, 3, stride=2, padding=1)", {"x": x}, target)
    assert place.tolist() == [[[[0, 1], [4, 5]]]]
    np.testing.assert_array_equal(largest, x.reshape(-1)[place])


@pytest.mark.system("max-pool")
@where_gradients_are
@pytest.mark.parametrize("pooled", ["max_pool2d(x, 2)", "max_pool2d_with_indices(x, 2)[0]"])
def test_the_gradient_reaches_the_first_of_the_largest_only(pooled: str, target: str) -> None:
    x = np.array([[1, 5, 3, 3], [5, 0, 3, 3]], np.float32)[None, None]
    assert value(f"grad(sum({pooled}), x)", {"x": x}, target)[0, 0].tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]


@pytest.mark.system("max-pool")
@pytest.mark.verification
def test_max_pools_agree(agrees: Agreement) -> None:
    agrees(
        """model M()(x: float[B, 2, H, W]) {
          largest, place = max_pool2d_with_indices(x, [3, 2], stride=[2, 1], padding=[1, 0])
          return max_pool2d(x, 3, stride=2, padding=1), largest, place
        }""",
        sizes=[{"B": 1, "H": 3, "W": 2}, {"B": 2, "H": 4, "W": 5}],
    )


@pytest.mark.system("pool-variants")
@on_every_target
def test_what_else_a_patch_may_be_reduced_to(target: str) -> None:
    expressions = [
        "avg_pool2d(x, 3)",
        "min_pool2d(x, 3)",
        "lp_pool2d(x, 2, 3)",
        "weighted_avg_pool2d(x, w)",
        "global_avg_pool2d(x)",
    ]
    weights = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32)
    mean, least, norm, weighted, whole = values(expressions, {"x": PATCH, "w": weights}, target)
    assert (mean.item(), least.item(), whole.item()) == (90, 10, 90)
    assert norm.item() == pytest.approx(np.sqrt(108_850), rel=1e-6)
    assert norm.item() == pytest.approx(329.924, abs=1e-3)
    assert weighted.item() == pytest.approx((150 + 100 + 4 * 50 + 100 + 25) / 8)


@pytest.mark.system("pool-variants")
def test_global_pooling_saves_almost_all_parameters_of_a_head() -> None:
    def head(layers: str) -> int:
        return show_spec(Source("test.dl", f"model M()(x: float[B, 512, 7, 7]) {{ return x -> {layers} }}")).parameters

    assert head("global_avg_pool2d -> Linear(1000)") == 513_000
    assert head("flatten -> Linear(4096) -> relu -> Linear(4096) -> relu -> Linear(1000)") == 123_642_856


@pytest.mark.system("pool-variants")
@pytest.mark.verification
def test_pools_agree(agrees: Agreement) -> None:
    agrees(
        """model M()(x: float[B, 2, H, W], w: float[2, 2]) {
          weighted = weighted_avg_pool2d(x, w ** 2, stride=2, padding=1)
          least = min_pool2d(x, 3, stride=2, padding=1)
          return avg_pool2d(x, 2), least, lp_pool2d(x, 2, 2, stride=1), lp_pool2d(x, 3, [1, 2]), weighted, global_avg_pool2d(x)
        }""",
        sizes=[{"B": 1, "H": 3, "W": 2}, {"B": 2, "H": 4, "W": 5}],
    )


# --- blocks -----------------------------------------------------------------------------------------------------------------------

BLOCKS = [("ResidualBlock(4)", "b.bn"), ("BottleneckBlock(1)", "c.bn"), ("PreActivationBlock(4)", "norm2")]


@pytest.mark.system("residual-block")
@on_every_target
@pytest.mark.parametrize(("block", "last"), BLOCKS)
def test_a_block_whose_last_norm_is_zero_adds_nothing(block: str, last: str, target: str) -> None:
    spec = Source("test.dl", f"model M()(x: float[2, 4, 5, 6]) {{ return x -> block: {block} }}")
    x = draw(2, 4, 5, 6)
    weights = dict(init(spec))
    weights[f"block.{last}.weight"] = np.zeros_like(weights[f"block.{last}.weight"])
    wanted = x if block.startswith("PreActivation") else np.maximum(x, 0)
    np.testing.assert_allclose(run(spec, {"x": x}, target=target, weights=weights).outputs["y"], wanted, atol=1e-6)


@pytest.mark.system("residual-block")
@pytest.mark.parametrize(
    ("block", "projects"),
    [
        ("ResidualBlock(4)", False), ("ResidualBlock(6)", True), ("ResidualBlock(4, stride=2)", True),
        ("BottleneckBlock(1)", False), ("BottleneckBlock(2)", True), ("BottleneckBlock(1, stride=2)", True),
        ("PreActivationBlock(4)", False), ("PreActivationBlock(6)", True), ("PreActivationBlock(4, stride=2)", True),
    ],
)  # fmt: skip
def test_a_shortcut_is_projected_only_where_the_shape_changes(block: str, projects: bool) -> None:
    names = parameters(f"{block}(x)", "x: float[B, 4, 5, 6]")
    assert any("project" in name for name in names) == projects


@pytest.mark.system("residual-block")
@pytest.mark.verification
@pytest.mark.slow
def test_residual_blocks_agree(agrees: Agreement) -> None:
    agrees(
        """model M()(x: float[B, 2, H, W]) {
          return x -> ResidualBlock(2) -> BottleneckBlock(1, stride=2, expansion=3) -> PreActivationBlock(2) -> PreActivationBlock(2)
        }""",
        sizes=[{"B": 2, "H": 3, "W": 4}],
    )


# --- networks ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("alexnet")
def test_the_maps_of_alexnet() -> None:
    found = maps("cnn/alexnet.dl")
    assert [found[f"conv{i}"][2] for i in range(1, 6)] == [55, 27, 13, 13, 13]
    (fc6,) = [row for row in show_spec(SPECS / "cnn" / "alexnet.dl").rows if row.path == "fc6"]
    assert fc6.parameters == 4096 * (256 * 6 * 6 + 1)


@pytest.mark.system("zfnet")
def test_the_maps_of_zfnet() -> None:
    found = maps("cnn/zfnet.dl")
    assert found["conv1"][1:] == (96, 110, 110)
    assert [found[f"conv{i}"][2] for i in range(2, 6)] == [26, 13, 13, 13]


@pytest.mark.system("darknet")
def test_darknet_has_as_many_convolutions_as_it_is_called_after() -> None:
    rows = show_spec(SPECS / "cnn" / "darknet.dl").rows
    assert sum(row.copies for row in rows if row.definition == "Conv2d") == 19
    rows = show_spec(SPECS / "cnn" / "darknet.dl", model="Darknet53").rows
    assert sum(row.copies for row in rows if row.definition in ("Conv2d", "Linear")) == 52 + 1


@pytest.mark.system("simple-cnn")
def test_two_images_are_learned_by_heart(tmp_path: Path) -> None:
    images = {"image": draw(2, 3, 32, 32), "label": np.array([3, 8])}
    curve = trained("cnn/simple_cnn.dl:Fit", saved(tmp_path, "two", images), tmp_path / "run", "--batch", 2, "--steps", 60)
    assert curve[-1]["loss"] < 1e-3
    assert curve[-1]["accuracy"] == 1


@pytest.mark.system("fixed-filter")
@on_every_target
def test_an_edge_kernel_answers_to_edges(target: str) -> None:
    step = np.where(np.arange(8) < 4, 0.0, 1.0).astype(np.float32) * np.ones((8, 1), np.float32)
    spec = "from cnn.edge_filter import edges"
    found = value("edges(x)", {"x": step[None, None]}, target, definitions=spec)[0, 0]
    assert found[0].tolist() == [0, 0, 4, 4, 0, 0]
    assert not value("edges(x)", {"x": step.T[None, None]}, target, definitions=spec).any()


@pytest.mark.system("fixed-filter")
@on_every_target
def test_hog_is_what_angles_and_histograms_say(target: str) -> None:
    image = draw(1, 16, 24)
    found = run(SPECS / "cnn" / "edge_filter.dl", {"image": image}, target=target).outputs["features"]
    padded = np.pad(image[0].astype(np.float64), 1, mode="edge")
    gy, gx = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    bins = (np.degrees(np.arctan2(gy, gx)) % 180 // 20).astype(int)
    cells = np.zeros((2, 3, 9))
    np.add.at(cells, (np.arange(16)[:, None] // 8, np.arange(24) // 8, bins), np.hypot(gy, gx))
    blocks = [np.concatenate([cells[0, c], cells[0, c + 1], cells[1, c], cells[1, c + 1]]) for c in range(2)]
    np.testing.assert_allclose(found[0], np.concatenate([b / np.linalg.norm(b) for b in blocks]), atol=1e-5)


# --- places -----------------------------------------------------------------------------------------------------------------------

THETA = np.array([[[0.7, 0.2, 0.13], [-0.3, 0.8, -0.21]]])


@pytest.mark.system("spatial-transformer")
@on_every_target
def test_the_identity_returns_the_image(target: str) -> None:
    x = draw(1, 2, 5, 7)
    found = value("grid_sample(x, affine_grid(theta, 5, 7))", {"x": x, "theta": np.eye(2, 3, dtype=np.float32)[None]}, target)
    np.testing.assert_allclose(found, x, atol=1e-5)
    assert value("SpatialTransformer(Conv2d(2, 3))(x)", {"x": x}, target) == pytest.approx(x, abs=1e-5)  # at first


@pytest.mark.system("spatial-transformer")
@on_every_target
def test_a_shift_by_one_pixel_moves_the_image_and_zeros_come_in(target: str) -> None:
    x = draw(1, 1, 3, 5)
    theta = np.array([[[1, 0, 2 / 4], [0, 1, 0]]], np.float32)  # of five pixels, four steps wide
    found = value("grid_sample(x, affine_grid(theta, 3, 5))", {"x": x, "theta": theta}, target)
    np.testing.assert_allclose(found[..., :4], x[..., 1:], atol=1e-6)
    np.testing.assert_allclose(found[..., 4], 0, atol=1e-6)


@pytest.mark.system("spatial-transformer")
@where_gradients_are
def test_the_gradient_of_the_six_numbers_is_that_of_finite_differences(target: str) -> None:
    x, weight = draw(1, 2, 6, 7).astype(np.float64), draw(1, 2, 4, 5).astype(np.float64)
    loss = "sum(grid_sample(x, affine_grid(theta, 4, 5)) * w)"

    def at(theta: np.ndarray) -> float:
        return float(value(loss, {"x": x, "theta": theta, "w": weight}, "reference", exact=True))

    found = value(f"grad({loss}, theta)", {"x": x, "theta": THETA, "w": weight}, target, exact=True)
    for i in np.ndindex(2, 3):
        step = np.zeros((1, 2, 3))
        step[0][i] = 1e-6
        assert found[0][i] == pytest.approx((at(THETA + step) - at(THETA - step)) / 2e-6, rel=1e-4)


@pytest.mark.system("spatial-transformer")
@pytest.mark.verification
def test_sampling_agrees(agrees: Agreement) -> None:
    agrees(
        """model M()(x: float[B, 2, H, W], theta: float[B, 2, 3], y: float[B, 1, 5, 4]) {
          return grid_sample(x, affine_grid(theta, 3, 4)), y -> SpatialTransformer(Conv2d(2, 3, stride=2))
        }""",
        sizes=[{"B": 1, "H": 3, "W": 4}, {"B": 2, "H": 4, "W": 3}],
    )


# --- video ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("video-cnn")
@on_every_target
def test_the_border_of_a_frame_is_not_in_the_fovea(target: str) -> None:
    frame = draw(1, 3, 178, 178)
    changed = frame.copy()
    changed[..., 0, :] += 1
    changed[..., -1] -= 1
    spec = "from cnn.video_cnn import streams"
    context, fovea = values("streams(x)", {"x": frame}, target, definitions=spec)
    other_context, other_fovea = values("streams(x)", {"x": changed}, target, definitions=spec)
    assert context.shape == fovea.shape == (1, 3, 89, 89)
    assert np.array_equal(fovea, other_fovea)
    assert not np.array_equal(context, other_context)


@pytest.mark.system("video-cnn")
def test_late_fusion_sees_both_frames_with_one_tower() -> None:
    rows = show_spec(SPECS / "cnn" / "video_cnn.dl", model="LateFusion").rows
    towers = [row for row in rows if row.path == "tower"]
    assert [row.shared for row in towers] == [False, True]
