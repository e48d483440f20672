import numpy as np
import pytest

from tests.export.nets import Net, check, rng, run, to_onnx, trt


def overlap(a, b, center):
    if center:
        a, b = (np.concatenate([v[:2] - v[2:] / 2, v[:2] + v[2:] / 2]) for v in (a, b))
    corners = [(np.minimum(v[:2], v[2:]), np.maximum(v[:2], v[2:])) for v in (a, b)]
    inner = np.prod(np.maximum(np.minimum(corners[0][1], corners[1][1]) - np.maximum(corners[0][0], corners[1][0]), 0))
    return inner / (sum(np.prod(high - low) for low, high in corners) - inner)


def reference(boxes, scores, most, iou, least, center, limit):
    """As TensorRT's documentation says it: rows of batch item, class, box, by item and falling score."""
    found = []
    for b in range(len(scores)):
        flat = np.sort(scores[b].ravel())[::-1]
        least_now = max(least, flat[limit] if limit < flat.size else -np.inf)
        rows = []
        for k in range(scores.shape[2]):
            kept = []
            for i in np.argsort(-scores[b, :, k], kind="stable"):
                box = boxes[b, i] if boxes.ndim == 3 else boxes[b, i, k]
                others = [boxes[b, j] if boxes.ndim == 3 else boxes[b, j, k] for j in kept]
                if (
                    scores[b, i, k] > least_now
                    and len(kept) < most
                    and all(overlap(box, o, center) <= iou for o in others)
                ):
                    kept.append(i)
            rows += [(scores[b, i, k], (b, k, i)) for i in kept]
        found += [row for _, row in sorted(rows, key=lambda row: -row[0])]
    return np.array(found).reshape(-1, 3)


@pytest.mark.parametrize("indices", ["int32", "int64"])
@pytest.mark.parametrize("limit", [5000, 12])
@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("center", [False, True])
def test_nms(center, per_class, limit, indices):
    batch, count, classes = 2, 20, 3
    shape = (batch, count, classes, 4) if per_class else (batch, count, 4)
    boxes = rng().uniform(0, 1, shape).astype(np.float32)
    scores = rng(1).permutation(batch * count * classes).reshape(batch, count, classes).astype(np.float32) / 120
    net = Net()
    inputs = net.input("boxes", shape), net.input("scores", scores.shape), net.constant(np.array(4, np.int32))
    layer = net.definition.add_nms(*inputs, getattr(trt, indices))
    layer.set_input(3, net.constant(np.array(0.3, np.float32)))
    layer.set_input(4, net.constant(np.array(0.2, np.float32)))
    layer.bounding_box_format = trt.BoundingBoxFormat.CENTER_SIZES if center else trt.BoundingBoxFormat.CORNER_PAIRS
    layer.topk_box_limit = limit
    net.output(layer)
    net.output(layer, "count", 1)
    model = to_onnx(net.definition)
    check(model)
    found = run(model, {"boxes": boxes, "scores": scores})
    expected = reference(boxes, scores, 4, 0.3, 0.2, center, limit)
    assert len(expected) > 8
    assert found["y"].dtype == indices
    assert (found["y"] == expected).all()
    assert found["count"] == len(expected) and found["count"].dtype == np.int32


def test_thresholds_are_zero_unless_they_are_given():
    boxes = np.array([[[0, 0, 1, 1], [2, 2, 3, 3], [2.9, 2.9, 4, 4]]], np.float32)
    scores = np.array([[[0.5], [0.7], [0.6]]], np.float32)
    net = Net()
    inputs = net.input("boxes", boxes.shape), net.input("scores", scores.shape), net.constant(np.array(9, np.int32))
    net.output(net.definition.add_nms(*inputs))
    assert run(to_onnx(net.definition), {"boxes": boxes, "scores": scores})["y"].tolist() == [[0, 0, 1], [0, 0, 0]]


def test_nothing_is_selected():
    boxes, scores = np.zeros((1, 3, 4), np.float32), np.full((1, 3, 2), -1, np.float32)
    net = Net()
    inputs = net.input("boxes", (1, -1, 4)), net.input("scores", (1, -1, 2)), net.constant(np.array(9, np.int32))
    net.output(net.definition.add_nms(*inputs))
    assert run(to_onnx(net.definition), {"boxes": boxes, "scores": scores})["y"].shape == (0, 3)
