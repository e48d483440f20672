"""One thing found in a picture: what every decoder gives, and what is drawn and written to files."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Mask:
    """Which pixels of a picture belong to a thing. Only the part around it is kept: it takes no more room than that.

    Attributes:
        pixels: (h, w) bool, a part of the picture; outside of it nothing belongs to the thing.
        left: the column of the picture where that part begins.
        top: the row where it begins.
        shape: (height, width) of the picture.
    """

    pixels: np.ndarray
    left: int
    top: int
    shape: tuple[int, int]

    def whole(self) -> np.ndarray:
        """(H, W) bool: the mask as large as the picture."""
        whole = np.zeros(self.shape, bool)
        height, width = self.pixels.shape
        whole[self.top : self.top + height, self.left : self.left + width] = self.pixels
        return whole

    def to_dict(self) -> dict[str, Any]:
        """The mask as COCO's uncompressed run lengths, which pycocotools reads: column by column, starting outside.

        "size" is (height, width) of the picture, "counts" has the lengths of the runs outside and inside by turns.
        """
        height, width = self.shape
        columns = np.pad(self.pixels.T.astype(np.int8), ((0, 0), (1, 1)))
        column, row = np.nonzero(np.diff(columns, axis=1))  # by turns where a run begins and where it has ended
        edges = (self.left + column) * height + self.top + row
        # A run that ends with its column goes on in the next one, if that begins with the thing too.
        joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
        edges = np.delete(edges, np.concatenate([joined, joined + 1]))
        counts = np.diff(edges, prepend=0, append=height * width)
        if len(edges) and counts[-1] == 0:
            counts = counts[:-1]
        return {"size": [height, width], "counts": counts.tolist()}


@dataclasses.dataclass(frozen=True, eq=False)
class Instance:
    """One person, hand or object in a picture, in pixels of the picture.

    Places are as the network's own code gives them. Detectors count pixel edges: pixel i stretches from i to i + 1, and
    a box around the whole picture is 0, 0, width, height. Networks that only find keypoints have a pixel's centre at a
    whole number.

    Attributes:
        score: how sure the network is; higher is surer. Scores of one network compare with each other only. Of networks
            that only describe what is in a box, 1.
        label: the number of its class, where there are classes.
        box: (4,) x1, y1, x2, y2; around the corners, if it is rotated.
        keypoints: (K, 3) x, y, score. One that is missing has the score 0 and NaN for x and y, so that a point that was
            not found can't be taken for the corner of the picture: int(x) of it is an error.
        corners: (4, 2) x, y of the corners of a rotated box, in order around it; they may lie outside of the picture.
        mask: which pixels belong to it.
        embedding: (features,) what it looks like, of length 1: `netdefs.vision.cosine_distances` compares them.
        text: what is written there.
    """

    score: float
    label: int | None = None
    box: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    corners: np.ndarray | None = None
    mask: Mask | None = None
    embedding: np.ndarray | None = None
    text: str | None = None

    @property
    def found(self) -> np.ndarray:
        """(K,) bool: which keypoints are there. None of zero, if the thing has no keypoints at all."""
        return np.zeros(0, bool) if self.keypoints is None else self.keypoints[:, 2] > 0

    def to_dict(self) -> dict[str, Any]:
        """What is there, as JSON can hold it: a missing keypoint is None, a mask is COCO's run lengths."""
        values: dict[str, Any] = {"score": float(self.score)}
        if self.label is not None:
            values["label"] = int(self.label)
        if self.box is not None:
            values["box"] = np.asarray(self.box, np.float64).tolist()
        if self.keypoints is not None:
            points = np.asarray(self.keypoints, np.float64).tolist()
            values["keypoints"] = [point if there else None for point, there in zip(points, self.found, strict=True)]
        if self.corners is not None:
            values["corners"] = np.asarray(self.corners, np.float64).tolist()
        if self.mask is not None:
            values["mask"] = self.mask.to_dict()
        if self.embedding is not None:
            values["embedding"] = np.asarray(self.embedding, np.float64).tolist()
        if self.text is not None:
            values["text"] = self.text
        return values
