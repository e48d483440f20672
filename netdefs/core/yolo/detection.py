"""What detectors do with the outputs of their convolutions: boxes from cells and anchors, and the best of them.

Everything is made of native layers. Grids are constants, so decoding needs a fixed height and width.
"""

from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor

DECODE = ("both", "raw", "decoded")


def check_decode(decode: str) -> None:
    """Checks which outputs a detector is asked for.

    Raises:
        NetworkError: `decode` is not one of `DECODE`.
    """
    if decode not in DECODE:
        raise NetworkError(f"decode={decode!r}: it is one of {', '.join(map(repr, DECODE))}.")


def class_count(net: Network, num_classes: int | None, bias: str, anchors: int, masks: int = 0) -> int:
    """How many classes a head has that gives 5 + classes + masks values for each of its anchors.

    Args:
        net: the place in a network where `bias` is.
        num_classes: that many; None reads it off the weights, and gives 80 if they lack the head.
        bias: of the head's convolution.
        anchors: how many the head has.
        masks: how many mask coefficients a box has.

    Raises:
        NetworkError: `num_classes` is not positive, or `bias` is not that of such a head.
    """
    values = net.class_count(num_classes, bias, 0)
    if num_classes is not None or not values:
        return values or 80
    each, rest = divmod(values, anchors)
    if rest or each <= 5 + masks:
        meant = f"5 + classes + {masks} for masks" if masks else "5 + classes"
        raise NetworkError(
            f"{net.path_of(bias)} has {values} values, which is not {meant}, for each of {anchors} anchors. Take the "
            "variant that these weights are of, with the anchors that it was trained with."
        )
    return each - 5 - masks


def check_multiple(net: Network, x: Tensor, stride: int) -> None:
    """Checks that the height and width of a network's input, (N, C, H, W), suit the coarsest of its grids.

    Of a dynamic size the smallest, usual and largest are checked.

    Raises:
        NetworkError: one is no multiple of `stride`; the message has the nearest that are.
    """
    ranges = net.profile.get(x.name.partition(".")[0], ())
    first = 2 if ranges and ranges[0][1] == x.shape[1] else 1  # a picture as input has its channels last
    for axis, side in enumerate(("height", "width")):
        size = int(x.shape[2 + axis])
        for n in [size] if size > 0 else [shape[first + axis] for shape in ranges]:
            if n % stride:
                below = n // stride * stride
                nearest = f"{below} or {below + stride}" if below else f"{stride}"
                raise NetworkError(
                    f"{net.name} takes a {side} that is a multiple of {stride}, such as {nearest}, not {n}. "
                    "Letterbox pictures to such a size."
                )


def sizes_of_maps(maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Height and width of every feature map.

    Raises:
        NetworkError: one is dynamic.
    """
    sizes = [(int(x.shape[2]), int(x.shape[3])) for x in maps]
    if any(min(size) < 0 for size in sizes):
        raise NetworkError(
            "Decoding boxes inside the network needs a fixed height and width of the input. "
            "Fix both in input_shape (the batch can stay dynamic), or take decode='raw'."
        )
    return sizes


def cells(height: int, width: int) -> np.ndarray:
    """Column and row of each cell of a grid, row by row: (1, 2, height * width) float32."""
    rows, columns = np.indices((height, width), np.float32)
    return np.stack([columns.ravel(), rows.ravel()])[None]


def anchor_points(sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The centres of all cells of several grids, in cells of their own grid, and the strides of the grids in pixels.

    Returns:
        (1, 2, A) x and y, and (1, 1, A), both float32, grid after grid.
    """
    points = [cells(*size) + np.float32(0.5) for size in sizes]
    steps = [np.full((1, 1, h * w), stride, np.float32) for (h, w), stride in zip(sizes, strides, strict=True)]
    return np.concatenate(points, 2), np.concatenate(steps, 2)


def expected_distances(net: Network, x: Tensor, bins: int) -> Tensor:
    """Distances from their distributions: the expectation of a softmax, (N, 4 * bins, A) -> (N, 4, A).

    Distribution focal loss, https://arxiv.org/abs/2006.04388. `conv.weight` holds the distance that each bin stands
    for; without it they are 0, 1, 2 ... Named after the scope.
    """
    x = net.permute(net.reshape(x, "bins", (0, 4, bins, -1)), "permute", (0, 2, 1, 3))
    x = net.softmax(x, "softmax", dim=1)
    if net.path_of("conv.weight") in net.weights:
        x = net.conv(x, "conv", 1, kernel=1, bias=False)
    else:
        distances = np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1)
        x = net.convolution(x, "conv", 1, 1, distances, None)
    return net.reshape(x, None, (0, 4, -1))


def boxes_from_distances(
    net: Network, distances: Tensor, points: np.ndarray, strides: np.ndarray, corners: bool = False
) -> Tensor:
    """Boxes in pixels from the distances of their left, top, right and bottom to a point, (N, 4, A) -> (N, 4, A).

    They are centre x, centre y, width and height, or with `corners` left, top, right and bottom.
    """
    near, far = net.split(distances, "distances", 2, dim=1)
    centre = net.constant(points, "points", like=distances)
    low, high = net.sub(centre, near, "low"), net.add(centre, far, "high")
    if corners:
        boxes = net.concat([low, high], "corners", dim=1)
    else:
        middle = net.mul(net.add(low, high, "sum"), 0.5, "middle")
        boxes = net.concat([middle, net.sub(high, low, "size")], "sides", dim=1)
    return net.mul(boxes, net.constant(strides, "strides", like=distances), "boxes")


