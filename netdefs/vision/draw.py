"""Drawing what was found onto a picture."""

from collections.abc import Iterable, Sequence

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.vision.image import check_image
from netdefs.vision.instance import Instance, Mask
from netdefs.vision.names import Classes, Color, Skeleton, palette, table

THICKNESS = 0.004  # of lines, as a part of the mean of the picture's height and width
LETTERS = 0.02  # the height of letters, likewise, but never below what can be read
SMALLEST_LETTERS = 8
SHIFT = 4  # OpenCV draws at sixteenths of a pixel
OPACITY = 0.5  # of masks
FAR = 2.0**24  # in pixels: OpenCV's whole numbers hold no more with SHIFT


def draw(
    image: np.ndarray,
    instances: Iterable[Instance],
    names: str | Skeleton | Classes = "",
    *,
    threshold: float = 0.2,
) -> np.ndarray:
    """A copy of a picture with masks, skeletons, boxes and labels; lines and letters are as large as it asks for.

    Limbs have their own colors. Masks, boxes and keypoints have their class's color where `names` are classes, and
    otherwise one for each instance. Masks are laid under everything else; apart from that, what is surer is drawn on
    top. Of a rotated box its own sides are drawn. Labels stay inside of the picture, and are left out where it has no
    room for one.

    Args:
        image: (H, W, 3) uint8, BGR.
        instances: what was found, in pixels of the picture; what lies outside of it is cut off.
        names: what keypoints or labels stand for, or the name of a table in `netdefs.vision.names`; without it, labels
            are numbers and keypoints are dots.
        threshold: keypoints are drawn if their score is above it, and limbs if both of their ends are.

    Raises:
        InputError: the array is no such picture, there is no such table, an instance does not fit to the names, or a
            mask is one of a picture of another size.
    """
    check_image(image)
    known = table(names) if isinstance(names, str) and names else names or None
    if not isinstance(known, (Skeleton, Classes, type(None))):
        raise InputError(
            f"Names are a table of netdefs.vision.names, or the name of one, not a {type(names).__name__}: "
            "Classes(tuple(names), palette(len(names))) makes one of a list."
        )
    canvas = image.copy()
    pen = _Pen(canvas)
    found = list(instances)
    painted = sorted(zip(found, _colors(found, known), strict=True), key=lambda each: each[0].score)
    for instance, color in painted:
        if instance.mask is not None:
            pen.mask(instance.mask, color)
    texts = []
    for instance, color in painted:
        if instance.keypoints is not None:
            _draw_keypoints(pen, np.asarray(instance.keypoints), known, color, threshold)
        if instance.corners is not None and np.isfinite(instance.corners).all():
            pen.polygon(instance.corners, color)
        elif instance.box is not None and np.isfinite(instance.box).all():
            pen.box(instance.box, color)
        if instance.box is not None and np.isfinite(instance.box).all():
            texts.append((_label(instance, known), instance.box, color))
    for text, box, color in texts:
        pen.text(text, box, color)
    return canvas


def _colors(instances: Sequence[Instance], names: Skeleton | Classes | None) -> list[Color]:
    """Of each instance that of its class, or else one of its own."""
    return [
        names.colors[_checked_label(instance.label, names)]
        if isinstance(names, Classes) and instance.label is not None
        else color
        for instance, color in zip(instances, palette(len(instances)), strict=True)
    ]


def _draw_keypoints(
    pen: "_Pen", keypoints: np.ndarray, names: Skeleton | Classes | None, color: Color, threshold: float
) -> None:
    """Dots in `color` above limbs in colors of their own."""
    there = (keypoints[:, 2] > threshold) & (np.abs(keypoints[:, :2]) < FAR).all(1)  # NaN compares as false
    if isinstance(names, Skeleton):
        if len(keypoints) != len(names.keypoints):
            raise InputError(
                f"The skeleton of a {names.subject} has {len(names.keypoints)} keypoints; an instance has "
                f"{len(keypoints)}."
            )
        for (a, b), limb_color in zip(names.limbs, palette(len(names.limbs)), strict=True):
            if there[a] and there[b]:
                pen.line(keypoints[a], keypoints[b], limb_color)
    for point in keypoints[there]:
        pen.dot(point, color)


