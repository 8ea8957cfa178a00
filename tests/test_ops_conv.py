"""Convolution, pooling and resizing: against torch on small shapes, the algebra of output sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dsl.build import Builder
from dsl.dims import Dim, evaluate, format_dim, symbol
from dsl.ir import Graph, Node, Value
from dsl.ops.card import AttributeValue, OpError
from dsl.ops.registry import card
from dsl.types import DType, TensorType

B, H, W = symbol("B"), symbol("H"), symbol("W")


def floats(*shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(sum(shape)).standard_normal(shape))


def f32(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


def built(name: str, *types: TensorType, **attributes: AttributeValue) -> Node:
    """The node of a primitive on operands of those types."""
    graph = Graph("Test")
    operands = tuple(Value(graph.add("input", (), {}, (type,)).id) for type in types)
    return graph.node(Builder(graph).build(name, operands, **attributes))


def shape_of(name: str, *types: TensorType, **attributes: AttributeValue) -> list[str]:
    return [format_dim(d) for d in built(name, *types, **attributes).type.shape]


def apply(name: str, *xs: np.ndarray, **attributes: AttributeValue) -> np.ndarray:
    """The reference's result, which must have the shape that `infer` says."""
    node = built(name, *(f32(*x.shape) for x in xs), **attributes)
    result = card(name).reference(*xs, **node.attributes)
    assert isinstance(result, np.ndarray)
    assert result.shape == node.type.shape
    return result


def message(name: str, *types: TensorType, **attributes: AttributeValue) -> str:
    """Argument to blame, and what is said."""
    with pytest.raises(OpError) as caught:
        built(name, *types, **attributes)
    return f"{caught.value.argument}: {caught.value}"


def same(found: np.ndarray, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-10)


def t(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x)


