"""Finding objects: boxes, anchors, pyramids of maps, and the detectors made of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from dsl.compiler import compile_graph, run
from dsl.initial_values import initial_weights
from dsl.ir import Program, size_of
from dsl.source import Source
from tests.agreement import Agreement
from tests.small import SPECS, VARIANTS
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value, values

RETINANET = SPECS / "detection/retinanet.dl"


def f32(x: ArrayLike) -> np.ndarray:
    return np.asarray(x, np.float32)


# --- intersection over union ----------------------------------------------------------------------------------------------------

UNIT = [[0.0, 0.0, 1.0, 1.0]]
POINT = [0.5, 0.5, 0.5, 0.5]
OTHERS = [
    ([0.0, 0.0, 1.0, 1.0], 1.0),  # the same box
    ([2.0, 0.0, 3.0, 1.0], 0.0),  # beside it
    ([1.0, 0.0, 2.0, 1.0], 0.0),  # they share a side
    ([2.0, 2.0, 3.0, 3.0], 0.0),  # apart on both axes: two negative sides are no area
    ([0.5, 0.0, 1.5, 1.0], 1 / 3),
    ([0.5, 0.5, 1.5, 1.5], 1 / 7),
    ([0.25, 0.25, 0.75, 0.75], 1 / 4),  # inside
    (POINT, 0.0),  # no area
]


@pytest.mark.system("box-iou")
@pytest.mark.parametrize("target", TARGETS)
def test_the_overlap_of_a_unit_square_with_others(target: str) -> None:
    inputs = {"a": f32(UNIT), "b": f32([box for box, _ in OTHERS])}
    np.testing.assert_allclose(value("iou(a, b)", inputs, target), [[share for _, share in OTHERS]], rtol=1e-6)
    np.testing.assert_allclose(value("iou(b, a)", inputs, target), [[share] for _, share in OTHERS], rtol=1e-6)


@pytest.mark.system("box-iou")
@pytest.mark.parametrize("target", TARGETS)
def test_boxes_without_area_overlap_by_0(target: str) -> None:
    points = f32([POINT, POINT, [3.0, 1.0, 3.0, 4.0]])
    assert np.array_equal(value("iou(a, b)", {"a": points, "b": points}, target), np.zeros((3, 3)))


@pytest.mark.system("box-iou")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_boxes_without_area_have_a_gradient_that_is_a_number(target: str) -> None:
    found = values(["grad(sum(iou(a, b)), a)", "grad(sum(iou(a, b)), b)"], {"a": f32([POINT, POINT]), "b": f32([POINT])}, target)
    assert all(np.isfinite(gradient).all() for gradient in found)


OVERLAPS = """
fn with_area(x: float[N, 4]) = concat(x[:, :2], x[:, :2] + exp(x[:, 2:]), over=1)