def _label(instance: Instance, names: Skeleton | Classes | None) -> str:
    subject = instance.text or ""
    if isinstance(names, Skeleton):
        subject = names.subject
    elif instance.label is not None:
        subject = names.names[instance.label] if names else str(instance.label)
    return f"{subject} {instance.score:.2f}".strip()


def _checked_label(label: int, names: Classes) -> int:
    if not 0 <= label < len(names.names):
        raise InputError(f"There are names for {len(names.names)} classes, and an instance's class is {label}.")
    return label


class _Pen:
    """Lines, dots and letters in sizes that fit to the picture they are drawn onto."""

    def __init__(self, canvas: np.ndarray) -> None:
        self.cv2 = require("cv2", "vision")
        self.canvas = canvas
        size = (canvas.shape[0] + canvas.shape[1]) / 2
        self.thickness = max(1, round(size * THICKNESS))
        self.letters = max(SMALLEST_LETTERS, round(size * LETTERS))

    def line(self, start: np.ndarray, end: np.ndarray, color: Color) -> None:
        places = _fixed(start), _fixed(end)
        self.cv2.line(self.canvas, *places, color, self.thickness, self.cv2.LINE_AA, SHIFT)

    def dot(self, center: np.ndarray, color: Color) -> None:
        radius = round((self.thickness + 0.5) * 2**SHIFT)
        self.cv2.circle(self.canvas, _fixed(center), radius, color, self.cv2.FILLED, self.cv2.LINE_AA, SHIFT)

    def box(self, box: Sequence[float] | np.ndarray, color: Color) -> None:
        corners = _fixed(box[:2]), _fixed(box[2:])
        self.cv2.rectangle(self.canvas, *corners, color, self.thickness, self.cv2.LINE_AA, SHIFT)

    def polygon(self, corners: np.ndarray, color: Color) -> None:
        points = np.array([_fixed(corner) for corner in corners], np.int32)
        self.cv2.polylines(self.canvas, [points], True, color, self.thickness, self.cv2.LINE_AA, SHIFT)

    def mask(self, mask: Mask, color: Color) -> None:
        if mask.shape != self.canvas.shape[:2]:
            raise InputError(
                f"A mask of a picture of {mask.shape[0]}x{mask.shape[1]} can't be drawn onto one of "
                f"{self.canvas.shape[0]}x{self.canvas.shape[1]}."
            )
        height, width = mask.pixels.shape
        region = self.canvas[mask.top : mask.top + height, mask.left : mask.left + width]
        mixed = region[mask.pixels] * (1 - OPACITY) + np.array(color) * OPACITY
        region[mask.pixels] = np.rint(mixed).astype(np.uint8)

    def text(self, text: str, box: Sequence[float] | np.ndarray, color: Color) -> None:
        """On a filled background above the upper left corner of a box, or below it where the picture ends."""
        font = self.cv2.FONT_HERSHEY_SIMPLEX
        weight = max(1, self.letters // 14)
        scale = self.cv2.getFontScaleFromHeight(font, self.letters, weight)
        (width, height), below = self.cv2.getTextSize(text, font, scale, weight)
        pad = self.thickness + 1
        wide, tall = width + 2 * pad, height + below + 2 * pad
        rows, columns = self.canvas.shape[:2]
        outside = box[2] < 0 or box[3] < 0 or box[0] >= columns or box[1] >= rows
        if outside or wide > columns or tall > rows:
            return
        left = int(np.clip(box[0], 0, columns - wide))
        top = int(np.clip(box[1] - tall if box[1] >= tall else box[1], 0, rows - tall))
        self.canvas[top : top + tall, left : left + wide] = color
        blue, green, red = color
        ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 127 else (255, 255, 255)
        at = left + pad, top + pad + height
        self.cv2.putText(self.canvas, text, at, font, scale, ink, weight, self.cv2.LINE_AA)


def _fixed(point: Sequence[float] | np.ndarray) -> tuple[int, int]:
    """A point in sixteenths of a pixel; of boxes that reach too far, the side stays where it can't be seen."""
    x, y = np.clip(np.asarray(point[:2], np.float64), -FAR, FAR)
    return round(x * 2**SHIFT), round(y * 2**SHIFT)