# --- convolution ---


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (3, 2, 2), ((2, 1), (0, 2), (1, 2))])
def test_conv_2d_is_torchs(stride: AttributeValue, padding: AttributeValue, dilation: AttributeValue, groups: int) -> None:
    x, weight = floats(2, 4, 9, 8), floats(8, 4 // groups, 3, 2)
    expected = F.conv2d(t(x), t(weight), None, stride, padding, dilation, groups)  # type: ignore[arg-type]
    same(apply("conv", x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups), expected)


def test_conv_in_one_and_three_dimensions() -> None:
    x, weight = floats(2, 3, 10), floats(5, 3, 4)
    same(apply("conv", x, weight, stride=2, padding=1), F.conv1d(t(x), t(weight), None, 2, 1))
    x, weight = floats(1, 2, 5, 4, 6), floats(3, 2, 2, 3, 1)
    same(apply("conv", x, weight, stride=(1, 2, 3), padding=(1, 0, 2)), F.conv3d(t(x), t(weight), None, (1, 2, 3), (1, 0, 2)))


def test_conv_padding_may_differ_at_both_ends() -> None:
    x, weight = floats(1, 2, 5, 6), floats(3, 2, 3, 3)
    expected = F.conv2d(F.pad(t(x), (2, 1, 0, 1)), t(weight))
    same(apply("conv", x, weight, padding=((0, 1), (2, 1))), expected)
    same(apply("conv", x, weight, padding=(1, (2, 0))), F.conv2d(F.pad(t(x), (2, 0, 1, 1)), t(weight)))
    same(apply("conv", x, weight, padding="valid"), F.conv2d(t(x), t(weight)))


def test_conv_same_of_a_kernel_smaller_than_the_stride_needs_no_padding() -> None:
    assert built("conv", f32(1, 3, 9), f32(4, 3, 1), padding="same", stride=3).attributes["padding"] == ((0, 0),)
    assert shape_of("conv", f32(1, 3, 8), f32(4, 3, 1), padding="same", stride=3) == ["1", "4", "3"]


def test_a_kernel_may_be_as_large_as_the_padded_input() -> None:
    assert shape_of("conv", f32(B, H, 8), f32(4, H, 3)) == ["B", "4", "6"]
    assert shape_of("conv", f32(B, 3, 5), f32(4, 3, 7), padding=1) == ["B", "4", "1"]
    assert shape_of("max_pool", f32(B, 3, 5), kernel=3, dilation=2) == ["B", "3", "1"]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_conv_same_puts_the_odd_place_at_the_end(kernel: int, dilation: int) -> None:
    x, weight = floats(1, 2, 9), floats(3, 2, kernel)
    total = dilation * (kernel - 1)
    expected = F.conv1d(F.pad(t(x), (total // 2, total - total // 2)), t(weight), dilation=dilation)
    same(apply("conv", x, weight, padding="same", dilation=dilation), expected)


def test_conv_same_with_a_stride_is_the_ceiling() -> None:
    assert shape_of("conv", f32(B, 3, 7, 8), f32(4, 3, 3, 3), padding="same", stride=2) == ["B", "4", "4", "4"]
    node = built("conv", f32(1, 3, 7, 8), f32(4, 3, 3, 3), padding="same", stride=2)
    assert node.attributes["padding"] == ((1, 1), (0, 1))


def test_conv_full_sees_every_place_at_which_the_kernel_touches_x() -> None:
    x, weight = floats(1, 2, 5, 6), floats(3, 2, 2, 3)
    same(apply("conv", x, weight, padding="full", dilation=(2, 1)), F.conv2d(t(x), t(weight), padding=(2, 2), dilation=(2, 1)))


def test_conv_sizes_are_algebra() -> None:
    x, weight = f32(B, 3, H, W), f32(8, 3, 3, 3)
    assert shape_of("conv", x, weight, padding=1) == ["B", "8", "H", "W"]
    assert shape_of("conv", x, weight, padding=1, stride=2) == ["B", "8", "(H + 1) // 2", "(W + 1) // 2"]
    assert shape_of("conv", x, weight) == ["B", "8", "H - 2", "W - 2"]
    assert shape_of("conv", x, weight, padding="same") == ["B", "8", "H", "W"]
    even = symbol("N", multiple=32)
    assert shape_of("conv", f32(B, 3, even, even), f32(8, 3, 7, 7), padding=3, stride=2)[2] == "N // 2"
    assert shape_of("conv", f32(B, 3, even, even), f32(8, 3, 3, 3), padding="same", stride=2)[2] == "N // 2"


def test_conv_refuses_what_has_no_meaning() -> None:
    x = f32(B, 3, 8, 8)
    assert message("conv", x, f32(4, 3, 3, 3), stride=0) == "stride: `stride` of `conv` is at least 1, not 0"
    assert message("conv", x, f32(5, 3, 3, 3), groups=5) == "groups: `groups` = 5 does not divide the 3 channels of x"
    assert message("conv", f32(B, 4, 8, 8), f32(3, 2, 3, 3), groups=2).endswith(
        "does not divide the 3 output channels of the weight"
    )
    assert message("conv", x, f32(4, 2, 3, 3)) == "weight: x has 3 channels, and the weight f32[4, 2, 3, 3] takes 2"
    assert message("conv", f32(B, 3, 3, 8), f32(4, 3, 7, 7), padding=1) == "kernel: kernel 7 is larger than the padded input 5"
    assert message("conv", f32(B, 3, 5), f32(4, 3, 3), dilation=4) == (
        "kernel: kernel 3 with dilation 4 spans 9, which is larger than the input 5"
    )
    assert message("conv", x, f32(4, 3, 3, 3), padding=(1, 1, 1)) == "padding: `padding` has 3 numbers for 2 spatial axes"
    assert message("conv", x, f32(4, 3, 3, 3), padding=-1) == "padding: `padding` must be at least 0, not -1"
    assert message("conv", x, f32(4, 3, 3, 3), padding="half") == (
        'padding: `padding` must be a number, a list of numbers or of pairs, "same", "valid", "full", not "half"'
    )
    assert message("conv", x, f32(4, 3, 3, 3), padding=((1, 1),)) == "padding: `padding` has 1 pairs for 2 spatial axes"
    assert message("conv", x, f32(4, 3, 3, 3), padding=((1, 1), (1, 1, 1))) == (
        "padding: `padding` needs a [low, high] pair for each axis, not [1, 1, 1]"
    )
    assert message("conv", x, f32(4, 3, 3, 3), padding=((1, -1), 0)) == "padding: `padding` must be at least 0, not -1"
    assert message("conv", x, f32(4, 3, 3, 3), padding=(-1, (1, 1))) == "padding: `padding` must be at least 0, not -1"
    assert message("conv", x, f32(4, 3, 3, H)) == "weight: the kernel size H must be a constant"
    assert message("conv", x, f32(4, 3, 3, 0)) == "weight: the kernel size must be at least 1, not 0"
    assert message("conv", f32(B, 4, 8, 8), f32(4, 4, 3, 3), groups=2).endswith("the weight f32[4, 4, 3, 3] takes 4 * 2 groups")
    assert message("conv", f32(B, 3, 1, 1, 1, 1), f32(4, 3, 1, 1, 1, 1)).startswith("x: ")
    assert message("conv", f32(B, 3), f32(4, 3)).startswith("x: x is f32[B, 3], with 2 axes")
    assert message("conv", x, f32(4, 3, 3)).startswith("weight: weight is f32[4, 3, 3], with 3 axes")
    assert message("conv", x, TensorType(DType.F16, (4, 3, 3, 3))).startswith("weight: x is f32[B, 3, 8, 8] and weight is f16")
    assert message("conv", f32(B, 3, H), f32(4, 3, 3), padding="same", stride=2) == (
        'padding: padding "same" with stride 2: H is not known to be a multiple of 2'
    )


def test_a_kernel_that_may_fit_a_symbolic_size_is_accepted() -> None:
    assert shape_of("conv", f32(B, 3, H), f32(4, 3, 7)) == ["B", "4", "H - 6"]


# --- transposed convolution ---


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "padding", "extra", "dilation"), [(1, 0, 0, 1), (2, 1, 1, 1), (3, 2, 2, 2), ((2, 3), (1, 0), (0, 2), 1)]
)
def test_conv_transpose_is_torchs(
    stride: AttributeValue, padding: AttributeValue, extra: AttributeValue, dilation: int, groups: int
) -> None:
    x, weight = floats(2, 4, 5, 4), floats(4, 3, 3, 4)
    expected = F.conv_transpose2d(t(x), t(weight), None, stride, padding, extra, groups, dilation)  # type: ignore[arg-type]
    found = apply(
        "conv_transpose", x, weight, stride=stride, padding=padding, output_padding=extra, dilation=dilation, groups=groups
    )
    same(found, expected)


def test_conv_transpose_in_one_and_three_dimensions() -> None:
    x, weight = floats(2, 3, 6), floats(3, 2, 4)
    same(apply("conv_transpose", x, weight, stride=2, padding=1), F.conv_transpose1d(t(x), t(weight), None, 2, 1))
    x, weight = floats(1, 2, 3, 2, 3), floats(2, 2, 2, 3, 2)
    same(apply("conv_transpose", x, weight, stride=2), F.conv_transpose3d(t(x), t(weight), None, 2))


def test_conv_transpose_doubles_a_symbolic_size() -> None:
    assert shape_of("conv_transpose", f32(B, 8, H, 5), f32(8, 3, 4, 4), stride=2, padding=1) == ["B", "3", "2 * H", "10"]


def test_conv_transpose_refuses_what_has_no_meaning() -> None:
    x, weight = f32(B, 4, 5), f32(4, 2, 3)
    assert message("conv_transpose", x, weight, output_padding=1) == (
        "output_padding: `output_padding` = 1 must be smaller than the stride 1 or the dilation 1"
    )
    assert message("conv_transpose", x, f32(3, 2, 5)) == "weight: x has 4 channels, and the weight f32[3, 2, 5] takes 3"
    assert shape_of("conv_transpose", x, weight, padding=3) == ["B", "2", "1"]
    assert message("conv_transpose", x, weight, padding=((4, 3),)) == "padding: padding 4 and 3 leaves nothing of 7 output places"
    assert message("conv_transpose", x, weight, stride=2, output_padding=2).startswith(
        "output_padding: `output_padding` = 2 must"
    )
    assert message("conv_transpose", x, weight, output_padding=(0, 0)) == (
        "output_padding: `output_padding` has 2 numbers for 1 spatial axes"
    )
    assert message("conv_transpose", x, weight, padding=4) == "padding: padding 4 and 4 leaves nothing of 7 output places"
    assert message("conv_transpose", x, weight, groups=3) == "groups: `groups` = 3 does not divide the 4 channels of x"
    assert message("conv_transpose", x, weight, padding="same").startswith("padding: `padding` must be a number")


# --- pooling ---

POOLS = [(2, None, 0), (3, 2, 1), (3, 3, 1), ((2, 3), (2, 1), (1, 0)), (3, 4, 0)]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), POOLS)
@pytest.mark.parametrize("size", [(6, 7), (9, 5)])
def test_pooling_is_torchs(
    kernel: AttributeValue, stride: AttributeValue, padding: AttributeValue, ceil_mode: bool, size: tuple[int, int]
) -> None:
    x = floats(2, 3, *size)
    given: dict[str, AttributeValue] = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    expected = F.max_pool2d(t(x), kernel, stride, padding, ceil_mode=ceil_mode)  # type: ignore[arg-type]
    same(apply("max_pool", x, **given), expected)
    for counted in (True, False):
        expected = F.avg_pool2d(t(x), kernel, stride, padding, ceil_mode, counted)  # type: ignore[arg-type]
        same(apply("avg_pool", x, count_include_pad=counted, **given), expected)


