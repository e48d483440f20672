"""What networks' numbers stand for: the keypoints of skeletons, the names of classes, and colors to draw them in.

Colors are (blue, green, red), as OpenCV wants them.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from netdefs.core.errors import InputError

Color = tuple[int, int, int]

# Oklab, where distances are as large as they look: bottosson.github.io/posts/oklab (public domain). From linear red,
# green and blue to the eye's three kinds of cones; from the cube roots of those to lightness and two hues.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """The keypoints of one kind of thing.

    Attributes:
        subject: what has them, such as "person".
        keypoints: their names, in the networks' order.
        limbs: pairs of keypoints that a line is drawn between.
        flip_pairs: pairs of keypoints, left and right, that change places when the picture is mirrored.
    """

    subject: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes that a network tells apart.

    Attributes:
        names: by class number.
        colors: one for each.

    Raises:
        InputError: there are more or fewer colors than names.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise InputError(f"{len(self.names)} classes can't have {len(self.colors)} colors; palette() makes some.")


@functools.cache
def palette(count: int) -> tuple[Color, ...]:
    """Colors that are easy to tell apart, any number of them; the first ones are the same for every `count`.

    Each is the one that is farthest from all before it, as the eye sees them, on a grid of 4096 colors without grays,
    near-blacks and near-whites. Once those are used up they start again.
    """
    steps = np.linspace(0, 255, 16).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    seen = np.cbrt((grid / 255) ** 2.2 @ TO_CONES.T) @ TO_OKLAB.T
    lightness, chroma = seen[:, 0], np.hypot(seen[:, 1], seen[:, 2])
    kept = (lightness > 0.5) & (lightness < 0.94) & (chroma > 0.08)
    grid, seen = grid[kept], seen[kept]
    chosen = [int(np.argmax(chroma[kept]))]
    gap = np.full(len(seen), np.inf)
    for _ in range(min(count, len(seen)) - 1):
        gap = np.minimum(gap, np.linalg.norm(seen - seen[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(gap)))
    red_first = grid[chosen].astype(int).tolist()
    return tuple((blue, green, red) for red, green, blue in itertools.islice(itertools.cycle(red_first), count))


def table(name: str) -> Skeleton | Classes:
    """The skeleton or the classes of this name.

    Raises:
        InputError: there is none.
    """
    if name not in TABLES:
        raise InputError(f"There is no table of names {name!r}; there are: {', '.join(sorted(TABLES))}.")
    return TABLES[name]


def _skeleton(subject: str, keypoints: str, limbs: str) -> Skeleton:
    """Keypoints by name; limbs as chains of their numbers, "0-1-2 0-3"; left_x and right_x are a pair."""
    names = tuple(keypoints.split())
    chains = [[int(number) for number in chain.split("-")] for chain in limbs.split()]
    pairs = tuple(pair for chain in chains for pair in itertools.pairwise(chain))
    sides = [(i, "right_" + name[5:]) for i, name in enumerate(names) if name.startswith("left_")]
    return Skeleton(subject, names, pairs, tuple(sorted((i, names.index(other)) for i, other in sides)))


def _classes(names: str, colors: str = "") -> Classes:
    """Names divided by commas; colors as RRGGBB."""
    listed = tuple(name.strip() for name in names.split(","))
    given = tuple((int(c[4:], 16), int(c[2:4], 16), int(c[:2], 16)) for c in colors.split())
    return Classes(listed, given or palette(len(listed)))


TABLES: Mapping[str, Skeleton | Classes] = MappingProxyType(
    {
        # COCO's keypoints, cocodataset.org/#format-data.
        "coco17": _skeleton(
            "person",
            "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
            "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
            "0-1-3-5-7-9 0-2-4-6-8-10 1-2 5-6 11-12 5-11-13-15 6-12-14-16",
        ),
        # OpenPose's order of the same with a neck between the shoulders, without its two lines from shoulder to ear,
        # which help to find people and are not drawn: src/openpose/pose/poseParameters.cpp.
        "coco18": _skeleton(
            "person",
            "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
            "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
            "1-2-3-4 1-5-6-7 1-8-9-10 1-11-12-13 1-0 0-14-16 0-15-17",
        ),
        # OpenPose's hand. Mirrored, it is the other hand, with the keypoints in the same order.
        "hand21": _skeleton(
            "hand",
            "wrist "
            + " ".join(f"{finger}_{i}" for finger in ("thumb", "index", "middle", "ring", "little") for i in range(4)),
            "0-1-2-3-4 0-5-6-7-8 0-9-10-11-12 0-13-14-15-16 0-17-18-19-20",
        ),
        # RetinaFace's landmarks. Left and right are those of the picture, as the corners of the mouth are.
        "face5": _skeleton("face", "left_eye right_eye nose left_mouth right_mouth", "0-2-1 3-4 3-2-4"),
        # The classes that Cityscapes evaluates: cityscapesscripts/helpers/labels.py of mcordts/cityscapesScripts (MIT).
        "cityscapes": _classes(
            "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, "
            "person, rider, car, truck, bus, train, motorcycle, bicycle",
            "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 "
            "003c64 005064 0000e6 770b20",
        ),
        # COCO's things without the eleven numbers that have no pictures.
        "coco80": _classes(
            "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, "
            "stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, "
            "backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, "
            "baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, "
            "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, "
            "potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, "
            "oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"
        ),
        # DOTA 1.0's, things seen from above, in the order of ultralytics/cfg/datasets/DOTAv1.yaml.
        "dota15": _classes(
            "plane, ship, storage tank, baseball diamond, tennis court, basketball court, ground track field, harbor, "
            "bridge, large vehicle, small vehicle, helicopter, roundabout, soccer ball field, swimming pool"
        ),
    }
)