model M()(a: float[N, 4], b: float[M, 4]) { return iou(with_area(a), with_area(b)), iou(a, b) }
"""


@pytest.mark.system("box-iou")
@pytest.mark.verification
def test_overlaps_agree(agrees: Agreement) -> None:
    agrees(OVERLAPS, sizes=[{"N": 1, "M": 2}, {"N": 3, "M": 2}])


# --- anchors --------------------------------------------------------------------------------------------------------------------

SCALES = [0.20, 0.34, 0.48, 0.62, 0.76, 0.90]


@pytest.mark.system("anchor-boxes")
@pytest.mark.parametrize("target", TARGETS)
def test_the_scales_of_ssd(target: str) -> None:
    found = values([f"box_scale({k}, 6) + x" for k in range(6)], {"x": np.float32(0)}, target)
    np.testing.assert_allclose(found, SCALES, rtol=1e-6)


@pytest.mark.system("anchor-boxes")
@pytest.mark.parametrize("target", TARGETS)
def test_the_default_boxes_of_a_cell(target: str) -> None:
    """Ratios 1, 2, 3, 1/2 and 1/3, and one more square between two scales: six boxes around the middle of each of 2 x 3 cells."""
    ratios = [1.0, 2.0, 3.0, 1 / 2, 1 / 3]
    boxes = value(
        f"default_boxes(map, box_scale(0, 6), box_scale(1, 6), {ratios})", {"map": np.zeros((1, 1, 2, 3), np.float32)}, target
    )
    boxes = boxes.reshape(2, 3, 6, 4)
    sides = boxes[..., 2:] - boxes[..., :2]
    expected = [[0.2 * ratio**0.5, 0.2 / ratio**0.5] for ratio in ratios] + [[(0.2 * 0.34) ** 0.5] * 2]
    np.testing.assert_allclose(sides, np.broadcast_to(expected, sides.shape), atol=1e-6)
    np.testing.assert_allclose(sides[0, 0, 1], [0.28284, 0.14142], atol=5e-6)
    middles = (boxes[..., 2:] + boxes[..., :2]) / 2
    np.testing.assert_allclose(middles[..., 0], np.broadcast_to(np.array([1, 3, 5])[None, :, None] / 6, (2, 3, 6)), atol=1e-6)
    np.testing.assert_allclose(middles[..., 1], np.broadcast_to(np.array([1, 3])[:, None, None] / 4, (2, 3, 6)), atol=1e-6)


PYRAMID = "model Anchors()({}) {{ return pyramid_anchors([{}]) }}"


def anchors(sides: list[int], target: str) -> np.ndarray:
    """On square maps of these sides."""
    maps = {f"p{i}": np.zeros((1, 1, side, side), np.float32) for i, side in enumerate(sides, 3)}
    spec = PYRAMID.format(
        ", ".join(f"{name}: float[1, 1, {m.shape[2]}, {m.shape[3]}]" for name, m in maps.items()), ", ".join(maps)
    )
    (found,) = run(Source("anchors.dl", spec), maps, target=target).outputs.values()
    return found


@pytest.mark.system("anchor-boxes")
@pytest.mark.parametrize("target", TARGETS)
def test_retinanet_has_49104_anchors_on_512_pixels(target: str) -> None:
    boxes = anchors([64, 32, 16, 8, 4], target)
    assert boxes.shape == (9 * (64**2 + 32**2 + 16**2 + 8**2 + 4**2), 4) == (49_104, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    starts = 9 * np.cumsum([0, 64**2, 32**2, 16**2, 8**2])
    for level, start in enumerate(starts):
        size = 32 * 2**level * 2 ** (np.arange(9) % 3 / 3)  # three scales an octave
        ratio = np.repeat([0.5, 1, 2], 3)  # height to width
        np.testing.assert_allclose(np.prod(sides[start : start + 9], axis=1), size**2, rtol=1e-5)
        np.testing.assert_allclose(sides[start : start + 9, 1] / sides[start : start + 9, 0], ratio, rtol=1e-5)
    np.testing.assert_allclose(boxes[3], [-12, -12, 20, 20], atol=1e-5)  # 32 x 32 around the middle of the first cell, (4, 4)
    np.testing.assert_allclose(boxes[9 + 3], [-4, -12, 28, 20], atol=1e-5)  # the next cell is 8 pixels to the right
    np.testing.assert_allclose(boxes[-6], [448 - 256, 448 - 256, 448 + 256, 448 + 256], atol=1e-3)  # the last cell of P7


@pytest.mark.system("anchor-boxes")
@pytest.mark.verification
def test_anchors_agree(agrees: Agreement) -> None:
    sizes = [{"B": 1, "H": 3, "W": 2, "h": 1, "w": 1}, {"B": 2, "H": 4, "W": 5, "h": 2, "w": 3}]
    maps = "fine: float[B, 2, H, W], coarse: float[B, 2, h, w]"
    agrees(f"model M()({maps}) {{ return pyramid_anchors([fine, coarse]) }}", sizes=sizes, gradients=False)
    agrees(
        f"model M()({maps}) {{ return default_boxes(fine, 0.2, 0.34, [1, 2, 0.5]), default_boxes(coarse, 0.34, 0.48, [1]) }}",
        sizes=sizes,
        gradients=False,
    )


# --- the feature pyramid --------------------------------------------------------------------------------------------------------

ON_RESNET_50 = """
from cnn.resnet import Backbone