def test_max_pool_with_dilation_in_one_and_three_dimensions() -> None:
    x = floats(2, 3, 11)
    same(apply("max_pool", x, kernel=3, stride=2, padding=1, dilation=2), F.max_pool1d(t(x), 3, 2, 1, 2))
    x = floats(1, 2, 5, 6, 4)
    same(apply("max_pool", x, kernel=2, ceil_mode=True), F.max_pool3d(t(x), 2, ceil_mode=True))


def test_padding_never_wins_a_maximum() -> None:
    assert apply("max_pool", np.full((1, 1, 3), -5.0), kernel=3, stride=1, padding=1).tolist() == [[[-5.0, -5.0, -5.0]]]


def test_the_last_window_of_ceil_mode_starts_inside() -> None:
    for n in range(2, 14):
        for kernel, stride, padding in ((2, 3, 1), (3, 2, 1), (2, 2, 0), (1, 4, 0), (3, 5, 1)):
            symbolic = built("max_pool", f32(1, 1, H), kernel=kernel, stride=stride, padding=padding, ceil_mode=True).type.shape[
                2
            ]
            if n + 2 * padding < kernel:
                continue
            expected = F.max_pool1d(torch.zeros(1, 1, n), kernel, stride, padding, ceil_mode=True).shape[2]
            constant = built("max_pool", f32(1, 1, n), kernel=kernel, stride=stride, padding=padding, ceil_mode=True)
            assert constant.type.shape[2] == expected
            assert evaluate(symbolic, {"H": n}) == expected, (n, kernel, stride, padding)