def rotated_boxes(net: Network, distances: Tensor, angle: Tensor, points: np.ndarray, strides: np.ndarray) -> Tensor:
    """Centre x, centre y, width and height in pixels of boxes turned by `angle`, (N, 4, A) and (N, 1, A) -> (N, 4, A).

    The distances from the point to the sides are measured along the turned box's own axes; angles are in radians.
    """
    operation = net.trt.UnaryOperation
    near, far = net.split(distances, "distances", 2, dim=1)
    cos = net.layer(net.definition.add_unary(angle, operation.COS), "cos", angle)
    sin = net.layer(net.definition.add_unary(angle, operation.SIN), "sin", angle)
    offset = net.mul(net.sub(far, near, "difference"), 0.5, "offset")
    x, y = net.split(offset, "offset", 1, dim=1)
    turned_x = net.sub(net.mul(x, cos, "x.cos"), net.mul(y, sin, "y.sin"), "turned.x")
    turned_y = net.add(net.mul(x, sin, "x.sin"), net.mul(y, cos, "y.cos"), "turned.y")
    turned = net.concat([turned_x, turned_y], "turned", dim=1)
    middle = net.add(turned, net.constant(points, "points", like=distances), "middle")
    boxes = net.concat([middle, net.add(near, far, "size")], "sides", dim=1)
    return net.mul(boxes, net.constant(strides, "strides", like=distances), "boxes")


def boxes_from_anchors(net: Network, x: Tensor, anchors: np.ndarray, stride: int, coefficients: int) -> Tensor:
    """YOLOv5's boxes: (N, anchors, H, W, 5 + classes + more) -> (N, anchors * H * W, 5 + classes + more).

    Centre x, centre y, width and height in pixels, then the sigmoids of objectness and classes.

    Args:
        net: the place that the layers are named after.
        x: what the head's convolution gives.
        anchors: (anchors, 2) width and height in pixels.
        stride: of the grid, in pixels.
        coefficients: how many of the last values are a mask's, and taken as they are.
    """
    count, height, width, values = (int(n) for n in x.shape[1:])
    logits, rest = x, []
    if coefficients:
        logits, more = net.split(x, "part", (values - coefficients, coefficients), dim=4)
        rest = [more]
    probability = net.sigmoid(logits, "sigmoid")
    xy, wh, scores = net.split(probability, "sigmoid", (2, 2, values - coefficients - 4), dim=4)
    shift = (cells(height, width).transpose(0, 2, 1).reshape(1, 1, height, width, 2) - np.float32(0.5)) * stride
    xy = net.add(net.mul(xy, 2.0 * stride, "xy.scale"), net.constant(shift, "cells", like=x), "xy")
    doubled = net.mul(wh, 2.0, "wh.double")
    sizes = net.constant(anchors.reshape(1, count, 1, 1, 2), "anchors", like=x)
    wh = net.mul(net.mul(doubled, doubled, "wh.square"), sizes, "wh")
    rows = net.concat([xy, wh, scores, *rest], "values", dim=4)
    return net.reshape(rows, "rows", (0, count * height * width, values))


def best_detections(net: Network, boxes: Tensor, scores: Tensor, more: Sequence[Tensor], count: int) -> Tensor:
    """The best `count` pairs of a box and a class: (N, count, 6 + more), rows of box, score, class and more.

    Of boxes with a high score in several classes every one counts. Rows of equal score may come in any order.

    Args:
        net: the place that the layers are named after.
        boxes: (N, A, 4).
        scores: (N, A, classes).
        more: (N, A, any) each: what else belongs to a box.
        count: at most 3840; if there are fewer boxes, as many as there are.
    """
    trt, definition = net.trt, net.definition
    total, classes = int(scores.shape[1]), int(scores.shape[2])
    count = min(count, total)

    # A pair among the best has a box among those of the best scores: few numbers are left to sort for the second time.
    best = net.layer(definition.add_reduce(scores, trt.ReduceOperation.MAX, 1 << 2, False), "best", scores)
    _, candidates = net.topk(best, "candidates", count, dim=1)
    pairs = net.reshape(rows_of(net, scores, candidates, "scores"), "pairs", (0, count * classes))
    score, pair = net.topk(pairs, "pairs.best", count, dim=1)
    number = net.constant(np.full((1, 1), classes, np.int32), "classes")
    row = net.floor_divide(pair, number, "row")
    label = net.sub(pair, net.mul(row, number, "row.start"), "label")
    index = net.gather(candidates, "index", dim=1, index=row)
    parts = [score, net.cast(label, "label.cast", score.dtype)]
    columns = [net.reshape(part, f"column.{i}", (0, count, 1)) for i, part in enumerate(parts)]
    extra = [rows_of(net, x, index, f"more.{i}") for i, x in enumerate(more)]
    return net.concat([rows_of(net, boxes, index, "boxes"), *columns, *extra], "detections", dim=2)


def rows_of(net: Network, x: Tensor, index: Tensor, name: str) -> Tensor:
    """The rows of each batch item that an index, (N, M), tells: (N, A, any) -> (N, M, any)."""
    layer = net.definition.add_gather(x, index, 1)
    if layer is not None:
        layer.num_elementwise_dims = 1
    return net.layer(layer, name, x, index)
