"""The calibration methods written plainly, value by value and bin by bin, from their papers: what ours must equal.

Entropy: Migacz, 8-bit Inference with TensorRT (GTC 2017), slides 20 to 24, with the details that the slides leave open
as NVIDIA's pytorch-quantization settles them: the first bin counts as much as the second, and 128 levels.
"""

import math


def width_of(values):
    """The power of two for which the largest magnitude lies in bins 2048 to 4095."""
    top, width = max(abs(v) for v in values), 1.0
    while top >= 4096 * width:
        width *= 2
    while top < 2048 * width:
        width /= 2
    return width


def histogram_of(values):
    width = width_of(values)
    counts = [0] * (math.floor(max(abs(v) for v in values) / width) + 1)
    for v in values:
        counts[math.floor(abs(v) / width)] += 1
    return counts, width


def maximum(values):
    return max(abs(v) for v in values)


def percentile(values, percent):
    counts, width = histogram_of(values)
    seen = 0
    for i, count in enumerate(counts):
        seen += count
        if seen >= percent / 100 * len(values):
            return min((i + 1) * width, maximum(values))
    raise AssertionError


def entropy(values, stride=1):
    counts, width = histogram_of(values)
    counts[0] = counts[1]
    best, kept = math.inf, 0
    for i in [*range(128, len(counts), stride), len(counts)]:
        p = counts[:i]
        p[-1] += sum(counts[i:])
        q = [0.0] * i
        for level in range(128):
            start, stop = math.ceil(level * i / 128), math.ceil((level + 1) * i / 128)
            filled = [b for b in range(start, stop) if counts[b]]
            for b in filled:
                q[b] = sum(counts[start:stop]) / len(filled)
        divergence = divergence_of(p, q)
        if divergence <= best + 1e-12:
            best, kept = min(best, divergence), i
    return min(kept * width, maximum(values))


def divergence_of(p, q):
    p_sum, q_sum = sum(p), sum(q)
    total = 0.0
    for a, b in zip(p, q, strict=True):
        if a:
            if not b:
                return math.inf
            total += a / p_sum * math.log(a / p_sum / (b / q_sum))
    return total


def mse(values, stride=1):
    counts, width = histogram_of(values)
    best, kept = math.inf, 0
    for i in [*range(128, len(counts), stride), len(counts)]:
        step = i * width / 127
        error = 0.0
        for b, count in enumerate(counts):
            if count:
                middle = (b + 0.5) * width
                error += count * (middle - step * min(round(middle / step), 127)) ** 2
        if error <= best * (1 + 1e-12):
            best, kept = min(best, error), i
    return min(kept * width, maximum(values))