def test_a_last_window_may_start_in_the_input_that_the_low_padding_moves() -> None:
    assert shape_of("max_pool", f32(1, 1, 8), kernel=2, stride=4, padding=((1, 0),), ceil_mode=True) == ["1", "1", "3"]
    assert shape_of("max_pool", f32(1, 1, 8), kernel=2, stride=4, padding=((0, 1),), ceil_mode=True) == ["1", "1", "2"]


def test_pooling_refuses_what_has_no_meaning() -> None:
    x = f32(B, 3, 4, 4)
    assert message("max_pool", x, kernel=5) == "kernel: kernel 5 is larger than the input 4"
    assert message("max_pool", x, kernel=2, padding=2) == "padding: padding 2 is more than half of the kernel 2"
    assert message("avg_pool", x, kernel=0) == "kernel: `kernel` of `avg_pool` is at least 1, not 0"
    assert message("avg_pool", x, kernel=(2, 2, 2)) == "kernel: `kernel` has 3 numbers for 2 spatial axes"
    assert message("max_pool", f32(B, 3), kernel=2).startswith("x: x is f32[B, 3], with 2 axes")
    assert message("max_pool", x, kernel=3, padding=((0, 2), 0)) == "padding: padding 2 is more than half of the kernel 3"
    assert message("max_pool", x, kernel=3, dilation=2) == (
        "kernel: kernel 3 with dilation 2 spans 5, which is larger than the input 4"
    )
    assert message("max_pool", x, kernel=2, dilation=5).startswith("kernel: kernel 2 with dilation 5 spans 6, which")
    assert message("max_pool", x, kernel=2, padding="full").startswith("padding: `padding` must be a number")
    assert message("max_pool", x, kernel=2, stride=(1, 1, 1)) == "stride: `stride` has 3 numbers for 2 spatial axes"
    assert message("max_pool", x, kernel=2, dilation=(1, 1, 1)) == "dilation: `dilation` has 3 numbers for 2 spatial axes"