model Pyramid()(image: float[B, 3, 512, 512]) -> (pyramid: list) {
  maps = image -> backbone: Backbone(BottleneckBlock, [3, 4, 6, 3], [64, 128, 256, 512])
  return maps[1:] -> fpn: FPN
}
"""


def counted(program: Program, prefix: str) -> int:
    """The numbers in the trained parameters whose names begin so."""
    return sum(size_of(p.type) for name, p in program.parameters().items() if p.trained and name.startswith(prefix))


@pytest.mark.system("fpn")
def test_the_pyramid_on_resnet_50() -> None:
    """Lateral 1x1 convolutions of 512, 1024 and 2048 channels, three that smooth, and P6 from C5 and P7."""
    program = compile_graph(Source("pyramid.dl", ON_RESNET_50))
    smooth = 256 * (9 * 256 + 1)
    assert counted(program, "fpn.") == 256 * (512 + 1024 + 2048 + 3) + 3 * smooth + 256 * (9 * 2048 + 1) + smooth == 7_997_440
    graph = program.main
    assert [graph.type(value).shape[1:] for value in graph.outputs.values()] == [(256, side, side) for side in (64, 32, 16, 8, 4)]


SMALL = """
model Pyramid(width: int = 3)(c3: float[B, 2, H3, W3], c4: float[B, 4, H4, W4], c5: float[B, 5, H5, W5]) -> (pyramid: list) {
  return [c3, c4, c5] -> FPN(width)
}
"""
ODD = [{"H3": 11, "W3": 13, "H4": 6, "W4": 7, "H5": 3, "W5": 4}, {"H3": 7, "W3": 1, "H4": 4, "W4": 1, "H5": 2, "W5": 1}]


@pytest.mark.system("fpn")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sides", ODD)
def test_maps_of_odd_sides_pass(sides: dict[str, int], target: str) -> None:
    """A coarser map is enlarged to the size of the finer one, whatever twice its own would be."""
    random = np.random.default_rng(0)
    maps = {
        name: random.normal(size=(2, channels, sides[f"H{level}"], sides[f"W{level}"])).astype(np.float32)
        for name, channels, level in [("c3", 2, 3), ("c4", 4, 4), ("c5", 5, 5)]
    }
    pyramid = list(run(Source("pyramid.dl", SMALL), maps, target=target).outputs.values())
    height, width = sides["H5"], sides["W5"]
    coarser = [(-(-height // n), -(-width // n)) for n in (2, 4)]
    assert [p.shape[2:] for p in pyramid] == [*(m.shape[2:] for m in maps.values()), *coarser]
    assert all(p.shape[:2] == (2, 3) for p in pyramid)


@pytest.mark.system("fpn")
@pytest.mark.verification
def test_pyramids_agree(agrees: Agreement) -> None:
    agrees(SMALL, sizes=[{"B": 2, **sides} for sides in ODD])


# --- RetinaNet ------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("retinanet")
def test_the_heads_are_counted_once_for_five_maps() -> None:
    program = compile_graph(RETINANET)
    four = 4 * 256 * (9 * 256 + 1)
    assert counted(program, "classify.") == four + 9 * 80 * (9 * 256 + 1) == 4_019_920
    assert counted(program, "locate.") == four + 9 * 4 * (9 * 256 + 1)
    assert counted(program, "") == 37_968_692
    assert counted(program, "backbone.") == 25_557_032 - 1000 * (2048 + 1)  # ResNet-50 without its classifier


@pytest.mark.system("retinanet")
def test_the_initial_probability_of_every_class_is_the_prior() -> None:
    program = compile_graph(RETINANET)
    bias = program.parameters()["classify.out.bias"].initial
    assert bias.kind == "constant"
    assert 1 / (1 + np.exp(-bias.arguments["value"])) == pytest.approx(0.01)


@pytest.mark.system("retinanet")
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_before_training(target: str) -> None:
    """Each of the scores of the small variant, at the initial weights."""
    settings = VARIANTS["detection/retinanet.dl"].settings
    image = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    found = run(RETINANET, {"image": image}, settings, target=target).outputs
    cells = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1
    assert found["scores"].shape == (1, 9 * cells, 2)
    assert found["anchors"].shape == (9 * cells, 4)
    np.testing.assert_allclose(1 / (1 + np.exp(-found["scores"])), 0.01, rtol=0.02)


@pytest.mark.system("retinanet")
def test_a_score_stands_where_its_anchor_does() -> None:
    """A head whose only weights are biases: for each cell of each map the anchors in turn, and for each of them the classes."""
    settings = VARIANTS["detection/retinanet.dl"].settings
    weights = initial_weights(compile_graph(RETINANET, settings))
    number = np.arange(9 * 2, dtype=np.float32)
    weights |= {"classify.out.bias": number, "classify.out.weight": np.zeros_like(weights["classify.out.weight"])}
    scores = run(RETINANET, {"image": np.zeros((1, 3, 32, 32), np.float32)}, settings, target="torch", weights=weights).outputs[
        "scores"
    ]
    assert np.array_equal(scores[0], np.tile(number.reshape(9, 2), (16 + 4 + 1 + 1 + 1, 1)))
