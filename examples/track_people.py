"""Tracks people over a video: boxes, what is in them, Kalman filters, and the Hungarian algorithm between frames.

netdefs build deepsort_reid --target cpu -o reid.engine
python examples/track_people.py photo.jpg --describer reid.engine  # needs scipy

The video is synthetic: its "people" are three pieces of a photograph. Two of them meet behind a pillar and turn
back there: by their motion alone they would be taken for each other. They are found as what differs from the empty
scene; for real videos put a detector of the zoo into `find`.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

import netdefs
from netdefs.vision import cosine_distances, predict, read_image

FRAMES, SPEED, HEIGHT, WIDTH, PILLAR = 40, 8, 200, 360, (160, 200)
PERSON = (80, 40)  # height and width
NARROW = 38  # boxes that are narrower are cut off by the pillar
REACH, LOST = 100, 20  # how many pixels from where it is expected, and for how many frames, a person is looked for
NEVER = 1e6  # what a pair costs that can't be
LOOKS = 0.2  # a distance of embeddings that counts as much as the whole reach


class Track:
    """A person: where it should be next, and what it looked like."""

    def __init__(self, number: int, box: np.ndarray, embedding: np.ndarray) -> None:
        self.number, self.missed, self.embeddings = number, 0, [embedding]
        self.filter = cv2.KalmanFilter(4, 2)  # x, y and their speeds; x, y are seen
        self.filter.transitionMatrix = np.eye(4, dtype=np.float32) + np.eye(4, k=2, dtype=np.float32)
        self.filter.measurementMatrix = np.eye(2, 4, dtype=np.float32)
        self.filter.processNoiseCov = 0.1 * np.eye(4, dtype=np.float32)
        self.filter.measurementNoiseCov = np.eye(2, dtype=np.float32)
        self.filter.errorCovPost = np.diag([1, 1, 100, 100]).astype(np.float32)
        self.filter.statePost = np.array([*center(box), 0, 0], np.float32)[:, None]

    def see(self, box: np.ndarray, embedding: np.ndarray) -> None:
        """Takes what was found of it in a frame."""
        self.filter.correct(center(box)[:, None])
        self.missed = 0
        self.embeddings = [*self.embeddings[-9:], embedding]


def main(arguments: list[str] | None = None) -> int:
    """Tracks people and prints where each of them was; 0 if nobody was taken for somebody else, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, help="what the people are cut out of")
    parser.add_argument("--describer", type=Path, required=True, help="an engine of netdefs.reid")
    parser.add_argument("--looks", type=float, default=LOOKS, help="the distance that counts as much as the reach")
    given = parser.parse_args(arguments)
    people: dict[int, set[int]] = {}
    with netdefs.load_engine(given.describer) as describer:
        tracks: list[Track] = []
        for frame, places in video(read_image(given.photo)):
            for number, box in follow(tracks, frame, describer, given.looks):
                nearest = int(np.linalg.norm(np.array(places) - center(box), axis=1).argmin())
                people.setdefault(number, set()).add(nearest)
    for number, who in people.items():
        print(f"track {number}: person {' and '.join(map(str, sorted(who)))}")
    return 0 if sorted(people.values(), key=min) == [{0}, {1}, {2}] else 1


def follow(tracks: list[Track], frame: np.ndarray, describer: Any, looks: float) -> list[tuple[int, np.ndarray]]:
    """Brings tracks up to a frame: the number and the box of everyone who is seen in it."""
    boxes = find(frame)
    looked: list[Any] = [each.embedding for each in predict(describer, frame, boxes=boxes).instances]
    expected = [track.filter.predict()[:2, 0] for track in tracks]
    cost = np.zeros((len(tracks), len(boxes)))
    for i, track in enumerate(tracks):
        for j, (box, embedding) in enumerate(zip(boxes, looked, strict=True)):
            away = np.linalg.norm(expected[i] - center(box)) / REACH
            unlike = cosine_distances(track.embeddings, [embedding]).min() / looks
            cost[i, j] = away + unlike if away < 1 and track.missed < LOST else NEVER
    pairs = {j: tracks[i] for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < NEVER}
    for track in tracks:
        track.missed += 1
    seen = []
    for j, (box, embedding) in enumerate(zip(boxes, looked, strict=True)):
        if j in pairs:
            pairs[j].see(box, embedding)
        else:
            pairs[j] = Track(len(tracks) + 1, box, embedding)
            tracks.append(pairs[j])
        seen.append((pairs[j].number, box))
    return seen


def find(frame: np.ndarray) -> np.ndarray:
    """Boxes, (K, 4) float32, around what is not in the empty scene and is wide enough."""
    changed = (np.abs(frame.astype(int) - scene()).max(2) > 8).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((9, 9))))
    boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:] if w >= NARROW]
    return np.array(boxes, np.float32).reshape(-1, 4)


def video(photo: np.ndarray) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Frames, and where the middle of each person is."""
    height, width = photo.shape[:2]
    parts = [photo[:, i * width // 3 : (i + 1) * width // 3][: height // 2] for i in range(3)]
    people = [cv2.resize(part, PERSON[::-1], interpolation=cv2.INTER_AREA) for part in parts]
    for time in range(FRAMES):
        step = SPEED * min(time, FRAMES - time)  # the first two come back the way they went
        places = [np.array(place) for place in ((20 + step, 50), (WIDTH - 20 - step, 50), (20 + SPEED * time, 150))]
        frame = scene().astype(np.uint8)
        for person, (x, y) in zip(people, places, strict=True):
            frame[y - 40 : y + 40, x - 20 : x + 20] = person
        frame[:, slice(*PILLAR)] = scene()[:, slice(*PILLAR)]
        yield frame, places


def scene() -> np.ndarray:
    """The empty scene: a floor and a pillar."""
    image = np.full((HEIGHT, WIDTH, 3), (40, 200, 60))
    image[:, slice(*PILLAR)] = (160, 150, 150)
    return image


def center(box: np.ndarray) -> np.ndarray:
    """The middle of a box: (2,) float32."""
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], np.float32)


if __name__ == "__main__":
    sys.exit(main())