def test_attributes_of_pooling_are_told_for_each_axis() -> None:
    node = built("max_pool", f32(B, 3, 8, 8), kernel=(2, 3), padding=((0, 1), 1))
    assert node.attributes == {
        "kernel": (2, 3), "stride": (2, 3), "padding": ((0, 1), (1, 1)), "dilation": (1, 1), "ceil_mode": False,
    }  # fmt: skip
    assert "dilation" not in built("avg_pool", f32(B, 3, 8), kernel=2).attributes
    assert built("max_pool", f32(B, 3, 8), kernel=3, stride=1, padding="same").attributes["padding"] == ((1, 1),)
    assert built("max_pool", f32(B, 3, 8), kernel=2, dilation=2, padding=1).attributes["padding"] == ((1, 1),)


@pytest.mark.parametrize("size", [1, 3, (2, 5), (9, 4)])
def test_adaptive_avg_pool_is_torchs(size: int | tuple[int, int]) -> None:
    x = floats(2, 3, 7, 8)
    same(apply("adaptive_avg_pool", x, size=size), F.adaptive_avg_pool2d(t(x), size))


def test_adaptive_avg_pool_takes_symbolic_sizes() -> None:
    assert shape_of("adaptive_avg_pool", f32(B, 3, H, W), size=(H // 2, 7)) == ["B", "3", "H // 2", "7"]
    assert message("adaptive_avg_pool", f32(B, 3), size=2).startswith("x: x is f32[B, 3], with 2 axes")
    assert message("adaptive_avg_pool", f32(B, 3, H, W), size=0) == "size: `size` must be at least 1, not 0"
    assert message("adaptive_avg_pool", f32(B, 3, H, W), size=(1, 1, 1)) == "size: `size` has 3 numbers for 2 spatial axes"


# --- resizing ---


@pytest.mark.parametrize("size", [(3, 10), (5, 7), (8, 2), (1, 1)])
def test_interpolate_to_a_size_is_torchs(size: tuple[int, int]) -> None:
    x = floats(2, 3, 5, 7)
    same(apply("interpolate", x, size=size), F.interpolate(t(x), size=size))
    same(apply("interpolate", x, size=size, mode="bilinear"), F.interpolate(t(x), size=size, mode="bilinear"))
    expected = F.interpolate(t(x), size=size, mode="bilinear", align_corners=True)
    same(apply("interpolate", x, size=size, mode="bilinear", align_corners=True), expected)


@pytest.mark.parametrize("scale", [2.0, 0.5, 1.7, (0.6, 3.0)])
def test_interpolate_by_a_scale_is_torchs(scale: float | tuple[float, float]) -> None:
    x = floats(2, 3, 5, 7)
    same(apply("interpolate", x, scale=scale), F.interpolate(t(x), scale_factor=scale))
    same(apply("interpolate", x, scale=scale, mode="bilinear"), F.interpolate(t(x), scale_factor=scale, mode="bilinear"))


def test_interpolate_in_one_and_three_dimensions() -> None:
    same(apply("interpolate", floats(2, 3, 5), scale=2), F.interpolate(t(floats(2, 3, 5)), scale_factor=2))
    same(apply("interpolate", floats(1, 2, 2, 3, 4), size=4), F.interpolate(t(floats(1, 2, 2, 3, 4)), size=4))


def test_interpolate_sizes_are_algebra() -> None:
    assert shape_of("interpolate", f32(B, 3, H, W), scale=2) == ["B", "3", "2 * H", "2 * W"]
    assert shape_of("interpolate", f32(B, 3, H, W), scale=(0.5, 1.5)) == ["B", "3", "H // 2", "W + W // 2"]
    assert shape_of("interpolate", f32(B, 3, H, 5), size=(W, 7)) == ["B", "3", "W", "7"]
    assert shape_of("interpolate", f32(B, 3, H), scale=1 / 1024) == ["B", "3", "H // 1024"]
    assert shape_of("interpolate", f32(B, 3, 4), scale=0.25) == ["B", "3", "1"]
    assert built("interpolate", f32(B, 3, 4), scale=2).attributes["scale"] == (2.0,)
    assert built("interpolate", f32(B, 3, 4), size=2).attributes["scale"] is None


def test_interpolate_refuses_what_has_no_meaning() -> None:
    x = f32(B, 3, H, 4)
    assert message("interpolate", x) == "size: give either `size` or `scale`"
    assert message("interpolate", x, size=2, scale=2) == "scale: give either `size` or `scale`"
    assert message("interpolate", x, scale=0) == "scale: `scale` must be a positive number, not 0"
    assert message("interpolate", x, scale=0.7).startswith("scale: scale 0.7 is no exact fraction")
    assert message("interpolate", x, scale=(1, 0.125)) == "scale: scale 0.125 leaves nothing of size 4"
    assert message("interpolate", x, scale=(2, 2, 2)) == "scale: `scale` has 3 numbers for 2 spatial axes"
    assert message("interpolate", x, scale=(2,)) == "scale: `scale` has 1 numbers for 2 spatial axes"
    assert message("interpolate", x, scale=True) == "scale: `scale` must be a positive number, not true"
    assert message("interpolate", x, scale="2") == 'scale: `scale` must be a positive number, not "2"'
    assert message("interpolate", x, scale=float("inf")) == "scale: `scale` must be a positive number, not inf"
    assert message("interpolate", f32(B, 3, 4), scale=0.2) == "scale: scale 0.2 leaves nothing of size 4"
    assert message("interpolate", x, size=(2, 2, 2)) == "size: `size` has 3 numbers for 2 spatial axes"
    assert message("interpolate", f32(B, 3), size=2).startswith("x: x is f32[B, 3], with 2 axes")
    assert message("interpolate", x, size=2, mode="cubic").startswith("mode: `mode` is one of nearest, bilinear")
    assert (
        message("interpolate", x, size=2, align_corners=True)
        == 'align_corners: `align_corners` has no meaning with mode "nearest"'
    )
    assert message("interpolate", f32(B, 3, 4), size=2, mode="bilinear").startswith('mode: mode "bilinear" needs x of [batch,')
