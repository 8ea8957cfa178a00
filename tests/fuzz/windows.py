"""Convolutions, pooling and interpolation of maps with one to three spatial axes."""

from __future__ import annotations

from dsl.types import DType
from tests.fuzz.scope import Drawer, Expression, Scope, Size, Tensor, small


def feature_map(scope: Scope, rank: int) -> Tensor:
    """A map of `rank` spatial axes; its sizes are large enough for the kernels here."""
    found = [
        t for t in scope.tensors if t.kind.dtype is DType.F32 and t.kind.rank == rank + 2 and isinstance(t.kind.shape[1], int)
    ]
    if found and scope.chance(2):
        return found[-1]
    sizes: list[Size] = [scope.number(3, 7) for _ in range(rank)]
    if scope.chance(3) and scope.symbols:
        sizes[-1] = f"{scope.symbols[-1]} + 4"
        if scope.symbols[-1] not in {d for t in scope.inputs for d in t.kind.shape}:
            sizes[-1] = 6
    return scope.fresh(DType.F32, [scope.one_of("1", "2") if not scope.symbols else scope.symbols[0], scope.number(1, 4), *sizes])


def each(scope: Scope, rank: int, low: int, high: int) -> str:
    """One number for all spatial axes, or one each."""
    if scope.chance(2):
        return str(scope.number(low, high))
    return f"[{', '.join(str(scope.number(low, high)) for _ in range(rank))}]"


def padding(scope: Scope, rank: int, most: int = 2) -> str:
    if scope.chance(3):
        pairs = ", ".join(f"[{scope.number(0, most)}, {scope.number(0, most)}]" for _ in range(rank))
        return f"[{pairs}]"
    return each(scope, rank, 0, most)


def conv(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    channels = int(x.kind.shape[1])
    groups = scope.draw_divisor(channels)
    kernel = [scope.number(1, 3) for _ in range(rank)]
    weight = scope.fresh(DType.F32, [groups * scope.number(1, 2), channels // groups, *kernel])
    pad = scope.one_of('"same"', '"valid"') if scope.chance(4) else padding(scope, rank)
    attributes = f"stride={each(scope, rank, 1, 4)}, padding={pad}, dilation={each(scope, rank, 1, 2)}, groups={groups}"
    return Expression(f"conv({small(x)}, {weight.name}, {attributes})", 60.0)


def conv_transpose(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    channels = int(x.kind.shape[1])
    groups = scope.draw_divisor(channels)
    kernel = [scope.number(1, 3) for _ in range(rank)]
    weight = scope.fresh(DType.F32, [channels, scope.number(1, 2), *kernel])
    stride = scope.number(1, 3)
    more = f", output_padding={stride - 1}" if scope.chance(3) else ""
    attributes = f"stride={stride}, padding={padding(scope, rank, 1)}, dilation={each(scope, rank, 1, 2)}, groups={groups}{more}"
    return Expression(f"conv_transpose({small(x)}, {weight.name}, {attributes})", 60.0)


def pool(name: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        rank = scope.number(1, 3)
        x = feature_map(scope, rank)
        parts = [f"kernel={each(scope, rank, 1, 3)}"]
        parts += [f"stride={each(scope, rank, 1, 4)}"] * (not scope.chance(3))
        parts += [f"padding={padding(scope, rank, 1)}"] * scope.chance(2)
        parts += ["ceil_mode=true"] * scope.chance(3)
        if name == "max_pool":
            parts += [f"dilation={each(scope, rank, 1, 2)}"] * scope.chance(3)
        else:
            parts += ["count_include_pad=false"] * scope.chance(3)
        return Expression(f"{name}({x.name}, {', '.join(parts)})", x.scale)

    return draw


def adaptive_avg_pool(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    return Expression(f"adaptive_avg_pool({x.name}, size={each(scope, rank, 1, 5)})", x.scale)


def interpolate(scope: Scope) -> Expression:
    rank = scope.number(1, 3)
    x = feature_map(scope, rank)
    how = f"size={each(scope, rank, 1, 9)}" if scope.chance(2) else f"scale={scope.one_of('2', '3', '0.5', '1.5', '1.7', '1')}"
    mode = scope.one_of("", ', mode="bilinear"', ', mode="bilinear", align_corners=true')
    return Expression(f"interpolate({x.name}, {how}{mode})", x.scale)
