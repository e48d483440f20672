"""What detectors' post-processing is, written out as loops over numbers: nothing here is shared with netdefs."""

import math

import numpy as np


def overlap(a, b):
    """Intersection over union of x1, y1, x2, y2 in float32, each step rounded as torchvision's is."""
    zero = np.float32(0)
    ax1, ay1, ax2, ay2 = (np.float32(v) for v in a)
    bx1, by1, bx2, by2 = (np.float32(v) for v in b)
    width = max(zero, min(ax2, bx2) - max(ax1, bx1))
    height = max(zero, min(ay2, by2) - max(ay1, by1))
    shared = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    return float(shared / union) if union else 0.0


def best_first(scores):
    return sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))


def nms(boxes, scores, threshold, apart=None):
    """Greedy. `apart(i, j)` says which boxes are not compared at all."""
    kept = []
    for i in best_first(scores):
        if all((apart and apart(i, j)) or overlap(boxes[j], boxes[i]) <= threshold for j in kept):
            kept.append(i)
    return kept


def moved(boxes, labels, offset):
    """The boxes as upstream keeps classes apart, rounded to float32 as it does."""
    return np.array(
        [
            [np.float32(v) + np.float32(label) * np.float32(offset) for v in box]
            for box, label in zip(boxes, labels, strict=True)
        ]
    )


def probiou(a, b):
    """Of centre x, centre y, width, height, angle, in float64."""

    def covariance(box):
        _, _, w, h, angle = (float(v) for v in box)
        c, s = math.cos(angle), math.sin(angle)
        return w**2 / 12 * c**2 + h**2 / 12 * s**2, w**2 / 12 * s**2 + h**2 / 12 * c**2, (w**2 - h**2) / 12 * c * s

    (a1, b1, c1), (a2, b2, c2) = covariance(a), covariance(b)
    dx, dy = float(b[0]) - float(a[0]), float(b[1]) - float(a[1])
    xx, yy, xy = (a1 + a2) / 2, (b1 + b2) / 2, (c1 + c2) / 2
    determinant = xx * yy - xy**2
    # Bhattacharyya's distance of two normal distributions.
    mahalanobis = (dx**2 * yy - 2 * dx * dy * xy + dy**2 * xx) / determinant
    distance = mahalanobis / 8 + math.log(determinant / math.sqrt((a1 * b1 - c1**2) * (a2 * b2 - c2**2))) / 2
    return 1 - math.sqrt(max(1 - math.exp(-max(distance, 0)), 0))


def rotated_nms(boxes, scores, labels, threshold):
    """Fast NMS within classes, and how near to the threshold a pair comes."""
    order, kept, near = best_first(scores), [], 1.0
    for place, i in enumerate(order):
        overlaps = [probiou(boxes[j], boxes[i]) for j in order[:place] if labels[j] == labels[i]]
        near = min([near, *(abs(value - threshold) for value in overlaps)])
        if all(value <= threshold for value in overlaps):
            kept.append(i)
    return kept, near


def letterbox(shape, size):
    """Ultralytics' rule: (gain x, gain y), (left, top), (wide, tall) of the picture in the input."""
    gain = min(size[0] / shape[0], size[1] / shape[1])
    tall, wide = round(shape[0] * gain), round(shape[1] * gain)
    left, top = round((size[1] - wide) / 2 - 0.1), round((size[0] - tall) / 2 - 0.1)
    return (wide / shape[1], tall / shape[0]), (left, top), (wide, tall)


def to_picture(x, y, shape, size):
    """A point of the input in the picture, and inside of it."""
    (gain_x, gain_y), (left, top), _ = letterbox(shape, size)
    return min(max((x - left) / gain_x, 0), shape[1]), min(max((y - top) / gain_y, 0), shape[0])


def sample(values, y, x):
    """Bilinear at a place in cells, where cell i has its centre at i + 0.5, the outermost ones going on for ever."""
    height, width = len(values), len(values[0])
    y, x = min(max(y - 0.5, 0), height - 1), min(max(x - 0.5, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = values[top][left] * (1 - across) + values[top][right] * across
    lower = values[bottom][left] * (1 - across) + values[bottom][right] * across
    return upper * (1 - down) + lower * down


def resize(values, height, width):
    return [
        [sample(values, (y + 0.5) * len(values) / height, (x + 0.5) * len(values[0]) / width) for x in range(width)]
        for y in range(height)
    ]


def mask(protos, coefficients, box, shape, size):
    """(H, W) bool, and how near to 0 a value inside of the box comes.

    The sum of prototypes is enlarged by 1, 2 or 4 so that the picture's part begins and ends with a pixel, that part is
    resized to the picture, and the positive values whose pixel begins inside of the box are the mask.
    """
    height, width = protos.shape[1:]
    values = [
        [sum(float(c) * float(p[y, x]) for c, p in zip(coefficients, protos, strict=True)) for x in range(width)]
        for y in range(height)
    ]
    _, (left, top), (wide, tall) = letterbox(shape, size)
    factor = next(f for f in (1, 2, 4) if all(v * f % 4 == 0 for v in (left, top, wide, tall)))
    if factor > 1:
        values = resize(values, height * factor, width * factor)
    rows = values[top * factor // 4 : (top + tall) * factor // 4]
    values = resize([row[left * factor // 4 : (left + wide) * factor // 4] for row in rows], *shape)
    found, near = np.zeros(shape, bool), math.inf
    for y in range(shape[0]):
        for x in range(shape[1]):
            if box[0] <= x < box[2] and box[1] <= y < box[3]:
                found[y, x] = values[y][x] > 0
                near = min(near, abs(values[y][x]))
    return found, near


def run_lengths(whole):
    """COCO's: column by column, how many pixels are outside, then inside, and so on."""
    counts, inside = [0], False
    for value in whole.T.ravel().tolist():
        if value != inside:
            counts.append(0)
            inside = value
        counts[-1] += 1
    return counts
