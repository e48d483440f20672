"""The peaks of heat maps, found inside a network: of maps as large as the picture only a few numbers leave the GPU."""

import dataclasses

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor, describe


@dataclasses.dataclass(frozen=True)
class Peaks:
    """The best peaks of every heat map, best first; where there are fewer, the rest have the score 0, anywhere.

    Attributes:
        scores: (N, K, M).
        index: (N, K, M) int32, rows * width + columns.
        columns: (N, K, M) int32.
        rows: (N, K, M) int32.
        width: (1, 1, 1) int32, that of the maps.
        height: (1, 1, 1) int32.
    """

    scores: Tensor
    index: Tensor
    columns: Tensor
    rows: Tensor
    width: Tensor
    height: Tensor


def find_peaks(net: Network, heatmaps: Tensor, count: int, radius: int) -> Peaks:
    """The `count` best peaks of each map: pixels above 0 that are not below any other in a square around them.

    Of peaks that are equally high, any may come first.

    Args:
        net: the place that the layers are named after.
        heatmaps: (N, K, H, W), H and W may be dynamic.
        count: at most 3840, and as many as a map has pixels.
        radius: the square is 2 * radius + 1 pixels wide and high.

    Raises:
        NetworkError: a map has fewer pixels than `count`, or TensorRT can't take so many.
    """
    height, width = heatmaps.shape[2:]
    if min(height, width) > 0 and height * width < count:
        raise NetworkError(f"{net.path}: there can't be {count} peaks in maps as small as {describe(heatmaps)}.")
    highest = net.max_pool(heatmaps, "highest", kernel=2 * radius + 1, stride=1, padding=radius)
    peaks = net.where(net.eq(heatmaps, highest, "is_peak"), heatmaps, 0.0, "peaks")
    scores, index = net.topk(flat(net, peaks, "flat"), "best", count, dim=2)
    across, down = _size(net, heatmaps, 3, "width"), _size(net, heatmaps, 2, "height")
    rows = net.floor_divide(index, across, "rows")
    columns = net.sub(index, net.mul(rows, across, "starts"), "columns")
    return Peaks(scores, index, columns, rows, across, down)


def in_pixels(net: Network, heatmaps: Tensor, peaks: Peaks) -> tuple[Tensor, Tensor]:
    """x and y of peaks, float32, where pixel i stretches from i to i + 1: finer than whole pixels.

    That is the middle, moved by a quarter to the side of the higher neighbour, or left and up if they are equal; at a
    border the pixel itself stands for the neighbour that is missing.

    Source: adjust in lib/core/group.py of HRNet/HigherHRNet-Human-Pose-Estimation (MIT).
    """
    pixels = flat(net, heatmaps, "pixels")

    def along(name: str, at: Tensor, size: Tensor, step: Tensor | int) -> Tensor:
        back = net.minimum(at, 1, f"{name}.back")
        on = net.minimum(net.sub(net.sub(size, 1, f"{name}.last"), at, f"{name}.room"), 1, f"{name}.on")
        before = net.sub(peaks.index, net.mul(back, step, f"{name}.back.step"), f"{name}.before")
        after = net.add(peaks.index, net.mul(on, step, f"{name}.on.step"), f"{name}.after")
        lower, higher = net.gather(pixels, f"{name}.lower", 2, before), net.gather(pixels, f"{name}.higher", 2, after)
        quarters = net.constant(np.full((1, 1, 1), 0.75, np.float32), f"{name}.far")
        part = net.where(net.gt(higher, lower, f"{name}.rises"), quarters, 0.25, f"{name}.part")
        return net.add(net.cast(at, f"{name}.whole", net.trt.float32), part, name)

    return along("x", peaks.columns, peaks.width, 1), along("y", peaks.rows, peaks.height, peaks.width)


def flat(net: Network, maps: Tensor, name: str) -> Tensor:
    """Maps (N, K, H, W) as (N, K, H * W), which `Peaks.index` points into: `net.gather(flat, name, 2, peaks.index)`."""
    return net.flatten(maps, name, start_dim=2)


def _size(net: Network, maps: Tensor, axis: int, name: str) -> Tensor:
    """Height or width of maps as (1, 1, 1) int32."""
    if maps.shape[axis] > 0:
        return net.constant(np.full((1, 1, 1), maps.shape[axis], np.int32), name)
    size = net.cast(net.sizes(maps, [(axis, 1)], f"{name}.of"), f"{name}.cast", net.trt.int32)
    return net.reshape(size, name, (1, 1, 1))
