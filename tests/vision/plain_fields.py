"""OpenPose's assembly as a table of people and loops over pixels, pairs and samples: what the quick one must equal."""

import math

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

# Upstream's tables, which count from 1, and the fields' channels after the 19 heat maps.
LIMBS = [
    [2, 3], [2, 6], [3, 4], [4, 5], [6, 7], [7, 8], [2, 9], [9, 10], [10, 11], [2, 12], [12, 13], [13, 14], [2, 1],
    [1, 15], [15, 17], [1, 16], [16, 18], [3, 17], [6, 18],
]  # fmt: skip
CHANNELS = [31, 39, 33, 35, 41, 43, 19, 21, 23, 25, 27, 29, 47, 49, 53, 51, 55, 37, 45]
NONE, TOTAL, COUNT, LIMB_COUNT = -1, 18, 19, 20


def peaks(heat, rules):
    """[(x, y, score)]: not below the four neighbours, above the one to the left and the one above."""
    smooth = gaussian_filter(heat, rules.sigma)
    height, width = heat.shape
    found = []
    for y, x in zip(*np.nonzero(smooth > rules.peak), strict=True):
        value = smooth[y, x]
        above = (x == 0 or value > smooth[y, x - 1]) and (y == 0 or value > smooth[y - 1, x])
        below = (x < width - 1 and value < smooth[y, x + 1]) or (y < height - 1 and value < smooth[y + 1, x])
        if above and not below:
            found.append((int(x), int(y), float(heat[y, x])))
    return found


def limb_score(a, b, field, rules):
    """How well the field runs from one peak to another; None where it does not."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = max(math.hypot(dx, dy), 0.001)
    values = []
    for i in range(rules.samples):
        x, y = (round(s + (e - s) * i / (rules.samples - 1)) for s, e in zip(a[:2], b[:2], strict=True))
        values.append((float(field[0, y, x]) * dx + float(field[1, y, x]) * dy) / length)
    score = sum(values) / len(values) + min(0.5 * field.shape[1] / length - 1, 0)
    enough = sum(value > rules.along for value in values) > rules.share * rules.samples
    return score if enough and score > 0 else None


def connections(starts, ends, field, rules):
    scored = []
    for i, a in enumerate(starts):
        for j, b in enumerate(ends):
            score = limb_score(a, b, field, rules)
            if score is not None:
                scored.append((-score, i, j))
    taken = []
    for score, i, j in sorted(scored):
        if all(i != other_i and j != other_j for _, other_i, other_j in taken):
            taken.append((-score, i, j))
    return taken


def people(found, fields, rules):
    """Rows of 18 numbers of peaks, -1 for none; then total score, number of peaks, number of limbs."""
    table = np.full((0, 21), NONE, float)
    for number, (limb, channel) in enumerate(zip(LIMBS, CHANNELS, strict=True)):
        a, b = limb[0] - 1, limb[1] - 1
        for score, i, j in connections(found[a], found[b], fields[channel - 19 : channel - 17], rules):
            rows = [r for r, row in enumerate(table) if row[a] == i or row[b] == j]
            assert len(rows) <= 2, "a peak belongs to two people"
            if len(rows) == 2:
                one, other = rows
                if not ((table[one, :18] >= 0) & (table[other, :18] >= 0)).any():
                    table[one, :18] = np.maximum(table[one, :18], table[other, :18])
                    table[one, 18:] += table[other, 18:]
                    table[one, TOTAL] += score
                    table[one, LIMB_COUNT] += 1
                    table = np.delete(table, other, 0)
                continue
            if not rows:
                if number >= 17:
                    continue
                row = np.full((1, 21), NONE, float)
                row[0, 18:] = 0
                table, rows = np.concatenate([table, row]), [len(table)]
            row, added = table[rows[0]], False
            for part, peak in ((a, i), (b, j)):
                if row[part] == NONE:
                    row[part] = peak
                    row[TOTAL] += found[part][peak][2]
                    row[COUNT] += 1
                    added = True
            if added:
                row[TOTAL] += score
                row[LIMB_COUNT] += 1
    return table


def assemble(heatmaps, fields, size, rules):
    """[(score, {keypoint: (x, y, score)})] in pixels of `size`, the best first."""

    def enlarged(maps):
        if maps.shape[1:] == size:
            return maps
        return cv2.resize(maps.transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)

    found = [peaks(heat, rules) for heat in enlarged(heatmaps)[:18]]
    result = []
    for row in people(found, enlarged(fields), rules):
        if row[COUNT] >= rules.keypoints and row[TOTAL] / row[COUNT] >= rules.score:
            parts = {k: found[k][int(number)] for k, number in enumerate(row[:18]) if number >= 0}
            result.append((row[TOTAL] / (row[COUNT] + row[LIMB_COUNT]), parts))
    return sorted(result, key=lambda one: -one[0])
