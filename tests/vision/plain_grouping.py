"""Associative embedding with dictionaries, loops over pixels and SciPy's assignment: what the quick one must equal."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def in_pixel(heat, y, x):
    height, width = heat.shape
    right = heat[y, min(x + 1, width - 1)] > heat[y, max(x - 1, 0)]
    down = heat[min(y + 1, height - 1), x] > heat[max(y - 1, 0), x]
    return x + 0.5 + (0.25 if right else -0.25), y + 0.5 + (0.25 if down else -0.25)


def peaks(heat, radius, count):
    """[(score, y, x)], the best first; of equals, the upper left first."""
    height, width = heat.shape
    highest = []
    for y in range(height):
        for x in range(width):
            around = heat[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
            if heat[y, x] > 0 and heat[y, x] == around.max():
                highest.append((y, x))
    found = []
    for i, (y, x) in enumerate(highest):
        if not any(abs(y - v) <= radius and abs(x - u) <= radius for v, u in highest[:i]):
            found.append((-float(heat[y, x]), y, x))
    return [(-score, y, x) for score, y, x in sorted(found)[:count]]


def cost_of(distance, score, rules):
    whole = round(distance) if rules.use_detection_val else distance
    if distance >= rules.tag_threshold:
        whole = int(np.ceil(rules.tag_threshold)) + 1
    return (whole * 100 - score if rules.use_detection_val else whole) + 1e-6 * distance**0.5


def group(found, rules):
    """People from {keypoint: [(score, x, y, tag)]}: [{"joints": {keypoint: (x, y, score)}, "tags": [...]}]."""
    people = []
    for k in rules.order:
        joints = [joint for joint in found[k] if np.float32(joint[0]) > np.float32(rules.detection_threshold)]
        grouped = people[: rules.people]
        if rules.ignore_too_much and len(grouped) == rules.people:
            continue
        means = [sum(person["tags"]) / len(person["tags"]) for person in grouped]
        distances = np.array([[np.linalg.norm(tag - mean) for mean in means] for *_, tag in joints])
        owner = {}
        if joints and grouped:
            cost = [[cost_of(d, joints[i][0], rules) for d in row] for i, row in enumerate(distances)]
            rows, columns = linear_sum_assignment(np.array(cost))
            owner = {i: j for i, j in zip(rows, columns, strict=True) if distances[i, j] < rules.tag_threshold}
        for i, (score, x, y, tag) in enumerate(joints):
            if i in owner:
                grouped[owner[i]]["joints"][k] = (x, y, score)
                grouped[owner[i]]["tags"].append(tag)
            else:
                people.append({"joints": {k: (x, y, score)}, "tags": [tag]})
    return people


def best_pixel(heat, tags, mean):
    """(y, x) of the highest score less rounded distance; of equals, the upper left."""
    distances = np.sqrt(((tags - mean[:, None, None]) ** 2).sum(0))
    return np.unravel_index(np.argmax(heat - np.round(distances)), heat.shape)


def decode(heatmaps, tags, rules):
    """[(score, {keypoint: (x, y, score)})] in the map, the best first."""
    found = {}
    for k, heat in enumerate(heatmaps):
        found[k] = [
            (score, *in_pixel(heat, y, x), tags[:, k, y, x].astype(float))
            for score, y, x in peaks(heat, rules.radius, rules.people)
        ]
    result = []
    for person in group(found, rules):
        joints = person["joints"]
        total = sum(score for _, _, score in joints.values()) / len(heatmaps)
        mean = (sum(person["tags"]) / len(person["tags"])).astype(np.float32)
        for k, heat in enumerate(heatmaps):
            if k not in joints:
                y, x = best_pixel(heat, tags[:, k], mean)
                if heat[y, x] > 0:
                    joints[k] = (*in_pixel(heat, y, x), heat[y, x])
        result.append((total, joints))
    return sorted(result, key=lambda person: -person[0])
